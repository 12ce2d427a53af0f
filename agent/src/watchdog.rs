//! The watchdog: a mail service that died without anybody stopping it, or that the agent itself could not
//! start again, is started, after what it may have sent was set aside.
//!
//! It cares for the services that the guard file lists under `[watchdog]`, keeps to the guard's restarts
//! per hour, and never touches a service that a run is working on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mailmend_policy::name::ServiceName;
use mailmend_proto::run::{Ended, Event, RunId, ServiceChange, StepState};

use crate::ablation::{Mechanism, off};
use crate::faults::known;
use crate::host::{ServiceState, ServiceStatus, exit_told};
use crate::journal::JournalError;
use crate::service::{Care, Start};
use crate::station::{Station, Trouble};

/// The name of its duty in the journal.
const DUTY: &str = "watchdog";

/// Looks after services.
pub struct Watchdog {
    station: Arc<Station>,
    /// Services whose death was told already and that may not be started now; told once.
    given_up: Mutex<BTreeSet<ServiceName>>,
    /// When a service that was left down is tried again, in uptime.
    retry_at: Mutex<BTreeMap<ServiceName, Duration>>,
}

/// How long a service that could not be started is left alone before it is tried again.
const RETRY: Duration = Duration::from_secs(600);

impl Watchdog {
    /// A watchdog for the services that the station's guard lists.
    #[must_use]
    pub fn new(station: Arc<Station>) -> Self {
        Self {
            station,
            given_up: Mutex::default(),
            retry_at: Mutex::default(),
        }
    }

    /// Looks at each service once, and starts those that died.
    ///
    /// # Errors
    /// Where nothing can be written down; nothing was started then.
    pub fn look(&self) -> Result<(), JournalError> {
        for service in &self.station.guard.watchdog().services {
            // Whoever works on services is waited for, and waits for us.
            let _alone = self.station.disturb();
            if self.in_hand(service)? {
                continue;
            }
            let Ok(status) = self.station.host.services().query(service) else {
                continue;
            };
            if died(&status) {
                let code = exit_told(status.exit_code.unwrap_or_default());
                let why = format!("found dead, though nobody stopped it: {code}");
                self.care_for(service, why)?;
            } else if status.state == ServiceState::Running {
                self.given_up().remove(service);
                self.retries().remove(service);
                self.station.seen_running(service);
            } else if status.state == ServiceState::Stopped && self.station.left_down(service) {
                let now = self.station.now().since_boot;
                let at = *self.retries().entry(service.clone()).or_insert(now + RETRY);
                if now >= at {
                    self.retries().insert(service.clone(), now + RETRY);
                    let why = "left down, because it could not be started, and tried again".into();
                    self.care_for(service, why)?;
                }
            }
        }
        Ok(())
    }

    fn given_up(&self) -> std::sync::MutexGuard<'_, BTreeSet<ServiceName>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retries(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceName, Duration>> {
        self.retry_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a run has a section open or a step acting that concerns services.
    fn in_hand(&self, service: &ServiceName) -> Result<bool, JournalError> {
        if off(Mechanism::WatchdogKeepsOff) {
            return Ok(false);
        }
        for run in self.station.journal.open_runs() {
            let state = self.station.state(run)?;
            let undoing = state.steps.values().any(|step| *step == StepState::Undoing);
            let changing = state.acting().is_some()
                && matches!(
                    state.services.get(service),
                    Some(
                        ServiceChange::StopIntended
                            | ServiceChange::Stopped
                            | ServiceChange::KillIntended
                            | ServiceChange::Killed
                            | ServiceChange::StartIntended
                    )
                );
            if state.section.is_some() || undoing || changing {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn care_for(&self, service: &ServiceName, why: String) -> Result<(), JournalError> {
        let run = RunId(self.station.host.clock().unique());
        let care = Care {
            station: &self.station,
            run,
            service,
        };
        if let Some(used_up) = care.hour_used_up() {
            if self.given_up().insert(service.clone()) {
                let text =
                    format!("`{service}` is down: {why}; it is not started again: {used_up}");
                tracing::error!("A056-watchdog-gave-up: {text}");
                self.station.record(
                    run,
                    vec![
                        self.began(service, why),
                        died_event(service),
                        alarm(const { known("A056-watchdog-gave-up") }, text.clone()),
                        closed(Ended::AtRest, text),
                    ],
                )?;
            }
            return Ok(());
        }
        tracing::warn!(%service, "{why}; starting it again");
        self.station
            .record(run, vec![self.began(service, why), died_event(service)])?;
        self.start(run, service)
    }

    /// Goes on with a duty that a crash of the agent interrupted.
    ///
    /// # Errors
    /// Where nothing can be written down.
    pub fn resume(&self, run: RunId) -> Result<(), JournalError> {
        let records = self.station.journal.records(run)?;
        let Some(Event::DutyBegan { service, .. }) = records.first().map(|record| &record.event)
        else {
            return Ok(());
        };
        let _alone = self.station.disturb();
        self.start(run, service)
    }

    fn start(&self, run: RunId, service: &ServiceName) -> Result<(), JournalError> {
        let care = Care {
            station: &self.station,
            run,
            service,
        };
        let started = match care.start(Start::OF_WATCHDOG) {
            Ok(started) => started,
            Err(Trouble::Journal(error)) => return Err(error),
            // The duty stays open; the next start of the agent goes on with it.
            Err(Trouble::Interrupted) => return Ok(()),
        };
        let events = match started {
            Ok(detail) => vec![closed(Ended::Committed, detail)],
            Err(not) => {
                tracing::error!("A055-service-dead: {}", not.why);
                vec![
                    alarm(const { known("A055-service-dead") }, not.why.clone()),
                    closed(Ended::AtRest, not.why),
                ]
            }
        };
        self.station.record(run, events)
    }

    fn began(&self, service: &ServiceName, why: String) -> Event {
        Event::DutyBegan {
            duty: DUTY.into(),
            service: service.clone(),
            why,
        }
    }
}

/// Stopped by nobody: a service that was asked to stop, or was never started, ends with 0.
fn died(status: &ServiceStatus) -> bool {
    status.state == ServiceState::Stopped && status.exit_code.is_some_and(|code| code != 0)
}

fn died_event(service: &ServiceName) -> Event {
    Event::ServiceChanged {
        service: service.clone(),
        change: ServiceChange::Died,
        pid: 0,
    }
}

fn alarm(code: &'static str, text: String) -> Event {
    Event::Alarm {
        code: code.into(),
        text,
    }
}

fn closed(how: Ended, detail: String) -> Event {
    Event::Closed { how, detail }
}
