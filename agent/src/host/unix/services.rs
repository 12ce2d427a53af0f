//! The service manager behind its socket, and processes by number, start time and program.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use mailmend_policy::name::ServiceName;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{changing, reading};
use crate::host::{
    Effect, HostError, HostErrorKind, ProcessIdentity, ServiceState, ServiceStatus, Services,
};

/// How long connecting, sending and each answer may take.
const LIMIT: Duration = Duration::from_secs(5);
/// No answer of the service manager is longer.
const LONGEST: u64 = 64 * 1024;

#[derive(Debug)]
pub(super) struct ServiceManager {
    socket: PathBuf,
}

#[derive(Serialize)]
struct Request<'a> {
    op: &'static str,
    service: &'a str,
}

#[derive(Deserialize)]
struct Reply {
    ok: bool,
    code: Option<u32>,
    message: Option<String>,
    state: Option<State>,
    pid: Option<u32>,
    started: Option<u64>,
    image: Option<String>,
    exit_code: Option<i64>,
    #[serde(default)]
    accepts_stop: bool,
    #[serde(default)]
    dependents: Vec<ServiceName>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Stopped,
    Starting,
    Running,
    Stopping,
}

impl ServiceManager {
    pub(super) fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    fn connect(&self) -> std::io::Result<UnixStream> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // The limit for writing is also the one for connecting to a manager that accepts nobody.
        socket.set_write_timeout(Some(LIMIT))?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.connect(&SockAddr::unix(&self.socket)?)?;
        Ok(UnixStream::from(OwnedFd::from(socket)))
    }

    /// Asks and waits for the answer. `after` is the effect of a failure once the question may have
    /// reached the manager.
    fn ask(
        &self,
        op: &'static str,
        service: &ServiceName,
        after: Effect,
    ) -> Result<Reply, HostError> {
        let attempted = || {
            format!(
                "{op} `{service}` through the service manager at `{}`",
                self.socket.display()
            )
        };
        let lost = |error: &std::io::Error| HostError {
            effect: after,
            ..reading(attempted(), error)
        };
        let mut stream = self
            .connect()
            .map_err(|error| reading(attempted(), &error))?;
        let mut line = serde_json::to_string(&Request {
            op,
            service: service.as_str(),
        })
        .map_err(|error| lost(&error.into()))?;
        line.push('\n');
        stream
            .write_all(line.as_bytes())
            .map_err(|error| lost(&error))?;
        let mut answer = String::new();
        BufReader::new(stream.take(LONGEST))
            .read_line(&mut answer)
            .map_err(|error| lost(&error))?;
        if !answer.ends_with('\n') {
            return Err(HostError {
                attempted: attempted(),
                reason: "the service manager ended the connection without an answer".into(),
                kind: HostErrorKind::Io,
                effect: after,
            });
        }
        let reply: Reply = serde_json::from_str(&answer).map_err(|error| HostError {
            attempted: attempted(),
            reason: format!("the answer `{}` makes no sense: {error}", answer.trim_end()),
            kind: HostErrorKind::Malformed,
            effect: after,
        })?;
        if reply.ok {
            return Ok(reply);
        }
        let code = reply.code.unwrap_or(0);
        Err(HostError::unchanged(
            HostErrorKind::Service(code),
            attempted(),
            reply
                .message
                .unwrap_or_else(|| format!("refused with code {code}")),
        ))
    }
}

impl Services for ServiceManager {
    fn query(&self, service: &ServiceName) -> Result<ServiceStatus, HostError> {
        let reply = self.ask("query", service, Effect::None)?;
        let state = match reply.state {
            Some(State::Stopped) => ServiceState::Stopped,
            Some(State::Starting) => ServiceState::Starting,
            Some(State::Running) => ServiceState::Running,
            Some(State::Stopping) => ServiceState::Stopping,
            None => {
                return Err(HostError::unchanged(
                    HostErrorKind::Malformed,
                    format!("query `{service}`"),
                    "the answer has no state",
                ));
            }
        };
        let process = match (reply.pid, reply.started, reply.image) {
            (Some(pid), Some(started), Some(image)) => Some(ProcessIdentity {
                pid,
                started,
                image,
            }),
            _ => None,
        };
        // Exit codes are 32 bits; a manager may print them signed.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let exit_code = reply.exit_code.map(|code| code as u32);
        Ok(ServiceStatus {
            state,
            process,
            exit_code,
            accepts_stop: reply.accepts_stop,
        })
    }

