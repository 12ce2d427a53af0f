use proptest::prelude::*;

use super::*;
use crate::document::{MOST_BYTES, MOST_LEVELS};
use crate::library;
use crate::parse::{check, parse};
use crate::source::PolicySource;
use crate::strategy::Strategy;

const WHOLE: &str = r#"
waves = ["1 site", "10%", "50%", "100%"]
soak = "10m"
gate = "health"
sites_at_once = 10
max_failed = "5%"
max_unavailable = { site = 1, fleet = "10%" }
windows = [{ days = ["sat", "sun"], from = "22:00", to = "04:00", zone = "Europe/Oslo" }]
approve = "each-wave"
last_path = "refuse"
"#;

fn whole() -> Strategy {
    Strategy {
        waves: vec![
            Share::Count(1),
            Share::Percent(10),
            Share::Percent(50),
            Share::Percent(100),
        ],
        soak: Duration::from_secs(600),
        gate: Gate::Health,
        sites_at_once: 10,
        max_failed: Share::Percent(5),
        max_unavailable: MaxUnavailable {
            site: Share::Count(1),
            fleet: Share::Percent(10),
        },
        windows: vec![Window {
            days: vec![Day::Sat, Day::Sun],
            from: "22:00".parse().unwrap(),
            to: "04:00".parse().unwrap(),
            zone: "Europe/Oslo".parse().unwrap(),
        }],
        approve: Approve::EachWave,
        last_path: LastPath::Refuse,
    }
}

/// The shipped policy of Q268494 with a strategy.
fn policy(strategy: &str) -> PolicySource {
    let source = library::find("stuck-outbound-routing").unwrap();
    let text = String::from_utf8(source.bytes().to_vec()).unwrap();
    assert!(!text.contains("[strategy]"), "the test gives it one");
    PolicySource::new("x.toml", format!("{text}\n[strategy]\n{strategy}"))
}

fn faults(text: &str) -> Vec<String> {
    let faults = overridden(&Strategy::default(), text.as_bytes(), "s.toml").unwrap_err();
    let told = faults.list().iter().map(|fault| {
        let (code, line, column) = (fault.code, fault.line, fault.column);
        let hint = fault.hint.as_deref().unwrap_or_default();
        format!("{code} {line}:{column} {} | {hint}", fault.message)
    });
    told.collect()
}

fn only_fault(text: &str) -> String {
    let mut told = faults(text);
    assert_eq!(told.len(), 1, "{told:#?}");
    told.remove(0)
}

#[test]
fn a_policy_says_every_key_of_its_strategy() {
    assert_eq!(parse(&policy(WHOLE)).unwrap().strategy, whole());
}

#[test]
fn a_policy_that_says_nothing_goes_one_site_at_a_time_and_halts_at_the_first_failure() {
    let strategy = parse(&policy("")).unwrap().strategy;
    assert_eq!(strategy, Strategy::default());
    assert_eq!(strategy.waves, [Share::Percent(100)]);
    assert_eq!(
        (strategy.sites_at_once, strategy.max_failed),
        (1, Share::Count(0))
    );
    assert_eq!(
        (strategy.gate, strategy.approve),
        (Gate::None, Approve::None)
    );
    assert!(strategy.soak.is_zero() && strategy.windows.is_empty());
}

#[test]
fn an_override_says_what_a_policy_says_in_the_same_words() {
    let base = Strategy::default();
    let over = |text: &str| overridden(&base, text.as_bytes(), "s.toml").unwrap();
    assert_eq!(over(WHOLE), whole());
    assert_eq!(over(&format!("[strategy]\n{WHOLE}")), whole());
    assert_eq!(over(""), base);
    assert_eq!(over("[strategy]"), base);
}

#[test]
fn an_override_replaces_only_the_keys_that_it_names() {
    let base = whole();
    let over = |text: &str| overridden(&base, text.as_bytes(), "s.toml").unwrap();
    let lines: Vec<&str> = WHOLE.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(over(""), base);
    // Key by key: the default of one is put in place of the base's.
    for (text, expected) in [
        (
            "waves = [\"100%\"]",
            Strategy {
                waves: vec![Share::Percent(100)],
                ..base.clone()
            },
        ),
        (
            "soak = \"0s\"",
            Strategy {
                soak: Duration::ZERO,
                ..base.clone()
            },
        ),
        (
            "gate = \"none\"",
            Strategy {
                gate: Gate::None,
                ..base.clone()
            },
        ),
        (
            "sites_at_once = 1",
            Strategy {
                sites_at_once: 1,
                ..base.clone()
            },
        ),
        (
            "max_failed = 0",
            Strategy {
                max_failed: Share::Count(0),
                ..base.clone()
            },
        ),
        (
            "windows = \"always\"",
            Strategy {
                windows: Vec::new(),
                ..base.clone()
            },
        ),
        (
            "last_path = \"accept\"",
            Strategy {
                last_path: LastPath::Accept,
                ..base.clone()
            },
        ),
        (
            "approve = \"none\"",
            Strategy {
                approve: Approve::None,
                ..base.clone()
            },
        ),
    ] {
        assert_eq!(over(text), expected, "{text}");
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with(text.split(' ').next().unwrap()))
        );
    }
    let fleet = over("max_unavailable = { fleet = 3 }").max_unavailable;
    assert_eq!(
        fleet,
        MaxUnavailable {
            site: Share::Count(1),
            fleet: Share::Count(3)
        }
    );
}

