//! Custody: message files that the agent takes out of the server's queues, keeps, and gives back.
//!
//! A message file is always in exactly one state, and every change of it is a record of the journal
//! that was durable before the files changed. Files move only by verbs that never replace anything.
//! The rooms: [`survey`] looks while the service still runs; [`quarantine`] takes; [`manifest`] is
//! what was taken; [`verify`] reads it again; [`replay`] gives back; [`settle`] learns what became
//! of it; [`in_doubt`] sets aside what may have been sent; [`withdraw`] takes back what a replay
//! placed; [`immune`] takes what has the fingerprint of a poison; [`copies`] takes up what escrow kept; [`word`] takes a person's; [`recover`] finishes what a crash interrupted; [`index`] sets `queue.dat` aside;
//! [`whole`] takes a large queue with its folder; [`ledger`] tells it all to people; [`audit`] compares it with disk and logs. [`search`] decides how to find what crashes the service.

pub mod audit;
pub mod copies;
mod halves;
pub mod immune;
pub mod in_doubt;
pub mod index;
pub mod ledger;
pub mod manifest;
pub mod named;
pub mod quarantine;
pub mod recover;
pub mod replay;
pub mod search;
pub mod settle;
pub mod survey;
pub mod verify;
pub mod whole;
pub mod withdraw;
pub mod word;

use std::path::PathBuf;

use mailmend_policy::condition::Queue;
use mailmend_policy::name::ServiceName;
use mailmend_proto::run::{BatchId, Event, RunId};

use crate::ablation::{Mechanism, off};
use crate::evidence::{Direction, MessageKey, Sent, what_was_sent};
use crate::faults::known;
use crate::host::{Effect, Host, HostError, HostErrorKind, ProcessIdentity, ServiceState};
use crate::journal::{Journal, JournalError};

/// Why custody could not be taken, kept or given back.
#[derive(Debug, thiserror::Error)]
pub enum CustodyError {
    /// The machine failed; its effect says whether files may have moved.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The journal refused; whatever was about to happen did not.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A precondition does not hold. Nothing was changed.
    #[error("{code}: {why}")]
    Refused {
        /// The code in `docs/faults.md`.
        code: &'static str,
        /// What does not hold, with values, and what to do.
        why: String,
    },
    /// A folder could not be synced or a call failed half way. The journal is poisoned: no file moves
    /// any more until the agent starts again and looks. Service may be started.
    #[error("{}: {why}", DURABILITY)]
    Unsure {
        /// What failed.
        why: String,
    },
}

const DURABILITY: &str = known("A085-durability-unknown");

impl CustodyError {
    /// Whether anything may have changed.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::Host(error) => error.effect,
            Self::Refused { .. }
            | Self::Journal(
                JournalError::Illegal(_) | JournalError::Poisoned { .. } | JournalError::ReadOnly,
            ) => Effect::None,
            Self::Journal(_) | Self::Unsure { .. } => Effect::Unknown,
        }
    }

    /// The same failure after something was intended: files may have moved, whatever the call that
    /// failed knows of itself.
    fn under_way(self) -> Self {
        match self {
            Self::Host(error) => Self::Host(HostError {
                effect: Effect::Unknown,
                ..error
            }),
            error => error,
        }
    }

    fn refused(code: &'static str, why: impl Into<String>) -> Self {
        Self::Refused {
            code,
            why: why.into(),
        }
    }
}

/// How the service that owns the queue came to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HowStopped {
    /// It was asked to stop, and did: what it was sending, it finished.
    Cleanly,
    /// Its process was ended, died, or nobody knows: what it was sending may have been sent.
    Uncleanly,
}

/// Proof that the service which owns a queue is stopped. Files move in and out of a queue only with it.
#[derive(Debug, Clone)]
pub struct Stopped {
    service: ServiceName,
    process: Option<ProcessIdentity>,
    how: HowStopped,
}

impl Stopped {
    /// Proves it: the manager says so, and the process that it had, where that is known, is gone.
    ///
    /// # Errors
    /// `A080-service-not-stopped` where it is not, and the host's error where that cannot be told.
    pub fn prove(
        host: &dyn Host,
        service: &ServiceName,
        process: Option<&ProcessIdentity>,
        how: HowStopped,
    ) -> Result<Self, CustodyError> {
        let proof = Self {
            service: service.clone(),
            process: process.cloned(),
            how,
        };
        proof.still(host)?;
        Ok(proof)
    }

    /// Which service.
    #[must_use]
    pub const fn service(&self) -> &ServiceName {
        &self.service
    }

    /// How it came to be stopped.
    #[must_use]
    pub const fn how(&self) -> HowStopped {
        self.how
    }

    /// Proves it once more between an intention and what was intended: reading logs and writing records
    /// takes time, and somebody may have started the service meanwhile. Nothing is moved then.
    fn at_first_move(&self, host: &dyn Host) -> Result<(), CustodyError> {
        if off(Mechanism::StoppedAtFirstMove) {
            return Ok(());
        }
        self.still(host)
    }

