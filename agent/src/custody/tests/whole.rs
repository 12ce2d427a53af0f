//! A queue that is taken as a whole folder, on real folders.

use super::place::Place;
use super::*;
use crate::custody::whole;

/// Surveys the queue, lets `meanwhile` happen, takes the queue as a whole folder, and says which calls on files
/// were made with the service stopped.
fn taken_whole(
    place: &mut Place,
    limits: Limits,
    meanwhile: impl FnOnce(&mut Place),
) -> (Result<quarantine::Taken, CustodyError>, Vec<String>) {
    let take = Take {
        limits,
        ..place.take(1)
    };
    let journal = place.journal();
    begin(&place.desk(&journal));
    let desk = place.desk(&journal);
    let prepared = quarantine::prepare(&desk, take)
        .unwrap()
        .whole_from(&desk, 1);
    drop(journal);
    meanwhile(place);
    place.disk.calls.lock().unwrap().clear();
    let journal = place.journal();
    let desk = place.desk(&journal);
    let stopped = place.stopped(HowStopped::Cleanly);
    let taken = prepared.take(&desk, &stopped, &Answers::default());
    let calls = place.disk.calls.lock().unwrap().clone();
    (taken, calls)
}

fn listed(place: &Place, survey: survey::Survey) -> quarantine::Taken {
    let journal = place.journal();
    let batch = place.take(1).batch;
    let desk = place.desk(&journal);
    whole::take_stock(&desk, batch, Some(survey), &Answers::default()).unwrap()
}

#[test]
fn the_calls_on_files_while_the_service_is_stopped_are_the_same_for_ten_files_and_for_a_thousand() {
    let calls = [10, 1_000].map(|files| {
        let mut place = Place::new(files);
        let (taken, calls) = taken_whole(&mut place, NO_LIMITS, |_| {});
        let survey = taken.unwrap().unlisted.expect("held whole");
        assert!(place.out.join("Archive").is_dir(), "the archive is back");
        assert_eq!(listed(&place, *survey).held, files as u64);
        assert_eq!(place.held(1), place.content);
        place.balances(1);
        calls
    });
    assert!(!calls[0].is_empty());
    assert_eq!(calls[0], calls[1]);
    assert!(calls[0].iter().any(|call| call == "exchange Out"));
    assert!(!calls[0].iter().any(|call| call.starts_with("names")));
}

#[test]
fn what_came_between_the_survey_and_the_stop_is_held_and_listed_and_what_is_no_mail_is_put_back() {
    let mut place = Place::new(3);
    let (taken, _) = taken_whole(&mut place, NO_LIMITS, |place| {
        place.put("NEWFILE1", b"new");
        std::fs::write(place.out.join("readme.txt"), b"of a person").unwrap();
    });
    let survey = taken.unwrap().unlisted.expect("held whole");
    assert_eq!(listed(&place, *survey).held, 4);
    assert_eq!(place.held(1), place.content);
    assert!(place.out.join("readme.txt").exists());
    place.balances(1);
}

#[test]
fn where_the_guard_leaves_no_room_to_grow_the_names_are_counted_after_the_stop() {
    let limits = Limits {
        files: 5,
        ..NO_LIMITS
    };
    let mut place = Place::new(3);
    let (taken, calls) = taken_whole(&mut place, limits, |place| place.put("NEWFILE1", b"new"));
    assert_eq!(taken.unwrap().held, 4);
    assert!(
        calls.iter().any(|call| call.starts_with("names")),
        "{calls:?}"
    );

    let mut place = Place::new(3);
    let (refused, _) = taken_whole(&mut place, limits, |place| {
        for number in 1..=3 {
            place.put(&format!("NEWFILE{number}"), b"new");
        }
    });
    let error = refused.unwrap_err();
    assert_eq!(
        (&error.to_string()[..4], error.effect()),
        ("A082", Effect::None)
    );
    assert_eq!(place.queue(), place.content, "nothing was moved");
}
