use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::library;
use crate::parse::parse;
use crate::source::PolicySource;

/// The shipped policy of Q268494.
fn outbound() -> (Policy, Digest) {
    static PARSED: LazyLock<(Policy, Digest)> = LazyLock::new(|| {
        let source = library::find("stuck-outbound-routing").unwrap();
        (parse(&source).unwrap(), source.digest())
    });
    PARSED.clone()
}

/// A policy whose one role is bound `all`, with a section.
fn all_bound() -> (Policy, Digest) {
    let source = library::find("stuck-outbound-routing").unwrap();
    let text = String::from_utf8(source.bytes().to_vec()).unwrap();
    let text = text.replace("bind = \"each\"", "bind = \"all\"\nat_least = 2");
    let text = text.replace(
        ", bind = \"all\"\nat_least = 2",
        ", bind = \"all\", at_least = 2",
    );
    let source = PolicySource::new("all.toml", text);
    (
        parse(&source).unwrap_or_else(|faults| panic!("{faults}")),
        source.digest(),
    )
}

fn server(name: &str, site: &str, direction: &str) -> Server {
    let labels = [
        ("ims.direction", direction),
        ("exchange.version", "5.0.1458.49"),
        ("site", site),
    ];
    let (policy, _) = outbound();
    Server {
        name: name.parse().unwrap(),
        site: site.parse().unwrap(),
        labels: labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        actions: policy
            .steps
            .iter()
            .map(|step| step.action.name().to_owned())
            .collect(),
    }
}

fn site(name: &str) -> Vec<Server> {
    vec![
        server(&format!("{name}-a"), name, "both"),
        server(&format!("{name}-b"), name, "outbound"),
    ]
}

fn texts(servers: &[Server]) -> Vec<String> {
    let (policy, digest) = outbound();
    let faults = plan(&policy, digest, servers).unwrap_err();
    faults.iter().map(ToString::to_string).collect()
}

/// What must hold of every plan.
fn sound(plan: &Plan) {
    for (at, step) in plan.steps.iter().enumerate() {
        assert_eq!(step.index as usize, at);
        let inside = plan
            .sections
            .iter()
            .find(|s| s.first <= step.index && step.index <= s.last);
        assert_eq!(step.section, inside.map(|section| section.index));
        assert!(plan.bindings[&step.role].contains(&step.server));
    }
    for (at, section) in plan.sections.iter().enumerate() {
        assert_eq!(section.index as usize, at);
        let steps = &plan.steps[section.first as usize..=section.last as usize];
        assert!(
            steps
                .iter()
                .all(|step| step.server == section.server && step.role == section.role)
        );
        let last = &steps.last().unwrap().action;
        let closed = matches!(last, Action::ServiceStart { service, .. } if *service == section.service)
            || (steps.len() == 1 && matches!(last, Action::QueueSearch { .. }));
        assert!(closed, "section {at} of {} is left open", plan.policy);
        assert_eq!(section.budget, plan.limits.max_outage);
    }
    for step in &plan.steps {
        let stops = matches!(
            step.action,
            Action::ServiceStop { .. } | Action::ServiceKill { .. }
        );
        assert!(
            !stops || step.section.is_some(),
            "{} stops outside a section",
            step.id
        );
    }
}

#[test]
fn a_site_gets_one_plan_with_detection_first_and_three_closed_sections() {
    let (policy, digest) = outbound();
    let plans = plan(&policy, digest, &site("oslo")).unwrap();
    let [plan] = plans.as_slice() else {
        panic!("{plans:#?}")
    };
    sound(plan);
    assert_eq!(plan.steps[0].id.as_str(), DETECT);
    assert!(matches!(plan.steps[0].action, Action::Detect { .. }));
    assert_eq!(plan.steps[0].server.as_str(), "oslo-b");
    assert_eq!(plan.steps[1].server.as_str(), "oslo-a");
    assert_eq!(plan.sections.len(), 3);
    assert_eq!(plan.subject.as_ref().unwrap().as_str(), "oslo-b");
    assert_eq!(plan.servers().len(), 2);
    assert_eq!(plan.policy_digest, digest);
}

