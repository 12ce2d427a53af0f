//! The journal's tail, as reports: what the controller has not acknowledged, in order, a few
//! messages at a time. Results live in the journal; a report is only a copy, so nothing is lost when
//! a connection is.

use std::collections::VecDeque;

use mailmend_proto::convert::record_to_wire;
use mailmend_proto::wire;
use prost::Message;

use crate::journal::{Journal, JournalError};

/// The most bytes of records in one message; a single larger record goes alone.
const MOST_BYTES: usize = 1 << 20;
/// The most messages under way that nobody has acknowledged yet.
const WINDOW: usize = 4;

/// What has been sent on this connection and not been acknowledged.
#[derive(Debug)]
pub(crate) struct Reporter {
    journal: Journal,
    /// The last record that was sent.
    sent: u64,
    /// The last record of each message under way, oldest first.
    under_way: VecDeque<u64>,
}

/// The controller acknowledges what was never sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it acknowledges record {seq}, and only {sent} have been sent")]
pub(crate) struct Unsent {
    seq: u64,
    sent: u64,
}

impl Reporter {
    /// Begins after what the controller has.
    pub(crate) const fn new(journal: Journal, acknowledged: u64) -> Self {
        Self {
            journal,
            sent: acknowledged,
            under_way: VecDeque::new(),
        }
    }

    /// The next message; `None` where there is nothing new or enough is under way.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub(crate) fn next(&mut self) -> Result<Option<wire::Report>, JournalError> {
        self.next_up_to(self.journal.head())
    }

    /// As [`Self::next`], as if the journal ended at this record: a simulation carries a run on at once,
    /// and its records leave when their time has come.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub(crate) fn next_up_to(&mut self, head: u64) -> Result<Option<wire::Report>, JournalError> {
        if self.under_way.len() >= WINDOW || self.sent >= head {
            return Ok(None);
        }
        let mut bytes = 0;
        let records: Vec<wire::Record> = self
            .journal
            .after(self.sent, MOST_BYTES)?
            .iter()
            .map(record_to_wire)
            .enumerate()
            .take_while(|(_, record)| record.seq <= head)
            .take_while(|(at, record)| {
                // Key and length of each record in its message.
                bytes += record.encoded_len() + 8;
                *at == 0 || bytes <= MOST_BYTES
            })
            .map(|(_, record)| record)
            .collect();
        let Some(last) = records.last() else {
            return Ok(None);
        };
        self.sent = last.seq;
        self.under_way.push_back(last.seq);
        Ok(Some(wire::Report { records }))
    }

    /// Notes what the controller has stored. Repeated and old ones change nothing.
    pub(crate) fn acknowledged(&mut self, seq: u64) -> Result<(), Unsent> {
        if seq > self.sent {
            let sent = self.sent;
            return Err(Unsent { seq, sent });
        }
        while self.under_way.front().is_some_and(|last| *last <= seq) {
            self.under_way.pop_front();
        }
        Ok(())
    }

    /// The last record that was sent.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    /// The oldest message under way, by its last record.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.under_way.front().copied()
    }
}

#[cfg(test)]
mod tests {
    use mailmend_proto::run::{Event, RunId};
    use uuid::Uuid;

    use super::*;
    use crate::journal::MemoryJournal;

    fn journal(alarms: usize, bytes: usize) -> Journal {
        let journal = Journal::memory(&MemoryJournal::new(Uuid::from_u128(1))).unwrap();
        let run = RunId(Uuid::from_u128(2));
        let began = Event::DutyBegan {
            duty: "watchdog".into(),
            service: "S".parse().unwrap(),
            why: String::new(),
        };
        let alarm = Event::Alarm {
            code: "A000".into(),
            text: "x".repeat(bytes),
        };
        let events = std::iter::once(began).chain(std::iter::repeat_n(alarm, alarms));
        journal.append(run, 0, events.collect()).unwrap();
        journal
    }

    fn seqs(report: &wire::Report) -> Vec<u64> {
        report.records.iter().map(|record| record.seq).collect()
    }

    #[test]
    fn reports_go_on_after_what_is_acknowledged_in_messages_of_a_mebibyte() {
        let mut reporter = Reporter::new(journal(20, 200_000), 3);
        let mut all = Vec::new();
        while let Some(report) = reporter.next().unwrap() {
            assert!(
                report.encoded_len() <= MOST_BYTES,
                "{}",
                report.encoded_len()
            );
            all.extend(seqs(&report));
            reporter.acknowledged(*all.last().unwrap()).unwrap();
        }
        assert_eq!(all, (4..=21).collect::<Vec<u64>>());
    }

    #[test]
    fn a_record_larger_than_a_message_goes_alone() {
        let mut reporter = Reporter::new(journal(2, 3 << 20), 0);
        assert_eq!(seqs(&reporter.next().unwrap().unwrap()), [1]);
        assert_eq!(seqs(&reporter.next().unwrap().unwrap()), [2]);
        assert_eq!(seqs(&reporter.next().unwrap().unwrap()), [3]);
    }

    #[test]
    fn no_more_than_the_window_is_under_way_until_it_is_acknowledged() {
        let mut reporter = Reporter::new(journal(10, 1 << 20), 0);
        let mut sent = 0;
        while reporter.next().unwrap().is_some() {
            sent += 1;
        }
        assert_eq!(sent, WINDOW);
        reporter.acknowledged(1).unwrap();
        assert!(reporter.next().unwrap().is_some());
        assert!(reporter.next().unwrap().is_none());
        // Repeated, and older: no second effect.
        reporter.acknowledged(1).unwrap();
        reporter.acknowledged(0).unwrap();
        assert!(reporter.next().unwrap().is_none());
        assert!(reporter.acknowledged(99).is_err());
    }
}
