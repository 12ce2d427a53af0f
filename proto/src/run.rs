//! A run on one agent: its journal's events, and the state that they add up to.
//!
//! Agent and controller fold the same events with the same function, [`RunState::after`], so that
//! what the agent does after a crash and what the operator is shown cannot differ.

mod custody;
mod event;
mod immunity;
mod reconciled;
mod search;
mod state;

pub use custody::{Batch, Custody, Entry, HeldFolder, Left, Replay, Settlement};
pub use event::{BatchId, Ended, Event, Outcome, Record, RunId, SectionEnd, ServiceChange};
pub use immunity::{BodyPrint, PoisonProof, ProvenPoison};
pub use reconciled::{Fate, ReconciledMessage, Reconciliation};
pub use search::{SearchMark, SearchObservation, SearchStart, SearchState, SearchSuspect};
pub use state::{Answer, Escrow, Illegal, OpenSection, Release, RunState, StepState};

#[cfg(test)]
mod tests;
