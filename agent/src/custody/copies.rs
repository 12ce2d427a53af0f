//! Copies: what escrow kept of messages that vanished becomes custody, so that it can be given back.
//!
//! A person orders it. Which copies are meant is decided here, from what a reconciliation recorded, from the
//! copies themselves and from what the server's own records say by now: a message that was delivered after all,
//! that is somewhere, or whose copy is not the one that was found, is named and left. The rest is written down
//! and then gets a second name in a held folder; from there on it is custody like any other, and goes the way of
//! a release. The name in escrow stays: it goes only by evidence and retention.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mailmend_policy::condition::Queue;
use mailmend_proto::run::{
    Batch, BatchId, Custody, Entry, Event, Fate, Left, ReconciledMessage, RunId,
};

use super::quarantine::{Seen, Take, by_name, in_doubt, open_held_folder, ready};
use super::replay::derived_name;
use super::survey::digest_of;
use super::{CustodyError, Desk, alarm, direction, list_if_there, manifest, text};
use crate::ablation::{Mechanism, off};
use crate::escrow;
use crate::evidence::reconcile::facts::PlaceKind;
use crate::evidence::reconcile::gather::gather;
use crate::evidence::reconcile::{Missing, Objection, Window, objections};
use crate::evidence::{Direction, Sent, same_id};
use crate::faults::known;
use crate::host::{FileInfo, FileKind, HostErrorKind};
use crate::journal::JournalError;

const REFUSED: &str = known("A092-recover-refused");

/// Messages that one order may name.
const MOST_NAMED: usize = 10_000;
/// Reasons that are told one by one.
const MOST_TOLD: usize = 20;

/// The copies of one queue that are to become custody.
#[derive(Debug, Clone)]
pub struct Group {
    /// The queue that they vanished from.
    pub queue: Queue,
    /// The folder of escrow that has the copies.
    kept_in: String,
    /// What they will be in the manifest, by index.
    entries: Vec<Entry>,
}

/// What an order comes to.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    /// The copies, by queue.
    pub groups: Vec<Group>,
    /// What was meant too and is not given back, with the reason.
    pub left: Vec<String>,
}

/// A copy that may be given back, as far as it itself tells.
struct Candidate<'m> {
    message: &'m ReconciledMessage,
    order: escrow::Order,
    info: FileInfo,
    missing: Missing,
}

/// How a message is called: as `mailmend run reconciled` lists it.
fn name_of(message: &ReconciledMessage) -> &str {
    [&message.message_id, &message.mts_id, &message.escrow]
        .into_iter()
        .find(|name| !name.is_empty())
        .map_or("a message without a name", String::as_str)
}

fn refused(why: impl Into<String>) -> CustodyError {
    CustodyError::refused(REFUSED, why)
}

/// Chooses the copies that an order means: those of the named messages, or of all that vanished. Changes nothing.
///
/// # Errors
/// `A092-recover-refused` where a message is named that cannot be given back, or nothing can.
pub fn choose(desk: &Desk<'_>, wanted: &[String]) -> Result<Chosen, CustodyError> {
    if wanted.len() > MOST_NAMED {
        return Err(refused(format!(
            "{} messages are named, an order takes {MOST_NAMED}; name none to give back all",
            wanted.len()
        )));
    }
    let state = desk.journal.state(desk.run)?.unwrap_or_default();
    let listed: Vec<&ReconciledMessage> = state
        .reconciled
        .values()
        .flat_map(|found| &found.messages)
        .collect();
    if state.reconciled.is_empty() {
        return Err(refused(format!(
            "run `{}` has not reconciled anything on this server",
            desk.run
        )));
    }
    let meant = if wanted.is_empty() {
        let vanished = |one: &&&ReconciledMessage| one.fate == Fate::Vanished;
        listed.iter().filter(vanished).copied().collect()
    } else {
        named(&listed, wanted, desk.run)?
    };
    let count = meant.len();
    let (fit, mut left) = judged(desk, meant)?;
    if !wanted.is_empty() && !left.is_empty() || fit.is_empty() {
        let why = match count {
            0 => format!("run `{}` found no message that vanished", desk.run),
            _ => told(&left),
        };
        return Err(refused(format!("{why}; nothing was changed")));
    }
    if left.len() > MOST_TOLD {
        let more = left.len() - MOST_TOLD;
        left.truncate(MOST_TOLD);
        left.push(format!("and {more} more"));
    }
    Ok(Chosen {
        groups: grouped(fit),
        left,
    })
}

