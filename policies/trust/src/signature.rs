//! Signatures, detached from their document, and whether enough keys of a role made them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::document::Role;
use crate::hex;
use crate::key::KeyId;
use crate::kind::Kind;
use crate::refusal::Refusal;

/// More signatures of one document than this are refused before one of them is looked at.
pub const MOST_SIGNATURES: usize = 32;

/// A key's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// Whose it is said to be.
    pub key: KeyId,
    /// The signature itself.
    pub value: [u8; 64],
}

/// A document with what is said to be its signatures; nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signed {
    /// The exact bytes.
    pub text: Vec<u8>,
    /// The signatures.
    pub signatures: Vec<Signature>,
}

/// A text is not a file of signatures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignaturesFault {
    /// A line is not one.
    #[error(
        "line {0} of the signatures is not a key id of 64 hexadecimal digits, a space and a signature of 128"
    )]
    Line(usize),
    /// Too many.
    #[error("there are more than {MOST_SIGNATURES} signatures")]
    TooMany,
}

impl Signature {
    /// Reads the text of a file of signatures: one a line, the key's id and the signature.
    ///
    /// # Errors
    /// Where a line is something else.
    pub fn read_all(text: &str) -> Result<Vec<Self>, SignaturesFault> {
        let mut all = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if at >= MOST_SIGNATURES {
                return Err(SignaturesFault::TooMany);
            }
            let parts = line.split_once(' ');
            let read = parts.and_then(|(key, value)| {
                Some(Self {
                    key: KeyId::read(key)?,
                    value: hex::read(value)?,
                })
            });
            all.push(read.ok_or(SignaturesFault::Line(at + 1))?);
        }
        Ok(all)
    }

    /// The text of a file of signatures.
    #[must_use]
    pub fn write_all(all: &[Self]) -> String {
        let mut text = String::new();
        for one in all {
            // A String takes everything.
            let _ = writeln!(text, "{} {}", one.key, hex::text(&one.value));
        }
        text
    }
}

impl Signed {
    /// Refuses what is too large to be looked at.
    pub(crate) fn bounded(&self, kind: Kind) -> Result<(), Refusal> {
        if self.text.len() > kind.longest() {
            return Err(Refusal::TooLong {
                kind,
                bytes: self.text.len(),
            });
        }
        if self.signatures.len() > MOST_SIGNATURES {
            return Err(Refusal::TooManySignatures {
                kind,
                count: self.signatures.len(),
            });
        }
        Ok(())
    }

    /// Refuses what too few keys of a role have signed.
    pub(crate) fn verified(
        &self,
        kind: Kind,
        role: &Role,
        by: &'static str,
    ) -> Result<(), Refusal> {
        let have = signers(self, kind, role).len();
        let need = role.threshold() as usize;
        if have < need {
            return Err(Refusal::Threshold {
                kind,
                by,
                have,
                need,
            });
        }
        Ok(())
    }
}

/// The keys of a role that signed a document. A key counts once, however many signatures it made, and whatever
/// stands beside them that is none.
#[must_use]
pub fn signers(signed: &Signed, kind: Kind, role: &Role) -> BTreeSet<KeyId> {
    let signatures = &signed.signatures[..signed.signatures.len().min(MOST_SIGNATURES)];
    let mut found = BTreeSet::new();
    for holder in role.holders() {
        let id = holder.key.id();
        let mut its = signatures.iter().filter(|one| one.key == id);
        if its.any(|one| holder.key.verifies(kind, &signed.text, one)) {
            found.insert(id);
        }
    }
    found
}
