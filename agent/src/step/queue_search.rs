//! `queue.search`: find the messages that crash the service, and give back the others (Q168883).
//!
//! [`crate::custody::search`] decides which files the next start has; this carries it out, one start after the
//! other, and writes down what each showed. The rooms: [`suspects`] is what is known beforehand, [`start`]
//! prepares the queue and starts, [`watch`] waits until it crashed, hangs, or nothing moves any more,
//! [`observe`] reads what that showed, [`end`] brings the search to its end, good or bad.
//!
//! **What holds at every moment.** Before each start the service is proven stopped and everything of ours is
//! taken out of the queue; what may have been sent is in doubt by its logs then. Only after that exactly the
//! files to feed are placed, by the ordinary ledgered replay. An observation that is followed by another start
//! is made with the service stopped, so that nothing leaves the queue between the two. Whoever else starts
//! the service (exit, undo) takes back what an unfinished search has in the queue.
//!
//! **What may be sent twice.** A message whose sending had begun at a crash is in doubt. The search gives it
//! again, because it may be the one that crashes: the policy allows that with `max_duplicates`, and each such
//! message is written down as what may be sent twice before the start.

mod end;
mod observe;
mod start;
mod suspects;
mod watch;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use mailmend_policy::condition::Queue;
use mailmend_policy::name::ServiceName;
use mailmend_policy::step::{Action, IfStillRunning};
use mailmend_proto::run::{
    Batch, BatchId, Custody, Event, SearchMark, SearchObservation, SearchState,
};

use super::queue_quarantine::how_to_stop;
use super::queue_replay::held_by;
use super::{StepEnd, StepResult, Trouble, Work, service_stop};
use crate::custody::replay::ranges;
use crate::custody::search::{Limits, Mark, Move, Observation, Search, Suspect, Tally};
use crate::host::{ServiceState, ServiceStatus};
use crate::queue::QueueCare;
use crate::service::Care;

/// How long an ordinary stop may take where the plan has no `service.stop` of the service.
const STOP_LIMIT: Duration = Duration::from_secs(300);

/// Why a search cannot go on, with its code.
struct Stop(String);

/// One search, for one life of the agent.
struct Hunt<'a> {
    work: &'a Work<'a>,
    queue: QueueCare<'a>,
    which: Queue,
    service: &'a ServiceName,
    batch: BatchId,
    observe: Duration,
    limits: Limits,
    /// Files of others that a start was survived with, by their identity.
    cleared: RefCell<BTreeSet<u64>>,
}

pub(super) fn prepare(
    work: &Work<'_>,
    service: &ServiceName,
) -> Result<Result<(), String>, Trouble> {
    service_stop::prepare(work, service)
}

pub(super) fn apply(work: &Work<'_>) -> StepResult {
    match open(work)? {
        Ok(hunt) => hunt.go(),
        Err(end) => Ok(end),
    }
}

/// The search goes on from its records: what it knows is the fold of what was observed.
pub(super) fn recover(work: &Work<'_>) -> StepResult {
    apply(work)
}

