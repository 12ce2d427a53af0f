//! Which way a run goes, by what its agents have told.

use mailmend_policy::plan::PlannedStep;
use mailmend_policy::step::Action;

use crate::rollout::{Closing, Mark, Run, RunPhase};

/// Which way a run goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// On.
    Forward,
    /// Every step is done or skipped: to its end, whatever else is wanted.
    Commit,
    /// Back, for this reason.
    Back(String),
    /// Nowhere, until a person has looked.
    Person(String),
}

pub(crate) fn verdict(run: &Run, aborting: bool) -> Verdict {
    if committable(run) {
        return match person_needed(run) {
            Some(why) if !aborting => Verdict::Person(why),
            Some(why) => Verdict::Back(why),
            None => Verdict::Commit,
        };
    }
    if let Some(why) = person_needed(run) {
        // An abort is a person's word: it takes back what can be taken back and frees the site.
        return if aborting {
            Verdict::Back(why)
        } else {
            Verdict::Person(why)
        };
    }
    if let Some(why) = failure(run) {
        return Verdict::Back(why);
    }
    if run.phase == RunPhase::Unwinding {
        return Verdict::Back(run.why.clone());
    }
    if aborting {
        return Verdict::Back("the rollout was aborted".into());
    }
    Verdict::Forward
}

/// Whether every step is done or skipped and nothing was taken back: an agent that was told to unwind
/// but had closed as committed before does not count as taken back.
fn committable(run: &Run) -> bool {
    run.plan.steps.iter().all(|step| run.is_finished(step))
        && run
            .parts
            .values()
            .all(|part| part.unwind.is_none() || part.told.closed == Some(Closing::Committed))
}

/// Why nobody but a person can say how to go on.
fn person_needed(run: &Run) -> Option<String> {
    for (server, part) in &run.parts {
        if part.lost {
            return Some(format!(
                "the journal of `{server}` was replaced while it had this run; what it did is not known"
            ));
        }
        if part.told.handed_over {
            let why = part.told.left_section.as_deref().unwrap_or_default();
            return Some(format!("`{server}` could not start service again: {why}"));
        }
        if part.told.closed == Some(Closing::AtRest) {
            return Some(format!("`{server}` came to rest: {}", part.told.closed_why));
        }
    }
    run.plan.steps.iter().find_map(|step| {
        let what = match run.mark(step)? {
            Mark::Unknown => "ended unknown",
            Mark::UndoFailed => "could not be undone",
            _ => return None,
        };
        Some(format!(
            "step `{}` on `{}` {what}: {}",
            step.id,
            step.server,
            told_why(run, step)
        ))
    })
}

/// Why a run cannot reach its end any more.
fn failure(run: &Run) -> Option<String> {
    if let Some(why) = not_needed(run) {
        return Some(why);
    }
    for (server, part) in &run.parts {
        // Also where it took the run on after all: it is closed again, and nobody begins in vain.
        if let Some(refusal) = &part.refused {
            return Some(format!(
                "`{server}` refused the run: {}: {}",
                refusal.code, refusal.why
            ));
        }
    }
    let step = run
        .plan
        .steps
        .iter()
        .find(|step| run.mark(step) == Some(Mark::NoEffect));
    if let Some(step) = step {
        return Some(format!(
            "step `{}` on `{}` failed and changed nothing: {}",
            step.id,
            step.server,
            told_why(run, step)
        ));
    }
    for (server, part) in &run.parts {
        if let Some(why) = &part.told.left_section {
            return Some(format!("`{server}` left a section by its exit: {why}"));
        }
        if let Some(Closing::Unwound | Closing::NotNeeded) = part.told.closed {
            return Some(format!(
                "`{server}` closed its part: {}",
                part.told.closed_why
            ));
        }
    }
    None
}

/// Why there is nothing to mend: the symptom does not stand, or does not stand any more.
pub(super) fn not_needed(run: &Run) -> Option<String> {
    run.plan
        .steps
        .iter()
        .find(|step| {
            matches!(step.action, Action::Detect { .. }) && run.mark(step) == Some(Mark::NoEffect)
        })
        .map(|step| {
            format!(
                "the symptom does not stand on `{}`: {}",
                step.server,
                told_why(run, step)
            )
        })
}

fn told_why<'a>(run: &'a Run, step: &PlannedStep) -> &'a str {
    run.parts
        .get(&step.server)
        .and_then(|part| part.told.why.get(&step.index))
        .map_or("", String::as_str)
}
