//! What the truth counts of messages, beside what ledgers and people had named of them.

use std::collections::BTreeMap;

use super::ledger::Ledger;
use super::person::{Answer, Task};
use super::report::Report;
use crate::outage::Outages;
use crate::truth::{self, Fate, Told};

/// Counts these messages and outages; which scenario that was, and how it ended, is the caller's to say.
pub(super) fn count(
    told: &[Told],
    ledger: &Ledger,
    outages: &[Outages],
    answered: &[(Task, Answer)],
) -> Report {
    let duplicated = truth::names(told, Fate::Duplicated);
    let named = told.iter().filter(|one| {
        let name = one.submission.spool_name.as_str();
        let twice = duplicated.iter().any(|other| other.as_str() == name);
        twice && ledger.names(&one.submission)
    });
    let accounted = |name: &str| {
        let told = |(_, answer): &(Task, Answer)| answer.note.contains(name);
        ledger.accounts_for(name) || answered.iter().any(told)
    };
    let held = truth::names(told, Fate::Held);
    let unaccounted = held.iter().filter(|name| !accounted(name.as_str()));
    let longest = outages.iter().map(|one| one.longest).max();
    let longest = longest.unwrap_or_default().as_millis();
    Report {
        scenario: String::new(),
        policy: String::new(),
        seed: 0,
        sites: 1,
        servers: outages.len(),
        submitted: told.len(),
        delivered_once: truth::count(told, Fate::DeliveredOnce),
        duplicated: duplicated.len(),
        duplicates_named: named.count(),
        lost: truth::count(told, Fate::Lost),
        held: held.len(),
        poison: ledger.poison.len(),
        in_doubt: ledger.in_doubt.len(),
        symptom_before: 0,
        symptom_after: truth::count(told, Fate::Waiting),
        restarts: outages.iter().map(|one| one.restarts).sum(),
        service_running: true,
        longest_outage_ms: u64::try_from(longest).unwrap_or(u64::MAX),
        seconds: 0.0,
        outcome: String::new(),
        variant: String::new(),
        bad: 0,
        vanished: 0,
        unaccounted: unaccounted.count(),
        against_scenario: Vec::new(),
        rollout: String::new(),
        rests_with: None,
        service_can_run: true,
        restarts_bound: None,
        restarts_information: None,
        search_restarts: None,
        crashes: outages.iter().map(|one| one.deaths).sum(),
        extras: BTreeMap::new(),
    }
}
