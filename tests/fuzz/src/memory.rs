//! A machine of two folders of logs in memory.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use mailmend_agent::evidence::bookmark::Bookmarks;
use mailmend_agent::host::{
    Clock, EventRecord, Events, FileInfo, FileKind, Host, HostError, HostErrorKind, LogFile,
    ProcessIdentity, Registry, RegistryValue, ServiceStatus, Services, Spool, ToolOutput, Tools,
    Uptime,
};
use mailmend_policy::condition::PathRoot;
use mailmend_policy::name::ServiceName;

pub(crate) struct MemoryHost {
    files: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
    bookmarks: Option<Bookmarks>,
}

impl MemoryHost {
    pub(crate) fn with_bookmarks() -> Self {
        Self {
            files: Mutex::default(),
            bookmarks: Some(Bookmarks::default()),
        }
    }

    pub(crate) fn without_bookmarks() -> Self {
        Self {
            files: Mutex::default(),
            bookmarks: None,
        }
    }

    pub(crate) fn tracking() -> PathBuf {
        PathBuf::from("/exchsrvr/tracking.log")
    }

    pub(crate) fn smtp() -> PathBuf {
        PathBuf::from("/exchsrvr/imcdata/Log")
    }

    /// Writes a file anew, keeping its identity.
    pub(crate) fn put(&self, path: &Path, bytes: &[u8]) {
        let mut files = self.files.lock().expect("nobody dies with it");
        files.insert(path.to_owned(), bytes.to_vec());
    }
}

fn refused<T>() -> Result<T, HostError> {
    Err(HostError::unchanged(
        HostErrorKind::Denied,
        "change",
        "logs are only read",
    ))
}

impl Host for MemoryHost {
    fn services(&self) -> &dyn Services {
        self
    }
    fn spool(&self) -> &dyn Spool {
        self
    }
    fn registry(&self) -> &dyn Registry {
        self
    }
    fn events(&self) -> &dyn Events {
        self
    }
    fn tools(&self) -> &dyn Tools {
        self
    }
    fn clock(&self) -> &dyn Clock {
        self
    }
    fn bookmarks(&self) -> Option<&Bookmarks> {
        self.bookmarks.as_ref()
    }
    fn root(&self, root: PathRoot) -> Result<PathBuf, HostError> {
        match root {
            PathRoot::Trackinglog => Ok(Self::tracking()),
            PathRoot::Imcdata => Ok(PathBuf::from("/exchsrvr/imcdata")),
            _ => refused(),
        }
    }
}

impl Spool for MemoryHost {
    fn list(&self, folder: &Path) -> Result<Vec<FileInfo>, HostError> {
        let files = self.files.lock().expect("nobody dies with it");
        let here = files
            .iter()
            .filter(|(path, _)| path.parent() == Some(folder));
        let info = |(path, bytes): (&PathBuf, &Vec<u8>)| FileInfo {
            name: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            kind: FileKind::File,
            file_id: 1,
            size: bytes.len() as u64,
            modified_ms: 0,
        };
        Ok(here.map(info).collect())
    }
    fn look(&self, path: &Path) -> Result<Option<FileInfo>, HostError> {
        let folder = path.parent().unwrap_or(path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut files = self.list(folder)?;
        files.retain(|file| file.name == name);
        Ok(files.pop())
    }
    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, HostError> {
        Ok(self.open_log(path)?.1)
    }
    fn open_log(&self, path: &Path) -> Result<(FileInfo, Box<dyn LogFile>), HostError> {
        let files = self.files.lock().expect("nobody dies with it");
        let bytes = files.get(path).cloned();
        drop(files);
        match (self.look(path)?, bytes) {
            (Some(info), Some(bytes)) => Ok((info, Box::new(Cursor::new(bytes)))),
            _ => Err(HostError::unchanged(
                HostErrorKind::NotFound,
                "open",
                "not there",
            )),
        }
    }
    fn probe_exclusive(&self, _: &Path) -> Result<(), HostError> {
        refused()
    }
    fn move_new(&self, _: &Path, _: &Path) -> Result<(), HostError> {
        refused()
    }
    fn link_new(&self, _: &Path, _: &Path) -> Result<(), HostError> {
        refused()
    }
    fn write_new(&self, _: &Path, _: &[u8]) -> Result<(), HostError> {
        refused()
    }
    fn make_folder(&self, _: &Path) -> Result<(), HostError> {
        refused()
    }
    fn sync_folder(&self, _: &Path) -> Result<(), HostError> {
        refused()
    }
    fn remove(&self, _: &Path) -> Result<(), HostError> {
        refused()
    }
    fn free_bytes(&self, _: &Path) -> Result<u64, HostError> {
        refused()
    }
    fn same_volume(&self, _: &Path, _: &Path) -> Result<bool, HostError> {
        refused()
    }
}

impl Events for MemoryHost {
    fn read(&self, _: &str, _: i64) -> Result<Vec<EventRecord>, HostError> {
        Ok(Vec::new())
    }
}

impl Registry for MemoryHost {
    fn read(&self, _: &str, _: &str) -> Result<Option<RegistryValue>, HostError> {
        Ok(None)
    }
}

impl Services for MemoryHost {
    fn query(&self, _: &ServiceName) -> Result<ServiceStatus, HostError> {
        refused()
    }
    fn request_stop(&self, _: &ServiceName) -> Result<(), HostError> {
        refused()
    }
    fn request_start(&self, _: &ServiceName) -> Result<(), HostError> {
        refused()
    }
    fn end_process(&self, _: &ProcessIdentity) -> Result<(), HostError> {
        refused()
    }
    fn process_alive(&self, _: &ProcessIdentity) -> Result<bool, HostError> {
        refused()
    }
    fn running_dependents(&self, _: &ServiceName) -> Result<Vec<ServiceName>, HostError> {
        refused()
    }
}

impl Tools for MemoryHost {
    fn run(&self, _: &Path, _: &[String], _: Duration) -> Result<ToolOutput, HostError> {
        refused()
    }
}

impl Clock for MemoryHost {
    fn wall_ms(&self) -> i64 {
        0
    }
    fn uptime(&self) -> Uptime {
        Uptime {
            boot: String::new(),
            since_boot: Duration::ZERO,
        }
    }
    fn sleep(&self, _: Duration) {}
}
