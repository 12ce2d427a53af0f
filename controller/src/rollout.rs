//! What a rollout is: its runs, how far each may go, and what their agents have told of them.
//!
//! Pure data. [`crate::decide`] reads it, [`crate::store`] keeps it.

mod effects;
mod state;
mod terms;
mod told;
mod waves;

pub use effects::{Books, NotSo};
pub use state::{Cause, NoSuchState, NotNow, RolloutState, RunPhase, Wish};
pub use terms::{Term, terms};
pub use told::{Closing, Mark, Told};
pub use waves::{Approval, Waves, tolerance};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use mailmend_policy::name::{PolicyName, ServerName, SiteName};
use mailmend_policy::plan::{Plan, PlannedStep};
use mailmend_policy::step::Action;
use mailmend_policy::strategy::{Resolved, Strategy};
use mailmend_proto::run::RunId;
use uuid::Uuid;

use crate::lock;

/// A rollout: plans over sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RolloutId(pub Uuid);

impl fmt::Display for RolloutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A rollout with its runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Its id.
    pub id: RolloutId,
    /// The policy.
    pub policy: PolicyName,
    /// The policy's version.
    pub version: u32,
    /// The selector it was started with, for people.
    pub selector: String,
    /// What it does now.
    pub state: RolloutState,
    /// When it was started, milliseconds since 1970 UTC.
    pub started_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// How it goes through the sites, as it was frozen at the start.
    pub strategy: Strategy,
    /// The same in numbers, frozen too.
    pub resolved: Resolved,
    /// How many failures a person accepted by resuming; 0: none beyond the frozen number.
    pub accepted_failures: u32,
    /// The inventory's generation that its plans were made from.
    pub generation: i64,
    /// The wave at work, from 0.
    pub wave: u32,
    /// When the last run of that wave ended: its soak begins. None while runs of it are at work.
    pub wave_ended_ms: Option<i64>,
    /// The waves that a person approved.
    pub approvals: BTreeMap<u32, Approval>,
    /// The waves whose gate was not good and that a person accepted by resuming.
    pub accepted: BTreeSet<u32>,
    /// The rollout of which it tries the failed runs again.
    pub retry_of: Option<RolloutId>,
    /// Why it is paused, halted or failed.
    pub why: String,
    /// By what it is paused, halted or aborting.
    pub cause: Cause,
    /// Who started it.
    pub by: String,
    /// Rises with each change that an operator makes; what was decided on an older one is not stored.
    pub revision: i64,
    /// Its runs, in the order in which they are begun.
    pub runs: Vec<Run>,
}

/// One plan being carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The site.
    pub site: SiteName,
    /// The server that the `each` role is bound to.
    pub subject: Option<ServerName>,
    /// Its plan, frozen.
    pub plan: Arc<Plan>,
    /// What it does now.
    pub phase: RunPhase,
    /// The fence of its assignment; none while it waits.
    pub fence: Option<u64>,
    /// Why it failed, unwinds or needs a person.
    pub why: String,
    /// Since when it is in this phase.
    pub since_ms: i64,
    /// When it was assigned.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// What its agents were told and have told; one for each server of the plan.
    pub parts: BTreeMap<ServerName, Part>,
}

/// One agent's part of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// The highest watermark that it may be told.
    pub through: u32,
    /// The unwinding that it is to carry out.
    pub unwind: Option<Unwinding>,
    /// It did not take the run on.
    pub refused: Option<Refusal>,
    /// Its journal was replaced while it had the run: what it did there is not known any more.
    pub lost: bool,
    /// What it has told.
    pub told: Told,
}

/// An order to undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unwinding {
    /// Done steps at or above this are undone.
    pub down_to: u32,
    /// Nothing further down will be asked.
    pub last: bool,
}

/// Why an agent did not take a run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A code of `docs/faults.md`.
    pub code: String,
    /// What is wrong, with values.
    pub why: String,
}

impl Part {
    /// Whether nothing more can come from this agent: it closed, or never took the run on.
    #[must_use]
    pub fn is_over(&self) -> bool {
        lock::is_over(
            self.told.closed.is_some(),
            self.lost,
            self.refused.is_some(),
            self.told.begun,
        )
    }
}

impl Run {
    /// How far a step has come; none while it has not begun.
    #[must_use]
    pub fn mark(&self, step: &PlannedStep) -> Option<Mark> {
        self.parts
            .get(&step.server)
            .and_then(|part| part.told.steps.get(&step.index))
            .copied()
    }

    /// Whether a step asks a person and has no answer, as far as its agent has told.
    #[must_use]
    pub fn asks(&self, step: &PlannedStep) -> bool {
        let told = self.parts.get(&step.server).map(|part| &part.told);
        matches!(step.action, Action::HumanTask { .. })
            && self.mark(step) == Some(Mark::Intended)
            && told.is_some_and(|told| !told.answers.contains_key(&step.index))
    }

    /// How many steps are done or skipped.
    #[must_use]
    pub fn finished(&self) -> u32 {
        let finished = self.plan.steps.iter().filter(|step| self.is_finished(step));
        u32::try_from(finished.count()).unwrap_or(u32::MAX)
    }

    /// Whether a step is done or skipped.
    #[must_use]
    pub fn is_finished(&self, step: &PlannedStep) -> bool {
        matches!(self.mark(step), Some(Mark::Done | Mark::Skipped))
    }

    /// The number of its steps.
    #[must_use]
    pub fn steps(&self) -> u32 {
        u32::try_from(self.plan.steps.len()).unwrap_or(u32::MAX)
    }

    /// The highest watermark of its agents.
    #[must_use]
    pub fn through(&self) -> u32 {
        self.parts
            .values()
            .map(|part| part.through)
            .max()
            .unwrap_or(0)
    }
}
