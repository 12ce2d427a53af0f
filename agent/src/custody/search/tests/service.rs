//! A service that dies of some files, as far as a search sees it, and knows what really happened.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;

/// What the server's records tell after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Records {
    /// What was delivered, and what was in flight.
    Full,
    /// What was delivered.
    Delivered,
    /// Nothing: delivered files are still there, too.
    Nothing,
}

pub(super) struct Service {
    /// Poison, and how often of ten times it crashes the service.
    pub(super) bad: BTreeMap<u32, u32>,
    pub(super) width: usize,
    pub(super) records: Records,
    pub(super) random: fastrand::Rng,
    /// Whether it takes its queue in the order of arrival, which is that of the indices here.
    pub(super) in_order: bool,
    /// How often each was really delivered.
    pub(super) delivered: BTreeMap<u32, u32>,
    /// What evidence settled, and what left the queue.
    gone: BTreeSet<u32>,
    pub(super) crashed: BTreeSet<u32>,
    pub(super) crashes: u32,
}

impl Service {
    pub(super) fn new(bad: BTreeMap<u32, u32>, width: u32, records: Records, seed: u64) -> Self {
        Self {
            bad,
            width: width as usize,
            records,
            random: fastrand::Rng::with_seed(seed),
            in_order: false,
            delivered: BTreeMap::new(),
            gone: BTreeSet::new(),
            crashed: BTreeSet::new(),
            crashes: 0,
        }
    }

    /// Starts it with these files, and shows what a runner would have seen.
    pub(super) fn start(&mut self, fed: &[u32]) -> Observation {
        for index in fed {
            assert!(
                !self.gone.contains(index),
                "{index} was fed after it was settled"
            );
        }
        let mut waiting = fed.to_vec();
        if self.in_order {
            waiting.sort_unstable_by(|one, other| other.cmp(one));
        } else {
            self.random.shuffle(&mut waiting);
        }
        let mut flying: Vec<u32> = Vec::new();
        let mut done = Vec::new();
        let crashed = loop {
            while flying.len() < self.width
                && let Some(index) = waiting.pop()
            {
                flying.push(index);
            }
            if flying.is_empty() {
                break false;
            }
            let place = self.random.usize(..flying.len());
            let index = flying[place];
            let odds = self.bad.get(&index).copied().unwrap_or(0);
            if self.random.u32(..10) < odds {
                self.crashed.insert(index);
                break true;
            }
            flying.swap_remove(place);
            *self.delivered.entry(index).or_insert(0) += 1;
            done.push(index);
        };
        self.crashes += u32::from(crashed);
        let shown = !crashed || self.records != Records::Nothing;
        let (settled, mut still_there) = if shown {
            (done, Vec::new())
        } else {
            (Vec::new(), done)
        };
        still_there.extend(waiting);
        still_there.extend(&flying);
        self.gone.extend(&settled);
        Observation {
            crashed,
            settled,
            still_there,
            in_flight: (self.records == Records::Full).then_some(flying),
            ..Observation::default()
        }
    }

    /// Runs a search to its end. The second is every observation, in order.
    pub(super) fn search(
        &mut self,
        files: &[Suspect],
        limits: Limits,
    ) -> (Search, Vec<Observation>) {
        let mut search = Search::begin(files.to_vec(), limits);
        let mut seen = Vec::new();
        while let Move::Feed(fed) = search.next() {
            let observation = self.start(&fed);
            search = search.after(&observation);
            seen.push(observation);
            if files.len() < 300 {
                whole(&search, files);
            }
            assert!(seen.len() < 30_000, "the search does not end");
        }
        whole(&search, files);
        (search, seen)
    }
}

/// Every file is in exactly one list.
pub(super) fn whole(search: &Search, files: &[Suspect]) {
    let tally = search.tally();
    let mut all: Vec<u32> = tally.poison.iter().map(|poison| poison.index).collect();
    for list in [
        &tally.settled,
        &tally.good,
        &tally.left,
        &tally.in_doubt,
        &tally.suspected,
        &tally.untested,
    ] {
        all.extend(list);
    }
    all.sort_unstable();
    let mut known: Vec<u32> = files.iter().map(|file| file.index).collect();
    known.sort_unstable();
    known.dedup();
    assert!(
        all == known,
        "files are in none or in several lists: {tally:?}"
    );
    let mut untested = search.pool.clone();
    untested.sort_unstable();
    let mut suspected = search.suspected.clone();
    suspected.sort_unstable();
    assert_eq!((untested, suspected), (tally.untested, tally.suspected));
}
