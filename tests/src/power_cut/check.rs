//! What must be true on the volume after the power came back, before and after recovery.

use std::collections::BTreeMap;
use std::path::Path;

use mailmend_agent::custody::ledger;
use mailmend_agent::journal::Journal;
use mailmend_proto::run::Custody;

use super::host::CutHost;
use super::life::{Ground, message};

/// What one cut came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) messages: u64,
    pub(super) known: u64,
    /// Whether recovery had something to write down.
    pub(super) under_way: bool,
    pub(super) in_doubt: u64,
}

impl Ground {
    /// Opens the journal, recovers, lives to the end, and checks after each of these.
    pub(super) fn recover_and_check(
        &self,
        messages: u64,
        seed: u64,
        known: u64,
    ) -> Result<Found, String> {
        let journal = Journal::open(&self.journal()).map_err(|error| error.to_string())?;
        if journal.head() < known {
            return Err(format!(
                "the journal ends at record {}, and record {known} was durable",
                journal.head()
            ));
        }
        let host = CutHost::new(journal.clone(), Path::new("/"), None).quiet();
        let before = journal.head();
        if before > 0 {
            self.mend(&host, &journal).map_err(|e| e.to_string())?;
        }
        let under_way = journal.head() > before;
        self.balances(&journal, messages, seed)
            .map_err(|why| format!("after recovery: {why}"))?;
        self.story(&host, &journal).map_err(|e| e.to_string())?;
        let in_doubt = self
            .balances(&journal, messages, seed)
            .map_err(|why| format!("at the end: {why}"))?;
        Ok(Found {
            messages,
            known,
            under_way,
            in_doubt,
        })
    }

    /// Every message is there byte for byte, where the ledger says, and nothing else is. Returns how many are
    /// in doubt.
    fn balances(&self, journal: &Journal, messages: u64, seed: u64) -> Result<u64, String> {
        let queue = files(&self.out())?;
        let archives = if seed.is_multiple_of(2) {
            vec![self.out().join("Archive")]
        } else {
            Vec::new()
        };
        if self.archives() != archives {
            return Err(format!("the archive is at {:?}", self.archives()));
        }
        let mut held: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        if self.held().is_dir() {
            for entry in std::fs::read_dir(self.held()).map_err(|e| e.to_string())? {
                let folder = entry.map_err(|e| e.to_string())?.path();
                for (name, bytes) in files(&folder)? {
                    held.entry(name).or_default().push(bytes);
                }
            }
        }
        let mut states: BTreeMap<String, Custody> = BTreeMap::new();
        for line in ledger::of_server(journal).map_err(|e| e.to_string())? {
            if states.insert(line.name.clone(), line.custody).is_some() {
                return Err(format!("`{}` has two entries", line.name));
            }
        }
        let mut in_doubt = 0;
        for number in 0..messages {
            let (name, bytes) = message(number, seed);
            let in_queue = queue.get(&name);
            let kept = held.remove(&name).unwrap_or_default();
            let places: Vec<&Vec<u8>> = in_queue.into_iter().chain(&kept).collect();
            if places.is_empty() {
                return Err(format!("`{name}` is lost"));
            }
            if places.iter().any(|found| **found != bytes) {
                return Err(format!("`{name}` has other bytes"));
            }
            let (queued, kept) = (in_queue.is_some(), kept.len());
            let right = match states.remove(&name) {
                None | Some(Custody::Live) => queued && kept == 0,
                Some(Custody::Held) => !queued && kept == 1,
                Some(Custody::Replaying) => queued && kept == 1,
                Some(Custody::InDoubt) => {
                    in_doubt += 1;
                    !queued && kept == 1
                }
                Some(Custody::GoneWithEvidence | Custody::Poison) => false,
            };
            if !right {
                return Err(format!(
                    "`{name}`: in the queue {queued}, held {kept} times, and the ledger says otherwise"
                ));
            }
        }
        if queue.len() > usize::try_from(messages).unwrap_or(usize::MAX)
            || !held.is_empty()
            || !states.is_empty()
        {
            return Err(format!("more than was there: {held:?} {states:?}"));
        }
        Ok(in_doubt)
    }
}

/// The message files of a folder.
fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.len() == 8 {
            let bytes = std::fs::read(entry.path()).map_err(|error| error.to_string())?;
            files.insert(name, bytes);
        }
    }
    Ok(files)
}