    fn request_stop(&self, service: &ServiceName) -> Result<(), HostError> {
        self.ask("stop", service, Effect::Unknown).map(drop)
    }

    fn request_start(&self, service: &ServiceName) -> Result<(), HostError> {
        self.ask("start", service, Effect::Unknown).map(drop)
    }

    fn end_process(&self, process: &ProcessIdentity) -> Result<(), HostError> {
        let attempted = || format!("end the process {} (`{}`)", process.pid, process.image);
        let gone = |reason: &str| {
            Err(HostError::unchanged(
                HostErrorKind::NotFound,
                attempted(),
                reason,
            ))
        };
        let pid = i32::try_from(process.pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| {
                HostError::unchanged(
                    HostErrorKind::Malformed,
                    attempted(),
                    "no such number exists",
                )
            })?;
        // First take hold of the process, then look who it is: the number may pass to another
        // process at any time, the handle cannot.
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(Errno::SRCH) => return gone("no such process is left"),
            Err(errno) => return Err(reading(attempted(), &errno.into())),
        };
        match running(process.pid)? {
            Some(started) if started == process.started => {}
            _ => return gone("the number belongs to another process now"),
        }
        let image = std::fs::read_link(format!("/proc/{pid}/exe"))
            .map_err(|error| reading(attempted(), &error))?;
        let image = image.to_string_lossy();
        // The kernel marks the program file of a process that was replaced on disk.
        let image = image.strip_suffix(" (deleted)").unwrap_or(&image);
        if image != process.image {
            return Err(HostError::unchanged(
                HostErrorKind::Denied,
                attempted(),
                format!("it runs `{image}` now"),
            ));
        }
        match pidfd_send_signal(&handle, Signal::KILL) {
            Ok(()) => Ok(()),
            Err(Errno::SRCH) => gone("it ended by itself"),
            Err(errno) => Err(changing(attempted(), errno)),
        }
    }

    fn process_alive(&self, process: &ProcessIdentity) -> Result<bool, HostError> {
        Ok(running(process.pid)? == Some(process.started))
    }

    fn running_dependents(&self, service: &ServiceName) -> Result<Vec<ServiceName>, HostError> {
        Ok(self.ask("query", service, Effect::None)?.dependents)
    }
}

