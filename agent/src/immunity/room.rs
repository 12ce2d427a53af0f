//! How much more the guard file lets immunity set aside.

use std::sync::{Mutex, PoisonError};

use mailmend_proto::run::Custody;

use crate::ablation::{Mechanism, off};
use crate::guard::Immunity as Limits;
use crate::journal::JournalError;
use crate::station::Station;

/// How many more messages may be set aside now, and what bounds that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Room {
    /// How many.
    pub(crate) left: u64,
    /// What bounds it, in words.
    pub(crate) why: String,
}

impl Room {
    /// The room that is left by these limits, with so many set aside within the hour and so many in all.
    #[must_use]
    pub(crate) fn of(limits: &Limits, this_hour: u64, held: u64) -> Self {
        let hour = u64::from(limits.max_per_hour).saturating_sub(this_hour);
        let files = limits.max_files.saturating_sub(held);
        let why = if hour <= files {
            format!(
                "{this_hour} messages were set aside within an hour, and the guard file allows {}; raise `max_per_hour` of `[immunity]`",
                limits.max_per_hour
            )
        } else {
            format!(
                "{held} messages are set aside, and the guard file allows {}; raise `max_files` of `[immunity]`",
                limits.max_files
            )
        };
        Self {
            left: hour.min(files),
            why,
        }
    }

    /// The room that is left on this server now.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub(crate) fn now(station: &Station) -> Result<Self, JournalError> {
        if off(Mechanism::ImmunityLimit) {
            return Ok(Self {
                left: u64::MAX,
                why: String::new(),
            });
        }
        let mut held = 0;
        for run in station.journal.runs() {
            let state = station.state(run)?;
            for (batch, marked) in &state.immunized {
                let entries = state.batches.get(batch).map(|batch| &batch.entries);
                held += marked
                    .keys()
                    .filter_map(|index| entries?.get(*index as usize))
                    .filter(|entry| matches!(entry.custody, Custody::Poison | Custody::InDoubt))
                    .count() as u64;
            }
        }
        let this_hour = station.immunized_this_hour();
        Ok(Self::of(station.guard.immunity(), this_hour, held))
    }
}

/// Whether a text is told now: once, until another one is.
pub(crate) fn told_once(last: &Mutex<Option<String>>, text: Option<&str>) -> bool {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let new = last.as_deref() != text;
    *last = text.map(str::to_owned);
    new && text.is_some()
}
