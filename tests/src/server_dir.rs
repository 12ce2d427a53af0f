//! The folder of one server: where everything of it is.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::clock_factor::ClockFactor;
use crate::lab_error::{Attempting, LabError};
use crate::spool::SpoolName;
use crate::whole_file;

/// Which way an IMS carries mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// In and out.
    Both,
    /// Out only.
    Outbound,
}

impl Direction {
    /// The value of the fact `ims.direction`.
    #[must_use]
    pub fn fact(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Outbound => "outbound",
        }
    }
}

/// What a server's processes need to know at start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerConfig {
    /// The server's name.
    pub name: String,
    /// The site's name.
    pub site: String,
    /// The site's directory: a JSON file with the routes as they should be.
    pub directory: PathBuf,
    /// Which way its IMS carries mail.
    pub direction: Direction,
    /// How much faster than life the clock runs.
    pub clock_factor: ClockFactor,
    /// How many outbound connections the IMS opens at once, 1 to 64.
    pub connections: usize,
    /// Whether the IMS keeps archival copies in `In\Archive` and `Out\Archive`.
    pub archive: bool,
    /// Whether every recalculation of routing says that it succeeded and changes nothing (Q182798).
    #[serde(default)]
    pub recalculates_falsely: bool,
    /// The build of Exchange; what begins with `4.` writes the records of 4.0.
    #[serde(default = "usual_build")]
    pub build: String,
}

/// The build of a server that is not said to be another.
pub(crate) fn usual_build() -> String {
    "5.0.1458.49".to_owned()
}

impl ServerConfig {
    /// Whether it is Exchange 4.0, which tracks neither 1010 to 1018 nor what left (Q173364).
    #[must_use]
    pub fn is_4_0(&self) -> bool {
        self.build.starts_with("4.")
    }
}

/// The folder of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerDir {
    root: PathBuf,
}

