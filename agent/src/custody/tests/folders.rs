//! Custody over real folders.

use std::collections::BTreeSet;
use std::fs;

use proptest::prelude::*;

use super::place::Place;
use super::*;
use crate::host::simulated::run_until_killed;

#[test]
fn a_quarantine_takes_the_messages_and_nothing_else_and_a_replay_gives_them_back() {
    let mut place = Place::new(5);
    place.put("mixed1CA", b"any case");
    fs::write(place.out.join("README.TXT"), b"not mail").unwrap();
    fs::write(place.out.join("TOOLONG99"), b"not mail").unwrap();
    fs::write(place.out.join("Archive/MAIL9999"), b"archived").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("/etc/passwd", place.out.join("LINK0001")).unwrap();
    let taken = place.quarantine(1, &Answers::default()).unwrap();
    assert_eq!((taken.held, taken.left.len()), (6, 0));
    assert_eq!(place.queue(), BTreeMap::new());
    assert_eq!(place.held(1), place.content);
    assert!(place.out.join("README.TXT").exists() && place.out.join("Archive/MAIL9999").exists());
    #[cfg(unix)]
    assert!(place.out.join("LINK0001").is_symlink());
    let table = place
        .held
        .join(Uuid::from_u128(1).to_string())
        .join(manifest::FILE);
    assert_eq!(fs::read_to_string(table).unwrap().lines().count(), 8);
    place.balances(1);

    let given = place.replay(1, Which::First(2)).unwrap();
    assert_eq!((given.placed, given.left.len()), (2, 0));
    assert_eq!(place.queue().len(), 2);
    let given = place.replay(1, Which::All).unwrap();
    assert_eq!((given.replay, given.placed), (Some(2), 4));
    assert_eq!(place.queue(), place.content);
    assert_eq!(place.counts(), BTreeMap::from([(Custody::Replaying, 6)]));
    place.balances(1);

    // Everywhere twice: nothing is held any more, so nothing is given back again.
    assert_eq!(
        place.replay(1, Which::All).unwrap(),
        replay::Given::default()
    );
    assert_eq!(
        place.recover(false, &Answers::default()),
        recover::Recovered::default()
    );
}

#[test]
fn the_oldest_go_first_and_only_what_is_held() {
    let place = Place::new(4);
    for (name, age) in [("MAIL0002", 400), ("MAIL0001", 300), ("MAIL0000", 200)] {
        let file = fs::File::options()
            .write(true)
            .open(place.out.join(name))
            .unwrap();
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
        file.set_modified(then).unwrap();
    }
    let answers = Answers::default().with("MAIL0001", begun());
    place.quarantine(1, &answers).unwrap();
    let journal = place.journal();
    let batch = place
        .desk(&journal)
        .batch(BatchId(Uuid::from_u128(1)))
        .unwrap();
    assert_eq!(replay::selection(&batch, &Which::First(2)), [2, 0]);
    assert_eq!(replay::selection(&batch, &Which::All), [2, 0, 3]);
    assert_eq!(
        replay::selection(&batch, &Which::Entries(vec![3, 1, 77])),
        [3]
    );
}

#[test]
fn the_manifest_is_durable_before_the_first_file_moves_and_the_folders_after_the_last() {
    let place = Place::new(3);
    place.quarantine(1, &Answers::default()).unwrap();
    place.replay(1, Which::All).unwrap();
    let calls = place.disk.calls.lock().unwrap().clone();
    let changes: Vec<&str> = calls
        .iter()
        .map(String::as_str)
        .filter(|call| !call.starts_with("open"))
        .collect();
    let batch = Uuid::from_u128(1).to_string();
    let expected = [
        "make mailmend-held".to_owned(),
        format!("make {batch}"),
        "write MANIFEST.tsv".into(),
        "move MAIL0000".into(),
        "move MAIL0001".into(),
        "move MAIL0002".into(),
        format!("sync {batch}"),
        "sync Out".into(),
        "link MAIL0000".into(),
        "link MAIL0001".into(),
        "link MAIL0002".into(),
        "sync Out".into(),
    ];
    assert_eq!(changes, expected);
}

