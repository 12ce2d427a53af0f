//! Taking back what a replay placed.
//!
//! A replayed file has two names: one in the queue, one in the held folder, which is its escrow. Where
//! such a file is found in the queue again (a second quarantine, a service that died while it was sending)
//! it is the same message, not a new one: its own entry changes its state, and only the name in the queue
//! is removed, after the other was seen to be the same file. Nothing is removed that has no second name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mailmend_proto::run::{BatchId, Custody, Event, RunId, Settlement};

use super::quarantine::{Taken, Verdict, verdicts};
use super::survey::Surveyed;
use super::verify::key;
use super::{CustodyError, Desk, Evidence, Stopped};
use crate::ablation::{Mechanism, off};
use crate::host::HostErrorKind;

/// An entry whose file has, or had, a second name in a queue folder.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    run: RunId,
    batch: BatchId,
    index: u32,
    custody: Custody,
    /// The name that stays.
    held: PathBuf,
}

/// The files that replays of any run placed in this folder, by their identity.
pub(super) fn placed_in(
    desk: &Desk<'_>,
    folder: &Path,
) -> Result<BTreeMap<u64, Placed>, CustodyError> {
    let mut placed = BTreeMap::new();
    for run in desk.journal.runs() {
        let Some(state) = desk.journal.state(run)? else {
            continue;
        };
        for (id, batch) in &state.batches {
            let here = |target: &str| Path::new(target) == folder;
            let ranges = batch
                .replays
                .values()
                .filter(|replay| here(&replay.target))
                .flat_map(|replay| &replay.entries);
            for index in ranges.flat_map(|&(first, last)| first..=last) {
                let Some(entry) = batch.entries.get(index as usize) else {
                    continue;
                };
                let found = Placed {
                    run,
                    batch: *id,
                    index,
                    custody: entry.custody,
                    held: Path::new(&batch.held).join(&entry.name),
                };
                placed.insert(entry.file_id, found);
            }
        }
    }
    Ok(placed)
}

/// Takes out of the queue what a replay placed there, and returns the other files.
///
/// Two records for what goes back to `held`: in doubt before the name is removed, held after. A crash
/// between them leaves a message in doubt, never one that counts as held and is in the queue.
pub(super) fn from_queue(
    desk: &Desk<'_>,
    source: &Path,
    files: Vec<(Surveyed, Verdict)>,
    taken: &mut Taken,
    stopped: &Stopped,
) -> Result<Vec<(Surveyed, Verdict)>, CustodyError> {
    let placed = placed_in(desk, source)?;
    if placed.is_empty() {
        return Ok(files);
    }
    let mut others = Vec::with_capacity(files.len());
    let mut ours = Vec::new();
    for (file, verdict) in files {
        match placed.get(&file.info.file_id) {
            Some(found) if is_escrow(desk, found, file.info.file_id)? => {
                ours.push((file, verdict, found.clone()));
            }
            _ => others.push((file, verdict)),
        }
    }
    if ours.is_empty() {
        return Ok(others);
    }
    let ours = ours
        .into_iter()
        .map(|(file, verdict, found): (Surveyed, _, _)| (file.info.name, verdict, found))
        .collect();
    withdraw(desk, source, ours, taken, stopped)?;
    Ok(others)
}

/// Takes out of a queue folder what replays of this batch placed there, and nothing else: for a search, between
/// two starts. Only with the service proven stopped. What may have been sent is in doubt, what was
/// delivered is gone; everything else is held again.
///
/// # Errors
/// As [`super::quarantine::Prepared::take`].
pub fn take_back(
    desk: &Desk<'_>,
    id: BatchId,
    source: &Path,
    stopped: &Stopped,
    evidence: &dyn Evidence,
) -> Result<Taken, CustodyError> {
    stopped.still(desk.host)?;
    let mut taken = Taken::default();
    let mut placed = placed_in(desk, source)?;
    placed.retain(|_, found| found.batch == id);
    if placed.is_empty() {
        return Ok(taken);
    }
    let batch = desk.batch(id)?;
    let held = Path::new(&batch.held);
    let (mut names, mut keys) = (Vec::new(), Vec::new());
    for info in super::list_if_there(desk.host, source)?.unwrap_or_default() {
        let Some(found) = placed.remove(&info.file_id) else {
            continue;
        };
        let Some(entry) = batch.entries.get(found.index as usize) else {
            continue;
        };
        if is_escrow(desk, &found, info.file_id)? {
            keys.push(key(desk, &batch, held, entry, &info.name));
            names.push((info.name, found));
        }
    }
    let verdicts = verdicts(&keys, stopped.how(), evidence);
    let ours = names
        .into_iter()
        .zip(verdicts)
        .map(|((name, found), verdict)| (name, verdict, found))
        .collect();
    withdraw(desk, source, ours, &mut taken, stopped).map_err(CustodyError::under_way)?;
    Ok(taken)
}

