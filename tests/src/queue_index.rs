//! `queue.dat`: the state of the IMS's outbound queue, without any message.
//!
//! One entry for each file and destination host, with the next hop that was assigned when the entry was
//! made: a new routing table alone does not move what is already queued. Where the file is missing the
//! queue is rebuilt from the spool folder, with the routing of that moment. To everybody but the IMS
//! the file is opaque.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::lab_error::{Attempting, LabError};
use crate::spool::SpoolName;
use crate::whole_file;

/// What one delivery is: a message and the host that it goes to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// The spool file.
    pub file: SpoolName,
    /// The next hop that was assigned when the message was queued.
    pub next_hop: String,
    /// Its recipients who are reached through that hop.
    pub recipients: Vec<String>,
    /// Attempts that failed.
    pub attempts: u32,
    /// Not to be tried before, in milliseconds since 1970 UTC.
    pub next_try_ms: i64,
    /// Whether the hop has taken it.
    pub done: bool,
}

/// A delivery that a worker has taken on.
#[derive(Debug, Clone)]
pub struct Job {
    /// Which entry it is, until it is settled.
    pub key: u64,
    /// The entry as it was when taken.
    pub entry: Entry,
}

/// How a delivery attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The hop took it.
    Delivered,
    /// It has to be tried again, not before this time.
    Later(i64),
    /// The file is gone: somebody else took it.
    Gone,
}

/// The queue of a running IMS.
#[derive(Debug, Default)]
pub struct QueueIndex {
    entries: BTreeMap<u64, (Entry, bool)>,
    next_key: u64,
    down: HashMap<String, (u32, i64)>,
}

impl QueueIndex {
    /// Reads `queue.dat`.
    ///
    /// # Errors
    /// Where it cannot be read or makes no sense.
    pub fn read(path: &Path) -> Result<Option<Vec<Entry>>, LabError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(error).attempting(|| format!("read `{}`", path.display()))?,
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| LabError::Malformed {
                what: format!("`{}`", path.display()),
                reason: error.to_string(),
            })
    }

    /// Writes `queue.dat`.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), LabError> {
        let entries: Vec<_> = self.entries.values().map(|(entry, _)| entry).collect();
        whole_file::write_json(path, &entries)
    }

    /// Queues a delivery.
    pub fn add(&mut self, entry: Entry) {
        self.entries.insert(self.next_key, (entry, false));
        self.next_key += 1;
    }

    /// Takes on the oldest delivery that is due and whose hop is not known to be down.
    pub fn take(&mut self, now_ms: i64) -> Option<Job> {
        let down = &self.down;
        let (key, (entry, taken)) = self.entries.iter_mut().find(|(_, (entry, taken))| {
            !taken
                && !entry.done
                && entry.next_try_ms <= now_ms
                && down
                    .get(&entry.next_hop)
                    .is_none_or(|(_, until)| *until <= now_ms)
        })?;
        *taken = true;
        Some(Job {
            key: *key,
            entry: entry.clone(),
        })
    }

    /// Settles a delivery that was taken on. Returns whether the file has nothing left to deliver.
    pub fn settle(&mut self, job: &Job, settled: Settled) -> bool {
        match settled {
            Settled::Gone => {
                self.entries.remove(&job.key);
                false
            }
            Settled::Later(next_try_ms) => {
                if let Some((entry, taken)) = self.entries.get_mut(&job.key) {
                    entry.attempts += 1;
                    entry.next_try_ms = next_try_ms;
                    *taken = false;
                }
                false
            }
            Settled::Delivered => {
                if let Some((entry, taken)) = self.entries.get_mut(&job.key) {
                    entry.done = true;
                    *taken = false;
                }
                let of_file = |entry: &Entry| entry.file == job.entry.file;
                self.entries
                    .values()
                    .filter(|(entry, _)| of_file(entry))
                    .all(|(entry, _)| entry.done)
            }
        }
    }

    /// Drops all entries of a file that was removed.
    pub fn forget(&mut self, file: &SpoolName) {
        self.entries.retain(|_, (entry, _)| entry.file != *file);
    }

    /// Notes that a hop could not be reached; returns how often in a row.
    pub fn hop_failed(&mut self, next_hop: &str, until: impl FnOnce(u32) -> i64) -> u32 {
        let (failures, until_ms) = self.down.entry(next_hop.to_owned()).or_insert((0, 0));
        *failures += 1;
        *until_ms = until(*failures);
        *failures
    }

    /// Notes that a hop was reached.
    pub fn hop_answered(&mut self, next_hop: &str) {
        self.down.remove(next_hop);
    }

    /// The entries, in the order in which they were queued.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().map(|(entry, _)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(file: &str, next_hop: &str) -> Entry {
        Entry {
            file: SpoolName::parse(file).unwrap(),
            next_hop: next_hop.to_owned(),
            recipients: vec!["bob@example.net".to_owned()],
            attempts: 0,
            next_try_ms: 0,
            done: false,
        }
    }

    #[test]
    fn a_taken_delivery_is_not_taken_twice() {
        let mut queue = QueueIndex::default();
        queue.add(entry("AAAAAAA1", "a:25"));
        assert!(queue.take(0).is_some());
        assert!(queue.take(0).is_none());
    }

    #[test]
    fn a_hop_that_is_down_holds_only_its_own_mail() {
        let mut queue = QueueIndex::default();
        queue.add(entry("AAAAAAA1", "dead:25"));
        queue.add(entry("AAAAAAA2", "live:25"));
        assert_eq!(queue.hop_failed("dead:25", |_| 100), 1);
        assert_eq!(queue.take(50).unwrap().entry.next_hop, "live:25");
        assert_eq!(queue.take(100).unwrap().entry.next_hop, "dead:25");
    }

    #[test]
    fn a_file_is_done_only_when_every_destination_has_it() {
        let mut queue = QueueIndex::default();
        queue.add(entry("AAAAAAA1", "a:25"));
        queue.add(entry("AAAAAAA1", "b:25"));
        let (first, second) = (queue.take(0).unwrap(), queue.take(0).unwrap());
        assert!(!queue.settle(&first, Settled::Delivered));
        assert!(!queue.settle(&second, Settled::Later(10)));
        let second = queue.take(10).unwrap();
        assert_eq!(second.entry.attempts, 1);
        assert!(queue.settle(&second, Settled::Delivered));
    }

    #[test]
    fn the_assigned_hop_survives_writing_and_reading() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.dat");
        assert_eq!(QueueIndex::read(&path).unwrap(), None);
        let mut queue = QueueIndex::default();
        queue.add(entry("AAAAAAA1", "old:25"));
        queue.write(&path).unwrap();
        assert_eq!(
            QueueIndex::read(&path).unwrap().unwrap()[0].next_hop,
            "old:25"
        );
        std::fs::write(&path, "junk").unwrap();
        assert!(QueueIndex::read(&path).is_err());
    }
}
