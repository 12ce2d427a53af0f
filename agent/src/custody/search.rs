//! The search for poison: which of the files in custody crash the service (Q168883).
//!
//! This is the decision alone: no clock, no disk, no service. A [`Search`] says which files the queue
//! must hold at the next start ([`Move::Feed`]), is told what was seen ([`Observation`]), and in the end
//! names the poison or stops and says why a person must look.
//!
//! **How it searches.** The first start is with nothing: a service that dies of an empty queue is not
//! dying of its files. What an event named or what is locked is tried next, apart. Then everything that
//! is left is fed at once, and a crash tells far more than one bit: what was delivered before it is
//! cleared, and only what was in flight is suspect. Where no log ever shows that (of inbound mail), the order
//! does: a service that works its queue off in the order of arrival died of the oldest that is left, which is
//! tried alone. The suspects are split, the likelier half first,
//! until one remains. Without evidence it is splitting in groups, which `max_duplicates` caps
//! because a crash may send its whole group twice. [`mailmend_policy::bounds`] declares what it takes at most.
//!
//! **What is promised**, whatever the service does, also for a message that crashes only sometimes:
//! - Every file is in exactly one list of the [`Tally`], always. None is dropped.
//! - A file is cleared only if evidence settled it, or if it was fed to a service that stayed up, undisturbed,
//!   and that took it up as far as the logs can tell. Nothing is cleared by arithmetic.
//! - What evidence settled, and what left the queue without evidence, is never fed again.
//! - [`Move::Found`] without poison means that no attributed start crashed. Each such crash is otherwise
//!   explained by a poison that was there, or the search stops and escalates.
//! - Where the logs clear everything that they showed in flight at a crash, they did not show everything: they
//!   are not believed again, and the crash is explained only by poison among all that was fed then.
//! - With [`Limits::confirm`] each poison crashed the service alone, so no innocent message is accused,
//!   and a group that crashes while none of it crashes alone is a contradiction: it escalates. Without
//!   it, the last of a group is named by deduction ([`Proof::Deduced`]); of a message that crashes only
//!   sometimes an innocent neighbour may then be held in its place. It is held, not lost.
//! - Not promised: that a file that survived will never crash the service. Giving back what is
//!   `good` but not settled is an ordinary replay, and is observed like one.
//!
//! **How the runner uses it.** It runs the search of each queue apart. For each `Feed` it records that
//! start `n` begins (durably, before files move), stops the service, makes the queue hold exactly those files
//! of the batch, starts, and watches until nothing has moved for the declared time. It then records the
//! [`Observation`] as it is, and only then calls [`Search::after`]. The state is the fold of
//! the observations over [`Search::begin`], see [`Search::recover`]: after an interruption it is
//! recomputed, and never stored. A start that was begun and has no observation (the agent died) is
//! observed late from the folder and the logs, with `disturbed` set. Which files a
//! start may send a second time is known before it: the runner records [`Search::may_send_twice`] with it.

mod ask;
mod group;
mod learn;
mod observation;
mod tally;

use std::collections::BTreeMap;

use mailmend_policy::bounds::{self, Case};

pub use observation::Observation;
pub use tally::{Effort, Move, Poison, Proof, Tally, Why};

use ask::Ask;

/// What is known against a file before the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Mark {
    /// Nothing.
    #[default]
    Ordinary,
    /// It cannot be opened exclusively although the service is stopped.
    Locked,
    /// An event (4115, 4117, 4182) names it.
    Named,
}

/// A file that may be the poison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspect {
    /// Its index in the manifest of the batch.
    pub index: u32,
    /// What is known against it.
    pub mark: Mark,
    /// How much likelier than other files of the same mark, as a ratio: 10 is ten times as likely as 1. Also the
    /// order of trying. 0 counts as 1.
    pub suspicion: u32,
    /// When it came, by a clock that is the same for all; of equals the index decides.
    pub arrived: i64,
    /// Whether its sending had begun at a crash before the search, so that the first start with it may
    /// send it twice.
    pub exposed: bool,
}

