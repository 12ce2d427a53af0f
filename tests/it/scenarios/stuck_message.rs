//! Q197792.

use crate::lab_run::play;

/// The message that events name stays held as poison, named; every other one is delivered once.
fn the_named_one_stays(variant: &str) {
    let (good, report) = play(
        "stuck-message",
        &format!("--variant {variant} --messages 24"),
    );
    assert!(good, "{report:?}");
    assert_eq!(report.delivered_once, 23, "{report:?}");
    assert_eq!((report.held, report.poison), (1, 1), "{report:?}");
    assert_eq!(report.extras["stuck_named"], 1, "{report:?}");
    // One section for the quarantine, one for the first ten of each queue, one for the rest.
    assert_eq!(report.restarts, 4, "{report:?}");
}

#[test]
fn a_message_that_is_stuck_in_out_stays_behind_and_the_others_are_delivered() {
    the_named_one_stays("out");
}

#[test]
fn a_message_that_is_stuck_in_in_stays_behind_and_the_others_are_delivered() {
    the_named_one_stays("in");
}

#[test]
fn a_message_that_is_stuck_in_the_store_is_saved_before_a_person_takes_it_out() {
    let (good, report) = play("stuck-message", "--variant store --messages 24");
    assert!(good, "{report:?}");
    assert_eq!(report.delivered_once, 23, "{report:?}");
    // Its bytes are in imcsave's folder, and the person's answer names it.
    assert_eq!((report.held, report.unaccounted), (1, 0), "{report:?}");
    assert_eq!(report.extras["stuck_held"], 1, "{report:?}");
}

#[test]
fn a_damaged_database_of_the_mta_is_checked_until_it_is_clean() {
    let (good, report) = play("stuck-message", "--variant mta --messages 24");
    assert!(good, "{report:?}");
    assert_eq!(report.delivered_once, 24, "{report:?}");
    assert_eq!(report.extras["mtachecks"], 3, "{report:?}");
}

#[test]
fn a_database_that_mtacheck_cannot_repair_is_left_to_a_person_with_the_service_up() {
    let (good, report) = play("stuck-message", "--variant mta-serious --messages 12");
    assert!(good, "{report:?}");
    assert!(report.service_running, "{report:?}");
    assert_eq!(report.held, 0, "{report:?}");
    assert!(report.symptom_after > 0, "{report:?}");
}

#[test]
fn nothing_is_lost_while_agent_controller_and_service_are_killed() {
    let (_, report) = play("stuck-message", "--messages 24 --seed 3 --kills 5");
    assert_eq!(report.harm(), Vec::<String>::new(), "{report:?}");
}
