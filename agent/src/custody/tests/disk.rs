//! Real folders, with a point before and after each call that changes something.

use std::io::Read;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use mailmend_policy::condition::PathRoot;

use super::*;
use crate::host::simulated::KillSwitch;
use crate::host::*;

/// The files of this machine; a service manager that says whatever it was told to.
pub(super) struct Disk {
    real: Box<dyn Host>,
    pub(super) switch: KillSwitch,
    pub(super) running: Mutex<bool>,
    /// The n-th sync of a folder from now fails; 0 is none.
    pub(super) failing_sync: Mutex<u32>,
    pub(super) free: Mutex<Option<u64>>,
    pub(super) locked: Mutex<Vec<String>>,
    pub(super) calls: Mutex<Vec<String>>,
    /// Listing fails as soon as a file has moved.
    pub(super) blind_after_move: Mutex<bool>,
}

impl Disk {
    pub(super) fn new() -> Self {
        Self {
            real: Box::new(real_files()),
            switch: KillSwitch::default(),
            running: Mutex::new(false),
            failing_sync: Mutex::new(0),
            free: Mutex::new(None),
            locked: Mutex::default(),
            calls: Mutex::default(),
            blind_after_move: Mutex::default(),
        }
    }

    fn changing<T>(&self, call: &'static str, what: &Path, act: impl FnOnce() -> T) -> T {
        self.switch.point(call);
        let result = act();
        let name = what.file_name().map(|name| name.to_string_lossy());
        let name = name.unwrap_or_default();
        self.calls.lock().unwrap().push(format!("{call} {name}"));
        self.switch.point(call);
        result
    }
}

impl Host for Disk {
    fn services(&self) -> &dyn Services {
        self
    }
    fn spool(&self) -> &dyn Spool {
        self
    }
    fn registry(&self) -> &dyn Registry {
        self.real.registry()
    }
    fn events(&self) -> &dyn Events {
        self.real.events()
    }
    fn tools(&self) -> &dyn Tools {
        self.real.tools()
    }
    fn clock(&self) -> &dyn Clock {
        self
    }
    fn root(&self, root: PathRoot) -> Result<PathBuf, HostError> {
        self.real.root(root)
    }
}

impl Clock for Disk {
    fn wall_ms(&self) -> i64 {
        self.real.clock().wall_ms()
    }
    fn uptime(&self) -> Uptime {
        self.real.clock().uptime()
    }
    fn sleep(&self, _: Duration) {
        // Whoever waits for a file to be closed waits for this.
        self.locked.lock().unwrap().clear();
    }
}

impl Services for Disk {
    fn query(&self, _: &ServiceName) -> Result<ServiceStatus, HostError> {
        let state = if *self.running.lock().unwrap() {
            ServiceState::Running
        } else {
            ServiceState::Stopped
        };
        Ok(ServiceStatus {
            state,
            process: None,
            exit_code: Some(0),
            accepts_stop: true,
        })
    }
    fn request_stop(&self, _: &ServiceName) -> Result<(), HostError> {
        *self.running.lock().unwrap() = false;
        Ok(())
    }
    fn request_start(&self, _: &ServiceName) -> Result<(), HostError> {
        *self.running.lock().unwrap() = true;
        Ok(())
    }
    fn end_process(&self, _: &ProcessIdentity) -> Result<(), HostError> {
        Ok(())
    }
    fn process_alive(&self, process: &ProcessIdentity) -> Result<bool, HostError> {
        Ok(process.pid == 1)
    }
    fn running_dependents(&self, _: &ServiceName) -> Result<Vec<ServiceName>, HostError> {
        Ok(Vec::new())
    }
}

impl Spool for Disk {
    fn list(&self, folder: &Path) -> Result<Vec<FileInfo>, HostError> {
        let moved = |call: &String| call.starts_with("move");
        if *self.blind_after_move.lock().unwrap() && self.calls.lock().unwrap().iter().any(moved) {
            let reason = "input/output error";
            return Err(HostError::unchanged(HostErrorKind::Io, "list", reason));
        }
        self.real.spool().list(folder)
    }
    fn look(&self, path: &Path) -> Result<Option<FileInfo>, HostError> {
        self.real.spool().look(path)
    }
    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, HostError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.calls.lock().unwrap().push(format!("open {name}"));
        self.real.spool().open(path)
    }
    fn probe_exclusive(&self, path: &Path) -> Result<(), HostError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if self
            .locked
            .lock()
            .unwrap()
            .iter()
            .any(|locked| *locked == name)
        {
            return Err(HostError::unchanged(
                HostErrorKind::Locked,
                "open",
                "another process has it open",
            ));
        }
        self.real.spool().probe_exclusive(path)
    }
    fn move_new(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        self.changing("move", to, || self.real.spool().move_new(from, to))
    }
    fn link_new(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        self.changing("link", to, || self.real.spool().link_new(from, to))
    }
    fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<(), HostError> {
        self.changing("write", path, || self.real.spool().write_new(path, bytes))
    }
    fn make_folder(&self, folder: &Path) -> Result<(), HostError> {
        self.changing("make", folder, || self.real.spool().make_folder(folder))
    }
    fn names(&self, folder: &Path) -> Result<Vec<(String, FileKind)>, HostError> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        self.calls.lock().unwrap().push(format!("names {name}"));
        self.real.spool().names(folder)
    }
    fn make_folder_like(&self, folder: &Path, like: &Path) -> Result<(), HostError> {
        self.changing("make", folder, || {
            self.real.spool().make_folder_like(folder, like)
        })
    }
    fn exchange_folders(&self, a: &Path, b: &Path) -> Result<(), HostError> {
        self.changing("exchange", a, || self.real.spool().exchange_folders(a, b))
    }
    fn move_folder_new(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        self.changing("move", to, || self.real.spool().move_folder_new(from, to))
    }
    fn sync_folder(&self, folder: &Path) -> Result<(), HostError> {
        let mut failing = self.failing_sync.lock().unwrap();
        let fails = *failing == 1;
        *failing = failing.saturating_sub(1);
        drop(failing);
        if fails {
            return Err(HostError::unknown(
                HostErrorKind::Io,
                format!("sync `{}`", folder.display()),
                "input/output error",
            ));
        }
        self.changing("sync", folder, || self.real.spool().sync_folder(folder))
    }
    fn remove(&self, path: &Path) -> Result<(), HostError> {
        self.changing("remove", path, || self.real.spool().remove(path))
    }
    fn free_bytes(&self, path: &Path) -> Result<u64, HostError> {
        match *self.free.lock().unwrap() {
            Some(free) => Ok(free),
            None => self.real.spool().free_bytes(path),
        }
    }
    fn same_volume(&self, a: &Path, b: &Path) -> Result<bool, HostError> {
        self.real.spool().same_volume(a, b)
    }
}
