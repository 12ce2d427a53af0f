//! What the ledgers say: only to compare with the truth what had been named.

use std::collections::BTreeSet;

use super::fleet::Fleet;
use super::operator::rows;
use crate::lab_error::LabError;

/// Messages that the ledgers single out, by the name of their spool file.
#[derive(Debug, Default)]
pub struct Ledger {
    pub(super) in_doubt: BTreeSet<String>,
    pub(super) poison: BTreeSet<String>,
    /// Held, or given back and not settled.
    pub(super) held: BTreeSet<String>,
}

impl Ledger {
    /// Asks the controller.
    pub(super) fn read(fleet: &mut Fleet) -> Result<Self, LabError> {
        let mut names = |state: &str| -> Result<BTreeSet<String>, LabError> {
            let listed = fleet.ask(&["ledger", "list", "--state", state])?;
            let name = |entry: &serde_json::Value| entry["name"].as_str().map(str::to_owned);
            Ok(rows(&listed["entries"]).iter().filter_map(name).collect())
        };
        let mut held = names("held")?;
        held.extend(names("replaying")?);
        Ok(Self {
            in_doubt: names("in-doubt")?,
            poison: names("poison")?,
            held,
        })
    }

    /// Whether a message is named as one that may have been sent twice.
    pub(super) fn names(&self, spool_name: &str) -> bool {
        self.in_doubt.contains(spool_name)
    }

    /// Whether a message that its recipients do not have is named with a reason.
    pub(super) fn accounts_for(&self, spool_name: &str) -> bool {
        [&self.in_doubt, &self.poison, &self.held]
            .iter()
            .any(|names| names.contains(spool_name))
    }
}
