//! Orders that are repeated, reordered, stale, foreign, or that stop coming.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mailmend_agent::engine::Engine;
use mailmend_agent::guard::Guard;
use mailmend_agent::host::simulated::run_until_killed;
use mailmend_agent::runner::Rest;
use mailmend_proto::run::{Ended, Event, RunId, SectionEnd};
use uuid::Uuid;

use crate::site::{GUARD, IMC, Site, me};

#[test]
fn an_unwinding_twice_gives_the_mail_back_once() {
    let site = Site::small(1);
    let engine = site.engine(0);
    engine.admit(&site.assignment).unwrap();
    let released = site.plan.sections[0].last + 1;
    engine.advance(site.run, 1, released).unwrap();
    engine.carry_on(site.run).unwrap();
    for _ in 0..2 {
        engine.unwind(site.run, 1, 4, false).unwrap();
        engine.unwind(site.run, 1, 0, true).unwrap();
        engine.unwind(site.run, 1, 2, false).unwrap();
        engine.advance(site.run, 1, released + 1).unwrap();
        engine.carry_on(site.run).unwrap();
    }
    site.check("unwound");
    assert_eq!(site.ended(), Some(Ended::Unwound));
    let replays = site.events();
    let replays = replays
        .iter()
        .filter(|event| matches!(event, Event::ReplayIntended { .. }));
    assert_eq!(replays.count(), 1);
    let balance = site.world.balance();
    assert!(
        balance
            .accounts
            .iter()
            .all(|account| account.delivered == 1)
    );
}

#[test]
fn killed_at_any_point_of_an_unwinding_the_end_balances() {
    let unwinding = |engine: &Engine, site: &Site| {
        engine.admit(&site.assignment).unwrap();
        engine
            .advance(site.run, 1, site.plan.sections[0].last + 1)
            .unwrap();
        engine.carry_on(site.run).unwrap();
        engine.unwind(site.run, 1, 0, true).unwrap();
        engine.carry_on(site.run).unwrap();
    };
    let first = {
        let site = Site::small(1);
        let engine = site.engine(0);
        let before = site.switch().passed();
        engine.admit(&site.assignment).unwrap();
        engine
            .advance(site.run, 1, site.plan.sections[0].last + 1)
            .unwrap();
        engine.carry_on(site.run).unwrap();
        site.switch().passed() - before
    };
    let mut killed = 0;
    for dies_at in first.. {
        let site = Site::small(1);
        let life = run_until_killed(|| unwinding(&site.engine(dies_at), &site));
        if life.is_ok() {
            break;
        }
        let engine = site.engine(0);
        engine.recover().unwrap();
        unwinding(&engine, &site);
        let told = format!("killed at {dies_at}: {life:?}");
        site.check(&told);
        assert_eq!(
            site.ended(),
            Some(Ended::Unwound),
            "{told}: {:?}",
            site.alarms()
        );
        let balance = site.world.balance();
        assert!(balance.accounts.iter().all(|a| a.delivered == 1), "{told}");
        killed += 1;
    }
    eprintln!("killed at {killed} points of unwinding");
    assert!(killed > 100, "only {killed} points");
}

#[test]
fn an_undo_that_is_cut_short_by_its_budget_leaves_no_message_between_two_states() {
    let mut exited = 0;
    for dies_at in (1..).step_by(2) {
        let site = Site::small(1);
        let released = site.plan.sections[0].last + 1;
        let first = site.engine(0);
        first.admit(&site.assignment).unwrap();
        first.advance(site.run, 1, released).unwrap();
        first.carry_on(site.run).unwrap();
        let life = run_until_killed(|| {
            let engine = site.engine(dies_at);
            engine.unwind(site.run, 1, 0, true).unwrap();
            engine.carry_on(site.run).unwrap();
        });
        site.world.advance(Duration::from_secs(601));
        let engine = site.engine(0);
        engine.recover().unwrap();
        engine.unwind(site.run, 1, 0, true).unwrap();
        engine.carry_on(site.run).unwrap();
        site.check(&format!(
            "away after {dies_at} points of unwinding: {life:?}"
        ));
        exited += u32::from(site.sections().contains(&SectionEnd::Exited));
        if life.is_ok() {
            break;
        }
    }
    eprintln!("{exited} undos were cut short");
    assert!(exited > 5, "only {exited}");
}

#[test]
fn where_the_watermark_stops_in_a_section_service_is_never_stopped() {
    let site = Site::small(1);
    let starts = site.world.starts(IMC);
    let engine = site.engine(0);
    engine.admit(&site.assignment).unwrap();
    let section = &site.plan.sections[0];
    for through in 0..=section.last {
        engine.advance(site.run, 1, through).unwrap();
        assert!(matches!(
            engine.carry_on(site.run).unwrap(),
            Rest::Waiting { .. }
        ));
    }
    assert_eq!(site.world.starts(IMC), starts);
    assert!(site.world.is_running(IMC));
    assert!(site.state().section.is_none());
    engine.advance(site.run, 1, section.last + 1).unwrap();
    engine.carry_on(site.run).unwrap();
    assert_eq!(site.sections(), [SectionEnd::Committed]);
}

