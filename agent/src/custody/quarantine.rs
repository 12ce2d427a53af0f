//! Taking the files of a queue into custody.
//!
//! The manifest is durable before the first file moves; then one no-replace rename for each file, and
//! one sync for each of the two folders, however many files. Whatever is interrupted is finished by the
//! same code from the same journal: [`decide`] says what to do from which of the two names are there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mailmend_policy::condition::Queue;
use mailmend_proto::run::{Batch, BatchId, Custody, Entry, Event, Left, Settlement};

use super::halves::on_two_threads;
use super::survey::{Survey, Suspect, survey};
use super::{
    CustodyError, Desk, Evidence, HowStopped, Limits, Stopped, alarm, direction, held_folder,
    list_if_there, manifest, text, verify, whole, withdraw,
};
use crate::ablation::{Mechanism, off};
use crate::evidence::{MessageKey, Sent};
use crate::faults::known;
use crate::host::{Effect, FileInfo, FileKind, HostError, HostErrorKind};

/// How often a file that somebody has open is tried, and the wait before each further try.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(200);
/// What a file costs on the volume besides its own bytes: its line in the manifest and its rows in
/// the journal, rounded up.
const ROOM_FOR_AN_ENTRY: u64 = 2048;
/// What the rest of a section needs: folders, outcomes, exit.
const ROOM_FOR_A_SECTION: u64 = 1 << 20;

/// What is to be taken into custody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// The batch. Where the run has one of this id, another is derived from it.
    pub batch: BatchId,
    /// The step that takes it; none in a duty.
    pub step: Option<u32>,
    /// The queue; one with a folder.
    pub queue: Queue,
    /// The queue's folder.
    pub source: PathBuf,
    /// The folder in which each batch gets a folder of its own: same volume, outside the queue.
    pub held_root: PathBuf,
    /// The guard's limits.
    pub limits: Limits,
}

impl Take {
    /// The folder in which the batch will be held.
    #[must_use]
    pub fn held(&self) -> PathBuf {
        held_folder(&self.held_root, self.batch)
    }
}

/// A quarantine whose files were read, and whose preconditions held, while the service still runs.
#[derive(Debug, Clone)]
pub struct Prepared {
    take: Take,
    survey: Survey,
    /// Whether an empty folder stands where the queue's may go whole.
    whole: bool,
}

/// What a quarantine came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// The batch; none where there was nothing to take.
    pub batch: Option<BatchId>,
    /// Files now held, in the held folder.
    pub held: u64,
    /// Files now held of which the logs prove that they were delivered: never given back.
    pub gone: u64,
    /// Files that may have been sent: never given back without a person's word.
    pub in_doubt: u64,
    /// Files of an earlier replay that were taken back.
    pub withdrawn: u64,
    /// Message files that stayed in the queue, and why.
    pub left: Vec<Suspect>,
    /// The queue's folder is held whole: its files are to be listed by [`whole::take_stock`], with this
    /// survey, when the service is up again.
    pub unlisted: Option<Box<Survey>>,
}

/// Files that could not be read.
pub(super) type Suspects = Vec<Suspect>;

/// Reads the queue while the service still runs and checks everything that can be checked before the
/// stop: volume, folders, limits, room. Makes the folder for held mail.
///
/// # Errors
/// `A081-custody-precondition`, `A082-custody-limit`, `A083-no-room`, or what the host says. No
/// message file was touched.
pub fn prepare(desk: &Desk<'_>, take: Take) -> Result<Prepared, CustodyError> {
    let take = Take {
        batch: desk.unused(take.batch)?,
        ..take
    };
    let survey = survey(desk.host, &take.source)?;
    ready(desk, &take, survey.files.len() as u64, survey.bytes())?;
    Ok(Prepared {
        take,
        survey,
        whole: false,
    })
}

/// Checks folders, volume, limits and room, and makes the folder for held mail.
pub(super) fn ready(
    desk: &Desk<'_>,
    take: &Take,
    files: u64,
    bytes: u64,
) -> Result<(), CustodyError> {
    let spool = desk.host.spool();
    let precondition = |why: String| {
        Err(CustodyError::refused(
            const { known("A081-custody-precondition") },
            why,
        ))
    };
    text(&take.source)?;
    text(&take.held())?;
    if take.held_root.starts_with(&take.source) || take.source.starts_with(&take.held_root) {
        return precondition(format!(
            "mail cannot be held in `{}`: it must be outside the queue `{}`",
            take.held_root.display(),
            take.source.display()
        ));
    }
    spool.make_folder(&take.held_root)?;
    if !spool.same_volume(&take.source, &take.held_root)? {
        return precondition(format!(
            "`{}` is on another volume than the queue `{}`: choose `[hold] folder` on the same one",
            take.held_root.display(),
            take.source.display()
        ));
    }
    still_empty(desk, take)?;
    within_limits(desk, take, files, bytes)
}

