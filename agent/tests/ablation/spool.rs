//! Custody on a simulated server, step by step, without a run around it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mailmend_agent::custody::quarantine::{self, Take, Taken};
use mailmend_agent::custody::replay::{self, Give, Given, Which};
use mailmend_agent::custody::{CustodyError, Desk, HowStopped, Limits, Records, Stopped, ledger};
use mailmend_agent::host::simulated::{SimHost, SimSettings, SimWorld};
use mailmend_agent::host::{Clock, Services};
use mailmend_agent::journal::{Journal, MemoryJournal};
use mailmend_policy::condition::Queue;
use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServiceName;
use mailmend_proto::run::{BatchId, Custody, Event, RunId};
use uuid::Uuid;

use crate::site::IMC;

pub(crate) const OUT: &str = "/exchsrvr/imcdata/Out";
pub(crate) const RUN: RunId = RunId(Uuid::from_u128(0xA));
pub(crate) const BATCH: BatchId = BatchId(Uuid::from_u128(1));

pub(crate) fn imc() -> ServiceName {
    IMC.parse().unwrap()
}

/// A server with mail in its queue, slow enough that the mail waits while the story is told.
pub(crate) struct Spool {
    pub(crate) world: SimWorld,
    pub(crate) kept: MemoryJournal,
}

impl Spool {
    pub(crate) fn new(messages: usize) -> Self {
        Self::sending(messages, 60_000)
    }

    /// A server that has sent a message after so many milliseconds.
    pub(crate) fn sending(messages: usize, send_ms: u64) -> Self {
        let world = SimWorld::new(SimSettings {
            stale_routes: false,
            send_ms,
            connections: 1,
            starts_at_boot: false,
            ..SimSettings::default()
        });
        world.add_outbound(messages, 60);
        let kept = MemoryJournal::new(Uuid::from_u128(1));
        Self { world, kept }
    }

    /// A new life of the agent, which dies at its n-th point; 0 is never.
    pub(crate) fn life<T>(&self, dies_at: u64, act: impl FnOnce(&Desk<'_>, &SimHost) -> T) -> T {
        let host = self.world.host();
        self.world.kill_at(dies_at);
        let switch = self.world.kill_switch();
        let kept = self.kept.clone();
        let kept = kept.with_hook(Arc::new(move |point| switch.point(point)));
        let journal = Journal::memory(&kept).unwrap();
        if journal.state(RUN).unwrap().is_none() {
            let plan = Digest::of(b"plan");
            let admitted = Event::Admitted {
                fence: 1,
                plan,
                policy: plan,
                assignment: Vec::new(),
            };
            journal.append(RUN, host.wall_ms(), vec![admitted]).unwrap();
        }
        let desk = Desk {
            host: &host,
            journal: &journal,
            run: RUN,
        };
        act(&desk, &host)
    }

    /// Every spool name in custody, with its states.
    pub(crate) fn states(&self) -> Vec<(String, Custody)> {
        let lines = ledger::of_server(&Journal::memory(&self.kept).unwrap()).unwrap();
        lines
            .into_iter()
            .map(|line| (line.name, line.custody))
            .collect()
    }

    /// Panics where a message is nowhere.
    pub(crate) fn nothing_is_lost(&self) {
        let balance = self.world.balance();
        assert!(balance.lost().is_empty(), "lost: {:?}", balance.lost());
    }
}

/// Asks the service to stop; in this world a message on its way is finished first.
pub(crate) fn ask_to_stop(host: &SimHost) {
    host.request_stop(&imc()).unwrap();
    host.sleep(Duration::from_secs(90));
}

pub(crate) fn stopped(host: &SimHost) -> Result<Stopped, CustodyError> {
    Stopped::prove(host, &imc(), None, HowStopped::Cleanly)
}

pub(crate) fn take(files: u64) -> Take {
    Take {
        batch: BATCH,
        step: Some(3),
        queue: Queue::OutboundAwaitingDelivery,
        source: PathBuf::from(OUT),
        held_root: PathBuf::from("/exchsrvr/mailmend-held"),
        limits: Limits {
            files,
            bytes: u64::MAX,
            least_free: 0,
        },
    }
}

/// Stops the service and takes the queue into custody.
pub(crate) fn quarantine(desk: &Desk<'_>, host: &SimHost) -> Result<Taken, CustodyError> {
    let prepared = quarantine::prepare(desk, take(u64::MAX))?;
    ask_to_stop(host);
    prepared.take(desk, &stopped(host)?, &Records(host))
}

/// Gives back everything that is held, service being stopped.
pub(crate) fn give_back(desk: &Desk<'_>, host: &SimHost) -> Result<Given, CustodyError> {
    let give = Give {
        batch: BATCH,
        step: None,
        target: Path::new(OUT).to_path_buf(),
        which: Which::All,
    };
    replay::check(desk, give)?.place(desk, &stopped(host)?)
}
