//! A policy that turns out to be wrong is recalled while a site is being mended by it.

use super::*;

#[test]
fn a_recalled_policy_gives_back_what_it_held_reaches_no_other_site_and_never_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let room = Room::with_stuck_mail(folder.path());
    let waves = ["--waves", "1 site,100%", "--approve-waves", "after-first"];
    let rollout = room.start(POLICY, &waves);
    room.until_stopping(room.b(0));
    let why = "the article was withdrawn";
    room.ask(&["policy", "recall", "--article", "Q268494", "--why", why]);

    let shown = room.until_state(&rollout, "aborted");
    assert!(shown["why"].as_str().unwrap().contains(why), "{shown:#}");
    // Service comes back, and no mail is lost on the way back: it waits where it was, or has gone on.
    awaited::or_fail("service at every site", LIMIT, || {
        room.world.servers.iter().all(Server::ims_runs)
    })
    .unwrap();
    room.assert_untouched(1..SITES);
    let safe = [Fate::DeliveredOnce, Fate::Waiting, Fate::Held].map(|fate| room.count(fate));
    assert_eq!(safe.iter().sum::<usize>(), SITES * MESSAGES, "{safe:?}");
    assert!(room.count(Fate::Waiting) >= 2 * MESSAGES, "{safe:?}");

    let start = ["rollout", "start", POLICY, "-l", "site", "--yes"];
    let retry = ["rollout", "retry", &rollout, "--failed"];
    for refused in [&start[..], &retry] {
        let said = room.refused(refused);
        assert!(said.contains("C113") && said.contains(why), "{said}");
    }

    // A mended version is another one.
    let text = room.ask(&["policy", "show", POLICY]);
    let text = text["text"].as_str().unwrap();
    let mended = text.replacen("\nversion = 1\n", "\nversion = 2\n", 1);
    let file = folder.path().join("mended.toml");
    std::fs::write(&file, mended).unwrap();
    room.ask(&["policy", "publish", file.to_str().unwrap()]);
    let second = room.start(&format!("{POLICY}@2"), &[]);
    room.until_state(&second, "succeeded");
    room.assert_all_run();
    let (once, held) = (room.count(Fate::DeliveredOnce), room.count(Fate::Held));
    assert_eq!(once + held, SITES * MESSAGES);
    assert_eq!(held, 0, "undone means given back");
    room.end();
}
