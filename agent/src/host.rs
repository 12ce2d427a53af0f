//! The only door to the machine.
//!
//! Everything that the agent reads or changes outside its own data folder goes through [`Host`].
//! Providers: `unix` (real processes and files), `windows` (the service control manager, the registry,
//! handles), `simulated` (deterministic, for crash sweeps and simulation). Nothing here assumes one of
//! them: file identity, process identity and locks are opaque to the callers.
//!
//! All calls block; the runner has a thread of its own. A call that fails says whether it is known
//! that nothing changed: [`HostError::effect`].

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mailmend_policy::condition::{PathRoot, Queue};
use mailmend_policy::name::ServiceName;

use crate::evidence::bookmark::Bookmarks;
use crate::evidence::log_time::LogTimes;

#[cfg(any(windows, test))]
pub(crate) mod access_list;
#[cfg(any(target_os = "linux", windows))]
mod counter_file;
#[cfg(any(target_os = "linux", windows))]
mod event_file;
#[cfg(any(windows, test))]
mod event_log;
#[cfg(any(target_os = "linux", windows))]
mod exchange_folder;
mod machine_name;
#[cfg(any(target_os = "linux", windows))]
mod new_files;
#[cfg(any(target_os = "linux", windows))]
mod pace;
#[cfg(any(target_os = "linux", windows))]
mod program;
#[cfg(all(test, any(target_os = "linux", windows)))]
mod real_files;
mod service_code;
pub mod simulated;
#[cfg(target_os = "linux")]
pub mod unix;
#[cfg(windows)]
pub mod windows;

pub use self::machine_name::MachineName;
#[cfg(all(test, any(target_os = "linux", windows)))]
pub(crate) use self::real_files::real_files;
pub(crate) use self::service_code::exit_told;

#[cfg(target_os = "linux")]
use self::unix::here;
#[cfg(windows)]
use self::windows::here;
#[cfg(windows)]
pub(crate) use self::windows::security;

/// A machine, or a simulated one.
pub trait Host: Send + Sync {
    /// Its services.
    fn services(&self) -> &dyn Services;
    /// Its files.
    fn spool(&self) -> &dyn Spool;
    /// Its registry.
    fn registry(&self) -> &dyn Registry;
    /// Its event log.
    fn events(&self) -> &dyn Events;
    /// Its tools. The guard decides which; the host only runs them.
    fn tools(&self) -> &dyn Tools;
    /// Its clock.
    fn clock(&self) -> &dyn Clock;
    /// The clocks that its logs are stamped by, as its administrator states them.
    fn log_times(&self) -> LogTimes {
        LogTimes::default()
    }
    /// Where the readers of its logs keep what they have read; without, they read all each time.
    fn bookmarks(&self) -> Option<&Bookmarks> {
        None
    }
    /// The counters of its mail service.
    fn counters(&self) -> &dyn Counters {
        &NoCounters
    }

    /// The folder that a path variable stands for, found in the registry.
    ///
    /// # Errors
    /// Where the registry value is missing, not a path, or the folder is not there.
    fn root(&self, root: PathRoot) -> Result<PathBuf, HostError>;
}

/// What went wrong at the machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{attempted}: {reason}")]
pub struct HostError {
    /// What was attempted, with the value in backticks.
    pub attempted: String,
    /// What the machine said.
    pub reason: String,
    /// What kind of failure it is.
    pub kind: HostErrorKind,
    /// Whether anything may have changed.
    pub effect: Effect,
}

impl HostError {
    /// A failure of which it is known that nothing changed.
    #[must_use]
    pub fn unchanged(
        kind: HostErrorKind,
        attempted: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            attempted: attempted.into(),
            reason: reason.into(),
            kind,
            effect: Effect::None,
        }
    }

    /// A failure after which something may have changed.
    #[must_use]
    pub fn unknown(
        kind: HostErrorKind,
        attempted: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            attempted: attempted.into(),
            reason: reason.into(),
            kind,
            effect: Effect::Unknown,
        }
    }
}

