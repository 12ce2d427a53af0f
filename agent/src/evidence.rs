//! What the server's own records say about messages: sent, begun, or nothing.
//!
//! A service that was killed may have sent a file that it still holds. Before such a file is touched
//! or sent again, [`what_was_sent`] joins the tracking log, the SMTP log and the event log by
//! MTS-ID, spool name and Message-ID. Every statement names the file and line that it rests on.
//!
//! Mistakes are made on the safe side, in this order: nothing is called sent that may not have
//! been (it would be lost), nothing is called unsent that may have been (it would be sent twice).

pub mod begun;
pub mod bookmark;
pub mod event_log;
pub mod event_text;
pub(crate) mod lines;
pub mod log_time;
pub mod reconcile;
mod records;
pub mod sent_again;
mod smtp_inbound;
pub mod smtp_log;
pub mod spool_file;
pub mod tracking_log;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use self::records::Records;
use self::smtp_log::End;
use self::spool_file::SpoolHeader;
use self::tracking_log::Record;
use crate::host::Host;

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
/// Lines of evidence for one message; what comes after says nothing new.
const ENOUGH: usize = 20;

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

/// Whether two ids are the same one, as the records write them.
#[must_use]
pub(crate) fn same_id(a: &str, b: &str) -> bool {
    fold(a) == fold(b)
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
    let mut namesakes: HashMap<String, usize> = HashMap::new();
    for id in keys.iter().filter_map(|key| key.message_id.as_deref()) {
        *namesakes.entry(fold(id)).or_default() += 1;
    }
    keys.iter()
        .map(|key| records.judge(key, &namesakes))
        .collect()
}

/// Whether the service has done its part for each of `keys`: the next hop has taken it, or, inbound, it is in
/// the message transfer system (1004 and 9 are all that 4.0 writes). What cannot be told was not.
#[must_use]
pub(crate) fn left_the_service(host: &dyn Host, since_ms: i64, keys: &[MessageKey]) -> Vec<bool> {
    const HANDED_IN: [u32; 3] = [
        tracking_log::TRANSFERRED_INBOUND,
        tracking_log::GATEWAY_IN,
        tracking_log::DELIVERED,
    ];
    let records = Records::read(host, since_ms);
    let namesakes = HashMap::new();
    keys.iter()
        .map(|key| match key.direction {
            Direction::Inbound => {
                let own = records.tracked(key);
                own.iter().any(|record| HANDED_IN.contains(&record.event))
            }
            Direction::Outbound => {
                matches!(records.judge(key, &namesakes), Sent::Delivered { .. })
            }
        })
        .collect()
}

/// The keys of messages by their spool names; for callers that look up by name.
#[must_use]
pub fn by_spool_name(keys: &[MessageKey], sent: Vec<Sent>) -> BTreeMap<String, Sent> {
    keys.iter()
        .map(|key| key.spool_name.clone())
        .zip(sent)
        .collect()
}

impl Records {
    fn judge(&self, key: &MessageKey, namesakes: &HashMap<String, usize>) -> Sent {
        let own = self.tracked(key);
        match key.direction {
            Direction::Inbound => self.judge_inbound(key, &own),
            Direction::Outbound => self.judge_outbound(key, &own, namesakes),
        }
    }

    fn judge_inbound(&self, key: &MessageKey, own: &[&Record]) -> Sent {
        let with = |event: u32| -> Vec<String> {
            let found = own.iter().filter(|record| record.event == event);
            found.map(|record| record.evidence()).collect()
        };
        let evidence = with(tracking_log::TRANSFERRED_INBOUND);
        if !evidence.is_empty() {
            return Sent::Delivered { evidence };
        }
        // All that 4.0 writes: it came in. No article says that the store has it by then.
        let evidence = with(tracking_log::GATEWAY_IN);
        if evidence.is_empty() {
            self.silence(key)
        } else {
            Sent::Begun { evidence }
        }
    }

