//! Giving held mail back to the queue that it came from.
//!
//! Each file gets its name in the queue as a second name (itself a no-replace operation), so that the
//! held name stays as escrow until there is evidence of delivery. A name that is taken in the queue is
//! never replaced: the file gets a new name derived from its custody id, which an interrupted replay
//! finds again by the file's identity.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mailmend_proto::run::{Batch, BatchId, Custody, Entry, Event, Left};

use super::quarantine::Seen;
use super::verify::{Verified, unchanged, verify};
use super::{CustodyError, Desk, Stopped, alarm, list_if_there, text};
use crate::ablation::{Mechanism, off};
use crate::faults::known;
use crate::host::{FileInfo, FileKind, HostError, HostErrorKind};

/// Which held entries of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// All of them; also what undoing a quarantine gives back.
    All,
    /// At most so many, oldest first.
    First(u64),
    /// These; those that are not held are left out.
    Entries(Vec<u32>),
}

/// What is to be given back. The run of the desk must be the one that holds the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Give {
    /// The batch.
    pub batch: BatchId,
    /// The step that asks; none where an undo or an operator does.
    pub step: Option<u32>,
    /// The folder; the batch's source, unless an operator says otherwise.
    pub target: PathBuf,
    /// Which entries.
    pub which: Which,
}

/// What a replay came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Given {
    /// Its number in the batch; none where there was nothing to give back.
    pub replay: Option<u32>,
    /// Files in the queue again.
    pub placed: u64,
    /// Those of them that took another name.
    pub renamed: Vec<(u32, String)>,
    /// Files that stayed held, and why.
    pub left: Vec<Left>,
}

/// The held entries that a replay takes, oldest first by the time of the file, then by index.
/// Only what is held: never what is in doubt, poison or gone.
#[must_use]
pub fn selection(batch: &Batch, which: &Which) -> Vec<u32> {
    let mut held: Vec<&Entry> = batch
        .entries
        .iter()
        .filter(|entry| entry.custody == Custody::Held)
        .collect();
    held.sort_by_key(|entry| (entry.modified_ms, entry.index));
    match which {
        Which::All => {}
        Which::First(n) => held.truncate(usize::try_from(*n).unwrap_or(usize::MAX)),
        Which::Entries(wanted) => {
            let wanted: BTreeSet<u32> = wanted.iter().copied().collect();
            held.retain(|entry| wanted.contains(&entry.index));
        }
    }
    held.into_iter().map(|entry| entry.index).collect()
}

/// A replay whose files were read and found whole.
#[derive(Debug, Clone)]
pub struct Checked {
    give: Give,
    verified: Verified,
}

/// Selects and reads the held files. May be done while the service still runs. Files that are damaged
/// raise an alarm in the journal and are left.
///
/// # Errors
/// Where the batch is unknown or the journal refuses.
pub fn check(desk: &Desk<'_>, give: Give) -> Result<Checked, CustodyError> {
    text(&give.target)?;
    let batch = desk.batch(give.batch)?;
    let verified = verify(desk, &batch, selection(&batch, &give.which));
    let alarms: Vec<Event> = verified
        .damaged
        .iter()
        .map(|left| {
            let text = format!(
                "entry {} of batch `{}`: {}",
                left.index, give.batch, left.why
            );
            alarm(const { known("A084-held-mail-damaged") }, text)
        })
        .collect();
    desk.append(alarms)?;
    Ok(Checked { give, verified })
}

