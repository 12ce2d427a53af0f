use super::*;

const POLICY: &str = include_str!("../../../policies/library/stuck-outbound-routing.toml");

fn revision() -> PolicyRow {
    let source = PolicySource::new("policy", POLICY);
    PolicyRow {
        name: "stuck-outbound-routing".parse().unwrap(),
        version: 1,
        digest: source.digest(),
        title: String::new(),
        article: String::new(),
        text: POLICY.into(),
        published_ms: 0,
        by: String::new(),
    }
}

fn server(site: &str, name: &str, direction: &str) -> Server {
    let policy = parse(&PolicySource::new("policy", POLICY)).unwrap();
    let labels = [
        ("exchange.version", "5.5.2653"),
        ("ims.direction", direction),
        ("site", site),
        ("name", name),
    ];
    Server {
        name: name.parse().unwrap(),
        site: site.parse().unwrap(),
        labels: labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        actions: policy
            .steps
            .iter()
            .map(|step| step.action.name().to_owned())
            .chain(["detect".to_owned()])
            .collect(),
    }
}

fn fleet() -> Vec<Server> {
    vec![
        server("oslo", "OA", "both"),
        server("oslo", "OB", "outbound"),
        server("rome", "RA", "both"),
        server("rome", "RB", "outbound"),
        server("rome", "RC", "outbound"),
    ]
}

fn plan_of(selector: &str, fleet: &[Server]) -> Result<Planned, PlanningFault> {
    planned(&revision(), selector, &Overrides::default(), fleet)
}

#[test]
fn a_selected_server_brings_its_whole_site() {
    let planned = plan_of("name=OB", &fleet()).unwrap();
    assert_eq!(planned.plans.len(), 1);
    let names: Vec<&str> = planned.servers[&"oslo".parse().unwrap()]
        .iter()
        .map(|server| server.name.as_str())
        .collect();
    assert_eq!(names, ["OA", "OB"]);
    assert!(
        planned
            .inequality()
            .contains("failed > max_failed 0, of 1 runs")
    );
    assert_eq!(
        plan_of("site", &fleet()).unwrap().plans.len(),
        3,
        "one for each subject"
    );
}

#[test]
fn nothing_selected_is_a_fault_and_so_is_no_selector() {
    assert!(matches!(
        plan_of("site=nowhere", &fleet()),
        Err(PlanningFault::NothingSelected { servers: 5, .. })
    ));
    for empty in ["", "  ", ","] {
        assert!(
            matches!(
                plan_of(empty, &fleet()),
                Err(PlanningFault::Selector { .. })
            ),
            "{empty:?}"
        );
    }
    assert!(matches!(
        plan_of("site", &[]),
        Err(PlanningFault::NothingSelected { .. })
    ));
}

#[test]
fn the_digest_is_of_what_would_be_done_and_of_nothing_else() {
    let one = plan_of("site=oslo", &fleet()).unwrap();
    let mut shuffled = fleet();
    shuffled.reverse();
    assert_eq!(plan_of("site=oslo", &shuffled).unwrap().digest, one.digest);
    let mut renamed = fleet();
    renamed[1].name = "OX".parse().unwrap();
    assert_ne!(plan_of("site=oslo", &renamed).unwrap().digest, one.digest);
    assert_ne!(plan_of("site", &fleet()).unwrap().digest, one.digest);
}

#[test]
fn a_site_that_lacks_a_server_is_named() {
    let mut fleet = fleet();
    fleet.remove(0);
    let fault = plan_of("site=oslo", &fleet).unwrap_err().to_string();
    assert!(fault.starts_with("C082-not-plannable: "), "{fault}");
    assert!(fault.contains("oslo") && fault.contains("relay"), "{fault}");
}

#[test]
fn of_a_fleet_in_which_every_server_has_the_same_fault_only_some_are_told() {
    // Of each site the server is missing that would be the relay.
    let fleet: Vec<Server> = (0..200)
        .map(|site| server(&format!("s{site}"), &format!("B{site}"), "outbound"))
        .collect();
    let fault = plan_of("site", &fleet).unwrap_err().to_string();
    let more = fault.rsplit_once("; and ").unwrap().1;
    assert!(more.ends_with(" more like these"), "{fault}");
    assert!(fault.len() < 4000, "{}", fault.len());
}

