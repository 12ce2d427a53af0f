use std::collections::BTreeMap;
use std::sync::Arc;

use mailmend_proto::run::Outcome;

use super::*;
use crate::decide::simulation::World;
use crate::rollout::Mark;
use crate::simulated_agent::{Ends, plan_of};

fn server(site: &str, letter: &str, facts: &[(&str, &str)]) -> Server {
    Server {
        name: format!("{site}-{letter}").parse().unwrap(),
        site: site.parse().unwrap(),
        labels: facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        actions: Default::default(),
    }
}

fn all(one: &[Server]) -> BTreeSet<ServerName> {
    one.iter().map(|server| server.name.clone()).collect()
}

/// Two sites with a server each; both are paths for everything, and oslo's one for its partner too.
fn two() -> Vec<Server> {
    vec![
        server(
            "oslo",
            "A",
            &[(FACT, "SMTP:*;1, SMTP:partner.example;1;site")],
        ),
        server(
            "rome",
            "A",
            &[(FACT, "smtp:*;10"), ("ims.direction", "both")],
        ),
    ]
}

fn ends() -> Ends {
    Arc::new(|_, _, _| Outcome::Done)
}

fn runs(plans: &[Arc<Plan>]) -> Vec<Run> {
    World::new(plans, 9, 9, &ends(), 1).rollout.runs
}

const MENDS: &str = "A:detect A:stop A:hold A:start A:check";

fn told(last: &[LastPath]) -> Vec<String> {
    last.iter()
        .map(|last| {
            let others: Vec<String> = last
                .others
                .iter()
                .map(|(server, why)| format!("{server} {why}"))
                .collect();
            format!("{}: {}; {}", last.route, last.server, others.join(", "))
        })
        .collect()
}

#[test]
fn a_run_begins_only_where_every_space_with_another_path_keeps_a_live_one() {
    let servers = two();
    let plans = [plan_of("oslo", MENDS), plan_of("rome", MENDS)];
    let runs = runs(&plans);
    let flow = MailFlow::of(&servers).connected(&all(&servers));
    assert_eq!(flow.beginning(&runs[0]), []);
    let alone = MailFlow::of(&servers).connected(&all(&servers[..1]));
    assert_eq!(
        told(&alone.beginning(&runs[0])),
        ["SMTP:* of the organisation: oslo-A; rome-A not connected"]
    );
    assert_eq!(alone.beginning(&runs[1]), [], "it is the dead one itself");
    let mut reserved = flow.clone();
    reserved.reserve(&runs[1]);
    assert_eq!(
        told(&reserved.beginning(&runs[0])),
        ["SMTP:* of the organisation: oslo-A; rome-A given to run 00000000"]
    );
    assert_eq!(
        reserved.beginning(&runs[1]),
        [],
        "its own is not in its way"
    );
    assert_eq!(
        MailFlow::of(&servers)
            .connected(&BTreeSet::new())
            .beginning(&runs[0]),
        [],
        "what has no live path is made no worse"
    );
}

#[test]
fn what_a_run_does_to_a_server_tells_whether_it_is_a_live_path() {
    let servers = two();
    let plans = [plan_of("oslo", MENDS), plan_of("rome", MENDS)];
    let mut runs = runs(&plans);
    let waiting = runs.remove(0);
    let name: ServerName = "rome-A".parse().unwrap();
    let why = |run: &Run| {
        let flow = MailFlow::of(&servers)
            .connected(&all(&servers))
            .with_run(run);
        let last = flow.beginning(&waiting);
        last.first().map(|last| last.others[0].1.clone())
    };
    let other = &mut runs[0];
    let id = other.id;
    assert_eq!(why(other), None, "it waits");
    other.phase = RunPhase::Assigned;
    assert_eq!(why(other), Some(Why::Reserved(id)));
    other.phase = RunPhase::Running;
    other.parts.get_mut(&name).unwrap().told.begun = true;
    other.parts.get_mut(&name).unwrap().through = 5;
    assert_eq!(
        why(other),
        Some(Why::Disturbed(id)),
        "it may be stopped any time"
    );
    other.phase = RunPhase::NeedsPerson;
    other.parts.get_mut(&name).unwrap().told.handed_over = true;
    assert_eq!(why(other), Some(Why::LeftDown(id)));
    other.phase = RunPhase::Failed;
    assert_eq!(why(other), Some(Why::LeftDown(id)));
    other.parts.get_mut(&name).unwrap().told.handed_over = false;
    assert_eq!(why(other), Some(Why::Failed(id)));
    other.phase = RunPhase::Succeeded;
    assert_eq!(why(other), None);
}

