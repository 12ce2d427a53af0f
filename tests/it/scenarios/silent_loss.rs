//! Q157684.

use crate::lab_run::play;

#[test]
fn what_vanished_is_found_exactly_and_what_escrow_held_is_given_back_and_delivered_once() {
    let (good, report) = play("silent-loss", "--messages 24 --bad 5");
    assert!(good, "{report:?}");
    assert_eq!(report.outcome, "mended", "{report:?}");
    // Four of the five were given back from escrow, and each arrived once.
    assert_eq!(report.delivered_once, 23, "{report:?}");
    assert_eq!(report.duplicated, 0, "{report:?}");
    assert_eq!(report.extras["given_back"], 4, "{report:?}");
    assert_eq!(report.extras["given_back_once"], 4, "{report:?}");
    assert_eq!(report.extras["vanished_truth"], 5, "{report:?}");
    assert_eq!(report.extras["vanished_found"], 5, "{report:?}");
    assert_eq!(report.extras["false_claims"], 0, "{report:?}");
    // The first had vanished before copies were kept.
    assert_eq!(report.extras["recovered"], 4, "{report:?}");
    assert_eq!((report.held, report.vanished), (0, 1), "{report:?}");
    // Once for each server: a stranger's name, and the same order again.
    assert!(report.extras["recoveries_refused"].as_u64() >= Some(2));
}

#[test]
fn what_was_deleted_from_the_store_is_named_without_a_copy() {
    let (good, report) = play("silent-loss", "--variant outbound --messages 18 --bad 4");
    assert!(good, "{report:?}");
    assert_eq!(report.outcome, "mended", "{report:?}");
    assert_eq!(report.delivered_once, 14, "{report:?}");
    assert_eq!(report.extras["vanished_found"], 4, "{report:?}");
    assert_eq!(report.extras["false_claims"], 0, "{report:?}");
    assert_eq!((report.held, report.vanished), (0, 4), "{report:?}");
    // No file of it ever was in the spool: whoever asks for it back is told so.
    assert_eq!(report.extras["given_back"], 0, "{report:?}");
    assert!(report.extras["recoveries_refused"].as_u64() >= Some(1));
}

#[test]
fn where_records_were_dropped_nothing_is_called_vanished() {
    let (good, report) = play("silent-loss", "--variant gaps --messages 18 --bad 3");
    assert!(good, "{report:?}");
    assert!(report.outcome.starts_with("safe"), "{report:?}");
    assert_eq!(report.extras["vanished_truth"], 3, "{report:?}");
    assert_eq!(report.extras["vanished_found"], 0, "{report:?}");
    assert_eq!(report.extras["false_claims"], 0, "{report:?}");
    // Each is listed all the same, as one of which it cannot be told, with its copy.
    assert_eq!(report.extras["vanished_unlisted"], 0, "{report:?}");
    assert_eq!(report.extras["recovered"], 2, "{report:?}");
    // What may have been delivered is not given back without a person's word about each.
    assert_eq!(report.extras["given_back"], 0, "{report:?}");
}
