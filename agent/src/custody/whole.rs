//! Taking a queue as a whole folder, so that the time without service does not grow with the queue.
//!
//! While the service runs, the files are read and hashed as for any quarantine, and an empty folder of the same
//! owner and mode is made where the mail will be held. With the service proven stopped, the two folders exchange
//! their names in one step, and what is no message file (`Archive`, notes) is put back. The files are listed and
//! compared with the survey only when the service is up again: nothing changes in the held folder any more,
//! and until then its messages belong to no batch, so that nothing of them can be given back.
//!
//! Recovery decides by the journal and by which of the two names the queue's old folder has. The exchange
//! is one step of the file system, so there is no moment without a queue folder.

use std::path::{Path, PathBuf};

use mailmend_policy::digest::Digest;
use mailmend_proto::run::{BatchId, Custody, Entry, Event, HeldFolder, Settlement};

use super::quarantine::{Suspects, Take, Taken, Verdict, still_empty, verdicts, within_limits};
use super::survey::{Survey, is_spool_name, survey};
use super::{
    CustodyError, Desk, Evidence, HowStopped, Stopped, alarm, direction, manifest, text, withdraw,
};
use crate::evidence::MessageKey;
use crate::faults::known;
use crate::host::{Effect, FileInfo, FileKind, HostError, HostErrorKind};

/// More folders and files of other names than this are not moved back and forth.
const MOST_OTHERS: usize = 64;

/// The queue may grow by this between the survey and the stop: where the guard allows so many times what was
/// surveyed, the folder is taken without being listed again, so that the time without service is the same
/// however long the queue is. Where it does not, the names are counted first (about 1 µs each).
const ROOM_TO_GROW: u64 = 2;

/// What is in a queue folder, by names alone.
struct Contents {
    files: u64,
    bytes: u64,
    /// What is put back.
    others: Vec<(String, FileKind)>,
}

/// Takes the folder, where it can be taken whole; `None` where it cannot, with nothing moved.
pub(super) fn take(
    desk: &Desk<'_>,
    take: &Take,
    survey: &Survey,
    stopped: &Stopped,
) -> Result<Option<Taken>, CustodyError> {
    let surveyed = Contents {
        files: survey.files.len() as u64 + survey.suspects.len() as u64,
        bytes: survey.bytes(),
        others: survey.others.clone(),
    };
    let limits = take.limits;
    let contents = if surveyed.files.saturating_mul(ROOM_TO_GROW) <= limits.files
        && surveyed.bytes.saturating_mul(ROOM_TO_GROW) <= limits.bytes
    {
        surveyed
    } else {
        counted(desk, take, survey)?
    };
    let other_kind = |(_, kind): &(String, FileKind)| *kind == FileKind::Other;
    if contents.files == 0
        || contents.others.len() > MOST_OTHERS
        || contents.others.iter().any(other_kind)
    {
        return Ok(None);
    }
    within_limits(desk, take, contents.files, contents.bytes)?;
    still_empty(desk, take)?;
    // What a replay placed has its own entry, and a second name: that is taken back file by file.
    if !withdraw::placed_in(desk, &take.source)?.is_empty() {
        return Ok(None);
    }
    let Some(folder) = desk.host.spool().look(&take.source)? else {
        return Ok(None);
    };
    desk.append(vec![Event::FolderIntended {
        batch: take.batch,
        step: take.step,
        queue: take.queue.name().to_owned(),
        source: text(&take.source)?,
        held: text(&take.held())?,
        folder_id: folder.file_id,
        unclean: stopped.how() == HowStopped::Uncleanly,
    }])?;
    let moved = exchange(desk, take.batch, Some(stopped), Some(contents.others));
    Ok(moved.map_err(CustodyError::under_way)?.then(|| Taken {
        batch: Some(take.batch),
        held: contents.files,
        ..Taken::default()
    }))
}

/// What is there now: the names are read, and the sizes of what the survey has not seen.
fn counted(desk: &Desk<'_>, take: &Take, survey: &Survey) -> Result<Contents, CustodyError> {
    let spool = desk.host.spool();
    let mut contents = Contents {
        files: 0,
        bytes: survey.bytes(),
        others: Vec::new(),
    };
    for (name, kind) in spool.names(&take.source)? {
        if kind != FileKind::File || !is_spool_name(&name) {
            contents.others.push((name, kind));
            continue;
        }
        contents.files += 1;
        if !survey.has(&name) {
            let info = spool.look(&take.source.join(&name))?;
            contents.bytes += info.map_or(0, |info| info.size);
        }
    }
    Ok(contents)
}

