//! The records of a server, read once and indexed: a queue may hold 100 000 messages, and so may the
//! logs.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use mailmend_policy::condition::PathRoot;

use super::lines::Malformed;
use super::smtp_log::{self, End, Transaction};
use super::tracking_log::{self, Record};
use super::{Direction, MessageKey, address, event_log, fold};
use crate::host::{FileKind, Host, HostError, HostErrorKind};

const DAY_MS: i64 = 86_400_000;
/// How long after its acceptance a transfer may be tracked.
const TRACKED_MS: i64 = 2_000;
/// With more damaged lines than this, the logs are not looked at line by line any more: silence
/// means nothing.
const DAMAGED: usize = 1000;

/// Everything that was read.
#[derive(Default)]
pub(super) struct Records {
    pub(super) since_ms: i64,
    tracking: Vec<Record>,
    smtp: Vec<Transaction>,
    malformed: Vec<Malformed>,
    /// Why nothing can be concluded from silence.
    gap: Option<String>,
    /// The same for silence about outbound mail.
    outbound_gap: Option<String>,

    by_mts_id: HashMap<String, Vec<usize>>,
    by_spool_name: HashMap<String, Vec<usize>>,
    by_message_id: HashMap<String, Tracked>,
    named: HashMap<String, Vec<usize>>,
    unnamed_unanswered: Vec<usize>,
    /// Per recipient; the empty text stands for all of them.
    traffic: HashMap<String, Traffic>,
}

/// Records of one Message-ID.
#[derive(Default)]
struct Tracked {
    records: usize,
    transfers: usize,
}

/// Times of what went to one recipient, sorted.
#[derive(Default)]
struct Traffic {
    accepted: Vec<i64>,
    transferred: Vec<i64>,
    /// Accepted transactions without a Message-ID: time and index.
    unnamed: Vec<(i64, usize)>,
}

fn since(times: &[i64], earliest: i64) -> usize {
    times.len() - times.partition_point(|&at| at < earliest)
}

impl Records {
    pub(super) fn read(host: &dyn Host, since_ms: i64) -> Self {
        let mut records = Self {
            since_ms,
            ..Self::default()
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
        if records.malformed.len() > DAMAGED {
            let count = records.malformed.len();
            records.gap = Some(format!("{count} lines of the logs make no sense"));
            records.malformed.clear();
        }
        records.index();
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

    fn index(&mut self) {
        for (at, record) in self.tracking.iter().enumerate() {
            self.by_mts_id
                .entry(fold(&record.mts_id))
                .or_default()
                .push(at);
            let transfer = record.event == tracking_log::TRANSFERRED_OUTBOUND;
            if let Some((message_id, name)) = &record.remote {
                self.by_spool_name.entry(fold(name)).or_default().push(at);
                let tracked = self.by_message_id.entry(fold(message_id)).or_default();
                tracked.records += 1;
                tracked.transfers += usize::from(transfer);
            }
            if transfer {
                for recipient in people(&record.recipients) {
                    self.traffic
                        .entry(recipient)
                        .or_default()
                        .transferred
                        .push(record.at_ms);
                }
            }
        }
        for (at, transaction) in self.smtp.iter().enumerate() {
            if let Some(id) = &transaction.message_id {
                self.named.entry(fold(id)).or_default().push(at);
            } else if transaction.end == End::Unanswered {
                self.unnamed_unanswered.push(at);
            }
            if let End::Accepted { .. } = transaction.end {
                for recipient in people(&transaction.recipients) {
                    let traffic = self.traffic.entry(recipient).or_default();
                    traffic.accepted.push(transaction.at_ms);
                    if transaction.message_id.is_none() {
                        traffic.unnamed.push((transaction.at_ms, at));
                    }
                }
            }
        }
        for traffic in self.traffic.values_mut() {
            traffic.accepted.sort_unstable();
            traffic.transferred.sort_unstable();
            traffic.unnamed.sort_unstable();
        }
    }

    /// The tracking records of a message, in order.
    pub(super) fn tracked(&self, key: &MessageKey) -> Vec<&Record> {
        let by_id = key
            .mts_id
            .as_deref()
            .and_then(|id| self.by_mts_id.get(&fold(id)));
        let by_name = self.by_spool_name.get(&fold(&key.spool_name));
        let found: BTreeSet<usize> = [by_id, by_name]
            .into_iter()
            .flatten()
            .flatten()
            .copied()
            .collect();
        found
            .into_iter()
            .map(|at| &self.tracking[at])
            .filter(|r| key.is_named_by(r))
            .collect()
    }

    /// How many tracking records have this folded Message-ID.
    pub(super) fn tracked_as(&self, id: &str) -> usize {
        self.by_message_id
            .get(id)
            .map_or(0, |tracked| tracked.records)
    }

    /// How many of them are outbound transfers.
    pub(super) fn transferred_as(&self, id: &str) -> usize {
        self.by_message_id
            .get(id)
            .map_or(0, |tracked| tracked.transfers)
    }

    /// The transactions with this folded Message-ID, in order.
    pub(super) fn transactions_named(&self, id: &str) -> Vec<&Transaction> {
        self.named.get(id).map_or_else(Vec::new, |found| {
            found.iter().map(|&at| &self.smtp[at]).collect()
        })
    }

    /// The transactions without a Message-ID and without an answer.
    pub(super) fn unnamed_unanswered(&self) -> impl Iterator<Item = &Transaction> {
        self.unnamed_unanswered.iter().map(|&at| &self.smtp[at])
    }

    /// An accepted transaction to one of these recipients (any recipient, where they are not known)
    /// that the SMTP log does not name and the tracking log may not account for.
    pub(super) fn unaccounted(
        &self,
        recipients: Option<&BTreeSet<String>>,
        earliest: i64,
    ) -> Option<&Transaction> {
        let anybody = BTreeSet::from([String::new()]);
        recipients.unwrap_or(&anybody).iter().find_map(|recipient| {
            let traffic = self.traffic.get(recipient)?;
            let &(at_ms, at) = traffic.unnamed.last()?;
            let accepted = since(&traffic.accepted, earliest);
            // A transfer is tracked a little after it was accepted: one that was accepted before
            // must not account for another that was accepted since.
            let transferred = since(&traffic.transferred, earliest.saturating_add(TRACKED_MS));
            (at_ms >= earliest && accepted > transferred).then(|| &self.smtp[at])
        })
    }

    /// Why it means nothing that no record shows this message; `None` where it does mean something.
    pub(super) fn gap_for(&self, key: &MessageKey) -> Option<String> {
        let outbound = self
            .outbound_gap
            .as_ref()
            .filter(|_| key.direction == Direction::Outbound);
        self.gap.as_ref().or(outbound).cloned().or_else(|| {
            let ids = [
                Some(&key.spool_name),
                key.mts_id.as_ref(),
                key.message_id.as_ref(),
            ];
            let damaged = self.malformed.iter().find(|line| {
                line.is_unreadable() || ids.into_iter().flatten().any(|id| line.mentions(id))
            })?;
            Some(format!(
                "{} makes no sense and may be about it",
                damaged.place()
            ))
        })
    }
}

/// The addresses of recipients, and the empty one that stands for anybody.
fn people(recipients: &[String]) -> BTreeSet<String> {
    recipients
        .iter()
        .map(|recipient| address(recipient))
        .chain([String::new()])
        .collect()
}

fn unreadable(path: &Path, error: &std::io::Error) -> HostError {
    HostError::unchanged(
        HostErrorKind::Io,
        format!("read `{}`", path.display()),
        error.to_string(),
    )
}