#[test]
fn each_outbound_server_gets_a_plan_of_its_own() {
    let (policy, digest) = outbound();
    let mut servers = site("oslo");
    servers.push(server("oslo-c", "oslo", "outbound"));
    servers.extend(site("bergen"));
    let plans = plan(&policy, digest, &servers).unwrap();
    let subjects: Vec<_> = plans
        .iter()
        .map(|plan| plan.subject.clone().unwrap().to_string())
        .collect();
    assert_eq!(subjects, ["bergen-b", "oslo-b", "oslo-c"]);
    let digests: BTreeSet<_> = plans.iter().map(Plan::digest).collect();
    assert_eq!(digests.len(), 3);
    plans.iter().for_each(sound);
}

#[test]
fn servers_of_an_all_role_are_disturbed_one_after_the_other() {
    let (policy, digest) = all_bound();
    let mut servers = site("oslo");
    servers.push(server("oslo-c", "oslo", "outbound"));
    let plans = plan(&policy, digest, &servers).unwrap();
    let [plan] = plans.as_slice() else {
        panic!("{plans:#?}")
    };
    sound(plan);
    assert_eq!(plan.subject, None);
    let servers: Vec<_> = plan
        .sections
        .iter()
        .map(|section| section.server.as_str())
        .collect();
    assert_eq!(
        servers,
        ["oslo-b", "oslo-b", "oslo-b", "oslo-c", "oslo-c", "oslo-c"]
    );
    let looked: Vec<_> = plan.steps[..2]
        .iter()
        .map(|step| step.server.as_str())
        .collect();
    assert_eq!(looked, ["oslo-b", "oslo-c"]);
    servers_too_few(&policy, digest);
}

fn servers_too_few(policy: &Policy, digest: Digest) {
    let faults = plan(policy, digest, &site("oslo")).unwrap_err();
    assert!(
        matches!(
            &faults[..],
            [PlanFault::TooFew {
                found: 1,
                needed: 2,
                ..
            }]
        ),
        "{faults:?}"
    );
}

#[test]
fn an_empty_selection_is_a_fault_and_never_everything() {
    for servers in [
        vec![],
        vec![server("x", "oslo", "both")],
        vec![server("x", "oslo", "inbound")],
    ] {
        let found = texts(&servers);
        assert!(found[0].starts_with("no server is selected"), "{found:?}");
        assert_eq!(found.len(), 1);
    }
}

#[test]
fn an_incomplete_or_ambiguous_site_is_named_and_holds_back_no_other_fault() {
    let mut servers = vec![server("oslo-b", "oslo", "outbound")];
    servers.extend(site("bergen"));
    servers.push(server("bergen-z", "bergen", "both"));
    let found = texts(&servers);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found
            .iter()
            .any(|text| text.contains("site `oslo` has 0 of 1 servers for role `relay`"))
    );
    assert!(
        found
            .iter()
            .any(|text| text.contains("`bergen-a`, `bergen-z`")),
        "{found:#?}"
    );
}

#[test]
fn a_site_without_an_outbound_server_has_nothing_to_mend() {
    let (policy, digest) = outbound();
    let mut servers = site("oslo");
    servers.push(server("bergen-a", "bergen", "both"));
    let plans = plan(&policy, digest, &servers).unwrap();
    assert_eq!(plans.len(), 1);
    assert_eq!(plans[0].site.as_str(), "oslo");
}

#[test]
fn versions_and_abilities_are_checked_on_every_server_that_takes_a_role() {
    let mut servers = site("oslo");
    servers[0].labels.remove("exchange.version");
    servers[1]
        .labels
        .insert("exchange.version".to_owned(), "4.0.994.63".to_owned());
    servers[1].actions.remove("queue.quarantine");
    servers[1].actions.remove("service.stop");
    let found = texts(&servers);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found
            .iter()
            .any(|text| text.contains("`oslo-a` reports no `exchange.version`"))
    );
    assert!(
        found
            .iter()
            .any(|text| text.contains("`oslo-b` has version `4.0.994.63`"))
    );
    assert!(
        found
            .iter()
            .any(|text| text.contains("`queue.quarantine`, `service.stop`"))
    );
    servers = site("oslo");
    servers[1]
        .labels
        .insert("exchange.version".to_owned(), "5.5 SP4".to_owned());
    assert!(texts(&servers)[0].contains("`5.5 SP4`"));
}