macro_rules! places {
    ($($(#[$doc:meta])* $name:ident = $path:literal;)*) => {
        $($(#[$doc])* #[must_use] pub fn $name(&self) -> PathBuf { self.below($path) })*
    };
}

impl ServerDir {
    /// The folder at a path.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A place below the folder, written as this machine writes paths.
    fn below(&self, place: &str) -> PathBuf {
        let mut path = self.root.clone();
        path.extend(place.split('/'));
        path
    }

    places! {
        /// What the server's processes read at start.
        config_file = "server.json";
        /// The exported settings of the connector, without a place of their own.
        connector_export = "exchsrvr/imcdata/connector-export.toml";
        /// The exports of the connector's settings that have a place of their own.
        connector_exports = "exchsrvr/imcdata/Exported";
        /// What imcsave has saved in places of their own.
        imcsave_places = "exchsrvr/imcdata/Saved";
        /// Where In, Out and queue.dat are put when the service is deleted.
        moved_aside = "exchsrvr/imcdata-aside";
        /// While it is there imcsave stops after its first message: a large store takes hours in life.
        imcsave_waits = "imcsave-waits";
        /// The private store.
        private_store = "exchsrvr/mdbdata/PRIV.EDB";
        /// What eseutil writes it to.
        defragmenting = "exchsrvr/mdbdata/TEMPDFRG.EDB";
        /// What isinteg found.
        isinteg_log = "exchsrvr/mdbdata/isinteg.log";
        /// Full backups of the store, on another volume in life.
        store_backups = "store-backups";
        /// How many bytes the volume of the store holds, where it is smaller than the disk below it.
        store_volume = "store-volume";
        /// There when the virus scanner leaves the mailbox of the IMS alone.
        scanner_excluded = "scanner-excluded";
        /// The counters of the IMS.
        counters = "counters";
        /// The registry.
        registry = "registry.toml";
        /// The event log.
        events = "events.log";
        /// The service manager's socket.
        manager_socket = "scm.sock";
        /// The socket at which the MTA takes requests to recalculate.
        mta_socket = "mta.sock";
        /// Under Windows: the port at which it takes them.
        mta_port = "mta-port";
        /// What is wrong with the server; its own processes alone read it.
        faults = "faults.json";
        /// How often the IMS of a server with faults was started.
        ims_starts = "ims-starts";
        /// What is wrong with the MTA's database; the lab's processes and tools alone read it.
        mta_damage = "mta-damage.json";
        /// The server's replica of the site's routing table.
        replica = "directory-replica.json";
        /// The port at which the IMS takes mail, once it has one.
        smtp_port = "smtp-port";
        /// What the processes of the server print.
        output = "output.log";
        /// The Windows of a server that runs in Wine.
        wine = "wine";
        /// Where Exchange is.
        exchsrvr = "exchsrvr";
        /// The IMS's folder.
        imcdata = "exchsrvr/imcdata";
        /// Inbound messages awaiting conversion.
        inbound = "exchsrvr/imcdata/In";
        /// Archived inbound messages.
        inbound_archive = "exchsrvr/imcdata/In/Archive";
        /// Outbound messages awaiting delivery.
        outbound = "exchsrvr/imcdata/Out";
        /// Archived outbound messages.
        outbound_archive = "exchsrvr/imcdata/Out/Archive";
        /// Messages being received.
        work = "exchsrvr/imcdata/Work";
        /// The SMTP logs and Route.txt.
        log = "exchsrvr/imcdata/Log";
        /// The routing that the IMS has loaded.
        route_txt = "exchsrvr/imcdata/Log/Route.txt";
        /// The queue's state.
        queue_dat = "exchsrvr/imcdata/queue.dat";
        /// The MTA's folder.
        mtadata = "exchsrvr/mtadata";
        /// The MTA's routing table as text.
        gwart = "exchsrvr/mtadata/GWART0.MTA";
        /// The one before.
        gwart_previous = "exchsrvr/mtadata/GWART1.MTA";
        /// What mtacheck said last.
        mtacheck_log = "exchsrvr/mtadata/mtacheck.log";
        /// What mtacheck took out of the database.
        mtacheck_out = "exchsrvr/mtadata/Mtacheck.out";
        /// Copies of the MTA's database.
        mtadata_saved = "exchsrvr/mtadata-saved";
        /// What imcsave has saved.
        imcsave_backup = "exchsrvr/imcdata/Backup";
        /// The tracking logs.
        tracking = "exchsrvr/tracking.log";
        /// The store's folder of outbound messages awaiting conversion.
        mts_out = "exchsrvr/mdbdata/MTS-OUT";
        /// The store's folder of inbound messages awaiting delivery.
        mts_in = "exchsrvr/mdbdata/MTS-IN";
        /// The IMS's program; `msexcimc.exe` under Windows.
        ims_program = "exchsrvr/connect/msexcimc/bin/msexcimc";
        /// The MTA's program; `emsmta.exe` under Windows.
        mta_program = "exchsrvr/bin/emsmta";
        /// Where an agent keeps what it holds, on the same volume as the spool.
        held = "exchsrvr/mailmend-held";
        /// The data folder of the server's agent.
        agent = "agent";
    }

    /// Under Windows: what the process of a service holds open for itself alone as long as it lives.
    #[must_use]
    pub fn life_of(&self, service: &str) -> PathBuf {
        self.root.join(format!("{service}.alive"))
    }

    /// Makes the folders of a new server.
    ///
    /// # Errors
    /// Where they cannot be made.
    pub fn lay_out(&self) -> Result<(), LabError> {
        let programs = [self.ims_program(), self.mta_program()];
        let folders = [
            self.inbound_archive(),
            self.outbound_archive(),
            self.work(),
            self.log(),
            self.mtadata(),
            self.tracking(),
            self.mts_out(),
            self.mts_in(),
            self.agent(),
        ];
        let of_programs = programs.iter().filter_map(|program| program.parent());
        for folder in folders.iter().map(PathBuf::as_path).chain(of_programs) {
            std::fs::create_dir_all(folder)
                .attempting(|| format!("make the folder `{}`", folder.display()))?;
        }
        Ok(())
    }

    /// Reads what the server's processes need to know.
    ///
    /// # Errors
    /// Where it cannot be read or makes no sense.
    pub fn config(&self) -> Result<ServerConfig, LabError> {
        let path = self.config_file();
        let bytes = std::fs::read(&path).attempting(|| format!("read `{}`", path.display()))?;
        serde_json::from_slice(&bytes).map_err(|error| LabError::Malformed {
            what: format!("`{}`", path.display()),
            reason: error.to_string(),
        })
    }

    /// Writes what the server's processes need to know.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_config(&self, config: &ServerConfig) -> Result<(), LabError> {
        whole_file::write_json(&self.config_file(), config)
    }
}

/// A spool file in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spooled {
    /// Its name.
    pub name: SpoolName,
    /// When its content was written, which a move does not change.
    pub written: SystemTime,
}

/// The spool files of a folder, top level only, oldest first. A folder that is not there has none.
///
/// # Errors
/// Where the folder cannot be read.
pub fn spooled(folder: &Path) -> Result<Vec<Spooled>, LabError> {
    let attempted = || format!("list `{}`", folder.display());
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => Err(error).attempting(attempted)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.attempting(attempted)?;
        let Some(name) = entry.file_name().to_str().and_then(SpoolName::parse) else {
            continue;
        };
        // A file that went away since it was listed was sent or moved: it is not here.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_file() {
            let written = metadata.modified().attempting(attempted)?;
            found.push(Spooled { name, written });
        }
    }
    found.sort_by(|a, b| (a.written, &a.name).cmp(&(b.written, &b.name)));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_spool_files_at_the_top_level_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["ABCDEFG1", "ABCDEFG2", "notaname", "queue.dat"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        std::fs::create_dir(folder.path().join("ARCHIVE1")).unwrap();
        std::fs::create_dir(folder.path().join("Archive")).unwrap();
        std::fs::write(folder.path().join("Archive/ABCDEFG3"), "x").unwrap();
        let names: Vec<_> = spooled(folder.path())
            .unwrap()
            .into_iter()
            .map(|file| file.name.to_string())
            .collect();
        assert_eq!(names, ["ABCDEFG1", "ABCDEFG2"]);
        assert_eq!(spooled(&folder.path().join("nowhere")).unwrap(), []);
    }
}
