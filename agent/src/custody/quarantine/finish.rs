//! Finishing a batch that was intended: what is still to be moved is moved, and where everything is is written down.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mailmend_proto::run::{Batch, BatchId, Entry};

use super::super::survey::Suspect;
use super::super::{
    CustodyError, Desk, Evidence, HowStopped, Stopped, list_if_there, manifest, verify,
};
use super::decision::STARTED_MEANWHILE;
use super::written::write_down;
use super::{Decision, Seen, Verdict, decide, verdicts};
use crate::ablation::{Mechanism, off};
use crate::evidence::MessageKey;
use crate::faults::known;
use crate::host::{Effect, FileInfo, HostError, HostErrorKind};

/// Whether a batch is being finished after an interruption.
#[derive(Clone, Copy)]
pub(in crate::custody) enum Interrupted<'a> {
    /// It was intended just now: every file is in the queue, nothing is in the held folder.
    Not,
    /// The agent was interrupted; look first.
    Yes {
        /// Where the service may have run meanwhile: what it may have sent. A power cut can leave a
        /// file that was being moved under both names, and the service sends it from the one.
        ran: Option<&'a dyn Evidence>,
    },
}

pub(in crate::custody) struct Finished {
    pub(in crate::custody) held: u64,
    pub(in crate::custody) gone: u64,
    pub(in crate::custody) in_doubt: u64,
    pub(in crate::custody) left: Vec<Suspect>,
}

/// Finishes a batch that was intended: moves what is still to be moved, where the service is proven
/// stopped, and writes down where everything is. Safe to interrupt and to repeat.
pub(in crate::custody) fn finish(
    desk: &Desk<'_>,
    id: BatchId,
    stopped: Option<&Stopped>,
    interrupted: Interrupted<'_>,
) -> Result<Finished, CustodyError> {
    finish_moving(desk, id, stopped, interrupted).map_err(CustodyError::under_way)
}

fn finish_moving(
    desk: &Desk<'_>,
    id: BatchId,
    stopped: Option<&Stopped>,
    interrupted: Interrupted<'_>,
) -> Result<Finished, CustodyError> {
    let batch = desk.batch(id)?;
    let (source, held) = (PathBuf::from(&batch.source), PathBuf::from(&batch.held));
    if stopped.is_some()
        && let Err(error) = open_held_folder(desk, &batch, &held)
    {
        if error.effect == Effect::Unknown {
            return Err(desk.unsure(&error));
        }
        if matches!(interrupted, Interrupted::Not) {
            return Err(nothing_taken(desk, id, &batch, &error)?);
        }
        return Err(error.into());
    }
    let proof = stopped.map_or(Ok(()), |stopped| stopped.at_first_move(desk.host));
    let stopped = stopped.filter(|_| proof.is_ok());
    let mut decisions = match interrupted {
        Interrupted::Not if proof.is_err() => {
            vec![Decision::Leave(STARTED_MEANWHILE); batch.entries.len()]
        }
        Interrupted::Not => vec![Decision::Move; batch.entries.len()],
        Interrupted::Yes { .. } => {
            let (queue, kept) = (by_name(desk, &source)?, by_name(desk, &held)?);
            batch
                .entries
                .iter()
                .map(|entry| {
                    let queue = Seen::of(entry, queue.get(&entry.name));
                    let held = Seen::of(entry, kept.get(&entry.name));
                    decide(queue, held, stopped.is_some())
                })
                .collect()
        }
    };
    let mut refusals: BTreeMap<u32, String> = BTreeMap::new();
    let due: Vec<usize> = (0..decisions.len())
        .filter(|at| decisions[*at] == Decision::Move)
        .collect();
    let names: Vec<&str> = due
        .iter()
        .map(|at| batch.entries[*at].name.as_str())
        .collect();
    let moved = desk.host.spool().move_each(&source, &held, &names);
    for (at, result) in due.into_iter().zip(moved) {
        decisions[at] = match result {
            Ok(()) => Decision::Held,
            Err(error) => {
                let entry = &batch.entries[at];
                let (decision, why) = not_moved(desk, entry, &source, &held, error)?;
                refusals.extend(why.map(|why| (entry.index, why)));
                decision
            }
        };
    }
    // What was moved is looked at where it is now: a file that was swapped between the listing and
    // its move shows here.
    let kept = by_name(desk, &held)?;
    for (entry, decision) in batch.entries.iter().zip(&mut decisions) {
        if *decision == Decision::Held && Seen::of(entry, kept.get(&entry.name)) != Seen::Same {
            *decision = Decision::HeldChanged;
        }
    }
    if off(Mechanism::HeldSyncedFirst) {
        desk.sync(&source)?;
    }
    // The names in the held folder first: a power cut between the two syncs leaves both names, never
    // none. An interrupted move may have left them unsynced too.
    if !kept.is_empty() || stopped.is_some() {
        desk.sync(&held)?;
    }
    desk.sync(&source)?;
    let verdicts = match interrupted {
        Interrupted::Yes {
            ran: Some(evidence),
        } => doubts(desk, &batch, evidence),
        _ => vec![Verdict::Unsent; batch.entries.len()],
    };
    let finished = write_down(desk, id, &batch, &decisions, &refusals, verdicts)?;
    proof.map(|()| finished)
}

