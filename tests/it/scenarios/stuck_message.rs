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
fn nothing_is_lost_while_agent_controller_and_service_are_killed() {
    let (_, report) = play("stuck-message", "--messages 24 --seed 3 --kills 5");
    assert_eq!(report.harm(), Vec::<String>::new(), "{report:?}");
}
