//! What is gathered into one statement, and what is not.

use mailmend_proto::run::RunId;
use uuid::Uuid;

use super::*;

fn run(number: u128) -> RunId {
    RunId(Uuid::from_u128(number))
}

fn enter(number: u128, phase: RunPhase) -> Action {
    Action::Enter {
        run: run(number),
        phase,
        why: String::new(),
    }
}

fn advance(number: u128, through: u32) -> Action {
    Action::Advance {
        run: run(number),
        server: "EXA1".parse().unwrap(),
        through,
    }
}

#[test]
fn what_ends_and_what_begins_is_never_written_in_one_statement() {
    let mut gathered = Gathered::default();
    gathered.take(&enter(1, RunPhase::Succeeded));
    assert!(gathered.takes(&enter(2, RunPhase::Running)));
    assert!(gathered.takes(&advance(1, 3)));
    assert!(
        !gathered.takes(&Action::Assign { run: run(3) }),
        "its site may come free by what is gathered"
    );
    let mut gathered = Gathered::default();
    gathered.take(&Action::Assign { run: run(3) });
    assert!(gathered.takes(&Action::Assign { run: run(4) }));
    assert!(!gathered.takes(&enter(3, RunPhase::Running)));
}

#[test]
fn a_run_enters_one_phase_at_a_time() {
    let mut gathered = Gathered::default();
    gathered.take(&enter(1, RunPhase::Running));
    assert!(!gathered.takes(&enter(1, RunPhase::Succeeded)));
}

#[test]
fn of_two_watermarks_the_higher_one_is_written() {
    let mut gathered = Gathered::default();
    for through in [2, 5, 4] {
        gathered.take(&advance(1, through));
    }
    let written: Vec<u32> = gathered.advanced.into_values().collect();
    assert_eq!(written, [5]);
}
