//! What became of messages that a server had accepted, by all of its logs together (Q157684).

use mailmend_policy::digest::Digest;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// Delivered, by evidence.
    Delivered,
    /// In a queue, or not longer under way than it may be.
    Waiting,
    /// Its sender was told that it was not delivered.
    Reported,
    /// Accepted, not delivered, not reported, in no queue, and the logs are whole.
    Vanished,
    /// The logs have gaps where it should be.
    CannotTell,
    /// The agent's custody has it, and its ledger says in which state: a person decides.
    InCustody,
}

impl Fate {
    /// All fates with their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("delivered", Self::Delivered),
        ("waiting", Self::Waiting),
        ("reported", Self::Reported),
        ("vanished", Self::Vanished),
        ("cannot-tell", Self::CannotTell),
        ("in-custody", Self::InCustody),
    ];

    /// The name for people and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// A message that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconciledMessage {
    /// Empty: the logs do not show one.
    pub mts_id: String,
    /// Empty: the logs do not show one.
    pub message_id: String,
    /// What became of it.
    pub fate: Fate,
    /// When it was accepted, by the logs, milliseconds since 1970 UTC.
    pub accepted_ms: i64,
    /// As far as the logs show them.
    pub recipients: Vec<String>,
    /// Empty: the logs do not show one.
    pub sender: String,
    /// Facts with their places.
    pub evidence: Vec<String>,
    /// The file that keeps its bytes; empty: no copy is kept.
    pub escrow: String,
    /// The digest of that file when it was found; none: it is not a copy of the agent's own.
    pub escrow_hash: Option<Digest>,
}

/// What a reconciling step found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconciliation {
    /// How many pieces have been told.
    pub pieces: u32,
    /// How many were delivered.
    pub delivered: u64,
    /// The others, in the order in which they were told. A delivered one is listed too where it still stands
    /// in a folder of the store and would be sent again (event 3038).
    pub messages: Vec<ReconciledMessage>,
}
