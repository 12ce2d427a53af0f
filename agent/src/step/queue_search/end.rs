//! How a search ends: what crashes the service is named and held, or a person is told why nobody can say.

use std::collections::BTreeSet;

use mailmend_proto::run::{
    Batch, Custody, Event, Outcome, PoisonProof, SearchState, ServiceChange, Settlement,
};

use super::start::refused;
use super::{Hunt, StepEnd, StepResult, Stop, Trouble};
use crate::custody::immune;
use crate::custody::search::{Effort, Poison, Proof, Search, Tally, Why};
use crate::custody::settle::settle;
use crate::faults::known;
use crate::service::{Care, ELSEWHERE, Start};

/// What the ledger says of a message that is given again although a crash may have sent it.
pub(super) const AGAIN: &str = "it was in flight, or may have been, when the service crashed; the search for poison gives it again, so it may be sent twice";

/// So many names stand in one line.
const IN_A_LINE: usize = 10;

/// Why a search ended without a finding, with its code.
pub(super) fn told(why: &Why) -> Stop {
    let code = match why {
        Why::NotInSpool => {
            return Stop(format!(
                "{}: the service dies with an empty queue: the poison is in the store, not in the spool. {ELSEWHERE}",
                const { known("A122-poison-not-in-spool") }
            ));
        }
        Why::Restarts | Why::Crashes => const { known("A121-search-cut-short") },
        Why::NotTakenUp => const { known("A123-suspects-not-taken-up") },
        Why::CrashWithoutSuspect | Why::NoneOfThem | Why::PoisonDelivered(_) => {
            const { known("A120-search-contradiction") }
        }
    };
    Stop(format!("{code}: {why}"))
}

