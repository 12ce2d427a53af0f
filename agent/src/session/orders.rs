//! What the session asks of whoever carries out the controller's orders.

use mailmend_proto::run::RunId;
use mailmend_proto::wire;

use crate::immunity::ImmunityError;

/// Carries out orders. Each call returns when the order is durable in the journal, or refused;
/// what it sets going goes on by itself. An order that was taken before is taken again without
/// effect.
pub trait Orders: Send + Sync {
    /// Takes a run on.
    ///
    /// # Errors
    /// Where it is refused: another plan than the controller's, an old fence, something that the
    /// guard does not allow.
    fn admit(&self, assignment: wire::Assignment) -> Result<(), OrderRefused>;
    /// Releases steps with an index below `through`.
    ///
    /// # Errors
    /// Where the run is unknown, the fence is old or the watermark would fall.
    fn advance(&self, run: RunId, fence: u64, through: u32) -> Result<(), OrderRefused>;
    /// Undoes done steps from `down_to` on; with `last` nothing further down will be asked.
    ///
    /// # Errors
    /// Where the run is unknown or the fence is old.
    fn unwind(&self, run: RunId, fence: u64, down_to: u32, last: bool) -> Result<(), OrderRefused>;
    /// Refuses everything older than this for the run.
    ///
    /// # Errors
    /// Where the run is unknown or the fence is old.
    fn fence(&self, run: RunId, fence: u64) -> Result<(), OrderRefused>;
    /// Takes a person's order: an answer, a release, a settlement. It is known by its id.
    ///
    /// # Errors
    /// Where it is refused; nothing was changed.
    fn order(&self, order: &wire::Order) -> Result<(), OrderRefused>;
    /// Derives the ledger anew and tells in pieces where journal, disk and logs disagree; changes nothing.
    /// Ends early where `tell` answers `false`: nobody listens any more.
    fn audit(&self, request: &wire::AuditRequest, tell: &mut dyn FnMut(wire::Audit) -> bool);
    /// Takes the fingerprints of poison that stand, in the place of the former ones.
    ///
    /// # Errors
    /// Where they make no sense or cannot be kept; the former ones stay.
    fn immunize(&self, immunity: wire::Immunity) -> Result<(), ImmunityError>;
    /// Takes signed documents about policies, as far as they can be believed. Whether anything changed.
    ///
    /// # Errors
    /// Where some of it is refused; what was trusted before stays.
    fn trust(&self, documents: wire::TrustDocuments) -> Result<bool, OrderRefused>;
    /// The names of the actions that can be carried out here.
    fn supported_actions(&self) -> Vec<String>;
}

/// An order was refused; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {why}")]
pub struct OrderRefused {
    /// A code of `docs/faults.md`.
    pub code: &'static str,
    /// Why.
    pub why: String,
}
