//! The states of rollouts and runs, and what operators may make of them.

use std::str::FromStr;

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

/// By what a rollout is paused, halted or aborting: what releases it depends on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Cause {
    /// It goes on, or has ended.
    #[default]
    None,
    /// A person's word.
    Person,
    /// More runs failed than may.
    Failures,
    /// The gate after a wave was bad, or could not be told.
    Gate,
    /// A server is not any more what its plan was made from.
    Drift,
    /// Its policy was recalled.
    Recall,
}
named!(Cause {
    None = "none",
    Person = "person",
    Failures = "failures",
    Gate = "gate",
    Drift = "drift",
    Recall = "recall",
});

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
