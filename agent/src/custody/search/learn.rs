//! What a start teaches.

use std::collections::BTreeSet;

use super::ask::Ask;
use super::{Mark, Observation, Proof, Search, Standing, Why};

impl Search {
    fn stand(&mut self, index: u32, standing: Standing) {
        if let Some(file) = self.files.get_mut(&index) {
            file.standing = standing;
        }
    }

    pub(super) fn stop(&mut self, why: Why) {
        self.stopped.get_or_insert(why);
    }

    /// Takes in what evidence settled, whenever it was fed, and what left the queue without any.
    /// Returns what was fed and is still there, in order.
    pub(super) fn settle(&mut self, fed: &[u32], seen: &Observation) -> Vec<u32> {
        for &index in &seen.settled {
            match self.files.get(&index).map(|file| file.standing) {
                None | Some(Standing::Settled) => {}
                Some(Standing::Poison(_)) => self.stop(Why::PoisonDelivered(index)),
                Some(_) => self.stand(index, Standing::Settled),
            }
        }
        let there: BTreeSet<u32> = seen.still_there.iter().copied().collect();
        let mut remains = Vec::with_capacity(there.len());
        for &index in fed {
            match self.files.get(&index).map(|file| file.standing) {
                Some(Standing::Untested | Standing::Suspected) if there.contains(&index) => {
                    remains.push(index);
                }
                Some(Standing::Untested | Standing::Suspected) => {
                    self.stand(index, Standing::InDoubt);
                }
                _ => {}
            }
        }
        self.drop_decided();
        remains
    }

    /// Takes out of the sets to search what is no longer to be searched.
    fn drop_decided(&mut self) {
        let files = &self.files;
        let is = |index: &u32, standing| {
            let file = files.get(index);
            file.is_some_and(|file| file.standing == standing)
        };
        self.pool.retain(|index| is(index, Standing::Untested));
        self.suspected
            .retain(|index| is(index, Standing::Suspected));
    }

    /// Only what was in flight can have crashed it, and that may be sent again by the next start.
    pub(super) fn crashed(&mut self, fed: &[u32], remains: &[u32], seen: &Observation) {
        let hint = [seen.named, seen.locked]
            .into_iter()
            .flatten()
            .find(|hint| remains.contains(hint))
            .or_else(|| self.next_in_order(fed, remains));
        let told = seen.in_flight.as_ref().filter(|_| !self.logs_failed);
        let begun: BTreeSet<u32> = told.into_iter().flatten().copied().collect();
        let mut suspects: Vec<u32> = remains
            .iter()
            .copied()
            .filter(|index| begun.contains(index))
            .collect();
        // Logs that show nothing begun do not show what crashed it.
        let shown = !suspects.is_empty();
        if shown {
            suspects.extend(hint.filter(|hint| !begun.contains(hint)));
            suspects.sort_by_key(|index| self.files.get(index).map(|file| file.rank));
        } else {
            suspects = remains.to_vec();
        }
        for index in &suspects {
            if let Some(file) = self.files.get_mut(index) {
                file.exposed = true;
            }
        }
        if seen.disturbed {
            return;
        }
        if shown {
            let wide = u32::try_from(suspects.len()).unwrap_or(u32::MAX);
            self.widest = self.widest.max(wide);
        } else if self
            .in_flight()
            .is_some_and(|flight| suspects.len() > flight as usize)
        {
            self.logs_failed = true;
        }
        // What left without evidence may have done it, too.
        let in_doubt = |index: &u32| {
            let file = self.files.get(index);
            file.is_some_and(|file| file.standing == Standing::InDoubt)
        };
        let proof = if remains.len() == 1 && !fed.iter().any(in_doubt) {
            Proof::Alone
        } else {
            Proof::InFlight
        };
        for index in std::mem::take(&mut self.suspected) {
            self.stand(index, Standing::Untested);
            self.pool.push(index);
        }
        self.hint = hint;
        self.blamed = if shown && suspects.len() < remains.len() {
            remains.to_vec()
        } else {
            Vec::new()
        };
        match suspects.as_slice() {
            [] => self.stop(Why::CrashWithoutSuspect),
            [one] if proof == Proof::Alone || !self.limits.confirm => {
                self.stand(*one, Standing::Poison(proof));
            }
            several => {
                for index in several {
                    self.stand(*index, Standing::Suspected);
                }
                self.suspected = suspects;
            }
        }
        self.drop_decided();
        let files = &self.files;
        self.pool
            .sort_by_key(|index| files.get(index).map(|file| file.rank));
    }

    /// The oldest that is left of what was fed, where no log can show what was in flight and nothing younger was
    /// worked off (and no event names one of them): a service that goes through its queue in the order of arrival died of it. It is no more
    /// than a hint: tried alone, and after one that was wrong none is believed.
    fn next_in_order(&self, fed: &[u32], remains: &[u32]) -> Option<u32> {
        let marked = |index: &u32| {
            let file = self.files.get(index);
            file.is_some_and(|file| file.mark > Mark::Ordinary)
        };
        if self.limits.in_flight.is_some() || remains.len() < 2 || remains.iter().any(marked) {
            return None;
        }
        let arrival = |index: &u32| self.files.get(index).map(|file| (file.arrived, *index));
        let oldest = remains.iter().copied().min_by_key(arrival)?;
        let there: BTreeSet<u32> = remains.iter().copied().collect();
        let mut gone = fed.iter().filter(|index| !there.contains(index));
        gone.all(|index| arrival(index) < arrival(&oldest))
            .then_some(oldest)
    }

    /// What was taken up and did not crash it is good.
    pub(super) fn stayed_up(&mut self, ask: &Ask, remains: &[u32], seen: &Observation) {
        let begun: Option<BTreeSet<u32>> = seen
            .in_flight
            .as_ref()
            .map(|begun| begun.iter().copied().collect());
        let (taken, waiting): (Vec<u32>, Vec<u32>) = remains
            .iter()
            .copied()
            .partition(|index| begun.as_ref().is_none_or(|begun| begun.contains(index)));
        for index in taken {
            self.stand(index, Standing::Survived);
        }
        match ask {
            Ask::Guess(_) | Ask::Group(_) => {
                for index in waiting {
                    self.stand(index, Standing::Left);
                }
            }
            Ask::Confirm(fed) | Ask::Hint(fed) | Ask::Part(fed) if waiting.len() == fed.len() => {
                self.stop(Why::NotTakenUp);
            }
            Ask::Confirm(_) | Ask::Hint(_) | Ask::Part(_) | Ask::Nothing => {}
        }
        if matches!(ask, Ask::Guess(_) | Ask::Hint(_)) {
            self.hints_trusted = false;
        }
        self.hint = None;
        self.drop_decided();
    }

    /// What the suspects that are left of a crash mean.
    pub(super) fn conclude(&mut self, seen: &Observation) {
        let hint_gone = self
            .hint
            .is_some_and(|hint| !self.suspected.contains(&hint));
        if hint_gone {
            self.hint = None;
        }
        match self.suspected.as_slice() {
            // A crash found it, or took its place.
            _ if seen.crashed && !seen.disturbed => {}
            [] if !self.blamed.is_empty() && !self.logs_failed => {
                self.logs_failed = true;
                let blamed = std::mem::take(&mut self.blamed);
                self.unexplained.push(blamed);
            }
            [] => self.stop(Why::NoneOfThem),
            [one] if !self.limits.confirm => {
                let one = *one;
                self.stand(one, Standing::Poison(Proof::Deduced));
                self.suspected.clear();
            }
            _ => {}
        }
    }
}
