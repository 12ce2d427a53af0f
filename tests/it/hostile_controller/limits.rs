//! What the guard file allows, asked for without end: it happens as often as the guard file says, and no more.

use std::time::Duration;

use mailmend_lab::awaited;
use mailmend_lab::hostile::place::NARROW;
use mailmend_lab::hostile::play::Drive;
use mailmend_lab::hostile::policies::of_kind;
use mailmend_lab::hostile::verdict::{batches, counts};
use mailmend_lab::ims::SERVICE;
use mailmend_lab::server_dir::spooled;
use mailmend_proto::wire::to_agent::Message;

use super::{begun, ended_well, narrow};

const LIMIT: Duration = Duration::from_secs(40);

/// Asks for policies of a kind and releases all of each, until `enough` or the time is over.
fn ask_again_and_again(drive: &mut Drive, kind: &str, mut enough: impl FnMut(&Drive) -> bool) {
    let mut rng = fastrand::Rng::with_seed(11);
    awaited::until(LIMIT, || {
        drive.connected().unwrap();
        if drive.mind.runs.len() < 30 {
            let evil = of_kind(kind, &mut rng).unwrap();
            drive.assigned(&evil).unwrap();
            drive.release_all();
        }
        drive.listen(Duration::from_millis(300));
        enough(drive)
    });
}

#[test]
fn service_is_disturbed_as_often_as_the_guard_file_says_and_no_more() {
    let (_folder, mut drive) = begun(narrow(7));
    let refused = |drive: &Drive| {
        ["A052", "A053"]
            .iter()
            .any(|code| drive.mind.words.contains(code))
    };
    ask_again_and_again(&mut drive, "churn without end", |drive| {
        let history = drive.place.history().unwrap();
        counts(&history, SERVICE).stops >= 2 && refused(drive)
    });
    assert!(refused(&drive), "the limit was never reached");
    let outcome = ended_well(drive);
    assert!(
        (1..=2 * NARROW.sections as usize).contains(&outcome.stops),
        "{outcome:?}"
    );
}

#[test]
fn no_more_test_messages_go_out_than_the_guard_file_says() {
    let (_folder, mut drive) = begun(narrow(8));
    let all = NARROW.tools as usize;
    ask_again_and_again(&mut drive, "probes without end", |drive| {
        drive.place.calls().len() >= all && drive.mind.words.contains("A059-tools-used-up")
    });
    assert!(drive.mind.words.contains("A059-tools-used-up"));
    let outcome = ended_well(drive);
    assert_eq!(outcome.calls, all);
}

#[test]
fn fingerprints_of_everything_set_aside_as_many_as_the_guard_file_says() {
    let (_folder, mut drive) = begun(narrow(9));
    // Messages that are in the way of nobody: the service is stopped by hand, as an administrator does.
    drive
        .place
        .server()
        .services()
        .stop(SERVICE, LIMIT)
        .unwrap();
    drive.place.more_mail(40).unwrap();
    let inbound = drive.place.server().dir.inbound();
    let waiting = || spooled(&inbound).unwrap().len();
    let before = waiting();
    assert!(before >= 20, "{before}");
    let held = |drive: &Drive| -> u64 {
        let all = batches(&drive.place.server().dir.held()).unwrap();
        all.iter().map(|(_, files, _)| files).sum()
    };
    let most = u64::from(NARROW.aside_per_hour);
    awaited::until(LIMIT, || {
        drive.connected().unwrap();
        let everything = drive.everything();
        drive.say(Message::Immunity(everything));
        drive.listen(Duration::from_millis(500));
        held(&drive) >= most
    });
    // It is told of the rest again and again, for a while.
    for _ in 0..10 {
        let everything = drive.everything();
        assert!(!everything.fingerprints.is_empty());
        drive.say(Message::Immunity(everything));
        drive.listen(Duration::from_millis(500));
    }
    assert_eq!(held(&drive), most);
    assert_eq!(waiting() + usize::try_from(most).unwrap(), before);
    drive
        .place
        .server()
        .services()
        .start(SERVICE, LIMIT)
        .unwrap();
    ended_well(drive);
}
