//! Searches for poison, end to end: the shipped policy of Q168883 against a service that dies, hangs, dies only
//! sometimes, or dies of nothing.

use std::collections::BTreeSet;

use mailmend_agent::host::simulated::Harm;
use mailmend_proto::run::{Custody, Ended};

use crate::policies::corrupt_message::{Mail, dead, on, told_apart};
use crate::site::Site;

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
    if std::env::var_os("SHOW").is_some() {
        for event in site.events() {
            let text = format!("{event:?}");
            eprintln!("{}", &text[..text.len().min(400)]);
        }
    }
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
