//! The controller's store and disk, and the messages in custody that wait for a person's word.

use mailmend_policy::units::write_size;
use mailmend_proto::run::Custody;

use super::{Matter, Picture, RunId, ServerName, run_name, short};
use crate::explain::Kind;

/// The least that should be free on the disk of the store, bytes: a report of 100 000 messages takes about
/// 100 MB in the store and its write-ahead log together.
pub const LEAST_FREE: u64 = 1 << 30;

/// How the controller's store is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// The database file.
    pub path: String,
    /// The number of its newest schema change.
    pub schema: i64,
    /// Its size with its write-ahead log, bytes.
    pub bytes: u64,
    /// What is free on its disk, bytes; none: this system does not tell.
    pub free_bytes: Option<u64>,
}

/// Messages of a run on one agent that wait for a person's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The run that took them.
    pub run: RunId,
    /// The agent that has them.
    pub agent: ServerName,
    /// Their state; none: they vanished, and copies are kept.
    pub state: Option<Custody>,
    /// How many.
    pub messages: u64,
    /// Since when the first of them is in this state, milliseconds since 1970 UTC.
    pub since_ms: i64,
}

pub(super) fn disk(picture: &Picture) -> Vec<Matter> {
    let Some(free) = picture.store.free_bytes.filter(|free| *free < LEAST_FREE) else {
        return Vec::new();
    };
    // Since when is not known: it is looked at only now.
    vec![Matter {
        predicate: format!(
            "free on the disk of the store >= {}, but {} is",
            write_size(LEAST_FREE),
            write_size(free >> 20 << 20)
        ),
        holder: format!("the disk of {}", picture.store.path),
        expected_ms: Some(0),
        release: "make room there, then mailmend doctor".to_owned(),
        ..Matter::new(Kind::Disk, "controller".to_owned(), 0)
    }]
}

pub(super) fn kept(picture: &Picture) -> Vec<Matter> {
    picture.kept.iter().filter_map(told).collect()
}

fn told(kept: &Kept) -> Option<Matter> {
    let (id, messages) = (short(kept.run), kept.messages);
    let (kind, what, release) = match kept.state {
        None => (
            Kind::Vanished,
            "that vanished are given back from their copies, or let go",
            format!("mailmend run reconciled {id}; mailmend custody recover {id} --why ..."),
        ),
        Some(Custody::Held) => (
            Kind::Held,
            "that are held are given back or settled",
            format!(
                "mailmend run ledger {id} --state held; mailmend custody release {id} --why ..."
            ),
        ),
        Some(Custody::InDoubt) => (
            Kind::InDoubt,
            "in doubt are settled",
            format!(
                "mailmend run ledger {id} --state in-doubt; mailmend custody settle {id} ID... --as \
                 delivered|not-delivered --why ..."
            ),
        ),
        Some(Custody::Poison) => (
            Kind::Poison,
            "that crash the service are dealt with",
            format!(
                "mailmend run ledger {id} --state poison; mailmend custody settle {id} ID... --as \
                 delivered --why ..."
            ),
        ),
        Some(_) => return None,
    };
    Some(Matter {
        predicate: format!("{messages} messages {what}"),
        holder: "a person".to_owned(),
        release,
        ..Matter::new(
            kind,
            format!("{} on {}", run_name(kept.run), kept.agent),
            kept.since_ms,
        )
    })
}
