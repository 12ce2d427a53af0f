use std::sync::Arc;
use std::time::Duration;

use mailmend_policy::strategy::{Approve, Day, Gate, MaxUnavailable, Share, Strategy, Window};
use mailmend_proto::run::Outcome;
use uuid::Uuid;

use super::*;
use crate::decide::gate::Health;
use crate::decide::simulation::World;
use crate::mail_flow::MailFlow;
use crate::rollout::{Cause, Mark, Unwinding};
use crate::simulated_agent::{Ends, plan_of};

fn rollout(sites: &[&str]) -> Rollout {
    let plans: Vec<_> = sites
        .iter()
        .map(|site| plan_of(site, "A:detect B:check A:check"))
        .collect();
    let ends: Ends = Arc::new(|_, _, _| Outcome::Done);
    World::new(&plans, 1, 0, &ends, 1).rollout
}

fn around(rollout: &Rollout) -> Surroundings {
    let agents = rollout
        .runs
        .iter()
        .flat_map(|run| run.parts.keys().cloned());
    let agents: BTreeMap<ServerName, (bool, i64)> = agents.map(|name| (name, (true, 5))).collect();
    let sites = rollout.runs.iter().flat_map(|run| {
        run.parts
            .keys()
            .map(|name| (name.clone(), run.site.clone()))
    });
    Surroundings {
        fleet: Fleet {
            connected: agents.keys().cloned().collect(),
            servers: sites.collect(),
            ..Fleet::default()
        },
        agents,
        ..Surroundings::default()
    }
}

fn only(rollout: &Rollout, around: &Surroundings) -> Waiting {
    let mut waiting = explain(rollout, around);
    assert_eq!(waiting.len(), 1, "{waiting:#?}");
    waiting.remove(0)
}

#[test]
fn a_run_that_is_not_begun_names_the_run_that_holds_its_site() {
    let rollout = rollout(&["oslo"]);
    let mut around = around(&rollout);
    let (run, owner) = (
        RunId(Uuid::from_u128(7 << 96)),
        RolloutId(Uuid::from_u128(8 << 96)),
    );
    around
        .locks
        .insert("oslo".parse().unwrap(), (run, Some(owner)));
    let waiting = only(&rollout, &around);
    assert_eq!(waiting.predicate, "no other run works at site oslo");
    assert_eq!(waiting.holder, "run 00000007 of rollout 00000008");
    assert!(
        waiting
            .release
            .contains("mailmend rollout explain 00000008")
    );
}

#[test]
fn a_run_that_is_not_begun_names_the_agents_that_are_away() {
    let rollout = rollout(&["oslo"]);
    let mut around = around(&rollout);
    around.agents.insert("oslo-B".parse().unwrap(), (false, 0));
    let waiting = only(&rollout, &around);
    assert_eq!(waiting.holder, "not connected: oslo-B");
    assert!(waiting.release.contains("mailmend agent show oslo-B"));
}

#[test]
fn a_run_that_waits_for_its_wave_shows_the_inequality() {
    let mut rollout = rollout(&["oslo", "rome"]);
    let around = around(&rollout);
    let run = &mut rollout.runs[0];
    run.phase = RunPhase::Running;
    for part in run.parts.values_mut() {
        part.told.begun = true;
        part.through = 1;
    }
    let waiting = explain(&rollout, &around);
    assert_eq!(waiting.len(), 2);
    assert!(
        waiting[0]
            .predicate
            .starts_with("step detect-0 on oslo-A is done or skipped, within 1s")
    );
    assert_eq!(waiting[0].holder, "agent oslo-A, connected");
    assert_eq!(
        waiting[1].predicate,
        "sites at work < sites_at_once, but 1 >= 1"
    );
    assert_eq!(waiting[1].holder, "sites at work: oslo");
}

