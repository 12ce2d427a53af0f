//! A mail service that does not do what it is told, or does what nobody told it.

use std::time::Duration;

use mailmend_agent::host::simulated::{Crash, ServiceFaults, run_until_killed};
use mailmend_proto::run::{Ended, Event, Outcome, SectionEnd, ServiceChange, StepState};

use crate::site::{IMC, Site};

fn changes(site: &Site) -> Vec<ServiceChange> {
    let change = |event| match event {
        Event::ServiceChanged { change, .. } => Some(change),
        _ => None,
    };
    site.events().into_iter().filter_map(change).collect()
}

#[test]
fn a_service_that_does_not_stop_is_ended_and_the_run_goes_on() {
    let site = Site::small(2);
    site.world.set_faults(
        IMC,
        ServiceFaults {
            refuses_stop: true,
            ..ServiceFaults::default()
        },
    );
    site.live(&[]);
    site.check("refuses to stop");
    assert!(changes(&site).contains(&ServiceChange::Killed));
    assert_eq!(site.ended(), Some(Ended::Committed), "{:?}", site.alarms());
}

#[test]
fn an_ended_process_may_take_its_time_on_the_wall_clock_whatever_the_clock_factor() {
    let site = Site::hurried(2, 60);
    site.world.set_faults(
        IMC,
        ServiceFaults {
            refuses_stop: true,
            // A second of the wall clock, and twice the limit if it were taken for time of the uptime.
            gone_after: 60_000,
            ..ServiceFaults::default()
        },
    );
    site.live(&[]);
    site.check("goes slowly");
    assert!(changes(&site).contains(&ServiceChange::Killed));
    assert_eq!(site.ended(), Some(Ended::Committed), "{:?}", site.alarms());
}

#[test]
fn a_service_that_says_stopped_while_its_process_lives_is_not_stopped() {
    let site = Site::small(2);
    site.world.set_faults(
        IMC,
        ServiceFaults {
            lies_stopped: true,
            ..ServiceFaults::default()
        },
    );
    site.live(&[]);
    site.check("lies");
    let changes = changes(&site);
    assert!(changes.contains(&ServiceChange::Killed), "{changes:?}");
    assert!(!changes.contains(&ServiceChange::Stopped), "{changes:?}");
    assert_eq!(site.ended(), Some(Ended::Committed), "{:?}", site.alarms());
}

#[test]
fn a_service_that_lies_while_the_agent_dies_is_never_taken_for_stopped() {
    let mut handed_over = 0;
    for dies_at in (1..).step_by(17) {
        let site = Site::small(2);
        let lies = ServiceFaults {
            lies_stopped: true,
            ..ServiceFaults::default()
        };
        site.world.set_faults(IMC, lies);
        let (killed, _) = site.live(&[dies_at]);
        let told = format!("lies, and the agent was killed: {killed:?}");
        site.check_mail(&told);
        let called = site
            .alarms()
            .iter()
            .any(|code| code == "A054-service-left-down");
        assert!(
            site.world.is_running(IMC) || called,
            "{told}: {:?}",
            site.alarms()
        );
        assert!(site.ended().is_some(), "{told}");
        let changes = changes(&site);
        assert!(!changes.contains(&ServiceChange::Stopped), "{told}");
        handed_over += u32::from(called);
        if killed.is_empty() {
            break;
        }
    }
    eprintln!("handed over {handed_over} times");
    assert!(handed_over > 0, "no kill lost the identity of the process");
}

#[test]
fn a_process_that_may_not_be_ended_stays_and_a_person_is_called() {
    let edits = [("then = \"kill\"", "then = \"fail\"")];
    let site = Site::with_policy(2, 3, &edits);
    site.world.set_faults(
        IMC,
        ServiceFaults {
            refuses_stop: true,
            ..ServiceFaults::default()
        },
    );
    site.live(&[]);
    site.check_mail("may not be ended");
    assert!(!changes(&site).contains(&ServiceChange::KillIntended));
    assert_eq!(
        site.step_state("stop-ims"),
        Some(StepState::Finished {
            attempt: 1,
            outcome: Outcome::Unknown
        })
    );
    assert_eq!(site.sections(), [SectionEnd::HandedOver]);
    assert_eq!(site.ended(), Some(Ended::AtRest));
    let alarms = site.alarms();
    assert!(alarms.iter().any(|code| code == "A054-service-left-down"));
    assert!(alarms.iter().any(|code| code == "A068-at-rest"));
}

