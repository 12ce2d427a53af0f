//! What keeps mail service from being stopped for nothing, for too long, or for good.

use std::time::Duration;

use mailmend_agent::ablation::Mechanism;
use mailmend_agent::host::simulated::{ServiceFaults, run_until_killed};
use mailmend_proto::run::Event;

use crate::proof::proves;
use crate::site::{IMC, Site};

fn began_a_section(site: &Site) -> bool {
    let events = site.events();
    events
        .iter()
        .any(|event| matches!(event, Event::SectionBegan { .. }))
}

#[test]
fn a_section_that_fails_leaves_service_running() {
    proves(Mechanism::ExitStartsService, "service is down", || {
        let site = Site::small(2);
        let flaps = ServiceFaults {
            dies_after: vec![200, 200],
            ..ServiceFaults::default()
        };
        site.world.set_faults(IMC, flaps);
        site.live(&[]);
        site.check("flaps twice");
    });
}

#[test]
fn a_section_whose_budget_is_over_moves_nothing_any_more() {
    proves(
        Mechanism::DeadMansSwitch,
        "mail was moved after the time for it was over",
        || {
            let mut away = 0;
            for dies_at in 1..400 {
                let site = Site::small(1);
                let life = run_until_killed(|| site.control(&site.engine(dies_at)));
                assert!(life.is_err());
                let state = site.state();
                if state.section.is_none() || !state.batches.is_empty() || state.acting().is_some()
                {
                    continue;
                }
                away += 1;
                site.world.advance(Duration::from_secs(601));
                let engine = site.engine(0);
                engine.recover().unwrap();
                assert!(
                    site.state().batches.is_empty(),
                    "mail was moved after the time for it was over"
                );
            }
            assert!(away > 0, "no death between the stop and the move");
        },
    );
}

#[test]
fn service_is_not_stopped_for_half_a_section() {
    proves(
        Mechanism::SectionReleasedWhole,
        "service was stopped, and nobody said that it may be started",
        || {
            let site = Site::small(1);
            let engine = site.engine(0);
            engine.admit(&site.assignment).unwrap();
            let half = site.plan.sections[0].first + 1;
            engine.advance(site.run, 1, half).unwrap();
            engine.carry_on(site.run).unwrap();
            assert!(
                site.world.is_running(IMC),
                "service was stopped, and nobody said that it may be started"
            );
        },
    );
}

#[test]
fn while_event_3038_stands_the_service_is_not_stopped() {
    proves(
        Mechanism::ForbiddenStop,
        "stopped while 3038 stood: sent mail is sent again",
        || {
            let site = Site::small(7);
            site.world
                .write_event(IMC, 3038, "could not remove a message from MTS-OUT");
            site.live(&[]);
            assert!(
                !began_a_section(&site),
                "stopped while 3038 stood: sent mail is sent again"
            );
        },
    );
}

#[test]
fn a_full_disk_is_found_while_service_still_runs() {
    proves(
        Mechanism::RoomBeforeStop,
        "service was stopped for nothing",
        || {
            let site = Site::small(7);
            site.world.set_free_bytes(10_000);
            site.live(&[]);
            assert!(!began_a_section(&site), "service was stopped for nothing");
        },
    );
}

#[test]
fn the_watchdog_starts_nothing_in_the_middle_of_a_section() {
    proves(
        Mechanism::WatchdogKeepsOff,
        "the watchdog acted in a section",
        || {
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
                let before = site.events().len();
                site.engine(0).watch().unwrap();
                let after = site.events().len();
                assert_eq!(after, before, "the watchdog acted in a section");
            }
        },
    );
}
