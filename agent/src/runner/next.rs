//! What a run does next on this agent: one pure function of what its journal adds up to.
//!
//! After a crash the same function looks at the same records, so recovery is the ordinary path.

use std::time::Duration;

use mailmend_policy::name::ServerName;
use mailmend_policy::plan::{Plan, PlannedStep, Section};
use mailmend_policy::step::Action;
use mailmend_proto::run::{Ended, OpenSection, Outcome, RunState, SectionEnd, StepState};

use crate::ablation::{Mechanism, off};
use crate::host::Uptime;

/// The most of a section's budget that is kept back for its exit.
const MOST_RESERVE: Duration = Duration::from_secs(30);

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// Carry out a step; in an open section, or outside of any.
    Run(u32),
    /// A step was interrupted by a crash: find out what it did, redo or finish it.
    Finish(u32),
    /// Skip a step of a section that was never opened.
    Skip(u32),
    /// Prepare all steps of a section, open it, and carry out its first step.
    Begin(u32),
    /// All steps of the open section are done: close it.
    End(u32),
    /// Leave the open section: service is started, the rest of it does not run.
    Exit {
        /// The section.
        section: u32,
        /// Why.
        why: ExitReason,
    },
    /// Undo a done step, or go on with it.
    Undo(u32),
    /// The agent's part is over.
    Close(Ended, String),
    /// Nothing, until a command comes or `until` (uptime since the start of the machine) has passed.
    Wait {
        /// For what.
        waiting: Waiting,
        /// When the dead man's switch ends the wait.
        until: Option<Duration>,
    },
    /// Nothing any more: the run is closed.
    Over,
}

/// Why a section is left by its exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// The time that service may be disturbed is over.
    BudgetOver,
    /// A step in it failed.
    Failed(u32),
    /// The run is unwinding.
    Unwinding,
    /// The step that starts the service again was skipped.
    NotStarted,
    /// The undo that opened it cannot go on.
    UndoEnded,
    /// The release that opened it cannot go on.
    ReleaseFailed(String),
    /// The agent is shutting down.
    ShuttingDown,
    /// The guard file cannot be used any more.
    GuardBroken,
}

/// What a run waits for on this agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// The watermark has to rise above this step.
    Watermark(u32),
    /// All own steps have ended: the run has to be committed.
    Commit,
    /// A step failed or a section was left: unwinding has to be ordered.
    Unwinding,
    /// Everything that was ordered is undone: more has to be ordered, or said to be the last.
    Further,
    /// A person has to answer this `human.task` step.
    Answer(u32),
}

/// What happens next, and nothing else: no effect, no clock but `now`.
#[must_use]
pub fn next_move(state: &RunState, plan: &Plan, me: &ServerName, now: &Uptime) -> Move {
    if state.closed.is_some() {
        return Move::Over;
    }
    let view = View { state, plan, me };
    if let Some(open) = &state.section {
        return view.in_section(open, now);
    }
    // A step that acts outside of any section was interrupted; it is resolved before anything else. One
    // that asks a person is waited for, unless the run is being unwound.
    if let Some(step) = state.acting() {
        let asked = view.asks(step) && !state.answers.contains_key(&step);
        return if asked && state.down_to.is_none() {
            Move::Wait {
                waiting: Waiting::Answer(step),
                until: None,
            }
        } else {
            Move::Finish(step)
        };
    }
    match state.down_to {
        Some(down_to) => view.unwinding(down_to),
        None => view.forward(),
    }
}

/// The number of the section that undoing a step opens: above those of the plan.
#[must_use]
pub fn undo_section(plan: &Plan, step: u32) -> u32 {
    let sections = u32::try_from(plan.sections.len()).unwrap_or(u32::MAX);
    sections.saturating_add(step)
}

/// When the exit of an open section is taken at the latest, as uptime since the start of the machine:
/// its budget less what the exit itself needs.
#[must_use]
pub fn exit_due(open: &OpenSection) -> Duration {
    let budget = Duration::from_millis(open.budget_ms);
    let reserve = (budget / 10).min(MOST_RESERVE);
    Duration::from_millis(open.since_boot_ms) + budget.saturating_sub(reserve)
}

/// Whether the budget of an open section is over: another start of the machine ends it too, since
/// nobody knows how long it was down.
#[must_use]
pub fn budget_over(open: &OpenSection, now: &Uptime) -> bool {
    let over = open.boot != now.boot || now.since_boot >= exit_due(open);
    over && !off(Mechanism::DeadMansSwitch)
}

struct View<'a> {
    state: &'a RunState,
    plan: &'a Plan,
    me: &'a ServerName,
}