    /// Proves it once more, right before files move: somebody may have started it by hand.
    fn still(&self, host: &dyn Host) -> Result<(), CustodyError> {
        let status = host.services().query(&self.service)?;
        let alive = match (&status.process, &self.process) {
            (Some(process), _) => host.services().process_alive(process)?,
            (None, Some(process)) => host.services().process_alive(process)?,
            (None, None) => false,
        };
        let stopped = status.state == ServiceState::Stopped || off(Mechanism::StoppedByManager);
        let alive = alive && !off(Mechanism::StoppedByProcess);
        if stopped && !alive {
            return Ok(());
        }
        let what = if alive {
            "its process is still there"
        } else {
            "the service manager says that it is not stopped"
        };
        Err(CustodyError::refused(
            const { known("A080-service-not-stopped") },
            format!(
                "files of the queue cannot be moved while `{}` runs: {what}; nothing was moved",
                self.service
            ),
        ))
    }
}

/// What the guard allows one action, and what must stay free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At most so many files.
    pub files: u64,
    /// At most so many bytes in them.
    pub bytes: u64,
    /// So many bytes must stay free on the volume.
    pub least_free: u64,
}

/// What the server's records say about messages.
pub trait Evidence {
    /// One answer for each message, in order. What cannot be read is [`Sent::CannotTell`], never
    /// [`Sent::NotSeen`].
    fn of(&self, messages: &[MessageKey]) -> Vec<Sent>;
}

/// The evidence in the records of a machine, from when the oldest of the messages was written.
#[derive(Clone, Copy)]
pub struct Records<'a>(pub &'a dyn Host);

impl Evidence for Records<'_> {
    fn of(&self, messages: &[MessageKey]) -> Vec<Sent> {
        let Some(since_ms) = messages.iter().map(|message| message.written_ms).min() else {
            return Vec::new();
        };
        what_was_sent(self.0, since_ms, messages)
    }
}

/// The way of the messages of a queue. Unknown names are taken for outbound: more is in doubt there.
fn direction(queue: &str) -> Direction {
    if queue == Queue::InboundAwaitingConversion.name() {
        Direction::Inbound
    } else {
        Direction::Outbound
    }
}

/// Where custody acts: the machine, the journal, and the run that its records belong to.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    /// The machine.
    pub host: &'a dyn Host,
    /// The journal.
    pub journal: &'a Journal,
    /// The run or duty.
    pub run: RunId,
}

impl Desk<'_> {
    fn append(&self, events: Vec<Event>) -> Result<(), CustodyError> {
        self.append_to(self.run, events)
    }

    fn append_to(&self, run: RunId, events: Vec<Event>) -> Result<(), CustodyError> {
        let at_ms = self.host.clock().wall_ms();
        self.journal.append(run, at_ms, events)?;
        Ok(())
    }

    /// A failure after which nobody knows what the disk holds ends all moving.
    fn unsure(&self, error: &HostError) -> CustodyError {
        let why = error.to_string();
        self.journal.poison(&why);
        CustodyError::Unsure { why }
    }

    fn sync(&self, folder: &std::path::Path) -> Result<(), CustodyError> {
        self.host.spool().sync_folder(folder).or_else(|error| {
            if off(Mechanism::FailedSyncEndsMoving) {
                return Ok(());
            }
            Err(self.unsure(&error))
        })
    }

    /// This id, or one derived from it where the run has a batch of this id already: a step that took
    /// nothing the first time comes again with the same.
    fn unused(&self, batch: BatchId) -> Result<BatchId, CustodyError> {
        let Some(state) = self.journal.state(self.run)? else {
            return Ok(batch);
        };
        let mut unused = batch;
        while state.batches.contains_key(&unused) || state.folders.contains_key(&unused) {
            let hash = blake3::derive_key("mailmend next batch", unused.0.as_bytes());
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&hash[..16]);
            unused = BatchId(uuid::Builder::from_random_bytes(bytes).into_uuid());
        }
        Ok(unused)
    }

    /// The state of one batch.
    fn batch(&self, batch: BatchId) -> Result<mailmend_proto::run::Batch, CustodyError> {
        self.journal
            .state(self.run)?
            .and_then(|state| state.batches.get(&batch).cloned())
            .ok_or_else(|| {
                CustodyError::refused(
                    const { known("A086-batch-unknown") },
                    format!("run `{}` has no batch `{batch}` on this server", self.run),
                )
            })
    }
}

/// The entries of a folder, or none where the folder is not there.
fn list_if_there(
    host: &dyn Host,
    folder: &std::path::Path,
) -> Result<Option<Vec<crate::host::FileInfo>>, HostError> {
    match host.spool().list(folder) {
        Ok(entries) => Ok(Some(entries)),
        Err(error) if error.kind == HostErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn alarm(code: &'static str, text: impl Into<String>) -> Event {
    Event::Alarm {
        code: code.to_owned(),
        text: text.into(),
    }
}

/// A path as the journal keeps it. Spool folders of Exchange have names that are text.
fn text(path: &std::path::Path) -> Result<String, CustodyError> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        CustodyError::refused(
            const { known("A081-custody-precondition") },
            format!("the folder `{}` has a name that is no text", path.display()),
        )
    })
}

/// The folder that a batch is held in.
#[must_use]
pub fn held_folder(root: &std::path::Path, batch: BatchId) -> PathBuf {
    root.join(batch.to_string())
}

#[cfg(test)]
mod tests;
