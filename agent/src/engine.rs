//! The engine: takes orders, carries runs out on threads of their own, and mends what a crash left.

mod audit;
mod immunity;
mod orders;
mod person;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mailmend_policy::name::ServerName;
use mailmend_proto::run::{RunId, RunState};

use crate::aftercare::Aftercare;
use crate::depths::{Counter, Depths};
use crate::escrow::Kept;
use crate::guard::Guard;
use crate::host::{Facts, Host};
use crate::immunity::{Keeper, finish_open};
use crate::journal::{Journal, JournalError};
use crate::power_loss::PowerLoss;
use crate::release::Release;
use crate::runner::{CannotCarryOn, Rest, Runner, stranded};
use crate::started_while_3038::StartedWhile3038;
use crate::station::{Station, Trouble};
use crate::symptoms::{Seen, Watcher, Watchlist};
use crate::watchdog::Watchdog;

/// The longest that a thread waits for a command before it looks again by itself, in real time.
const MOST_WAIT: Duration = Duration::from_secs(5);

/// The time between two looks of escrow through its folders, in uptime.
const SWEEP: Duration = Duration::from_secs(60);

/// How long escrow waits to be told of a file before it looks whether it shall go on, in real time.
const TOLD: Duration = Duration::from_millis(200);

/// The time between two looks of the watchdog, in uptime.
const WATCH: Duration = Duration::from_secs(5);

/// Takes orders and carries them out. Clones are the same engine.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    station: Arc<Station>,
    watchdog: Watchdog,
    aftercare: Aftercare,
    power_loss: PowerLoss,
    started_while_3038: StartedWhile3038,
    immunity: Keeper,
    /// Whether runs go on by themselves, on threads; a simulation carries them on by hand.
    threads: bool,
    /// Orders are taken one at a time, so that each is judged by all before it.
    orders: Mutex<()>,
    auditing: Mutex<()>,
    bell: Bell,
    working: Mutex<Working>,
    /// The runners of open runs: parsing and planning is done once.
    runners: Mutex<BTreeMap<RunId, Arc<Runner>>>,
    recovered: AtomicBool,
}

#[derive(Default)]
struct Working {
    runs: BTreeSet<RunId>,
    threads: Vec<JoinHandle<()>>,
}

