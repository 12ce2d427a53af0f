//! What follows from what is known: one pure function, and all that moves a rollout.
//!
//! It is called again after every change until nothing follows. What it answers is stored before
//! anybody is told of it, so a crash in between changes nothing: the same follows again. Time is an
//! argument and only ever lets something begin, a wave after its soak or a section in its window: nothing
//! ends because a clock says so, and no lock is freed but by its holder's reports.

pub mod begin;
pub mod budgets;
mod forward;
pub mod gate;
mod groups;
mod unwind;
mod verdict;
pub mod waves;
pub mod windows;

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_proto::run::RunId;

use crate::mail_flow::MailFlow;
use crate::rollout::{Cause, Rollout, RolloutState, Run, RunPhase, Unwinding};
use budgets::Holding;
pub(crate) use forward::next_group;
use gate::Health;
use verdict::{Verdict, verdict};
use windows::Door;

/// Something that follows. Storing it twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Take the site's lock, mint a fence and assign the run to all of its agents.
    Assign {
        /// The run.
        run: RunId,
    },
    /// Let an agent go on.
    Advance {
        /// The run.
        run: RunId,
        /// The agent.
        server: ServerName,
        /// Its steps with index below this may run.
        through: u32,
    },
    /// Have an agent undo.
    Unwind {
        /// The run.
        run: RunId,
        /// The agent.
        server: ServerName,
        /// How far.
        order: Unwinding,
    },
    /// The run enters a phase; a final one frees the site's lock.
    Enter {
        /// The run.
        run: RunId,
        /// The phase.
        phase: RunPhase,
        /// Why; empty where it needs no reason.
        why: String,
    },
    /// The rollout enters a state.
    Turn {
        /// The state.
        state: RolloutState,
        /// Why; empty where it needs no reason.
        why: String,
        /// By what.
        cause: Cause,
    },
    /// The last run of the wave at work has ended: its soak begins now.
    EndWave {
        /// The wave, from 0.
        wave: u32,
    },
    /// The next wave may begin.
    BeginWave {
        /// The wave, from 0.
        wave: u32,
    },
}

impl Action {
    /// The run that it is about; none where it is about the whole rollout.
    #[must_use]
    pub const fn run(&self) -> Option<RunId> {
        match self {
            Self::Assign { run }
            | Self::Advance { run, .. }
            | Self::Unwind { run, .. }
            | Self::Enter { run, .. } => Some(*run),
            Self::Turn { .. } | Self::EndWave { .. } | Self::BeginWave { .. } => None,
        }
    }
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// In order; empty: nothing, until something changes.
    pub actions: Vec<Action>,
    /// When something may follow though nothing changes, milliseconds since 1970 UTC.
    pub due_ms: Option<i64>,
}

impl Decision {
    fn due(&mut self, at_ms: Option<i64>) {
        self.due_ms = [self.due_ms, at_ms].into_iter().flatten().min();
    }
}

/// What decisions need to know beyond the rollout itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fleet {
    /// Which run holds which site, over all rollouts.
    pub locks: BTreeMap<SiteName, RunId>,
    /// The sites with a server that a person has in hand: nothing begins there, and a run that is open
    /// there goes to the end of its section.
    pub in_hand: BTreeSet<SiteName>,
    /// Which agents are connected. Only a run whose agents are all there is begun; once begun, an
    /// agent that is not there is waited for.
    pub connected: BTreeSet<ServerName>,
    /// Every server that the controller knows, with its site; asked where a budget is to be held.
    pub servers: BTreeMap<ServerName, SiteName>,
    /// The runs of other open rollouts that are at work, failed or need a person; asked where a budget is to
    /// be held.
    pub others: Vec<Holding>,
    /// How the servers are whose run succeeded; asked where a gate is to be judged.
    pub health: BTreeMap<ServerName, Health>,
    /// Which servers are outbound paths for what, and which of these are not live.
    pub mail_flow: MailFlow,
    /// Agents that would refuse the rollout's policy now, because of what is signed, and why.
    pub unsigned: BTreeMap<ServerName, String>,
    /// The runs that are not any more what their plan was made from, and what has changed.
    pub drift: BTreeMap<RunId, String>,
}