#[test]
fn a_run_that_was_sent_names_the_agent_that_has_not_taken_it_on() {
    let mut rollout = rollout(&["oslo"]);
    let mut around = around(&rollout);
    rollout.runs[0].phase = RunPhase::Assigned;
    let a = "oslo-A".parse().unwrap();
    rollout.runs[0].parts.get_mut(&a).unwrap().told.begun = true;
    around
        .agents
        .insert("oslo-B".parse().unwrap(), (false, 1000));
    let waiting = only(&rollout, &around);
    assert!(waiting.predicate.contains("oslo-B has written down"));
    assert_eq!(
        waiting.holder,
        "agent oslo-B, not connected, last heard 1970-01-01T00:00:01Z"
    );
    assert!(
        waiting
            .release
            .starts_with("start mailmend-agent on oslo-B")
    );
}

#[test]
fn a_paused_rollout_says_who_paused_it_and_how_it_goes_on() {
    let mut rollout = rollout(&["oslo"]);
    let around = around(&rollout);
    rollout.state = RolloutState::Paused;
    rollout.why = "admin: lunch".into();
    let run = &mut rollout.runs[0];
    run.phase = RunPhase::Running;
    let waiting = explain(&rollout, &around);
    assert_eq!(waiting[0].run, None);
    assert_eq!(waiting[0].holder, "whoever paused it: admin: lunch");
    assert_eq!(waiting[0].release, "mailmend rollout resume 00000000");
    assert_eq!(waiting[1].predicate, "step detect-0 on oslo-A is released");
    assert_eq!(waiting[1].release, waiting[0].release);
}

#[test]
fn a_halted_rollout_shows_the_inequality_and_the_failed_runs() {
    let mut rollout = rollout(&["oslo", "rome"]);
    let around = around(&rollout);
    rollout.state = RolloutState::Halted;
    rollout.runs[0].phase = RunPhase::Failed;
    let waiting = explain(&rollout, &around);
    assert_eq!(
        waiting[0].predicate,
        "failed <= max_failed, but failed 1 > max_failed 0"
    );
    assert_eq!(waiting[0].holder, "failed runs: 00000000 at oslo");
    assert!(waiting[0].release.contains("resume") && waiting[0].release.contains("abort"));
    assert_eq!(waiting[1].predicate, "the rollout is running, not halted");
}

#[test]
fn a_run_at_rest_needs_a_person_and_says_which_commands_help() {
    let mut rollout = rollout(&["oslo"]);
    let around = around(&rollout);
    rollout.runs[0].phase = RunPhase::NeedsPerson;
    rollout.runs[0].why = "step x ended unknown".into();
    let waiting = only(&rollout, &around);
    assert_eq!(waiting.holder, "a person: step x ended unknown");
    assert!(
        waiting.release.contains("mailmend run show") && waiting.release.contains("rollout abort")
    );
}

#[test]
fn an_unwinding_and_a_closing_run_name_the_agents_that_have_not_closed() {
    let mut rollout = rollout(&["oslo"]);
    let around = around(&rollout);
    let run = &mut rollout.runs[0];
    run.phase = RunPhase::Unwinding;
    let order = Unwinding {
        down_to: 0,
        last: true,
    };
    for part in run.parts.values_mut() {
        part.told.begun = true;
        part.unwind = Some(order);
    }
    let a = "oslo-A".parse().unwrap();
    run.parts.get_mut(&a).unwrap().told.closed = Some(crate::rollout::Closing::Unwound);
    let waiting = only(&rollout, &around);
    assert_eq!(
        waiting.predicate,
        "oslo-B takes back what it did and closes its part"
    );

    let run = &mut rollout.runs[0];
    run.phase = RunPhase::Running;
    for part in run.parts.values_mut() {
        part.unwind = None;
        part.told.closed = None;
    }
    run.parts.get_mut(&a).unwrap().told.steps = [(0, Mark::Done), (2, Mark::Done)].into();
    let b = "oslo-B".parse().unwrap();
    run.parts.get_mut(&b).unwrap().told.steps = [(1, Mark::Skipped)].into();
    let waiting = explain(&rollout, &around);
    assert_eq!(waiting.len(), 2);
    assert_eq!(waiting[0].predicate, "oslo-A closes its part");
}

