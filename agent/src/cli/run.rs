//! `run`: the agent at work.

use std::sync::Arc;

use mailmend_agent::config::{Config, HostSettings};
use mailmend_agent::host::Host;

use super::failure::Failure;

/// This machine's time, milliseconds since 1970 UTC; before 1970 it is negative.
pub(super) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What network calls run on.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("mailmend-session")
        .enable_all()
        .build()
        .map_err(|why| Failure::failed(format!("could not start the network's threads: {why}")))
}

/// The machine, as the configuration says that it is reached.
#[cfg(target_os = "linux")]
pub(super) fn host(config: &Config) -> Result<Arc<dyn Host>, Failure> {
    use mailmend_agent::host::unix::{UnixHost, UnixSettings};
    let HostSettings::Unix {
        service_socket,
        registry_file,
        events_file,
        clock_factor,
    } = config.host.value.clone();
    Ok(Arc::new(UnixHost::new(UnixSettings {
        service_socket,
        registry_file,
        events_file,
        clock_factor,
    })))
}

/// The machine, as the configuration says that it is reached.
#[cfg(not(target_os = "linux"))]
pub(super) fn host(config: &Config) -> Result<Arc<dyn Host>, Failure> {
    let HostSettings::Unix { .. } = config.host.value;
    Err(Failure::usage("the provider `unix` works on Linux only"))
}
