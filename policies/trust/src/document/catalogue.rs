//! The catalogue: which policies may be carried out, by their exact bytes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Deserialize;

use super::{headed, malformed, moment, read, time};
use crate::digest::Sha256;
use crate::kind::Kind;
use crate::refusal::Refusal;

/// The most entries of a catalogue.
pub const MOST_POLICIES: usize = 1024;
/// The longest name of a policy, characters; as the policy language has it.
const LONGEST_NAME: usize = 63;
/// The longest policy, bytes; as the policy language has it.
const LONGEST_POLICY: u64 = 1 << 20;

/// Which policies may be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    /// From 1; it only rises.
    pub version: u64,
    /// When its time is over, milliseconds since 1970 UTC, whole seconds.
    pub expires_ms: i64,
    entries: Vec<Entry>,
}

/// A policy that may be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its version, from 1.
    pub version: u32,
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
    expires: String,
    #[serde(default, rename = "policy")]
    policies: Vec<EntryText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryText {
    name: String,
    version: u32,
    sha256: String,
    bytes: u64,
}

impl Entry {
    /// The entry of a policy's exact text.
    #[must_use]
    pub fn of(name: &str, version: u32, text: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            version,
            sha256: Sha256::of(text),
            bytes: text.len() as u64,
        }
    }
}

impl Catalogue {
    /// A catalogue of its parts. Without entries nothing may be carried out.
    ///
    /// # Errors
    /// Where an entry is none, or there twice.
    pub fn new(version: u64, expires_ms: i64, entries: Vec<Entry>) -> Result<Self, Refusal> {
        let wrong = |why: String| Err(malformed(Kind::Catalogue, why));
        if entries.len() > MOST_POLICIES {
            return wrong(format!(
                "it has {} policies, at most {MOST_POLICIES}",
                entries.len()
            ));
        }
        let mut seen = BTreeSet::new();
        for one in &entries {
            // Names are compared as they are and lead to no file; these are the policy language's own.
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            let fits = (1..=LONGEST_NAME).contains(&one.name.len()) && one.name.chars().all(plain);
            if !fits {
                return wrong(format!(
                    "`{}` is no name of a policy: at most {LONGEST_NAME} of a-z, 0-9 and -",
                    one.name.chars().take(80).collect::<String>().escape_debug()
                ));
            }
            if one.version == 0 || one.bytes == 0 || one.bytes > LONGEST_POLICY {
                return wrong(format!(
                    "`{}` has version {} and {} bytes",
                    one.name, one.version, one.bytes
                ));
            }
            if !seen.insert((&one.name, one.version)) {
                return wrong(format!(
                    "`{}` version {} is there twice",
                    one.name, one.version
                ));
            }
        }
        Ok(Self {
            version,
            expires_ms,
            entries,
        })
    }

    /// Reads a catalogue.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let kind = Kind::Catalogue;
        let said: Text = read(kind, text)?;
        headed(kind, &said.kind, said.version)?;
        let expires_ms = moment(kind, "expires", &said.expires)?;
        let mut entries = Vec::new();
        for one in said.policies.into_iter().take(MOST_POLICIES + 1) {
            let sha256 = one.sha256.parse();
            let sha256 = sha256
                .map_err(|why| malformed(kind, format!("`{}`: {why}", one.name.escape_debug())))?;
            entries.push(Entry {
                name: one.name,
                version: one.version,
                sha256,
                bytes: one.bytes,
            });
        }
        Self::new(said.version, expires_ms, entries)
    }

    /// The policies, in the order in which they are written.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of exactly these bytes.
    #[must_use]
    pub fn entry_of(&self, text: &[u8]) -> Option<&Entry> {
        let sha256 = Sha256::of(text);
        let same = |one: &&Entry| one.sha256 == sha256 && one.bytes == text.len() as u64;
        self.entries.iter().find(same)
    }

    /// Its text.
    #[must_use]
    pub fn write(&self) -> String {
        let mut text = format!(
            "kind = \"catalogue\"\nversion = {}\nexpires = \"{}\"\n",
            self.version,
            time(self.expires_ms)
        );
        for one in &self.entries {
            // A String takes everything.
            let _ = write!(
                text,
                "\n[[policy]]\nname = \"{}\"\nversion = {}\nsha256 = \"{}\"\nbytes = {}\n",
                one.name, one.version, one.sha256, one.bytes
            );
        }
        text
    }
}
