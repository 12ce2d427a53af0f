//! Held messages that an event of the service names: not given back, but set down as poison.
//!
//! A message of which the service said that it cannot process it must not come back with the others
//! (Q197792): it would block or end the service again.

use mailmend_proto::run::{Batch, BatchId, Custody, Entry, Event, PoisonProof, Settlement};

use super::{CustodyError, Desk, immune};
use crate::evidence::event_log;
use crate::host::EventRecord;

/// The events that name a spool file: a loop was found (4115), it failed and goes to the archive (4117), it
/// is retried at the next start (4182).
const NAMING: [u32; 3] = [4115, 4117, 4182];

/// Settles as poison each held entry of a batch that an event since `since_ms` names. Returns how many it
/// settled now. What is no longer held is left as it is: it was given back already, and evidence tells.
///
/// # Errors
/// Where the event log cannot be read: then nothing may be given back either. Where the journal refuses.
pub fn set_named_aside(desk: &Desk<'_>, id: BatchId, since_ms: i64) -> Result<u64, CustodyError> {
    let batch = desk.batch(id)?;
    let events = desk.host.events().read(event_log::IMS, since_ms)?;
    let settled = settlements(&batch, &events);
    let count = settled.len() as u64;
    if count > 0 {
        let found: Vec<_> = settled
            .iter()
            .map(|one| (one.index, PoisonProof::Named, one.evidence.clone()))
            .collect();
        let proven = immune::proven(desk, id, &batch, found);
        let mut events = vec![Event::Settled {
            batch: id,
            entries: settled,
        }];
        events.extend(proven);
        desk.append(events)?;
    }
    Ok(count)
}

/// The held entries that an event names, each with the event. An event that is older than the file names
/// another one of the same name.
fn settlements(batch: &Batch, events: &[EventRecord]) -> Vec<Settlement> {
    let naming: Vec<&EventRecord> = events
        .iter()
        .filter(|event| NAMING.contains(&event.id))
        .collect();
    let held = |entry: &&Entry| entry.custody == Custody::Held;
    batch
        .entries
        .iter()
        .filter(held)
        .filter_map(|entry| {
            let event = naming
                .iter()
                .find(|event| event.at_ms >= entry.modified_ms && names(event, batch, entry))?;
            Some(Settlement {
                index: entry.index,
                custody: Custody::Poison,
                evidence: format!(
                    "event {} of {} at {} names it",
                    event.id,
                    event_log::IMS,
                    event_log::time(event.at_ms)
                ),
            })
        })
        .collect()
}

/// Whether an event's text has the name of an entry as a word of its own: the name it came with, or one
/// that it had in a queue.
fn names(event: &EventRecord, batch: &Batch, entry: &Entry) -> bool {
    let renamed = batch
        .replays
        .values()
        .filter_map(|replay| replay.renamed.get(&entry.index));
    let mut known = renamed.chain([&entry.name]);
    known.any(|name| {
        event
            .description
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| word.eq_ignore_ascii_case(name))
    })
}