#[test]
fn an_agent_that_was_away_for_longer_than_the_budget_takes_the_exit_before_anything_else() {
    let mut exited = 0;
    let all = {
        let site = Site::small(1);
        let before = site.switch().passed();
        site.live(&[]);
        site.switch().passed() - before
    };
    for dies_at in (1..=all).step_by(3) {
        let site = Site::small(1);
        let life = run_until_killed(|| {
            let engine = site.engine(dies_at);
            site.control(&engine);
        });
        assert!(life.is_err());
        // The budget is 10 minutes; outside of a section there is nothing to be late for.
        if site.state().section.is_none() {
            continue;
        }
        site.world.advance(Duration::from_secs(601));
        // Nobody gives orders: recovery alone brings service up.
        let engine = site.engine(0);
        engine.recover().unwrap();
        assert!(site.world.is_running(IMC), "at {dies_at}");
        assert!(site.state().section.is_none(), "at {dies_at}");
        exited += u32::from(site.sections().contains(&SectionEnd::Exited));
        site.control(&engine);
        site.check(&format!("away after {dies_at}"));
    }
    assert!(exited > 5, "only {exited} exits");
}

#[test]
fn a_stale_fence_is_refused_and_fences_never_fall() {
    let site = Site::small(1);
    let engine = site.engine(0);
    engine.admit(&site.assignment).unwrap();
    engine.fence(site.run, 5).unwrap();
    for refused in [
        engine.advance(site.run, 4, 1),
        engine.unwind(site.run, 4, 0, true),
        engine.fence(site.run, 4),
    ] {
        assert_eq!(refused.unwrap_err().code, "A042-fence-stale");
    }
    let again = Site::small(1);
    assert_eq!(again.assignment.plan_digest, site.assignment.plan_digest);
    let mut other = site.assignment.clone();
    other.run = RunId(Uuid::from_u128(99)).to_string();
    other.fence = 5;
    assert_eq!(engine.admit(&other).unwrap_err().code, "A042-fence-stale");
    // The next life knows it too.
    let engine = site.engine(0);
    assert_eq!(
        engine.advance(site.run, 4, 1).unwrap_err().code,
        "A042-fence-stale"
    );
    other.fence = 6;
    engine.admit(&other).unwrap();
}

#[test]
fn what_is_not_for_this_agent_or_not_what_it_would_plan_is_refused() {
    let site = Site::small(1);
    let engine = site.engine(0);
    let unknown = engine.advance(site.run, 1, 1).unwrap_err();
    assert_eq!(unknown.code, "A047-run-unknown");
    let code = |change: &dyn Fn(&mut mailmend_proto::wire::Assignment)| {
        let mut assignment = site.assignment.clone();
        change(&mut assignment);
        engine.admit(&assignment).unwrap_err().code
    };
    assert_eq!(code(&|a| a.plan_digest[0] ^= 1), "A040-plan-differs");
    assert_eq!(code(&|a| a.subject = "A".into()), "A040-plan-differs");
    assert_eq!(code(&|a| a.site = "ELSEWHERE".into()), "A040-plan-differs");
    assert_eq!(code(&|a| a.policy_text.truncate(500)), "A041-policy-faulty");
    assert_eq!(
        code(&|a| a.policy_name = "another".into()),
        "A046-assignment-malformed"
    );
    assert_eq!(
        code(&|a| a.run = "no id".into()),
        "A046-assignment-malformed"
    );
    assert_eq!(code(&|a| a.fence = 0), "A042-fence-stale");
    engine.admit(&site.assignment).unwrap();
    assert_eq!(code(&|a| a.plan_digest[0] ^= 1), "A043-run-differs");
    let through = u32::try_from(site.plan.steps.len()).unwrap() + 1;
    let refused = engine.advance(site.run, 1, through).unwrap_err();
    assert_eq!(refused.code, "A046-assignment-malformed");
}

#[test]
fn what_the_guard_does_not_allow_is_refused_before_anything_is_taken_on() {
    let cases = [
        (
            "services = [\"MSExchangeIMC\"]\n\n[tools.r",
            "services = [\"MSExchangeMTA\"]\n\n[tools.r",
            "A030-guard-service",
        ),
        (
            "roots = [\"/exchsrvr\"]",
            "roots = [\"/exchsrvr/mtadata\"]",
            "A031-guard-path",
        ),
        (
            "[tools.recalculate-routing]",
            "[tools.something-else]",
            "A032-guard-tool",
        ),
        ("flags = { to = {", "flags = { from = {", "A033-guard-flag"),
    ];
    for (from, to, code) in cases {
        assert!(GUARD.contains(from), "{from}");
        let mut text = GUARD.replace(from, to);
        if code == "A030-guard-service" {
            text = text.replace("[watchdog]\nservices = [\"MSExchangeIMC\"]\n", "");
        }
        let mut site = Site::small(1);
        site.guard = Arc::new(Guard::parse("guard.toml", &text).unwrap());
        let engine = site.engine(0);
        let refused = engine.admit(&site.assignment).unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
        assert!(site.events().is_empty());
    }
}