#[test]
fn what_did_not_change_since_it_was_hashed_is_not_read_after_the_stop() {
    let mut place = Place::new(3);
    for name in place.content.keys() {
        let file = fs::File::options()
            .write(true)
            .open(place.out.join(name))
            .unwrap();
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        file.set_modified(then).unwrap();
    }
    let journal = place.journal();
    begin(&place.desk(&journal));
    let prepared = quarantine::prepare(&place.desk(&journal), place.take(1)).unwrap();
    drop(journal);
    place.put("MAIL0001", b"rewritten after it was hashed");
    place.put("NEWFILE1", b"new");
    fs::remove_file(place.out.join("MAIL0002")).unwrap();
    place.content.remove("MAIL0002");
    place.disk.calls.lock().unwrap().clear();
    let journal = place.journal();
    let taken = prepared
        .take(
            &place.desk(&journal),
            &place.stopped(HowStopped::Cleanly),
            &Answers::default(),
        )
        .unwrap();
    drop(journal);
    assert_eq!(taken.held, 3);
    let calls = place.disk.calls.lock().unwrap().clone();
    let opened: Vec<&String> = calls
        .iter()
        .filter(|call| call.starts_with("open"))
        .collect();
    assert_eq!(opened, ["open MAIL0001", "open NEWFILE1"]);
    assert_eq!(place.held(1), place.content);
    place.balances(1);
    assert_eq!(
        place.replay(1, Which::All).unwrap().placed,
        3,
        "the new hash is in the manifest"
    );
}

#[test]
fn nothing_moves_while_the_service_runs_or_its_process_is_there() {
    let place = Place::new(2);
    let proof = place.stopped(HowStopped::Cleanly);
    let journal = place.journal();
    let desk = place.desk(&journal);
    begin(&desk);
    let prepared = quarantine::prepare(&desk, place.take(1)).unwrap();
    *place.disk.running.lock().unwrap() = true;
    let error = prepared
        .take(&desk, &proof, &Answers::default())
        .unwrap_err();
    assert!(
        error.to_string().starts_with("A080-service-not-stopped"),
        "{error}"
    );
    assert_eq!(error.effect(), Effect::None);
    assert!(Stopped::prove(&place.disk, &imc(), None, HowStopped::Cleanly).is_err());
    *place.disk.running.lock().unwrap() = false;
    let process = ProcessIdentity {
        pid: 1,
        started: 1,
        image: "imc".into(),
    };
    let error =
        Stopped::prove(&place.disk, &imc(), Some(&process), HowStopped::Cleanly).unwrap_err();
    assert!(
        error.to_string().contains("its process is still there"),
        "{error}"
    );
    drop(journal);
    place.quarantine(2, &Answers::default()).unwrap();
    *place.disk.running.lock().unwrap() = true;
    let journal = place.journal();
    let desk = place.desk(&journal);
    let give = Give {
        batch: BatchId(Uuid::from_u128(2)),
        step: None,
        target: place.out.clone(),
        which: Which::All,
    };
    replay::check(&desk, give)
        .unwrap()
        .place(&desk, &proof)
        .unwrap_err();
    assert!(index::set_aside(&desk, place.out.parent().unwrap(), &proof).is_err());
    assert_eq!(place.queue(), BTreeMap::new());
}

#[test]
fn limits_room_and_folders_are_checked_before_the_stop_with_nothing_touched() {
    let place = Place::new(3);
    let journal = place.journal();
    let desk = place.desk(&journal);
    begin(&desk);
    let refused = |take: Take| {
        let error = quarantine::prepare(&desk, take).unwrap_err();
        assert_eq!(error.effect(), Effect::None, "{error}");
        error.to_string()[..4].to_owned()
    };
    let limited = |limits: Limits| Take {
        limits,
        ..place.take(1)
    };
    assert_eq!(
        refused(limited(Limits {
            files: 2,
            ..NO_LIMITS
        })),
        "A082"
    );
    assert_eq!(
        refused(limited(Limits {
            bytes: 17,
            ..NO_LIMITS
        })),
        "A082"
    );
    *place.disk.free.lock().unwrap() = Some(2 << 20);
    let least_free = 1 << 20;
    assert_eq!(
        refused(limited(Limits {
            least_free,
            ..NO_LIMITS
        })),
        "A083"
    );
    *place.disk.free.lock().unwrap() = None;
    for held_root in [
        place.out.clone(),
        place.out.join("held"),
        place.out.parent().unwrap().into(),
    ] {
        let take = Take {
            held_root,
            ..place.take(1)
        };
        assert_eq!(refused(take), "A081");
    }
    fs::create_dir_all(place.take(1).held()).unwrap();
    fs::write(place.take(1).held().join("SOMEBODY"), b"else's").unwrap();
    assert_eq!(refused(place.take(1)), "A081");
    assert_eq!(place.queue(), place.content);
    assert_eq!(journal.head(), 1);
}

