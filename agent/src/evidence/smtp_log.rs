//! The SMTP protocol log: `L0000000.LOG` and on, one for each concurrent connection, appended to by
//! every life of the service, stamped by a clock of which no article says whether it is local: see
//! [`LogTime`].
//!
//! The articles show these forms (Q228725, Q154505 and others, for 4.0, 5.0 and 5.5 alike):
//!
//! - A line is `m/d/yy h:mm:ss AM : text`; a line without that goes on with the text of the one before.
//! - `A connection to HOST was established.` and `A connection was accepted from HOST.` begin a
//!   conversation and tell which way it goes. A log need not have them.
//! - Outbound, the text is the command as sent, or `IO: |` and the reply, which may come once more
//!   without `IO: |`; or, in another form, `>>>` and the command, `<<<` and the reply.
//! - Inbound, it is `<<<` and the command, `>>>` and the reply. Those are passed over.
//!
//! Which level shows the header of an outbound message differs: by Q154505, 4.0 never does. Without it
//! a transaction has no Message-ID, and is joined to a message by its envelope at most.
//!
//! The lines of a message's header may say anything, so they could imitate commands and replies. A
//! conversation in which something stands where nothing of the kind can is marked doubtful: it
//! proves no delivery.

mod conversation;

use std::io::{self, Read};
use std::sync::Arc;

pub(crate) use self::conversation::Reader;
pub(super) use self::conversation::{Stamp, path};
use super::event_log::time;
use super::lines::{self, Malformed};
use super::log_time::LogTime;

/// One attempt to hand a message to the next hop, from its DATA on. Attempts that ended before DATA
/// sent nothing and are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The log that it stands in.
    pub log: String,
    /// The number of its DATA line, from 1.
    pub line: u64,
    /// When DATA was sent, in milliseconds since 1970 UTC; whole seconds.
    pub at_ms: i64,
    /// The envelope's sender, as sent.
    pub sender: String,
    /// The recipients that the next hop accepted, as sent.
    pub recipients: Vec<String>,
    /// The Message-ID, where the log is at the level that shows headers.
    pub message_id: Option<String>,
    /// How it ended.
    pub end: End,
    /// Whether something in its conversation cannot be what it seems.
    pub doubtful: bool,
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The next hop took the message.
    Accepted {
        /// Its reply.
        reply: String,
        /// The number of the reply's line.
        line: u64,
    },
    /// The next hop refused it.
    Refused {
        /// Its reply.
        reply: String,
        /// The number of the reply's line.
        line: u64,
    },
    /// No reply is recorded: it is not known whether the next hop took it.
    Unanswered,
}

impl Transaction {
    /// One line for a ledger, with its place.
    #[must_use]
    pub fn evidence(&self) -> String {
        let end = match &self.end {
            End::Accepted { reply, line } => format!("accepted in line {line}: `{reply}`"),
            End::Refused { reply, line } => format!("refused in line {line}: `{reply}`"),
            End::Unanswered => "no answer is recorded".to_owned(),
        };
        let doubt = if self.doubtful {
            " (the log is doubtful there)"
        } else {
            ""
        };
        let unnamed = if self.message_id.is_some() {
            ""
        } else {
            ", of an unnamed message"
        };
        format!(
            "SMTP log `{}` line {}: DATA at {} for {}{unnamed}, {end}{doubt}",
            self.log,
            self.line,
            time(self.at_ms),
            self.recipients.join(", "),
        )
    }
}

/// What a log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SmtpLog {
    /// Its outbound transactions, in order.
    pub transactions: Vec<Transaction>,
    /// The lines that make no sense.
    pub malformed: Vec<Malformed>,
}

/// Whether a file is named as a log is.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name.strip_suffix(".LOG")
        .and_then(|stem| stem.strip_prefix('L'))
        .is_some_and(|number| number.len() == 7 && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Reads a log that is stamped in UTC.
///
/// # Errors
/// Where reading fails.
pub fn read(log: &mut dyn Read, name: &str) -> io::Result<SmtpLog> {
    read_in(log, name, LogTime::Utc)
}

/// Reads a log that is stamped by this clock.
///
/// # Errors
/// Where reading fails.
pub fn read_in(log: &mut dyn Read, name: &str, clock: LogTime) -> io::Result<SmtpLog> {
    let mut reader = Reader::new(name, clock);
    lines::for_each(log, &mut reader)?;
    let malformed = reader.malformed().cloned().collect();
    Ok(SmtpLog {
        transactions: Arc::unwrap_or_clone(reader.into_transactions()),
        malformed,
    })
}

#[cfg(test)]
mod tests;
