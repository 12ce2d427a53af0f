//! The agent's journal: what is about to happen, durable before it happens.
//!
//! Append-only, one per agent. A record is durable when [`Journal::append`] has returned, and only a
//! record that is legal after all earlier ones of its run can be appended: the same
//! [`RunState::after`] decides here and in the controller. Each row carries a BLAKE3 hash over the
//! row before it, so that a flipped bit or a missing row is found at the next start, never folded.
//!
//! A failed write or sync poisons the journal: the pages may be gone whatever a second try says (the
//! lesson of PostgreSQL's fsync), so nothing is appended any more until the agent starts again and
//! reads what is really there. Without a journal there are no effects; reading still works.

mod chain;
mod closed;
mod memory;
mod sqlite;
mod witness;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mailmend_proto::convert::{WireFault, record_from_wire, record_to_wire};
use mailmend_proto::run::{Event, Illegal, Record, RunId, RunState};
use mailmend_proto::wire;
use prost::Message;
use tokio::sync::watch;
use uuid::Uuid;

use crate::ablation::{Mechanism, off};
use chain::{Link, Row};
use closed::Closed;
pub use memory::{MemoryJournal, PointHook};
pub use witness::{TrailHead, Verdict, Witnessed};

/// Why the journal could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has the journal.
    #[error(
        "A010-journal-in-use: another agent has the journal `{}` open; stop it first", path.display()
    )]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// What is in the journal is not what was written.
    #[error(
        "A011-journal-corrupt: the journal does not read back as it was written, from record {seq} \
         on: {why}; nothing is changed on this server until a person has decided (keep the file, \
         compare the held folders with their `MANIFEST.tsv`, then move the journal away and enrol anew)"
    )]
    Corrupt {
        /// The first record that cannot be trusted.
        seq: u64,
        /// What is wrong with it.
        why: String,
    },
    /// An earlier write or sync failed.
    #[error(
        "A012-journal-poisoned: nothing is written any more because an earlier write failed ({why}); \
         mend the disk, then restart the agent: it reads what is really there and goes on"
    )]
    Poisoned {
        /// How the earlier write failed.
        why: String,
    },
    /// The file cannot be read or written.
    #[error(
        "A013-journal-unusable: {attempted}: {reason}; check the data folder, its owner and free space"
    )]
    Unusable {
        /// What was attempted.
        attempted: String,
        /// What the system said.
        reason: String,
    },
    /// The event does not follow from what the journal holds: a defect, or a message that should not
    /// have been admitted. Nothing was written.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// The journal was opened to be read only.
    #[error("the journal was opened for reading; only the agent itself may append")]
    ReadOnly,
}

impl JournalError {
    fn unusable(attempted: impl Into<String>, reason: impl ToString) -> Self {
        Self::Unusable {
            attempted: attempted.into(),
            reason: reason.to_string(),
        }
    }
}

/// Where rows are kept. An implementation is durable when `append` returns.
trait Storage: Send {
    fn append(&mut self, rows: &[Row]) -> Result<(), JournalError>;
    /// Rows from `first` on, in order, until `max_bytes` are reached; at least one where there is one.
    fn rows(&self, first: u64, max_bytes: usize) -> Result<Vec<Row>, JournalError>;
    fn row(&self, seq: u64) -> Result<Row, JournalError>;
    fn acknowledge(&mut self, seq: u64) -> Result<(), JournalError>;
}

/// A row as it is, for others to verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The record's number.
    pub seq: u64,
    /// The hash of the chain at it.
    pub hash: [u8; 32],
    /// The record's exact bytes.
    pub bytes: Vec<u8>,
}

/// The agent's journal. Clones share it.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

struct Shared {
    id: Uuid,
    books: Mutex<Books>,
    head: watch::Sender<u64>,
    hook: Option<PointHook>,
    /// Held for as long as the journal is open; the system frees it with the process.
    _lock: Option<File>,
}