#[test]
fn a_file_that_stays_locked_is_left_as_a_suspect_and_one_that_is_released_is_taken() {
    let place = Place::new(3);
    let open = fs::File::open(place.out.join("MAIL0001")).unwrap();
    open.lock().unwrap();
    place.disk.locked.lock().unwrap().push("MAIL0002".into());
    let taken = place.quarantine(1, &Answers::default()).unwrap();
    assert_eq!(taken.held, 2);
    assert_eq!(taken.left.len(), 1);
    assert_eq!(taken.left[0].name, "MAIL0001");
    assert_eq!(place.queue().len(), 1);
}

#[cfg(unix)]
#[test]
fn a_link_that_takes_the_place_of_a_file_is_never_followed_or_moved() {
    let place = Place::new(3);
    let outside = place.held.with_extension("outside");
    fs::write(&outside, b"not yours").unwrap();
    let journal = place.journal();
    let desk = place.desk(&journal);
    begin(&desk);
    let take = place.take(1);
    let survey = survey::survey(&place.disk, &place.out).unwrap();
    let stopped = place.stopped(HowStopped::Cleanly);
    let judged = quarantine::judge(survey, take.queue, &stopped, &Answers::default());
    // After the last look, before the move.
    fs::remove_file(place.out.join("MAIL0001")).unwrap();
    std::os::unix::fs::symlink(&outside, place.out.join("MAIL0001")).unwrap();
    let taken = quarantine::take_judged(&desk, &take, judged, &stopped).unwrap();
    assert_eq!(taken.held, 2);
    assert!(place.out.join("MAIL0001").is_symlink());
    assert_eq!(fs::read(&outside).unwrap(), b"not yours");
    let mut place = place;
    place.content.remove("MAIL0001");
    assert_eq!(taken.left[0].name, "MAIL0001");
    assert!(!place.states().contains_key("MAIL0001"));
}

#[test]
fn a_file_that_was_swapped_for_another_is_not_held_as_what_it_is_not() {
    let place = Place::new(3);
    let journal = place.journal();
    let desk = place.desk(&journal);
    begin(&desk);
    let take = place.take(1);
    let survey = survey::survey(&place.disk, &place.out).unwrap();
    let stopped = place.stopped(HowStopped::Cleanly);
    let judged = quarantine::judge(survey, take.queue, &stopped, &Answers::default());
    fs::write(place.out.join("other"), b"a longer, other text").unwrap();
    fs::remove_file(place.out.join("MAIL0001")).unwrap();
    fs::hard_link(place.out.join("other"), place.out.join("MAIL0001")).unwrap();
    let taken = quarantine::take_judged(&desk, &take, judged, &stopped).unwrap();
    assert_eq!((taken.held, taken.in_doubt), (2, 1));
    assert_eq!(place.states()["MAIL0001"], Custody::InDoubt);
    assert_eq!(place.alarms(), ["A084-held-mail-damaged"]);
    assert_eq!(place.replay(1, Which::All).unwrap().placed, 2);
}

#[test]
fn what_was_sent_is_never_given_back_and_what_may_have_been_is_named() {
    let place = Place::new(4);
    let answers = Answers::default()
        .with("MAIL0000", delivered())
        .with("MAIL0001", begun())
        .with("MAIL0002", cannot_tell());
    let taken = place.quarantine(1, &answers).unwrap();
    assert_eq!((taken.held, taken.gone, taken.in_doubt), (2, 1, 1));
    assert_eq!(place.replay(1, Which::All).unwrap().placed, 2);
    assert_eq!(
        place.queue().into_keys().collect::<Vec<_>>(),
        ["MAIL0002", "MAIL0003"]
    );
    place.balances(1);
}

#[test]
fn after_an_unclean_stop_only_what_may_have_been_sent_is_set_aside() {
    let place = Place::new(4);
    let journal = place.journal();
    let desk = place.desk(&journal);
    begin(&desk);
    let stopped = place.stopped(HowStopped::Cleanly);
    let answers = Answers::default()
        .with("MAIL0000", delivered())
        .with("MAIL0001", begun())
        .with("MAIL0002", cannot_tell());
    let set_aside = |number| {
        in_doubt::set_aside_in_doubt(&desk, &place.take(number), &stopped, &answers).unwrap()
    };
    let taken = set_aside(1);
    assert_eq!((taken.held, taken.gone, taken.in_doubt), (0, 1, 2));
    assert_eq!(place.queue().into_keys().collect::<Vec<_>>(), ["MAIL0003"]);
    let again = set_aside(2);
    assert_eq!(again, quarantine::Taken::default(), "twice changes nothing");
    assert_eq!(place.replay(1, Which::All).unwrap().placed, 0);
    place.balances(1);
}

