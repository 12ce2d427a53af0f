//! Processes that end with the lab, however the lab ends.
//!
//! Every process that the lab starts asks the kernel to be killed when its parent dies. Programs that
//! are not the lab's own are started through `mailmend-lab tether`, which asks for them and then becomes
//! them. The request is kept across an exec.
//!
//! The kernel watches the *thread* that started the process: start processes from threads that live as
//! long as the processes should.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::lab_error::{Attempting, LabError};

/// Who started this process; it must still be there.
pub(crate) const PARENT: &str = "MAILMEND_LAB_PARENT";
/// What a process of the lab prints when it is ready, followed by what the starter has to know.
const READY: &str = "ready ";

/// Asks to be killed when the starter dies, where the lab is the starter. For the lab's own processes,
/// first thing in `main`.
pub fn to_parent() {
    let Ok(expected) = std::env::var(PARENT) else {
        return;
    };
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let parent = rustix::process::getppid().map(Pid::as_raw_nonzero);
    if parent.is_none_or(|parent| parent.to_string() != expected) {
        // The starter died before the request was made.
        std::process::exit(1);
    }
}

/// Becomes another program, which is killed when the starter dies.
///
/// # Errors
/// Where there is no such program.
pub fn become_program(program: &Path, arguments: &[String]) -> LabError {
    let error = Command::new(program)
        .args(arguments)
        .env_remove(PARENT)
        .exec();
    LabError::Io {
        attempted: format!("start `{}`", program.display()),
        source: error,
    }
}

/// Prints that this process is ready, and what its starter has to know.
pub fn ready(note: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{READY}{note}");
    let _ = out.flush();
}

/// A process of the lab, started; killed when dropped.
#[derive(Debug)]
pub struct Tethered {
    child: Child,
    what: String,
}

impl Tethered {
    /// Starts a program that tethers itself. Its standard error goes to the file `output`.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(what: &str, mut command: Command, output: &Path) -> Result<Self, LabError> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(output)
            .attempting(|| format!("open `{}`", output.display()))?;
        command.stderr(file);
        Self::start_shown(what, command)
    }

    /// As [`Self::start`], for a program whose standard error is for whoever sits before this one.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start_shown(what: &str, mut command: Command) -> Result<Self, LabError> {
        let child = command
            .env(PARENT, std::process::id().to_string())
            .stdin(Stdio::null())
            .spawn()
            .attempting(|| format!("start {what}"))?;
        Ok(Self {
            child,
            what: what.to_owned(),
        })
    }

    /// Starts a process of the lab and waits until it says that it is ready; returns what it said.
    ///
    /// # Errors
    /// Where it cannot be started, ends, or says nothing within `limit`.
    pub fn start_ready(
        what: &str,
        mut command: Command,
        output: &Path,
        limit: Duration,
    ) -> Result<(Self, String), LabError> {
        command.stdout(Stdio::piped());
        let mut started = Self::start(what, command, output)?;
        let note = started.await_ready(limit)?;
        Ok((started, note))
    }

    fn await_ready(&mut self, limit: Duration) -> Result<String, LabError> {
        let Some(out) = self.child.stdout.take() else {
            return Err(self.refused("its output is not read"));
        };
        let (send, receive) = mpsc::channel();
        // The thread ends with the process, whose output it reads to the end.
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Some(note) = line.strip_prefix(READY) {
                    let _ = send.send(note.to_owned());
                }
            }
        });
        receive.recv_timeout(limit).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => LabError::TimedOut {
                awaited: format!("{} to be ready", self.what),
                waited: limit,
            },
            mpsc::RecvTimeoutError::Disconnected => self.refused("it ended before it was ready"),
        })
    }

    fn refused(&self, reason: &str) -> LabError {
        LabError::Refused {
            attempted: format!("start {}", self.what),
            reason: reason.to_owned(),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its exit code once it has ended, `Some(None)` where a signal ended it; `None` while it runs.
    pub fn ended(&mut self) -> Option<Option<i32>> {
        self.child
            .try_wait()
            .ok()
            .flatten()
            .map(|status| status.code())
    }

    /// Waits until it ends by itself; returns its exit code, `None` where a signal ended it.
    ///
    /// # Errors
    /// Where it does not end within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<i32>, LabError> {
        let mut ended = None;
        crate::awaited::or_fail(&self.what.clone(), limit, || {
            ended = self.ended();
            ended.is_some()
        })?;
        Ok(ended.flatten())
    }

    /// Ends it at once, as a crash does, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end and waits; kills it when `limit` has passed. Returns whether it ended by itself.
    pub fn stop(&mut self, limit: Duration) -> bool {
        signal(self.child.id(), Signal::TERM);
        let ended =
            crate::awaited::until(limit, || matches!(self.child.try_wait(), Ok(Some(_)))).is_some();
        if !ended {
            self.kill();
        }
        ended
    }
}

impl Drop for Tethered {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a process that this one started (or that the lab's service manager did).
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}