impl Hunt<'_> {
    /// The poison is known, the rest is where it belongs, and service runs.
    pub(super) fn found(
        &self,
        recorded: &SearchState,
        search: &Search,
        tally: &Tally,
    ) -> StepResult {
        self.settle_poison(&tally.poison)?;
        let batch = self.entries()?;
        let mut evidence = self.poison_told(&batch, &tally.poison, search);
        evidence.extend(self.duplicates(recorded, &batch)?);
        let effort = search.effort();
        let mut parts = vec![match tally.poison.len() {
            0 => "no message crashes the service".to_owned(),
            1 => "1 message crashes the service and stays held".to_owned(),
            count => format!("{count} messages crash the service and stay held"),
        }];
        parts.extend(counted(&batch));
        parts.push(spent(&effort, recorded));
        let mut end = StepEnd::done(parts.join(", ")).with(evidence);
        let care = self.care();
        for dependent in care.stopped_with_it(self.work.plan)? {
            let care = Care {
                service: &dependent,
                ..care
            };
            match care.start(Start::BACK)? {
                Ok(detail) => end.evidence.push(detail),
                Err(not) => return Ok(StepEnd::unknown(not.why).with(end.evidence)),
            }
        }
        Ok(end)
    }

    /// Everything that is not settled is held again; the exit of the section starts the service with a queue
    /// in which there is nothing of the search.
    pub(super) fn give_up(&self, stop: &Stop) -> StepResult {
        let _alone = self.work.station.disturb();
        let mut detail = stop.0.clone();
        if let Err(left) = self.empty_queue()? {
            detail = format!("{detail}; {}", left.0);
        }
        match settle(&self.queue.desk(), self.batch, &self.queue.records(), true) {
            Ok(_) => {}
            Err(error) => {
                if let Err(stop) = refused(error)? {
                    detail = format!("{detail}; {}", stop.0);
                }
            }
        }
        let recorded = self.recorded()?;
        let search = self.search(&recorded)?;
        let tally = search.tally();
        self.settle_poison(&tally.poison)?;
        let batch = self.entries()?;
        let mut evidence = self.poison_told(&batch, &tally.poison, &search);
        evidence.extend(self.duplicates(&recorded, &batch)?);
        let suspected = names(&batch, tally.suspected.iter().copied());
        evidence.extend(lines("suspected", &suspected));
        let mut parts = vec![detail];
        if !tally.poison.is_empty() {
            parts.push(format!(
                "{} found to crash the service so far",
                tally.poison.len()
            ));
        }
        parts.extend(counted(&batch));
        parts.push(spent(&search.effort(), &recorded));
        // Nothing was ever fed: the queue and the messages are as they were.
        let fed = recorded.starts.iter().any(|start| !start.fed.is_empty());
        Ok(StepEnd {
            outcome: if fed {
                Outcome::Unknown
            } else {
                Outcome::NoEffect
            },
            detail: parts.join(", "),
            evidence,
        })
    }

    /// Takes everything of the search out of the queue; a service that runs is stopped for that only where
    /// there is something.
    fn empty_queue(&self) -> Result<Result<(), Stop>, Trouble> {
        let up = self.is_up();
        let batch = self.entries()?;
        let ours: BTreeSet<u64> = batch.entries.iter().map(|entry| entry.file_id).collect();
        let there = match self.work.host().spool().list(self.queue.folder()) {
            Ok(files) => files
                .iter()
                .filter(|info| ours.contains(&info.file_id))
                .count(),
            Err(_) => batch.entries.len(),
        };
        if up && there == 0 {
            return Ok(Ok(()));
        }
        if up {
            if let Some(why) = self.work.forbidden(true)? {
                return Ok(Err(Stop(format!(
                    "{there} messages of the search stay in the queue of the running service, which must not be stopped: {why}"
                ))));
            }
            if let Err(stop) = self.stopped()? {
                return Ok(Err(stop));
            }
        } else if self.died_unseen()? {
            self.care().note_watched(None)?;
        }
        self.clear_queue()
    }

    /// Whether it was started and died, and nobody has written that down yet.
    pub(super) fn died_unseen(&self) -> Result<bool, Trouble> {
        let state = self.work.state()?;
        Ok(matches!(
            state.services.get(self.service),
            Some(ServiceChange::StartIntended | ServiceChange::Started)
        ))
    }

    fn settle_poison(&self, poison: &[Poison]) -> Result<(), Trouble> {
        let batch = self.entries()?;
        let entries: Vec<Settlement> = poison
            .iter()
            .filter(|poison| {
                let entry = batch.entries.get(poison.index as usize);
                // Not what is still in a queue, nor what was delivered after all.
                entry.is_some_and(|entry| matches!(entry.custody, Custody::Held | Custody::InDoubt))
            })
            .map(|poison| Settlement {
                index: poison.index,
                custody: Custody::Poison,
                evidence: proof(poison.proof).to_owned(),
            })
            .collect();
        if !entries.is_empty() {
            let found: Vec<_> = entries
                .iter()
                .map(|one| (one.index, PoisonProof::Search, one.evidence.clone()))
                .collect();
            // What it is known by on other servers, while its file is here.
            let proven = immune::proven(&self.queue.desk(), self.batch, &batch, found);
            let mut events = vec![Event::Settled {
                batch: self.batch,
                entries,
            }];
            events.extend(proven);
            self.work.record(events)?;
        }
        Ok(())
    }

    fn poison_told(&self, batch: &Batch, poison: &[Poison], search: &Search) -> Vec<String> {
        let starts = search.effort().starts;
        poison
            .iter()
            .filter_map(|poison| {
                let entry = batch.entries.get(poison.index as usize)?;
                Some(format!(
                    "poison: `{}` (MTS-ID {}, digest {}) in `{}`: {}, within {starts} starts",
                    entry.name,
                    if entry.mts_id.is_empty() {
                        "unknown"
                    } else {
                        &entry.mts_id
                    },
                    entry.hash.short(),
                    batch.held,
                    proof(poison.proof)
                ))
            })
            .collect()
    }

    /// Names every message that the search may have sent twice, and calls a person. The poison itself is held
    /// and is looked at anyway.
    fn duplicates(&self, recorded: &SearchState, batch: &Batch) -> Result<Vec<String>, Trouble> {
        let twice = sent_twice(recorded, batch);
        if twice.is_empty() {
            return Ok(Vec::new());
        }
        let names = names(batch, twice.into_iter());
        let text = format!(
            "{} messages were in flight, or may have been, when the service crashed and were given to it again: {}",
            names.len(),
            names.join(", ")
        );
        let code = const { known("A124-may-be-sent-twice") }.into();
        self.work.record(vec![Event::Alarm { code, text }])?;
        Ok(lines("may have been sent twice", &names))
    }
}

