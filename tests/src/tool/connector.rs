//! The connector as the Administrator program has it: exported, compared, and by a person deleted and made anew.
//!
//! What it is set to is its key of the registry; what it is, is its mailbox in the store. Deleting it deletes both,
//! and whatever lies in MTS-IN and MTS-OUT.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ims;
use crate::lab_error::{Attempting, LabError};
use crate::registry::{self, Registry};
use crate::server_dir::{ServerDir, spooled};
use crate::service_manager::{self, State};
use crate::store;
use crate::store::database::Database;
use crate::whole_file;

/// An export.
#[derive(Debug, Serialize, Deserialize)]
struct Export {
    /// The connector's mailbox.
    mailbox: Option<u32>,
    /// Its settings, as the registry's file has them.
    settings: String,
}

/// Writes the settings, in a place of their own where one is named. Never over an earlier export.
///
/// # Errors
/// Where they cannot be read or written.
pub fn export(server: &ServerDir, place: Option<&str>) -> Result<String, LabError> {
    let to = match place {
        None => server.connector_export(),
        Some(place) => {
            let folder = server.connector_exports();
            std::fs::create_dir_all(&folder)
                .attempting(|| format!("make `{}`", folder.display()))?;
            folder.join(place)
        }
    };
    if to.exists() {
        return Ok(format!("The file {} already exists.", to.display()));
    }
    let export = Export {
        mailbox: Database::read(server)?.and_then(|store| store.mailbox()),
        settings: registry::of(server)?.of_service(ims::SERVICE),
    };
    whole_file::write_json(&to, &export)?;
    Ok(format!("connector settings exported to {}", to.display()))
}

/// Compares the connector with its last export; changes nothing.
///
/// # Errors
/// Where one of the two cannot be read.
pub fn compare(server: &ServerDir) -> Result<String, LabError> {
    let export = last_export(server)?;
    let now = Database::read(server)?.and_then(|store| store.mailbox());
    let settings = registry::of(server)?.of_service(ims::SERVICE);
    Ok(if now.is_none() {
        "connector missing".to_owned()
    } else if now == export.mailbox {
        "the connector is the exported one".to_owned()
    } else if settings != export.settings {
        format!("other settings than exported: {settings}")
    } else {
        "connector recreated with the exported settings".to_owned()
    })
}

/// Deletes the connector: its settings, its mailbox with all that is in it; In, Out and queue.dat are moved
/// aside. Returns whether its mailbox is listed still.
///
/// # Errors
/// Where its service runs, or a file cannot be changed.
pub fn delete(server: &ServerDir) -> Result<bool, LabError> {
    refuse_while_running(server, "delete the connector")?;
    for folder in [server.mts_in(), server.mts_out()] {
        for file in spooled(&folder)? {
            let path = folder.join(file.name.as_str());
            std::fs::remove_file(&path).attempting(|| format!("delete `{}`", path.display()))?;
        }
    }
    let mut database = Database::of(server)?;
    database.delete_mailbox();
    database.write(server)?;
    let aside = server.moved_aside();
    std::fs::create_dir_all(&aside).attempting(|| format!("make `{}`", aside.display()))?;
    // Each time elsewhere: nothing that was moved aside before is touched.
    let aside = tempfile::Builder::new()
        .disable_cleanup(true)
        .tempdir_in(&aside)
        .attempting(|| format!("make a folder in `{}`", aside.display()))?;
    for (from, name) in [
        (server.inbound(), "In"),
        (server.outbound(), "Out"),
        (server.queue_dat(), "queue.dat"),
    ] {
        if from.exists() {
            let to = aside.path().join(name);
            store::rename_new(&from, &to)?;
        }
    }
    let registry = Registry::read(&server.registry())?.without(ims::SERVICE);
    whole_file::write(&server.registry(), registry.text().as_bytes())?;
    Ok(database.lists_deleted())
}

/// Makes the connector anew, with the settings of its last export.
///
/// # Errors
/// Where there is no export, or a file cannot be changed.
pub fn create(server: &ServerDir) -> Result<(), LabError> {
    refuse_while_running(server, "make the connector")?;
    let export = last_export(server)?;
    let registry = Registry::read(&server.registry())?.with(&export.settings)?;
    whole_file::write(&server.registry(), registry.text().as_bytes())?;
    let mut store = Database::of(server)?;
    store.make_mailbox();
    store.write(server)
}

fn refuse_while_running(server: &ServerDir, attempted: &str) -> Result<(), LabError> {
    if service_manager::state(server, ims::SERVICE)? == Some(State::Stopped) {
        return Ok(());
    }
    Err(LabError::Refused {
        attempted: attempted.to_owned(),
        reason: "its service is not stopped".to_owned(),
    })
}

fn last_export(server: &ServerDir) -> Result<Export, LabError> {
    let folder = server.connector_exports();
    let attempted = || format!("find an export in `{}`", folder.display());
    let mut exports: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(&folder).attempting(attempted)? {
        let entry = entry.attempting(attempted)?;
        let written = entry.metadata().and_then(|meta| meta.modified());
        exports.push((written.attempting(attempted)?, entry.path()));
    }
    let (_, last) = exports.into_iter().max().ok_or_else(|| LabError::Refused {
        attempted: attempted(),
        reason: "there is none".to_owned(),
    })?;
    read(&last)
}

fn read(path: &Path) -> Result<Export, LabError> {
    let bytes = std::fs::read(path).attempting(|| format!("read `{}`", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| LabError::Malformed {
        what: format!("`{}`", path.display()),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::database::FolderDamage;

    #[test]
    fn settings_are_exported_and_never_over_an_earlier_export() {
        let folder = tempfile::tempdir().unwrap();
        let server = ServerDir::new(folder.path());
        server.lay_out().unwrap();
        assert!(export(&server, Some("a")).is_err(), "there is no registry");
        let registry = Registry::as_set_up(&server, 15);
        std::fs::write(server.registry(), registry.text()).unwrap();
        Database::damaged(FolderDamage::Folder)
            .write(&server)
            .unwrap();
        assert!(compare(&server).is_err(), "there is no export");
        let said = |place| export(&server, place).unwrap();
        for place in [None, Some("a")] {
            assert!(said(place).starts_with("connector settings exported"));
            assert!(said(place).ends_with("already exists."));
        }
        assert_eq!(
            compare(&server).unwrap(),
            "the connector is the exported one"
        );
        let mut store = Database::of(&server).unwrap();
        store.delete_mailbox();
        store.write(&server).unwrap();
        assert_eq!(compare(&server).unwrap(), "connector missing");
        store.make_mailbox();
        store.write(&server).unwrap();
        assert!(compare(&server).unwrap().starts_with("connector recreated"));
        std::fs::write(server.registry(), registry.without(ims::SERVICE).text()).unwrap();
        assert!(compare(&server).unwrap().starts_with("other settings"));
        let kept = read(&server.connector_exports().join("a"))
            .unwrap()
            .settings;
        let again = registry.without(ims::SERVICE).with(&kept).unwrap();
        assert_eq!(
            again.number(ims::SERVICE, "RouteCalculationInterval"),
            Some(15)
        );
    }
}
