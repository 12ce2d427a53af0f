use std::ffi::OsString;
use std::time::{Duration, Instant};

use windows_service::service::{
    ServiceDependency, ServiceErrorControl, ServiceInfo, ServiceStartType, ServiceType,
};

use super::*;
use crate::host::{Effect, exit_told};

const HERE: ControlManager = ControlManager {
    machine: Machine::Local,
};
const LONG: Duration = Duration::from_secs(60);

/// A service that was installed for one test, and goes with it.
struct Installed {
    name: ServiceName,
    service: Service,
}

impl Installed {
    /// The small service with that behaviour, and what it depends on.
    fn new(behaviour: &str, needs: &[&ServiceName]) -> Self {
        Self::with(behaviour, needs, ServiceStartType::OnDemand)
    }

    fn with(behaviour: &str, needs: &[&ServiceName], start_type: ServiceStartType) -> Self {
        let program = std::env::var_os("MAILMEND_SMALL_SERVICE").expect(
            "MAILMEND_SMALL_SERVICE names the program `small_service`: `mailmend-lab windows` sets it",
        );
        let name: ServiceName = format!("mailmend-test-{:08x}", fastrand::u32(..))
            .parse()
            .unwrap();
        let info = ServiceInfo {
            name: name.as_str().into(),
            display_name: format!("Test {name}").into(),
            service_type: ServiceType::OWN_PROCESS,
            start_type,
            error_control: ServiceErrorControl::Normal,
            executable_path: program.into(),
            launch_arguments: vec![OsString::from(behaviour)],
            dependencies: needs
                .iter()
                .map(|need| ServiceDependency::Service(need.as_str().into()))
                .collect(),
            account_name: None,
            account_password: None,
        };
        let manager = ServiceManager::local_computer(
            None::<&str>,
            ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE,
        );
        let service = manager
            .unwrap()
            .create_service(&info, ServiceAccess::all())
            .unwrap();
        Self { name, service }
    }

    fn status(&self) -> ServiceStatus {
        HERE.query(&self.name).unwrap()
    }

    fn until(&self, awaited: impl Fn(&ServiceStatus) -> bool) -> ServiceStatus {
        let until = Instant::now() + LONG;
        loop {
            let status = self.status();
            if awaited(&status) {
                return status;
            }
            assert!(Instant::now() < until, "{status:?}");
            std::thread::yield_now();
        }
    }

    fn ask_to_start(&self) -> Result<(), HostError> {
        let until = Instant::now() + LONG;
        loop {
            match HERE.request_start(&self.name) {
                // Wine's manager is locked as long as another test waits for its service to report.
                Err(error)
                    if error.kind == HostErrorKind::Service(1055) && Instant::now() < until => {}
                result => return result,
            }
        }
    }

    fn started(&self) -> ServiceStatus {
        self.ask_to_start().unwrap();
        self.until(|status| status.state == ServiceState::Running)
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        if let Ok(Some(process)) = HERE.query(&self.name).map(|status| status.process) {
            let _ = HERE.end_process(&process);
        }
        let _ = self.service.delete();
    }
}

fn refused(result: Result<(), HostError>) -> (HostErrorKind, Effect) {
    let error = result.unwrap_err();
    (error.kind, error.effect)
}

#[test]
fn a_service_starts_runs_as_a_process_and_stops() {
    let service = Installed::new("plain", &[]);
    let before = service.status();
    assert_eq!(
        (before.state, before.process, before.exit_code),
        (ServiceState::Stopped, None, None)
    );
    assert_eq!(
        refused(HERE.request_stop(&service.name)).0,
        HostErrorKind::Service(1062)
    );

    let running = service.started();
    let process = running.process.unwrap();
    assert!(
        process
            .image
            .to_ascii_lowercase()
            .ends_with("small_service.exe"),
        "{}",
        process.image
    );
    assert!(running.accepts_stop);
    assert!(HERE.process_alive(&process).unwrap());
    let again = refused(HERE.request_start(&service.name));
    assert_eq!(again, (HostErrorKind::Service(1056), Effect::None));

    HERE.request_stop(&service.name).unwrap();
    let stopped = service.until(|status| status.state == ServiceState::Stopped);
    assert_eq!(stopped.exit_code, Some(0));
    let until = Instant::now() + LONG;
    while HERE.process_alive(&process).unwrap() {
        assert!(Instant::now() < until, "its process outlives it");
        std::thread::yield_now();
    }
}

#[test]
fn a_service_that_does_not_exist_or_is_disabled_says_so() {
    let nobody: ServiceName = "mailmend-test-nobody".parse().unwrap();
    let missing = HostErrorKind::Service(1060);
    assert_eq!(HERE.query(&nobody).unwrap_err().kind, missing);
    assert_eq!(
        refused(HERE.request_start(&nobody)),
        (missing, Effect::None)
    );
    assert_eq!(HERE.running_dependents(&nobody).unwrap_err().kind, missing);
    let disabled = Installed::with("plain", &[], ServiceStartType::Disabled);
    let error = HERE.request_start(&disabled.name).unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (HostErrorKind::Service(1058), Effect::None)
    );
    assert!(error.reason.contains("sc config"), "{error}");
}