/// What kind of failure a [`HostError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostErrorKind {
    /// The thing is not there.
    NotFound,
    /// Something of that name is already there (no-replace move, link or create).
    Exists,
    /// Somebody else has it open or locked.
    Locked,
    /// The volume is full, or a quota is.
    NoSpace,
    /// The account may not.
    Denied,
    /// The two paths are not on one volume.
    CrossVolume,
    /// A symbolic link, junction or other reparse point stands where a file or folder should.
    Reparse,
    /// It did not finish in time.
    TimedOut,
    /// The service manager refused: not running (1062), disabled (1058), no such service (1060),
    /// cannot accept control messages (1061), died (1067), failed to start (2140, 2186).
    Service(u32),
    /// The bytes are there but make no sense.
    Malformed,
    /// An I/O error, a failed sync among them.
    Io,
}

/// Whether a failed call may have changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is known that nothing changed.
    None,
    /// It may have taken effect.
    Unknown,
}

/// The service manager.
pub trait Services: Send + Sync {
    /// A service's state.
    ///
    /// # Errors
    /// Where there is no such service or the manager does not answer.
    fn query(&self, service: &ServiceName) -> Result<ServiceStatus, HostError>;
    /// Asks a service to stop and returns at once; [`Self::query`] shows when it has.
    ///
    /// # Errors
    /// Where the manager refuses; already stopped is `Service(1062)`.
    fn request_stop(&self, service: &ServiceName) -> Result<(), HostError>;
    /// Asks a service to start and returns at once; [`Self::query`] shows when it has.
    ///
    /// # Errors
    /// Where the manager refuses; already running is `Service(1056)`.
    fn request_start(&self, service: &ServiceName) -> Result<(), HostError>;
    /// Ends exactly this process: pid, start time and image must all still match.
    ///
    /// # Errors
    /// `NotFound` where no such process is left, which is what the caller wants to know.
    fn end_process(&self, process: &ProcessIdentity) -> Result<(), HostError>;
    /// Whether exactly this process is still there.
    ///
    /// # Errors
    /// Where that cannot be told.
    fn process_alive(&self, process: &ProcessIdentity) -> Result<bool, HostError>;
    /// The services that depend on this one and are running now, in the order to stop them.
    ///
    /// # Errors
    /// Where there is no such service or the manager does not answer.
    fn running_dependents(&self, service: &ServiceName) -> Result<Vec<ServiceName>, HostError>;
}

/// A service as its manager sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Its state.
    pub state: ServiceState,
    /// Its process, where it has one.
    pub process: Option<ProcessIdentity>,
    /// The exit code of its last process, 0 for a clean stop; `None` while it has never run.
    pub exit_code: Option<u32>,
    /// Whether it accepts a stop request now.
    pub accepts_stop: bool,
}

/// A service's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// Not running.
    Stopped,
    /// On its way up.
    Starting,
    /// Running.
    Running,
    /// On its way down.
    Stopping,
}

/// A process that cannot be confused with a later one of the same pid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Its number.
    pub pid: u32,
    /// When it started, in the machine's own units; equal only for the same process.
    pub started: u64,
    /// Its program file, or the name that the machine knows it by.
    pub image: String,
}

