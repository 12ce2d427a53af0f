//! Why a document is not believed, or a policy not carried out.

use crate::digest::Sha256;
use crate::document::time;
use crate::kind::Kind;
use crate::signature::MOST_SIGNATURES;
use crate::trusted::MOST_ROOTS;

/// A document is refused; what was believed before is still believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not a document of its kind.
    #[error("the {kind} makes no sense: {why}")]
    Malformed {
        /// Of which kind it should be.
        kind: Kind,
        /// What is wrong, with its place.
        why: String,
    },
    /// It is larger than any honest one.
    #[error("the {kind} has {bytes} bytes, at most {} are looked at", kind.longest())]
    TooLong {
        /// Its kind.
        kind: Kind,
        /// Its size.
        bytes: usize,
    },
    /// It has more signatures than anybody needs.
    #[error("the {kind} has {count} signatures, at most {MOST_SIGNATURES} are looked at")]
    TooManySignatures {
        /// Its kind.
        kind: Kind,
        /// How many.
        count: usize,
    },
    /// Too few of those who may have signed it.
    #[error("the {kind} is signed by {have} keys of {by}, and {need} are needed")]
    Threshold {
        /// Its kind.
        kind: Kind,
        /// Whose keys were asked: `the trusted root` or `the new root`.
        by: &'static str,
        /// How many different keys signed it.
        have: usize,
        /// How many have to.
        need: usize,
    },
    /// A root that does not follow the trusted one.
    #[error(
        "root {offered} does not follow root {trusted}: each root is signed by the one before it, and none may be left out"
    )]
    Gap {
        /// The trusted version.
        trusted: u64,
        /// The offered one.
        offered: u64,
    },
    /// More roots at once than are looked at.
    #[error("{count} roots were offered at once, at most {MOST_ROOTS} are looked at")]
    TooManyRoots {
        /// How many.
        count: usize,
    },
    /// Another text under a version that is trusted already.
    #[error("{kind} {version} is trusted with another text; a version never changes")]
    Changed {
        /// Its kind.
        kind: Kind,
        /// The version.
        version: u64,
    },
    /// An older one than is trusted.
    #[error(
        "{kind} {offered} is older than {kind} {trusted}, which is trusted; versions never fall"
    )]
    Rollback {
        /// Its kind.
        kind: Kind,
        /// The trusted version.
        trusted: u64,
        /// The offered one.
        offered: u64,
    },
    /// Its time is over.
    #[error("{kind} {version} expired at {}", time(*expires_ms))]
    Expired {
        /// Its kind.
        kind: Kind,
        /// Its version.
        version: u64,
        /// When, milliseconds since 1970 UTC.
        expires_ms: i64,
    },
    /// A catalogue that is not the current one.
    #[error("the catalogue is not the one that timestamp {timestamp} names: {why}")]
    Mismatch {
        /// The timestamp's version.
        timestamp: u64,
        /// In what they differ.
        why: String,
    },
    /// A root is kept back.
    #[error(
        "timestamp {timestamp} knows of root {named}, and root {trusted} is trusted: the roots between were not sent"
    )]
    RootWithheld {
        /// The timestamp's version.
        timestamp: u64,
        /// The root that it names.
        named: u64,
        /// The trusted version.
        trusted: u64,
    },
    /// A policy is put back to an older version.
    #[error(
        "the catalogue has `{name}` at version {offered}, and version {accepted} was accepted before; versions never fall"
    )]
    PolicyFalls {
        /// The policy's name.
        name: String,
        /// The version that was accepted.
        accepted: u32,
        /// The offered one.
        offered: u32,
    },
    /// A policy's version has another text.
    #[error(
        "the catalogue has another text for `{name}` version {version} than was accepted before; a version never changes"
    )]
    PolicyChanged {
        /// The policy's name.
        name: String,
        /// The version.
        version: u32,
    },
    /// Timestamp and catalogue come together.
    #[error("a timestamp and its catalogue are taken together, and one of them is missing")]
    Incomplete,
}

impl Refusal {
    /// Its name, for logs, facts and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::TooLong { .. } => "too-long",
            Self::TooManySignatures { .. } => "too-many-signatures",
            Self::Threshold { .. } => "threshold",
            Self::Gap { .. } => "gap",
            Self::TooManyRoots { .. } => "too-many-roots",
            Self::Changed { .. } => "changed",
            Self::Rollback { .. } => "rollback",
            Self::Expired { .. } => "expired",
            Self::Mismatch { .. } => "mismatch",
            Self::RootWithheld { .. } => "root-withheld",
            Self::PolicyFalls { .. } => "policy-falls",
            Self::PolicyChanged { .. } => "policy-changed",
            Self::Incomplete => "incomplete",
        }
    }
}

/// A policy may not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No catalogue is trusted yet.
    #[error("no signed catalogue has been taken yet")]
    NoCatalogue,
    /// The catalogue does not have exactly these bytes.
    #[error(
        "catalogue {catalogue} has no policy with exactly these {bytes} bytes (SHA-256 {sha256})"
    )]
    NotListed {
        /// The trusted catalogue's version.
        catalogue: u64,
        /// The digest of the text that was asked for.
        sha256: Sha256,
        /// Its length.
        bytes: u64,
    },
    /// A document's time is over.
    #[error("{kind} {version} expired at {}", time(*expires_ms))]
    Expired {
        /// Its kind.
        kind: Kind,
        /// Its version.
        version: u64,
        /// When, milliseconds since 1970 UTC.
        expires_ms: i64,
    },
}

/// A kept state does not read back as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(pub String);
