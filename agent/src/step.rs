//! Steps: one file for each kind, and what they have in common.
//!
//! A step's intention is durable before [`apply`] is called and its outcome after it. What a crash
//! interrupted is given to [`recover`], which redoes what may be redone and otherwise finds out.

mod check;
mod detect;
mod human_task;
mod mail_escrow;
mod mail_probe;
mod mail_reconcile;
mod queue_quarantine;
mod queue_replay;
mod queue_reset_index;
mod queue_search;
mod queue_settle;
mod routing_recalculate;
mod service_kill;
mod service_start;
mod service_stop;
mod tool_run;
mod wait_until;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mailmend_policy::condition::{Condition, Queue};
use mailmend_policy::name::StepId;
use mailmend_policy::plan::{Plan, PlannedStep};
use mailmend_policy::step::Action;
use mailmend_proto::run::{Event, Outcome, RunId, RunState, StepState};

use crate::ablation::{Mechanism, off};
use crate::condition::{Judgement, Scene, StepEnded, Verdict, judge, judge_all};
use crate::custody::{quarantine, replay};
use crate::host::{Effect, Facts, Host, HostError};
use crate::journal::JournalError;
use crate::queue::QueueCare;
use crate::station::Station;

pub(crate) use detect::NO_SYMPTOM;
pub(crate) use queue_quarantine::how_to_stop;
pub(crate) use queue_settle::await_evidence;

pub use crate::station::Trouble;

/// The actions that this agent carries out, by name.
pub const SUPPORTED: [&str; 17] = [
    "check",
    "detect",
    "human.task",
    "mail.escrow",
    "mail.probe",
    "mail.reconcile",
    "queue.quarantine",
    "queue.replay",
    "queue.reset-index",
    "queue.search",
    "queue.settle",
    "routing.recalculate",
    "service.kill",
    "service.start",
    "service.stop",
    "tool.run",
    "wait.until",
];

/// How a step or an undo ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepEnd {
    /// How.
    pub outcome: Outcome,
    /// One line for people.
    pub detail: String,
    /// Facts with their places.
    pub evidence: Vec<String>,
}

impl StepEnd {
    /// It took effect, verified.
    pub fn done(detail: impl Into<String>) -> Self {
        Self::of(Outcome::Done, detail)
    }

    /// It failed, and it is known that nothing changed.
    pub fn no_effect(detail: impl Into<String>) -> Self {
        Self::of(Outcome::NoEffect, detail)
    }

    /// It failed, and it is not known what changed.
    pub fn unknown(detail: impl Into<String>) -> Self {
        Self::of(Outcome::Unknown, detail)
    }

    fn of(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self {
            outcome,
            detail: detail.into(),
            evidence: Vec::new(),
        }
    }

    /// A host call that failed and after which the step ends.
    pub fn failed(error: &HostError) -> Self {
        match error.effect {
            Effect::None => Self::no_effect(format!("could not {error}")),
            Effect::Unknown => Self::unknown(format!("could not {error}")),
        }
    }

    /// With evidence.
    #[must_use]
    pub fn with(mut self, evidence: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(evidence);
        self
    }
}

/// How a step ended, or that it was left.
pub type StepResult = Result<StepEnd, Trouble>;

/// What a step works with.
#[derive(Clone)]
pub struct Work<'a> {
    /// Machine, journal, guard.
    pub station: &'a Station,
    /// The run.
    pub run: RunId,
    /// Its plan.
    pub plan: &'a Plan,
    /// The step.
    pub step: &'a PlannedStep,
    /// When the run began on this agent, wall clock.
    pub run_began_ms: i64,
    /// Facts about the server: what the agent reports, else what the assignment says.
    pub facts: &'a Facts,
    /// When the step must have ended, uptime since the start of the machine: its timeout, or the exit
    /// of the section that it stands in, whichever is earlier.
    pub until: Duration,
    /// What was prepared while service still ran.
    pub ready: &'a Prepared,
}

/// What steps prepared while service still ran, until they are carried out.
#[derive(Debug, Default)]
pub struct Prepared(Mutex<BTreeMap<u32, Ready>>);