/// What the policy allows the search, and what the server is known to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most starts, the one with nothing included.
    pub max_restarts: u32,
    /// The most crashes, of whatever start.
    pub max_crashes: u32,
    /// The most files that one crash may send twice. Caps a group; 0 counts as 1.
    pub max_duplicates: u64,
    /// The most files that the service handles at one time, where its logs show after a crash which
    /// files those were. `None`: they do not.
    pub in_flight: Option<u32>,
    /// Whether a file is poison only when it crashed the service alone. One start and one crash
    /// more for each; without it, a message that crashes only sometimes may go undetected.
    pub confirm: bool,
}

impl Limits {
    /// The case of `bad` poison among `files`, for the bounds.
    #[must_use]
    pub fn case(&self, files: u64, bad: u64) -> Case {
        Case {
            files,
            bad,
            in_flight: self.in_flight.map(|flight| u64::from(flight.max(1))),
            max_duplicates: self.max_duplicates.max(1),
            confirm: self.confirm,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing is known.
    Untested,
    /// Of a set that holds poison.
    Suspected,
    Poison(Proof),
    /// Evidence shows what became of it.
    Settled,
    /// Taken up by a service that stayed up.
    Survived,
    /// Fed, and not taken up by a service that stayed up.
    Left,
    /// It left the queue, and nothing shows where to.
    InDoubt,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    /// The place in the order of trying, 0 first.
    rank: u32,
    arrived: i64,
    weight: u64,
    mark: Mark,
    standing: Standing,
    /// In flight at a crash: the next start may send it again.
    exposed: bool,
    /// Fed again after that.
    perhaps_twice: bool,
}

/// A search, between two starts of the service. Plain data: the fold of what was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    limits: Limits,
    files: BTreeMap<u32, File>,
    /// The untested, in order of trying.
    pool: Vec<u32>,
    /// A set that holds at least one poison, in order of trying; empty where none is known.
    suspected: Vec<u32>,
    /// Everything that was left at the crash behind `suspected`, where the logs chose fewer.
    blamed: Vec<u32>,
    /// What was left at crashes whose suspects by the logs were all cleared: the logs did not show
    /// everything. Poison must be found in each before the search is over.
    unexplained: Vec<Vec<u32>>,
    /// Of `suspected`: named or locked at the crash, or the one whose turn it was.
    hint: Option<u32>,
    /// No hint was wrong so far. One that lied is not asked again, so hints cost one start at most.
    hints_trusted: bool,
    /// The service stayed up with nothing.
    survives_nothing: bool,
    starts: u32,
    crashes: u32,
    disturbed: u32,
    /// The most suspects after a crash whose flight the logs showed.
    widest: u32,
    /// After a crash the logs did not show what was in flight, although `Limits` says that they do.
    logs_failed: bool,
    stopped: Option<Why>,
}

impl Search {
    /// A search among these files. An index that comes twice counts once.
    #[must_use]
    pub fn begin(mut files: Vec<Suspect>, limits: Limits) -> Self {
        files.sort_by_key(|file| {
            (
                std::cmp::Reverse((file.mark, file.suspicion.max(1))),
                file.index,
            )
        });
        let mut known = BTreeMap::new();
        let mut pool = Vec::with_capacity(files.len());
        for (rank, file) in (0..).zip(files) {
            let times = match file.mark {
                Mark::Ordinary => 1,
                Mark::Locked => 1_000,
                Mark::Named => 1_000_000,
            };
            known.entry(file.index).or_insert_with(|| {
                pool.push(file.index);
                File {
                    rank,
                    arrived: file.arrived,
                    weight: u64::from(file.suspicion.max(1)) * times,
                    mark: file.mark,
                    standing: Standing::Untested,
                    exposed: file.exposed,
                    perhaps_twice: false,
                }
            });
        }
        Self {
            limits,
            files: known,
            pool,
            suspected: Vec::new(),
            blamed: Vec::new(),
            unexplained: Vec::new(),
            hint: None,
            hints_trusted: true,
            survives_nothing: false,
            starts: 0,
            crashes: 0,
            disturbed: 0,
            widest: 0,
            logs_failed: false,
            stopped: None,
        }
    }

