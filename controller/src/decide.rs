//! What follows from what is known: one pure function, and all that moves a rollout.
//!
//! It is called again after every change until nothing follows. What it answers is stored before
//! anybody is told of it, so a crash in between changes nothing: the same follows again. Time plays no
//! part: nothing here ends because a clock says so, and no lock is freed but by its holder's reports.

mod forward;
mod unwind;

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_policy::plan::{Plan, PlannedStep};
use mailmend_policy::step;
use mailmend_proto::run::RunId;

use crate::rollout::{Closing, Mark, Rollout, RolloutState, Run, RunPhase, Unwinding};

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
    },
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
}

/// What follows for a rollout. Empty: nothing, until something changes.
#[must_use]
pub fn decide(rollout: &Rollout, fleet: &Fleet) -> Vec<Action> {
    if rollout.state.is_final() {
        return Vec::new();
    }
    let mut actions = Vec::new();
    let mut phases = Vec::with_capacity(rollout.runs.len());
    for run in &rollout.runs {
        let before = actions.len();
        let in_hand = fleet.in_hand.contains(&run.site);
        go_on(rollout.state, run, in_hand, &mut actions);
        let entered = actions[before..]
            .iter()
            .rev()
            .find_map(|action| match action {
                Action::Enter { phase, .. } => Some(*phase),
                _ => None,
            });
        phases.push(entered.unwrap_or(run.phase));
    }
    let failed = failures(&phases);
    if phases.iter().all(|phase| phase.is_final()) {
        actions.push(ending(rollout.state, &phases));
        return actions;
    }
    if rollout.state == RolloutState::Running {
        if failed > rollout.max_failed {
            actions.push(Action::Turn {
                state: RolloutState::Halted,
                why: format!("failed {failed} > max_failed {}", rollout.max_failed),
            });
        } else {
            assign(rollout, &phases, fleet, &mut actions);
        }
    }
    actions
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

fn ending(state: RolloutState, phases: &[RunPhase]) -> Action {
    let count = |wanted: RunPhase| phases.iter().filter(|phase| **phase == wanted).count();
    let (failed, cancelled) = (count(RunPhase::Failed), count(RunPhase::Cancelled));
    let state = match state {
        RolloutState::Aborting if failed + cancelled > 0 => RolloutState::Aborted,
        _ if failed > 0 => RolloutState::Failed,
        _ => RolloutState::Succeeded,
    };
    let why = match state {
        RolloutState::Succeeded => String::new(),
        _ => format!(
            "{failed} of {} runs failed, {cancelled} never began",
            phases.len()
        ),
    };
    Action::Turn { state, why }
}

/// Begins runs as far as sites, locks and agents allow.
fn assign(rollout: &Rollout, phases: &[RunPhase], fleet: &Fleet, actions: &mut Vec<Action>) {
    let mut busy: BTreeSet<&SiteName> = rollout
        .runs
        .iter()
        .zip(phases)
        .filter(|(_, phase)| phase.holds_site())
        .map(|(run, _)| &run.site)
        .collect();
    for (run, phase) in rollout.runs.iter().zip(phases) {
        if busy.len() >= rollout.sites_at_once as usize {
            return;
        }
        // A lock that is freed in this very pass is seen as free in the next one.
        let free = !busy.contains(&run.site)
            && !fleet.locks.contains_key(&run.site)
            && !fleet.in_hand.contains(&run.site);
        let there = run
            .parts
            .keys()
            .all(|agent| fleet.connected.contains(agent));
        if *phase == RunPhase::Waiting && free && there {
            busy.insert(&run.site);
            actions.push(Action::Assign { run: run.id });
        }
    }
}

fn go_on(state: RolloutState, run: &Run, in_hand: bool, actions: &mut Vec<Action>) {
    let aborting = state == RolloutState::Aborting;
    let enter = |phase, why: String| Action::Enter {
        run: run.id,
        phase,
        why,
    };
    match run.phase {
        RunPhase::Waiting if aborting => {
            actions.push(enter(RunPhase::Cancelled, "the rollout was aborted".into()));
        }
        RunPhase::Waiting
        | RunPhase::Succeeded
        | RunPhase::NotNeeded
        | RunPhase::Failed
        | RunPhase::Cancelled => {}
        RunPhase::Assigned | RunPhase::Running | RunPhase::Unwinding | RunPhase::NeedsPerson => {
            match verdict(run, aborting) {
                Verdict::Commit => forward::commit(run, actions),
                Verdict::Forward => {
                    forward::advance(run, state == RolloutState::Paused || in_hand, actions);
                }
                Verdict::Person(why) => {
                    if run.phase != RunPhase::NeedsPerson {
                        actions.push(enter(RunPhase::NeedsPerson, why));
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
                        actions.push(enter(RunPhase::Unwinding, why.clone()));
                    }
                    unwind::unwind(run, why, actions);
                }
            }
        }
    }
}

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
        if let Some(refusal) = &part.refused
            && !part.told.begun
        {
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
pub(crate) fn not_needed(run: &Run) -> Option<String> {
    run.plan
        .steps
        .iter()
        .find(|step| {
            matches!(step.action, step::Action::Detect { .. })
                && run.mark(step) == Some(Mark::NoEffect)
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

/// Consecutive steps of one server. They are released together, so a section, whose steps are
/// consecutive on one server, is always released whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group<'a> {
    /// The server.
    pub(crate) server: &'a ServerName,
    /// The index of its first step.
    pub(crate) first: u32,
    /// One more than the index of its last step.
    pub(crate) end: u32,
}

pub(crate) fn groups(plan: &Plan) -> Vec<Group<'_>> {
    plan.steps
        .chunk_by(|one, next| one.server == next.server)
        .filter_map(|steps| {
            let (first, last) = (steps.first()?, steps.last()?);
            Some(Group {
                server: &first.server,
                first: first.index,
                end: last.index + 1,
            })
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod simulation;
#[cfg(test)]
mod tests;