/// What one step prepared.
#[derive(Debug)]
pub(crate) enum Ready {
    /// The queue was read and hashed.
    Quarantine(quarantine::Prepared),
    /// The held files were read and found whole.
    Replay(Vec<replay::Checked>),
}

impl Prepared {
    fn put(&self, step: u32, ready: Ready) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(step, ready);
    }

    fn take(&self, step: u32) -> Option<Ready> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&step)
    }

    /// Forgets everything: the section that it was prepared for is over.
    pub(crate) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

impl Work<'_> {
    /// A queue, in the name of the run.
    pub(crate) fn queue_care(&self, queue: Queue) -> Result<QueueCare<'_>, String> {
        QueueCare::open(self.station, self.run, queue)
    }

    /// The machine.
    #[must_use]
    pub fn host(&self) -> &dyn Host {
        self.station.host.as_ref()
    }

    /// Appends events of the run.
    pub(crate) fn record(&self, events: Vec<Event>) -> Result<(), JournalError> {
        self.station.record(self.run, events)
    }

    /// What the run's records add up to.
    pub(crate) fn state(&self) -> Result<Arc<RunState>, JournalError> {
        self.station.state(self.run)
    }

    /// Judges all conditions, where and when the step stands.
    pub(crate) fn judge_all(&self, conditions: &[Condition]) -> Result<Judgement, JournalError> {
        self.in_scene(|scene| judge_all(conditions, scene))
    }

    /// Judges one condition, where and when the step stands.
    pub(crate) fn judge(&self, condition: &Condition) -> Result<Judgement, JournalError> {
        self.in_scene(|scene| judge(condition, scene))
    }

    /// Which `forbid` stands in the way of a step; with `strict` also one that cannot be judged.
    pub(crate) fn forbidden(&self, strict: bool) -> Result<Option<String>, JournalError> {
        let asked = |_: &&_| !off(Mechanism::ForbiddenStop);
        for forbid in self.step.forbid.iter().filter(asked) {
            let judged = self.judge(&forbid.condition)?;
            match judged.verdict {
                Verdict::True => {
                    return Ok(Some(format!(
                        "A057-forbidden: {}: {}",
                        forbid.why, judged.evidence
                    )));
                }
                Verdict::CannotTell if strict => {
                    return Ok(Some(format!(
                        "A058-cannot-tell: whether the step is forbidden ({}): {}",
                        forbid.why, judged.evidence
                    )));
                }
                Verdict::False | Verdict::CannotTell => {}
            }
        }
        Ok(None)
    }

    fn in_scene(
        &self,
        judge: impl FnOnce(Scene<'_>) -> Judgement,
    ) -> Result<Judgement, JournalError> {
        let state = self.state()?;
        let detecting = matches!(self.step.action, Action::Detect { .. });
        Ok(judge(Scene {
            host: self.host(),
            facts: self.facts,
            run_began_ms: (!detecting).then_some(self.run_began_ms),
            ended: &|id| ended(id, &state, self.plan, self.station),
            answered: &|id| {
                let step = self.earlier(id)?;
                state.answers.get(&step).map(|given| given.answer.clone())
            },
        }))
    }

    /// The index of an earlier step of this server, by its id.
    pub(crate) fn earlier(&self, id: &StepId) -> Option<u32> {
        self.plan
            .steps
            .iter()
            .find(|step| step.id == *id && step.server == self.station.me)
            .map(|step| step.index)
    }

    /// Waits until `look` answers, the step's time is over, or the agent shuts down.
    pub(crate) fn wait_for<T>(
        &self,
        pause: Duration,
        look: impl FnMut() -> Result<Option<T>, Trouble>,
    ) -> Result<Option<T>, Trouble> {
        self.station.wait_for(self.until, pause, look)
    }
}

fn ended(id: &StepId, state: &RunState, plan: &Plan, station: &Station) -> Option<StepEnded> {
    let step = plan
        .steps
        .iter()
        .find(|step| step.id == *id && step.server == station.me)?;
    Some(match state.steps.get(&step.index) {
        Some(StepState::Finished {
            outcome: Outcome::Done,
            ..
        }) => StepEnded::Done,
        Some(StepState::Skipped) => StepEnded::Skipped,
        _ => StepEnded::Otherwise,
    })
}

