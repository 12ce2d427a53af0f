mod flips;

use super::*;
use flips::{opened, reference_files};
use mailmend_policy::digest::Digest;
use mailmend_proto::run::Ended;
use proptest::prelude::*;

fn run(number: u128) -> RunId {
    RunId(Uuid::from_u128(number))
}

fn admitted(fence: u64) -> Event {
    Event::Admitted {
        fence,
        plan: Digest::of(b"plan"),
        policy: Digest::of(b"policy"),
        assignment: b"assignment".to_vec(),
    }
}

fn alarm(text: &str) -> Event {
    Event::Alarm {
        code: "A000-test".into(),
        text: text.into(),
    }
}

fn closed() -> Event {
    Event::Closed {
        how: Ended::AtRest,
        detail: String::new(),
    }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    (folder, path)
}

/// Three runs, one closed, several appends.
fn reference(journal: &Journal) -> Vec<Record> {
    let mut records = Vec::new();
    records.extend(
        journal
            .append(run(1), 10, vec![admitted(3), alarm("one")])
            .unwrap(),
    );
    records.extend(journal.append(run(2), 20, vec![admitted(4)]).unwrap());
    records.extend(journal.append(run(1), 30, vec![closed()]).unwrap());
    records.extend(
        journal
            .append(run(3), 40, vec![admitted(5), alarm("two")])
            .unwrap(),
    );
    records
}

#[test]
fn what_was_appended_is_there_after_opening_again() {
    let (_keep, path) = place();
    let journal = Journal::open(&path).unwrap();
    let heads = journal.subscribe();
    let written = reference(&journal);
    assert_eq!(*heads.borrow(), 6);
    journal.acknowledge(4).unwrap();
    journal.acknowledge(2).unwrap();
    let (id, states): (_, Vec<_>) = (
        journal.id(),
        (1..=3)
            .map(|n| journal.state(run(n)).unwrap().unwrap())
            .collect(),
    );
    drop(journal);
    let journal = Journal::open(&path).unwrap();
    assert_eq!(journal.id(), id);
    assert_eq!(journal.head(), 6);
    assert_eq!(journal.acknowledged(), 4);
    assert_eq!(journal.after(0, usize::MAX).unwrap(), written);
    assert_eq!(journal.after(5, 0).unwrap(), written[5..]);
    assert_eq!(journal.after(0, 1).unwrap(), written[..1]);
    assert_eq!(journal.runs(), [run(1), run(2), run(3)]);
    assert_eq!(journal.open_runs(), [run(2), run(3)]);
    assert_eq!(journal.highest_fence(), 5);
    for (n, state) in (1..=3).zip(states) {
        assert_eq!(journal.state(run(n)).unwrap().unwrap(), state);
    }
    assert_eq!(journal.state(run(9)).unwrap(), None);
    assert_eq!(journal.records(run(1)).unwrap().len(), 3);
    journal.append(run(1), 50, vec![alarm("late")]).unwrap();
    assert!(journal.state(run(1)).unwrap().unwrap().closed.is_some());
}

#[test]
fn an_illegal_event_is_refused_with_everything_beside_it_and_changes_nothing() {
    let (_keep, path) = place();
    let journal = Journal::open(&path).unwrap();
    let before = reference(&journal);
    let state = journal.state(run(2)).unwrap();
    for events in [
        vec![alarm("legal"), admitted(9)],
        vec![alarm("legal"), Event::Fenced { fence: 1 }],
    ] {
        let error = journal.append(run(2), 60, events).unwrap_err();
        assert!(matches!(error, JournalError::Illegal(_)), "{error}");
    }
    assert!(matches!(
        journal.append(run(7), 60, vec![alarm("unknown run")]),
        Err(JournalError::Illegal(_))
    ));
    assert_eq!(journal.state(run(2)).unwrap(), state);
    assert_eq!(journal.after(0, usize::MAX).unwrap(), before);
    assert_eq!(journal.poisoned(), None);
    journal.append(run(2), 70, vec![alarm("goes on")]).unwrap();
}

#[test]
fn two_agents_cannot_share_a_journal_and_a_reader_may_look() {
    let (_keep, path) = place();
    let journal = Journal::open(&path).unwrap();
    reference(&journal);
    assert!(matches!(
        Journal::open(&path),
        Err(JournalError::InUse { .. })
    ));
    let reader = Journal::read(&path).unwrap();
    assert_eq!(reader.head(), 6);
    assert!(matches!(
        reader.append(run(2), 0, vec![alarm("no")]),
        Err(JournalError::ReadOnly)
    ));
    assert!(matches!(reader.acknowledge(1), Err(JournalError::ReadOnly)));
    let clone = journal.clone();
    drop(journal);
    assert!(Journal::open(&path).is_err());
    drop(clone);
    Journal::open(&path).unwrap();
}

