use std::fs::OpenOptions;
use std::os::windows::fs::OpenOptionsExt;

use super::*;
use crate::host::Effect;

const SPOOL: WindowsSpool = WindowsSpool {
    custody_over_smb: false,
};

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = crate::host::real_path(folder.path()).unwrap();
    (folder, path)
}

fn text(path: &Path) -> String {
    let mut text = String::new();
    SPOOL.open(path).unwrap().read_to_string(&mut text).unwrap();
    text
}

/// Opens a file as a program does that shares it with nobody, or with others.
fn held(path: &Path, shared: u32) -> std::fs::File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .share_mode(shared)
        .open(path)
        .unwrap()
}

#[test]
fn move_link_and_write_never_replace() {
    let (_keep, root) = folder();
    let (a, b) = (root.join("A"), root.join("B"));
    SPOOL.write_new(&a, b"first").unwrap();
    SPOOL.write_new(&b, b"second").unwrap();
    for result in [
        SPOOL.move_new(&a, &b),
        SPOOL.link_new(&a, &b),
        SPOOL.write_new(&b, b"third"),
    ] {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (HostErrorKind::Exists, Effect::None),
            "{error}"
        );
    }
    // Windows' own number for it.
    let error = SPOOL.move_new(&a, &b).unwrap_err();
    assert!(error.reason.contains("183"), "{error}");
    assert_eq!((text(&a), text(&b)), ("first".into(), "second".into()));
    assert_eq!(
        SPOOL.list(&root).unwrap().len(),
        2,
        "no temporary file is left"
    );
}

#[test]
fn names_are_the_same_in_any_letters() {
    let (_keep, root) = folder();
    SPOOL.write_new(&root.join("MAIL0001"), b"mail").unwrap();
    let error = SPOOL
        .write_new(&root.join("mail0001"), b"other")
        .unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Exists);
    assert_eq!(text(&root.join("Mail0001")), "mail");
}

#[test]
fn many_at_once_are_done_as_each_alone_and_never_leave_their_folder() {
    let (_keep, root) = folder();
    let (queue, held) = (root.join("queue"), root.join("held"));
    for folder in [&queue, &held] {
        SPOOL.make_folder(folder).unwrap();
    }
    for name in ["A", "B", "C"] {
        SPOOL.write_new(&queue.join(name), name.as_bytes()).unwrap();
    }
    SPOOL.write_new(&held.join("B"), b"in the way").unwrap();
    SPOOL.make_folder(&queue.join("Archive")).unwrap();
    SPOOL.write_new(&root.join("X"), b"outside").unwrap();
    let kinds = |results: Vec<Result<(), HostError>>| -> Vec<Option<HostErrorKind>> {
        results
            .into_iter()
            .map(|result| result.err().map(|error| error.kind))
            .collect()
    };
    let names = [
        "A", "B", "Archive", "gone", r"..\X", "C", "NUL", "A:stream", "A.",
    ];
    let refused = Some(HostErrorKind::Malformed);
    let expected = [
        None,
        Some(HostErrorKind::Exists),
        Some(HostErrorKind::Denied),
        Some(HostErrorKind::NotFound),
        refused,
        None,
        refused,
        refused,
        refused,
    ];
    let mut read = Vec::new();
    SPOOL.open_each(&queue, &names, &mut |at, file| {
        let text = file.map(|mut file| {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            text
        });
        read.push((at, text.map_err(|error| error.kind)));
    });
    assert_eq!(read[0], (0, Ok("A".into())));
    assert_eq!(read[4], (4, Err(HostErrorKind::Malformed)));
    assert_eq!(kinds(SPOOL.probe_each(&queue, &names))[..2], [None, None]);
    assert_eq!(kinds(SPOOL.link_each(&queue, &held, &names)), expected);
    for name in ["A", "C"] {
        SPOOL.remove(&held.join(name)).unwrap();
    }
    assert_eq!(kinds(SPOOL.move_each(&queue, &held, &names)), expected);
    assert_eq!(
        (text(&held.join("A")), text(&held.join("B"))),
        ("A".into(), "in the way".into())
    );
    assert_eq!(text(&root.join("X")), "outside");
    assert!(SPOOL.look(&queue.join("Archive")).unwrap().is_some());
    let nowhere = SPOOL.move_each(&queue, &root.join("nowhere"), &names);
    assert!(nowhere.iter().all(Result::is_err));
}

