//! A search for poison, as the journal tells it: the search itself is the fold of what was observed.

use std::collections::BTreeSet;

use super::event::BatchId;

/// What is known against a file before a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum SearchMark {
    /// Nothing.
    #[default]
    Ordinary,
    /// It cannot be opened exclusively although the service is stopped.
    Locked,
    /// An event (4115, 4117, 4182) names it.
    Named,
}

/// A file that may crash the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchSuspect {
    /// The entry in its batch.
    pub index: u32,
    /// What is known against it.
    pub mark: SearchMark,
    /// How much likelier than others of its mark, as a ratio; from 1.
    pub suspicion: u32,
    /// Its sending had begun when the service crashed before the search: it may have been sent.
    pub in_flight: bool,
}

/// What one start showed. Indices are those of the batch, as inclusive ranges in rising order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchObservation {
    /// The service died by itself, or hung and had to be ended.
    pub crashed: bool,
    /// Delivered or archived, by evidence.
    pub settled: Vec<(u32, u32)>,
    /// Fed, and still in the queue.
    pub still_there: Vec<(u32, u32)>,
    /// Fed, still in the queue, and begun by the logs. `None`: the logs cannot tell.
    pub in_flight: Option<Vec<(u32, u32)>>,
    /// The entry that an event of this start names.
    pub named: Option<u32>,
    /// The entry that could not be opened exclusively after a crash.
    pub locked: Option<u32>,
    /// Something else may have crashed it, or nobody watched to the end.
    pub disturbed: bool,
}

/// A start that a search asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchStart {
    /// What the queue had to hold, as inclusive ranges of entries.
    pub fed: Vec<(u32, u32)>,
    /// How many of them a crash before may have sent already.
    pub may_send_twice: u64,
    /// What it showed; none while it runs, or where the agent died meanwhile.
    pub observed: Option<SearchObservation>,
}

/// How far a searching step has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchState {
    /// Whose files are searched.
    pub batch: BatchId,
    /// All of them, by index, once the first start was begun.
    pub suspects: Vec<SearchSuspect>,
    /// The starts, in order.
    pub starts: Vec<SearchStart>,
}

impl SearchState {
    /// Starts after which the service was dead, or had to be ended.
    #[must_use]
    pub fn crashes(&self) -> usize {
        let crashed =
            |start: &&SearchStart| start.observed.as_ref().is_some_and(|seen| seen.crashed);
        self.starts.iter().filter(crashed).count()
    }

    /// The entries of which a crash so far may have sent one already: in flight by the logs where those can
    /// tell, otherwise all that were left; and what had begun before the search.
    #[must_use]
    pub fn exposed(&self) -> BTreeSet<u32> {
        self.exposures(|_, _| {})
    }

    /// The entries that were given to the service again after a crash that may have sent them: every message
    /// that the search may have sent twice.
    #[must_use]
    pub fn may_be_sent_twice(&self) -> BTreeSet<u32> {
        let mut twice = BTreeSet::new();
        self.exposures(|start, exposed| {
            twice.extend(spread(&start.fed).filter(|index| exposed.contains(index)));
        });
        twice
    }

    fn exposures(&self, mut before: impl FnMut(&SearchStart, &BTreeSet<u32>)) -> BTreeSet<u32> {
        let mut exposed: BTreeSet<u32> = self
            .suspects
            .iter()
            .filter(|suspect| suspect.in_flight)
            .map(|suspect| suspect.index)
            .collect();
        for start in &self.starts {
            before(start, &exposed);
            match &start.observed {
                Some(seen) if seen.crashed => {
                    let flying = seen
                        .in_flight
                        .as_deref()
                        .filter(|flying| !flying.is_empty());
                    exposed.extend(spread(flying.unwrap_or(&seen.still_there)));
                    exposed.extend(seen.named.into_iter().chain(seen.locked));
                }
                _ => {}
            }
        }
        exposed
    }
}

fn spread(ranges: &[(u32, u32)]) -> impl Iterator<Item = u32> {
    ranges.iter().flat_map(|&(first, last)| first..=last)
}