#[test]
fn after_a_failed_write_nothing_is_appended_until_the_journal_is_opened_again() {
    let kept = MemoryJournal::new(Uuid::from_u128(1));
    let journal = Journal::memory(&kept).unwrap();
    let records = reference(&journal);
    kept.fail_append(0);
    journal.append(run(2), 1, vec![alarm("fails")]).unwrap_err();
    let error = journal
        .append(run(2), 1, vec![alarm("poisoned")])
        .unwrap_err();
    assert!(matches!(error, JournalError::Poisoned { .. }), "{error}");
    assert!(error.to_string().contains("input/output error"), "{error}");
    assert!(journal.acknowledge(3).is_err());
    assert!(journal.poisoned().is_some());
    assert_eq!(journal.after(0, usize::MAX).unwrap(), records);
    assert!(journal.state(run(2)).unwrap().is_some());
    let journal = Journal::memory(&kept).unwrap();
    journal.append(run(2), 1, vec![alarm("again")]).unwrap();

    let (_keep, path) = place();
    let journal = Journal::open(&path).unwrap();
    reference(&journal);
    journal.poison("the folder could not be synced");
    assert!(matches!(
        journal.append(run(2), 1, vec![alarm("no")]),
        Err(JournalError::Poisoned { .. })
    ));
}

#[test]
fn the_points_before_and_after_each_append_are_told_outside_the_lock() {
    let seen: Arc<Mutex<Vec<&str>>> = Arc::default();
    let told = Arc::clone(&seen);
    let kept = MemoryJournal::new(Uuid::from_u128(1)).with_hook(Arc::new(move |point| {
        told.lock().unwrap().push(point);
        assert!(
            !(point.contains("after") && told.lock().unwrap().len() > 2),
            "killed"
        );
    }));
    let journal = Journal::memory(&kept).unwrap();
    journal.append(run(1), 0, vec![admitted(1)]).unwrap();
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        journal.append(run(1), 0, vec![alarm("written, then killed")])
    }));
    assert!(killed.is_err());
    assert_eq!(journal.head(), 2, "the lock is not poisoned by a kill");
    assert_eq!(Journal::memory(&kept).unwrap().head(), 2);
}

#[test]
fn a_tail_that_was_torn_before_it_was_durable_is_dropped_and_a_durable_one_is_missed() {
    let (mut files, records) = reference_files(false);
    let wal = files
        .iter()
        .position(|(suffix, _)| suffix == "-wal")
        .unwrap();
    let head = files
        .iter()
        .position(|(suffix, _)| suffix == ".head")
        .unwrap();
    let length = files[wal].1.len();
    files[wal].1.truncate(length - 100);
    let error = opened(&files).unwrap_err();
    assert!(
        matches!(error, JournalError::Corrupt { seq: 5, .. }),
        "{error}"
    );
    // As after a power cut in the middle of the last commit: its mark was never written.
    let mark = Link::from_mark(&files[head].1).unwrap();
    assert_eq!(mark.seq, 6);
    files.remove(head);
    assert_eq!(opened(&files).unwrap(), records[..4]);
}

#[test]
fn a_file_that_is_gone_or_is_no_journal_is_not_replaced_by_an_empty_one() {
    let (files, _) = reference_files(true);
    let only_mark: Vec<_> = files
        .iter()
        .filter(|(s, _)| s == ".head")
        .cloned()
        .collect();
    assert!(matches!(
        opened(&only_mark),
        Err(JournalError::Corrupt { seq: 1, .. })
    ));
    assert!(
        opened(&[(
            String::new(),
            b"this is no journal, it is a text\n".repeat(50)
        )])
        .is_err()
    );
    let (_keep, path) = place();
    assert!(Journal::read(&path).is_err());
    assert!(!path.exists(), "looking makes nothing");
    let error = Journal::open(&path.join("not/there")).unwrap_err();
    assert!(
        error.to_string().starts_with("A013-journal-unusable"),
        "{error}"
    );
}

#[test]
fn what_comes_before_the_damage_can_be_salvaged() {
    let (_keep, path) = place();
    let journal = Journal::open(&path).unwrap();
    let records = reference(&journal);
    drop(journal);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("UPDATE record SET bytes = x'00' WHERE seq = 4", [])
        .unwrap();
    drop(db);
    assert!(matches!(
        Journal::open(&path),
        Err(JournalError::Corrupt { seq: 4, .. })
    ));
    let (salvaged, fault) = Journal::salvage(&path).unwrap();
    assert_eq!(salvaged, records[..3]);
    assert!(matches!(fault, Some(JournalError::Corrupt { seq: 4, .. })));
}

