//! What a reconciliation is made from: everything that was read, and where reading has gaps.

use std::path::PathBuf;

use super::super::Direction;
use super::super::lines::Malformed;
use super::super::smtp_inbound::Reception;
use super::super::smtp_log::Transaction;
use super::super::tracking_log::Record;

/// Everything that was read. Queues and custody were read before the logs, in the order in which mail flows:
/// what had left a queue by then has its record in the logs.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The tracking records of the window, and of the day before it.
    pub tracking: Vec<Record>,
    /// Outbound transactions of the SMTP logs.
    pub sent: Vec<Transaction>,
    /// What the SMTP logs say was taken from the wire.
    pub received: Vec<Reception>,
    /// Lines that make no sense.
    pub malformed: Vec<Malformed>,
    /// Times of which the records do not tell everything.
    pub gaps: Vec<Gap>,
    /// Files of messages.
    pub places: Vec<Place>,
    /// The store's folder of mail to be sent.
    pub mts_out: StoreFolder,
    /// The store's folder of mail that came in.
    pub mts_in: StoreFolder,
    /// Events that may name a spool file.
    pub hints: Vec<Hint>,
    /// What was read, for people: `tracking logs 19971105.log to 19971106.log and 4 SMTP logs`.
    pub read: String,
}

/// A time of which the records do not tell everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The last moment that it may concern, milliseconds since 1970 UTC. A message accepted before may have
    /// been delivered in it.
    pub to_ms: i64,
    /// Which mail it concerns; none: all.
    pub direction: Option<Direction>,
    /// Why, for people.
    pub why: String,
}

/// A file of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name of its spool file.
    pub spool_name: String,
    /// Its MTS-ID, where that is known.
    pub mts_id: Option<String>,
    /// Its Message-ID, where that is known.
    pub message_id: Option<String>,
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: PlaceKind,
    /// The same for people.
    pub what: String,
}

/// What a file of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    /// In a folder of the spool.
    Queue,
    /// In the agent's custody, and not proven delivered.
    Custody,
    /// A second name that escrow keeps.
    Escrow,
    /// The service's own archival copy. It is made whatever becomes of the message (Q189731).
    Archive,
}

/// What is known of a folder of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreFolder {
    /// The MTS-IDs of all that it holds.
    Listed(Vec<String>),
    /// How many it holds, by the service's own counter.
    Counted(u64),
    /// Nothing, and why.
    Unknown(String),
}

impl Default for StoreFolder {
    fn default() -> Self {
        Self::Unknown("nobody looked".to_owned())
    }
}

/// An event that says something of a message: then it has not gone without a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Its text, in capitals.
    pub text: String,
    /// Whether it says that the sender was told.
    pub reported: bool,
    /// For people, with its place.
    pub evidence: String,
}
