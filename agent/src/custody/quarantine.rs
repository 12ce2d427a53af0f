//! Taking the files of a queue into custody.
//!
//! The manifest is durable before the first file moves; then one no-replace rename for each file, and
//! one sync for each of the two folders, however many files. Whatever is interrupted is finished by the
//! same code from the same journal: [`decide`] says what to do from which of the two names are there.

mod decision;
mod finish;
mod intend;
mod verdict;
mod written;

use std::path::PathBuf;

use mailmend_policy::condition::Queue;
use mailmend_proto::run::{BatchId, Event};

use super::survey::{Survey, Suspect, survey};
use super::{
    CustodyError, Desk, Evidence, Limits, Stopped, held_folder, list_if_there, text, whole,
    withdraw,
};
use crate::ablation::{Mechanism, off};
use crate::faults::known;

pub use decision::{Decision, Seen, decide};
pub(super) use finish::{
    Finished, Interrupted, by_name, doubts, finish, not_moved, nothing_taken, open_held_folder,
};
use intend::free_of_others;
pub(super) use intend::intend;
pub(super) use verdict::{Judged, Verdict, in_doubt, judge, verdicts};
pub(super) use written::write_down;

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
