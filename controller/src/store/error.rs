//! What can go wrong with the store, and what to do about it.

use std::path::{Path, PathBuf};

use super::Recall;

/// The store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another controller has it open.
    #[error("C101-store-locked: `{path}` is in use by another controller")]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// A later version of mailmend wrote it.
    #[error("C102-store-newer: `{path}` has schema {found}, which this version does not know")]
    Newer {
        /// The database.
        path: PathBuf,
        /// The schema found.
        found: i64,
    },
    /// It is damaged.
    #[error("C103-store-corrupt: `{path}` is damaged: {why}")]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite found.
        why: String,
    },
    /// The volume is full.
    #[error("C104-store-full: no space left for `{path}`, nothing was half written")]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// The file cannot be made, read or locked.
    #[error("C105-store-file: cannot open `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        why: std::io::Error,
    },
    /// Somebody changed it in between; load again and decide again.
    #[error("C106-store-changed: `{0}` was changed by somebody else at the same time; try again")]
    Changed(String),
    /// The policy must not run any more.
    #[error(
        "C113-policy-recalled: `{}` version {} was recalled by {}: {}; publish a mended version",
        .0.policy, .0.version, .0.by, .0.why
    )]
    Recalled(Box<Recall>),
    /// A row holds what no version of mailmend writes.
    #[error("C103-store-corrupt: `{table}` holds a value that makes no sense: {why}")]
    Row {
        /// The table.
        table: &'static str,
        /// What is wrong.
        why: String,
    },
    /// It is gone or empty, though this data folder has been in use.
    #[error(
        "C108-store-missing: `{path}` is gone or empty, though this data folder has been in use"
    )]
    Missing {
        /// The database.
        path: PathBuf,
    },
    /// Anything else that SQLite says.
    #[error("C107-store-failed: the store failed")]
    Sqlite(#[source] sqlx::Error),
}

impl StoreError {
    /// The error that SQLite's answer means.
    pub(super) fn of(path: &Path, fault: sqlx::Error) -> Self {
        let code = match &fault {
            sqlx::Error::Database(fault) => fault
                .code()
                .and_then(|code| code.parse::<i32>().ok())
                .map(|code| code & 0xff),
            _ => None,
        };
        let path = path.to_owned();
        match code {
            Some(5) => Self::Locked { path },
            Some(13) => Self::Full { path },
            Some(11 | 26) => Self::Corrupt {
                path,
                why: fault.to_string(),
            },
            _ => Self::Sqlite(fault),
        }
    }
}
