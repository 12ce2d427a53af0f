//! The programs of mailmend that the lab runs.

use std::path::{Path, PathBuf};

use crate::lab_error::{Attempting, LabError};

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `mailmend-lab`.
    pub lab: PathBuf,
    /// `mailmend`: controller and command line.
    pub mailmend: PathBuf,
    /// `mailmend-agent`.
    pub agent: PathBuf,
}

/// Names another `mailmend`.
pub const MAILMEND: &str = "MAILMEND_LAB_CONTROLLER_PROGRAM";
/// Names another `mailmend-agent`.
pub const AGENT: &str = "MAILMEND_LAB_AGENT_PROGRAM";

impl Programs {
    /// Finds the programs beside this one, or where the environment says.
    ///
    /// # Errors
    /// Where one is missing, with what to do.
    pub fn locate() -> Result<Self, LabError> {
        let lab = std::env::current_exe().attempting(|| "find this program's file".to_owned())?;
        // What cargo has replaced while this program ran is at the same path.
        let lab = lab
            .to_str()
            .and_then(|path| path.strip_suffix(" (deleted)"))
            .map_or_else(|| lab.clone(), PathBuf::from);
        Self::beside(&lab, |variable| {
            std::env::var_os(variable).map(PathBuf::from)
        })
    }

    /// As [`Self::beside`], for tests and benchmarks: cargo builds the programs of other packages for
    /// them only where it builds the whole workspace, so what is missing is built here.
    ///
    /// # Errors
    /// Where a program is missing and cannot be built.
    pub fn built_beside(lab: &Path) -> Result<Self, LabError> {
        let variable = |name: &'static str| std::env::var_os(name).map(PathBuf::from);
        if let Ok(found) = Self::beside(lab, variable) {
            return Ok(found);
        }
        let profile = lab.parent();
        let release = profile.is_some_and(|folder| folder.ends_with("release"));
        let mut cargo =
            std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "-p", "mailmend", "-p", "mailmend-agent"]);
        cargo.args(["--bins", "--manifest-path"]);
        cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
        if release {
            cargo.arg("--release");
        }
        if let Some(target) = profile.and_then(Path::parent) {
            cargo.arg("--target-dir").arg(target);
        }
        cargo
            .status()
            .attempting(|| "build mailmend's programs".to_owned())?;
        Self::beside(lab, variable)
    }

    /// Finds the programs beside `lab`, or where `variable` says.
    ///
    /// # Errors
    /// Where one is missing, with what to do.
    pub fn beside(
        lab: &Path,
        variable: impl Fn(&'static str) -> Option<PathBuf>,
    ) -> Result<Self, LabError> {
        let folder = lab.parent().unwrap_or(Path::new("."));
        let find = |name: &str, named: &'static str| {
            let path = variable(named).unwrap_or_else(|| folder.join(name));
            let found = path.is_file().then_some(path.clone());
            found.ok_or(LabError::ProgramMissing {
                path,
                variable: named,
            })
        };
        Ok(Self {
            mailmend: find("mailmend", MAILMEND)?,
            agent: find("mailmend-agent", AGENT)?,
            lab: lab.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let lab = folder.path().join("mailmend-lab");
        std::fs::write(folder.path().join("mailmend"), "").unwrap();
        let error = Programs::beside(&lab, |_| None).unwrap_err().to_string();
        assert!(
            error.contains("mailmend-agent") && error.contains("cargo build"),
            "{error}"
        );
        assert!(error.contains(AGENT), "{error}");
        let elsewhere = Programs::beside(&lab, |_| Some(folder.path().join("mailmend"))).unwrap();
        assert_eq!(elsewhere.agent, folder.path().join("mailmend"));
    }
}