#[test]
fn a_start_that_dies_is_tried_again() {
    let site = Site::small(2);
    site.world.set_faults(
        IMC,
        ServiceFaults {
            dies_after: vec![200],
            ..ServiceFaults::default()
        },
    );
    site.live(&[]);
    site.check("flaps once");
    assert!(changes(&site).contains(&ServiceChange::Died));
    assert_eq!(site.ended(), Some(Ended::Committed), "{:?}", site.alarms());
}

#[test]
fn a_start_that_dies_too_often_fails_the_step_and_the_exit_brings_service_up() {
    let site = Site::small(2);
    site.world.set_faults(
        IMC,
        ServiceFaults {
            dies_after: vec![200, 200],
            ..ServiceFaults::default()
        },
    );
    site.live(&[]);
    site.check("flaps twice");
    assert_eq!(
        site.failed_steps(),
        [(site.index("start-ims"), Outcome::Unknown)]
    );
    assert_eq!(site.sections(), [SectionEnd::Exited]);
    assert_eq!(site.ended(), Some(Ended::AtRest));
}

#[test]
fn a_service_that_cannot_be_started_is_handed_to_a_person_and_its_mail_is_safe() {
    let site = Site::small(2);
    site.world.set_faults(
        IMC,
        ServiceFaults {
            disabled: true,
            ..ServiceFaults::default()
        },
    );
    site.live(&[]);
    site.check_mail("disabled");
    assert!(!site.world.is_running(IMC));
    assert_eq!(site.ended(), Some(Ended::AtRest));
    let left_down = site.alarms_of("A054-service-left-down");
    assert!(!left_down.is_empty());
    // It was never told to start: no message is blamed for that.
    let blames = |text: &String| text.contains("A122");
    assert!(!left_down.iter().any(blames), "{left_down:?}");
    assert!(site.alarms().iter().any(|code| code == "A068-at-rest"));
    assert!(
        site.world
            .balance()
            .accounts
            .iter()
            .all(|account| account.delivered == 0)
    );
    // As soon as a person lets it start, everything is delivered.
    site.world.set_faults(IMC, ServiceFaults::default());
    site.world.by_hand(IMC, true);
    site.check("enabled again");
    let balance = site.world.balance();
    assert!(
        balance
            .accounts
            .iter()
            .all(|account| account.delivered == 1)
    );
}

#[test]
fn whenever_the_service_dies_during_a_run_nothing_is_lost_and_duplicates_are_named() {
    let mut n = 0;
    let mut committed = 0;
    loop {
        n += 1;
        let site = Site::small(3);
        if !site.live_while(n, |world| world.kill_service(IMC)) {
            break;
        }
        site.check(&format!("service killed at point {n} of the journal"));
        assert!(site.ended().is_some());
        committed += u32::from(site.ended() == Some(Ended::Committed));
    }
    eprintln!(
        "the service died at each of {} points; {committed} runs committed",
        n - 1
    );
    assert!(n > 100, "only {n} points");
    assert!(committed > 50, "only {committed} runs committed");
}

#[test]
fn whenever_somebody_starts_the_service_by_hand_nothing_is_lost_and_duplicates_are_named() {
    let mut n = 0;
    loop {
        n += 1;
        let site = Site::small(4);
        if !site.live_while(n, |world| {
            world.by_hand(IMC, true);
            world.advance(Duration::from_secs(5));
        }) {
            break;
        }
        site.check(&format!("started by hand at point {n} of the journal"));
        assert!(site.ended().is_some());
    }
    assert!(n > 100, "only {n} points");
}

#[test]
fn nothing_moves_under_a_process_that_the_manager_believes_stopped() {
    let mut refused = 0;
    for n in 1.. {
        let site = Site::small(4);
        let reached = site.live_while(n, |world| {
            // Somebody starts it, and stops it again: it says that it stopped, and works on.
            world.by_hand(IMC, true);
            world.advance(Duration::from_secs(2));
            let lies = ServiceFaults {
                lies_stopped: true,
                ..ServiceFaults::default()
            };
            world.set_faults(IMC, lies);
            world.by_hand(IMC, false);
        });
        if !reached {
            break;
        }
        site.check_mail(&format!("lies after point {n} of the journal"));
        let refusal = |id| site.detail(id).contains("A080-service-not-stopped");
        let steps = site.plan.steps.iter().map(|step| step.id.as_str());
        refused += usize::from(steps.into_iter().any(refusal));
    }
    eprintln!("refused {refused} times to move anything");
    assert!(refused > 3, "only {refused}");
}

