//! The report of a whole fleet: the sum over its sites, with what came of its rollouts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::NAME;
use super::course::Course;
use super::toll::Toll;
use crate::scenario::{Options, Report, SCENARIOS};

/// How a site that was not to be mended, or could not be, is spoken of.
const AT_REST: &str = "at rest";

/// What is said of the fleet besides its sites.
pub(super) struct Whole<'a> {
    pub(super) options: &'a Options,
    /// What is said of each faulty site.
    pub(super) faulty: Vec<Value>,
    pub(super) courses: &'a [Course],
    /// What was done to healthy sites.
    pub(super) touched: &'a [String],
    pub(super) toll: &'a Toll,
    /// Agents, and the controller, that ended although nobody had killed them, with how often.
    pub(super) ended_by_themselves: &'a [(String, usize)],
}

/// Sums the parts of all sites, each with its name.
pub(super) fn of(whole: Whole<'_>, parts: &[(String, Report)]) -> Report {
    let policies: Vec<&str> = whole.courses.iter().map(|course| course.policy).collect();
    let mut report = Report {
        scenario: NAME.to_owned(),
        policy: policies.join(", "),
        seed: whole.options.seed,
        ..summed(parts)
    };
    let ill = |part: &&(String, Report)| !part.1.scenario.is_empty();
    let mended = |part: &&(String, Report)| part.1.rests_with.is_none();
    let resting: Vec<&(String, Report)> = parts
        .iter()
        .filter(ill)
        .filter(|part| !mended(part))
        .collect();
    report.rests_with = (!resting.is_empty()).then(|| AT_REST.to_owned());
    let told = |part: &&(String, Report)| format!("{}: {}", part.0, part.1.outcome);
    let ends: Vec<String> = parts.iter().filter(ill).map(|part| told(&part)).collect();
    report.rollout = ends.join("; ");
    report.against_scenario = against(&whole, parts);
    let articles: BTreeSet<&str> = SCENARIOS
        .iter()
        .filter(|one| parts.iter().any(|part| part.1.scenario == one.name))
        .map(|one| one.article)
        .collect();
    let halts: usize = whole.courses.iter().map(|course| course.halts).sum();
    let waves: Vec<Value> = whole
        .courses
        .iter()
        .flat_map(|course| course.ended.iter().cloned())
        .collect();
    let extras = &mut report.extras;
    extras.insert("articles".to_owned(), json!(articles));
    extras.insert("waves".to_owned(), Value::Array(waves));
    extras.insert("halts".to_owned(), halts.into());
    extras.insert("killed".to_owned(), whole.toll.told());
    let untouched = whole.touched.is_empty();
    extras.insert("healthy_untouched".to_owned(), untouched.into());
    extras.insert(
        "sites_mended".to_owned(),
        parts.iter().filter(ill).filter(mended).count().into(),
    );
    extras.insert("sites_at_rest".to_owned(), resting.len().into());
    extras.insert("sites_faulty".to_owned(), Value::Array(whole.faulty));
    report.outcome = report.told();
    report
}

fn summed(parts: &[(String, Report)]) -> Report {
    let sum = |of: fn(&Report) -> usize| parts.iter().map(|part| of(&part.1)).sum();
    Report {
        scenario: String::new(),
        policy: String::new(),
        seed: 0,
        sites: parts.len(),
        servers: sum(|one| one.servers),
        submitted: sum(|one| one.submitted),
        delivered_once: sum(|one| one.delivered_once),
        duplicated: sum(|one| one.duplicated),
        duplicates_named: sum(|one| one.duplicates_named),
        lost: sum(|one| one.lost),
        held: sum(|one| one.held),
        poison: sum(|one| one.poison),
        in_doubt: sum(|one| one.in_doubt),
        symptom_before: sum(|one| one.symptom_before),
        symptom_after: sum(|one| one.symptom_after),
        restarts: sum(|one| one.restarts),
        service_running: parts
            .iter()
            .all(|part| part.1.service_running || !part.1.service_can_run),
        longest_outage_ms: parts
            .iter()
            .map(|part| part.1.longest_outage_ms)
            .max()
            .unwrap_or_default(),
        seconds: 0.0,
        outcome: String::new(),
        variant: String::new(),
        bad: sum(|one| one.bad),
        vanished: sum(|one| one.vanished),
        unaccounted: sum(|one| one.unaccounted),
        against_scenario: Vec::new(),
        rollout: String::new(),
        rests_with: None,
        service_can_run: true,
        restarts_bound: None,
        restarts_information: None,
        search_restarts: None,
        crashes: sum(|one| one.crashes),
        extras: BTreeMap::new(),
    }
}

