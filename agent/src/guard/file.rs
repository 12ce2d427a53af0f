//! Reading the guard file, and what the machine has to say to it.

use std::path::{Path, PathBuf};

use super::Guard;
use super::machine::{self, Changeable};
use super::parse::from_text;
use crate::faults::known;
use crate::toml_file::{Sink, TomlFaults};

/// The guard file is not acceptable; without one the agent does nothing.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// It cannot be read.
    #[error(
        "A004-guard-unreadable: the guard file `{}` cannot be read: {reason}; name it as `guard` in the configuration, readable for this account",
        file.display()
    )]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the machine said.
        reason: String,
    },
    /// Somebody other than the administrator could change it.
    #[error("{}: {}; {}", known("A005-guard-unsafe"), .0.what, .0.remedy)]
    Unsafe(Changeable),
    /// It has faults.
    #[error(transparent)]
    Faulty(#[from] TomlFaults),
}

impl Guard {
    /// Reads a guard file and asks the machine: is the file safe from others, are the roots folders
    /// and reached without links, are the tools there and executable.
    ///
    /// # Errors
    /// Where the file is not acceptable; all faults of its text at once.
    pub fn read(file: &Path) -> Result<Self, GuardError> {
        Self::read_with_text(file).map(|(guard, _)| guard)
    }

    /// As [`Self::read`], with the text that was read.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_with_text(file: &Path) -> Result<(Self, String), GuardError> {
        let unreadable = |reason: String| GuardError::Unreadable {
            file: file.to_path_buf(),
            reason,
        };
        machine::kept_from_others(file, "guard file")
            .map_err(|error| unreadable(error.to_string()))?
            .map_err(GuardError::Unsafe)?;
        let bytes = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
        let text = String::from_utf8(bytes)
            .map_err(|error| unreadable(format!("it is not UTF-8 text: {}", error.utf8_error())))?;
        let sink = Sink::default();
        let (guard, places) = from_text(&text, &sink);
        for (root, span) in &places.roots {
            if let Err((message, hint)) = machine::root(root) {
                sink.fault(span, message, hint);
            }
        }
        for (program, span) in &places.programs {
            if let Err((message, hint)) = machine::program(program) {
                sink.fault(span, message, hint);
            }
        }
        let name = file.display().to_string();
        match sink.finish(const { known("A003-guard-faulty") }, &name, &text) {
            None => Ok((guard, text)),
            Some(faults) => Err(faults.into()),
        }
    }
}