/// Files of the server. Message files change only through the four verbs `move_new`, `link_new`,
/// `write_new` and `remove`, none of which ever replaces anything.
pub trait Spool: Send + Sync {
    /// The entries of a folder, top level only, in name order. Links are listed as [`FileKind::Other`].
    ///
    /// # Errors
    /// Where the folder cannot be read.
    fn list(&self, folder: &Path) -> Result<Vec<FileInfo>, HostError>;
    /// One entry; `None` where there is nothing of that name. Never follows a link.
    ///
    /// # Errors
    /// Where that cannot be told.
    fn look(&self, path: &Path) -> Result<Option<FileInfo>, HostError>;
    /// Opens a regular file for reading, not following links.
    ///
    /// # Errors
    /// Where it is not there, is not a regular file, or may not be read.
    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, HostError>;
    /// Opens a log for reading at any place, as [`Self::open`] does, and tells of the very file that was
    /// opened, whatever its name stands for by now.
    ///
    /// # Errors
    /// As [`Self::open`]. This default reads the whole file into memory and looks by name.
    fn open_log(&self, path: &Path) -> Result<(FileInfo, Box<dyn LogFile>), HostError> {
        let attempted = || format!("open `{}`", path.display());
        let info = self.look(path)?.ok_or_else(|| {
            HostError::unchanged(
                HostErrorKind::NotFound,
                attempted(),
                "there is no such file",
            )
        })?;
        let mut content = Vec::new();
        self.open(path)?
            .read_to_end(&mut content)
            .map_err(|error| {
                HostError::unchanged(HostErrorKind::Io, attempted(), error.to_string())
            })?;
        Ok((info, Box::new(Cursor::new(content))))
    }
    /// Opens a file exclusively and closes it again: proof that nobody has it open.
    ///
    /// # Errors
    /// `Locked` where somebody has.
    fn probe_exclusive(&self, path: &Path) -> Result<(), HostError>;
    /// Moves a file within a volume; fails with `Exists` rather than replace.
    ///
    /// # Errors
    /// As [`HostErrorKind`] says; `CrossVolume` is never worked around.
    fn move_new(&self, from: &Path, to: &Path) -> Result<(), HostError>;
    /// As [`Self::move_new`], for a file of a service that may run: only where nobody else has it open, at that very
    /// moment. A provider that can keeps it from being opened until it is moved; this default asks right before.
    ///
    /// # Errors
    /// As [`Self::move_new`]; `Locked` where somebody has it open: nothing was moved then.
    fn move_unused(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        self.probe_exclusive(from)?;
        self.move_new(from, to)
    }
    /// Gives a file a second name within a volume; fails with `Exists` rather than replace.
    ///
    /// # Errors
    /// As [`HostErrorKind`] says.
    fn link_new(&self, from: &Path, to: &Path) -> Result<(), HostError>;
    /// Opens files of one folder as [`Self::open`] does, one after another, and gives each with its
    /// place in `names` to `each`. A provider may reach the folder once for all of them.
    fn open_each(&self, folder: &Path, names: &[&str], each: &mut OpenedFile<'_>) {
        for (at, name) in names.iter().enumerate() {
            each(at, self.open(&folder.join(name)));
        }
    }
    /// Probes files of one folder as [`Self::probe_exclusive`] does; one answer each, in order.
    fn probe_each(&self, folder: &Path, names: &[&str]) -> Vec<Result<(), HostError>> {
        let probe = |name: &&str| self.probe_exclusive(&folder.join(name));
        names.iter().map(probe).collect()
    }
    /// Moves files of one folder into another under their own names as [`Self::move_new`] does, all of
    /// them whatever becomes of one; one answer each, in order.
    fn move_each(&self, from: &Path, to: &Path, names: &[&str]) -> Vec<Result<(), HostError>> {
        let act = |name: &&str| self.move_new(&from.join(name), &to.join(name));
        names.iter().map(act).collect()
    }
    /// Gives files of one folder a second name in another, the same name, as [`Self::link_new`] does,
    /// all of them whatever becomes of one; one answer each, in order.
    fn link_each(&self, from: &Path, to: &Path, names: &[&str]) -> Vec<Result<(), HostError>> {
        let act = |name: &&str| self.link_new(&from.join(name), &to.join(name));
        names.iter().map(act).collect()
    }
    /// Writes a new file and syncs it; fails with `Exists` rather than replace. Its name never
    /// shows a part of it; a crash may leave a file whose name begins with `.mailmend-` instead.
    ///
    /// # Errors
    /// As [`HostErrorKind`] says.
    fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError>;
    /// Makes a folder, its parents too, and syncs each new folder's parent. A folder that is there
    /// already is no error.
    ///
    /// # Errors
    /// As [`HostErrorKind`] says.
    fn make_folder(&self, folder: &Path) -> Result<(), HostError>;
    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// Any error means that durability is unknown; it must not be tried again (the pages may be gone).
    fn sync_folder(&self, folder: &Path) -> Result<(), HostError>;
    /// The names in a folder and what they are, in any order: less than [`Self::list`] tells, and much faster.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    fn names(&self, folder: &Path) -> Result<Vec<(String, FileKind)>, HostError> {
        let entries = self.list(folder)?;
        Ok(entries
            .into_iter()
            .map(|entry| (entry.name, entry.kind))
            .collect())
    }
    /// Makes an empty folder with the owner and mode of another one, and syncs its parent. One that is
    /// there already is no error.
    ///
    /// # Errors
    /// As [`HostErrorKind`] says; `Denied` where the machine cannot do that.
    fn make_folder_like(&self, folder: &Path, like: &Path) -> Result<(), HostError> {
        Err(cannot(format!(
            "make the folder `{}` like `{}`",
            folder.display(),
            like.display()
        )))
    }
    /// Lets two folders exchange their names, in one step: whole or not at all, also over a power loss.
    ///
    /// # Errors
    /// As [`HostErrorKind`] says; `Denied` where the machine cannot do that.
    fn exchange_folders(&self, a: &Path, b: &Path) -> Result<(), HostError> {
        Err(cannot(format!(
            "exchange the folders `{}` and `{}`",
            a.display(),
            b.display()
        )))
    }
    /// Moves a folder within a volume; fails with `Exists` rather than replace.
    ///
    /// # Errors
    /// As [`HostErrorKind`] says; `Denied` where the machine cannot do that.
    fn move_folder_new(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        Err(cannot(format!(
            "move the folder `{}` to `{}`",
            from.display(),
            to.display()
        )))
    }
    /// Removes the name of a regular file.
    ///
    /// # Errors
    /// As [`HostErrorKind`] says.
    fn remove(&self, path: &Path) -> Result<(), HostError>;
    /// Free bytes on the volume of a path that the agent's account may use.
    ///
    /// # Errors
    /// Where that cannot be told.
    fn free_bytes(&self, path: &Path) -> Result<u64, HostError>;
    /// Tells from now on of files that appear in these folders; `None` where the machine cannot.
    ///
    /// # Errors
    /// Where a folder cannot be watched.
    fn watch(&self, _folders: &[PathBuf]) -> Result<Option<Box<dyn Watch>>, HostError> {
        Ok(None)
    }
    /// Whether both paths are on one volume; both must exist.
    ///
    /// # Errors
    /// Where that cannot be told.
    fn same_volume(&self, a: &Path, b: &Path) -> Result<bool, HostError>;
}

