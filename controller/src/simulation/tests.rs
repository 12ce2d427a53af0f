//! Each invariant of the fleet is seen to fail where it is broken; spreads are counted right.

use std::collections::BTreeMap;
use std::sync::Arc;

use mailmend_policy::name::SiteName;
use mailmend_policy::strategy::Strategy;
use mailmend_proto::run::{Outcome, RunId};
use uuid::Uuid;

use super::invariants::{self, Section, Sections};
use super::{FleetFault, Spread, generated};
use crate::decide::Action;
use crate::decide::simulation::World;
use crate::mail_flow::MailFlow;
use crate::rollout::{Books, RunPhase, Unwinding};
use crate::simulated_agent::{Ends, plan_of};

fn world() -> World {
    let plans = [
        plan_of("oslo", "A:detect A:stop A:hold A:start"),
        plan_of("bergen", "A:detect"),
    ];
    let ends: Ends = Arc::new(|_, _, _| Outcome::Done);
    World::under(&plans, Strategy::default(), &ends, 1)
}

fn names(found: &[String], invariant: &str) {
    assert!(!found.is_empty(), "{invariant} does not fail");
    assert!(
        found.iter().all(|one| one.starts_with(invariant)),
        "{found:?}"
    );
}

#[test]
fn two_sections_at_one_site_at_the_same_time_break_i4_and_so_does_one_site_too_many() {
    let section = |from_ms, to_ms| Section { from_ms, to_ms };
    let sites = |a: Section, b: Section| -> BTreeMap<SiteName, Sections> {
        let servers = [("oslo-1", a), ("oslo-2", b)];
        let servers = servers.map(|(name, one)| (name.parse().unwrap(), vec![one]));
        BTreeMap::from([("oslo".parse().unwrap(), Sections::from(servers))])
    };
    let check = |a: Section, b: Section| {
        let mut found = Vec::new();
        let (site, server) = ("oslo".parse().unwrap(), "oslo-2".parse().unwrap());
        invariants::sections(&sites(a, b), &site, &server, b, 1, &mut found);
        found
    };
    assert!(check(section(10, Some(20)), section(20, None)).is_empty());
    names(&check(section(10, Some(21)), section(20, None)), "I4");
    names(&check(section(10, None), section(20, Some(30))), "I4");
    let mut all = sites(section(0, Some(1)), section(20, None));
    let other = Sections::from([("bergen-1".parse().unwrap(), vec![section(5, None)])]);
    all.insert("bergen".parse().unwrap(), other);
    let (site, server) = ("oslo".parse().unwrap(), "oslo-2".parse().unwrap());
    for (most, broken) in [(2, false), (1, true)] {
        let mut found = Vec::new();
        invariants::sections(&all, &site, &server, section(20, None), most, &mut found);
        assert_eq!(!found.is_empty(), broken, "{found:?}");
    }
}

#[test]
fn the_last_path_of_an_address_space_that_is_disturbed_breaks_i4_and_the_only_one_does_not() {
    let actions = std::collections::BTreeSet::new();
    let check = |stated: &[&str], theirs: (i64, Option<i64>)| {
        let mut fleet = generated(2, 2, "5.0.1460.8", &actions).unwrap();
        for (server, spaces) in fleet.iter_mut().zip(stated) {
            server
                .labels
                .insert(crate::mail_flow::FACT.into(), (*spaces).into());
        }
        let one = |from_ms, to_ms| Section { from_ms, to_ms };
        let (new, theirs) = (one(20, None), one(theirs.0, theirs.1));
        let sites = [(&fleet[0], new), (&fleet[1], theirs)].map(|(server, section)| {
            let sections = Sections::from([(server.name.clone(), vec![section])]);
            (server.site.clone(), sections)
        });
        let (paths, mut found) = (MailFlow::of(&fleet), Vec::new());
        invariants::paths(&paths, &sites.into(), &fleet[0].name, new, &mut found);
        found
    };
    let both = ["SMTP:*", "SMTP:*"];
    names(&check(&both, (10, None)), "I4");
    names(&check(&both, (10, Some(21))), "I4");
    assert!(check(&both, (10, Some(20))).is_empty());
    assert!(check(&["SMTP:*", "none"], (10, None)).is_empty());
}

