//! A command that failed: code, what was attempted and why, what to do.

use std::error::Error;
use std::io;

use rustls::CertificateError;
use tonic::{Code, Status};

use super::exit::Exit;
use super::output::clean;
use crate::config::ConfigFault;
use crate::faults::remedy;

/// Why a command failed, for a person.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    code: String,
    text: String,
    help: Option<String>,
    exit: Exit,
    /// Nothing is printed: everything has been said already.
    silent: bool,
}

impl Failure {
    /// A failure with exit code 1 and the remedy of its code.
    pub(super) fn new(code: &str, text: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            text: text.into(),
            help: remedy(code).map(str::to_owned),
            exit: Exit::Failure,
            silent: false,
        }
    }

    /// A failure whose text begins with its code, as errors of this crate do.
    pub(super) fn of(error: &dyn Error) -> Self {
        let (code, text) = split(&chain(error));
        Self::new(&code.unwrap_or_else(|| "C039-controller".to_owned()), text)
    }

    pub(super) fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    pub(super) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What was being attempted, in front of the text.
    pub(super) fn attempting(mut self, what: &str) -> Self {
        self.text = format!("could not {what}: {}", self.text);
        self
    }

    pub(super) fn code(&self) -> &str {
        &self.code
    }

    pub(super) const fn exit(&self) -> Exit {
        self.exit
    }

    /// Writes it to stderr.
    pub(super) fn print(&self, colour: bool) {
        if !self.silent {
            anstream::eprint!("{}", self.rendered(colour));
        }
    }

    fn rendered(&self, colour: bool) -> String {
        render(&self.code, &self.text, self.help.as_deref(), colour)
    }
}

/// Writes a usage error of the argument parser, which has its own hints, to stderr.
pub(super) fn print_usage(text: &str, colour: bool) {
    anstream::eprint!("{}", render("C035-usage", text.trim_end(), None, colour));
}

fn render(code: &str, text: &str, help: Option<&str>, colour: bool) -> String {
    let (red, cyan, reset) = if colour {
        ("\u{1b}[1;31m", "\u{1b}[1;36m", "\u{1b}[0m")
    } else {
        ("", "", "")
    };
    let help = help.map_or_else(String::new, |help| {
        format!("{cyan}help{reset}: {}\n", clean(help))
    });
    format!("{red}error[{code}]{reset}: {}\n{help}", clean(text))
}

/// Splits `C010-address-taken: text` into code and text.
fn split(message: &str) -> (Option<String>, String) {
    let code = message.split_once(": ").filter(|(code, _)| is_code(code));
    code.map_or((None, message.to_owned()), |(code, text)| {
        (Some(code.to_owned()), text.to_owned())
    })
}

fn is_code(text: &str) -> bool {
    let mut bytes = text.bytes();
    let head = bytes.next().is_some_and(|b| b.is_ascii_uppercase())
        && bytes.by_ref().take(3).filter(u8::is_ascii_digit).count() == 3
        && bytes.next() == Some(b'-');
    head && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// An error and its sources in one line, nothing said twice.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = source.source();
    }
    text
}

impl From<ConfigFault> for Failure {
    fn from(fault: ConfigFault) -> Self {
        Self::of(&fault).with_exit(Exit::Usage)
    }
}

impl From<io::Error> for Failure {
    /// Of writing the answer. Whoever stopped reading has seen enough: that is no failure.
    fn from(why: io::Error) -> Self {
        let mut failure = Self::new("C040-output", format!("could not write the answer: {why}"));
        if why.kind() == io::ErrorKind::BrokenPipe {
            failure.silent = true;
            failure.exit = Exit::Success;
        }
        failure
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        if let Some(failure) = transport(&status) {
            return failure;
        }
        let (code, text) = split(status.message());
        let code = code.unwrap_or_else(|| default_code(status.code()).to_owned());
        let text = if text.is_empty() {
            status.code().description().to_owned()
        } else {
            text
        };
        let mut failure = Self::new(&code, text).with_exit(Exit::of_code(status.code()));
        // The controller knows more of the case than the catalogue: its advice is enough.
        if failure.text.contains("`mailmend ") {
            failure.help = None;
        }
        failure
    }
}

