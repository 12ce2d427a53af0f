//! A controller that means harm and has everything the real one has, against a real agent on a real (lab) server: nothing
//! outside the guard file happens, whatever it says. `docs/hostile-controller.md` tells what is driven and watched.

mod flood;
mod layers;
mod limits;
mod links;
mod renewal;
mod signed;
mod wide;

use std::time::Duration;

use mailmend_lab::awaited;
use mailmend_lab::hostile::door::Said;
use mailmend_lab::hostile::mind::Mind;
use mailmend_lab::hostile::place::Width;
use mailmend_lab::hostile::play::{Drive, Outcome, Settings, play};
use mailmend_lab::hostile::table;
use mailmend_lab::programs::Programs;
use mailmend_proto::wire;
use mailmend_proto::wire::to_agent::Message;

use crate::lab_run::{LAB, programs};

/// How many things each play of the suite does.
const ACTIONS: usize = 50;

fn built() -> Programs {
    programs();
    Programs::built_beside(LAB.as_ref()).unwrap()
}

const fn narrow(seed: u64) -> Settings {
    Settings {
        seed,
        actions: ACTIONS,
        width: Width::Narrow,
    }
}

/// A drive that stands, in a folder that lives as long.
fn begun(settings: Settings) -> (tempfile::TempDir, Drive) {
    let folder = tempfile::tempdir().unwrap();
    let drive = Drive::begin(folder.path(), settings, &built())
        .unwrap_or_else(|error| panic!("{}", error.whole()));
    (folder, drive)
}

/// Takes in what comes until that is enough. Whoever asks says what is missing where it is not.
fn listen_until(drive: &mut Drive, mut enough: impl FnMut(&Mind) -> bool) {
    awaited::until(Duration::from_secs(60), || {
        drive.listen(Duration::from_millis(200));
        enough(&drive.mind)
    });
}

/// The drive's end: nothing speaks against the agent.
#[track_caller]
fn ended_well(drive: Drive) -> Outcome {
    let outcome = drive
        .finish(0)
        .unwrap_or_else(|error| panic!("{}", error.whole()));
    eprintln!("{}", serde_json::json!(outcome));
    assert_eq!(outcome.against, [""; 0]);
    outcome
}

fn played(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let outcome = play(folder.path(), narrow(seed), &built())
        .unwrap_or_else(|error| panic!("{}", error.whole()));
    eprintln!("{}", serde_json::json!(outcome));
    assert_eq!(outcome.against, [""; 0], "seed {seed}");
    assert!(
        outcome.runs > 0 && outcome.answers.len() > 3,
        "seed {seed}: nothing was driven"
    );
}

#[test]
fn a_play_of_everything_at_random_has_no_effect_outside_the_guard_file() {
    played(1);
}

#[test]
fn another_play_of_everything_at_random_has_no_effect_outside_the_guard_file() {
    played(2);
}

/// `MAILMEND_HOSTILE_SEEDS=FIRST..LAST` for a longer search.
#[test]
fn plays_of_the_seeds_that_the_environment_names_have_no_effect_outside_the_guard_file() {
    let Ok(range) = std::env::var("MAILMEND_HOSTILE_SEEDS") else {
        return;
    };
    let (first, last) = range.split_once("..").expect("FIRST..LAST");
    for seed in first.parse().unwrap()..last.parse().unwrap() {
        played(seed);
    }
}

#[test]
fn every_field_of_every_message_can_be_abused_and_the_agent_stays_at_work() {
    let (_folder, mut drive) = begun(narrow(3));
    // A run that is known, so that what is wrong is the one field alone.
    let evil = mailmend_lab::hostile::policies::of_kind("churn", &mut fastrand::Rng::with_seed(3));
    assert!(drive.assigned(&evil.unwrap()).unwrap());
    drive.release_all();
    drive.listen(Duration::from_secs(3));
    let mut honest = drive.honest();
    honest.run.clone_from(&drive.mind.runs[0].id);
    let rows = table::rows(&honest);
    let session = drive.mind.runs.len();
    for row in rows.iter().filter(|row| !row.ends) {
        drive.say_row(row.clone());
    }
    let answered = |mind: &Mind| mind.answers.values().sum::<usize>() > 100;
    listen_until(&mut drive, answered);
    drive.listen(Duration::from_secs(2));
    assert!(session > 0);
    // It is the same session still, and answers.
    assert!(
        !drive.line_is_over(),
        "a row ended the session: {}",
        drive.place.log()
    );
    assert!(answered(&drive.mind), "{:?}", drive.mind.answers);
    // No abused fence keeps the next controller out.
    drive.mind.fence += 10;
    let evil = mailmend_lab::hostile::policies::of_kind("churn", &mut fastrand::Rng::with_seed(4));
    assert!(
        drive.assigned(&evil.unwrap()).unwrap(),
        "{:?}",
        drive.mind.answers
    );
    let rows: Vec<_> = rows.into_iter().filter(|row| row.ends).collect();
    assert!(!rows.is_empty());
    for row in rows {
        drive.connected().unwrap();
        drive.say(row.message);
        drive.ends(&row.what);
    }
    ended_well(drive);
}

#[test]
fn what_is_no_message_ends_the_session_and_nothing_else() {
    let (_folder, mut drive) = begun(narrow(5));
    let mut left = table::broken();
    // What a newer controller may say ends a session too: it would be half understood.
    while let Some((what, bytes)) = left.pop() {
        drive.connected().unwrap();
        drive.put(Said::Bytes(bytes));
        // What is only the beginning of something goes on and on.
        drive.put(Said::Bytes(vec![0; 64]));
        drive.put(Said::Break);
        drive.ends(what);
    }
    for row in table::welcomes().into_iter().take(4) {
        drive.drop_line();
        drive.begin_with(row.message).unwrap();
        drive.ends(&row.what);
    }
    drive.connected().unwrap();
    let audit = wire::AuditRequest::default();
    drive.say(Message::Audit(audit));
    listen_until(&mut drive, |mind| mind.answers.contains_key("taken"));
    assert_eq!(
        drive.mind.answers.get("taken"),
        Some(&1),
        "{:?}",
        drive.mind.answers
    );
    ended_well(drive);
}
