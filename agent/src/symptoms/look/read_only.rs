//! The machine for one look: nothing can be changed through it, and what several policies ask for is
//! read once.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mailmend_policy::condition::PathRoot;
use mailmend_policy::name::ServiceName;

use crate::evidence::bookmark::Bookmarks;
use crate::evidence::log_time::LogTimes;
use crate::host::{
    Clock, EventRecord, Events, FileInfo, Host, HostError, HostErrorKind, LogFile, ProcessIdentity,
    Registry, ServiceStatus, Services, Spool, ToolOutput, Tools,
};

type Kept<K, V> = Mutex<HashMap<K, Result<V, HostError>>>;

/// A machine that is only looked at.
pub(super) struct ReadOnly<'a> {
    host: &'a dyn Host,
    /// The whole event log by source, in lower case: reading it is what costs most of a look.
    events: Kept<String, Vec<EventRecord>>,
    folders: Kept<PathBuf, Vec<FileInfo>>,
    roots: Kept<PathRoot, PathBuf>,
}

impl<'a> ReadOnly<'a> {
    pub(super) fn new(host: &'a dyn Host) -> Self {
        Self {
            host,
            events: Mutex::default(),
            folders: Mutex::default(),
            roots: Mutex::default(),
        }
    }
}

/// What was read before, or what `read` reads now; a failure is kept too.
fn once<K: Eq + std::hash::Hash, V: Clone>(
    kept: &Kept<K, V>,
    key: K,
    read: impl FnOnce() -> Result<V, HostError>,
) -> Result<V, HostError> {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.entry(key).or_insert_with(read).clone()
}

fn refused<T>(attempted: &str) -> Result<T, HostError> {
    Err(HostError::unchanged(
        HostErrorKind::Denied,
        attempted,
        "looking for symptoms changes nothing",
    ))
}

impl Host for ReadOnly<'_> {
    fn services(&self) -> &dyn Services {
        self
    }
    fn spool(&self) -> &dyn Spool {
        self
    }
    fn registry(&self) -> &dyn Registry {
        self.host.registry()
    }
    fn events(&self) -> &dyn Events {
        self
    }
    fn tools(&self) -> &dyn Tools {
        self
    }
    fn clock(&self) -> &dyn Clock {
        self.host.clock()
    }
    fn log_times(&self) -> LogTimes {
        self.host.log_times()
    }
    fn bookmarks(&self) -> Option<&Bookmarks> {
        self.host.bookmarks()
    }
    fn root(&self, root: PathRoot) -> Result<PathBuf, HostError> {
        once(&self.roots, root, || self.host.root(root))
    }
}

impl Events for ReadOnly<'_> {
    fn read(&self, source: &str, since_ms: i64) -> Result<Vec<EventRecord>, HostError> {
        let mut events = once(&self.events, source.to_ascii_lowercase(), || {
            self.host.events().read(source, i64::MIN)
        })?;
        events.retain(|event| event.at_ms >= since_ms);
        Ok(events)
    }
}

impl Services for ReadOnly<'_> {
    fn query(&self, service: &ServiceName) -> Result<ServiceStatus, HostError> {
        self.host.services().query(service)
    }
    fn request_stop(&self, service: &ServiceName) -> Result<(), HostError> {
        refused(&format!("stop `{service}`"))
    }
    fn request_start(&self, service: &ServiceName) -> Result<(), HostError> {
        refused(&format!("start `{service}`"))
    }
    fn end_process(&self, process: &ProcessIdentity) -> Result<(), HostError> {
        refused(&format!("end process {}", process.pid))
    }
    fn process_alive(&self, process: &ProcessIdentity) -> Result<bool, HostError> {
        self.host.services().process_alive(process)
    }
    fn running_dependents(&self, service: &ServiceName) -> Result<Vec<ServiceName>, HostError> {
        self.host.services().running_dependents(service)
    }
}