struct Books {
    storage: Box<dyn Storage>,
    read_only: bool,
    head: Link,
    acknowledged: u64,
    /// The records of each run.
    runs: BTreeMap<RunId, Vec<u64>>,
    /// The states of runs that are not closed.
    states: BTreeMap<RunId, Arc<RunState>>,
    closed: Closed,
    highest_fence: u64,
    witnessed: Witnessed,
    poisoned: Option<String>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("id", &self.0.id)
            .field("head", &self.head())
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal at `path`, or makes it, and reads all of it: every row's hash is checked and
    /// every run's state is folded. Holds a lock in `<path>.lock` until the last clone is dropped.
    ///
    /// # Errors
    /// [`JournalError::InUse`], [`JournalError::Corrupt`], [`JournalError::Unusable`]. A corrupt
    /// journal is left as it is; [`Self::salvage`] reads its beginning.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let lock = lock(path)?;
        let (storage, id, acknowledged) = sqlite::open(path)?;
        let marks = storage.marks()?;
        let mut books = Books::read(Box::new(storage), id, acknowledged, false)?;
        // Neither mark can name a row that was never durable: rows that it names and that are not
        // there were lost after they had been written.
        let asked = !off(Mechanism::JournalMarks);
        if let Some(mark) = marks.into_iter().flatten().find(|mark| {
            let ahead = mark.seq > books.head.seq;
            asked && (ahead || (mark.seq == books.head.seq && *mark != books.head))
        }) {
            return Err(JournalError::Corrupt {
                seq: books.head.seq.min(mark.seq) + 1,
                why: format!(
                    "it ends at record {}, and record {} was written once",
                    books.head.seq, mark.seq
                ),
            });
        }
        if books.acknowledged > books.head.seq {
            // Reporting twice is harmless, reporting never is not.
            books.acknowledged = 0;
        }
        Ok(Self::of(id, books, Some(lock), None))
    }

    /// Reads the journal at `path` beside a running agent, as it is now. Nothing can be appended.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`], [`JournalError::Unusable`].
    pub fn read(path: &Path) -> Result<Self, JournalError> {
        let (storage, id, acknowledged) = sqlite::read(path)?;
        let books = Books::read(Box::new(storage), id, acknowledged, true)?;
        Ok(Self::of(id, books, None, None))
    }

    /// The records of a damaged journal up to the first that cannot be trusted, with what is wrong.
    ///
    /// # Errors
    /// [`JournalError::Unusable`] where not even the file can be opened as a journal.
    pub fn salvage(path: &Path) -> Result<(Vec<Record>, Option<JournalError>), JournalError> {
        let (storage, id, _) = sqlite::read(path)?;
        let mut records = Vec::new();
        let mut reader = Reader::new(id);
        let fault = reader.all(&storage, |record| {
            records.push(record);
            Ok(())
        });
        Ok((records, fault.err()))
    }

    /// A journal in memory whose rows outlive it, for crash sweeps and simulation.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`] where the rows were tampered with.
    pub fn memory(storage: &MemoryJournal) -> Result<Self, JournalError> {
        let (id, acknowledged) = (storage.id(), storage.acknowledged());
        let books = Books::read(Box::new(storage.clone()), id, acknowledged, false)?;
        Ok(Self::of(id, books, None, storage.hook()))
    }

    fn of(id: Uuid, books: Books, lock: Option<File>, hook: Option<PointHook>) -> Self {
        let head = watch::Sender::new(books.head.seq);
        Self(Arc::new(Shared {
            id,
            books: Mutex::new(books),
            head,
            hook,
            _lock: lock,
        }))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // A simulated kill unwinds through whoever holds the lock. The books are changed only after
        // the rows are durable, in one go, so they are whole whenever the lock is free.
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn point(&self, name: &'static str) {
        if let Some(hook) = &self.0.hook {
            hook(name);
        }
    }

    /// The journal's id, made with it: the controller tells a restored or cloned agent by it.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.0.id
    }

    /// Appends events of one run, all or none, durable on return.
    ///
    /// `at_ms` is wall-clock time for people, in milliseconds since 1970 UTC.
    ///
    /// # Errors
    /// [`JournalError::Illegal`] where an event does not follow, with nothing written;
    /// [`JournalError::Poisoned`] after an earlier failure; otherwise the failure that poisons the
    /// journal from now on.
    pub fn append(
        &self,
        run: RunId,
        at_ms: i64,
        events: Vec<Event>,
    ) -> Result<Vec<Record>, JournalError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        self.point("journal: before append");
        let records = self.books().append(run, at_ms, events)?;
        if let Some(last) = records.last() {
            self.0.head.send_replace(last.seq);
        }
        self.point("journal: after append");
        Ok(records)
    }

    /// Appends that the controller's audit trail reached here, durable on return.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn witness(
        &self,
        at_ms: i64,
        TrailHead { seq, hash }: TrailHead,
        contradicts: bool,
    ) -> Result<(), JournalError> {
        let seen = Event::TrailWitnessed {
            seq,
            hash,
            contradicts,
        };
        self.append(RunId::NONE, at_ms, vec![seen]).map(drop)
    }

    /// What the records say of the controller's audit trail.
    #[must_use]
    pub fn witnessed(&self) -> Witnessed {
        self.books().witnessed
    }

    /// The hash of the chain at a record.
    ///
    /// # Errors
    /// Where there is no such record, or it cannot be read.
    pub fn hash_at(&self, seq: u64) -> Result<[u8; 32], JournalError> {
        Ok(self.books().storage.row(seq)?.link.hash)
    }

    /// The rows after `seq`, in order, about `max_bytes` of them, for others to verify.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn rows_after(&self, seq: u64, max_bytes: usize) -> Result<Vec<Exported>, JournalError> {
        let rows = self.books().storage.rows(seq + 1, max_bytes)?;
        let rows = rows.into_iter();
        Ok(rows
            .map(|row| Exported {
                seq: row.link.seq,
                hash: row.link.hash,
                bytes: row.bytes,
            })
            .collect())
    }

    /// The number of the last record; 0 in an empty journal.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.books().head.seq
    }

    /// Tells each change of [`Self::head`], for the reporter.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.head.subscribe()
    }

    /// The records after `seq`, in order, about `max_bytes` of them; at least one where there is one.
    ///
    /// # Errors
    /// Where the file cannot be read, or does not read back as written.
    pub fn after(&self, seq: u64, max_bytes: usize) -> Result<Vec<Record>, JournalError> {
        let rows = self.books().storage.rows(seq + 1, max_bytes)?;
        rows.iter().map(decode).collect()
    }

    /// Remembers that the controller has stored everything up to `seq`. Never falls; more than the
    /// head counts as the head. Durable on return.
    ///
    /// # Errors
    /// Where it cannot be written; the journal is poisoned then.
    pub fn acknowledge(&self, seq: u64) -> Result<(), JournalError> {
        let mut books = self.books();
        let seq = seq.min(books.head.seq);
        if seq <= books.acknowledged {
            return Ok(());
        }
        books.writable()?;
        let stored = books.storage.acknowledge(seq);
        books.poison_on(stored)?;
        books.acknowledged = seq;
        Ok(())
    }

    /// Everything up to here is stored by the controller.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.books().acknowledged
    }

    /// What a run's records add up to; `None` for a run that the journal does not know.
    ///
    /// # Errors
    /// Where a closed run's records cannot be read again.
    pub fn state(&self, run: RunId) -> Result<Option<Arc<RunState>>, JournalError> {
        let mut books = self.books();
        if let Some(state) = books.states.get(&run).or_else(|| books.closed.get(run)) {
            return Ok(Some(Arc::clone(state)));
        }
        if !books.runs.contains_key(&run) {
            return Ok(None);
        }
        let state = Arc::new(books.fold(run)?);
        books.closed.keep(run, &state);
        Ok(Some(state))
    }

    /// All runs and duties, in the order of their ids.
    #[must_use]
    pub fn runs(&self) -> Vec<RunId> {
        self.books().runs.keys().copied().collect()
    }

    /// The runs and duties that are not closed, in the order in which they began.
    #[must_use]
    pub fn open_runs(&self) -> Vec<RunId> {
        let books = self.books();
        let mut open: Vec<(u64, RunId)> = books
            .states
            .keys()
            .filter_map(|run| Some((*books.runs.get(run)?.first()?, *run)))
            .collect();
        open.sort_unstable();
        open.into_iter().map(|(_, run)| run).collect()
    }

    /// All records of a run, in order.
    ///
    /// # Errors
    /// Where the file cannot be read, or does not read back as written.
    pub fn records(&self, run: RunId) -> Result<Vec<Record>, JournalError> {
        self.books().records(run)
    }

    /// The highest fence that any run was ever given; 0 where there was none.
    #[must_use]
    pub fn highest_fence(&self) -> u64 {
        self.books().highest_fence
    }

    /// Why nothing can be appended any more, where that is so.
    #[must_use]
    pub fn poisoned(&self) -> Option<String> {
        self.books().poisoned.clone()
    }

    /// Ends all writing, because what is on the disk is no longer known: a folder could not be synced.
    pub fn poison(&self, why: &str) {
        let mut books = self.books();
        if books.poisoned.is_none() {
            books.poisoned = Some(why.to_owned());
        }
    }
}