const fn default_code(code: Code) -> &'static str {
    match code {
        Code::NotFound => "C036-not-found",
        Code::FailedPrecondition => "C037-refused",
        Code::InvalidArgument | Code::AlreadyExists => "C038-request",
        Code::Unauthenticated => "C021-unauthenticated",
        Code::PermissionDenied => "C024-not-permitted",
        Code::Unavailable => "C020-unreachable",
        Code::DeadlineExceeded => "C030-timed-out",
        _ => "C039-controller",
    }
}

/// A failure below the calls: nobody answers, or TLS does not trust one of the two.
fn transport(status: &Status) -> Option<Failure> {
    let mut next = status.source();
    let mut deepest = None;
    while let Some(source) = next {
        // An io::Error tells what it wraps by `get_ref`, not as its source.
        let inner = source
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn Error + 'static));
        for error in [Some(source), inner].into_iter().flatten() {
            if let Some(tls) = error.downcast_ref::<rustls::Error>() {
                return Some(untrusted(tls));
            }
        }
        deepest = Some(source);
        next = source.source().or(inner);
    }
    let why = deepest?;
    if why.downcast_ref::<tonic::TimeoutExpired>().is_some() {
        let text = "the controller took too long to answer";
        return Some(Failure::new("C030-timed-out", text).with_exit(Exit::TimedOut));
    }
    Some(Failure::new("C020-unreachable", why.to_string()).with_exit(Exit::Unreachable))
}

fn refused_certificate(alert: &str) -> Failure {
    let text = format!("the controller does not accept the certificate in `--identity` ({alert})");
    Failure::new("C021-unauthenticated", text).with_exit(Exit::Unreachable)
}

/// What a failure of TLS means for a person.
pub(super) fn untrusted(tls: &rustls::Error) -> Failure {
    let (code, text) = match tls {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
            | CertificateError::Expired
            | CertificateError::ExpiredContext { .. },
        ) => (
            "C026-clock",
            format!(
                "the controller's certificate does not hold at the time that this machine's clock shows, {}",
                jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC")
            ),
        ),
        rustls::Error::InvalidCertificate(why) => (
            "C022-not-our-controller",
            format!("the certificate of whoever answers is not valid: {why}"),
        ),
        rustls::Error::AlertReceived(alert) => return refused_certificate(&format!("{alert:?}")),
        other => (
            "C020-unreachable",
            format!("no TLS with whoever answers: {other}"),
        ),
    };
    Failure::new(code, text).with_exit(Exit::Unreachable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_code_reason_and_remedy() {
        let failure = Failure::new("C036-not-found", "no rollout begins with `abc123`")
            .attempting("show the rollout");
        assert_eq!(
            failure.rendered(false),
            "error[C036-not-found]: could not show the rollout: no rollout begins with `abc123`\n\
             help: list what there is: `mailmend policy list`, `mailmend agent list`, `mailmend rollout list`\n"
        );
    }

    #[test]
    fn the_controllers_own_code_is_kept_and_a_plain_message_gets_one() {
        let failure = Failure::from(Status::failed_precondition(
            "C085-rollout-state: site `oslo` is taken",
        ));
        assert_eq!(
            (failure.code.as_str(), failure.exit),
            ("C085-rollout-state", Exit::Refused)
        );
        assert_eq!(failure.text, "site `oslo` is taken");
        let failure = Failure::from(Status::not_found("no such policy: x"));
        assert_eq!(
            (failure.code.as_str(), failure.exit),
            ("C036-not-found", Exit::Failure)
        );
        assert_eq!(failure.text, "no such policy: x");
    }

    #[test]
    fn a_message_cannot_play_with_the_terminal() {
        let failure = Failure::from(Status::internal("\u{1b}[2Jgone\u{7}"));
        assert!(!failure.rendered(false).contains('\u{1b}'));
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(failure.silent && failure.exit == Exit::Success);
    }
}
