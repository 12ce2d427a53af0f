//! Q296879.

use mailmend_lab::scenario::Report;

use crate::lab_run::play;

#[test]
fn what_was_sent_is_removed_before_the_restart_and_nothing_is_sent_twice() {
    let (good, report) = play("sent-not-removed", "--messages 20");
    assert!(good, "{report:?}");
    assert_eq!(report.delivered_once, 20, "{report:?}");
    assert_eq!(report.duplicated, 0, "{report:?}");
    assert_eq!(report.symptom_before, 18, "{report:?}");
    assert_eq!(report.extras["left_in_store"], 0, "{report:?}");
    assert!(report.extras["removed"].as_u64() >= Some(18), "{report:?}");
    assert_eq!(report.extras["restarted"], 1, "{report:?}");
}

#[test]
fn where_a_person_cannot_remove_what_was_sent_nothing_is_restarted() {
    let (good, report) = play("sent-not-removed", "--variant cannot --messages 10");
    assert!(good, "{report:?}");
    assert_eq!(
        (report.delivered_once, report.duplicated),
        (10, 0),
        "{report:?}"
    );
    assert_eq!(report.extras["restarted"], 0, "{report:?}");
}

#[test]
fn an_untrue_answer_does_not_make_a_restart_send_everything_again() {
    let (good, report) = play("sent-not-removed", "--variant untrue --messages 10");
    assert!(good, "{report:?}");
    assert_eq!(
        (report.delivered_once, report.duplicated),
        (10, 0),
        "{report:?}"
    );
    assert_eq!(report.extras["restarted"], 0, "{report:?}");
}

/// The heavy path: nothing lost, nothing twice, what was removed was saved before, 3038 gone and service up.
fn mended_by(variant: &str) -> Report {
    let (good, report) = play(
        "sent-not-removed",
        &format!("--variant {variant} --messages 10"),
    );
    assert!(good, "{report:?}");
    // One more than was asked for: the test message from outside.
    assert_eq!(
        (report.submitted, report.delivered_once, report.duplicated),
        (11, 11, 0),
        "{report:?}"
    );
    assert_eq!(report.outcome, "mended");
    assert_eq!(report.extras["removed_unsaved"], 0, "{report:?}");
    assert_eq!(report.extras["left_in_store"], 0, "{report:?}");
    assert_eq!(report.extras["still_damaged"], 0, "{report:?}");
    assert_eq!(report.extras["recreated"], 1, "{report:?}");
    // What was sent, and the message that showed 3038 again.
    assert!(report.extras["removed"].as_u64() >= Some(10), "{report:?}");
    assert_eq!(report.extras["saved_whole"], 2, "{report:?}");
    report
}

#[test]
fn where_3038_comes_again_the_service_is_made_anew_and_nothing_is_lost_or_sent_twice() {
    let report = mended_by("folder");
    assert_eq!(report.extras["isinteg_fixes"], 0, "{report:?}");
    assert_eq!(report.extras["defragmented"], 0, "{report:?}");
}

#[test]
fn where_a_new_folder_is_as_bad_isinteg_mends_the_store() {
    let report = mended_by("store");
    assert_eq!(report.extras["isinteg_fixes"], 1, "{report:?}");
    assert_eq!(report.extras["defragmented"], 0, "{report:?}");
}

#[test]
fn where_the_deleted_mailbox_stays_listed_the_store_is_defragmented_between_two_backups() {
    let report = mended_by("still-listed");
    assert_eq!(report.extras["defragmented"], 1, "{report:?}");
    assert_eq!(report.extras["backups"], 2, "{report:?}");
}

/// Ends with its reason, mail safe, service up, and the store as it was.
fn ends_safely(variant: &str, words: &str) -> Report {
    let (good, report) = play(
        "sent-not-removed",
        &format!("--variant {variant} --messages 10"),
    );
    assert!(good, "{report:?}");
    assert!(report.rollout.contains(words), "{report:?}");
    assert!(report.rollout.contains("failed"), "{report:?}");
    assert!(report.service_running, "{report:?}");
    assert_eq!(
        (report.delivered_once, report.duplicated, report.lost),
        (10, 0, 0),
        "{report:?}"
    );
    assert_eq!(report.extras["removed_unsaved"], 0, "{report:?}");
    assert_eq!(report.extras["defragmented"], 0, "{report:?}");
    assert_eq!(report.extras["left_in_store"], 0, "{report:?}");
    report
}

#[test]
fn without_a_backup_nothing_writes_the_store_anew_and_the_run_says_why() {
    let report = ends_safely("no-backup", "answered `no-backup`");
    assert_eq!(report.extras["isinteg_fixes"], 0, "{report:?}");
}

#[test]
fn with_too_little_room_nobody_is_asked_to_defragment_and_the_run_says_why() {
    let report = ends_safely("no-room", "says `short`");
    assert_eq!(report.extras["backups"], 1, "{report:?}");
}

#[test]
fn where_nobody_can_make_the_service_anew_it_runs_on_with_an_empty_folder() {
    let report = ends_safely("recreate-cannot", "answered `cannot`");
    assert_eq!(report.extras["recreated"], 0, "{report:?}");
}

#[test]
fn an_agent_killed_while_imcsave_is_at_work_saves_again_beside_it_and_the_run_goes_on() {
    let (good, report) = play("sent-not-removed", "--variant killed-saving --messages 10");
    assert!(good, "{report:?}");
    assert_eq!(report.extras["killed_saving"], true, "{report:?}");
    assert_eq!(report.extras["saved_places"], 2, "{report:?}");
    assert_eq!(report.extras["removed_unsaved"], 0, "{report:?}");
    assert_eq!(
        (report.delivered_once, report.duplicated, report.lost),
        (10, 0, 0),
        "{report:?}"
    );
}
