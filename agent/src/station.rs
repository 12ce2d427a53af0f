//! The station: what every part of the agent works with, and the two locks between them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use mailmend_policy::name::{ServerName, ServiceName};
use mailmend_proto::run::{BatchId, Event, RunId, RunState, ServiceChange};

use crate::ablation::{Mechanism, off};
use crate::allowance::Allowance;
use crate::custody::immune::Innocent;
use crate::custody::survey::Survey;
use crate::escrow::Keeper;
use crate::guard::Guard;
use crate::host::{Facts, Host, Uptime};
use crate::immunity::List;
use crate::journal::{Journal, JournalError};
use crate::left_down::LeftDown;
use crate::trust::Gate;

/// The longest that one wait goes without a look at whether the agent is shutting down, in uptime.
const MOST_SLEEP: Duration = Duration::from_secs(2);

/// How much of the journal is read at once.
const READ_BYTES: usize = 4 << 20;

/// Machine, journal, guard and name of one agent.
pub struct Station {
    /// The machine.
    pub host: Arc<dyn Host>,
    /// The journal.
    pub journal: Journal,
    /// The guard.
    pub guard: Arc<Guard>,
    /// The server's name, which is the agent's.
    pub me: ServerName,
    /// Who keeps second names of what appears in the queues.
    pub escrow: Keeper,
    /// Whose policies are taken.
    pub trust: Gate,
    /// The fingerprints of poison that stand.
    pub immunity: List,
    /// The limit of immunity that was told last.
    pub(crate) immunity_told: Mutex<Option<String>>,
    /// Files in the queues that were looked at and have no fingerprint.
    pub(crate) innocent: Mutex<Innocent>,
    facts: RwLock<Facts>,
    allowance: Allowance,
    left_down: LeftDown,
    /// What was found in folders that are held whole, until their files are listed.
    surveys: Mutex<BTreeMap<BatchId, Survey>>,
    disturbance: Mutex<()>,
    stopping: AtomicBool,
}

/// Why a step was left before it ended.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nothing can be written down, so nothing more may be done.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The agent is shutting down; the step goes on at the next start.
    #[error("the agent is shutting down")]
    Interrupted,
}

