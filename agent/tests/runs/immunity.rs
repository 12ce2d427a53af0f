//! Poison that another server found: set aside on sight, wherever the agent dies, and given back once when its fingerprint
//! is withdrawn.

use std::sync::Arc;
use std::time::Duration;

use mailmend_agent::guard::Guard;
use mailmend_agent::host::simulated::run_until_killed;
use mailmend_agent::runner::Rest;
use mailmend_proto::run::{Custody, Ended, Event};
use mailmend_proto::wire;
use mailmend_proto::wire::order::What;
use uuid::Uuid;

use crate::fingerprints::{kept, life, of, set_aside, standing, withdrawn};
use crate::site::{GUARD, IMC, Site};

/// Mail waits in the queue of a server that cannot send it now: nobody has it open. The fingerprint is of the second.
fn waiting() -> (Site, String, wire::Fingerprint) {
    let site = Site::small(3);
    let second = site.world.balance().accounts[1].spool_name.clone();
    let fingerprint = of(&site, 1, &second);
    (site, second, fingerprint)
}

fn check_aside(site: &Site, name: &str, told: &str) {
    let one = set_aside(site);
    assert_eq!(one.name, name, "{told}");
    let balance = site.world.balance();
    let account = balance.by_spool_name(name).unwrap();
    assert!(account.live.is_empty(), "{told}: {account:?}");
    assert_eq!(account.elsewhere.len(), 1, "{told}: {account:?}");
    assert_eq!(account.delivered, 0, "{told}");
    for other in balance.accounts.iter().filter(|one| one.spool_name != name) {
        assert!(other.elsewhere.is_empty(), "{told}: {other:?}");
    }
    assert!(site.world.is_running(IMC), "{told}: service was touched");
    assert_eq!(site.alarms_of("A140-set-aside-on-sight").len(), 1, "{told}");
    site.check(told);
}

#[test]
fn a_message_that_waits_is_set_aside_on_sight_while_the_service_runs_and_others_stay() {
    let (site, second, fingerprint) = waiting();
    let starts = site.world.starts(IMC);
    let engine = life(&site, 0, std::slice::from_ref(&fingerprint));
    engine.look_for_poison().unwrap();
    check_aside(&site, &second, "on sight");
    assert_eq!(site.world.starts(IMC), starts, "nothing was started");
    let settled = |event: Event| match event {
        Event::Settled { entries, .. } => Some(entries[0].evidence.clone()),
        _ => None,
    };
    let evidence: Vec<_> = site.events().into_iter().filter_map(settled).collect();
    assert!(
        evidence[0].contains("SRV-A found it in a search"),
        "{evidence:?}"
    );
    assert!(site.alarms_of("A140-set-aside-on-sight")[0].contains(&second));
    // Another look finds nothing more, in this life and the next.
    let after = site.events().len();
    engine.look_for_poison().unwrap();
    life(&site, 0, &[fingerprint]).look_for_poison().unwrap();
    assert_eq!(site.events().len(), after);
}

#[test]
fn killed_at_any_point_of_setting_aside_the_message_is_in_one_place_and_named() {
    let mut killed = 0;
    for dies_at in 1.. {
        let (site, second, fingerprint) = waiting();
        let known = std::slice::from_ref(&fingerprint);
        let lived = run_until_killed(|| life(&site, dies_at, known).look_for_poison().unwrap());
        if lived.is_ok() {
            break;
        }
        killed += 1;
        let told = format!("killed at {dies_at}: {lived:?}");
        // Before the next look: what was half done is told as it is.
        let engine = life(&site, 0, known);
        site.check(&told);
        engine.look_for_poison().unwrap();
        check_aside(&site, &second, &told);
        assert!(engine.open_runs().is_empty(), "{told}: a duty is open");
    }
    assert!(killed > 20, "{killed}");
}

