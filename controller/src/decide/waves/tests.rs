use std::sync::Arc;
use std::time::Duration;

use mailmend_policy::strategy::{Approve, Gate, Share, Strategy};
use mailmend_proto::run::Outcome;

use super::*;
use crate::decide::decide;
use crate::decide::gate::Health;
use crate::decide::simulation::World;
use crate::rollout::{Approval, Rollout};
use crate::simulated_agent::plan_of;

const MINUTE: i64 = 60_000;

fn rollout(sites: u32, strategy: Strategy) -> Rollout {
    let plans: Vec<_> = (0..sites)
        .map(|site| plan_of(&format!("site{site:02}"), "A:detect A:stop A:hold A:start"))
        .collect();
    let ends: crate::simulated_agent::Ends = Arc::new(|_, _, _| Outcome::Done);
    World::under(&plans, strategy, &ends, 1).rollout
}

fn waved(gate: Gate, approve: Approve) -> Rollout {
    let strategy = Strategy {
        waves: vec![Share::Count(1), Share::Percent(50), Share::Percent(100)],
        soak: Duration::from_secs(600),
        gate,
        approve,
        sites_at_once: 10,
        max_failed: Share::Count(1),
        ..Strategy::default()
    };
    rollout(4, strategy)
}

fn fleet(rollout: &Rollout) -> Fleet {
    let servers = || {
        rollout
            .runs
            .iter()
            .flat_map(|run| run.parts.keys().cloned())
    };
    Fleet {
        connected: servers().collect(),
        servers: rollout
            .runs
            .iter()
            .flat_map(|run| {
                run.parts
                    .keys()
                    .map(|name| (name.clone(), run.site.clone()))
            })
            .collect(),
        health: servers().map(|server| (server, Health::Good)).collect(),
        ..Fleet::default()
    }
}

fn end(rollout: &mut Rollout, runs: std::ops::Range<usize>, phase: RunPhase, at_ms: i64) {
    for run in &mut rollout.runs[runs] {
        run.phase = phase;
        run.since_ms = at_ms;
        run.ended_ms = Some(at_ms);
    }
}

fn actions(rollout: &Rollout, fleet: &Fleet, now_ms: i64) -> Vec<Action> {
    decide(rollout, fleet, now_ms).actions
}

fn assigned(rollout: &Rollout, fleet: &Fleet, now_ms: i64) -> usize {
    let actions = actions(rollout, fleet, now_ms);
    let assigns = |action: &&Action| matches!(action, Action::Assign { .. });
    actions.iter().filter(assigns).count()
}

#[test]
fn runs_begin_only_in_the_sites_of_the_wave_at_work() {
    let mut rollout = waved(Gate::None, Approve::None);
    let fleet = fleet(&rollout);
    assert_eq!(rollout.resolved.waves, [1, 2, 4]);
    assert_eq!(assigned(&rollout, &fleet, 0), 1);
    rollout.wave = 1;
    assert_eq!(assigned(&rollout, &fleet, 0), 2);
    rollout.wave = 2;
    assert_eq!(assigned(&rollout, &fleet, 0), 4);
}

#[test]
fn a_wave_ends_with_its_last_run_and_the_next_begins_when_the_soak_is_over_and_not_before() {
    let mut rollout = waved(Gate::None, Approve::None);
    let fleet = fleet(&rollout);
    end(&mut rollout, 0..1, RunPhase::Succeeded, 1000);
    assert_eq!(
        actions(&rollout, &fleet, 1000),
        [Action::EndWave { wave: 0 }]
    );
    rollout.wave_ended_ms = Some(1000);
    let soaking = decide(&rollout, &fleet, 1000 + 10 * MINUTE - 1);
    assert_eq!(soaking.actions, []);
    assert_eq!(soaking.due_ms, Some(1000 + 10 * MINUTE));
    assert_eq!(
        actions(&rollout, &fleet, 1000 + 10 * MINUTE),
        [Action::BeginWave { wave: 1 }]
    );
}

#[test]
fn a_run_that_a_person_got_to_its_end_later_has_its_soak_too() {
    let mut rollout = waved(Gate::None, Approve::None);
    let fleet = fleet(&rollout);
    end(&mut rollout, 0..1, RunPhase::Succeeded, 5 * MINUTE);
    rollout.wave_ended_ms = Some(0);
    assert_eq!(actions(&rollout, &fleet, 10 * MINUTE), []);
    assert_eq!(
        actions(&rollout, &fleet, 15 * MINUTE),
        [Action::BeginWave { wave: 1 }]
    );
}