pub(super) fn still_empty(desk: &Desk<'_>, take: &Take) -> Result<(), CustodyError> {
    match list_if_there(desk.host, &take.held())? {
        Some(entries) if !entries.is_empty() => Err(CustodyError::refused(
            const { known("A081-custody-precondition") },
            format!(
                "`{}` is not empty; nothing was moved",
                take.held().display()
            ),
        )),
        _ => Ok(()),
    }
}

pub(super) fn within_limits(
    desk: &Desk<'_>,
    take: &Take,
    files: u64,
    bytes: u64,
) -> Result<(), CustodyError> {
    let too_many = files > take.limits.files || bytes > take.limits.bytes;
    if too_many && !off(Mechanism::GuardFileLimit) {
        return Err(CustodyError::refused(
            const { known("A082-custody-limit") },
            format!(
                "the queue `{}` has {files} files of {bytes} bytes, and the guard allows {} files and \
                 {} bytes at once; raise `files_per_action` or `bytes_per_action` in the guard file",
                take.source.display(),
                take.limits.files,
                take.limits.bytes
            ),
        ));
    }
    let needed = take
        .limits
        .least_free
        .saturating_add(ROOM_FOR_A_SECTION + files.saturating_mul(ROOM_FOR_AN_ENTRY));
    let free = desk.host.spool().free_bytes(&take.held_root)?;
    if free < needed && !off(Mechanism::RoomBeforeStop) {
        return Err(CustodyError::refused(
            const { known("A083-no-room") },
            format!(
                "the volume of `{}` has {free} bytes free, and {needed} are needed (manifest, journal, \
                 exit, and the guard's `least_free_bytes`); make room and try again",
                take.held_root.display()
            ),
        ));
    }
    Ok(())
}

impl Prepared {
    /// What was found while the service still ran.
    #[must_use]
    pub const fn survey(&self) -> &Survey {
        &self.survey
    }

    /// The same, to be taken as a whole folder where it has so many files and the machine can do that; 0
    /// is never. To be called while the service still runs: an empty folder is made.
    #[must_use]
    pub fn whole_from(self, desk: &Desk<'_>, files: u64) -> Self {
        if files == 0 || (self.survey.files.len() as u64) < files {
            return self;
        }
        let spool = desk.host.spool();
        let whole = spool.make_folder_like(&self.take.held(), &self.take.source);
        Self {
            whole: whole.is_ok(),
            ..self
        }
    }

    /// Takes the files, the service being stopped. What the logs prove delivered is settled so, what
    /// may have been sent is in doubt; after an unclean stop that is everything that the logs cannot
    /// clear. What an earlier replay placed is taken back into its own batch.
    ///
    /// Files that somebody has open, or that went away, are left and told.
    ///
    /// # Errors
    /// `A080-service-not-stopped`, limits and room as in [`prepare`], with nothing moved;
    /// `A085-durability-unknown` where the disk failed: what moved is in the journal.
    pub fn take(
        self,
        desk: &Desk<'_>,
        stopped: &Stopped,
        evidence: &dyn Evidence,
    ) -> Result<Taken, CustodyError> {
        stopped.still(desk.host)?;
        let Self {
            mut take,
            survey,
            whole,
        } = self;
        if whole {
            if let Some(taken) = whole::take(desk, &take, &survey, stopped)? {
                return Ok(Taken {
                    unlisted: Some(Box::new(survey)),
                    ..taken
                });
            }
            stopped.still(desk.host)?;
            // Where the exchange was refused its id is used up.
            take.batch = desk.unused(take.batch)?;
        }
        let survey = survey.again(desk.host, &take.source)?;
        within_limits(desk, &take, survey.files.len() as u64, survey.bytes())?;
        let judged = judge(survey, take.queue, stopped, evidence);
        take_judged(desk, &take, judged, stopped)
    }
}

/// Files of a queue, each with what the logs say of it.
pub(super) struct Judged {
    pub(super) files: Vec<(super::survey::Surveyed, Verdict)>,
    pub(super) suspects: Vec<Suspect>,
}

