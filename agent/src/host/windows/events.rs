//! The event log of a machine, followed record by record.

mod followed;
mod legacy;
mod record;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use self::followed::Followed;
use self::record::Record;
use super::machine::Machine;
use super::registry::MachineRegistry;
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
}

impl EventLog {
    pub(super) fn of(machine: Machine, bookmark: PathBuf) -> Self {
        Self {
            registry: MachineRegistry::of(machine.clone()),
            machine,
            bookmark,
            logs: Mutex::default(),
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
        let mut log = legacy::Log::open(&self.machine, name)?;
        followed.follow(&mut log)?;
        followed.since(source, since_ms).map_err(|why| {
            let attempted = format!("read the events of `{source}` of {}", self.machine);
            HostError::unchanged(crate::host::HostErrorKind::Malformed, attempted, why)
        })
    }
}

impl From<&Record> for EventRecord {
    fn from(record: &Record) -> Self {
        Self {
            at_ms: record.at_ms,
            source: record.source.clone(),
            id: record.id,
            description: record.text.clone(),
        }
    }
}
