//! One life of an agent on the volume: it takes the queue into custody, gives it back, takes it back (names are
//! removed then) and gives it back again; what an earlier life left is finished first.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mailmend_agent::custody::quarantine::{self, Take};
use mailmend_agent::custody::recover::{self, Circumstances};
use mailmend_agent::custody::replay::{self, Give, Which};
use mailmend_agent::custody::{CustodyError, Desk, Evidence, HowStopped, Limits, Stopped, whole};
use mailmend_agent::evidence::{MessageKey, Sent};
use mailmend_agent::host::Host;
use mailmend_agent::journal::Journal;
use mailmend_policy::condition::Queue;
use mailmend_policy::digest::Digest;
use mailmend_proto::run::{BatchId, Custody, Event, RunId};
use uuid::Uuid;

use super::host::{CutHost, end_without_power};
use crate::lab_error::{Attempting, LabError};

/// How a life ends that has cut its own power.
pub(super) const CUT: i32 = 42;

pub(super) const RUN: RunId = RunId(Uuid::from_u128(0xA));

/// Where the power fails.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// At that point, counted from 1: each call on files that changes something has one before and one after.
    At(u64),
    /// So long after the life began.
    After(Duration),
}

/// The folders on the volume.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    top: PathBuf,
}

/// The service never runs here, so nothing was ever sent.
struct NothingSent;

impl Evidence for NothingSent {
    fn of(&self, messages: &[MessageKey]) -> Vec<Sent> {
        messages.iter().map(|_| Sent::NotSeen).collect()
    }
}

/// The spool name and the bytes of a message.
pub(super) fn message(number: u64, seed: u64) -> (String, Vec<u8>) {
    let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(1_000).wrapping_add(number));
    let length = rng.usize(1..6_000);
    let bytes = std::iter::repeat_with(|| rng.u8(..)).take(length).collect();
    (format!("MAIL{number:04}"), bytes)
}

impl Ground {
    pub(super) fn at(top: &Path) -> Self {
        Self {
            top: top.to_owned(),
        }
    }

    pub(super) fn out(&self) -> PathBuf {
        self.top.join("imcdata/Out")
    }

    pub(super) fn held(&self) -> PathBuf {
        self.top.join("mailmend-held")
    }

    /// Whether the queue is taken as a whole folder: where the world has an archive in it.
    fn whole(&self) -> bool {
        self.archives().iter().any(|archive| archive.is_dir())
    }

    /// Where the archive may be: in the queue's folder, or held with it until it is put back.
    pub(super) fn archives(&self) -> Vec<PathBuf> {
        let held = std::fs::read_dir(self.held()).into_iter().flatten();
        let held = held.filter_map(|entry| Some(entry.ok()?.path().join("Archive")));
        std::iter::once(self.out().join("Archive"))
            .chain(held)
            .filter(|archive| archive.is_dir())
            .collect()
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.top.join("data/agent.journal")
    }

    /// Makes the folders and the messages, durable.
    pub(super) fn lay_out(&self, messages: u64, seed: u64) -> Result<(), LabError> {
        for folder in [self.out(), self.top.join("data")] {
            std::fs::create_dir_all(&folder)
                .attempting(|| format!("make `{}`", folder.display()))?;
        }
        if seed.is_multiple_of(2) {
            let archive = self.out().join("Archive");
            std::fs::create_dir(&archive).attempting(|| format!("make `{}`", archive.display()))?;
        }
        for number in 0..messages {
            let (name, bytes) = message(number, seed);
            let path = self.out().join(name);
            std::fs::write(&path, bytes).attempting(|| format!("write `{}`", path.display()))?;
        }
        let top = std::fs::File::open(&self.top)
            .attempting(|| format!("open `{}`", self.top.display()))?;
        rustix::fs::syncfs(&top).attempting(|| format!("sync `{}`", self.top.display()))
    }