#[test]
fn a_run_that_needs_a_person_within_the_tolerance_does_not_keep_its_wave_open() {
    let mut rollout = waved(Gate::None, Approve::None);
    let fleet = fleet(&rollout);
    let run = &mut rollout.runs[0];
    run.phase = RunPhase::NeedsPerson;
    run.parts.values_mut().for_each(|part| part.lost = true);
    assert_eq!(actions(&rollout, &fleet, 0), [Action::EndWave { wave: 0 }]);
}

#[test]
fn a_rollout_of_one_wave_without_a_gate_has_neither_end_of_wave_nor_soak() {
    let strategy = Strategy {
        soak: Duration::from_secs(600),
        ..Strategy::default()
    };
    let mut rollout = rollout(1, strategy);
    let fleet = fleet(&rollout);
    end(&mut rollout, 0..1, RunPhase::Succeeded, 0);
    assert!(matches!(
        actions(&rollout, &fleet, 0)[..],
        [Action::Turn {
            state: RolloutState::Succeeded,
            ..
        }]
    ));
}

#[test]
fn the_last_wave_is_soaked_and_judged_before_the_rollout_succeeds_where_a_gate_is_asked_for() {
    let strategy = Strategy {
        soak: Duration::from_secs(600),
        gate: Gate::Health,
        ..Strategy::default()
    };
    let mut rollout = rollout(1, strategy);
    let mut fleet = fleet(&rollout);
    end(&mut rollout, 0..1, RunPhase::Succeeded, 0);
    assert_eq!(actions(&rollout, &fleet, 0), [Action::EndWave { wave: 0 }]);
    rollout.wave_ended_ms = Some(0);
    assert_eq!(actions(&rollout, &fleet, 10 * MINUTE - 1), []);
    let ended = |rollout: &Rollout, fleet: &Fleet| match &actions(rollout, fleet, 10 * MINUTE)[..] {
        [Action::Turn { state, why, .. }] => (*state, why.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(ended(&rollout, &fleet).0, RolloutState::Succeeded);
    let server = rollout.runs[0].parts.keys().next().unwrap().clone();
    fleet.health.insert(
        server.clone(),
        Health::Bad("the symptom stands: 3 wait".into()),
    );
    let (state, why) = ended(&rollout, &fleet);
    assert_eq!(state, RolloutState::Failed);
    assert!(
        why.contains(server.as_str()) && why.contains("3 wait"),
        "{why}"
    );
}

#[test]
fn a_bad_gate_halts_naming_server_and_evidence_and_a_person_who_resumes_accepts_it_once() {
    let mut rollout = waved(Gate::Health, Approve::None);
    let mut fleet = fleet(&rollout);
    end(&mut rollout, 0..1, RunPhase::Succeeded, 0);
    rollout.wave_ended_ms = Some(0);
    let server = rollout.runs[0].parts.keys().next().unwrap().clone();
    fleet.health.insert(
        server.clone(),
        Health::Bad("the symptom stands: 3 wait".into()),
    );
    let halted = actions(&rollout, &fleet, 10 * MINUTE);
    assert_eq!(
        halted,
        [Action::Turn {
            state: RolloutState::Halted,
            why: format!("the gate after wave 1 is bad: `{server}`: the symptom stands: 3 wait"),
            cause: Cause::Gate,
        }]
    );
    rollout.accepted.insert(0);
    assert_eq!(
        actions(&rollout, &fleet, 10 * MINUTE),
        [Action::BeginWave { wave: 1 }]
    );
    // What was accepted was that gate, not those after the next waves.
    rollout.wave = 1;
    end(&mut rollout, 1..2, RunPhase::Succeeded, 0);
    assert!(matches!(
        actions(&rollout, &fleet, 10 * MINUTE)[..],
        [Action::Turn {
            state: RolloutState::Halted,
            ..
        }]
    ));
}

#[test]
fn a_gate_that_cannot_be_told_is_waited_for_and_then_pauses_and_never_counts_as_good() {
    let mut rollout = waved(Gate::Health, Approve::None);
    let mut fleet = fleet(&rollout);
    end(&mut rollout, 0..1, RunPhase::Succeeded, 0);
    rollout.wave_ended_ms = Some(0);
    let server = rollout.runs[0].parts.keys().next().unwrap().clone();
    for unknown in [Some(Health::CannotTell("not connected".into())), None] {
        fleet.health.remove(&server);
        fleet
            .health
            .extend(unknown.map(|health| (server.clone(), health)));
        let soaked = 10 * MINUTE;
        let waiting = decide(&rollout, &fleet, soaked);
        assert_eq!(waiting.actions, []);
        assert_eq!(waiting.due_ms, Some(soaked + PATIENCE_MS));
        let paused = actions(&rollout, &fleet, soaked + PATIENCE_MS);
        assert!(
            matches!(&paused[..], [Action::Turn { state: RolloutState::Paused, why, cause: Cause::Gate }]
                if why.contains("cannot be told") && why.contains(server.as_str())),
            "{paused:?}"
        );
    }
}

#[test]
fn a_failure_within_the_tolerance_does_not_make_the_gate_bad() {
    let mut rollout = waved(Gate::Health, Approve::None);
    let mut fleet = fleet(&rollout);
    end(&mut rollout, 0..1, RunPhase::Failed, 0);
    rollout.wave_ended_ms = Some(0);
    fleet.health.clear();
    assert_eq!(
        actions(&rollout, &fleet, 10 * MINUTE),
        [Action::BeginWave { wave: 1 }]
    );
}

#[test]
fn nothing_begins_in_a_wave_that_asks_a_person_before_one_has_approved_it() {
    let approval = |rollout: &Rollout, wave| Approval {
        digest: rollout.wave_digest(wave),
        generation: 1,
        by: "ada".into(),
        at_ms: 0,
        why: String::new(),
    };
    for (approve, asked) in [
        (Approve::BeforeFirst, [true, false, false]),
        (Approve::AfterFirst, [false, true, false]),
        (Approve::EachWave, [true, true, true]),
    ] {
        let mut rollout = waved(Gate::None, approve);
        let fleet = fleet(&rollout);
        if asked[0] {
            assert_eq!(assigned(&rollout, &fleet, 0), 0, "{approve:?}");
            rollout.approvals.insert(0, approval(&rollout, 0));
        }
        assert_eq!(assigned(&rollout, &fleet, 0), 1, "{approve:?}");
        for (wave, asked) in [(1, asked[1]), (2, asked[2])] {
            let runs = if wave == 1 { 0..1 } else { 1..2 };
            end(&mut rollout, runs, RunPhase::Succeeded, 0);
            rollout.wave_ended_ms = Some(0);
            let begins = [Action::BeginWave { wave }];
            if asked {
                assert_eq!(actions(&rollout, &fleet, 10 * MINUTE), [], "{approve:?}");
                rollout.approvals.insert(wave, approval(&rollout, wave));
            }
            assert_eq!(
                actions(&rollout, &fleet, 10 * MINUTE),
                begins,
                "{approve:?}"
            );
            rollout.wave = wave;
            rollout.wave_ended_ms = None;
        }
    }
}

#[test]
fn a_server_that_is_not_what_its_plan_was_made_from_pauses_the_rollout_before_its_run_begins() {
    let mut rollout = waved(Gate::None, Approve::None);
    let mut fleet = fleet(&rollout);
    fleet
        .drift
        .insert(rollout.runs[3].id, "`site03-A` was added".into());
    assert_eq!(assigned(&rollout, &fleet, 0), 1, "its wave is not at work");
    rollout.wave = 2;
    assert_eq!(
        actions(&rollout, &fleet, 0),
        [Action::Turn {
            state: RolloutState::Paused,
            why: "drift: `site03-A` was added".into(),
            cause: Cause::Drift,
        }]
    );
    end(&mut rollout, 3..4, RunPhase::Succeeded, 0);
    assert_eq!(assigned(&rollout, &fleet, 0), 3, "it has begun before");
}

#[test]
fn the_halt_is_told_as_the_inequality_with_where_its_number_comes_from() {
    let strategy = Strategy {
        max_failed: Share::Percent(5),
        sites_at_once: 100,
        ..Strategy::default()
    };
    let mut rollout = rollout(20, strategy);
    let fleet = fleet(&rollout);
    end(&mut rollout, 0..1, RunPhase::Failed, 0);
    assert_eq!(assigned(&rollout, &fleet, 0), 19, "1 > 1 does not hold");
    end(&mut rollout, 0..2, RunPhase::Failed, 0);
    let halted = actions(&rollout, &fleet, 0);
    assert!(
        matches!(&halted[..], [Action::Turn { state: RolloutState::Halted, why, cause: Cause::Failures }]
            if why == "failed 2 > max_failed 1 (5% of 20 runs, rounded down)"),
        "{halted:?}"
    );
}