#[test]
fn every_state_that_waits_says_what_for_who_holds_it_and_which_command_releases_it() {
    for state in RolloutState::ALL {
        for phase in RunPhase::ALL {
            let mut rollout = rollout(&["oslo"]);
            let around = around(&rollout);
            rollout.state = *state;
            rollout.runs[0].phase = *phase;
            let waiting = explain(&rollout, &around);
            if state.is_final() {
                assert!(waiting.is_empty());
                continue;
            }
            assert_eq!(
                waiting.iter().any(|waiting| waiting.run.is_some()),
                !phase.is_final(),
                "{state:?} {phase:?}"
            );
            for waiting in waiting {
                assert!(!waiting.predicate.is_empty() && !waiting.holder.is_empty());
                assert!(
                    waiting.release.contains("mailmend"),
                    "{state:?} {phase:?}: {waiting:?}"
                );
            }
        }
    }
}

#[test]
fn a_server_in_hand_is_named_with_who_has_it_and_the_command_that_gives_it_back() {
    let mut rollout = rollout(&["oslo"]);
    let mut around = around(&rollout);
    let hand = InHand {
        by: "anna".into(),
        why: "new disk".into(),
        since_ms: 7,
    };
    let in_hand = ("oslo-A".parse().unwrap(), hand);
    around.in_hand.insert("oslo".parse().unwrap(), in_hand);
    let waiting = only(&rollout, &around);
    assert_eq!(
        waiting.predicate,
        "no server of site oslo is in a person's hand"
    );
    assert_eq!(waiting.holder, "anna, who has oslo-A in hand: new disk");
    assert_eq!(waiting.release, "mailmend agent give-back oslo-A");
    assert_eq!(waiting.since_ms, 7);
    rollout.runs[0].phase = RunPhase::Running;
    assert_eq!(
        only(&rollout, &around).release,
        "mailmend agent give-back oslo-A"
    );
}

#[test]
fn what_a_run_keeps_is_told_with_its_commands_also_after_the_rollout_has_ended() {
    let mut rollout = rollout(&["oslo"]);
    let around = around(&rollout);
    let run = &mut rollout.runs[0];
    run.phase = RunPhase::NeedsPerson;
    let id = short(run.id);
    for (part, state) in run.parts.values_mut().zip(["held", "in-doubt"]) {
        part.told.begun = true;
        part.told.custody.insert(state.into(), 3);
    }
    let releases = |rollout: &Rollout| -> Vec<String> {
        let waiting = explain(rollout, &around).into_iter();
        waiting.map(|waiting| waiting.release).collect()
    };
    // At rest and not closed yet: the abort comes first.
    let told = releases(&rollout);
    let abort = format!("mailmend rollout abort {}, then ", short(rollout.id));
    assert!(
        told[0].starts_with(&format!("{abort}mailmend custody release {id} --why")),
        "{told:?}"
    );
    assert!(
        told[1].contains(&format!("mailmend custody settle {id}")),
        "{told:?}"
    );
    rollout.state = RolloutState::Aborted;
    let run = &mut rollout.runs[0];
    run.phase = RunPhase::Failed;
    for part in run.parts.values_mut() {
        part.told.closed = Some(crate::rollout::Closing::Unwound);
    }
    let told = releases(&rollout);
    assert_eq!(told.len(), 2, "an ended rollout waits for nothing else");
    assert!(
        told[0].starts_with(&format!("mailmend custody release {id}")),
        "{told:?}"
    );
    // While it is given back nothing is asked of a person.
    let part = rollout.runs[0].parts.values_mut().next().unwrap();
    part.told.releasing = Some("0198c5aa-1234".into());
    let told = releases(&rollout);
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("mailmend run order 0198c5aa"), "{told:?}");
    rollout.runs[0].parts.clear();
    assert!(releases(&rollout).is_empty());
}