impl Checked {
    /// What reading the files showed.
    #[must_use]
    pub const fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Puts the files into the queue, the service being stopped. Durable on return; only then may the
    /// service be started.
    ///
    /// # Errors
    /// `A080-service-not-stopped` with nothing placed; `A085-durability-unknown` where the disk
    /// failed: what was placed is found again by recovery.
    pub fn place(self, desk: &Desk<'_>, stopped: &Stopped) -> Result<Given, CustodyError> {
        stopped.still(desk.host)?;
        let Self { give, verified } = self;
        let batch = desk.batch(give.batch)?;
        let mut left = verified.damaged;
        let held = by_name(desk, Path::new(&batch.held))?;
        let mut whole = Vec::with_capacity(verified.whole.len());
        for index in verified.whole {
            // The state may have moved on since the check: a second call gives nothing back twice.
            let Some(entry) = batch.entries.get(index as usize) else {
                continue;
            };
            if entry.custody != Custody::Held {
                let why = format!("it is {}, not held", entry.custody.name());
                left.push(Left { index, why });
            } else if let Err(why) = unchanged(entry, held.get(&entry.name)) {
                left.push(Left { index, why });
            } else {
                whole.push(index);
            }
        }
        if whole.is_empty() {
            return Ok(Given {
                left,
                ..Given::default()
            });
        }
        if off(Mechanism::IntentionBeforePlace) {
            let names: Vec<&str> = whole
                .iter()
                .filter_map(|index| batch.entries.get(*index as usize))
                .map(|entry| entry.name.as_str())
                .collect();
            let spool = desk.host.spool();
            spool.link_each(Path::new(&batch.held), &give.target, &names);
        }
        let replay = u32::try_from(batch.replays.len() + 1).unwrap_or(u32::MAX);
        desk.append(vec![Event::ReplayIntended {
            batch: give.batch,
            replay,
            step: give.step,
            target: text(&give.target)?,
            entries: ranges(&whole),
        }])?;
        let mut given = finish(desk, give.batch, replay, Some(stopped), false)?;
        left.append(&mut given.left);
        given.left = left;
        Ok(given)
    }
}

/// Indices in order, as inclusive ranges.
pub(crate) fn ranges(indices: &[u32]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &index in indices {
        match ranges.last_mut() {
            Some((_, last)) if index == *last + 1 => *last = index,
            _ => ranges.push((index, index)),
        }
    }
    ranges
}

/// Where a replayed entry's file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Give it its name in the queue.
    Link,
    /// It is in the queue.
    Placed,
    /// It is in the queue, and its escrow is not what it should be: a person must know.
    PlacedWithoutEscrow,
    /// It is not in the queue and the service may have run: it may have been sent. Evidence decides.
    MayBeSent,
    /// It stays held.
    Keep(&'static str),
    /// It is under neither name: a person must know.
    Missing,
}

/// What to do with an entry of a replay, from whether its file is in the queue (by identity, whatever
/// its name) and what stands under its held name.
///
/// `may_link`: the service is proven stopped. `may_have_run`: it may have run since the intention.
#[must_use]
pub const fn decide(in_queue: bool, held: Seen, may_link: bool, may_have_run: bool) -> Decision {
    match (in_queue, held) {
        (true, Seen::Same) => Decision::Placed,
        // A file that the service wrote to has changed under both names.
        (true, Seen::Nothing | Seen::Changed | Seen::Other) => Decision::PlacedWithoutEscrow,
        (false, Seen::Same) if may_have_run => Decision::MayBeSent,
        (false, Seen::Same) if may_link => Decision::Link,
        (false, Seen::Same) => Decision::Keep("the service was started before it was placed"),
        (false, Seen::Nothing | Seen::Changed | Seen::Other) => Decision::Missing,
    }
}

/// Finishes a replay that was intended: places what is still to be placed, where the service is
/// proven stopped, and writes down where everything is. Safe to interrupt and to repeat.
pub(super) fn finish(
    desk: &Desk<'_>,
    id: BatchId,
    number: u32,
    stopped: Option<&Stopped>,
    may_have_run: bool,
) -> Result<Given, CustodyError> {
    finish_placing(desk, id, number, stopped, may_have_run).map_err(CustodyError::under_way)
}

