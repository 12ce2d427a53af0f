//! A person's word on what became of messages.
//!
//! The server's own logs count for more: what they show delivered is never turned back, and nothing is
//! called held whose bytes are not there whole, or whose file the service may still send.

use std::collections::BTreeSet;
use std::path::Path;

use mailmend_proto::run::{Batch, BatchId, Custody, Entry, Event, Settlement};
use uuid::Uuid;

use super::verify::{key, verify};
use super::{CustodyError, Desk, Evidence, list_if_there};
use crate::evidence::{MessageKey, Sent};
use crate::faults::known as code;

/// Settlements of one record.
const PIECE: usize = 500;

/// What a person said of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The order that brought it.
    pub order: Uuid,
    /// Who.
    pub by: String,
    /// What the person knows, and from where.
    pub why: String,
    /// The batch.
    pub batch: BatchId,
    /// Which entries, as inclusive ranges.
    pub entries: Vec<(u32, u32)>,
    /// What became of them: gone, held or poison.
    pub custody: Custody,
}

/// What is known of an entry apart from the person's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its state in the journal.
    pub custody: Custody,
    /// Its file is in a queue of the service.
    pub in_queue: bool,
    /// Its bytes are in the held folder, whole.
    pub whole: bool,
    /// The logs show its delivery.
    pub delivered: bool,
}

/// Whether an entry may be settled so: `false` where nothing is to be written because it is so already.
///
/// # Errors
/// Why not.
pub const fn judge(known: Known, to: Custody) -> Result<bool, &'static str> {
    match (known.custody, to) {
        (_, Custody::Live | Custody::Replaying | Custody::InDoubt) => {
            Err("a person can settle a message as delivered, not delivered or poison only")
        }
        (Custody::GoneWithEvidence, Custody::GoneWithEvidence) => Ok(false),
        (Custody::GoneWithEvidence, _) => {
            Err("it is gone with evidence, which is never turned back")
        }
        (Custody::Live, _) => Err("it was left in the queue and is not in custody"),
        (Custody::Held | Custody::Replaying | Custody::Poison | Custody::InDoubt, _)
            if known.in_queue =>
        {
            Err("its file is in a queue, and the service may still send it; wait until it has left")
        }
        (_, Custody::GoneWithEvidence) => Ok(true),
        (_, Custody::Held | Custody::Poison) if known.delivered => {
            Err("the server's own logs show that it was delivered")
        }
        (_, Custody::Held | Custody::Poison) if !known.whole => {
            Err("its bytes are not whole in the held folder")
        }
        (_, Custody::Held | Custody::Poison) => Ok(true),
    }
}

/// Settles entries by a person's word, all of them or none. Durable on return; how many were settled.
/// Nothing of the run may move meanwhile.
///
/// # Errors
/// `A074-settle-refused` with nothing changed; what the machine or the journal says.
pub fn settle_by_word(
    desk: &Desk<'_>,
    word: &Word,
    evidence: &dyn Evidence,
) -> Result<u64, CustodyError> {
    let batch = desk.batch(word.batch)?;
    let entries = entries(&batch, word)?;
    let known = look(desk, &batch, &entries, word.custody, evidence)?;
    let (mut settlements, mut refused) = (Vec::new(), Vec::new());
    for (entry, known) in entries.into_iter().zip(known) {
        match judge(known, word.custody) {
            Ok(false) => {}
            Ok(true) => settlements.push(Settlement {
                index: entry.index,
                custody: word.custody,
                evidence: format!("{} says: {} (order {})", word.by, word.why, word.order),
            }),
            Err(why) => refused.push(format!("{} (`{}`): {why}", entry.index, entry.name)),
        }
    }
    if !refused.is_empty() {
        let more = refused.len().saturating_sub(5);
        refused.truncate(5);
        let more = if more > 0 {
            format!("; and {more} more")
        } else {
            String::new()
        };
        return Err(CustodyError::refused(
            const { code("A074-settle-refused") },
            format!("{}{more}; nothing was changed", refused.join("; ")),
        ));
    }
    let settled = settlements.len() as u64;
    let mut events = vec![Event::SettleOrdered {
        order: word.order,
        by: word.by.clone(),
        why: word.why.clone(),
    }];
    events.extend(settlements.chunks(PIECE).map(|piece| Event::Settled {
        batch: word.batch,
        entries: piece.to_vec(),
    }));
    desk.append(events)?;
    Ok(settled)
}

