//! Searches for poison, end to end: the shipped policy of Q168883 against a service that dies, hangs, dies only
//! sometimes, or dies of nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use mailmend_agent::host::simulated::{Harm, ServiceFaults, SimWorld};
use mailmend_proto::run::{Custody, Ended, Outcome};

use crate::policies::corrupt_message::{Mail, dead, on, told_apart};
use crate::site::{IMC, Site};

/// The names that the ledger calls poison.
fn poison(site: &Site) -> BTreeSet<String> {
    let state = site.state();
    let entries = state.batches.values().flat_map(|batch| &batch.entries);
    entries
        .filter(|entry| entry.custody == Custody::Poison)
        .map(|entry| entry.name.clone())
        .collect()
}

fn bad(site: &Site) -> BTreeSet<String> {
    let accounts = site.world.balance().accounts;
    let bad = accounts.into_iter().filter(|account| account.poison);
    bad.map(|account| account.spool_name).collect()
}

fn explain(site: &Site) -> String {
    format!(
        "ended {:?}, failed {:?}, alarms {:?}\n{}\n{}",
        site.ended(),
        site.failed_steps(),
        site.alarms(),
        site.detail("search-inbound"),
        site.detail("search-outbound")
    )
}

fn finds_all(site: &Site, told: &str) {
    site.live(&[]);
    let told = format!("{told}: {}", explain(site));
    site.check(&told);
    assert_eq!(site.ended(), Some(Ended::Committed), "{told}");
    assert_eq!(poison(site), bad(site), "{told}");
    told_apart(site, &told);
    for search in site.state().searches.values() {
        let may = search.may_be_sent_twice();
        eprintln!(
            "{} messages, {} starts, {} crashes, {} may be sent twice",
            search.suspects.len(),
            search.starts.len(),
            search.crashes(),
            may.len()
        );
    }
}

#[test]
fn every_bad_message_is_found_in_both_queues_and_all_others_are_delivered() {
    for (inbound, outbound) in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 2), (5, 5)] {
        for (at_once, harm) in [(1, Harm::Crash), (3, Harm::Crash), (2, Harm::CrashUnlogged)] {
            let mail = |bad| Mail { good: 12, bad };
            let world = dead(7, mail(inbound), mail(outbound), harm, at_once);
            let told = format!("{inbound} and {outbound} bad, {at_once} at once, {harm:?}");
            finds_all(&on(world, 7, &[]), &told);
        }
    }
}

#[test]
fn restarts_do_not_grow_with_the_queue_where_the_logs_tell() {
    let starts = |good| {
        let none = Mail::default();
        let site = on(dead(3, none, Mail { good, bad: 1 }, Harm::Crash, 2), 3, &[]);
        finds_all(&site, &format!("{good} good"));
        let searches = &site.state().searches;
        let search = searches.values().next().unwrap();
        (search.starts.len(), search.suspects.len() as u64)
    };
    let (few, _) = starts(6);
    let (many, files) = starts(60);
    assert!(many <= few.max(5), "{few} and {many} starts");
    assert!(many as u64 <= u64::from(mailmend_policy::bounds::entropy(files, 1)));
}

#[test]
fn a_message_that_hangs_the_service_is_ended_by_force_and_found() {
    for bad_inbound in [true, false] {
        let mail = |bad| Mail { good: 4, bad };
        let world = dead(
            5,
            mail(usize::from(bad_inbound)),
            mail(usize::from(!bad_inbound)),
            Harm::Hang,
            1,
        );
        let told = format!("hangs, inbound: {bad_inbound}");
        finds_all(&on(world, 5, &[]), &told);
    }
}

#[test]
fn a_message_that_crashes_only_sometimes_is_held_or_the_search_says_that_it_cannot_tell() {
    let mut contradictions = 0;
    for seed in 0..12 {
        let none = Mail::default();
        let mail = Mail { good: 3, bad: 1 };
        let site = on(dead(seed, none, mail, Harm::Sometimes(6), 2), seed, &[]);
        site.live(&[]);
        let told = format!("seed {seed}: {}", explain(&site));
        site.check(&told);
        match site.ended() {
            Some(Ended::Committed) => {}
            Some(Ended::AtRest) => {
                let text = site.detail("search-outbound");
                assert!(text.contains("A120-search-contradiction"), "{told}");
                contradictions += 1;
            }
            other => panic!("{other:?}: {told}"),
        }
        assert!(
            poison(&site).is_subset(&bad(&site)),
            "an innocent is held: {told}"
        );
    }
    assert!(
        contradictions > 0,
        "none of the seeds showed a contradiction"
    );
}

