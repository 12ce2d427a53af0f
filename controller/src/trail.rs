//! The audit trail: who did what and when, and what agents were allowed to do before they were told of it, as a hash
//! chain that anybody can verify from an export, without the controller.
//!
//! Not to be mixed up with [`crate::audits`], which compare an agent's ledger with its disk. The store writes an entry
//! in the transaction of what it tells of ([`crate::store`]); here is what is pure: the chain, the words, the exported
//! lines and the checks. docs/audit.md has the format.

pub mod chain;
pub mod item;
pub mod line;
pub mod past;
pub mod verify;

pub use chain::Head;

/// The actor of what the controller does by itself.
pub const CONTROLLER: &str = "mailmend";
