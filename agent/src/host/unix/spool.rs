//! The files of the server: four verbs that never replace anything.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;

use super::folder::Folder;
use super::watch::FolderWatch;
use super::{changing, reading};
use crate::ablation::{Mechanism, off};
use crate::host::{
    FileInfo, FileKind, HostError, HostErrorKind, LogFile, OpenedFile, Spool, Watch,
};

#[derive(Debug)]
pub(super) struct UnixSpool;

impl Spool for UnixSpool {
    fn list(&self, folder: &Path) -> Result<Vec<FileInfo>, HostError> {
        Folder::open(folder)?.entries().map_err(|errno| {
            reading(
                format!("list the folder `{}`", folder.display()),
                &errno.into(),
            )
        })
    }

    fn look(&self, path: &Path) -> Result<Option<FileInfo>, HostError> {
        let (folder, name) = match Folder::of(path) {
            Ok(found) => found,
            Err(error) if error.kind == HostErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        folder
            .look(name)
            .map_err(|errno| reading(format!("look at `{}`", path.display()), &errno.into()))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, HostError> {
        let (folder, name) = Folder::of(path)?;
        open_in(&folder, name, || path.to_owned())
    }

    fn open_log(&self, path: &Path) -> Result<(FileInfo, Box<dyn LogFile>), HostError> {
        let failed = |errno: Errno| reading(format!("open `{}`", path.display()), &errno.into());
        let (folder, name) = Folder::of(path)?;
        let file = folder.read(name).map_err(failed)?;
        let info = Folder::about(name, &file).map_err(failed)?;
        Ok((info, Box::new(file)))
    }

    fn probe_exclusive(&self, path: &Path) -> Result<(), HostError> {
        let (folder, name) = Folder::of(path)?;
        probe_in(&folder, name, || path.to_owned())
    }

    fn move_new(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        let (source, old) = Folder::of(from)?;
        let (target, new) = Folder::of(to)?;
        move_in((&source, old), (&target, new), &|| {
            (from.to_owned(), to.to_owned())
        })
    }

    fn move_unused(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        let (source, old) = Folder::of(from)?;
        let (target, new) = Folder::of(to)?;
        // Held until it is moved: whoever locks what he reads does not read it meanwhile.
        let _alone = lock_in(&source, old, || from.to_owned())?;
        move_in((&source, old), (&target, new), &|| {
            (from.to_owned(), to.to_owned())
        })
    }

    fn link_new(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        let (source, old) = Folder::of(from)?;
        let (target, new) = Folder::of(to)?;
        link_in((&source, old), (&target, new), &|| {
            (from.to_owned(), to.to_owned())
        })
    }

    fn watch(&self, folders: &[PathBuf]) -> Result<Option<Box<dyn Watch>>, HostError> {
        Ok(Some(Box::new(FolderWatch::of(folders)?)))
    }

    // The four below open each folder once: reaching it costs more than what is done in it.

    fn open_each(&self, folder: &Path, names: &[&str], each: &mut OpenedFile<'_>) {
        let opened = Folder::open(folder);
        for (at, name) in names.iter().enumerate() {
            let file = match &opened {
                Ok(opened) => {
                    plain(name).and_then(|plain| open_in(opened, plain, || folder.join(name)))
                }
                Err(error) => Err(error.clone()),
            };
            each(at, file);
        }
    }

    fn probe_each(&self, folder: &Path, names: &[&str]) -> Vec<Result<(), HostError>> {
        let opened = Folder::open(folder);
        let probe = |name: &&str| {
            let opened = opened.as_ref().map_err(HostError::clone)?;
            probe_in(opened, plain(name)?, || folder.join(name))
        };
        names.iter().map(probe).collect()
    }

    fn move_each(&self, from: &Path, to: &Path, names: &[&str]) -> Vec<Result<(), HostError>> {
        in_both(from, to, names, move_in)
    }

    fn link_each(&self, from: &Path, to: &Path, names: &[&str]) -> Vec<Result<(), HostError>> {
        in_both(from, to, names, link_in)
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        let attempted = || format!("write `{}` ({} bytes)", path.display(), bytes.len());
        let (folder, name) = Folder::of(path)?;
        // Refused early where it is there already; the rename below is what guarantees it.
        match folder.look(name) {
            Ok(None) => {}
            Ok(Some(_)) => return Err(changing(attempted(), Errno::EXIST)),
            Err(errno) => return Err(reading(attempted(), &errno.into())),
        }
        // Under a name of our own until it is whole and synced: a crash or a full disk leaves no
        // half file under a name that somebody trusts.
        let temporary = format!(".mailmend-{:016x}", fastrand::u64(..));
        let temporary = OsStr::new(&temporary);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&folder, temporary, flags, Mode::from_raw_mode(0o640))
            .map_err(|errno| changing(attempted(), errno))?;
        let mut file = File::from(fd);
        let placed = file
            .write_all(bytes)
            .map_err(|error| reading(attempted(), &error))
            .and_then(|()| {
                // The name is not placed, but a disk that cannot sync is not to be trusted with
                // anything else either: the caller must hear that.
                file.sync_all().map_err(|error| {
                    HostError::unknown(HostErrorKind::Io, attempted(), error.to_string())
                })
            })
            .and_then(|()| {
                fs::renameat_with(&folder, temporary, &folder, name, RenameFlags::NOREPLACE)
                    .map_err(|errno| changing(attempted(), errno))
            });
        if placed.is_err() {
            // The error that counts is the first one; what is left has a name that nobody reads.
            let _ = fs::unlinkat(&folder, temporary, AtFlags::empty());
        }
        placed
    }

    fn make_folder(&self, folder: &Path) -> Result<(), HostError> {
        let mut missing: Vec<&Path> = Vec::new();
        let mut there = folder;
        loop {
            match Folder::open(there) {
                Ok(_) => break,
                Err(error) if error.kind == HostErrorKind::NotFound => missing.push(there),
                Err(error) => return Err(error),
            }
            let Some(parent) = there.parent() else { break };
            there = parent;
        }
        // What is there may be left from a call that was killed before its sync.
        if let Some(parent) = there.parent() {
            Folder::open(parent)?.sync(parent)?;
        }
        for path in missing.into_iter().rev() {
            let (parent, name) = Folder::of(path)?;
            parent.make(name, path)?;
            parent.sync(path.parent().unwrap_or(path))?;
        }
        Folder::open(folder).map(drop)
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), HostError> {
        let opened = Folder::open(folder).map_err(|error| HostError {
            effect: crate::host::Effect::Unknown,
            ..error
        })?;
        opened.sync(folder)
    }

    fn names(&self, folder: &Path) -> Result<Vec<(String, FileKind)>, HostError> {
        Folder::open(folder)?.names().map_err(|errno| {
            reading(
                format!("list the folder `{}`", folder.display()),
                &errno.into(),
            )
        })
    }

    fn make_folder_like(&self, folder: &Path, like: &Path) -> Result<(), HostError> {
        let attempted = || format!("make the folder `{}`", folder.display());
        let like =
            fs::fstat(&Folder::open(like)?).map_err(|errno| reading(attempted(), &errno.into()))?;
        let (parent, name) = Folder::of(folder)?;
        parent.make(name, folder)?;
        let made = Folder::open(folder)?;
        let owner = (Uid::from_raw(like.st_uid), Gid::from_raw(like.st_gid));
        fs::fchown(&made, Some(owner.0), Some(owner.1))
            .and_then(|()| fs::fchmod(&made, Mode::from_raw_mode(like.st_mode)))
            .map_err(|errno| changing(attempted(), errno))?;
        made.sync(folder)?;
        parent.sync(folder.parent().unwrap_or(folder))
    }

    fn exchange_folders(&self, a: &Path, b: &Path) -> Result<(), HostError> {
        let attempted = || format!("exchange `{}` and `{}`", a.display(), b.display());
        rename_folders(a, b, RenameFlags::EXCHANGE, &attempted)
    }

    fn move_folder_new(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        let attempted = || format!("move `{}` to `{}`", from.display(), to.display());
        rename_folders(from, to, RenameFlags::NOREPLACE, &attempted)
    }

    fn remove(&self, path: &Path) -> Result<(), HostError> {
        let attempted = || format!("remove `{}`", path.display());
        let (folder, name) = Folder::of(path)?;
        folder
            .regular(name)
            .map_err(|errno| reading(attempted(), &errno.into()))?;
        fs::unlinkat(&folder, name, AtFlags::empty()).map_err(|errno| changing(attempted(), errno))
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, HostError> {
        fs::statvfs(path)
            .map(|volume| volume.f_bavail.saturating_mul(volume.f_frsize))
            .map_err(|errno| {
                reading(
                    format!("read the free space at `{}`", path.display()),
                    &errno.into(),
                )
            })
    }

    fn same_volume(&self, a: &Path, b: &Path) -> Result<bool, HostError> {
        let volume = |path: &Path| {
            fs::lstat(path).map(|stat| stat.st_dev).map_err(|errno| {
                reading(
                    format!("find the volume of `{}`", path.display()),
                    &errno.into(),
                )
            })
        };
        Ok(volume(a)? == volume(b)?)
    }
}

type Named<'a> = (&'a Folder, &'a OsStr);
type Paths = (PathBuf, PathBuf);

/// A name that stays in its folder.
fn plain(name: &str) -> Result<&OsStr, HostError> {
    let path = Path::new(name);
    if path.file_name() == Some(path.as_os_str()) {
        return Ok(path.as_os_str());
    }
    Err(HostError::unchanged(
        HostErrorKind::Malformed,
        format!("find `{name}` in its folder"),
        "it is no plain file name",
    ))
}

fn in_both(
    from: &Path,
    to: &Path,
    names: &[&str],
    act: impl Fn(Named<'_>, Named<'_>, &dyn Fn() -> Paths) -> Result<(), HostError>,
) -> Vec<Result<(), HostError>> {
    let (source, target) = (Folder::open(from), Folder::open(to));
    let one = |name: &&str| {
        let source = source.as_ref().map_err(HostError::clone)?;
        let target = target.as_ref().map_err(HostError::clone)?;
        let plain = plain(name)?;
        act((source, plain), (target, plain), &|| {
            (from.join(name), to.join(name))
        })
    };
    names.iter().map(one).collect()
}

fn open_in(
    folder: &Folder,
    name: &OsStr,
    path: impl Fn() -> PathBuf,
) -> Result<Box<dyn Read + Send>, HostError> {
    let file = folder
        .read(name)
        .map_err(|errno| reading(format!("open `{}`", path().display()), &errno.into()))?;
    Ok(Box::new(file))
}

fn probe_in(folder: &Folder, name: &OsStr, path: impl Fn() -> PathBuf) -> Result<(), HostError> {
    lock_in(folder, name, path).map(drop)
}

/// Opens a file and locks it: nobody else has it open and locked while it is kept.
fn lock_in(folder: &Folder, name: &OsStr, path: impl Fn() -> PathBuf) -> Result<File, HostError> {
    let attempted = || format!("open `{}` exclusively", path().display());
    let file = folder
        .read(name)
        .map_err(|errno| reading(attempted(), &errno.into()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(HostError::unchanged(
            HostErrorKind::Locked,
            attempted(),
            "another process has it open",
        )),
        Err(TryLockError::Error(error)) => Err(reading(attempted(), &error)),
    }
}

fn move_in(
    (source, old): Named<'_>,
    (target, new): Named<'_>,
    paths: &dyn Fn() -> Paths,
) -> Result<(), HostError> {
    let attempted = || {
        let (from, to) = paths();
        format!("move `{}` to `{}`", from.display(), to.display())
    };
    source
        .regular(old)
        .map_err(|errno| reading(attempted(), &errno.into()))?;
    let flags = if off(Mechanism::NoReplaceRename) {
        RenameFlags::empty()
    } else {
        RenameFlags::NOREPLACE
    };
    fs::renameat_with(source, old, target, new, flags).map_err(|errno| changing(attempted(), errno))
}

fn rename_folders(
    from: &Path,
    to: &Path,
    flags: RenameFlags,
    attempted: &dyn Fn() -> String,
) -> Result<(), HostError> {
    let (source, old) = Folder::of(from)?;
    let (target, new) = Folder::of(to)?;
    for (at, (folder, name)) in [(&source, old), (&target, new)].into_iter().enumerate() {
        let found = folder
            .look(name)
            .map_err(|errno| reading(attempted(), &errno.into()))?;
        let is_folder = found.is_some_and(|info| info.kind == FileKind::Folder);
        let needed = at == 0 || flags == RenameFlags::EXCHANGE;
        if needed && !is_folder {
            return Err(reading(attempted(), &Errno::NOTDIR.into()));
        }
    }
    fs::renameat_with(&source, old, &target, new, flags)
        .map_err(|errno| changing(attempted(), errno))
}

fn link_in(
    (source, old): Named<'_>,
    (target, new): Named<'_>,
    paths: &dyn Fn() -> Paths,
) -> Result<(), HostError> {
    let attempted = || {
        let (from, to) = paths();
        format!("link `{}` as `{}`", from.display(), to.display())
    };
    source
        .regular(old)
        .map_err(|errno| reading(attempted(), &errno.into()))?;
    fs::linkat(source, old, target, new, AtFlags::empty())
        .map_err(|errno| changing(attempted(), errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Effect;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    fn text(path: &Path) -> String {
        let mut text = String::new();
        UnixSpool
            .open(path)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    #[test]
    fn move_link_and_write_never_replace() {
        let (_keep, root) = folder();
        let (a, b) = (root.join("A"), root.join("B"));
        UnixSpool.write_new(&a, b"first").unwrap();
        UnixSpool.write_new(&b, b"second").unwrap();
        for result in [
            UnixSpool.move_new(&a, &b),
            UnixSpool.link_new(&a, &b),
            UnixSpool.write_new(&b, b"third"),
        ] {
            let error = result.unwrap_err();
            assert_eq!(
                (error.kind, error.effect),
                (HostErrorKind::Exists, Effect::None)
            );
        }
        assert_eq!((text(&a), text(&b)), ("first".into(), "second".into()));
        assert_eq!(
            UnixSpool.list(&root).unwrap().len(),
            2,
            "no temporary file is left"
        );
    }

    #[test]
    fn many_at_once_are_done_as_each_alone_and_never_leave_their_folder() {
        let (_keep, root) = folder();
        let (queue, held) = (root.join("queue"), root.join("held"));
        for folder in [&queue, &held] {
            UnixSpool.make_folder(folder).unwrap();
        }
        for name in ["A", "B", "C"] {
            UnixSpool
                .write_new(&queue.join(name), name.as_bytes())
                .unwrap();
        }
        UnixSpool.write_new(&held.join("B"), b"in the way").unwrap();
        symlink(queue.join("A"), queue.join("L")).unwrap();
        UnixSpool.write_new(&root.join("X"), b"outside").unwrap();
        let kinds = |results: Vec<Result<(), HostError>>| -> Vec<Option<HostErrorKind>> {
            results
                .into_iter()
                .map(|result| result.err().map(|error| error.kind))
                .collect()
        };
        let names = ["A", "B", "L", "gone", "../X", "C"];
        let expected = [
            None,
            Some(HostErrorKind::Exists),
            Some(HostErrorKind::Reparse),
            Some(HostErrorKind::NotFound),
            Some(HostErrorKind::Malformed),
            None,
        ];
        let mut read = Vec::new();
        UnixSpool.open_each(&queue, &names, &mut |at, file| {
            let text = file.map(|mut file| {
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                text
            });
            read.push((at, text.map_err(|error| error.kind)));
        });
        assert_eq!(read[0], (0, Ok("A".into())));
        assert_eq!(read[2], (2, Err(HostErrorKind::Reparse)));
        assert_eq!(read[4], (4, Err(HostErrorKind::Malformed)));
        let probed = kinds(UnixSpool.probe_each(&queue, &names));
        assert_eq!(probed[1..3], [None, Some(HostErrorKind::Reparse)]);
        assert_eq!(kinds(UnixSpool.link_each(&queue, &held, &names)), expected);
        for name in ["A", "C"] {
            UnixSpool.remove(&held.join(name)).unwrap();
        }
        assert_eq!(kinds(UnixSpool.move_each(&queue, &held, &names)), expected);
        assert_eq!(
            (text(&held.join("A")), text(&held.join("B"))),
            ("A".into(), "in the way".into())
        );
        assert_eq!(text(&root.join("X")), "outside");
        let nowhere = UnixSpool.move_each(&queue, &root.join("nowhere"), &names);
        assert!(nowhere.iter().all(Result::is_err));
    }

    #[test]
    fn a_move_keeps_the_identity_and_a_link_shares_it() {
        let (_keep, root) = folder();
        let (a, b, c) = (root.join("A"), root.join("B"), root.join("C"));
        UnixSpool.write_new(&a, b"mail").unwrap();
        let before = UnixSpool.look(&a).unwrap().unwrap();
        UnixSpool.move_new(&a, &b).unwrap();
        assert_eq!(UnixSpool.look(&a).unwrap(), None);
        UnixSpool.link_new(&b, &c).unwrap();
        for path in [&b, &c] {
            let after = UnixSpool.look(path).unwrap().unwrap();
            assert_eq!((after.file_id, after.size), (before.file_id, 4));
            assert_eq!(after.modified_ms, before.modified_ms);
        }
        UnixSpool.remove(&b).unwrap();
        assert_eq!(text(&c), "mail");
        assert_eq!(
            UnixSpool.remove(&b).unwrap_err().kind,
            HostErrorKind::NotFound
        );
    }

    #[test]
    fn links_are_listed_as_other_and_never_followed() {
        let (_keep, root) = folder();
        let real = root.join("real");
        UnixSpool.make_folder(&real).unwrap();
        UnixSpool
            .write_new(&real.join("MAIL0001"), b"mail")
            .unwrap();
        symlink(real.join("MAIL0001"), root.join("LINK0001")).unwrap();
        symlink(&real, root.join("linked")).unwrap();
        let kinds: Vec<_> = UnixSpool
            .list(&root)
            .unwrap()
            .into_iter()
            .map(|e| (e.name, e.kind))
            .collect();
        assert_eq!(
            kinds,
            [
                ("LINK0001".to_owned(), FileKind::Other),
                ("linked".to_owned(), FileKind::Other),
                ("real".to_owned(), FileKind::Folder)
            ]
        );
        let link = root.join("LINK0001");
        let through = root.join("linked/MAIL0001");
        let target = root.join("NEW");
        let reparse = |result: Result<(), HostError>| {
            assert_eq!(result.unwrap_err().kind, HostErrorKind::Reparse);
        };
        reparse(UnixSpool.open(&link).map(drop));
        reparse(UnixSpool.open(&through).map(drop));
        reparse(UnixSpool.probe_exclusive(&link));
        reparse(UnixSpool.move_new(&link, &target));
        reparse(UnixSpool.move_new(&through, &target));
        reparse(UnixSpool.move_new(&real.join("MAIL0001"), &root.join("linked/NEW")));
        reparse(UnixSpool.link_new(&link, &target));
        reparse(UnixSpool.write_new(&root.join("linked/NEW"), b"x"));
        reparse(UnixSpool.remove(&link));
        reparse(UnixSpool.list(&root.join("linked")).map(drop));
        reparse(UnixSpool.sync_folder(&root.join("linked")));
        reparse(UnixSpool.make_folder(&root.join("linked/deeper")));
        assert_eq!(text(&real.join("MAIL0001")), "mail");
    }

    #[test]
    fn a_file_that_somebody_locked_is_reported_as_locked() {
        let (_keep, root) = folder();
        let path = root.join("MAIL0001");
        UnixSpool.write_new(&path, b"mail").unwrap();
        UnixSpool.probe_exclusive(&path).unwrap();
        let held = File::open(&path).unwrap();
        held.lock().unwrap();
        assert_eq!(
            UnixSpool.probe_exclusive(&path).unwrap_err().kind,
            HostErrorKind::Locked
        );
        drop(held);
        UnixSpool.probe_exclusive(&path).unwrap();
    }

    #[test]
    fn a_file_that_somebody_has_open_is_not_moved_as_unused_and_nothing_is_replaced() {
        let (_keep, root) = folder();
        let (from, to) = (root.join("MAIL0001"), root.join("held"));
        UnixSpool.write_new(&from, b"mail").unwrap();
        let held = File::open(&from).unwrap();
        held.lock().unwrap();
        let refused = UnixSpool.move_unused(&from, &to).unwrap_err();
        assert_eq!(
            (refused.kind, refused.effect),
            (HostErrorKind::Locked, Effect::None)
        );
        drop(held);
        UnixSpool.write_new(&to, b"in the way").unwrap();
        let taken = UnixSpool.move_unused(&from, &to).unwrap_err();
        assert_eq!(taken.kind, HostErrorKind::Exists);
        assert_eq!(
            (text(&from), text(&to)),
            ("mail".into(), "in the way".into())
        );
        UnixSpool.remove(&to).unwrap();
        UnixSpool.move_unused(&from, &to).unwrap();
        assert_eq!(text(&to), "mail");
        assert_eq!(UnixSpool.look(&from).unwrap(), None);
    }

    #[test]
    fn folders_are_made_with_their_parents_and_twice_is_no_error() {
        let (_keep, root) = folder();
        let deep = root.join("a/b/c");
        UnixSpool.make_folder(&deep).unwrap();
        UnixSpool.make_folder(&deep).unwrap();
        UnixSpool.sync_folder(&deep).unwrap();
        UnixSpool.write_new(&root.join("FILE"), b"").unwrap();
        assert!(UnixSpool.make_folder(&root.join("FILE")).is_err());
        assert!(UnixSpool.make_folder(&root.join("FILE/x")).is_err());
        assert!(UnixSpool.free_bytes(&deep).unwrap() > 0);
        assert!(UnixSpool.same_volume(&root, &deep).unwrap());
    }

    #[test]
    fn a_move_between_volumes_is_refused_and_changes_nothing() {
        // /dev/shm is a volume of its own wherever Linux runs; where it is not, nothing to see.
        let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
            return;
        };
        let (_keep, root) = folder();
        let other = other.path().canonicalize().unwrap();
        if UnixSpool.same_volume(&root, &other).unwrap() {
            return;
        }
        let (from, to) = (root.join("A"), other.join("A"));
        UnixSpool.write_new(&from, b"mail").unwrap();
        for result in [
            UnixSpool.move_new(&from, &to),
            UnixSpool.link_new(&from, &to),
        ] {
            let error = result.unwrap_err();
            assert_eq!(
                (error.kind, error.effect),
                (HostErrorKind::CrossVolume, Effect::None)
            );
        }
        assert_eq!(text(&from), "mail");
        assert_eq!(UnixSpool.look(&to).unwrap(), None);
    }

    #[test]
    fn a_full_disk_is_no_space_and_leaves_nothing_behind() {
        // Writing to a file system that is full needs root; the device that is always full gives
        // the same errno, so the mapping is what is tested here.
        let mut full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let error = full.write_all(&[0; 8192]).unwrap_err();
        assert_eq!(reading("write", &error).kind, HostErrorKind::NoSpace);
        assert_eq!(changing("write", Errno::NOSPC).effect, Effect::None);
        assert_eq!(changing("move", Errno::IO).effect, Effect::Unknown);
        assert_eq!(changing("move", Errno::INVAL).effect, Effect::None);
    }

    #[test]
    fn a_folder_that_may_not_be_read_or_is_not_there_says_so() {
        let (_keep, root) = folder();
        let gone = root.join("gone");
        assert_eq!(
            UnixSpool.list(&gone).unwrap_err().kind,
            HostErrorKind::NotFound
        );
        assert_eq!(UnixSpool.look(&gone.join("X")).unwrap(), None);
        let error = UnixSpool.sync_folder(&gone).unwrap_err();
        assert_eq!(error.effect, Effect::Unknown);
        assert!(error.to_string().contains("gone"), "{error}");
    }

    #[test]
    fn folders_exchange_their_names_and_nothing_is_replaced_or_followed() {
        let (_keep, root) = folder();
        let (queue, empty) = (root.join("Out"), root.join("held"));
        std::fs::create_dir(&queue).unwrap();
        std::fs::write(queue.join("MAIL0001"), "one").unwrap();
        std::fs::create_dir(queue.join("Archive")).unwrap();
        fs::chmod(&queue, Mode::from_raw_mode(0o2770)).unwrap();
        let spool = UnixSpool;
        spool.make_folder_like(&empty, &queue).unwrap();
        spool.make_folder_like(&empty, &queue).unwrap();
        let mode = |path: &Path| fs::stat(path).unwrap().st_mode & 0o7777;
        assert_eq!(mode(&empty), 0o2770);
        let id = spool.look(&queue).unwrap().unwrap().file_id;
        spool.exchange_folders(&queue, &empty).unwrap();
        assert_eq!(spool.look(&empty).unwrap().unwrap().file_id, id);
        assert!(spool.names(&queue).unwrap().is_empty());
        let mut names = spool.names(&empty).unwrap();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        let file = ("MAIL0001".to_owned(), FileKind::File);
        assert_eq!(names, [("Archive".to_owned(), FileKind::Folder), file]);
        let (from, to) = (empty.join("Archive"), queue.join("Archive"));
        spool.move_folder_new(&from, &to).unwrap();
        std::fs::create_dir(&from).unwrap();
        let again = spool.move_folder_new(&from, &to).unwrap_err();
        assert_eq!(again.kind, HostErrorKind::Exists);
        // Neither a file nor a link is a folder.
        let file = empty.join("MAIL0001");
        assert!(spool.exchange_folders(&file, &queue).is_err());
        assert!(spool.move_folder_new(&file, &root.join("x")).is_err());
        symlink(&queue, root.join("link")).unwrap();
        assert!(spool.exchange_folders(&root.join("link"), &empty).is_err());
        assert!(
            spool
                .exchange_folders(&queue, &root.join("nothing"))
                .is_err()
        );
    }
}
