//! What closed runs add up to, as far as it was asked for: recovery and each quarantine look at all of them,
//! and folding them again each time grows with their number.

use std::collections::HashMap;
use std::sync::Arc;

use mailmend_proto::run::{RunId, RunState};

/// At most this many entries of custody are kept, some 30 MB. A run without custody counts as one.
const ENTRIES: usize = 50_000;

/// States of closed runs.
#[derive(Default)]
pub(super) struct Closed {
    states: HashMap<RunId, Arc<RunState>>,
    entries: usize,
}

fn cost(state: &RunState) -> usize {
    let entries = state.batches.values().map(|batch| batch.entries.len());
    1 + entries.sum::<usize>()
}

impl Closed {
    pub(super) fn get(&self, run: RunId) -> Option<&Arc<RunState>> {
        self.states.get(&run)
    }

    /// Keeps a state where there is room; one that is too large for that is folded again each time.
    pub(super) fn keep(&mut self, run: RunId, state: &Arc<RunState>) {
        let cost = cost(state);
        if self.entries + cost <= ENTRIES && self.states.insert(run, Arc::clone(state)).is_none() {
            self.entries += cost;
        }
    }

    /// A record is about to be added to the run.
    pub(super) fn forget(&mut self, run: RunId) {
        if let Some(state) = self.states.remove(&run) {
            self.entries -= cost(&state);
        }
    }
}
