//! The service control manager, asked and ordered in the words of the lab's own.
//!
//! It runs beside the services and keeps the history of their states, which Windows keeps nowhere.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use windows_service::service::{
    Service as Opened, ServiceAccess, ServiceControlAccept, ServiceExitCode, ServiceState,
    ServiceStatus,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::{Role, SERVICES, Service, life};
use crate::awaited;
use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;
use crate::service_manager::{
    ALREADY_RUNNING, Answer, Change, DEPENDENCY_FAILED, NO_SUCH_SERVICE, NOT_STARTED, Op,
    PROCESS_DIED, Request, State,
};

/// The time between two looks at the states: nothing that a service goes through is shorter.
const LOOK: Duration = Duration::from_millis(10);
/// How long a service that another one needs may take to come up.
const NEEDED_START: Duration = Duration::from_secs(60);
/// What Wine says where the process of a service was gone before it had begun: nothing of it has run. Seen on a
/// machine with eight times the work that it has processors for.
const NEVER_BEGAN: u32 = 1359;
/// How often a start is tried that never began.
const STARTS: usize = 5;
/// What Windows says of a service that was never started.
const NEVER_STARTED: u32 = 1077;

/// Answers the requests on standard input, a line each, on standard output, until there are no more.
///
/// # Errors
/// Where the answers cannot be written.
pub fn run(server: ServerDir) -> Result<(), LabError> {
    let manager = Arc::new(Manager {
        server,
        asked: Mutex::new(()),
    });
    let history = Arc::new(Mutex::new(Vec::new()));
    let (watching, noted) = (Arc::clone(&manager), Arc::clone(&history));
    std::thread::spawn(move || watch(&watching, &noted));
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let answer = match serde_json::from_str::<Request>(&line) {
            Ok(request) if request.op == Op::History => Answer {
                ok: true,
                history: Some(
                    history
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clone(),
                ),
                ..Answer::default()
            },
            Ok(request) => manager.answer(&request),
            Err(error) => Answer::refused(87, &format!("the request makes no sense: {error}")),
        };
        let line = serde_json::json!(answer).to_string();
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .attempting(|| "answer".to_owned())?;
    }
    Ok(())
}

/// What the service control manager says of a service.
#[must_use]
pub fn query(server: &ServerDir, service: &str) -> Answer {
    let manager = Manager {
        server: server.clone(),
        asked: Mutex::new(()),
    };
    manager.answer(&Request {
        op: Op::Query,
        service: service.to_owned(),
    })
}

struct Manager {
    server: ServerDir,
    /// One asks at a time: Wine mixes up the handles of two.
    asked: Mutex<()>,
}

/// What a service is, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    state: State,
    pid: Option<u32>,
    exit_code: Option<u32>,
    accepts_stop: bool,
}

impl Manager {
    fn answer(&self, request: &Request) -> Answer {
        let Some(service) = Service::named(&request.service) else {
            let text = "The specified service does not exist as an installed service.";
            return Answer::refused(NO_SUCH_SERVICE, text);
        };
        let answered = match request.op {
            Op::Query | Op::History => self.see(service).map(|seen| Answer {
                ok: true,
                state: Some(seen.state),
                pid: seen.pid,
                exit_code: seen.exit_code,
                accepts_stop: Some(seen.accepts_stop),
                ..Answer::default()
            }),
            Op::Stop => self
                .with(service, ServiceAccess::STOP, |opened| opened.stop())
                .map(|_| granted()),
            Op::Start => return self.start(service),
        };
        answered.unwrap_or_else(|error| refused(&error))
    }

