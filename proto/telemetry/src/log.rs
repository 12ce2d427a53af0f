//! What is logged, and how it is written.

mod filter;

use std::fmt;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

pub use filter::FilterFault;

/// What is logged, from its text: `LEVEL`, `TARGET=LEVEL` or `TARGET[SPAN{FIELD=VALUE}]=LEVEL`, separated by
/// commas. The empty text logs errors only.
///
/// A word that is nearly a level is refused. It would name a target that nobody has, and the log would be silent.
#[derive(Debug)]
pub struct LogFilter(pub EnvFilter);

impl FromStr for LogFilter {
    type Err = FilterFault;

    fn from_str(text: &str) -> Result<Self, FilterFault> {
        filter::parse(text).map(Self)
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One object of JSON a line: `timestamp` (RFC 3339, UTC), `level`, `target`, `fields` with `message`, and
    /// `span` and `spans` where there are some.
    Json,
}

impl LogFormat {
    /// Its name in settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A format that there is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write `text` or `json`")]
pub struct FormatFault;

impl FromStr for LogFormat {
    type Err = FormatFault;

    fn from_str(text: &str) -> Result<Self, FormatFault> {
        [Self::Text, Self::Json]
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or(FormatFault)
    }
}
