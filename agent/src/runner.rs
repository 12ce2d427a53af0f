//! Carrying a run out on this agent: [`next_move`] decides, the runner acts and writes down.

mod answer;
mod begin;
mod exit;
mod next;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailmend_policy::plan::{Plan, PlannedStep, Section};
use mailmend_policy::step::Action;
use mailmend_proto::run::{Ended, Event, Outcome, RunId, RunState, SectionEnd, StepState};
use mailmend_proto::wire;
use prost::Message;

use crate::faults::known;
use crate::host::{Facts, ServiceState};
use crate::inbox;
use crate::journal::JournalError;
use crate::station::{Station, Trouble};
use crate::step::{self, Prepared, StepEnd, Work};

pub(crate) use exit::{
    leave, service_is_up, service_up_without_journal as service_up, stranded, take as take_exit,
};
pub use next::{ExitReason, Move, Waiting, budget_over, exit_due, next_move, undo_section};

/// A run on this agent.
pub struct Runner {
    station: Arc<Station>,
    run: RunId,
    plan: Plan,
    facts: Facts,
    began_ms: i64,
    ready: Prepared,
    /// When the time for an answer to a `human.task` step is over, in uptime.
    asked_until: Mutex<BTreeMap<u32, Duration>>,
}

/// Why a runner has nothing to do just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rest {
    /// It waits for a command, at most until then (uptime since the start of the machine).
    Waiting {
        /// For what.
        waiting: Waiting,
        /// When the dead man's switch ends the wait.
        until: Option<Duration>,
    },
    /// The run is closed.
    Over,
    /// The agent is shutting down; no section is open with its service down.
    Stopped,
}

/// A run that the journal has and that cannot be carried on.
#[derive(Debug, thiserror::Error)]
pub enum CannotCarryOn {
    /// The journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// This agent does not make the same plan of its assignment any more.
    #[error("{0}")]
    Plan(inbox::Refusal),
    /// It has no assignment: a duty.
    #[error("run `{0}` is a duty of the agent itself")]
    Duty(RunId),
}

impl Runner {
    /// The runner of a run that was taken on, from the journal alone.
    ///
    /// # Errors
    /// Where the journal cannot be read, or the agent (of another version now) plans it otherwise.
    pub fn open(station: Arc<Station>, run: RunId) -> Result<Self, CannotCarryOn> {
        let records = station.journal.records(run)?;
        let Some((began_ms, assignment)) = records.first().and_then(|record| match &record.event {
            Event::Admitted { assignment, .. } => Some((record.at_ms, assignment)),
            _ => None,
        }) else {
            return Err(CannotCarryOn::Duty(run));
        };
        let assignment = wire::Assignment::decode(assignment.as_slice()).map_err(|why| {
            CannotCarryOn::Plan(inbox::Refusal::new(
                const { known("A046-assignment-malformed") },
                format!("the journal's assignment cannot be read: {why}"),
            ))
        })?;
        let bound = inbox::bind(&assignment, &station.me).map_err(CannotCarryOn::Plan)?;
        let mut facts = bound.labels;
        facts.extend(station.facts());
        Ok(Self {
            station,
            run,
            plan: bound.plan,
            facts,
            began_ms,
            ready: Prepared::default(),
            asked_until: Mutex::default(),
        })
    }

    /// The run.
    #[must_use]
    pub const fn run(&self) -> RunId {
        self.run
    }

    /// Its plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Carries the run as far as it goes without waiting for anybody.
    ///
    /// # Errors
    /// Where nothing can be written down any more. Where service is down then it has been started,
    /// since nobody else will.
    pub fn carry_on(&self) -> Result<Rest, JournalError> {
        loop {
            match self.one_move() {
                Ok(None) | Err(Trouble::Interrupted) => {}
                Ok(Some(rest)) => return Ok(rest),
                Err(Trouble::Journal(error)) => {
                    exit::service_up_without_journal(&self.station, self.run);
                    return Err(error);
                }
            }
        }
    }