#[test]
fn a_name_that_is_taken_in_the_queue_is_never_replaced() {
    let mut place = Place::new(3);
    place.quarantine(1, &Answers::default()).unwrap();
    place.put("mail0001", b"another message of the same name");
    place.content.insert("MAIL0001".into(), b"mail 1".to_vec());
    let given = place.replay(1, Which::All).unwrap();
    assert_eq!(given.placed, 3);
    let [(1, name)] = &given.renamed[..] else {
        panic!("{given:?}")
    };
    assert!(survey::is_spool_name(name));
    let queue = place.queue();
    assert_eq!(queue["mail0001"], b"another message of the same name");
    assert_eq!(queue[name.as_str()], b"mail 1");
    let lines = ledger::of_server(&place.journal()).unwrap();
    assert_eq!(lines[1].given_back_as.as_ref(), Some(name));
    place.balances(1);
}

#[test]
fn a_held_file_that_was_damaged_is_not_given_back_and_raises_an_alarm() {
    let place = Place::new(4);
    place.quarantine(1, &Answers::default()).unwrap();
    let held = held_folder(&place.held, BatchId(Uuid::from_u128(1)));
    let keep_time = fs::metadata(held.join("MAIL0000"))
        .unwrap()
        .modified()
        .unwrap();
    fs::write(held.join("MAIL0000"), b"mail X").unwrap();
    let file = fs::File::options()
        .write(true)
        .open(held.join("MAIL0000"))
        .unwrap();
    file.set_modified(keep_time).unwrap();
    fs::remove_file(held.join("MAIL0001")).unwrap();
    let given = place.replay(1, Which::All).unwrap();
    assert_eq!(given.placed, 2);
    assert_eq!(
        given.left.iter().map(|left| left.index).collect::<Vec<_>>(),
        [0, 1]
    );
    assert_eq!(place.alarms(), ["A084-held-mail-damaged"; 2]);
    assert_eq!(
        place.queue().into_keys().collect::<Vec<_>>(),
        ["MAIL0002", "MAIL0003"]
    );
}

#[test]
fn a_failed_sync_ends_all_moving_until_the_agent_starts_again() {
    // Syncs: of the held folder, of Out; then of Out by the replay.
    for failing in 1..=3 {
        let place = Place::new(4);
        *place.disk.failing_sync.lock().unwrap() = failing;
        let journal = place.journal();
        let desk = place.desk(&journal);
        begin(&desk);
        let stopped = place.stopped(HowStopped::Cleanly);
        let first = quarantine::prepare(&desk, place.take(1)).unwrap().take(
            &desk,
            &stopped,
            &Answers::default(),
        );
        let give = || Give {
            batch: BatchId(Uuid::from_u128(1)),
            step: None,
            target: place.out.clone(),
            which: Which::All,
        };
        let result = first.map(drop).and_then(|()| {
            replay::check(&desk, give())?
                .place(&desk, &stopped)
                .map(drop)
        });
        let error = result.unwrap_err();
        assert!(
            error.to_string().starts_with("A085-durability-unknown"),
            "{error}"
        );
        assert_eq!(error.effect(), Effect::Unknown);
        assert!(journal.poisoned().is_some());
        place.disk.calls.lock().unwrap().clear();
        let circumstances = recover::Circumstances {
            stopped: Some(&stopped),
            may_have_run: false,
        };
        assert!(desk.append(vec![alarm("A000-x", "no")]).is_err());
        let before = (place.queue(), place.held(1));
        let more = replay::check(&desk, give()).and_then(|checked| checked.place(&desk, &stopped));
        assert!(more.is_err() || more.unwrap().placed == 0);
        assert_eq!((place.queue(), place.held(1)), before, "nothing moves");
        drop(journal);
        let journal = place.journal();
        recover::recover(&place.desk(&journal), circumstances, &Answers::default()).unwrap();
        place.balances(1);
        assert!(!recover::needed(&journal.state(RUN).unwrap().unwrap()));
    }
}

