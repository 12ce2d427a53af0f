//! A service of the lab as the service control manager runs it.

use std::ffi::OsString;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{
    self, ServiceControlHandlerResult, ServiceStatusHandle,
};
use windows_service::{define_windows_service, service_dispatcher};

use super::{Role, Service, life, told};
use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;
use crate::{ims, mta};

/// What a service that failed by itself tells the manager, as its own code.
const FAILED: u32 = 1;
/// How long a start or a stop may take before the manager wonders.
const PATIENCE: Duration = Duration::from_secs(60);
/// The time between two looks of a service that does nothing.
const LOOK: Duration = Duration::from_millis(20);

static WHICH: OnceLock<(&Service, ServerDir)> = OnceLock::new();

define_windows_service!(entry, run_entry);

/// Runs a service until it is stopped; the service control manager has started this process for it.
///
/// # Errors
/// Where it has not.
pub fn run(service: &'static Service, server: ServerDir) -> Result<(), LabError> {
    let _ = WHICH.set((service, server));
    service_dispatcher::start(service.name, entry)
        .map_err(|error| told(&error))
        .attempting(|| {
            format!(
                "be the service `{}`, which the service control manager alone starts",
                service.name
            )
        })
}

fn run_entry(_: Vec<OsString>) {
    let Some((service, server)) = WHICH.get() else {
        return;
    };
    if let Err(error) = serve(service, server) {
        note(server, &format!("{}: {}", service.name, error.whole()));
    }
}

fn serve(service: &Service, server: &ServerDir) -> Result<(), LabError> {
    let _life = life::hold(server, service.name)?;
    let stop = Arc::new(AtomicBool::new(false));
    let teller = Arc::new(OnceLock::<Teller>::new());
    let (asked, telling) = (Arc::clone(&stop), Arc::clone(&teller));
    let handler = move |control| match control {
        ServiceControl::Stop | ServiceControl::Shutdown => {
            if let Some(teller) = telling.get() {
                teller.tell(ServiceState::StopPending, 0);
            }
            asked.store(true, Ordering::Relaxed);
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    };
    let handle = service_control_handler::register(service.name, handler)
        .map_err(|error| told(&error))
        .attempting(|| "answer the service control manager".to_owned())?;
    let teller = teller.get_or_init(|| Teller(handle));
    teller.tell(ServiceState::StartPending, 0);
    let running = || teller.tell(ServiceState::Running, 0);
    let ended = match service.role {
        Role::Ims => ims::run(server.clone(), stop, &running),
        Role::Mta => mta::run(server, &stop, &running),
        Role::Bystander => {
            running();
            while !stop.load(Ordering::Relaxed) {
                // Nothing is there to be waited for but the request to stop.
                std::thread::sleep(LOOK);
            }
            Ok(())
        }
    };
    teller.tell(
        ServiceState::Stopped,
        if ended.is_ok() { 0 } else { FAILED },
    );
    ended
}

/// Tells the manager the state of the service.
struct Teller(ServiceStatusHandle);

impl Teller {
    fn tell(&self, state: ServiceState, failure: u32) {
        let pending = matches!(
            state,
            ServiceState::StartPending | ServiceState::StopPending
        );
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: state,
            controls_accepted: if state == ServiceState::Running {
                ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN
            } else {
                ServiceControlAccept::empty()
            },
            exit_code: if failure == 0 {
                ServiceExitCode::NO_ERROR
            } else {
                ServiceExitCode::ServiceSpecific(failure)
            },
            checkpoint: 0,
            wait_hint: if pending { PATIENCE } else { Duration::ZERO },
            process_id: None,
        };
        // A manager that is gone has nobody to tell.
        let _ = self.0.set_service_status(status);
    }
}

/// What has no other place to be said.
fn note(server: &ServerDir, line: &str) {
    let output = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(server.output());
    if let Ok(mut output) = output {
        let _ = writeln!(output, "{line}");
    }
}
