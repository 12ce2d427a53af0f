//! The provider for Linux: real processes, real files, and a service manager behind a socket.
//!
//! Exchange does not run here; the lab's miniature site does, and mailmend's own tests. What stands
//! where Windows' service manager, registry and event log stand speaks the lab's
//! formats: a socket that speaks one JSON object per line, a TOML file and a text file.

mod clock;
mod folder;
pub(super) mod here;
mod registry;
mod services;
mod spool;
mod tools;
mod watch;

use std::path::PathBuf;

use mailmend_policy::condition::PathRoot;
use rustix::io::Errno;

use self::clock::UnixClock;
use self::registry::RegistryFile;
use self::services::ServiceManager;
use self::spool::UnixSpool;
use self::tools::Programs;
use super::counter_file::CounterFile;
use super::event_file::EventFile;
use super::{
    Clock, Counters, Effect, Events, Host, HostError, HostErrorKind, Registry, Services, Spool,
    Tools, exchange_folder,
};
use crate::evidence::bookmark::Bookmarks;
use crate::evidence::log_time::LogTimes;

/// Where a [`UnixHost`] finds what Windows would have.
#[derive(Debug, Clone)]
pub struct UnixSettings {
    /// The socket of the service manager.
    pub service_socket: PathBuf,
    /// The registry: a TOML file, one table per key.
    pub registry_file: PathBuf,
    /// The event log, in one of the forms of [`crate::evidence::event_text`].
    pub events_file: PathBuf,
    /// The counters of the mail service: a text file that it writes; none: nothing is counted.
    pub counters_file: Option<PathBuf>,
    /// How many times faster than the wall clock the uptime runs; 1 outside the lab. Values that
    /// are not a number of at least 1 are taken as 1.
    ///
    /// With a factor of 60, `Clock::sleep` of a minute takes a second and `Clock::uptime` advances
    /// by a minute meanwhile; `Clock::wall_ms`, the times of files and events, and the limits of
    /// tools stay true. `Clock::pace` tells the factor to whoever compares the two.
    pub clock_factor: f64,
}

/// A Linux machine.
#[derive(Debug)]
pub struct UnixHost {
    services: ServiceManager,
    spool: UnixSpool,
    registry: RegistryFile,
    events: EventFile,
    tools: Programs,
    clock: UnixClock,
    log_times: LogTimes,
    bookmarks: Bookmarks,
    counters: CounterFile,
}

impl UnixHost {
    /// A host with these settings; nothing is opened or asked yet.
    #[must_use]
    pub fn new(settings: UnixSettings) -> Self {
        Self {
            services: ServiceManager::at(settings.service_socket),
            spool: UnixSpool,
            registry: RegistryFile::at(settings.registry_file),
            events: EventFile::at(settings.events_file),
            tools: Programs,
            clock: UnixClock::with_factor(settings.clock_factor),
            log_times: LogTimes::default(),
            bookmarks: Bookmarks::default(),
            counters: CounterFile(settings.counters_file),
        }
    }

    /// The same with logs that are stamped by these clocks; UTC unless told.
    #[must_use]
    pub fn with_log_times(mut self, log_times: LogTimes) -> Self {
        self.events.set_clock(log_times.events);
        self.log_times = log_times;
        self
    }
}

impl Host for UnixHost {
    fn services(&self) -> &dyn Services {
        &self.services
    }
    fn spool(&self) -> &dyn Spool {
        &self.spool
    }
    fn registry(&self) -> &dyn Registry {
        &self.registry
    }
    fn events(&self) -> &dyn Events {
        &self.events
    }
    fn tools(&self) -> &dyn Tools {
        &self.tools
    }
    fn clock(&self) -> &dyn Clock {
        &self.clock
    }
    fn log_times(&self) -> LogTimes {
        self.log_times
    }
    fn bookmarks(&self) -> Option<&Bookmarks> {
        Some(&self.bookmarks)
    }
    fn counters(&self) -> &dyn Counters {
        &self.counters
    }

    fn root(&self, root: PathRoot) -> Result<PathBuf, HostError> {
        exchange_folder::find(&self.registry, root, &|text| {
            // Links above the folder are the administrator's affair and resolved once, here; from here
            // on the spool refuses every link on the way.
            exchange_folder::absolute(text)?
                .canonicalize()
                .map_err(|error| reading(format!("find `{text}`"), &error))
        })
    }
}

/// The error of a call that only reads.
fn reading(attempted: impl Into<String>, error: &std::io::Error) -> HostError {
    HostError::unchanged(kind_of(error), attempted, error.to_string())
}

/// The error of a call that changes something. The kernel refuses before it changes anything, but
/// for an I/O error, or one that we do not know.
fn changing(attempted: impl Into<String>, errno: Errno) -> HostError {
    let error = std::io::Error::from(errno);
    let kind = kind_of(&error);
    let refused = matches!(
        errno,
        Errno::INVAL | Errno::NOSYS | Errno::NAMETOOLONG | Errno::MLINK
    );
    let effect = if kind == HostErrorKind::Io && !refused {
        Effect::Unknown
    } else {
        Effect::None
    };
    HostError {
        attempted: attempted.into(),
        reason: error.to_string(),
        kind,
        effect,
    }
}

fn kind_of(error: &std::io::Error) -> HostErrorKind {
    use std::io::ErrorKind;
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::SRCH) => HostErrorKind::NotFound,
        Some(Errno::EXIST | Errno::NOTEMPTY) => HostErrorKind::Exists,
        Some(Errno::BUSY | Errno::TXTBSY) => HostErrorKind::Locked,
        Some(Errno::NOSPC | Errno::DQUOT) => HostErrorKind::NoSpace,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => HostErrorKind::Denied,
        Some(Errno::XDEV) => HostErrorKind::CrossVolume,
        Some(Errno::LOOP) => HostErrorKind::Reparse,
        // A read or write with a limit ends with EAGAIN when the limit has passed.
        Some(Errno::TIMEDOUT | Errno::AGAIN) => HostErrorKind::TimedOut,
        Some(_) => HostErrorKind::Io,
        None => match error.kind() {
            ErrorKind::NotFound => HostErrorKind::NotFound,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => HostErrorKind::TimedOut,
            _ => HostErrorKind::Io,
        },
    }
}
