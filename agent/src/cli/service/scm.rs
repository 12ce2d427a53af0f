//! The agent as a service of the Windows service control manager.

mod entry;
mod event_source;
mod grants;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mailmend_agent::config::Config;
use mailmend_agent::guard::Guard;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceConfig, ServiceErrorControl,
    ServiceExitCode, ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo,
    ServiceStartType, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::{Answer, Install, Named, Outcome, Run, SERVICE, command, what_stays};
use crate::cli::failure::Failure;
use crate::cli::supervisor::{ASKED, SILENT};
use crate::cli::table::{json, say};
use crate::cli::{Common, Output};

/// What Windows says where there is no such service.
const ABSENT: i32 = 1060;
/// … where the account may not.
const DENIED: i32 = 5;
/// … where it does not run.
const NOT_RUNNING: i32 = 1062;
/// … where it does not know a setting, because it is older than that, or is Wine.
const UNKNOWN_SETTING: i32 = 124;
/// … where it is on its way up or down.
const NOT_NOW: i32 = 1061;
/// … where it runs already.
const RUNNING: i32 = 1056;

/// How often a service is looked at.
const LOOK: Duration = Duration::from_millis(100);

pub(super) use entry::run;

pub(super) fn install(common: &Common, config: &Config, what: &Install) -> Result<(), Failure> {
    let guard = Guard::read(&config.guard.value)?;
    let info = info(common, config, what)?;
    let account = what.account.as_deref();
    let notes = account.map_or_else(Vec::new, |account| {
        grants::needed(account, &guard, config, &logs(what.logs.as_deref(), config))
    });
    if what.dry_run {
        return tell_plan(common.output, &info, notes);
    }
    let manager = manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)?;
    let access = ServiceAccess::QUERY_CONFIG
        | ServiceAccess::CHANGE_CONFIG
        | ServiceAccess::QUERY_STATUS
        | ServiceAccess::START;
    let (service, before) = match manager.open_service(&what.named.service, access) {
        Ok(service) => {
            let before = Setup::of(&service)?;
            ours(&what.named.service, &before.config)?;
            service
                .change_config(&info)
                .map_err(|why| refused("change the service", &why))?;
            (service, Some(before))
        }
        Err(why) if number(&why) == Some(ABSENT) => {
            let service = manager
                .create_service(&info, access)
                .map_err(|why| refused("create the service", &why))?;
            (service, None)
        }
        Err(why) => return Err(refused("open the service", &why)),
    };
    let lacks = set_up(&service, config)?;
    event_source::register(&what.named.service).map_err(|why| {
        Failure::failed(format!(
            "A132-service-manager: the source of events could not be registered: {why}"
        ))
    })?;
    let outcome = match before {
        None => Outcome::Installed,
        Some(before) if before == Setup::of(&service)? => Outcome::Unchanged,
        Some(_) => Outcome::Updated,
    };
    let mut notes = [lacks, notes].concat();
    if what.start {
        start(&service, &logs(what.logs.as_deref(), config))?;
    } else {
        notes.insert(
            0,
            format!("to start it now: net start {}", what.named.service),
        );
    }
    if outcome == Outcome::Updated {
        notes.insert(
            0,
            "an agent that runs goes on as before until it is restarted".into(),
        );
    }
    Answer {
        service: &what.named.service,
        outcome,
        entry: entry_of(&what.named),
        started: what.start,
        notes,
    }
    .tell(common.output)
}

pub(super) fn uninstall(common: &Common, named: &Named) -> Result<(), Failure> {
    let answer = |outcome| {
        Answer {
            service: &named.service,
            outcome,
            entry: entry_of(named),
            started: false,
            notes: what_stays(common),
        }
        .tell(common.output)
    };
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    let access = ServiceAccess::QUERY_CONFIG
        | ServiceAccess::QUERY_STATUS
        | ServiceAccess::STOP
        | ServiceAccess::DELETE;
    let service = match manager.open_service(&named.service, access) {
        Ok(service) => service,
        Err(why) if number(&why) == Some(ABSENT) => return answer(Outcome::NotInstalled),
        Err(why) => return Err(refused("open the service", &why)),
    };
    let config = service
        .query_config()
        .map_err(|why| refused("look at the service", &why))?;
    ours(&named.service, &config)?;
    stop(&service)?;
    service
        .delete()
        .map_err(|why| refused("delete the service", &why))?;
    // Old events keep their text: whoever reads them later needs it no less than today.
    drop(service);
    answer(Outcome::Removed)
}

