//! The records of a server, read once and indexed: a queue may hold 100 000 messages, and so may the
//! logs.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mailmend_policy::condition::PathRoot;

use super::bookmark::{self, Bookmarks};
use super::lines::{DAMAGED, Malformed};
use super::smtp_log::{self, End, Transaction};
use super::tracking_log::{self, Record};
use super::{Direction, MessageKey, address, event_log, fold};
use crate::host::{Host, HostError};

const DAY_MS: i64 = 86_400_000;
/// How long after its acceptance a transfer may be tracked.
const TRACKED_MS: i64 = 2_000;

/// Where something stands: which log, and which of its entries.
type At = (usize, usize);

/// Everything that was read.
#[derive(Default)]
pub(super) struct Records {
    pub(super) since_ms: i64,
    tracking: Vec<Arc<Vec<Record>>>,
    smtp: Vec<Arc<Vec<Transaction>>>,
    malformed: Vec<Malformed>,
    damaged: usize,
    /// Why nothing can be concluded from silence.
    gap: Option<String>,
    /// The same for silence about outbound mail.
    outbound_gap: Option<String>,
    /// The same for silence about inbound mail.
    inbound_gap: Option<String>,

    by_mts_id: HashMap<String, Vec<At>>,
    by_spool_name: HashMap<String, Vec<At>>,
    by_message_id: HashMap<String, Tracked>,
    named: HashMap<String, Vec<At>>,
    unnamed_unanswered: Vec<At>,
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
    /// Accepted transactions without a Message-ID: time and place.
    unnamed: Vec<(i64, At)>,
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
        // Then the logs are not looked at line by line any more: silence means nothing.
        if records.damaged > DAMAGED {
            let count = records.damaged;
            records.gap = Some(format!("{count} lines of the logs make no sense"));
            records.malformed.clear();
        }
        records.index();
        records
    }

    /// Records that were read elsewhere, of whose gaps somebody else knows.
    pub(super) fn of(
        since_ms: i64,
        tracking: Vec<Record>,
        smtp: Vec<Transaction>,
        malformed: Vec<Malformed>,
    ) -> Self {
        let mut records = Self {
            since_ms,
            tracking: vec![Arc::new(tracking)],
            smtp: vec![Arc::new(smtp)],
            malformed,
            ..Self::default()
        };
        records.index();
        records
    }

    /// The tracking records of an MTS-ID, in order.
    pub(super) fn tracked_under(&self, mts_id: &str) -> Vec<&Record> {
        let found = self.by_mts_id.get(&fold(mts_id));
        found.map_or_else(Vec::new, |found| {
            found
                .iter()
                .map(|&(log, at)| &self.tracking[log][at])
                .collect()
        })
    }

    fn read_tracking(&mut self, host: &dyn Host) -> Result<(), HostError> {
        let folder = host.root(PathRoot::Trackinglog)?;
        // The day before, too: its last records may be stamped an hour off.
        let first = tracking_log::file_name(self.since_ms.saturating_sub(DAY_MS));
        let shelf = host.bookmarks().map(Bookmarks::tracking);
        let wanted = |name: &str| {
            tracking_log::is_file_name(name) && name.to_ascii_lowercase().as_str() >= first.as_str()
        };
        let fresh = tracking_log::Reader::new;
        let logs = bookmark::read_folder(host.spool(), &folder, shelf, &wanted, &fresh)?;
        let mut modern = false;
        for log in &logs {
            self.malformed.extend(log.malformed());
            self.damaged += log.damaged();
            self.tracking.push(Arc::clone(log.records()));
            modern |= log.is_modern();
        }
        if !modern && self.tracking.iter().any(|records| !records.is_empty()) {
            self.inbound_gap = Some(
                "the tracking log has no event from 1010 to 1018: either this is Exchange 4.0, which                  does not write them, or message tracking of the service is off"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn read_smtp(&mut self, host: &dyn Host) -> Result<(), HostError> {
        let folder = host.root(PathRoot::Imcdata)?.join("Log");
        let clock = host.log_times().smtp;
        let shelf = host.bookmarks().map(Bookmarks::smtp);
        let fresh = |name: &str| smtp_log::Reader::new(name, clock);
        let wanted = smtp_log::is_file_name;
        let logs = bookmark::read_folder(host.spool(), &folder, shelf, &wanted, &fresh)?;
        for log in &logs {
            self.malformed.extend(log.malformed().cloned());
            self.damaged += log.damaged();
            self.smtp.push(Arc::clone(log.transactions()));
        }
        if logs.is_empty() {
            self.outbound_gap = Some(format!(
                "`{}` holds no SMTP log: set SMTP protocol logging of the service to its maximum",
                folder.display()
            ));
        }
        Ok(())
    }

    fn index(&mut self) {
        for (at, record) in entries(&self.tracking) {
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
        for (at, transaction) in entries(&self.smtp) {
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

    /// All transactions, log by log.
    pub(super) fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        self.smtp.iter().flat_map(|log| log.iter())
    }

    /// All outbound transfers that are tracked, log by log.
    pub(super) fn transfers(&self) -> impl Iterator<Item = &Record> {
        let records = self.tracking.iter().flat_map(|log| log.iter());
        records.filter(|record| record.event == tracking_log::TRANSFERRED_OUTBOUND)
    }

    /// Why outbound mail may have left no trace; `None` where it left one.
    pub(super) fn outbound_gap(&self) -> Option<&String> {
        self.gap.as_ref().or(self.outbound_gap.as_ref())
    }

    /// The tracking records of a message, in order.
    pub(super) fn tracked(&self, key: &MessageKey) -> Vec<&Record> {
        let by_id = key
            .mts_id
            .as_deref()
            .and_then(|id| self.by_mts_id.get(&fold(id)));
        let by_name = self.by_spool_name.get(&fold(&key.spool_name));
        let found: BTreeSet<At> = [by_id, by_name]
            .into_iter()
            .flatten()
            .flatten()
            .copied()
            .collect();
        found
            .into_iter()
            .map(|(log, at)| &self.tracking[log][at])
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
            found.iter().map(|&(log, at)| &self.smtp[log][at]).collect()
        })
    }

    /// The transactions without a Message-ID and without an answer.
    pub(super) fn unnamed_unanswered(&self) -> impl Iterator<Item = &Transaction> {
        let found = self.unnamed_unanswered.iter();
        found.map(|&(log, at)| &self.smtp[log][at])
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
            let &(at_ms, (log, at)) = traffic.unnamed.last()?;
            let accepted = since(&traffic.accepted, earliest);
            // A transfer is tracked a little after it was accepted: one that was accepted before
            // must not account for another that was accepted since.
            let transferred = since(&traffic.transferred, earliest.saturating_add(TRACKED_MS));
            (at_ms >= earliest && accepted > transferred).then(|| &self.smtp[log][at])
        })
    }

    /// Why it means nothing that no record shows this message; `None` where it does mean something.
    pub(super) fn gap_for(&self, key: &MessageKey) -> Option<String> {
        let of_its_way = match key.direction {
            Direction::Outbound => &self.outbound_gap,
            Direction::Inbound => &self.inbound_gap,
        };
        self.gap
            .as_ref()
            .or(of_its_way.as_ref())
            .cloned()
            .or_else(|| {
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

/// All entries of some logs with their places.
fn entries<T>(logs: &[Arc<Vec<T>>]) -> impl Iterator<Item = (At, &T)> {
    let logs = logs.iter().enumerate();
    logs.flat_map(|(log, entries)| {
        let entries = entries.iter().enumerate();
        entries.map(move |(at, entry)| ((log, at), entry))
    })
}
