//! What the server's own records say about messages: sent, begun, or nothing.
//!
//! A service that was killed may have sent a file that it still holds. Before such a file is touched
//! or sent again, [`what_was_sent`] joins the tracking log, the SMTP log and the event log by
//! MTS-ID, spool name and Message-ID. Every statement names the file and line that it rests on.
//!
//! Mistakes are made on the safe side, in this order: nothing is called sent that may not have
//! been (it would be lost), nothing is called unsent that may have been (it would be sent twice).

pub mod event_log;
mod lines;
pub mod smtp_log;
pub mod spool_file;
pub mod tracking_log;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mailmend_policy::condition::PathRoot;

use self::lines::Malformed;
use self::smtp_log::{End, Transaction};
use self::spool_file::SpoolHeader;
use self::tracking_log::Record;
use crate::host::{FileKind, Host, HostError};

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From Out to the next hop.
    Outbound,
    /// From In to the store.
    Inbound,
}

/// What a message is known by in the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageKey {
    /// The name of its spool file.
    pub spool_name: String,
    /// Its MTS-ID, where the spool file shows one.
    pub mts_id: Option<String>,
    /// Its Internet Message-ID, angle brackets included, where its text has one.
    pub message_id: Option<String>,
    /// The sender of its envelope, where that can be read.
    pub sender: Option<String>,
    /// The recipients of its envelope, where they can be read.
    pub recipients: Option<Vec<String>>,
    /// When its spool file was written, in milliseconds since 1970 UTC: it was not sent before.
    pub written_ms: i64,
    /// Which way it goes.
    pub direction: Direction,
}

impl MessageKey {
    /// The key of a spool file.
    #[must_use]
    pub fn new(
        spool_name: &str,
        header: SpoolHeader,
        written_ms: i64,
        direction: Direction,
    ) -> Self {
        Self {
            spool_name: spool_name.to_owned(),
            mts_id: header.mts_id,
            message_id: header.message_id,
            sender: header.sender,
            recipients: header.recipients,
            written_ms,
            direction,
        }
    }

    fn is_named_by(&self, record: &Record) -> bool {
        let mts_id = self.mts_id.as_deref().map(fold);
        if mts_id.is_some_and(|id| id == fold(&record.mts_id)) {
            return true;
        }
        let Some((message_id, spool_name)) = &record.remote else {
            return false;
        };
        if !spool_name.eq_ignore_ascii_case(&self.spool_name) {
            return false;
        }
        match &self.message_id {
            Some(own) => fold(own) == fold(message_id),
            // Nothing but the name is known, and names may come again.
            None => self.mts_id.is_none() && record.at_ms >= self.written_ms - SLOP_MS,
        }
    }
}

/// What the records say about one message. Evidence is one line each, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// It was transferred to every recipient of its envelope.
    Delivered {
        /// What says so.
        evidence: Vec<String>,
    },
    /// It was sent to some, or its sending began and no answer is recorded.
    Begun {
        /// What says so.
        evidence: Vec<String>,
    },
    /// The records are whole, as far as can be told, and do not show that sending it ever began.
    NotSeen,
    /// The records do not show it and have gaps, or cannot be read.
    CannotTell {
        /// Which gap.
        why: String,
    },
}