#[test]
fn a_move_keeps_the_identity_and_a_link_shares_it() {
    let (_keep, root) = folder();
    let (a, b, c) = (root.join("A"), root.join("B"), root.join("C"));
    SPOOL.write_new(&a, b"mail").unwrap();
    let before = SPOOL.look(&a).unwrap().unwrap();
    assert_eq!(
        SPOOL.list(&root).unwrap(),
        [before.clone()],
        "a list says what a look says"
    );
    SPOOL.move_new(&a, &b).unwrap();
    assert_eq!(SPOOL.look(&a).unwrap(), None);
    SPOOL.link_new(&b, &c).unwrap();
    for path in [&b, &c] {
        let after = SPOOL.look(path).unwrap().unwrap();
        assert_eq!((after.file_id, after.size), (before.file_id, 4));
        assert_eq!(after.modified_ms, before.modified_ms);
    }
    let age = jiff::Timestamp::now().as_millisecond() - before.modified_ms;
    assert!((-2_000..600_000).contains(&age), "written {age} ms ago");
    SPOOL.remove(&b).unwrap();
    assert_eq!(text(&c), "mail");
    assert_eq!(SPOOL.remove(&b).unwrap_err().kind, HostErrorKind::NotFound);
}

#[test]
fn a_file_that_somebody_has_open_is_locked_for_a_probe_and_for_a_move() {
    let (_keep, root) = folder();
    let path = root.join("MAIL0001");
    SPOOL.write_new(&path, b"mail").unwrap();
    SPOOL.probe_exclusive(&path).unwrap();
    // Shared with everybody, and still open: a proof that nobody has it must fail.
    let open = held(&path, 7);
    let error = SPOOL.probe_exclusive(&path).unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Locked);
    assert!(error.reason.contains("32"), "{error}");
    drop(open);
    let open = held(&path, 0);
    for result in [
        SPOOL.probe_exclusive(&path),
        SPOOL.move_new(&path, &root.join("B")),
        SPOOL.remove(&path),
        SPOOL.open(&path).map(drop),
    ] {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (HostErrorKind::Locked, Effect::None)
        );
    }
    assert_eq!(
        SPOOL.look(&path).unwrap().unwrap().size,
        4,
        "a look disturbs nobody"
    );
    drop(open);
    SPOOL.move_new(&path, &root.join("B")).unwrap();
}

#[test]
fn folders_are_made_with_their_parents_and_twice_is_no_error() {
    let (_keep, root) = folder();
    let deep = root.join(r"a\b\c");
    SPOOL.make_folder(&deep).unwrap();
    SPOOL.make_folder(&deep).unwrap();
    SPOOL.sync_folder(&deep).unwrap();
    SPOOL.write_new(&root.join("FILE"), b"").unwrap();
    assert!(SPOOL.make_folder(&root.join("FILE")).is_err());
    assert!(SPOOL.make_folder(&root.join(r"FILE\x")).is_err());
    assert!(SPOOL.make_folder(&root.join("NUL")).is_err());
    assert!(SPOOL.free_bytes(&deep).unwrap() > 0);
    assert_eq!(
        SPOOL.free_bytes(&root.join("FILE")).unwrap() >> 30,
        SPOOL.free_bytes(&root).unwrap() >> 30
    );
    assert!(SPOOL.same_volume(&root, &deep).unwrap());
    assert!(SPOOL.same_volume(&root, &root.join("FILE")).unwrap());
    assert!(SPOOL.same_volume(&root, &root.join("gone")).is_err());
}

#[test]
fn a_folder_is_moved_whole_and_never_onto_another() {
    let (_keep, root) = folder();
    let (from, to) = (root.join("Archive"), root.join("kept"));
    SPOOL.make_folder(&from).unwrap();
    SPOOL.write_new(&from.join("MAIL0001"), b"mail").unwrap();
    SPOOL.move_folder_new(&from, &to).unwrap();
    assert_eq!(text(&to.join("MAIL0001")), "mail");
    SPOOL.make_folder(&from).unwrap();
    assert_eq!(
        SPOOL.move_folder_new(&from, &to).unwrap_err().kind,
        HostErrorKind::Exists
    );
    assert!(
        SPOOL
            .move_folder_new(&to.join("MAIL0001"), &root.join("x"))
            .is_err()
    );
    assert!(
        SPOOL.move_new(&to, &root.join("x")).is_err(),
        "a folder is no message"
    );
    // Windows has no exchange of two names in one step, and none is put together from two.
    let refused = SPOOL.exchange_folders(&from, &to).unwrap_err();
    assert_eq!(
        (refused.kind, refused.effect),
        (HostErrorKind::Denied, Effect::None)
    );
}