#[test]
fn whenever_somebody_runs_the_service_while_the_agent_is_dead_nothing_is_sent_twice_unnamed() {
    let mut ran = 0;
    for dies_at in (1..).step_by(2) {
        let site = Site::small(1);
        let life = run_until_killed(|| {
            let engine = site.engine(dies_at);
            engine.recover().unwrap();
            site.control(&engine);
        });
        if life.is_ok() {
            break;
        }
        if !site.world.is_running(IMC) {
            site.world.by_hand(IMC, true);
            site.world.advance(Duration::from_secs(30));
            site.world.by_hand(IMC, false);
            site.world.advance(Duration::from_secs(30));
            ran += 1;
        }
        site.live(&[]);
        site.check(&format!("run by hand after {life:?}"));
    }
    eprintln!("{ran} times somebody ran it meanwhile");
    assert!(ran > 30, "only {ran}");
}

#[test]
fn the_watchdog_keeps_its_hands_off_a_section() {
    let mut open = 0;
    for dies_at in (1..).step_by(7) {
        let site = Site::small(2);
        let stubborn = ServiceFaults {
            refuses_stop: true,
            ..ServiceFaults::default()
        };
        site.world.set_faults(IMC, stubborn);
        let life = run_until_killed(|| site.control(&site.engine(dies_at)));
        if life.is_ok() {
            break;
        }
        if site.state().section.is_none() {
            continue;
        }
        // Its process was ended by the run, so it looks as if it had died.
        open += u32::from(!site.world.has_process(IMC));
        let before = site.events().len();
        site.engine(0).watch().unwrap();
        assert_eq!(site.events().len(), before, "at {dies_at}");
    }
    assert!(open > 5, "only {open} sections with a dead service");
}

/// Wherever the agent dies, an agent without a good guard file brings up what was stopped and does nothing
/// else; with one again, the run ends as it would have.
#[test]
fn a_guard_file_broken_while_a_section_is_open_leaves_no_service_down_and_lets_nothing_else_happen()
{
    let mut open = 0;
    for dies_at in (1..).step_by(9) {
        let site = Site::small(3);
        let life = run_until_killed(|| site.control(&site.engine(dies_at)));
        if life.is_ok() {
            break;
        }
        let before = site.state();
        let moved = |events: &[Event]| {
            let moves = |event: &&Event| {
                matches!(
                    event,
                    Event::StepIntended { .. } | Event::StepFinished { .. } | Event::Closed { .. }
                )
            };
            events.iter().filter(moves).count()
        };
        let steps = moved(&site.events());
        site.engine(0).leave_sections().unwrap();
        if before.section.is_none() {
            assert_eq!(
                site.state(),
                before,
                "no section, nothing to do, at {dies_at}"
            );
            continue;
        }
        open += 1;
        assert!(site.world.is_running(IMC), "down at {dies_at}");
        assert_eq!(moved(&site.events()), steps, "a step went on at {dies_at}");
        site.live(&[]);
        site.check(&format!("after a broken guard file at {dies_at}"));
    }
    assert!(open > 5, "only {open} deaths in a section");
}

/// The service starts with the machine and sends again what it was sending; nobody can prevent it.
#[test]
fn whatever_is_sent_twice_over_a_power_loss_before_the_agent_can_look_is_named() {
    let (mut doubled, mut cuts) = (0, 0);
    for at_ms in (0..1500).step_by(15) {
        let site = Site::healthy(at_ms);
        site.world.add_outbound(6, 200);
        site.world.advance(Duration::from_millis(at_ms));
        site.world.crash(Crash::Power);
        cuts += 1;
        site.world.advance(Duration::from_secs(60));
        let engine = site.engine(0);
        engine.recover().unwrap();
        for _ in 0..3 {
            engine.watch().unwrap();
            site.world.advance(Duration::from_secs(60));
        }
        let named: Vec<String> = site
            .events()
            .into_iter()
            .filter_map(|event| match event {
                Event::Alarm { code, text } if code == "A110-sent-again" => Some(text),
                _ => None,
            })
            .collect();
        assert!(named.len() <= 1, "each is told once: {named:?}");
        let named = named.concat();
        let mut twice = 0;
        for account in site.world.balance().accounts {
            // The name of the spool file is in the Message-ID of the simulated mail, or in its place.
            let told = named.contains(&account.message_id);
            if account.delivered > 1 {
                twice += 1;
                assert!(
                    told,
                    "at {at_ms} ms {} was sent twice: {named}",
                    account.mts_id
                );
            }
        }
        assert!(
            twice > 0 || named.is_empty() || named.contains("may have"),
            "{named}"
        );
        doubled += twice;
    }
    assert!(
        doubled > 10,
        "{doubled} messages were sent twice in {cuts} power losses"
    );
}

