//! Q296879.

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
