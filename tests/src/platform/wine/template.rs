//! A Windows of Wine's that nothing runs in: every Windows of the lab is a copy of one.
//!
//! Wine sets a folder up when the first program runs in it: that program's start runs `wineboot --init`, and
//! waits for it. Who calls `wineboot --init` himself runs it a second time in that session, and each has started a
//! service control manager. A service that is made by the one is then not known to the other (1060), and what
//! a service reports to the other the one never hears (1053). So any other program is the first here, the session
//! in which Wine was set up serves for nothing else, and a second one has to stand before the folder has its name.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{command, end, launch};
use crate::lab_error::{Attempting, LabError};
use crate::windows::{WINE as LOADER, WINESERVER as KEEPER};

/// What of the folder of a Windows is written to, besides `drive_c`.
const OWN: [&str; 5] = [
    "dosdevices",
    "system.reg",
    "user.reg",
    "userdef.reg",
    ".update-timestamp",
];

/// A Windows to copy.
#[derive(Debug, Clone)]
pub struct Template {
    folder: PathBuf,
}

impl Template {
    /// The template beside the programs for Windows, set up unless it is there already.
    ///
    /// # Errors
    /// Where Wine is missing, or does not set it up.
    pub fn beside(programs: &Path, say: &dyn Fn(&str)) -> Result<Self, LabError> {
        if !Path::new(LOADER).exists() {
            return Err(LabError::Refused {
                attempted: format!("run `{LOADER}`"),
                reason: "Wine is not there: `apt-get install wine64` as root".to_owned(),
            });
        }
        // Wine wants whole paths.
        let programs = std::path::absolute(programs)
            .attempting(|| format!("find `{}`", programs.display()))?;
        std::fs::create_dir_all(&programs)
            .attempting(|| format!("make `{}`", programs.display()))?;
        let set_up = |folder: &Path| {
            say("setting up Wine");
            set_up(folder)
        };
        Self::whole(programs.join("wine"), &set_up)
    }

    /// The template in a folder, made there unless it is there. It has its name when it is whole: one that was
    /// begun and not finished is never taken for it, and is made anew.
    fn whole(
        folder: PathBuf,
        set_up: &dyn Fn(&Path) -> Result<(), LabError>,
    ) -> Result<Self, LabError> {
        let attempted = || format!("set a Windows up in `{}`", folder.display());
        let lock = folder.with_extension("lock");
        let lock = File::create(lock).attempting(attempted)?;
        // One makes it, the others wait for it.
        lock.lock().attempting(attempted)?;
        if !folder.exists() {
            let begun = folder.with_extension("begun");
            discard(&begun)?;
            std::fs::create_dir(&begun).attempting(attempted)?;
            set_up(&begun)?;
            #[expect(
                clippy::disallowed_methods,
                reason = "no message: nothing is at the new name, and the lock keeps it so"
            )]
            std::fs::rename(&begun, &folder).attempting(attempted)?;
        }
        Ok(Self { folder })
    }

    /// Makes a Windows of its own in a folder that has none yet.
    ///
    /// # Errors
    /// Where it cannot be copied.
    pub fn copy_to(&self, wine: &Path) -> Result<(), LabError> {
        let attempted = || format!("make a Windows in `{}`", wine.display());
        std::fs::create_dir_all(wine).attempting(attempted)?;
        // Nothing writes to the files of Windows itself, and there are hundreds of megabytes of them.
        let linked = copy(&["-al"], &self.folder.join("drive_c"), wine)?
            || copy(&["-a"], &self.folder.join("drive_c"), wine)?;
        let mut whole = linked;
        for name in OWN {
            whole = whole && copy(&["-a"], &self.folder.join(name), wine)?;
        }
        if whole {
            return Ok(());
        }
        Err(LabError::Refused {
            attempted: attempted(),
            reason: format!("`{}` could not be copied", self.folder.display()),
        })
    }
}

/// Ends what runs in a Windows that was begun, and removes it.
fn discard(begun: &Path) -> Result<(), LabError> {
    if !begun.exists() {
        return Ok(());
    }
    end(begun);
    #[expect(
        clippy::disallowed_methods,
        reason = "a Windows that nobody has used: no message was ever in it"
    )]
    std::fs::remove_dir_all(begun).attempting(|| format!("remove `{}`", begun.display()))
}

/// Sets a Windows up, in one session, and sees that a second one starts.
fn set_up(folder: &Path) -> Result<(), LabError> {
    session(folder, "cmd.exe", &["/c", "exit"])?;
    for name in ["drive_c", "dosdevices", "system.reg", ".update-timestamp"] {
        if !folder.join(name).exists() {
            return Err(LabError::Refused {
                attempted: format!("set a Windows up in `{}`", folder.display()),
                reason: format!("Wine has made no `{name}` there"),
            });
        }
    }
    // Not a service of ours: one that this Windows has by itself.
    session(folder, "sc.exe", &["query", "RpcSs"])
}

/// Runs a program, and waits until it and everything that was started with it has ended: what is copied must
/// not be written to, and the registry is written at the end.
fn session(folder: &Path, program: &str, arguments: &[&str]) -> Result<(), LabError> {
    let attempted = || format!("run `{program}` in `{}`", folder.display());
    let ran = command(&launch(folder, Path::new(program)))
        .args(arguments)
        .stdout(Stdio::null())
        .status()
        .attempting(attempted)?;
    let ended = Command::new(KEEPER)
        .arg("--wait")
        .env("WINEPREFIX", folder)
        .stdin(Stdio::null())
        .status()
        .attempting(attempted)?;
    if ran.success() && ended.success() {
        return Ok(());
    }
    Err(LabError::Refused {
        attempted: attempted(),
        reason: format!("it ended with {ran}, and Wine with {ended}"),
    })
}

fn copy(how: &[&str], from: &Path, to: &Path) -> Result<bool, LabError> {
    let status = Command::new("cp")
        .args(how)
        .arg(from)
        .arg(to)
        .stdin(Stdio::null())
        .status()
        .attempting(|| format!("copy `{}`", from.display()))?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_windows_that_was_begun_and_not_finished_is_made_anew() {
        let scratch = tempfile::tempdir().unwrap();
        let wine = scratch.path().join("wine");
        let killed = |folder: &Path| {
            std::fs::write(folder.join("half"), "").unwrap();
            Err(LabError::Refused {
                attempted: "set it up".to_owned(),
                reason: "killed".to_owned(),
            })
        };
        assert!(Template::whole(wine.clone(), &killed).is_err());
        assert!(!wine.exists());
        let made = Cell::new(0);
        let whole = |folder: &Path| {
            assert!(!folder.join("half").exists());
            std::fs::write(folder.join("system.reg"), "").unwrap();
            made.set(made.get() + 1);
            Ok(())
        };
        for _ in 0..2 {
            let template = Template::whole(wine.clone(), &whole).unwrap();
            assert!(template.folder.join("system.reg").exists());
        }
        assert_eq!(made.get(), 1);
    }
}