#[test]
fn the_guards_hourly_limits_hold_over_restarts_of_the_agent() {
    for (limit, code) in [
        ("sections_per_hour = 1", "A053-section-refused"),
        ("restarts_per_hour = 1", "A052-restarts-used-up"),
    ] {
        let name = limit.split(' ').next().unwrap();
        let text = GUARD.replace(&format!("{name} = 40"), limit);
        let mut site = Site::small(1);
        site.guard = Arc::new(Guard::parse("guard.toml", &text).unwrap());
        // The agent dies after the first section; what it used up stands in its journal.
        let life = run_until_killed(|| {
            let engine = site.engine(0);
            engine.admit(&site.assignment).unwrap();
            engine
                .advance(site.run, 1, site.plan.sections[0].last + 1)
                .unwrap();
            engine.carry_on(site.run).unwrap();
        });
        assert!(life.is_ok());
        assert_eq!(site.sections(), [SectionEnd::Committed]);
        site.live(&[]);
        assert!(
            site.detail("stop-for-canary").contains(code),
            "{}",
            site.detail("stop-for-canary")
        );
        // Undoing and the exit are never held up by a limit: the mail was given back.
        assert_eq!(site.ended(), Some(Ended::Unwound));
        site.check(limit);
    }
}

#[test]
fn a_shutdown_in_the_middle_of_a_run_leaves_service_up_and_the_next_start_goes_on() {
    let site = Site::small(1);
    let engine = site.engine(0);
    engine.admit(&site.assignment).unwrap();
    engine
        .advance(site.run, 1, site.plan.sections[0].first)
        .unwrap();
    engine.carry_on(site.run).unwrap();
    assert!(engine.shutdown(Duration::from_secs(1)));
    assert_eq!(engine.carry_on(site.run).unwrap(), Rest::Stopped);
    let (_, _) = site.live(&[]);
    site.check("shut down");
    assert_eq!(site.ended(), Some(Ended::Committed));
}

#[test]
fn whenever_the_agent_is_told_to_end_service_is_up_before_it_has_ended() {
    let mut in_section = 0;
    for n in 1.. {
        let site = Site::small(1);
        let (passed, asked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let ends: Arc<OnceLock<Engine>> = Arc::default();
        let engine = site.engine_with({
            let (passed, asked, ends) = (passed.clone(), asked.clone(), ends.clone());
            Arc::new(move |_| {
                if passed.fetch_add(1, Ordering::SeqCst) + 1 == n {
                    let engine = ends.get().expect("the agent is at work");
                    asked.store(engine.in_section().into(), Ordering::SeqCst);
                    assert!(engine.shutdown(Duration::ZERO), "nothing runs beside");
                }
            })
        });
        assert!(ends.set(engine.clone()).is_ok());
        engine.recover().unwrap();
        let rest = site.control_until_stopped(&engine);
        if passed.load(Ordering::SeqCst) < n {
            assert_eq!(rest, Rest::Over);
            assert!(
                in_section > 20,
                "service was stopped at {in_section} of {n} points"
            );
            return;
        }
        in_section += asked.load(Ordering::SeqCst);
        assert!(site.world.is_running(IMC), "told to end at point {n}");
        drop((engine, ends));
        site.live(&[]);
        site.check(&format!("told to end at point {n}"));
        assert!(matches!(
            site.ended(),
            Some(Ended::Committed | Ended::Unwound)
        ));
    }
}

#[test]
fn an_engine_with_threads_carries_a_run_out_by_itself() {
    let mut site = Site::small(1);
    let text = GUARD.replace("[watchdog]\nservices = [\"MSExchangeIMC\"]\n", "");
    site.guard = Arc::new(Guard::parse("guard.toml", &text).unwrap());
    let journal = site.journal();
    let mut heads = journal.subscribe();
    let host = Arc::new(site.world.host());
    let engine = Engine::new(host, journal.clone(), Arc::clone(&site.guard), me()).unwrap();
    engine.recover().unwrap();
    engine.admit(&site.assignment).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        loop {
            let state = engine.state(site.run).unwrap();
            if state.closed.is_some() {
                break;
            }
            // Release what comes after everything that has ended.
            let own = site.plan.steps.iter().filter(|step| step.server == me());
            let ended = own.filter(|step| step.index < state.through).all(|step| {
                matches!(
                    state.steps.get(&step.index),
                    Some(
                        mailmend_proto::run::StepState::Finished { .. }
                            | mailmend_proto::run::StepState::Skipped
                    )
                )
            });
            if ended && state.section.is_none() {
                let through = site.next_watermark(state.through);
                engine.advance(site.run, 1, through).unwrap();
            }
            drop(state);
            let changed = tokio::time::timeout(Duration::from_secs(20), heads.changed()).await;
            changed
                .expect("the run goes on")
                .expect("the journal is open");
        }
    });
    assert!(engine.shutdown(Duration::from_secs(10)));
    site.check("threads");
    assert_eq!(site.ended(), Some(Ended::Committed));
}
