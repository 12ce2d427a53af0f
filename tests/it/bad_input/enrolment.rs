//! Tokens that are wrong, used, late or somebody else's; authorities that are none.

use super::place::{Place, SERVER, all_of, untouched};

#[test]
fn a_token_works_once_for_one_name_and_what_was_there_stays() {
    let place = Place::served();
    place.enrol("mm_0123", &[]).refused(6, "A015-token-refused");
    let token = place.token(SERVER);
    let other = place.path("other");
    let as_other = ["--name", "OTHER", "--data", other.to_str().unwrap()];
    place
        .enrol(&token, &as_other)
        .refused(6, "A015-token-refused");
    assert!(!other.join("agent.pem").exists());
    // A try under another name does not use it up.
    place.enrol(&token, &[]).succeeded();
    let before = all_of(&place.agent_data);
    place.enrol(&token, &[]).refused(5, "A029-already-enrolled");
    let ended = place.enrol(&token, &["--again"]);
    let said = ended.refused(6, "A015-token-refused");
    assert!(
        said.contains(&format!("mailmend agent token {SERVER}")),
        "{said}"
    );
    untouched(&place.agent_data, &before);
    let shown = place.operator(&["agent", "show", SERVER]);
    shown.succeeded();
}

#[test]
fn a_token_is_not_taken_after_its_time() {
    let mut place = Place::served();
    let token = place.token(SERVER);
    place
        .operator(&["agent", "token", SERVER, "--site", "oslo", "--valid", "1s"])
        .refused(2, "C088-token-validity");
    place.close();
    // Nobody can wait for a minute here: the time passes in the store.
    let store = rusqlite::Connection::open(place.controller_data.join("controller.db")).unwrap();
    let changed = store
        .execute("UPDATE tokens SET expires_ms = 1", [])
        .unwrap();
    assert!(changed > 0);
    drop(store);
    place.serve();
    place.enrol(&token, &[]).refused(6, "A015-token-refused");
    assert!(!place.agent_data.join("agent.pem").exists());
    place.enrol(&place.token(SERVER), &[]).succeeded();
}

#[test]
fn an_authority_that_is_none_or_anothers_is_not_believed() {
    let place = Place::served();
    let token = place.token(SERVER);
    let enrol = |ca: &std::path::Path| {
        place.agent(&["enrol", "--token", &token, "--ca", ca.to_str().unwrap()])
    };
    enrol(&place.path("guard.toml")).refused(2, "A016-authority-unreadable");
    enrol(&place.path("missing.pem")).refused(2, "A016-authority-unreadable");
    let stranger = Place::served();
    let ended = enrol(&stranger.controller_data.join("ca.pem"));
    ended.refused(6, "A026-controller-untrusted");
    // The token was not shown to whoever cannot be trusted, and is still good.
    assert!(!place.agent_data.join("agent.pem").exists());
    enrol(&place.controller_data.join("ca.pem")).succeeded();
}
