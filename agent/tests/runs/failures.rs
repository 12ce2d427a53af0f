//! Every call on files fails in turn, with EIO (having happened or not) and with ENOSPC: in a run, in an
//! undo, and while an agent mends what the last one left. So does every append to the journal.

use mailmend_agent::host::HostErrorKind;
use mailmend_agent::host::simulated::run_until_killed;
use mailmend_proto::wire;

use crate::policies::corrupt_message;
use crate::site::{IMC, Site};
use crate::{person, vanished};

/// EIO of a change that happened, of one that did not, and ENOSPC.
const FAILURES: [(HostErrorKind, bool); 3] = [
    (HostErrorKind::Io, true),
    (HostErrorKind::Io, false),
    (HostErrorKind::NoSpace, false),
];

/// Lets each call on files fail, one in each site, until none is left. Returns how many.
fn each_call(site: impl FnMut() -> Site, story: impl Fn(&Site)) -> u64 {
    each_call_and(site, story, Site::check)
}

fn each_call_and(
    mut site: impl FnMut() -> Site,
    story: impl Fn(&Site),
    check: impl Fn(&Site, &str),
) -> u64 {
    let mut failed = 0;
    for (kind, happens) in FAILURES {
        for n in 1.. {
            let site = site();
            site.world.fail_any_at(n, kind, happens);
            story(&site);
            if site.world.failure_is_due() {
                break;
            }
            let told = format!("call {n} failed with {kind:?}, happened: {happens}");
            check(&site, &told);
            assert!(site.ended().is_some(), "{told}: the run does not end");
            failed += 1;
        }
    }
    failed
}

#[test]
fn whichever_call_on_files_fails_nothing_is_lost_and_service_is_up() {
    let failed = each_call(
        || Site::small(5),
        |site| {
            site.live_through_failures();
        },
    );
    eprintln!("{failed} calls failed");
    assert!(failed > 400, "only {failed}");
}

#[test]
fn whichever_call_on_files_fails_in_an_undo_nothing_is_lost_and_service_is_up() {
    let held = || {
        let site = Site::small(5);
        let engine = site.engine(0);
        engine.admit(&site.assignment).unwrap();
        let through = site.plan.sections[0].last + 1;
        engine.advance(site.run, 1, through).unwrap();
        engine.carry_on(site.run).unwrap();
        engine.unwind(site.run, 1, 0, true).unwrap();
        site
    };
    let failed = each_call(held, |site| {
        site.live_through_failures();
    });
    eprintln!("{failed} calls of the undo failed");
    assert!(failed > 60, "only {failed}");
}

/// All of the custody of a search: the quarantines, each feeding, each taking back, the last replay. Where the
/// failure ends the run before the bad message is held, service is down as it was found, and somebody is called.
#[test]
fn whichever_call_on_files_fails_in_a_search_nothing_is_lost_and_only_what_is_bad_keeps_service_down()
 {
    let failed = each_call_and(
        || (corrupt_message::CASE.site)(5),
        |site| {
            site.live_through_failures();
        },
        |site, told| {
            site.check_mail(told);
            assert!(site.state().section.is_none(), "{told}: a section is open");
            assert!(
                site.world.is_running(IMC) || site.bad_in_a_queue(),
                "{told}: service is down, and nothing bad is in its queues: {:?}",
                site.failures()
            );
        },
    );
    eprintln!("{failed} calls of a search failed");
    assert!(failed > 600, "only {failed}");
}

/// Orders until it is taken and carried out, as the controller sends it again to each new agent.
fn ordered(site: &Site, order: &wire::Order) {
    for _ in 0..5 {
        let engine = site.engine(0);
        let done = engine.recover().is_ok()
            && engine.order(order).is_ok()
            && engine.carry_on(site.run).is_ok();
        if done {
            return;
        }
        site.is_up_or_comes_up();
    }
    panic!("it never gets through");
}

#[test]
fn whichever_call_on_files_fails_in_a_release_nothing_is_lost_and_service_is_up() {
    let failed = each_call(person::at_rest, |site| {
        ordered(site, &person::release(site, 1));
    });
    eprintln!("{failed} calls of a release failed");
    assert!(failed > 60, "only {failed}");
}

#[test]
fn whichever_call_on_files_fails_in_a_recovery_from_escrow_nothing_is_lost_and_service_is_up() {
    let failed = each_call(vanished::vanished, |site| {
        ordered(site, &vanished::recover(site, 1, &[]));
    });
    eprintln!("{failed} calls of a recovery failed");
    assert!(failed > 60, "only {failed}");
}

/// The deaths that leave most to mend, and every call of the life after them.
#[test]
fn whichever_call_on_files_fails_while_an_agent_mends_nothing_is_lost_and_service_is_up() {
    let mut failed = 0;
    let trace = {
        let site = Site::small(5);
        site.live(&[]);
        site.switch().trace()
    };
    let points = |name: &str, n: usize| {
        let mut found = trace
            .iter()
            .enumerate()
            .filter(|(_, point)| **point == name);
        let at = found.nth(n).map(|(at, _)| at).unwrap();
        u64::try_from(at).unwrap() + 1
    };
    for dies_at in [
        points("moved a file", 2),
        points("synced a folder", 2),
        points("linked a file", 0),
        points("started the service", 1),
    ] {
        let mut most = 0;
        for (kind, happens) in FAILURES {
            for n in 1..=40 {
                let site = Site::small(5);
                let life = run_until_killed(|| {
                    let engine = site.engine(dies_at);
                    engine.recover().unwrap();
                    site.control(&engine);
                });
                assert!(life.is_err());
                site.world.fail_any_at(n, kind, happens);
                site.live_through_failures();
                assert!(!site.world.failure_is_due(), "{n}");
                let told = format!("after {life:?} call {n} failed with {kind:?} {happens}");
                site.check(&told);
                assert!(site.ended().is_some(), "{told}: the run does not end");
                most = n;
                failed += 1;
            }
        }
        assert_eq!(most, 40);
    }
    assert_eq!(failed, 480);
}

#[test]
fn whichever_record_cannot_be_written_service_is_up_and_the_next_agent_goes_on() {
    let mut failures = 0;
    for n in 0.. {
        let site = Site::small(6);
        site.storage.fail_append(n);
        let restarts = site.live_through_failures();
        site.check(&format!("append {n} failed"));
        assert!(site.ended().is_some());
        if restarts == 0 {
            break;
        }
        failures += 1;
    }
    eprintln!("{failures} appends failed");
    assert!(failures > 50, "only {failures} appends");
}
