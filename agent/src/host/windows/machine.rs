//! Which machine is meant: this one, or an old server beside it.
//!
//! Windows NT 4 and 2000 cannot run a modern program. An agent on a present-day Windows reaches such a
//! server through what Windows itself offers over the network: its service manager, its registry, its
//! event log, and its disks as shares.

use std::ffi::OsString;
use std::fmt;
use std::path::{Component, Path, PathBuf, Prefix};

use super::path::wide;
use crate::host::{HostError, HostErrorKind, MachineName};

/// The machine that a call is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Machine {
    /// The one that the agent runs on.
    #[default]
    Local,
    /// Another one, by its name in the network.
    Remote(MachineName),
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("this machine"),
            Self::Remote(name) => write!(f, r"\\{name}"),
        }
    }
}

impl Machine {
    /// `\\NAME` for a call of Windows, `None` for this machine.
    pub(super) fn address(&self) -> Option<OsString> {
        match self {
            Self::Local => None,
            Self::Remote(name) => Some(format!(r"\\{name}").into()),
        }
    }

    /// The same in the letters of Windows.
    pub(super) fn wide_address(&self) -> Option<Vec<u16>> {
        self.address().map(wide)
    }

    /// Whether it is another one.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// Where a path of that machine is found from here: `C:\exchsrvr` of another machine is
    /// `\\NAME\C$\exchsrvr`, through the share that Windows makes for administrators.
    ///
    /// # Errors
    /// `Malformed` where the path is no absolute path on a drive of that machine.
    pub fn path_here(&self, path: &Path) -> Result<PathBuf, HostError> {
        let Self::Remote(name) = self else {
            return Ok(path.to_path_buf());
        };
        let mut parts = path.components();
        let drive = match (parts.next(), parts.next()) {
            (Some(Component::Prefix(prefix)), Some(Component::RootDir)) => match prefix.kind() {
                Prefix::Disk(letter) => Some(char::from(letter.to_ascii_uppercase())),
                _ => None,
            },
            _ => None,
        };
        let Some(drive) = drive else {
            return Err(HostError::unchanged(
                HostErrorKind::Malformed,
                format!("find `{}` of `{name}` from here", path.display()),
                "it is no path on a drive of that machine, such as `C:\\exchsrvr`",
            ));
        };
        let mut here = PathBuf::from(format!(r"\\{name}\{drive}$\"));
        here.extend(parts);
        Ok(here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_another_machine_is_reached_through_its_administrative_share() {
        let oslo = Machine::Remote("OSLO-B".parse().unwrap());
        let here = oslo.path_here(Path::new(r"d:\exchsrvr\imcdata")).unwrap();
        assert_eq!(here, Path::new(r"\\OSLO-B\D$\exchsrvr\imcdata"));
        for no_drive in [
            r"\\other\share\x",
            "imcdata",
            r"\imcdata",
            "D:imcdata",
            r"\\.\D:",
        ] {
            let error = oslo.path_here(Path::new(no_drive)).unwrap_err();
            assert_eq!(error.kind, HostErrorKind::Malformed, "{no_drive}");
        }
        assert_eq!(oslo.address().unwrap(), r"\\OSLO-B");
        let local = Path::new(r"D:\exchsrvr\imcdata");
        assert_eq!(Machine::Local.path_here(local).unwrap(), local);
    }
}