fn open<'a>(work: &'a Work<'_>) -> Result<Result<Hunt<'a>, StepEnd>, Trouble> {
    let Action::QueueSearch {
        of,
        service,
        observe,
        max_restarts,
        max_crashes,
        max_duplicates,
        in_flight,
        ..
    } = &work.step.action
    else {
        return Ok(Err(StepEnd::no_effect("not a search")));
    };
    let (queue, mut batches) = match held_by(work, of)? {
        Ok(found) => found,
        Err(why) => return Ok(Err(StepEnd::no_effect(why))),
    };
    let state = work.state()?;
    let searched = state
        .searches
        .get(&work.step.index)
        .map(|search| search.batch);
    let anything = |batch: &BatchId| {
        let entries = state.batches.get(batch).map(|batch| &batch.entries);
        entries
            .into_iter()
            .flatten()
            .any(|entry| matches!(entry.custody, Custody::Held | Custody::InDoubt))
    };
    batches.retain(|batch| searched.map_or_else(|| anything(batch), |one| one == *batch));
    let batch = match batches[..] {
        [] => return Ok(Err(StepEnd::done("nothing is held; nothing was searched"))),
        [batch] => batch,
        _ => {
            return Ok(Err(StepEnd::no_effect(format!(
                "A081-custody-precondition: `{of}` took {} batches, and a search is of one",
                batches.len()
            ))));
        }
    };
    let which = state.batches.get(&batch).and_then(|batch| {
        let found = Queue::ALL.iter().find(|(name, _)| *name == batch.queue);
        found.map(|(_, queue)| *queue)
    });
    drop(state);
    Ok(Ok(Hunt {
        work,
        queue,
        which: which.unwrap_or(Queue::OutboundAwaitingDelivery),
        service,
        batch,
        observe: *observe,
        limits: Limits {
            // One start is kept to give back what was found good.
            max_restarts: max_restarts.saturating_sub(1).max(1),
            max_crashes: *max_crashes,
            max_duplicates: *max_duplicates,
            in_flight: *in_flight,
            confirm: true,
        },
        cleared: RefCell::default(),
    }))
}

