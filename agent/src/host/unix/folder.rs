//! An open folder, reached without following a single symbolic link. Everything in the spool is
//! done relative to one, so that a link swapped in on the way changes nothing.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::{changing, reading};
use crate::host::{FileInfo, FileKind, HostError, HostErrorKind};

pub(super) struct Folder {
    fd: OwnedFd,
}

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

impl Folder {
    /// Opens a folder by its absolute path. A link anywhere on the way is `Reparse`.
    pub(super) fn open(path: &Path) -> Result<Self, HostError> {
        let attempted = || format!("open the folder `{}`", path.display());
        if !path.is_absolute() {
            return Err(HostError::unchanged(
                HostErrorKind::Malformed,
                attempted(),
                "the path is not absolute",
            ));
        }
        let opened = match fs::openat2(
            fs::CWD,
            path,
            FOLDER,
            Mode::empty(),
            ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        ) {
            // Kernels before 5.6 have no openat2 and some sandboxes refuse it.
            Err(Errno::NOSYS | Errno::PERM) => Self::walk(path),
            result => result,
        };
        opened
            .map(|fd| Self { fd })
            .map_err(|errno| reading(attempted(), &errno.into()))
    }

    fn walk(path: &Path) -> Result<OwnedFd, Errno> {
        let mut fd = fs::open("/", FOLDER, Mode::empty())?;
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name,
                Component::ParentDir => OsStr::new(".."),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            };
            fd = match fs::openat(&fd, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()) {
                // O_DIRECTORY with O_NOFOLLOW says ENOTDIR of a link.
                Err(Errno::NOTDIR) if is_link(&fd, name) => return Err(Errno::LOOP),
                result => result?,
            };
        }
        Ok(fd)
    }

    /// The folder that holds `path`, and the name in it.
    pub(super) fn of(path: &Path) -> Result<(Self, &OsStr), HostError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(HostError::unchanged(
                HostErrorKind::Malformed,
                format!("find the folder of `{}`", path.display()),
                "the path has no name at its end",
            ));
        };
        Ok((Self::open(parent)?, name))
    }

    pub(super) fn entries(&self) -> Result<Vec<FileInfo>, Errno> {
        let mut entries = Vec::new();
        for entry in fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                // It went between the listing and the look.
                Err(Errno::NOENT) => continue,
                result => result?,
            };
            entries.push(match name.to_str() {
                Ok(name) => info(name.to_owned(), &stat),
                // A name that we could not say again is nothing that we may touch.
                Err(_) => FileInfo {
                    kind: FileKind::Other,
                    ..info(name.to_string_lossy().into_owned(), &stat)
                },
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The names and what they are, without a look at each where the file system tells it.
    pub(super) fn names(&self) -> Result<Vec<(String, FileKind)>, Errno> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(text) = name.to_str() else {
                names.push((name.to_string_lossy().into_owned(), FileKind::Other));
                continue;
            };
            let kind = match entry.file_type() {
                FileType::RegularFile => FileKind::File,
                FileType::Directory => FileKind::Folder,
                FileType::Unknown => match self.look(OsStr::new(text))? {
                    Some(info) => info.kind,
                    None => continue,
                },
                _ => FileKind::Other,
            };
            names.push((text.to_owned(), kind));
        }
        Ok(names)
    }

    pub(super) fn look(&self, name: &OsStr) -> Result<Option<FileInfo>, Errno> {
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(info(name.to_string_lossy().into_owned(), &stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Opens a regular file for reading.
    pub(super) fn read(&self, name: &OsStr) -> Result<File, Errno> {
        // O_NONBLOCK: opening a pipe that somebody put there must not hang.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = fs::openat(&self.fd, name, flags, Mode::empty())?;
        match FileType::from_raw_mode(fs::fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(File::from(file)),
            FileType::Directory => Err(Errno::ISDIR),
            _ => Err(Errno::LOOP),
        }
    }

    /// What an open file is, whatever stands under its name by now.
    pub(super) fn about(name: &OsStr, file: &File) -> Result<FileInfo, Errno> {
        Ok(info(name.to_string_lossy().into_owned(), &fs::fstat(file)?))
    }

    /// Refuses what is not a regular file: a link, a folder, a device.
    pub(super) fn regular(&self, name: &OsStr) -> Result<(), Errno> {
        match self.look(name)? {
            None => Err(Errno::NOENT),
            Some(FileInfo {
                kind: FileKind::File,
                ..
            }) => Ok(()),
            Some(FileInfo {
                kind: FileKind::Folder,
                ..
            }) => Err(Errno::ISDIR),
            Some(FileInfo {
                kind: FileKind::Other,
                ..
            }) => Err(Errno::LOOP),
        }
    }

    /// Makes its names durable. Any error means that this is unknown.
    pub(super) fn sync(&self, path: &Path) -> Result<(), HostError> {
        fs::fsync(&self.fd).map_err(|errno| {
            HostError::unknown(
                HostErrorKind::Io,
                format!("sync the folder `{}`", path.display()),
                std::io::Error::from(errno).to_string(),
            )
        })
    }

    pub(super) fn make(&self, name: &OsStr, path: &Path) -> Result<(), HostError> {
        let attempted = || format!("make the folder `{}`", path.display());
        match fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o750)) {
            Ok(()) => Ok(()),
            // Somebody was faster; whether it is a folder shows when it is opened.
            Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(changing(attempted(), errno)),
        }
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn is_link(folder: &OwnedFd, name: &OsStr) -> bool {
    fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

fn info(name: String, stat: &Stat) -> FileInfo {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Folder,
        _ => FileKind::Other,
    };
    let milliseconds = i64::try_from(stat.st_mtime_nsec / 1_000_000).unwrap_or(0);
    FileInfo {
        name,
        kind,
        file_id: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        modified_ms: stat
            .st_mtime
            .saturating_mul(1000)
            .saturating_add(milliseconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_for_old_kernels_refuses_links_as_openat2_does() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::os::unix::fs::symlink(root.join("a"), root.join("link")).unwrap();
        assert!(Folder::walk(&root.join("a/b")).is_ok());
        assert_eq!(Folder::walk(&root.join("link/b")).unwrap_err(), Errno::LOOP);
        assert_eq!(
            Folder::walk(&root.join("a/nothing")).unwrap_err(),
            Errno::NOENT
        );
        let error = Folder::open(&root.join("link/b")).err().unwrap();
        assert_eq!(error.kind, HostErrorKind::Reparse);
        assert_eq!(
            Folder::open(Path::new("a/b")).err().unwrap().kind,
            HostErrorKind::Malformed
        );
    }
}
