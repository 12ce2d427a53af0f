//! Taking back what was done: in reverse order across servers, one server at a time, down to the point
//! of no return at most; then everybody is told that this was all.

use mailmend_policy::name::ServerName;
use mailmend_policy::plan::PlannedStep;

use super::Action;
use super::groups::{Group, groups};
use super::verdict::not_needed;
use crate::rollout::{Closing, Mark, Part, Run, RunPhase, Unwinding};

pub(super) fn unwind(run: &Run, why: String, actions: &mut Vec<Action>) {
    for group in groups(&run.plan).into_iter().rev() {
        let Some(part) = run.parts.get(group.server) else {
            continue;
        };
        if part.through <= group.first || part.is_over() {
            continue;
        }
        let floor = floor(run);
        if floor >= group.end {
            break;
        }
        let bound = floor.max(group.first).max(undecided(run, part, group));
        if part.unwind.is_none_or(|order| order.down_to > bound) {
            actions.push(order(run, group.server.clone(), bound, false));
            return;
        }
        if part.told.down_to.is_none_or(|told| told > bound) || !is_quiet(run, part, group, bound) {
            return;
        }
    }
    let last = Unwinding {
        down_to: floor(run),
        last: true,
    };
    for (server, part) in &run.parts {
        let ordered = part
            .unwind
            .is_some_and(|order| order.last && order.down_to <= last.down_to);
        if !part.is_over() && !ordered {
            // It only falls: what was ordered further down stays ordered.
            let down_to = part
                .unwind
                .map_or(last.down_to, |order| order.down_to.min(last.down_to));
            actions.push(order(run, server.clone(), down_to, true));
        }
    }
    if run.parts.values().all(Part::is_over) {
        let phase = if not_needed(run).is_some() && !came_to_rest(run) {
            RunPhase::NotNeeded
        } else {
            RunPhase::Failed
        };
        actions.push(Action::Enter {
            run: run.id,
            phase,
            why,
        });
    }
}

fn order(run: &Run, server: ServerName, down_to: u32, last: bool) -> Action {
    Action::Unwind {
        run: run.id,
        server,
        order: Unwinding { down_to, last },
    }
}

fn came_to_rest(run: &Run) -> bool {
    run.parts
        .values()
        .any(|part| part.told.closed == Some(Closing::AtRest))
}

/// Steps below this stay done: a point of no return was passed. One whose outcome nobody knows counts
/// as passed.
fn floor(run: &Run) -> u32 {
    run.plan
        .steps
        .iter()
        .filter(|step| {
            step.point_of_no_return && matches!(run.mark(step), Some(Mark::Done | Mark::Unknown))
        })
        .map(|step| step.index + 1)
        .max()
        .unwrap_or(0)
}

/// Nothing below this may be ordered yet: a point of no return in this group was released, and it is
/// not known yet whether it was passed.
fn undecided(run: &Run, part: &Part, group: Group<'_>) -> u32 {
    let stopped = part.told.down_to.is_some();
    own(run, group)
        .filter(|step| {
            step.point_of_no_return
                && step.index < part.through
                && match run.mark(step) {
                    None => !stopped,
                    Some(Mark::Intended) => true,
                    Some(_) => false,
                }
        })
        .map(|step| step.index + 1)
        .max()
        .unwrap_or(0)
}

/// Whether nothing goes on in this group at or above `bound` and nothing there is left to be undone.
fn is_quiet(run: &Run, part: &Part, group: Group<'_>, bound: u32) -> bool {
    let settled = own(run, group).all(|step| match run.mark(step) {
        Some(Mark::Intended | Mark::Undoing) => false,
        Some(Mark::Done) => step.index < bound || !step.action.has_undo(),
        _ => true,
    });
    // A section that the bound leaves whole is closed by undoing its first step. One that the point of
    // no return cuts is closed by the agent at its end, and nothing below it is undone anyway.
    let cut = run
        .plan
        .sections
        .iter()
        .any(|section| section.first < bound && bound <= section.last);
    settled && (cut || part.told.open_section.is_none())
}

fn own<'a>(run: &'a Run, group: Group<'a>) -> impl Iterator<Item = &'a PlannedStep> {
    run.plan
        .steps
        .iter()
        .filter(move |step| (group.first..group.end).contains(&step.index))
}
