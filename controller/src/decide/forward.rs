//! Releasing steps, and committing when all are finished.

use super::groups::{groups, parted};
use super::windows::Door;
use super::{Action, Decision};
use crate::rollout::{Closing, Run, RunPhase};

/// Releases the next group once everything before it is finished.
pub(super) fn advance(run: &Run, paused: bool, door: &Door<'_>, decision: &mut Decision) {
    if run.phase == RunPhase::Assigned {
        // Nobody begins before everybody has taken the run on: a refusal must cost nothing.
        if !run.parts.values().all(|part| part.told.begun) {
            return;
        }
        decision.actions.push(Action::Enter {
            run: run.id,
            phase: RunPhase::Running,
            why: String::new(),
        });
    }
    if paused {
        return;
    }
    let Some(next) = run.plan.steps.iter().find(|step| !run.is_finished(step)) else {
        return;
    };
    let groups = if door.windows.is_empty() {
        groups(&run.plan)
    } else {
        parted(&run.plan)
    };
    let Some(group) = groups
        .iter()
        .find(|group| (group.first..group.end).contains(&next.index))
    else {
        return;
    };
    // The end of the last group is the number of steps, which commits: only the agent of the last
    // steps is told it now, the others stay open to be unwound (see `commit`).
    let released = run.parts.get(group.server).map_or(0, |part| part.through);
    if released >= group.end {
        return;
    }
    match door.admits(&run.plan, group) {
        Ok(()) => decision.actions.push(Action::Advance {
            run: run.id,
            server: group.server.clone(),
            through: group.end,
        }),
        Err(opens_ms) => decision.due(opens_ms),
    }
}

/// Tells everybody that the run is committed, and ends it when all have closed. Neither a pause nor an
/// abort stops this: nothing is left to be done, and half a run committed is worse than either.
pub(super) fn commit(run: &Run, actions: &mut Vec<Action>) {
    let all = run.steps();
    for (server, part) in &run.parts {
        if part.through < all && part.told.closed.is_none() {
            actions.push(Action::Advance {
                run: run.id,
                server: server.clone(),
                through: all,
            });
        }
    }
    if run
        .parts
        .values()
        .all(|part| part.told.closed == Some(Closing::Committed))
    {
        actions.push(Action::Enter {
            run: run.id,
            phase: RunPhase::Succeeded,
            why: String::new(),
        });
    }
}