/// Finishes an exchange that was intended and interrupted: does it, where the service is proven stopped and
/// has not run since, or gives it up where it has not happened. Safe to interrupt and to repeat.
pub(super) fn finish(
    desk: &Desk<'_>,
    id: BatchId,
    stopped: Option<&Stopped>,
    may_have_run: bool,
) -> Result<(), CustodyError> {
    let stopped = stopped.filter(|_| !may_have_run);
    exchange(desk, id, stopped, None).map_err(CustodyError::under_way)?;
    Ok(())
}

/// Whether the queue's old folder is held now; where not, the intention is closed with an empty batch.
fn exchange(
    desk: &Desk<'_>,
    id: BatchId,
    stopped: Option<&Stopped>,
    others: Option<Vec<(String, FileKind)>>,
) -> Result<bool, CustodyError> {
    let Some(folder) = pending(desk, id)? else {
        return Ok(false);
    };
    let (source, held) = (PathBuf::from(&folder.source), PathBuf::from(&folder.held));
    let stopped = stopped.filter(|stopped| stopped.at_first_move(desk.host).is_ok());
    if !is_at(desk, &folder, &held)? {
        if stopped.is_none() || !is_at(desk, &folder, &source)? {
            put_back(desk, &folder, None)?;
            close_empty(desk, id, &folder)?;
            return Ok(false);
        }
        if let Err(error) = desk.host.spool().exchange_folders(&source, &held)
            && !is_at(desk, &folder, &held)?
        {
            if error.effect == Effect::Unknown {
                return Err(desk.unsure(&error));
            }
            tracing::warn!(%error, "the queue's folder cannot be held whole; its files are moved one by one");
            close_empty(desk, id, &folder)?;
            return Ok(false);
        }
    }
    put_back(desk, &folder, others)?;
    Ok(true)
}

fn pending(desk: &Desk<'_>, id: BatchId) -> Result<Option<HeldFolder>, CustodyError> {
    let state = desk.journal.state(desk.run)?;
    Ok(state.and_then(|state| state.folders.get(&id).cloned()))
}

fn is_at(desk: &Desk<'_>, folder: &HeldFolder, path: &Path) -> Result<bool, HostError> {
    let found = desk.host.spool().look(path)?;
    Ok(found.is_some_and(|info| info.kind == FileKind::Folder && info.file_id == folder.folder_id))
}

/// Puts what is no message file back from the held folder into the queue's, and makes all four folders durable.
fn put_back(
    desk: &Desk<'_>,
    folder: &HeldFolder,
    others: Option<Vec<(String, FileKind)>>,
) -> Result<(), CustodyError> {
    let spool = desk.host.spool();
    let (source, held) = (Path::new(&folder.source), Path::new(&folder.held));
    if spool.look(source)?.is_none() || spool.look(held)?.is_none() {
        return Ok(());
    }
    let others = match others {
        Some(others) => others,
        None => spool.names(held)?,
    };
    let mut stayed = Vec::new();
    for (name, kind) in others {
        let ours = name == manifest::FILE || name.starts_with(".mailmend-");
        let (from, to) = (held.join(&name), source.join(&name));
        let moved = match kind {
            FileKind::Folder => spool.move_folder_new(&from, &to),
            FileKind::File if !ours && !is_spool_name(&name) => spool.move_new(&from, &to),
            FileKind::File | FileKind::Other => continue,
        };
        if let Err(error) = moved
            && spool.look(&from)?.is_some()
        {
            if error.effect == Effect::Unknown && error.kind == HostErrorKind::Io {
                return Err(desk.unsure(&error));
            }
            let text = format!("it stays beside the held mail: {error}");
            stayed.push(alarm(const { known("A087-custody-contradiction") }, text));
        }
    }
    for path in [source.parent(), held.parent(), Some(source), Some(held)]
        .into_iter()
        .flatten()
    {
        desk.sync(path)?;
    }
    desk.append(stayed)
}

/// Nothing was taken: the queue's folder is where it was.
fn close_empty(desk: &Desk<'_>, id: BatchId, folder: &HeldFolder) -> Result<(), CustodyError> {
    desk.append(vec![
        begun(id, folder, 0, 0),
        Event::BatchHeld {
            batch: id,
            left: Vec::new(),
        },
    ])
}

