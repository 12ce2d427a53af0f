//! Which services the agent itself left down: a section was handed to a person because its exit could not
//! start them. The watchdog tries them again from time to time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mailmend_policy::name::ServiceName;
use mailmend_proto::run::{Event, Record, RunId, SectionEnd, ServiceChange};

/// Folded from the journal, record by record.
#[derive(Debug, Default)]
pub(crate) struct LeftDown(Mutex<Folded>);

#[derive(Debug, Default)]
struct Folded {
    /// The last change of each service by each run that is not closed.
    changes: BTreeMap<RunId, BTreeMap<ServiceName, ServiceChange>>,
    down: BTreeSet<ServiceName>,
}

impl LeftDown {
    fn folded(&self) -> MutexGuard<'_, Folded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one more record into account.
    pub(crate) fn note(&self, record: &Record) {
        let mut folded = self.folded();
        let Folded { changes, down } = &mut *folded;
        match &record.event {
            Event::ServiceChanged {
                service, change, ..
            } => {
                let of_run = changes.entry(record.run).or_default();
                of_run.insert(service.clone(), *change);
                if *change == ServiceChange::Started {
                    down.remove(service);
                }
            }
            Event::SectionEnded {
                how: SectionEnd::HandedOver,
                ..
            } => {
                let of_run = changes.get(&record.run).into_iter().flatten();
                down.extend(
                    of_run
                        .filter(|(_, change)| **change != ServiceChange::Started)
                        .map(|(service, _)| service.clone()),
                );
            }
            Event::Closed { .. } => {
                changes.remove(&record.run);
            }
            _ => {}
        }
    }

    /// Whether the agent left this service down.
    pub(crate) fn has(&self, service: &ServiceName) -> bool {
        self.folded().down.contains(service)
    }

    /// Somebody started it.
    pub(crate) fn forget(&self, service: &ServiceName) {
        self.folded().down.remove(service);
    }
}
