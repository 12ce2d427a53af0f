//! mailmend's controller: it distributes policies, decides how far each run may go, and keeps what
//! the agents report; and the operator's command line, [`cli`].
//!
//! The walk: [`server`] receives, [`ingest`] stores what an agent reports, [`decide`] says what
//! follows, [`orchestrator`] stores that and then acts on it through [`sessions`].

pub mod audits;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decide;
pub mod doctor;
pub mod enrol;
pub mod explain;
pub mod faults;
pub mod identity;
pub mod immunity;
pub mod ingest;
pub mod liveness;
pub mod lock;
pub mod mail_flow;
pub mod metrics;
pub mod orchestrator;
pub mod planning;
pub mod react;
pub mod rollout;
pub mod server;
pub mod sessions;
pub mod signing;
pub mod simulation;
pub mod store;
pub mod trail;
pub mod trust;
pub mod watches;

#[cfg(test)]
mod simulated_agent;
