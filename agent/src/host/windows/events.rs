//! The event log of a machine, followed record by record.

mod legacy;
mod rendered;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::info;

use self::rendered::Failure;
use super::machine::Machine;
use super::registry::MachineRegistry;
use crate::host::event_log::Followed;
use crate::host::{EventRecord, Events, HostError};

/// Below it each log lists the sources that write to it.
const LOGS: &str = r"SYSTEM\CurrentControlSet\Services\EventLog";
/// Where a source writes that is listed nowhere.
const APPLICATION: &str = "Application";
/// Where the service manager writes.
const SYSTEM: &str = "System";

/// The event log of a machine.
#[derive(Debug)]
pub(super) struct EventLog {
    machine: Machine,
    registry: MachineRegistry,
    /// What was read so far stands beside this file, one file for each log.
    bookmark: PathBuf,
    logs: Mutex<BTreeMap<&'static str, Followed>>,
    /// Why this Windows is read in the old way, once that is known.
    without_query: OnceLock<String>,
}

impl EventLog {
    pub(super) fn of(machine: Machine, bookmark: PathBuf) -> Self {
        Self {
            registry: MachineRegistry::of(machine.clone()),
            machine,
            bookmark,
            logs: Mutex::default(),
            without_query: OnceLock::new(),
        }
    }

    /// The log that a source writes to.
    fn log_of(&self, source: &str) -> Result<&'static str, HostError> {
        // A name with a backslash in it would be a key of another source.
        let listed = !source.contains('\\')
            && self
                .registry
                .has_key(&format!(r"{LOGS}\{SYSTEM}\{source}"))?;
        Ok(if listed { SYSTEM } else { APPLICATION })
    }

    /// Reads on in a log: by query where this Windows can, in the old way where it cannot and of another
    /// machine, which is an old one. Both tell the same records under the same numbers, so that what was read
    /// in one way is gone on from in the other.
    fn follow(&self, followed: &mut Followed, name: &str) -> Result<(), HostError> {
        let why = if self.machine.is_remote() {
            None
        } else if let Some(why) = self.without_query.get() {
            Some(why.clone())
        } else {
            let mut log = rendered::Asked::of(name);
            let result = followed.follow(&mut log);
            match log.instead {
                None => return result,
                Some(Failure::Absent(why)) => {
                    let why = self.without_query.get_or_init(|| {
                        info!("event logs are read by ReadEventLogW, since EvtQuery says: {why}");
                        why
                    });
                    Some(why.clone())
                }
                Some(Failure::Unreadable(why)) => {
                    info!("the event log `{name}` is read by ReadEventLogW this time: {why}");
                    Some(why)
                }
                Some(Failure::Error(error)) => return Err(error),
            }
        };
        let mut read = || followed.follow(&mut legacy::Log::open(&self.machine, name)?);
        read().map_err(|error| match why {
            None => error,
            Some(why) => HostError {
                reason: format!(
                    "{} (by ReadEventLogW, since EvtQuery says: {why})",
                    error.reason
                ),
                ..error
            },
        })
    }
}

impl Events for EventLog {
    fn read(&self, source: &str, since_ms: i64) -> Result<Vec<EventRecord>, HostError> {
        let name = self.log_of(source)?;
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let followed = logs.entry(name).or_insert_with(|| {
            let file = self
                .bookmark
                .with_extension(format!("{}.jsonl", name.to_ascii_lowercase()));
            Followed::kept_in(file)
        });
        self.follow(followed, name)?;
        followed.since(source, since_ms).map_err(|why| {
            let attempted = format!("read the events of `{source}` of {}", self.machine);
            HostError::unchanged(crate::host::HostErrorKind::Malformed, attempted, why)
        })
    }
}

#[cfg(test)]
mod tests;
