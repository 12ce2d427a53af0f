//! Rows in a SQLite file: write-ahead log, `synchronous = FULL`.
//!
//! SQLite makes an append atomic and drops what was torn at the end. It does not notice a bit that
//! flipped at rest, and where that bit is in the write-ahead log it drops everything after it without a
//! word. Therefore two marks say how far the journal once was: one in the file, in the same
//! transaction as the rows, and one beside it (`.head`), written after the commit and not synced. Neither can
//! name a row that was never durable, so a mark ahead of the rows means that rows are gone.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use uuid::Uuid;

use super::chain::{Link, Row};
use super::{JournalError, Storage};

const VERSION: i64 = 1;
/// "mmJL", so that `file` and a person can tell what the database is.
const APPLICATION: i64 = 0x6d6d_4a4c;

pub(super) struct SqliteStorage {
    db: Connection,
    mark: Option<File>,
    beside: Option<Link>,
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Opens for writing, making the file where there is none. Returns its id and what was acknowledged.
pub(super) fn open(path: &Path) -> Result<(SqliteStorage, Uuid, u64), JournalError> {
    let attempted = || format!("open the journal `{}`", path.display());
    let marked = mark_at(path)?;
    let new = !path.exists();
    if new && let Some(marked) = marked {
        return Err(JournalError::Corrupt {
            seq: 1,
            why: format!(
                "the file is gone, and record {} was written once",
                marked.seq
            ),
        });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags).map_err(failed(attempted()))?;
    // The first write after a start can meet a reader that is just leaving.
    db.busy_timeout(Duration::from_secs(10))
        .map_err(failed(attempted()))?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cell_size_check = ON;",
    )
    .map_err(failed(attempted()))?;
    create(&mut db).map_err(failed(attempted()))?;
    if new {
        sync_parent(path)?;
    }
    let (id, acknowledged) = facts(&db)?;
    let mark = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(beside(path, ".head"))
        .map_err(|reason| JournalError::unusable(attempted(), reason))?;
    let storage = SqliteStorage {
        db,
        mark: Some(mark),
        beside: marked,
    };
    Ok((storage, id, acknowledged))
}

/// Opens for reading beside a running agent.
pub(super) fn read(path: &Path) -> Result<(SqliteStorage, Uuid, u64), JournalError> {
    let attempted = || format!("read the journal `{}`", path.display());
    // Without SQLITE_OPEN_CREATE: a journal that is not there is not made by looking.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(failed(attempted()))?;
    db.busy_timeout(Duration::from_secs(10))
        .map_err(failed(attempted()))?;
    let (id, acknowledged) = facts(&db)?;
    let storage = SqliteStorage {
        db,
        mark: None,
        beside: None,
    };
    Ok((storage, id, acknowledged))
}

fn mark_at(path: &Path) -> Result<Option<Link>, JournalError> {
    let path = beside(path, ".head");
    let mut bytes = Vec::new();
    match File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => Ok(Link::from_mark(&bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let attempted = format!("read `{}`", path.display());
            Err(JournalError::unusable(attempted, error))
        }
    }
}

/// Makes the names of new files durable where the system has such a call.
fn sync_parent(path: &Path) -> Result<(), JournalError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    crate::host::sync_own_folder(parent).map_err(|reason| {
        JournalError::unusable(format!("sync the folder `{}`", parent.display()), reason)
    })
}

fn create(db: &mut Connection) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let made: i64 = transaction.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('record', 'fact')",
        [],
        |row| row.get(0),
    )?;
    if made == 0 {
        // No index: whatever is not covered by the chain could lie without being noticed.
        transaction.execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION};
             CREATE TABLE record (seq INTEGER PRIMARY KEY, bytes BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
             CREATE TABLE fact (number INTEGER PRIMARY KEY, value BLOB NOT NULL, hash BLOB NOT NULL) STRICT;"
        ))?;
        set(&transaction, Fact::Version, &VERSION.to_le_bytes())?;
        set(&transaction, Fact::Id, Uuid::now_v7().as_bytes())?;
    }
    transaction.commit()
}

/// What the journal knows of itself; the numbers are rows of table `fact`.
#[derive(Clone, Copy)]
enum Fact {
    Version = 1,
    Id = 2,
    Acknowledged = 3,
    Head = 4,
}

fn sum(fact: Fact, value: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[fact as u8]);
    hasher.update(value);
    *hasher.finalize().as_bytes()
}

fn set(db: &Connection, fact: Fact, value: &[u8]) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO fact (number, value, hash) VALUES (?1, ?2, ?3)")?
        .execute(params![fact as i64, value, sum(fact, value)])
        .map(drop)
}

