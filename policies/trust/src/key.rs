//! Keys: Ed25519, one way to write each.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

use crate::digest::Sha256;
use crate::hex;
use crate::kind::Kind;
use crate::signature::Signature;

/// The first line of a file with a secret key.
const SECRET: &str = "mailmend trust secret key v1";

/// What a public key is known by: its SHA-256. Always computed, never taken from a document.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

/// A public key, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// A secret key. It is wiped from memory when it is dropped, and never shown by `Debug`.
pub struct SecretKey(SigningKey);

/// A text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Not 64 digits.
    #[error("a public key is written as 64 hexadecimal digits in lower case")]
    Digits,
    /// Not a point, or one that verifies what nobody signed, or a second way to write a key.
    #[error(
        "these 64 digits are not a sound Ed25519 public key; copy it again from `mailmend trust key show`"
    )]
    Unsound,
    /// Not a file of a secret key.
    #[error("this is not a file that `mailmend trust key new` wrote")]
    NotSecret,
}

impl KeyId {
    /// Of bytes that came with a signature; whether such a key exists is for the root to say.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 digits: enough for a person to tell one from another, not to trust.
    #[must_use]
    pub fn short(&self) -> String {
        hex::text(&self.0[..6])
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        hex::read(text).map(Self)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl PublicKey {
    /// A key of its 32 bytes.
    ///
    /// # Errors
    /// Where they are no point of the curve, one of small order, or not the one way to write it: two ways to write a
    /// key would be two key ids, and one signer would count twice.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyFault> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyFault::Unsound)?;
        if key.is_weak() || !is_reduced(bytes) {
            return Err(KeyFault::Unsound);
        }
        Ok(Self(key))
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(*Sha256::of(self.0.as_bytes()).as_bytes())
    }

    /// Whether a signature is this key's, over a document of this kind with exactly this text.
    #[must_use]
    pub fn verifies(&self, kind: Kind, text: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.value);
        let message = kind.message(text);
        self.0.verify_strict(&message, &signature).is_ok()
    }
}

/// Whether the coordinate in these bytes is below 2^255 - 19, the field's order.
fn is_reduced(bytes: &[u8; 32]) -> bool {
    let all_ones = bytes[31] & 0x7f == 0x7f && bytes[1..31].iter().all(|byte| *byte == 0xff);
    !(all_ones && bytes[0] >= 0xed)
}

impl FromStr for PublicKey {
    type Err = KeyFault;

    fn from_str(text: &str) -> Result<Self, KeyFault> {
        Self::from_bytes(&hex::read(text).ok_or(KeyFault::Digits)?)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(self.0.as_bytes(), f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl SecretKey {
    /// A key of 32 random bytes.
    #[must_use]
    pub fn of(random: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(random))
    }

    /// Reads the text of a key's file.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn read(text: &str) -> Result<Self, KeyFault> {
        let digits = text
            .strip_prefix(SECRET)
            .and_then(|rest| rest.strip_prefix('\n'))
            .and_then(|rest| rest.strip_suffix('\n'));
        let random = digits.and_then(hex::read).ok_or(KeyFault::NotSecret)?;
        Ok(Self::of(&random))
    }

    /// The text of its file. Whoever reads it can sign.
    #[must_use]
    pub fn file(&self) -> String {
        format!("{SECRET}\n{}\n", hex::text(&self.0.to_bytes()))
    }

    /// Its public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs a document over its exact bytes.
    #[must_use]
    pub fn sign(&self, kind: Kind, text: &[u8]) -> Signature {
        Signature {
            key: self.public().id(),
            value: self.0.sign(&kind.message(text)).to_bytes(),
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public().id().short())
    }
}