#[test]
fn of_two_runs_that_were_given_out_one_goes_on_and_the_other_waits_for_it() {
    let servers = two();
    let plans = [plan_of("oslo", MENDS), plan_of("rome", MENDS)];
    let mut runs = runs(&plans);
    let (oslo, rome): (ServerName, ServerName) =
        ("oslo-A".parse().unwrap(), "rome-A".parse().unwrap());
    for run in &mut runs {
        run.phase = RunPhase::Running;
        for part in run.parts.values_mut() {
            part.told.begun = true;
        }
    }
    let flow = |runs: &[Run]| {
        let flow = MailFlow::of(&servers).connected(&all(&servers));
        runs.iter().fold(flow, MailFlow::with_run)
    };
    assert_eq!(flow(&runs).releasing(&runs[0], &oslo, 0..5), []);
    assert_eq!(flow(&runs).releasing(&runs[1], &rome, 0..5), []);
    runs[0].parts.get_mut(&oslo).unwrap().through = 5;
    assert_eq!(
        told(&flow(&runs).releasing(&runs[1], &rome, 0..5)),
        ["SMTP:* of the organisation: rome-A; oslo-A disturbed by run 00000000"]
    );
    // While its agent is away its service may well be up, and the release would be told when it is back.
    let mut away = MailFlow::of(&servers).connected(&[oslo.clone()].into());
    away = runs.iter().fold(away, MailFlow::with_run);
    assert_eq!(
        told(&away.releasing(&runs[1], &rome, 0..5)),
        ["SMTP:* of the organisation: rome-A; oslo-A disturbed by run 00000000"]
    );
    assert_eq!(
        flow(&runs).releasing(&runs[1], &rome, 0..1),
        [],
        "a look disturbs nothing"
    );
    let part = runs[0].parts.get_mut(&oslo).unwrap();
    part.told.steps = (0..5).map(|step| (step, Mark::Done)).collect();
    assert_eq!(flow(&runs).releasing(&runs[1], &rome, 0..5), []);
}

#[test]
fn a_space_of_a_site_is_kept_by_its_own_servers_and_by_those_for_everybody() {
    let servers = vec![
        server("oslo", "A", &[(FACT, "SMTP:x.example;1;site")]),
        server(
            "oslo",
            "B",
            &[
                (FACT, "SMTP:x.example;1;site"),
                ("ims.direction", "inbound"),
            ],
        ),
        server("rome", "A", &[(FACT, "SMTP:x.example;1;site")]),
    ];
    let plans = [plan_of("oslo", MENDS)];
    let run = runs(&plans).remove(0);
    let flow = MailFlow::of(&servers).connected(&all(&servers));
    let only = flow.only_paths(&plans[0]);
    assert_eq!(
        only.len(),
        1,
        "an inbound server is no path, nor is another site's"
    );
    assert_eq!(only[0].0.to_string(), "SMTP:x.example of site oslo");
    assert_eq!(
        flow.beginning(&run),
        [],
        "that is for planning to accept or refuse"
    );
    let mut servers = servers;
    servers.push(server("bern", "A", &[(FACT, "SMTP:X.example")]));
    let flow = MailFlow::of(&servers).connected(&all(&servers));
    assert_eq!(flow.only_paths(&plans[0]), []);
}

#[test]
fn a_plan_says_who_is_the_only_path_who_says_nothing_and_who_says_nonsense() {
    let servers = vec![
        server("oslo", "A", &[(FACT, "SMTP:*")]),
        server("rome", "A", &[]),
        server("bern", "A", &[(FACT, "everything")]),
    ];
    let plans: Vec<Plan> = ["oslo", "rome", "bern"]
        .iter()
        .map(|site| (*plan_of(site, MENDS)).clone())
        .collect();
    let notes = MailFlow::of(&servers).notes(&plans, &servers);
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(notes[0].starts_with("oslo-A is the only outbound path of SMTP:* of the organisation"));
    assert!(notes[1].contains("bern-A states") && notes[1].contains("no type"));
    assert!(notes[2].starts_with("rome-A of 3 servers"), "{}", notes[2]);
}

/// Mends many servers at once, one in each site, while messages are lost, late and repeated; answers the
/// fewest live paths that there ever were.
fn fewest_live_paths(sites: usize, floor: bool, seed: u64) -> usize {
    let names: Vec<String> = (0..sites).map(|site| format!("site{site}")).collect();
    let plans: Vec<Arc<Plan>> = names.iter().map(|site| plan_of(site, MENDS)).collect();
    let servers: Vec<Server> = names
        .iter()
        .map(|site| server(site, "A", &[(FACT, "SMTP:*;1")]))
        .collect();
    let mut world = World::new(&plans, 100, 100, &ends(), seed);
    if floor {
        world.mail_flow = MailFlow::of(&servers);
    }
    let mut fewest = sites;
    for _ in 0..3000 {
        world.storm(1);
        fewest = fewest.min(sites - world.in_section());
    }
    world.calm();
    let ended: BTreeMap<_, _> = world
        .rollout
        .runs
        .iter()
        .map(|run| (run.id, run.phase))
        .collect();
    assert!(
        ended.values().all(|phase| *phase == RunPhase::Succeeded),
        "{ended:?}"
    );
    fewest
}

#[test]
fn no_order_of_assigns_and_releases_takes_the_last_live_path_away() {
    for sites in 2..5 {
        for seed in 0..20 {
            let fewest = fewest_live_paths(sites, true, seed);
            assert!(
                fewest >= 1,
                "{sites} sites, seed {seed}: mail had no way out"
            );
        }
    }
}

#[test]
fn without_the_floor_the_last_live_path_is_taken_away() {
    let harmed = (0..20).filter(|seed| fewest_live_paths(2, false, *seed) == 0);
    assert!(harmed.count() > 0, "the check above could not fail");
}
