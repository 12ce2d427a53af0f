//! Setting aside on sight: before each start of the mail service, and while it runs.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mailmend_policy::condition::Queue;
use mailmend_proto::run::{BatchId, Custody, Ended, Event, RunId, StepState};

use super::{Known, Room, told_once};
use crate::ablation::{Mechanism, off};
use crate::custody::immune::{self, Match};
use crate::custody::quarantine::Taken;
use crate::custody::{CustodyError, Desk, Stopped};
use crate::faults::known;
use crate::journal::JournalError;
use crate::queue::{MAIL_SERVICE, QueueCare};
use crate::station::Station;

/// The name of its duty in the journal.
pub(crate) const DUTY: &str = "immunity";

/// The queues that are folders of files.
const QUEUES: [Queue; 2] = [
    Queue::InboundAwaitingConversion,
    Queue::OutboundAwaitingDelivery,
];

/// How long it does not look where nothing could be set aside, in uptime.
const REST: Duration = Duration::from_secs(60);

/// The most names in an alarm.
const NAMED: usize = 20;

/// Looks through the queues while the service runs.
pub struct Keeper {
    station: Arc<Station>,
    /// Not sooner than this it looks again, in uptime: nothing could be set aside.
    not_before: Mutex<Duration>,
}

/// What a look found and what is to be done with it: the first ones that the guard file leaves room for.
#[derive(Debug)]
pub struct Found<T> {
    /// To be set aside.
    pub aside: Vec<T>,
    /// Left where they are, because there is no room for more.
    pub over: Vec<T>,
}

/// Chooses by the room that is left; what came first is set aside first. Pure.
#[must_use]
pub fn choose<T>(found: Vec<T>, left: u64, arrived: impl Fn(&T) -> i64) -> Found<T> {
    let mut aside = found;
    aside.sort_by_key(&arrived);
    let most = usize::try_from(left).unwrap_or(usize::MAX).min(aside.len());
    let over = aside.split_off(most);
    Found { aside, over }
}

impl Keeper {
    /// A keeper for the station's queues.
    #[must_use]
    pub fn new(station: Arc<Station>) -> Self {
        Self {
            station,
            not_before: Mutex::default(),
        }
    }