/// Two sites, one wave each, with an hour of soak and a gate.
fn waved(strategy: Strategy) -> Rollout {
    let plans: Vec<_> = ["oslo", "rome"]
        .iter()
        .map(|site| plan_of(site, "A:detect A:stop A:hold A:start"))
        .collect();
    let ends: Ends = Arc::new(|_, _, _| Outcome::Done);
    let strategy = Strategy {
        waves: vec![Share::Count(1), Share::Percent(100)],
        soak: Duration::from_secs(3600),
        ..strategy
    };
    World::under(&plans, strategy, &ends, 1).rollout
}

fn first_wave_ended(rollout: &mut Rollout) {
    rollout.runs[0].phase = RunPhase::Succeeded;
    rollout.runs[0].ended_ms = Some(1000);
    rollout.wave_ended_ms = Some(1000);
}

#[test]
fn a_soak_says_when_it_is_over_and_a_run_of_a_later_wave_which_wave_it_waits_for() {
    let mut rollout = waved(Strategy::default());
    first_wave_ended(&mut rollout);
    let mut around = around(&rollout);
    around.now_ms = 2000;
    let waiting = explain(&rollout, &around);
    assert_eq!(
        waiting[0].predicate,
        "the soak after wave 1 is over, at 1970-01-01T01:00:01Z"
    );
    assert_eq!(
        (waiting[0].holder.as_str(), waiting[0].since_ms),
        ("time alone", 1000)
    );
    assert_eq!(waiting[1].predicate, "wave 2 has begun");
    assert_eq!(waiting[1].holder, "the rollout is in wave 1");
}

#[test]
fn a_gate_names_the_server_and_why_while_it_is_waited_for_and_when_it_has_stopped_the_rollout() {
    let mut rollout = waved(Strategy {
        gate: Gate::Health,
        ..Strategy::default()
    });
    first_wave_ended(&mut rollout);
    let mut around = around(&rollout);
    around.now_ms = 1000 + 3_600_000;
    let unknown = Health::CannotTell("its agent is not connected".into());
    around.fleet.health = [("oslo-A".parse().unwrap(), unknown)].into();
    let waiting = explain(&rollout, &around);
    assert_eq!(waiting[0].predicate, "the gate after wave 1 is good");
    assert_eq!(waiting[0].holder, "`oslo-A`: its agent is not connected");
    rollout.state = RolloutState::Halted;
    rollout.cause = Cause::Gate;
    rollout.why = "the gate after wave 1 is bad: `oslo-A`: an alarm".into();
    let waiting = explain(&rollout, &around);
    assert_eq!(waiting[0].holder, rollout.why);
    assert!(
        waiting[0]
            .release
            .starts_with("mailmend rollout resume 00000000 (accepts this gate)")
    );
}

#[test]
fn a_wave_that_asks_a_person_names_the_command_that_approves_it() {
    let rollout = waved(Strategy {
        approve: Approve::EachWave,
        ..Strategy::default()
    });
    let waiting = explain(&rollout, &around(&rollout));
    assert_eq!(waiting[0].predicate, "wave 1 is approved (1 sites)");
    assert_eq!(
        waiting[0].release,
        "mailmend rollout approve 00000000 --wave 1"
    );
    assert_eq!(waiting[1].release, waiting[0].release);
}

#[test]
fn drift_and_recall_name_what_has_changed_and_what_releases_them() {
    let mut rollout = waved(Strategy::default());
    let around = around(&rollout);
    rollout.state = RolloutState::Paused;
    rollout.cause = Cause::Drift;
    rollout.why = "drift: site oslo: `x` was added".into();
    let waiting = explain(&rollout, &around);
    assert_eq!(waiting[0].holder, rollout.why);
    assert!(waiting[0].release.contains("start anew"));
    rollout.state = RolloutState::Aborting;
    rollout.cause = Cause::Recall;
    rollout.why = "the policy was recalled: wrong queue".into();
    let waiting = explain(&rollout, &around);
    assert_eq!(waiting[0].holder, rollout.why);
}

