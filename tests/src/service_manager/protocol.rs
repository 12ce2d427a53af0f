//! What the service manager and its clients say to each other.

use serde::{Deserialize, Serialize};

/// What a client may ask for. There is no kill: a process is ended by whoever has proven which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// The state of a service.
    Query,
    /// Stop it; answered at once.
    Stop,
    /// Start it; answered at once.
    Start,
    /// Every change of state so far; for the lab's own account of outages.
    History,
}

/// A request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// What to do.
    pub op: Op,
    /// The short name of the service.
    #[serde(default)]
    pub service: String,
}

/// The state of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not running.
    Stopped,
    /// On its way up.
    Starting,
    /// Running.
    Running,
    /// On its way down.
    Stopping,
}

/// A change of a service's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// The service.
    pub service: String,
    /// Its state from then on.
    pub state: State,
    /// The exit code, where a process ended.
    pub exit_code: Option<u32>,
}

/// An answer. A query is answered with `state` and what belongs to it; a refusal with `code`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Answer {
    /// Whether the request was granted.
    pub ok: bool,
    /// The Win32 error code of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
    /// The words of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The process, while there is one.
    #[serde(default)]
    pub pid: Option<u32>,
    /// When that process started, in clock ticks since the machine did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
    /// That process's program file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How the last process ended; `null` while none has.
    #[serde(default)]
    pub exit_code: Option<u32>,
    /// Whether a stop would be accepted now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepts_stop: Option<bool>,
    /// The services that depend on it and are not stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependents: Option<Vec<String>>,
    /// Every change of state, oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<Change>>,
}

impl Answer {
    /// A refusal.
    #[must_use]
    pub fn refused(code: u32, message: &str) -> Self {
        Self {
            code: Some(code),
            message: Some(message.to_owned()),
            ..Self::default()
        }
    }
}