impl Station {
    /// A station; reads the journal once for what counts against the guard's hourly limits, and for
    /// services that were left down.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub fn new(
        host: Arc<dyn Host>,
        journal: Journal,
        guard: Arc<Guard>,
        me: ServerName,
    ) -> Result<Self, JournalError> {
        let (allowance, left_down) = (Allowance::default(), LeftDown::default());
        let mut seq = 0;
        while seq < journal.head() {
            let records = journal.after(seq, READ_BYTES)?;
            let Some(last) = records.last() else { break };
            seq = last.seq;
            for record in &records {
                if !off(Mechanism::AllowanceOutlivesAgent) {
                    allowance.note(record, None);
                }
                left_down.note(record);
            }
        }
        Ok(Self {
            trust: Gate::of(&guard),
            host,
            journal,
            guard,
            me,
            escrow: Keeper::default(),
            immunity: List::default(),
            immunity_told: Mutex::default(),
            innocent: Mutex::default(),
            facts: RwLock::default(),
            allowance,
            left_down,
            surveys: Mutex::default(),
            disturbance: Mutex::new(()),
            stopping: AtomicBool::new(false),
        })
    }

    /// Appends events of a run, durable on return.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn record(&self, run: RunId, events: Vec<Event>) -> Result<(), JournalError> {
        let records = self
            .journal
            .append(run, self.host.clock().wall_ms(), events)?;
        for record in &records {
            // What custody sets aside is counted by whoever asked it to.
            if !matches!(record.event, Event::Immunized { .. }) {
                self.allowance
                    .note(record, Some(self.host.clock().uptime().since_boot));
            }
            self.left_down.note(record);
        }
        Ok(())
    }

    /// Appends that a service is about to change, or has changed.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn record_service(
        &self,
        run: RunId,
        service: &ServiceName,
        change: ServiceChange,
        pid: u32,
    ) -> Result<(), JournalError> {
        let event = Event::ServiceChanged {
            service: service.clone(),
            change,
            pid,
        };
        self.record(run, vec![event])
    }

    /// What a run's records add up to.
    ///
    /// # Errors
    /// Where they cannot be read; an unknown run has the state of nothing.
    pub fn state(&self, run: RunId) -> Result<Arc<RunState>, JournalError> {
        Ok(self.journal.state(run)?.unwrap_or_default())
    }

    /// The facts that the agent reports.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.facts
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces the facts that the agent reports.
    pub fn set_facts(&self, facts: Facts) {
        *self.facts.write().unwrap_or_else(PoisonError::into_inner) = facts;
    }

    /// Keeps what was found in a folder before it was held whole.
    pub(crate) fn keep_survey(&self, batch: BatchId, survey: Survey) {
        self.surveys().insert(batch, survey);
    }

    /// What was found in a folder before it was held whole; nothing after a restart.
    pub(crate) fn kept_survey(&self, batch: BatchId) -> Option<Survey> {
        self.surveys().remove(&batch)
    }

    fn surveys(&self) -> MutexGuard<'_, BTreeMap<BatchId, Survey>> {
        self.surveys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever disturbs a service, or moves what it may read, holds this meanwhile.
    pub fn disturb(&self) -> MutexGuard<'_, ()> {
        // A simulated kill unwinds through the holder; the lock itself protects no data.
        self.disturbance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Self::disturb`], where nobody else does: for orders, which must not wait for a long step.
    pub fn try_disturb(&self) -> Option<MutexGuard<'_, ()>> {
        match self.disturbance.try_lock() {
            Ok(alone) => Some(alone),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Service starts within the last hour of uptime, over all runs and duties.
    #[must_use]
    pub fn restarts_this_hour(&self) -> u32 {
        if off(Mechanism::RestartAllowance) {
            return 0;
        }
        self.allowance.restarts(self.host.clock())
    }

    /// Sections begun within the last hour of uptime, over all runs.
    #[must_use]
    pub fn sections_this_hour(&self) -> u32 {
        if off(Mechanism::SectionAllowance) {
            return 0;
        }
        self.allowance.sections(self.host.clock())
    }

    /// Counts a call of a tool, unless the guard's calls within an hour are used up.
    ///
    /// # Errors
    /// Why it may not be called now.
    pub(crate) fn call_tool(&self) -> Result<(), String> {
        let most = self.guard.limits().tools_per_hour;
        self.allowance
            .call_tool(self.host.clock(), most)
            .map(drop)
            .map_err(|calls| {
                format!(
                    "A059-tools-used-up: tools were called {calls} times within an hour, the guard file allows {most}"
                )
            })
    }

    /// Messages set aside because of a fingerprint within the last hour of uptime.
    #[must_use]
    pub fn immunized_this_hour(&self) -> u64 {
        u64::from(self.allowance.immunized(self.host.clock()))
    }

    /// Counts what custody set aside because of fingerprints since the journal ended here: custody writes its records
    /// itself.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub(crate) fn count_immunized(&self, mut after: u64) -> Result<(), JournalError> {
        let now = self.host.clock().uptime().since_boot;
        while after < self.journal.head() {
            let records = self.journal.after(after, READ_BYTES)?;
            let Some(last) = records.last() else { break };
            after = last.seq;
            for record in &records {
                if matches!(record.event, Event::Immunized { .. }) {
                    self.allowance.note(record, Some(now));
                }
            }
        }
        Ok(())
    }

    /// Whether a section was handed over because this service could not be started, and nobody has
    /// started it since.
    #[must_use]
    pub fn left_down(&self, service: &ServiceName) -> bool {
        self.left_down.has(service)
    }

    /// The service runs: whoever started it.
    pub fn seen_running(&self, service: &ServiceName) {
        self.left_down.forget(service);
    }

    /// Asks everything that waits to come to an end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.escrow.wake();
    }

    /// Whether the agent is shutting down.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The machine's monotonic clock.
    #[must_use]
    pub fn now(&self) -> Uptime {
        self.host.clock().uptime()
    }

    /// Looks every `pause` until `look` answers or `until` (uptime) has passed; looks once at least.
    ///
    /// # Errors
    /// [`Trouble::Interrupted`] when the agent shuts down, and what `look` fails with.
    pub fn wait_for<T>(
        &self,
        until: Duration,
        pause: Duration,
        look: impl FnMut() -> Result<Option<T>, Trouble>,
    ) -> Result<Option<T>, Trouble> {
        self.wait(until, pause, look, true)
    }

    /// As [`Self::wait_for`], also while the agent shuts down: for what must not be left half way.
    ///
    /// # Errors
    /// What `look` fails with.
    pub fn wait_out<T>(
        &self,
        until: Duration,
        pause: Duration,
        look: impl FnMut() -> Result<Option<T>, Trouble>,
    ) -> Result<Option<T>, Trouble> {
        self.wait(until, pause, look, false)
    }

    fn wait<T>(
        &self,
        until: Duration,
        pause: Duration,
        mut look: impl FnMut() -> Result<Option<T>, Trouble>,
        leaves: bool,
    ) -> Result<Option<T>, Trouble> {
        loop {
            if let Some(answer) = look()? {
                return Ok(Some(answer));
            }
            let mut left = pause.min(until.saturating_sub(self.now().since_boot));
            if left.is_zero() {
                return Ok(None);
            }
            while !left.is_zero() {
                if leaves && self.stopping() {
                    return Err(Trouble::Interrupted);
                }
                let nap = left.min(MOST_SLEEP);
                self.host.clock().sleep(nap);
                left -= nap;
            }
        }
    }
}