/// A log that is open for reading.
pub trait LogFile: Read + Seek + Send {}

impl<F: Read + Seek + Send> LogFile for F {}

fn cannot(attempted: String) -> HostError {
    let reason = "this machine has no such call";
    HostError::unchanged(HostErrorKind::Denied, attempted, reason)
}

/// Tells of files that appear in folders, also of those that are gone again at once.
pub trait Watch: Send {
    /// Waits for files to appear, at most so long; each with its folder and name. Names may be told twice,
    /// and after an overflow some are not told: a look at the folders is the truth, this is a hint.
    ///
    /// # Errors
    /// Where nothing will be told any more.
    fn wait(&mut self, limit: Duration) -> Result<Vec<(PathBuf, String)>, HostError>;
}

/// The performance counters of the Internet Mail Service, which are there while it runs (Q159335).
pub trait Counters: Send + Sync {
    /// How many messages a queue holds by the service's own count: `Queued MTS-OUT` and the others.
    ///
    /// # Errors
    /// `NotFound` where the service does not run or the machine has no counters.
    fn queued(&self, queue: Queue) -> Result<u64, HostError>;
}

/// The counters of a machine that has none.
#[derive(Debug, Clone, Copy)]
pub struct NoCounters;

impl Counters for NoCounters {
    fn queued(&self, queue: Queue) -> Result<u64, HostError> {
        Err(HostError::unchanged(
            HostErrorKind::NotFound,
            format!("read the counter of `{}`", queue.name()),
            "the agent is not told where this machine's counters are",
        ))
    }
}