/// Stops it and waits for it, as long as an end may take.
fn stop(service: &Service) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        match state(service)?.current_state {
            ServiceState::Stopped => return Ok(()),
            ServiceState::StopPending => {}
            _ => match service.stop() {
                Ok(_) => {}
                // One that is on its way up hears it a little later.
                Err(why) if matches!(number(&why), Some(NOT_RUNNING | NOT_NOW)) => {}
                Err(why) => return Err(refused("stop the service", &why)),
            },
        }
        if begun.elapsed() > ASKED + SILENT {
            return Err(Failure::timed_out(
                "A133-service-slow: the agent does not end, so the service was not removed; look at its log, and repeat the command once it has ended".into(),
            ));
        }
        // Windows tells nobody, so it is asked until then.
        std::thread::sleep(LOOK);
    }
}

/// Starts it, after the end of one that is ending, and waits until it runs.
fn start(service: &Service, logs: &Path) -> Result<(), Failure> {
    let begun = Instant::now();
    while state(service)?.current_state == ServiceState::StopPending
        && begun.elapsed() < ASKED + SILENT
    {
        // Windows tells nobody, so it is asked until then.
        std::thread::sleep(LOOK);
    }
    match service.start(&[] as &[&str]) {
        Ok(()) => await_running(service, logs),
        Err(why) if number(&why) == Some(RUNNING) => Ok(()),
        Err(why) => Err(refused("start the service", &why)),
    }
}

fn state(service: &Service) -> Result<ServiceStatus, Failure> {
    service
        .query_status()
        .map_err(|why| refused("look at the service", &why))
}

/// Waits until it runs; one that ends at once has said why in its log.
fn await_running(service: &Service, logs: &Path) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let status = state(service)?;
        match status.current_state {
            ServiceState::Running => return Ok(()),
            ServiceState::Stopped => {
                let code = match status.exit_code {
                    ServiceExitCode::Win32(code) => format!("Windows' error {code}"),
                    ServiceExitCode::ServiceSpecific(code) => format!("exit code {code}"),
                };
                return Err(Failure::failed(format!(
                    "A132-service-manager: the service ended at once, with {code}; `{}` says why",
                    logs.display()
                )));
            }
            _ if begun.elapsed() > ASKED => {
                return Err(Failure::timed_out(format!(
                    "A133-service-slow: the service does not come up; `{}` says why",
                    logs.display()
                )));
            }
            // Windows tells nobody, so it is asked until then.
            _ => std::thread::sleep(LOOK),
        }
    }
}

fn info(common: &Common, config: &Config, what: &Install) -> Result<ServiceInfo, Failure> {
    let mut words = command(common, config)?;
    let program = PathBuf::from(words.remove(0));
    if what.named.service != SERVICE {
        words.extend(["--service".into(), what.named.service.clone()]);
    }
    let logs = logs(what.logs.as_deref(), config);
    let logs = std::path::absolute(&logs).unwrap_or(logs);
    words.extend(["--logs".into(), super::utf8(&logs)?]);
    let password = std::env::var_os("MAILMEND_AGENT_PASSWORD");
    Ok(ServiceInfo {
        name: what.named.service.clone().into(),
        display_name: format!("mailmend agent of {}", config.name.value).into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: program,
        launch_arguments: words.into_iter().map(OsString::from).collect(),
        dependencies: Vec::new(),
        account_name: what.account.clone().map(OsString::from),
        account_password: what.account.as_ref().and(password),
    })
}

/// Where the log goes: beside the data folder, unless told.
fn logs(told: Option<&Path>, config: &Config) -> PathBuf {
    told.map_or_else(
        || config.data.value.with_file_name("logs"),
        Path::to_path_buf,
    )
}