impl Books {
    fn read(
        storage: Box<dyn Storage>,
        id: Uuid,
        acknowledged: u64,
        read_only: bool,
    ) -> Result<Self, JournalError> {
        let mut runs: BTreeMap<RunId, Vec<u64>> = BTreeMap::new();
        let mut states: BTreeMap<RunId, RunState> = BTreeMap::new();
        let mut highest_fence = 0;
        let mut witnessed = Witnessed::default();
        let mut reader = Reader::new(id);
        reader.all(storage.as_ref(), |record| {
            witnessed = witnessed.after(&record.event);
            if record.run == RunId::NONE {
                return Ok(());
            }
            runs.entry(record.run).or_default().push(record.seq);
            highest_fence = highest_fence.max(fence(&record.event));
            let state = states.remove(&record.run).unwrap_or_default();
            let state = state
                .after(&record.event)
                .map_err(|illegal| JournalError::Corrupt {
                    seq: record.seq,
                    why: illegal.to_string(),
                })?;
            states.insert(record.run, state);
            Ok(())
        })?;
        let states = states
            .into_iter()
            .filter(|(_, state)| state.closed.is_none())
            .map(|(run, state)| (run, Arc::new(state)))
            .collect();
        Ok(Self {
            storage,
            read_only,
            head: reader.head,
            acknowledged,
            runs,
            states,
            closed: Closed::default(),
            highest_fence,
            witnessed,
            poisoned: None,
        })
    }

