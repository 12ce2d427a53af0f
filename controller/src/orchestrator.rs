//! The controller at work: load, decide, store, act; again after every change.
//!
//! Acting is nothing but waking sessions, which tell their agents what the store says. So it does not
//! matter where this process dies: what was stored is told when the agents connect again, and what was
//! not stored is decided again.

mod explained;
mod immunity;
mod mail_flow;
mod pictured;
mod surroundings;
mod symptoms;
mod traced;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mailmend_telemetry::trace::Tracer;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audits::Audits;
use crate::clock::Clock;
use crate::decide::{Action, decide};
use crate::liveness::{Liveness, WRITTEN_EVERY};
use crate::mail_flow::MailFlow;
use crate::rollout::Rollout;
use crate::sessions::Sessions;
use crate::store::{Store, StoreError};
use crate::trust::roster::Roster;
use crate::watches::Revisions;

pub(crate) use symptoms::request_of;

use surroundings::Drifts;
use symptoms::Answered;

/// How often everything is looked at though nothing was heard of: a net under defects, not a timer of
/// anything.
const TICK: Duration = Duration::from_secs(10);

/// The loop is not woken sooner than this by a time that has come.
const SOONEST: Duration = Duration::from_millis(100);

/// How long the loop rests after the store has failed.
const REST: Duration = Duration::from_secs(1);

/// How often the rollouts at work are read whole though only what changed would be: a net, too.
const ANEW: Duration = Duration::from_secs(60);

/// A look at a small fleet takes less than this, and the next one begins at once.
const SMALL: Duration = Duration::from_millis(50);
/// Of a large one, the time between two looks is so many times what a look takes, and at most [`LONGEST_BREATH`].
const BREATHS: u32 = 9;
/// See [`BREATHS`].
const LONGEST_BREATH: Duration = Duration::from_secs(1);

/// Whether symptoms are to be answered is looked at again only after so many times what that look took, and at most
/// [`LONGEST_LULL`]: it reads what every agent said. A symptom stands for minutes before it is answered.
const LULLS: u32 = 10;
/// See [`LULLS`].
const LONGEST_LULL: Duration = Duration::from_secs(5);

/// How long the next look at symptoms waits after one that took so long.
fn lull(took: Duration) -> Duration {
    if took < SMALL {
        return Duration::ZERO;
    }
    took.saturating_mul(LULLS).min(LONGEST_LULL)
}

/// How long to wait before looking again after a look that took so long: ten thousand reports in a second are ten thousand
/// reasons to look at ten thousand runs, and one look does for all that came meanwhile.
fn breath(took: Duration) -> Duration {
    if took < SMALL {
        return Duration::ZERO;
    }
    took.saturating_mul(BREATHS).min(LONGEST_BREATH)
}

/// More rounds than any rollout needs to come to rest; beyond it a decision contradicts itself.
const ROUNDS: u32 = 10_000;

/// A place where a test may end the controller as if it were killed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Something was decided and is not stored.
    Decided,
    /// It is stored and nobody was told.
    Stored,
    /// The sessions were woken.
    Told,
    /// A report came and is not stored.
    Reported,
    /// It is stored and not acknowledged.
    Ingested,
}

/// Asked at each [`Point`] whether the controller dies there.
pub type Killer = Arc<dyn Fn(Point) -> bool + Send + Sync>;

/// A controller at work. Cloning is cheap.
#[derive(Clone)]
pub struct Controller(Arc<Shared>);

struct Shared {
    store: Store,
    roster: Roster,
    learning: tokio::sync::Mutex<()>,
    clock: Clock,
    sessions: Arc<Sessions>,
    liveness: Liveness,
    audits: Arc<Audits>,
    revisions: Revisions,
    drifts: Drifts,
    /// Who states which outbound paths, at which generation of the inventory that was read.
    stated: Mutex<Option<(i64, MailFlow)>>,
    /// Something changed that symptoms are answered by.
    symptoms: AtomicBool,
    /// The generation of fingerprints that the sessions were woken for.
    immunity: AtomicU64,
    work: Notify,
    changes: watch::Sender<u64>,
    stop: CancellationToken,
    tasks: TaskTracker,
    killer: Option<Killer>,
    tracer: Tracer,
    /// When everything was decided to its end last.
    decided: Mutex<Instant>,
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller")
            .field("store", &self.0.store.path())
            .finish_non_exhaustive()
    }
}

impl Controller {
    /// Starts working on what the store holds.
    #[must_use]
    pub fn start(store: Store, clock: Clock) -> Self {
        Self::begin(store, clock, None, Tracer::default())
    }

    /// The same, and tells spans of what it does.
    #[must_use]
    pub fn start_traced(store: Store, clock: Clock, tracer: Tracer) -> Self {
        Self::begin(store, clock, None, tracer)
    }

    /// Starts a controller that dies where `killer` says so. For tests.
    #[must_use]
    pub fn start_mortal(store: Store, clock: Clock, killer: Killer) -> Self {
        Self::begin(store, clock, Some(killer), Tracer::default())
    }