/// What the service may have sent of a batch, where it may have run while the batch was being taken.
pub(in crate::custody) fn doubts(
    desk: &Desk<'_>,
    batch: &Batch,
    evidence: &dyn Evidence,
) -> Vec<Verdict> {
    let held = Path::new(&batch.held);
    let keys: Vec<MessageKey> = batch
        .entries
        .iter()
        .map(|entry| verify::key(desk, batch, held, entry, &entry.name))
        .collect();
    verdicts(&keys, HowStopped::Uncleanly, evidence)
}

pub(in crate::custody) fn open_held_folder(
    desk: &Desk<'_>,
    batch: &Batch,
    held: &Path,
) -> Result<(), HostError> {
    let spool = desk.host.spool();
    spool.make_folder(held)?;
    let table = manifest::table(&batch.source, &batch.queue, &batch.entries);
    match spool.write_new(&held.join(manifest::FILE), table.as_bytes()) {
        // It is written whole or not at all, so what is there is what an interrupted try wrote.
        Err(error) if error.kind == HostErrorKind::Exists => Ok(()),
        result => result,
    }
}

/// Closes a batch of which nothing was moved, because its folder could not be made.
pub(in crate::custody) fn nothing_taken(
    desk: &Desk<'_>,
    id: BatchId,
    batch: &Batch,
    error: &HostError,
) -> Result<CustodyError, CustodyError> {
    let decisions = vec![Decision::Leave("the held folder could not be made"); batch.entries.len()];
    let verdicts = vec![Verdict::Unsent; batch.entries.len()];
    write_down(desk, id, batch, &decisions, &BTreeMap::new(), verdicts)?;
    Ok(CustodyError::refused(
        const { known("A083-no-room") },
        format!("nothing was taken: {error}"),
    ))
}

pub(in crate::custody) fn by_name(
    desk: &Desk<'_>,
    folder: &Path,
) -> Result<BTreeMap<String, FileInfo>, CustodyError> {
    let entries = list_if_there(desk.host, folder)?.unwrap_or_default();
    Ok(entries
        .into_iter()
        .map(|info| (info.name.clone(), info))
        .collect())
}

/// After a move that failed: looks at both names and decides again. Why it stayed, if it did.
pub(in crate::custody) fn not_moved(
    desk: &Desk<'_>,
    entry: &Entry,
    source: &Path,
    held: &Path,
    error: HostError,
) -> Result<(Decision, Option<String>), CustodyError> {
    let spool = desk.host.spool();
    let (from, to) = (source.join(&entry.name), held.join(&entry.name));
    let queue = Seen::of(entry, spool.look(&from)?.as_ref());
    let kept = Seen::of(entry, spool.look(&to)?.as_ref());
    Ok(match decide(queue, kept, true) {
        Decision::Move => (Decision::Leave("it could not be moved"), Some(error.reason)),
        decision => (decision, None),
    })
}
