use std::sync::Arc;

use mailmend_policy::strategy::{MaxUnavailable, Strategy};
use mailmend_proto::run::Outcome;

use super::*;
use crate::decide::begin::{Beginning, Obstacle};
use crate::decide::simulation::World;
use crate::decide::{Action, decide};
use crate::simulated_agent::plan_of;

/// Sites of two servers each, of which the plan disturbs the first.
fn rollout(sites: usize, site: Share, fleet: Share) -> (Rollout, Fleet) {
    let plans: Vec<_> = (0..sites)
        .map(|site| {
            plan_of(
                &format!("site{site}"),
                "A:detect A:stop A:hold A:start B:check",
            )
        })
        .collect();
    let ends: crate::simulated_agent::Ends = Arc::new(|_, _, _| Outcome::Done);
    let strategy = Strategy {
        sites_at_once: 100,
        max_failed: Share::Count(100),
        max_unavailable: MaxUnavailable { site, fleet },
        ..Strategy::default()
    };
    let rollout = World::under(&plans, strategy, &ends, 1).rollout;
    let servers: BTreeMap<ServerName, SiteName> = rollout
        .runs
        .iter()
        .flat_map(|run| {
            run.parts
                .keys()
                .map(|name| (name.clone(), run.site.clone()))
        })
        .collect();
    let fleet = Fleet {
        connected: servers.keys().cloned().collect(),
        servers,
        ..Fleet::default()
    };
    (rollout, fleet)
}

fn begun(rollout: &Rollout, fleet: &Fleet) -> usize {
    let actions = decide(rollout, fleet, 0).actions;
    let assigns = |action: &&Action| matches!(action, Action::Assign { .. });
    actions.iter().filter(assigns).count()
}

fn shortage(rollout: &Rollout, fleet: &Fleet, run: usize) -> Option<Shortage> {
    let phases: Vec<RunPhase> = rollout.runs.iter().map(|run| run.phase).collect();
    let beginning = Beginning::of(rollout, &phases, fleet, 0);
    match beginning.obstacle(&rollout.runs[run]) {
        Some(Obstacle::Budget(short)) => Some(short),
        None => None,
        other => panic!("{other:?}"),
    }
}

fn server(name: &str) -> ServerName {
    name.parse().unwrap()
}

#[test]
fn no_more_runs_begin_at_once_than_the_fleet_may_have_servers_out_of_service() {
    let (mut rollout, fleet) = rollout(5, Share::Percent(100), Share::Count(2));
    assert_eq!(begun(&rollout, &fleet), 2);
    rollout.runs[4].phase = RunPhase::Assigned;
    assert_eq!(begun(&rollout, &fleet), 1);
    rollout.runs[3].phase = RunPhase::Unwinding;
    assert_eq!(begun(&rollout, &fleet), 0);
}

#[test]
fn a_failed_run_keeps_its_place_until_its_rollout_ends() {
    let (mut rollout, fleet) = rollout(5, Share::Percent(100), Share::Count(2));
    rollout.runs[0].phase = RunPhase::Failed;
    assert_eq!(begun(&rollout, &fleet), 1);
    rollout.runs[1].phase = RunPhase::NeedsPerson;
    let parts = rollout.runs[1].parts.values_mut();
    parts.for_each(|part| part.lost = true);
    assert_eq!(begun(&rollout, &fleet), 0);
    rollout.runs[0].phase = RunPhase::Succeeded;
    assert_eq!(begun(&rollout, &fleet), 1);
}

#[test]
fn a_server_that_cannot_be_reached_counts_as_out_of_service_wherever_it_is() {
    let (rollout, mut fleet) = rollout(5, Share::Percent(100), Share::Count(2));
    fleet
        .servers
        .insert(server("x"), "elsewhere".parse().unwrap());
    assert_eq!(begun(&rollout, &fleet), 1);
    fleet
        .servers
        .insert(server("y"), "elsewhere".parse().unwrap());
    let short = shortage(&rollout, &fleet, 0).unwrap();
    assert_eq!((short.of.clone(), short.out.away), (None, 2));
    assert_eq!(
        short.predicate(),
        "unavailable + 1 <= max_unavailable.fleet, but 2 + 1 > 2"
    );
    assert_eq!(
        short.out.to_string(),
        "0 being mended, 0 failed or in need of a person, 2 not connected"
    );
}

#[test]
fn the_runs_of_other_rollouts_and_reactions_count_as_well() {
    let (rollout, mut fleet) = rollout(5, Share::Percent(100), Share::Count(3));
    let hold = |site: &str, phase| Holding {
        site: site.parse().unwrap(),
        phase,
        disturbs: BTreeSet::from([server(&format!("{site}-Z"))]),
    };
    fleet.others = vec![hold("other", RunPhase::Running)];
    assert_eq!(begun(&rollout, &fleet), 2);
    fleet.others.push(hold("another", RunPhase::Failed));
    assert_eq!(begun(&rollout, &fleet), 1);
    fleet.others.push(hold("third", RunPhase::NeedsPerson));
    assert_eq!(begun(&rollout, &fleet), 0);
}

#[test]
fn a_site_may_have_another_budget_than_the_fleet() {
    let (rollout, mut fleet) = rollout(2, Share::Percent(50), Share::Percent(100));
    assert_eq!(begun(&rollout, &fleet), 2);
    // A third server of the site that the plan does not need is away.
    fleet
        .servers
        .insert(server("site0-C"), "site0".parse().unwrap());
    assert_eq!(begun(&rollout, &fleet), 1);
    let short = shortage(&rollout, &fleet, 0).unwrap();
    assert_eq!(
        short.predicate(),
        "unavailable + 1 <= max_unavailable.site, but 1 + 1 > 1 (50% of the servers when it was started, \
         rounded down)"
    );
    assert_eq!(shortage(&rollout, &fleet, 1), None);
}

#[test]
fn a_server_counts_once_and_mending_one_that_is_out_of_service_takes_no_other() {
    let (rollout, mut fleet) = rollout(2, Share::Percent(100), Share::Count(1));
    fleet.others = vec![Holding {
        site: "site1".parse().unwrap(),
        phase: RunPhase::Failed,
        disturbs: BTreeSet::from([server("site1-A")]),
    }];
    assert!(shortage(&rollout, &fleet, 0).is_some());
    assert_eq!(shortage(&rollout, &fleet, 1), None, "it is out already");
    let unavailable = Unavailable::of(&rollout, &[RunPhase::Waiting, RunPhase::Running], &fleet);
    assert_eq!(unavailable.fleet.total(), 1);
}

#[test]
fn without_a_budget_nothing_is_held_back_however_much_is_out_of_service() {
    let (rollout, mut fleet) = rollout(3, Share::Percent(100), Share::Percent(100));
    for new in 0..20 {
        let name = server(&format!("n{new}"));
        fleet.servers.insert(name, "new".parse().unwrap());
    }
    assert_eq!(begun(&rollout, &fleet), 3);
}

#[test]
fn a_run_that_disturbs_no_service_needs_no_budget() {
    let (mut rollout, mut fleet) = rollout(1, Share::Count(1), Share::Count(1));
    fleet
        .servers
        .insert(server("x"), "elsewhere".parse().unwrap());
    assert_eq!(begun(&rollout, &fleet), 0);
    rollout.runs[0].plan = plan_of("site0", "A:detect A:check B:check");
    assert_eq!(begun(&rollout, &fleet), 1);
}
