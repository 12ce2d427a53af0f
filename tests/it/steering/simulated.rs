//! A rollout is played through over the servers that the controller knows, and nothing is touched.

use super::*;

#[test]
fn a_rollout_is_played_through_over_the_known_servers_and_touches_none_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let room = Room::with_stuck_mail(folder.path());
    let simulate = [
        "rollout",
        "simulate",
        POLICY,
        "--inventory",
        "--runs",
        "2",
        "--seed",
        "3",
        "--affected",
        "100%",
        "--failure-rate",
        "0%",
        "--unreachable",
        "0%",
    ];
    let played = room.ask(&simulate);
    assert_eq!(played["policy"], format!("{POLICY}@1"), "{played:#}");
    assert_eq!(played["servers"], 2 * SITES, "{played:#}");
    assert_eq!(played["runs_each"], SITES, "{played:#}");
    let each = played["simulations"].as_array().unwrap();
    assert_eq!(each.len(), 2);
    for one in each {
        assert_eq!(one["ending"], "succeeded", "{played:#}");
    }
    assert_eq!(
        room.ask(&simulate),
        played,
        "the same seed, the same answer"
    );

    let unpublished = ["rollout", "simulate", "stuck-message", "--inventory"];
    let (code, _, said) = room.operator.ended(&unpublished).unwrap();
    assert_ne!(code, Some(0));
    assert!(said.contains("stuck-message"), "{said}");

    assert_eq!(
        room.ask(&["rollout", "list"])["rollouts"],
        Value::Array(Vec::new())
    );
    room.assert_untouched(0..SITES);
    assert_eq!(room.count(Fate::Waiting), SITES * MESSAGES);
    room.end();
}
