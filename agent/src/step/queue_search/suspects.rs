//! What is known against each file before the first start.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use mailmend_policy::condition::Queue;
use mailmend_proto::run::{Batch, Custody, Entry, Event, SearchMark, SearchSuspect};

use super::super::queue_quarantine::ended;
use super::{Hunt, StepEnd, Trouble};
use crate::condition::{is_spool_name, wall_before};
use crate::host::{EventRecord, HostErrorKind};
use crate::immunity;

/// Events whose text names the file that the service had trouble with.
const NAMING: [u32; 3] = [4115, 4117, 4182];

/// The service ended because of an exception.
const CRASHED: u32 = 4037;

/// How far back events are looked at.
const LOOK_BACK: Duration = Duration::from_secs(86_400);

/// So many suspects are one record.
const IN_A_RECORD: usize = 500;

/// Suspicion against what had begun to be sent at the last crash, what was there then, and what came later.
const IN_FLIGHT: u32 = 10;
const THERE: u32 = 2;
const LATER: u32 = 1;

/// The file that an event names, as it is written there.
pub(super) fn named_in(event: &EventRecord) -> Option<&str> {
    if !NAMING.contains(&event.id) {
        return None;
    }
    // Words of eight letters are names too; those with a digit, or all in capitals, are no words.
    event
        .description
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| is_spool_name(word))
        .find(|word| !word.bytes().any(|byte| byte.is_ascii_lowercase()))
}

/// What is known of the crashes before.
pub(super) struct Before {
    /// Names that events told, in capitals.
    pub(super) named: BTreeSet<String>,
    /// Entries that somebody has open although the service is stopped.
    pub(super) locked: BTreeSet<u32>,
    /// Entries that cannot be looked at.
    pub(super) missing: BTreeSet<u32>,
    /// The last crash that an event tells of, milliseconds since 1970 UTC.
    pub(super) last_crash_ms: Option<i64>,
    /// Whether the files are inbound.
    pub(super) inbound: bool,
    /// How many in doubt may be given again.
    pub(super) max_duplicates: u64,
}

/// The suspects of a batch: what is held, and what is in doubt where it is no more than one crash may send
/// twice by the policy. Among the latter is, with some luck, the very one that was in flight.
pub(super) fn suspects(batch: &Batch, before: &Before) -> Vec<SearchSuspect> {
    let in_doubt = batch
        .entries
        .iter()
        .filter(|entry| entry.custody == Custody::InDoubt)
        .count();
    let doubtful_too = in_doubt as u64 <= before.max_duplicates;
    batch
        .entries
        .iter()
        .filter(|entry| match entry.custody {
            Custody::Held => true,
            Custody::InDoubt => doubtful_too && !before.missing.contains(&entry.index),
            _ => false,
        })
        .map(|entry| {
            let mark = if before.named.contains(&entry.name.to_ascii_uppercase()) {
                SearchMark::Named
            } else if before.locked.contains(&entry.index) {
                SearchMark::Locked
            } else {
                SearchMark::Ordinary
            };
            let doubtful = entry.custody == Custody::InDoubt;
            let there = before
                .last_crash_ms
                .is_none_or(|at| entry.modified_ms <= at);
            let suspicion = match (doubtful, there) {
                (true, _) => IN_FLIGHT,
                (false, true) => THERE,
                (false, false) => LATER,
            };
            // No log tells which inbound message was handed over just before the crash.
            let in_flight = doubtful || (before.inbound && there && before.last_crash_ms.is_some());
            SearchSuspect {
                index: entry.index,
                mark,
                suspicion,
                in_flight,
            }
        })
        .collect()
}

