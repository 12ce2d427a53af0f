//! The lines of an exported trail: JSON, one entry a line, after one line that says what the file is.
//!
//! `entry` and `hash` are what counts. The rest is the same in words for people; a line whose words are not those of
//! its entry is refused, so nobody can be shown something else than what was verified.

use jiff::Timestamp;
use mailmend_proto::wire;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::Head;
use super::chain::{self, hex, unhex};
use super::item;

/// The first line of an exported trail.
pub const HEADER: &str = r#"{"mailmend":"audit trail","format":1}"#;

/// A line of an exported trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: u64,
    hash: String,
    entry: String,
    at: String,
    actor: String,
    role: String,
    kind: String,
    target: String,
    why: String,
    detail: Vec<String>,
}

/// A time for people, RFC 3339 UTC with milliseconds.
#[must_use]
pub fn time(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(
        |_| at_ms.to_string(),
        |at| at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
    )
}

/// The line of an entry, without its end.
///
/// # Errors
/// Where the detail of the entry says what this version does not know.
pub fn of(entry: &wire::TrailEntry, hash: &[u8]) -> Result<String, String> {
    let detail = item::decoded(&entry.detail)?;
    let line = Line {
        seq: entry.seq,
        hash: hex(hash),
        entry: hex(&entry.encode_to_vec()),
        at: time(entry.at_ms),
        actor: entry.actor.clone(),
        role: entry.role.clone(),
        kind: entry.kind.clone(),
        target: entry.target.clone(),
        why: entry.why.clone(),
        detail: detail.iter().map(item::told).collect(),
    };
    serde_json::to_string(&line).map_err(|why| why.to_string())
}

/// The entry of a line, and the hash that stands there; nothing is believed of the hash.
///
/// # Errors
/// Where it is no such line, or its words are not those of its entry.
pub fn read(text: &str) -> Result<(wire::TrailEntry, Vec<u8>, Head), String> {
    let line: Line = serde_json::from_str(text).map_err(|why| format!("it is no entry: {why}"))?;
    let bytes = unhex(&line.entry).ok_or("`entry` is not hexadecimal")?;
    let hash = unhex(&line.hash).ok_or("`hash` is not hexadecimal")?;
    let head = Head {
        seq: line.seq,
        hash: hash
            .as_slice()
            .try_into()
            .map_err(|_| "`hash` has not 32 bytes")?,
    };
    let entry = chain::entry(&bytes)?;
    if of(&entry, &hash)? != text {
        return Err("its words are not those of its entry".to_owned());
    }
    Ok((entry, bytes, head))
}
