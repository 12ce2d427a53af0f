//! Starting a service: what may have been sent is set aside first where it did not stop cleanly, and it is
//! watched before the start counts.

use std::time::Duration;

use mailmend_policy::condition::Queue;
use mailmend_policy::name::ServiceName;
use mailmend_policy::plan::Plan;
use mailmend_policy::step::Action;
use mailmend_proto::run::{Batch, BatchId, Outcome, ServiceChange, StepState};

use super::{Care, POLL, pid};
use crate::ablation::{Mechanism, off};
use crate::custody::{CustodyError, HowStopped};
use crate::host::{Effect, HostErrorKind, ServiceState, ServiceStatus, exit_told};
use crate::immunity;
use crate::journal::JournalError;
use crate::queue::{MAIL_SERVICE, QueueCare, how_stopped};
use crate::station::Trouble;

/// How long a service may take to say that it runs.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How often the exit of a section, an undo or the watchdog tries to start a service.
const ATTEMPTS: u32 = 3;

/// How long a service that the exit of a section, an undo or the watchdog started is watched.
const OBSERVE: Duration = Duration::from_secs(10);

/// What is told of a service that did not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotStarted {
    /// Whether it is known that it has not run for a moment.
    pub(crate) never_ran: bool,
    /// Why, for people.
    pub(crate) why: String,
}

/// How a service is started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// How long it must stay up.
    pub(crate) observe: Duration,
    /// How often to try.
    pub(crate) attempts: u32,
    /// How long it may take to say that it runs.
    pub(crate) limit: Duration,
    /// What ends the tries before `attempts` does; looked at before each of them.
    pub(crate) bound: Bound,
}

/// What bounds how often a service is started.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// Nothing may keep service from being started again: an exit, an undo.
    Nothing,
    /// The guard's starts within an hour.
    Hour,
    /// These, and the most starts that the run may have in all.
    Run(u32),
}

impl Start {
    /// The start that gives service back after a section was left or an undo.
    pub(crate) const BACK: Self = Self {
        observe: OBSERVE,
        attempts: ATTEMPTS,
        limit: START_LIMIT,
        bound: Bound::Nothing,
    };

    /// The start of a service that died by itself: nobody is owed it beyond the guard's allowance.
    pub(crate) const OF_WATCHDOG: Self = Self {
        bound: Bound::Hour,
        ..Self::BACK
    };
}

