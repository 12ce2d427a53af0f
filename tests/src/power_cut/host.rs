//! The machine of a life: real files, a mail service that is stopped, and a point before and after each call on
//! files at which the power may fail.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mailmend_agent::host::unix::{UnixHost, UnixSettings};
use mailmend_agent::host::{
    Clock, Events, FileInfo, FileKind, Host, HostError, ProcessIdentity, Registry, ServiceState,
    ServiceStatus, Services, Spool, Tools, Uptime,
};
use mailmend_agent::journal::Journal;
use mailmend_policy::condition::PathRoot;
use mailmend_policy::name::ServiceName;

/// See the module.
pub(super) struct CutHost {
    unix: UnixHost,
    journal: Journal,
    passed: AtomicU64,
    cut_at: Option<u64>,
    top: PathBuf,
    tells: bool,
}

impl CutHost {
    pub(super) fn new(journal: Journal, top: &Path, cut_at: Option<u64>) -> Self {
        let nowhere = PathBuf::from("/nonexistent");
        Self {
            unix: UnixHost::new(UnixSettings {
                service_socket: nowhere.clone(),
                registry_file: nowhere.clone(),
                events_file: nowhere,
                counters_file: None,
                clock_factor: 1.0,
            }),
            journal,
            passed: AtomicU64::new(0),
            cut_at,
            top: top.to_owned(),
            tells: true,
        }
    }

    /// The same, without a word on standard output.
    pub(super) fn quiet(self) -> Self {
        Self {
            tells: false,
            ..self
        }
    }

    pub(super) fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    fn point(&self) {
        let passed = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        if self.tells {
            say_head(&self.journal);
        }
        if Some(passed) == self.cut_at {
            end_without_power(&self.top);
        }
    }

    fn around<T>(&self, act: impl FnOnce(&dyn Spool) -> T) -> T {
        self.point();
        let result = act(self.unix.spool());
        self.point();
        result
    }
}

/// Tells whoever started this life how much of the journal is durable.
fn say_head(journal: &Journal) {
    let mut out = std::io::stdout().lock();
    // Where nobody listens any more the life is over anyway.
    let _ = writeln!(out, "{}", journal.head());
    let _ = out.flush();
}

/// Cuts the power and ends this process with it.
pub(super) fn end_without_power(top: &Path) -> ! {
    let code = match super::shutdown::cut_power(top) {
        Ok(()) => super::life::CUT,
        Err(error) => {
            eprintln!("{}", error.whole());
            1
        }
    };
    std::process::exit(code)
}

impl Host for CutHost {
    fn services(&self) -> &dyn Services {
        self
    }
    fn spool(&self) -> &dyn Spool {
        self
    }
    fn registry(&self) -> &dyn Registry {
        self.unix.registry()
    }
    fn events(&self) -> &dyn Events {
        self.unix.events()
    }
    fn tools(&self) -> &dyn Tools {
        self.unix.tools()
    }
    fn clock(&self) -> &dyn Clock {
        self
    }
    fn root(&self, root: PathRoot) -> Result<PathBuf, HostError> {
        self.unix.root(root)
    }
}

impl Clock for CutHost {
    fn wall_ms(&self) -> i64 {
        self.unix.clock().wall_ms()
    }
    fn uptime(&self) -> Uptime {
        self.unix.clock().uptime()
    }
    fn sleep(&self, _: Duration) {}
}

impl Services for CutHost {
    fn query(&self, _: &ServiceName) -> Result<ServiceStatus, HostError> {
        Ok(ServiceStatus {
            state: ServiceState::Stopped,
            process: None,
            exit_code: Some(0),
            accepts_stop: false,
        })
    }
    fn request_stop(&self, _: &ServiceName) -> Result<(), HostError> {
        Ok(())
    }
    fn request_start(&self, _: &ServiceName) -> Result<(), HostError> {
        Ok(())
    }
    fn end_process(&self, _: &ProcessIdentity) -> Result<(), HostError> {
        Ok(())
    }
    fn process_alive(&self, _: &ProcessIdentity) -> Result<bool, HostError> {
        Ok(false)
    }
    fn running_dependents(&self, _: &ServiceName) -> Result<Vec<ServiceName>, HostError> {
        Ok(Vec::new())
    }
}

impl Spool for CutHost {
    fn list(&self, folder: &Path) -> Result<Vec<FileInfo>, HostError> {
        self.unix.spool().list(folder)
    }
    fn look(&self, path: &Path) -> Result<Option<FileInfo>, HostError> {
        self.unix.spool().look(path)
    }
    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, HostError> {
        self.unix.spool().open(path)
    }
    fn probe_exclusive(&self, path: &Path) -> Result<(), HostError> {
        self.unix.spool().probe_exclusive(path)
    }
    fn move_new(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        self.around(|spool| spool.move_new(from, to))
    }
    fn link_new(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        self.around(|spool| spool.link_new(from, to))
    }
    fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        self.around(|spool| spool.write_new(path, bytes))
    }
    fn make_folder(&self, folder: &Path) -> Result<(), HostError> {
        self.around(|spool| spool.make_folder(folder))
    }
    fn sync_folder(&self, folder: &Path) -> Result<(), HostError> {
        self.around(|spool| spool.sync_folder(folder))
    }
    fn names(&self, folder: &Path) -> Result<Vec<(String, FileKind)>, HostError> {
        self.unix.spool().names(folder)
    }
    fn make_folder_like(&self, folder: &Path, like: &Path) -> Result<(), HostError> {
        self.around(|spool| spool.make_folder_like(folder, like))
    }
    fn exchange_folders(&self, a: &Path, b: &Path) -> Result<(), HostError> {
        self.around(|spool| spool.exchange_folders(a, b))
    }
    fn move_folder_new(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        self.around(|spool| spool.move_folder_new(from, to))
    }
    fn remove(&self, path: &Path) -> Result<(), HostError> {
        self.around(|spool| spool.remove(path))
    }
    fn free_bytes(&self, path: &Path) -> Result<u64, HostError> {
        self.unix.spool().free_bytes(path)
    }
    fn same_volume(&self, a: &Path, b: &Path) -> Result<bool, HostError> {
        self.unix.spool().same_volume(a, b)
    }
}