fn begun(id: BatchId, folder: &HeldFolder, files: u64, bytes: u64) -> Event {
    Event::BatchIntended {
        batch: id,
        step: folder.step,
        queue: folder.queue.clone(),
        source: folder.source.clone(),
        held: folder.held.clone(),
        files,
        bytes,
        copied_from: None,
    }
}

/// Lists the files of a folder that is held whole and makes them a batch; the service may run. `survey` is what
/// was found before the stop: what has not changed since is not read again. A file that cannot be read is in
/// doubt, and never given back.
///
/// # Errors
/// Where the held folder cannot be listed, or the journal refuses; calling it again goes on.
pub fn take_stock(
    desk: &Desk<'_>,
    id: BatchId,
    known_files: Option<Survey>,
    evidence: &dyn Evidence,
) -> Result<Taken, CustodyError> {
    let Some(folder) = pending(desk, id)? else {
        return Ok(Taken::default());
    };
    let held = PathBuf::from(&folder.held);
    if !exchange(desk, id, None, None)? {
        return Ok(Taken::default());
    }
    let found = match known_files {
        Some(known_files) => known_files.again(desk.host, &held)?,
        None => survey(desk.host, &held)?,
    };
    let how = if folder.unclean {
        HowStopped::Uncleanly
    } else {
        HowStopped::Cleanly
    };
    let direction = direction(&folder.queue);
    let keys: Vec<MessageKey> = found.files.iter().map(|file| file.key(direction)).collect();
    let verdicts = verdicts(&keys, how, evidence);
    let mut taken = Taken {
        batch: Some(id),
        ..Taken::default()
    };
    let (mut entries, mut settlements) = (Vec::with_capacity(found.files.len()), Vec::new());
    for (index, (file, verdict)) in (0..).zip(found.files.into_iter().zip(verdicts)) {
        entries.push(file.entry(index));
        match verdict {
            Verdict::Unsent | Verdict::Known { .. } => taken.held += 1,
            Verdict::Gone(_) => taken.gone += 1,
            Verdict::InDoubt(_) => taken.in_doubt += 1,
        }
        settlements.extend(verdict.settlement(index));
    }
    let alarms = unread(desk, &held, found.suspects, &mut entries, &mut settlements)?;
    taken.in_doubt += alarms.len() as u64;
    let table = manifest::table(&folder.source, &folder.queue, &entries);
    match desk
        .host
        .spool()
        .write_new(&held.join(manifest::FILE), table.as_bytes())
    {
        Err(error) if error.kind == HostErrorKind::Exists => {}
        result => result?,
    }
    let bytes = entries.iter().map(|entry| entry.size).sum();
    let mut events = vec![begun(id, &folder, entries.len() as u64, bytes)];
    events.extend(manifest::events(id, &entries));
    if !settlements.is_empty() {
        events.push(Event::Settled {
            batch: id,
            entries: settlements,
        });
    }
    events.push(Event::BatchHeld {
        batch: id,
        left: Vec::new(),
    });
    events.extend(alarms);
    desk.append(events)?;
    Ok(taken)
}

/// Entries for files that could not be read: named, in doubt, with a digest that no file has.
fn unread(
    desk: &Desk<'_>,
    held: &Path,
    suspects: Suspects,
    entries: &mut Vec<Entry>,
    settlements: &mut Vec<Settlement>,
) -> Result<Vec<Event>, CustodyError> {
    let mut alarms = Vec::new();
    for suspect in suspects {
        let Some(FileInfo {
            name,
            file_id,
            size,
            modified_ms,
            ..
        }) = desk.host.spool().look(&held.join(&suspect.name))?
        else {
            continue;
        };
        let index = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let why = format!("`{name}` is held and could not be read: {}", suspect.why);
        alarms.push(alarm(const { known("A084-held-mail-damaged") }, &why));
        settlements.push(Settlement {
            index,
            custody: Custody::InDoubt,
            evidence: why,
        });
        entries.push(Entry {
            index,
            name,
            file_id,
            size,
            modified_ms,
            hash: Digest::from_bytes([0; 32]),
            mts_id: String::new(),
            message_id: String::new(),
            custody: Custody::Live,
        });
    }
    Ok(alarms)
}
