use std::sync::Arc;

use mailmend_policy::plan::Plan;
use mailmend_proto::run::Outcome;

use super::*;
use crate::decide::simulation::World;
use crate::rollout::{Closing, Mark, Wish};
use crate::simulated_agent::plan_of;

fn world(plans: &[Arc<Plan>]) -> World {
    let ends: crate::simulated_agent::Ends = Arc::new(|_, _, _| Outcome::Done);
    World::new(plans, 1, 0, &ends, 1)
}

fn everybody(rollout: &Rollout) -> Fleet {
    Fleet {
        locks: BTreeMap::new(),
        connected: rollout
            .runs
            .iter()
            .flat_map(|run| run.parts.keys().cloned())
            .collect(),
        ..Fleet::default()
    }
}

fn decided(rollout: &Rollout, fleet: &Fleet) -> Vec<Action> {
    decide(rollout, fleet, 0).actions
}

#[test]
fn a_run_whose_agents_would_refuse_its_policy_waits_and_says_why() {
    let rollout = world(&[plan_of("oslo", "A:check")]).rollout;
    let mut fleet = everybody(&rollout);
    assert!(matches!(
        decided(&rollout, &fleet)[..],
        [Action::Assign { .. }]
    ));
    let agent = rollout.runs[0].parts.keys().next().unwrap().clone();
    fleet.unsigned = [(agent, "C173-trust-expired: x".to_owned())].into();
    assert_eq!(decided(&rollout, &fleet), []);
}

#[test]
fn nothing_begins_at_a_site_in_hand_and_an_open_run_goes_no_further_than_it_was_released() {
    let mut world = world(&[plan_of("oslo", "A:detect A:check B:check")]);
    let mut fleet = everybody(&world.rollout);
    let site = world.rollout.runs[0].site.clone();
    fleet.in_hand.insert(site.clone());
    assert_eq!(decided(&world.rollout, &fleet), []);
    fleet.in_hand.clear();
    assert!(matches!(
        decided(&world.rollout, &fleet)[..],
        [Action::Assign { .. }]
    ));

    let run = &mut world.rollout.runs[0];
    run.phase = RunPhase::Running;
    for part in run.parts.values_mut() {
        part.told.begun = true;
    }
    assert!(matches!(
        decided(&world.rollout, &fleet)[..],
        [Action::Advance { through: 2, .. }]
    ));
    fleet.in_hand.insert(site);
    assert_eq!(decided(&world.rollout, &fleet), []);
}

#[test]
fn a_site_that_another_rollout_holds_is_not_touched() {
    let world = world(&[plan_of("oslo", "A:detect A:check")]);
    let mut fleet = everybody(&world.rollout);
    assert!(matches!(
        decided(&world.rollout, &fleet)[..],
        [Action::Assign { .. }]
    ));
    fleet
        .locks
        .insert("oslo".parse().unwrap(), RunId(uuid::Uuid::from_u128(7)));
    assert_eq!(decided(&world.rollout, &fleet), []);
}

#[test]
fn a_run_is_not_begun_while_one_of_its_agents_is_away_and_another_site_goes_first() {
    let world = world(&[
        plan_of("oslo", "A:detect B:check"),
        plan_of("rome", "A:detect B:check"),
    ]);
    let mut fleet = everybody(&world.rollout);
    fleet.connected.remove(&"oslo-B".parse().unwrap());
    let second = world.rollout.runs[1].id;
    assert_eq!(
        decided(&world.rollout, &fleet),
        [Action::Assign { run: second }]
    );
}

#[test]
fn the_last_watermark_goes_to_the_agent_of_the_last_steps_only_until_all_are_finished() {
    let mut world = world(&[plan_of("oslo", "A:detect B:check")]);
    let run = &mut world.rollout.runs[0];
    run.phase = RunPhase::Running;
    run.fence = Some(1);
    for part in run.parts.values_mut() {
        part.told.begun = true;
    }
    let (a, b): (ServerName, ServerName) = ("oslo-A".parse().unwrap(), "oslo-B".parse().unwrap());
    let mark = |world: &mut World, server: &ServerName, step| {
        let part = world.rollout.runs[0].parts.get_mut(server).unwrap();
        part.told.steps.insert(step, Mark::Done);
    };
    let advance = |world: &World, server: &ServerName, through| Action::Advance {
        run: world.rollout.runs[0].id,
        server: server.clone(),
        through,
    };
    let fleet = everybody(&world.rollout);
    assert_eq!(decided(&world.rollout, &fleet), [advance(&world, &a, 1)]);
    world.rollout.runs[0].parts.get_mut(&a).unwrap().through = 1;
    assert_eq!(decided(&world.rollout, &fleet), []);
    mark(&mut world, &a, 0);
    assert_eq!(decided(&world.rollout, &fleet), [advance(&world, &b, 2)]);
    world.rollout.runs[0].parts.get_mut(&b).unwrap().through = 2;
    mark(&mut world, &b, 1);
    assert_eq!(decided(&world.rollout, &fleet), [advance(&world, &a, 2)]);
}

#[test]
fn an_exit_that_failed_needs_a_person_and_so_does_a_journal_that_was_replaced() {
    for lost in [true, false] {
        let mut world = world(&[plan_of("oslo", "A:detect A:stop A:start")]);
        let run = &mut world.rollout.runs[0];
        run.phase = RunPhase::Running;
        run.fence = Some(1);
        let part = run.parts.values_mut().next().unwrap();
        part.told.begun = true;
        part.lost = lost;
        part.told.handed_over = !lost;
        part.told.left_section = Some("it does not start".into());
        let fleet = everybody(&world.rollout);
        let actions = decided(&world.rollout, &fleet);
        assert!(
            matches!(&actions[..], [Action::Enter { phase: RunPhase::NeedsPerson, .. }, Action::Turn { state: RolloutState::Halted, why, .. }] if why == "failed 1 > max_failed 0"),
            "{actions:?}"
        );
    }
}

