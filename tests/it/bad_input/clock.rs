//! A clock that was set to 1980, and one that is years ahead.

use std::process::Command;

use super::ended::run;
use super::place::{Place, SERVER, all_of, programs};

const BATTERY_EMPTY: &str = "1980-01-04 00:00:00";
const AHEAD: &str = "2049-07-01 00:00:00";

/// The environment that gives a program another clock. `None`, said loudly, where that is not possible.
fn at(time: &str) -> Option<Vec<(String, String)>> {
    // Not as a wrapper: a signal would end it and not the program.
    let Ok(output) = Command::new("faketime").args([time, "env"]).output() else {
        eprintln!("LEFT OUT: `faketime` is missing, no clock was set: apt-get install faketime");
        return None;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let mut all: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| ["FAKETIME", "LD_PRELOAD"].contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(all.len(), 2, "faketime has changed: {text}");
    all.push(("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()));
    Some(all)
}

#[test]
fn a_controller_whose_clock_cannot_be_right_makes_no_authority() {
    let Some(clock) = at(BATTERY_EMPTY) else {
        return;
    };
    let place = Place::new();
    let mut serve = place.operator_command(&programs().mailmend);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
    serve.arg(&place.controller_data).envs(clock);
    let ended = run(&mut serve);
    let said = ended.refused(1, "C001-clock");
    assert!(said.contains("1980-01-0"), "{said}");
    assert!(!place.controller_data.exists());
}

#[test]
fn an_operator_whose_clock_is_wrong_is_told_of_the_clock_and_not_of_a_stranger() {
    let place = Place::served();
    for (time, year) in [(BATTERY_EMPTY, "1980"), (AHEAD, "2049")] {
        let Some(clock) = at(time) else {
            return;
        };
        let mut list = place.operator_command(&programs().mailmend);
        let ended = run(list.args(["agent", "list"]).envs(clock));
        let said = ended.refused(6, "C026-clock");
        assert!(said.contains(year), "{said}");
    }
}

#[test]
fn an_agent_whose_clock_is_wrong_does_not_use_up_its_token_and_stays_at_work() {
    let place = Place::served();
    let token = place.token(SERVER);
    for time in [BATTERY_EMPTY, AHEAD] {
        let Some(clock) = at(time) else {
            return;
        };
        let mut enrol = place.agent_command(&programs().agent);
        enrol.args(["enrol", "--token", &token, "--ca"]);
        enrol.arg(place.controller_data.join("ca.pem"));
        run(enrol.envs(clock)).refused(6, "A024-clock");
    }
    place.enrol(&token, &[]).succeeded();
    let before = all_of(&place.agent_data);
    for (time, code) in [
        (BATTERY_EMPTY, "A024-clock"),
        (AHEAD, "A023-certificate-expired"),
    ] {
        place.works_with(&at(time).unwrap(), code);
    }
    let mut kept = all_of(&place.agent_data);
    kept.retain(|path, _| before.contains_key(path));
    assert!(kept == before, "key and certificate are as they were");
    place.works_and_says("connected");
}
