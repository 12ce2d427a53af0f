//! Whose policies are carried out.
//!
//! Three kinds of document say it, TOML text that is signed over its exact bytes with Ed25519 keys that no
//! controller has: a [`Root`] names the keys of each role, a [`Catalogue`] the policies that may be carried out, a
//! [`Timestamp`] the catalogue that is current. [`Trusted`] is what an agent believes; documents and the time
//! come in as arguments, and a new state or a named [`Refusal`] comes out. Nothing here reads a file, a clock or a
//! random number.

mod digest;
mod document;
mod hex;
mod key;
mod kind;
mod refusal;
mod signature;
mod trusted;

pub use digest::{NotSha256, Sha256};
pub use document::{
    Catalogue, Entry, Holder, LONGEST_TIMESTAMP_LIFE_MS, MOST_POLICIES, Named, Role, Root,
    Timestamp, kind_of, time,
};
pub use key::{KeyFault, KeyId, PublicKey, SecretKey};
pub use kind::Kind;
pub use refusal::{Damaged, Denial, Refusal};
pub use signature::{MOST_SIGNATURES, Signature, SignaturesFault, Signed, signers};
pub use trusted::{Floor, MOST_ROOTS, Offer, Step, Trusted};

#[cfg(test)]
mod tests;
