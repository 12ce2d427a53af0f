//! The provider for Windows: the service control manager, processes, the registry, the event log and
//! files, of the machine that the agent runs on or of an old server beside it.
//!
//! Nowhere else in mailmend is unsafe code; each block says why it is sound. `docs/windows.md` says what was
//! seen to work and what is there by interface only.

mod clock;
mod events;
mod failure;
mod folder;
pub(super) mod here;
mod machine;
mod path;
mod process;
mod registry;
mod report;
pub(crate) mod security;
mod services;
mod spool;
mod tools;
mod volumes;
mod watch;

use std::path::PathBuf;

use mailmend_policy::condition::PathRoot;

pub use self::machine::Machine;
pub use self::registry::{MachineRegistry, Undo};
pub use self::report::{Reporter, Severity};

use self::clock::WindowsClock;
use self::events::EventLog;
use self::services::ControlManager;
use self::spool::WindowsSpool;
use self::tools::Programs;
use super::counter_file::CounterFile;
use super::event_file::EventFile;
use super::{
    Clock, Counters, Events, Host, HostError, HostErrorKind, Registry, Services, Spool, Tools,
    exchange_folder,
};
use crate::evidence::bookmark::Bookmarks;
use crate::evidence::log_time::LogTimes;

/// How a [`WindowsHost`] reaches its machine.
#[derive(Debug, Clone)]
pub struct WindowsSettings {
    /// The machine that is served.
    pub machine: Machine,
    /// Where the event log is read: Windows' own, or a text file in one of the forms of
    /// [`crate::evidence::event_text`].
    pub events: EventSource,
    /// The counters of the mail service: a text file that it writes; none: nothing is counted.
    pub counters_file: Option<PathBuf>,
    /// Whether messages on another machine's disks may be moved, though nobody can promise their
    /// durability there.
    pub custody_over_smb: bool,
    /// How many times faster than the wall clock the uptime runs; 1 outside the lab.
    pub clock_factor: f64,
}

/// Where events are read.
#[derive(Debug, Clone)]
pub enum EventSource {
    /// The Application log of the machine. Where reading had come to is kept in this file, so that a gap
    /// is noticed after a restart of the agent, too.
    Log {
        /// The file; it is written anew after each reading.
        bookmark: PathBuf,
    },
    /// A text file.
    File(PathBuf),
}

/// A Windows machine.
#[derive(Debug)]
pub struct WindowsHost {
    machine: Machine,
    services: ControlManager,
    spool: WindowsSpool,
    registry: MachineRegistry,
    events: Source,
    tools: Programs,
    clock: WindowsClock,
    log_times: LogTimes,
    bookmarks: Bookmarks,
    counters: CounterFile,
}

#[derive(Debug)]
enum Source {
    Log(EventLog),
    File(EventFile),
}

impl WindowsHost {
    /// A host with these settings; nothing is opened or asked yet.
    #[must_use]
    pub fn new(settings: WindowsSettings) -> Self {
        let machine = settings.machine;
        Self {
            services: ControlManager {
                machine: machine.clone(),
            },
            spool: WindowsSpool {
                custody_over_smb: settings.custody_over_smb,
            },
            registry: MachineRegistry::of(machine.clone()),
            events: match settings.events {
                EventSource::Log { bookmark } => {
                    Source::Log(EventLog::of(machine.clone(), bookmark))
                }
                EventSource::File(file) => Source::File(EventFile::at(file)),
            },
            tools: Programs {
                machine: machine.clone(),
            },
            clock: WindowsClock::with_factor(settings.clock_factor),
            log_times: LogTimes::default(),
            bookmarks: Bookmarks::default(),
            counters: CounterFile(settings.counters_file),
            machine,
        }
    }

    /// The same with logs that are stamped by these clocks; UTC unless told. Windows' own event log is
    /// in UTC by itself.
    #[must_use]
    pub fn with_log_times(mut self, log_times: LogTimes) -> Self {
        if let Source::File(file) = &mut self.events {
            file.set_clock(log_times.events);
        }
        self.log_times = log_times;
        self
    }

    /// The registry with its undo, which the steps of a policy do not reach.
    #[must_use]
    pub fn machine_registry(&self) -> &MachineRegistry {
        &self.registry
    }

    fn reached(&self, text: &str) -> Result<PathBuf, HostError> {
        let attempted = || format!("find `{text}` of {}", self.machine);
        let expanded = if text.contains('%') {
            self.expanded(text)?
        } else {
            text.to_owned()
        };
        let path = self
            .machine
            .path_here(exchange_folder::absolute(&expanded)?)?;
        // Links above the folder are the administrator's affair and resolved once, here; from here
        // on the spool refuses every link on the way.
        here::real_path(&path).map_err(|error| here::told(attempted(), &error))
    }

    /// A text of the registry with the names of folders in it written out.
    fn expanded(&self, text: &str) -> Result<String, HostError> {
        let fail = |reason: &str| {
            let attempted = format!("write out `{text}`");
            HostError::unchanged(HostErrorKind::Malformed, attempted, reason)
        };
        if self.machine.is_remote() {
            return Err(fail(
                "only the other machine knows what the names in it stand for",
            ));
        }
        let mut out = String::new();
        for (at, part) in text.split('%').enumerate() {
            if at % 2 == 0 {
                out.push_str(part);
            } else {
                let value =
                    std::env::var(part).map_err(|_| fail("a name in it stands for nothing"))?;
                out.push_str(&value);
            }
        }
        Ok(out)
    }
}

impl Host for WindowsHost {
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
        match &self.events {
            Source::Log(log) => log,
            Source::File(file) => file,
        }
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
        exchange_folder::find(&self.registry, root, &|text| self.reached(text))
    }
}

#[cfg(test)]
mod tests;
