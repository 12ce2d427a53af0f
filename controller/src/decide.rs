//! What follows from what is known: one pure function.

use mailmend_policy::name::ServerName;
use mailmend_proto::run::RunId;

use crate::rollout::{RolloutState, RunPhase, Unwinding};

/// Something that follows. It is stored before anybody is told, and storing it twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Take the site's lock, mint a fence and assign the run to all of its agents.
    Assign {
        /// The run.
        run: RunId,
    },
    /// Let an agent go on.
    Advance {
        /// The run.
        run: RunId,
        /// The agent.
        server: ServerName,
        /// Its steps with index below this may run.
        through: u32,
    },
    /// Have an agent undo.
    Unwind {
        /// The run.
        run: RunId,
        /// The agent.
        server: ServerName,
        /// How far.
        order: Unwinding,
    },
    /// The run enters a phase; a final one frees the site's lock.
    Enter {
        /// The run.
        run: RunId,
        /// The phase.
        phase: RunPhase,
        /// Why; empty where it needs no reason.
        why: String,
    },
    /// The rollout enters a state.
    Turn {
        /// The state.
        state: RolloutState,
        /// Why; empty where it needs no reason.
        why: String,
    },
}