/// Reasons in one line.
fn told(reasons: &[String]) -> String {
    let mut line = reasons[..reasons.len().min(MOST_TOLD)].join("; ");
    if reasons.len() > MOST_TOLD {
        line.push_str(&format!("; and {} more", reasons.len() - MOST_TOLD));
    }
    line
}

/// The messages with these names, each once.
fn named<'m>(
    listed: &[&'m ReconciledMessage],
    wanted: &[String],
    run: RunId,
) -> Result<Vec<&'m ReconciledMessage>, CustodyError> {
    let mut meant: Vec<&ReconciledMessage> = Vec::new();
    for name in wanted {
        let is = |one: &&&ReconciledMessage| {
            let ids = [&one.message_id, &one.mts_id];
            let path = Path::new(&one.escrow);
            let file = path.file_name().and_then(|file| file.to_str());
            ids.iter().any(|id| !id.is_empty() && same_id(id, name))
                || (!one.escrow.is_empty() && (one.escrow == *name || file == Some(name)))
        };
        let mut found: Vec<&ReconciledMessage> = listed.iter().filter(is).copied().collect();
        // The same message in two steps' lists is one.
        found.sort_by_key(|one| (&one.escrow, &one.mts_id, &one.message_id));
        found.dedup_by_key(|one| (&one.escrow, &one.mts_id, &one.message_id));
        match found.as_slice() {
            [one] => {
                if !meant.iter().any(|known| std::ptr::eq(*known, *one)) {
                    meant.push(one);
                }
            }
            [] => {
                return Err(refused(format!(
                    "run `{run}` lists no message `{}` on this server; `mailmend run reconciled {run}` names them",
                    name.escape_debug()
                )));
            }
            several => {
                let files: Vec<&str> = several.iter().map(|one| one.escrow.as_str()).collect();
                return Err(refused(format!(
                    "`{}` names {} messages; name one by the file of its copy: {}",
                    name.escape_debug(),
                    several.len(),
                    files.join(", ")
                )));
            }
        }
    }
    Ok(meant)
}

/// Which of these may be given back, and why the others may not.
fn judged<'m>(
    desk: &Desk<'_>,
    meant: Vec<&'m ReconciledMessage>,
) -> Result<(Vec<Candidate<'m>>, Vec<String>), CustodyError> {
    let orders = every_order(desk)?;
    let taken_up = taken_up(desk)?;
    let (mut candidates, mut left) = (Vec::new(), Vec::new());
    let mut files = BTreeSet::new();
    for message in meant {
        match candidate(desk, message, &orders, &taken_up) {
            Ok(found) if files.insert(found.info.file_id) => candidates.push(found),
            Ok(_) => left.push(format!(
                "`{}`: its copy is another message's too",
                name_of(message)
            )),
            Err(why) => left.push(format!("`{}`: {why}", name_of(message))),
        }
    }
    let missing: Vec<Missing> = candidates.iter().map(|one| one.missing.clone()).collect();
    let against = against(desk, &missing, &[PlaceKind::Queue, PlaceKind::Custody])?;
    let mut fit = Vec::with_capacity(candidates.len());
    for (candidate, objection) in candidates.into_iter().zip(against) {
        match objection {
            None => fit.push(candidate),
            Some(why) => left.push(format!("`{}`: {}", name_of(candidate.message), why.words())),
        }
    }
    Ok((fit, left))
}

/// What the server's records say by now against giving these back.
fn against(
    desk: &Desk<'_>,
    missing: &[Missing],
    kinds: &[PlaceKind],
) -> Result<Vec<Option<Objection>>, CustodyError> {
    let Some(since_ms) = missing.iter().map(|one| one.accepted_ms).min() else {
        return Ok(Vec::new());
    };
    if off(Mechanism::MissingStillMissing) {
        return Ok(vec![None; missing.len()]);
    }
    let window = Window::since(desk.host.clock(), since_ms);
    let facts = gather(desk.host, desk.journal, window, None)?;
    Ok(objections(&facts, window, missing, kinds))
}

