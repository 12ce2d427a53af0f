//! Auditing the ledger: each entry is derived anew from journal, disk and logs, and compared.
//!
//! Nothing is changed. Every held file is read again. What the agent is just working on is left out, and a
//! finding counts only where the journal still says the same after it was made.

mod compare;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mailmend_proto::run::{Batch, BatchId, Custody, Event, RunId, RunState};
use uuid::Uuid;

use super::manifest;
use super::verify::{key, verify};
use super::word::name_of;
use super::{CustodyError, Desk, Evidence, Records, copies, list_if_there};
use crate::evidence::{MessageKey, Sent};
use crate::host::{FileKind, Host};
use crate::journal::{Journal, JournalError};

pub use compare::{Finding, HeldFile, Remedy, Sources, compare};

/// Entries that are looked at between two pieces.
const PIECE: usize = 500;

/// More disagreements than this are not told: something else is wrong then.
pub const MOST_FOUND: usize = 10_000;

/// What is audited.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The machine.
    pub host: &'a dyn Host,
    /// The journal; it may be open for reading only.
    pub journal: &'a Journal,
    /// The folder that has a folder for each batch, where it is known: files there that no entry knows are
    /// told.
    pub held_root: Option<&'a Path>,
}

/// A place where journal, disk and logs disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// The message, as batch and index; none: a file that no entry knows.
    pub message: Option<(BatchId, u32)>,
    /// Its run.
    pub run: Option<RunId>,
    /// What the journal says.
    pub journal: String,
    /// What the disk says; empty: it does not contradict.
    pub disk: String,
    /// What the logs say; empty: they do not contradict.
    pub logs: String,
    /// What to do.
    pub remedy: String,
}

/// Audits the entries of one run, or of all, and tells what disagrees in pieces: the findings since the last
/// piece, and how many entries were looked at so far. Whoever is told may end it by answering `false`.
/// Returns how many entries were looked at.
///
/// # Errors
/// Where the journal or a folder cannot be read: an audit that is cut short is not one that found nothing.
pub fn audit(
    ground: Ground<'_>,
    only: Option<RunId>,
    tell: &mut dyn FnMut(Vec<Disagreement>, u64) -> bool,
) -> Result<u64, CustodyError> {
    let (mut looked, mut found) = (0, 0);
    let mut known_folders = BTreeSet::new();
    for run in ground.journal.runs() {
        let Some(state) = ground.journal.state(run)? else {
            continue;
        };
        known_folders.extend(
            state
                .batches
                .values()
                .map(|batch| PathBuf::from(&batch.held)),
        );
        if only.is_some_and(|only| only != run) || state.batches.is_empty() {
            continue;
        }
        let words = by_word(ground.journal, run)?;
        for (id, batch) in &state.batches {
            let worked_on = !batch.taken || batch.replays.values().any(|replay| !replay.placed);
            if worked_on {
                looked += batch.entries.len() as u64;
                continue;
            }
            let desk = Desk {
                host: ground.host,
                journal: ground.journal,
                run,
            };
            let mut go_on = true;
            one_batch(desk, (*id, batch), &state, &words, &mut |piece, count| {
                looked += count;
                found += piece.len();
                go_on = found <= MOST_FOUND && tell(piece, looked);
                go_on
            })?;
            if !go_on {
                return Ok(looked);
            }
            let unknown = unknown_in(ground.host, Path::new(&batch.held), Some((run, batch)))?;
            if !unknown.is_empty() && !tell(unknown, looked) {
                return Ok(looked);
            }
        }
    }
    if let (Some(root), None) = (ground.held_root, only) {
        for folder in list_if_there(ground.host, root)?.unwrap_or_default() {
            let path = root.join(&folder.name);
            if folder.kind == FileKind::Folder && !known_folders.contains(&path) {
                let unknown = unknown_in(ground.host, &path, None)?;
                if !unknown.is_empty() && !tell(unknown, looked) {
                    return Ok(looked);
                }
            }
        }
    }
    Ok(looked)
}

