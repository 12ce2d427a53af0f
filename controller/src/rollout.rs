//! What a rollout is: its runs, how far each may go, and what their agents have told of them.
//!
//! Pure data. [`crate::decide`] reads it, [`crate::store`] keeps it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use mailmend_policy::name::{PolicyName, ServerName, SiteName};
use mailmend_policy::plan::{Plan, PlannedStep};
use mailmend_proto::run::{Custody, Ended, Event, Outcome, RunId, RunState, SectionEnd, StepState};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A rollout: plans over sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RolloutId(pub Uuid);

impl fmt::Display for RolloutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no state")]
pub struct NoSuchState(pub String);

macro_rules! named {
    ($type:ident { $($variant:ident = $name:literal),+ $(,)? }) => {
        impl $type {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name for people, in JSON and in the store.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
        impl FromStr for $type {
            type Err = NoSuchState;
            fn from_str(text: &str) -> Result<Self, NoSuchState> {
                match text { $($name => Ok(Self::$variant),)+ _ => Err(NoSuchState(text.to_owned())) }
            }
        }
    };
}

/// What a rollout does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RolloutState {
    /// It goes on.
    Running,
    /// A person paused it: nothing new starts.
    Paused,
    /// A person aborted it: what was done is being undone.
    Aborting,
    /// Too many runs failed: nothing new starts until a person resumes or aborts.
    Halted,
    /// It ended and nothing failed.
    Succeeded,
    /// It ended with failed runs.
    Failed,
    /// It ended after it was aborted.
    Aborted,
}
named!(RolloutState {
    Running = "running",
    Paused = "paused",
    Aborting = "aborting",
    Halted = "halted",
    Succeeded = "succeeded",
    Failed = "failed",
    Aborted = "aborted",
});

impl RolloutState {
    /// Whether it has ended.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Aborted)
    }
}

/// What a run does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunPhase {
    /// Not assigned yet.
    Waiting,
    /// Assigned; not all agents have taken it on.
    Assigned,
    /// Being carried out.
    Running,
    /// Being undone, or being closed with nothing more to do.
    Unwinding,
    /// Every step is done or skipped.
    Succeeded,
    /// The symptom did not stand; nothing was changed.
    NotNeeded,
    /// Unwound, or refused.
    Failed,
    /// It came to rest and needs a person; it keeps its site.
    NeedsPerson,
    /// Never assigned.
    Cancelled,
}
named!(RunPhase {
    Waiting = "waiting",
    Assigned = "assigned",
    Running = "running",
    Unwinding = "unwinding",
    Succeeded = "succeeded",
    NotNeeded = "not-needed",
    Failed = "failed",
    NeedsPerson = "needs-person",
    Cancelled = "cancelled",
});

impl RunPhase {
    /// Whether it has ended; its site is free then.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::NotNeeded | Self::Failed | Self::Cancelled
        )
    }

    /// Whether it was given to agents and has not ended: it holds its site.
    #[must_use]
    pub const fn holds_site(self) -> bool {
        !self.is_final() && !matches!(self, Self::Waiting)
    }
}

/// What an operator may want of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Nothing new starts.
    Pause,
    /// It goes on; failures so far are accepted.
    Resume,
    /// What was done is undone.
    Abort,
}

/// A wish that a rollout's state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("C085-rollout-state: the rollout is {}; {}", .state.name(), .why)]
pub struct NotNow {
    /// The state.
    pub state: RolloutState,
    /// Why that forbids it.
    pub why: &'static str,
}