/// Every escrow that was ordered, also those that were ordered otherwise since: copies lie in their folders.
fn every_order(desk: &Desk<'_>) -> Result<Vec<escrow::Order>, JournalError> {
    let mut all = escrow::orders(desk.journal)?;
    for folder in escrow::folders(desk.journal)? {
        if all.iter().any(|order| order.kept_in == folder) {
            continue;
        }
        all.extend(escrow::order_of(desk.journal, &folder)?);
    }
    Ok(all)
}

/// Copies that are custody already, of any run, by file and content, with where and in which state.
type TakenUp = BTreeMap<(u64, [u8; 32]), String>;

fn taken_up(desk: &Desk<'_>) -> Result<TakenUp, CustodyError> {
    let mut taken = TakenUp::new();
    if off(Mechanism::CopyTakenUpOnce) {
        return Ok(taken);
    }
    for run in desk.journal.runs() {
        let Some(state) = desk.journal.state(run)? else {
            continue;
        };
        for (id, batch) in &state.batches {
            let entries = batch.entries.iter().filter(|_| batch.copied_from.is_some());
            // What could not be taken up is in escrow and nowhere else.
            let entries = entries.filter(|one| !(batch.taken && one.custody == Custody::Live));
            for entry in entries {
                let mut what = format!(
                    "its copy is in custody already: {id}/{}, {}",
                    entry.index,
                    entry.custody.name()
                );
                if entry.custody == Custody::Held {
                    what.push_str(&format!(
                        "; `mailmend custody release {run} --batch {id} --why ...` gives it back"
                    ));
                }
                taken.insert((entry.file_id, *entry.hash.as_bytes()), what);
            }
        }
    }
    Ok(taken)
}

fn candidate<'m>(
    desk: &Desk<'_>,
    message: &'m ReconciledMessage,
    orders: &[escrow::Order],
    taken_up: &TakenUp,
) -> Result<Candidate<'m>, String> {
    if message.fate != Fate::Vanished {
        return Err(format!("it did not vanish: {}", message.fate.name()));
    }
    if message.escrow.is_empty() {
        return Err("no copy of it is kept".into());
    }
    let path = Path::new(&message.escrow);
    let order = path
        .parent()
        .and_then(|folder| orders.iter().find(|order| order.kept_in == folder));
    let (Some(order), Some(recorded)) = (order, message.escrow_hash) else {
        return Err(format!(
            "`{}` is not a copy that this agent keeps and whose digest it recorded; reconcile again",
            path.display()
        ));
    };
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let found = desk.host.spool().look(path);
    let info = match found.map_err(|error| format!("could not {error}"))? {
        Some(info) if info.kind == FileKind::File => info,
        Some(_) => return Err(format!("`{}` is no file", path.display())),
        None => {
            return Err(format!(
                "its copy `{}` is not there any more: a copy leaves when the logs show its message delivered",
                path.display()
            ));
        }
    };
    let (hash, size, header) = digest_of(desk.host, path)?;
    if (hash != recorded || size != info.size) && !off(Mechanism::CopyAsRecorded) {
        return Err(format!(
            "its copy `{}` has the digest {}, the reconciliation recorded {}",
            path.display(),
            hash.short(),
            recorded.short()
        ));
    }
    if let Some(what) = taken_up.get(&(info.file_id, *hash.as_bytes())) {
        return Err(what.clone());
    }
    let known = |own: &String, of_copy: Option<String>| {
        if own.is_empty() {
            of_copy
        } else {
            Some(own.clone())
        }
    };
    let missing = Missing {
        mts_id: known(&message.mts_id, header.mts_id),
        message_id: known(&message.message_id, header.message_id),
        spool_name: escrow::spool_name_of(name).unwrap_or(name).to_owned(),
        direction: direction(order.queue.name()),
        accepted_ms: message.accepted_ms,
    };
    Ok(Candidate {
        message,
        order: order.clone(),
        info,
        missing,
    })
}

/// By queue, as the manifests will have them.
fn grouped(fit: Vec<Candidate<'_>>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for Candidate {
        message,
        order,
        info,
        missing,
    } in fit
    {
        let kept_in = order.kept_in.display().to_string();
        let at = groups.iter().position(|group| group.kept_in == kept_in);
        let at = at.unwrap_or_else(|| {
            groups.push(Group {
                queue: order.queue,
                kept_in,
                entries: Vec::new(),
            });
            groups.len() - 1
        });
        let Some(hash) = message.escrow_hash else {
            continue;
        };
        let entries = &mut groups[at].entries;
        entries.push(Entry {
            index: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            name: missing.spool_name,
            file_id: info.file_id,
            size: info.size,
            modified_ms: info.modified_ms,
            hash,
            mts_id: missing.mts_id.unwrap_or_default(),
            message_id: missing.message_id.unwrap_or_default(),
            custody: Custody::Live,
        });
    }
    groups
}