    /// A life in a process of its own, which ends with the power. Returns how many records of the journal it
    /// knew to be durable.
    pub(super) fn live(&self, cut: Cut) -> Result<u64, LabError> {
        let program = std::env::current_exe().attempting(|| "find this program".into())?;
        let mut command = Command::new(program);
        command.arg("power-cuts").arg("--life").arg(&self.top);
        match cut {
            Cut::At(point) => command.args(["--at", &point.to_string()]),
            Cut::After(time) => command.args(["--after-us", &time.as_micros().to_string()]),
        };
        let output = command
            .stdin(Stdio::null())
            .output()
            .attempting(|| format!("run `{command:?}`"))?;
        let told = String::from_utf8_lossy(&output.stdout);
        // The last line may have been cut off with the process.
        let whole = told.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let known = whole.lines().filter_map(|line| line.parse().ok()).max();
        if output.status.code() == Some(CUT) {
            return Ok(known.unwrap_or(0));
        }
        Err(LabError::Refused {
            attempted: format!("live until {cut:?}"),
            reason: format!(
                "{}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ),
        })
    }

    /// A life that nothing disturbs, in this process. Returns how many points it passed.
    pub(super) fn live_to_the_end(&self) -> Result<u64, LabError> {
        let refused = |reason: String| LabError::Refused {
            attempted: "live undisturbed".into(),
            reason,
        };
        let journal = Journal::open(&self.journal()).map_err(|error| refused(error.to_string()))?;
        let host = CutHost::new(journal.clone(), &self.top, None).quiet();
        self.story(&host, &journal)
            .map_err(|error| refused(error.to_string()))?;
        Ok(host.passed())
    }

    /// Finishes what the last life left.
    pub(super) fn mend(&self, host: &dyn Host, journal: &Journal) -> Result<(), CustodyError> {
        let desk = Desk {
            host,
            journal,
            run: RUN,
        };
        let stopped = self.stopped(host)?;
        let circumstances = Circumstances {
            stopped: Some(&stopped),
            may_have_run: false,
        };
        recover::recover(&desk, circumstances, &NothingSent)?;
        let folders: Vec<BatchId> = match journal.state(RUN)? {
            Some(state) => state.folders.keys().copied().collect(),
            None => Vec::new(),
        };
        for folder in folders {
            whole::take_stock(&desk, folder, None, &NothingSent)?;
        }
        Ok(())
    }

    fn stopped(&self, host: &dyn Host) -> Result<Stopped, CustodyError> {
        let service = "MSExchangeIMC".parse().map_err(|_| {
            // The name is well-formed.
            CustodyError::Unsure {
                why: "no service name".into(),
            }
        })?;
        Stopped::prove(host, &service, None, HowStopped::Cleanly)
    }

    pub(super) fn story(&self, host: &dyn Host, journal: &Journal) -> Result<(), CustodyError> {
        if journal.state(RUN)?.is_none() {
            let plan = Digest::of(b"plan");
            let admitted = Event::Admitted {
                fence: 1,
                plan,
                policy: plan,
                assignment: Vec::new(),
            };
            journal.append(RUN, host.clock().wall_ms(), vec![admitted])?;
        }
        self.mend(host, journal)?;
        let desk = Desk {
            host,
            journal,
            run: RUN,
        };
        for round in 1..=2_u128 {
            let take = Take {
                batch: BatchId(Uuid::from_u128(round)),
                step: Some(3),
                queue: Queue::OutboundAwaitingDelivery,
                source: self.out(),
                held_root: self.held(),
                limits: Limits {
                    files: u64::MAX,
                    bytes: u64::MAX,
                    least_free: 0,
                },
            };
            let stopped = self.stopped(host)?;
            // Half of the queues are taken as whole folders.
            let whole_from = u64::from(self.whole());
            let prepared = quarantine::prepare(&desk, take)?.whole_from(&desk, whole_from);
            let taken = prepared.take(&desk, &stopped, &NothingSent)?;
            if let (Some(batch), Some(survey)) = (taken.batch, taken.unlisted) {
                whole::take_stock(&desk, batch, Some(*survey), &NothingSent)?;
            }
            self.give_back(&desk, &stopped)?;
        }
        Ok(())
    }

    fn give_back(&self, desk: &Desk<'_>, stopped: &Stopped) -> Result<(), CustodyError> {
        let Some(state) = desk.journal.state(RUN)? else {
            return Ok(());
        };
        let held: Vec<BatchId> = state
            .batches
            .iter()
            .filter(|(_, batch)| {
                let mut entries = batch.entries.iter();
                entries.any(|entry| entry.custody == Custody::Held)
            })
            .map(|(id, _)| *id)
            .collect();
        drop(state);
        for batch in held {
            let give = Give {
                batch,
                step: None,
                target: self.out(),
                which: Which::All,
            };
            replay::check(desk, give)?.place(desk, stopped)?;
        }
        Ok(())
    }
}

/// A life that ends with the power: the process that `Ground::live` starts.
///
/// # Errors
/// Where the journal or custody refuses before the power fails.
pub fn run(top: &Path, cut: Cut) -> Result<(), LabError> {
    let ground = Ground::at(top);
    if let Cut::After(time) = cut {
        let top = top.to_owned();
        std::thread::spawn(move || {
            std::thread::sleep(time);
            end_without_power(&top)
        });
    }
    let at = match cut {
        Cut::At(point) => Some(point),
        Cut::After(_) => None,
    };
    let lived = Journal::open(&ground.journal())
        .map_err(CustodyError::from)
        .and_then(|journal| ground.story(&CutHost::new(journal.clone(), top, at), &journal));
    match (lived, cut) {
        // It came to its end first: the power fails now.
        (Ok(()), _) => end_without_power(top),
        // The power is failing: the thread that cut it ends the process.
        (Err(_), Cut::After(_)) => loop {
            std::thread::park();
        },
        (Err(error), Cut::At(_)) => Err(LabError::Refused {
            attempted: "live".into(),
            reason: error.to_string(),
        }),
    }
}