/// What a file's state must become, by evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Unsent,
    Gone(String),
    InDoubt(String),
    /// It has the fingerprint of a poison: poison by that, or in doubt where the logs show it begun, or cannot tell.
    Known {
        fingerprint: uuid::Uuid,
        custody: Custody,
        evidence: String,
    },
}

impl Verdict {
    /// The one place that turns evidence into a state, for files found in the queue after a stop.
    pub(super) fn of(sent: Sent, how: HowStopped) -> Self {
        match (sent, how) {
            (Sent::Delivered { evidence }, _) => Self::Gone(evidence.join("; ")),
            (Sent::Begun { evidence }, _) => {
                Self::InDoubt(format!("sending began: {}", evidence.join("; ")))
            }
            (Sent::NotSeen, _) => Self::Unsent,
            // A clean stop finishes what it is sending, and what it has sent it removes.
            (Sent::CannotTell { .. }, HowStopped::Cleanly) => Self::Unsent,
            (Sent::CannotTell { why }, HowStopped::Uncleanly) => Self::InDoubt(format!(
                "the records cannot tell whether it was sent: {why}"
            )),
        }
    }

    pub(super) fn settlement(self, index: u32) -> Option<Settlement> {
        let (custody, evidence) = match self {
            Self::Unsent => return None,
            Self::Gone(place) => (Custody::GoneWithEvidence, place),
            Self::InDoubt(why) => (Custody::InDoubt, why),
            Self::Known {
                custody, evidence, ..
            } => (custody, evidence),
        };
        Some(Settlement {
            index,
            custody,
            evidence,
        })
    }
}

pub(super) fn judge(
    survey: Survey,
    queue: Queue,
    stopped: &Stopped,
    evidence: &dyn Evidence,
) -> Judged {
    let direction = direction(queue.name());
    let keys: Vec<MessageKey> = survey
        .files
        .iter()
        .map(|file| file.key(direction))
        .collect();
    let verdicts = verdicts(&keys, stopped.how(), evidence);
    Judged {
        files: survey.files.into_iter().zip(verdicts).collect(),
        suspects: survey.suspects,
    }
}

/// One verdict for each message, in order.
pub(super) fn verdicts(
    keys: &[MessageKey],
    how: HowStopped,
    evidence: &dyn Evidence,
) -> Vec<Verdict> {
    let no_answer = || Sent::CannotTell {
        why: "no answer".into(),
    };
    let answers = evidence.of(keys).into_iter().map(Some);
    answers
        .chain(std::iter::repeat_with(|| None))
        .take(keys.len())
        .map(|sent| Verdict::of(sent.unwrap_or_else(no_answer), how))
        .collect()
}

pub(super) fn take_judged(
    desk: &Desk<'_>,
    take: &Take,
    judged: Judged,
    stopped: &Stopped,
) -> Result<Taken, CustodyError> {
    let Judged {
        files,
        suspects: left,
    } = judged;
    let mut taken = Taken {
        left,
        ..Taken::default()
    };
    still_empty(desk, take)?;
    let files = free_of_others(desk, take, files, &mut taken.left);
    let files = withdraw::from_queue(desk, &take.source, files, &mut taken, stopped)
        .map_err(CustodyError::under_way)?;
    if files.is_empty() {
        return Ok(taken);
    }
    let events = intend(take, files)?;
    if off(Mechanism::ManifestBeforeMove) {
        let names: Vec<&str> = events
            .iter()
            .filter_map(|event| match event {
                Event::BatchEntries { entries, .. } => Some(entries),
                _ => None,
            })
            .flatten()
            .map(|entry| entry.name.as_str())
            .collect();
        desk.host.spool().make_folder(&take.held())?;
        desk.host
            .spool()
            .move_each(&take.source, &take.held(), &names);
    }
    desk.append(events)?;
    let finished = finish(desk, take.batch, Some(stopped), Interrupted::Not)?;
    taken.batch = Some(take.batch);
    taken.held = finished.held;
    taken.gone += finished.gone;
    taken.in_doubt += finished.in_doubt;
    taken.left.extend(finished.left);
    Ok(taken)
}

