//! Certificates and keys that do not fit. An agent stays at work without a session, because the
//! service on its server is its duty, and says what is wrong; commands end with it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::ended::run;
use super::place::{Place, SERVER, all_of, bare, now_ms, programs, untouched};

const DAY: Duration = Duration::from_secs(86_400);

/// The agent says it in its log, and `check` as a fault; key, certificate and authority stay.
#[track_caller]
fn is_told(place: &Place, code: &str) {
    let kept = ["agent.key", "agent.pem", "ca.pem"];
    let read = || kept.map(|name| std::fs::read(place.agent_data.join(name)).ok());
    let before = read();
    place.works_and_says(code);
    let checked = place.agent(&["check", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    let faults = report["checks"].as_array().unwrap().iter();
    let told = faults
        .filter(|looked| looked["good"] == false)
        .any(|looked| looked["detail"].as_str().unwrap().starts_with(code));
    assert!(told, "{report:#}");
    assert_eq!(
        before,
        read(),
        "nothing that belongs to the identity is changed"
    );
}

#[test]
fn an_agent_without_a_certificate_says_how_to_get_one() {
    let place = Place::new();
    is_told(&place, "A020-not-enrolled");
}

#[test]
fn a_certificate_that_has_ended_or_not_begun_is_told_as_such() {
    let place = Place::new();
    let authority = place.path("authority");
    place.certify(&authority, SERVER, now_ms() - 3 * 86_400_000, DAY);
    is_told(&place, "A023-certificate-expired");
    place.certify(&authority, SERVER, now_ms() + 3 * 86_400_000, DAY);
    is_told(&place, "A024-clock");
}

#[test]
fn a_damaged_certificate_or_the_key_of_another_is_told() {
    let place = Place::new();
    place.certify(&place.path("authority"), SERVER, now_ms(), DAY);
    let pem = place.agent_data.join("agent.pem");
    let good = std::fs::read_to_string(&pem).unwrap();
    for bad in [
        "garbage".to_owned(),
        good.replace("BEGIN CERT", "BEGIN CART"),
        good[..200].to_owned(),
        String::new(),
    ] {
        std::fs::write(&pem, bad).unwrap();
        is_told(&place, "A022-identity-broken");
    }
    std::fs::write(&pem, &good).unwrap();
    let other = Place::new();
    other.certify(&place.path("authority"), SERVER, now_ms(), DAY);
    let key = place.agent_data.join("agent.key");
    std::fs::copy(other.agent_data.join("agent.key"), &key).unwrap();
    is_told(&place, "A022-identity-broken");
    std::fs::write(&key, "garbage").unwrap();
    is_told(&place, "A022-identity-broken");
}

#[test]
fn a_certificate_of_another_name_or_authority_is_told() {
    let place = Place::new();
    place.certify(&place.path("authority"), "OTHER", now_ms(), DAY);
    is_told(&place, "A022-identity-broken");
    let place = Place::new();
    place.certify(&place.path("authority"), SERVER, now_ms(), DAY);
    place.certify(&place.path("other-authority"), SERVER, now_ms(), DAY);
    let ca = place.path("authority/ca.pem");
    std::fs::copy(ca, place.agent_data.join("ca.pem")).unwrap();
    is_told(&place, "A022-identity-broken");
}

#[test]
fn a_key_that_others_may_read_is_not_used() {
    let place = Place::new();
    place.certify(&place.path("authority"), SERVER, now_ms(), DAY);
    let key = place.agent_data.join("agent.key");
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).unwrap();
    is_told(&place, "A021-key-exposed");
}

#[test]
fn an_agent_of_another_authority_gets_no_session() {
    let place = Place::served();
    place.certify(&place.path("other-authority"), SERVER, now_ms(), DAY);
    is_told(&place, "A026-controller-untrusted");
    let list = place.operator(&["agent", "list", "-o", "json"]);
    assert!(!list.succeeded().contains(SERVER), "{}", list.stdout);
}

#[test]
fn an_operator_without_an_identity_or_with_a_wrong_one_is_told() {
    let place = Place::served();
    let with = |identity: &Path| {
        let ask = ["agent", "list", "--identity", identity.to_str().unwrap()];
        place.operator(&ask)
    };
    with(&place.path("missing")).refused(6, "C023-identity");
    let stranger = Place::served();
    let theirs = stranger.controller_data.join("operator");
    with(&theirs).refused(6, "C022-not-our-controller");
    // Somebody else's certificate together with our authority.
    let mixed = place.path("mixed");
    std::fs::create_dir(&mixed).unwrap();
    for name in ["operator.pem", "operator.key"] {
        std::fs::copy(theirs.join(name), mixed.join(name)).unwrap();
    }
    std::fs::copy(place.controller_data.join("ca.pem"), mixed.join("ca.pem")).unwrap();
    with(&mixed).refused(6, "C021-unauthenticated");
    std::fs::write(mixed.join("operator.pem"), "garbage").unwrap();
    with(&mixed).refused(6, "C023-identity");
    // An agent's certificate opens nothing of the operators'.
    place.enrol(&place.token(SERVER), &[]).succeeded();
    for (from, to) in [("agent.pem", "operator.pem"), ("agent.key", "operator.key")] {
        std::fs::copy(place.agent_data.join(from), mixed.join(to)).unwrap();
    }
    with(&mixed).refused(6, "C024-not-permitted");
}

#[test]
fn a_controller_with_a_broken_authority_does_not_make_a_new_one() {
    let mut place = Place::served();
    place.close();
    let data = place.controller_data.clone();
    let good = all_of(&data);
    let refuses = |change: &dyn Fn(), code| {
        change();
        let before = all_of(&data);
        place.serving().refused(1, code);
        untouched(&data, &before);
        for (path, (mode, bytes)) in &good {
            if path.is_file() || !path.exists() {
                std::fs::write(path, bytes).unwrap();
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(*mode)).unwrap();
            }
        }
    };
    let key = data.join("ca.key");
    refuses(
        &|| std::fs::remove_file(&key).unwrap(),
        "C003-authority-incomplete",
    );
    refuses(
        &|| std::fs::write(&key, "garbage").unwrap(),
        "C005-key-unreadable",
    );
    refuses(
        &|| std::fs::write(data.join("ca.pem"), "x").unwrap(),
        "C005-key-unreadable",
    );
    let open = std::fs::Permissions::from_mode(0o644);
    refuses(
        &|| std::fs::set_permissions(&key, open.clone()).unwrap(),
        "C004-key-exposed",
    );
    // As it was, it starts.
    place.serve();
    let mut command = bare(&programs().mailmend);
    command.arg("--version");
    run(&mut command).succeeded();
    place.operator(&["agent", "list"]).succeeded();
}