/// Event 3038 stands and the service dies, or somebody restarts it: all of it is sent again.
#[test]
fn what_a_start_while_3038_stands_sends_again_is_named_once() {
    let site = Site::healthy(3038);
    site.world.set_scanned(true);
    site.world.add_outbound(4, 100);
    site.world.advance(Duration::from_secs(10));
    assert_eq!(site.world.count_in_mts_out(), 4, "sent and not removed");
    let engine = site.engine(0);
    engine.recover().unwrap();
    engine.watch().unwrap();
    let alarms = || -> Vec<String> {
        let told = site.events().into_iter().filter_map(|event| match event {
            Event::Alarm { code, text } if code == "A110-sent-again" => Some(text),
            _ => None,
        });
        told.collect()
    };
    assert_eq!(alarms(), Vec::<String>::new(), "nobody started it again");
    site.world.set_scanned(false);
    site.world.by_hand("MSExchangeIMC", false);
    site.world.advance(Duration::from_secs(30));
    site.world.by_hand("MSExchangeIMC", true);
    for _ in 0..5 {
        site.world.advance(Duration::from_secs(40));
        engine.watch().unwrap();
    }
    let told = alarms();
    assert_eq!(told.len(), 1, "{told:?}");
    for account in site.world.balance().accounts {
        assert_eq!(account.delivered, 2, "{}", account.mts_id);
        assert!(told[0].contains(&account.message_id), "{told:?}");
    }
}

#[test]
fn however_many_were_sent_again_over_a_power_loss_each_is_named() {
    let site = Site::healthy(3);
    site.world.add_outbound(80, 200);
    site.world.advance(Duration::from_secs(300));
    site.world.crash(Crash::Power);
    site.world.advance(Duration::from_secs(300));
    let engine = site.engine(0);
    engine.recover().unwrap();
    engine.watch().unwrap();
    let named: Vec<String> = site
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Alarm { code, text } if code == "A110-sent-again" => Some(text),
            _ => None,
        })
        .collect();
    let balance = site.world.balance();
    let twice = balance.duplicated();
    assert!(twice.len() > 20, "only {} were", twice.len());
    for account in twice {
        assert!(
            named.iter().any(|text| text.contains(&account.message_id)),
            "{} is not named",
            account.message_id
        );
    }
}

#[test]
fn a_full_disk_is_found_before_the_service_is_stopped() {
    let site = Site::small(7);
    site.world.set_free_bytes(10_000);
    let starts = site.world.starts(IMC);
    site.live(&[]);
    site.check("disk full");
    assert_eq!(site.world.starts(IMC), starts, "service was disturbed");
    assert!(
        site.detail("hold-outbound").contains("A083-no-room"),
        "{}",
        site.detail("hold-outbound")
    );
    assert_eq!(site.ended(), Some(Ended::Unwound));
    assert!(site.sections().is_empty());
}

#[test]
fn a_forbidden_stop_changes_nothing() {
    let site = Site::small(7);
    site.world
        .write_event(IMC, 3038, "could not remove a message from MTS-OUT");
    let starts = site.world.starts(IMC);
    site.live(&[]);
    site.check("3038 stands");
    assert_eq!(site.world.starts(IMC), starts, "service was disturbed");
    assert!(site.detail("stop-ims").contains("A057-forbidden"));
    assert_eq!(site.ended(), Some(Ended::Unwound));
}

#[test]
fn where_the_symptom_does_not_stand_nothing_is_done() {
    let site = Site::small(8);
    let starts = site.world.starts(IMC);
    let engine = site.engine(0);
    site.world.add_outbound(1, 10);
    for account in site.world.balance().accounts {
        for file in account.live {
            site.world.set_age(&file, Duration::from_secs(60));
        }
    }
    site.control(&engine);
    assert_eq!(site.ended(), Some(Ended::NotNeeded));
    assert_eq!(site.world.starts(IMC), starts);
}

#[test]
fn where_the_symptom_cannot_be_judged_the_run_fails_instead_of_being_not_needed() {
    let site = Site::small(8);
    site.world.set_registry(
        r"SYSTEM\CurrentControlSet\Services\MSExchangeIMC\Parameters",
        "RootDir",
        None,
    );
    let engine = site.engine(0);
    let refused = engine.admit(&site.assignment).unwrap_err();
    assert_eq!(refused.code, "A048-no-imcdata");
}

#[test]
fn the_watchdog_starts_a_dead_service_and_no_duplicate_goes_unnamed() {
    let mut doubted = 0;
    for at in (0..1200).step_by(20) {
        let site = Site::healthy(at);
        site.world.add_outbound(6, 100);
        let engine = site.engine(0);
        engine.recover().unwrap();
        site.world.advance(Duration::from_millis(at));
        site.world.kill_service(IMC);
        engine.watch().unwrap();
        site.check(&format!("killed at {at} ms"));
        doubted += usize::from(site.alarms().iter().any(|code| code == "A069-in-doubt"));
    }
    eprintln!("{doubted} times something was in doubt");
    assert!(doubted > 5, "the kills never fell into a transmission");
}

