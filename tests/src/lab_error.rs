//! What can go wrong in the lab itself, as against in what it is a lab for.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A failure of the lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The machine refused something.
    #[error("could not {attempted}")]
    Io {
        /// What was attempted, with the value in backticks.
        attempted: String,
        /// What the machine said.
        source: io::Error,
    },
    /// Bytes that should have been in one of the lab's formats are not.
    #[error("{what} makes no sense: {reason}")]
    Malformed {
        /// The file or message, in backticks.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something answered, and the answer was no.
    #[error("could not {attempted}: {reason}")]
    Refused {
        /// What was attempted.
        attempted: String,
        /// The answer.
        reason: String,
    },
    /// Something did not come about in time.
    #[error("waited {} s for {awaited}, in vain", waited.as_secs_f32())]
    TimedOut {
        /// What was awaited.
        awaited: String,
        /// How long.
        waited: Duration,
    },
    /// A program of mailmend is not where it should be.
    #[error(
        "`{}` is not there: run `cargo build --workspace` first, or name it in `{variable}`",
        path.display()
    )]
    ProgramMissing {
        /// Where it was looked for.
        path: PathBuf,
        /// The environment variable that names another place.
        variable: &'static str,
    },
}

/// Says what was attempted when an I/O call failed.
pub trait Attempting<T> {
    /// Turns an I/O error into a [`LabError`] that says what was attempted.
    ///
    /// # Errors
    /// The same failure, with its circumstance.
    fn attempting(self, attempted: impl FnOnce() -> String) -> Result<T, LabError>;
}

impl<T, E: Into<io::Error>> Attempting<T> for Result<T, E> {
    fn attempting(self, attempted: impl FnOnce() -> String) -> Result<T, LabError> {
        self.map_err(|error| LabError::Io {
            attempted: attempted(),
            source: error.into(),
        })
    }
}

impl LabError {
    /// The error and its sources in one line.
    #[must_use]
    pub fn whole(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}