impl RolloutState {
    /// The state that a wish leads to; the same state where it holds already.
    ///
    /// # Errors
    /// Where the rollout has ended, or is being aborted and the wish is another.
    pub const fn after(self, wish: Wish) -> Result<Self, NotNow> {
        match (self, wish) {
            (Self::Succeeded | Self::Failed | Self::Aborted, _) => Err(NotNow {
                state: self,
                why: "it has ended; start another one",
            }),
            (_, Wish::Abort) => Ok(Self::Aborting),
            (Self::Aborting, _) => Err(NotNow {
                state: self,
                why: "an abort cannot be taken back, it ends by itself",
            }),
            (_, Wish::Pause) => Ok(Self::Paused),
            (_, Wish::Resume) => Ok(Self::Running),
        }
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
    /// How many sites are mended at once.
    pub sites_at_once: u32,
    /// It halts when `failed > max_failed`.
    pub max_failed: u32,
    /// Why it is paused, halted or failed.
    pub why: String,
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

/// What the records of one agent add up to, as far as decisions and people need it. Kept beside the
/// records, in the same transaction, so that nothing is folded again to show a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Told {
    /// It took the run on.
    pub begun: bool,
    /// The watermark it has journaled.
    pub through: u32,
    /// The unwinding it has journaled.
    pub down_to: Option<u32>,
    /// The steps that have begun.
    pub steps: BTreeMap<u32, Mark>,
    /// The section that is open.
    pub open_section: Option<u32>,
    /// A section that was left by its exit or handed to a person, and the reason.
    pub left_section: Option<String>,
    /// That section's exit failed.
    pub handed_over: bool,
    /// Why steps failed, by step.
    pub why: BTreeMap<u32, String>,
    /// Starts of services.
    pub restarts: u32,
    /// Messages in custody by state.
    pub custody: BTreeMap<String, u64>,
    /// How it ended.
    pub closed: Option<Closing>,
    /// Why it ended so.
    pub closed_why: String,
}

/// How far a step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// About to act, acting or interrupted.
    Intended,
    /// It took effect.
    Done,
    /// It failed and nothing changed.
    NoEffect,
    /// It failed and nobody knows what changed.
    Unknown,
    /// Its `when` did not hold.
    Skipped,
    /// Being undone.
    Undoing,
    /// Undone.
    Undone,
    /// Its undo failed.
    UndoFailed,
}

impl Mark {
    /// The name for people, as the contract says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intended => "running",
            Self::Done => "done",
            Self::NoEffect => "no-effect",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::UndoFailed => "undo-failed",
        }
    }
}

impl From<&StepState> for Mark {
    fn from(state: &StepState) -> Self {
        match state {
            StepState::Intended { .. } => Self::Intended,
            StepState::Finished { outcome, .. } => match outcome {
                Outcome::Done => Self::Done,
                Outcome::NoEffect => Self::NoEffect,
                Outcome::Unknown => Self::Unknown,
            },
            StepState::Skipped => Self::Skipped,
            StepState::Undoing => Self::Undoing,
            StepState::Undone => Self::Undone,
            StepState::UndoFailed => Self::UndoFailed,
        }
    }
}

/// How an agent's part ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Closing {
    /// All of its steps are done or skipped and the run is committed.
    Committed,
    /// The symptom does not stand.
    NotNeeded,
    /// Every done step was undone.
    Unwound,
    /// It needs a person.
    AtRest,
}

impl Told {
    /// What is told once `event` has led to `state`.
    #[must_use]
    pub fn after(mut self, state: &RunState, event: &Event) -> Self {
        match event {
            Event::StepFinished {
                step,
                outcome: Outcome::NoEffect | Outcome::Unknown,
                detail,
                ..
            }
            | Event::UndoFinished {
                step,
                outcome: Outcome::NoEffect | Outcome::Unknown,
                detail,
            } => {
                self.why.insert(*step, detail.clone());
            }
            Event::SectionEnded { how, detail, .. } => match how {
                SectionEnd::Committed => {}
                SectionEnd::Exited => self.left_section = Some(detail.clone()),
                SectionEnd::HandedOver => {
                    self.left_section = Some(detail.clone());
                    self.handed_over = true;
                }
            },
            Event::Closed { how, detail } => {
                self.closed = Some(match how {
                    Ended::Committed => Closing::Committed,
                    Ended::NotNeeded => Closing::NotNeeded,
                    Ended::Unwound => Closing::Unwound,
                    Ended::AtRest => Closing::AtRest,
                });
                self.closed_why.clone_from(detail);
            }
            _ => {}
        }
        self.begun = state.begun;
        self.through = state.through;
        self.down_to = state.down_to;
        self.steps = state
            .steps
            .iter()
            .map(|(step, state)| (*step, Mark::from(state)))
            .collect();
        self.open_section = state.section.as_ref().map(|open| open.section);
        self.restarts = state.restarts;
        self
    }

    /// With the custody counts of `state`; counted once for many events, as it walks every entry.
    #[must_use]
    pub fn counted(mut self, state: &RunState) -> Self {
        self.custody = state
            .custody_counts()
            .into_iter()
            .map(|(custody, count): (Custody, u64)| (custody.name().to_owned(), count))
            .collect();
        self
    }
}

impl Part {
    /// Whether nothing more can come from this agent: it closed, or never took the run on.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.told.closed.is_some() || self.lost || (self.refused.is_some() && !self.told.begun)
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
