//! Q168883.

use mailmend_lab::scenario::Report;

use crate::lab_run::play;

/// Every bad message is held and named, no innocent one is called poison, every other one is delivered, and no
/// more restarts are taken than the search says that it may.
fn found(more: &str, bad: usize) -> Report {
    let (good, report) = play("corrupt-message", more);
    assert!(good, "{report:?}");
    assert_eq!((report.bad, report.held), (bad, bad), "{report:?}");
    assert_eq!(report.extras["culprits_named"], bad, "{report:?}");
    let restarts = report.search_restarts.unwrap();
    assert!(Some(restarts) <= report.restarts_bound, "{report:?}");
    // What `run show` says of the searches is what the ledger says.
    let parts = report.extras["searches"].as_array().unwrap();
    let sum = |name: &str| {
        let number = |part: &serde_json::Value| part[name].as_u64().unwrap();
        parts.iter().map(number).sum::<u64>()
    };
    assert_eq!(sum("poison"), report.poison as u64, "{report:?}");
    assert_eq!(sum("restarts"), restarts, "{report:?}");
    for part in parts {
        let number = |name: &str| part[name].as_u64().unwrap();
        assert!(number("restarts") <= number("restarts_bound"), "{report:?}");
    }
    report
}

#[test]
fn where_no_message_is_bad_none_is_called_poison() {
    let report = found("--messages 16 --bad 0", 0);
    assert_eq!((report.crashes, report.poison), (0, 0), "{report:?}");
}

#[test]
fn one_bad_message_in_in_is_found() {
    let report = found("--messages 20 --seed 2", 1);
    // Nothing of `In` can have been sent: the message is poison, not in doubt.
    assert_eq!(report.poison, 1, "{report:?}");
}

#[test]
fn one_bad_message_in_out_is_found() {
    found("--messages 20 --seed 1", 1);
}

#[test]
fn bad_messages_in_both_directions_are_found() {
    found("--messages 16 --bad 2", 2);
}

#[test]
fn five_bad_messages_are_found() {
    found("--messages 12 --bad 5 --clock-factor 300", 5);
}

#[test]
fn five_bad_of_two_thousand_messages_are_found_in_fewer_restarts_than_one_bit_a_restart_takes() {
    let report = found("--messages 2000 --bad 5 --patience 400", 5);
    assert!(
        report.search_restarts < report.restarts_information,
        "{report:?}"
    );
}

#[test]
fn a_message_that_an_event_names_is_found() {
    found("--messages 16 --variant named", 1);
}

#[test]
fn a_message_over_which_the_service_hangs_with_the_file_locked_is_found() {
    found("--messages 16 --variant locked", 1);
}

#[test]
fn a_message_of_which_the_log_has_no_word_is_found() {
    found("--messages 16 --variant unlogged", 1);
}

#[test]
fn a_message_that_crashes_only_sometimes_is_never_an_excuse_to_lose_mail() {
    let (_, report) = play("corrupt-message", "--messages 20 --variant flaky");
    assert_eq!(report.harm(), Vec::<String>::new(), "{report:?}");
}

#[test]
fn a_watchdog_that_sets_aside_what_was_in_flight_sets_the_corrupt_message_aside() {
    let (good, report) = play("corrupt-message", "--messages 20 --variant watched");
    assert!(good, "{report:?}");
    assert_eq!(report.extras["culprits_named"], 1, "{report:?}");
    assert!(report.in_doubt > 0, "{report:?}");
}

#[test]
fn poison_in_the_store_comes_to_rest_with_the_mail_held() {
    let (good, report) = play("corrupt-message", "--messages 20 --variant store");
    assert!(good, "{report:?}");
    assert_eq!((report.poison, report.lost), (0, 0), "{report:?}");
    assert!(
        report.held > 0 && report.rollout.contains("Q165505"),
        "{report:?}"
    );
}

#[test]
fn nothing_is_lost_while_agent_controller_and_service_are_killed() {
    let (_, report) = play("corrupt-message", "--messages 16 --seed 5 --kills 4");
    assert_eq!(report.harm(), Vec::<String>::new(), "{report:?}");
}