#[test]
fn a_run_without_its_lock_a_second_one_at_its_site_and_a_fence_minted_twice_are_noticed() {
    let mut rollout = world().rollout;
    let mut books = Books::default();
    let first = Action::Assign {
        run: rollout.runs[0].id,
    };
    rollout.carry_out(&mut books, &[first], 0).unwrap();
    let check = |rollout: &crate::rollout::Rollout, books: &Books| {
        let mut found = Vec::new();
        invariants::books(rollout, books, &mut found);
        found
    };
    assert!(check(&rollout, &books).is_empty());
    names(
        &check(
            &rollout,
            &Books {
                minted: 1,
                ..Books::default()
            },
        ),
        "I4",
    );
    names(
        &check(
            &rollout,
            &Books {
                minted: 0,
                ..books.clone()
            },
        ),
        "I6",
    );
    let mut two = rollout.clone();
    two.runs[1].phase = RunPhase::Running;
    two.runs[1].site = two.runs[0].site.clone();
    names(&check(&two, &books), "I4");
    let mut ended = rollout;
    ended.runs[0].phase = RunPhase::Succeeded;
    names(&check(&ended, &books), "I5");
}

#[test]
fn decisions_that_repeat_fall_or_rise_break_i5() {
    let rollout = world().rollout;
    let run = rollout.runs[0].id;
    let server: mailmend_policy::name::ServerName = "oslo-A".parse().unwrap();
    let check = |rollout: &crate::rollout::Rollout, action: Action| {
        let mut found = Vec::new();
        invariants::decision(rollout, &[action], &mut found);
        found
    };
    let advance = |through| Action::Advance {
        run,
        server: server.clone(),
        through,
    };
    assert!(check(&rollout, Action::Assign { run }).is_empty());
    assert!(check(&rollout, advance(1)).is_empty());
    names(&check(&rollout, advance(0)), "I5");
    let unknown = RunId(Uuid::from_u128(77));
    names(&check(&rollout, Action::Assign { run: unknown }), "I5");
    let mut ended = rollout.clone();
    ended.runs[0].phase = RunPhase::Failed;
    names(&check(&ended, Action::Assign { run }), "I5");
    let enter = Action::Enter {
        run,
        phase: RunPhase::Running,
        why: String::new(),
    };
    names(&check(&ended, enter), "I5");
    let mut unwinding = rollout;
    let part = unwinding.runs[0].parts.get_mut(&server).unwrap();
    part.unwind = Some(Unwinding {
        down_to: 1,
        last: true,
    });
    names(&check(&unwinding, advance(3)), "I5");
    let order = Unwinding {
        down_to: 2,
        last: true,
    };
    let up = Action::Unwind { run, server, order };
    names(&check(&unwinding, up), "I5");
}

#[test]
fn a_journal_that_fell_back_a_fence_that_fell_and_a_rollout_without_end_are_noticed() {
    let server = "oslo-A".parse().unwrap();
    let check = |head, stored, fence, highest| {
        let mut found = Vec::new();
        invariants::hello(&server, head, stored, fence, highest, &mut found);
        found
    };
    assert!(check(5, 5, 2, 2).is_empty());
    names(&check(4, 5, 2, 2), "I1");
    names(&check(5, 5, 1, 2), "I6");
    let ends = |ended, healed| {
        let mut found = Vec::new();
        invariants::ends(ended, healed, 100, &mut found);
        found
    };
    assert!(
        ends(false, None).is_empty()
            && ends(false, Some(100)).is_empty()
            && ends(true, Some(101)).is_empty()
    );
    names(&ends(false, Some(101)), "I13");
}

#[test]
fn a_spread_is_of_the_nearest_rank() {
    assert_eq!(Spread::of([]), Spread::default());
    let spread = Spread::of((1..=200).rev());
    let expected = Spread {
        min: 1,
        median: 100,
        p90: 180,
        p99: 198,
        max: 200,
    };
    assert_eq!(spread, expected);
    let one = Spread::of([7]);
    assert_eq!(
        (one.min, one.median, one.p90, one.p99, one.max),
        (7, 7, 7, 7, 7)
    );
}

#[test]
fn a_generated_fleet_is_as_large_as_asked_and_impossible_ones_are_refused() {
    let actions = std::collections::BTreeSet::new();
    let fleet = generated(10, 4, "5.0.1460.8", &actions).unwrap();
    let of = |site: &str| fleet.iter().filter(|one| one.site.as_str() == site).count();
    assert_eq!(
        (fleet.len(), of("site-00001"), of("site-00004")),
        (10, 3, 2)
    );
    let both = fleet
        .iter()
        .filter(|one| one.labels["ims.direction"] == "both");
    assert_eq!(both.count(), 4);
    assert_eq!(
        generated(0, 1, "5.0", &actions),
        Err(FleetFault::Servers(0))
    );
    assert_eq!(
        generated(10_001, 1, "5.0", &actions),
        Err(FleetFault::Servers(10_001))
    );
    let sites = FleetFault::Sites {
        sites: 11,
        servers: 10,
    };
    assert_eq!(generated(10, 11, "5.0", &actions), Err(sites));
}
