//! imcsave: copies what is in the store's folders of the IMS to `Imcdata\\Backup`, and takes nothing out.
//!
//! As the real one it refuses to run where that folder exists (Q195804): it would mix two savings. With a place
//! it stands for an adapter that gives each saving a folder of its own, under its last name only when it is whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::lab_error::{Attempting, LabError};
use crate::server_dir::{ServerDir, spooled};
use crate::store;

/// How often it is looked whether it may go on.
const LOOK: Duration = Duration::from_millis(20);

/// Saves MTS-IN and MTS-OUT, in a place of its own where one is named. What is converted meanwhile is not in
/// a folder of the store any more.
///
/// # Errors
/// Where a message cannot be copied.
pub fn save(server: &ServerDir, place: Option<&str>) -> Result<String, LabError> {
    let backup = place.map_or_else(
        || server.imcsave_backup(),
        |place| server.imcsave_places().join(place),
    );
    let shown = backup.display();
    let begun = part(&backup);
    if backup.exists() || begun.exists() {
        return Ok(format!("The directory {shown} already exists."));
    }
    let mut saved = 0;
    for (name, folder) in [("MTSI", server.mts_in()), ("MTSO", server.mts_out())] {
        let to = begun.join(name);
        std::fs::create_dir_all(&to).attempting(|| format!("make `{}`", to.display()))?;
        for file in spooled(&folder)? {
            let copied =
                std::fs::copy(folder.join(file.name.as_str()), to.join(file.name.as_str()));
            match copied {
                Ok(_) => saved += 1,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => Err(error).attempting(|| format!("save `{}`", file.name))?,
            }
            while server.imcsave_waits().exists() {
                // Nothing tells that the file is gone.
                std::thread::sleep(LOOK);
            }
        }
    }
    store::rename_new(&begun, &backup)?;
    Ok(format!("{saved} item(s) saved to {shown}."))
}

/// What a saving is called until it is whole.
fn part(backup: &Path) -> PathBuf {
    backup.with_extension("part")
}

/// The folders of messages of MTS-OUT that were saved whole.
///
/// # Errors
/// Where they cannot be listed.
pub fn whole(server: &ServerDir) -> Result<Vec<PathBuf>, LabError> {
    Ok(places(server)?
        .into_iter()
        .chain([server.imcsave_backup()])
        .filter(|place| place.extension().is_none())
        .map(|place| place.join("MTSO"))
        .filter(|folder| folder.exists())
        .collect())
}

/// Every saving in a place of its own, whole or begun.
///
/// # Errors
/// Where they cannot be listed.
pub fn places(server: &ServerDir) -> Result<Vec<PathBuf>, LabError> {
    let folder = server.imcsave_places();
    let attempted = || format!("list `{}`", folder.display());
    match std::fs::read_dir(&folder) {
        Ok(entries) => {
            let path =
                |entry: std::io::Result<std::fs::DirEntry>| Ok(entry.attempting(attempted)?.path());
            entries.map(path).collect()
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).attempting(attempted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_store_is_copied_once_and_stays_there() {
        let folder = tempfile::tempdir().unwrap();
        let server = ServerDir::new(folder.path());
        server.lay_out().unwrap();
        std::fs::write(server.mts_out().join("AAAAAAA1"), "out").unwrap();
        std::fs::write(server.mts_in().join("AAAAAAA2"), "in").unwrap();
        assert!(save(&server, None).unwrap().starts_with("2 item(s) saved"));
        let saved = server.imcsave_backup().join("MTSO/AAAAAAA1");
        assert_eq!(std::fs::read_to_string(saved).unwrap(), "out");
        assert!(server.mts_out().join("AAAAAAA1").exists());
        assert!(save(&server, None).unwrap().ends_with("already exists."));
    }

    #[test]
    fn each_place_is_written_once_and_what_was_only_begun_is_no_saving() {
        let folder = tempfile::tempdir().unwrap();
        let server = ServerDir::new(folder.path());
        server.lay_out().unwrap();
        std::fs::write(server.mts_out().join("AAAAAAA1"), "out").unwrap();
        std::fs::create_dir_all(server.imcsave_places().join("a.part/MTSO")).unwrap();
        assert!(
            save(&server, Some("a"))
                .unwrap()
                .ends_with("already exists.")
        );
        assert!(
            save(&server, Some("b"))
                .unwrap()
                .starts_with("1 item(s) saved")
        );
        assert!(
            save(&server, Some("b"))
                .unwrap()
                .ends_with("already exists.")
        );
        assert_eq!(
            whole(&server).unwrap(),
            [server.imcsave_places().join("b/MTSO")]
        );
        assert_eq!(places(&server).unwrap().len(), 2);
    }
}
