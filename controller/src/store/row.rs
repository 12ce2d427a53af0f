//! Values as they stand in rows.

use std::collections::BTreeMap;
use std::str::FromStr;

use mailmend_policy::digest::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;

/// A value parsed from a row's text.
pub(super) fn parsed<T: FromStr<Err: std::fmt::Display>>(
    table: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    text.parse().map_err(|why: T::Err| StoreError::Row {
        table,
        why: format!("`{text}`: {why}"),
    })
}

/// A value read from a row's JSON.
pub(super) fn from_json<T: DeserializeOwned>(
    table: &'static str,
    json: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|why| StoreError::Row {
        table,
        why: why.to_string(),
    })
}

/// A value as JSON.
pub(super) fn to_json(table: &'static str, value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|why| StoreError::Row {
        table,
        why: why.to_string(),
    })
}

/// A number that SQLite keeps signed.
pub(super) fn unsigned<T: TryFrom<i64>>(table: &'static str, value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| StoreError::Row {
        table,
        why: format!("{value} is out of range"),
    })
}

/// A number for SQLite, which keeps 63 bits; what is larger is refused rather than turned negative.
pub(super) fn signed(table: &'static str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Row {
        table,
        why: format!("{value} is out of range"),
    })
}

/// Labels or facts.
pub(super) type Labels = BTreeMap<String, String>;

/// A digest.
pub(super) fn digest(bytes: &[u8]) -> Result<Digest, StoreError> {
    bytes
        .try_into()
        .map(Digest::from_bytes)
        .map_err(|_| StoreError::Row {
            table: "runs",
            why: "a digest has 32 bytes".to_owned(),
        })
}
