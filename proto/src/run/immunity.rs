//! Poison by its fingerprint: what a message is known by on other servers.

use mailmend_policy::digest::Digest;

/// How a message was proven to be poison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoisonProof {
    /// The verdict of a search.
    Search,
    /// An event of the service names its file.
    Named,
    /// A person's word.
    Word,
}

/// What follows the header of a message's text: the part that no server on its way changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyPrint {
    /// Its digest.
    pub hash: Digest,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A message that was proven to be poison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenPoison {
    /// The entry.
    pub index: u32,
    /// How it was proven.
    pub proof: PoisonProof,
    /// The verdict, the event or the person's words; one line.
    pub how: String,
    /// Its body; none where the file shows none.
    pub body: Option<BodyPrint>,
}

impl PoisonProof {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 3] = [
        ("search", Self::Search),
        ("event", Self::Named),
        ("word", Self::Word),
    ];

    /// The name for people and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}