#[test]
fn an_override_is_held_to_the_limits_of_a_policy_file() {
    let told = |bytes: &[u8]| {
        let faults = overridden(&Strategy::default(), bytes, "s.toml").unwrap_err();
        faults.list()[0].code
    };
    assert_eq!(told(&vec![b'#'; MOST_BYTES + 1]), FaultCode::TooLarge);
    let deep = format!("a = {}", "[".repeat(MOST_LEVELS + 1));
    assert_eq!(told(deep.as_bytes()), FaultCode::TooDeep);
    assert_eq!(told(b"soak = \"10m\xff\""), FaultCode::NotUtf8);
    assert_eq!(told("# \u{202e}".as_bytes()), FaultCode::HiddenCharacter);
}

#[test]
fn every_fault_of_an_override_is_told_at_once_with_its_place() {
    let told =
        faults("waves = [\"10%\", \"5%\"]\nsoak = \"31d\"\n\nsoka = 1\napprove = \"never\"\n");
    let places: Vec<&str> = told
        .iter()
        .map(|line| line.split(" `").next().unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "P053-never-progresses 1:17",
            "P053-never-progresses 1:17 the last wave reaches 5% of the sites, so the rollout could never end | let the last wave be",
            "P014-out-of-range 2:8",
            "P012-unknown-key 4:1 the strategy has no key",
            "P013-unknown-value 5:11",
        ],
        "{told:#?}"
    );
    assert!(told[3].ends_with("did you mean `soak`?"), "{told:#?}");
}

#[test]
fn keys_beside_a_strategy_table_are_not_lost_silently() {
    let told = only_fault("soak = \"1m\"\n[strategy]\ngate = \"none\"\n");
    assert!(told.starts_with("P012-unknown-key 1:1"), "{told}");
    assert!(
        told.ends_with("or all of them below `[strategy]`"),
        "{told}"
    );
}

#[test]
fn what_stands_beside_broken_syntax_is_told_too() {
    let told = faults("waves = [\"ten\", \"100%\"]\nsoak = = 1\n");
    assert!(told[0].starts_with("P029-bad-share 1:10"), "{told:#?}");
    assert!(
        told.iter().any(|line| line.starts_with("P005-syntax 2:")),
        "{told:#?}"
    );
}

#[test]
fn the_hint_says_what_was_meant() {
    let window = |key: &str, value: &str| {
        let mut parts = [
            ("days", "[\"sat\"]"),
            ("from", "\"22:00\""),
            ("to", "\"04:00\""),
            ("zone", "\"UTC\""),
        ];
        parts.iter_mut().find(|part| part.0 == key).unwrap().1 = value;
        let parts: Vec<String> = parts
            .iter()
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        only_fault(&format!("windows = [{{ {} }}]", parts.join(", ")))
    };
    for (told, hint) in [
        (
            only_fault("waves = [3, \"100%\"]"),
            "`\"3 sites\"` or `\"3%\"`",
        ),
        (
            only_fault("waves = [\"3\", \"100%\"]"),
            "such as `1 site`, `12 sites` or `10%`",
        ),
        (only_fault("max_failed = \"3\""), "write 3 without quotes"),
        (only_fault("max_failed = \"3 %\""), "such as `\"5%\"`"),
        (
            only_fault("max_unavailable = { site = 0 }"),
            "allow at least 1",
        ),
        (only_fault("windows = []"), "write `windows = \"always\"`"),
        (window("zone", "\"Oslo\""), "near it are `Europe/Oslo`"),
        (
            window("zone", "\"europe/oslo\""),
            "near it are `Europe/Oslo`",
        ),
        (
            window("zone", "\"America/New York\""),
            "near it are `America/New_York`",
        ),
        (window("zone", "\"Etc/Unknown\""), "IANA database"),
        (window("to", "\"24:00\""), "the end of a day is `00:00`"),
        (window("days", "[\"Sun\"]"), "did you mean `sun`?"),
    ] {
        assert!(told.contains(hint), "{told}");
    }
    assert!(only_fault("max_unavailable = { fleet = \"0%\" }").contains("`0 + 1 > 0%`"));
}

#[test]
fn a_number_and_a_part_of_the_sites_may_follow_each_other_either_way() {
    for good in [
        "[\"12 sites\", \"10%\", \"100%\"]",
        "[\"10%\", \"12 sites\", \"100%\"]",
        "[\"1 site\", \"10%\", \"2 sites\", \"11%\", \"100%\"]",
        "[\"1 site\", \"5 sites\"]",
    ] {
        let text = format!("waves = {good}");
        assert!(
            overridden(&Strategy::default(), text.as_bytes(), "s").is_ok(),
            "{good}"
        );
    }
    for bad in [
        "[\"1 site\", \"10%\", \"1 site\", \"100%\"]",
        "[\"10%\", \"1 site\", \"10%\", \"100%\"]",
        "[\"100%\", \"5 sites\"]",
    ] {
        let told = only_fault(&format!("waves = {bad}"));
        assert!(told.contains("waves must rise"), "{told}");
    }
}

