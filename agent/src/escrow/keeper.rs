//! Keeping: what appears in the watched folders gets a second name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mailmend_proto::run::{Event, RunId};

use super::{Order, expiry, name_beside, orders, spool_name_of};
use crate::condition::is_spool_name;
use crate::faults::known;
use crate::host::{FileInfo, FileKind, Host, HostError, HostErrorKind};
use crate::journal::JournalError;
use crate::station::Station;

/// The time between two looks for copies whose messages were delivered, in uptime: it reads the logs.
const SETTLE: Duration = Duration::from_secs(30 * 60);

/// What one look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// Files that got a second name now.
    pub new: u64,
    /// Copies that were found to be of delivered messages.
    pub settled: u64,
    /// Copies whose time was over.
    pub removed: u64,
    /// Files that were not kept: a limit is reached, or the link failed.
    pub missed: u64,
}

/// Keeps second names, for one agent.
#[derive(Debug, Default)]
pub struct Keeper {
    /// As the journal had them last; none: it has to be read.
    orders: Mutex<Option<Vec<Order>>>,
    turn: Mutex<Turn>,
    turned: Condvar,
    folders: Mutex<BTreeMap<PathBuf, Folder>>,
    /// When copies were last looked up in the logs, in uptime.
    settled: Mutex<Option<Duration>>,
}

/// How far the thread that keeps has come with what was ordered.
#[derive(Debug, Default)]
struct Turn {
    /// How often something was ordered.
    ordered: u64,
    /// Whether there is such a thread; a simulation keeps by hand.
    thread: bool,
    /// The folders of which the machine tells it.
    watching: Vec<PathBuf>,
}

/// What is known of one folder of second names.
#[derive(Debug)]
struct Folder {
    order: Order,
    /// The identities of the files that it keeps.
    ids: BTreeSet<u64>,
    files: u64,
    bytes: u64,
    /// Whether a name in it may not be durable yet.
    unsynced: bool,
    /// Why it takes nothing more, once that was told.
    full: Option<String>,
}

impl Keeper {
    fn folders(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Folder>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The escrows that stand.
    fn orders(&self, station: &Station) -> Result<Vec<Order>, JournalError> {
        let mut known = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = Some(orders(&station.journal)?);
        }
        Ok(known.clone().unwrap_or_default())
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An escrow was ordered, or the agent ends: whoever waits looks again.
    pub fn wake(&self) {
        *self.orders.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.turn().ordered += 1;
        self.turned.notify_all();
    }

    /// How often something was ordered; to be asked before looking at what.
    pub(crate) fn heard(&self) -> u64 {
        self.turn().ordered
    }

    /// Waits until something is ordered after `heard`, at most so long, in real time. An order that came between
    /// the look and the wait ends it at once.
    pub(crate) fn wait(&self, heard: u64, limit: Duration) {
        let turn = self.turn();
        // Woken or timed out: the caller looks again either way.
        let _ = self
            .turned
            .wait_timeout_while(turn, limit, |turn| turn.ordered == heard);
    }

    /// A thread keeps from here on.
    pub(crate) fn thread_began(&self) {
        self.turn().thread = true;
    }

    /// The machine tells of these folders from here on, and what was in them before is kept.
    pub(crate) fn watching(&self, folders: &[PathBuf]) {
        self.turn().watching = folders.to_vec();
        self.turned.notify_all();
    }

    /// Waits until the machine tells of a folder, at most so long, in real time; false where it does not yet. Where
    /// no thread keeps there is nothing to wait for.
    #[must_use]
    pub fn await_watched(&self, folder: &Path, limit: Duration) -> bool {
        let unwatched =
            |turn: &mut Turn| turn.thread && !turn.watching.iter().any(|watched| watched == folder);
        let waited = self
            .turned
            .wait_timeout_while(self.turn(), limit, unwatched);
        let (turn, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !turn.thread || turn.watching.iter().any(|watched| watched == folder)
    }

    /// The folders to be told of.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub fn watched(&self, station: &Station) -> Result<Vec<PathBuf>, JournalError> {
        Ok(self
            .orders(station)?
            .into_iter()
            .map(|order| order.folder)
            .collect())
    }

    /// Whether it is time to look copies up in the logs.
    fn settles_now(&self, now: Duration) -> bool {
        let mut last = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now >= last + SETTLE);
        if due {
            *last = Some(now);
        }
        due
    }

