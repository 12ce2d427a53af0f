//! The hash that ties each row to all rows before it.

use mailmend_proto::chain;
use uuid::Uuid;

use super::JournalError;
use crate::ablation::{Mechanism, off};

/// A row: wire bytes, its number, and the hash over everything up to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) link: Link,
    pub(super) bytes: Vec<u8>,
}

/// A place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) seq: u64,
    pub(super) hash: [u8; 32],
}

impl Link {
    /// Before the first row: bound to the journal's id, so that rows of another journal never fit.
    pub(super) fn first(id: Uuid) -> Self {
        Self::of(chain::Link::first(id))
    }

    const fn of(chain::Link { seq, hash }: chain::Link) -> Self {
        Self { seq, hash }
    }

    pub(super) fn next(&self, bytes: Vec<u8>) -> Row {
        let link = self.after(&bytes);
        Row { link, bytes }
    }

    pub(super) fn follow(&self, row: &Row) -> Result<Self, JournalError> {
        let why = if row.link.seq != self.seq + 1 {
            format!("record {} is missing", self.seq + 1)
        } else if row.link.hash != self.after(&row.bytes).hash && !off(Mechanism::JournalChain) {
            "its hash is another".to_owned()
        } else {
            return Ok(row.link);
        };
        Err(JournalError::Corrupt {
            seq: self.seq + 1,
            why,
        })
    }

    fn after(&self, bytes: &[u8]) -> Self {
        let Self { seq, hash } = *self;
        Self::of(chain::Link { seq, hash }.after(bytes))
    }

    /// 72 bytes with a hash of their own, for the marks that say how far the journal once was.
    pub(super) fn to_mark(self) -> Vec<u8> {
        let mut mark = self.seq.to_le_bytes().to_vec();
        mark.extend(self.hash);
        mark.extend(blake3::hash(&mark).as_bytes());
        mark
    }

    /// `None` for a mark that was torn or damaged: it says nothing then.
    pub(super) fn from_mark(mark: &[u8]) -> Option<Self> {
        let (body, sum) = mark.split_at_checked(40)?;
        if sum != blake3::hash(body).as_bytes() {
            return None;
        }
        let (seq, hash) = body.split_at(8);
        Some(Self {
            seq: u64::from_le_bytes(seq.try_into().ok()?),
            hash: hash.try_into().ok()?,
        })
    }
}
