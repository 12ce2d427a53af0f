//! A queue folder of a real file system with mail in it, and custody of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::*;
use crate::journal::{Journal, MemoryJournal};

/// A queue folder with files, and what outlives an agent.
pub(super) struct Place {
    _keep: tempfile::TempDir,
    pub(super) out: PathBuf,
    pub(super) held: PathBuf,
    pub(super) disk: Disk,
    pub(super) kept: MemoryJournal,
    pub(super) content: BTreeMap<String, Vec<u8>>,
}

impl Place {
    pub(super) fn new(files: usize) -> Self {
        let keep = tempfile::tempdir().unwrap();
        let root = keep.path().canonicalize().unwrap();
        let out = root.join("imcdata/Out");
        fs::create_dir_all(out.join("Archive")).unwrap();
        let disk = Disk::new();
        let switch = disk.switch.clone();
        let kept = MemoryJournal::new(Uuid::from_u128(1))
            .with_hook(std::sync::Arc::new(move |point| switch.point(point)));
        let mut place = Self {
            _keep: keep,
            out,
            held: root.join("mailmend-held"),
            disk,
            kept,
            content: BTreeMap::new(),
        };
        for number in 0..files {
            place.put(
                &if number < 10_000 {
                    format!("MAIL{number:04}")
                } else {
                    format!("M{number:07}")
                },
                format!("mail {number}").as_bytes(),
            );
        }
        place
    }

    pub(super) fn put(&mut self, name: &str, bytes: &[u8]) {
        fs::write(self.out.join(name), bytes).unwrap();
        self.content.insert(name.to_owned(), bytes.to_vec());
    }

    pub(super) fn journal(&self) -> Journal {
        Journal::memory(&self.kept).unwrap()
    }

    pub(super) fn take(&self, number: u128) -> Take {
        Take {
            batch: BatchId(Uuid::from_u128(number)),
            step: Some(3),
            queue: Queue::OutboundAwaitingDelivery,
            source: self.out.clone(),
            held_root: self.held.clone(),
            limits: NO_LIMITS,
        }
    }

    pub(super) fn stopped(&self, how: HowStopped) -> Stopped {
        Stopped::prove(&self.disk, &imc(), None, how).unwrap()
    }

    pub(super) fn quarantine(
        &self,
        number: u128,
        evidence: &dyn Evidence,
    ) -> Result<quarantine::Taken, CustodyError> {
        let journal = self.journal();
        let desk = self.desk(&journal);
        begin(&desk);
        quarantine::prepare(&desk, self.take(number))?.take(
            &desk,
            &self.stopped(HowStopped::Cleanly),
            evidence,
        )
    }

    pub(super) fn replay(&self, number: u128, which: Which) -> Result<replay::Given, CustodyError> {
        let journal = self.journal();
        let desk = self.desk(&journal);
        let give = Give {
            batch: BatchId(Uuid::from_u128(number)),
            step: Some(5),
            target: self.out.clone(),
            which,
        };
        replay::check(&desk, give)?.place(&desk, &self.stopped(HowStopped::Cleanly))
    }

    pub(super) fn recover(
        &self,
        may_have_run: bool,
        evidence: &dyn Evidence,
    ) -> recover::Recovered {
        let journal = self.journal();
        let desk = self.desk(&journal);
        let stopped = self.stopped(HowStopped::Cleanly);
        let circumstances = recover::Circumstances {
            stopped: Some(&stopped),
            may_have_run,
        };
        recover::recover(&desk, circumstances, evidence).unwrap()
    }

    pub(super) fn desk<'a>(&'a self, journal: &'a Journal) -> Desk<'a> {
        Desk {
            host: &self.disk,
            journal,
            run: RUN,
        }
    }

    pub(super) fn states(&self) -> BTreeMap<String, Custody> {
        ledger::of_server(&self.journal())
            .unwrap()
            .into_iter()
            .map(|line| (line.name, line.custody))
            .collect()
    }

    pub(super) fn counts(&self) -> BTreeMap<Custody, u64> {
        let mut counts = ledger::counts(&ledger::of_server(&self.journal()).unwrap());
        counts.retain(|_, count| *count > 0);
        counts
    }

    pub(super) fn alarms(&self) -> Vec<String> {
        let records = self.journal().after(0, usize::MAX).unwrap();
        records
            .into_iter()
            .filter_map(|record| match record.event {
                Event::Alarm { code, .. } => Some(code),
                _ => None,
            })
            .collect()
    }

    pub(super) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let Ok(entries) = fs::read_dir(folder) else {
            return BTreeMap::new();
        };
        entries
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read(entry.path()).unwrap())
            })
            .filter(|(name, _)| survey::is_spool_name(name))
            .collect()
    }

    pub(super) fn queue(&self) -> BTreeMap<String, Vec<u8>> {
        Self::files(&self.out)
    }

    pub(super) fn held(&self, number: u128) -> BTreeMap<String, Vec<u8>> {
        Self::files(&held_folder(&self.held, BatchId(Uuid::from_u128(number))))
    }

    /// I1: every message that was ever put here is somewhere, byte for byte, and the ledger has it in
    /// the state that the folders show; and at every record the entries add up.
    pub(super) fn balances(&self, number: u128) {
        let (queue, held) = (self.queue(), self.held(number));
        for (name, bytes) in &self.content {
            let places = [queue.get(name), held.get(name)];
            assert!(
                places.into_iter().flatten().any(|found| found == bytes)
                    || queue.values().any(|found| found == bytes),
                "`{name}` is lost or altered"
            );
        }
        for (name, state) in self.states() {
            let (queued, kept) = (queue.contains_key(&name), held.contains_key(&name));
            match state {
                Custody::Live => assert!(queued && !kept, "{name} {state:?}"),
                Custody::Held | Custody::GoneWithEvidence => {
                    assert!(kept && !queued, "{name} {state:?}");
                }
                Custody::Replaying => assert!(kept, "{name} {state:?}"),
                Custody::InDoubt | Custody::Poison => {}
            }
        }
        let mut state = mailmend_proto::run::RunState::default();
        for record in self.journal().records(RUN).unwrap() {
            state = state.after(&record.event).unwrap();
            let entries: usize = state
                .batches
                .values()
                .map(|batch| batch.entries.len())
                .sum();
            let counted: u64 = state.custody_counts().values().sum();
            assert_eq!(counted, entries as u64);
            assert!(entries <= self.content.len());
        }
    }
}