#[test]
fn a_service_that_fails_or_dies_leaves_its_number() {
    let fails = Installed::new("fails", &[]);
    // The manager may tell of the end while it is asked to start.
    let _ = fails.ask_to_start();
    let status = fails.until(|s| s.state == ServiceState::Stopped && s.exit_code.is_some());
    assert_eq!(status.exit_code, Some(2140));
    let dies = Installed::new("dies", &[]);
    let _ = dies.ask_to_start();
    let status = dies.until(|status| status.state == ServiceState::Stopped);
    assert!(status.exit_code.is_some_and(|code| code != 0), "{status:?}");
}

#[test]
fn a_service_whose_process_dies_as_it_starts_is_1067_and_says_what_to_look_at() {
    let aborts = Installed::new("aborts", &[]);
    let _ = aborts.ask_to_start();
    let status = aborts.until(|s| s.state == ServiceState::Stopped && s.exit_code.is_some());
    assert_eq!(status.exit_code, Some(1067));
    let told = exit_told(1067);
    assert!(told.contains("last events of its source"), "{told}");
    // Before the manager has heard of it the start itself is refused, and may have begun.
    let absent = Installed::new("absent", &[]);
    let error = absent.ask_to_start().unwrap_err();
    assert_eq!(error.effect, Effect::Unknown, "{error}");
    assert!(
        matches!(error.kind, HostErrorKind::Service(1053 | 1067)),
        "{error}"
    );
}

#[test]
fn numbers_with_which_services_of_exchange_end_say_what_to_do() {
    for (behaviour, code, remedy) in [("fails", 2140, "Q173496"), ("refuses", 2186, "Q148727")] {
        let service = Installed::new(behaviour, &[]);
        let _ = service.ask_to_start();
        let status = service.until(|s| s.state == ServiceState::Stopped && s.exit_code.is_some());
        assert_eq!(status.exit_code, Some(code), "{behaviour}");
        let told = exit_told(code);
        assert!(told.contains(remedy), "{told}");
    }
}

#[test]
fn a_service_that_never_reports_to_the_manager_is_1053_and_may_have_begun() {
    let silent = Installed::new("silent", &[]);
    let error = silent.ask_to_start().unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (HostErrorKind::Service(1053), Effect::Unknown)
    );
}

#[test]
fn a_service_that_does_not_stop_is_ended_as_a_process() {
    let stubborn = Installed::new("stubborn", &[]);
    let process = stubborn.started().process.unwrap();
    HERE.request_stop(&stubborn.name).unwrap();
    let stopping = stubborn.until(|status| status.state == ServiceState::Stopping);
    assert_eq!(stopping.process.as_ref(), Some(&process));
    HERE.end_process(&process).unwrap();
    let ended = stubborn.until(|status| status.state == ServiceState::Stopped);
    assert!(ended.exit_code.is_some_and(|code| code != 0), "{ended:?}");
    assert!(!HERE.process_alive(&process).unwrap());
}

#[test]
fn what_depends_on_a_service_and_runs_is_found_in_the_order_to_stop_it() {
    let first = Installed::new("plain", &[]);
    let second = Installed::new("plain", &[&first.name]);
    let third = Installed::new("plain", &[&second.name]);
    let idle = Installed::new("plain", &[&first.name]);
    first.started();
    assert_eq!(HERE.running_dependents(&first.name), Ok(vec![]));
    second.started();
    third.started();
    let order = vec![third.name.clone(), second.name.clone()];
    assert_eq!(HERE.running_dependents(&first.name), Ok(order));
    assert_eq!(HERE.running_dependents(&idle.name), Ok(vec![]));
    for service in [&third, &second, &first] {
        HERE.request_stop(&service.name).unwrap();
        service.until(|status| status.state == ServiceState::Stopped);
    }
    assert_eq!(HERE.running_dependents(&first.name), Ok(vec![]));
}

#[test]
fn dependents_come_before_what_they_need_however_they_are_listed() {
    let name = |name: &str| name.parse::<ServiceName>().unwrap();
    let needs = |one: &str, on: &[&str]| {
        (
            name(one),
            on.iter().map(|&on| on.to_owned()).collect::<Vec<_>>(),
        )
    };
    let all = [
        needs("IMC", &["IS", "MTA"]),
        needs("IS", &["DS"]),
        needs("MTA", &["ds"]),
        needs("DS", &["SA"]),
        needs("Other", &[]),
        // A circle, which the manager refuses, ends here too.
        needs("SA", &["IMC"]),
    ];
    let order = in_order_to_stop(&name("SA"), &all);
    let at = |one: &str| order.iter().position(|other| *other == name(one)).unwrap();
    assert_eq!(order.len(), 4, "{order:?}");
    assert!(
        at("IMC") < at("IS")
            && at("IMC") < at("MTA")
            && at("IS") < at("DS")
            && at("MTA") < at("DS")
    );
}

#[test]
fn windows_own_tool_says_the_same() {
    let service = Installed::new("plain", &[]);
    let says = |word: &str| {
        let mut command = std::process::Command::new(r"C:\windows\system32\sc.exe");
        let output = command
            .args(["query", service.name.as_str()])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(word), "{text}");
    };
    says("STOPPED");
    service.started();
    says("RUNNING");
}

#[test]
fn processes_of_another_machine_are_out_of_reach_and_said_so() {
    let there = ControlManager {
        machine: Machine::Remote("oslo-b".parse().unwrap()),
    };
    let process = ProcessIdentity {
        pid: 4,
        started: 1,
        image: "x".into(),
    };
    assert_eq!(
        refused(there.end_process(&process)),
        (HostErrorKind::Denied, Effect::None)
    );
    assert_eq!(
        there.process_alive(&process).unwrap_err().kind,
        HostErrorKind::Denied
    );
}
