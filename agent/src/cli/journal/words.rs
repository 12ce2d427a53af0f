//! Events in one line for people.

use mailmend_proto::run::{Ended, Event, Outcome, SectionEnd, ServiceChange};

/// One line; `name` knows the ids of the run's steps.
pub(super) fn of<'n>(event: &Event, name: impl Fn(u32) -> Option<&'n str>) -> String {
    let named = |step: &u32| {
        name(*step).map_or_else(
            || format!("step {step}"),
            |name| format!("step {step} `{name}`"),
        )
    };
    match event {
        Event::Admitted { fence, plan, .. } => format!("plan {}, fence {fence}", plan.short()),
        Event::DutyBegan { duty, service, why } => format!("{duty} for `{service}`: {why}"),
        Event::Advanced { fence, through } => {
            format!("steps below {through} are released, fence {fence}")
        }
        Event::Fenced { fence } => format!("fence {fence}"),
        Event::UnwindOrdered { down_to, fence, .. } => {
            format!("steps from {down_to} on are to be undone, fence {fence}")
        }
        Event::StepIntended { step, attempt } => format!("{}, attempt {attempt}", named(step)),
        Event::StepSkipped { step, why } => format!("{}: {why}", named(step)),
        Event::StepFinished {
            step,
            outcome,
            detail,
            ..
        } => format!("{} {}: {detail}", named(step), outcome_in_words(*outcome)),
        Event::SectionBegan {
            section,
            service,
            budget_ms,
            ..
        } => format!(
            "section {section}: `{service}` for at most {} s",
            budget_ms / 1000
        ),
        Event::SectionEnded {
            section,
            how,
            detail,
        } => {
            let how = match how {
                SectionEnd::Committed => "committed",
                SectionEnd::Exited => "exited: service was started",
                SectionEnd::HandedOver => "handed over to a person",
            };
            format!("section {section} {how}: {detail}")
        }
        Event::UndoIntended { step } => named(step),
        Event::UndoFinished {
            step,
            outcome,
            detail,
        } => format!("{} {}: {detail}", named(step), outcome_in_words(*outcome)),
        Event::ServiceChanged {
            service,
            change,
            pid,
        } => {
            let change = match change {
                ServiceChange::StopIntended => "is about to be stopped",
                ServiceChange::Stopped => "is stopped, proven",
                ServiceChange::KillIntended => "is about to be ended",
                ServiceChange::Killed => "was ended",
                ServiceChange::StartIntended => "is about to be started",
                ServiceChange::Started => "is up",
                ServiceChange::Died => "was found dead",
            };
            match pid {
                0 => format!("`{service}` {change}"),
                pid => format!("`{service}` {change} (process {pid})"),
            }
        }
        Event::BatchIntended {
            batch,
            queue,
            files,
            bytes,
            held,
            copied_from: Some(from),
            ..
        } => format!(
            "batch {}: copies of {files} files ({bytes} bytes) of {queue}, from {from} to {held}",
            short(batch)
        ),
        Event::BatchIntended {
            batch,
            queue,
            files,
            bytes,
            held,
            ..
        } => format!(
            "batch {}: {files} files ({bytes} bytes) of {queue} to {held}",
            short(batch)
        ),
        Event::BatchEntries { batch, entries } => {
            format!(
                "batch {}: {} entries of its manifest",
                short(batch),
                entries.len()
            )
        }
        Event::BatchHeld { batch, left } => {
            format!(
                "batch {} is held; {} stayed in the queue",
                short(batch),
                left.len()
            )
        }
        Event::ReplayIntended {
            batch,
            replay,
            entries,
            target,
            ..
        } => {
            format!(
                "batch {}, replay {replay}: {} files to {target}",
                short(batch),
                how_many(entries)
            )
        }
        Event::ReplayPlaced {
            batch,
            replay,
            left,
            ..
        } => format!(
            "batch {}, replay {replay} is placed; {} stayed held",
            short(batch),
            left.len()
        ),
        Event::Settled { batch, entries } => {
            format!("batch {}: {} files", short(batch), entries.len())
        }
        Event::IndexSetAside { from, to } => format!("{from} to {to}"),
        Event::Alarm { code, text } => format!("{code}: {text}"),
        Event::Closed { how, detail } => {
            let how = match how {
                Ended::Committed => "committed",
                Ended::NotNeeded => "not needed",
                Ended::Unwound => "unwound",
                Ended::AtRest => "at rest: a person is needed",
                Ended::Released => "released: held mail was given back",
            };
            format!("{how}: {detail}")
        }
        Event::Answered {
            step, answer, by, ..
        } => format!("{}: `{answer}`, says {by}", named(step)),
        Event::ReleaseOrdered { by, why, .. } | Event::SettleOrdered { by, why, .. } => {
            format!("by {by}: {why}")
        }
        Event::RecoverOrdered { by, why, left, .. } => match left.len() {
            0 => format!("by {by}: {why}"),
            left => format!("by {by}: {why}; {left} are not given back"),
        },
        Event::FolderIntended {
            batch,
            source,
            held,
            ..
        } => format!("batch {}: `{source}` whole, as `{held}`", short(batch)),
        Event::SearchBegan {
            batch, suspects, ..
        } => format!("batch {}: {} files", short(batch), suspects.len()),
        Event::SearchStarted { start, fed, .. } => {
            format!("start {start} with {} files", how_many(fed))
        }
        Event::SearchObserved {
            start, observation, ..
        } => format!(
            "start {start}: {}, {} files are settled, {} are still there",
            if observation.crashed {
                "the service died"
            } else {
                "the service stayed up"
            },
            how_many(&observation.settled),
            how_many(&observation.still_there)
        ),
        Event::Reconciled {
            delivered,
            messages,
            ..
        } => format!(
            "{delivered} messages were delivered, {} are listed",
            messages.len()
        ),
        Event::EscrowOrdered { queue, kept_in, .. } => format!("{queue}: kept in {kept_in}"),
        Event::PoisonProven { batch, entries } => format!(
            "{} messages of batch {} are proven to be poison",
            entries.len(),
            short(batch)
        ),
        Event::Immunized { batch, entries } => format!(
            "{} messages of batch {} have the fingerprint of a poison",
            entries.len(),
            short(batch)
        ),
        Event::TrailWitnessed {
            seq,
            hash,
            contradicts,
        } => format!(
            "the controller's audit trail reached {seq}:{hash}{}",
            if *contradicts {
                ", which contradicts what it was before"
            } else {
                ""
            }
        ),
    }
}

/// How many entries inclusive ranges name.
fn how_many(ranges: &[(u32, u32)]) -> u64 {
    ranges
        .iter()
        .map(|(first, last)| u64::from(last.saturating_sub(*first)) + 1)
        .sum()
}

const fn outcome_in_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::NoEffect => "failed without effect",
        Outcome::Unknown => "ended, it is not known how",
    }
}

fn short(batch: &impl ToString) -> String {
    batch.to_string().chars().take(8).collect()
}