/// What may have been sent twice, but for the poison. What is held is among it: it was fed after a crash that may
/// have sent it, and the search stopped before anything showed what became of it.
fn sent_twice(recorded: &SearchState, batch: &Batch) -> Vec<u32> {
    let mut twice: Vec<u32> = recorded.may_be_sent_twice().into_iter().collect();
    twice.retain(|index| {
        let entry = batch.entries.get(*index as usize);
        entry.is_some_and(|entry| entry.custody != Custody::Poison)
    });
    twice
}

const fn proof(proof: Proof) -> &'static str {
    match proof {
        Proof::Alone => "it crashed the service when nothing else of the search was in the queue",
        Proof::InFlight => "it alone was in flight at a crash",
        Proof::Deduced => "one of several crashed the service, and all others were cleared",
    }
}

fn names(batch: &Batch, indices: impl Iterator<Item = u32>) -> Vec<String> {
    indices
        .filter_map(|index| batch.entries.get(index as usize))
        .map(|entry| format!("`{}`", entry.name))
        .collect()
}

fn lines(what: &str, names: &[String]) -> Vec<String> {
    names
        .chunks(IN_A_LINE)
        .map(|names| format!("{what}: {}", names.join(", ")))
        .collect()
}

/// What became of the files, in the words of the ledger.
fn counted(batch: &Batch) -> Vec<String> {
    let count = |custody| {
        let entries = batch.entries.iter();
        entries.filter(|entry| entry.custody == custody).count()
    };
    [
        (Custody::GoneWithEvidence, "were delivered"),
        (Custody::Replaying, "are in the queue again"),
        (Custody::Held, "are held"),
        (Custody::InDoubt, "are in doubt"),
    ]
    .into_iter()
    .map(|(custody, what)| (count(custody), what))
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect()
}

fn spent(effort: &Effort, recorded: &SearchState) -> String {
    let given = recorded.starts.len().saturating_sub(effort.starts as usize);
    let back = if given == 0 {
        String::new()
    } else {
        format!(" and {given} to give back the good")
    };
    let disturbed = if effort.disturbed == 0 {
        String::new()
    } else {
        format!(", {} disturbed", effort.disturbed)
    };
    format!(
        "{} starts{back} (at most {} for what was found; one bit a start takes {}), {} crashes{disturbed}",
        effort.starts, effort.restarts_bound, effort.entropy, effort.crashes
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mailmend_policy::digest::Digest;
    use mailmend_proto::run::{BatchId, Entry, SearchObservation, SearchStart};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_was_fed_again_after_a_crash_is_named_also_where_it_is_held_in_the_end() {
        let states = [
            Custody::GoneWithEvidence,
            Custody::Held,
            Custody::InDoubt,
            Custody::Poison,
            Custody::Held,
        ];
        let entry = |(index, custody): (usize, &Custody)| Entry {
            index: index as u32,
            name: format!("AAAAAAA{index}"),
            file_id: index as u64,
            size: 1,
            modified_ms: 0,
            hash: Digest::of(b"x"),
            mts_id: String::new(),
            message_id: String::new(),
            custody: *custody,
        };
        let batch = Batch {
            step: None,
            queue: "outbound-awaiting-delivery".into(),
            source: String::new(),
            held: String::new(),
            files: 5,
            entries: states.iter().enumerate().map(entry).collect(),
            taken: true,
            replays: BTreeMap::new(),
            copied_from: None,
        };
        let start = |fed: &[(u32, u32)], flying: &[(u32, u32)]| SearchStart {
            fed: fed.to_vec(),
            may_send_twice: 0,
            observed: Some(SearchObservation {
                crashed: true,
                still_there: fed.to_vec(),
                in_flight: Some(flying.to_vec()),
                ..SearchObservation::default()
            }),
        };
        let recorded = SearchState {
            batch: BatchId(Uuid::nil()),
            suspects: Vec::new(),
            // The last was in flight once, and not fed after that.
            starts: vec![start(&[(0, 4)], &[(0, 3)]), start(&[(0, 3)], &[(3, 3)])],
        };
        assert_eq!(sent_twice(&recorded, &batch), [0, 1, 2]);
    }
}