fn finish_placing(
    desk: &Desk<'_>,
    id: BatchId,
    number: u32,
    stopped: Option<&Stopped>,
    may_have_run: bool,
) -> Result<Given, CustodyError> {
    let batch = desk.batch(id)?;
    let Some(replay) = batch.replays.get(&number) else {
        return Err(CustodyError::refused(
            const { known("A086-batch-unknown") },
            format!("batch `{id}` has no replay {number}"),
        ));
    };
    let (target, held_folder) = (PathBuf::from(&replay.target), PathBuf::from(&batch.held));
    let queue = list_if_there(desk.host, &target)?.unwrap_or_default();
    let held = by_name(desk, &held_folder)?;
    let mut taken: BTreeSet<String> = queue.iter().map(|info| folded(&info.name)).collect();
    let ours: BTreeMap<u64, String> = queue
        .into_iter()
        .filter(|info| info.kind == FileKind::File)
        .map(|info| (info.file_id, info.name))
        .collect();
    let may_have_run = may_have_run || replay.start_followed;
    let proof = stopped.map_or(Ok(()), |stopped| stopped.at_first_move(desk.host));
    let stopped = stopped.filter(|_| proof.is_ok());

    let mut given = Given {
        replay: Some(number),
        ..Given::default()
    };
    let (mut alarms, mut settlements) = (Vec::new(), Vec::new());
    let mut due = Vec::new();
    for index in replay
        .entries
        .iter()
        .flat_map(|&(first, last)| first..=last)
    {
        let Some(entry) = batch.entries.get(index as usize) else {
            continue;
        };
        let name = ours.get(&entry.file_id);
        let seen = Seen::of(entry, held.get(&entry.name));
        match decide(name.is_some(), seen, stopped.is_some(), may_have_run) {
            Decision::Link => due.push(entry),
            Decision::Placed => given.count(entry, name.map_or("", String::as_str)),
            Decision::PlacedWithoutEscrow => {
                given.count(entry, name.map_or("", String::as_str));
                let text = format!(
                    "`{}` is in the queue `{}`, and its copy in `{}` is gone or changed",
                    entry.name, replay.target, batch.held
                );
                alarms.push(alarm(const { known("A084-held-mail-damaged") }, text));
            }
            // It stays `replaying`; settling decides by evidence.
            Decision::MayBeSent => given.placed += 1,
            Decision::Keep(why) => given.left.push(Left {
                index,
                why: why.to_owned(),
            }),
            Decision::Missing => {
                let text = format!(
                    "`{}` is neither in the queue `{}` nor whole in `{}`",
                    entry.name, replay.target, batch.held
                );
                settlements.push(mailmend_proto::run::Settlement {
                    index,
                    custody: Custody::InDoubt,
                    evidence: text.clone(),
                });
                alarms.push(alarm(const { known("A089-mail-missing") }, text));
            }
        }
    }
    for (entry, linked) in link_all(desk, id, due, (&held_folder, &target), &mut taken)? {
        match linked {
            Ok(name) => given.count(entry, &name),
            Err(why) => given.left.push(Left {
                index: entry.index,
                why,
            }),
        }
    }
    // The names in the queue must be durable before a start can consume them.
    desk.sync(&target)?;
    let mut events = vec![Event::ReplayPlaced {
        batch: id,
        replay: number,
        renamed: given.renamed.clone(),
        left: given.left.clone(),
    }];
    if !settlements.is_empty() {
        events.push(Event::Settled {
            batch: id,
            entries: settlements,
        });
    }
    events.extend(alarms);
    desk.append(events)?;
    proof.map(|()| given)
}

impl Given {
    fn count(&mut self, entry: &Entry, name: &str) {
        self.placed += 1;
        if !name.is_empty() && name != entry.name {
            self.renamed.push((entry.index, name.to_owned()));
        }
    }
}

/// The name that a file got in the queue, or why it got none, where that is known.
type Linked = Result<String, String>;

/// Gives held files their names in the queue: first, in one go, to all whose own name is free.
fn link_all<'e>(
    desk: &Desk<'_>,
    batch: BatchId,
    due: Vec<&'e Entry>,
    (held, target): (&Path, &Path),
    taken: &mut BTreeSet<String>,
) -> Result<Vec<(&'e Entry, Linked)>, CustodyError> {
    let (own, colliding): (Vec<&Entry>, Vec<&Entry>) = due
        .into_iter()
        .partition(|entry| taken.insert(folded(&entry.name)));
    let names: Vec<&str> = own.iter().map(|entry| entry.name.as_str()).collect();
    let results = desk.host.spool().link_each(held, target, &names);
    let mut linked = Vec::with_capacity(own.len() + colliding.len());
    for (entry, result) in own.into_iter().zip(results) {
        let result = match result {
            Ok(()) => Ok(entry.name.clone()),
            Err(error) => match not_linked(desk, entry, target, &entry.name, error)? {
                Some(result) => result,
                None => link_renamed(desk, batch, entry, (held, target), taken)?,
            },
        };
        linked.push((entry, result));
    }
    for entry in colliding {
        let result = link_renamed(desk, batch, entry, (held, target), taken)?;
        linked.push((entry, result));
    }
    Ok(linked)
}

