//! The agent at work, as the service control manager starts it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;
use windows_service::define_windows_service;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{
    self, ServiceControlHandlerResult, ServiceStatusHandle,
};
use windows_service::service_dispatcher;

use super::Run;
use crate::cli::Common;
use crate::cli::failure::Failure;
use crate::cli::run::{Signals, work_under};
use crate::cli::supervisor::{ASKED, SILENT, Supervisor};

/// What Windows says to a program that it has not started as a service.
const NOT_A_SERVICE: i32 = 1063;
/// How long a start may take: a long journal is read before the agent says that it is there.
const START: Duration = Duration::from_secs(300);

/// What the entry point, which Windows calls without it, has to know.
struct Called {
    common: Common,
    service: String,
    logs: Option<PathBuf>,
}

static CALLED: OnceLock<Called> = OnceLock::new();

/// Hands this process to the service control manager, until the service has stopped.
pub(in crate::cli::service) fn run(common: &Common, what: &Run) -> Result<(), Failure> {
    let service = what.service.clone();
    let called = Called {
        common: common.clone(),
        service: service.clone(),
        logs: what.logs.clone(),
    };
    if CALLED.set(called).is_err() {
        return Err(Failure::failed(
            "a defect of the agent, please report it: it was begun twice",
        ));
    }
    service_dispatcher::start(service, service_entry).map_err(|why| match super::number(&why) {
        Some(NOT_A_SERVICE) => Failure::usage(
            "this is how Windows starts the service; at a console it is `mailmend-agent run`, and `net start mailmend-agent` starts the service",
        ),
        _ => super::refused("become a service", &why),
    })
}

define_windows_service!(service_entry, begin);

/// Called by Windows on a thread of its own.
fn begin(_arguments: Vec<OsString>) {
    let Some(called) = CALLED.get() else {
        return;
    };
    // Where the manager does not listen there is nobody to tell, and nobody to serve.
    let Ok((status, orders)) = Status::register(&called.service) else {
        return;
    };
    status.tell(ServiceState::StartPending, START);
    let ended = work(called, &status, orders);
    let code = match &ended {
        Ok(()) => ServiceExitCode::NO_ERROR,
        Err(failure) => {
            tracing::error!("{}", failure.text());
            ServiceExitCode::ServiceSpecific(failure.exit().into())
        }
    };
    status.stopped(code);
}

fn work(
    called: &Called,
    status: &Arc<Status>,
    orders: mpsc::UnboundedReceiver<&'static str>,
) -> Result<(), Failure> {
    let config = called.common.load();
    let logs = match (&called.logs, &config) {
        (Some(told), _) => told.clone(),
        (None, Ok(config)) => super::logs(None, config),
        (None, Err(_)) => mailmend_agent::config::Place::Data
            .standard()
            .with_file_name("logs"),
    };
    crate::cli::service_log::begin(&called.common, &called.service, &logs)?;
    let supervisor = Box::new(Scm(Arc::clone(status)));
    let collector = called.common.collector()?;
    work_under(config?, &collector, supervisor, move || {
        Ok(Signals::ordered(orders))
    })
}

/// What the manager was told last, and the way to tell it more.
struct Status {
    handle: ServiceStatusHandle,
    checkpoint: AtomicU32,
}

impl Status {
    fn register(
        service: &str,
    ) -> windows_service::Result<(Arc<Self>, mpsc::UnboundedReceiver<&'static str>)> {
        let (tell, orders) = mpsc::unbounded_channel();
        let hear = move |control| {
            let order = match control {
                ServiceControl::Interrogate => return ServiceControlHandlerResult::NoError,
                ServiceControl::Stop => "stop",
                ServiceControl::Preshutdown => "Windows goes down",
                _ => return ServiceControlHandlerResult::NotImplemented,
            };
            // An agent that ends already hears no more.
            let _ = tell.send(order);
            ServiceControlHandlerResult::NoError
        };
        let handle = service_control_handler::register(service, hear)?;
        let status = Self {
            handle,
            checkpoint: AtomicU32::new(0),
        };
        Ok((Arc::new(status), orders))
    }

    /// A state on the way, which may last so long before the manager hears more.
    fn tell(&self, state: ServiceState, within: Duration) {
        let checkpoint = self.checkpoint.fetch_add(1, Ordering::Relaxed) + 1;
        self.set(state, ServiceExitCode::NO_ERROR, checkpoint, within);
    }

    fn stopped(&self, code: ServiceExitCode) {
        self.set(ServiceState::Stopped, code, 0, Duration::ZERO);
    }

    fn set(&self, state: ServiceState, code: ServiceExitCode, checkpoint: u32, within: Duration) {
        let accepted = match state {
            // Windows brings up the preshutdown before any other service is told to stop: mail service
            // can still be started then. It excludes the later control for the shutdown itself.
            ServiceState::Running => ServiceControlAccept::STOP | ServiceControlAccept::PRESHUTDOWN,
            _ => ServiceControlAccept::empty(),
        };
        let told = self.handle.set_service_status(ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: state,
            controls_accepted: accepted,
            exit_code: code,
            checkpoint,
            wait_hint: within,
            process_id: None,
        });
        if let Err(why) = told {
            tracing::warn!(?why, "Windows did not take the state of the service");
        }
    }
}

/// The service control manager.
struct Scm(Arc<Status>);

impl Supervisor for Scm {
    fn ready(&self) {
        self.0.set(
            ServiceState::Running,
            ServiceExitCode::NO_ERROR,
            0,
            Duration::ZERO,
        );
    }

    fn says(&self, what: &str) {
        tracing::debug!(what, "the agent");
    }

    fn ending(&self) {
        self.0.tell(ServiceState::StopPending, SILENT);
    }

    fn patience(&self) -> Duration {
        ASKED
    }
}
