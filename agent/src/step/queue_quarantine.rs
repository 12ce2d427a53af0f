//! `queue.quarantine`: take the files of a queue into custody; undone by giving them back, where the
//! policy says so.

use mailmend_policy::condition::Queue;
use mailmend_policy::name::ServiceName;
use mailmend_policy::plan::Plan;
use mailmend_policy::step::{Action, IfStillRunning};
use mailmend_proto::run::{Custody, Event, RunState, SectionEnd};

use super::{Ready, StepEnd, StepResult, Trouble, Work};
use crate::custody::quarantine::{Prepared, Taken};
use crate::custody::recover::needed;
use crate::custody::replay::{Give, Which, check};
use crate::custody::{CustodyError, HowStopped, index, quarantine};
use crate::queue::QueueCare;
use crate::runner::{exit_due, millis, undo_section};
use crate::service::{Care, Start};

/// Reads and hashes the queue while service still runs, and checks room and limits.
pub(super) fn prepare(work: &Work<'_>, queue: Queue) -> Result<Result<(), String>, Trouble> {
    Ok(match look(work, queue)? {
        Ok(prepared) => {
            work.ready.put(work.step.index, Ready::Quarantine(prepared));
            Ok(())
        }
        Err(end) => Err(end.detail),
    })
}

fn look(work: &Work<'_>, queue: Queue) -> Result<Result<Prepared, StepEnd>, Trouble> {
    let care = match work.queue_care(queue) {
        Ok(care) => care,
        Err(why) => return Ok(Err(StepEnd::no_effect(why))),
    };
    let most = work.plan.limits.max_files;
    let take = care.take(
        care.batch_of_step(work.step.index),
        Some(work.step.index),
        most,
    );
    match quarantine::prepare(&care.desk(), take) {
        Ok(prepared) => {
            let from = work.station.guard.limits().whole_folder_from;
            Ok(Ok(prepared.whole_from(&care.desk(), from)))
        }
        Err(error) => Ok(Err(ended(error)?)),
    }
}

pub(super) fn apply(work: &Work<'_>, queue: Queue) -> StepResult {
    let care = match work.queue_care(queue) {
        Ok(care) => care,
        Err(why) => return Ok(StepEnd::no_effect(why)),
    };
    let prepared = match work.ready.take(work.step.index) {
        Some(Ready::Quarantine(prepared)) => prepared,
        _ => match look(work, queue)? {
            Ok(prepared) => prepared,
            Err(end) => return Ok(end),
        },
    };
    let stopped = match care.prove_stopped()? {
        Ok(stopped) => stopped,
        Err(why) => return Ok(StepEnd::no_effect(why)),
    };
    if queue == Queue::InboundAwaitingConversion && stopped.how() == HowStopped::Uncleanly {
        let service = Care {
            station: work.station,
            run: work.run,
            service: care.service(),
        };
        if let Err(why) = service.name_inbound_there()? {
            return Ok(StepEnd::no_effect(why));
        }
    }
    match prepared.take(&care.desk(), &stopped, &care.records()) {
        Ok(mut taken) => {
            if let (Some(batch), Some(survey)) = (taken.batch, taken.unlisted.take()) {
                work.station.keep_survey(batch, *survey);
                return Ok(held_whole(taken.held));
            }
            Ok(told(&taken))
        }
        Err(error) => ended(error),
    }
}

fn held_whole(files: u64) -> StepEnd {
    StepEnd::done(format!(
        "the queue's folder with {files} messages is held whole; they are listed when service is up again"
    ))
}

fn told(taken: &Taken) -> StepEnd {
    let Taken {
        held,
        gone,
        in_doubt,
        withdrawn,
        left,
        ..
    } = taken;
    let mut detail = format!("{held} messages are held");
    let mut add = |count: u64, what: &str| {
        if count > 0 {
            detail.push_str(&format!(", {count} {what}"));
        }
    };
    add(*withdrawn, "of an earlier replay taken back");
    add(*gone, "were delivered already");
    add(*in_doubt, "are in doubt");
    add(left.len() as u64, "stayed in the queue");
    let left = left
        .iter()
        .take(20)
        .map(|suspect| format!("`{}` stayed: {}", suspect.name, suspect.why));
    StepEnd::done(detail).with(left)
}

/// A batch that was intended is finished; without one nothing had been moved and it is tried again.
pub(super) fn recover(work: &Work<'_>) -> StepResult {
    let Action::QueueQuarantine { queue, .. } = &work.step.action else {
        return Ok(StepEnd::no_effect("not a quarantine"));
    };
    let care = match work.queue_care(*queue) {
        Ok(care) => care,
        Err(why) => return Ok(StepEnd::unknown(why)),
    };
    if let Err(error) = care.recover() {
        return ended(error);
    }
    let state = work.state()?;
    let here = |step: Option<u32>| step == Some(work.step.index);
    if state.folders.values().any(|folder| here(folder.step)) {
        return Ok(StepEnd::done(
            "the queue's folder is held whole; finished after an interruption",
        ));
    }
    let batch = state
        .batches
        .values()
        .find(|batch| batch.step == Some(work.step.index));
    let Some(batch) = batch else {
        drop(state);
        return if work.until <= work.station.now().since_boot {
            Ok(StepEnd::no_effect(
                "A066-interrupted: nothing had been moved, and no time is left",
            ))
        } else {
            apply(work, *queue)
        };
    };
    let count = |custody| {
        let entries = batch.entries.iter();
        entries.filter(|entry| entry.custody == custody).count()
    };
    Ok(StepEnd::done(format!(
        "{} messages are held, {} are in doubt, {} stayed in the queue; finished after an interruption",
        count(Custody::Held),
        count(Custody::InDoubt),
        count(Custody::Live)
    )))
}