#[test]
fn a_journal_that_cannot_be_written_keeps_every_file_where_it_is() {
    let place = Place::new(3);
    let journal = place.journal();
    let desk = place.desk(&journal);
    begin(&desk);
    let prepared = quarantine::prepare(&desk, place.take(1)).unwrap();
    place.kept.fail_append(0);
    let stopped = place.stopped(HowStopped::Cleanly);
    prepared
        .take(&desk, &stopped, &Answers::default())
        .unwrap_err();
    assert_eq!(place.queue(), place.content);
    assert!(!place.take(1).held().exists());
}

/// Quarantine, replay, a second quarantine that takes the replayed back, and a replay again; killed at
/// any of its points and again at any point of what follows, it balances.
#[test]
fn killed_at_any_point_and_again_while_recovering_every_message_is_where_the_ledger_says() {
    let story = |place: &Place| {
        let answers = Answers::default().with("MAIL0002", begun());
        place.recover(false, &answers);
        if place
            .journal()
            .state(RUN)
            .unwrap()
            .unwrap()
            .batches
            .is_empty()
        {
            place.quarantine(1, &answers).unwrap();
        }
        place.replay(1, Which::First(1)).unwrap();
        // Takes back what was replayed; finds nothing else.
        place.quarantine(2, &answers).unwrap();
        place.replay(1, Which::All).unwrap();
    };
    let points = {
        let place = Place::new(3);
        begin(&place.desk(&place.journal()));
        let before = place.disk.switch.passed();
        story(&place);
        place.balances(1);
        assert_eq!(place.queue().len(), 2);
        place.disk.switch.passed() - before
    };
    assert!(points > 30, "{points}");
    for first in 1..=points {
        for second in [0, 2, 7, 17] {
            let place = Place::new(3);
            begin(&place.desk(&place.journal()));
            for kill in [first, second, 0] {
                place.disk.switch.revive();
                place.disk.switch.arm(kill);
                let ended = run_until_killed(|| story(&place));
                place.disk.switch.revive();
                // Between two lives the folders and the journal agree, whatever is unfinished.
                let queue = place.queue();
                for (name, bytes) in &place.content {
                    let held = place.held(1);
                    assert!(
                        queue.get(name) == Some(bytes) || held.get(name) == Some(bytes),
                        "`{name}` is lost after {kill} of {first}, {second}"
                    );
                }
                if kill == 0 {
                    assert_eq!(ended, Ok(()));
                }
            }
            place.balances(1);
            let states = place.states();
            assert_eq!(states.len(), 3, "{first} {second}: {states:?}");
            assert_eq!(states["MAIL0002"], Custody::InDoubt);
            let queue = place.queue();
            assert!(
                !queue.contains_key("MAIL0002"),
                "in doubt is never given back"
            );
            for name in ["MAIL0000", "MAIL0001"] {
                // A kill while it was being taken back leaves it in doubt, and out of the queue.
                let expected = states[name] == Custody::Replaying;
                assert!(expected || states[name] == Custody::InDoubt, "{states:?}");
                assert_eq!(queue.contains_key(name), expected, "{first} {second}");
            }
        }
    }
}

#[test]
fn an_interrupted_replay_after_which_the_service_may_have_run_is_in_doubt_without_evidence() {
    let place = Place::new(3);
    place.quarantine(1, &Answers::default()).unwrap();
    let place = place;
    // Killed after the second link.
    place.disk.switch.arm(6);
    let killed = run_until_killed(|| place.replay(1, Which::All));
    place.disk.switch.revive();
    assert!(killed.is_err());
    assert_eq!(place.queue().len(), 2);
    // Somebody starts the service by hand: it delivers one file.
    fs::remove_file(place.out.join("MAIL0000")).unwrap();
    let recovered = place.recover(true, &Answers::default().with("MAIL0000", delivered()));
    assert_eq!(recovered.replays.len(), 1);
    let states = place.states();
    assert_eq!(states["MAIL0000"], Custody::GoneWithEvidence);
    assert_eq!(states["MAIL0001"], Custody::Replaying);
    assert_eq!(
        states["MAIL0002"],
        Custody::InDoubt,
        "not placed, but who knows"
    );
    assert_eq!(recovered.in_doubt, 1);
    assert_eq!(
        place.recover(true, &Answers::default()),
        recover::Recovered::default()
    );
}

