//! The service manager of a server on Linux. It owns the processes of the services, knows their states and
//! exit codes, and restarts nothing by itself (NT 4 had no recovery actions).

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;

use super::door;
use super::protocol::{Answer, Change, Op, Request, State};
use super::{
    ALREADY_RUNNING, DEPENDENCY_FAILED, DEPENDENTS_RUNNING, NO_CONTROLS, NO_SUCH_SERVICE,
    NOT_STARTED, PROCESS_DIED, start_time,
};
use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;
use crate::{awaited, stop_signal, tether};

const LOOK: Duration = Duration::from_millis(20);
/// How long a service that another one depends on may take to come up.
const DEPENDENCY_START: Duration = Duration::from_secs(20);
/// How long the services may take to stop when the lab ends.
const FINAL_STOP: Duration = Duration::from_secs(10);

struct Service {
    name: &'static str,
    program: PathBuf,
    role: &'static str,
    needs: Option<&'static str>,
    state: State,
    pid: Option<u32>,
    started: u64,
    exit_code: Option<u32>,
}

struct Manager {
    services: Mutex<Vec<Service>>,
    history: Mutex<Vec<Change>>,
    server: ServerDir,
}

/// Runs the service manager of a server until it is asked to stop; it then stops the services.
///
/// # Errors
/// Where it cannot listen.
pub fn run(server: ServerDir) -> Result<(), LabError> {
    let stop = stop_signal::install()?;
    let service = |name, program, role, needs| Service {
        name,
        program,
        role,
        needs,
        state: State::Stopped,
        pid: None,
        started: 0,
        exit_code: None,
    };
    let mta = service("MSExchangeMTA", server.mta_program(), "mta", None);
    let ims = service(
        "MSExchangeIMC",
        server.ims_program(),
        "ims",
        Some("MSExchangeMTA"),
    );
    let manager = Arc::new(Manager {
        services: Mutex::new(vec![mta, ims]),
        history: Mutex::new(Vec::new()),
        server,
    });
    let (order, orders) = mpsc::channel();
    let answering = Arc::clone(&manager);
    door::open(&manager.server, move |request| {
        answering.answer(request, &order)
    })?;
    tether::ready("listening");
    manager.start_what_is_ordered(&orders, &stop);
    manager.stop_everything();
    door::close(&manager.server);
    Ok(())
}

