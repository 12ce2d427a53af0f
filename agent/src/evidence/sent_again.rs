//! What was sent before a moment and again after it: after a power loss the mail service may be up, and
//! sending, before anybody can look. Nothing can be prevented then; what the logs show can be named.

use std::collections::{BTreeMap, HashMap};

use super::records::Records;
use super::smtp_log::{End, Transaction};
use super::{address, fold};
use crate::host::Host;

/// A message that may have been delivered twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentAgain {
    /// Its Message-ID or MTS-ID, or its envelope where the logs show neither.
    pub message: String,
    /// What says so: before, and after.
    pub evidence: Vec<String>,
}

/// The messages that the logs since `since_ms` show sent, or begun, before `boundary_ms` and again after
/// it, to a recipient in common (milliseconds since 1970 UTC); and why there may be more, where the logs
/// have gaps. Each is named once, in the order of its name.
#[must_use]
pub fn sent_again(
    host: &dyn Host,
    since_ms: i64,
    boundary_ms: i64,
) -> (Vec<SentAgain>, Option<String>) {
    let records = Records::read(host, since_ms);
    let mut found = Found::new();
    named(&records, boundary_ms, &mut found);
    unnamed(&records, boundary_ms, &mut found);
    tracked(&records, boundary_ms, &mut found);
    (
        found.into_values().collect(),
        records.outbound_gap().cloned(),
    )
}

fn may_have_arrived(transaction: &Transaction) -> bool {
    !matches!(transaction.end, End::Refused { .. })
}

/// Times in the logs are whole seconds: one that may be before and after counts as both.
fn before(at_ms: i64, boundary_ms: i64) -> bool {
    at_ms <= boundary_ms
}

fn after(at_ms: i64, boundary_ms: i64) -> bool {
    at_ms + 1000 > boundary_ms
}

/// Whether they have a recipient in common; recipients that the log does not show may be any.
fn overlap(a: &Transaction, b: &Transaction) -> bool {
    let has = |recipient: &String| {
        b.recipients
            .iter()
            .any(|other| address(other) == address(recipient))
    };
    a.recipients.is_empty() || b.recipients.is_empty() || a.recipients.iter().any(has)
}

/// By the folded name of the message: the tracking log writes a Message-ID in a form of its own.
type Found = BTreeMap<String, SentAgain>;

fn name(found: &mut Found, message: String, evidence: Vec<String>) {
    found
        .entry(fold(&message))
        .or_insert(SentAgain { message, evidence });
}

/// Transactions that show a Message-ID.
fn named(records: &Records, boundary_ms: i64, found: &mut Found) {
    let mut by_id: HashMap<String, Vec<&Transaction>> = HashMap::new();
    for transaction in records.transactions().filter(|t| may_have_arrived(t)) {
        if let Some(id) = &transaction.message_id {
            by_id.entry(fold(id)).or_default().push(transaction);
        }
    }
    for transactions in by_id.into_values().filter(|all| all.len() > 1) {
        let early = transactions.iter().filter(|t| before(t.at_ms, boundary_ms));
        let again = early.flat_map(|early| {
            let late = transactions
                .iter()
                .filter(|late| after(late.at_ms, boundary_ms));
            late.map(move |late| (*early, *late))
        });
        let mut again = again.filter(|(early, late)| !std::ptr::eq(*early, *late));
        if let Some((early, late)) = again.find(|(early, late)| overlap(early, late)) {
            let id = early.message_id.clone().unwrap_or_default();
            name(found, id, vec![early.evidence(), late.evidence()]);
        }
    }
}

/// The last transaction of each connection before the moment, where the log shows no Message-ID: it may
/// have been on its way, or its file not yet removed for good.
fn unnamed(records: &Records, boundary_ms: i64, found: &mut Found) {
    let mut last: HashMap<&str, &Transaction> = HashMap::new();
    let all = || {
        records
            .transactions()
            .filter(|t| t.message_id.is_none() && may_have_arrived(t))
    };
    for transaction in all().filter(|t| before(t.at_ms, boundary_ms)) {
        last.insert(&transaction.log, transaction);
    }
    for early in last.into_values() {
        let again = all().find(|late| {
            after(late.at_ms, boundary_ms)
                && (&late.log, late.line) != (&early.log, early.line)
                && address(&late.sender) == address(&early.sender)
                && overlap(early, late)
        });
        if let Some(late) = again {
            let message = format!("from {} to {}", early.sender, early.recipients.join(", "));
            name(found, message, vec![early.evidence(), late.evidence()]);
        }
    }
}

/// Transfers that the tracking log shows twice.
fn tracked(records: &Records, boundary_ms: i64, found: &mut Found) {
    let mut by_id = HashMap::new();
    for record in records.transfers() {
        for recipient in &record.recipients {
            let key = (fold(&record.mts_id), address(recipient));
            let all: &mut Vec<_> = by_id.entry(key).or_default();
            all.push(record);
        }
    }
    for transfers in by_id.into_values().filter(|all| all.len() > 1) {
        let early = transfers.iter().find(|r| before(r.at_ms, boundary_ms));
        let late = transfers.iter().rfind(|r| after(r.at_ms, boundary_ms));
        if let (Some(early), Some(late)) = (early, late)
            && !std::ptr::eq(*early, *late)
        {
            let id = early.remote.as_ref().map_or(&early.mts_id, |(id, _)| id);
            name(found, id.clone(), vec![early.evidence(), late.evidence()]);
        }
    }
}
