//! Links that are swapped in under the agent while it works: it never leaves the root.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mailmend_lab::awaited;
use mailmend_lab::hostile::policies::of_kind;
use mailmend_lab::server_dir::spooled;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{begun, narrow};

/// How long the folder stands, and then the link: what the agent does mostly gets to its last steps.
const STANDS: [Duration; 2] = [Duration::from_micros(2500), Duration::from_micros(50)];

/// Exchanges a folder and a link again and again, in one step each time.
fn swap(folder: &Path, link: &Path, over: &AtomicBool, swaps: &AtomicUsize) {
    while !over.load(Ordering::SeqCst) {
        for stands in STANDS {
            // The race itself: each stands for a while that the agent can run into.
            std::thread::sleep(stands);
            if renameat_with(CWD, folder, CWD, link, RenameFlags::EXCHANGE).is_ok() {
                swaps.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

#[test]
fn a_link_that_is_swapped_in_for_the_held_folder_leads_nobody_out_of_the_root() {
    let (_folder, mut drive) = begun(narrow(12));
    let server = drive.place.server();
    let held = server.dir.held();
    let link = server.dir.exchsrvr().join("swapped");
    let outside = drive.place.folder.join("jungle/mailmend-held");
    fs::create_dir_all(&held).unwrap();
    symlink(&outside, &link).unwrap();
    drive.place.more_mail(8).unwrap();
    let (over, swaps) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let racing = {
        let (held, link, over, swaps) = (
            held.clone(),
            link.clone(),
            Arc::clone(&over),
            Arc::clone(&swaps),
        );
        std::thread::spawn(move || swap(&held, &link, &over, &swaps))
    };
    let mut rng = fastrand::Rng::with_seed(12);
    for kind in ["churn", "escrow", "churn", "churn"] {
        drive.connected().unwrap();
        let evil = of_kind(kind, &mut rng).unwrap();
        drive.assigned(&evil).unwrap();
        drive.release_all();
        let everything = drive.everything();
        drive.say(mailmend_proto::wire::to_agent::Message::Immunity(
            everything,
        ));
        drive.place.more_mail(4).unwrap();
        awaited::until(Duration::from_secs(4), || {
            drive.listen(Duration::from_millis(100));
            drive.place.keep().unwrap();
            false
        });
    }
    over.store(true, Ordering::SeqCst);
    racing.join().unwrap();
    assert!(swaps.load(Ordering::SeqCst) > 1000, "{swaps:?}");
    if held.is_symlink() {
        renameat_with(CWD, &held, CWD, &link, RenameFlags::EXCHANGE).unwrap();
    }
    // A folder that cannot be synced any more ends all moving, and the agent with it, in order: it is started again.
    let ended = drive.place.agent.ended_by_itself;
    drive.place.agent.ended_by_itself = 0;
    eprintln!("{ended} ends, {swaps:?} swaps");
    assert_eq!(spooled(&outside).unwrap().len(), 1, "the canary alone");
    let outcome = drive
        .finish(12)
        .unwrap_or_else(|error| panic!("{}", error.whole()));
    eprintln!("{}", serde_json::json!(outcome));
    assert_eq!(outcome.against, [""; 0]);
    assert!(
        outcome.held + outcome.stops as u64 > 0,
        "nothing was ever moved"
    );
}
