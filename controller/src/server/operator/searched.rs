//! How the searches for poison of a run went, from the records of their agents.

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::bounds::{Case, entropy};
use mailmend_policy::plan::Plan;
use mailmend_proto::run::{BatchId, Event, Outcome, SearchStart, SearchState, ServiceChange};
use mailmend_proto::wire;

use crate::store::RunRecord;

/// What each searching step of a run has come to, by its index. `poison` is what the run found to be that: what became
/// of each message is not among the records here.
pub(super) fn searches(
    plan: &Plan,
    records: &[RunRecord],
    poison: &BTreeSet<(BatchId, u32)>,
) -> BTreeMap<u32, wire::SearchView> {
    let mut found: BTreeMap<u32, SearchState> = BTreeMap::new();
    let mut ended_well = BTreeSet::new();
    // Starts of a search that found the service running with nothing, and did not restart it.
    let mut found_running: BTreeMap<u32, u64> = BTreeMap::new();
    let mut restarted = false;
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
                restarted = false;
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
                if !restarted {
                    *found_running.entry(*step).or_default() += 1;
                }
                let search = found.get_mut(step);
                if let Some(last) = search.and_then(|search| search.starts.last_mut()) {
                    last.observed = Some(observation.clone());
                }
            }
            Event::ServiceChanged {
                change: ServiceChange::StartIntended,
                ..
            } => restarted = true,
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
            let of_it = poison.iter().filter(|(batch, _)| *batch == search.batch);
            let bad: BTreeSet<u32> = of_it.map(|(_, index)| *index).collect();
            let mut view = view(plan, step, &search, &bad, ended_well.contains(&step));
            let running = found_running.get(&step).copied().unwrap_or_default();
            view.restarts = view.restarts.saturating_sub(small(running));
            (step, view)
        })
        .collect()
}

/// The bound on the restarts in all, as the logs turned out. Where they did not show at a crash what was in flight, the
/// search went on without believing them: then the bound is the one without evidence, and what believing them took.
fn bound(mut case: Case, search: &SearchState, poison: &BTreeSet<u32>) -> u64 {
    let Some(declared) = case.in_flight else {
        return case.restarts_in_all();
    };
    let spread = |ranges: &[(u32, u32)]| -> BTreeSet<u32> {
        ranges
            .iter()
            .flat_map(|&(first, last)| first..=last)
            .collect()
    };
    let believed = Case { bad: 1, ..case };
    let observed = search
        .starts
        .iter()
        .filter_map(|start| start.observed.as_ref());
    for seen in observed.filter(|seen| seen.crashed && !seen.disturbed) {
        let left = spread(&seen.still_there);
        let flying = spread(seen.in_flight.as_deref().unwrap_or_default());
        let shown = if flying.is_empty() {
            left.len() as u64 <= declared
        } else {
            !flying.is_disjoint(poison) || left.is_disjoint(poison)
        };
        if !shown {
            case.in_flight = None;
        } else if let Some(widest) = &mut case.in_flight {
            *widest = (*widest).max(flying.len() as u64 + 1);
        }
    }
    let in_vain = match case.in_flight {
        Some(_) => 0,
        None => believed.crashes(),
    };
    case.restarts_in_all() + in_vain
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn view(
    plan: &Plan,
    step: u32,
    search: &SearchState,
    poison: &BTreeSet<u32>,
    done: bool,
) -> wire::SearchView {
    let files = search.suspects.len() as u64;
    let bad = poison.len() as u64;
    let disturbed = search
        .starts
        .iter()
        .filter(|start| start.observed.as_ref().is_some_and(|seen| seen.disturbed))
        .count() as u64;
    let planned = plan.steps.iter().find(|planned| planned.index == step);
    let bound = planned
        .and_then(|planned| Case::of(&planned.action, files, bad))
        .filter(|_| done)
        .map_or(0, |case| bound(case, search, poison) + disturbed);
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
    use mailmend_policy::library;
    use mailmend_policy::parse::parse;
    use mailmend_policy::plan::{Server, VERSION_FACT, plan};
    use mailmend_policy::step::Action;
    use mailmend_proto::run::{Record, RunId, SearchMark, SearchObservation, SearchSuspect};
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

    fn service_started() -> Event {
        Event::ServiceChanged {
            service: "MSExchangeIMC".parse().unwrap(),
            change: ServiceChange::StartIntended,
            pid: 0,
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
            // The service runs with nothing already: it is not restarted.
            started(step, 1, &[]),
            observed(step, 1, SearchObservation::default()),
            started(step, 2, &[(0, 299)]),
            service_started(),
            observed(step, 2, crash((40, 299), (40, 47))),
            // Four of the eight that may have been sent are given to the service again.
            started(step, 3, &[(40, 43)]),
            service_started(),
            observed(step, 3, crash((42, 43), (42, 42))),
            started(step, 4, &[(42, 42)]),
            service_started(),
            observed(
                step,
                4,
                SearchObservation {
                    disturbed: true,
                    ..SearchObservation::default()
                },
            ),
            started(step, 5, &[(42, 42)]),
            service_started(),
            observed(step, 5, crash((42, 42), (42, 42))),
        ];
        // The search of the other queue finds its own.
        let poison = BTreeSet::from([(BATCH, 42), (OTHER, 7)]);
        let view = searches(&plan, &records(events.clone()), &poison)[&step];
        assert_eq!(
            view,
            wire::SearchView {
                messages: 300,
                poison: 1,
                restarts: 4,
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
        let view = searches(&plan, &records(events), &poison)[&step];
        // 1(1 + 5 + 1) + 1, one with nothing, one for a hint, one to give back, one that was disturbed.
        assert_eq!(view.restarts_bound, 12);
    }

    #[test]
    fn where_the_logs_did_not_show_what_was_in_flight_the_bound_is_the_one_without_them() {
        let (plan, step) = planned();
        let poison = BTreeSet::from([(BATCH, 42)]);
        let of = |flying: Option<Vec<(u32, u32)>>| {
            let crash = SearchObservation {
                crashed: true,
                still_there: vec![(0, 299)],
                in_flight: flying,
                ..SearchObservation::default()
            };
            let events = vec![
                suspects(step, 0..300),
                started(step, 1, &[(0, 299)]),
                observed(step, 1, crash),
                Event::StepFinished {
                    step,
                    attempt: 1,
                    outcome: Outcome::Done,
                    detail: String::new(),
                    evidence: Vec::new(),
                },
            ];
            searches(&plan, &records(events), &poison)[&step].restarts_bound
        };
        assert_eq!(of(Some(vec![(40, 47)])), 11);
        // Six groups of 50, 1 + 6 + 1 within one, and 1 + 5 + 1 that believing the logs may have taken.
        let without = 3 + 6 + 8 + 7;
        assert_eq!(of(None), without);
        assert_eq!(of(Some(Vec::new())), without);
        assert_eq!(of(Some(vec![(1, 2)])), without, "they blamed the innocent");
    }

    #[test]
    fn a_run_that_has_not_searched_has_no_view_of_a_search() {
        let (plan, step) = planned();
        let elsewhere = records(vec![started(step, 1, &[])]);
        assert!(searches(&plan, &elsewhere, &BTreeSet::from([(BATCH, 1)])).is_empty());
    }
}
