//! Fleet immunity in the engine: the looks through the queues, and the two orders that are about fingerprints.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mailmend_proto::run::{BatchId, Custody, Event, PoisonProof, RunId};
use mailmend_proto::wire;
use uuid::Uuid;

use super::orders::unwritten;
use super::person::{batch, malformed};
use super::{Engine, lock};
use crate::custody::{CustodyError, Desk, Records, immune, verify};
use crate::faults::known;
use crate::immunity::{DUTY, ImmunityError};
use crate::inbox::Refusal;
use crate::journal::JournalError;
use crate::release;

/// The time between two looks of immunity through the queues, in uptime.
const LOOK: Duration = Duration::from_secs(2);

fn refused(why: impl Into<String>) -> Refusal {
    Refusal::new(const { known("A145-fingerprint-refused") }, why)
}

fn custody(error: CustodyError) -> Refusal {
    match error {
        CustodyError::Refused { code, why } => Refusal::new(code, why),
        CustodyError::Journal(error) => unwritten(error),
        error => refused(format!("could not look at the messages: {error}")),
    }
}

impl Engine {
    pub(super) fn is_immunity(&self, run: RunId) -> Result<bool, JournalError> {
        let records = self.0.station.journal.records(run)?;
        Ok(records.first().is_some_and(
            |first| matches!(&first.event, Event::DutyBegan { duty, .. } if duty == DUTY),
        ))
    }

    /// Keeps the fingerprints of poison in this folder from now on, and takes what was kept there. Before
    /// [`Self::recover`], so that they hold for the first start of the service.
    pub fn keep_immunity(&self, data: &Path) {
        self.0.station.immunity.keep_in(data);
    }

    /// Takes the fingerprints of poison that stand, in the place of the former ones. Durable on return.
    ///
    /// # Errors
    /// Where they make no sense or cannot be kept; the former ones stay.
    pub fn immunize(&self, sent: wire::Immunity) -> Result<(), ImmunityError> {
        self.0.station.immunity.take(sent)
    }

    /// Lets immunity look through the queues once. Not for an engine with threads.
    ///
    /// # Errors
    /// Where nothing can be written down.
    pub fn look_for_poison(&self) -> Result<(), JournalError> {
        self.0.immunity.look()
    }

    pub(super) fn start_immunity(&self) {
        let station = Arc::clone(&self.0.station);
        let engine = self.clone();
        let spawned = std::thread::Builder::new()
            .name("immunity".into())
            .spawn(move || {
                while !station.stopping() {
                    if let Err(error) = engine.look_for_poison() {
                        tracing::error!(%error, "immunity cannot write down what it sees");
                    }
                    let until = station.now().since_boot + LOOK;
                    // Interrupted only by the shutdown that ends the loop.
                    let _ = station.wait_for(until, LOOK, || Ok(None::<()>));
                    // A simulated clock does not wait: without a rest in real time nobody else gets a turn.
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        match spawned {
            Ok(thread) => lock(&self.0.working).threads.push(thread),
            Err(error) => tracing::error!(%error, "could not start immunity"),
        }
    }

    /// Tells what a message in custody is known by, on a person's word that it is poison. Its state stays as it is.
    pub(super) fn told_apart(
        &self,
        run: RunId,
        (id, order): (Uuid, &wire::Order),
        wanted: &wire::Immunize,
    ) -> Result<(), Refusal> {
        let station = &self.0.station;
        let desk = Desk {
            host: station.host.as_ref(),
            journal: &station.journal,
            run,
        };
        let batch = batch(&wanted.batch)?;
        let state = station.state(run).map_err(unwritten)?;
        let found = state.batches.get(&batch).cloned().ok_or_else(|| {
            Refusal::new(
                const { known("A086-batch-unknown") },
                format!("run `{run}` has no batch `{batch}` on this server"),
            )
        })?;
        drop(state);
        let Some(entry) = found.entries.get(wanted.entry as usize) else {
            return Err(refused(format!(
                "batch `{batch}` has {} messages, and no message {}",
                found.entries.len(),
                wanted.entry
            )));
        };
        if entry.custody == Custody::Live
            || verify::verify(&desk, &found, [wanted.entry].into()).whole != [wanted.entry]
        {
            return Err(refused(format!(
                "the bytes of `{}` are not whole in the held folder, so its fingerprint cannot be told",
                entry.name
            )));
        }
        let how = format!("{} says: {}", order.by, order.why);
        let mut events = vec![Event::SettleOrdered {
            order: id,
            by: order.by.clone(),
            why: order.why.clone(),
        }];
        let one = [(wanted.entry, PoisonProof::Word, how)];
        events.extend(immune::proven(&desk, batch, &found, one));
        station.record(run, events).map_err(unwritten)
    }

    /// Gives back what was set aside in a batch because of a fingerprint that was withdrawn: held again in the
    /// transaction that orders the release.
    pub(super) fn withdrawn(
        &self,
        run: RunId,
        (id, order): (Uuid, &wire::Order),
        only: Option<BatchId>,
        (fingerprint, fenced): (&str, Option<Event>),
    ) -> Result<(), Refusal> {
        let station = &self.0.station;
        let fingerprint = Uuid::try_parse(fingerprint)
            .map_err(|why| malformed(format!("the fingerprint has no id: {why}")))?;
        let batch = only.ok_or_else(|| malformed("the batch of the fingerprint is missing"))?;
        if station.immunity.now().has(fingerprint) {
            return Err(refused(format!(
                "fingerprint {fingerprint} still stands on this server; the list without it has not been taken yet"
            )));
        }
        let state = station.state(run).map_err(unwritten)?;
        if state.closed.is_none() {
            return Err(Refusal::new(
                const { known("A073-release-refused") },
                format!("run `{run}` is not closed on this server; it ends first"),
            ));
        }
        let beside = release::beside(station, run, &state).map_err(unwritten)?;
        drop(state);
        if let Some(refusal) = beside.or_else(|| release::refused_service(station)) {
            return Err(refusal);
        }
        let desk = Desk {
            host: station.host.as_ref(),
            journal: &station.journal,
            run,
        };
        let why = format!("{}: {} (order {id})", order.by, order.why);
        let settled = immune::withdrawn(&desk, batch, fingerprint, &why, &Records(desk.host))
            .map_err(custody)?;
        let any = settled.iter().any(|one| one.custody == Custody::Held);
        let (by, why) = (order.by.clone(), order.why.clone());
        let mut events = Vec::new();
        if !settled.is_empty() {
            events.push(Event::Settled {
                batch,
                entries: settled,
            });
        }
        // Without anything to give back the order is taken all the same: it was carried out, or somebody was faster.
        events.push(if any {
            Event::ReleaseOrdered {
                order: id,
                by,
                why,
                batch: Some(batch),
            }
        } else {
            Event::SettleOrdered { order: id, by, why }
        });
        // Last: half a report of it must not look like a grant that is over.
        events.extend(fenced);
        station.record(run, events).map_err(unwritten)?;
        if any {
            self.go_on(run);
        }
        Ok(())
    }
}