/// Times in the logs are whole seconds, and clocks of two writers differ a little.
const SLOP_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// Compares as the records do: case differs between components, and a tracking record writes `%`
/// for `;` and `_` for a space.
fn fold(id: &str) -> String {
    id.trim()
        .chars()
        .map(|c| match c {
            ';' => '%',
            ' ' => '_',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

fn address(text: &str) -> String {
    text.trim()
        .trim_start_matches('<')
        .trim_end_matches('>')
        .to_ascii_lowercase()
}

/// What the records since `since_ms` (milliseconds since 1970 UTC) say about each of `keys`, in
/// their order. Records that cannot be read make the answers [`Sent::CannotTell`], never an error.
///
/// The SMTP log must be at the level that shows message headers for its transactions to be joined
/// by Message-ID; without, transactions of the same envelope put a message in doubt.
#[must_use]
pub fn what_was_sent(host: &dyn Host, since_ms: i64, keys: &[MessageKey]) -> Vec<Sent> {
    let records = Records::read(host, since_ms);
    keys.iter().map(|key| records.judge(key, keys)).collect()
}

/// Everything that was read.
struct Records {
    tracking: Vec<Record>,
    smtp: Vec<Transaction>,
    malformed: Vec<Malformed>,
    /// Why nothing can be concluded from silence.
    gap: Option<String>,
    /// The same for silence about outbound mail.
    outbound_gap: Option<String>,
    since_ms: i64,
}

impl Records {
    fn read(host: &dyn Host, since_ms: i64) -> Self {
        let mut records = Self {
            tracking: Vec::new(),
            smtp: Vec::new(),
            malformed: Vec::new(),
            gap: None,
            outbound_gap: None,
            since_ms,
        };
        if let Err(error) = records.read_tracking(host) {
            records.gap = Some(format!("the tracking log cannot be read: {error}"));
        }
        if let Err(error) = records.read_smtp(host) {
            records.outbound_gap = Some(format!("the SMTP log cannot be read: {error}"));
        }
        match event_log::records_dropped(host.events(), since_ms) {
            Ok(None) => {}
            Ok(Some(event)) => records.gap = Some(event),
            Err(error) => records.gap = Some(format!("the event log cannot be read: {error}")),
        }
        records
    }

    fn read_tracking(&mut self, host: &dyn Host) -> Result<(), HostError> {
        let folder = host.root(PathRoot::Trackinglog)?;
        // The day before, too: its last records may be stamped an hour off.
        let first = tracking_log::file_name(self.since_ms.saturating_sub(DAY_MS));
        for file in host.spool().list(&folder)? {
            if file.kind != FileKind::File || !tracking_log::is_file_name(&file.name) {
                continue;
            }
            if file.name.to_ascii_lowercase() < first {
                continue;
            }
            let mut open = host.spool().open(&folder.join(&file.name))?;
            let read = tracking_log::read(&mut *open, &file.name)
                .map_err(|error| unreadable(&folder.join(&file.name), &error))?;
            self.tracking.extend(read.records);
            self.malformed.extend(read.malformed);
        }
        Ok(())
    }

    fn read_smtp(&mut self, host: &dyn Host) -> Result<(), HostError> {
        let folder = host.root(PathRoot::Imcdata)?.join("Log");
        let mut any = false;
        for file in host.spool().list(&folder)? {
            if file.kind != FileKind::File || !smtp_log::is_file_name(&file.name) {
                continue;
            }
            any = true;
            let mut open = host.spool().open(&folder.join(&file.name))?;
            let read = smtp_log::read(&mut *open, &file.name)
                .map_err(|error| unreadable(&folder.join(&file.name), &error))?;
            self.smtp.extend(read.transactions);
            self.malformed.extend(read.malformed);
        }
        if !any {
            self.outbound_gap = Some(format!(
                "`{}` holds no SMTP log: set SMTP protocol logging of the service to its maximum",
                folder.display()
            ));
        }
        Ok(())
    }

    fn judge(&self, key: &MessageKey, keys: &[MessageKey]) -> Sent {
        let own: Vec<&Record> = self
            .tracking
            .iter()
            .filter(|record| key.is_named_by(record))
            .collect();
        match key.direction {
            Direction::Inbound => self.judge_inbound(key, &own),
            Direction::Outbound => self.judge_outbound(key, keys, &own),
        }
    }

    fn judge_inbound(&self, key: &MessageKey, own: &[&Record]) -> Sent {
        let evidence: Vec<String> = own
            .iter()
            .filter(|record| matches!(record.event, tracking_log::TRANSFERRED_INBOUND))
            .map(|record| record.evidence())
            .collect();
        if evidence.is_empty() {
            self.silence(key)
        } else {
            Sent::Delivered { evidence }
        }
    }

    fn judge_outbound(&self, key: &MessageKey, keys: &[MessageKey], own: &[&Record]) -> Sent {
        let expected: Option<BTreeSet<String>> = match &key.recipients {
            Some(recipients) => Some(recipients.iter().map(|r| address(r)).collect()),
            None => own
                .iter()
                .find(|record| record.event == tracking_log::QUEUED_OUTBOUND)
                .map(|record| record.recipients.iter().map(|r| address(r)).collect()),
        };
        let expected = expected.filter(|recipients| !recipients.is_empty());
        let mut served = BTreeSet::new();
        let mut all_served = false;
        let mut evidence = Vec::new();
        let mut began = false;
        for record in own {
            if record.event != tracking_log::TRANSFERRED_OUTBOUND {
                continue;
            }
            evidence.push(record.evidence());
            began = true;
            served.extend(record.recipients.iter().map(|recipient| address(recipient)));
            // Recipients may be written in another form than the envelope's; their number tells.
            all_served |= expected
                .as_ref()
                .is_some_and(|e| record.recipients.len() >= e.len());
        }
        let twins = self.has_twins(key, keys);
        let untracked = self.accepted_but_not_tracked(key);
        for transaction in self.smtp.iter().filter(|t| self.may_be_of(t, key)) {
            let named = transaction.message_id.is_some();
            match &transaction.end {
                End::Refused { .. } => {}
                // Only a transaction that is surely this message's proves that it was delivered.
                End::Accepted { .. } if named && !twins && !transaction.doubtful => {
                    evidence.push(transaction.evidence());
                    began = true;
                    served.extend(transaction.recipients.iter().map(|r| address(r)));
                }
                End::Accepted { .. } => {
                    if untracked || transaction.doubtful {
                        evidence.push(transaction.evidence());
                        began = true;
                    }
                }
                End::Unanswered => {
                    evidence.push(transaction.evidence());
                    began = true;
                }
            }
        }
        if !began {
            return self.silence(key);
        }
        match expected {
            Some(expected) if all_served || expected.is_subset(&served) => {
                Sent::Delivered { evidence }
            }
            Some(expected) => {
                let open: Vec<&str> = expected.difference(&served).map(String::as_str).collect();
                if !served.is_empty() {
                    evidence.push(format!("nothing shows that it reached {}", open.join(", ")));
                }
                Sent::Begun { evidence }
            }
            None => {
                evidence.push("how many recipients it has is not known".to_owned());
                Sent::Begun { evidence }
            }
        }
    }

    /// Whether a transaction is this message's, or may be.
    fn may_be_of(&self, transaction: &Transaction, key: &MessageKey) -> bool {
        if let Some(message_id) = &transaction.message_id {
            return key
                .message_id
                .as_ref()
                .is_some_and(|own| fold(own) == fold(message_id));
        }
        let earliest = self.since_ms.max(key.written_ms).saturating_sub(SLOP_MS);
        if transaction.at_ms < earliest {
            return false;
        }
        let same_sender = key
            .sender
            .as_ref()
            .is_none_or(|own| address(own) == address(&transaction.sender));
        let one_of_its = key.recipients.as_ref().is_none_or(|own| {
            let own: BTreeSet<String> = own.iter().map(|recipient| address(recipient)).collect();
            transaction
                .recipients
                .iter()
                .any(|recipient| own.contains(&address(recipient)))
        });
        same_sender && one_of_its
    }

    /// Whether another spool file has the same Message-ID: a message to several domains, or one that
    /// was submitted twice.
    fn has_twins(&self, key: &MessageKey, keys: &[MessageKey]) -> bool {
        let Some(own) = key.message_id.as_deref().map(fold) else {
            return false;
        };
        let same = |other: &MessageKey| other.message_id.as_deref().map(fold) == Some(own.clone());
        keys.iter().filter(|other| same(other)).count() > 1
            || self.tracking.iter().any(|record| {
                let named = record
                    .remote
                    .as_ref()
                    .is_some_and(|(id, _)| fold(id) == own);
                named && !key.is_named_by(record)
            })
    }

    /// Whether more transactions that may be this message's were accepted than the tracking log
    /// accounts for.
    fn accepted_but_not_tracked(&self, key: &MessageKey) -> bool {
        let accepted = self
            .smtp
            .iter()
            .filter(|t| matches!(t.end, End::Accepted { .. }) && self.may_be_of(t, key))
            .count();
        let own = key.message_id.as_deref().map(fold);
        let recipients: Option<BTreeSet<String>> = key
            .recipients
            .as_ref()
            .map(|list| list.iter().map(|r| address(r)).collect());
        let tracked = self
            .tracking
            .iter()
            .filter(|record| record.event == tracking_log::TRANSFERRED_OUTBOUND)
            .filter(|record| {
                let same_id = record
                    .remote
                    .as_ref()
                    .is_some_and(|(id, _)| own.as_deref() == Some(fold(id).as_str()));
                let same_people = recipients.as_ref().is_some_and(|own| {
                    record
                        .recipients
                        .iter()
                        .any(|recipient| own.contains(&address(recipient)))
                });
                same_id || (same_people && record.at_ms >= key.written_ms - SLOP_MS)
            })
            .count();
        accepted > tracked
    }

    /// What it means that nothing was found.
    fn silence(&self, key: &MessageKey) -> Sent {
        let outbound = self
            .outbound_gap
            .as_ref()
            .filter(|_| key.direction == Direction::Outbound);
        let why = self.gap.as_ref().or(outbound).cloned().or_else(|| {
            let damaged = self.malformed.iter().find(|line| {
                let ids = [
                    Some(&key.spool_name),
                    key.mts_id.as_ref(),
                    key.message_id.as_ref(),
                ];
                line.is_unreadable() || ids.into_iter().flatten().any(|id| line.mentions(id))
            })?;
            Some(format!(
                "{} makes no sense and may be about it",
                damaged.place()
            ))
        });
        why.map_or(Sent::NotSeen, |why| Sent::CannotTell { why })
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> HostError {
    HostError::unchanged(
        crate::host::HostErrorKind::Io,
        format!("read `{}`", path.display()),
        error.to_string(),
    )
}

/// The keys of messages by their spool names; for callers that look up by name.
#[must_use]
pub fn by_spool_name(keys: &[MessageKey], sent: Vec<Sent>) -> BTreeMap<String, Sent> {
    keys.iter()
        .map(|key| key.spool_name.clone())
        .zip(sent)
        .collect()
}

#[cfg(test)]
mod tests;