/// `None` where it was never set; damaged is an error.
fn get(db: &Connection, fact: Fact) -> Result<Option<Vec<u8>>, JournalError> {
    let found: Option<(Vec<u8>, Vec<u8>)> = db
        .query_row(
            "SELECT value, hash FROM fact WHERE number = ?1",
            [fact as i64],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(failed("read the journal's own facts"))?;
    match found {
        Some((value, hash)) if hash != sum(fact, &value) => Err(JournalError::Corrupt {
            seq: 1,
            why: "its own facts were changed".into(),
        }),
        found => Ok(found.map(|(value, _)| value)),
    }
}

fn facts(db: &Connection) -> Result<(Uuid, u64), JournalError> {
    let number = |value: Vec<u8>| value.try_into().map(u64::from_le_bytes).ok();
    let missing = |what: &str| JournalError::Corrupt {
        seq: 1,
        why: format!("the journal's {what} is missing or damaged"),
    };
    match get(db, Fact::Version)?.and_then(number) {
        Some(version) if version == VERSION.unsigned_abs() => {}
        Some(version) => {
            return Err(JournalError::unusable(
                "read the journal",
                format!(
                    "it has format {version}, this agent writes {VERSION}: use the agent that wrote it"
                ),
            ));
        }
        None => return Err(missing("version")),
    }
    let id = get(db, Fact::Id)?
        .and_then(|id| Uuid::from_slice(&id).ok())
        .ok_or_else(|| missing("id"))?;
    let acknowledged = get(db, Fact::Acknowledged)?.and_then(number).unwrap_or(0);
    Ok((id, acknowledged))
}

fn failed(attempted: impl Into<String>) -> impl FnOnce(rusqlite::Error) -> JournalError {
    let attempted = attempted.into();
    move |error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            JournalError::Corrupt {
                seq: 1,
                why: error.to_string(),
            }
        }
        _ => JournalError::unusable(attempted, error),
    }
}

impl SqliteStorage {
    /// How far the journal must reach at least: the mark in the file, and the one beside it.
    pub(super) fn marks(&self) -> Result<[Option<Link>; 2], JournalError> {
        let inside = match get(&self.db, Fact::Head)? {
            Some(mark) => Some(Link::from_mark(&mark).ok_or_else(|| JournalError::Corrupt {
                seq: 1,
                why: "the mark of its end is damaged".into(),
            })?),
            None => None,
        };
        Ok([inside, self.beside])
    }

    fn write(&mut self, rows: &[Row], head: Link) -> rusqlite::Result<()> {
        let transaction = self
            .db
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO record (seq, bytes, hash) VALUES (?1, ?2, ?3)")?;
            for row in rows {
                insert.execute(params![
                    i64::try_from(row.link.seq).unwrap_or(i64::MAX),
                    row.bytes,
                    row.link.hash
                ])?;
            }
        }
        set(&transaction, Fact::Head, &head.to_mark())?;
        transaction.commit()
    }
}

impl Storage for SqliteStorage {
    fn append(&mut self, rows: &[Row]) -> Result<(), JournalError> {
        let Some(last) = rows.last() else {
            return Ok(());
        };
        let head = last.link;
        self.write(rows, head).map_err(|error| {
            JournalError::unusable(format!("write record {} to the journal", head.seq), error)
        })?;
        if let Some(mark) = &mut self.mark {
            mark.seek(SeekFrom::Start(0))
                .and_then(|_| mark.write_all(&head.to_mark()))
                .map_err(|reason| JournalError::unusable("mark the journal's end", reason))?;
        }
        Ok(())
    }

    fn rows(&self, first: u64, max_bytes: usize) -> Result<Vec<Row>, JournalError> {
        let read = || -> rusqlite::Result<Vec<Row>> {
            let mut select = self.db.prepare_cached(
                "SELECT seq, bytes, hash FROM record WHERE seq >= ?1 ORDER BY seq",
            )?;
            let mut rows = Vec::new();
            let mut bytes = 0;
            let mut found = select.query([i64::try_from(first).unwrap_or(i64::MAX)])?;
            while let Some(row) = found.next()? {
                let row = row_of(row)?;
                bytes += row.bytes.len();
                if !rows.is_empty() && bytes > max_bytes {
                    break;
                }
                rows.push(row);
            }
            Ok(rows)
        };
        read().map_err(failed(format!("read the journal from record {first} on")))
    }

    fn row(&self, seq: u64) -> Result<Row, JournalError> {
        let read = || -> rusqlite::Result<Row> {
            self.db
                .prepare_cached("SELECT seq, bytes, hash FROM record WHERE seq = ?1")?
                .query_row([i64::try_from(seq).unwrap_or(i64::MAX)], row_of)
        };
        read().map_err(failed(format!("read record {seq} of the journal")))
    }

    fn acknowledge(&mut self, seq: u64) -> Result<(), JournalError> {
        set(&self.db, Fact::Acknowledged, &seq.to_le_bytes())
            .map_err(|error| JournalError::unusable("write what was acknowledged", error))
    }
}

fn row_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let seq: i64 = row.get(0)?;
    Ok(Row {
        link: Link {
            seq: u64::try_from(seq).unwrap_or(u64::MAX),
            hash: row.get(2)?,
        },
        bytes: row.get(1)?,
    })
}