    fn begin(store: Store, clock: Clock, killer: Option<Killer>, tracer: Tracer) -> Self {
        let controller = Self(Arc::new(Shared {
            store,
            clock,
            sessions: Arc::default(),
            liveness: Liveness::default(),
            audits: Arc::default(),
            revisions: Revisions::default(),
            drifts: Drifts::default(),
            stated: Mutex::default(),
            symptoms: AtomicBool::new(true),
            immunity: AtomicU64::new(0),
            work: Notify::new(),
            changes: watch::Sender::new(0),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            killer,
            roster: Roster::default(),
            learning: tokio::sync::Mutex::default(),
            tracer,
            decided: Mutex::new(Instant::now()),
        }));
        let (deciding, listening) = (controller.clone(), controller.clone());
        controller
            .0
            .tasks
            .spawn(async move { deciding.run().await });
        controller
            .0
            .tasks
            .spawn(async move { listening.note_liveness().await });
        controller
    }

    /// Stops: no more decisions, all streams end. What was stored stays; agents go on by themselves as
    /// far as they were told. Returns when nothing is under way.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        if let Err(fault) = self.0.liveness.write_down(&self.0.store).await {
            tracing::warn!(%fault, "could not note when agents were last heard");
        }
        self.note_refusals().await;
        self.0.store.close().await;
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The agents' streams.
    #[must_use]
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.0.sessions
    }

    /// Who may call, as [`Self::learn_identities`] last found it.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.0.roster
    }

    /// Takes who may call anew from the store; closes what is barred by it and answers how many.
    ///
    /// # Errors
    /// Where the store fails; what was known before holds then.
    pub async fn learn_identities(&self) -> Result<u32, StoreError> {
        // One at a time, so that an older answer of the store never comes after a newer one.
        let _turn = self.0.learning.lock().await;
        let known = self.0.store.known().await?;
        Ok(self.0.roster.learn(known))
    }

    /// The audits that somebody waits for.
    #[must_use]
    pub fn audits(&self) -> &Arc<Audits> {
        &self.0.audits
    }

    /// When agents were last heard.
    #[must_use]
    pub fn liveness(&self) -> &Liveness {
        &self.0.liveness
    }

    /// Takes spans; drops them where nobody listens.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.0.tracer
    }

    /// When everything was decided to its end last; it was begun at the latest then.
    #[must_use]
    pub fn decided(&self) -> Instant {
        *self
            .0
            .decided
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since 1970 UTC.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.0.clock.now_ms()
    }

    /// Cancelled when the controller stops: streams end then.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// The tasks that must have ended before the store is closed.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// Something changed: look at everything again, and tell those who watch.
    pub fn changed(&self) {
        self.0
            .changes
            .send_modify(|change| *change = change.wrapping_add(1));
        self.0.work.notify_one();
    }

    /// Something changed by which symptoms are answered: what agents say, what people decided, who is
    /// connected.
    pub fn symptoms_changed(&self) {
        self.0.symptoms.store(true, Ordering::Release);
        self.changed();
    }

    /// Published policies, read.
    pub(crate) fn revisions(&self) -> &Revisions {
        &self.0.revisions
    }

    /// Answers each change, whatever it is.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Whether the controller dies here; only in tests.
    pub(crate) fn dies_at(&self, point: Point) -> bool {
        let dies = self.0.stop.is_cancelled()
            || self.0.killer.as_ref().is_some_and(|killer| killer(point));
        if dies {
            self.0.stop.cancel();
        }
        dies
    }

    async fn run(&self) {
        let mut due = Due::default();
        let mut anew = Instant::now() + ANEW;
        loop {
            let began = Instant::now();
            if began >= anew {
                self.0.store.look_anew();
                anew = began + ANEW;
            }
            due.elsewhere = Duration::ZERO;
            let settled = self.settle(&mut due).await;
            let looked = began.elapsed().saturating_sub(due.elsewhere);
            // What comes meanwhile is looked at together.
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = tokio::time::sleep(breath(looked)) => {}
            }
            let rest = match settled {
                Ok(true) => return,
                Ok(false) => {
                    let decided = self.0.decided.lock();
                    *decided.unwrap_or_else(PoisonError::into_inner) = Instant::now();
                    TICK.min(self.until(due.first()))
                }
                Err(fault) => {
                    tracing::error!(%fault, "could not go on with the rollouts; trying again");
                    self.0.symptoms.store(true, Ordering::Release);
                    REST
                }
            };
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = self.0.work.notified() => {}
                () = tokio::time::sleep(rest) => self.0.symptoms.store(true, Ordering::Release),
            }
        }
    }

    /// How long until a time at which something may follow.
    fn until(&self, due_ms: Option<i64>) -> Duration {
        let left = due_ms.map(|due_ms| due_ms.saturating_sub(self.now_ms()).max(0));
        left.map_or(TICK, |left| Duration::from_millis(left.unsigned_abs()))
            .max(SOONEST)
    }

    /// Goes on until nothing follows any more. Answers whether it died.
    async fn settle(&self, due: &mut Due) -> Result<bool, StoreError> {
        self.keep_immunity().await?;
        loop {
            // A run that ends frees its site, perhaps for an older rollout: again until none does.
            let mut freed = false;
            due.rollouts = None;
            for rollout in self.0.store.at_work().await? {
                match self.settle_one(rollout, due).await? {
                    Settled::Died => return Ok(true),
                    Settled::Freed => freed = true,
                    Settled::AtRest => {}
                }
            }
            if freed {
                self.0.symptoms.store(true, Ordering::Release);
                continue;
            }
            let began = Instant::now();
            if let Some(until) = due.lull.filter(|until| began < *until) {
                let left = i64::try_from((until - began).as_millis()).unwrap_or(0);
                if self.0.symptoms.load(Ordering::Acquire) {
                    due.symptoms = Some(self.now_ms().saturating_add(left));
                }
                return Ok(false);
            }
            if !self.0.symptoms.swap(false, Ordering::AcqRel) {
                return Ok(false);
            }
            let answered = self.answer_symptoms().await;
            let ended = Instant::now();
            due.lull = Some(ended + lull(ended - began));
            due.elsewhere += ended - began;
            match answered? {
                Answered::Died => return Ok(true),
                Answered::Started => self.0.symptoms.store(true, Ordering::Release),
                Answered::AtRest(due_ms) => {
                    due.symptoms = due_ms;
                    return Ok(false);
                }
            }
        }
    }

    async fn settle_one(
        &self,
        mut rollout: Arc<Rollout>,
        due: &mut Due,
    ) -> Result<Settled, StoreError> {
        let store = &self.0.store;
        let mut settled = Settled::AtRest;
        for _ in 0..ROUNDS {
            // Before the facts are read: a soak is not over by a time at which nobody looked.
            let now_ms = self.now_ms();
            let fleet = self.fleet_for(&rollout).await?;
            let decision = decide(&rollout, &fleet, now_ms);
            let actions = decision.actions;
            if actions.is_empty() {
                let all = [due.rollouts, decision.due_ms];
                due.rollouts = all.into_iter().flatten().min();
                return Ok(settled);
            }
            if self.dies_at(Point::Decided) {
                return Ok(Settled::Died);
            }
            let began = Instant::now();
            match store.carry_out(&rollout, &actions, now_ms).await {
                Ok(told) => {
                    tracing::debug!(rollout = %rollout.id, ?actions, "stored");
                    if self.dies_at(Point::Stored) {
                        return Ok(Settled::Died);
                    }
                    traced::stored(&self.0.tracer, &rollout, &actions, (now_ms, self.now_ms()));
                    self.0.sessions.wake(&told);
                    self.0
                        .changes
                        .send_modify(|change| *change = change.wrapping_add(1));
                    if self.dies_at(Point::Told) {
                        return Ok(Settled::Died);
                    }
                    if actions.iter().any(frees) {
                        settled = Settled::Freed;
                    }
                }
                // An operator was faster, or another rollout took the site.
                Err(StoreError::Changed(what)) => {
                    tracing::debug!(what, "decided on what is not so any more");
                }
                Err(fault) => return Err(fault),
            }
            let id = rollout.id;
            // Let go of first: what nobody else holds is brought up to date in its place.
            drop(rollout);
            let now = store.one_at_work(id).await?;
            due.elsewhere += began.elapsed();
            match now {
                Some(now) => rollout = now,
                None => return Ok(settled),
            }
        }
        tracing::error!(rollout = %rollout.id, "decisions do not come to rest; this is a defect");
        Ok(Settled::AtRest)
    }

    async fn note_liveness(&self) {
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = tokio::time::sleep(WRITTEN_EVERY) => {}
            }
            if let Err(fault) = self.0.liveness.write_down(&self.0.store).await {
                tracing::warn!(%fault, "could not note when agents were last heard");
            }
            self.note_refusals().await;
        }
    }

    /// Puts into the audit trail what the door refused since the last time.
    async fn note_refusals(&self) {
        let refused = self.0.roster.refusals().take();
        if let Err(fault) = self.0.store.note_refusals(&refused, self.now_ms()).await {
            tracing::warn!(%fault, "could not note which calls were refused");
        }
    }
}

/// When something may follow though nothing changes, milliseconds since 1970 UTC.
#[derive(Default)]
struct Due {
    rollouts: Option<i64>,
    symptoms: Option<i64>,
    /// Until then no symptoms are looked at.
    lull: Option<Instant>,
    /// How much of the look went into what was decided, and into symptoms: the breath after it is for what is read and
    /// decided whether anything follows or not.
    elsewhere: Duration,
}

impl Due {
    fn first(&self) -> Option<i64> {
        [self.rollouts, self.symptoms].into_iter().flatten().min()
    }
}

/// Where a rollout stands when nothing follows for it any more.
enum Settled {
    AtRest,
    /// A site or a place in a budget became free on the way.
    Freed,
    /// The controller died, as a test wanted.
    Died,
}

/// Whether something may follow for another rollout: a site is free, or a place in its budget.
const fn frees(action: &Action) -> bool {
    match action {
        Action::Enter { phase, .. } => phase.is_final(),
        Action::Turn { state, .. } => state.is_final(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
