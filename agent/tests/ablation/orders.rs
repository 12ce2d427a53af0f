//! What keeps a fleet from being made to do harm: guard, fences, plans, allowances.

use std::sync::Arc;
use std::time::Duration;

use mailmend_agent::ablation::Mechanism;
use mailmend_agent::engine::Engine;
use mailmend_agent::guard::Guard;
use mailmend_agent::inbox::Refusal;
use mailmend_proto::run::{Event, RunId, ServiceChange};
use mailmend_proto::wire;
use uuid::Uuid;

use crate::proof::proves;
use crate::site::{GUARD, IMC, Site};
use crate::spool::{Spool, ask_to_stop, stopped, take};
use crate::vanished::{missing, recover, vanished};

fn guarded(from: &str, to: &str) -> Arc<Guard> {
    assert!(GUARD.contains(from), "{from}");
    Arc::new(Guard::parse("guard.toml", &GUARD.replace(from, to)).unwrap())
}

fn refused(answer: &Result<(), Refusal>, code: &str, harm: &str) {
    let found = answer.as_ref().err().map(|refusal| refusal.code);
    assert_eq!(found, Some(code), "{harm}");
}

fn starts(site: &Site) -> usize {
    let intended = |event: &Event| {
        matches!(
            event,
            Event::ServiceChanged {
                change: ServiceChange::StartIntended,
                ..
            }
        )
    };
    site.events().iter().filter(|event| intended(event)).count()
}

#[test]
fn a_policy_that_no_catalogue_lists_is_not_taken_on() {
    proves(Mechanism::PolicySigned, "it was taken on", || {
        let mut site = Site::small(1);
        let signed = "policies = \"signed\"\ntrust_root = \"/etc/mailmend/root.toml\"";
        site.guard = guarded("policies = \"unsigned\"", signed);
        let answer = site.engine(0).admit(&site.assignment);
        refused(&answer, "A162-trust-incomplete", "it was taken on");
    });
}

#[test]
fn what_the_guard_file_does_not_allow_is_not_taken_on() {
    proves(Mechanism::GuardAtAdmission, "it was taken on", || {
        let mut site = Site::small(1);
        site.guard = guarded("roots = [\"/exchsrvr\"]", "roots = [\"/exchsrvr/mtadata\"]");
        let answer = site.engine(0).admit(&site.assignment);
        refused(&answer, "A031-guard-path", "it was taken on");
    });
}

#[test]
fn a_guard_file_that_was_narrowed_after_the_admission_holds_for_the_next_step() {
    proves(
        Mechanism::GuardAtStep,
        "a service outside the guard was stopped",
        || {
            let mut site = Site::small(1);
            site.engine(0).admit(&site.assignment).unwrap();
            let text = GUARD
                .replace(
                    "services = [\"MSExchangeIMC\"]\n\n[tools.r",
                    "services = [\"MSExchangeMTA\"]\n\n[tools.r",
                )
                .replace("[watchdog]\nservices = [\"MSExchangeIMC\"]\n", "");
            site.guard = Arc::new(Guard::parse("guard.toml", &text).unwrap());
            let engine = site.engine(0);
            let through = site.plan.sections[0].last + 1;
            engine.advance(site.run, 1, through).unwrap();
            let _ = engine.carry_on(site.run);
            let stopped = site.events().iter().any(|event| {
                matches!(
                    event,
                    Event::ServiceChanged {
                        change: ServiceChange::StopIntended,
                        ..
                    }
                )
            });
            assert!(!stopped, "a service outside the guard was stopped");
        },
    );
}

#[test]
fn no_more_files_move_than_the_guard_file_allows_at_once() {
    proves(
        Mechanism::GuardFileLimit,
        "more files were moved than allowed",
        || {
            let spool = Spool::new(4);
            spool.life(0, |desk, host| {
                use mailmend_agent::custody::{Records, quarantine};
                let Ok(prepared) = quarantine::prepare(desk, take(2)) else {
                    return;
                };
                ask_to_stop(host);
                let _ = prepared.take(desk, &stopped(host).unwrap(), &Records(host));
            });
            assert!(
                spool.states().len() <= 2,
                "more files were moved than allowed"
            );
        },
    );
}