    /// Looks through every watched folder, keeps what is not kept yet, makes what was kept durable, and lets
    /// go of what may go.
    ///
    /// # Errors
    /// Where the journal cannot be read or written. What fails at the machine is told by an alarm.
    pub fn sweep(&self, station: &Station) -> Result<Kept, JournalError> {
        let mut kept = Kept::default();
        let settles = self.settles_now(station.now().since_boot);
        for order in self.orders(station)? {
            let mut folders = self.folders();
            let Some(folder) = current(&mut folders, station, order)? else {
                continue;
            };
            let (source, run) = (folder.order.folder.clone(), folder.order.run);
            match station.host.spool().list(&source) {
                Ok(files) => {
                    for file in files.iter().filter(|file| is_message(file)) {
                        folder.keep(station, file, &mut kept)?;
                    }
                    folder.synced(station.host.as_ref());
                    if !settles {
                        continue;
                    }
                    expiry::settle(station.host.as_ref(), &folder.order, &files, &mut kept);
                    if expiry::let_go(station.host.as_ref(), &folder.order, &mut kept) {
                        folder.count(station.host.as_ref());
                    }
                }
                Err(error) => folder.alarm(station, run, format!("could not {error}"))?,
            }
        }
        Ok(kept)
    }

    /// Keeps a file that the host told of; one that is gone already is nobody's fault.
    ///
    /// # Errors
    /// Where the journal cannot be read or written.
    pub fn appeared(
        &self,
        station: &Station,
        source: &Path,
        name: &str,
    ) -> Result<Kept, JournalError> {
        let mut kept = Kept::default();
        if !is_spool_name(name) {
            return Ok(kept);
        }
        let mut folders = self.folders();
        if let Some(folder) = folders.get_mut(source)
            && let Ok(Some(file)) = station.host.spool().look(&source.join(name))
            && is_message(&file)
        {
            folder.keep(station, &file, &mut kept)?;
        }
        Ok(kept)
    }

    /// Makes what was kept since durable.
    pub fn sync(&self, host: &dyn Host) {
        for folder in self.folders().values_mut() {
            folder.synced(host);
        }
    }
}

fn is_message(file: &FileInfo) -> bool {
    file.kind == FileKind::File && is_spool_name(&file.name)
}

/// The folder of an order, read anew where it is not known or was ordered otherwise.
fn current<'a>(
    folders: &'a mut BTreeMap<PathBuf, Folder>,
    station: &Station,
    order: Order,
) -> Result<Option<&'a mut Folder>, JournalError> {
    let source = order.folder.clone();
    let known = folders
        .get(&source)
        .is_some_and(|folder| folder.order.kept_in == order.kept_in);
    if known {
        if let Some(folder) = folders.get_mut(&source) {
            folder.order = order;
        }
    } else {
        let mut folder = Folder {
            order,
            ids: BTreeSet::new(),
            files: 0,
            bytes: 0,
            unsynced: false,
            full: None,
        };
        let host = station.host.as_ref();
        if let Err(error) = host.spool().make_folder(&folder.order.kept_in) {
            let run = folder.order.run;
            folder.alarm(station, run, format!("could not {error}"))?;
            return Ok(None);
        }
        folder.count(host);
        folders.insert(source.clone(), folder);
    }
    Ok(folders.get_mut(&source))
}