/// Settles these by their verdicts and removes their names from the queue.
fn withdraw(
    desk: &Desk<'_>,
    source: &Path,
    ours: Vec<(String, Verdict, Placed)>,
    taken: &mut Taken,
    stopped: &Stopped,
) -> Result<(), CustodyError> {
    if ours.is_empty() {
        return Ok(());
    }
    // Before the first record here, not after it: that would call mail doubtful which stays where it is.
    stopped.at_first_move(desk.host)?;
    let mut before = Groups::new();
    let mut after = Groups::new();
    for (_, verdict, found) in &ours {
        let settle = |groups: &mut Groups, custody, evidence: &str| {
            groups
                .entry((found.run, found.batch))
                .or_default()
                .push(Settlement {
                    index: found.index,
                    custody,
                    evidence: evidence.to_owned(),
                });
        };
        match (found.custody, verdict) {
            // Known to be gone, poison or in doubt already: that stands, only its name goes.
            (Custody::GoneWithEvidence, _) => {}
            (_, Verdict::Gone(place)) => {
                taken.gone += 1;
                settle(&mut before, Custody::GoneWithEvidence, place);
            }
            (Custody::Poison, _) => {}
            (Custody::InDoubt, _) => taken.in_doubt += 1,
            (_, Verdict::InDoubt(why)) => {
                taken.in_doubt += 1;
                settle(&mut before, Custody::InDoubt, why);
            }
            (_, Verdict::Unsent | Verdict::Known { .. }) => {
                taken.withdrawn += 1;
                let why = "it is being taken back out of the queue";
                settle(&mut before, Custody::InDoubt, why);
                let why = "taken back out of the queue; the logs do not show it sent";
                settle(&mut after, Custody::Held, why);
            }
        }
    }
    append(desk, before)?;
    for (name, ..) in &ours {
        remove_name(desk, &source.join(name))?;
    }
    desk.sync(source)?;
    append(desk, after)
}

/// Removes from the queues every name of a file whose entry is no longer being replayed: an interrupted
/// withdrawal, of this run or another, left it. Only with the service proven stopped. Returns how many.
pub(super) fn finish(desk: &Desk<'_>) -> Result<u64, CustodyError> {
    let mut removed = 0;
    for folder in targets(desk)? {
        let placed = placed_in(desk, &folder)?;
        let before = removed;
        for info in super::list_if_there(desk.host, &folder)?.unwrap_or_default() {
            if let Some(found) = placed.get(&info.file_id)
                && !matches!(found.custody, Custody::Replaying | Custody::Live)
                && is_escrow(desk, found, info.file_id)?
            {
                remove_name(desk, &folder.join(&info.name))?;
                removed += 1;
            }
        }
        if removed > before {
            desk.sync(&folder)?;
        }
    }
    Ok(removed)
}

/// Every folder that a replay of any run placed files in.
fn targets(desk: &Desk<'_>) -> Result<BTreeSet<PathBuf>, CustodyError> {
    let mut targets = BTreeSet::new();
    for run in desk.journal.runs() {
        if let Some(state) = desk.journal.state(run)? {
            let replays = state
                .batches
                .values()
                .flat_map(|batch| batch.replays.values());
            targets.extend(replays.map(|replay| PathBuf::from(&replay.target)));
        }
    }
    Ok(targets)
}

type Groups = BTreeMap<(RunId, BatchId), Vec<Settlement>>;

fn append(desk: &Desk<'_>, groups: Groups) -> Result<(), CustodyError> {
    for ((run, batch), entries) in groups {
        desk.append_to(run, vec![Event::Settled { batch, entries }])?;
    }
    Ok(())
}

/// Whether the held name is there and is this very file. Its content cannot differ then.
fn is_escrow(desk: &Desk<'_>, found: &Placed, file_id: u64) -> Result<bool, CustodyError> {
    let held = desk.host.spool().look(&found.held)?;
    if off(Mechanism::SecondNameBeforeWithdrawal) {
        return Ok(true);
    }
    Ok(held.is_some_and(|info| info.file_id == file_id))
}

fn remove_name(desk: &Desk<'_>, path: &Path) -> Result<(), CustodyError> {
    match desk.host.spool().remove(path) {
        Err(error) if error.kind != HostErrorKind::NotFound => Err(desk.unsure(&error)),
        _ => Ok(()),
    }
}
