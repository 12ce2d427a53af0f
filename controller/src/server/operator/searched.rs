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
