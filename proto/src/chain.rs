//! The hash chain of an agent's journal: the agent makes it, the controller follows it from the same records, and
//! whoever verifies exports computes it again.
//!
//! The hash before the first record is BLAKE3 `derive_key` of the context `mailmend journal v1` and the journal's
//! UUID (16 bytes, as in its text). The hash at record n is keyed BLAKE3, its key the hash at n - 1, over n (8 bytes,
//! little endian) and the record's bytes.

use uuid::Uuid;

/// A place in a journal's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The record's number; 0: before the first.
    pub seq: u64,
    /// The hash over everything up to it.
    pub hash: [u8; 32],
}

impl Link {
    /// Before the first record: bound to the journal's id, so that records of another journal never fit.
    #[must_use]
    pub fn first(journal: Uuid) -> Self {
        Self {
            seq: 0,
            hash: blake3::derive_key("mailmend journal v1", journal.as_bytes()),
        }
    }

    /// The link at the next record, whose bytes these are.
    #[must_use]
    pub fn after(&self, bytes: &[u8]) -> Self {
        let seq = self.seq + 1;
        let mut hasher = blake3::Hasher::new_keyed(&self.hash);
        hasher.update(&seq.to_le_bytes());
        hasher.update(bytes);
        Self {
            seq,
            hash: *hasher.finalize().as_bytes(),
        }
    }
}
