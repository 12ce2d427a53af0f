//! The exact bytes of a policy file, with the name that people know them by.

use crate::digest::Digest;

/// A policy file as it was read, not yet looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySource {
    name: String,
    text: Vec<u8>,
    digest: Digest,
}

impl PolicySource {
    /// A file's bytes and the name that faults are reported under, such as its path.
    pub fn new(name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        let text = text.into();
        let digest = Digest::of(&text);
        Self {
            name: name.into(),
            text,
            digest,
        }
    }

    /// The name that faults are reported under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The exact bytes; whether they are UTF-8 is for [`crate::parse`] to say.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.text
    }

    /// The digest of the exact bytes: what is published, signed and assigned.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}