    fn judge_outbound(
        &self,
        key: &MessageKey,
        own: &[&Record],
        namesakes: &HashMap<String, usize>,
    ) -> Sent {
        let expected = envelope(key, own);
        let mut case = Case::default();
        for record in own
            .iter()
            .filter(|r| r.event == tracking_log::TRANSFERRED_OUTBOUND)
        {
            case.evidence.push(record.evidence());
            case.serve(&record.recipients);
            // Recipients may be written in another form than the envelope's; their number tells.
            case.all_served |= expected
                .as_ref()
                .is_some_and(|e| record.recipients.len() >= e.len());
        }
        self.named_transactions(key, own, namesakes, &mut case);
        self.unnamed_transactions(key, &mut case);
        if case.evidence.is_empty() {
            return self.silence(key);
        }
        let mut evidence = case.evidence;
        match expected {
            Some(expected) if case.all_served || expected.is_subset(&case.served) => {
                Sent::Delivered { evidence }
            }
            Some(expected) => {
                if !case.served.is_empty() {
                    let open: Vec<&str> = expected
                        .difference(&case.served)
                        .map(String::as_str)
                        .collect();
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

    /// The transactions of the SMTP log that name the message's Message-ID.
    fn named_transactions(
        &self,
        key: &MessageKey,
        own: &[&Record],
        namesakes: &HashMap<String, usize>,
        case: &mut Case,
    ) {
        let Some(id) = key.message_id.as_deref().map(fold) else {
            return;
        };
        let named = self.transactions_named(&id);
        if named.is_empty() {
            return;
        }
        // A message to several domains, or submitted twice, has several spool files with one
        // Message-ID: then a reply may be another file's.
        let twins = namesakes.get(&id).is_some_and(|&n| n > 1) || self.tracked_as(&id) > own.len();
        let accepted = named
            .iter()
            .filter(|t| matches!(t.end, End::Accepted { .. }))
            .count();
        let untracked = accepted > self.transferred_as(&id);
        for transaction in named {
            let counts = match &transaction.end {
                End::Refused { .. } => false,
                End::Unanswered => true,
                // Only a transaction that is surely this message's proves that it was delivered.
                End::Accepted { .. } if !twins && !transaction.doubtful => {
                    case.serve(&transaction.recipients);
                    true
                }
                End::Accepted { .. } => untracked || transaction.doubtful,
            };
            if counts && case.evidence.len() < ENOUGH {
                case.evidence.push(transaction.evidence());
            }
        }
    }

    /// The transactions of which the SMTP log does not say whose they are.
    fn unnamed_transactions(&self, key: &MessageKey, case: &mut Case) {
        let earliest = self.since_ms.max(key.written_ms).saturating_sub(SLOP_MS);
        let own: Option<BTreeSet<String>> = key
            .recipients
            .as_ref()
            .map(|list| list.iter().map(|r| address(r)).collect());
        let unanswered = self.unnamed_unanswered().filter(|t| {
            let same_sender = key
                .sender
                .as_ref()
                .is_none_or(|own| address(own) == address(&t.sender));
            // One attempt may serve some of the recipients, never others than its own.
            let to_its_own = own
                .as_ref()
                .is_none_or(|own| t.recipients.iter().all(|r| own.contains(&address(r))));
            t.at_ms >= earliest && same_sender && to_its_own
        });
        case.evidence
            .extend(unanswered.take(ENOUGH).map(smtp_log::Transaction::evidence));
        if let Some(transaction) = self.unaccounted(own.as_ref(), earliest) {
            case.evidence.push(format!(
                "{}; the tracking log accounts for fewer transfers to the same recipient",
                transaction.evidence()
            ));
        }
    }

    /// What it means that nothing was found.
    fn silence(&self, key: &MessageKey) -> Sent {
        match self.gap_for(key) {
            Some(why) => Sent::CannotTell { why },
            None => Sent::NotSeen,
        }
    }
}

/// What has been found about one message so far.
#[derive(Default)]
struct Case {
    evidence: Vec<String>,
    served: BTreeSet<String>,
    all_served: bool,
}

impl Case {
    fn serve(&mut self, recipients: &[String]) {
        self.served
            .extend(recipients.iter().map(|recipient| address(recipient)));
    }
}

/// The recipients that a message has, where they are known from its file or from the record that it
/// was queued.
fn envelope(key: &MessageKey, own: &[&Record]) -> Option<BTreeSet<String>> {
    let queued = || {
        own.iter()
            .find(|r| r.event == tracking_log::QUEUED_OUTBOUND)
            .map(|r| &r.recipients)
    };
    let recipients = key.recipients.as_ref().or_else(queued)?;
    (!recipients.is_empty()).then(|| recipients.iter().map(|r| address(r)).collect())
}

#[cfg(test)]
mod tests;