#[test]
fn replayed_mail_settles_by_evidence_and_is_in_doubt_when_the_grace_is_over() {
    let place = Place::new(4);
    place.quarantine(1, &Answers::default()).unwrap();
    place.replay(1, Which::All).unwrap();
    let journal = place.journal();
    let desk = place.desk(&journal);
    let settle = |answers: &Answers, over| {
        settle::settle(&desk, BatchId(Uuid::from_u128(1)), answers, over).unwrap()
    };
    let answers = Answers::default()
        .with("MAIL0000", delivered())
        .with("MAIL0003", delivered());
    for name in ["MAIL0000", "MAIL0001"] {
        fs::remove_file(place.out.join(name)).unwrap();
    }
    let first = settle(&answers, false);
    assert_eq!(
        (
            first.delivered,
            first.waiting,
            first.unproven,
            first.in_doubt
        ),
        (1, 2, 1, 0),
        "what is still in the queue waits, whatever the records say"
    );
    assert_eq!(settle(&answers, false), first, "twice is the same");
    let second = settle(&answers, true);
    assert_eq!(
        (second.delivered, second.waiting, second.in_doubt),
        (1, 2, 1)
    );
    assert!(!second.is_over());
    for name in ["MAIL0002", "MAIL0003"] {
        fs::remove_file(place.out.join(name)).unwrap();
    }
    let answers = answers
        .with("MAIL0001", delivered())
        .with("MAIL0002", begun());
    let third = settle(&answers, true);
    assert_eq!(
        (third.delivered, third.in_doubt),
        (3, 1),
        "late evidence counts"
    );
    assert!(third.is_over());

    // Escrow goes only for what was delivered, and only after the retention.
    let now = desk.host.clock().wall_ms();
    let purge = |before| settle::purge(&desk, BatchId(Uuid::from_u128(1)), before).unwrap();
    assert_eq!(purge(now - 3_600_000), 0);
    assert_eq!(purge(now + 1000), 3);
    assert_eq!(purge(now + 1000), 0);
    assert_eq!(place.held(1).into_keys().collect::<Vec<_>>(), ["MAIL0002"]);
}

#[test]
fn a_withdrawal_that_another_run_began_is_finished_before_any_start() {
    let place = Place::new(2);
    place.quarantine(1, &Answers::default()).unwrap();
    place.replay(1, Which::All).unwrap();
    // A later run takes the queue again, and is killed between its records and the removal.
    let other = RunId(Uuid::from_u128(0xB));
    let answers = Answers::default().with("MAIL0000", delivered());
    let second = || {
        let journal = place.journal();
        let desk = Desk {
            run: other,
            ..place.desk(&journal)
        };
        begin(&desk);
        let prepared = quarantine::prepare(&desk, place.take(2)).unwrap();
        let stopped = place.stopped(HowStopped::Cleanly);
        prepared.take(&desk, &stopped, &answers).unwrap()
    };
    let mut seen = BTreeSet::new();
    for kill in 1..12 {
        place.disk.switch.arm(kill);
        let _: Result<_, _> = run_until_killed(second);
        place.disk.switch.revive();
        let journal = place.journal();
        let stopped = place.stopped(HowStopped::Cleanly);
        let circumstances = recover::Circumstances {
            stopped: Some(&stopped),
            may_have_run: false,
        };
        for run in [other, RUN] {
            let desk = Desk {
                run,
                ..place.desk(&journal)
            };
            let recovered = recover::recover(&desk, circumstances, &answers).unwrap();
            seen.insert(recovered.withdrawn);
        }
        // What is known to be delivered or in doubt is not in the queue when the service starts.
        for (name, state) in place.states() {
            let queued = place.queue().contains_key(&name);
            assert_eq!(
                queued,
                state == Custody::Replaying,
                "{name} {state:?} at {kill}"
            );
        }
    }
    assert!(seen.len() > 1, "some kill fell between record and removal");
    assert_eq!(place.states()["MAIL0000"], Custody::GoneWithEvidence);
    assert_eq!(place.held(1), place.content, "the escrow is whole");
}

#[test]
fn a_second_batch_of_the_same_id_gets_an_id_of_its_own() {
    let mut place = Place::new(2);
    let first = place.quarantine(1, &Answers::default()).unwrap();
    place.put("LATER001", b"came later");
    let second = place.quarantine(1, &Answers::default()).unwrap();
    assert_eq!((first.held, second.held), (2, 1));
    assert_ne!(first.batch, second.batch);
    assert_eq!(place.queue(), BTreeMap::new());
    assert_eq!(place.counts(), BTreeMap::from([(Custody::Held, 3)]));
}