/// Wakes whoever waits for an order.
#[derive(Default)]
struct Bell {
    rung: Mutex<u64>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *lock(&self.rung) += 1;
        self.changed.notify_all();
    }

    fn heard(&self) -> u64 {
        *lock(&self.rung)
    }

    /// Waits until it rings after `heard`, or the time is over.
    fn wait(&self, heard: u64, limit: Duration) {
        let rung = lock(&self.rung);
        // Woken or timed out: the caller looks at the journal either way.
        let _ = self
            .changed
            .wait_timeout_while(rung, limit, |rung| *rung == heard);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// An engine whose runs go on by themselves, once [`Self::recover`] was called.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub fn new(
        host: Arc<dyn Host>,
        journal: Journal,
        guard: Arc<Guard>,
        name: ServerName,
    ) -> Result<Self, JournalError> {
        Self::of(host, journal, guard, name, true)
    }

    /// An engine that does nothing by itself: runs are carried on with [`Self::carry_on`], and the
    /// watchdog looks when [`Self::watch`] is called. For simulation.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub fn by_hand(
        host: Arc<dyn Host>,
        journal: Journal,
        guard: Arc<Guard>,
        name: ServerName,
    ) -> Result<Self, JournalError> {
        Self::of(host, journal, guard, name, false)
    }

    fn of(
        host: Arc<dyn Host>,
        journal: Journal,
        guard: Arc<Guard>,
        name: ServerName,
        threads: bool,
    ) -> Result<Self, JournalError> {
        let station = Arc::new(Station::new(host, journal, guard, name)?);
        Ok(Self(Arc::new(Inner {
            watchdog: Watchdog::new(Arc::clone(&station)),
            aftercare: Aftercare::new(Arc::clone(&station)),
            power_loss: PowerLoss::new(Arc::clone(&station)),
            started_while_3038: StartedWhile3038::new(Arc::clone(&station)),
            immunity: Keeper::new(Arc::clone(&station)),
            station,
            threads,
            orders: Mutex::default(),
            auditing: Mutex::default(),
            bell: Bell::default(),
            working: Mutex::default(),
            runners: Mutex::default(),
            recovered: AtomicBool::new(false),
        })))
    }

    /// Replaces the facts that conditions are judged by.
    pub fn set_facts(&self, facts: Facts) {
        self.0.station.set_facts(facts);
    }

    /// Mends what the last end of the agent left, before anything is taken from outside: duties are
    /// ended, open sections are brought to their end or their exit. Returns when no section is open but
    /// those that wait within their budget; everything else goes on by itself then.
    ///
    /// # Errors
    /// Where the journal cannot be read or written; services that were stopped have been started.
    pub fn recover(&self) -> Result<(), JournalError> {
        let inner = &self.0;
        // Before anything starts the service: what is half moved would be read by it, or taken a second time.
        finish_open(&inner.station)?;
        for run in inner.station.journal.open_runs() {
            if inner.station.state(run)?.release.is_some() {
                Release::open(&inner.station, run).mend_section()?;
                continue;
            }
            match self.runner(run) {
                Ok(runner) => runner.mend_section()?,
                // One that could not be finished is tried again by the next look.
                Err(CannotCarryOn::Duty(run)) if self.is_immunity(run)? => {}
                Err(CannotCarryOn::Duty(run)) => inner.watchdog.resume(run)?,
                Err(CannotCarryOn::Journal(error)) => return Err(error),
                Err(CannotCarryOn::Plan(refusal)) => {
                    stranded(&inner.station, run, &refusal.to_string())?;
                }
            }
        }
        inner.recovered.store(true, Ordering::Release);
        if inner.threads {
            for run in inner.station.journal.open_runs() {
                self.start_runner(run);
            }
            self.start_watchdog();
            self.start_immunity();
            self.start_escrow();
        }
        Ok(())
    }

    /// Carries a run as far as it goes without waiting. From one thread at a time: in an engine with
    /// threads the run's own thread does it.
    ///
    /// # Errors
    /// Where nothing can be written down, or the run cannot be carried on.
    pub fn carry_on(&self, run: RunId) -> Result<Rest, CannotCarryOn> {
        let station = &self.0.station;
        let rest = if station.state(run)?.release.is_some() {
            Release::open(station, run).carry_on()?
        } else {
            self.runner(run)?.carry_on()?
        };
        if rest == Rest::Over {
            lock(&self.0.runners).remove(&run);
            self.0.aftercare.closed(run)?;
        }
        Ok(rest)
    }

    fn runner(&self, run: RunId) -> Result<Arc<Runner>, CannotCarryOn> {
        let mut runners = lock(&self.0.runners);
        if let Some(runner) = runners.get(&run) {
            return Ok(Arc::clone(runner));
        }
        let runner = Arc::new(Runner::open(Arc::clone(&self.0.station), run)?);
        runners.insert(run, Arc::clone(&runner));
        Ok(runner)
    }

    /// Lets the watchdog and the aftercare look once. Not for an engine with threads.
    ///
    /// # Errors
    /// Where nothing can be written down.
    pub fn watch(&self) -> Result<(), JournalError> {
        self.0.watchdog.look()?;
        self.0.aftercare.look()?;
        self.0.power_loss.look()?;
        self.0.started_while_3038.look()
    }

    /// Ends the engine: steps that only wait are left, to be gone on with at the next start; a step that
    /// moves something ends; an open section is left by its exit unless its service runs. Returns
    /// whether all of that was over within `limit` of real time; it may be asked again.
    #[must_use]
    pub fn shutdown(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        self.0.station.stop();
        self.0.bell.ring();
        let mut threads = std::mem::take(&mut lock(&self.0.working).threads);
        while let Some(thread) = threads.pop() {
            while !thread.is_finished() {
                if Instant::now() >= until {
                    threads.push(thread);
                    lock(&self.0.working).threads.append(&mut threads);
                    return false;
                }
                // A thread cannot be joined with a limit, so it is looked at until then.
                std::thread::sleep(Duration::from_millis(10));
            }
            // Its panic, if there was one, was told where it was caught.
            let _ = thread.join();
        }
        true
    }

    /// Whether a run is in a section: mail service may be stopped.
    #[must_use]
    pub fn in_section(&self) -> bool {
        let open = self.open_runs();
        // A journal that cannot be read says nothing; whoever asks waits as if one were open.
        open.into_iter().any(|run| {
            self.state(run)
                .map_or(true, |state| state.section.is_some())
        })
    }

    /// For an agent whose guard file is broken: starts the services that open sections stopped, as the last
    /// good guard allowed, and does nothing else. Instead of [`Self::recover`], not before it.
    ///
    /// # Errors
    /// Where nothing can be written down; the services were asked to start all the same.
    pub fn leave_sections(&self) -> Result<(), JournalError> {
        let station = &self.0.station;
        for run in station.journal.open_runs() {
            match crate::runner::leave(station, run) {
                Ok(()) | Err(Trouble::Interrupted) => {}
                Err(Trouble::Journal(error)) => {
                    crate::runner::service_up(station, run);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// For an agent whose journal fails: asks every service that an open section stopped to start, and
    /// waits until they run, at most `limit` of real time. Returns whether they do.
    #[must_use]
    pub fn service_up_without_journal(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let open = self.open_runs();
        for run in &open {
            crate::runner::service_up(&self.0.station, *run);
        }
        let up = |run: &RunId| crate::runner::service_is_up(&self.0.station, *run);
        while !open.iter().all(up) {
            if Instant::now() >= until {
                return false;
            }
            // A service that starts tells nobody, so it is asked until then.
            std::thread::sleep(Duration::from_millis(100));
        }
        true
    }

    /// What a run's records add up to on this agent; nothing for an unknown run.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub fn state(&self, run: RunId) -> Result<Arc<RunState>, JournalError> {
        self.0.station.state(run)
    }

    /// The highest fence that any run was ever given.
    #[must_use]
    pub fn highest_fence(&self) -> u64 {
        self.0.station.journal.highest_fence()
    }

    /// Its journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.0.station.journal
    }

    /// The runs and duties that are not closed, in the order in which they began.
    #[must_use]
    pub fn open_runs(&self) -> Vec<RunId> {
        self.0.station.journal.open_runs()
    }

    fn go_on(&self, run: RunId) {
        if self.0.threads && self.0.recovered.load(Ordering::Acquire) {
            self.start_runner(run);
            self.0.bell.ring();
        }
    }

    fn start_runner(&self, run: RunId) {
        let mut working = lock(&self.0.working);
        if self.0.station.stopping() || !working.runs.insert(run) {
            return;
        }
        // A thread that has ended keeps its stack until it is joined, and an agent lives for years.
        let threads = std::mem::take(&mut working.threads);
        let (ended, threads): (Vec<_>, Vec<_>) =
            threads.into_iter().partition(JoinHandle::is_finished);
        working.threads = threads;
        for thread in ended {
            // Its panic, if there was one, was told where it was caught.
            let _ = thread.join();
        }
        let engine = self.clone();
        let spawned = std::thread::Builder::new()
            .name(format!("run {run}"))
            .spawn(move || {
                let over = engine.work(run);
                lock(&engine.0.working).runs.remove(&run);
                // A release may have been ordered just when this thread had seen the run's end.
                if over && engine.is_open(run) {
                    engine.start_runner(run);
                }
            });
        match spawned {
            Ok(thread) => working.threads.push(thread),
            // It is tried again with the next order, and at the next start.
            Err(error) => {
                working.runs.remove(&run);
                tracing::error!(%run, %error, "could not start a thread for the run");
            }
        }
    }

    fn is_open(&self, run: RunId) -> bool {
        self.0.station.journal.open_runs().contains(&run)
    }

    /// A runner's thread: carries the run on until it is closed. Whether it came to an end in order.
    fn work(&self, run: RunId) -> bool {
        let worked = catch_unwind(AssertUnwindSafe(|| self.carry_to_the_end(run)));
        match worked {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(%run, %error, "the run cannot be carried on");
                false
            }
            Err(_) => {
                // A defect: nothing is left half done with its service down.
                tracing::error!(%run, "the run ended in a defect of the agent; please report it");
                crate::runner::service_up(&self.0.station, run);
                false
            }
        }
    }

    fn carry_to_the_end(&self, run: RunId) -> Result<(), CannotCarryOn> {
        let station = &self.0.station;
        loop {
            let heard = self.0.bell.heard();
            match self.carry_on(run)? {
                Rest::Over | Rest::Stopped => return Ok(()),
                Rest::Waiting { until, .. } => {
                    let mut limit = MOST_WAIT;
                    if let Some(until) = until {
                        let left = until.saturating_sub(station.now().since_boot);
                        limit = limit.min(left.div_f64(station.host.clock().pace()));
                    }
                    self.0.bell.wait(heard, limit.max(Duration::from_millis(1)));
                }
            }
        }
    }

    /// Looks for the symptoms of what is on the list, each `every` of uptime, on a thread of its own, and
    /// tells what each look sees. It ends with [`Self::shutdown`].
    #[must_use]
    pub fn watch_symptoms(
        &self,
        watchlist: Arc<Watchlist>,
        every: Duration,
    ) -> tokio::sync::watch::Receiver<Seen> {
        let watcher = Watcher::new(Arc::clone(&self.0.station), watchlist, every);
        let seen = watcher.subscribe();
        let spawned = std::thread::Builder::new()
            .name("symptoms".into())
            .spawn(move || watcher.run());
        match spawned {
            Ok(thread) => lock(&self.0.working).threads.push(thread),
            Err(error) => tracing::error!(%error, "could not start looking for symptoms"),
        }
        seen
    }

    /// Counts the queues at an interval, on a thread of its own, and tells what each count finds. It ends
    /// with [`Self::shutdown`].
    #[must_use]
    pub fn count_queues(&self) -> tokio::sync::watch::Receiver<Depths> {
        let counter = Counter::new(Arc::clone(&self.0.station));
        let depths = counter.subscribe();
        let spawned = std::thread::Builder::new()
            .name("queues".into())
            .spawn(move || counter.run());
        match spawned {
            Ok(thread) => lock(&self.0.working).threads.push(thread),
            Err(error) => tracing::error!(%error, "could not start counting the queues"),
        }
        depths
    }

    /// Lets escrow look once. Not for an engine with threads.
    ///
    /// # Errors
    /// Where the journal cannot be read or written.
    pub fn keep_escrow(&self) -> Result<Kept, JournalError> {
        self.0.station.escrow.sweep(&self.0.station)
    }

    fn start_escrow(&self) {
        let station = Arc::clone(&self.0.station);
        let spawned = std::thread::Builder::new()
            .name("escrow".into())
            .spawn(move || {
                station.escrow.thread_began();
                while !station.stopping() {
                    let heard = station.escrow.heard();
                    if let Err(error) = keep_while_ordered(&station, heard) {
                        tracing::error!(%error, "escrow cannot go on as it is; it begins anew");
                        station.escrow.wait(heard, MOST_WAIT);
                    }
                    station.escrow.watching(&[]);
                }
            });
        match spawned {
            Ok(thread) => lock(&self.0.working).threads.push(thread),
            Err(error) => tracing::error!(%error, "could not start escrow"),
        }
    }

    fn start_watchdog(&self) {
        let station = Arc::clone(&self.0.station);
        let engine = self.clone();
        let spawned = std::thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || {
                while !station.stopping() {
                    if let Err(error) = engine.watch() {
                        tracing::error!(%error, "watchdog and aftercare cannot write down what they see");
                    }
                    let until = station.now().since_boot + WATCH;
                    // Interrupted only by the shutdown that ends the loop.
                    let _ = station.wait_for(until, WATCH, || Ok(None::<()>));
                    // A simulated clock does not wait: without a rest in real time nobody else gets a turn.
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        match spawned {
            Ok(thread) => lock(&self.0.working).threads.push(thread),
            Err(error) => tracing::error!(%error, "could not start the watchdog"),
        }
    }
}

/// Keeps what appears in the folders that are watched now, until others are to be watched or the agent ends.
fn keep_while_ordered(station: &Station, heard: u64) -> Result<(), Box<dyn std::error::Error>> {
    let folders = station.escrow.watched(station)?;
    if folders.is_empty() {
        station.escrow.wait(heard, MOST_WAIT);
        return Ok(());
    }
    let mut watch = station.host.spool().watch(&folders)?;
    let mut sweep = Duration::ZERO;
    while !station.stopping() && station.escrow.watched(station)? == folders {
        let now = station.now().since_boot;
        if now >= sweep {
            station.escrow.sweep(station)?;
            sweep = now + SWEEP;
            // Not before: what came before the watch is found by the look after it.
            station.escrow.watching(&folders);
        }
        let Some(watch) = &mut watch else {
            station.escrow.wait(station.escrow.heard(), TOLD);
            continue;
        };
        let appeared = watch.wait(TOLD)?;
        for (folder, name) in &appeared {
            station.escrow.appeared(station, folder, name)?;
        }
        if appeared.is_empty() {
            station.escrow.sync(station.host.as_ref());
        }
    }
    Ok(())
}