impl Group {
    /// The intention to take these copies up, into the batch that `take` describes. Checks folders, volume,
    /// limits and room; nothing moves.
    ///
    /// # Errors
    /// As [`super::quarantine::prepare`].
    pub fn intend(mut self, desk: &Desk<'_>, take: &Take) -> Result<Vec<Event>, CustodyError> {
        let bytes = self.entries.iter().map(|entry| entry.size).sum();
        let files = self.entries.len() as u64;
        if files > take.limits.files || bytes > take.limits.bytes {
            return Err(CustodyError::refused(
                const { known("A082-custody-limit") },
                format!(
                    "{files} copies of {bytes} bytes are to be given back to `{}`, and the guard allows {} files and {} \
                     bytes at once; name fewer messages, or raise `files_per_action` or `bytes_per_action` in the guard \
                     file",
                    take.source.display(),
                    take.limits.files,
                    take.limits.bytes
                ),
            ));
        }
        ready(desk, take, files, bytes)?;
        if !desk
            .host
            .spool()
            .same_volume(Path::new(&self.kept_in), &take.held_root)?
        {
            return Err(CustodyError::refused(
                const { known("A081-custody-precondition") },
                format!(
                    "the copies in `{}` are on another volume than `{}`: let `hold` in the guard file be on theirs",
                    self.kept_in,
                    take.held_root.display()
                ),
            ));
        }
        // A spool name that came twice: the second file gets one of its own.
        let mut names = BTreeSet::new();
        for entry in &mut self.entries {
            let mut attempt = 0;
            while !names.insert(entry.name.to_ascii_uppercase()) {
                attempt += 1;
                entry.name = derived_name(take.batch, entry.index, attempt);
            }
        }
        let mut events = vec![Event::BatchIntended {
            batch: take.batch,
            step: None,
            queue: self.queue.name().to_owned(),
            source: text(&take.source)?,
            held: text(&take.held())?,
            files,
            bytes,
            copied_from: Some(self.kept_in),
        }];
        events.extend(manifest::events(take.batch, &self.entries));
        Ok(events)
    }
}

/// Takes up the copies of a batch that was intended, and writes down where they are. The service may run. Safe
/// to interrupt and to repeat; a batch that is taken up already is left alone.
///
/// # Errors
/// `A085-durability-unknown` where the disk failed; what the machine or the journal says.
pub fn finish(desk: &Desk<'_>, id: BatchId) -> Result<(), CustodyError> {
    let batch = desk.batch(id)?;
    let Some(from) = batch.copied_from.clone().filter(|_| !batch.taken) else {
        return Ok(());
    };
    let held = Path::new(&batch.held);
    let mut outcome = Outcome::default();
    match open_held_folder(desk, &batch, held) {
        Ok(()) => take_up(desk, &batch, Path::new(&from), &mut outcome)
            .map_err(CustodyError::under_way)?,
        Err(error) if error.effect == crate::host::Effect::Unknown => {
            return Err(desk.unsure(&error));
        }
        Err(error) => {
            for entry in &batch.entries {
                let why = format!("it was not taken up, its copy stays in `{from}`: {error}");
                outcome.left.push(Left {
                    index: entry.index,
                    why,
                });
            }
        }
    }
    let mut events = vec![Event::BatchHeld {
        batch: id,
        left: outcome.left,
    }];
    if !outcome.in_doubt.is_empty() {
        events.push(Event::Settled {
            batch: id,
            entries: outcome.in_doubt,
        });
    }
    events.extend(outcome.alarms);
    desk.append(events)
}

#[derive(Default)]
struct Outcome {
    left: Vec<Left>,
    in_doubt: Vec<mailmend_proto::run::Settlement>,
    alarms: Vec<Event>,
}