/// The entries that the ranges name, each once, in order.
fn entries<'b>(batch: &'b Batch, word: &Word) -> Result<Vec<&'b Entry>, CustodyError> {
    let mut indices = BTreeSet::new();
    for (first, last) in &word.entries {
        if (*last as usize) >= batch.entries.len() || first > last {
            return Err(CustodyError::refused(
                const { code("A074-settle-refused") },
                format!(
                    "batch `{}` has the messages 0 to {}, not {first} to {last}",
                    word.batch,
                    batch.entries.len().saturating_sub(1)
                ),
            ));
        }
        indices.extend(*first..=*last);
    }
    if indices.is_empty() {
        return Err(CustodyError::refused(
            const { code("A074-settle-refused") },
            "no message is named",
        ));
    }
    Ok(indices
        .into_iter()
        .filter_map(|index| batch.entries.get(index as usize))
        .collect())
}

fn look(
    desk: &Desk<'_>,
    batch: &Batch,
    entries: &[&Entry],
    to: Custody,
    evidence: &dyn Evidence,
) -> Result<Vec<Known>, CustodyError> {
    let targets = batch.replays.values().map(|replay| replay.target.as_str());
    let folders: BTreeSet<&str> = targets.chain([batch.source.as_str()]).collect();
    let mut queued = BTreeSet::new();
    for folder in folders {
        let there = list_if_there(desk.host, Path::new(folder))?.unwrap_or_default();
        queued.extend(there.into_iter().map(|info| info.file_id));
    }
    // That a message was delivered needs neither its bytes nor the logs.
    let proven = to != Custody::GoneWithEvidence;
    let indices = || entries.iter().map(|entry| entry.index).collect();
    let whole: BTreeSet<u32> = if proven {
        verify(desk, batch, indices()).whole.into_iter().collect()
    } else {
        BTreeSet::new()
    };
    let held = Path::new(&batch.held);
    let answers = if proven {
        let keys: Vec<MessageKey> = entries
            .iter()
            .map(|entry| key(desk, batch, held, entry, name_of(batch, entry)))
            .collect();
        evidence.of(&keys)
    } else {
        Vec::new()
    };
    let mut answers = answers.into_iter();
    Ok(entries
        .iter()
        .map(|entry| Known {
            custody: entry.custody,
            in_queue: queued.contains(&entry.file_id),
            whole: whole.contains(&entry.index),
            delivered: matches!(answers.next(), Some(Sent::Delivered { .. })),
        })
        .collect())
}

/// The name that an entry had in a queue last.
pub(crate) fn name_of<'b>(batch: &'b Batch, entry: &'b Entry) -> &'b str {
    batch
        .replays
        .values()
        .filter_map(|replay| replay.renamed.get(&entry.index))
        .next_back()
        .map_or(entry.name.as_str(), String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Known = Known {
        custody: Custody::InDoubt,
        in_queue: false,
        whole: true,
        delivered: false,
    };

    #[test]
    fn what_the_logs_show_delivered_is_never_turned_back() {
        for to in [Custody::Held, Custody::Poison] {
            let gone = Known {
                custody: Custody::GoneWithEvidence,
                ..WHOLE
            };
            assert!(judge(gone, to).is_err());
            for custody in [Custody::InDoubt, Custody::Replaying, Custody::Held] {
                let shown = Known {
                    custody,
                    delivered: true,
                    ..WHOLE
                };
                assert!(judge(shown, to).is_err());
            }
        }
    }

    #[test]
    fn nothing_is_settled_that_the_service_may_still_send() {
        for (_, custody) in Custody::ALL {
            let queued = Known {
                custody,
                in_queue: true,
                ..WHOLE
            };
            for to in [Custody::Held, Custody::Poison, Custody::GoneWithEvidence] {
                assert_ne!(judge(queued, to), Ok(true), "{custody:?} to {to:?}");
            }
        }
    }

    #[test]
    fn held_and_poison_need_the_bytes_and_delivered_does_not() {
        let missing = Known {
            whole: false,
            ..WHOLE
        };
        assert!(judge(missing, Custody::Held).is_err());
        assert!(judge(missing, Custody::Poison).is_err());
        assert_eq!(judge(missing, Custody::GoneWithEvidence), Ok(true));
        assert_eq!(judge(WHOLE, Custody::Held), Ok(true));
        assert!(judge(WHOLE, Custody::Replaying).is_err());
        let gone = Known {
            custody: Custody::GoneWithEvidence,
            ..missing
        };
        assert_eq!(judge(gone, Custody::GoneWithEvidence), Ok(false));
    }
}