    fn rest(&self) {
        let until = self.station.now().since_boot + REST;
        *self
            .not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn rests(&self) -> bool {
        let until = *self
            .not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.station.now().since_boot < until
    }

    /// Looks once, and sets aside what has a fingerprint and nobody uses. Not while a run disturbs service, and not
    /// while a person has the server in hand.
    ///
    /// # Errors
    /// Where nothing can be written down.
    pub fn look(&self) -> Result<(), JournalError> {
        let known = self.station.immunity.now();
        if known.is_empty() || !self.station.guard.immunity().allowed || known.in_hand {
            return Ok(());
        }
        if self.rests() {
            return Ok(());
        }
        // Whoever works on the service goes first; what it leaves is seen by the next look.
        let Some(_alone) = self.station.try_disturb() else {
            return Ok(());
        };
        if self.disturbed()? {
            return Ok(());
        }
        finish_open(&self.station)?;
        for queue in QUEUES {
            self.look_through(queue, &known)?;
        }
        Ok(())
    }

    /// Whether a run has a section open, undoes, or gives back.
    fn disturbed(&self) -> Result<bool, JournalError> {
        for run in self.station.journal.open_runs() {
            let state = self.station.state(run)?;
            let undoing = state.steps.values().any(|step| *step == StepState::Undoing);
            if state.section.is_some() || state.release.is_some() || undoing {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn look_through(&self, queue: Queue, known: &Known) -> Result<(), JournalError> {
        let station = &self.station;
        let run = RunId(station.host.clock().unique());
        let care = match QueueCare::open(station, run, queue) {
            Ok(care) => care,
            Err(why) => {
                tracing::debug!(%why, "immunity does not look through a queue");
                return Ok(());
            }
        };
        let found = match looked(station, &care, known) {
            Ok(found) => found,
            Err(error) => return untaken(error),
        };
        let unused = |one: &Match| {
            let path = care.folder().join(&one.file.info.name);
            station.host.spool().probe_exclusive(&path).is_ok()
        };
        let found: Vec<Match> = found
            .into_iter()
            .filter(|one| off(Mechanism::ExclusiveBeforeMoved) || unused(one))
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        let room = Room::now(station)?;
        let chosen = choose(found, room.left, |one| one.file.info.modified_ms);
        let limit = limit_alarm(station, &chosen.over, &room, care.folder());
        if chosen.aside.is_empty() {
            self.rest();
            if limit.is_none() {
                return Ok(());
            }
        }
        let service = care.service().clone();
        let mut events = vec![Event::DutyBegan {
            duty: DUTY.into(),
            service,
            why: format!(
                "{} messages of `{}` have the fingerprint of a poison",
                chosen.aside.len() + chosen.over.len(),
                care.folder().display()
            ),
        }];
        events.extend(limit);
        station.record(run, events)?;
        let taken = if chosen.aside.is_empty() {
            Ok(Taken::default())
        } else {
            self.take(&care, chosen.aside.clone())
        };
        let (how, detail) = match taken {
            Ok(taken) => {
                if taken.held + taken.in_doubt == 0 {
                    // Whatever keeps it where it is does not change within a moment.
                    self.rest();
                }
                (Ended::Committed, told(&taken))
            }
            Err(CustodyError::Journal(error)) => return Err(error),
            Err(CustodyError::Unsure { why }) => return Err(JournalError::Poisoned { why }),
            Err(error) if mid_way(station, run)? => {
                tracing::error!(%run, %error, "immunity was interrupted; the next look goes on");
                return Ok(());
            }
            Err(error) => {
                let text = format!("nothing was set aside: {error}");
                if told_once(&station.immunity_told, Some(&text)) {
                    station.record(run, vec![alarm(LIMIT, text.clone())])?;
                }
                self.rest();
                (Ended::AtRest, text)
            }
        };
        close(station, run, how, detail)
    }

    fn take(&self, care: &QueueCare<'_>, found: Vec<Match>) -> Result<Taken, CustodyError> {
        let take = care.take(care.batch_of("immunity"), None, u64::MAX);
        let head = self.station.journal.head();
        let taken = immune::take_unused(&care.desk(), &take, found, &care.records());
        self.station.count_immunized(head)?;
        taken
    }
}

/// The files of a queue that have a fingerprint. What was seen to have none is not read again, so that a start of the
/// service does not wait for a whole queue to be read.
fn looked(
    station: &Station,
    care: &QueueCare<'_>,
    known: &Known,
) -> Result<Vec<Match>, CustodyError> {
    let mut innocent = station
        .innocent
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    immune::look(&care.desk(), care.folder(), known, &mut innocent)
}

/// Whether a duty has a batch that is not finished.
fn mid_way(station: &Station, run: RunId) -> Result<bool, JournalError> {
    Ok(crate::custody::recover::needed(&*station.state(run)?))
}

const LIMIT: &str = known("A141-immunity-limit");
const ASIDE: &str = known("A140-set-aside-on-sight");

fn alarm(code: &'static str, text: String) -> Event {
    Event::Alarm {
        code: code.into(),
        text,
    }
}

fn untaken(error: CustodyError) -> Result<(), JournalError> {
    match error {
        CustodyError::Journal(error) => Err(error),
        CustodyError::Unsure { why } => Err(JournalError::Poisoned { why }),
        error => {
            tracing::warn!(%error, "immunity could not look through a queue");
            Ok(())
        }
    }
}

/// What is told of messages that there is no room for: once, until something else is to be told.
fn limit_alarm(station: &Station, over: &[Match], room: &Room, folder: &Path) -> Option<Event> {
    let text = (!over.is_empty()).then(|| {
        format!(
            "{} messages of `{}` have the fingerprint of a poison and stay there: {}",
            over.len(),
            folder.display(),
            room.why
        )
    });
    // The numbers change with every message; what is told is that the limit is reached.
    let kind = text.as_ref().map(|_| folder.display().to_string());
    told_once(&station.immunity_told, kind.as_deref())
        .then_some(text)
        .flatten()
        .map(|text| alarm(LIMIT, text))
}

fn told(taken: &Taken) -> String {
    let mut detail = format!("{} messages are set aside", taken.held);
    for (count, what) in [
        (taken.in_doubt, "are in doubt"),
        (taken.gone, "were delivered"),
        (taken.left.len() as u64, "stay in the queue"),
    ] {
        if count > 0 {
            detail = format!("{detail}, {count} {what}");
        }
    }
    for left in taken.left.iter().take(NAMED) {
        detail = format!("{detail}; `{}`: {}", left.name, left.why);
    }
    detail
}

/// Names what a run or duty has set aside because of fingerprints: mail that somebody may wait for.
fn naming(station: &Station, run: RunId, since: &[BatchId]) -> Result<Vec<Event>, JournalError> {
    let state = station.state(run)?;
    let mut names = Vec::new();
    for (batch, marked) in &state.immunized {
        let Some(found) = state.batches.get(batch).filter(|_| !since.contains(batch)) else {
            continue;
        };
        for (index, fingerprint) in marked {
            let Some(entry) = found.entries.get(*index as usize) else {
                continue;
            };
            let doubt = match entry.custody {
                Custody::Poison => "",
                Custody::InDoubt => ", in doubt",
                _ => continue,
            };
            names.push(format!(
                "`{}` (fingerprint {fingerprint}{doubt})",
                entry.name
            ));
        }
    }
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let more = names.len().saturating_sub(NAMED);
    let count = names.len();
    names.truncate(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let text = format!(
        "{count} messages have the fingerprint of a poison that was found elsewhere and are held: {}{more}; `mailmend immunity show FINGERPRINT` tells of it, `mailmend immunity withdraw FINGERPRINT` gives back what is not in doubt",
        names.join(", ")
    );
    Ok(vec![alarm(ASIDE, text)])
}

fn close(station: &Station, run: RunId, how: Ended, detail: String) -> Result<(), JournalError> {
    let mut events = naming(station, run, &[])?;
    events.push(Event::Closed { how, detail });
    station.record(run, events)
}

/// Finishes what a crash interrupted in a duty of immunity: what is in the held folder stays there, what is not is left
/// where it is while the service may run. Before anything starts the service, and before the next look.
///
/// # Errors
/// Where nothing can be written down.
pub(crate) fn finish_open(station: &Station) -> Result<(), JournalError> {
    for run in station.journal.open_runs() {
        let state = station.state(run)?;
        if state.plan.is_some() || state.release.is_some() {
            continue;
        }
        drop(state);
        let records = station.journal.records(run)?;
        let ours = records.first().is_some_and(
            |first| matches!(&first.event, Event::DutyBegan { duty, .. } if duty == DUTY),
        );
        if !ours {
            continue;
        }
        let any = Queue::OutboundAwaitingDelivery;
        if let Ok(care) = QueueCare::open(station, run, any) {
            match care.recover_while_running() {
                Ok(()) => {}
                Err(CustodyError::Journal(error)) => return Err(error),
                Err(CustodyError::Unsure { why }) => return Err(JournalError::Poisoned { why }),
                Err(error) => {
                    tracing::error!(%run, %error, "what immunity had begun could not be finished; it is tried again");
                    continue;
                }
            }
        }
        if mid_way(station, run)? {
            continue;
        }
        let detail = "interrupted, and finished later".to_owned();
        close(station, run, Ended::Committed, detail)?;
    }
    Ok(())
}

/// Before a start of the mail service, which is proven stopped: what has a fingerprint leaves the queue, in the name of the
/// run that starts it.
///
/// # Errors
/// As [`immune::take_stopped`].
pub(crate) fn before_start(
    station: &Station,
    care: &QueueCare<'_>,
    run: RunId,
    stopped: &Stopped,
) -> Result<(), CustodyError> {
    let known = station.immunity.now();
    if known.is_empty() || !station.guard.immunity().allowed {
        return Ok(());
    }
    let desk = care.desk();
    let found = looked(station, care, &known)?;
    if found.is_empty() {
        return Ok(());
    }
    let room = Room::now(station)?;
    let chosen = choose(found, room.left, |one| one.file.info.modified_ms);
    let limit = limit_alarm(station, &chosen.over, &room, care.folder());
    if let Some(limit) = limit {
        station.record(run, vec![limit])?;
    }
    if chosen.aside.is_empty() {
        return Ok(());
    }
    let former: Vec<BatchId> = station.state(run)?.batches.keys().copied().collect();
    let batch = care.batch_of(&format!("immunity {}", former.len()));
    let take = care.take(batch, None, u64::MAX);
    let head = station.journal.head();
    let taken = immune::take_stopped(&desk, &take, chosen.aside, stopped, &care.records());
    station.count_immunized(head)?;
    let taken = taken?;
    tracing::warn!(%run, service = MAIL_SERVICE, "{}", told(&taken));
    let named = naming(station, run, &former)?;
    if !named.is_empty() {
        station.record(run, named)?;
    }
    Ok(())
}

/// Held messages of a batch that have a fingerprint become poison: they are not given back.
///
/// # Errors
/// Where the journal refuses.
pub(crate) fn hold_back(
    desk: &Desk<'_>,
    station: &Station,
    batch: BatchId,
) -> Result<u64, CustodyError> {
    let known = station.immunity.now();
    if known.is_empty() || !station.guard.immunity().allowed {
        return Ok(0);
    }
    let room = Room::now(station)?;
    let found = immune::held_ones(desk, batch, &known, room.left)?;
    if found.is_empty() {
        return Ok(0);
    }
    let head = station.journal.head();
    station.record(desk.run, immune::held_aside(batch, &found))?;
    station.count_immunized(head)?;
    let count = found.len();
    let ids: std::collections::BTreeSet<String> =
        found.iter().map(|(_, id)| id.to_string()).collect();
    let ids: Vec<String> = ids.into_iter().take(NAMED).collect();
    let text = format!(
        "{count} held messages have the fingerprint of a poison that was found elsewhere and are not given back: fingerprint {}; `mailmend immunity withdraw FINGERPRINT` gives them back",
        ids.join(", ")
    );
    station.record(desk.run, vec![alarm(ASIDE, text)])?;
    Ok(count as u64)
}
