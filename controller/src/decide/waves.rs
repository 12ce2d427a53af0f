//! From one wave to the next: its end, its soak, its gate, and a person's word.

use mailmend_policy::strategy::Gate;

use super::gate::{Judgement, judge};
use super::{Action, Decision, Fleet};
use crate::rollout::{Cause, Rollout, RolloutState, RunPhase};

/// How long after the soak what cannot be told is waited for before the rollout pauses, milliseconds: an
/// agent that is well tells of its looks every ten minutes at least.
pub const PATIENCE_MS: i64 = 15 * 60_000;

/// Where a rollout stands with its wave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Runs of the wave are at work or wait.
    AtWork,
    /// The soak ends then, milliseconds since 1970 UTC.
    Soaking {
        /// When it ends.
        until_ms: i64,
    },
    /// The gate is not good.
    Gated {
        /// Why.
        judgement: Judgement,
        /// Until then what cannot be told is waited for.
        until_ms: i64,
    },
    /// Nothing is left in the way but a person's word.
    Unapproved {
        /// The wave to be approved, from 0.
        wave: u32,
    },
    /// The next wave may begin, or the rollout may end.
    Passed,
}

/// Whether nothing of a run goes on by itself any more. One that needs a person does not keep its wave
/// open: it counts as failed, and one stuck server must not hold all others back for ever.
fn at_rest(phase: RunPhase) -> bool {
    phase.is_final() || phase == RunPhase::NeedsPerson
}

/// Whether the soak and the gate after the last wave are waited for before the rollout ends: where a gate
/// is asked for. Without one nothing would come of waiting.
fn observes_last(rollout: &Rollout) -> bool {
    rollout.strategy.gate != Gate::None
}

/// Where a rollout stands with its wave.
#[must_use]
pub fn stage(rollout: &Rollout, phases: &[RunPhase], fleet: &Fleet, now_ms: i64) -> Stage {
    let waves = rollout.waves();
    let wave = rollout.wave;
    let own = || {
        let runs = rollout.runs.iter().zip(phases);
        runs.filter(|(run, _)| waves.of(&run.site) <= wave)
    };
    let last = wave >= waves.last();
    let Some(ended_ms) = rollout.wave_ended_ms else {
        return Stage::AtWork;
    };
    if !own().all(|(_, phase)| at_rest(*phase)) {
        return Stage::AtWork;
    }
    // A run that a person got to its end later has its soak too.
    let ended_ms = own()
        .filter_map(|(run, _)| run.ended_ms)
        .fold(ended_ms, i64::max);
    let soak = i64::try_from(rollout.strategy.soak.as_millis()).unwrap_or(i64::MAX);
    let until_ms = ended_ms.saturating_add(soak);
    if now_ms < until_ms {
        return Stage::Soaking { until_ms };
    }
    if rollout.strategy.gate == Gate::Health && !rollout.accepted.contains(&wave) {
        let judgement = judge(rollout, &fleet.health);
        if judgement != Judgement::Good {
            return Stage::Gated {
                judgement,
                until_ms: until_ms.saturating_add(PATIENCE_MS),
            };
        }
    }
    if !last && !rollout.is_approved(wave + 1) {
        return Stage::Unapproved { wave: wave + 1 };
    }
    Stage::Passed
}

/// Whether a rollout may end, now that all of its runs have. Pushes what is to be done until then.
pub(super) fn may_end(
    rollout: &Rollout,
    phases: &[RunPhase],
    fleet: &Fleet,
    now_ms: i64,
    decision: &mut Decision,
) -> bool {
    let failed = super::failures(phases) > rollout.max_failed();
    let succeeded = phases.contains(&RunPhase::Succeeded);
    if rollout.state == RolloutState::Aborting || failed || !succeeded || !observes_last(rollout) {
        return true;
    }
    follow(rollout, phases, fleet, now_ms, decision)
}

/// Ends the wave, waits, judges and begins the next one, as far as that follows now. Answers whether the
/// last wave has passed.
pub(super) fn follow(
    rollout: &Rollout,
    phases: &[RunPhase],
    fleet: &Fleet,
    now_ms: i64,
    decision: &mut Decision,
) -> bool {
    let waves = rollout.waves();
    let wave = rollout.wave;
    let last = wave >= waves.last();
    if rollout.wave_ended_ms.is_none() {
        let ended = rollout
            .runs
            .iter()
            .zip(phases)
            .filter(|(run, _)| waves.of(&run.site) <= wave)
            .all(|(_, phase)| at_rest(*phase));
        if ended && (!last || observes_last(rollout)) {
            decision.actions.push(Action::EndWave { wave });
        }
        return false;
    }
    let stage = stage(rollout, phases, fleet, now_ms);
    if rollout.state != RolloutState::Running {
        return false;
    }
    let turn = |state, why| Action::Turn {
        state,
        why,
        cause: Cause::Gate,
    };
    match stage {
        Stage::AtWork | Stage::Unapproved { .. } => {}
        Stage::Soaking { until_ms } => decision.due(Some(until_ms)),
        Stage::Gated {
            judgement: Judgement::CannotTell(_),
            until_ms,
        } if now_ms < until_ms => decision.due(Some(until_ms)),
        Stage::Gated { judgement, .. } => match judgement {
            Judgement::Good => {}
            Judgement::Bad(why) => {
                let all_ended = phases.iter().all(|phase| phase.is_final());
                // Nothing is left to be held back: the rollout ends, and says what is wrong.
                let action = if last && all_ended {
                    Action::Turn {
                        state: RolloutState::Failed,
                        why: format!("the gate after the last wave is bad: {why}"),
                        cause: Cause::None,
                    }
                } else {
                    let why = format!("the gate after wave {} is bad: {why}", wave + 1);
                    turn(RolloutState::Halted, why)
                };
                decision.actions.push(action);
            }
            Judgement::CannotTell(why) => decision.actions.push(turn(
                RolloutState::Paused,
                format!("the gate after wave {} cannot be told: {why}", wave + 1),
            )),
        },
        Stage::Passed if last => return true,
        Stage::Passed => decision.actions.push(Action::BeginWave { wave: wave + 1 }),
    }
    false
}

#[cfg(test)]
mod tests;
