//! What the servers of a world run on: this Linux, or for each a Windows of its own that Wine makes.
//!
//! The controller, the peers and the truth are on Linux always, and so is whoever asks and orders the services
//! of a server: [`crate::service_manager`].

pub mod wine;

use std::path::{Path, PathBuf};
use std::process::Command;

use wine::Windows;

use crate::lab_error::{Attempting, LabError};
use crate::programs::Programs;
use crate::server_dir::ServerDir;

/// What the servers of a world run on.
#[derive(Debug, Clone, Default)]
pub enum Platform {
    /// This Linux.
    #[default]
    Linux,
    /// Windows, as Wine makes it.
    Wine(Windows),
}

/// How a program of a server is started from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its first arguments; what it is told comes after them.
    pub arguments: Vec<String>,
    /// What its environment has besides.
    pub environment: Vec<(String, String)>,
}

impl Platform {
    /// A path of this machine, as the server writes it.
    #[must_use]
    pub fn written(&self, path: &Path) -> String {
        match self {
            Self::Linux => path.display().to_string(),
            Self::Wine(_) => wine::written(path),
        }
    }

    /// The lab's own program, as the server writes it.
    #[must_use]
    pub fn lab(&self, programs: &Programs) -> String {
        match self {
            Self::Linux => self.written(&programs.lab),
            Self::Wine(windows) => self.written(&windows.lab),
        }
    }

    /// Gives a server that has its folders and settings what its services are made of. `program` is
    /// `mailmend-lab`.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn set_up(&self, server: &ServerDir, program: &Path) -> Result<(), LabError> {
        match self {
            Self::Linux => {
                install(program, &server.ims_program())?;
                install(program, &server.mta_program())
            }
            Self::Wine(windows) => windows.set_up(server),
        }
    }

    /// The service manager of a server that is set up. `program` is `mailmend-lab`.
    #[must_use]
    pub fn service_manager(&self, server: &ServerDir, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .arg("service-manager")
            .arg("--server-dir")
            .arg(server.root());
        if let Self::Wine(windows) = self {
            command.arg("--windows").arg(&windows.lab);
        }
        command
    }

    /// The agent of a server.
    #[must_use]
    pub fn agent(&self, server: &ServerDir, programs: &Programs) -> Launch {
        match self {
            Self::Linux => Launch {
                program: programs.agent.clone(),
                arguments: Vec::new(),
                environment: Vec::new(),
            },
            Self::Wine(windows) => wine::launch(&server.wine(), &windows.agent),
        }
    }

    /// The section `host` of the configuration of a server's agent.
    #[must_use]
    pub fn host(&self, server: &ServerDir, clock_factor: u32) -> String {
        let quoted = |path: &Path| toml::Value::String(self.written(path)).to_string();
        let logs = format!(
            "events_file = {}\ncounters_file = {}\nlab_clock_factor = {clock_factor}\n",
            quoted(&server.events()),
            quoted(&server.counters()),
        );
        match self {
            Self::Linux => format!(
                "[host]\nprovider = \"unix\"\nservice_socket = {}\nregistry_file = {}\n{logs}",
                quoted(&server.manager_socket()),
                quoted(&server.registry()),
            ),
            // Services and settings are where Windows has them. Its event log is not to be read in Wine.
            Self::Wine(_) => format!("[host]\nprovider = \"windows\"\n{logs}"),
        }
    }
}

/// Gives a service a program file of its own, so that its image tells it from every other.
fn install(program: &Path, place: &Path) -> Result<(), LabError> {
    std::fs::hard_link(program, place)
        .or_else(|_| std::fs::copy(program, place).map(drop))
        .attempting(|| format!("install `{}`", place.display()))
}
