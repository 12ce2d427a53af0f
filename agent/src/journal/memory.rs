//! A journal's rows in memory, which outlive the agent that a simulation kills.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mailmend_policy::digest::Digest;
use uuid::Uuid;

use super::chain::Row;
use super::{JournalError, Storage};

/// Called before and after each append with the name of the place; a simulation ends the agent there.
pub type PointHook = Arc<dyn Fn(&'static str) + Send + Sync>;

/// What survives of a journal when its agent dies. Clones share it.
#[derive(Clone)]
pub struct MemoryJournal {
    id: Uuid,
    hook: Option<PointHook>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    rows: Vec<Row>,
    acknowledged: u64,
    appends_until_failure: Option<u32>,
}

impl MemoryJournal {
    /// An empty one.
    #[must_use]
    pub fn new(id: Uuid) -> Self {
        Self {
            id,
            hook: None,
            kept: Arc::default(),
        }
    }

    /// The same rows, with a place to die before and after each append.
    #[must_use]
    pub fn with_hook(mut self, hook: PointHook) -> Self {
        self.hook = Some(hook);
        self
    }

    /// A copy of the rows as they are, which goes its own way.
    #[must_use]
    pub fn fork(&self) -> Self {
        let kept = self.kept();
        let rows = Kept {
            rows: kept.rows.clone(),
            acknowledged: kept.acknowledged,
            appends_until_failure: None,
        };
        Self {
            id: self.id,
            hook: None,
            kept: Arc::new(Mutex::new(rows)),
        }
    }

    /// The same for journals with the same rows.
    #[must_use]
    pub fn likeness(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for row in &self.kept().rows {
            hasher.update(&(row.bytes.len() as u64).to_le_bytes());
            hasher.update(&row.bytes);
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// How many rows there are.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.kept().rows.len() as u64
    }

    /// Lets the append after the next `after` ones fail, as a disk does whose sync fails.
    pub fn fail_append(&self, after: u32) {
        self.kept().appends_until_failure = Some(after);
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    pub(super) fn hook(&self) -> Option<PointHook> {
        self.hook.clone()
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.kept().acknowledged
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for MemoryJournal {
    fn append(&mut self, rows: &[Row]) -> Result<(), JournalError> {
        let mut kept = self.kept();
        match &mut kept.appends_until_failure {
            Some(0) => {
                kept.appends_until_failure = None;
                let attempted = "sync the journal in memory";
                return Err(JournalError::unusable(attempted, "input/output error"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        kept.rows.extend_from_slice(rows);
        Ok(())
    }

    fn rows(&self, first: u64, max_bytes: usize) -> Result<Vec<Row>, JournalError> {
        let kept = self.kept();
        let start = usize::try_from(first.saturating_sub(1)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        Ok(kept
            .rows
            .iter()
            .skip(start)
            .take_while(|row| {
                let fits = bytes == 0 || bytes + row.bytes.len() <= max_bytes;
                bytes += row.bytes.len();
                fits
            })
            .cloned()
            .collect())
    }

    fn row(&self, seq: u64) -> Result<Row, JournalError> {
        let rows = self.rows(seq, 0)?;
        rows.into_iter()
            .next()
            .ok_or_else(|| JournalError::Corrupt {
                seq,
                why: "it is missing".into(),
            })
    }

    fn acknowledge(&mut self, seq: u64) -> Result<(), JournalError> {
        self.kept().acknowledged = seq;
        Ok(())
    }
}
