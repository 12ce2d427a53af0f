//! The machine that the agent itself runs on.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::folder::Folder;
use crate::host::{FileInfo, HostError};

/// What an open file is, whatever stands under its name by now.
pub(in crate::host) fn about(name: &str, file: &File) -> io::Result<FileInfo> {
    Folder::about(name.as_ref(), file).map_err(io::Error::from)
}

/// The error of a call that only reads.
pub(in crate::host) fn told(attempted: impl Into<String>, error: &io::Error) -> HostError {
    super::reading(attempted, error)
}

/// Whether a process of that number is there.
pub(in crate::host) fn lives(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// The path that this one leads to, without links.
pub(in crate::host) fn real_path(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize()
}

/// Makes the names in a folder of the agent durable.
pub(in crate::host) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