    /// Starts a service, and first those that it needs, as Windows does and Wine does not.
    fn start(&self, service: &Service) -> Answer {
        for needed in service.needs.iter().filter_map(|name| Service::named(name)) {
            let state = || self.see(needed).map(|seen| seen.state);
            if !matches!(state(), Ok(State::Running)) {
                let answer = self.start(needed);
                if !answer.ok && answer.code != Some(ALREADY_RUNNING) {
                    return answer;
                }
            }
            awaited::until(NEEDED_START, || !matches!(state(), Ok(State::Starting)));
            if !matches!(state(), Ok(State::Running)) {
                let text = format!("{}, which it needs, did not start.", needed.name);
                return Answer::refused(DEPENDENCY_FAILED, &text);
            }
        }
        let mut answer = Answer::default();
        for _ in 0..STARTS {
            answer = self
                .with(service, ServiceAccess::START, |opened| {
                    opened.start::<&str>(&[])
                })
                .map_or_else(|error| refused(&error), |()| granted());
            if answer.code != Some(NEVER_BEGAN) {
                break;
            }
        }
        answer
    }

    fn see(&self, service: &Service) -> windows_service::Result<Seen> {
        let status = self.with(service, ServiceAccess::QUERY_STATUS, Opened::query_status)?;
        let state = state_of(&status);
        let gone = matches!(state, State::Running | State::Stopping)
            && !life::held(&self.server, service.name);
        if gone {
            // What Windows' own manager says then.
            return Ok(Seen {
                state: State::Stopped,
                pid: None,
                exit_code: Some(PROCESS_DIED),
                accepts_stop: false,
            });
        }
        Ok(Seen {
            state,
            pid: status.process_id.filter(|pid| *pid != 0),
            exit_code: exit_code(&status),
            accepts_stop: status
                .controls_accepted
                .contains(ServiceControlAccept::STOP),
        })
    }

    fn with<T>(
        &self,
        service: &Service,
        access: ServiceAccess,
        ask: impl Fn(&Opened) -> windows_service::Result<T>,
    ) -> windows_service::Result<T> {
        let _alone = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)?;
        ask(&manager.open_service(service.name, access)?)
    }
}

fn granted() -> Answer {
    Answer {
        ok: true,
        ..Answer::default()
    }
}

fn refused(error: &windows_service::Error) -> Answer {
    let error = super::told(error);
    let code = error.raw_os_error().map_or(NOT_STARTED, i32::cast_unsigned);
    Answer::refused(code, &error.to_string())
}

fn state_of(status: &ServiceStatus) -> State {
    match status.current_state {
        ServiceState::Stopped => State::Stopped,
        ServiceState::StartPending => State::Starting,
        ServiceState::StopPending => State::Stopping,
        _ => State::Running,
    }
}

fn exit_code(status: &ServiceStatus) -> Option<u32> {
    match status.exit_code {
        ServiceExitCode::Win32(NEVER_STARTED) => None,
        ServiceExitCode::Win32(code) | ServiceExitCode::ServiceSpecific(code) => Some(code),
    }
}

/// Notes every change of state from now on.
fn watch(manager: &Manager, history: &Mutex<Vec<Change>>) {
    let mut last: BTreeMap<&str, Seen> = BTreeMap::new();
    loop {
        for service in SERVICES.iter().filter(|one| one.role != Role::Bystander) {
            let Ok(now) = manager.see(service) else {
                continue;
            };
            let before = last.insert(service.name, now);
            let note = |state| {
                let change = Change {
                    at_ms: Timestamp::now().as_millisecond(),
                    service: service.name.to_owned(),
                    state,
                    exit_code: now.exit_code.filter(|_| state == State::Stopped),
                };
                history
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(change);
            };
            let was = before.map_or(State::Stopped, |before| before.state);
            // Stopped in good order, between two looks.
            let stopped =
                was == State::Running && now.state == State::Stopped && now.exit_code == Some(0);
            if stopped {
                note(State::Stopping);
            }
            let replaced = before.is_some_and(|before| {
                before.pid.is_some() && now.pid.is_some() && before.pid != now.pid
            });
            // Gone and back between two looks.
            if replaced {
                note(State::Stopped);
            }
            if was != now.state || replaced && now.state != State::Stopped {
                note(now.state);
            }
        }
        // The manager tells nobody of what happens between two looks.
        std::thread::sleep(LOOK);
    }
}