/// What stands against the end, besides harm, which is counted over all sites.
fn against(whole: &Whole<'_>, parts: &[(String, Report)]) -> Vec<String> {
    let mut against: Vec<String> = whole
        .touched
        .iter()
        .map(|what| format!("a healthy site was touched: {what}"))
        .collect();
    for (what, times) in whole.ended_by_themselves {
        against.push(format!("{what} ended by itself, {times} time(s)"));
    }
    if whole.options.kills > 0 && whole.toll.killed() == 0 {
        against.push("nothing was killed that was to be".to_owned());
    }
    for (site, part) in parts {
        let healthy = part.scenario.is_empty();
        let own = if healthy {
            let waits = part.symptom_after;
            let waiting = (waits > 0).then(|| format!("{waits} message(s) wait at a healthy site"));
            waiting.into_iter().collect()
        } else {
            let harm = part.harm();
            let own = part.against().into_iter();
            own.filter(|why| !harm.contains(why)).collect::<Vec<_>>()
        };
        against.extend(own.into_iter().map(|why| format!("{site}: {why}")));
    }
    against
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::Victim;
    use crate::scenario::account;
    use crate::scenario::ledger::Ledger;

    fn blank() -> Report {
        account::count(&[], &Ledger::default(), &[], &[])
    }

    fn part(site: &str, scenario: &str) -> (String, Report) {
        let report = Report {
            scenario: scenario.to_owned(),
            submitted: 5,
            delivered_once: 5,
            symptom_before: 3,
            longest_outage_ms: 40,
            outcome: "mended".to_owned(),
            ..blank()
        };
        (site.to_owned(), report)
    }

    fn whole(parts: &[(String, Report)], touched: &[String]) -> Report {
        disturbed(parts, touched, 0, &Toll::default(), &[])
    }

    fn disturbed(
        parts: &[(String, Report)],
        touched: &[String],
        kills: usize,
        toll: &Toll,
        ended_by_themselves: &[(String, usize)],
    ) -> Report {
        let options = Options {
            kills,
            ..Options::default()
        };
        let whole = Whole {
            options: &options,
            faulty: Vec::new(),
            courses: &[],
            touched,
            toll,
            ended_by_themselves,
        };
        of(whole, parts)
    }

    #[test]
    fn a_process_that_ended_by_itself_and_kills_that_all_missed_stand_against_it() {
        let parts = [part("oslo", "stuck-outbound")];
        let mut toll = Toll::default();
        toll.note(Victim::Agent(3), false);
        let missed = disturbed(&parts, &[], 1, &toll, &[]);
        assert_eq!(missed.against(), ["nothing was killed that was to be"]);
        assert_eq!(missed.extras["killed"]["already_down"], 1);
        toll.note(Victim::Controller, true);
        let hit = disturbed(&parts, &[], 2, &toll, &[]);
        assert_eq!(hit.against(), Vec::<String>::new());
        let crashed = [("the agent of oslo-a".to_owned(), 2)];
        let report = disturbed(&parts, &[], 2, &toll, &crashed);
        assert_eq!(
            report.against(),
            ["the agent of oslo-a ended by itself, 2 time(s)"]
        );
    }

    #[test]
    fn counts_are_summed_and_the_longest_outage_is_the_longest_of_all() {
        let mut parts = vec![part("oslo", "stuck-outbound"), part("alta", "")];
        parts[1].1.longest_outage_ms = 90;
        let report = whole(&parts, &[]);
        assert_eq!((report.submitted, report.delivered_once), (10, 10));
        assert_eq!((report.longest_outage_ms, report.sites), (90, 2));
        assert_eq!(report.against(), Vec::<String>::new());
        assert_eq!(report.outcome, "mended");
        assert_eq!(report.extras["sites_mended"], 1);
        assert_eq!(report.extras["healthy_untouched"], true);
    }

    #[test]
    fn harm_at_any_site_stands_against_the_whole() {
        let parts = [part("oslo", "stuck-outbound"), part("alta", "")];
        let mut lost = parts.clone();
        lost[1].1.lost = 1;
        lost[1].1.delivered_once = 4;
        assert_eq!(whole(&lost, &[]).harm(), ["1 message(s) were lost"]);
        let mut down = parts.clone();
        down[0].1.service_running = false;
        assert_eq!(whole(&down, &[]).harm(), ["a mail service is down"]);
        let mut waits = parts.clone();
        waits[1].1.symptom_after = 1;
        waits[1].1.delivered_once = 4;
        assert!(!whole(&waits, &[]).against().is_empty());
        let touched = whole(&parts, &["alta-a: 1 file(s) are held".to_owned()]);
        assert_eq!(touched.extras["healthy_untouched"], false);
        assert_eq!(touched.against().len(), 1);
    }

    #[test]
    fn a_site_at_rest_is_named_with_its_reason_and_stands_against_nothing() {
        let mut parts = vec![
            part("oslo", "stuck-outbound"),
            part("alta", "stuck-outbound"),
        ];
        let rests = &mut parts[1].1;
        rests.rests_with = Some("no table".to_owned());
        rests.rollout = "failed: no table".to_owned();
        rests.outcome = "at rest as it should be".to_owned();
        (rests.delivered_once, rests.symptom_after) = (1, 4);
        let report = whole(&parts, &[]);
        assert_eq!(report.against(), Vec::<String>::new());
        assert_eq!(
            report.rollout,
            "oslo: mended; alta: at rest as it should be"
        );
        assert_eq!(report.extras["sites_at_rest"], 1);
        parts[1].1.rollout = "failed: another reason".to_owned();
        assert_eq!(whole(&parts, &[]).against().len(), 1);
    }
}