/// The entries of a run whose last state rests on a person's word.
fn by_word(journal: &Journal, run: RunId) -> Result<BTreeSet<(BatchId, u32)>, JournalError> {
    let mut orders: Vec<Uuid> = Vec::new();
    let mut words = BTreeSet::new();
    for record in journal.records(run)? {
        match &record.event {
            Event::SettleOrdered { order, .. } => orders.push(*order),
            Event::Settled { batch, entries } => {
                for settled in entries {
                    let said = orders
                        .iter()
                        .any(|order| settled.evidence.ends_with(&format!("(order {order})")));
                    if said {
                        words.insert((*batch, settled.index));
                    } else {
                        words.remove(&(*batch, settled.index));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(words)
}

fn one_batch(
    desk: Desk<'_>,
    (id, batch): (BatchId, &Batch),
    state: &RunState,
    words: &BTreeSet<(BatchId, u32)>,
    tell: &mut dyn FnMut(Vec<Disagreement>, u64) -> bool,
) -> Result<(), CustodyError> {
    // The queue first, then the logs: what is sent meanwhile is seen in one of them.
    let targets = batch.replays.values().map(|replay| replay.target.as_str());
    let folders: BTreeSet<&str> = targets.chain([batch.source.as_str()]).collect();
    let mut queued = BTreeMap::new();
    for folder in folders {
        for info in list_if_there(desk.host, Path::new(folder))?.unwrap_or_default() {
            queued.insert(info.file_id, info.name);
        }
    }
    let folder = Path::new(&batch.held);
    let there: BTreeSet<String> = list_if_there(desk.host, folder)?
        .unwrap_or_default()
        .into_iter()
        .map(|info| info.name)
        .collect();
    let keys: Vec<MessageKey> = batch
        .entries
        .iter()
        .map(|entry| key(&desk, batch, folder, entry, name_of(batch, entry)))
        .collect();
    let mut sent = Records(desk.host).of(&keys).into_iter();
    for piece in batch.entries.chunks(PIECE) {
        let present = piece.iter().filter(|entry| there.contains(&entry.name));
        let verified = verify(&desk, batch, present.map(|entry| entry.index).collect());
        let damaged: BTreeMap<u32, String> = verified
            .damaged
            .into_iter()
            .map(|left| (left.index, left.why))
            .collect();
        let mut findings = Vec::new();
        for entry in piece {
            let held = match damaged.get(&entry.index) {
                Some(why) => HeldFile::Damaged(why.clone()),
                None if there.contains(&entry.name) => HeldFile::Whole,
                None => HeldFile::Missing,
            };
            let sources = Sources {
                custody: entry.custody,
                by_word: words.contains(&(id, entry.index)),
                open: state.closed.is_none(),
                held,
                queued: queued.get(&entry.file_id).cloned(),
                sent: sent.next().map_or_else(
                    || Sent::CannotTell {
                        why: "no answer".into(),
                    },
                    |sent| copies::read_as(batch, sent),
                ),
            };
            if let Some(finding) = compare(&sources) {
                findings.push((entry.index, sources.custody, finding));
            }
        }
        let findings = confirmed(desk, id, findings)?;
        if !tell(findings, piece.len() as u64) {
            return Ok(());
        }
    }
    Ok(())
}

/// Those findings that hold still: the agent may have worked on the entries meanwhile.
fn confirmed(
    desk: Desk<'_>,
    id: BatchId,
    findings: Vec<(u32, Custody, Finding)>,
) -> Result<Vec<Disagreement>, CustodyError> {
    if findings.is_empty() {
        return Ok(Vec::new());
    }
    let now = desk.batch(id)?;
    let as_before = |index: u32, custody: Custody| {
        let entry = now.entries.get(index as usize);
        entry.is_some_and(|entry| entry.custody == custody)
    };
    Ok(findings
        .into_iter()
        .filter(|(index, custody, _)| as_before(*index, *custody))
        .map(|(index, custody, finding)| Disagreement {
            message: Some((id, index)),
            run: Some(desk.run),
            journal: custody.name().to_owned(),
            remedy: remedy(finding.remedy, desk.run, id, index),
            disk: finding.disk,
            logs: finding.logs,
        })
        .collect())
}

fn remedy(remedy: Remedy, run: RunId, batch: BatchId, index: u32) -> String {
    let settle = format!("mailmend custody settle {run} {batch}/{index}");
    match remedy {
        Remedy::SettleDelivered => format!("`{settle} --as delivered --why ...`"),
        Remedy::SettleAfterAsking => format!(
            "ask its recipients or look at the next hop's log, then `{settle} --as delivered` or `--as not-delivered`"
        ),
        Remedy::TakeOutOfQueue => {
            "stop the service and move the file out of the queue before it is sent again; then look who put it there"
                .to_owned()
        }
        Remedy::FindBytes => format!(
            "look for it by its digest in backups; put it back under its name in the held folder, or `{settle} --as \
             delivered` if it is not wanted any more"
        ),
        Remedy::CompareFiles => {
            "compare the two files with `MANIFEST.tsv`, and move one away by hand".to_owned()
        }
    }
}

/// Files of a held folder that no entry knows.
fn unknown_in(
    host: &dyn Host,
    folder: &Path,
    of: Option<(RunId, &Batch)>,
) -> Result<Vec<Disagreement>, CustodyError> {
    let known: BTreeSet<&str> = of
        .iter()
        .flat_map(|(_, batch)| &batch.entries)
        .map(|entry| entry.name.as_str())
        .collect();
    let files = list_if_there(host, folder)?.unwrap_or_default();
    Ok(files
        .into_iter()
        .filter(|info| {
            let ours = info.name == manifest::FILE || info.name.starts_with(".mailmend-");
            !ours && !known.contains(info.name.as_str())
        })
        .map(|info| Disagreement {
            message: None,
            run: of.map(|(run, _)| run),
            journal: "knows no such file".to_owned(),
            disk: format!("`{}`, {} bytes", folder.join(&info.name).display(), info.size),
            logs: String::new(),
            remedy: "find out who put it there; if it is mail, look for it in the tracking log by its MTS-ID before \
                     it is moved"
                .to_owned(),
        })
        .collect())
}