#[test]
fn poison_in_the_store_ends_at_rest_with_everything_held_and_the_right_words() {
    let mail = Mail { good: 3, bad: 0 };
    let world = dead(9, mail, mail, Harm::Crash, 1);
    let site = on(world, 9, &[]);
    site.world.set_faults(
        IMC,
        ServiceFaults {
            dies_after: vec![700; 40],
            ..ServiceFaults::default()
        },
    );
    site.live(&[]);
    let told = explain(&site);
    site.check_mail(&told);
    assert_eq!(site.ended(), Some(Ended::AtRest), "{told}");
    // A halted rollout tells of the step, and once it has heard of it, of the exit that tried again.
    let left_down = site.alarms_of("A054-service-left-down");
    assert_eq!(left_down.len(), 1, "{told}");
    for text in [&site.detail("start-empty"), &left_down[0]] {
        for word in [
            "A122-poison-not-in-spool",
            "store",
            "Q149542",
            "Q199771",
            "Q169681",
        ] {
            assert!(text.contains(word), "no `{word}` in: {text}");
        }
    }
}

#[test]
fn a_service_that_begins_to_die_of_nothing_in_the_search_ends_it_with_nothing_fed() {
    let none = Mail::default();
    let mail = Mail { good: 3, bad: 1 };
    let site = on(dead(9, none, mail, Harm::Crash, 1), 9, &[]);
    // The start with nothing of the step before is survived; whatever comes later is not.
    let engine = site.engine(0);
    engine.admit(&site.assignment).unwrap();
    let search = site.index("search-inbound");
    for through in 1..=search {
        engine.advance(site.run, 1, through).unwrap();
        engine.carry_on(site.run).unwrap();
    }
    let dies = |world: &SimWorld| {
        world.kill_service(IMC);
        let faults = ServiceFaults {
            dies_after: vec![700; 40],
            ..ServiceFaults::default()
        };
        world.set_faults(IMC, faults);
    };
    dies(&site.world);
    drop(engine);
    site.live(&[]);
    let told = explain(&site);
    site.check_mail(&told);
    let balance = site.world.balance();
    assert_eq!(site.ended(), Some(Ended::AtRest), "{told}");
    assert!(site.detail("search-outbound").contains("A122"), "{told}");
    let failed = site.failed_steps();
    assert_eq!(
        failed,
        [(site.index("search-outbound"), Outcome::NoEffect)],
        "{told}"
    );
    assert!(balance.accounts.iter().all(|one| one.live.is_empty()));
}

#[test]
fn mail_that_comes_meanwhile_is_neither_lost_nor_held_nor_counted() {
    let none = Mail::default();
    let site = on(
        dead(4, none, Mail { good: 4, bad: 1 }, Harm::Crash, 2),
        4,
        &[],
    );
    let came = site.live_while(40, move |world| {
        world.add_outbound(2, 100);
        world.add_inbound(1, 100);
    });
    assert!(came);
    site.world.advance(Duration::from_secs(60));
    let told = explain(&site);
    site.check(&told);
    assert_eq!(site.ended(), Some(Ended::Committed), "{told}");
    assert_eq!(poison(&site), bad(&site), "{told}");
}

#[test]
fn the_guards_starts_of_an_hour_are_waited_for_with_service_up() {
    let none = Mail::default();
    let world = dead(6, none, Mail { good: 4, bad: 2 }, Harm::Crash, 1);
    let mut site = on(world, 6, &[]);
    let guard = crate::site::GUARD.replace("restarts_per_hour = 40", "restarts_per_hour = 4");
    site.guard =
        std::sync::Arc::new(mailmend_agent::guard::Guard::parse("guard.toml", &guard).unwrap());
    let before = site.world.uptime_ms();
    finds_all(&site, "few starts an hour");
    assert!(
        site.world.uptime_ms() - before > 3_600_000,
        "it did not wait"
    );
}
