//! A journal that is damaged, cut, foreign or from the future. The agent leaves it as it is and changes
//! nothing on the server.

use mailmend_agent::journal::Journal;
use mailmend_proto::run::{Event, RunId};
use rusqlite::params;
use uuid::Uuid;

use super::place::{Place, all_of, untouched};

/// A place whose agent has a journal with records in it.
fn with_records() -> Place {
    let place = Place::new();
    mailmend_agent::identity::make_data_folder(&place.agent_data).unwrap();
    let journal = Journal::open(&place.agent_data.join("journal.db")).unwrap();
    let run = RunId(Uuid::from_u128(7));
    let began = Event::DutyBegan {
        duty: "watchdog".into(),
        service: "MSExchangeIMC".parse().unwrap(),
        why: "for the test".into(),
    };
    journal.append(run, 1, vec![began]).unwrap();
    for number in 0..40 {
        let alarm = Event::Alarm {
            code: "A055-service-dead".into(),
            text: format!("{number}").repeat(200),
        };
        journal.append(run, 2, vec![alarm]).unwrap();
    }
    drop(journal);
    place.agent(&["journal"]).succeeded();
    place
}

/// The agent does not start, the listings say why, and nothing is changed.
#[track_caller]
fn stays(place: &Place, code: &str) {
    let before = all_of(&place.path(""));
    place.agent(&["run"]).refused(1, code);
    let ended = place.agent(&["ledger"]);
    assert!(ended.stderr.contains(code), "{ended:?}");
    untouched(&place.path(""), &before);
}

#[test]
fn a_flipped_byte_in_the_middle_keeps_the_agent_from_starting() {
    let place = with_records();
    let file = place.agent_data.join("journal.db");
    let good = std::fs::read(&file).unwrap();
    // Every copy: SQLite leaves old ones in the free room of its pages, where nobody reads them.
    for text in [&b"20202020"[..], b"for the test"] {
        let mut bad = good.clone();
        let places = good.windows(text.len()).enumerate();
        let places: Vec<usize> = places
            .filter(|(_, found)| *found == text)
            .map(|(at, _)| at)
            .collect();
        assert!(!places.is_empty());
        for at in places {
            bad[at] = b'x';
        }
        std::fs::write(&file, bad).unwrap();
        stays(&place, "A011-journal-corrupt");
    }
    std::fs::write(&file, good).unwrap();
    place.agent(&["journal"]).succeeded();
}

#[test]
fn a_cut_or_foreign_file_keeps_the_agent_from_starting() {
    let place = with_records();
    let file = place.agent_data.join("journal.db");
    let good = std::fs::read(&file).unwrap();
    let text = "this is a letter to the administrator and no database at all\n".repeat(20);
    for bad in [
        &good[..good.len() / 2],
        &good[..4096],
        &good[..100],
        text.as_bytes(),
    ] {
        std::fs::write(&file, bad).unwrap();
        stays(&place, "A011-journal-corrupt");
    }
}

#[test]
fn an_emptied_or_removed_journal_is_not_taken_for_a_new_one() {
    let place = with_records();
    let file = place.agent_data.join("journal.db");
    std::fs::write(&file, "").unwrap();
    place.agent(&["run"]).refused(1, "A011-journal-corrupt");
    std::fs::remove_file(&file).unwrap();
    place.agent(&["run"]).refused(1, "A011-journal-corrupt");
}

#[test]
fn a_journal_of_a_newer_agent_is_left_to_it() {
    let place = with_records();
    let file = place.agent_data.join("journal.db");
    let database = rusqlite::Connection::open(&file).unwrap();
    let version = 2_u64.to_le_bytes();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[1]);
    hasher.update(&version);
    let hash = *hasher.finalize().as_bytes();
    let changed = database
        .execute(
            "UPDATE fact SET value = ?1, hash = ?2 WHERE number = 1",
            params![version, hash],
        )
        .unwrap();
    assert_eq!(changed, 1);
    drop(database);
    let before = all_of(&place.agent_data);
    let ended = place.agent(&["run"]);
    let said = ended.refused(1, "A013-journal-unusable");
    assert!(said.contains("format 2"), "{said}");
    untouched(&place.agent_data, &before);
}
