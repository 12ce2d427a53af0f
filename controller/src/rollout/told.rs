//! What an agent has told of its part of a run.

use std::collections::BTreeMap;

use mailmend_proto::run::{
    Custody, Ended, Event, Fate, Outcome, ReconciledMessage, RunState, SectionEnd, StepState,
};
use serde::{Deserialize, Serialize};

/// What the records of one agent add up to, as far as decisions and people need it. Kept beside the
/// records, in the same transaction, so that nothing is folded again to show a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Told {
    /// It took the run on.
    pub begun: bool,
    /// The highest fence that it has journaled for the run.
    pub fence: u64,
    /// The watermark it has journaled.
    pub through: u32,
    /// The unwinding it has journaled.
    pub down_to: Option<u32>,
    /// Whether that is the last that will be asked.
    pub unwind_last: bool,
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
    /// Messages that vanished and whose copies may be given back.
    pub recoverable: u64,
    /// How it ended.
    pub closed: Option<Closing>,
    /// Why it ended so.
    pub closed_why: String,
    /// What persons answered to `human.task` steps, and who, by step.
    pub answers: BTreeMap<u32, String>,
    /// The order of the release that is being carried out.
    pub releasing: Option<String>,
    /// How releases ended, by the order that asked for them.
    pub released: BTreeMap<String, String>,
    /// When the controller took the newest record of it in, by its own clock; 0: none since it notes this.
    pub heard_ms: i64,
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
            Event::Answered {
                step, answer, by, ..
            } => {
                self.answers.insert(*step, format!("`{answer}`, says {by}"));
            }
            Event::ReleaseOrdered { order, .. } | Event::RecoverOrdered { order, .. } => {
                self.releasing = Some(order.to_string());
            }
            // A release mends no run: it stays what it was when it was closed first.
            Event::Closed { detail, .. } if self.releasing.is_some() => {
                if let Some(order) = self.releasing.take() {
                    self.released.insert(order, detail.clone());
                }
            }
            Event::Closed { how, detail } => {
                self.closed = Some(match how {
                    Ended::Committed => Closing::Committed,
                    Ended::NotNeeded => Closing::NotNeeded,
                    Ended::Unwound => Closing::Unwound,
                    Ended::AtRest | Ended::Released => Closing::AtRest,
                });
                self.closed_why.clone_from(detail);
            }
            _ => {}
        }
        self.begun = state.begun;
        self.fence = state.fence;
        self.through = state.through;
        self.down_to = state.down_to;
        self.unwind_last = state.unwind_last;
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
        let kept =
            |one: &&ReconciledMessage| one.fate == Fate::Vanished && one.escrow_hash.is_some();
        let found = state.reconciled.values().flat_map(|found| &found.messages);
        let taken_up = state
            .batches
            .values()
            .filter(|batch| batch.copied_from.is_some())
            .flat_map(|batch| &batch.entries)
            .filter(|entry| entry.custody != Custody::Live)
            .count();
        let left = found.filter(kept).count().saturating_sub(taken_up);
        self.recoverable = u64::try_from(left).unwrap_or(u64::MAX);
        self
    }
}