/// What [`Spool::open_each`] gives each opened file to.
pub type OpenedFile<'a> = dyn FnMut(usize, Result<Box<dyn Read + Send>, HostError>) + 'a;

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// Its identity on its volume (inode, or file index); kept by a move.
    pub file_id: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When its content last changed, in milliseconds since 1970 UTC.
    pub modified_ms: i64,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// Anything else: links, reparse points, devices. Never touched.
    Other,
}

/// The registry, below HKEY_LOCAL_MACHINE.
pub trait Registry: Send + Sync {
    /// A value; `None` where the key or the value is not there.
    ///
    /// # Errors
    /// Where that cannot be told.
    fn read(&self, key: &str, value: &str) -> Result<Option<RegistryValue>, HostError>;
}

/// A registry value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryValue {
    /// REG_SZ or REG_EXPAND_SZ.
    Text(String),
    /// REG_DWORD.
    Number(u32),
    /// REG_MULTI_SZ.
    Texts(Vec<String>),
}

/// The event log.
pub trait Events: Send + Sync {
    /// Events from `source` written at or after `since_ms` (milliseconds since 1970 UTC), oldest first.
    ///
    /// # Errors
    /// Where the log cannot be read; a log with gaps is an error, not an empty answer.
    fn read(&self, source: &str, since_ms: i64) -> Result<Vec<EventRecord>, HostError>;
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// When it was written, in milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Who wrote it.
    pub source: String,
    /// Its number.
    pub id: u32,
    /// Its text.
    pub description: String,
}

/// Programs that the guard file allows.
pub trait Tools: Send + Sync {
    /// Runs a program, without a shell, without standard input, with an empty environment (Windows needs
    /// the names of its own folder in it), and waits; ends it, and whatever it started, when `limit` has passed on the wall clock.
    ///
    /// # Errors
    /// `TimedOut` and every failure after the start have an unknown effect.
    fn run(
        &self,
        program: &Path,
        arguments: &[String],
        limit: Duration,
    ) -> Result<ToolOutput, HostError>;
}

/// What a program printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutput {
    /// Its exit code, where it ended by itself. The tools of Exchange document none.
    pub exit_code: Option<i32>,
    /// Standard output, then standard error, at most 1 MiB of each, undecodable bytes replaced.
    pub text: String,
}

/// The clock.
pub trait Clock: Send + Sync {
    /// Wall-clock time in milliseconds since 1970 UTC. It may jump; never use it for deadlines.
    fn wall_ms(&self) -> i64;
    /// Time since the machine started, sleep included, and which start it was. Deadlines are kept
    /// in this, across restarts of the agent.
    fn uptime(&self) -> Uptime;
    /// Waits.
    fn sleep(&self, period: Duration);
    /// How many times faster than the wall clock [`Self::uptime`] runs: 1 everywhere but in the
    /// lab. Durations of a policy are in uptime, so whoever compares one with a difference of wall
    /// clock times (the age of a file, the window of an event) multiplies that difference by this.
    fn pace(&self) -> f64 {
        1.0
    }
    /// An id that nothing else has.
    fn unique(&self) -> uuid::Uuid {
        uuid::Uuid::now_v7()
    }
}

/// A moment on the machine's monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uptime {
    /// Different after each start of the machine.
    pub boot: String,
    /// Time since that start.
    pub since_boot: Duration,
}

/// The path that this one leads to on the machine that the agent runs on, without links, written as the
/// roots of a guard file are.
pub(crate) fn real_path(path: &Path) -> std::io::Result<PathBuf> {
    #[cfg(any(target_os = "linux", windows))]
    return here::real_path(path);
    #[cfg(not(any(target_os = "linux", windows)))]
    path.canonicalize()
}

/// Makes the names in a folder of the agent's own durable.
pub(crate) fn sync_own_folder(folder: &Path) -> std::io::Result<()> {
    #[cfg(any(target_os = "linux", windows))]
    return here::sync_folder(folder);
    #[cfg(not(any(target_os = "linux", windows)))]
    std::fs::File::open(folder)?.sync_all()
}

/// Facts about the server that the agent reports: `ims.direction`, `exchange.version`, …
pub type Facts = BTreeMap<String, String>;
