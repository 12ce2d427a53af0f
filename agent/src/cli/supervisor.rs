//! Whoever started the agent: it is told how the agent is, and asked for time when the agent ends.

use std::time::Duration;

/// How long an end may take where nobody can be asked for more: whoever waits, usually waits 90 seconds.
pub(super) const UNASKED: Duration = Duration::from_secs(80);
/// How long an end may take where it can be asked for, as long as a section is open: mail service is
/// brought up first, and no exit of a section takes longer.
pub(super) const ASKED: Duration = Duration::from_secs(600);
/// How often an agent that ends says that it is still at it.
pub(super) const STILL: Duration = Duration::from_secs(5);
/// How long it may be silent meanwhile before its supervisor gives it up.
pub(super) const SILENT: Duration = Duration::from_secs(30);

/// Whoever started the agent.
pub(super) trait Supervisor: Send + Sync {
    /// The agent has its journal and hears a stop. What was interrupted is mended from now on, which
    /// may take as long as a section: a supervisor that waited for that would end the agent in it.
    fn ready(&self);
    /// What it does, in a few words.
    fn says(&self, what: &str);
    /// It ends, and is heard of again within [`SILENT`].
    fn ending(&self);
    /// How long its end may take while a section is open.
    fn patience(&self) -> Duration;
}

/// Nobody in particular: a person at a terminal, a script, a container.
#[derive(Debug)]
pub(super) struct Anybody;

impl Supervisor for Anybody {
    fn ready(&self) {}
    fn says(&self, _what: &str) {}
    fn ending(&self) {}
    fn patience(&self) -> Duration {
        UNASKED
    }
}

/// The supervisor that the environment tells of.
pub(super) fn of_environment() -> Box<dyn Supervisor> {
    #[cfg(target_os = "linux")]
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        return Box::new(Systemd);
    }
    Box::new(Anybody)
}

/// systemd, which is told through the socket that it names.
#[cfg(target_os = "linux")]
struct Systemd;

#[cfg(target_os = "linux")]
impl Systemd {
    fn tell(states: &[sd_notify::NotifyState<'_>]) {
        // Where systemd does not listen, the agent works all the same.
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!(%error, "systemd does not listen");
        }
    }
}

#[cfg(target_os = "linux")]
impl Supervisor for Systemd {
    fn ready(&self) {
        Self::tell(&[sd_notify::NotifyState::Ready]);
    }

    fn says(&self, what: &str) {
        Self::tell(&[sd_notify::NotifyState::Status(what)]);
    }

    fn ending(&self) {
        let silent = u32::try_from(SILENT.as_micros()).unwrap_or(u32::MAX);
        Self::tell(&[
            sd_notify::NotifyState::Stopping,
            sd_notify::NotifyState::ExtendTimeoutUsec(silent),
        ]);
    }

    fn patience(&self) -> Duration {
        ASKED
    }
}
