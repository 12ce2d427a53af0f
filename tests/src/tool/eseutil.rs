//! eseutil /d: writes the store anew beside the old one, with the store down, and puts it in its place.

use std::path::Path;

use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;
use crate::store::database::{Database, PAGE};
use crate::tool::store_in_use;

/// Writes the store anew. Where there is no room the store is as it was.
///
/// # Errors
/// Where there is not enough room, or a file cannot be read or written.
pub fn defragment(server: &ServerDir) -> Result<String, LabError> {
    if let Some(refusal) = store_in_use(server)? {
        return Ok(refusal);
    }
    rewrite(server)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the new store takes the place of the old one, as eseutil has it; no message file is one of them"
)]
fn rewrite(server: &ServerDir) -> Result<String, LabError> {
    let before = Database::of(server)?;
    let after = before.defragmented();
    let (new, old) = (server.defragmenting(), server.private_store());
    let written = after.write_beside(server, free(server)?);
    if let Err(error) = written {
        // What is left of the attempt only takes room.
        let _ = std::fs::remove_file(&new);
        return Err(error);
    }
    std::fs::rename(&new, &old).attempting(|| format!("replace `{}`", old.display()))?;
    Ok(format!(
        "Operation completed successfully; {} of {} pages left.",
        after.pages(),
        before.pages()
    ))
}

/// Measures whether 1.1 times the size of the store is free on its volume (Q255035); changes nothing.
///
/// # Errors
/// Where that cannot be measured.
pub fn room(server: &ServerDir) -> Result<String, LabError> {
    let store = server.private_store();
    let size = std::fs::metadata(&store)
        .attempting(|| format!("look at `{}`", store.display()))?
        .len();
    let (needed, free) = (size + size / 10, free(server)?);
    let told = if free >= needed {
        "enough room"
    } else {
        "too little room"
    };
    Ok(format!(
        "{told}: {free} bytes free, {needed} needed for a store of {size}"
    ))
}

/// Full backup: a copy of the store that reads back as it is. Never over an earlier one.
///
/// # Errors
/// Where it cannot be written, or reads back otherwise.
pub fn back_up(server: &ServerDir) -> Result<String, LabError> {
    let folder = server.store_backups();
    std::fs::create_dir_all(&folder).attempting(|| format!("make `{}`", folder.display()))?;
    let count = std::fs::read_dir(&folder)
        .attempting(|| format!("list `{}`", folder.display()))?
        .count();
    let to = folder.join(format!("PRIV-{}.EDB", count + 1));
    let from = server.private_store();
    std::fs::copy(&from, &to).attempting(|| format!("back up `{}`", from.display()))?;
    let read =
        |path: &Path| std::fs::read(path).attempting(|| format!("read `{}`", path.display()));
    if read(&from)? != read(&to)? {
        return Err(LabError::Malformed {
            what: format!("the backup `{}`", to.display()),
            reason: "it is not what was backed up".to_owned(),
        });
    }
    Ok(format!("backed up to {}", to.display()))
}

/// Free bytes on the volume of the store: of the disk below it, or of what the volume is said to hold less
/// what is in it.
fn free(server: &ServerDir) -> Result<u64, LabError> {
    let folder = server.private_store();
    let folder = folder.parent().unwrap_or(Path::new("/"));
    let attempted = || format!("measure `{}`", folder.display());
    let disk = free_on_disk(folder).attempting(attempted)?;
    let Ok(volume) = std::fs::read_to_string(server.store_volume()) else {
        return Ok(disk);
    };
    let volume: u64 = volume.trim().parse().map_err(|_| LabError::Malformed {
        what: format!("`{}`", server.store_volume().display()),
        reason: format!("`{}` is no number of bytes", volume.trim()),
    })?;
    let mut used = 0;
    for entry in std::fs::read_dir(folder).attempting(attempted)? {
        let meta = entry
            .and_then(|entry| entry.metadata())
            .attempting(attempted)?;
        used += if meta.is_file() {
            meta.len().next_multiple_of(PAGE as u64)
        } else {
            0
        };
    }
    Ok(disk.min(volume.saturating_sub(used)))
}

#[cfg(unix)]
fn free_on_disk(folder: &Path) -> std::io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The standard library cannot ask Windows: there the volume has what it is said to have.
#[cfg(windows)]
fn free_on_disk(folder: &Path) -> std::io::Result<u64> {
    folder.metadata().map(|_| u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::database::FolderDamage;

    #[test]
    fn a_store_is_written_anew_only_where_there_is_room_and_else_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let server = ServerDir::new(folder.path());
        server.lay_out().unwrap();
        let mut store = Database::damaged(FolderDamage::StillListed);
        store.delete_mailbox();
        store.make_mailbox();
        store.write(&server).unwrap();
        let size = std::fs::metadata(server.private_store()).unwrap().len();
        std::fs::write(server.store_volume(), (size + 5 * PAGE as u64).to_string()).unwrap();
        assert!(room(&server).unwrap().starts_with("too little room"));
        assert!(rewrite(&server).is_err());
        assert_eq!(Database::of(&server).unwrap(), store);
        assert!(!server.defragmenting().exists());
        std::fs::write(server.store_volume(), (3 * size).to_string()).unwrap();
        assert!(room(&server).unwrap().starts_with("enough room"));
        assert!(rewrite(&server).unwrap().contains("completed successfully"));
        let after = Database::of(&server).unwrap();
        assert!(!after.keeps_what_was_sent() && after.pages() < store.pages());
        assert!(back_up(&server).is_ok() && back_up(&server).unwrap().ends_with("PRIV-2.EDB"));
    }
}
