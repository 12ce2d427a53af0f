//! The state of the simulated world, and its time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::SimSettings;
use super::control::{Service, services};
use super::disk::Disk;
use super::ims::Ims;
use super::mail::Message;
use super::outage::Outage;
use crate::host::{EventRecord, HostErrorKind, RegistryValue};

pub(super) const IMCDATA: &str = "/exchsrvr/imcdata";
pub(super) const OUT: &str = "/exchsrvr/imcdata/Out";
pub(super) const IN: &str = "/exchsrvr/imcdata/In";
pub(super) const LOG: &str = "/exchsrvr/imcdata/Log";
pub(super) const ROUTE: &str = "/exchsrvr/imcdata/Log/Route.txt";
pub(super) const QUEUE_DAT: &str = "/exchsrvr/imcdata/queue.dat";
pub(super) const MTADATA: &str = "/exchsrvr/mtadata";
pub(super) const GWART: &str = "/exchsrvr/mtadata/GWART0.MTA";
pub(super) const TRACKING: &str = "/exchsrvr/tracking.log";

/// How a chosen call on files fails.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    pub(super) kind: HostErrorKind,
    /// Whether a change that fails with `Io` takes effect all the same.
    pub(super) happens: bool,
}

fn due(failure: &mut Option<(u64, Failure)>) -> Option<Failure> {
    let (left, chosen) = *failure.as_ref()?;
    *failure = (left > 1).then(|| (left - 1, chosen));
    failure.is_none().then_some(chosen)
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) settings: SimSettings,
    pub(super) rng: fastrand::Rng,
    pub(super) now_ms: i64,
    pub(super) up_ms: u64,
    /// Uptime that has passed and that the wall clock does not show yet.
    pub(super) rest_ms: u64,
    /// All time since the world began, whatever the clocks say.
    pub(super) elapsed_ms: u64,
    /// When the agent's process is ended, in the same.
    pub(super) dies_ms: Option<u64>,
    pub(super) outage: Outage,
    /// How many unique ids were given.
    pub(super) ids: u64,
    pub(super) boot: u32,
    pub(super) disk: Disk,
    pub(super) services: Vec<Service>,
    pub(super) next_pid: u32,
    pub(super) ims: Ims,
    /// Whether the routing table in the directory leads to the next hop.
    pub(super) table_fresh: bool,
    pub(super) messages: Vec<Message>,
    /// Whether a scanner keeps the service from removing what it has sent from MTS-OUT.
    pub(super) scanned: bool,
    /// What imcsave has saved: the MTS-IDs, by place.
    pub(super) saved: BTreeMap<String, BTreeSet<String>>,
    /// Messages that a person took out of MTS-OUT while no saved copy had them.
    pub(super) removed_unsaved: Vec<String>,
    /// Files sent whose bytes are no message that was ever submitted.
    pub(super) strangers_sent: u64,
    pub(super) hangs: BTreeSet<String>,
    pub(super) events: Vec<EventRecord>,
    pub(super) events_unreadable: bool,
    pub(super) registry: BTreeMap<(String, String), RegistryValue>,
    pub(super) tool_answers: BTreeMap<String, (i32, String)>,
    pub(super) tool_calls: Vec<Vec<String>>,
    /// The changing call on files that fails, and how many calls until then.
    pub(super) failure: Option<(u64, Failure)>,
    /// The same over all calls on files, those that only read included.
    pub(super) any_failure: Option<(u64, Failure)>,
    /// Which agent lives; the calls of earlier ones do nothing.
    pub(super) agent: u64,
}

