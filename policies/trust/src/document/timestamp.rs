//! The timestamp: which catalogue is current. Short-lived, so that nobody can keep the fleet at an old one.

use serde::Deserialize;

use super::{headed, malformed, moment, read, time};
use crate::digest::Sha256;
use crate::kind::Kind;
use crate::refusal::Refusal;

/// The longest life of a timestamp, milliseconds: 92 days. A longer one would protect from nothing.
pub const LONGEST_TIMESTAMP_LIFE_MS: i64 = 92 * 86_400_000;

/// Which catalogue is current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// From 1; it only rises.
    pub version: u64,
    /// When it was made: it is at least this late. Milliseconds since 1970 UTC, whole seconds.
    pub issued_ms: i64,
    /// When its time is over, milliseconds since 1970 UTC, whole seconds.
    pub expires_ms: i64,
    /// The newest root that its maker knew of: an agent that has an older one was not sent it.
    pub root: u64,
    /// The catalogue.
    pub catalogue: Named,
}

/// A catalogue by its exact bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// Its version.
    pub version: u64,
    /// The digest of its exact bytes.
    pub sha256: Sha256,
    /// How many they are.
    pub bytes: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    kind: String,
    version: u64,
    issued: String,
    expires: String,
    root: u64,
    catalogue: NamedText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedText {
    version: u64,
    sha256: String,
    bytes: u64,
}

impl Timestamp {
    /// Reads a timestamp.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let kind = Kind::Timestamp;
        let said: Text = read(kind, text)?;
        headed(kind, &said.kind, said.version)?;
        let issued_ms = moment(kind, "issued", &said.issued)?;
        let expires_ms = moment(kind, "expires", &said.expires)?;
        if expires_ms <= issued_ms || expires_ms - issued_ms > LONGEST_TIMESTAMP_LIFE_MS {
            return Err(malformed(
                kind,
                "its life is more than nothing and at most 92 days",
            ));
        }
        if said.root == 0 || said.catalogue.version == 0 {
            return Err(malformed(kind, "versions begin with 1"));
        }
        let sha256 = said.catalogue.sha256.parse();
        Ok(Self {
            version: said.version,
            issued_ms,
            expires_ms,
            root: said.root,
            catalogue: Named {
                version: said.catalogue.version,
                sha256: sha256.map_err(|why| malformed(kind, why))?,
                bytes: said.catalogue.bytes,
            },
        })
    }

    /// Its text.
    #[must_use]
    pub fn write(&self) -> String {
        format!(
            "kind = \"timestamp\"\nversion = {}\nissued = \"{}\"\nexpires = \"{}\"\nroot = {}\n\n\
             [catalogue]\nversion = {}\nsha256 = \"{}\"\nbytes = {}\n",
            self.version,
            time(self.issued_ms),
            time(self.expires_ms),
            self.root,
            self.catalogue.version,
            self.catalogue.sha256,
            self.catalogue.bytes
        )
    }
}