/// Gives a held file the first derived name that is free.
fn link_renamed(
    desk: &Desk<'_>,
    batch: BatchId,
    entry: &Entry,
    (held, target): (&Path, &Path),
    taken: &mut BTreeSet<String>,
) -> Result<Linked, CustodyError> {
    for attempt in 1..16 {
        let name = derived_name(batch, entry.index, attempt);
        if !taken.insert(folded(&name)) {
            continue;
        }
        let spool = desk.host.spool();
        match spool.link_new(&held.join(&entry.name), &target.join(&name)) {
            Ok(()) => return Ok(Ok(name)),
            Err(error) => {
                if let Some(result) = not_linked(desk, entry, target, &name, error)? {
                    return Ok(result);
                }
            }
        }
    }
    Ok(Err(
        "every name that it could take is taken in the queue".into()
    ))
}

/// After a link that failed: whatever the error says, looks, for a name that is there must not count as
/// held. `None` where another file has the name: somebody else writes here.
fn not_linked(
    desk: &Desk<'_>,
    entry: &Entry,
    target: &Path,
    name: &str,
    error: HostError,
) -> Result<Option<Linked>, CustodyError> {
    let found = desk.host.spool().look(&target.join(name))?;
    Ok(match found {
        Some(info) if info.file_id == entry.file_id => Some(Ok(name.to_owned())),
        Some(_) if error.kind == HostErrorKind::Exists => None,
        _ => Some(Err(error.to_string())),
    })
}

/// A spool name of eight letters and digits, derived from the custody id. Equal on every try.
pub(super) fn derived_name(batch: BatchId, index: u32, attempt: u32) -> String {
    const LETTERS: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut hasher = blake3::Hasher::new();
    hasher.update(batch.0.as_bytes());
    hasher.update(&index.to_le_bytes());
    hasher.update(&attempt.to_le_bytes());
    let hash = hasher.finalize();
    hash.as_bytes()[..8]
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
        .collect()
}

/// Spool names are equal whatever their case (exchange facts §3).
fn folded(name: &str) -> String {
    name.to_ascii_uppercase()
}

fn by_name(desk: &Desk<'_>, folder: &Path) -> Result<BTreeMap<String, FileInfo>, CustodyError> {
    let entries = list_if_there(desk.host, folder)?.unwrap_or_default();
    Ok(entries
        .into_iter()
        .map(|info| (info.name.clone(), info))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_of_a_replayed_file_has_one_decision() {
        use Decision::*;
        let keep = Keep("the service was started before it was placed");
        for may_link in [false, true] {
            for ran in [false, true] {
                assert_eq!(decide(true, Seen::Same, may_link, ran), Placed);
                for held in [Seen::Nothing, Seen::Changed, Seen::Other] {
                    assert_eq!(decide(true, held, may_link, ran), PlacedWithoutEscrow);
                    assert_eq!(decide(false, held, may_link, ran), Missing);
                }
                let expected = match (ran, may_link) {
                    (true, _) => MayBeSent,
                    (false, true) => Link,
                    (false, false) => keep,
                };
                assert_eq!(decide(false, Seen::Same, may_link, ran), expected);
            }
        }
    }

    #[test]
    fn derived_names_are_spool_names_and_do_not_repeat() {
        let batch = BatchId(uuid::Uuid::from_u128(5));
        let mut seen = BTreeSet::new();
        for index in 0..500 {
            for attempt in 1..4 {
                let name = derived_name(batch, index, attempt);
                assert!(super::super::survey::is_spool_name(&name), "{name}");
                assert_eq!(name, derived_name(batch, index, attempt));
                seen.insert(name);
            }
        }
        assert_eq!(seen.len(), 1500);
    }

    #[test]
    fn indices_become_ranges_without_gaps_or_overlap() {
        assert_eq!(ranges(&[]), []);
        assert_eq!(ranges(&[3]), [(3, 3)]);
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), [(0, 2), (5, 5), (7, 8)]);
    }
}
