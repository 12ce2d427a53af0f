//! The three kinds of document, and what is signed of each.

use std::fmt;

/// A kind of document, and the role whose keys sign it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Which keys count, for what.
    Root,
    /// Which policies may be carried out.
    Catalogue,
    /// Which catalogue is current.
    Timestamp,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Root, Self::Catalogue, Self::Timestamp];

    /// Its name in documents, and for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Catalogue => "catalogue",
            Self::Timestamp => "timestamp",
        }
    }

    /// The longest text, bytes. Checked before anything else is done with it.
    #[must_use]
    pub const fn longest(self) -> usize {
        match self {
            Self::Root => 8 << 10,
            Self::Catalogue => 512 << 10,
            Self::Timestamp => 2 << 10,
        }
    }

    /// What is signed: the kind before the exact bytes, so that a signature of one kind is none of another,
    /// and none of anything else that the key may sign.
    #[must_use]
    pub fn message(self, text: &[u8]) -> Vec<u8> {
        let mut message = b"mailmend policy trust v1\0".to_vec();
        message.extend_from_slice(self.name().as_bytes());
        message.push(0);
        message.extend_from_slice(text);
        message
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