/// The start time of the process of that number, in clock ticks since the machine started. `None`
/// where there is none, or where it is dead and only waits for its parent to notice.
fn running(pid: u32) -> Result<Option<u64>, HostError> {
    let attempted = || format!("look at the process {pid}");
    let stat = match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        Err(error) => {
            let error = reading(attempted(), &error);
            return if error.kind == HostErrorKind::NotFound {
                Ok(None)
            } else {
                Err(error)
            };
        }
    };
    // The second field, the name, is in parentheses and may hold spaces and parentheses itself.
    let fields: Option<(char, u64)> = stat.rfind(')').and_then(|end| {
        let mut fields = stat[end + 1..].split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        Some((state, fields.nth(18)?.parse().ok()?))
    });
    match fields {
        Some(('Z' | 'X' | 'x', _)) => Ok(None),
        Some((_, started)) => Ok(Some(started)),
        None => Err(HostError::unchanged(
            HostErrorKind::Malformed,
            attempted(),
            format!("`{}` makes no sense", stat.trim_end()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::process::{Child, Command};
    use std::thread::JoinHandle;

    /// A service manager that answers each question with the next of these lines and returns the
    /// questions. An empty answer ends the connection.
    fn manager(
        answers: &'static [&'static str],
    ) -> (tempfile::TempDir, ServiceManager, JoinHandle<Vec<String>>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("services.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let thread = std::thread::spawn(move || {
            answers
                .iter()
                .map(|answer| {
                    let (stream, _) = listener.accept().unwrap();
                    let mut question = String::new();
                    BufReader::new(&stream).read_line(&mut question).unwrap();
                    (&stream).write_all(answer.as_bytes()).unwrap();
                    question
                })
                .collect()
        });
        (folder, ServiceManager::at(socket), thread)
    }

    fn ims() -> ServiceName {
        "MSExchangeIMC".parse().unwrap()
    }

    fn identity(child: &Child) -> ProcessIdentity {
        let exe = format!("/proc/{}/exe", child.id());
        let shell = std::fs::read_link("/proc/self/exe").unwrap();
        // Until it has become the program, a new process is a copy of this one.
        let image = loop {
            let image = std::fs::read_link(&exe).unwrap();
            if image != shell {
                break image;
            }
            std::thread::yield_now();
        };
        ProcessIdentity {
            pid: child.id(),
            started: running(child.id()).unwrap().unwrap(),
            image: image.to_string_lossy().into_owned(),
        }
    }

    #[test]
    fn questions_and_answers_go_over_the_socket() {
        let (_folder, manager, thread) = manager(&[
            "{\"ok\":true,\"state\":\"running\",\"pid\":7,\"started\":99,\"image\":\"/x/ims\",\"exit_code\":null,\"accepts_stop\":true,\"dependents\":[\"MSExchangeDX\"]}\n",
            "{\"ok\":true,\"state\":\"stopped\",\"pid\":null,\"started\":null,\"image\":null,\"exit_code\":-1,\"accepts_stop\":false,\"dependents\":[]}\n",
            "{\"ok\":true,\"state\":\"running\",\"dependents\":[\"MSExchangeDX\"]}\n",
            "{\"ok\":true}\n",
            "{\"ok\":false,\"code\":1056,\"message\":\"already running\"}\n",
        ]);
        let status = manager.query(&ims()).unwrap();
        assert_eq!(status.state, ServiceState::Running);
        let process = ProcessIdentity {
            pid: 7,
            started: 99,
            image: "/x/ims".into(),
        };
        assert_eq!(status.process, Some(process));
        assert!(status.accepts_stop);
        let status = manager.query(&ims()).unwrap();
        assert_eq!(
            (status.state, status.process),
            (ServiceState::Stopped, None)
        );
        assert_eq!(status.exit_code, Some(u32::MAX));
        assert_eq!(
            manager.running_dependents(&ims()).unwrap(),
            ["MSExchangeDX".parse::<ServiceName>().unwrap()]
        );
        manager.request_stop(&ims()).unwrap();
        let refused = manager.request_start(&ims()).unwrap_err();
        assert_eq!(
            (refused.kind, refused.effect),
            (HostErrorKind::Service(1056), Effect::None)
        );
        let questions = thread.join().unwrap();
        assert_eq!(
            questions[3],
            "{\"op\":\"stop\",\"service\":\"MSExchangeIMC\"}\n"
        );
    }

    #[test]
    fn a_manager_that_is_gone_or_ends_the_connection_is_an_error_and_never_stopped() {
        let (_folder, manager, thread) = manager(&["", "", "{\"ok\":true}\n", "nonsense\n"]);
        let error = manager.query(&ims()).unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (HostErrorKind::Io, Effect::None)
        );
        let error = manager.request_stop(&ims()).unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (HostErrorKind::Io, Effect::Unknown)
        );
        assert_eq!(
            manager.query(&ims()).unwrap_err().kind,
            HostErrorKind::Malformed
        );
        assert_eq!(
            manager.query(&ims()).unwrap_err().kind,
            HostErrorKind::Malformed
        );
        thread.join().unwrap();
        let gone = ServiceManager::at("/nowhere/services.sock".into());
        let error = gone.request_start(&ims()).unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (HostErrorKind::NotFound, Effect::None)
        );
        assert!(
            error.to_string().contains("/nowhere/services.sock"),
            "{error}"
        );
    }

    #[test]
    fn only_exactly_that_process_is_ended() {
        let services = ServiceManager::at("/nowhere".into());
        let mut child = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let process = identity(&child);
        assert!(services.process_alive(&process).unwrap());

        let earlier = ProcessIdentity {
            started: process.started - 1,
            ..process.clone()
        };
        assert!(!services.process_alive(&earlier).unwrap());
        assert_eq!(
            services.end_process(&earlier).unwrap_err().kind,
            HostErrorKind::NotFound
        );
        let other = ProcessIdentity {
            image: "/bin/other".into(),
            ..process.clone()
        };
        assert_eq!(
            services.end_process(&other).unwrap_err().kind,
            HostErrorKind::Denied
        );
        assert!(
            services.process_alive(&process).unwrap(),
            "neither of the two ended it"
        );

        services.end_process(&process).unwrap();
        // Dead at once to us, although nobody has reaped it: it can do nothing any more.
        while services.process_alive(&process).unwrap() {
            std::thread::yield_now();
        }
        assert_eq!(
            services.end_process(&process).unwrap_err().kind,
            HostErrorKind::NotFound
        );
        child.wait().unwrap();
        assert!(!services.process_alive(&process).unwrap());
        assert_eq!(
            services.end_process(&process).unwrap_err().kind,
            HostErrorKind::NotFound
        );
    }
}