#[test]
fn a_folder_that_is_not_there_says_so_and_a_failed_sync_is_never_unchanged() {
    let (_keep, root) = folder();
    let gone = root.join("gone");
    assert_eq!(SPOOL.list(&gone).unwrap_err().kind, HostErrorKind::NotFound);
    assert_eq!(SPOOL.look(&gone.join("X")).unwrap(), None);
    let error = SPOOL.sync_folder(&gone).unwrap_err();
    assert_eq!(error.effect, Effect::Unknown);
    assert!(error.to_string().contains("gone"), "{error}");
    SPOOL.sync_folder(&root).unwrap();
}

#[test]
fn a_log_is_read_while_it_is_written_and_the_very_file_is_told() {
    let (_keep, root) = folder();
    let path = root.join("TRACK.LOG");
    SPOOL.write_new(&path, b"one").unwrap();
    let _writer = held(&path, 3);
    let (info, mut log) = SPOOL.open_log(&path).unwrap();
    assert_eq!(info, SPOOL.look(&path).unwrap().unwrap());
    let mut read = String::new();
    log.read_to_string(&mut read).unwrap();
    assert_eq!(read, "one");
}

#[test]
fn large_folders_are_listed_whole_and_in_order() {
    let (_keep, root) = folder();
    for at in 0..700 {
        std::fs::write(root.join(format!("MAIL{at:04}")), [b'x'; 3]).unwrap();
    }
    let listed = SPOOL.list(&root).unwrap();
    assert_eq!(listed.len(), 700);
    assert!(listed.windows(2).all(|two| two[0].name < two[1].name));
    assert!(
        listed
            .iter()
            .all(|one| one.size == 3 && one.kind == FileKind::File)
    );
}

#[test]
fn reparse_points_are_never_followed_and_never_touched() {
    // Wine makes none, and shows a folder on which Linux has mounted something as one. Whoever runs this
    // under Wine names such a folder, which nobody can change.
    let Some(linked) = std::env::var_os("MAILMEND_WINE_MOUNTED").map(PathBuf::from) else {
        return;
    };
    let (_keep, elsewhere) = folder();
    let mail = elsewhere.join("MAIL0002");
    SPOOL.write_new(&mail, b"mail").unwrap();
    let kind = SPOOL.look(&linked).unwrap().unwrap().kind;
    assert_eq!(kind, FileKind::Other);
    let reparse = |result: Result<(), HostError>| {
        assert_eq!(result.unwrap_err().kind, HostErrorKind::Reparse);
    };
    let through = linked.join("version");
    reparse(SPOOL.list(&linked).map(drop));
    reparse(SPOOL.open(&through).map(drop));
    reparse(SPOOL.probe_exclusive(&through));
    reparse(SPOOL.move_new(&through, &elsewhere.join("X")));
    reparse(SPOOL.move_new(&mail, &linked.join("X")));
    reparse(SPOOL.write_new(&linked.join("X"), b"x"));
    reparse(SPOOL.remove(&through));
    reparse(SPOOL.sync_folder(&linked));
    reparse(SPOOL.make_folder(&linked.join("deeper")));
    reparse(SPOOL.move_folder_new(&linked, &elsewhere.join("X")));
    assert_eq!(text(&mail), "mail");
}

#[test]
fn what_is_on_another_machine_is_not_moved_unless_the_risk_was_accepted() {
    let share = Path::new(r"\\oslo-b\C$\exchsrvr\imcdata\Out");
    let (_keep, root) = folder();
    let mail = root.join("MAIL0001");
    SPOOL.write_new(&mail, b"mail").unwrap();
    for result in [
        SPOOL.move_new(&share.join("MAIL0001"), &root.join("X")),
        SPOOL.move_new(&mail, &share.join("MAIL0001")),
        SPOOL.link_new(&mail, &share.join("MAIL0001")),
        SPOOL.write_new(&share.join("MAIL0001"), b"x"),
        SPOOL.remove(&share.join("MAIL0001")),
        SPOOL.move_folder_new(share, &root.join("X")),
        SPOOL.move_each(share, &root, &["MAIL0001"]).remove(0),
        SPOOL.link_each(&root, share, &["MAIL0001"]).remove(0),
    ] {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (HostErrorKind::Denied, Effect::None),
            "{error}"
        );
        assert!(error.reason.contains("custody_over_smb"), "{error}");
    }
    assert_eq!(text(&mail), "mail");
}
