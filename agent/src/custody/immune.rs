//! Custody because of a fingerprint: messages that are known to be poison are set aside on sight.
//!
//! With the service proven stopped that is a quarantine of these files alone. While it runs, only a file moves that was
//! opened by nobody else at that moment, and that is still the one that was read. Either way the intention is in the
//! journal first, with the state and the fingerprint: whatever is interrupted is finished or left by the recovery of any
//! batch. What the logs show begun, or cannot tell of, is in doubt and not poison: a withdrawal does not give it back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mailmend_proto::run::{
    Batch, BatchId, Custody, Entry, Event, PoisonProof, ProvenPoison, Settlement,
};
use uuid::Uuid;

use super::quarantine::{
    Decision, Finished, Judged, Seen, Take, Taken, Verdict, by_name, decide, doubts, intend,
    not_moved, nothing_taken, open_held_folder, ready, take_judged, verdicts, write_down,
};
use super::survey::{Surveyed, is_spool_name};
use super::verify;
use super::withdraw::placed_in;
use super::{CustodyError, Desk, Evidence, HowStopped, Stopped, direction};
use crate::ablation::{Mechanism, off};
use crate::evidence::MessageKey;
use crate::host::{Effect, FileInfo, FileKind, HostErrorKind};
use crate::immunity::{Fingerprint, Known, Likeness, print};

/// So many entries are one record.
const IN_A_RECORD: usize = 500;

/// Why a file that the service was faster with is not in custody.
const LEFT: &str = "it left the queue before it was taken";

/// A file in a queue that has a fingerprint.
#[derive(Debug, Clone)]
pub struct Match {
    pub(crate) file: Surveyed,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) likeness: Likeness,
}

/// Files that were looked at and have no fingerprint of a generation: they need not be read again.
#[derive(Debug, Default)]
pub struct Innocent {
    generation: u64,
    files: BTreeMap<PathBuf, BTreeMap<u64, FileInfo>>,
}

/// Looks through a queue folder, top level and spool names only, for files that have a fingerprint. What a replay
/// placed there is not looked at: a search, a policy or a person wants it there. Changes nothing.
///
/// # Errors
/// Where the folder or the journal cannot be read.
pub fn look(
    desk: &Desk<'_>,
    folder: &Path,
    known: &Known,
    innocent: &mut Innocent,
) -> Result<Vec<Match>, CustodyError> {
    if innocent.generation != known.generation {
        *innocent = Innocent {
            generation: known.generation,
            ..Innocent::default()
        };
    }
    let before = innocent.files.remove(folder).unwrap_or_default();
    let mut now = BTreeMap::new();
    let mut found = Vec::new();
    for info in super::list_if_there(desk.host, folder)?.unwrap_or_default() {
        if info.kind != FileKind::File || !is_spool_name(&info.name) {
            continue;
        }
        if before.get(&info.file_id) == Some(&info) {
            now.insert(info.file_id, info);
            continue;
        }
        // Gone or locked by now: it is looked at again if it is there the next time.
        let Ok(mut file) = desk.host.spool().open(&folder.join(&info.name)) else {
            continue;
        };
        let worth = |size, body| known.may_be(size, body);
        let Ok(read) = print(file.as_mut(), info.size, worth) else {
            continue;
        };
        let matched = read.and_then(|(print, header)| {
            let (fingerprint, likeness) = known.find(&print)?;
            Some(Match {
                file: Surveyed {
                    info: info.clone(),
                    hash: print.hash,
                    header,
                },
                fingerprint: fingerprint.clone(),
                likeness,
            })
        });
        match matched {
            Some(one) => found.push(one),
            None => drop(now.insert(info.file_id, info)),
        }
    }
    innocent.files.insert(folder.to_owned(), now);
    if !found.is_empty() {
        let placed = placed_in(desk, folder)?;
        found.retain(|one| !placed.contains_key(&one.file.info.file_id));
    }
    Ok(found)
}

/// What the logs say of files that have a fingerprint, as verdicts. What was delivered is left where it is while the
/// service runs: it is about to be removed.
fn judged(
    take: &Take,
    found: Vec<Match>,
    how: HowStopped,
    evidence: &dyn Evidence,
    runs: bool,
) -> Judged {
    let way = direction(take.queue.name());
    let keys: Vec<MessageKey> = found.iter().map(|one| one.file.key(way)).collect();
    let verdicts = verdicts(&keys, how, evidence);
    let files = found
        .into_iter()
        .zip(verdicts)
        .filter_map(|(one, verdict)| {
            let (custody, evidence) = match verdict {
                Verdict::Gone(_) if runs => return None,
                Verdict::Gone(place) => return Some((one.file, Verdict::Gone(place))),
                // In doubt or not, it leaves its queue because of the fingerprint: it counts, and is found by it.
                Verdict::InDoubt(why) => (
                    Custody::InDoubt,
                    format!("{why}; {}", one.fingerprint.evidence(one.likeness)),
                ),
                Verdict::Unsent | Verdict::Known { .. } => {
                    (Custody::Poison, one.fingerprint.evidence(one.likeness))
                }
            };
            let verdict = Verdict::Known {
                fingerprint: one.fingerprint.id,
                custody,
                evidence,
            };
            Some((one.file, verdict))
        })
        .collect();
    Judged {
        files,
        suspects: Vec::new(),
    }
}

