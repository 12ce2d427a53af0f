use std::sync::Arc;

use mailmend_policy::strategy::Strategy;
use mailmend_proto::run::Outcome;

use super::*;
use crate::decide::simulation::World;
use crate::decide::{Action, Fleet, decide};
use crate::rollout::{Mark, Rollout, RunPhase, Wish};
use crate::simulated_agent::plan_of;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// 1970-01-01, a Thursday, 02:00 UTC.
const OPENS: i64 = 2 * HOUR;

fn nightly() -> Vec<Window> {
    vec![Window {
        days: mailmend_policy::strategy::Day::ALL.to_vec(),
        from: "02:00".parse().unwrap(),
        to: "03:00".parse().unwrap(),
        zone: "UTC".parse().unwrap(),
    }]
}

fn world(words: &str) -> (Rollout, Fleet) {
    let ends: crate::simulated_agent::Ends = Arc::new(|_, _, _| Outcome::Done);
    let strategy = Strategy {
        windows: nightly(),
        ..Strategy::default()
    };
    let plans = [plan_of("oslo", words)];
    let rollout = World::under(&plans, strategy, &ends, 1).rollout;
    let fleet = Fleet {
        connected: rollout.runs[0].parts.keys().cloned().collect(),
        ..Fleet::default()
    };
    (rollout, fleet)
}

#[test]
fn a_section_fits_only_where_the_window_stays_open_for_all_of_it() {
    let windows = nightly();
    let half = Duration::from_secs(1800);
    assert_eq!(fit(&windows, half, OPENS - 1), Fit::From(OPENS));
    assert_eq!(fit(&windows, half, OPENS), Fit::Now);
    assert_eq!(fit(&windows, half, OPENS + 30 * MINUTE), Fit::Now);
    let late = OPENS + 30 * MINUTE + 1;
    assert_eq!(fit(&windows, half, late), Fit::From(OPENS + 24 * HOUR));
    assert_eq!(fit(&[], half, late), Fit::Now);
}

#[test]
fn a_run_begins_only_in_a_window_that_its_longest_section_fits_in() {
    let (rollout, fleet) = world("A:detect A:stop A:hold A:start");
    let before = decide(&rollout, &fleet, OPENS - 1);
    assert_eq!(before.actions, []);
    assert_eq!(before.due_ms, Some(OPENS));
    assert!(matches!(
        decide(&rollout, &fleet, OPENS).actions[..],
        [Action::Assign { .. }]
    ));
    let outage = i64::try_from(longest_outage(&rollout.runs[0].plan).unwrap().as_millis()).unwrap();
    assert!(outage > 0);
    let last = OPENS + HOUR - outage;
    assert_eq!(decide(&rollout, &fleet, last).actions.len(), 1);
    assert_eq!(decide(&rollout, &fleet, last + 1).actions, []);
}

#[test]
fn a_run_that_disturbs_no_service_is_not_held_by_windows() {
    let (rollout, fleet) = world("A:detect A:check B:check");
    assert_eq!(decide(&rollout, &fleet, 0).actions.len(), 1);
}

#[test]
fn what_comes_before_a_section_is_released_at_any_time_and_the_section_by_itself_in_a_window() {
    let (mut rollout, mut fleet) = world("A:detect A:check A:stop A:hold A:start A:check");
    let run = &mut rollout.runs[0];
    run.phase = RunPhase::Running;
    run.fence = Some(1);
    let part = run.parts.values_mut().next().unwrap();
    part.told.begun = true;
    let through = |rollout: &Rollout, fleet: &Fleet, now_ms| {
        let decision = decide(rollout, fleet, now_ms);
        match decision.actions[..] {
            [Action::Advance { through, .. }] => Ok(through),
            [] => Err(decision.due_ms),
            ref other => panic!("{other:?}"),
        }
    };
    assert_eq!(through(&rollout, &fleet, 0), Ok(2));
    let part = rollout.runs[0].parts.values_mut().next().unwrap();
    part.through = 2;
    part.told.steps = [(0, Mark::Done), (1, Mark::Done)].into();
    assert_eq!(through(&rollout, &fleet, 0), Err(Some(OPENS)));
    assert_eq!(through(&rollout, &fleet, OPENS), Ok(6));
    // It would be told when it comes back, whatever the time is then.
    fleet.connected.clear();
    assert_eq!(through(&rollout, &fleet, OPENS), Err(None));
}

#[test]
fn unwinding_is_never_held_by_a_window() {
    let (mut rollout, fleet) = world("A:detect A:stop A:hold A:start A:check");
    let run = &mut rollout.runs[0];
    run.phase = RunPhase::Unwinding;
    run.fence = Some(1);
    let part = run.parts.values_mut().next().unwrap();
    part.told.begun = true;
    part.through = 5;
    part.told.steps = [(0, Mark::Done), (1, Mark::Done), (2, Mark::Done)].into();
    rollout.state = rollout.state.after(Wish::Abort).unwrap();
    assert!(matches!(
        decide(&rollout, &fleet, OPENS - 1).actions[..],
        [Action::Unwind { .. }]
    ));
}