impl World {
    pub(super) fn new(settings: SimSettings) -> Self {
        let mut disk = Disk::new(settings.free_bytes);
        let folders = [
            "/exchsrvr",
            IMCDATA,
            IN,
            "/exchsrvr/imcdata/In/Archive",
            OUT,
            "/exchsrvr/imcdata/Out/Archive",
            "/exchsrvr/imcdata/Work",
            LOG,
            MTADATA,
            TRACKING,
        ];
        for folder in folders {
            // Each parent stands before its children, so nothing can be missing.
            let _ = disk.make_one(Path::new(folder), None);
        }
        let _ = disk.make_one(Path::new("/other"), Some(2));
        for folder in ["/"].iter().chain(&folders) {
            let _ = disk.sync(Path::new(folder));
        }
        let parameters = |service: &str| {
            format!(r"system\currentcontrolset\services\{service}\parameters").to_lowercase()
        };
        let registry = [
            ("MSExchangeIMC", "rootdir", IMCDATA),
            ("MSExchangeMTA", "mta database path", MTADATA),
            ("MSExchangeSA", "log directory", TRACKING),
        ];
        let registry = registry
            .into_iter()
            .map(|(service, value, path)| {
                (
                    (parameters(service), value.to_owned()),
                    RegistryValue::Text(path.to_owned()),
                )
            })
            .collect();
        let mut world = Self {
            rng: fastrand::Rng::with_seed(settings.seed),
            // 5 November 1997, 19:51 UTC: the sample of the MTS-ID in the facts.
            now_ms: 878_759_460_000,
            up_ms: 86_400_000,
            rest_ms: 0,
            elapsed_ms: 0,
            dies_ms: None,
            outage: Outage::default(),
            ids: 0,
            boot: 1,
            disk,
            services: services(),
            next_pid: 100,
            ims: Ims::default(),
            table_fresh: !settings.stale_routes,
            messages: Vec::new(),
            scanned: false,
            saved: BTreeMap::new(),
            removed_unsaved: Vec::new(),
            strangers_sent: 0,
            hangs: BTreeSet::new(),
            events: Vec::new(),
            events_unreadable: false,
            registry,
            tool_answers: BTreeMap::new(),
            tool_calls: Vec::new(),
            failure: None,
            any_failure: None,
            agent: 0,
            settings,
        };
        world.write_gwart();
        world.start_everything();
        if world.settings.stale_routes {
            // The symptom of Q268494: the service loaded its routes before the table was written.
            world.advance(60_000);
            world.write_gwart();
        }
        world
    }

    /// Lets that much time pass; everything that is due happens in order.
    pub(super) fn advance(&mut self, ms: u64) {
        let end = self.up_ms + ms;
        self.note_outage();
        loop {
            self.skip_idle_polls(end);
            let due = [self.services_due(), self.ims_due()]
                .into_iter()
                .flatten()
                .min();
            match due {
                Some(due) if due <= end => {
                    self.at(due.max(self.up_ms));
                    if self.services_due().is_some_and(|at| at <= self.up_ms) {
                        self.services_step();
                        self.note_outage();
                    } else {
                        self.ims_step();
                    }
                }
                _ => break,
            }
        }
        self.at(end);
        self.note_outage();
    }

    fn at(&mut self, up_ms: u64) {
        // What does not make a whole millisecond of the wall clock waits for the next time.
        let passed = self.rest_ms + (up_ms - self.up_ms);
        let factor = u64::from(self.settings.clock_factor.max(1));
        self.now_ms += i64::try_from(passed / factor).unwrap_or(0);
        self.rest_ms = passed % factor;
        self.elapsed_ms += up_ms - self.up_ms;
        self.up_ms = up_ms;
    }

    /// Whether this changing call on files is the one that was chosen to fail.
    pub(super) fn fails_now(&mut self) -> Option<Failure> {
        due(&mut self.failure)
    }

    /// Whether this call on files is the one that was chosen to fail.
    pub(super) fn any_fails_now(&mut self) -> Option<Failure> {
        due(&mut self.any_failure)
    }

    pub(super) fn lose_power(&mut self) {
        let mut rng = self.rng.fork();
        self.disk.lose_power(|| rng.bool());
        self.boot_again();
    }

    /// Every world that a power loss can leave now, started again.
    pub(super) fn power_cuts(&self) -> Vec<Self> {
        let cuts = self.disk.power_cuts().into_iter();
        cuts.map(|disk| {
            let mut world = Self {
                disk,
                ..self.clone()
            };
            world.boot_again();
            world
        })
        .collect()
    }

    fn boot_again(&mut self) {
        self.all_processes_end();
        self.boot += 1;
        self.now_ms += 120_000;
        self.elapsed_ms += 120_000;
        self.note_outage();
        self.up_ms = 30_000;
        self.start_services_at_boot();
    }

    fn start_services_at_boot(&mut self) {
        if self.settings.starts_at_boot {
            self.start_everything();
        }
    }
}