/// Takes files that have a fingerprint out of their queue, the service being proven stopped.
///
/// # Errors
/// As [`super::quarantine::Prepared::take`].
pub fn take_stopped(
    desk: &Desk<'_>,
    take: &Take,
    found: Vec<Match>,
    stopped: &Stopped,
    evidence: &dyn Evidence,
) -> Result<Taken, CustodyError> {
    stopped.still(desk.host)?;
    let take = &Take {
        batch: desk.unused(take.batch)?,
        ..take.clone()
    };
    let judged = judged(take, found, stopped.how(), evidence, false);
    checked(desk, take, &judged)?;
    take_judged(desk, take, judged, stopped)
}

fn checked(desk: &Desk<'_>, take: &Take, judged: &Judged) -> Result<(), CustodyError> {
    let files = judged.files.len() as u64;
    let bytes = judged.files.iter().map(|(file, _)| file.info.size).sum();
    ready(desk, take, files, bytes)
}

/// Takes files that have a fingerprint out of their queue, whether or not the service runs: each only where nobody
/// else has it open. What somebody has open, or what changed or went since it was read, is left.
///
/// # Errors
/// As [`super::quarantine::Prepared::take`].
pub fn take_unused(
    desk: &Desk<'_>,
    take: &Take,
    found: Vec<Match>,
    evidence: &dyn Evidence,
) -> Result<Taken, CustodyError> {
    let take = &Take {
        batch: desk.unused(take.batch)?,
        ..take.clone()
    };
    let mut judged = judged(take, found, HowStopped::Uncleanly, evidence, true);
    // Looked at once before anything is written down: most that cannot be taken now can be told already.
    let mut taken = Taken::default();
    judged.files.retain(|(file, _)| {
        let free = desk
            .host
            .spool()
            .probe_exclusive(&take.source.join(&file.info.name));
        if let Err(error) = &free
            && !off(Mechanism::ExclusiveBeforeMoved)
        {
            taken.left.push(super::survey::Suspect {
                name: file.info.name.clone(),
                why: error.reason.clone(),
            });
            return false;
        }
        true
    });
    if judged.files.is_empty() {
        return Ok(taken);
    }
    checked(desk, take, &judged)?;
    desk.append(intend(take, judged.files)?)?;
    let finished = move_unused(desk, take.batch, evidence).map_err(CustodyError::under_way)?;
    taken.batch = Some(take.batch);
    taken.held = finished.held;
    taken.gone = finished.gone;
    taken.in_doubt = finished.in_doubt;
    taken.left.extend(finished.left);
    Ok(taken)
}

fn move_unused(
    desk: &Desk<'_>,
    id: BatchId,
    evidence: &dyn Evidence,
) -> Result<Finished, CustodyError> {
    let batch = desk.batch(id)?;
    let (source, held) = (PathBuf::from(&batch.source), PathBuf::from(&batch.held));
    if let Err(error) = open_held_folder(desk, &batch, &held) {
        if error.effect == Effect::Unknown {
            return Err(desk.unsure(&error));
        }
        return Err(nothing_taken(desk, id, &batch, &error)?);
    }
    let mut decisions = Vec::with_capacity(batch.entries.len());
    let mut refusals = BTreeMap::new();
    for entry in &batch.entries {
        let (decision, why) = move_one(desk, entry, &source, &held)?;
        refusals.extend(why.map(|why| (entry.index, why)));
        decisions.push(decision);
    }
    // What was swapped between the look and its move shows here.
    let kept = by_name(desk, &held)?;
    for (entry, decision) in batch.entries.iter().zip(&mut decisions) {
        if *decision == Decision::Held && Seen::of(entry, kept.get(&entry.name)) != Seen::Same {
            *decision = Decision::HeldChanged;
        }
    }
    desk.sync(&held)?;
    desk.sync(&source)?;
    // The service runs: what it may have read before the file was moved, its logs tell now.
    let verdicts = doubts(desk, &batch, evidence);
    write_down(desk, id, &batch, &decisions, &refusals, verdicts)
}

fn move_one(
    desk: &Desk<'_>,
    entry: &Entry,
    source: &Path,
    held: &Path,
) -> Result<(Decision, Option<String>), CustodyError> {
    let spool = desk.host.spool();
    let (from, to) = (source.join(&entry.name), held.join(&entry.name));
    let seen = Seen::of(entry, spool.look(&from)?.as_ref());
    if seen != Seen::Same {
        let kept = Seen::of(entry, spool.look(&to)?.as_ref());
        // It was not moved by us, so the service has taken it: it is not in custody.
        if (seen, kept) == (Seen::Nothing, Seen::Nothing) {
            return Ok((Decision::Leave(LEFT), None));
        }
        return Ok((decide(seen, kept, false), None));
    }
    let moved = if off(Mechanism::ExclusiveBeforeMoved) {
        spool.move_new(&from, &to)
    } else {
        spool.move_unused(&from, &to)
    };
    match moved {
        Ok(()) => Ok((Decision::Held, None)),
        Err(error) if error.kind == HostErrorKind::NotFound && error.effect == Effect::None => {
            Ok((Decision::Leave(LEFT), None))
        }
        Err(error) => not_moved(desk, entry, source, held, error),
    }
}

