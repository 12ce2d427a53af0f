use proptest::prelude::*;
use proptest::strategy::Strategy as _;

use super::*;
use crate::strategy::{MaxUnavailable, Share, Strategy, Window};

fn targets(sites: u32, servers: u32, outage_minutes: u64) -> Targets {
    let sites: BTreeMap<SiteName, u32> = (0..sites)
        .map(|site| (format!("site-{site:05}").parse().unwrap(), servers))
        .collect();
    let all = u32::try_from(sites.len()).unwrap() * servers;
    Targets {
        runs: all,
        sites,
        fleet: all,
        longest_outage: Duration::from_secs(outage_minutes * 60),
    }
}

fn in_waves(waves: &[&str]) -> Strategy {
    Strategy {
        waves: waves.iter().map(|wave| wave.parse().unwrap()).collect(),
        ..Strategy::default()
    }
}

fn waves(waves: &[&str], sites: u32) -> Vec<u32> {
    in_waves(waves)
        .resolve(&targets(sites, 1, 0))
        .unwrap()
        .waves
}

fn one_window(minutes: u32) -> Vec<Window> {
    let window = serde_json::json!([{ "days": ["sat"], "from": "00:00", "to": format!("{:02}:{:02}", minutes / 60, minutes % 60), "zone": "UTC" }]);
    serde_json::from_value(window).unwrap()
}

#[test]
fn waves_are_rounded_up_and_those_that_reach_the_same_are_one() {
    let said = ["1 site", "10%", "50%", "100%"];
    assert_eq!(waves(&said, 20), [1, 2, 10, 20]);
    assert_eq!(waves(&said, 15), [1, 2, 8, 15]);
    assert_eq!(waves(&said, 5), [1, 3, 5]);
    assert_eq!(waves(&said, 2), [1, 2]);
    assert_eq!(waves(&said, 1), [1]);
    assert_eq!(waves(&["1%", "2%", "100%"], 10_000), [100, 200, 10_000]);
    assert_eq!(waves(&["1%", "100%"], 10_001), [101, 10_001]);
    assert_eq!(waves(&["99%", "100%"], 3), [3]);
    assert_eq!(waves(&["2 sites", "5 sites"], 5), [2, 5]);
}

#[test]
fn tolerances_and_budgets_are_rounded_down() {
    let strategy = Strategy {
        max_failed: "5%".parse().unwrap(),
        max_unavailable: MaxUnavailable {
            site: "50%".parse().unwrap(),
            fleet: "10%".parse().unwrap(),
        },
        ..Strategy::default()
    };
    let resolved = |sites, servers| strategy.resolve(&targets(sites, servers, 0)).unwrap();
    let twenty = resolved(20, 3);
    assert_eq!((twenty.max_failed, twenty.max_unavailable_fleet), (3, 6));
    assert!(
        twenty
            .max_unavailable_site
            .values()
            .all(|allowed| *allowed == 1)
    );
    assert_eq!(resolved(13, 3).max_failed, 1);
    assert_eq!(resolved(6, 3).max_failed, 0);
    assert_eq!(resolved(13, 3).max_unavailable_fleet, 3);
    // A number is a number, however few there are.
    let count = Strategy {
        max_failed: Share::Count(7),
        ..Strategy::default()
    };
    assert_eq!(count.resolve(&targets(2, 1, 0)).unwrap().max_failed, 7);
}

#[test]
fn the_default_goes_over_any_fleet() {
    for (sites, servers) in [(1, 1), (1, 9), (2, 1), (500, 4)] {
        let resolved = Strategy::default()
            .resolve(&targets(sites, servers, 1440))
            .unwrap();
        assert_eq!(resolved.waves, [sites]);
        assert_eq!(resolved.max_failed, 0);
        assert_eq!(resolved.max_unavailable_fleet, sites * servers);
    }
}

#[test]
fn what_could_never_go_on_is_refused_with_its_numbers() {
    let refused = |strategy: Strategy, targets: Targets| strategy.resolve(&targets).unwrap_err();
    let budget = |site: &str, fleet: &str| Strategy {
        max_unavailable: MaxUnavailable {
            site: site.parse().unwrap(),
            fleet: fleet.parse().unwrap(),
        },
        ..Strategy::default()
    };
    let with_windows = |windows| Strategy {
        windows,
        ..Strategy::default()
    };
    let none_at_once = Strategy {
        sites_at_once: 0,
        ..Strategy::default()
    };
    for (impossible, said) in [
        (
            refused(in_waves(&["100%"]), targets(0, 1, 0)),
            "the rollout has no site",
        ),
        (
            refused(in_waves(&["3 sites", "100%"]), targets(2, 1, 0)),
            "wave 1 is to reach 3 sites, and the rollout has 2: ask for fewer, or for a percentage",
        ),
        (
            refused(
                in_waves(&["1 site", "12 sites", "10%", "100%"]),
                targets(20, 1, 0),
            ),
            "wave 3 is to reach 2 of 20 sites, and the wave before it 12: waves must rise",
        ),
        (
            refused(in_waves(&["1 site", "10 sites"]), targets(20, 1, 0)),
            "the last wave reaches 10 of 20 sites, so the rollout could never end: let it be `100%`",
        ),
        (
            refused(in_waves(&[]), targets(20, 1, 0)),
            "the last wave reaches 0 of 20 sites, so the rollout could never end: let it be `100%`",
        ),
        (
            refused(budget("30%", "100%"), targets(2, 3, 0)),
            "max_unavailable.site = 30% allows 0 of the 3 servers of site `site-00000` to be out of service: \
             0 + 1 > 0, so it could never begin; allow at least 1",
        ),
        (
            refused(budget("1", "10%"), targets(3, 3, 0)),
            "max_unavailable.fleet = 10% allows 0 of 9 servers to be out of service: 0 + 1 > 0, so it could \
             never begin; allow at least 1",
        ),
        (
            refused(none_at_once, targets(1, 1, 0)),
            "sites_at_once = 0, so it could never begin; allow at least 1",
        ),
        (
            refused(with_windows(one_window(10)), targets(1, 1, 10)),
            "a section may last 10m, and the maintenance windows are open for 10m at most: it would never fit; \
             use a longer window",
        ),
    ] {
        assert_eq!(impossible.to_string(), said);
    }
    let fits = with_windows(one_window(11));
    assert!(fits.resolve(&targets(1, 1, 10)).is_ok());
}

