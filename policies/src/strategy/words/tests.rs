use std::collections::BTreeMap;
use std::time::Duration;

use crate::strategy::{Approve, Strategy, Targets, overridden};

fn targets(servers: &[u32]) -> Targets {
    let sites: BTreeMap<_, _> = servers
        .iter()
        .enumerate()
        .map(|(at, servers)| (format!("site-{at:02}").parse().unwrap(), *servers))
        .collect();
    Targets {
        runs: u32::try_from(servers.len()).unwrap(),
        sites,
        fleet: servers.iter().sum(),
        longest_outage: Duration::from_secs(600),
    }
}

fn lines(text: &str, targets: &Targets) -> Vec<String> {
    let strategy = overridden(&Strategy::default(), text.as_bytes(), "s.toml").unwrap();
    let resolved = strategy.resolve(targets).unwrap();
    strategy.lines(targets, &resolved)
}

#[test]
fn a_careful_strategy_says_every_number_and_inequality() {
    let text = r#"
waves = ["1 site", "10%", "50%", "100%"]
soak = "10m"
gate = "health"
sites_at_once = 10
max_failed = "5%"
max_unavailable = { site = 1, fleet = "10%" }
windows = [
  { days = ["sat", "sun"], from = "22:00", to = "04:00", zone = "Europe/Oslo" },
  { days = ["wed"], from = "12:00", to = "13:00", zone = "UTC" },
]
approve = "after-first"
"#;
    assert_eq!(
        lines(text, &targets(&[3; 20])),
        [
            "wave 1 of 4: 1 of 20 sites",
            "wave 2 of 4: 2 of 20 sites, 1 of them new; a person is asked before it",
            "wave 3 of 4: 10 of 20 sites, 8 of them new",
            "wave 4 of 4: 20 of 20 sites, 10 of them new",
            "after a wave: its sites are only watched for 10m, then every server of its sites must be connected, \
             without an alarm since its run, and known to be without the symptom; what cannot be told pauses the rollout",
            "at most 10 sites are mended at once",
            "halts as soon as failed > 1 (5% of 20 runs, rounded down)",
            "a server waits while unavailable + 1 > 1 at its site",
            "a server waits while unavailable + 1 > 6 in the fleet (10% of 60 servers, rounded down)",
            "service may be disturbed on sat, sun 22:00 to 04:00 of the next day, Europe/Oslo",
            "service may be disturbed on wed 12:00 to 13:00, UTC",
        ]
    );
}

#[test]
fn the_default_strategy_is_told_too() {
    assert_eq!(
        lines("", &targets(&[1])),
        [
            "wave 1 of 1: 1 of 1 site",
            "at most 1 site is mended at once",
            "halts as soon as failed > 0",
            "a server waits while unavailable + 1 > 1 at its site (100% of 1 server, rounded down)",
            "a server waits while unavailable + 1 > 1 in the fleet (100% of 1 server, rounded down)",
            "service may be disturbed at any time",
        ]
    );
}

#[test]
fn a_part_of_unequal_sites_names_the_tightest() {
    let half = "max_unavailable = { site = \"50%\" }";
    let of = |servers: &[u32]| lines(half, &targets(servers)).remove(3);
    assert_eq!(
        of(&[6, 2, 4]),
        "a server waits while unavailable + 1 > 1 to 3 at its site (50% of its servers, rounded down: 1 at `site-01`)"
    );
    assert_eq!(
        of(&[2, 3]),
        "a server waits while unavailable + 1 > 1 at its site (50% of its servers, rounded down)"
    );
}

#[test]
fn who_is_asked_is_told_at_each_wave_that_there_is() {
    let asked = |approve: &str, sites: usize| -> Vec<usize> {
        let text = format!("waves = [\"1 site\", \"50%\", \"100%\"]\napprove = \"{approve}\"");
        let lines = lines(&text, &targets(&vec![1; sites]));
        (1..=3)
            .filter(|wave| {
                let begins = format!("wave {wave} of");
                let asked = |line: &&String| {
                    line.starts_with(&begins) && line.contains("a person is asked")
                };
                lines.iter().filter(asked).count() == 1
            })
            .collect()
    };
    assert!(asked("none", 6).is_empty());
    assert_eq!(asked("before-first", 6), [1]);
    assert_eq!(asked("after-first", 6), [2]);
    assert_eq!(asked("each-wave", 6), [1, 2, 3]);
    // Over one site there is no second wave.
    assert!(asked("after-first", 1).is_empty());
    assert!(Approve::AfterFirst.before(1));
}