/// The held entries of a batch that have a fingerprint, at most so many: what makes them poison, to be written down.
///
/// # Errors
/// Where the batch is not known.
pub fn held_ones(
    desk: &Desk<'_>,
    id: BatchId,
    known: &Known,
    most: u64,
) -> Result<Vec<(Settlement, Uuid)>, CustodyError> {
    let batch = desk.batch(id)?;
    let held = Path::new(&batch.held);
    let mut found = Vec::new();
    for entry in &batch.entries {
        if entry.custody != Custody::Held || found.len() as u64 >= most {
            continue;
        }
        // One that cannot be read is told by whoever gives it back.
        let Ok(mut file) = desk.host.spool().open(&held.join(&entry.name)) else {
            continue;
        };
        let worth = |size, body| known.may_be(size, body);
        let Ok(Some((print, _))) = print(file.as_mut(), entry.size, worth) else {
            continue;
        };
        if let Some((fingerprint, likeness)) = known.find(&print) {
            let settlement = Settlement {
                index: entry.index,
                custody: Custody::Poison,
                evidence: fingerprint.evidence(likeness),
            };
            found.push((settlement, fingerprint.id));
        }
    }
    Ok(found)
}

/// The records that make held entries poison because of fingerprints.
#[must_use]
pub fn held_aside(id: BatchId, found: &[(Settlement, Uuid)]) -> Vec<Event> {
    let mut events = Vec::new();
    for piece in found.chunks(IN_A_RECORD) {
        events.push(Event::Settled {
            batch: id,
            entries: piece.iter().map(|(one, _)| one.clone()).collect(),
        });
        events.push(Event::Immunized {
            batch: id,
            entries: piece.iter().map(|(one, id)| (one.index, *id)).collect(),
        });
    }
    events
}

/// What entries that were proven to be poison are known by elsewhere: their bodies are read in the held folder. One that
/// cannot be read is known by its whole file alone.
#[must_use]
pub fn proven(
    desk: &Desk<'_>,
    id: BatchId,
    batch: &Batch,
    found: impl IntoIterator<Item = (u32, PoisonProof, String)>,
) -> Vec<Event> {
    let held = Path::new(&batch.held);
    let entries: Vec<ProvenPoison> = found
        .into_iter()
        .filter_map(|(index, proof, how)| {
            let entry = batch.entries.get(index as usize)?;
            let file = desk.host.spool().open(&held.join(&entry.name));
            let print = file
                .ok()
                .and_then(|mut file| print(file.as_mut(), entry.size, |_, _| true).ok().flatten())
                .filter(|(print, _)| print.hash == entry.hash);
            Some(ProvenPoison {
                index,
                proof,
                how,
                body: print.and_then(|(print, _)| print.body),
            })
        })
        .collect();
    entries
        .chunks(IN_A_RECORD)
        .map(|piece| Event::PoisonProven {
            batch: id,
            entries: piece.to_vec(),
        })
        .collect()
}

/// What becomes of the entries of a batch that are poison because of this fingerprint and of nothing else, now that it is
/// withdrawn: held again, but for what the logs show sent, or begun, since, or cannot tell of.
///
/// # Errors
/// Where the batch is not known.
pub fn withdrawn(
    desk: &Desk<'_>,
    id: BatchId,
    fingerprint: Uuid,
    why: &str,
    evidence: &dyn Evidence,
) -> Result<Vec<Settlement>, CustodyError> {
    let batch = desk.batch(id)?;
    let state = desk.journal.state(desk.run)?.unwrap_or_default();
    let marked = state.immunized.get(&id);
    let held = Path::new(&batch.held);
    let entries: Vec<&Entry> = batch
        .entries
        .iter()
        .filter(|entry| entry.custody == Custody::Poison)
        .filter(|entry| marked.and_then(|marked| marked.get(&entry.index)) == Some(&fingerprint))
        .collect();
    let keys: Vec<MessageKey> = entries
        .iter()
        .map(|entry| verify::key(desk, &batch, held, entry, &entry.name))
        .collect();
    let verdicts = verdicts(&keys, HowStopped::Uncleanly, evidence);
    Ok(entries
        .into_iter()
        .zip(verdicts)
        .map(|(entry, verdict)| {
            verdict.settlement(entry.index).unwrap_or(Settlement {
                index: entry.index,
                custody: Custody::Held,
                evidence: why.to_owned(),
            })
        })
        .collect())
}
