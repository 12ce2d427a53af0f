//! Wine, with a Windows of its own in a folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::packages::WINESERVER;
use crate::lab_error::{Attempting, LabError};
use crate::platform::wine::{self, Template};

/// A Windows in a folder. Programs in it share its registry and its services.
#[derive(Debug)]
pub struct Wine {
    prefix: PathBuf,
}

impl Wine {
    /// Makes one in a folder that has none yet. `programs` is the folder with the programs for Windows.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn prepare(programs: &Path, prefix: &Path, say: &dyn Fn(&str)) -> Result<Self, LabError> {
        Template::beside(programs, say)?.copy_to(prefix)?;
        Ok(Self {
            prefix: prefix.to_path_buf(),
        })
    }

    /// The folder that is `C:\` there.
    #[must_use]
    pub fn drive(&self) -> PathBuf {
        self.prefix.join("drive_c")
    }

    /// A program of Windows, not started yet.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        wine::command(&wine::launch(&self.prefix, program))
    }

    /// Runs a program of Windows to its end.
    ///
    /// # Errors
    /// Where it cannot be started or does not succeed.
    pub fn run(&self, program: &Path, arguments: &[&str]) -> Result<(), LabError> {
        let attempted = || format!("run `{}` under Wine", program.display());
        let status = self
            .command(program)
            .args(arguments)
            .status()
            .attempting(attempted)?;
        if status.success() {
            return Ok(());
        }
        Err(LabError::Refused {
            attempted: attempted(),
            reason: format!("it ended with {status}"),
        })
    }
}

impl Drop for Wine {
    fn drop(&mut self) {
        // Its services go on for a while; whoever removes the folder, or counts processes, wants them gone.
        let _ = Command::new(WINESERVER)
            .args(["--kill", "--wait"])
            .env("WINEPREFIX", &self.prefix)
            .stdin(Stdio::null())
            .status();
    }
}
