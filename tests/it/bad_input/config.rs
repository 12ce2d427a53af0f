//! The agent's configuration and guard file. Without a good one nothing starts and nothing is made.

use std::os::unix::fs::PermissionsExt;

use super::place::{Place, all_of, untouched};

#[test]
fn a_configuration_that_cannot_be_read_is_told() {
    let place = Place::new();
    let latin = place.file("latin.toml", b"name = \"\xff\"");
    for file in [place.path("missing.toml"), place.path(""), latin] {
        let ended = place.agent(&["run", "--config", file.to_str().unwrap()]);
        ended.refused(2, "A002-config-unreadable");
    }
    assert!(!place.agent_data.exists());
}

#[test]
fn every_fault_of_a_configuration_is_shown_at_once() {
    let place = Place::new();
    let good = std::fs::read_to_string(place.path("agent.toml")).unwrap();
    let bad = good
        .replace("https", "http")
        .replace("\"unix\"", "\"dos\"")
        .replace("guard = ", "colour = 1\nguard = ");
    let file = place.file("bad.toml", bad);
    let name = file.display().to_string();
    let ended = place.agent(&["run", "--config", &name]);
    let said = ended.shown(2, "A001-config-faulty", &format!("{name}:2:14"));
    assert!(
        said.contains("bad.toml:4:1") && said.contains("bad.toml:7:12"),
        "{said}"
    );
    assert!(!place.agent_data.exists());
}

#[test]
fn a_guard_file_that_allows_too_much_or_says_what_is_not_known_is_shown() {
    let place = Place::new();
    let before = all_of(&place.path(""));
    for (text, at) in [
        (
            "roots = [\"/\"]\nservices = [\"MSExchangeIMC\"]\npolicies = \"unsigned\"\n",
            "1:10",
        ),
        (
            "roots = [\"/tmp\"]\nservices = [\"MSExchangeIMC\"]\npolicies = \"unsigned\"\nrots = 1\n",
            "4:1",
        ),
        (
            "roots = [\"/tmp/../etc\"]\nservices = [\"MSExchangeIMC\"]\npolicies = \"unsigned\"\n",
            "1:10",
        ),
        (
            "roots = [\"relative\"]\nservices = [\"MSExchangeIMC\"]\npolicies = \"unsigned\"\n",
            "1:10",
        ),
        (
            "roots = [\"/no/such/folder\"]\nservices = [\"MSExchangeIMC\"]\npolicies = \"unsigned\"\n",
            "1:10",
        ),
        (
            "roots = []\nservices = [\"MSExchangeIMC\"]\npolicies = \"unsigned\"\n",
            "1:9",
        ),
    ] {
        let guard = place.file("guard.toml", text);
        let name = guard.display().to_string();
        place
            .agent(&["run"])
            .shown(2, "A003-guard-faulty", &format!("{name}:{at}"));
    }
    std::fs::write(
        place.path("guard.toml"),
        &before[&place.path("guard.toml")].1,
    )
    .unwrap();
    untouched(&place.path(""), &before);
}

#[test]
fn a_guard_file_that_others_may_write_or_that_is_missing_starts_nothing() {
    let place = Place::new();
    let guard = place.path("guard.toml");
    std::fs::set_permissions(&guard, std::fs::Permissions::from_mode(0o666)).unwrap();
    let ended = place.agent(&["run"]);
    let said = ended.refused(5, "A005-guard-unsafe");
    assert!(said.contains("chmod"), "{said}");
    std::fs::remove_file(&guard).unwrap();
    place.agent(&["run"]).refused(2, "A004-guard-unreadable");
    std::fs::create_dir(&guard).unwrap();
    place.agent(&["run"]).refused(2, "A004-guard-unreadable");
    assert!(!place.agent_data.exists());
}
