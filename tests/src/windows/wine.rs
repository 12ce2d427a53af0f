//! Wine, with a Windows of its own in a folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::packages::{WINE, WINESERVER};
use crate::lab_error::{Attempting, LabError};

/// A Windows in a folder. Programs in it share its registry and its services.
#[derive(Debug)]
pub struct Wine {
    prefix: PathBuf,
}

impl Wine {
    /// Sets one up, or takes the one that is there.
    ///
    /// # Errors
    /// Where it cannot be set up.
    pub fn prepare(prefix: &Path, say: &dyn Fn(&str)) -> Result<Self, LabError> {
        let wine = Self {
            prefix: prefix.to_path_buf(),
        };
        if !wine.drive().join("windows/system32/services.exe").exists() {
            say("setting up Wine");
            std::fs::create_dir_all(prefix)
                .attempting(|| format!("make `{}`", prefix.display()))?;
            wine.run(Path::new("wineboot.exe"), &["--init"])?;
        }
        Ok(wine)
    }

    /// The folder that is `C:\` there.
    #[must_use]
    pub fn drive(&self) -> PathBuf {
        self.prefix.join("drive_c")
    }

    /// A program of Windows, not started yet.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(WINE);
        command
            .arg(program)
            .env("WINEPREFIX", &self.prefix)
            .env("WINEDEBUG", "-all")
            // It has no screen, and asks nobody whether to install anything.
            .env_remove("DISPLAY")
            .env("WINEDLLOVERRIDES", "mscoree,mshtml=")
            .stdin(Stdio::null());
        command
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
