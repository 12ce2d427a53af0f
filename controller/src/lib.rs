//! mailmend's controller: it distributes policies, decides how far each run may go, and keeps what
//! the agents report.
//!
//! The walk: [`server`] receives, [`ingest`] stores what an agent reports, [`decide`] says what
//! follows, [`orchestrator`] stores that and then acts on it through [`sessions`].

pub mod clock;
pub mod identity;
pub mod server;