#[test]
fn a_section_may_be_as_long_as_windows_that_adjoin() {
    let mut windows = one_window(10);
    windows.extend(one_window(15));
    windows[1].from = "00:10".parse().unwrap();
    let strategy = Strategy {
        windows,
        ..Strategy::default()
    };
    assert!(strategy.resolve(&targets(1, 1, 14)).is_ok());
    assert!(strategy.resolve(&targets(1, 1, 15)).is_err());
}

#[test]
fn windows_without_days_are_refused_even_where_nothing_is_disturbed() {
    let mut windows = one_window(10);
    windows[0].days.clear();
    let strategy = Strategy {
        windows,
        ..Strategy::default()
    };
    let impossible = strategy.resolve(&targets(1, 1, 0)).unwrap_err();
    assert!(matches!(impossible, Impossible::WindowTooShort { .. }));
}

fn share() -> impl proptest::strategy::Strategy<Value = Share> {
    prop_oneof![
        (0_u32..40).prop_map(Share::Count),
        (0_u32..=100).prop_map(Share::Percent),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_part_is_the_nearest_whole_number_on_its_side(percent in 0_u32..=100, all in any::<u32>()) {
        let (exact, part) = (u64::from(percent) * u64::from(all), Share::Percent(percent));
        let (floor, ceil) = (u64::from(part.floor_of(all)), u64::from(part.ceil_of(all)));
        prop_assert!(floor * 100 <= exact && exact < (floor + 1) * 100);
        prop_assert!(ceil * 100 >= exact && (ceil == 0 || (ceil - 1) * 100 < exact));
        prop_assert!(ceil <= u64::from(all));
    }

    #[test]
    fn resolved_waves_rise_strictly_and_end_with_all_sites(
        waves in prop::collection::vec(share(), 1..8),
        sites in 1_u32..40,
    ) {
        let strategy = Strategy { waves: waves.clone(), ..Strategy::default() };
        let reached: Vec<u32> = waves.iter().map(|wave| wave.ceil_of(sites)).collect();
        let good = reached.windows(2).all(|two| two[0] <= two[1]) && reached.last() == Some(&sites);
        match strategy.resolve(&targets(sites, 1, 0)) {
            Ok(resolved) => {
                prop_assert!(good);
                prop_assert!(resolved.waves[0] > 0);
                prop_assert!(resolved.waves.windows(2).all(|two| two[0] < two[1]));
                prop_assert_eq!(resolved.waves.last(), Some(&sites));
                // Each is one that was asked for, and each that was asked for is one or nothing.
                prop_assert!(resolved.waves.iter().all(|wave| reached.contains(wave)));
                prop_assert!(reached.iter().all(|wave| *wave == 0 || resolved.waves.contains(wave)));
            }
            Err(impossible) => prop_assert!(!good, "{}", impossible),
        }
    }

    #[test]
    fn what_is_resolved_lets_a_first_server_begin(
        site in share(),
        fleet in share(),
        servers in prop::collection::vec(1_u32..12, 1..12),
    ) {
        let mut targets = targets(u32::try_from(servers.len()).unwrap(), 1, 0);
        for (known, servers) in targets.sites.values_mut().zip(&servers) {
            *known = *servers;
        }
        targets.fleet = servers.iter().sum();
        let strategy = Strategy { max_unavailable: MaxUnavailable { site, fleet }, ..Strategy::default() };
        let begins = |allowed: u32| 1 <= allowed;
        let good = servers.iter().all(|servers| begins(site.floor_of(*servers))) && begins(fleet.floor_of(targets.fleet));
        let resolved = strategy.resolve(&targets);
        prop_assert_eq!(resolved.is_ok(), good);
        if let Ok(resolved) = resolved {
            prop_assert!(resolved.max_unavailable_site.keys().eq(targets.sites.keys()));
            prop_assert!(resolved.max_unavailable_site.values().all(|allowed| begins(*allowed)));
            prop_assert!(begins(resolved.max_unavailable_fleet));
        }
    }

    #[test]
    fn a_share_reads_back_as_it_is_written(share in share()) {
        prop_assert_eq!(share.to_string().parse::<Share>(), Ok(share));
    }
}

#[test]
fn there_is_one_way_to_write_a_share() {
    for (text, share) in [
        ("1 site", Share::Count(1)),
        ("12 sites", Share::Count(12)),
        ("3", Share::Count(3)),
        ("0%", Share::Percent(0)),
        ("100%", Share::Percent(100)),
    ] {
        assert_eq!(text.parse(), Ok(share));
    }
    for bad in [
        "",
        "%",
        "site",
        " site",
        "2 site",
        "1 sites",
        "01",
        "+1",
        "-1",
        "1.5",
        "101%",
        "5 %",
        " 5%",
        "٣",
        "4294967296",
        "1site",
        "1 Site",
    ] {
        assert!(bad.parse::<Share>().is_err(), "{bad}");
    }
}