/// How a step ends on which custody failed.
pub(super) fn ended(error: CustodyError) -> StepResult {
    let effect = error.effect();
    match error {
        CustodyError::Journal(error) => Err(error.into()),
        // The journal is poisoned: service comes up, and the next start of the agent looks.
        CustodyError::Unsure { why } => Err(crate::journal::JournalError::Poisoned { why }.into()),
        error => Ok(StepEnd {
            outcome: match effect {
                crate::host::Effect::None => mailmend_proto::run::Outcome::NoEffect,
                crate::host::Effect::Unknown => mailmend_proto::run::Outcome::Unknown,
            },
            detail: error.to_string(),
            evidence: Vec::new(),
        }),
    }
}

/// Gives back everything that is still held: in a section of its own, with service stopped, and started
/// whatever happens.
pub(super) fn undo(work: &Work<'_>) -> StepResult {
    let Action::QueueQuarantine { queue, .. } = &work.step.action else {
        return Ok(StepEnd::done("nothing to undo"));
    };
    let care = match work.queue_care(*queue) {
        Ok(care) => care,
        Err(why) => return Ok(StepEnd::no_effect(why)),
    };
    if let Err(error) = care.list_whole_folders() {
        return ended(error);
    }
    let section = undo_section(work.plan, work.step.index);
    let state = work.state()?;
    let open = state.section.is_some();
    let ended_before = state.ended_sections.contains_key(&section);
    let held = held(&state, work.step.index);
    drop(state);
    if ended_before || (held == 0 && !open) {
        return Ok(StepEnd::done("nothing is held any more"));
    }
    if !open {
        let now = work.station.now();
        work.record(vec![Event::SectionBegan {
            section,
            service: care.service().clone(),
            boot: now.boot,
            since_boot_ms: millis(now.since_boot),
            budget_ms: millis(work.plan.limits.max_outage),
        }])?;
    }
    let until = match &work.state()?.section {
        Some(open) => exit_due(open),
        None => work.until,
    };
    match give_back(work, &care, until)? {
        Err(end) => Ok(end),
        Ok(detail) => {
            work.record(vec![Event::SectionEnded {
                section,
                how: SectionEnd::Committed,
                detail: "service is up again".into(),
            }])?;
            Ok(StepEnd::done(detail))
        }
    }
}

fn held(state: &RunState, step: u32) -> usize {
    state
        .batches
        .values()
        .filter(|batch| batch.step == Some(step))
        .flat_map(|batch| &batch.entries)
        .filter(|entry| entry.custody == Custody::Held)
        .count()
}

fn give_back(
    work: &Work<'_>,
    care: &QueueCare<'_>,
    until: std::time::Duration,
) -> Result<Result<String, StepEnd>, Trouble> {
    let service = care.service();
    let of_service = Care {
        station: work.station,
        run: work.run,
        service,
    };
    let mut placed = 0;
    let mut left = Vec::new();
    let state = work.state()?;
    let unfinished = held(&state, work.step.index) > 0 || needed(&state);
    drop(state);
    if unfinished {
        if let Err(not) = of_service.stop(until, how_to_stop(work.plan, service))? {
            return Ok(Err(StepEnd::unknown(not.why)));
        }
        let stopped = match care.prove_stopped()? {
            Ok(stopped) => stopped,
            Err(why) => return Ok(Err(StepEnd::unknown(why))),
        };
        if let Err(error) = care.recover() {
            return Ok(Err(ended(error)?));
        }
        for batch in care.batches_of_step(work.step.index)? {
            let give = Give {
                batch,
                step: None,
                target: care.folder().to_path_buf(),
                which: Which::All,
            };
            let given =
                check(&care.desk(), give).and_then(|checked| checked.place(&care.desk(), &stopped));
            match given {
                Ok(given) => {
                    placed += given.placed;
                    left.extend(given.left);
                }
                Err(error) => return Ok(Err(ended(error)?)),
            }
        }
        if let Err(error) = index::set_aside(&care.desk(), care.imcdata(), &stopped) {
            return Ok(Err(ended(error)?));
        }
    }
    if let Err(not) = of_service.start(Start::BACK)? {
        return Ok(Err(StepEnd::unknown(not.why)));
    }
    if !left.is_empty() {
        let why = format!(
            "{placed} messages were given back, {} stay held: {}",
            left.len(),
            left.first().map_or("", |left| left.why.as_str())
        );
        return Ok(Err(StepEnd::unknown(why)));
    }
    Ok(Ok(format!("{placed} messages were given back")))
}

/// As the policy itself stops the service in this plan.
pub(crate) fn how_to_stop(plan: &Plan, wanted: &ServiceName) -> IfStillRunning {
    let mut stops = plan.steps.iter().filter_map(|step| match &step.action {
        Action::ServiceStop { service, then } if service == wanted => Some(*then),
        _ => None,
    });
    stops.next_back().unwrap_or(IfStillRunning::Fail)
}