/// What is written down before files are taken: the batch, its manifest, and what is settled by evidence or by a
/// fingerprint with it.
pub(super) fn intend(
    take: &Take,
    files: Vec<(super::survey::Surveyed, Verdict)>,
) -> Result<Vec<Event>, CustodyError> {
    let mut entries = Vec::with_capacity(files.len());
    let (mut settlements, mut marked) = (Vec::new(), Vec::new());
    for (index, (file, verdict)) in (0..).zip(files) {
        entries.push(file.entry(index));
        if let Verdict::Known { fingerprint, .. } = &verdict {
            marked.push((index, *fingerprint));
        }
        settlements.extend(verdict.settlement(index));
    }
    let mut events = vec![Event::BatchIntended {
        batch: take.batch,
        step: take.step,
        queue: take.queue.name().to_owned(),
        source: text(&take.source)?,
        held: text(&take.held())?,
        files: entries.len() as u64,
        bytes: entries.iter().map(|entry| entry.size).sum(),
        copied_from: None,
    }];
    events.extend(manifest::events(take.batch, &entries));
    drop(entries);
    if !settlements.is_empty() {
        events.push(Event::Settled {
            batch: take.batch,
            entries: settlements,
        });
    }
    if !marked.is_empty() {
        events.push(Event::Immunized {
            batch: take.batch,
            entries: marked,
        });
    }
    Ok(events)
}

/// Leaves out what somebody has open, after bounded retries.
fn free_of_others<T>(
    desk: &Desk<'_>,
    take: &Take,
    files: Vec<(super::survey::Surveyed, T)>,
    left: &mut Vec<Suspect>,
) -> Vec<(super::survey::Surveyed, T)> {
    let probe = |name: &str| desk.host.spool().probe_exclusive(&take.source.join(name));
    let names = files
        .iter()
        .map(|(file, _)| file.info.name.as_str())
        .collect();
    let mut open: BTreeMap<String, HostError> = on_two_threads(names, 0, |names: Vec<&str>| {
        let probed = desk.host.spool().probe_each(&take.source, &names);
        let locked = |(name, result): (&str, Result<(), HostError>)| {
            result.err().map(|error| (name.to_owned(), error))
        };
        names.into_iter().zip(probed).map(locked).collect()
    })
    .into_iter()
    .flatten()
    .collect();
    for _ in 1..TRIES {
        if open
            .values()
            .all(|error| error.kind != HostErrorKind::Locked)
        {
            break;
        }
        desk.host.clock().sleep(BETWEEN_TRIES);
        open = open
            .into_keys()
            .filter_map(|name| probe(&name).err().map(|error| (name, error)))
            .collect();
    }
    files
        .into_iter()
        .filter(|(file, _)| match open.get(&file.info.name) {
            None => true,
            Some(error) => {
                left.push(Suspect {
                    name: file.info.name.clone(),
                    why: error.reason.clone(),
                });
                false
            }
        })
        .collect()
}

/// What stands under one of an entry's two names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Nothing,
    /// The entry's file, as the manifest has it.
    Same,
    /// The entry's file by its identity, with another size or time.
    Changed,
    /// Another file, a folder or a link.
    Other,
}

impl Seen {
    /// Compares what is there with the manifest.
    #[must_use]
    pub fn of(entry: &Entry, found: Option<&FileInfo>) -> Self {
        match found {
            None => Self::Nothing,
            Some(info) if info.kind != FileKind::File || info.file_id != entry.file_id => {
                Self::Other
            }
            Some(info) if info.size != entry.size || info.modified_ms != entry.modified_ms => {
                Self::Changed
            }
            Some(_) => Self::Same,
        }
    }
}