#[test]
fn killed_twice_while_setting_aside_the_end_is_the_same() {
    for first in (1..60).step_by(3) {
        for second in [1, 2, 3, 5, 8, 13, 21, 34] {
            let (site, name, fingerprint) = waiting();
            let known = std::slice::from_ref(&fingerprint);
            for dies_at in [first, second] {
                let _ = run_until_killed(|| {
                    life(&site, dies_at, known).look_for_poison().unwrap();
                });
            }
            life(&site, 0, known).look_for_poison().unwrap();
            check_aside(&site, &name, &format!("killed at {first} and {second}"));
        }
    }
}

/// The service died of something, and poison of another server has come in meanwhile.
fn dead_with_poison() -> (Site, String, wire::Fingerprint) {
    let site = Site::healthy(5);
    site.world.advance(Duration::from_secs(5));
    site.world.kill_service(IMC);
    let bad = site
        .world
        .add_bad_inbound(mailmend_agent::host::simulated::Harm::Crash);
    site.world.add_inbound(2, 300);
    let fingerprint = of(&site, 1, &bad);
    (site, bad, fingerprint)
}

#[test]
fn before_a_start_of_the_service_its_poison_is_set_aside_and_it_stays_up() {
    let (site, bad, fingerprint) = dead_with_poison();
    let starts = site.world.starts(IMC);
    life(&site, 0, &[fingerprint]).watch().unwrap();
    site.world.advance(Duration::from_secs(60));
    assert_eq!(set_aside(&site).name, bad);
    assert_eq!(site.world.starts(IMC), starts + 1, "not one crash");
    site.check("before the start");
    let balance = site.world.balance();
    let good = balance.accounts.iter().filter(|one| !one.poison);
    assert!(good.clone().count() >= 2 && good.into_iter().all(|one| one.delivered == 1));
}

#[test]
fn killed_at_any_point_before_a_start_the_poison_is_never_read() {
    let mut killed = 0;
    for dies_at in 1.. {
        let (site, bad, fingerprint) = dead_with_poison();
        let known = std::slice::from_ref(&fingerprint);
        let lived = run_until_killed(|| life(&site, dies_at, known).watch().unwrap());
        let over = lived.is_ok();
        let told = format!("killed at {dies_at}: {lived:?}");
        let engine = life(&site, 0, known);
        for _ in 0..3 {
            engine.watch().unwrap();
            site.world.advance(Duration::from_secs(10));
        }
        site.check(&told);
        assert_eq!(set_aside(&site).name, bad, "{told}");
        if over {
            break;
        }
        killed += 1;
    }
    assert!(killed > 30, "{killed}");
}

#[test]
fn a_file_that_the_service_has_open_is_left_to_it() {
    let site = Site::healthy(4);
    let name = site.world.add_outbound(1, 300).remove(0);
    site.world.hang_on(&name);
    site.world.advance(Duration::from_secs(2));
    let fingerprint = of(&site, 1, &name);
    let engine = life(&site, 0, &[fingerprint]);
    engine.look_for_poison().unwrap();
    assert_eq!(kept(&site), [], "nothing is in custody");
    assert_eq!(site.events().len(), 0, "nothing is even written down");
}

#[test]
fn nothing_leaves_a_queue_while_a_person_has_the_server_in_hand_or_the_guard_file_forbids_it() {
    let (mut site, second, fingerprint) = waiting();
    let engine = life(&site, 0, &[]);
    engine
        .immunize(wire::Immunity {
            in_hand: true,
            ..standing(std::slice::from_ref(&fingerprint))
        })
        .unwrap();
    engine.look_for_poison().unwrap();
    assert_eq!(kept(&site), []);
    let text = format!("{GUARD}\n[immunity]\nallowed = false\n");
    site.guard = Arc::new(Guard::parse("guard.toml", &text).unwrap());
    life(&site, 0, std::slice::from_ref(&fingerprint))
        .look_for_poison()
        .unwrap();
    assert_eq!(kept(&site), []);
    site.guard = Arc::new(Guard::parse("guard.toml", GUARD).unwrap());
    life(&site, 0, &[fingerprint]).look_for_poison().unwrap();
    assert_eq!(set_aside(&site).name, second);
}

