use std::sync::Arc;

use mailmend_proto::run::Outcome;

use super::*;
use crate::decide::simulation::World;
use crate::rollout::RunPhase;
use crate::simulated_agent::{Ends, plan_of};

fn run(words: &str) -> Run {
    let ends: Ends = Arc::new(|_, _, _| Outcome::Done);
    let world = World::new(&[plan_of("oslo", words)], 1, 0, &ends, 1);
    let mut run = world.rollout.runs.into_iter().next().unwrap();
    run.phase = RunPhase::Running;
    run
}

#[test]
fn kinds_have_names_of_their_own_and_a_reason() {
    let mut names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Kind::ALL.len());
    for kind in Kind::ALL {
        assert!(!kind.reason().is_empty() && !kind.within().is_empty());
    }
}

#[test]
fn what_is_expected_within_a_span_is_expected_from_its_beginning_on() {
    assert_eq!(Kind::Assignment.expected_ms(1000), Some(121_000));
    assert_eq!(Kind::AgentAway.expected_ms(0), Some(600_000));
    assert_eq!(Kind::Approval.expected_ms(0), Some(86_400_000));
    assert_eq!(Kind::Step.expected_ms(0), None);
    assert_eq!(Kind::Wave.expected_ms(0), None);
    assert_eq!(Kind::Held.expected_ms(i64::MAX), Some(i64::MAX));
}

#[test]
fn a_step_is_expected_within_its_timeout_or_the_budget_of_its_section() {
    let mut run = run("A:check A:stop A:hold A:start");
    let plan = Arc::make_mut(&mut run.plan);
    plan.steps[0].timeout = minutes(5);
    plan.steps[1].timeout = minutes(5);
    let run = run;
    let slack = 120_000;
    assert_eq!(step(&run, &run.plan.steps[0], 1000), 1000 + 300_000 + slack);
    // Its section may last a minute only.
    assert_eq!(step(&run, &run.plan.steps[1], 1000), 1000 + 60_000 + slack);
    assert_eq!(step(&run, &run.plan.steps[2], 1000), 1000 + 1000 + slack);
}

#[test]
fn an_unwinding_is_expected_within_the_timeouts_of_what_is_done() {
    let mut run = run("A:check A:stop A:hold A:start");
    let part = run.parts.values_mut().next().unwrap();
    part.told.steps = [(0, Mark::Done), (1, Mark::Done), (2, Mark::NoEffect)].into();
    let part = part.clone();
    assert_eq!(unwinding(&run, &part, 0), 2000 + 120_000);
}

#[test]
fn a_run_has_moved_when_it_entered_its_phase_or_when_it_was_heard_of_last() {
    let mut run = run("A:check B:check");
    run.since_ms = 5;
    assert_eq!(moved_ms(&run), 5);
    run.parts.values_mut().next().unwrap().told.heard_ms = 9;
    assert_eq!(moved_ms(&run), 9);
}

#[test]
fn the_table_of_the_documentation_is_this_one() {
    let page = include_str!("../../../../docs/explain.md");
    let rows: String = Kind::ALL
        .iter()
        .map(|kind| {
            format!(
                "| `{}` | {} | {} |\n",
                kind.name(),
                kind.within(),
                kind.reason()
            )
        })
        .collect();
    assert!(
        page.contains(&rows),
        "the table of docs/explain.md should read:\n{rows}"
    );
}
