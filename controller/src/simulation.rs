//! A rollout played through before anything is touched: simulated time, a network that loses, repeats and
//! delays, a controller that dies, and agents that do whatever an [`Agents`] says.
//!
//! Real: [`crate::decide`] with all that it holds a rollout back for, [`crate::planning`], what an action
//! makes of a rollout ([`crate::rollout::Rollout::carry_out`]), how reports are understood, compared and folded
//! ([`crate::ingest`]), and what an agent is told and when ([`crate::sessions`]). Modelled: the store (what
//! was stored survives a death, all else does not), the streams, people. The same [`Setup`] gives the
//! same trace.

mod agents;
mod controller;
mod engine;
mod fleet;
pub mod invariants;
mod network;
mod odds;
mod outcome;
mod people;
mod summary;

use std::time::Duration;

use mailmend_policy::plan::Server;

use crate::planning::Planned;
use crate::store::PolicyRow;

pub use agents::{Agents, AgentsFault, Program};
pub use engine::simulate;
pub use fleet::{FleetFault, generated};
pub use network::Weather;
pub use odds::Odds;
pub use outcome::{Ending, Gates, Outcome, OutcomeOf};
pub use people::People;
pub use summary::{Spread, Summary, summary};

/// When every simulated rollout is started: Monday, 3 November 1997, 00:00 UTC.
pub const START_MS: i64 = 878_515_200_000;

/// A rollout to be played through.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Decides everything that chance decides.
    pub seed: u64,
    /// The policy.
    pub revision: PolicyRow,
    /// What would be done.
    pub planned: Planned,
    /// Every server that the controller knows.
    pub servers: Vec<Server>,
    /// What goes wrong on servers.
    pub odds: Odds,
    /// What goes wrong between them and the controller, and with it.
    pub weather: Weather,
    /// What people do.
    pub people: People,
    /// When all that goes wrong ceases to, after the start; from then on everything must come to its end.
    pub healed_after: Option<Duration>,
    /// The longest that is simulated.
    pub longest: Duration,
    /// Ways in which the simulated servers are broken on purpose: for tests of the checks.
    pub broken: Vec<String>,
    /// Whether each line of the trace is kept.
    pub traced: bool,
}

#[cfg(test)]
mod tests;
