//! mtacheck: one pass over the MTA's database, with one of the four documented verdicts.
//!
//! It says what it found in words, on the screen and in `mtacheck.log`; no exit code is documented. Passes
//! are repeated until one says that the database is clean (Q231275).

use crate::ims;
use crate::lab_error::{Attempting, LabError};
use crate::mta::database::{Damage, Repair};
use crate::server_dir::ServerDir;
use crate::service_manager::{self, State};
use crate::whole_file;

/// Checks and repairs, once.
///
/// # Errors
/// Where the database or the log cannot be written.
pub fn check(server: &ServerDir) -> Result<String, LabError> {
    if let Some(refusal) = in_use(server)? {
        return Ok(refusal);
    }
    let text = pass(server)?;
    whole_file::write(&server.mtacheck_log(), text.as_bytes())?;
    Ok(text)
}

fn pass(server: &ServerDir) -> Result<String, LabError> {
    let clean = "Database clean, no errors detected";
    let repaired = "Database repaired, some data may have been lost";
    Ok(match Damage::read(server)?.repair(server)? {
        Repair::Clean => clean.to_owned(),
        Repair::Queue => format!(
            "Checking queue /O=Contoso/OU=Site/CN=MTA (id 0100002B)\n\
             Queue 'work queue' required reconstruction\n\
             1 queue(s) required repair out of 9 detected\n{repaired}"
        ),
        Repair::Object(object) => format!(
            "Checking object {object}\nObject {object} invalid\nObject removed from queue\n\
             1 object(s) damaged out of 40 detected\n{repaired}"
        ),
        Repair::Hopeless => "Database has serious errors and cannot be reconstructed".to_owned(),
        Repair::BootEnvironment => "Some objects are missing from the Boot Environment".to_owned(),
    })
}

/// Copies the database to a folder of its own.
///
/// # Errors
/// Where it cannot be copied.
pub fn save(server: &ServerDir) -> Result<String, LabError> {
    if let Some(refusal) = in_use(server)? {
        return Ok(refusal);
    }
    let saved = server.mtadata_saved();
    std::fs::create_dir_all(&saved).attempting(|| format!("make `{}`", saved.display()))?;
    let copy = tempfile::Builder::new()
        .prefix("mtadata-")
        .disable_cleanup(true)
        .tempdir_in(&saved)
        .attempting(|| format!("make a folder in `{}`", saved.display()))?;
    let from = server.mtadata();
    let listed = std::fs::read_dir(&from).attempting(|| format!("list `{}`", from.display()))?;
    for entry in listed {
        let entry = entry.attempting(|| format!("list `{}`", from.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name()))
                .attempting(|| format!("save `{}`", entry.path().display()))?;
        }
    }
    Ok(format!("MTA database saved to {}.", copy.path().display()))
}

/// What is said while the MTA is not stopped.
fn in_use(server: &ServerDir) -> Result<Option<String>, LabError> {
    let stopped = service_manager::state(server, ims::MTA)? == Some(State::Stopped);
    Ok((!stopped).then(|| "The MTA is running; stop it first.".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_are_repeated_until_one_says_clean() {
        let folder = tempfile::tempdir().unwrap();
        let server = ServerDir::new(folder.path());
        server.lay_out().unwrap();
        Damage::in_two_places().write(&server).unwrap();
        let damaged = server.mtadata().join("DB000034.DAT");
        let said = |server| pass(server).unwrap();
        assert!(said(&server).contains("1 queue(s) required repair"));
        assert!(damaged.exists());
        let second = said(&server);
        assert!(second.contains("1 object(s) damaged") && second.contains("repaired"));
        assert!(!damaged.exists());
        assert!(server.mtacheck_out().join("DB000034.DAT").exists());
        assert_eq!(said(&server), "Database clean, no errors detected");
        Damage::hopeless().write(&server).unwrap();
        assert!(said(&server).contains("serious errors"));
        assert!(said(&server).contains("serious errors"), "it stays so");
    }
}
