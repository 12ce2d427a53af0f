//! Escrow: a second name of every file that appears in a queue folder, kept outside the queues, so that what
//! the server deletes can be had back (Q157684).
//!
//! An escrow begins with a step of a run and goes on when the run is over and through restarts of the agent:
//! what is kept follows from the journal alone. Two things feed it: the host tells of files as they appear,
//! which catches those that live for milliseconds; and a sweep looks through the folders at the start and
//! every few seconds, which catches what nobody told of. A second name is a hard link on the queue's own
//! volume: it costs nothing until the server deletes its own, and whatever the server does to its name, the
//! bytes stay.
//!
//! A copy goes only once the logs show that its message was delivered, and `keep` after that: it is moved to a
//! folder named by the day on which the evidence was seen, and that folder is emptied when its time has come.
//! What was never delivered stays. When the guard's limits are reached nothing more is kept and a person is
//! told; the disk is never filled, and nothing that is kept is thrown away for room.

mod expiry;
mod keeper;

use std::path::{Path, PathBuf};

use mailmend_policy::condition::Queue;
use mailmend_proto::run::RunId;

use crate::condition::is_spool_name;
use crate::guard::Guard;
use crate::inbox::held_root;
use crate::journal::{Journal, JournalError};

pub use keeper::{Keeper, Kept};

/// An escrow that was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The run whose step ordered it last.
    pub run: RunId,
    /// Which queue.
    pub queue: Queue,
    /// The folder that is watched.
    pub folder: PathBuf,
    /// The folder with the second names.
    pub kept_in: PathBuf,
    /// How long a copy is kept after evidence of delivery, milliseconds.
    pub keep_ms: u64,
}

/// The escrows that stand, one for each watched folder: the last order counts.
///
/// # Errors
/// Where the journal cannot be read.
pub fn orders(journal: &Journal) -> Result<Vec<Order>, JournalError> {
    let mut orders: Vec<Order> = Vec::new();
    for order in every(journal)? {
        orders.retain(|other| other.folder != order.folder);
        orders.push(order);
    }
    Ok(orders)
}

/// Every order, in the order of the runs and steps that gave it.
fn every(journal: &Journal) -> Result<Vec<Order>, JournalError> {
    let mut orders: Vec<Order> = Vec::new();
    for run in journal.runs() {
        let Some(state) = journal.state(run)? else {
            continue;
        };
        for escrow in state.escrows.values() {
            let Some(queue) = Queue::ALL
                .iter()
                .find(|(name, _)| *name == escrow.queue)
                .map(|(_, queue)| *queue)
            else {
                continue;
            };
            let order = Order {
                run,
                queue,
                folder: PathBuf::from(&escrow.folder),
                kept_in: PathBuf::from(&escrow.kept_in),
                keep_ms: escrow.keep_ms,
            };
            orders.push(order);
        }
    }
    Ok(orders)
}

/// Every folder that keeps second names, also of escrows that were ordered otherwise since.
///
/// # Errors
/// Where the journal cannot be read.
pub fn folders(journal: &Journal) -> Result<Vec<PathBuf>, JournalError> {
    let mut folders = Vec::new();
    for run in journal.runs() {
        for escrow in journal
            .state(run)?
            .iter()
            .flat_map(|state| state.escrows.values())
        {
            let folder = PathBuf::from(&escrow.kept_in);
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
    }
    Ok(folders)
}

/// The order that this folder of second names was made for, the last one; also one that does not stand any more.
///
/// # Errors
/// Where the journal cannot be read.
pub fn order_of(journal: &Journal, kept_in: &Path) -> Result<Option<Order>, JournalError> {
    let all = every(journal)?;
    Ok(all.into_iter().rfind(|order| order.kept_in == kept_in))
}

/// Where the second names of a queue's files are kept: below the folder for held mail, outside the queues.
#[must_use]
pub fn kept_in(guard: &Guard, imcdata: &Path, folder: &str) -> PathBuf {
    held_root(guard, imcdata).join("escrow").join(folder)
}

/// The name of the spool file that a copy was made of: the copy has the same, or, where that was taken by
/// another message, the same with the file's identity after it.
#[must_use]
pub fn spool_name_of(copy: &str) -> Option<&str> {
    let name = copy.get(..8)?;
    let rest = copy.get(8..)?;
    let marked = rest.is_empty() || rest.starts_with('-');
    (marked && is_spool_name(name)).then_some(name)
}

/// The name of the copy of a file whose own name is taken.
fn name_beside(spool_name: &str, file_id: u64) -> String {
    format!("{spool_name}-{file_id:x}")
}

#[cfg(test)]
mod tests;
