//! What the next start asks of the service.

use mailmend_policy::bounds::halvings;

use super::{Mark, Search, Standing, Why, group};
use crate::ablation::{Mechanism, off};

/// What the next start asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// Does it die of an empty queue?
    Nothing,
    /// Does the one that is left of the suspects crash it alone?
    Confirm(Vec<u32>),
    /// Is it the file that was named or locked at the crash, or whose turn it was?
    Hint(Vec<u32>),
    /// Is it in this part of the suspects?
    Part(Vec<u32>),
    /// Is it among those most suspicious from the beginning?
    Guess(Vec<u32>),
    /// Is there poison in this group?
    Group(Vec<u32>),
}

impl Ask {
    pub(super) fn into_fed(self) -> Vec<u32> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Confirm(fed)
            | Self::Hint(fed)
            | Self::Part(fed)
            | Self::Guess(fed)
            | Self::Group(fed) => fed,
        }
    }
}

impl Search {
    /// What the next start asks; `None` where nothing is left to ask.
    pub(super) fn ask(&self) -> Result<Option<Ask>, Why> {
        if let Some(why) = &self.stopped {
            return Err(why.clone());
        }
        if self.survives_nothing && self.suspected.is_empty() && self.pool.is_empty() {
            let explained = |left: &Vec<u32>| left.iter().any(|index| self.is_poison(*index));
            return if self.unexplained.iter().all(explained) {
                Ok(None)
            } else {
                Err(Why::NoneOfThem)
            };
        }
        if self.starts >= self.limits.max_restarts {
            return Err(Why::Restarts);
        }
        if self.crashes >= self.limits.max_crashes {
            return Err(Why::Crashes);
        }
        if !self.survives_nothing {
            return Ok(Some(Ask::Nothing));
        }
        Ok(Some(match self.suspected.as_slice() {
            [] => self.ask_of_pool(),
            [_] => Ask::Confirm(self.suspected.clone()),
            several => match self.hint {
                Some(hint) if self.hints_trusted => Ask::Hint(vec![hint]),
                _ => {
                    let crashes = self.crashes_left();
                    let weights: Vec<u64> =
                        several.iter().map(|index| self.weight(*index)).collect();
                    Ask::Part(several[..group::first_part(&weights, crashes)].to_vec())
                }
            },
        }))
    }

    fn ask_of_pool(&self) -> Ask {
        let most = self.group_size();
        if self.hints_trusted {
            let marked = |index: &&u32| {
                let file = self.files.get(index);
                file.is_some_and(|file| file.mark > Mark::Ordinary)
            };
            // Where the logs show what was in flight, a guess by suspicion gains nothing.
            let guess = match self.pool.iter().take_while(marked).count() {
                0 if self.in_flight().is_none() => {
                    let weights: Vec<u64> =
                        self.pool.iter().map(|index| self.weight(*index)).collect();
                    group::guess(&weights)
                }
                marked => marked,
            };
            if 0 < guess && guess < self.pool.len() {
                return Ask::Guess(self.pool[..guess.min(most)].to_vec());
            }
        }
        Ask::Group(self.pool[..most].to_vec())
    }

    /// How many untested files the next start may have: what one crash may send twice, and what the
    /// crashes that are left can still tell apart.
    fn group_size(&self) -> usize {
        let cap = match self.limits.max_duplicates.max(1) {
            _ if off(Mechanism::DuplicateCap) => usize::MAX,
            cap => usize::try_from(cap).unwrap_or(usize::MAX),
        };
        let flight = self.in_flight().map(|flight| flight as usize);
        let size = match flight {
            Some(flight) if flight <= cap => self.pool.len(),
            _ => self.pool.len().min(cap),
        };
        let suspects = size.min(flight.unwrap_or(size));
        let crashes = self.crashes_left();
        // Crashes are saved for the first poison. Once that is found there is likely no other, and trying
        // the rest in small groups would restart the service for nothing.
        if crashes > halvings(suspects as u64) || self.found_any() {
            return size;
        }
        size.min(group::frugal(self.pool.len(), crashes))
    }

    fn is_poison(&self, index: u32) -> bool {
        let file = self.files.get(&index);
        file.is_some_and(|file| matches!(file.standing, Standing::Poison(_)))
    }

    fn found_any(&self) -> bool {
        let mut files = self.files.values();
        files.any(|file| matches!(file.standing, Standing::Poison(_)))
    }

    /// The crashes that narrowing may cost: one is kept to confirm with, if that is wanted.
    fn crashes_left(&self) -> u32 {
        let left = self.limits.max_crashes.saturating_sub(self.crashes);
        let kept = u32::from(self.limits.confirm && left > 1);
        left - kept
    }

    /// How many are in flight at most, as far as the logs kept the promise to tell.
    pub(super) fn in_flight(&self) -> Option<u32> {
        self.limits
            .in_flight
            .filter(|_| !self.logs_failed)
            .map(|flight| flight.max(1))
    }

    fn weight(&self, index: u32) -> u64 {
        self.files.get(&index).map_or(1, |file| file.weight)
    }
}