/// What to do with an entry of a batch that is being taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Rename it from the queue to the held folder.
    Move,
    /// It is held.
    Held,
    /// It is held, and is not what the manifest has: a person must know.
    HeldChanged,
    /// It stays in the queue.
    Leave(&'static str),
    /// It stays in the queue although it should not: a person must know.
    LeaveWithAlarm(&'static str),
    /// It is under neither name.
    Missing,
}

const STARTED_MEANWHILE: &str = "the service was started before it was moved";

/// What to do with an entry, from what stands under its name in the queue and in the held folder.
///
/// `may_move`: the service is proven stopped.
#[must_use]
pub const fn decide(queue: Seen, held: Seen, may_move: bool) -> Decision {
    match (queue, held) {
        (Seen::Same, Seen::Nothing) if may_move => Decision::Move,
        (Seen::Same, Seen::Nothing) => Decision::Leave(STARTED_MEANWHILE),
        (Seen::Changed, Seen::Nothing) => Decision::Leave("it changed after it was listed"),
        (Seen::Nothing | Seen::Other, Seen::Same) => Decision::Held,
        (Seen::Nothing | Seen::Other, Seen::Changed) => Decision::HeldChanged,
        (Seen::Same | Seen::Changed, Seen::Same | Seen::Changed) => Decision::LeaveWithAlarm(
            "it is in the queue and in the held folder; neither was removed",
        ),
        (Seen::Same | Seen::Changed, Seen::Other) => {
            Decision::LeaveWithAlarm("another file has its name in the held folder")
        }
        (Seen::Nothing | Seen::Other, Seen::Nothing | Seen::Other) => Decision::Missing,
    }
}

/// Whether a batch is being finished after an interruption.
#[derive(Clone, Copy)]
pub(super) enum Interrupted<'a> {
    /// It was intended just now: every file is in the queue, nothing is in the held folder.
    Not,
    /// The agent was interrupted; look first.
    Yes {
        /// Where the service may have run meanwhile: what it may have sent. A power cut can leave a
        /// file that was being moved under both names, and the service sends it from the one.
        ran: Option<&'a dyn Evidence>,
    },
}

pub(super) struct Finished {
    pub(super) held: u64,
    pub(super) gone: u64,
    pub(super) in_doubt: u64,
    pub(super) left: Vec<Suspect>,
}

