//! Aftercare: messages that were given back by an undo or a release and whose run is closed are settled by
//! evidence when it appears, since no step looks for it any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mailmend_proto::run::{BatchId, Custody, Event, RunId, RunState};

use crate::custody::settle::{Settling, settle};
use crate::custody::{CustodyError, Desk, Records};
use crate::faults::known;
use crate::journal::JournalError;
use crate::station::Station;

/// The time between two looks at a run: the first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const MOST_PAUSE: Duration = Duration::from_secs(600);

/// How long the logs may lag behind a message that has left the queue.
const GRACE: Duration = Duration::from_secs(600);

/// How long a run is looked after. A message that waits for longer is the next run's.
const LIMIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Looks after closed runs.
pub(crate) struct Aftercare {
    station: Arc<Station>,
    patients: Mutex<Option<BTreeMap<RunId, Patient>>>,
}

/// A closed run with messages that were given back and are not proven delivered.
#[derive(Debug, Clone)]
struct Patient {
    next: Duration,
    pause: Duration,
    unproven_since: Option<Duration>,
    until: Duration,
}

/// The batches of a closed run in which something given back is not settled.
fn unsettled(state: &RunState) -> Vec<BatchId> {
    if state.closed.is_none() {
        return Vec::new();
    }
    let replaying = |entry: &mailmend_proto::run::Entry| entry.custody == Custody::Replaying;
    state
        .batches
        .iter()
        .filter(|(_, batch)| batch.entries.iter().any(replaying))
        .map(|(id, _)| *id)
        .collect()
}

impl Aftercare {
    pub(crate) fn new(station: Arc<Station>) -> Self {
        Self {
            station,
            patients: Mutex::new(None),
        }
    }

    fn patients(&self) -> MutexGuard<'_, Option<BTreeMap<RunId, Patient>>> {
        self.patients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, run: RunId, state: &RunState) {
        if unsettled(state).is_empty() {
            return;
        }
        let now = self.station.now().since_boot;
        let patient = Patient {
            next: now,
            pause: FIRST_PAUSE,
            unproven_since: None,
            until: now + LIMIT,
        };
        if let Some(patients) = &mut *self.patients() {
            patients.entry(run).or_insert(patient);
        }
    }

    /// A run has been closed: it may need looking after.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub(crate) fn closed(&self, run: RunId) -> Result<(), JournalError> {
        self.admit(run, &*self.station.state(run)?);
        Ok(())
    }

    /// Looks at every run whose turn it is. The first look reads the journal for runs of earlier lives.
    ///
    /// # Errors
    /// Where the journal cannot be read or written.
    pub(crate) fn look(&self) -> Result<(), JournalError> {
        if self.patients().is_none() {
            *self.patients() = Some(BTreeMap::new());
            for run in self.station.journal.runs() {
                self.closed(run)?;
            }
        }
        let now = self.station.now().since_boot;
        let due: Vec<RunId> = self
            .patients()
            .iter()
            .flatten()
            .filter(|(_, patient)| patient.next <= now)
            .map(|(run, _)| *run)
            .collect();
        for run in due {
            // Whoever works on services is not waited for: there is time.
            let Some(_alone) = self.station.try_disturb() else {
                return Ok(());
            };
            self.attend(run, now)?;
        }
        Ok(())
    }

    fn attend(&self, run: RunId, now: Duration) -> Result<(), JournalError> {
        let Some(mut patient) = self
            .patients()
            .iter()
            .flatten()
            .find_map(|(id, patient)| (*id == run).then(|| patient.clone()))
        else {
            return Ok(());
        };
        let batches = unsettled(&*self.station.state(run)?);
        let grace_over = patient
            .unproven_since
            .is_some_and(|since| now >= since + GRACE);
        let mut sum = Settling::default();
        let (mut doubted, mut failed) = (0, false);
        for batch in batches {
            match self.settle(run, batch, grace_over) {
                Ok((settling, new)) => {
                    sum.add(settling);
                    doubted += new;
                }
                Err(CustodyError::Journal(error)) => return Err(error),
                Err(CustodyError::Unsure { why }) => return Err(JournalError::Poisoned { why }),
                Err(error) => {
                    tracing::warn!(%run, %batch, %error, "what was given back could not be looked after");
                    failed = true;
                }
            }
        }
        if doubted > 0 {
            let text = format!(
                "{doubted} messages that were given back have left the queue and nothing proves their delivery"
            );
            let code = const { known("A069-in-doubt") }.into();
            self.station
                .record(run, vec![Event::Alarm { code, text }])?;
        }
        let over = sum.is_over() && !failed;
        patient.unproven_since = if sum.unproven > 0 {
            Some(patient.unproven_since.unwrap_or(now))
        } else {
            None
        };
        patient.next = now + patient.pause;
        patient.pause = (patient.pause * 2).min(MOST_PAUSE);
        if let Some(patients) = &mut *self.patients() {
            if over || now >= patient.until {
                patients.remove(&run);
            } else {
                patients.insert(run, patient);
            }
        }
        Ok(())
    }

    /// Settles one batch; also how many are in doubt only now.
    fn settle(
        &self,
        run: RunId,
        batch: BatchId,
        grace_over: bool,
    ) -> Result<(Settling, u64), CustodyError> {
        let desk = Desk {
            host: self.station.host.as_ref(),
            journal: &self.station.journal,
            run,
        };
        let in_doubt = || -> Result<u64, CustodyError> {
            let state = self.station.state(run)?;
            let counts = state.custody_counts();
            Ok(counts.get(&Custody::InDoubt).copied().unwrap_or(0))
        };
        let before = in_doubt()?;
        let settling = settle(&desk, batch, &Records(desk.host), grace_over)?;
        Ok((settling, in_doubt()?.saturating_sub(before)))
    }
}
