//! How the searches for poison of a run went, from the records of their agents.

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::bounds::{Case, entropy};
use mailmend_policy::plan::Plan;
use mailmend_proto::run::{Custody, Event, Outcome, SearchStart, SearchState};
use mailmend_proto::wire;

use crate::store::RunRecord;

/// What each searching step of a run has come to, by its index.
pub(super) fn searches(plan: &Plan, records: &[RunRecord]) -> BTreeMap<u32, wire::SearchView> {
    let mut found: BTreeMap<u32, SearchState> = BTreeMap::new();
    let mut poison = BTreeSet::new();
    let mut ended_well = BTreeSet::new();
    for RunRecord { record, .. } in records {
        match &record.event {
            Event::SearchBegan {
                step,
                batch,
                suspects,
            } => {
                let search = found.entry(*step).or_insert_with(|| SearchState {
                    batch: *batch,
                    suspects: Vec::new(),
                    starts: Vec::new(),
                });
                search.suspects.extend_from_slice(suspects);
            }
            Event::SearchStarted {
                step,
                fed,
                may_send_twice,
                ..
            } => {
                if let Some(search) = found.get_mut(step) {
                    search.starts.push(SearchStart {
                        fed: fed.clone(),
                        may_send_twice: *may_send_twice,
                        observed: None,
                    });
                }
            }
            Event::SearchObserved {
                step, observation, ..
            } => {
                let search = found.get_mut(step);
                if let Some(last) = search.and_then(|search| search.starts.last_mut()) {
                    last.observed = Some(observation.clone());
                }
            }
            Event::Settled { batch, entries } => {
                let found = entries.iter().filter(|one| one.custody == Custody::Poison);
                poison.extend(found.map(|one| (*batch, one.index)));
            }
            Event::StepFinished {
                step,
                outcome: Outcome::Done,
                ..
            } => {
                ended_well.insert(*step);
            }
            _ => {}
        }
    }
    found
        .into_iter()
        .map(|(step, search)| {
            let bad = poison
                .iter()
                .filter(|(batch, _)| *batch == search.batch)
                .count() as u64;
            let view = view(plan, step, &search, bad, ended_well.contains(&step));
            (step, view)
        })
        .collect()
}