/// Looks whether a step could be carried out, and does beforehand what takes long, while service still
/// runs: nothing changes. The steps of a section are all prepared before the section is opened.
///
/// # Errors
/// Where nothing can be written down, or the agent shuts down. A step that cannot be carried out is
/// no error: it is told in the inner one.
pub fn prepare(work: &Work<'_>) -> Result<Result<(), String>, Trouble> {
    match &work.step.action {
        Action::ServiceStop { service, .. } | Action::ServiceKill { service } => {
            service_stop::prepare(work, service)
        }
        Action::ServiceStart { service, .. } => Ok(service_start::prepare(work, service)),
        Action::QueueQuarantine { queue, .. } => queue_quarantine::prepare(work, *queue),
        Action::QueueReplay { of, .. } => queue_replay::prepare(work, of),
        Action::QueueSearch { service, .. } => queue_search::prepare(work, service),
        Action::RoutingRecalculate { tool, .. } | Action::ToolRun { tool, .. } => Ok(work
            .station
            .guard
            .allows_tool(tool)
            .map(drop)
            .map_err(|refusal| refusal.to_string())),
        _ => Ok(Ok(())),
    }
}

/// Carries a step out. Its intention is durable.
///
/// # Errors
/// Where nothing can be written down, or the agent shuts down.
pub fn apply(work: &Work<'_>) -> StepResult {
    match &work.step.action {
        Action::Detect { all } => detect::apply(work, all),
        Action::ServiceStop { service, then } => service_stop::apply(work, service, *then),
        Action::ServiceStart {
            service,
            observe,
            attempts,
        } => service_start::apply(work, service, *observe, *attempts),
        Action::ServiceKill { service } => service_kill::apply(work, service),
        Action::RoutingRecalculate { tool, until } => routing_recalculate::apply(work, tool, until),
        Action::QueueQuarantine { queue, .. } => queue_quarantine::apply(work, *queue),
        Action::QueueResetIndex {} => queue_reset_index::apply(work),
        Action::QueueReplay { of, .. } => queue_replay::apply(work, of),
        Action::QueueSettle { of } => queue_settle::apply(work, of),
        Action::MailProbe { tool, to } => mail_probe::apply(work, tool, to),
        Action::WaitUntil { until, poll } => wait_until::apply(work, until, *poll),
        Action::Check { all } => check::apply(work, all),
        Action::ToolRun { tool, with, accept } => tool_run::apply(work, tool, with, accept),
        Action::QueueSearch { .. } => queue_search::apply(work),
        Action::HumanTask { accept, .. } => human_task::ended(work, accept),
        Action::MailReconcile { over, grace, store } => {
            mail_reconcile::apply(work, *over, *grace, store.as_ref())
        }
        Action::MailEscrow { queue, keep } => mail_escrow::apply(work, *queue, *keep),
    }
}

/// Ends a step that a crash interrupted: redoes it where that is harmless, finishes it, or finds out
/// what it did.
///
/// # Errors
/// Where nothing can be written down, or the agent shuts down.
pub fn recover(work: &Work<'_>) -> StepResult {
    match &work.step.action {
        Action::ToolRun { tool, with, accept } => tool_run::recover(work, tool, with, accept),
        Action::QueueQuarantine { .. } => queue_quarantine::recover(work),
        Action::QueueReplay { .. } => queue_replay::recover(work),
        Action::QueueSearch { .. } => queue_search::recover(work),
        // Looking again, stopping what is stopped, starting what runs and setting an index aside that is
        // aside already are all harmless; so is a second test message or recalculation.
        _ => apply(work),
    }
}

/// Undoes a done step as it declares.
///
/// # Errors
/// Where nothing can be written down, or the agent shuts down.
pub fn undo(work: &Work<'_>) -> StepResult {
    match &work.step.action {
        Action::ServiceStop { service, .. } | Action::ServiceKill { service } => {
            service_stop::undo(work, service)
        }
        Action::QueueQuarantine { .. } => queue_quarantine::undo(work),
        _ => Ok(StepEnd::done("nothing to undo")),
    }
}
