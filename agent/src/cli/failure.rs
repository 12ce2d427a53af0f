//! A command that did not succeed: what is told, and the exit code.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::error::ErrorKind;
use mailmend_agent::config::ConfigError;
use mailmend_agent::connection::ConnectionError;
use mailmend_agent::enrol::EnrolError;
use mailmend_agent::faults::{known, remedy};
use mailmend_agent::guard::GuardError;
use mailmend_agent::identity::IdentityError;
use mailmend_agent::journal::JournalError;
use mailmend_agent::toml_file::TomlFaults;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: u8,
    told: Told,
}

#[derive(Debug)]
enum Told {
    Line(String),
    Faults(TomlFaults),
    /// Everything has been said on standard output.
    Already,
}

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const WAITS: u8 = 3;
const GATE: u8 = 5;
const UNREACHABLE: u8 = 6;
const TIMED_OUT: u8 = 7;
const JOURNAL: u8 = 8;

impl Failure {
    const fn of(exit: u8, line: String) -> Self {
        Self {
            exit,
            told: Told::Line(line),
        }
    }

    /// Something went wrong.
    pub(crate) fn failed(line: impl Into<String>) -> Self {
        Self::of(FAILED, line.into())
    }

    /// The command line or the configuration makes no sense.
    pub(crate) fn usage(line: impl Into<String>) -> Self {
        Self::of(USAGE, line.into())
    }

    /// It took too long.
    pub(crate) const fn timed_out(line: String) -> Self {
        Self::of(TIMED_OUT, line)
    }

    /// What was printed says it all, and it is not success.
    pub(crate) const fn already_told() -> Self {
        Self {
            exit: FAILED,
            told: Told::Already,
        }
    }

    /// The same with another exit code.
    pub(crate) const fn with_exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    /// How the program ends.
    #[cfg(windows)]
    pub(crate) const fn exit(&self) -> u8 {
        self.exit
    }

    /// What is told, for a log.
    #[cfg(windows)]
    pub(crate) fn text(&self) -> String {
        match &self.told {
            Told::Line(line) => line.clone(),
            Told::Faults(faults) => faults.render(100, false),
            Told::Already => String::new(),
        }
    }

    /// Tells it on standard error.
    pub(crate) fn tell(&self) -> ExitCode {
        match &self.told {
            Told::Line(line) => anstream::eprint!("{}", rendered(line, colour())),
            Told::Faults(faults) => anstream::eprint!("{}", faults.render(100, colour())),
            Told::Already => {}
        }
        ExitCode::from(self.exit)
    }
}

fn colour() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A line as `mailmend` writes its own: code, what happened, and below it what to do.
///
/// The errors of this crate read `CODE: what happened; what to do`, so that one line of a log says
/// it all; one that does not say what to do has the catalogue's remedy.
fn rendered(line: &str, colour: bool) -> String {
    let (red, cyan, reset) = if colour {
        ("\u{1b}[1;31m", "\u{1b}[1;36m", "\u{1b}[0m")
    } else {
        ("", "", "")
    };
    let coded = line
        .split_once(": ")
        .and_then(|(code, text)| Some((code, text, remedy(code)?)));
    let Some((code, text, remedy)) = coded else {
        return format!("{red}error{reset}: {line}\n");
    };
    let (text, help) = text.split_once("; ").unwrap_or((text, remedy));
    format!("{red}error[{code}]{reset}: {text}\n{cyan}help{reset}: {help}\n")
}

/// Tells a usage error of the argument parser, or the help that was asked for.
pub(super) fn not_understood(why: &clap::Error) -> ExitCode {
    if matches!(
        why.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        // Whoever stopped reading has seen enough.
        drop(why.print());
        return ExitCode::SUCCESS;
    }
    let text = why.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    anstream::eprintln!(
        "error[{}]: {}",
        const { known("A007-usage") },
        text.trim_end()
    );
    ExitCode::from(USAGE)
}

fn faulty(faults: TomlFaults) -> Failure {
    Failure {
        exit: USAGE,
        told: Told::Faults(faults),
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::Faulty(faults) => faulty(faults),
            other => Self::usage(other.to_string()),
        }
    }
}

impl From<GuardError> for Failure {
    fn from(error: GuardError) -> Self {
        match error {
            GuardError::Faulty(faults) => faulty(faults),
            error @ GuardError::Unreadable { .. } => Self::usage(error.to_string()),
            error @ GuardError::Unsafe(_) => Self::of(GATE, error.to_string()),
        }
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        let exit = match error {
            IdentityError::NotEnrolled { .. } => WAITS,
            IdentityError::Expired { .. } | IdentityError::Clock { .. } => UNREACHABLE,
            IdentityError::Exposed { .. } => GATE,
            IdentityError::Broken { .. } | IdentityError::Folder { .. } => FAILED,
        };
        Self::of(exit, error.to_string())
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        let exit = match error {
            ConnectionError::Slow { .. } => TIMED_OUT,
            ConnectionError::Answered { .. } => FAILED,
            ConnectionError::Unreachable { .. }
            | ConnectionError::Untrusted { .. }
            | ConnectionError::Clock { .. }
            | ConnectionError::Refused { .. } => UNREACHABLE,
        };
        Self::of(exit, error.to_string())
    }
}

impl From<EnrolError> for Failure {
    fn from(error: EnrolError) -> Self {
        match error {
            EnrolError::Identity(error) => error.into(),
            EnrolError::Connection(error) => error.into(),
            EnrolError::Token { .. } => Self::of(UNREACHABLE, error.to_string()),
            EnrolError::Authority { .. } => Self::usage(error.to_string()),
            EnrolError::Already { .. } => Self::of(GATE, error.to_string()),
        }
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        let exit = match error {
            JournalError::Poisoned { .. } => JOURNAL,
            _ => FAILED,
        };
        Self::of(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_code_reason_and_remedy() {
        assert_eq!(
            rendered(
                "A010-journal-in-use: another has it; stop it; or not",
                false
            ),
            "error[A010-journal-in-use]: another has it\nhelp: stop it; or not\n"
        );
        assert_eq!(
            rendered("A019-controller-error: it answered: no", false),
            "error[A019-controller-error]: it answered: no\n\
             help: Look at the controller's log at the same time.\n"
        );
        assert_eq!(rendered("no code: x", false), "error: no code: x\n");
    }
}
