//! What keeps the journal from telling another story than the one that happened.

use std::path::Path;

use mailmend_agent::ablation::Mechanism;
use mailmend_agent::journal::Journal;
use mailmend_policy::digest::Digest;
use mailmend_proto::run::{Event, RunId};
use uuid::Uuid;

use crate::proof::proves;

const RUN: RunId = RunId(Uuid::from_u128(0xA));

/// A journal of four records; the text of the last is told apart.
fn written(path: &Path) {
    let journal = Journal::open(path).unwrap();
    let plan = Digest::of(b"plan");
    let admitted = Event::Admitted {
        fence: 1,
        plan,
        policy: plan,
        assignment: Vec::new(),
    };
    journal.append(RUN, 1, vec![admitted]).unwrap();
    for number in 0..3 {
        let alarm = Event::Alarm {
            code: "A064-mail-kept".into(),
            text: format!("number {number} of all"),
        };
        journal.append(RUN, 2, vec![alarm]).unwrap();
    }
}

fn in_a_folder(story: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.journal");
    written(&path);
    story(&path);
}

#[test]
fn a_record_that_was_changed_is_not_believed() {
    proves(
        Mechanism::JournalChain,
        "a changed history was believed",
        || {
            in_a_folder(|path| {
                let db = rusqlite::Connection::open(path).unwrap();
                let changed = db
                    .execute(
                        "UPDATE record SET bytes = CAST(replace(CAST(bytes AS TEXT), 'number 1', 'number 7') AS BLOB) \
                         WHERE instr(bytes, CAST('number 1' AS BLOB)) > 0",
                        [],
                    )
                    .unwrap();
                assert_eq!(changed, 1);
                drop(db);
                assert!(
                    Journal::open(path).is_err(),
                    "a changed history was believed"
                );
            });
        },
    );
}

#[test]
fn records_that_are_gone_from_the_end_are_missed() {
    proves(
        Mechanism::JournalMarks,
        "a durable record is gone and nobody said so",
        || {
            in_a_folder(|path| {
                let db = rusqlite::Connection::open(path).unwrap();
                db.execute("DELETE FROM record WHERE seq = 4", []).unwrap();
                drop(db);
                assert!(
                    Journal::open(path).is_err(),
                    "a durable record is gone and nobody said so"
                );
            });
        },
    );
}

#[test]
fn a_second_agent_does_not_get_the_journal_of_the_first() {
    proves(
        Mechanism::JournalLock,
        "two agents write one journal",
        || {
            in_a_folder(|path| {
                let _first = Journal::open(path).unwrap();
                assert!(Journal::open(path).is_err(), "two agents write one journal");
            });
        },
    );
}
