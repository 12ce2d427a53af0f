//! The service manager of a server that runs Windows: a relay between the lab's socket and the service
//! control manager there.
//!
//! It starts the server's Windows, has its services made at the first start, and ends all of it: whoever
//! ends this process, however, ends that too.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::door;
use super::protocol::{Answer, Op, Request, State};
use crate::lab_error::{Attempting, LabError};
use crate::platform::wine;
use crate::server_dir::ServerDir;
use crate::{awaited, ims, stop_signal, tether};

/// The services that are stopped at the end, each before those that it needs.
const SERVICES: [&str; 2] = [ims::SERVICE, ims::MTA];
/// How long each may take.
const FINAL_STOP: Duration = Duration::from_secs(10);
/// How long a Windows may take to start.
const START: Duration = Duration::from_secs(60);
/// The error code of a service that cannot be asked: the manager's own process is gone.
const NO_MANAGER: u32 = 1115;

/// Runs the service manager of a server that runs Windows, until it is asked to stop; it then ends that
/// Windows. `windows` is `mailmend-lab.exe`.
///
/// # Errors
/// Where the Windows does not start.
pub fn run(server: &ServerDir, windows: &Path) -> Result<(), LabError> {
    let stop = stop_signal::install()?;
    let end = End::with(server)?;
    wine::start(&server.wine())?;
    if server.registry().exists() {
        install(server, windows)?;
    }
    let control = Control::start(server, windows)?;
    let control = std::sync::Arc::new(control);
    let relayed = std::sync::Arc::clone(&control);
    door::open(server, move |request| relayed.ask(request))?;
    let ready = awaited::until(START, || {
        let request = Request {
            op: Op::Query,
            service: ims::SERVICE.to_owned(),
        };
        control.ask(&request).state.is_some()
    });
    if ready.is_some() {
        tether::ready("listening");
        awaited::until(Duration::MAX, || stop.load(Ordering::Relaxed));
        control.stop_services();
    }
    door::close(server);
    end.now();
    if ready.is_some() {
        return Ok(());
    }
    Err(LabError::TimedOut {
        awaited: "the service control manager".to_owned(),
        waited: START,
    })
}

fn install(server: &ServerDir, windows: &Path) -> Result<(), LabError> {
    let status = lab(server, windows)
        .arg("install")
        .arg("--server-dir")
        .arg(wine::written(server.root()))
        .status()
        .attempting(|| "make the services".to_owned())?;
    if status.success() {
        return Ok(());
    }
    Err(LabError::Refused {
        attempted: "make the services".to_owned(),
        reason: format!("`mailmend-lab.exe install` ended with {status}"),
    })
}

fn lab(server: &ServerDir, windows: &Path) -> Command {
    wine::command(&wine::launch(&server.wine(), windows))
}

/// Who ends the Windows when this process ends: another process, which waits for that.
struct End {
    child: Child,
    waits: ChildStdin,
}

impl End {
    fn with(server: &ServerDir) -> Result<Self, LabError> {
        let attempted = || "start who ends Wine".to_owned();
        let this = std::env::current_exe().attempting(attempted)?;
        let mut child = Command::new(this)
            .arg("end-wine")
            .arg("--server-dir")
            .arg(server.root())
            // It is to outlive this one, and a signal to all of the lab too.
            .env_remove(tether::PARENT)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .attempting(attempted)?;
        let waits = child.stdin.take().ok_or_else(|| LabError::Refused {
            attempted: attempted(),
            reason: "it reads nothing".to_owned(),
        })?;
        Ok(Self { child, waits })
    }

    fn now(self) {
        let Self { mut child, waits } = self;
        drop(waits);
        let _ = child.wait();
    }
}

/// Waits until whoever started this process is gone, then ends the Windows of a server.
///
/// # Errors
/// Where that cannot be waited for.
pub fn end_when_left(server: &ServerDir) -> Result<(), LabError> {
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())
        .attempting(|| "wait for the end of the service manager".to_owned())?;
    wine::end(&server.wine());
    Ok(())
}

/// `mailmend-lab.exe control`.
struct Control {
    server: ServerDir,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Control {
    fn start(server: &ServerDir, windows: &Path) -> Result<Self, LabError> {
        let attempted = || "reach the service control manager".to_owned();
        let mut child = lab(server, windows)
            .arg("control")
            .arg("--server-dir")
            .arg(wine::written(server.root()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .attempting(attempted)?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(to), Some(from)) => Ok(Self {
                server: server.clone(),
                talk: Mutex::new((to, BufReader::new(from))),
            }),
            _ => Err(LabError::Refused {
                attempted: attempted(),
                reason: "it takes no requests".to_owned(),
            }),
        }
    }

    fn ask(&self, request: &Request) -> Answer {
        let answer = self.relay(request).unwrap_or_else(|error| {
            Answer::refused(NO_MANAGER, &format!("the manager does not answer: {error}"))
        });
        Answer {
            // Processes are known here by the numbers that Linux gives them.
            pid: answer.pid.and_then(|_| self.pid_of(&request.service)),
            ..answer
        }
    }

    fn relay(&self, request: &Request) -> std::io::Result<Answer> {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        let (to, from) = &mut *talk;
        to.write_all(format!("{}\n", serde_json::json!(request)).as_bytes())?;
        to.flush()?;
        let mut line = String::new();
        from.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(std::io::Error::other)
    }

    fn pid_of(&self, service: &str) -> Option<u32> {
        let program = match service {
            service if service.eq_ignore_ascii_case(ims::SERVICE) => self.server.ims_program(),
            service if service.eq_ignore_ascii_case(ims::MTA) => self.server.mta_program(),
            _ => return None,
        };
        wine::pid_of(&wine::written(&program.with_extension("exe")))
    }

    fn stop_services(&self) {
        for service in SERVICES {
            let request = |op| Request {
                op,
                service: service.to_owned(),
            };
            if self.ask(&request(Op::Stop)).ok {
                awaited::until(FINAL_STOP, || {
                    self.ask(&request(Op::Query)).state == Some(State::Stopped)
                });
            }
        }
    }
}
