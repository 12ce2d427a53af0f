//! A Windows for each server, as Wine makes it: a folder of its own with a registry and a service control
//! manager of its own.

mod template;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

pub use self::template::Template;

use super::Launch;
use crate::awaited;
use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;
use crate::tether;
use crate::windows::{WINE as LOADER, WINESERVER as KEEPER};

/// How long all processes of one Windows may take to be gone.
const GONE: Duration = Duration::from_secs(20);
/// Names another folder with the programs for Windows.
pub const PROGRAMS: &str = "MAILMEND_LAB_WINDOWS_PROGRAMS";

/// The programs for Windows, and a Windows to copy.
#[derive(Debug, Clone)]
pub struct Windows {
    /// `mailmend-lab.exe`.
    pub lab: PathBuf,
    /// `mailmend-agent.exe`.
    pub agent: PathBuf,
    /// Each server gets a copy.
    template: Template,
}

impl Windows {
    /// Takes the programs in a folder, and sets a Windows up beside them where there is none yet.
    ///
    /// # Errors
    /// Where one is missing, or Wine is.
    pub fn prepare(programs: &Path, say: &dyn Fn(&str)) -> Result<Self, LabError> {
        // Wine wants whole paths.
        let programs = std::path::absolute(programs)
            .attempting(|| format!("find `{}`", programs.display()))?;
        let find = |name: &str| {
            let path = programs.join(name);
            if path.is_file() {
                return Ok(path);
            }
            Err(LabError::ProgramMissing {
                path,
                variable: PROGRAMS,
            })
        };
        Ok(Self {
            lab: find("mailmend-lab.exe")?,
            agent: find("mailmend-agent.exe")?,
            template: Template::beside(&programs, say)?,
        })
    }

    /// Gives a server a Windows of its own. Its services are made when its service manager starts.
    pub(super) fn set_up(&self, server: &ServerDir) -> Result<(), LabError> {
        self.template.copy_to(&server.wine())
    }
}

/// A path of this machine as Windows programs write it under Wine.
#[must_use]
pub fn written(path: &Path) -> String {
    format!("Z:{}", path.display()).replace('/', "\\")
}

/// The path of this machine that a Windows program has written; another path is taken as it is.
#[must_use]
pub fn here(written: &str) -> PathBuf {
    written.strip_prefix("Z:").map_or_else(
        || PathBuf::from(written),
        |path| PathBuf::from(path.replace('\\', "/")),
    )
}

/// A program in the Windows in a folder.
#[must_use]
pub fn launch(wine: &Path, program: &Path) -> Launch {
    let environment = [
        ("WINEPREFIX", wine.display().to_string()),
        ("WINEDEBUG", "-all".to_owned()),
        // Neither is asked for, and nobody is there to be asked whether to install them.
        (
            "WINEDLLOVERRIDES",
            "mscoree,mshtml=;winemenubuilder.exe=d".to_owned(),
        ),
        // There is no screen.
        ("DISPLAY", String::new()),
    ];
    Launch {
        program: LOADER.into(),
        arguments: vec![program.display().to_string()],
        environment: environment
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

/// A launch, not started yet.
#[must_use]
pub fn command(launch: &Launch) -> Command {
    let mut command = Command::new(&launch.program);
    command
        .args(&launch.arguments)
        .envs(launch.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null());
    command
}

/// Starts the Windows in a folder; it goes on, whether anything runs in it or not, until [`end`].
///
/// # Errors
/// Where it does not start.
pub fn start(wine: &Path) -> Result<(), LabError> {
    let attempted = || format!("start Wine in `{}`", wine.display());
    // It returns when it can be reached: a program that comes earlier would start one of its own.
    let status = Command::new(KEEPER)
        .arg("--persistent")
        .env("WINEPREFIX", wine)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .attempting(attempted)?;
    if status.success() {
        return Ok(());
    }
    Err(LabError::Refused {
        attempted: attempted(),
        reason: format!("`{KEEPER}` ended with {status}"),
    })
}

/// The process of a program of Windows, by the path that its command line begins with.
#[must_use]
pub fn pid_of(image: &str) -> Option<u32> {
    let runs = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.strip_prefix(image.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&0))
    };
    pids().into_iter().find(runs)
}

/// Kills every process of the Windows in a folder. A process that has lost what kept it together would wait
/// for ever.
pub fn end(wine: &Path) {
    let wanted = format!("WINEPREFIX={}", wine.display());
    let of_it = || -> Vec<u32> {
        let belongs = |pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == wanted.as_bytes())
        };
        pids().into_iter().filter(belongs).collect()
    };
    // One that is being killed may have started another.
    awaited::until(GONE, || {
        let left = of_it();
        for pid in &left {
            tether::signal(*pid, Signal::KILL);
        }
        left.is_empty()
    });
}

fn pids() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_below_the_drive_that_stands_for_this_machine() {
        assert_eq!(
            written(Path::new("/tmp/lab/oslo-b/exchsrvr")),
            r"Z:\tmp\lab\oslo-b\exchsrvr"
        );
        for path in ["/tmp/lab/oslo-b/exchsrvr", "/"] {
            assert_eq!(here(&written(Path::new(path))), Path::new(path));
            assert_eq!(here(path), Path::new(path));
        }
    }

    #[test]
    fn all_processes_of_one_folder_are_ended_and_no_other() {
        let sleeper = |wine: &str| {
            Command::new("sleep")
                .arg("100")
                .env("WINEPREFIX", wine)
                .spawn()
                .unwrap()
        };
        let (mut mine, mut other) = (sleeper("/nowhere/one"), sleeper("/nowhere/one-more"));
        end(Path::new("/nowhere/one"));
        assert!(!mine.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
