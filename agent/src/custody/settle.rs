//! Learning what became of replayed mail, by evidence.

use std::collections::BTreeSet;
use std::path::Path;

use mailmend_proto::run::{Batch, BatchId, Custody, Event, Settlement};

use super::verify::key;
use super::{CustodyError, Desk, Evidence, copies, list_if_there};
use crate::ablation::{Mechanism, off};
use crate::evidence::{MessageKey, Sent};
use crate::host::HostErrorKind;

/// What settling came to, over the entries of a batch that were ever given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settling {
    /// Settled now or earlier: delivered, by evidence.
    pub delivered: u64,
    /// Still in the queue.
    pub waiting: u64,
    /// Out of the queue without evidence yet; becomes in doubt when the grace is over.
    pub unproven: u64,
    /// In doubt, now or earlier.
    pub in_doubt: u64,
}

impl Settling {
    /// Counts another batch too.
    pub const fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.waiting += other.waiting;
        self.unproven += other.unproven;
        self.in_doubt += other.in_doubt;
    }

    /// Whether there is nothing left to wait for.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.waiting == 0 && self.unproven == 0
    }
}

/// Settles what can be settled. Evidence of delivery makes an entry gone, also one that was in doubt.
/// What left the queue without evidence is in doubt once `grace_over`; logs may lag behind.
///
/// # Errors
/// Where the queue cannot be read, or the journal refuses.
pub fn settle(
    desk: &Desk<'_>,
    id: BatchId,
    evidence: &dyn Evidence,
    grace_over: bool,
) -> Result<Settling, CustodyError> {
    let batch = desk.batch(id)?;
    let given = given_back(&batch);
    let mut settling = Settling::default();
    let mut open = Vec::new();
    for (index, name, target) in &given {
        let Some(entry) = batch.entries.get(*index as usize) else {
            continue;
        };
        match entry.custody {
            Custody::Replaying | Custody::InDoubt => open.push((entry, name, target)),
            Custody::GoneWithEvidence => settling.delivered += 1,
            Custody::Live | Custody::Held | Custody::Poison => {}
        }
    }
    let mut queued = BTreeSet::new();
    for target in open
        .iter()
        .map(|(.., target)| *target)
        .collect::<BTreeSet<_>>()
    {
        let entries = list_if_there(desk.host, Path::new(target))?.unwrap_or_default();
        queued.extend(entries.into_iter().map(|info| info.file_id));
    }
    // What waits in the queue needs no evidence: delivered to one host and waiting for another, or
    // about to be removed. Reading the records is what costs.
    let (waiting, left): (Vec<_>, Vec<_>) = open
        .into_iter()
        .partition(|(entry, ..)| queued.contains(&entry.file_id));
    let held = Path::new(&batch.held);
    let keys: Vec<MessageKey> = left
        .iter()
        .map(|(entry, name, _)| key(desk, &batch, held, entry, name))
        .collect();
    let mut answers = evidence
        .of(&keys)
        .into_iter()
        .map(|sent| copies::read_as(&batch, sent));
    let mut settlements = Vec::new();
    for (entry, ..) in waiting {
        match entry.custody {
            Custody::InDoubt => settling.in_doubt += 1,
            _ => settling.waiting += 1,
        }
    }
    for (entry, ..) in left {
        let mut now = |custody, evidence: String| {
            settlements.push(Settlement {
                index: entry.index,
                custody,
                evidence,
            });
        };
        match (entry.custody, answers.next()) {
            (_, Some(Sent::Delivered { evidence })) => {
                settling.delivered += 1;
                now(Custody::GoneWithEvidence, evidence.join("; "));
            }
            (_, _) if off(Mechanism::EvidenceBeforeGone) => {
                settling.delivered += 1;
                now(Custody::GoneWithEvidence, "it left the queue".into());
            }
            (Custody::InDoubt, _) => settling.in_doubt += 1,
            (_, answer) if grace_over => {
                settling.in_doubt += 1;
                let why = match answer {
                    Some(Sent::Begun { evidence }) => {
                        format!("sending began: {}", evidence.join("; "))
                    }
                    Some(Sent::CannotTell { why }) => format!("the records cannot tell: {why}"),
                    _ => "no record shows its delivery".to_owned(),
                };
                now(Custody::InDoubt, format!("it left the queue; {why}"));
            }
            _ => settling.unproven += 1,
        }
    }
    if !settlements.is_empty() {
        desk.append(vec![Event::Settled {
            batch: id,
            entries: settlements,
        }])?;
    }
    Ok(settling)
}

/// Every entry that a finished replay placed: index, its last name in the queue, the folder.
fn given_back(batch: &Batch) -> Vec<(u32, String, String)> {
    let mut given = std::collections::BTreeMap::new();
    for replay in batch.replays.values().filter(|replay| replay.placed) {
        for index in replay
            .entries
            .iter()
            .flat_map(|&(first, last)| first..=last)
        {
            let Some(entry) = batch.entries.get(index as usize) else {
                continue;
            };
            let name = replay.renamed.get(&index).unwrap_or(&entry.name).clone();
            given.insert(index, (name, replay.target.clone()));
        }
    }
    given
        .into_iter()
        .map(|(index, (name, target))| (index, name, target))
        .collect()
}

/// Removes the held files of entries that were settled as delivered at or before `settled_before_ms`
/// (wall clock, milliseconds since 1970 UTC): now minus the retention. Never called by itself. Safe to
/// repeat. Returns how many names were removed.
///
/// # Errors
/// Where the journal or the held folder cannot be read, or a removal fails.
pub fn purge(desk: &Desk<'_>, id: BatchId, settled_before_ms: i64) -> Result<u64, CustodyError> {
    let batch = desk.batch(id)?;
    let mut due: BTreeSet<u32> = BTreeSet::new();
    for record in desk.journal.records(desk.run)? {
        let Event::Settled { batch, entries } = &record.event else {
            continue;
        };
        if *batch == id && record.at_ms <= settled_before_ms {
            let gone = |one: &&Settlement| one.custody == Custody::GoneWithEvidence;
            due.extend(entries.iter().filter(gone).map(|one| one.index));
        }
    }
    let held = Path::new(&batch.held);
    let mut removed = 0;
    for entry in due
        .iter()
        .filter_map(|index| batch.entries.get(*index as usize))
    {
        let path = held.join(&entry.name);
        let found = desk.host.spool().look(&path)?;
        // Delivered, and the very file that was taken: nothing else is ever removed.
        if entry.custody != Custody::GoneWithEvidence
            || found.is_none_or(|info| info.file_id != entry.file_id)
        {
            continue;
        }
        match desk.host.spool().remove(&path) {
            Ok(()) => removed += 1,
            Err(error) if error.kind == HostErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    if removed > 0 {
        desk.sync(held)?;
    }
    Ok(removed)
}