#[test]
fn the_watchdog_leaves_alone_what_somebody_stopped() {
    let site = Site::healthy(1);
    let engine = site.engine(0);
    site.world.by_hand(IMC, false);
    site.world.advance(Duration::from_secs(10));
    engine.watch().unwrap();
    site.world.advance(Duration::from_secs(10));
    assert!(!site.world.is_running(IMC));
    assert!(site.events().is_empty());
}

#[test]
fn the_watchdog_tries_again_what_an_exit_could_not_start_and_knows_it_after_a_restart() {
    let site = Site::small(2);
    let disabled = ServiceFaults {
        disabled: true,
        ..ServiceFaults::default()
    };
    site.world.set_faults(IMC, disabled);
    site.live(&[]);
    assert!(!site.world.is_running(IMC));
    let engine = site.engine(0);
    engine.recover().unwrap();
    site.world.set_faults(IMC, ServiceFaults::default());
    engine.watch().unwrap();
    assert!(!site.world.is_running(IMC), "it was tried a moment ago");
    site.world.advance(Duration::from_secs(601));
    engine.watch().unwrap();
    site.check("tried again");
    // Once it ran, a person may stop it.
    engine.watch().unwrap();
    site.world.by_hand(IMC, false);
    site.world.advance(Duration::from_secs(3600));
    engine.watch().unwrap();
    assert!(!site.world.is_running(IMC));
}

#[test]
fn the_watchdog_keeps_to_the_restarts_of_an_hour_and_says_so_once() {
    let site = Site::healthy(1);
    let engine = site.engine(0);
    for _ in 0..60 {
        site.world.kill_service(IMC);
        engine.watch().unwrap();
    }
    assert!(!site.world.is_running(IMC), "it was started for ever");
    let gave_up = site.alarms();
    let gave_up = gave_up
        .iter()
        .filter(|code| *code == "A056-watchdog-gave-up");
    assert_eq!(gave_up.count(), 1);
    let starts = changes(&site)
        .into_iter()
        .filter(|change| *change == ServiceChange::StartIntended)
        .count();
    assert_eq!(starts, 40, "the guard's limit");
    // An hour later it is allowed again.
    site.world.advance(Duration::from_secs(3700));
    engine.watch().unwrap();
    assert!(site.world.is_running(IMC));
}

#[test]
fn the_watchdog_keeps_to_the_restarts_of_an_hour_within_a_duty_and_where_it_goes_on_with_one() {
    let starts = |site: &Site| {
        let changes = changes(site).into_iter();
        changes
            .filter(|change| *change == ServiceChange::StartIntended)
            .count()
    };
    let dying = || {
        let site = Site::healthy(1);
        let faults = ServiceFaults {
            dies_after: vec![700; 10_000],
            ..ServiceFaults::default()
        };
        site.world.set_faults(IMC, faults);
        site.world.kill_service(IMC);
        site
    };
    // Three tries in each duty, and the guard's limit is no multiple of three.
    let site = dying();
    let engine = site.engine(0);
    for _ in 0..30 {
        engine.watch().unwrap();
    }
    assert_eq!(starts(&site), 40, "the guard's limit");
    // An agent that dies in each duty goes on with it at its next start.
    let site = dying();
    for _ in 0..60 {
        let dies_at = 40;
        // Some lives end earlier: nothing is left to be done.
        let _ = run_until_killed(|| site.engine(dies_at).watch().unwrap());
        site.engine(0).recover().unwrap();
    }
    assert_eq!(starts(&site), 40, "the guard's limit, over many lives");
}

#[test]
fn the_watchdog_dies_anywhere_and_its_duty_is_ended_at_the_next_start() {
    for dies_at in 1.. {
        let site = Site::healthy(1);
        site.world.add_outbound(4, 100);
        site.world.advance(Duration::from_millis(180));
        site.world.kill_service(IMC);
        let life = run_until_killed(|| {
            site.engine(dies_at).watch().unwrap();
        });
        let engine = site.engine(0);
        engine.recover().unwrap();
        engine.watch().unwrap();
        site.check(&format!("watchdog killed at {dies_at}"));
        assert!(engine.open_runs().is_empty());
        if life.is_ok() {
            assert!(dies_at > 60, "only {dies_at} points");
            break;
        }
    }
}
