//! The services of a server and who manages them.
//!
//! On Linux the lab's own service manager stands where the Windows SCM stands ([`run`]). Its clients talk to
//! it over a Unix socket, one JSON object per line each way; any number of them may come, die and come again.
//! Under Wine the SCM is Windows' own, and at the same socket the lab is answered by a relay to it, so that
//! whoever plays on a server need not know what it runs on.

#[cfg(unix)]
mod client;
#[cfg(unix)]
mod daemon;
#[cfg(unix)]
mod door;
mod protocol;
#[cfg(unix)]
pub mod relay;

#[cfg(unix)]
pub use client::ManagerClient;
#[cfg(unix)]
pub use daemon::run;
pub use protocol::{Answer, Change, Op, Request, State};

use crate::lab_error::LabError;
use crate::server_dir::ServerDir;

/// Already running.
pub const ALREADY_RUNNING: u32 = 1056;
/// Other running services need it.
pub const DEPENDENTS_RUNNING: u32 = 1051;
/// No such service.
pub const NO_SUCH_SERVICE: u32 = 1060;
/// Cannot accept control messages at this time.
pub const NO_CONTROLS: u32 = 1061;
/// Not started.
pub const NOT_STARTED: u32 = 1062;
/// The process ended unexpectedly.
pub const PROCESS_DIED: u32 = 1067;
/// A service that it depends on did not start.
pub const DEPENDENCY_FAILED: u32 = 1068;

/// The state of a service of this server, as whoever manages it says.
///
/// # Errors
/// Where the manager does not answer.
pub fn state(server: &ServerDir, service: &str) -> Result<Option<State>, LabError> {
    #[cfg(unix)]
    let answer = ManagerClient::new(server).ask(Op::Query, service)?;
    #[cfg(windows)]
    let answer = crate::windows_site::control::query(server, service);
    Ok(answer.state)
}

/// When a process started, in clock ticks since the machine did: field 22 of `/proc/PID/stat`.
#[cfg(unix)]
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, field 2, may hold blanks and parentheses.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_the_same_for_the_same_process_only() {
        let mine = start_time(std::process::id());
        assert!(mine.is_some());
        assert_eq!(mine, start_time(std::process::id()));
        assert_ne!(mine, start_time(1));
    }
}
