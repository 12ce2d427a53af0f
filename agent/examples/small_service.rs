//! A small Windows service, for the tests of the agent's way with services. Its first argument says how it
//! behaves; it serves under whatever name it was installed.

#[cfg(not(windows))]
fn main() {
    eprintln!("this is a service of Windows; elsewhere there is nothing to do");
}

#[cfg(windows)]
fn main() -> windows_service::Result<()> {
    service::main()
}

#[cfg(windows)]
mod service {
    use std::ffi::OsString;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use windows_service::service::{
        ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus,
        ServiceType,
    };
    use windows_service::service_control_handler::{
        ServiceControlHandlerResult, ServiceStatusHandle, register,
    };
    use windows_service::{define_windows_service, service_dispatcher};

    define_windows_service!(called, serve);

    fn behaviour() -> String {
        std::env::args().nth(1).unwrap_or_default()
    }

    /// `silent` never reports to the manager; all others do.
    pub(super) fn main() -> windows_service::Result<()> {
        if behaviour() == "silent" {
            loop {
                std::thread::park();
            }
        }
        // Its process ends before the manager has heard of it.
        if behaviour() == "absent" {
            std::process::exit(3);
        }
        // A service of a process of its own is called whatever it is called.
        service_dispatcher::start("", called)
    }

    fn serve(_arguments: Vec<OsString>) {
        let (stop, stopped) = channel();
        let handler = move |control| match control {
            ServiceControl::Stop => {
                let _ = stop.send(());
                ServiceControlHandlerResult::NoError
            }
            ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
            _ => ServiceControlHandlerResult::NotImplemented,
        };
        let Ok(status) = register("", handler) else {
            return;
        };
        match behaviour().as_str() {
            // Ends at once with a number of its own.
            "fails" => report(
                &status,
                ServiceState::Stopped,
                ServiceExitCode::ServiceSpecific(2140),
            ),
            // Ends at once with a number of Windows' own.
            "refuses" => report(&status, ServiceState::Stopped, ServiceExitCode::Win32(2186)),
            // Its process ends while it starts, and while the manager waits for it.
            "aborts" => {
                report(
                    &status,
                    ServiceState::StartPending,
                    ServiceExitCode::NO_ERROR,
                );
                std::process::exit(3);
            }
            // Runs, and its process ends without a word.
            "dies" => {
                report(&status, ServiceState::Running, ServiceExitCode::NO_ERROR);
                std::process::exit(3);
            }
            // Takes the request to stop, says that it stops, and goes on.
            "stubborn" => {
                report(&status, ServiceState::Running, ServiceExitCode::NO_ERROR);
                let _ = stopped.recv();
                report(
                    &status,
                    ServiceState::StopPending,
                    ServiceExitCode::NO_ERROR,
                );
                loop {
                    std::thread::park();
                }
            }
            _ => {
                report(&status, ServiceState::Running, ServiceExitCode::NO_ERROR);
                let _ = stopped.recv();
                report(&status, ServiceState::Stopped, ServiceExitCode::NO_ERROR);
            }
        }
    }

    fn report(status: &ServiceStatusHandle, state: ServiceState, exit_code: ServiceExitCode) {
        let controls_accepted = match state {
            ServiceState::Running => ServiceControlAccept::STOP,
            _ => ServiceControlAccept::empty(),
        };
        let _ = status.set_service_status(ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: state,
            controls_accepted,
            exit_code,
            checkpoint: 0,
            wait_hint: Duration::from_secs(5),
            process_id: None,
        });
    }
}
