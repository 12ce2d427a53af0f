//! Finishing what a crash interrupted.
//!
//! Recovery is the ordinary path: a batch or replay that was intended and not written down as finished
//! is finished by the same code that does it the first time, from the journal and from which names
//! are there. It is safe to interrupt and to repeat.

use mailmend_proto::run::{BatchId, Event, RunState, ServiceChange};

use super::settle::settle;
use super::{CustodyError, Desk, Evidence, Stopped, copies, quarantine, replay, whole, withdraw};

/// What recovery knows of the service that owns the queues.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// Proof that it is stopped now. Without it no file moves into or out of a queue: what was taken is
    /// kept, what was not is left.
    pub stopped: Option<&'a Stopped>,
    /// Whether it may have run since the agent's last record, other than by a start that the agent
    /// itself intended: started by hand, or with the machine.
    pub may_have_run: bool,
}

/// What recovery did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Batches that were finished.
    pub batches: Vec<BatchId>,
    /// Replays that were finished.
    pub replays: Vec<(BatchId, u32)>,
    /// Names that an interrupted withdrawal had left in a queue, now removed.
    pub withdrawn: u64,
    /// Entries that are in doubt: the service may have sent them, or they are missing.
    pub in_doubt: u64,
}

/// Whether a run has a batch or a replay that was intended and is not finished. Where not, recovery
/// still takes names out of the queues that an interrupted withdrawal left there.
#[must_use]
pub fn needed(state: &RunState) -> bool {
    state
        .batches
        .values()
        .any(|batch| !batch.taken || batch.replays.values().any(|replay| !replay.placed))
        || !state.folders.is_empty()
}

/// Finishes the run's batches and replays that were interrupted, and withdrawals of any run. Call it
/// before every start of the service, also where [`needed`] says no.
///
/// # Errors
/// Where the machine or the journal fails; calling it again goes on.
pub fn recover(
    desk: &Desk<'_>,
    circumstances: Circumstances<'_>,
    evidence: &dyn Evidence,
) -> Result<Recovered, CustodyError> {
    let mut recovered = Recovered::default();
    if let Some(stopped) = circumstances.stopped {
        stopped.still(desk.host)?;
    }
    let Some(state) = desk.journal.state(desk.run)? else {
        return Ok(recovered);
    };
    let batches: Vec<BatchId> = state
        .batches
        .iter()
        .filter(|(_, batch)| !batch.taken)
        .map(|(id, _)| *id)
        .collect();
    let replays: Vec<(BatchId, u32)> = state
        .batches
        .iter()
        .flat_map(|(id, batch)| {
            let open = batch.replays.iter().filter(|(_, replay)| !replay.placed);
            open.map(|(number, _)| (*id, *number))
        })
        .collect();
    let folders: Vec<BatchId> = state.folders.keys().copied().collect();
    // Whoever holds the state while the journal appends to it makes it copy all entries.
    drop(state);

    for id in folders {
        let ran = circumstances.may_have_run || started_after(desk, Intention::Batch(id))?;
        whole::finish(desk, id, circumstances.stopped, ran)?;
        recovered.batches.push(id);
    }
    for id in batches {
        if desk.batch(id)?.copied_from.is_some() {
            copies::finish(desk, id)?;
            recovered.batches.push(id);
            continue;
        }
        let ran = circumstances.may_have_run || started_after(desk, Intention::Batch(id))?;
        let interrupted = quarantine::Interrupted::Yes {
            ran: ran.then_some(evidence),
        };
        let finished = quarantine::finish(desk, id, circumstances.stopped, interrupted)?;
        recovered.in_doubt += finished.in_doubt;
        recovered.batches.push(id);
    }
    for (id, number) in replays {
        let ran = circumstances.may_have_run || started_after(desk, Intention::Replay(id, number))?;
        replay::finish(desk, id, number, circumstances.stopped, ran)?;
        if ran {
            let settling = settle(desk, id, evidence, true)?;
            recovered.in_doubt += settling.in_doubt;
        }
        recovered.replays.push((id, number));
    }
    if circumstances.stopped.is_some() {
        recovered.withdrawn = withdraw::finish(desk)?;
    }
    Ok(recovered)
}

/// What was intended.
#[derive(PartialEq, Eq)]
enum Intention {
    Batch(BatchId),
    Replay(BatchId, u32),
}

/// Whether a start was intended, or seen, after that. A stop that had to be asked for counts too: where the
/// journal failed, the service was started without a record, and so it was where somebody did it by hand.
fn started_after(desk: &Desk<'_>, what: Intention) -> Result<bool, CustodyError> {
    let mut intended = false;
    for record in desk.journal.records(desk.run)? {
        match record.event {
            Event::BatchIntended { batch, .. } | Event::FolderIntended { batch, .. } => {
                intended |= what == Intention::Batch(batch);
            }
            Event::ReplayIntended { batch, replay, .. } => {
                intended |= what == Intention::Replay(batch, replay);
            }
            Event::ServiceChanged {
                change:
                    ServiceChange::StartIntended
                    | ServiceChange::Started
                    | ServiceChange::Died
                    | ServiceChange::StopIntended
                    | ServiceChange::KillIntended,
                ..
            } if intended => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}
