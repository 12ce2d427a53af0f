//! A wave begins once a person has approved it as it is, and a run that failed is tried again once its cause is gone.

use super::*;

#[test]
fn a_wave_waits_for_approval_and_a_site_that_failed_is_retried_when_its_relay_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let room = Room::with_stuck_mail(folder.path());
    let waves = ["--waves", "1 site,100%", "--approve-waves", "each-wave"];
    let rollout = room.start(POLICY, &waves);

    let shown = room.until_asked(&rollout, 1);
    let waits = room.waits_for(&rollout, "approval").unwrap();
    let release = waits["release"].as_str().unwrap();
    assert!(release.contains("rollout approve"), "{waits:#}");
    room.assert_untouched(0..SITES);
    let never_seen = "000000000000";
    let stale = [
        "rollout", "approve", &rollout, "--wave", "1", "--digest", never_seen,
    ];
    let (code, _, said) = room.approver.ended(&stale).unwrap();
    assert_eq!(code, Some(REFUSED), "{said}");
    assert!(said.contains("the wave has changed"), "{said}");
    let first = shown["waves"][0]["sites"].as_array().unwrap();
    assert_eq!(first, &[room.a(0).site.as_str()]);
    room.approve(&shown, 1);

    let shown = room.until_asked(&rollout, 2);
    assert_eq!(phase(&shown, &room.a(0).site), "succeeded", "{shown:#}");
    assert!(was_stopped(room.b(0)));
    room.assert_untouched(1..SITES);
    assert_eq!(room.count(Fate::DeliveredOnce), MESSAGES);

    // Server A carries the site's mail while Server B is mended: without it nothing may be stopped.
    let relay = room.a(2).services();
    relay.stop(SERVICE, LIMIT).unwrap();
    room.approve(&shown, 2);
    let at_rest = |shown: &Value| {
        let phases = shown["runs"].as_array().unwrap();
        let over = |run: &Value| run["phase"] == "succeeded" || run["phase"] == "failed";
        phases.iter().all(over)
    };
    let shown = room.until(&rollout, "all runs to end", at_rest);
    assert_eq!(phase(&shown, &room.a(1).site), "succeeded", "{shown:#}");
    assert_eq!(phase(&shown, &room.a(2).site), "failed", "{shown:#}");
    assert!(!was_stopped(room.b(2)), "its relay is down");
    assert_eq!(room.count(Fate::DeliveredOnce), 2 * MESSAGES);

    relay.start(SERVICE, LIMIT).unwrap();
    let retried = room.ask(&[
        "rollout",
        "retry",
        &rollout,
        "--failed",
        "--why",
        "the relay is up",
    ]);
    let again = id(&retried);
    assert_eq!(retried["retry_of"], rollout.as_str());
    assert_eq!(retried["runs"].as_array().unwrap().len(), 1);
    // The strategy is the first one's: a person is asked again.
    let shown = room.until_asked(&again, 1);
    assert!(!was_stopped(room.b(2)), "not approved yet");
    room.approve(&shown, 1);
    let shown = room.until_state(&again, "succeeded");
    assert_eq!(phase(&shown, &room.a(2).site), "succeeded", "{shown:#}");
    let said = room.refused(&["rollout", "retry", &again, "--failed"]);
    assert!(said.contains("C117-nothing-to-retry"), "{said}");

    assert_eq!(room.count(Fate::DeliveredOnce), SITES * MESSAGES);
    room.assert_all_run();
    room.end();
}
