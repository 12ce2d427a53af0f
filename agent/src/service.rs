//! Stopping and starting a service, with proof, journaled into a run or a duty.

mod empty;
mod inbound;
mod start;

use std::time::Duration;

use mailmend_policy::condition::PathRoot;
use mailmend_policy::name::ServiceName;
use mailmend_policy::step::IfStillRunning;
use mailmend_proto::run::{RunId, ServiceChange};

use crate::ablation::{Mechanism, off};
use crate::custody::index;
use crate::host::{Effect, HostError, HostErrorKind, ProcessIdentity, ServiceState, ServiceStatus};
use crate::queue::MAIL_SERVICE;
use crate::station::{Station, Trouble};

pub(crate) use empty::ELSEWHERE;
pub(crate) use start::{Bound, Prepared, Start};

/// How often a service's state is looked at.
const POLL: Duration = Duration::from_millis(500);

/// How long a process may take to be gone once it was ended, on the wall clock: it is the system that ends it,
/// which no clock factor of the lab makes faster.
const KILL_LIMIT: Duration = Duration::from_secs(30);

/// What is told of a service that did not stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotStopped {
    /// Whether it is known that it goes on as before.
    pub(crate) unchanged: bool,
    /// Why, for people.
    pub(crate) why: String,
}

/// One service, in the name of one run.
#[derive(Clone, Copy)]
pub(crate) struct Care<'a> {
    pub(crate) station: &'a Station,
    pub(crate) run: RunId,
    pub(crate) service: &'a ServiceName,
}