#[test]
fn a_failure_after_the_intention_never_claims_that_nothing_changed() {
    let place = Place::new(2);
    let journal = place.journal();
    let desk = place.desk(&journal);
    begin(&desk);
    let prepared = quarantine::prepare(&desk, place.take(1)).unwrap();
    // The queue can no longer be looked at once the first file has moved.
    *place.disk.blind_after_move.lock().unwrap() = true;
    let stopped = place.stopped(HowStopped::Cleanly);
    let error = prepared
        .take(&desk, &stopped, &Answers::default())
        .unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown, "{error}");
    assert_eq!(place.queue().len(), 0);
    *place.disk.blind_after_move.lock().unwrap() = false;
    drop(journal);
    place.recover(false, &Answers::default());
    place.balances(1);
}

#[test]
fn a_move_that_a_power_cut_left_under_both_names_is_judged_by_what_the_service_then_sent() {
    for (sent, expected) in [
        (delivered(), Custody::GoneWithEvidence),
        (begun(), Custody::InDoubt),
        (cannot_tell(), Custody::InDoubt),
        (Sent::NotSeen, Custody::Held),
    ] {
        let place = Place::new(2);
        begin(&place.desk(&place.journal()));
        // Dies after the first file has moved; the cut leaves it under both names.
        let before = place.disk.calls.lock().unwrap().len();
        for kill in 1.. {
            place.disk.switch.arm(kill);
            let _: Result<_, _> = run_until_killed(|| {
                place.recover(false, &Answers::default());
                place.quarantine(1, &Answers::default())
            });
            place.disk.switch.revive();
            if !place.held(1).is_empty() {
                break;
            }
            assert!(kill < 40 && place.disk.calls.lock().unwrap().len() >= before);
        }
        let held = held_folder(&place.held, BatchId(Uuid::from_u128(1)));
        fs::hard_link(held.join("MAIL0000"), place.out.join("MAIL0000")).unwrap();
        // The service starts with the machine, sends it and removes the name that it knows.
        fs::remove_file(place.out.join("MAIL0000")).unwrap();
        place.recover(true, &Answers::default().with("MAIL0000", sent));
        assert_eq!(place.states()["MAIL0000"], expected);
        let given = place.replay(1, Which::All).unwrap();
        let again = place.queue().contains_key("MAIL0000");
        assert_eq!(again, expected == Custody::Held, "{given:?}");
    }
}

#[test]
fn what_is_taken_back_counts_as_held_only_after_its_name_is_durably_gone_from_the_queue() {
    let place = Place::new(2);
    place.quarantine(1, &Answers::default()).unwrap();
    place.replay(1, Which::All).unwrap();
    let journal = place.journal();
    let desk = place.desk(&journal);
    let prepared = quarantine::prepare(&desk, place.take(2)).unwrap();
    *place.disk.failing_sync.lock().unwrap() = 1;
    let stopped = place.stopped(HowStopped::Cleanly);
    let error = prepared
        .take(&desk, &stopped, &Answers::default())
        .unwrap_err();
    assert!(matches!(error, CustodyError::Unsure { .. }), "{error}");
    assert_eq!(place.counts(), BTreeMap::from([(Custody::InDoubt, 2)]));
    assert_eq!(place.held(1), place.content);
}

#[test]
fn a_check_that_is_used_twice_gives_nothing_back_twice() {
    let place = Place::new(3);
    place.quarantine(1, &Answers::default()).unwrap();
    let journal = place.journal();
    let desk = place.desk(&journal);
    let give = Give {
        batch: BatchId(Uuid::from_u128(1)),
        step: None,
        target: place.out.clone(),
        which: Which::All,
    };
    let checked = replay::check(&desk, give).unwrap();
    let stopped = place.stopped(HowStopped::Cleanly);
    assert_eq!(checked.clone().place(&desk, &stopped).unwrap().placed, 3);
    let again = checked.place(&desk, &stopped).unwrap();
    assert_eq!((again.placed, again.left.len()), (0, 3));
    assert_eq!(again.left[0].why, "it is replaying, not held");
}

#[test]
fn the_index_is_renamed_to_a_name_of_its_own_and_never_deleted() {
    let place = Place::new(0);
    let imcdata = place.out.parent().unwrap().to_owned();
    let journal = place.journal();
    let desk = place.desk(&journal);
    begin(&desk);
    let stopped = place.stopped(HowStopped::Cleanly);
    let set_aside = || index::set_aside(&desk, &imcdata, &stopped).unwrap();
    assert_eq!(set_aside(), None, "absent is fine");
    let mut names = BTreeSet::new();
    for number in 0..3 {
        fs::write(imcdata.join("queue.dat"), format!("{number}")).unwrap();
        let to = set_aside().unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), format!("{number}"));
        assert!(!imcdata.join("queue.dat").exists());
        names.insert(to);
    }
    assert_eq!(names.len(), 3);
    fs::create_dir(imcdata.join("queue.dat")).unwrap();
    assert!(index::set_aside(&desk, &imcdata, &stopped).is_err());
}

