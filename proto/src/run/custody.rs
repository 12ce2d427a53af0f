//! Message files in custody, and the batches that they were taken in.

use std::collections::BTreeMap;

use mailmend_policy::digest::Digest;

use super::event::Event;
use super::state::Illegal;

/// One message file in custody; its custody id is (batch, index).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From 0 in its batch.
    pub index: u32,
    /// Its file name when it was taken.
    pub name: String,
    /// Its identity on its volume.
    pub file_id: u64,
    /// Bytes.
    pub size: u64,
    /// Milliseconds since 1970 UTC.
    pub modified_ms: i64,
    /// The digest of its content.
    pub hash: Digest,
    /// Its MTS-ID; empty where the file shows none.
    pub mts_id: String,
    /// Its Message-ID; empty where the file shows none.
    pub message_id: String,
    /// Its state.
    pub custody: Custody,
}

/// The one state of a message file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Custody {
    /// In the server's queue.
    Live,
    /// In the held folder.
    Held,
    /// Given back, not yet proven delivered.
    Replaying,
    /// Delivered, by evidence.
    GoneWithEvidence,
    /// It crashes the service; held.
    Poison,
    /// It may have been sent; never replayed without evidence or a person's word.
    InDoubt,
}

impl Custody {
    /// All states with their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("live", Self::Live),
        ("held", Self::Held),
        ("replaying", Self::Replaying),
        ("gone-with-evidence", Self::GoneWithEvidence),
        ("poison", Self::Poison),
        ("in-doubt", Self::InDoubt),
    ];

    /// The name for people and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// An entry that did not move, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The entry.
    pub index: u32,
    /// Why it stayed.
    pub why: String,
}

/// An entry that reached a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The entry.
    pub index: u32,
    /// The state.
    pub custody: Custody,
    /// The evidence, with its place, or whose word it was.
    pub evidence: String,
}

/// A batch of files in custody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The step that took them; none in a duty.
    pub step: Option<u32>,
    /// The queue's name in policies.
    pub queue: String,
    /// The folder they came from.
    pub source: String,
    /// The folder they are held in.
    pub held: String,
    /// The folder of escrow whose copies they are; none: they were taken out of `source`.
    pub copied_from: Option<String>,
    /// How many entries the manifest has when it is whole.
    pub files: u64,
    /// The entries, by index.
    pub entries: Vec<Entry>,
    /// Whether the move is finished, durably.
    pub taken: bool,
    /// Its replays, by number.
    pub replays: BTreeMap<u32, Replay>,
}

/// A queue's folder that is held whole, or is about to be: its files are not listed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldFolder {
    /// The step that takes it; none in a duty.
    pub step: Option<u32>,
    /// The queue's name in policies.
    pub queue: String,
    /// The queue's folder.
    pub source: String,
    /// The folder that exchanges names with it.
    pub held: String,
    /// The identity of the queue's folder: where it is tells whether the exchange has happened.
    pub folder_id: u64,
    /// The service did not stop cleanly.
    pub unclean: bool,
}

/// One giving back of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The step that asked.
    pub step: Option<u32>,
    /// The folder.
    pub target: String,
    /// Inclusive ranges of entries.
    pub entries: Vec<(u32, u32)>,
    /// Entries that took another name.
    pub renamed: BTreeMap<u32, String>,
    /// Whether they are in the queue, durably.
    pub placed: bool,
    /// Whether a start of a service was intended after the intention: it may have read them.
    pub start_followed: bool,
}

impl Batch {
    pub(super) fn entry(&mut self, event: &Event, index: u32) -> Result<&mut Entry, Illegal> {
        let count = self.entries.len();
        self.entries.get_mut(index as usize).ok_or_else(|| Illegal {
            event: event.name(),
            why: format!("entry {index} does not exist: the batch has {count}"),
        })
    }
}
