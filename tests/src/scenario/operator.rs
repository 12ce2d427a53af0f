//! The operator: everything that the lab asks of the controller goes through the command line, as a
//! person's would.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::signing::Signing;
use crate::lab_error::{Attempting, LabError};
use crate::programs::Programs;
use crate::tether::Tethered;

/// How long a command may take while nothing is disturbed.
const CALL: Duration = Duration::from_secs(60);
/// The exit code of a command that could not reach the controller.
const UNREACHABLE: i32 = 6;
/// The pause before such a command is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// An operator at a controller.
#[derive(Debug, Clone)]
pub struct Operator {
    lab: PathBuf,
    program: PathBuf,
    address: String,
    identity: PathBuf,
    output: PathBuf,
    /// Who signs what is published; none: nobody.
    signing: Option<Signing>,
}

impl Operator {
    /// An operator with the identity that the controller makes in its data folder.
    pub(super) fn new(programs: &Programs, address: &str, data: &Path, output: PathBuf) -> Self {
        Self {
            lab: programs.lab.clone(),
            program: programs.mailmend.clone(),
            address: format!("https://{address}"),
            identity: data.join("operator"),
            output,
            signing: None,
        }
    }

    /// The same, with people who sign what it publishes.
    pub(super) fn signed_by(self, signing: Signing) -> Self {
        Self {
            signing: Some(signing),
            ..self
        }
    }

    /// The same, with nobody who signs what it publishes.
    #[must_use]
    pub fn unsigned(&self) -> Self {
        Self {
            signing: None,
            ..self.clone()
        }
    }

    /// Another person, let in by this one: nobody approves their own change. The identity is made beside this
    /// one's.
    ///
    /// # Errors
    /// Where a command fails.
    pub fn colleague(&self, name: &str, role: &str) -> Result<Self, LabError> {
        let identity = self.identity.with_file_name(format!("operator-{name}"));
        let added = self.ask(&["operator", "add", name, "--role", role])?;
        let token = added["token"].as_str().unwrap_or_default();
        let (into, ca) = (identity.to_string_lossy(), self.identity.join("ca.pem"));
        let enrol = ["operator", "enrol", name, "--token", token, "--into", &into];
        self.ask(&[&enrol[..], &["--ca", &ca.to_string_lossy()]].concat())?;
        Ok(Self {
            identity,
            ..self.clone()
        })
    }

    /// What a person types, for messages.
    pub(super) fn typed(arguments: &[&str]) -> String {
        format!("mailmend {}", arguments.join(" "))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.lab);
        command
            .arg("tether")
            .arg("--")
            .arg(&self.program)
            .args(arguments)
            .env("MAILMEND_CONTROLLER", &self.address)
            .env("MAILMEND_IDENTITY", &self.identity)
            .env("MAILMEND_COLOR", "auto");
        command
    }

    /// Runs a command with `--output json` and reads its answer: one JSON value, or several lines of
    /// them as an array. A controller that cannot be reached is tried again until `CALL` has passed.
    ///
    /// # Errors
    /// Where the command fails, or its answer is no JSON.
    pub fn ask(&self, arguments: &[&str]) -> Result<Value, LabError> {
        self.ask_keeping(arguments, &mut || Ok(()))
    }

    /// As [`Self::ask`]; `keep` is called before each further try, and may bring the controller back.
    pub(super) fn ask_keeping(
        &self,
        arguments: &[&str],
        keep: &mut dyn FnMut() -> Result<(), LabError>,
    ) -> Result<Value, LabError> {
        let begun = Instant::now();
        let all = [arguments, &["--output", "json"]].concat();
        loop {
            let output = self
                .command(&all)
                .env(crate::tether::PARENT, std::process::id().to_string())
                .stdin(Stdio::null())
                .output()
                .attempting(|| Self::typed(arguments))?;
            let text = String::from_utf8_lossy(&output.stdout);
            if output.status.success() {
                let answer = parse(&text).ok_or_else(|| LabError::Malformed {
                    what: format!("the answer of `{}`", Self::typed(arguments)),
                    reason: text.into_owned(),
                })?;
                if let (Some(signing), ["policy", "publish", policies @ ..]) =
                    (&self.signing, arguments)
                {
                    signing.follow(self, policies, keep)?;
                }
                return Ok(answer);
            }
            if output.status.code() != Some(UNREACHABLE) || begun.elapsed() > CALL {
                return Err(LabError::Refused {
                    attempted: Self::typed(arguments),
                    reason: format!(
                        "{}: {}{text}",
                        output.status,
                        String::from_utf8_lossy(&output.stderr)
                    ),
                });
            }
            keep()?;
            // The controller was killed; nothing tells when it is back.
            std::thread::sleep(PAUSE);
        }
    }

    /// Runs a command whose exit code tells something; returns it, none where a signal ended the command, with what
    /// it answered in JSON, null where that is none, and what it printed for people.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn ended(&self, arguments: &[&str]) -> Result<(Option<i32>, Value, String), LabError> {
        let all = [arguments, &["--output", "json"]].concat();
        let output = self
            .command(&all)
            .env(crate::tether::PARENT, std::process::id().to_string())
            .stdin(Stdio::null())
            .output()
            .attempting(|| Self::typed(arguments))?;
        let answer = parse(&String::from_utf8_lossy(&output.stdout)).unwrap_or_default();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((output.status.code(), answer, said))
    }

    /// Starts `rollout watch`, which ends when the rollout does; `shown` to whoever sits before the lab, or
    /// not at all.
    pub(super) fn watch(&self, rollout: &str, shown: bool) -> Result<Tethered, LabError> {
        const WHAT: &str = "`mailmend rollout watch`";
        let mut command = self.command(&["rollout", "watch", rollout]);
        if shown {
            return Tethered::start_shown(WHAT, command);
        }
        command.stdout(Stdio::null());
        Tethered::start(WHAT, command, &self.output)
    }
}

fn parse(text: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    lines.ok().map(Value::Array)
}

/// The rows of a listing: the array itself, or the one that the object holds.
pub(super) fn rows(value: &Value) -> &[Value] {
    let array = value.as_array().or_else(|| {
        value
            .as_object()
            .and_then(|object| object.values().find_map(Value::as_array))
    });
    array.map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_and_lines_of_values_are_read() {
        assert_eq!(parse("{\"a\":1}\n").unwrap()["a"], 1);
        assert_eq!(rows(&parse("{\"a\":1}\n{\"a\":2}\n").unwrap()).len(), 2);
        assert_eq!(rows(&parse("{\"agents\":[1,2,3]}").unwrap()).len(), 3);
        assert_eq!(rows(&parse("[]").unwrap()).len(), 0);
        assert_eq!(parse("not json"), None);
    }
}
