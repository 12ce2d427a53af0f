//! What people do in a simulation.

use std::time::Duration;

/// What people do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct People {
    /// How long until somebody approves a wave, answers what a step asks, or looks at a rollout that does
    /// not go on by itself.
    pub after: Duration,
    /// Whether a halted or paused rollout is resumed; else that is where the simulation ends.
    pub resume: bool,
    /// When the rollout is aborted, after the start.
    pub abort: Option<Duration>,
    /// When it is paused, after the start, for as long as `after`.
    pub pause: Option<Duration>,
}

impl Default for People {
    fn default() -> Self {
        Self {
            after: Duration::from_secs(600),
            resume: false,
            abort: None,
            pause: None,
        }
    }
}