/// What the manager keeps beside the command. Returns what this Windows does not have.
fn set_up(service: &Service, config: &Config) -> Result<Vec<String>, Failure> {
    let mut lacks = Vec::new();
    let mut done = |what: &str, result: windows_service::Result<()>| match result {
        Err(why) if number(&why) == Some(UNKNOWN_SETTING) => {
            lacks.push(format!("this Windows cannot be told {what}"));
            Ok(())
        }
        Err(why) => Err(refused("set the service up", &why)),
        Ok(()) => Ok(()),
    };
    let description = format!(
        "Mends the mail service of {} by policies, within its guard file. A stop brings mail service up first.",
        config.name.value
    );
    done(
        "what the service is for",
        service.set_description(description),
    )?;
    // An open section may have left mail service stopped before the machine went down: nothing waits
    // for the two minutes of a delayed start. It is so by itself, unless somebody changed it.
    done(
        "not to delay the start",
        service.set_delayed_auto_start(false),
    )?;
    done(
        "to start the agent again when it has ended by itself",
        service.update_failure_actions(failure_actions()),
    )?;
    // An agent that ends with an exit code, because nothing can be written down, is to be started again
    // as one that crashed is.
    done(
        "to start the agent again when it has ended with an exit code; it does so after a crash",
        service.set_failure_actions_on_non_crash_failures(true),
    )?;
    done(
        "to wait for the agent when it goes down",
        service.set_preshutdown_timeout(ASKED),
    )?;
    Ok(lacks)
}

/// Again after 10 s, then after 30 s, then each minute, for ever: an agent that is not there brings no mail
/// service up.
fn failure_actions() -> ServiceFailureActions {
    let restart = |seconds| ServiceAction {
        action_type: ServiceActionType::Restart,
        delay: Duration::from_secs(seconds),
    };
    ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(Duration::from_secs(3600)),
        reboot_msg: None,
        command: None,
        actions: Some(vec![restart(10), restart(30), restart(60)]),
    }
}

/// What is set, to see whether anything changed.
#[derive(PartialEq)]
struct Setup {
    config: ServiceConfig,
    actions: Option<ServiceFailureActions>,
    not_only_crashes: Option<bool>,
}

impl Setup {
    fn of(service: &Service) -> Result<Self, Failure> {
        Ok(Self {
            config: service
                .query_config()
                .map_err(|why| refused("look at the service", &why))?,
            // What cannot be asked does not make a difference.
            actions: service.get_failure_actions().ok(),
            not_only_crashes: service.get_failure_actions_on_non_crash_failures().ok(),
        })
    }
}

/// Whether a service of that name was set up by this program.
fn ours(name: &str, config: &ServiceConfig) -> Result<(), Failure> {
    let command = config.executable_path.to_string_lossy().to_lowercase();
    if command.contains("mailmend-agent") && command.contains(" service run") {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "A130-service-foreign: the service `{name}` runs `{}`; name another with `--service`",
        config.executable_path.display()
    ))
    .with_exit(5))
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager, Failure> {
    ServiceManager::local_computer(None::<&str>, access)
        .map_err(|why| refused("reach the service control manager", &why))
}

fn entry_of(named: &Named) -> String {
    format!(r"HKLM\SYSTEM\CurrentControlSet\Services\{}", named.service)
}

/// Windows' number of what went wrong.
fn number(why: &windows_service::Error) -> Option<i32> {
    match why {
        windows_service::Error::Winapi(error) => error.raw_os_error(),
        _ => None,
    }
}

fn refused(attempted: &str, why: &windows_service::Error) -> Failure {
    let told = match why {
        windows_service::Error::Winapi(error) => error.to_string(),
        other => other.to_string(),
    };
    if number(why) == Some(DENIED) {
        return Failure::failed(format!(
            "A131-service-denied: could not {attempted}: {told}; do it as an administrator, in a console that is elevated"
        ))
        .with_exit(5);
    }
    Failure::failed(format!(
        "A132-service-manager: could not {attempted}: {told}"
    ))
}

fn tell_plan(output: Output, info: &ServiceInfo, notes: Vec<String>) -> Result<(), Failure> {
    let mut words = vec![info.executable_path.display().to_string()];
    words.extend(
        info.launch_arguments
            .iter()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    let account = info.account_name.as_ref();
    let account = account.map_or_else(|| "LocalSystem".into(), |name| name.to_string_lossy());
    if output == Output::Json {
        return json(&serde_json::json!({
            "service": info.name.to_string_lossy(),
            "command": words,
            "account": account,
            "start": "automatic",
            "restart_after_s": [10, 30, 60],
            "notes": notes,
        }));
    }
    for (what, value) in [
        ("service", info.name.to_string_lossy().into_owned()),
        ("command", words.join(" ")),
        ("account", account.into_owned()),
        ("start", "automatic, with Windows".into()),
        (
            "recovery",
            "again after 10 s, 30 s, then each minute".into(),
        ),
    ] {
        say(&format!("{what:9} {value}"))?;
    }
    for note in notes {
        say(&format!("  {note}"))?;
    }
    Ok(())
}
