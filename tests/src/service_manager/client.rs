//! The lab's own client of a service manager.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use super::protocol::{Answer, Change, Op, Request, State};
use crate::awaited;
use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;

/// How long an answer may take: where servers run Windows, a start waits for what the service needs.
const ANSWER: Duration = Duration::from_secs(60);

/// Talks to the service manager of a server, over a connection of its own for each request.
#[derive(Debug, Clone)]
pub struct ManagerClient {
    socket: PathBuf,
}

impl ManagerClient {
    /// The client for a server.
    #[must_use]
    pub fn new(server: &ServerDir) -> Self {
        Self {
            socket: server.manager_socket(),
        }
    }

    /// Asks.
    ///
    /// # Errors
    /// Where the manager does not answer; a refusal is an answer.
    pub fn ask(&self, op: Op, service: &str) -> Result<Answer, LabError> {
        let attempted = || format!("ask the service manager at `{}`", self.socket.display());
        let mut stream = UnixStream::connect(&self.socket).attempting(attempted)?;
        stream
            .set_read_timeout(Some(ANSWER))
            .attempting(attempted)?;
        let request = serde_json::json!(Request {
            op,
            service: service.to_owned()
        });
        stream
            .write_all(format!("{request}\n").as_bytes())
            .attempting(attempted)?;
        let mut line = String::new();
        BufReader::new(stream)
            .read_line(&mut line)
            .attempting(attempted)?;
        serde_json::from_str(&line).map_err(|error| LabError::Malformed {
            what: "the service manager's answer".to_owned(),
            reason: error.to_string(),
        })
    }

    /// Starts a service and waits until it runs.
    ///
    /// # Errors
    /// Where it is refused or does not come up within `limit`.
    pub fn start(&self, service: &str, limit: Duration) -> Result<(), LabError> {
        self.change(Op::Start, service, State::Running, limit)
    }

    /// Stops a service and waits until it has stopped.
    ///
    /// # Errors
    /// Where it is refused or does not stop within `limit`.
    pub fn stop(&self, service: &str, limit: Duration) -> Result<(), LabError> {
        self.change(Op::Stop, service, State::Stopped, limit)
    }

    /// Every change of state so far.
    ///
    /// # Errors
    /// Where the manager does not answer.
    pub fn history(&self) -> Result<Vec<Change>, LabError> {
        Ok(self.ask(Op::History, "")?.history.unwrap_or_default())
    }

    fn change(
        &self,
        op: Op,
        service: &str,
        wanted: State,
        limit: Duration,
    ) -> Result<(), LabError> {
        let answer = self.ask(op, service)?;
        if !answer.ok {
            return Err(LabError::Refused {
                attempted: format!(
                    "{} {service}",
                    if op == Op::Start { "start" } else { "stop" }
                ),
                reason: format!(
                    "{} ({})",
                    answer.message.unwrap_or_default(),
                    answer.code.unwrap_or_default()
                ),
            });
        }
        let mut last = None;
        awaited::or_fail(&format!("{service} to be {wanted:?}"), limit, || {
            last = self
                .ask(Op::Query, service)
                .ok()
                .and_then(|answer| answer.state);
            last == Some(wanted) || (wanted == State::Running && last == Some(State::Stopped))
        })?;
        if last == Some(wanted) {
            return Ok(());
        }
        Err(LabError::Refused {
            attempted: format!("start {service}"),
            reason: "it ended before it ran".to_owned(),
        })
    }
}
