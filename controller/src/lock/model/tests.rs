use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use super::check::{HELD, ONE_SECTION};
use super::{ALL, Protocol, Rules, Scope};

/// Explores all of it. Every property that says `always` holds, every one that says `sometimes` was seen.
fn explored(scope: Scope) -> usize {
    let rules = ALL;
    let trouble = true;
    let model = Protocol {
        rules,
        scope,
        trouble,
    };
    let checker = model.checker().spawn_bfs().join();
    assert!(checker.is_done());
    println!(
        "{scope:?}: {} states, at most {} steps deep",
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
    checker.unique_state_count()
}

/// Finds a way to what must never be, without a rule; its length in steps.
fn broken(scope: Scope, rules: Rules, property: &'static str) -> usize {
    let wanted = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    // What breaks by itself is found sooner where nobody aborts and refuses runs beside it.
    let trouble = false;
    let model = Protocol {
        rules,
        scope,
        trouble,
    };
    let checker = model.checker().finish_when(wanted).spawn_bfs().join();
    let path = checker.discovery(property);
    let path = path.unwrap_or_else(|| panic!("nothing is found: {rules:?}"));
    let steps = path.into_actions();
    println!("{property}: broken in {} steps: {steps:?}", steps.len());
    steps.len()
}

#[test]
fn two_runs_for_one_site_never_disturb_it_together_whatever_is_lost_late_or_repeated() {
    assert!(explored(Scope::Runs) > 1_000);
}

#[test]
fn a_release_and_a_run_never_disturb_one_site_together_whatever_is_lost_late_or_repeated() {
    assert!(explored(Scope::Releases) > 1_000);
}

#[test]
fn without_fences_a_release_that_was_refused_is_carried_out_beside_another_run() {
    let rules = Rules {
        fences: false,
        ..ALL
    };
    broken(Scope::Releases, rules, ONE_SECTION);
}

#[test]
fn without_a_journal_an_agent_that_restarts_does_again_what_is_over() {
    let rules = Rules {
        journal: false,
        ..ALL
    };
    broken(Scope::Runs, rules, ONE_SECTION);
}

#[test]
fn without_a_lock_two_runs_disturb_one_site() {
    let rules = Rules {
        role_lock: false,
        ..ALL
    };
    broken(Scope::Runs, rules, ONE_SECTION);
}

#[test]
fn with_a_lease_a_run_that_takes_long_meets_the_next_one() {
    let rules = Rules {
        no_lease: false,
        ..ALL
    };
    broken(Scope::Runs, rules, ONE_SECTION);
}

#[test]
fn a_word_of_an_older_grant_would_free_a_newer_one() {
    let rules = Rules {
        own_token: false,
        ..ALL
    };
    broken(Scope::Releases, rules, HELD);
    broken(Scope::Releases, rules, ONE_SECTION);
}

#[test]
fn a_second_release_before_the_first_is_over_would_free_the_site_under_it() {
    let rules = Rules {
        one_release: false,
        ..ALL
    };
    broken(Scope::Releases, rules, HELD);
    broken(Scope::Releases, rules, ONE_SECTION);
}