impl<'a> View<'a> {
    fn own(&self) -> impl DoubleEndedIterator<Item = &'a PlannedStep> {
        let me = self.me;
        self.plan
            .steps
            .iter()
            .filter(move |step| step.server == *me)
    }

    fn outcome(&self, step: u32) -> Option<Outcome> {
        match self.state.steps.get(&step) {
            Some(StepState::Finished { outcome, .. }) => Some(*outcome),
            _ => None,
        }
    }

    fn asks(&self, step: u32) -> bool {
        let found = usize::try_from(step)
            .ok()
            .and_then(|index| self.plan.steps.get(index));
        found.is_some_and(|step| matches!(step.action, Action::HumanTask { .. }))
    }

    fn failed(&self, step: u32) -> bool {
        matches!(
            self.outcome(step),
            Some(Outcome::NoEffect | Outcome::Unknown)
        )
    }

    fn section(&self, index: u32) -> Option<&'a Section> {
        self.plan.sections.get(usize::try_from(index).ok()?)
    }

    fn in_section(&self, open: &OpenSection, now: &Uptime) -> Move {
        let exit = |why| Move::Exit {
            section: open.section,
            why,
        };
        let over = budget_over(open, now);
        let Some(section) = self.section(open.section) else {
            let sections = u32::try_from(self.plan.sections.len()).unwrap_or(u32::MAX);
            let step = open.section.saturating_sub(sections);
            let undoing = self.state.steps.get(&step) == Some(&StepState::Undoing);
            return match (undoing, over) {
                (true, false) => Move::Undo(step),
                (true, true) => exit(ExitReason::BudgetOver),
                (false, _) => exit(ExitReason::UndoEnded),
            };
        };
        // What was interrupted is resolved first, also when the budget is over: its deadline has
        // passed then, so it only looks, and a half-moved queue is made whole before service starts.
        if let Some(step) = self.state.acting() {
            return Move::Finish(step);
        }
        let within = section.first..=section.last;
        if let Some(failed) = within.clone().find(|step| self.failed(*step)) {
            return exit(ExitReason::Failed(failed));
        }
        let Some(next) = within
            .clone()
            .find(|step| !self.state.steps.contains_key(step))
        else {
            return if self.outcome(section.last) == Some(Outcome::Done) {
                Move::End(section.index)
            } else {
                exit(ExitReason::NotStarted)
            };
        };
        if self.state.down_to.is_some() {
            return exit(ExitReason::Unwinding);
        }
        let released = next < self.state.through;
        // Where only the start is left, the step itself is the shortest way to service.
        let last_start = next == section.last && open.boot == now.boot;
        if released && (!over || last_start) {
            Move::Run(next)
        } else if over {
            exit(ExitReason::BudgetOver)
        } else {
            Move::Wait {
                waiting: Waiting::Watermark(next),
                until: Some(exit_due(open)),
            }
        }
    }

    fn forward(&self) -> Move {
        let wait = |waiting| Move::Wait {
            waiting,
            until: None,
        };
        let left_by_exit = self
            .state
            .ended_sections
            .values()
            .any(|how| *how != SectionEnd::Committed);
        if left_by_exit || self.own().any(|step| self.failed(step.index)) {
            return wait(Waiting::Unwinding);
        }
        let next = self
            .own()
            .find(|step| !self.state.steps.contains_key(&step.index));
        let Some(step) = next else {
            return if self.state.through as usize >= self.plan.steps.len() {
                Move::Close(Ended::Committed, self.account())
            } else {
                wait(Waiting::Commit)
            };
        };
        let index = step.index;
        if index >= self.state.through {
            return wait(Waiting::Watermark(index));
        }
        match step.section.and_then(|section| self.section(section)) {
            None => Move::Run(index),
            Some(section) if section.first != index => Move::Skip(index),
            // A section that is not released whole is not opened: no lost message may leave service
            // waiting in the middle of it.
            Some(section)
                if section.last >= self.state.through && !off(Mechanism::SectionReleasedWhole) =>
            {
                wait(Waiting::Watermark(section.last))
            }
            Some(section) => Move::Begin(section.index),
        }
    }

    fn unwinding(&self, down_to: u32) -> Move {
        let at_rest = |why: String| Move::Close(Ended::AtRest, why);
        if let Some(step) = self
            .own()
            .find(|step| self.outcome(step.index) == Some(Outcome::Unknown))
        {
            return at_rest(format!(
                "step `{}` ended unknown: find out what it did before anything is undone",
                step.id
            ));
        }
        let undo_state = |wanted: StepState| {
            self.own()
                .find(|step| self.state.steps.get(&step.index) == Some(&wanted))
        };
        if let Some(step) = undo_state(StepState::Undoing) {
            return Move::Undo(step.index);
        }
        if let Some(step) = undo_state(StepState::UndoFailed) {
            return at_rest(format!("undoing step `{}` failed", step.id));
        }
        let done = |step: &PlannedStep| self.outcome(step.index) == Some(Outcome::Done);
        let floor = self
            .own()
            .rev()
            .find(|step| step.point_of_no_return && done(step))
            .map_or(0, |step| step.index + 1);
        let next = self
            .own()
            .rev()
            .find(|step| step.index >= down_to.max(floor) && done(step) && step.action.has_undo());
        match next {
            Some(step) => Move::Undo(step.index),
            None if self.state.unwind_last || down_to == 0 => {
                Move::Close(Ended::Unwound, self.account())
            }
            None => Move::Wait {
                waiting: Waiting::Further,
                until: None,
            },
        }
    }

    /// What became of the mail, for people.
    fn account(&self) -> String {
        let counts: Vec<String> = self
            .state
            .custody_counts()
            .into_iter()
            .map(|(custody, count)| format!("{count} {}", custody.name()))
            .collect();
        if counts.is_empty() {
            "no mail was taken into custody".into()
        } else {
            format!("mail in custody: {}", counts.join(", "))
        }
    }
}

#[cfg(test)]
mod tests;