impl Spool for ReadOnly<'_> {
    fn list(&self, folder: &Path) -> Result<Vec<FileInfo>, HostError> {
        once(&self.folders, folder.to_path_buf(), || {
            self.host.spool().list(folder)
        })
    }
    fn look(&self, path: &Path) -> Result<Option<FileInfo>, HostError> {
        self.host.spool().look(path)
    }
    fn open_log(&self, path: &Path) -> Result<(FileInfo, Box<dyn LogFile>), HostError> {
        self.host.spool().open_log(path)
    }
    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>, HostError> {
        self.host.spool().open(path)
    }
    fn probe_exclusive(&self, path: &Path) -> Result<(), HostError> {
        // Whoever opens a file exclusively keeps the service from it for that moment.
        refused(&format!("open `{}` exclusively", path.display()))
    }
    fn move_new(&self, from: &Path, _: &Path) -> Result<(), HostError> {
        refused(&format!("move `{}`", from.display()))
    }
    fn link_new(&self, from: &Path, _: &Path) -> Result<(), HostError> {
        refused(&format!("link `{}`", from.display()))
    }
    fn write_new(&self, path: &Path, _: &[u8]) -> Result<(), HostError> {
        refused(&format!("write `{}`", path.display()))
    }
    fn make_folder(&self, folder: &Path) -> Result<(), HostError> {
        refused(&format!("make `{}`", folder.display()))
    }
    fn sync_folder(&self, folder: &Path) -> Result<(), HostError> {
        refused(&format!("sync `{}`", folder.display()))
    }
    fn remove(&self, path: &Path) -> Result<(), HostError> {
        refused(&format!("remove `{}`", path.display()))
    }
    fn free_bytes(&self, path: &Path) -> Result<u64, HostError> {
        self.host.spool().free_bytes(path)
    }
    fn same_volume(&self, a: &Path, b: &Path) -> Result<bool, HostError> {
        self.host.spool().same_volume(a, b)
    }
}

impl Tools for ReadOnly<'_> {
    fn run(&self, program: &Path, _: &[String], _: Duration) -> Result<ToolOutput, HostError> {
        refused(&format!("run `{}`", program.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::simulated::{SimSettings, SimWorld};

    const OUT: &str = "/exchsrvr/imcdata/Out";

    #[test]
    fn nothing_can_be_changed_through_a_look() {
        let world = SimWorld::new(SimSettings::default());
        let name = world.add_outbound(1, 100).remove(0);
        let machine = world.host();
        let look = ReadOnly::new(&machine);
        let out = Path::new(OUT);
        let file = out.join(&name);
        let before = machine.spool().list(out).unwrap();
        let service: ServiceName = "MSExchangeIMC".parse().unwrap();
        let process = look.services().query(&service).unwrap().process.unwrap();
        let other = out.join("OTHER000");
        let refusals = [
            look.services().request_stop(&service),
            look.services().request_start(&service),
            look.services().end_process(&process),
            look.spool().probe_exclusive(&file),
            look.spool().move_new(&file, &other),
            look.spool().link_new(&file, &other),
            look.spool().write_new(&other, b"x"),
            look.spool().make_folder(&out.join("new")),
            look.spool().sync_folder(out),
            look.spool().remove(&file),
            look.spool()
                .move_each(out, Path::new("/exchsrvr"), &[&name])
                .remove(0),
            look.spool()
                .link_each(out, Path::new("/exchsrvr"), &[&name])
                .remove(0),
            look.tools()
                .run(Path::new("/bin/true"), &[], Duration::ZERO)
                .map(drop),
        ];
        for refused in refusals {
            assert_eq!(refused.unwrap_err().kind, HostErrorKind::Denied);
        }
        assert_eq!(machine.spool().list(out).unwrap(), before);
        assert!(world.is_running("MSExchangeIMC"));
    }

    #[test]
    fn log_and_folder_are_read_once_however_often_they_are_asked_for() {
        let world = SimWorld::new(SimSettings::default());
        world.write_event("MSExchangeIMC", 3010, "stuck");
        world.add_outbound(1, 100);
        let machine = world.host();
        let look = ReadOnly::new(&machine);
        let read = |since_ms| {
            look.events()
                .read("msexchangeimc", since_ms)
                .map(|e| e.len())
        };
        let all = read(i64::MIN).unwrap();
        let files = look.spool().list(Path::new(OUT)).unwrap().len();
        world.set_events_unreadable(true);
        world.add_outbound(1, 100);
        assert_eq!(read(i64::MIN), Ok(all));
        assert_eq!(read(i64::MAX), Ok(0), "the moment is still asked for");
        assert_eq!(look.spool().list(Path::new(OUT)).unwrap().len(), files);
        assert!(look.events().read("MSExchangeSA", 0).is_err());
    }
}