impl Hunt<'_> {
    fn go(&self) -> StepResult {
        let recorded = self.recorded()?;
        if recorded.suspects.is_empty() {
            if let Err(end) = self.begin()? {
                return Ok(end);
            }
        } else if let Err(stop) = self.mend(&recorded)? {
            return self.give_up(&stop);
        }
        loop {
            let recorded = self.recorded()?;
            let search = self.search(&recorded)?;
            let fed = match search.next() {
                Move::Feed(fed) => fed,
                Move::Found(tally) => match self.still_to_give(&recorded, &search, &tally)? {
                    Ok(None) => return self.found(&recorded, &search, &tally),
                    Ok(Some(fed)) => fed,
                    Err(stop) => return self.give_up(&stop),
                },
                Move::Escalate { why, .. } => return self.give_up(&end::told(&why)),
            };
            if let Err(stop) = self.one_start(&recorded, &search, &fed)? {
                return self.give_up(&stop);
            }
        }
    }

    /// What the journal has of this search; empty where it has not begun.
    fn recorded(&self) -> Result<SearchState, Trouble> {
        let state = self.work.state()?;
        let found = state.searches.get(&self.work.step.index).cloned();
        Ok(found.unwrap_or_else(|| SearchState {
            batch: self.batch,
            suspects: Vec::new(),
            starts: Vec::new(),
        }))
    }

    /// The fold of what was observed.
    fn search(&self, recorded: &SearchState) -> Result<Search, Trouble> {
        let batch = self.entries()?;
        let files = recorded
            .suspects
            .iter()
            .map(|suspect| Suspect {
                index: suspect.index,
                mark: match suspect.mark {
                    SearchMark::Ordinary => Mark::Ordinary,
                    SearchMark::Locked => Mark::Locked,
                    SearchMark::Named => Mark::Named,
                },
                suspicion: suspect.suspicion,
                arrived: batch
                    .entries
                    .get(suspect.index as usize)
                    .map_or(0, |entry| entry.modified_ms),
                exposed: suspect.in_flight,
            })
            .collect();
        let seen: Vec<Observation> = recorded
            .starts
            .iter()
            .filter_map(|start| start.observed.as_ref().map(as_seen))
            .collect();
        Ok(Search::recover(files, self.limits, &seen))
    }

    /// The good files that have to be given back before the search is over; `None` where there are none and
    /// service runs.
    fn still_to_give(
        &self,
        recorded: &SearchState,
        search: &Search,
        tally: &Tally,
    ) -> Result<Result<Option<Vec<u32>>, Stop>, Trouble> {
        let given = recorded
            .starts
            .len()
            .saturating_sub(search.effort().starts as usize);
        let last = recorded
            .starts
            .last()
            .and_then(|start| start.observed.as_ref());
        if given > 0 && last.is_some_and(|seen| seen.crashed && !seen.disturbed) {
            return Ok(Err(Stop(
                "A120-search-contradiction: files that the service had stayed up with crashed it when they were given back: a message that crashes only sometimes, or something else".into(),
            )));
        }
        let batch = self.entries()?;
        let custody = |index: &u32| {
            batch
                .entries
                .get(*index as usize)
                .map(|entry| entry.custody)
        };
        let mut good: Vec<u32> = tally.good.iter().chain(&tally.left).copied().collect();
        good.sort_unstable();
        good.retain(|index| {
            matches!(
                custody(index),
                Some(Custody::Held | Custody::InDoubt | Custody::Replaying)
            )
        });
        let held = |index: &u32| custody(index) != Some(Custody::Replaying);
        let up = self
            .status()
            .is_some_and(|status| status.state == ServiceState::Running);
        if up && !good.iter().any(held) {
            return Ok(Ok(None));
        }
        if given >= 3 {
            return Ok(Err(Stop(
                "A121-search-cut-short: what was found good could not be given back in three starts".into(),
            )));
        }
        Ok(Ok(Some(good)))
    }

    fn care(&self) -> Care<'_> {
        Care {
            station: self.work.station,
            run: self.work.run,
            service: self.service,
        }
    }

    fn status(&self) -> Option<ServiceStatus> {
        self.work.host().services().query(self.service).ok()
    }

    /// Whether anything of the service is left.
    fn is_up(&self) -> bool {
        self.status()
            .is_none_or(|status| status.state != ServiceState::Stopped)
    }

    fn entries(&self) -> Result<Batch, Trouble> {
        let state = self.work.state()?;
        let found = state.batches.get(&self.batch).cloned();
        Ok(found.unwrap_or_else(|| Batch {
            step: None,
            queue: self.which.name().to_owned(),
            source: String::new(),
            held: String::new(),
            copied_from: None,
            files: 0,
            entries: Vec::new(),
            taken: false,
            replays: std::collections::BTreeMap::new(),
        }))
    }

    fn now(&self) -> Duration {
        self.work.station.now().since_boot
    }

    fn wall_ms(&self) -> i64 {
        self.work.host().clock().wall_ms()
    }

    /// As the plan itself stops the service, and how long that may take.
    fn stopping(&self) -> (IfStillRunning, Duration) {
        let stops = self.work.plan.steps.iter().filter(|step| {
            matches!(&step.action, Action::ServiceStop { service, .. } if service == self.service)
        });
        let limit = stops.map(|step| step.timeout).next_back();
        let budget = self.work.plan.limits.max_outage / 2;
        (
            how_to_stop(self.work.plan, self.service),
            limit.unwrap_or(STOP_LIMIT).min(budget),
        )
    }

    fn record_observed(&self, start: u32, seen: &Observation) -> Result<(), Trouble> {
        Ok(self.work.record(vec![Event::SearchObserved {
            step: self.work.step.index,
            start,
            observation: as_recorded(seen),
        }])?)
    }
}

fn spread(ranges: &[(u32, u32)]) -> Vec<u32> {
    ranges
        .iter()
        .flat_map(|&(first, last)| first..=last)
        .collect()
}

fn as_seen(recorded: &SearchObservation) -> Observation {
    Observation {
        crashed: recorded.crashed,
        settled: spread(&recorded.settled),
        still_there: spread(&recorded.still_there),
        in_flight: recorded.in_flight.as_deref().map(spread),
        named: recorded.named,
        locked: recorded.locked,
        disturbed: recorded.disturbed,
    }
}

fn as_recorded(seen: &Observation) -> SearchObservation {
    let sorted = |indices: &[u32]| {
        let mut indices = indices.to_vec();
        indices.sort_unstable();
        indices.dedup();
        ranges(&indices)
    };
    SearchObservation {
        crashed: seen.crashed,
        settled: sorted(&seen.settled),
        still_there: sorted(&seen.still_there),
        in_flight: seen.in_flight.as_deref().map(sorted),
        named: seen.named,
        locked: seen.locked,
        disturbed: seen.disturbed,
    }
}