#[test]
fn windows_must_be_longer_than_an_outage_unless_no_service_is_disturbed() {
    let windows = |to: &str| {
        format!(
            "windows = [{{ days = [\"sat\"], from = \"22:00\", to = \"{to}\", zone = \"UTC\" }}]"
        )
    };
    let outage = parse(&policy("")).unwrap().limits.max_outage;
    assert_eq!(outage, Duration::from_secs(600), "the test counts on it");
    assert!(parse(&policy(&windows("22:11"))).is_ok());
    let checked = check(&policy(&windows("22:10")));
    let told = checked.faults.to_string();
    assert!(
        checked.policy.is_none() && told.contains("P053-never-progresses"),
        "{told}"
    );
    assert!(told.contains("open for 10m at most"), "{told}");

    // Three that adjoin are one; one of another zone between them joins nothing.
    let three = |zone: &str| {
        let one = |from: &str, to: &str, zone: &str| {
            format!("{{ days = [\"sat\"], from = \"{from}\", to = \"{to}\", zone = \"{zone}\" }}")
        };
        let windows = [
            one("22:00", "22:04", "UTC"),
            one("22:04", "22:08", zone),
            one("22:08", "22:12", "UTC"),
        ];
        check(&policy(&format!("windows = [{}]", windows.join(", "))))
    };
    assert!(three("UTC").policy.is_some());
    assert!(three("Europe/Oslo").policy.is_none());

    // A policy that stops nothing has nothing to fit in.
    let harmless = r#"
schema = "mailmend/v1"
name = "look"
version = 1
title = "Only looks"
source = { article = "Q268494" }
applies_to = { product = "exchange", versions = ">=5.0" }
roles = { outbound = { select = "a=b", bind = "each" } }
limits = { max_outage = "30m", max_restarts = 0 }
strategy = { windows = [{ days = ["sat"], from = "22:00", to = "22:10", zone = "UTC" }] }
detect = { on = "outbound", all = [{ queue = "outbound-awaiting-delivery", oldest_over = "15m" }] }
[[step]]
id = "look"
on = "outbound"
action = "check"
all = [{ service = "MSExchangeIMC", is = "running" }]
"#;
    let checked = check(&PolicySource::new("look.toml", harmless));
    assert!(checked.policy.is_some(), "{}", checked.faults);
}

#[test]
fn the_words_of_the_file_are_those_of_the_record() {
    for (word, gate) in GATES {
        assert_eq!(serde_json::to_value(gate).unwrap(), word);
    }
    for (word, approve) in APPROVALS {
        assert_eq!(serde_json::to_value(approve).unwrap(), word);
    }
    for (word, last_path) in LAST_PATHS {
        assert_eq!(serde_json::to_value(last_path).unwrap(), word);
    }
    for day in Day::ALL {
        assert_eq!(serde_json::to_value(day).unwrap(), day.name());
    }
}

#[test]
fn a_strategy_comes_back_from_its_record_as_it_was() {
    let text = serde_json::to_string(&whole()).unwrap();
    assert_eq!(serde_json::from_str::<Strategy>(&text).unwrap(), whole());
    assert_eq!(
        serde_json::from_str::<Strategy>("{}").unwrap(),
        Strategy::default()
    );
    assert!(serde_json::from_str::<Strategy>("{\"wave\":[]}").is_err());
    assert!(serde_json::from_str::<Strategy>(&text.replace("Europe/Oslo", "Oslo")).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-z_=\\[\\]{}\"%0-9 ,.\n]{0,200}") {
        let _ = overridden(&Strategy::default(), text.as_bytes(), "s");
    }

    #[test]
    fn waves_that_are_read_rise_within_each_kind(
        waves in prop::collection::vec((any::<bool>(), 0_u32..110), 1..6),
    ) {
        let said: Vec<String> = waves
            .iter()
            .map(|(part, number)| if *part { format!("\"{number}%\"") } else { format!("\"{number} sites\"") })
            .collect();
        let text = format!("waves = [{}]", said.join(", ").replace("\"1 sites\"", "\"1 site\""));
        let rise = |kind: bool| {
            let numbers: Vec<u32> = waves.iter().filter(|wave| wave.0 == kind).map(|wave| wave.1).collect();
            numbers.first().is_none_or(|first| *first > 0) && numbers.windows(2).all(|two| two[0] < two[1])
        };
        let last = waves[waves.len() - 1];
        let good = rise(true)
            && rise(false)
            && waves.iter().all(|(part, number)| !part || *number <= 100)
            && (!last.0 || last.1 == 100)
            && waves.iter().position(|wave| *wave == (true, 100)).is_none_or(|at| at + 1 == waves.len());
        prop_assert_eq!(overridden(&Strategy::default(), text.as_bytes(), "s").is_ok(), good, "{}", text);
    }
}
