//! The machine that the agent itself runs on.

use std::fs::File;
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_BACKUP_SEMANTICS;

use super::failure::Code;
use super::{folder, path, process};
use crate::host::{FileInfo, HostError};

/// What an open file is, whatever stands under its name by now.
pub(in crate::host) fn about(name: &str, file: &File) -> io::Result<FileInfo> {
    folder::about_file(name.to_owned(), file)
}

/// The error of a call that only reads.
pub(in crate::host) fn told(attempted: impl Into<String>, error: &io::Error) -> HostError {
    match error.raw_os_error() {
        Some(_) => Code::of(error).reading(attempted),
        None => HostError::unchanged(crate::host::HostErrorKind::Io, attempted, error.to_string()),
    }
}

/// Whether a process of that number is there.
pub(in crate::host) fn lives(pid: u32) -> bool {
    // One that this account may not look at is there.
    process::identity(pid).map_or(true, |process| process.is_some())
}

/// The path that this one leads to, without links, as people write it.
pub(in crate::host) fn real_path(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize().map(path::plain)
}

/// Makes the names in a folder of the agent durable.
pub(in crate::host) fn sync_folder(folder: &Path) -> io::Result<()> {
    // Only whoever may write to a folder may flush it.
    let mut options = std::fs::OpenOptions::new();
    options.write(true).custom_flags(FILE_FLAG_BACKUP_SEMANTICS);
    options.open(folder)?.sync_all()
}