#[test]
fn a_service_that_dies_for_ever_is_not_started_for_ever() {
    proves(
        Mechanism::RestartAllowance,
        "started more often than allowed",
        || {
            let site = Site::healthy(1);
            let engine = site.engine(0);
            for _ in 0..60 {
                site.world.kill_service(IMC);
                engine.watch().unwrap();
            }
            assert!(starts(&site) <= 40, "started more often than allowed");
        },
    );
}

#[test]
fn an_agent_that_restarts_has_used_up_what_the_last_one_used_up() {
    proves(
        Mechanism::AllowanceOutlivesAgent,
        "started more often than allowed",
        || {
            let site = Site::healthy(1);
            for _ in 0..60 {
                let engine = site.engine(0);
                engine.recover().unwrap();
                site.world.kill_service(IMC);
                engine.watch().unwrap();
            }
            assert!(starts(&site) <= 40, "started more often than allowed");
        },
    );
}

#[test]
fn sections_are_not_begun_more_often_than_the_guard_file_allows() {
    proves(
        Mechanism::SectionAllowance,
        "disturbed more often than allowed",
        || {
            let mut site = Site::small(1);
            site.guard = guarded("sections_per_hour = 40", "sections_per_hour = 1");
            site.live(&[]);
            let began = |event: &&Event| {
                matches!(event, Event::SectionBegan { section, .. }
                    if (*section as usize) < site.plan.sections.len())
            };
            let begun = site.events().iter().filter(began).count();
            assert!(begun <= 1, "disturbed more often than allowed");
        },
    );
}

#[test]
fn a_plan_that_is_not_the_agents_own_is_not_carried_out() {
    proves(
        Mechanism::PlanDigestCompared,
        "another plan was taken on",
        || {
            let site = Site::small(1);
            let mut assignment = site.assignment.clone();
            assignment.plan_digest[0] ^= 1;
            let answer = site.engine(0).admit(&assignment);
            refused(&answer, "A040-plan-differs", "another plan was taken on");
        },
    );
}

#[test]
fn a_controller_that_was_replaced_cannot_order_any_more() {
    proves(Mechanism::FenceOnOrders, "a stale order was obeyed", || {
        let site = Site::small(1);
        let engine = site.engine(0);
        engine.admit(&site.assignment).unwrap();
        engine.fence(site.run, 5).unwrap();
        let answer = engine.advance(site.run, 4, 3);
        refused(&answer, "A042-fence-stale", "a stale order was obeyed");
    });
}

#[test]
fn a_controller_that_was_replaced_cannot_assign_any_more() {
    proves(
        Mechanism::FenceOnAssignments,
        "a stale assignment was taken on",
        || {
            let site = Site::small(1);
            let engine = site.engine(0);
            engine.admit(&site.assignment).unwrap();
            engine.fence(site.run, 5).unwrap();
            let mut other = site.assignment.clone();
            other.run = RunId(Uuid::from_u128(99)).to_string();
            other.fence = 5;
            let answer = engine.admit(&other);
            refused(
                &answer,
                "A042-fence-stale",
                "a stale assignment was taken on",
            );
        },
    );
}

#[test]
fn an_agent_that_restarts_still_knows_the_highest_fence() {
    proves(
        Mechanism::FenceOutlivesAgent,
        "a stale order was obeyed after a restart",
        || {
            let site = Site::small(1);
            let engine = site.engine(0);
            engine.admit(&site.assignment).unwrap();
            engine.fence(site.run, 5).unwrap();
            site.world.advance(Duration::from_secs(1));
            let answer = site.engine(0).advance(site.run, 4, 3);
            refused(
                &answer,
                "A042-fence-stale",
                "a stale order was obeyed after a restart",
            );
        },
    );
}

#[test]
fn a_release_that_was_refused_is_refused_when_it_comes_again() {
    proves(
        Mechanism::FenceOnReleases,
        "a release was taken whose site is another run's",
        || {
            let site = vanished();
            let one = missing(&site).remove(0);
            let order = wire::Order {
                fence: 7,
                ..recover(&site, 1, &[&one.mts_id])
            };
            site.world.write_event(IMC, 3038, "could not remove");
            let refused_now = Engine::granted(&site.engine(0), &order);
            assert!(refused_now.is_err());
            // What stood in the way is gone, and the agent was started anew; the same order comes late.
            site.world.by_hand(IMC, false);
            site.world.advance(Duration::from_secs(10));
            let answer = Engine::granted(&site.engine(0), &order);
            refused(
                &answer,
                "A042-fence-stale",
                "a release was taken whose site is another run's",
            );
        },
    );
}
