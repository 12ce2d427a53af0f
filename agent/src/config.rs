//! The agent's configuration: flag > environment > file > default, and where each value came from.

mod file;
mod places;
mod show;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mailmend_policy::name::ServerName;

use crate::evidence::log_time::{LogTime, LogTimes};
use crate::host::MachineName;
use crate::toml_file::TomlFaults;

pub use places::Place;
pub use show::Shown;

const DEFAULT_LOOK: Duration = Duration::from_secs(60);

/// All that an agent is told before it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file that was read.
    pub file: PathBuf,
    /// The server's name; also the agent's, and in its certificate.
    pub name: Setting<ServerName>,
    /// The controller's address, `https://HOST:PORT`.
    pub controller: Setting<String>,
    /// The agent's data folder: journal, key, certificate. Absolute.
    pub data: Setting<PathBuf>,
    /// The guard file. Absolute.
    pub guard: Setting<PathBuf>,
    /// How the machine is reached.
    pub host: Setting<HostSettings>,
    /// The time between two looks for symptoms, in uptime.
    pub look_every: Setting<Duration>,
    /// The clock that the SMTP protocol log is stamped by; the tracking log is in UTC by itself.
    pub smtp_log_time: Setting<LogTime>,
    /// The clock that an exported event log is stamped by, where it does not say UTC itself.
    pub event_log_time: Setting<LogTime>,
    /// Facts that the administrator states; each wins over what the agent finds out by itself.
    pub facts: BTreeMap<String, String>,
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// A variable of the environment.
    Environment(&'static str),
    /// A line of the configuration file, from 1.
    File(usize),
    /// Nobody said anything.
    Default,
}

/// How the machine is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum HostSettings {
    /// `provider = "unix"`: Linux, with a service manager behind a socket.
    Unix {
        /// The socket of the service manager.
        service_socket: PathBuf,
        /// The registry, as a TOML file.
        registry_file: PathBuf,
        /// The event log, as a text file.
        events_file: PathBuf,
        /// The counters of the mail service, as a text file; none: nothing is counted.
        counters_file: Option<PathBuf>,
        /// How many times faster than the wall clock time runs; 1 outside the lab.
        clock_factor: f64,
    },
    /// `provider = "windows"`: Windows' own service manager, registry, event log and disks.
    Windows {
        /// The machine that is served, where it is not the one that the agent runs on.
        machine: Option<MachineName>,
        /// The event log as a text file, instead of Windows' own.
        events_file: Option<PathBuf>,
        /// The counters of the mail service, as a text file; none: nothing is counted.
        counters_file: Option<PathBuf>,
        /// Whether messages on another machine's disks may be moved.
        custody_over_smb: bool,
        /// How many times faster than the wall clock time runs; 1 outside the lab.
        clock_factor: f64,
    },
}

/// What the command line or the environment says; each wins over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// The server's name.
    pub name: Option<String>,
    /// The controller's address.
    pub controller: Option<String>,
    /// The data folder.
    pub data: Option<PathBuf>,
    /// The guard file.
    pub guard: Option<PathBuf>,
}

/// The variables of the environment, in the order of [`Overrides`]' fields.
pub const ENVIRONMENT: [&str; 5] = [
    "MAILMEND_AGENT_CONFIG",
    "MAILMEND_AGENT_NAME",
    "MAILMEND_AGENT_CONTROLLER",
    "MAILMEND_AGENT_DATA",
    "MAILMEND_AGENT_GUARD",
];

/// The configuration is not acceptable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "A002-config-unreadable: the configuration `{}` cannot be read: {reason}; name it with `--config FILE` or {}, readable for this account",
        file.display(),
        ENVIRONMENT[0]
    )]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the machine said.
        reason: String,
    },
    /// The file, a flag or a variable has faults.
    #[error(transparent)]
    Faulty(#[from] TomlFaults),
    /// A flag or a variable makes no sense.
    #[error("A001-config-faulty: {from}: {why}")]
    Override {
        /// The flag or the variable.
        from: &'static str,
        /// What is wrong, and what to do.
        why: String,
    },
}

impl Overrides {
    /// What the environment says; `variable` reads one. An empty variable says nothing.
    pub fn from_environment(variable: impl Fn(&'static str) -> Option<String>) -> Self {
        let read = |at: usize| variable(ENVIRONMENT[at]).filter(|text| !text.is_empty());
        Self {
            file: read(0).map(PathBuf::from),
            name: read(1),
            controller: read(2),
            data: read(3).map(PathBuf::from),
            guard: read(4).map(PathBuf::from),
        }
    }
}

impl Config {
    /// Reads the configuration: flags win over the environment, that over the file, that over the
    /// defaults.
    ///
    /// # Errors
    /// Where the file cannot be read, or what is said makes no sense; all faults of the file at once.
    pub fn load(flags: &Overrides, environment: &Overrides) -> Result<Self, ConfigError> {
        let file = flags
            .file
            .as_ref()
            .or(environment.file.as_ref())
            .map_or_else(|| Place::Configuration.standard(), Clone::clone);
        let unreadable = |reason: String| ConfigError::Unreadable {
            file: file.clone(),
            reason,
        };
        let bytes = std::fs::read(&file).map_err(|error| unreadable(error.to_string()))?;
        let text = String::from_utf8(bytes)
            .map_err(|error| unreadable(format!("it is not UTF-8 text: {}", error.utf8_error())))?;
        file::from_text(&file, &text, flags, environment)
    }

    /// The clocks that the server's logs are stamped by.
    #[must_use]
    pub fn log_times(&self) -> LogTimes {
        LogTimes {
            smtp: self.smtp_log_time.value,
            events: self.event_log_time.value,
        }
    }

    /// The journal.
    #[must_use]
    pub fn journal_file(&self) -> PathBuf {
        self.data.value.join("journal.db")
    }
}

/// A path that a person typed: taken from the current folder on, as every program does.
fn typed(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests;