#[test]
fn a_row_that_is_gone_moved_or_taken_from_another_journal_is_detected() {
    for damage in [
        "DELETE FROM record WHERE seq = 3",
        "DELETE FROM record WHERE seq = 6",
        "DELETE FROM record WHERE seq >= 5",
        "DELETE FROM fact WHERE number = 2",
        "UPDATE record SET seq = 60 WHERE seq = 6",
        "UPDATE record SET hash = zeroblob(32) WHERE seq = 6",
        "UPDATE record SET hash = (SELECT hash FROM record WHERE seq = 5) WHERE seq = 6",
    ] {
        let (_keep, path) = place();
        let journal = Journal::open(&path).unwrap();
        reference(&journal);
        drop(journal);
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute(damage, []).unwrap();
        drop(db);
        let error = Journal::open(&path).expect_err(damage);
        assert!(
            matches!(error, JournalError::Corrupt { .. }),
            "{damage}: {error}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_sequence_of_appends_reads_back_the_same_whatever_is_refused(
        steps in prop::collection::vec((1..4_u128, 0..5_u8, 0..9_u64), 1..40)
    ) {
        let kept = MemoryJournal::new(Uuid::from_u128(7));
        let journal = Journal::memory(&kept).unwrap();
        let mut expected = Vec::new();
        for (which, kind, fence) in steps {
            let event = match kind {
                0 => admitted(fence),
                1 => Event::Fenced { fence },
                2 => Event::Advanced { fence, through: 1 },
                3 => closed(),
                _ => alarm("x"),
            };
            if let Ok(written) = journal.append(run(which), 0, vec![event]) {
                expected.extend(written);
            }
            let again = Journal::memory(&kept).unwrap();
            prop_assert_eq!(again.head(), expected.len() as u64);
            prop_assert_eq!(again.after(0, usize::MAX).unwrap(), expected.clone());
            prop_assert_eq!(again.open_runs(), journal.open_runs());
            prop_assert_eq!(again.highest_fence(), journal.highest_fence());
            for n in 1..4 {
                prop_assert_eq!(again.state(run(n)).unwrap(), journal.state(run(n)).unwrap());
            }
        }
    }
}

#[test]
fn a_closed_run_that_gets_another_record_adds_up_to_that_too() {
    let (_folder, path) = place();
    let journal = Journal::open(&path).unwrap();
    reference(&journal);
    let before = journal.state(run(1)).unwrap().unwrap();
    let again = journal.state(run(1)).unwrap().unwrap();
    assert!(Arc::ptr_eq(&before, &again), "it is not folded again");
    journal.append(run(1), 50, vec![alarm("late")]).unwrap();
    let after = journal.state(run(1)).unwrap().unwrap();
    let folded = Journal::read(&path)
        .unwrap()
        .state(run(1))
        .unwrap()
        .unwrap();
    assert_eq!(after, folded);
    assert_eq!(journal.state(run(9)).unwrap(), None);
}

/// What recovery and each quarantine ask for, with the closed runs of years.
#[test]
fn a_thousand_closed_runs_are_folded_once() {
    let (_folder, path) = place();
    let journal = Journal::open(&path).unwrap();
    for number in 1..=1000 {
        let events = vec![admitted(1), alarm("one"), alarm("two"), closed()];
        journal.append(run(number), 1, events).unwrap();
    }
    let ask = || {
        let begun = std::time::Instant::now();
        for number in 1..=1000 {
            journal.state(run(number)).unwrap().unwrap();
        }
        begun.elapsed()
    };
    let (first, then) = (ask(), ask());
    eprintln!("the states of 1000 closed runs: {first:.2?}, then {then:.2?}");
    assert!(then < first, "{first:?} {then:?}");
}

#[test]
fn what_was_witnessed_of_the_trail_is_kept_over_a_restart_and_belongs_to_no_run() {
    let storage = MemoryJournal::new(Uuid::from_u128(1));
    let seen = |seq| TrailHead {
        seq,
        hash: Digest::of(b"head"),
    };
    let journal = Journal::memory(&storage).unwrap();
    journal.witness(5, seen(3), false).unwrap();
    let under_a_run = Event::TrailWitnessed {
        seq: 4,
        hash: Digest::of(b"head"),
        contradicts: false,
    };
    assert!(journal.append(run(1), 5, vec![under_a_run]).is_err());
    let began = Event::DutyBegan {
        duty: "watchdog".into(),
        service: "MSExchangeIMC".parse().unwrap(),
        why: String::new(),
    };
    assert!(journal.append(RunId::NONE, 5, vec![began]).is_err());
    drop(journal);
    let journal = Journal::memory(&storage).unwrap();
    assert_eq!(journal.head(), 1);
    assert_eq!(journal.witnessed().last, Some(seen(3)));
    assert_eq!((journal.runs(), journal.open_runs()), (vec![], vec![]));
}