    /// Ends what a crash interrupted in an open section, and goes on until the section is closed or
    /// waits. Nothing else: what waits outside of sections goes on in its own time.
    ///
    /// # Errors
    /// As [`Self::carry_on`].
    pub fn mend_section(&self) -> Result<(), JournalError> {
        while self.station.state(self.run)?.section.is_some() {
            match self.one_move() {
                Ok(None) | Err(Trouble::Interrupted) => {}
                Ok(Some(_)) => return Ok(()),
                Err(Trouble::Journal(error)) => {
                    exit::service_up_without_journal(&self.station, self.run);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn one_move(&self) -> Result<Option<Rest>, Trouble> {
        let state = self.station.state(self.run)?;
        if self.station.stopping() {
            self.shut_down(&state)?;
            return Ok(Some(Rest::Stopped));
        }
        let next = next_move(&state, &self.plan, &self.station.me, &self.station.now());
        drop(state);
        tracing::debug!(run = %self.run, ?next, "next move");
        match next {
            Move::Wait {
                waiting: Waiting::Answer(step),
                ..
            } => return self.await_answer(step),
            Move::Wait { waiting, until } => return Ok(Some(Rest::Waiting { waiting, until })),
            Move::Over => return Ok(Some(Rest::Over)),
            Move::Run(step) => self.carry_out(step, false)?,
            Move::Finish(step) => self.carry_out(step, true)?,
            Move::Begin(section) => self.begin(section)?,
            Move::Skip(step) => {
                let why = "its section was not opened: the step that opens it was skipped".into();
                self.record(vec![Event::StepSkipped { step, why }])?;
            }
            Move::End(section) => self.record(vec![committed(section)])?,
            Move::Exit { section, why } => {
                let _alone = self.station.disturb();
                exit::take(&self.station, self.run, Some(&self.plan), section, &why)?;
            }
            Move::Undo(step) => self.undo(step)?,
            Move::Close(how, detail) => self.close(how, detail)?,
        }
        Ok(None)
    }

    fn record(&self, events: Vec<Event>) -> Result<(), JournalError> {
        self.station.record(self.run, events)
    }

    fn work<'a>(&'a self, step: &'a PlannedStep, until: Duration) -> Work<'a> {
        Work {
            station: &self.station,
            run: self.run,
            plan: &self.plan,
            step,
            run_began_ms: self.began_ms,
            facts: &self.facts,
            until,
            ready: &self.ready,
        }
    }

    fn step(&self, index: u32) -> Result<&PlannedStep, Trouble> {
        let found = usize::try_from(index)
            .ok()
            .and_then(|index| self.plan.steps.get(index));
        // The journal took no step that the plan does not have: `through` was checked.
        found.ok_or_else(|| {
            Trouble::Journal(JournalError::Corrupt {
                seq: 0,
                why: format!("step {index} is not in the plan"),
            })
        })
    }

    /// When a step must have ended: its timeout, or the exit of the section that is open.
    fn until(&self, step: &PlannedStep, state: &RunState) -> Duration {
        let now = self.station.now();
        let timeout = now.since_boot + step.timeout;
        let search = matches!(step.action, Action::QueueSearch { .. });
        match &state.section {
            // The budget is for each start of a search, which keeps to it by itself.
            Some(open) if search && open.boot == now.boot => timeout,
            // No time is left: whatever there is to find out is found out at once.
            Some(open) if open.boot != now.boot => now.since_boot,
            Some(open) => timeout.min(exit_due(open)),
            None => timeout,
        }
    }

    /// Carries out, or ends after a crash, a step that stands in the open section or outside of any.
    fn carry_out(&self, index: u32, interrupted: bool) -> Result<(), Trouble> {
        let step = self.step(index)?;
        let _alone = disturbs(&step.action).then(|| self.station.disturb());
        let state = self.station.state(self.run)?;
        let work = self.work(step, self.until(step, &state));
        drop(state);
        if interrupted {
            let end = step::recover(&work)?;
            return Ok(self.finish(step, end)?);
        }
        if let Some(events) = self.not_now(&work)? {
            return Ok(self.record(events)?);
        }
        self.record(vec![intended(index)])?;
        // A person is asked; the wait for the answer is a move of its own.
        if matches!(step.action, Action::HumanTask { .. }) {
            return Ok(());
        }
        let end = step::apply(&work)?;
        Ok(self.finish(step, end)?)
    }

    fn finish(&self, step: &PlannedStep, end: StepEnd) -> Result<(), JournalError> {
        let mut events = Vec::new();
        let done = end.outcome == Outcome::Done;
        let no_symptom = matches!(step.action, Action::Detect { .. })
            && end.outcome == Outcome::NoEffect
            && end.detail.starts_with(step::NO_SYMPTOM);
        let detail = end.detail.clone();
        events.push(finished(step.index, end));
        if no_symptom {
            events.push(Event::Closed {
                how: Ended::NotNeeded,
                detail,
            });
        }
        let state = self.station.state(self.run)?;
        if let (true, Some(open)) = (done, &state.section) {
            let last =
                |section: &Section| section.index == open.section && section.last == step.index;
            if self.plan.sections.iter().any(last) {
                events.push(committed(open.section));
            }
        }
        drop(state);
        self.record(events)
    }

    fn undo(&self, index: u32) -> Result<(), Trouble> {
        let step = self.step(index)?;
        let _alone = self.station.disturb();
        let state = self.station.state(self.run)?;
        let resumed = state.steps.get(&index) == Some(&StepState::Undoing);
        let cut_short = state
            .ended_sections
            .get(&undo_section(&self.plan, index))
            .is_some_and(|how| *how != SectionEnd::Committed);
        drop(state);
        if !resumed {
            self.record(vec![Event::UndoIntended { step: index }])?;
        }
        let end = if cut_short {
            StepEnd::unknown(
                "A065-undo-failed: its section was left by its exit before it was done",
            )
        } else {
            let state = self.station.state(self.run)?;
            let until = self.until(step, &state);
            drop(state);
            step::undo(&self.work(step, until))?
        };
        let mut events = Vec::new();
        if end.outcome != Outcome::Done {
            events.push(Event::Alarm {
                code: const { known("A065-undo-failed") }.into(),
                text: format!("undoing step `{}`: {}", step.id, end.detail),
            });
        }
        events.push(Event::UndoFinished {
            step: index,
            outcome: end.outcome,
            detail: end.detail,
        });
        Ok(self.record(events)?)
    }

    fn close(&self, how: Ended, detail: String) -> Result<(), JournalError> {
        let state = self.station.state(self.run)?;
        let events = closing(&state, how, detail);
        drop(state);
        self.record(events)
    }

    /// Leaves nothing with its service down: the step that waits ends, the exit is taken.
    fn shut_down(&self, state: &RunState) -> Result<(), Trouble> {
        let Some(open) = &state.section else {
            return Ok(());
        };
        let up = |service| {
            let status = self.station.host.services().query(service);
            status.is_ok_and(|status| status.state == ServiceState::Running)
        };
        if up(&open.service) && exit::stopped_by(state).all(up) {
            return Ok(());
        }
        if let Some(index) = state.acting() {
            let step = self.step(index)?;
            if disturbs(&step.action) || matches!(step.action, Action::QueueSearch { .. }) {
                self.carry_out(index, true)?;
            } else {
                let why = "A067-shutdown: the agent was shut down while the step waited";
                self.finish(step, StepEnd::no_effect(why))?;
            }
        }
        if let Some(open) = &self.station.state(self.run)?.section {
            let _alone = self.station.disturb();
            let why = ExitReason::ShuttingDown;
            exit::take(
                &self.station,
                self.run,
                Some(&self.plan),
                open.section,
                &why,
            )?;
        }
        Ok(())
    }
}

/// What is written down when a run ends: what a person must know, and that it is closed.
pub(crate) fn closing(state: &RunState, how: Ended, detail: String) -> Vec<Event> {
    use mailmend_proto::run::Custody::{Held, InDoubt, Poison};
    let counts = state.custody_counts();
    let kept: u64 = [Held, InDoubt, Poison]
        .iter()
        .filter_map(|custody| counts.get(custody))
        .sum();
    let mut events = Vec::new();
    if kept > 0 {
        events.push(Event::Alarm {
            code: const { known("A064-mail-kept") }.into(),
            text: format!("the run ends and {kept} messages stay in custody; {detail}"),
        });
    }
    for folder in state.folders.values() {
        events.push(Event::Alarm {
            code: const { known("A064-mail-kept") }.into(),
            text: format!(
                "the run ends, and the queue's folder `{}` is held whole as `{}`: its messages could not be listed",
                folder.source, folder.held
            ),
        });
    }
    if how == Ended::AtRest {
        events.push(Event::Alarm {
            code: const { known("A068-at-rest") }.into(),
            text: detail.clone(),
        });
    }
    events.push(Event::Closed { how, detail });
    events
}

/// Whether an action changes a service, or what it may read. A search does too, and takes the lock by itself,
/// for it watches the service for hours in between.
const fn disturbs(action: &Action) -> bool {
    matches!(
        action,
        Action::ServiceStop { .. }
            | Action::ServiceStart { .. }
            | Action::ServiceKill { .. }
            | Action::QueueQuarantine { .. }
            | Action::QueueResetIndex {}
            | Action::QueueReplay { .. }
    )
}

fn intended(step: u32) -> Event {
    Event::StepIntended { step, attempt: 1 }
}

fn finished(step: u32, end: StepEnd) -> Event {
    Event::StepFinished {
        step,
        attempt: 1,
        outcome: end.outcome,
        detail: end.detail,
        evidence: end.evidence,
    }
}

fn failed(step: u32, end: StepEnd) -> Vec<Event> {
    vec![intended(step), finished(step, end)]
}

fn committed(section: u32) -> Event {
    Event::SectionEnded {
        section,
        how: SectionEnd::Committed,
        detail: "service is up again".into(),
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