impl Folder {
    /// Reads what it keeps.
    fn count(&mut self, host: &dyn Host) {
        self.ids.clear();
        (self.files, self.bytes) = (0, 0);
        for file in host.spool().list(&self.order.kept_in).unwrap_or_default() {
            if file.kind == FileKind::File && spool_name_of(&file.name).is_some() {
                self.ids.insert(file.file_id);
                self.files += 1;
                self.bytes += file.size;
            }
        }
        for file in expiry::settled_files(host, &self.order) {
            self.ids.insert(file.file_id);
            self.files += 1;
            self.bytes += file.size;
        }
    }

    fn keep(
        &mut self,
        station: &Station,
        file: &FileInfo,
        kept: &mut Kept,
    ) -> Result<(), JournalError> {
        if self.ids.contains(&file.file_id) {
            return Ok(());
        }
        let run = self.order.run;
        if let Some(why) = self.no_room(station, file.size) {
            kept.missed += 1;
            return self.alarm(station, run, why);
        }
        match self.link(station.host.as_ref(), file) {
            Ok(true) => {
                self.ids.insert(file.file_id);
                self.files += 1;
                self.bytes += file.size;
                self.unsynced = true;
                self.full = None;
                kept.new += 1;
                Ok(())
            }
            // It was kept under that name already.
            Ok(false) => {
                self.ids.insert(file.file_id);
                Ok(())
            }
            // Sent or moved since it was seen.
            Err(error) if error.kind == HostErrorKind::NotFound => Ok(()),
            Err(error) => {
                kept.missed += 1;
                self.alarm(station, run, format!("could not {error}"))
            }
        }
    }

    /// Gives a file its second name; `false` where it has it already.
    fn link(&self, host: &dyn Host, file: &FileInfo) -> Result<bool, HostError> {
        let spool = host.spool();
        let from = self.order.folder.join(&file.name);
        let beside = name_beside(&file.name, file.file_id);
        for name in [file.name.as_str(), beside.as_str()] {
            let to = self.order.kept_in.join(name);
            match spool.link_new(&from, &to) {
                Ok(()) => return Ok(true),
                Err(error) if error.kind == HostErrorKind::Exists => {
                    let there = spool.look(&to)?;
                    if there.is_some_and(|there| there.file_id == file.file_id) {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(HostError::unchanged(
            HostErrorKind::Exists,
            format!("keep a second name of `{}`", from.display()),
            "both names for it are taken",
        ))
    }

    fn no_room(&self, station: &Station, size: u64) -> Option<String> {
        let limits = station.guard.limits();
        let place = self.order.kept_in.display();
        if self.files >= limits.escrow_files {
            return Some(format!(
                "`{place}` keeps {} files, the guard allows {}",
                self.files, limits.escrow_files
            ));
        }
        if self.bytes.saturating_add(size) > limits.escrow_bytes {
            return Some(format!(
                "`{place}` keeps {} bytes, the guard allows {}",
                self.bytes, limits.escrow_bytes
            ));
        }
        let free = station.host.spool().free_bytes(&self.order.kept_in).ok()?;
        (free < limits.least_free_bytes).then(|| {
            format!(
                "{free} bytes are free on the volume of `{place}`, the guard wants {}",
                limits.least_free_bytes
            )
        })
    }

    fn synced(&mut self, host: &dyn Host) {
        // A name that is lost with the power is linked again by the next sweep while the file is there; what
        // the server deleted in that moment as well cannot be had back.
        if self.unsynced && host.spool().sync_folder(&self.order.kept_in).is_ok() {
            self.unsynced = false;
        }
    }

    /// Tells a person once, until something can be kept again.
    fn alarm(&mut self, station: &Station, run: RunId, why: String) -> Result<(), JournalError> {
        if self.full.is_some() {
            return Ok(());
        }
        let text = format!(
            "files of `{}` are not kept any more: {why}",
            self.order.folder.display()
        );
        let code = const { known("A090-escrow-full") }.into();
        station.record(run, vec![Event::Alarm { code, text }])?;
        self.full = Some(why);
        Ok(())
    }
}