fn take_up(
    desk: &Desk<'_>,
    batch: &Batch,
    from: &Path,
    outcome: &mut Outcome,
) -> Result<(), CustodyError> {
    let held = Path::new(&batch.held);
    let copies: BTreeMap<u64, FileInfo> = list_if_there(desk.host, from)?
        .unwrap_or_default()
        .into_iter()
        .filter(|info| info.kind == FileKind::File)
        .map(|info| (info.file_id, info))
        .collect();
    let before = by_name(desk, held)?;
    let mut refusals: BTreeMap<u32, String> = BTreeMap::new();
    for entry in &batch.entries {
        let Some(copy) = copies.get(&entry.file_id) else {
            continue;
        };
        let same = copy.size == entry.size && copy.modified_ms == entry.modified_ms;
        if Seen::of(entry, before.get(&entry.name)) != Seen::Nothing || !same {
            continue;
        }
        let (copy, name) = (from.join(&copy.name), held.join(&entry.name));
        match desk.host.spool().link_new(&copy, &name) {
            Ok(()) => {}
            Err(error) if error.kind == HostErrorKind::NotFound => {}
            Err(error) => {
                refusals.insert(entry.index, error.to_string());
            }
        }
    }
    let after = by_name(desk, held)?;
    desk.sync(held)?;
    for entry in &batch.entries {
        let seen = Seen::of(entry, after.get(&entry.name));
        match (seen, refusals.remove(&entry.index)) {
            (Seen::Same, _) => {}
            (Seen::Nothing, Some(why)) => outcome.left.push(Left {
                index: entry.index,
                why: format!(
                    "it was not taken up, its copy stays in `{}`: {why}",
                    from.display()
                ),
            }),
            (seen, _) => {
                let what = match seen {
                    Seen::Nothing => "is gone or changed since it was found",
                    _ => "is not what stands under its name in the held folder",
                };
                let why = format!(
                    "the copy of `{}` in `{}` {what}",
                    entry.name,
                    from.display()
                );
                outcome
                    .alarms
                    .push(alarm(const { known("A089-mail-missing") }, &why));
                outcome.in_doubt.push(in_doubt(entry.index, why));
            }
        }
    }
    Ok(())
}

/// Looks once more, before held copies of a batch are given back: what was delivered meanwhile is settled so.
/// Returns what may be given back, and why the rest may not; everything of a batch that is not of copies.
///
/// # Errors
/// Where the journal fails.
pub fn still_missing(
    desk: &Desk<'_>,
    id: BatchId,
) -> Result<(Vec<u32>, Vec<String>), CustodyError> {
    let batch = desk.batch(id)?;
    let held: Vec<&Entry> = batch
        .entries
        .iter()
        .filter(|entry| entry.custody == Custody::Held)
        .collect();
    if batch.copied_from.is_none() {
        return Ok((held.iter().map(|entry| entry.index).collect(), Vec::new()));
    }
    let known = |text: &String| (!text.is_empty()).then(|| text.clone());
    let missing: Vec<Missing> = held
        .iter()
        .map(|entry| Missing {
            mts_id: known(&entry.mts_id),
            message_id: known(&entry.message_id),
            spool_name: entry.name.clone(),
            direction: direction(&batch.queue),
            accepted_ms: entry.modified_ms,
        })
        .collect();
    let (mut may, mut settled, mut left) = (Vec::new(), Vec::new(), Vec::new());
    // Custody is what these are in by now.
    let objections = against(desk, &missing, &[PlaceKind::Queue])?;
    for (entry, objection) in held.iter().zip(objections) {
        match objection {
            None => may.push(entry.index),
            Some(Objection::Delivered(evidence)) => {
                left.push(format!("{}/{}: {evidence}", id, entry.index));
                settled.push(mailmend_proto::run::Settlement {
                    index: entry.index,
                    custody: Custody::GoneWithEvidence,
                    evidence,
                });
            }
            Some(Objection::Other(why)) => left.push(format!("{}/{}: {why}", id, entry.index)),
        }
    }
    if !settled.is_empty() {
        desk.append(vec![Event::Settled {
            batch: id,
            entries: settled,
        }])?;
    }
    Ok((may, left))
}

/// What the records say of a message of this batch. Of one that came in, 4.0 writes no more than that a gateway
/// took it (1004): that this record was absent is what made a reconciliation call it vanished, so where it
/// appears after the message was given back it is the evidence of delivery.
pub(crate) fn read_as(batch: &Batch, sent: Sent) -> Sent {
    match sent {
        Sent::Begun { evidence }
            if batch.copied_from.is_some() && direction(&batch.queue) == Direction::Inbound =>
        {
            Sent::Delivered { evidence }
        }
        sent => sent,
    }
}
