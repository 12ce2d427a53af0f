//! A process of mailmend that the lab keeps running, as an init system would.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab_error::LabError;
use crate::tether::Tethered;

/// How long a process that ended by itself stays down before it is started again.
const PAUSE: Duration = Duration::from_millis(500);
/// How many of its last lines tell why it ended.
const SAID: usize = 20;

/// A controller or an agent.
#[derive(Debug)]
pub struct Daemon {
    /// What it is, for people.
    pub what: String,
    /// The site and the server that it belongs to; none for the controller.
    pub of: Option<(String, String)>,
    lab: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    output: PathBuf,
    environment: Vec<(String, String)>,
    process: Option<Tethered>,
    start_at: Option<Instant>,
    /// How often it ended although nobody had killed it.
    pub ended_by_itself: usize,
}

impl Daemon {
    /// A process that is not started yet. `lab` is `mailmend-lab`, which tethers it; what it prints goes
    /// to `output`.
    #[must_use]
    pub fn new(
        what: &str,
        of: Option<(String, String)>,
        lab: PathBuf,
        program: PathBuf,
        arguments: Vec<String>,
        output: PathBuf,
    ) -> Self {
        Self {
            what: what.to_owned(),
            of,
            lab,
            program,
            arguments,
            output,
            environment: Vec::new(),
            process: None,
            start_at: None,
            ended_by_itself: 0,
        }
    }

    /// The same with more in its environment.
    #[must_use]
    pub fn with_environment(mut self, environment: Vec<(String, String)>) -> Self {
        self.environment = environment;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(&mut self) -> Result<(), LabError> {
        let mut command = Command::new(&self.lab);
        command
            .arg("tether")
            .arg("--")
            .arg(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().cloned());
        command.stdout(Stdio::null());
        self.process = Some(Tethered::start(&self.what, command, &self.output)?);
        self.start_at = None;
        Ok(())
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Tethered::pid)
    }

    /// Whether it runs now.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(Tethered::runs)
    }

    /// The last lines that it has printed.
    #[must_use]
    pub fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SAID)..].join("\n")
    }

    /// The file that it prints to.
    #[must_use]
    pub fn output(&self) -> &PathBuf {
        &self.output
    }

    /// Kills it, to be started again after a while. Returns whether it ran.
    pub fn kill(&mut self, back_after: Duration) -> bool {
        let Some(mut process) = self.process.take() else {
            return false;
        };
        process.kill();
        self.start_at = Some(Instant::now() + back_after);
        true
    }

    /// Starts it again where it is due. Returns whether its process changed.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn keep(&mut self) -> Result<bool, LabError> {
        if self.process.as_mut().is_some_and(|process| !process.runs()) {
            self.process = None;
            self.ended_by_itself += 1;
            self.start_at = Some(Instant::now() + PAUSE);
        }
        if self.start_at.is_some_and(|at| at <= Instant::now()) {
            self.start()?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Asks it to end; kills it when `limit` has passed. Returns whether it ended by itself.
    pub fn stop(&mut self, limit: Duration) -> bool {
        self.start_at = None;
        self.process
            .take()
            .is_none_or(|mut process| process.stop(limit))
    }
}
