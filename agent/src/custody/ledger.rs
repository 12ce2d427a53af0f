//! All custody of a server, told to people.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mailmend_policy::digest::Digest;
use mailmend_proto::run::{BatchId, Custody, RunId, RunState};

use crate::journal::{Journal, JournalError};

/// One message file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The run or duty that took it.
    pub run: RunId,
    /// With [`Self::index`], its custody id.
    pub batch: BatchId,
    /// In its batch.
    pub index: u32,
    /// Its state.
    pub custody: Custody,
    /// The queue that it came from.
    pub queue: String,
    /// Its file name in that queue.
    pub name: String,
    /// The name under which it was given back, where that is another.
    pub given_back_as: Option<String>,
    /// The folder of escrow whose copy it is; none: it was taken out of the queue.
    pub copied_from: Option<PathBuf>,
    /// Where it is held, or where its escrow is. Not there for what stayed in the queue.
    pub held: PathBuf,
    /// Bytes.
    pub size: u64,
    /// The digest of its content.
    pub hash: Digest,
    /// Its MTS-ID; empty where the file shows none.
    pub mts_id: String,
    /// Its Message-ID; empty where the file shows none.
    pub message_id: String,
}

/// The files of one run, by batch and index.
#[must_use]
pub fn of_run(run: RunId, state: &RunState) -> Vec<Line> {
    let mut lines = Vec::new();
    for (id, batch) in &state.batches {
        for entry in &batch.entries {
            let renamed = batch
                .replays
                .values()
                .filter_map(|replay| replay.renamed.get(&entry.index))
                .next_back();
            lines.push(Line {
                run,
                batch: *id,
                index: entry.index,
                custody: entry.custody,
                queue: batch.queue.clone(),
                name: entry.name.clone(),
                given_back_as: renamed.cloned(),
                copied_from: batch.copied_from.as_ref().map(PathBuf::from),
                held: Path::new(&batch.held).join(&entry.name),
                size: entry.size,
                hash: entry.hash,
                mts_id: entry.mts_id.clone(),
                message_id: entry.message_id.clone(),
            });
        }
    }
    lines
}

/// The files of all runs, closed ones too.
///
/// # Errors
/// Where the journal cannot be read.
pub fn of_server(journal: &Journal) -> Result<Vec<Line>, JournalError> {
    let mut lines = Vec::new();
    for run in journal.runs() {
        if let Some(state) = journal.state(run)? {
            lines.extend(of_run(run, &state));
        }
    }
    Ok(lines)
}

/// How many files are in each state; every state is there, also with 0.
#[must_use]
pub fn counts(lines: &[Line]) -> BTreeMap<Custody, u64> {
    let mut counts: BTreeMap<Custody, u64> =
        Custody::ALL.iter().map(|(_, state)| (*state, 0)).collect();
    for line in lines {
        *counts.entry(line.custody).or_insert(0) += 1;
    }
    counts
}