impl Hunt<'_> {
    /// Writes the suspects down. The end where there is none.
    pub(super) fn begin(&self) -> Result<Result<(), StepEnd>, Trouble> {
        // Poison that was found elsewhere is not searched for again.
        let desk = self.queue.desk();
        if let Err(error) = immunity::hold_back(&desk, self.work.station, self.batch) {
            return Ok(Err(ended(error)?));
        }
        let batch = self.entries()?;
        let found = suspects(&batch, &self.before(&batch));
        let anything = |entry: &Entry| matches!(entry.custody, Custody::Held | Custody::InDoubt);
        if found.is_empty() && !batch.entries.iter().any(anything) {
            return Ok(Err(StepEnd::done(
                "everything that is held has the fingerprint of a poison; nothing was searched",
            )));
        }
        if found.is_empty() {
            let in_doubt = batch
                .entries
                .iter()
                .filter(|entry| entry.custody == Custody::InDoubt)
                .count();
            return Ok(Err(StepEnd::no_effect(format!(
                "A121-search-cut-short: all {in_doubt} messages are in doubt, and `max_duplicates` allows to send {} twice; raise it, or settle them first",
                self.limits.max_duplicates
            ))));
        }
        let began = found
            .chunks(IN_A_RECORD)
            .map(|suspects| Event::SearchBegan {
                step: self.work.step.index,
                batch: self.batch,
                suspects: suspects.to_vec(),
            })
            .collect();
        self.work.record(began)?;
        Ok(Ok(()))
    }

    fn before(&self, batch: &Batch) -> Before {
        let host = self.work.host();
        let since_ms = wall_before(LOOK_BACK, host).min(self.work.run_began_ms);
        // A log that cannot be read tells nothing against anybody.
        let events = host
            .events()
            .read(self.service.as_str(), since_ms)
            .unwrap_or_default();
        let named = events
            .iter()
            .filter_map(named_in)
            .map(str::to_ascii_uppercase)
            .collect();
        let last_crash_ms = events
            .iter()
            .rev()
            .find(|event| event.id == CRASHED)
            .map(|event| event.at_ms);
        let held = Path::new(&batch.held);
        let names: Vec<&str> = batch
            .entries
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        let probed = host.spool().probe_each(held, &names);
        let (mut locked, mut missing) = (BTreeSet::new(), BTreeSet::new());
        for (entry, result) in batch.entries.iter().zip(probed) {
            match result {
                Err(error) if error.kind == HostErrorKind::Locked => {
                    locked.insert(entry.index);
                }
                Err(_) => {
                    missing.insert(entry.index);
                }
                Ok(()) => {}
            }
        }
        Before {
            named,
            locked,
            missing,
            last_crash_ms,
            inbound: self.which == Queue::InboundAwaitingConversion,
            max_duplicates: self.limits.max_duplicates,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailmend_policy::digest::Digest;
    use mailmend_proto::run::Entry;

    fn entry(index: u32, custody: Custody, modified_ms: i64) -> Entry {
        Entry {
            index,
            name: format!("NAME000{index}"),
            file_id: index.into(),
            size: 1,
            modified_ms,
            hash: Digest::of(b"x"),
            mts_id: String::new(),
            message_id: String::new(),
            custody,
        }
    }

    fn batch(entries: Vec<Entry>) -> Batch {
        Batch {
            step: None,
            queue: "outbound-awaiting-delivery".into(),
            source: "/q".into(),
            held: "/h".into(),
            copied_from: None,
            files: entries.len() as u64,
            entries,
            taken: true,
            replays: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn what_was_in_flight_is_suspected_most_and_only_as_many_as_the_policy_allows() {
        let batch = batch(vec![
            entry(0, Custody::Held, 5),
            entry(1, Custody::InDoubt, 5),
            entry(2, Custody::Held, 50),
            entry(3, Custody::GoneWithEvidence, 5),
            entry(4, Custody::Live, 5),
            entry(5, Custody::InDoubt, 5),
        ]);
        let mut before = Before {
            named: BTreeSet::from(["NAME0002".to_owned()]),
            locked: BTreeSet::from([0]),
            missing: BTreeSet::from([5]),
            last_crash_ms: Some(10),
            inbound: false,
            max_duplicates: 2,
        };
        let found = suspects(&batch, &before);
        let told: Vec<_> = found
            .iter()
            .map(|one| (one.index, one.mark, one.suspicion, one.in_flight))
            .collect();
        assert_eq!(
            told,
            [
                (0, SearchMark::Locked, THERE, false),
                (1, SearchMark::Ordinary, IN_FLIGHT, true),
                (2, SearchMark::Named, LATER, false),
            ]
        );
        before.max_duplicates = 1;
        let found = suspects(&batch, &before);
        assert!(found.iter().all(|one| !one.in_flight), "{found:?}");
        before.inbound = true;
        let found = suspects(&batch, &before);
        let exposed: Vec<u32> = found
            .iter()
            .filter(|one| one.in_flight)
            .map(|one| one.index)
            .collect();
        assert_eq!(exposed, [0], "what was there when it crashed");
    }

    #[test]
    fn an_event_names_a_spool_file_and_not_a_word_of_eight_letters() {
        let event = |id, text: &str| EventRecord {
            at_ms: 0,
            source: "MSExchangeIMC".into(),
            id,
            description: text.into(),
        };
        let named = |id, text: &str| named_in(&event(id, text)).map(str::to_owned);
        assert_eq!(
            named(4182, "The spool file HBWK2Q2P will be retried at restart."),
            Some("HBWK2Q2P".to_owned())
        );
        assert_eq!(named(4117, "Messages of recovery failed"), None);
        assert_eq!(named(4037, "HBWK2Q2P"), None);
    }
}