    fn writable(&self) -> Result<(), JournalError> {
        match &self.poisoned {
            _ if self.read_only => Err(JournalError::ReadOnly),
            Some(why) => Err(JournalError::Poisoned { why: why.clone() }),
            None => Ok(()),
        }
    }

    fn poison_on(&mut self, result: Result<(), JournalError>) -> Result<(), JournalError> {
        if let Err(error) = &result {
            self.poisoned = Some(error.to_string());
        }
        result
    }

    fn append(
        &mut self,
        run: RunId,
        at_ms: i64,
        events: Vec<Event>,
    ) -> Result<Vec<Record>, JournalError> {
        self.writable()?;
        if let Some(event) = events
            .iter()
            .find(|event| matches!(event, Event::TrailWitnessed { .. }) != (run == RunId::NONE))
        {
            return Err(JournalError::Illegal(Illegal {
                event: event.name(),
                why: "what belongs to no run stands under no run, and nothing else does".into(),
            }));
        }
        self.closed.forget(run);
        // Taken out so that a state which nobody else looks at is folded in place: a batch may have
        // 100 000 entries. Where the fold or the write fails it is read again from what is durable.
        let before = match self.states.remove(&run) {
            Some(state) => Arc::unwrap_or_clone(state),
            None => self.fold(run)?,
        };
        let after = match events.iter().try_fold(before, RunState::after) {
            Ok(after) => after,
            Err(illegal) => {
                self.restore(run);
                return Err(illegal.into());
            }
        };
        let mut head = self.head;
        let mut rows = Vec::with_capacity(events.len());
        let mut records = Vec::with_capacity(events.len());
        for event in events {
            let record = Record {
                seq: head.seq + 1,
                at_ms,
                run,
                event,
            };
            let row = head.next(record_to_wire(&record).encode_to_vec());
            head = row.link;
            rows.push(row);
            records.push(record);
        }
        let written = self.storage.append(&rows);
        if let Err(error) = self.poison_on(written) {
            self.restore(run);
            return Err(error);
        }
        self.head = head;
        for record in &records {
            self.witnessed = self.witnessed.after(&record.event);
        }
        if run == RunId::NONE {
            return Ok(records);
        }
        let seqs = self.runs.entry(run).or_default();
        for record in &records {
            seqs.push(record.seq);
            self.highest_fence = self.highest_fence.max(fence(&record.event));
        }
        if after.closed.is_none() {
            self.states.insert(run, Arc::new(after));
        }
        Ok(records)
    }

