//! How one simulated rollout went.

use std::collections::BTreeMap;

use serde::Serialize;

/// How one simulated rollout went. Durations are of simulated time, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// How it ended.
    pub ending: Ending,
    /// What was said of that.
    pub why: String,
    /// From its start to its end, or to where the simulation was ended.
    pub duration_ms: i64,
    /// How many waves began, of how many.
    pub waves: (u32, u32),
    /// How many runs stood in each phase at the end.
    pub runs: BTreeMap<String, u32>,
    /// Failed runs and runs in need of a person when it first halted, or at its end.
    pub failed_before_halt: u32,
    /// What held it back, and how often.
    pub gates: Gates,
    /// For each server whose mail service was down: for how long in all, and its longest outage.
    pub outages: BTreeMap<String, OutcomeOf>,
    /// How many messages there were, were delivered, and were delivered more than once, each named.
    pub messages: (u64, u64, u64),
    /// What happened in the simulation, in numbers.
    pub counts: BTreeMap<String, u64>,
    /// Invariants that did not hold, in order; empty: all held after every event.
    pub broken: Vec<String>,
    /// BLAKE3 over every line of the trace.
    pub trace_hash: String,
    /// The trace, where it was asked for.
    #[serde(skip)]
    pub trace: Vec<String>,
}

/// What one server went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OutcomeOf {
    /// How long its mail service was down in all.
    pub outage_ms: i64,
    /// The longest time without a break.
    pub longest_ms: i64,
    /// How often services were started for it.
    pub restarts: u32,
}

/// What held a rollout back, and how often.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Gates {
    /// More runs failed than may.
    pub max_failed: u32,
    /// The health gate was bad.
    pub health_bad: u32,
    /// The health gate could not be told.
    pub health_unknown: u32,
    /// A person had to approve a wave.
    pub approval: u32,
    /// No window was open: how many times something waited for one.
    pub window: u32,
}

/// How a simulated rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Every run ended, and nothing failed.
    Succeeded,
    /// Every run ended, and some failed.
    Failed,
    /// It was aborted, and that came to its end.
    Aborted,
    /// It halted, and nobody resumed it.
    Halted,
    /// It paused, and nobody resumed it.
    Paused,
    /// What is left waits for a server that does not come, or for a person.
    Waiting,
    /// The longest time that is simulated was over.
    TimeOver,
}

impl Ending {
    /// The name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Halted => "halted",
            Self::Paused => "paused",
            Self::Waiting => "waiting",
            Self::TimeOver => "time-over",
        }
    }
}
