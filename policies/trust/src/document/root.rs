//! The root: which keys count, for what.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Deserialize;

use super::{headed, malformed, moment, read, time};
use crate::key::PublicKey;
use crate::kind::Kind;
use crate::refusal::Refusal;

/// The most keys of one role.
const MOST_KEYS: usize = 16;
/// The longest name of whoever holds a key, characters.
const LONGEST_HOLDER: usize = 64;

/// Which keys count, for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// From 1; each root is exactly one more than the one before it.
    pub version: u64,
    /// When its time is over, milliseconds since 1970 UTC, whole seconds.
    pub expires_ms: i64,
    root: Role,
    catalogue: Role,
    timestamp: Role,
}

/// Who may sign documents of one kind, and how many of them have to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    threshold: u32,
    holders: Vec<Holder>,
}

/// A key, and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The key.
    pub key: PublicKey,
    /// A person's name or a place, for people; nothing follows from it.
    pub holder: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    kind: String,
    version: u64,
    expires: String,
    root: RoleText,
    catalogue: RoleText,
    timestamp: RoleText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleText {
    threshold: u32,
    keys: Vec<KeyText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    key: String,
    holder: String,
}

impl Role {
    /// A role.
    ///
    /// # Errors
    /// Why it is none: no keys, one twice, or a threshold that nobody or everybody reaches.
    pub fn new(threshold: u32, holders: Vec<Holder>) -> Result<Self, String> {
        if holders.len() > MOST_KEYS {
            return Err(format!(
                "it has {} keys, at most {MOST_KEYS}",
                holders.len()
            ));
        }
        let ids: BTreeSet<_> = holders.iter().map(|one| one.key.id()).collect();
        if ids.len() != holders.len() {
            return Err("a key is there twice".to_owned());
        }
        for Holder { holder, .. } in &holders {
            let plain = holder
                .chars()
                .all(|c| !c.is_control() && c != '"' && c != '\\');
            if holder.is_empty() || holder.chars().count() > LONGEST_HOLDER || !plain {
                return Err(format!(
                    "a holder is named by 1 to {LONGEST_HOLDER} printable characters"
                ));
            }
        }
        if threshold == 0 || threshold as usize > holders.len() {
            return Err(format!(
                "its threshold is {threshold}, of {} keys; it is at least 1, and no more than there are keys",
                holders.len()
            ));
        }
        Ok(Self { threshold, holders })
    }

    /// How many different keys have to sign.
    #[must_use]
    pub const fn threshold(&self) -> u32 {
        self.threshold
    }

    /// The keys, each once.
    #[must_use]
    pub fn holders(&self) -> &[Holder] {
        &self.holders
    }

    fn has(&self, other: &Holder) -> bool {
        self.holders.iter().any(|one| one.key == other.key)
    }
}

impl Root {
    /// A root of its parts.
    ///
    /// # Errors
    /// Where the timestamp's key could sign more than timestamps: it is the one key that is not kept offline.
    pub fn new(
        version: u64,
        expires_ms: i64,
        [root, catalogue, timestamp]: [Role; 3],
    ) -> Result<Self, Refusal> {
        let warm = |role: &Role| role.holders.iter().any(|one| timestamp.has(one));
        if warm(&root) || warm(&catalogue) {
            return Err(malformed(
                Kind::Root,
                "a key of `timestamp` is also one of `root` or `catalogue`; that key is the least guarded, give it no other role",
            ));
        }
        Ok(Self {
            version,
            expires_ms,
            root,
            catalogue,
            timestamp,
        })
    }

    /// Reads a root.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let kind = Kind::Root;
        let said: Text = read(kind, text)?;
        headed(kind, &said.kind, said.version)?;
        let expires_ms = moment(kind, "expires", &said.expires)?;
        let roles = [
            role("root", said.root)?,
            role("catalogue", said.catalogue)?,
            role("timestamp", said.timestamp)?,
        ];
        Self::new(said.version, expires_ms, roles)
    }

    /// Whose keys sign documents of a kind.
    #[must_use]
    pub const fn role(&self, kind: Kind) -> &Role {
        match kind {
            Kind::Root => &self.root,
            Kind::Catalogue => &self.catalogue,
            Kind::Timestamp => &self.timestamp,
        }
    }

    /// Its text.
    #[must_use]
    pub fn write(&self) -> String {
        let mut text = format!(
            "kind = \"root\"\nversion = {}\nexpires = \"{}\"\n",
            self.version,
            time(self.expires_ms)
        );
        for kind in Kind::ALL {
            let role = self.role(kind);
            // A String takes everything.
            let _ = write!(
                text,
                "\n[{kind}]\nthreshold = {}\nkeys = [\n",
                role.threshold
            );
            for Holder { key, holder } in &role.holders {
                let _ = writeln!(text, "  {{ key = \"{key}\", holder = \"{holder}\" }},");
            }
            text.push_str("]\n");
        }
        text
    }
}

fn role(name: &str, text: RoleText) -> Result<Role, Refusal> {
    let wrong = |why: String| malformed(Kind::Root, format!("role `{name}`: {why}"));
    let mut holders = Vec::new();
    for one in text.keys.into_iter().take(MOST_KEYS + 1) {
        let key = one.key.parse();
        let key = key.map_err(|why| wrong(format!("`{}`: {why}", one.key.escape_debug())))?;
        holders.push(Holder {
            key,
            holder: one.holder,
        });
    }
    Role::new(text.threshold, holders).map_err(wrong)
}
