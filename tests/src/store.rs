//! The information store's two folders of the IMS: MTS-OUT (outbound messages awaiting conversion) and
//! MTS-IN (inbound messages awaiting delivery).
//!
//! A message is a file in spool format from the beginning, so that handing it over is one rename. The
//! store of Exchange does this in a transaction; the rename stands for it.

pub mod database;

use std::path::Path;
use std::time::SystemTime;

use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;
use crate::spool::{SpoolMessage, SpoolName};

/// Puts a message into MTS-OUT, as the MTA does when a user has sent one: now, or at another time that
/// its file then says.
///
/// # Errors
/// Where it cannot be written, or the name is taken.
pub fn submit(
    server: &ServerDir,
    name: &SpoolName,
    message: &SpoolMessage,
    since: Option<SystemTime>,
) -> Result<(), LabError> {
    put(&server.mts_out(), name, message, since)
}

/// Writes a message into a folder, as if it had been put there at a time.
///
/// # Errors
/// Where it cannot be written, or the name is taken.
pub fn put(
    folder: &Path,
    name: &SpoolName,
    message: &SpoolMessage,
    since: Option<SystemTime>,
) -> Result<(), LabError> {
    let attempted = || format!("submit a message in `{}`", folder.display());
    let file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(folder)
        .attempting(attempted)?;
    std::fs::write(file.path(), message.encode()).attempting(attempted)?;
    if let Some(since) = since {
        file.as_file().set_modified(since).attempting(attempted)?;
    }
    file.persist_noclobber(folder.join(name.as_str()))
        .map_err(|error| error.error)
        .attempting(attempted)?;
    Ok(())
}

/// Hands a message from one folder to another, whole or not at all; never replaces one.
///
/// # Errors
/// Where it is not there or the name is taken.
pub fn hand_over(name: &SpoolName, from: &Path, to: &Path) -> Result<(), LabError> {
    hand_over_as(name, from, name, to).attempting(|| {
        format!(
            "hand `{name}` from `{}` to `{}`",
            from.display(),
            to.display()
        )
    })
}

/// Copies a message from one folder to another by a second name, and says whether it was not there yet.
///
/// # Errors
/// Where it cannot be copied.
pub fn copy(name: &SpoolName, from: &Path, to: &Path) -> Result<bool, LabError> {
    let attempted = || format!("copy `{name}` to `{}`", to.display());
    // Bytes of its own: what happens to one is nothing to the other.
    let file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(to)
        .attempting(attempted)?;
    std::fs::copy(from.join(name.as_str()), file.path()).attempting(attempted)?;
    match file.persist_noclobber(to.join(name.as_str())) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error).attempting(attempted)?,
    }
}

/// Hands an inbound message to the store's MTS-IN. The store knows it by a name of its own, so that a
/// message that comes twice is there twice.
///
/// # Errors
/// Where it is not there.
pub fn deliver(name: &SpoolName, from: &Path, to: &Path) -> Result<(), LabError> {
    let mut random = fastrand::Rng::new();
    let mut tried = hand_over_as(name, from, name, to);
    while matches!(&tried, Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists) {
        tried = hand_over_as(name, from, &SpoolName::make(&mut random), to);
    }
    tried.attempting(|| format!("hand `{name}` to the store"))
}

/// Takes a file in as a message of that name, whole or not at all; never replaces one.
///
/// # Errors
/// Where it is not there or the name is taken.
pub fn take_in(file: &Path, folder: &Path, name: &SpoolName) -> Result<(), LabError> {
    move_to(file, &folder.join(name.as_str()))
        .attempting(|| format!("take `{}` into `{}`", file.display(), folder.display()))
}

/// Gives a file or folder another name; never replaces one.
///
/// # Errors
/// Where it is not there or the name is taken.
pub fn rename_new(from: &Path, to: &Path) -> Result<(), LabError> {
    move_to(from, to).attempting(|| format!("rename `{}` to `{}`", from.display(), to.display()))
}

fn hand_over_as(
    name: &SpoolName,
    from: &Path,
    to_name: &SpoolName,
    to: &Path,
) -> std::io::Result<()> {
    move_to(&from.join(name.as_str()), &to.join(to_name.as_str()))
}

/// Gives a file another name; what is there is never replaced.
#[cfg(unix)]
fn move_to(from: &Path, to: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

/// Gives a file another name; what is there is never replaced.
#[cfg(windows)]
fn move_to(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut file = tempfile::TempPath::try_from_path(from)?;
    // It is nobody's scratch file: where it cannot be moved it stays.
    file.disable_cleanup(true);
    file.persist_noclobber(to).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handing_over_never_replaces_a_message() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let name = SpoolName::parse("AAAAAAA1").unwrap();
        for (place, text) in [(&from, "new"), (&to, "old")] {
            std::fs::create_dir(place).unwrap();
            std::fs::write(place.join(name.as_str()), text).unwrap();
        }
        assert!(hand_over(&name, &from, &to).is_err());
        assert_eq!(
            std::fs::read_to_string(to.join(name.as_str())).unwrap(),
            "old"
        );
        assert_eq!(
            std::fs::read_to_string(from.join(name.as_str())).unwrap(),
            "new"
        );
    }
}