fn view(plan: &Plan, step: u32, search: &SearchState, bad: u64, done: bool) -> wire::SearchView {
    let files = search.suspects.len() as u64;
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let disturbed = search
        .starts
        .iter()
        .filter(|start| start.observed.as_ref().is_some_and(|seen| seen.disturbed))
        .count() as u64;
    let planned = plan.steps.iter().find(|planned| planned.index == step);
    let bound = planned
        .and_then(|planned| Case::of(&planned.action, files, bad))
        .filter(|_| done)
        .map_or(0, |case| case.restarts_in_all() + disturbed);
    wire::SearchView {
        messages: files,
        poison: bad,
        restarts: small(search.starts.len() as u64),
        restarts_bound: small(bound),
        restarts_information: entropy(files, bad),
        crashes: small(search.crashes() as u64),
        may_be_sent_twice: search.may_be_sent_twice().len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mailmend_policy::library;
    use mailmend_policy::parse::parse;
    use mailmend_policy::plan::{Server, VERSION_FACT, plan};
    use mailmend_policy::step::Action;
    use mailmend_proto::run::{
        BatchId, Record, RunId, SearchMark, SearchObservation, SearchSuspect, Settlement,
    };
    use uuid::Uuid;

    use super::*;

    const BATCH: BatchId = BatchId(Uuid::from_u128(1));
    const OTHER: BatchId = BatchId(Uuid::from_u128(2));

    /// The plan of the shipped policy for one server, and its outbound search: 32 in flight at most.
    fn planned() -> (Plan, u32) {
        let source = library::find("corrupt-message").unwrap();
        let policy = parse(&source).unwrap();
        let names = policy.steps.iter().map(|step| step.action.name());
        let actions: BTreeSet<String> = names.chain(["detect"]).map(ToOwned::to_owned).collect();
        let server = Server {
            name: "EXB1".parse().unwrap(),
            site: "oslo".parse().unwrap(),
            labels: [("ims.direction", "both"), (VERSION_FACT, "5.5.2653")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            actions,
        };
        let plan = plan(&policy, source.digest(), &[server]).unwrap().remove(0);
        let searches = |action: &Action| {
            matches!(
                action,
                Action::QueueSearch {
                    in_flight: Some(_),
                    ..
                }
            )
        };
        let step = plan.steps.iter().find(|step| searches(&step.action));
        let step = step.unwrap().index;
        (plan, step)
    }

    fn records(events: Vec<Event>) -> Vec<RunRecord> {
        let record = |(seq, event)| RunRecord {
            agent: "EXB1".parse().unwrap(),
            record: Record {
                seq,
                at_ms: 0,
                run: RunId(Uuid::from_u128(3)),
                event,
            },
        };
        (1..).zip(events).map(record).collect()
    }

    fn suspects(step: u32, indices: std::ops::Range<u32>) -> Event {
        let suspect = |index| SearchSuspect {
            index,
            mark: SearchMark::Ordinary,
            suspicion: 1,
            in_flight: false,
        };
        Event::SearchBegan {
            step,
            batch: BATCH,
            suspects: indices.map(suspect).collect(),
        }
    }

    fn started(step: u32, start: u32, fed: &[(u32, u32)]) -> Event {
        Event::SearchStarted {
            step,
            start,
            fed: fed.to_vec(),
            may_send_twice: 0,
            boot: "boot".into(),
            since_boot_ms: 0,
        }
    }

    fn observed(step: u32, start: u32, observation: SearchObservation) -> Event {
        Event::SearchObserved {
            step,
            start,
            observation,
        }
    }

    fn poison(batch: BatchId, index: u32) -> Event {
        Event::Settled {
            batch,
            entries: vec![Settlement {
                index,
                custody: Custody::Poison,
                evidence: "it crashed the service alone".into(),
            }],
        }
    }

    #[test]
    fn a_search_is_told_with_what_it_took_beside_its_bound_once_it_has_ended() {
        let (plan, step) = planned();
        let crash = |still: (u32, u32), flying: (u32, u32)| SearchObservation {
            crashed: true,
            still_there: vec![still],
            in_flight: Some(vec![flying]),
            ..SearchObservation::default()
        };
        let mut events = vec![
            // In pieces, as agents write them.
            suspects(step, 0..200),
            suspects(step, 200..300),
            started(step, 1, &[]),
            observed(step, 1, SearchObservation::default()),
            started(step, 2, &[(0, 299)]),
            observed(step, 2, crash((40, 299), (40, 47))),
            // Four of the eight that may have been sent are given to the service again.
            started(step, 3, &[(40, 43)]),
            observed(step, 3, crash((42, 43), (42, 42))),
            started(step, 4, &[(42, 42)]),
            observed(
                step,
                4,
                SearchObservation {
                    disturbed: true,
                    ..SearchObservation::default()
                },
            ),
            started(step, 5, &[(42, 42)]),
            observed(step, 5, crash((42, 42), (42, 42))),
            poison(BATCH, 42),
            // The search of the other queue finds its own.
            poison(OTHER, 7),
        ];
        let view = searches(&plan, &records(events.clone()))[&step];
        assert_eq!(
            view,
            wire::SearchView {
                messages: 300,
                poison: 1,
                restarts: 5,
                // Until it has ended nobody knows how many there are to find.
                restarts_bound: 0,
                restarts_information: 9,
                crashes: 3,
                may_be_sent_twice: 4,
            }
        );
        events.push(Event::StepFinished {
            step,
            attempt: 1,
            outcome: Outcome::Done,
            detail: String::new(),
            evidence: Vec::new(),
        });
        let view = searches(&plan, &records(events))[&step];
        // 1(1 + 5 + 1) + 1, one with nothing, one for a hint, one to give back, one that was disturbed.
        assert_eq!(view.restarts_bound, 12);
    }

    #[test]
    fn a_run_that_has_not_searched_has_no_view_of_a_search() {
        let (plan, step) = planned();
        let elsewhere = records(vec![started(step, 1, &[]), poison(BATCH, 1)]);
        assert!(searches(&plan, &elsewhere).is_empty());
    }
}
