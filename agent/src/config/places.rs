//! Where an agent's files are unless it is told otherwise.

use std::path::PathBuf;

/// One of the agent's files or folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The configuration file: `agent.toml`.
    Configuration,
    /// The guard file: `guard.toml`.
    Guard,
    /// The data folder.
    Data,
}

impl Place {
    /// Where it is by the custom of the machine: below `/etc/mailmend` and `/var/lib/mailmend`, or all of it
    /// below `mailmend` in the ProgramData folder of Windows.
    #[must_use]
    pub fn standard(self) -> PathBuf {
        #[cfg(not(windows))]
        return PathBuf::from(match self {
            Self::Configuration => "/etc/mailmend/agent.toml",
            Self::Guard => "/etc/mailmend/guard.toml",
            Self::Data => "/var/lib/mailmend/agent",
        });
        #[cfg(windows)]
        {
            let common = std::env::var_os("ProgramData").filter(|folder| !folder.is_empty());
            let folder = PathBuf::from(common.unwrap_or_else(|| r"C:\ProgramData".into()));
            folder.join("mailmend").join(match self {
                Self::Configuration => "agent.toml",
                Self::Guard => "guard.toml",
                Self::Data => "data",
            })
        }
    }
}
