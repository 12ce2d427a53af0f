//! What the measured controller has stored, read beside it from its database: asking it would count as its own work.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::inventory::DATABASE;
use crate::lab_error::LabError;

/// The database, opened to read.
pub struct Stored(Connection);

fn failed(why: rusqlite::Error) -> LabError {
    LabError::Refused {
        attempted: "read the controller's database".to_owned(),
        reason: why.to_string(),
    }
}

impl Stored {
    /// Opens the database of a controller.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open(data: &Path) -> Result<Self, LabError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(data.join(DATABASE), flags).map_err(failed)?;
        database
            .busy_timeout(std::time::Duration::from_secs(5))
            .map_err(failed)?;
        Ok(Self(database))
    }

    /// How many agents have answered to a version of a policy.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn answers(&self, version: u32) -> Result<usize, LabError> {
        self.count("SELECT count(*) FROM symptoms WHERE version = ?1", version)
    }

    /// Where a rollout stands, and why.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn rollout(&self, id: &str) -> Result<(String, String), LabError> {
        let text = "SELECT state, why FROM rollouts WHERE id = ?1";
        let row = self
            .0
            .query_row(text, [id], |row| Ok((row.get(0)?, row.get(1)?)));
        row.map_err(failed)
    }

    /// How many runs of a rollout have succeeded.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn succeeded(&self, id: &str) -> Result<usize, LabError> {
        self.count(
            "SELECT count(*) FROM runs WHERE rollout = ?1 AND phase = 'succeeded'",
            id,
        )
    }

    /// How many records of this kind are stored.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn records(&self, kind: &str) -> Result<usize, LabError> {
        self.count("SELECT count(*) FROM records WHERE kind = ?1", kind)
    }

    fn count(&self, text: &str, value: impl rusqlite::ToSql) -> Result<usize, LabError> {
        let count: i64 = self
            .0
            .query_row(text, [value], |row| row.get(0))
            .map_err(failed)?;
        Ok(usize::try_from(count).unwrap_or(0))
    }
}