/// Finishes a batch that was intended: moves what is still to be moved, where the service is proven
/// stopped, and writes down where everything is. Safe to interrupt and to repeat.
pub(super) fn finish(
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
pub(super) fn doubts(desk: &Desk<'_>, batch: &Batch, evidence: &dyn Evidence) -> Vec<Verdict> {
    let held = Path::new(&batch.held);
    let keys: Vec<MessageKey> = batch
        .entries
        .iter()
        .map(|entry| verify::key(desk, batch, held, entry, &entry.name))
        .collect();
    verdicts(&keys, HowStopped::Uncleanly, evidence)
}

pub(super) fn open_held_folder(
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
pub(super) fn nothing_taken(
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

pub(super) fn by_name(
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
pub(super) fn not_moved(
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

pub(super) fn write_down(
    desk: &Desk<'_>,
    id: BatchId,
    batch: &Batch,
    decisions: &[Decision],
    refusals: &BTreeMap<u32, String>,
    verdicts: Vec<Verdict>,
) -> Result<Finished, CustodyError> {
    let mut finished = Finished {
        held: 0,
        gone: 0,
        in_doubt: 0,
        left: Vec::new(),
    };
    let (mut left, mut settlements, mut alarms) = (Vec::new(), Vec::new(), Vec::new());
    for ((entry, decision), verdict) in batch.entries.iter().zip(decisions).zip(verdicts) {
        let name = &entry.name;
        let mut stay = |why: &str| {
            let why = match refusals.get(&entry.index) {
                Some(reason) => format!("{why}: {reason}"),
                None => why.to_owned(),
            };
            left.push(Left {
                index: entry.index,
                why: why.clone(),
            });
            why
        };
        // What was settled with the intention and could not be taken out of the queue may be sent
        // (again): that is said, whatever else is known.
        let doubt = |why: &str| {
            let known = match entry.custody {
                Custody::GoneWithEvidence => "it was delivered and is still in the queue",
                Custody::InDoubt => "it may have been sent and is still in the queue",
                _ => return None,
            };
            Some(format!("{known}: {why}"))
        };
        // What a fingerprint made poison may have been sent just before it was taken, too.
        if matches!(decision, Decision::Held)
            && matches!(entry.custody, Custody::Live | Custody::Poison)
        {
            settlements.extend(verdict.clone().settlement(entry.index));
        }
        match decision {
            Decision::Held => match entry.custody {
                Custody::GoneWithEvidence => finished.gone += 1,
                Custody::InDoubt => finished.in_doubt += 1,
                _ => match &verdict {
                    Verdict::Unsent | Verdict::Known { .. } => finished.held += 1,
                    Verdict::Gone(_) => finished.gone += 1,
                    Verdict::InDoubt(_) => finished.in_doubt += 1,
                },
            },
            Decision::HeldChanged => {
                finished.in_doubt += 1;
                let why = format!(
                    "`{name}` in `{}` is not what the manifest has: it changed, or was swapped, while \
                     it was taken",
                    batch.held
                );
                alarms.push(alarm(const { known("A084-held-mail-damaged") }, &why));
                settlements.push(in_doubt(entry.index, why));
            }
            Decision::Leave(why) | Decision::LeaveWithAlarm(why) => {
                let why = stay(why);
                if matches!(decision, Decision::LeaveWithAlarm(_)) {
                    let text = format!("`{name}` of `{}`: {why}", batch.source);
                    alarms.push(alarm(const { known("A087-custody-contradiction") }, text));
                }
                if let Some(doubt) = doubt(&why) {
                    finished.in_doubt += 1;
                    alarms.push(alarm(
                        const { known("A088-may-be-sent-again") },
                        format!("`{name}` of `{}`: {doubt}", batch.source),
                    ));
                    settlements.push(in_doubt(entry.index, doubt));
                }
                finished.left.push(Suspect {
                    name: name.clone(),
                    why,
                });
            }
            // What had been settled as delivered may well have been removed by the service.
            Decision::Missing if entry.custody == Custody::GoneWithEvidence => finished.gone += 1,
            Decision::Missing if matches!(verdict, Verdict::Gone(_)) => {
                finished.gone += 1;
                settlements.extend(verdict.settlement(entry.index));
            }
            Decision::Missing | Decision::Move => {
                let why = format!(
                    "`{name}` is neither in `{}` nor in `{}`",
                    batch.source, batch.held
                );
                finished.in_doubt += 1;
                alarms.push(alarm(const { known("A089-mail-missing") }, &why));
                settlements.push(in_doubt(entry.index, why));
            }
        }
    }
    let mut events = vec![Event::BatchHeld { batch: id, left }];
    if !settlements.is_empty() {
        events.push(Event::Settled {
            batch: id,
            entries: settlements,
        });
    }
    events.extend(alarms);
    desk.append(events)?;
    Ok(finished)
}

pub(super) fn in_doubt(index: u32, evidence: String) -> Settlement {
    Settlement {
        index,
        custody: Custody::InDoubt,
        evidence,
    }
}

#[cfg(test)]
mod tests {
    use super::Decision::*;
    use super::Seen::*;
    use super::*;

    #[test]
    fn each_pair_of_names_has_one_decision_and_nothing_moves_while_the_service_may_run() {
        let both = "it is in the queue and in the held folder; neither was removed";
        let taken = "another file has its name in the held folder";
        let changed = "it changed after it was listed";
        let table = [
            (Nothing, Nothing, Missing),
            (Nothing, Same, Held),
            (Nothing, Changed, HeldChanged),
            (Nothing, Other, Missing),
            (Same, Nothing, Move),
            (Same, Same, LeaveWithAlarm(both)),
            (Same, Changed, LeaveWithAlarm(both)),
            (Same, Other, LeaveWithAlarm(taken)),
            (Changed, Nothing, Leave(changed)),
            (Changed, Same, LeaveWithAlarm(both)),
            (Changed, Changed, LeaveWithAlarm(both)),
            (Changed, Other, LeaveWithAlarm(taken)),
            (Other, Nothing, Missing),
            (Other, Same, Held),
            (Other, Changed, HeldChanged),
            (Other, Other, Missing),
        ];
        for (queue, held, expected) in table {
            assert_eq!(decide(queue, held, true), expected, "{queue:?} {held:?}");
            let running = decide(queue, held, false);
            assert_ne!(running, Move, "{queue:?} {held:?}");
            if expected != Move {
                assert_eq!(running, expected);
            }
        }
    }

    #[test]
    fn what_may_have_been_sent_is_never_unsent() {
        use HowStopped::{Cleanly, Uncleanly};
        let place = || "log:1".to_owned();
        let table = [
            (Sent::NotSeen, "unsent", "unsent"),
            (
                Sent::Begun {
                    evidence: vec![place()],
                },
                "doubt",
                "doubt",
            ),
            (
                Sent::Delivered {
                    evidence: vec![place()],
                },
                "gone",
                "gone",
            ),
            (Sent::CannotTell { why: place() }, "unsent", "doubt"),
        ];
        for (sent, clean, unclean) in table {
            for (how, expected) in [(Cleanly, clean), (Uncleanly, unclean)] {
                let name = match Verdict::of(sent.clone(), how) {
                    Verdict::Unsent => "unsent",
                    Verdict::Gone(_) => "gone",
                    Verdict::InDoubt(_) => "doubt",
                    Verdict::Known { .. } => "known",
                };
                assert_eq!(name, expected, "{sent:?} {how:?}");
            }
        }
    }
}