/// What follows for a rollout.
#[must_use]
pub fn decide(rollout: &Rollout, fleet: &Fleet, now_ms: i64) -> Decision {
    let mut decision = Decision::default();
    if rollout.state.is_final() {
        return decision;
    }
    let door = Door {
        windows: &rollout.strategy.windows,
        mail_flow: &fleet.mail_flow,
        connected: &fleet.connected,
        now_ms,
    };
    let mut phases = Vec::with_capacity(rollout.runs.len());
    for run in &rollout.runs {
        let before = decision.actions.len();
        let in_hand = fleet.in_hand.contains(&run.site);
        go_on(rollout.state, run, in_hand, &door, &mut decision);
        let entered = decision.actions[before..]
            .iter()
            .rev()
            .find_map(|action| match action {
                Action::Enter { phase, .. } => Some(*phase),
                _ => None,
            });
        phases.push(entered.unwrap_or(run.phase));
    }
    if phases.iter().all(|phase| phase.is_final()) {
        if waves::may_end(rollout, &phases, fleet, now_ms, &mut decision) {
            decision.actions.push(ending(rollout, &phases));
        }
        return decision;
    }
    let failed = failures(&phases);
    let running = rollout.state == RolloutState::Running;
    if running && failed > rollout.max_failed() {
        decision.actions.push(Action::Turn {
            state: RolloutState::Halted,
            why: format!("failed {failed} > {}", rollout.tolerance()),
            cause: Cause::Failures,
        });
        return decision;
    }
    if running && let Some(change) = begin::drifted(rollout, &phases, &fleet.drift) {
        decision.actions.push(Action::Turn {
            state: RolloutState::Paused,
            why: format!("drift: {change}"),
            cause: Cause::Drift,
        });
        return decision;
    }
    if rollout.state != RolloutState::Aborting {
        waves::follow(rollout, &phases, fleet, now_ms, &mut decision);
    }
    if running {
        begin::begin(rollout, &phases, fleet, now_ms, &mut decision);
    }
    decision
}

/// How many of a rollout's runs count against `max_failed`: those that failed and those that need a
/// person.
#[must_use]
pub fn failed(rollout: &Rollout) -> u32 {
    let phases: Vec<RunPhase> = rollout.runs.iter().map(|run| run.phase).collect();
    failures(&phases)
}

fn failures(phases: &[RunPhase]) -> u32 {
    let failed = phases
        .iter()
        .filter(|phase| matches!(phase, RunPhase::Failed | RunPhase::NeedsPerson))
        .count();
    u32::try_from(failed).unwrap_or(u32::MAX)
}

fn ending(rollout: &Rollout, phases: &[RunPhase]) -> Action {
    let count = |wanted: RunPhase| phases.iter().filter(|phase| **phase == wanted).count();
    let (failed, cancelled) = (count(RunPhase::Failed), count(RunPhase::Cancelled));
    let state = match rollout.state {
        RolloutState::Aborting if failed + cancelled > 0 => RolloutState::Aborted,
        _ if failed > 0 => RolloutState::Failed,
        _ => RolloutState::Succeeded,
    };
    let counts = format!(
        "{failed} of {} runs failed, {cancelled} never began",
        phases.len()
    );
    let why = match state {
        RolloutState::Succeeded => String::new(),
        // Whoever looks later asks first why it was aborted.
        RolloutState::Aborted if !rollout.why.is_empty() => format!("{}; {counts}", rollout.why),
        _ => counts,
    };
    Action::Turn {
        state,
        why,
        cause: Cause::None,
    }
}

fn go_on(state: RolloutState, run: &Run, in_hand: bool, door: &Door<'_>, decision: &mut Decision) {
    let aborting = state == RolloutState::Aborting;
    let enter = |phase, why: String| Action::Enter {
        run: run.id,
        phase,
        why,
    };
    match run.phase {
        RunPhase::Waiting if aborting => {
            let why = "the rollout was aborted".into();
            decision.actions.push(enter(RunPhase::Cancelled, why));
        }
        RunPhase::Waiting
        | RunPhase::Succeeded
        | RunPhase::NotNeeded
        | RunPhase::Failed
        | RunPhase::Cancelled => {}
        RunPhase::Assigned | RunPhase::Running | RunPhase::Unwinding | RunPhase::NeedsPerson => {
            match verdict(run, aborting) {
                Verdict::Commit => forward::commit(run, &mut decision.actions),
                Verdict::Forward => {
                    let held = state == RolloutState::Paused || in_hand;
                    forward::advance(run, held, door, decision);
                }
                Verdict::Person(why) => {
                    if run.phase != RunPhase::NeedsPerson {
                        decision.actions.push(enter(RunPhase::NeedsPerson, why));
                    }
                }
                Verdict::Back(why) => {
                    // The first reason is the one that a person needs.
                    let why = if run.phase == RunPhase::Unwinding || !run.why.is_empty() {
                        run.why.clone()
                    } else {
                        why
                    };
                    if run.phase != RunPhase::Unwinding {
                        decision
                            .actions
                            .push(enter(RunPhase::Unwinding, why.clone()));
                    }
                    unwind::unwind(run, why, &mut decision.actions);
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod simulation;
#[cfg(test)]
mod tests;