    /// The search that saw all this, in order: what the agent does after an interruption.
    #[must_use]
    pub fn recover<'a>(
        files: Vec<Suspect>,
        limits: Limits,
        seen: impl IntoIterator<Item = &'a Observation>,
    ) -> Self {
        seen.into_iter()
            .fold(Self::begin(files, limits), Self::after)
    }

    /// What to do next.
    #[must_use]
    pub fn next(&self) -> Move {
        match self.ask() {
            Ok(Some(ask)) => Move::Feed(ask.into_fed()),
            Ok(None) => Move::Found(self.tally()),
            Err(why) => Move::Escalate {
                why,
                tally: self.tally(),
            },
        }
    }

    /// The search after the start that [`Self::next`] asked for. A search that has ended stays as it is.
    #[must_use]
    pub fn after(mut self, seen: &Observation) -> Self {
        let Ok(Some(ask)) = self.ask() else {
            return self;
        };
        self.starts = self.starts.saturating_add(1);
        self.crashes = self.crashes.saturating_add(u32::from(seen.crashed));
        self.disturbed = self.disturbed.saturating_add(u32::from(seen.disturbed));
        if ask == Ask::Nothing {
            self.settle(&[], seen);
            if !seen.disturbed {
                self.survives_nothing = !seen.crashed;
                if seen.crashed {
                    self.stop(Why::NotInSpool);
                }
            }
            return self;
        }
        let fed = ask.clone().into_fed();
        for index in &fed {
            if let Some(file) = self.files.get_mut(index) {
                file.perhaps_twice |= file.exposed;
            }
        }
        let hunted = !self.suspected.is_empty();
        let remains = self.settle(&fed, seen);
        match (seen.crashed, seen.disturbed) {
            (true, _) => self.crashed(&fed, &remains, seen),
            (false, true) => {}
            (false, false) => self.stayed_up(&ask, &remains, seen),
        }
        if hunted && self.stopped.is_none() {
            self.conclude(seen);
        }
        self
    }

    /// Of what [`Self::next`] feeds: the files that were in flight at a crash, so that this start may send them
    /// a second time. Recorded by name before it.
    #[must_use]
    pub fn may_send_twice(&self) -> Vec<u32> {
        let Ok(Some(ask)) = self.ask() else {
            return Vec::new();
        };
        let mut fed = ask.into_fed();
        fed.retain(|index| self.files.get(index).is_some_and(|file| file.exposed));
        fed
    }

    /// Where every file stands.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (&index, file) in &self.files {
            match file.standing {
                Standing::Untested => tally.untested.push(index),
                Standing::Suspected => tally.suspected.push(index),
                Standing::Poison(proof) => tally.poison.push(Poison { index, proof }),
                Standing::Settled => tally.settled.push(index),
                Standing::Survived => tally.good.push(index),
                Standing::Left => tally.left.push(index),
                Standing::InDoubt => tally.in_doubt.push(index),
            }
            if file.perhaps_twice {
                tally.perhaps_twice.push(index);
            }
        }
        tally
    }

    /// What it cost so far, beside what it may cost for as many poison as were found.
    #[must_use]
    pub fn effort(&self) -> Effort {
        let is_poison = |file: &&File| matches!(file.standing, Standing::Poison(_));
        let bad = self.files.values().filter(is_poison).count() as u64;
        let case = Case {
            in_flight: self
                .in_flight()
                .map(|declared| declared.max(self.widest).into()),
            ..self.limits.case(self.files.len() as u64, bad)
        };
        // Believing logs that did not show everything costs one narrowing, once.
        let believed = Case {
            bad: 1,
            in_flight: self.limits.in_flight.map(u64::from),
            ..case
        };
        let in_vain = if self.unexplained.is_empty() {
            0
        } else {
            believed.crashes()
        };
        Effort {
            starts: self.starts,
            crashes: self.crashes,
            disturbed: self.disturbed,
            restarts_bound: case.restarts() + u64::from(self.disturbed) + in_vain,
            crashes_bound: case.crashes() + in_vain,
            entropy: bounds::entropy(self.files.len() as u64, bad),
        }
    }
}

#[cfg(test)]
mod tests;
