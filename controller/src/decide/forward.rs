//! Releasing steps, and committing when all are finished.

use mailmend_policy::strategy::Window;

use super::groups::{Group, groups, parted};
use super::windows::Door;
use super::{Action, Decision};
use crate::lock;
use crate::rollout::{Closing, Run, RunPhase};

/// The steps that are released next or were released last: the first ones that are not all finished.
pub(crate) fn next_group<'a>(run: &'a Run, windows: &[Window]) -> Option<Group<'a>> {
    let next = run.plan.steps.iter().find(|step| !run.is_finished(step))?;
    let groups = if windows.is_empty() {
        groups(&run.plan)
    } else {
        parted(&run.plan)
    };
    groups
        .into_iter()
        .find(|group| (group.first..group.end).contains(&next.index))
}

/// Releases the next group once everything before it is finished.
pub(super) fn advance(run: &Run, paused: bool, door: &Door<'_>, decision: &mut Decision) {
    if run.phase == RunPhase::Assigned {
        // Nobody begins before everybody has taken the run on: a refusal must cost nothing.
        if !lock::may_begin(run.parts.values()) {
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
    let Some(group) = next_group(run, door.windows) else {
        return;
    };
    // The end of the last group is the number of steps, which commits: only the agent of the last
    // steps is told it now, the others stay open to be unwound (see `commit`).
    let released = run.parts.get(group.server).map_or(0, |part| part.through);
    if released >= group.end {
        return;
    }
    if !door
        .mail_flow
        .releasing(run, group.server, group.first..group.end)
        .is_empty()
    {
        return;
    }
    match door.admits(&run.plan, &group) {
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
