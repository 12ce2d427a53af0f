//! The three documents: parsed once, strictly, into what is sound by construction; and written for people to read.

mod catalogue;
mod root;
mod timestamp;

use jiff::Timestamp as Instant;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::kind::Kind;
use crate::refusal::Refusal;

pub use catalogue::{Catalogue, Entry, MOST_POLICIES};
pub use root::{Holder, Role, Root};
pub use timestamp::{LONGEST_TIMESTAMP_LIFE_MS, Named, Timestamp};

/// Reads a document's text into its serde mirror.
fn read<D: DeserializeOwned>(kind: Kind, text: &[u8]) -> Result<D, Refusal> {
    if text.len() > kind.longest() {
        return Err(Refusal::TooLong {
            kind,
            bytes: text.len(),
        });
    }
    let text = std::str::from_utf8(text).map_err(|why| malformed(kind, why))?;
    toml::from_str(text).map_err(|why| malformed(kind, why.to_string().trim_end()))
}

fn malformed(kind: Kind, why: impl ToString) -> Refusal {
    Refusal::Malformed {
        kind,
        why: why.to_string(),
    }
}

/// What every document says, checked.
fn headed(kind: Kind, said: &str, version: u64) -> Result<(), Refusal> {
    if said != kind.name() {
        let why = format!("it says that it is a `{}`", said.escape_debug());
        return Err(malformed(kind, why));
    }
    if version == 0 {
        return Err(malformed(kind, "versions begin with 1"));
    }
    Ok(())
}

/// A moment in whole seconds, UTC, in the one way that documents write it.
fn moment(kind: Kind, key: &str, text: &str) -> Result<i64, Refusal> {
    let read = text.parse::<Instant>().ok();
    match read {
        Some(read) if time(read.as_millisecond()) == text && read.as_millisecond() > 0 => {
            Ok(read.as_millisecond())
        }
        _ => Err(malformed(
            kind,
            format!(
                "`{key}` is `{}`; write a moment in UTC such as 2027-01-31T00:00:00Z",
                text.escape_debug()
            ),
        )),
    }
}

/// A moment as documents write it; milliseconds since 1970 UTC.
#[must_use]
pub fn time(ms: i64) -> String {
    let seconds = ms.div_euclid(1000);
    Instant::from_second(seconds).map_or_else(|_| format!("{ms} ms"), |at| at.to_string())
}

/// Of which kind a text says that it is. Nothing is verified.
#[must_use]
pub fn kind_of(text: &[u8]) -> Option<Kind> {
    #[derive(Deserialize)]
    struct Said {
        kind: String,
    }
    if text.len() > Kind::Catalogue.longest() {
        return None;
    }
    let said: Said = toml::from_str(std::str::from_utf8(text).ok()?).ok()?;
    Kind::ALL.into_iter().find(|kind| kind.name() == said.kind)
}