    /// Puts a run's state back as the durable records have it.
    fn restore(&mut self, run: RunId) {
        match self.fold(run) {
            Ok(state) if state.begun && state.closed.is_none() => {
                self.states.insert(run, Arc::new(state));
            }
            Ok(_) => {}
            Err(error) => self.poisoned = Some(error.to_string()),
        }
    }

    fn records(&self, run: RunId) -> Result<Vec<Record>, JournalError> {
        let seqs = self.runs.get(&run).map_or(&[][..], Vec::as_slice);
        seqs.iter()
            .map(|seq| decode(&self.storage.row(*seq)?))
            .collect()
    }

    fn fold(&self, run: RunId) -> Result<RunState, JournalError> {
        let mut state = RunState::default();
        for record in self.records(run)? {
            state = state
                .after(&record.event)
                .map_err(|illegal| JournalError::Corrupt {
                    seq: record.seq,
                    why: illegal.to_string(),
                })?;
        }
        Ok(state)
    }
}

/// Reads rows in order and checks the chain.
struct Reader {
    head: Link,
}

impl Reader {
    fn new(id: Uuid) -> Self {
        Self {
            head: Link::first(id),
        }
    }

    fn all(
        &mut self,
        storage: &(impl Storage + ?Sized),
        mut each: impl FnMut(Record) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        loop {
            let rows = storage.rows(self.head.seq + 1, 4 << 20)?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                self.head = self.head.follow(&row)?;
                each(decode(&row)?)?;
            }
        }
    }
}

fn decode(row: &Row) -> Result<Record, JournalError> {
    let corrupt = |why: String| JournalError::Corrupt {
        seq: row.link.seq,
        why,
    };
    let wire =
        wire::Record::decode(row.bytes.as_slice()).map_err(|why| corrupt(why.to_string()))?;
    let record = record_from_wire(wire).map_err(|why: WireFault| corrupt(why.to_string()))?;
    if record.seq != row.link.seq {
        return Err(corrupt(format!("its text says that it is {}", record.seq)));
    }
    Ok(record)
}

const fn fence(event: &Event) -> u64 {
    match event {
        Event::Admitted { fence, .. }
        | Event::Advanced { fence, .. }
        | Event::Fenced { fence }
        | Event::UnwindOrdered { fence, .. } => *fence,
        _ => 0,
    }
}

fn lock(path: &Path) -> Result<File, JournalError> {
    let beside = sqlite::beside(path, ".lock");
    let attempted = || format!("lock the journal with `{}`", beside.display());
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&beside)
        .map_err(|reason| JournalError::unusable(attempted(), reason))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) if off(Mechanism::JournalLock) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(reason)) => Err(JournalError::unusable(attempted(), reason)),
    }
}

#[cfg(test)]
mod tests;