#[test]
fn limits_come_from_the_request_before_the_policy_and_stay_in_range() {
    let limited = |sites_at_once| {
        let overrides = Overrides {
            sites_at_once,
            max_failed: Some(7),
            ..Overrides::default()
        };
        planned(&revision(), "site", &overrides, &fleet())
    };
    assert_eq!(limited(Some(3)).unwrap().strategy.sites_at_once, 3);
    assert_eq!(limited(None).unwrap().resolved.max_failed, 7);
    assert!(matches!(
        limited(Some(0)),
        Err(PlanningFault::SitesAtOnce(0))
    ));
    assert!(matches!(
        limited(Some(1001)),
        Err(PlanningFault::SitesAtOnce(1001))
    ));
}

fn with_spaces(spaces: &[(&str, &str)]) -> Vec<Server> {
    let mut servers = fleet();
    for (name, stated) in spaces {
        let server = servers.iter_mut().find(|one| one.name.as_str() == *name);
        let labels = &mut server.unwrap().labels;
        labels.insert("ims.address-spaces".to_owned(), (*stated).to_owned());
    }
    servers
}

/// The same policy, which refuses to take the only path of an address space.
fn strict() -> PolicyRow {
    let strict = POLICY.replacen("[strategy]\n", "[strategy]\nlast_path = \"refuse\"\n", 1);
    let strict = if strict == POLICY {
        POLICY.replacen(
            "[limits]\n",
            "[strategy]\nlast_path = \"refuse\"\n\n[limits]\n",
            1,
        )
    } else {
        strict
    };
    PolicyRow {
        digest: PolicySource::new("policy", &*strict).digest(),
        text: strict.into(),
        ..revision()
    }
}

#[test]
fn one_site_of_a_fleet_is_planned_as_it_would_be_alone() {
    let mut without_relay = fleet();
    without_relay.remove(0);
    let fleets = [
        fleet(),
        without_relay,
        with_spaces(&[("OB", "SMTP:*;1")]),
        with_spaces(&[("OB", "SMTP:*;1"), ("RA", "SMTP:*;2")]),
    ];
    let (mut planned_some, mut refused_some) = (0, 0);
    for (servers, row) in fleets
        .iter()
        .flat_map(|all| [(all, revision()), (all, strict())])
    {
        let source = PolicySource::new(row.name.as_str(), row.text.clone());
        let policy = parse(&source).unwrap();
        for site in ["oslo", "rome", "nowhere"] {
            let overrides = Overrides {
                one_wave: true,
                ..Overrides::default()
            };
            let alone = planned(&row, &format!("site={site}"), &overrides, servers);
            let alone = alone.map(|planned| planned.plans);
            let fleet = Fleet::of(servers.iter());
            let of_fleet = fleet.plans_at(&policy, row.digest, &overrides, &site.parse().unwrap());
            match (alone, of_fleet) {
                (Ok(alone), Ok(of_fleet)) => {
                    planned_some += 1;
                    assert_eq!(alone, of_fleet);
                }
                (alone, of_fleet) => {
                    refused_some += 1;
                    let fault =
                        |found: Result<Vec<Plan>, PlanningFault>| found.unwrap_err().to_string();
                    assert_eq!(fault(alone), fault(of_fleet));
                }
            }
        }
    }
    // Of oslo without its relay, with its only path refused, and of no site.
    assert_eq!((planned_some, refused_some), (13, 11));
}

#[test]
fn the_only_path_of_an_address_space_is_named_or_refused_as_the_strategy_says() {
    let alone = with_spaces(&[("OB", "SMTP:*;1")]);
    let planned_alone = plan_of("name=OB", &alone).unwrap();
    assert!(
        planned_alone.mail_flow[0].starts_with("OB is the only outbound path of SMTP:*"),
        "{:?}",
        planned_alone.mail_flow
    );
    let strict = strict();
    let plan = |servers: &[Server]| planned(&strict, "name=OB", &Overrides::default(), servers);
    let refused = plan(&alone).unwrap_err().to_string();
    assert!(
        refused.starts_with("C125-last-path: `OB` is the only outbound path"),
        "{refused}"
    );
    let beside = with_spaces(&[("OB", "SMTP:*;1"), ("RA", "SMTP:*;2")]);
    assert_eq!(plan(&beside).unwrap().mail_flow, [] as [String; 0]);
}
