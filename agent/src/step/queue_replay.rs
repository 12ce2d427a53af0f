//! `queue.replay`: give files in custody back to the queue that they came from, service being stopped.

use mailmend_policy::condition::Queue;
use mailmend_policy::name::StepId;
use mailmend_policy::step::Action;
use mailmend_proto::run::{BatchId, Custody};

use super::queue_quarantine::ended;
use super::{Ready, StepEnd, StepResult, Trouble, Work};
use crate::condition::wall_before;
use crate::custody::CustodyError;
use crate::custody::named::set_named_aside;
use crate::custody::replay::{Checked, Give, Which, check};
use crate::immunity;
use crate::journal::JournalError;
use crate::queue::QueueCare;

/// Reads the held files and checks that they are whole, while service still runs.
pub(super) fn prepare(work: &Work<'_>, of: &StepId) -> Result<Result<(), String>, Trouble> {
    let (care, batches) = match held_by(work, of)? {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    match checked(work, &care, batches)? {
        Ok(checked) => {
            work.ready.put(work.step.index, Ready::Replay(checked));
            Ok(Ok(()))
        }
        Err(end) => Ok(Err(end.detail)),
    }
}

fn checked(
    work: &Work<'_>,
    care: &QueueCare<'_>,
    batches: Vec<BatchId>,
) -> Result<Result<Vec<Checked>, StepEnd>, Trouble> {
    let Action::QueueReplay {
        first,
        except_named_since,
        ..
    } = &work.step.action
    else {
        return Ok(Ok(Vec::new()));
    };
    let mut all = Vec::new();
    for batch in batches {
        if let Some(period) = except_named_since {
            let since_ms = wall_before(*period, work.host());
            // Settled before anything is selected: what is poison is not held.
            if let Err(error) = set_named_aside(&care.desk(), batch, since_ms) {
                return Ok(Err(ended(error)?));
            }
        }
        // Nor what is known to be poison from elsewhere.
        if let Err(error) = immunity::hold_back(&care.desk(), work.station, batch) {
            return Ok(Err(ended(error)?));
        }
        let give = Give {
            batch,
            step: Some(work.step.index),
            target: care.folder().to_path_buf(),
            which: first.map_or(Which::All, Which::First),
        };
        match check(&care.desk(), give) {
            Ok(checked) => all.push(checked),
            Err(error) => return Ok(Err(ended(error)?)),
        }
    }
    Ok(Ok(all))
}

/// The queue of the quarantine step whose files these are, and its batches.
pub(super) fn held_by<'a>(
    work: &'a Work<'_>,
    of: &StepId,
) -> Result<Result<(QueueCare<'a>, Vec<BatchId>), String>, Trouble> {
    let missing = || format!("step `{of}` is no quarantine of this server");
    let Some(index) = work.earlier(of) else {
        return Ok(Err(missing()));
    };
    let queue = work
        .plan
        .steps
        .iter()
        .find(|step| step.index == index)
        .and_then(|step| match &step.action {
            Action::QueueQuarantine { queue, .. } => Some(*queue),
            _ => None,
        });
    let Some(queue) = queue else {
        return Ok(Err(missing()));
    };
    let care = match work.queue_care(queue) {
        Ok(care) => care,
        Err(why) => return Ok(Err(why)),
    };
    if let Err(error) = care.list_whole_folders() {
        return match error {
            CustodyError::Journal(error) => Err(error.into()),
            CustodyError::Unsure { why } => Err(JournalError::Poisoned { why }.into()),
            error => Ok(Err(error.to_string())),
        };
    }
    let batches = care.batches_of_step(index)?;
    Ok(Ok((care, batches)))
}

pub(super) fn apply(work: &Work<'_>, of: &StepId) -> StepResult {
    let (care, batches) = match held_by(work, of)? {
        Ok(found) => found,
        Err(why) => return Ok(StepEnd::no_effect(why)),
    };
    let ids = batches.clone();
    let ready = match work.ready.take(work.step.index) {
        Some(Ready::Replay(checked)) => checked,
        _ => match checked(work, &care, batches)? {
            Ok(checked) => checked,
            Err(end) => return Ok(end),
        },
    };
    let stopped = match care.prove_stopped()? {
        Ok(stopped) => stopped,
        Err(why) => return Ok(StepEnd::no_effect(why)),
    };
    let mut placed = 0;
    let mut left = Vec::new();
    for checked in ready {
        match checked.place(&care.desk(), &stopped) {
            Ok(given) => {
                placed += given.placed;
                left.extend(given.left);
            }
            Err(error) => return ended(error),
        }
    }
    let mut detail = format!(
        "{placed} messages are in the queue again, {} stayed held",
        left.len()
    );
    let state = work.state()?;
    let entries = ids
        .iter()
        .filter_map(|id| state.batches.get(id))
        .flat_map(|batch| &batch.entries);
    let poison = entries
        .filter(|entry| entry.custody == Custody::Poison)
        .count();
    if poison > 0 {
        detail = format!("{detail}, {poison} are poison");
    }
    let left = left.iter().take(20);
    Ok(StepEnd::done(detail).with(left.map(|left| format!("entry {}: {}", left.index, left.why))))
}

/// A replay that was intended is finished; without one nothing had been placed and it is tried again.
pub(super) fn recover(work: &Work<'_>) -> StepResult {
    let Action::QueueReplay { of, .. } = &work.step.action else {
        return Ok(StepEnd::no_effect("not a replay"));
    };
    let care = match work.queue_care(Queue::OutboundAwaitingDelivery) {
        Ok(care) => care,
        Err(why) => return Ok(StepEnd::unknown(why)),
    };
    if let Err(error) = care.recover() {
        return ended(error);
    }
    let state = work.state()?;
    let intended = state
        .batches
        .values()
        .flat_map(|batch| batch.replays.values())
        .any(|replay| replay.step == Some(work.step.index));
    drop(state);
    if intended {
        return Ok(StepEnd::done(
            "the messages are in the queue again; finished after an interruption",
        ));
    }
    if work.until <= work.station.now().since_boot {
        return Ok(StepEnd::no_effect(
            "A066-interrupted: nothing had been placed, and no time is left",
        ));
    }
    apply(work, of)
}
