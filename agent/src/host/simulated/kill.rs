//! Killing the agent at a chosen point.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Ends the agent's threads at the n-th point that they pass. Shared by everything that a crash may
/// fall between: the simulated host and the journal.
#[derive(Debug, Clone, Default)]
pub struct KillSwitch {
    state: Arc<State>,
}

/// Called at each point that is passed.
type Watcher = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct State {
    passed: AtomicU64,
    kill_at: AtomicU64,
    dead: AtomicBool,
    trace: Mutex<Vec<&'static str>>,
    watcher: Mutex<Option<Watcher>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("passed", &self.passed)
            .field("kill_at", &self.kill_at)
            .field("dead", &self.dead)
            .finish_non_exhaustive()
    }
}

/// What [`run_until_killed`] returns when the switch ended the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimulatedKill {
    /// Which point it was, counted from 1 over the life of the switch.
    pub point: u64,
    /// What was about to happen, or had just happened.
    pub what: &'static str,
}

impl KillSwitch {
    /// Passes a point. Does not return when this is the one to die at, nor when the agent is dead
    /// already (its other threads die at their next point).
    pub fn point(&self, what: &'static str) {
        // A thread that is unwinding is dying already: killing it twice would abort the test.
        if std::thread::panicking() {
            return;
        }
        let state = &*self.state;
        let point = if state.dead.load(Ordering::SeqCst) {
            state.passed.load(Ordering::SeqCst)
        } else {
            let point = state.passed.fetch_add(1, Ordering::SeqCst) + 1;
            state
                .trace
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(what);
            let watcher = self.watcher().clone();
            if let Some(watcher) = watcher {
                watcher();
            }
            if point != state.kill_at.load(Ordering::SeqCst) {
                return;
            }
            state.dead.store(true, Ordering::SeqCst);
            point
        };
        // Not `panic_any`: a resumed unwinding does not reach the panic hook, so it prints nothing.
        resume_unwind(Box::new(SimulatedKill { point, what }));
    }

    /// Ends the agent here and now.
    pub fn end(&self, what: &'static str) {
        self.arm(1);
        self.point(what);
    }

    /// Lets something happen at each point from now on that an agent passes: what a death there would leave can
    /// be copied. `None` ends that, which whoever holds the world in it must not forget.
    pub fn watch(&self, watcher: Option<Arc<dyn Fn() + Send + Sync>>) {
        *self.watcher() = watcher;
    }

    fn watcher(&self) -> std::sync::MutexGuard<'_, Option<Watcher>> {
        let watcher = self.state.watcher.lock();
        watcher.unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills at the n-th point from now; 1 is the next one, 0 is never.
    pub fn arm(&self, n: u64) {
        let at = if n == 0 { 0 } else { self.passed() + n };
        self.state.kill_at.store(at, Ordering::SeqCst);
    }

    /// How many points have been passed.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.state.passed.load(Ordering::SeqCst)
    }

    /// Whether it has killed and nobody has revived the agent.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state.dead.load(Ordering::SeqCst)
    }

    /// Lets a new agent live; disarms.
    pub fn revive(&self) {
        self.state.kill_at.store(0, Ordering::SeqCst);
        self.state.dead.store(false, Ordering::SeqCst);
    }

    /// The points passed so far, in order.
    #[must_use]
    pub fn trace(&self) -> Vec<&'static str> {
        self.state
            .trace
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Runs an agent until it ends or is killed. Any other panic goes on.
///
/// # Errors
/// The kill.
pub fn run_until_killed<T>(agent: impl FnOnce() -> T) -> Result<T, SimulatedKill> {
    match catch_unwind(AssertUnwindSafe(agent)) {
        Ok(value) => Ok(value),
        Err(payload) => match payload.downcast::<SimulatedKill>() {
            Ok(kill) => Err(*kill),
            Err(other) => resume_unwind(other),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_point_kills_and_every_later_one_until_revived() {
        let switch = KillSwitch::default();
        switch.point("a");
        switch.arm(2);
        let mut reached = Vec::new();
        let kill = run_until_killed(|| {
            for what in ["b", "c", "d"] {
                switch.point(what);
                reached.push(what);
            }
        });
        assert_eq!(
            kill,
            Err(SimulatedKill {
                point: 3,
                what: "c"
            })
        );
        assert_eq!(reached, ["b"]);
        assert!(run_until_killed(|| switch.point("late")).is_err());
        switch.revive();
        assert_eq!(run_until_killed(|| switch.point("e")), Ok(()));
        assert_eq!(switch.trace(), ["a", "b", "c", "e"]);
    }

    #[test]
    fn another_panic_is_not_taken_for_a_kill() {
        let outer = catch_unwind(|| run_until_killed(|| resume_unwind(Box::new("a mistake"))));
        assert_eq!(
            outer.unwrap_err().downcast_ref::<&str>(),
            Some(&"a mistake")
        );
    }
}
