//! One start of the service for a search: the queue holds exactly what is fed.

use std::time::Duration;

use mailmend_proto::run::{
    Custody, Event, SearchStart, SearchState, ServiceChange, Settlement, StepState,
};

use super::watch::Ended;
use super::{Hunt, Stop, Trouble};
use crate::custody::replay::{Give, Which, check, ranges};
use crate::custody::search::{Move, Search};
use crate::custody::{CustodyError, Stopped, index};
use crate::host::ServiceState;
use crate::journal::JournalError;
use crate::runner::exit_due;
use crate::service::{Prepared, Start};

/// How long a service may take to say that it runs, at least.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The pause between two looks at the guard's allowance.
const ALLOWANCE: Duration = Duration::from_secs(30);

/// What was fed, and since when the logs are to be read.
pub(super) struct Running<'f> {
    pub(super) start: u32,
    pub(super) fed: &'f [u32],
    pub(super) since_ms: i64,
}

impl Hunt<'_> {
    /// Makes the start that is next, and observes it. Durable before and after.
    pub(super) fn one_start(
        &self,
        recorded: &SearchState,
        search: &Search,
        fed: &[u32],
    ) -> Result<Result<(), Stop>, Trouble> {
        if self.work.station.stopping() {
            return Err(Trouble::Interrupted);
        }
        if let Err(stop) = self.allowed()? {
            return Ok(Err(stop));
        }
        if self.is_up()
            && let Some(why) = self.work.forbidden(true)?
        {
            return Ok(Err(Stop(why)));
        }
        let start = u32::try_from(recorded.starts.len() + 1).unwrap_or(u32::MAX);
        let now = self.work.station.now();
        let exposed = recorded.exposed();
        let may_send_twice = fed.iter().filter(|index| exposed.contains(index)).count() as u64;
        self.work.record(vec![Event::SearchStarted {
            step: self.work.step.index,
            start,
            fed: ranges(fed),
            may_send_twice,
            boot: now.boot,
            since_boot_ms: crate::runner::millis(now.since_boot),
        }])?;
        self.carry_out(search, start, fed)
    }

    /// Whether time and allowances are left for one more start. Where the guard's starts of this hour are used
    /// up, the search waits for the next, with service up.
    fn allowed(&self) -> Result<Result<(), Stop>, Trouble> {
        let station = self.work.station;
        let until = self.work.until;
        if self.now() >= until {
            return Ok(Err(out_of_time()));
        }
        let (used, most) = (
            station.state(self.work.run)?.restarts,
            self.work.plan.limits.max_restarts,
        );
        if used >= most {
            return Ok(Err(Stop(format!(
                "A052-restarts-used-up: the run has started services {used} times, its policy allows {most}; raise `max_restarts` in its `[limits]`"
            ))));
        }
        let allowed = station.guard.limits().restarts_per_hour;
        if station.restarts_this_hour() < allowed {
            return Ok(Ok(()));
        }
        tracing::warn!(run = %self.work.run, allowed, "the search waits: the guard's restarts of this hour are used up");
        if !self.is_up() {
            let _alone = station.disturb();
            if let Err(not) = self.care().start(Start::BACK)? {
                return Ok(Err(Stop(not.why)));
            }
        }
        let free = station.wait_for(until, ALLOWANCE, || {
            Ok((station.restarts_this_hour() < allowed).then_some(()))
        })?;
        Ok(match free {
            Some(()) => Ok(()),
            None => Err(Stop(format!(
                "A052-restarts-used-up: the guard file allows {allowed} starts within an hour, and the search's time went by with waiting; raise `restarts_per_hour` in the guard file (the search may take {}), or the step's `timeout`",
                self.limits.max_restarts
            ))),
        })
    }

    /// Prepares the queue, starts, watches, and writes down what that showed.
    fn carry_out(
        &self,
        search: &Search,
        start: u32,
        fed: &[u32],
    ) -> Result<Result<(), Stop>, Trouble> {
        let (pid, since_ms) = match self.already_running(start, fed)? {
            Some(pid) => (Ok(pid), self.wall_ms()),
            None => {
                let _alone = self.work.station.disturb();
                if let Err(stop) = self.prepare_queue(fed)? {
                    return Ok(Err(stop));
                }
                self.next_second();
                let since_ms = self.wall_ms();
                let pid = match self.care().start_prepared(self.time_to_start()?)? {
                    Prepared::Up(pid) => Ok(pid),
                    Prepared::Died(why) => Err(why),
                    Prepared::Refused(why) => return Ok(Err(Stop(why))),
                };
                (pid, since_ms)
            }
        };
        let running = Running {
            start,
            fed,
            since_ms,
        };
        let ended = match pid {
            Err(_) => Ok(Ended::Crashed),
            Ok(pid) => self.watch(pid, fed),
        };
        match ended {
            Ok(ended) => self.conclude(search, &running, ended, pid.ok()),
            Err(Trouble::Interrupted) => self.leave(&running),
            Err(trouble) => Err(trouble),
        }
    }

    /// The process of a service that the run itself started after the files were taken, and that has had none
    /// of them since: the start with nothing is made already.
    fn already_running(&self, start: u32, fed: &[u32]) -> Result<Option<u32>, Trouble> {
        if start != 1 || !fed.is_empty() {
            return Ok(None);
        }
        let state = self.work.state()?;
        let started = state.services.get(self.service) == Some(&ServiceChange::Started);
        let untouched = state
            .batches
            .get(&self.batch)
            .is_some_and(|batch| batch.replays.is_empty() && batch.taken);
        let Some(status) = self.status() else {
            return Ok(None);
        };
        let ours = started && untouched && status.state == ServiceState::Running;
        Ok(status.process.filter(|_| ours).map(|process| process.pid))
    }

    /// Stops the service, takes out of the queues what is not to be there, and places what is fed.
    fn prepare_queue(&self, fed: &[u32]) -> Result<Result<(), Stop>, Trouble> {
        let stopped = match self.stopped()? {
            Ok(stopped) => stopped,
            Err(stop) => return Ok(Err(stop)),
        };
        if let Err(stop) = self.clear_queue()? {
            return Ok(Err(stop));
        }
        if let Err(stop) = self.place(fed, &stopped)? {
            return Ok(Err(stop));
        }
        let aside = index::set_aside(&self.queue.desk(), self.queue.imcdata(), &stopped);
        if let Err(error) = aside {
            return refused(error);
        }
        match &self.work.state()?.section {
            Some(open) if self.now() >= exit_due(open) => Ok(Err(Stop(
                "A060-budget-over: preparing a start took longer than `max_outage` allows".into(),
            ))),
            _ => Ok(Ok(())),
        }
    }

    /// The service, stopped and proven so.
    pub(super) fn stopped(&self) -> Result<Result<Stopped, Stop>, Trouble> {
        let (then, limit) = self.stopping();
        if let Err(not) = self.care().stop(self.now() + limit, then)? {
            return Ok(Err(Stop(not.why)));
        }
        Ok(self.queue.prove_stopped()?.map_err(Stop))
    }

    /// Finishes what custody was interrupted in, takes back what is ours, and sets aside what else may have
    /// been sent where the service did not stop cleanly. The service is stopped.
    pub(super) fn clear_queue(&self) -> Result<Result<(), Stop>, Trouble> {
        let Some(status) = self.status() else {
            return Ok(Err(Stop(
                "A050-service-not-stopped: the service manager does not answer".into(),
            )));
        };
        Ok(self.care().set_aside(&status)?.map_err(Stop))
    }

    /// Gives exactly these back to the queue. What is in doubt among them is written down by name as what may
    /// be sent twice, before.
    fn place(&self, fed: &[u32], stopped: &Stopped) -> Result<Result<(), Stop>, Trouble> {
        if fed.is_empty() {
            return Ok(Ok(()));
        }
        let batch = self.entries()?;
        let exposed = self.recorded()?.exposed();
        let again: Vec<Settlement> = fed
            .iter()
            .filter_map(|index| batch.entries.get(*index as usize))
            .filter(|entry| {
                entry.custody == Custody::InDoubt
                    || (entry.custody == Custody::Held && exposed.contains(&entry.index))
            })
            .map(|entry| Settlement {
                index: entry.index,
                custody: Custody::Held,
                evidence: super::end::AGAIN.to_owned(),
            })
            .collect();
        if !again.is_empty() {
            self.work.record(vec![Event::Settled {
                batch: self.batch,
                entries: again,
            }])?;
        }
        let desk = self.queue.desk();
        let give = Give {
            batch: self.batch,
            step: Some(self.work.step.index),
            target: self.queue.folder().to_path_buf(),
            which: Which::Entries(fed.to_vec()),
        };
        match check(&desk, give).and_then(|checked| checked.place(&desk, stopped)) {
            Ok(_) => Ok(Ok(())),
            Err(error) => refused(error),
        }
    }

    /// The log has whole seconds: what is begun from now on shall not look as if it was before the last crash.
    fn next_second(&self) {
        let clock = self.work.host().clock();
        let second = |ms: i64| ms.div_euclid(1000);
        let crashed = self
            .work
            .state()
            .is_ok_and(|state| state.services.get(self.service) == Some(&ServiceChange::Died));
        let now = second(clock.wall_ms());
        if crashed {
            // A wall clock that stands still ends this too.
            for _ in 0..40 {
                if second(clock.wall_ms()) != now {
                    return;
                }
                clock.sleep(Duration::from_millis(50).mul_f64(clock.pace()));
            }
        }
    }

    fn time_to_start(&self) -> Result<Duration, Trouble> {
        let state = self.work.state()?;
        let left = state.section.as_ref().map_or(START_LIMIT, |open| {
            exit_due(open).saturating_sub(self.now())
        });
        Ok(left.max(START_LIMIT))
    }

    /// A start that was begun and has no observation, because the agent was interrupted. Where the service
    /// cannot have run with it, it is made now; else it is observed late.
    pub(super) fn mend(&self, recorded: &SearchState) -> Result<Result<(), Stop>, Trouble> {
        let station = self.work.station;
        let state = self.work.state()?;
        debug_assert!(matches!(
            state.steps.get(&self.work.step.index),
            Some(StepState::Intended { .. })
        ));
        let now = station.now();
        let (rebooted, over) = state.section.as_ref().map_or((false, false), |open| {
            (open.boot != now.boot, now.since_boot >= exit_due(open))
        });
        drop(state);
        let late = match recorded.starts.last() {
            Some(last) if last.observed.is_none() => self.mend_start(recorded, last, rebooted)?,
            _ => Ok(false),
        };
        let redo = match late {
            Ok(redo) => redo,
            Err(stop) => return Ok(Err(stop)),
        };
        if station.stopping() {
            return Ok(Err(Stop(
                "A067-shutdown: the agent is shutting down".into(),
            )));
        }
        if rebooted || (over && !self.is_up()) {
            return Ok(Err(Stop(
                "A066-interrupted: the agent came back after the time that service may be disturbed".into(),
            )));
        }
        match recorded.starts.last() {
            Some(last) if redo => {
                if self.is_up()
                    && let Some(why) = self.work.forbidden(true)?
                {
                    return Ok(Err(Stop(why)));
                }
                let start = u32::try_from(recorded.starts.len()).unwrap_or(u32::MAX);
                self.carry_out(&self.search(recorded)?, start, &super::spread(&last.fed))
            }
            _ => Ok(Ok(())),
        }
    }

    /// Whether the start is to be made anew; else it has been observed.
    fn mend_start(
        &self,
        recorded: &SearchState,
        last: &SearchStart,
        rebooted: bool,
    ) -> Result<Result<bool, Stop>, Trouble> {
        let start = u32::try_from(recorded.starts.len()).unwrap_or(u32::MAX);
        let Some((since_ms, intended)) = self.since(start)? else {
            return Ok(Ok(false));
        };
        if !intended && !rebooted && !self.started_by_others(since_ms) {
            return Ok(Ok(true));
        }
        let fed = super::spread(&last.fed);
        let running = Running {
            start,
            fed: &fed,
            since_ms,
        };
        let _alone = self.work.station.disturb();
        let up = self.is_up();
        let died = !up && self.died_unseen()?;
        if died {
            self.care().note_watched(None)?;
        }
        let failed = self
            .status()
            .is_some_and(|status| !up && status.exit_code.is_some_and(|code| code != 0));
        // It died, perhaps while it was being stopped; or it died and was started again, by whomever.
        let crashed = died || failed || rebooted || self.starts_since(since_ms) > 1;
        if up {
            if let Some(why) = self.work.forbidden(true)? {
                return Ok(Err(Stop(why)));
            }
            if let Err(stop) = self.stopped()? {
                return Ok(Err(stop));
            }
        }
        let mut seen = match self.look(&running, crashed)? {
            Ok(seen) => seen,
            Err(stop) => return Ok(Err(stop)),
        };
        seen.disturbed = true;
        self.record_observed(start, &seen)?;
        Ok(Ok(false))
    }

    /// When a start was begun, and whether the service was asked to start since.
    fn since(&self, start: u32) -> Result<Option<(i64, bool)>, Trouble> {
        let mut found = None;
        for record in self.work.station.journal.records(self.work.run)? {
            match (&record.event, &mut found) {
                (Event::SearchStarted { step, start: n, .. }, found)
                    if *step == self.work.step.index && *n == start =>
                {
                    *found = Some((record.at_ms, false));
                }
                (
                    Event::ServiceChanged {
                        service,
                        change: ServiceChange::StartIntended,
                        ..
                    },
                    Some((_, intended)),
                ) if service == self.service => *intended = true,
                _ => {}
            }
        }
        Ok(found)
    }

    /// How often the event log shows the service starting since then; a log that cannot be read shows many.
    fn starts_since(&self, since_ms: i64) -> usize {
        let events = self.work.host().events();
        events
            .read(self.service.as_str(), since_ms)
            .map_or(usize::MAX, |events| {
                let started =
                    |event: &&crate::host::EventRecord| event.id == crate::condition::EVENT_STARTED;
                events.iter().filter(started).count()
            })
    }

    fn started_by_others(&self, since_ms: i64) -> bool {
        self.starts_since(since_ms) > 0
    }

    /// The agent is told to end while it watches: files that may crash the service are not left to it. The
    /// search goes on at the next start of the agent.
    fn leave(&self, running: &Running<'_>) -> Result<Result<(), Stop>, Trouble> {
        if running.fed.is_empty() {
            return Err(Trouble::Interrupted);
        }
        let _alone = self.work.station.disturb();
        if self.is_up() {
            if self.work.forbidden(true)?.is_some() {
                return Err(Trouble::Interrupted);
            }
            if let Err(stop) = self.stopped()? {
                return Ok(Err(stop));
            }
        } else {
            self.care().note_watched(None)?;
        }
        let crashed = self.starts_since(running.since_ms) > 1;
        let mut seen = match self.look(running, crashed)? {
            Ok(seen) => seen,
            Err(stop) => return Ok(Err(stop)),
        };
        seen.disturbed = true;
        self.record_observed(running.start, &seen)?;
        match self.care().start(Start::BACK)? {
            Ok(_) => Err(Trouble::Interrupted),
            Err(not) => Ok(Err(Stop(not.why))),
        }
    }

    /// Whether the search would be over with this, and what is good is where it belongs: then the service is
    /// not stopped once more.
    pub(super) fn is_over_with(
        &self,
        search: &Search,
        seen: &crate::custody::search::Observation,
    ) -> Result<bool, Trouble> {
        let Move::Found(tally) = search.clone().after(seen).next() else {
            return Ok(false);
        };
        let batch = self.entries()?;
        Ok(tally.good.iter().chain(&tally.left).all(|index| {
            let entry = batch.entries.get(*index as usize);
            entry.is_some_and(|entry| {
                matches!(
                    entry.custody,
                    Custody::Replaying | Custody::GoneWithEvidence
                )
            })
        }))
    }
}

pub(super) fn out_of_time() -> Stop {
    Stop(
        "A121-search-cut-short: the step's time is over; raise its `timeout`, or look at what is suspected"
            .into(),
    )
}

/// What custody's refusal means for a search.
pub(super) fn refused(error: CustodyError) -> Result<Result<(), Stop>, Trouble> {
    match error {
        CustodyError::Journal(error) => Err(error.into()),
        CustodyError::Unsure { why } => Err(JournalError::Poisoned { why }.into()),
        error => Ok(Err(Stop(error.to_string()))),
    }
}