#[test]
fn twenty_thousand_files_are_taken_and_given_back() {
    let place = Place::new(20_000);
    let taken = place.quarantine(1, &Answers::default()).unwrap();
    assert_eq!(taken.held, 20_000);
    assert_eq!(place.replay(1, Which::All).unwrap().placed, 20_000);
    place.balances_fast();
}

impl Place {
    fn balances_fast(&self) {
        assert_eq!(self.queue(), self.content);
        assert_eq!(self.held(1), self.content);
        assert_eq!(
            self.counts(),
            BTreeMap::from([(Custody::Replaying, self.content.len() as u64)])
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// I1 under any order of what may happen, the service and the clock of the records included.
    #[test]
    fn whatever_happens_in_whatever_order_everything_balances(
        steps in prop::collection::vec((0..8_u8, 0..6_usize, 0..4_u8, 0..14_u64), 1..14)
    ) {
        let place = Place::new(6);
        begin(&place.desk(&place.journal()));
        let names: Vec<String> = place.content.keys().cloned().collect();
        // Whatever leaves the queue was delivered; the records show it, show half of it, or are cut.
        let mut gone: BTreeMap<String, Sent> = BTreeMap::new();
        let mut batches = 0;
        for (step, which, how, kill) in steps {
            let answers = Answers(gone.clone());
            let journal_state = place.journal().state(RUN).unwrap().unwrap();
            let first = journal_state.batches.keys().next().map(|id| id.0.as_u128());
            drop(journal_state);
            place.disk.switch.arm(if how == 3 { kill } else { 0 });
            let ended = run_until_killed(|| match step {
                0 | 1 => {
                    batches += 1;
                    place.recover(false, &answers);
                    drop(place.quarantine(100 + batches, &answers).unwrap());
                }
                2 | 3 => {
                    place.recover(false, &answers);
                    if let Some(batch) = first {
                        drop(place.replay(batch, Which::First(which as u64)).unwrap());
                    }
                }
                4 => drop(place.recover(false, &answers)),
                5 => {
                    let journal = place.journal();
                    if let Some(batch) = first {
                        settle::settle(
                            &place.desk(&journal),
                            BatchId(Uuid::from_u128(batch)),
                            &answers,
                            how == 2,
                        )
                        .unwrap();
                    }
                }
                _ => {
                    // The service runs for a while: recovery comes before its start.
                    place.recover(false, &answers);
                    let name = &names[which];
                    if place.queue().contains_key(name) {
                        fs::remove_file(place.out.join(name)).unwrap();
                        let sent = match how {
                            0 => delivered(),
                            1 => begun(),
                            _ => cannot_tell(),
                        };
                        assert!(gone.insert(name.clone(), sent).is_none(), "sent twice");
                    }
                    let journal = place.journal();
                    let change = mailmend_proto::run::ServiceChange::StartIntended;
                    place.desk(&journal).append(vec![Event::ServiceChanged {
                        service: imc(),
                        change,
                        pid: 0,
                    }]).unwrap();
                }
            });
            let _: Result<(), _> = ended;
            place.disk.switch.revive();
        }
        place.recover(false, &Answers(gone.clone()));
        // Each message is in the queue, held, or was sent; in the ledger at most once outside doubt.
        let queue = place.queue();
        let lines = ledger::of_server(&place.journal()).unwrap();
        for (name, bytes) in &place.content {
            let held = lines.iter().filter(|line| line.name == *name).any(|line| {
                fs::read(&line.held).ok().as_ref() == Some(bytes)
            });
            let queued = queue.get(name) == Some(bytes);
            prop_assert!(queued || held || gone.contains_key(name), "{name} is lost");
            if gone.contains_key(name) {
                prop_assert!(!queued, "{name} was sent and is in the queue again");
            }
            let active: Vec<Custody> = lines
                .iter()
                .filter(|line| line.name == *name)
                .map(|line| line.custody)
                .filter(|state| matches!(state, Custody::Held | Custody::Replaying))
                .collect();
            prop_assert!(active.len() <= 1, "{name}: {active:?}");
            if active == [Custody::Held] {
                prop_assert!(!queued, "{name} is held and in the queue");
            }
        }
    }
}