#[test]
fn two_messages_with_one_fingerprint_are_two_messages() {
    let (site, second, fingerprint) = waiting();
    let balance = site.world.balance();
    let path = &balance.by_spool_name(&second).unwrap().live[0];
    let host = site.world.host();
    let mut bytes = Vec::new();
    let spool = mailmend_agent::host::Host::spool(&host);
    std::io::Read::read_to_end(&mut spool.open(path).unwrap(), &mut bytes).unwrap();
    let twin = path.with_file_name("TWIN0001");
    site.world.put_file(&twin, &bytes, Duration::ZERO);
    life(&site, 0, &[fingerprint]).look_for_poison().unwrap();
    let mut names: Vec<String> = kept(&site)
        .into_iter()
        .filter(|one| one.custody == Custody::Poison && one.marked)
        .map(|one| one.name)
        .collect();
    names.sort();
    let mut expected = vec![second, "TWIN0001".to_owned()];
    expected.sort();
    assert_eq!(names, expected);
}

/// One message is set aside, and its fingerprint is withdrawn.
fn to_give_back() -> (Site, String) {
    let (site, second, fingerprint) = waiting();
    life(&site, 0, &[fingerprint]).look_for_poison().unwrap();
    (site, second)
}

fn given_back(site: &Site, name: &str, told: &str) {
    site.check(told);
    let balance = site.world.balance();
    let account = balance.by_spool_name(name).unwrap();
    assert_eq!(
        account.live.len() + account.delivered,
        1,
        "{told}: {account:?}"
    );
    let poison = kept(site)
        .into_iter()
        .find(|one| one.custody == Custody::Poison);
    assert_eq!(poison, None, "{told}");
}

#[test]
fn a_withdrawn_fingerprint_gives_its_message_back_once_however_often_it_is_ordered() {
    let (site, second) = to_give_back();
    let one = set_aside(&site);
    let order = withdrawn(&one, 0x51, 1);
    let engine = life(&site, 0, &[]);
    engine.order(&order).unwrap();
    engine.order(&order).unwrap();
    assert_eq!(engine.carry_on(one.run).unwrap(), Rest::Over);
    given_back(&site, &second, "withdrawn");
    let state = site.journal().state(one.run).unwrap().unwrap();
    assert_eq!(state.closed, Some(Ended::Released));
    let after = site.events().len();
    engine.order(&order).unwrap();
    assert_eq!(site.events().len(), after, "the same order changes nothing");
    // Another order for the same withdrawal finds nothing to give back, and is taken.
    engine.order(&withdrawn(&one, 0x52, 1)).unwrap();
    given_back(&site, &second, "ordered twice");
}

#[test]
fn a_withdrawal_ends_its_grant_of_the_site_also_where_nothing_is_left_to_give_back() {
    let (site, second) = to_give_back();
    let one = set_aside(&site);
    let engine = life(&site, 0, &[]);
    let granted = |id, fence| wire::Order {
        fence,
        ..withdrawn(&one, id, 1)
    };
    let state = || site.journal().state(one.run).unwrap().unwrap();
    engine.granted(&granted(0x51, 7)).unwrap();
    assert_eq!((state().fence, state().closed), (7, None));
    assert_eq!(engine.carry_on(one.run).unwrap(), Rest::Over);
    engine.granted(&granted(0x52, 8)).unwrap();
    assert_eq!((state().fence, state().closed), (8, Some(Ended::Released)));
    let refused = engine.granted(&granted(0x53, 8)).unwrap_err();
    assert_eq!(refused.code, "A042-fence-stale");
    given_back(&site, &second, "granted");
}

#[test]
fn a_fingerprint_that_still_stands_here_gives_nothing_back() {
    let (site, second, fingerprint) = waiting();
    let engine = life(&site, 0, &[fingerprint]);
    engine.look_for_poison().unwrap();
    let one = set_aside(&site);
    let refused = engine.order(&withdrawn(&one, 0x51, 1)).unwrap_err();
    assert_eq!(refused.code, "A145-fingerprint-refused");
    assert_eq!(set_aside(&site).name, second);
}