#[test]
fn a_server_listed_twice_is_refused() {
    let mut servers = site("oslo");
    servers.push(server("oslo-a", "bergen", "both"));
    assert!(texts(&servers)[0].contains("`oslo-a` is listed twice"));
}

#[test]
fn a_server_cannot_relay_for_itself_while_it_is_stopped() {
    let source = library::find("stuck-outbound-routing").unwrap();
    let text = String::from_utf8(source.bytes().to_vec()).unwrap();
    let source = PolicySource::new(
        "x",
        text.replace("ims.direction=both", "ims.direction in (both,outbound)"),
    );
    let policy = parse(&source).unwrap();
    let servers = [server("oslo-b", "oslo", "outbound")];
    let faults = plan(&policy, source.digest(), &servers).unwrap_err();
    assert!(
        matches!(&faults[..], [PlanFault::TwoRoles { .. }]),
        "{faults:?}"
    );
}

#[test]
fn every_shipped_policy_can_be_planned_for_a_site_of_its_version() {
    for source in library::all() {
        let policy = parse(&source).unwrap();
        let mut servers = site("oslo");
        let version = ["4.0.837.3", "5.0.1458.49", "5.5.2650.21"]
            .into_iter()
            .find(|version| policy.applies_to.versions.holds(version.parse().unwrap()))
            .unwrap();
        for server in &mut servers {
            server
                .labels
                .insert("exchange.version".to_owned(), version.to_owned());
            server.actions = policy
                .steps
                .iter()
                .map(|step| step.action.name().to_owned())
                .collect();
        }
        let plans =
            plan(&policy, source.digest(), &servers).unwrap_or_else(|faults| panic!("{faults:?}"));
        plans.iter().for_each(sound);
    }
}

#[test]
fn a_plan_reads_back_from_its_own_json_with_the_same_digest() {
    let (policy, digest) = outbound();
    for plan in plan(&policy, digest, &site("oslo")).unwrap() {
        let json = serde_json::to_string(&plan).unwrap();
        let back: Plan = serde_json::from_str(&json).unwrap();
        assert_eq!(back, plan);
        assert_eq!(back.digest(), plan.digest());
    }
}

fn fleet() -> impl Strategy<Value = Vec<Server>> {
    let kinds = prop::sample::select(vec!["both", "outbound", "inbound"]);
    let one = (0..4_u8, 0..6_u8, kinds);
    prop::collection::vec(one, 0..16).prop_map(|all| {
        let mut seen: BTreeMap<String, Server> = BTreeMap::new();
        for (site, number, direction) in all {
            let name = format!("s{site}-{number}");
            seen.insert(
                name.clone(),
                server(&name, &format!("site{site}"), direction),
            );
        }
        seen.into_values().collect()
    })
}

proptest! {
    #[test]
    fn the_order_of_the_servers_never_matters(
        (servers, shuffled) in fleet().prop_flat_map(|servers| {
            (Just(servers.clone()), Just(servers).prop_shuffle())
        })
    ) {
        let (policy, digest) = outbound();
        let planned = plan(&policy, digest, &servers);
        prop_assert_eq!(&planned, &plan(&policy, digest, &shuffled));
        if let Ok(plans) = &planned {
            plans.iter().for_each(sound);
            let again = plan(&policy, digest, &shuffled).unwrap();
            let digests = |plans: &[Plan]| plans.iter().map(Plan::digest).collect::<Vec<_>>();
            prop_assert_eq!(digests(plans), digests(&again));
        }
    }

    #[test]
    fn a_site_is_planned_the_same_alone_and_in_a_fleet(servers in fleet()) {
        let (policy, digest) = outbound();
        if let Ok(plans) = plan(&policy, digest, &servers) {
            for one in plans {
                let alone: Vec<_> = servers.iter().filter(|s| s.site == one.site).cloned().collect();
                prop_assert!(plan(&policy, digest, &alone).unwrap().contains(&one));
            }
        }
    }
}