impl Manager {
    fn services(&self) -> MutexGuard<'_, Vec<Service>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts services on the main thread: their tether is to the thread that starts them.
    fn start_what_is_ordered(
        self: &Arc<Self>,
        orders: &mpsc::Receiver<&'static str>,
        stop: &AtomicBool,
    ) {
        while !stop.load(Ordering::Relaxed) {
            match orders.recv_timeout(LOOK) {
                Ok(name) => self.start(name),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn start(self: &Arc<Self>, name: &'static str) {
        let needs = self
            .services()
            .iter()
            .find(|one| one.name == name)
            .and_then(|one| one.needs);
        if let Some(needed) = needs
            && !self.bring_up(needed)
        {
            self.note(name, State::Stopped, Some(DEPENDENCY_FAILED));
            return;
        }
        self.spawn(name);
    }

    /// Has a needed service running, as the SCM does when a service is started that needs it.
    fn bring_up(self: &Arc<Self>, name: &'static str) -> bool {
        if self.state(name) == State::Stopped {
            self.note(name, State::Starting, None);
            self.spawn(name);
        }
        awaited::until(DEPENDENCY_START, || self.state(name) != State::Starting);
        self.state(name) == State::Running
    }

    fn state(&self, name: &str) -> State {
        let services = self.services();
        services
            .iter()
            .find(|one| one.name == name)
            .map_or(State::Stopped, |one| one.state)
    }

    fn spawn(self: &Arc<Self>, name: &'static str) {
        let (program, role) = {
            let services = self.services();
            let Some(service) = services.iter().find(|one| one.name == name) else {
                return;
            };
            (service.program.clone(), service.role)
        };
        match self.process(&program, role) {
            Err(error) => {
                eprintln!("{name}: {}", error.whole());
                self.note(name, State::Stopped, Some(2));
            }
            Ok(child) => {
                let pid = child.id();
                let started = start_time(pid).unwrap_or_default();
                if let Some(service) = self.services().iter_mut().find(|one| one.name == name) {
                    service.pid = Some(pid);
                    service.started = started;
                }
                let manager = Arc::clone(self);
                std::thread::spawn(move || manager.watch(name, child));
            }
        }
    }

    fn process(&self, program: &PathBuf, role: &str) -> Result<Child, LabError> {
        let output = self.server.output();
        let errors = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&output)
            .attempting(|| format!("open `{}`", output.display()))?;
        Command::new(program)
            .arg(role)
            .arg("--server-dir")
            .arg(self.server.root())
            .env(tether::PARENT, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .attempting(|| format!("start `{}`", program.display()))
    }

    /// Follows a process from its start to its end.
    fn watch(&self, name: &'static str, mut child: Child) {
        if let Some(out) = child.stdout.take() {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                // A stop that was asked for meanwhile stands.
                if line.starts_with("ready") && self.state(name) == State::Starting {
                    self.note(name, State::Running, None);
                }
            }
        }
        let code = match child.wait() {
            // Ended by a signal: the process died.
            Ok(status) => status.code().map_or(PROCESS_DIED, i32::cast_unsigned),
            Err(_) => PROCESS_DIED,
        };
        self.note(name, State::Stopped, Some(code));
    }

    fn note(&self, name: &str, state: State, exit_code: Option<u32>) {
        let mut services = self.services();
        let Some(service) = services.iter_mut().find(|one| one.name == name) else {
            return;
        };
        service.state = state;
        if state == State::Stopped {
            service.pid = None;
            service.exit_code = exit_code;
        }
        let at_ms = Timestamp::now().as_millisecond();
        let change = Change {
            at_ms,
            service: name.to_owned(),
            state,
            exit_code,
        };
        self.history
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(change);
    }

    fn answer(&self, request: &Request, order: &mpsc::Sender<&'static str>) -> Answer {
        if request.op == Op::History {
            let history = self
                .history
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            return Answer {
                ok: true,
                history: Some(history),
                ..Answer::default()
            };
        }
        let mut services = self.services();
        let dependents: Vec<String> = services
            .iter()
            .filter(|one| one.state != State::Stopped)
            .filter(|one| {
                one.needs
                    .is_some_and(|need| need.eq_ignore_ascii_case(&request.service))
            })
            .map(|one| one.name.to_owned())
            .collect();
        let Some(service) = services
            .iter_mut()
            .find(|one| one.name.eq_ignore_ascii_case(&request.service))
        else {
            let text = "The specified service does not exist as an installed service.";
            return Answer::refused(NO_SUCH_SERVICE, text);
        };
        let name = service.name;
        let noted = match (request.op, service.state) {
            (Op::Query | Op::History, _) => {
                return Answer {
                    ok: true,
                    state: Some(service.state),
                    pid: service.pid,
                    started: service.pid.map(|_| service.started),
                    image: service.pid.map(|_| service.program.display().to_string()),
                    exit_code: service.exit_code,
                    accepts_stop: Some(service.state == State::Running),
                    dependents: Some(dependents),
                    ..Answer::default()
                };
            }
            (Op::Start, State::Stopped) => State::Starting,
            (Op::Start, _) => {
                let text = "An instance of the service is already running.";
                return Answer::refused(ALREADY_RUNNING, text);
            }
            (Op::Stop, State::Stopped) => {
                return Answer::refused(NOT_STARTED, "The service has not been started.");
            }
            (Op::Stop, State::Starting | State::Stopping) => {
                let text = "The service cannot accept control messages at this time.";
                return Answer::refused(NO_CONTROLS, text);
            }
            (Op::Stop, State::Running) if !dependents.is_empty() => {
                let text = format!("Running services depend on it: {}.", dependents.join(", "));
                return Answer::refused(DEPENDENTS_RUNNING, &text);
            }
            (Op::Stop, State::Running) => State::Stopping,
        };
        let pid = service.pid;
        drop(services);
        self.note(name, noted, None);
        match (noted, pid) {
            (State::Stopping, Some(pid)) => tether::signal(pid, Signal::TERM),
            (State::Starting, _) => {
                let _ = order.send(name);
            }
            _ => {}
        }
        Answer {
            ok: true,
            ..Answer::default()
        }
    }

    fn stop_everything(&self) {
        let running: Vec<u32> = self.services().iter().filter_map(|one| one.pid).collect();
        for pid in &running {
            tether::signal(*pid, Signal::TERM);
        }
        let gone = || self.services().iter().all(|one| one.pid.is_none());
        if awaited::until(FINAL_STOP, gone).is_none() {
            for pid in self.services().iter().filter_map(|one| one.pid) {
                tether::signal(pid, Signal::KILL);
            }
            awaited::until(FINAL_STOP, gone);
        }
    }
}