#[test]
fn what_a_person_calls_poison_is_not_given_back_by_a_withdrawal() {
    let (site, second) = to_give_back();
    let one = set_aside(&site);
    let engine = life(&site, 0, &[]);
    let settle = wire::Order {
        id: Uuid::from_u128(0x50).to_string(),
        what: Some(What::Settle(wire::Settle {
            batch: one.batch.to_string(),
            entries: vec![wire::Range { first: 0, last: 0 }],
            custody: wire::Custody::Poison.into(),
        })),
        ..withdrawn(&one, 0x50, 1)
    };
    engine.order(&settle).unwrap();
    engine.order(&withdrawn(&one, 0x51, 1)).unwrap();
    let still = kept(&site)
        .into_iter()
        .find(|one| one.name == second)
        .unwrap();
    assert_eq!((still.custody, still.marked), (Custody::Poison, false));
}

#[test]
fn killed_at_any_point_of_giving_back_it_is_given_back_once() {
    let mut killed = 0;
    for dies_at in 1.. {
        let (site, second) = to_give_back();
        let one = set_aside(&site);
        let order = withdrawn(&one, 0x51, 1);
        let lived = run_until_killed(|| {
            let engine = life(&site, dies_at, &[]);
            engine.order(&order).unwrap();
            engine.carry_on(one.run).unwrap();
        });
        if lived.is_ok() {
            break;
        }
        killed += 1;
        let told = format!("killed at {dies_at}: {lived:?}");
        let engine = life(&site, 0, &[]);
        assert!(site.world.is_running(IMC), "{told}: service is down");
        engine.order(&order).unwrap();
        if engine.open_runs().contains(&one.run) {
            engine.carry_on(one.run).unwrap();
        }
        given_back(&site, &second, &told);
    }
    assert!(killed > 50, "{killed}");
}

#[test]
fn a_person_makes_the_fingerprint_of_a_held_message_known_and_its_state_stays() {
    let (site, _) = to_give_back();
    let one = set_aside(&site);
    let order = wire::Order {
        what: Some(What::Immunize(wire::Immunize {
            batch: one.batch.to_string(),
            entry: 0,
        })),
        ..withdrawn(&one, 0x53, 1)
    };
    let engine = life(&site, 0, &[]);
    engine.order(&order).unwrap();
    engine.order(&order).unwrap();
    let proven: Vec<_> = site
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::PoisonProven { entries, .. } => Some(entries),
            _ => None,
        })
        .collect();
    assert_eq!(proven.len(), 1, "once");
    assert!(proven[0][0].body.is_some());
    assert!(proven[0][0].how.contains("anna"));
    assert_eq!(set_aside(&site), one);
    let unknown = wire::Order {
        what: Some(What::Immunize(wire::Immunize {
            batch: one.batch.to_string(),
            entry: 9,
        })),
        ..withdrawn(&one, 0x54, 1)
    };
    let refused = engine.order(&unknown).unwrap_err();
    assert_eq!(refused.code, "A145-fingerprint-refused");
}

/// Every call on files that a look makes fails once; the disk may be full, or the call may have happened.
#[test]
fn whatever_call_on_files_fails_nothing_is_lost_and_the_next_life_sets_it_aside() {
    use mailmend_agent::host::HostErrorKind;
    for happens in [false, true] {
        let mut failed = 0;
        for n in 1.. {
            let (site, second, fingerprint) = waiting();
            let known = std::slice::from_ref(&fingerprint);
            let engine = life(&site, 0, known);
            site.world.fail_any_at(n, HostErrorKind::NoSpace, happens);
            let _ = engine.look_for_poison();
            if site.world.failure_is_due() {
                break;
            }
            failed += 1;
            let told = format!("call {n} failed, happened {happens}");
            // A failed sync poisons the journal: the agent ends, and its service manager starts it again.
            let engine = life(&site, 0, known);
            engine.look_for_poison().unwrap();
            site.check_mail(&told);
            assert!(site.world.is_running(IMC), "{told}");
            let balance = site.world.balance();
            let account = balance.by_spool_name(&second).unwrap();
            assert!(account.live.is_empty(), "{told}: {account:?}");
        }
        assert!(failed > 8, "{failed}");
    }
}