impl Care<'_> {
    /// Starts the service, after what may have been sent was set aside where it did not stop cleanly,
    /// and watches it. Tries again where it dies.
    ///
    /// Folders that the run holds whole are listed then: that takes long, and service does not wait for it.
    pub(crate) fn start(&self, how: Start) -> Result<Result<String, NotStarted>, Trouble> {
        let started = self.start_and_watch(how)?;
        if !self.station.state(self.run)?.folders.is_empty() {
            self.list_whole_folders()?;
        }
        Ok(started)
    }

    fn list_whole_folders(&self) -> Result<(), Trouble> {
        let Ok(care) = QueueCare::open(self.station, self.run, Queue::OutboundAwaitingDelivery)
        else {
            return Ok(());
        };
        match care.list_whole_folders() {
            Ok(()) => Ok(()),
            Err(CustodyError::Journal(error)) => Err(error.into()),
            Err(CustodyError::Unsure { why }) => Err(JournalError::Poisoned { why }.into()),
            // It is tried again by whatever step needs the messages.
            Err(error) => {
                tracing::error!(run = %self.run, %error, "the held folder could not be listed");
                Ok(())
            }
        }
    }

    fn start_and_watch(&self, how: Start) -> Result<Result<String, NotStarted>, Trouble> {
        let mut never_ran = true;
        // Whether the service was told to start, so that it is the service that does not stay.
        let mut asked = false;
        let mut why = String::new();
        for attempt in 1..=how.attempts.max(1) {
            let status = match self.query() {
                Ok(status) => status,
                Err(error) => {
                    why = format!("could not {error}");
                    self.station.host.clock().sleep(POLL);
                    continue;
                }
            };
            let by_us = matches!(
                self.last()?,
                Some(ServiceChange::StartIntended | ServiceChange::Started)
            );
            let status = self.stopped_at_last(status, how.limit)?;
            if status.state == ServiceState::Stopped {
                if let Some(not) = self.not_allowed(how.bound)? {
                    return Ok(Err(NotStarted {
                        never_ran,
                        why: not,
                    }));
                }
                let aside = self.set_aside(&status)?;
                let ready = match aside {
                    Ok(()) => self.name_inbound(&status)?,
                    not => not,
                };
                if let Err(not) = ready {
                    why = not;
                    self.station.host.clock().sleep(POLL);
                    continue;
                }
                self.note(ServiceChange::StartIntended, 0)?;
                match self.station.host.services().request_start(self.service) {
                    Err(error) if error.kind != HostErrorKind::Service(1056) => {
                        why = format!("could not {error}");
                        if error.effect == Effect::None
                            && matches!(error.kind, HostErrorKind::Service(1058 | 1060))
                        {
                            break;
                        }
                    }
                    _ => asked = true,
                }
            } else if !by_us {
                // Somebody else started it: what was placed may have been read from then on.
                self.note(ServiceChange::StartIntended, pid(status.process.as_ref()))?;
            }
            match self.watch(how)? {
                Watched::Up(pid) => {
                    self.note(ServiceChange::Started, pid)?;
                    let tries = if attempt == 1 {
                        String::new()
                    } else {
                        format!(" at attempt {attempt}")
                    };
                    return Ok(Ok(format!(
                        "`{}` runs{tries} and was watched for {:?}",
                        self.service, how.observe
                    )));
                }
                Watched::Never(told) => {
                    if why.is_empty() {
                        why = told;
                    }
                }
                Watched::Died(told) => {
                    never_ran = false;
                    asked = true;
                    why = told;
                    self.note(ServiceChange::Died, 0)?;
                }
            }
        }
        let why = format!("A051-service-not-started: `{}`: {why}", self.service);
        let why = if asked { self.with_elsewhere(why) } else { why };
        Ok(Err(NotStarted { never_ran, why }))
    }

    /// Starts the service with its queue as it is: whoever calls this has set aside what may have been sent,
    /// and prepared the queue. Waits until it runs; watching it is the caller's business.
    pub(crate) fn start_prepared(&self, limit: Duration) -> Result<Prepared, Trouble> {
        self.note(ServiceChange::StartIntended, 0)?;
        if let Err(error) = self.station.host.services().request_start(self.service)
            && error.kind != HostErrorKind::Service(1056)
            && error.effect == Effect::None
        {
            return Ok(Prepared::Refused(format!(
                "A051-service-not-started: could not {error}"
            )));
        }
        Ok(match self.come_up(limit)? {
            Ok(pid) => Prepared::Up(pid),
            Err(Watched::Never(why) | Watched::Died(why)) => {
                self.note(ServiceChange::Died, 0)?;
                Prepared::Died(why)
            }
            Err(Watched::Up(pid)) => Prepared::Up(pid),
        })
    }

    /// Whether the process that was started still runs: `None` where it does, else how it ended.
    pub(crate) fn ended(&self, pid_up: u32) -> Option<String> {
        match self.query() {
            Ok(status)
                if status.state != ServiceState::Stopped
                    && pid(status.process.as_ref()) == pid_up =>
            {
                None
            }
            Ok(_) => Some(self.exit_text("it died")),
            Err(_) => None,
        }
    }

    /// Notes that the service was up for the whole time that it was watched, or was found dead.
    pub(crate) fn note_watched(&self, up: Option<u32>) -> Result<(), Trouble> {
        match up {
            Some(pid) => self.note(ServiceChange::Started, pid),
            None => self.note(ServiceChange::Died, 0),
        }
    }

    /// The services that this run stopped and that no step of its plan names: they depend on others.
    pub(crate) fn stopped_with_it(&self, plan: &Plan) -> Result<Vec<ServiceName>, Trouble> {
        let state = self.station.state(self.run)?;
        let named = |service: &ServiceName| {
            plan.steps.iter().any(|step| {
                matches!(
                    &step.action,
                    Action::ServiceStop { service: other, .. }
                    | Action::ServiceStart { service: other, .. }
                    | Action::ServiceKill { service: other } if other == service
                )
            })
        };
        Ok(state
            .services
            .iter()
            .filter(|(service, change)| **change != ServiceChange::Started && !named(service))
            .map(|(service, _)| service.clone())
            .collect())
    }

    /// Waits for a stop that is under way to end.
    fn stopped_at_last(
        &self,
        status: ServiceStatus,
        limit: Duration,
    ) -> Result<ServiceStatus, Trouble> {
        if status.state != ServiceState::Stopping {
            return Ok(status);
        }
        let until = self.station.now().since_boot + limit;
        let later = self.station.wait_out(until, POLL, || {
            let later = self.query().ok();
            Ok(later.filter(|status| status.state != ServiceState::Stopping))
        })?;
        Ok(later.unwrap_or(status))
    }

    /// Why no further start is allowed, where that is so.
    fn not_allowed(&self, bound: Bound) -> Result<Option<String>, Trouble> {
        let most = match bound {
            Bound::Nothing => return Ok(None),
            Bound::Hour => return Ok(self.hour_used_up()),
            Bound::Run(most) => most,
        };
        let state = self.station.state(self.run)?;
        if state.restarts >= most {
            return Ok(Some(format!(
                "A052-restarts-used-up: the run has started services {} times, its policy allows {most}",
                state.restarts
            )));
        }
        Ok(self.hour_used_up())
    }

    /// Why the guard allows no further start within this hour, where that is so.
    pub(crate) fn hour_used_up(&self) -> Option<String> {
        let allowed = self.station.guard.limits().restarts_per_hour;
        let used = self.station.restarts_this_hour();
        (used >= allowed).then(|| {
            format!(
                "A052-restarts-used-up: services were started {used} times within an hour, the guard file allows {allowed}"
            )
        })
    }

    /// Makes custody whole, and sets aside what may have been sent, where the mail service is stopped and
    /// did not stop cleanly. Where that cannot be done it is not started: what is sent twice cannot be
    /// taken back.
    pub(crate) fn set_aside(&self, status: &ServiceStatus) -> Result<Result<(), String>, Trouble> {
        if !self.service.as_str().eq_ignore_ascii_case(MAIL_SERVICE) {
            return Ok(Ok(()));
        }
        // What is half set aside by immunity is finished first: it is of another run.
        immunity::finish_open(self.station)?;
        match self.set_doubt_aside(status)? {
            Ok(()) => self.set_poison_aside(),
            not => Ok(not),
        }
    }

    /// Takes out of the queues what has the fingerprint of a poison. Where that cannot be done the service is started all the
    /// same: it may die of the message, and stays down for want of a start in no case.
    fn set_poison_aside(&self) -> Result<Result<(), String>, Trouble> {
        for queue in [
            Queue::InboundAwaitingConversion,
            Queue::OutboundAwaitingDelivery,
        ] {
            let Ok(care) = QueueCare::open(self.station, self.run, queue) else {
                continue;
            };
            let Ok(stopped) = care.prove_stopped()? else {
                continue;
            };
            match immunity::before_start(self.station, &care, self.run, &stopped) {
                Ok(()) => {}
                Err(CustodyError::Journal(error)) => return Err(error.into()),
                Err(CustodyError::Unsure { why }) => {
                    return Err(JournalError::Poisoned { why }.into());
                }
                Err(error) => {
                    tracing::error!(run = %self.run, %error, "what has the fingerprint of a poison could not be set aside");
                }
            }
        }
        Ok(Ok(()))
    }

    fn set_doubt_aside(&self, status: &ServiceStatus) -> Result<Result<(), String>, Trouble> {
        if !off(Mechanism::CustodyWholeBeforeStart) {
            self.finish_custody()?;
        }
        if let Err(why) = self.take_back_searched()? {
            return Ok(Err(why));
        }
        if off(Mechanism::InDoubtSetAside) {
            return Ok(Ok(()));
        }
        let state = self.station.state(self.run)?;
        if how_stopped(status, &state, self.station) == HowStopped::Cleanly {
            return Ok(Ok(()));
        }
        drop(state);
        for queue in [
            Queue::OutboundAwaitingDelivery,
            Queue::InboundAwaitingConversion,
        ] {
            let care = match QueueCare::open(self.station, self.run, queue) {
                Ok(care) => care,
                Err(why) => return Ok(Err(why)),
            };
            let stopped = match care.prove_stopped()? {
                Ok(stopped) => stopped,
                Err(why) => return Ok(Err(why)),
            };
            match care.set_aside(&stopped) {
                Ok(()) => {}
                Err(CustodyError::Journal(error)) => return Err(error.into()),
                Err(CustodyError::Unsure { why }) => {
                    return Err(JournalError::Poisoned { why }.into());
                }
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        Ok(Ok(()))
    }

    /// Whatever a search has in the queue that did not come to its end may crash the service: it is taken back
    /// before any start that is not the search's own.
    fn take_back_searched(&self) -> Result<Result<(), String>, Trouble> {
        let state = self.station.state(self.run)?;
        // What a person ordered to be given back is no search any more.
        if state.release.is_some() {
            return Ok(Ok(()));
        }
        let ended = |step: &u32| {
            matches!(
                state.steps.get(step),
                Some(StepState::Finished {
                    outcome: Outcome::Done,
                    ..
                })
            )
        };
        let open: Vec<(BatchId, Batch)> = state
            .searches
            .iter()
            .filter(|(step, _)| !ended(step))
            .filter_map(|(_, search)| {
                let batch = state.batches.get(&search.batch)?;
                Some((search.batch, batch.clone()))
            })
            .collect();
        drop(state);
        for (id, batch) in open {
            let care = match QueueCare::of_batch(self.station, self.run, &batch) {
                Ok(care) => care,
                Err(why) => return Ok(Err(why)),
            };
            let stopped = match care.prove_stopped()? {
                Ok(stopped) => stopped,
                Err(why) => return Ok(Err(why)),
            };
            match care.take_back(id, &stopped) {
                Ok(_) => {}
                Err(CustodyError::Journal(error)) => return Err(error.into()),
                Err(CustodyError::Unsure { why }) => {
                    return Err(JournalError::Poisoned { why }.into());
                }
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        Ok(Ok(()))
    }

    /// Finishes what custody was interrupted in, while the service is still stopped: a replay that was
    /// intended and only half placed would look as if the service had taken the rest.
    fn finish_custody(&self) -> Result<(), Trouble> {
        let queue = Queue::OutboundAwaitingDelivery;
        let Ok(care) = QueueCare::open(self.station, self.run, queue) else {
            return Ok(());
        };
        match care.recover() {
            Ok(()) => Ok(()),
            Err(CustodyError::Journal(error)) => Err(error.into()),
            Err(CustodyError::Unsure { why }) => Err(JournalError::Poisoned { why }.into()),
            // What it could not finish stays written down as unfinished, and is settled by evidence.
            Err(error) => {
                tracing::error!(run = %self.run, %error, "custody could not be made whole before the start");
                Ok(())
            }
        }
    }

    /// Waits until the service runs. The pid, or how it did not come up.
    fn come_up(&self, limit: Duration) -> Result<Result<u32, Watched>, Trouble> {
        let until = self.station.now().since_boot + limit;
        let mut seen = false;
        // Coming up is never left half way: a shutdown waits for it.
        let up = self.station.wait_out(until, POLL, || {
            let Ok(status) = self.query() else {
                return Ok(None);
            };
            seen |= status.process.is_some();
            Ok(match status.state {
                ServiceState::Running => Some(Some(pid(status.process.as_ref()))),
                ServiceState::Stopped => Some(None),
                ServiceState::Starting | ServiceState::Stopping => None,
            })
        })?;
        Ok(match up {
            Some(Some(pid)) => Ok(pid),
            Some(None) if !seen => Err(Watched::Never(self.exit_text("it stopped at once"))),
            Some(None) => Err(Watched::Died(self.exit_text("it died while starting"))),
            None => Err(Watched::Died(format!("it did not run within {limit:?}"))),
        })
    }

    /// Waits until the service runs, then watches that the same process stays.
    fn watch(&self, how: Start) -> Result<Watched, Trouble> {
        let pid_up = match self.come_up(how.limit)? {
            Ok(pid) => pid,
            Err(not) => return Ok(not),
        };
        let since = self.station.now().since_boot;
        let wait = |look: &mut dyn FnMut() -> Result<Option<()>, Trouble>| {
            let until = since + how.observe;
            match how.bound {
                // A step is watched again after a restart of the agent.
                Bound::Run(_) => self.station.wait_for(until, POLL, look),
                Bound::Nothing | Bound::Hour => self.station.wait_out(until, POLL, look),
            }
        };
        let died = wait(&mut || {
            Ok(match self.query() {
                Ok(status)
                    if status.state == ServiceState::Running
                        && pid(status.process.as_ref()) == pid_up =>
                {
                    None
                }
                Ok(_) => Some(()),
                Err(_) => None,
            })
        })?;
        Ok(match died {
            None => Watched::Up(pid_up),
            Some(()) => {
                let after = self.station.now().since_boot.saturating_sub(since);
                Watched::Died(self.exit_text(&format!("it died {after:.1?} after it ran")))
            }
        })
    }

    fn exit_text(&self, what: &str) -> String {
        match self.query() {
            Ok(ServiceStatus {
                exit_code: Some(code),
                ..
            }) => format!("{what}, {}", exit_told(code)),
            _ => what.to_owned(),
        }
    }
}

/// What became of a start whose queue was prepared by the caller.
pub(crate) enum Prepared {
    /// It runs, as this process.
    Up(u32),
    /// It died before it ran, and how.
    Died(String),
    /// It was not started, and why.
    Refused(String),
}

enum Watched {
    Up(u32),
    Never(String),
    Died(String),
}