impl Care<'_> {
    pub(crate) fn query(&self) -> Result<ServiceStatus, HostError> {
        self.station.host.services().query(self.service)
    }

    pub(crate) fn note(&self, change: ServiceChange, pid: u32) -> Result<(), Trouble> {
        let recorded = self
            .station
            .record_service(self.run, self.service, change, pid);
        Ok(recorded?)
    }

    /// What happened last to the service in this run.
    pub(crate) fn last(&self) -> Result<Option<ServiceChange>, Trouble> {
        let state = self.station.state(self.run)?;
        Ok(state.services.get(self.service).copied())
    }

    /// Stops the service and what depends on it, until nothing of it is left.
    pub(crate) fn stop(
        &self,
        until: Duration,
        then: IfStillRunning,
    ) -> Result<Result<(), NotStopped>, Trouble> {
        let services = self.station.host.services();
        let dependents = match services.running_dependents(self.service) {
            Ok(dependents) => dependents,
            Err(error) => return Ok(Err(unchanged(&error))),
        };
        for dependent in &dependents {
            let care = Care {
                service: dependent,
                ..*self
            };
            if let Err(not) = care.stop_one(until, then)? {
                return Ok(Err(NotStopped {
                    unchanged: false,
                    why: format!("`{dependent}` depends on `{}`: {}", self.service, not.why),
                }));
            }
        }
        self.stop_one(until, then)
    }

    fn stop_one(
        &self,
        until: Duration,
        then: IfStillRunning,
    ) -> Result<Result<(), NotStopped>, Trouble> {
        let services = self.station.host.services();
        let before = match self.query() {
            Ok(status) => status,
            Err(error) => return Ok(Err(unchanged(&error))),
        };
        let process = before.process.clone();
        if self.gone(&before, process.as_ref()) {
            // A stop of ours that was interrupted is told to its end; a kill stays a kill.
            match self.last()? {
                Some(ServiceChange::Stopped | ServiceChange::Killed | ServiceChange::Died) => {}
                Some(ServiceChange::KillIntended) => self.note(ServiceChange::Killed, 0)?,
                _ => self.note(ServiceChange::Stopped, 0)?,
            }
            return Ok(Ok(()));
        }
        self.note(ServiceChange::StopIntended, pid(process.as_ref()))?;
        let mut refusal = None;
        let mut asked = before.state == ServiceState::Stopping;
        let now = self.station.now().since_boot;
        let left = until.max(now);
        let stopped = loop {
            if !asked {
                match services.request_stop(self.service) {
                    Ok(()) => asked = true,
                    Err(error) if error.kind == HostErrorKind::Service(1062) => asked = true,
                    Err(error) => {
                        asked = error.effect == Effect::Unknown;
                        refusal = Some(error);
                    }
                }
            }
            let status = match self.query() {
                Ok(status) => status,
                Err(error) => {
                    refusal = Some(error);
                    before.clone()
                }
            };
            if self.gone(&status, process.as_ref()) {
                break true;
            }
            if self.station.now().since_boot >= left {
                break false;
            }
            self.station.host.clock().sleep(POLL);
        };
        if stopped {
            self.note(ServiceChange::Stopped, pid(process.as_ref()))?;
            return Ok(Ok(()));
        }
        let why = match (&refusal, self.query()) {
            (Some(error), _) => format!("could not {error}"),
            (None, Ok(status)) if status.state == ServiceState::Stopped => {
                "it says that it is stopped and its process is still there".into()
            }
            (None, _) => "it did not stop in time".into(),
        };
        match (then, process) {
            (IfStillRunning::Kill, Some(process)) => self.end(&process),
            _ => Ok(Err(NotStopped {
                unchanged: !asked,
                why: format!("A050-service-not-stopped: `{}`: {why}", self.service),
            })),
        }
    }

    /// Ends exactly this process and waits until it is gone.
    pub(crate) fn end(&self, process: &ProcessIdentity) -> Result<Result<(), NotStopped>, Trouble> {
        self.note(ServiceChange::KillIntended, process.pid)?;
        let services = self.station.host.services();
        if let Err(error) = services.end_process(process)
            && error.kind != HostErrorKind::NotFound
        {
            return Ok(Err(NotStopped {
                unchanged: false,
                why: format!("A050-service-not-stopped: could not {error}"),
            }));
        }
        let clock = self.station.host.clock();
        let until = self.station.now().since_boot + KILL_LIMIT.mul_f64(clock.pace());
        loop {
            let gone = self
                .query()
                .is_ok_and(|status| self.gone(&status, Some(process)));
            if gone {
                self.note(ServiceChange::Killed, process.pid)?;
                return Ok(Ok(()));
            }
            if self.station.now().since_boot >= until {
                let why = format!(
                    "A050-service-not-stopped: process {} of `{}` was ended and is still there",
                    process.pid, self.service
                );
                return Ok(Err(NotStopped {
                    unchanged: false,
                    why,
                }));
            }
            clock.sleep(POLL);
        }
    }

    /// Whether somebody has the index of the queues open though nobody knows of a process.
    fn holds_index(&self) -> bool {
        if off(Mechanism::StoppedByOpenIndex) {
            return false;
        }
        let host = self.station.host.as_ref();
        let index = host
            .root(PathRoot::Imcdata)
            .map(|imcdata| imcdata.join(index::FILE));
        self.service.as_str().eq_ignore_ascii_case(MAIL_SERVICE)
            && index.is_ok_and(|index| {
                let probed = host.spool().probe_exclusive(&index);
                probed.is_err_and(|error| error.kind == HostErrorKind::Locked)
            })
    }

    /// Whether nothing is left of the service: the manager says so, and the process that it had when
    /// it was asked is gone too.
    fn gone(&self, status: &ServiceStatus, process: Option<&ProcessIdentity>) -> bool {
        let services = self.station.host.services();
        let none_of = |process: Option<&ProcessIdentity>| {
            process.is_none_or(|process| services.process_alive(process).is_ok_and(|alive| !alive))
        };
        // Without an identity to ask for, the index that the mail service keeps open tells.
        let unseen = status.process.is_none() && process.is_none();
        status.state == ServiceState::Stopped
            && none_of(status.process.as_ref())
            && none_of(process)
            && !(unseen && self.holds_index())
    }
}

fn pid(process: Option<&ProcessIdentity>) -> u32 {
    process.map_or(0, |process| process.pid)
}

fn unchanged(error: &HostError) -> NotStopped {
    NotStopped {
        unchanged: true,
        why: format!("could not {error}"),
    }
}