#[test]
fn a_budget_shows_its_inequality_with_its_parts_and_a_window_when_it_opens() {
    let budget = MaxUnavailable {
        fleet: Share::Count(1),
        ..MaxUnavailable::default()
    };
    let rollout = waved(Strategy {
        max_unavailable: budget,
        ..Strategy::default()
    });
    let mut around = around(&rollout);
    around
        .fleet
        .servers
        .insert("away".parse().unwrap(), "far".parse().unwrap());
    let waiting = explain(&rollout, &around);
    assert_eq!(
        waiting[0].predicate,
        "unavailable + 1 <= max_unavailable.fleet, but 1 + 1 > 1"
    );
    assert_eq!(
        waiting[0].holder,
        "0 being mended, 0 failed or in need of a person, 1 not connected"
    );

    let night = Window {
        days: Day::ALL.to_vec(),
        from: "02:00".parse().unwrap(),
        to: "03:00".parse().unwrap(),
        zone: "UTC".parse().unwrap(),
    };
    let rollout = waved(Strategy {
        windows: vec![night],
        ..Strategy::default()
    });
    let waiting = explain(&rollout, &around);
    assert_eq!(
        waiting[0].predicate,
        "a maintenance window is open for as long as a section may last, the next from 1970-01-01T02:00:00Z"
    );
    assert!(
        waiting[0].holder.contains("02:00 to 03:00"),
        "{}",
        waiting[0].holder
    );
}

#[test]
fn a_run_that_would_take_the_last_live_path_names_the_space_the_others_and_the_way_out() {
    let plans: Vec<_> = ["oslo", "rome"]
        .iter()
        .map(|site| plan_of(site, "A:detect A:stop A:start"))
        .collect();
    let ends: Ends = Arc::new(|_, _, _| Outcome::Done);
    let mut rollout = World::new(&plans, 2, 2, &ends, 1).rollout;
    let servers: Vec<mailmend_policy::plan::Server> = ["oslo", "rome"]
        .iter()
        .map(|site| mailmend_policy::plan::Server {
            name: format!("{site}-A").parse().unwrap(),
            site: site.parse().unwrap(),
            labels: [("ims.address-spaces".to_owned(), "SMTP:*;1".to_owned())].into(),
            actions: Default::default(),
        })
        .collect();
    let (oslo, rome): (ServerName, ServerName) =
        ("oslo-A".parse().unwrap(), "rome-A".parse().unwrap());
    let mut around = around(&rollout);
    let there = [oslo.clone()].into();
    around.fleet.mail_flow = MailFlow::of(&servers).connected(&there);
    let told = explain(&rollout, &around);
    let waiting = told.iter().find(|one| one.run == Some(rollout.runs[0].id));
    let waiting = waiting.unwrap();
    assert_eq!(
        waiting.predicate,
        "SMTP:* of the organisation keeps a live outbound path while oslo-A is mended"
    );
    assert_eq!(
        waiting.holder,
        "its other paths, none of them live: rome-A (not connected)"
    );
    assert_eq!(
        waiting.release,
        "start mailmend-agent on rome-A; mailmend agent show rome-A"
    );
    assert_eq!(waiting.kind, Kind::LastPath);

    // Both were given out before; the other one's section is released.
    for run in &mut rollout.runs {
        run.phase = RunPhase::Running;
        for part in run.parts.values_mut() {
            part.told.begun = true;
        }
    }
    rollout.runs[1].parts.get_mut(&rome).unwrap().through = 3;
    let all = [oslo, rome].into();
    let stated = MailFlow::of(&servers).connected(&all);
    around.fleet.mail_flow = rollout.runs.iter().fold(stated, MailFlow::with_run);
    let told = explain(&rollout, &around);
    let waiting = told.iter().find(|one| one.run == Some(rollout.runs[0].id));
    let waiting = waiting.unwrap();
    assert!(
        waiting.holder.contains("rome-A (disturbed by run"),
        "{waiting:?}"
    );
    assert!(
        waiting.release.starts_with("it goes on when run 0000000"),
        "{waiting:?}"
    );
}
