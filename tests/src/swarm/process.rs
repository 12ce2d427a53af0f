//! The server that is measured, as a process of its own: what it uses, how it is killed and started again.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::awaited;
use crate::lab_error::{Attempting, LabError};
use crate::programs::Programs;
use crate::tether::Tethered;

/// How long a server may take to come up.
const START: Duration = Duration::from_secs(60);
/// How long a command of the bare server may take.
const COMMAND: Duration = Duration::from_secs(150);
/// A loopback address of its own: no outgoing connection of this machine gets a port there, so that a killed server finds
/// its port free when it comes back.
const LISTEN: &str = "127.0.0.9:0";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `mailmend serve`.
    Controller,
    /// The bare tonic server.
    Bare,
}

/// A server at work.
pub struct Process {
    kind: Kind,
    programs: Programs,
    folder: PathBuf,
    data: PathBuf,
    log: &'static str,
    address: SocketAddr,
    process: Option<Tethered>,
    control: Option<TcpStream>,
}

/// What a process has used at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    /// Processor time since its start, of all threads, in user and kernel.
    pub cpu: Duration,
    /// Memory that is resident, bytes.
    pub rss: u64,
}

impl Process {
    /// Starts it over a data folder.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn start(
        kind: Kind,
        programs: &Programs,
        folder: &Path,
        data: &Path,
    ) -> Result<Self, LabError> {
        let listener = TcpListener::bind(LISTEN).attempting(|| "find a free port".to_owned())?;
        let address = listener
            .local_addr()
            .attempting(|| "find a free port".to_owned())?;
        drop(listener);
        let mut server = Self {
            kind,
            programs: programs.clone(),
            folder: folder.to_owned(),
            data: data.to_owned(),
            log: "warn",
            address,
            process: None,
            control: None,
        };
        server.again()?;
        Ok(server)
    }

    /// The same with another filter of the controller's log from its next start on.
    #[must_use]
    pub const fn with_log(mut self, filter: &'static str) -> Self {
        self.log = filter;
        self
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Kills it, as a crash does.
    pub fn kill(&mut self) {
        self.control = None;
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Starts it at the same address; answers how long it took until it listened.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn again(&mut self) -> Result<Duration, LabError> {
        let begun = Instant::now();
        let log = self.folder.join(match self.kind {
            Kind::Controller => "controller.log",
            Kind::Bare => "bare.log",
        });
        let mut command = Command::new(&self.programs.lab);
        match self.kind {
            Kind::Bare => {
                command.arg("swarm-server").arg("--data").arg(&self.data);
                command.arg("--listen").arg(self.address.to_string());
                command.env(crate::tether::PARENT, std::process::id().to_string());
                let (process, control) =
                    Tethered::start_ready("the bare server", command, &log, START)?;
                self.process = Some(process);
                let control = TcpStream::connect(&control)
                    .attempting(|| "command the bare server".to_owned())?;
                control
                    .set_read_timeout(Some(COMMAND))
                    .attempting(|| "command the bare server".to_owned())?;
                self.control = Some(control);
            }
            Kind::Controller => {
                let ready = self.folder.join("ready");
                // That of a killed one is still there.
                let _ = std::fs::remove_file(&ready);
                command.args(["tether", "--"]).arg(&self.programs.mailmend);
                command.args(["serve", "--log", self.log, "--listen"]);
                command.arg(self.address.to_string());
                command.arg("--data").arg(&self.data);
                command.arg("--ready-file").arg(&ready);
                command.env(crate::tether::PARENT, std::process::id().to_string());
                command.stdout(Stdio::null());
                let mut process = Tethered::start("the controller", command, &log)?;
                awaited::or_fail("the controller", START, || {
                    ready.exists() || !process.runs()
                })?;
                if !ready.exists() {
                    return Err(LabError::Refused {
                        attempted: "start the controller".to_owned(),
                        reason: std::fs::read_to_string(&log).unwrap_or_default(),
                    });
                }
                self.process = Some(process);
            }
        }
        Ok(begun.elapsed())
    }

    /// Has the bare server do something; returns when it is done.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn command(&mut self, line: &str) -> Result<(), LabError> {
        let attempted = || format!("have the bare server `{line}`");
        let control = self.control.as_mut().ok_or_else(|| LabError::Refused {
            attempted: attempted(),
            reason: "this is no bare server".to_owned(),
        })?;
        writeln!(control, "{line}").attempting(attempted)?;
        let mut answer = String::new();
        BufReader::new(control)
            .read_line(&mut answer)
            .attempting(attempted)?;
        Ok(())
    }

    /// What it uses now.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn used(&self) -> Result<Used, LabError> {
        let pid = self.process.as_ref().map_or(0, Tethered::pid);
        let read = |name: &str| {
            std::fs::read_to_string(format!("/proc/{pid}/{name}"))
                .attempting(|| format!("read what process {pid} uses"))
        };
        used(&read("stat")?, &read("status")?).ok_or_else(|| LabError::Malformed {
            what: format!("`/proc/{pid}/stat`"),
            reason: "it has another form".to_owned(),
        })
    }
}

/// The kernel tells processor time in these, on every Linux of today.
const TICKS_PER_SECOND: u64 = 100;

fn used(stat: &str, status: &str) -> Option<Used> {
    // The program's name, in parentheses, may have spaces in it.
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(Used {
        cpu: Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND),
        rss: kib * 1024,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_and_memory_are_read_from_what_the_kernel_tells() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 9 0 0 0 130 20 0 0 20 0 4 0 99 1 2";
        let status = "Name:\ta b) c\nVmRSS:\t    2048 kB\nThreads:\t4\n";
        let found = used(stat, status).unwrap();
        assert_eq!(found.cpu, Duration::from_millis(1500));
        assert_eq!(found.rss, 2 << 20);
        assert!(used("7 (a) S", status).is_none());
    }
}
