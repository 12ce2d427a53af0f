//! The MTA's database: `DBnnnnnn.DAT` in Mtadata, and what is wrong with it.
//!
//! A message that the MTA has not handed to the store yet is a file of its own. While an object is damaged
//! nothing behind it is handed over.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;
use crate::spool::{SpoolMessage, SpoolName};
use crate::store;
use crate::whole_file;

/// The object that is damaged: its number in events and in what mtacheck says. The file is named by its last
/// six digits (Q231685).
pub const DAMAGED: &str = "06000034";

/// What is wrong with a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Damage {
    /// A queue has to be built anew; it hides the damaged object from a check.
    queue: bool,
    /// An object cannot be read.
    object: bool,
    /// Nothing can repair it.
    hopeless: bool,
    /// Objects without which the MTA does not start are missing.
    boot_environment: bool,
}

/// What one pass of mtacheck came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Nothing was wrong.
    Clean,
    /// A queue was built anew.
    Queue,
    /// This object was taken out.
    Object(&'static str),
    /// It cannot be repaired.
    Hopeless,
    /// Objects of the boot environment are missing.
    BootEnvironment,
}

impl Damage {
    /// A damaged queue, and behind it a damaged object: a check needs two passes, and one to see that the
    /// database is clean.
    #[must_use]
    pub fn in_two_places() -> Self {
        Self {
            queue: true,
            object: true,
            ..Self::default()
        }
    }

    /// What mtacheck cannot repair.
    #[must_use]
    pub fn hopeless() -> Self {
        Self {
            object: true,
            hopeless: true,
            ..Self::default()
        }
    }

    /// Whether anything is wrong.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }

    /// What is wrong with a server's database; without a file nothing is.
    ///
    /// # Errors
    /// Where the file cannot be read or makes no sense.
    pub fn read(server: &ServerDir) -> Result<Self, LabError> {
        let path = server.mta_damage();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => Err(error).attempting(|| format!("read `{}`", path.display()))?,
        };
        serde_json::from_slice(&bytes).map_err(|error| LabError::Malformed {
            what: format!("`{}`", path.display()),
            reason: error.to_string(),
        })
    }

    /// Damages a server's database so; the damaged object is made.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(self, server: &ServerDir) -> Result<(), LabError> {
        if self.object {
            let object = object(server);
            std::fs::write(&object, b"\0damaged")
                .attempting(|| format!("write `{}`", object.display()))?;
        }
        whole_file::write_json(&server.mta_damage(), &self)
    }

    /// One pass of mtacheck: repairs the next thing that is wrong.
    ///
    /// # Errors
    /// Where the database cannot be written.
    pub fn repair(mut self, server: &ServerDir) -> Result<Repair, LabError> {
        if self.hopeless {
            return Ok(Repair::Hopeless);
        }
        if self.boot_environment {
            return Ok(Repair::BootEnvironment);
        }
        let repair = if self.queue {
            self.queue = false;
            Repair::Queue
        } else if self.object {
            take_out(server)?;
            self.object = false;
            Repair::Object(DAMAGED)
        } else {
            return Ok(Repair::Clean);
        };
        whole_file::write_json(&server.mta_damage(), &self)?;
        Ok(repair)
    }
}

fn object(server: &ServerDir) -> PathBuf {
    server.mtadata().join(format!("DB{}.DAT", &DAMAGED[2..]))
}

fn take_out(server: &ServerDir) -> Result<(), LabError> {
    let out = server.mtacheck_out();
    let object = object(server);
    let attempted = || format!("take `{}` out of the database", object.display());
    std::fs::create_dir_all(&out).attempting(attempted)?;
    std::fs::copy(&object, out.join(object.file_name().unwrap_or_default()))
        .attempting(attempted)?;
    std::fs::remove_file(&object).attempting(attempted)
}

/// Puts a message into the database, as number `number` of those that wait there.
///
/// # Errors
/// Where it cannot be written.
pub fn put(server: &ServerDir, number: usize, message: &SpoolMessage) -> Result<(), LabError> {
    // The first numbers are the core's; a message comes after the damaged object.
    let path = server
        .mtadata()
        .join(format!("DB{:06X}.DAT", 0x40 + number));
    whole_file::write(&path, &message.encode())
}

/// How many messages wait in the database.
///
/// # Errors
/// Where it cannot be read.
pub fn waiting(server: &ServerDir) -> Result<usize, LabError> {
    let own = object(server);
    Ok(objects(server)?.iter().filter(|path| **path != own).count())
}

fn objects(server: &ServerDir) -> Result<Vec<PathBuf>, LabError> {
    let folder = server.mtadata();
    let listed =
        std::fs::read_dir(&folder).attempting(|| format!("list `{}`", folder.display()))?;
    let is_object = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "DAT");
    let mut objects: Vec<PathBuf> = listed
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(is_object)
        .collect();
    objects.sort();
    Ok(objects)
}

/// Hands every waiting message to MTS-OUT, oldest first. Returns how many; none while anything is damaged.
///
/// # Errors
/// Where the database or the store cannot be read or written.
pub fn hand_over(server: &ServerDir) -> Result<usize, LabError> {
    if Damage::read(server)?.any() {
        return Ok(0);
    }
    let mut handed = 0;
    for object in objects(server)? {
        let attempted = || format!("hand `{}` to the store", object.display());
        let message = SpoolMessage::parse(&std::fs::read(&object).attempting(attempted)?)?;
        let own = message.mts_id.get(message.mts_id.len().saturating_sub(8)..);
        let Some(name) = own.and_then(SpoolName::parse) else {
            continue;
        };
        store::take_in(&object, &server.mts_out(), &name)?;
        handed += 1;
    }
    Ok(handed)
}