#[test]
fn an_agent_that_closed_as_committed_before_it_heard_of_the_abort_completes_the_run() {
    let mut world = world(&[plan_of("oslo", "A:detect A:hold B:hold")]);
    world.wish(Wish::Abort);
    let run = &mut world.rollout.runs[0];
    run.phase = RunPhase::Unwinding;
    run.fence = Some(1);
    let (a, b): (ServerName, ServerName) = ("oslo-A".parse().unwrap(), "oslo-B".parse().unwrap());
    let part = run.parts.get_mut(&a).unwrap();
    part.told.begun = true;
    part.through = 2;
    part.told.steps = [(0, Mark::Done), (1, Mark::Done)].into();
    let part = run.parts.get_mut(&b).unwrap();
    part.told.begun = true;
    part.through = 3;
    part.unwind = Some(Unwinding {
        down_to: 2,
        last: false,
    });
    part.told.steps = [(2, Mark::Done)].into();
    part.told.closed = Some(Closing::Committed);
    let fleet = everybody(&world.rollout);
    let actions = decided(&world.rollout, &fleet);
    assert_eq!(
        actions,
        [Action::Advance {
            run: world.rollout.runs[0].id,
            server: a,
            through: 3
        }]
    );
}

#[test]
fn a_rollout_that_has_ended_is_left_alone() {
    let mut world = world(&[plan_of("oslo", "A:detect A:check")]);
    world.rollout.state = RolloutState::Failed;
    let fleet = everybody(&world.rollout);
    assert_eq!(decided(&world.rollout, &fleet), []);
}

#[test]
fn a_rollout_that_was_aborted_still_tells_why_when_all_of_it_has_come_to_rest() {
    let mut world = world(&[plan_of("oslo", "A:detect A:check")]);
    let fleet = everybody(&world.rollout);
    world.rollout.state = RolloutState::Aborting;
    world.rollout.runs[0].phase = RunPhase::Failed;
    for (why, told) in [
        (
            "the policy was recalled: wrong queue",
            "the policy was recalled: wrong queue; ",
        ),
        ("", ""),
    ] {
        why.clone_into(&mut world.rollout.why);
        let ended = Action::Turn {
            state: RolloutState::Aborted,
            why: format!("{told}1 of 1 runs failed, 0 never began"),
            cause: Cause::None,
        };
        assert_eq!(decided(&world.rollout, &fleet), [ended]);
    }
}

#[test]
fn nothing_below_a_point_of_no_return_is_ordered_while_nobody_knows_whether_it_was_passed() {
    let mut world = world(&[plan_of("oslo", "A:detect A:hold A:hold! A:check")]);
    world.wish(Wish::Abort);
    let run = &mut world.rollout.runs[0];
    run.phase = RunPhase::Unwinding;
    run.fence = Some(1);
    let id = run.id;
    let part = run.parts.values_mut().next().unwrap();
    part.told.begun = true;
    part.through = 4;
    part.told.steps = [(0, Mark::Done), (1, Mark::Done), (2, Mark::Intended)].into();
    let server: ServerName = "oslo-A".parse().unwrap();
    let ordered = |down_to| {
        vec![Action::Unwind {
            run: id,
            server: server.clone(),
            order: Unwinding {
                down_to,
                last: false,
            },
        }]
    };
    let fleet = everybody(&world.rollout);
    assert_eq!(decided(&world.rollout, &fleet), ordered(3));
    let part = world.rollout.runs[0].parts.values_mut().next().unwrap();
    part.unwind = Some(Unwinding {
        down_to: 3,
        last: false,
    });
    part.told.down_to = Some(3);
    assert_eq!(decided(&world.rollout, &fleet), [], "it still acts");
    let part = world.rollout.runs[0].parts.values_mut().next().unwrap();
    part.told.steps.insert(2, Mark::NoEffect);
    assert_eq!(
        decided(&world.rollout, &fleet),
        ordered(0),
        "it was not passed"
    );
    let part = world.rollout.runs[0].parts.values_mut().next().unwrap();
    part.told.steps.insert(2, Mark::Done);
    let last = Action::Unwind {
        run: id,
        server: server.clone(),
        order: Unwinding {
            down_to: 3,
            last: true,
        },
    };
    assert_eq!(decided(&world.rollout, &fleet), [last], "it was passed");
}

#[test]
fn a_run_whose_steps_are_done_needs_a_person_where_an_agent_lost_its_journal() {
    let mut world = world(&[plan_of("oslo", "A:detect B:check")]);
    let run = &mut world.rollout.runs[0];
    run.phase = RunPhase::Running;
    run.fence = Some(1);
    for (step, part) in run.parts.values_mut().enumerate() {
        part.told.begun = true;
        part.told.steps = [(u32::try_from(step).unwrap(), Mark::Done)].into();
        part.lost = step == 1;
    }
    let fleet = everybody(&world.rollout);
    let actions = decided(&world.rollout, &fleet);
    assert!(
        matches!(
            &actions[0],
            Action::Enter {
                phase: RunPhase::NeedsPerson,
                ..
            }
        ),
        "{actions:?}"
    );
}
