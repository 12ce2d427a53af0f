//! The controller's store: SQLite in WAL mode, one writer, and the only SQL of the controller.
//!
//! Every write is one `BEGIN IMMEDIATE` transaction on the one writing connection and durable when it
//! returns (`synchronous=FULL`). Reads go to other connections and never wait for a writer.

mod agents;
mod alarms;
mod asked;
mod at_work;
mod bindings;
mod carry_out;
mod changes;
mod custody;
mod duties;
mod error;
mod gathered;
mod history;
mod identities;
mod immunity;
mod in_hand;
mod last;
mod locks;
mod mail_flow;
mod many;
mod orders;
mod outlook;
mod past_runs;
mod person_orders;
mod pictured;
mod policies;
mod proposals;
mod queues;
mod reactions;
mod recalls;
mod reconciled;
mod records;
mod rollouts;
mod row;
mod signing;
mod symptoms;
mod tokens;
mod trail;
mod waves;

pub use agents::{AgentRow, Greeting, Refused};
pub use changes::Change;
pub use custody::{CustodyFilter, CustodyRow};
pub use error::StoreError;
pub use history::{CustodyChange, Histories};
pub use identities::{
    Ended, NewCertificate, NewOperator, OperatorRefused, OperatorRow, RevokedMeanwhile,
};
pub use policies::{PolicyRow, Published};
pub use reconciled::{KeptCopy, ReconciledRow};
pub use records::{RunRecord, StoredRun, Tail, Written, kept};

pub use duties::Duty;
pub use immunity::{DueRelease, FingerprintRow, SetAsideRow};
pub use orders::{Order, Orders, PartKey};
pub use outlook::Outlook;
pub use person_orders::{OrderAnswer, OrderKind, Ordered, PersonOrder};
pub use reactions::ReactionStart;
pub use recalls::{Recall, RecallOutcome, Recalled};
pub use rollouts::{NewRollout, NewRun};
pub use signing::HeldRow;
pub use symptoms::SymptomRow;
pub use tokens::{NewToken, TokenRefused};
pub use trail::{TrailFile, TrailFilter, TrailRow};
pub use waves::Changed;

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use at_work::Touched;
use mailmend_policy::name::SiteName;
use mailmend_policy::plan::Plan;
use mailmend_proto::run::RunId;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Sqlite, Transaction};

use crate::clock::Clock;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// A database up to this size is read through when it is opened, to find damage before it matters.
const CHECKED_WHEN_OPENED: u64 = 64 << 20;

/// The store. Cloning is cheap; the lock is freed by [`Store::close`] or when
/// the last clone is gone.
#[derive(Debug, Clone)]
pub struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
    held: Arc<Held>,
}

/// What belongs to the one process that has the store open.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    plans: Plans,
    end: trail::End,
    gathered: gathered::Gathered,
    marks: at_work::Marks,
    kept: at_work::Kept,
    outlook: last::Last<Outlook>,
    questions: Questions,
    inventory: agents::LastInventory,
    symptoms: last::Last<Vec<SymptomRow>>,
    history: past_runs::Remembered,
    locks: last::Last<BTreeMap<SiteName, RunId>>,
    lock: Mutex<Option<File>>,
}

/// What sessions ask all at once.
#[derive(Debug, Default)]
struct Questions {
    agents: asked::Asked<agents::Named>,
    ordered: asked::Asked<outlook::IsOrdered>,
    orders: asked::Asked<orders::OfAgent>,
    waiting: asked::Asked<person_orders::WaitingFor>,
    assignments: asked::Asked<orders::OfRun>,
    parts: asked::Asked<orders::PartOf>,
    events: asked::Asked<records::EventsOf>,
}

/// Frozen plans by run. They never change, and reading them again and again is slow.
#[derive(Debug, Default)]
struct Plans(Mutex<HashMap<String, Arc<Plan>>>);

impl Plans {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Plan>>> {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() > PLANS_KEPT {
            plans.clear();
        }
        plans
    }
}

/// More plans than this are forgotten at once and read again when needed.
const PLANS_KEPT: usize = 32_768;

type Write<'a> = Transaction<'a, Sqlite>;

impl Store {
    /// Opens the store, made with mode 0600 where it does not exist, and brings its schema up to date.
    /// A lock file beside it keeps a second controller away.
    ///
    /// # Errors
    /// [`StoreError::Locked`] where another controller has it, [`StoreError::Newer`] where a later
    /// version wrote it, [`StoreError::Corrupt`] where it is damaged, [`StoreError::File`] where the
    /// file cannot be made or read.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let size = make_private(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            // Pages: what thousands of reports write again and again is carried over into the database once for many
            // transactions.
            .pragma("wal_autocheckpoint", "16384")
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            // After a full disk or a failed write SQLite has rolled back by itself, and sqlx goes on
            // counting the transaction: such a connection refuses every write from then on.
            .before_acquire(|writer, _| Box::pin(async { Ok(!writer.is_in_transaction()) }))
            // KiB: what one transaction of many reports touches is not written before its time.
            .connect_with(options.clone().pragma("cache_size", "-16384"))
            .await
            .map_err(|fault| StoreError::of(path, fault))?;
        if (1..=CHECKED_WHEN_OPENED).contains(&size) {
            let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
                .fetch_one(&writer)
                .await
                .map_err(|fault| StoreError::of(path, fault))?;
            if found != "ok" {
                return Err(StoreError::Corrupt {
                    path: path.to_owned(),
                    why: found,
                });
            }
        }
        MIGRATIONS.run(&writer).await.map_err(|fault| match fault {
            MigrateError::VersionMissing(found) | MigrateError::VersionTooNew(found, _) => {
                StoreError::Newer {
                    path: path.to_owned(),
                    found,
                }
            }
            MigrateError::VersionMismatch(found) => StoreError::Corrupt {
                path: path.to_owned(),
                why: format!("its schema {found} is not the one that this version knows"),
            },
            MigrateError::Execute(fault) | MigrateError::ExecuteMigration(fault, _) => {
                StoreError::of(path, fault)
            }
            other => StoreError::Corrupt {
                path: path.to_owned(),
                why: other.to_string(),
            },
        })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(options.read_only(true).pragma("cache_size", "-4096"))
            .await
            .map_err(|fault| StoreError::of(path, fault))?;
        let store = Self {
            writer,
            readers,
            held: Arc::new(Held {
                path: path.to_owned(),
                plans: Plans::default(),
                end: trail::End::default(),
                gathered: gathered::Gathered::default(),
                marks: at_work::Marks::default(),
                kept: at_work::Kept::default(),
                outlook: last::Last::default(),
                questions: Questions::default(),
                inventory: agents::LastInventory::default(),
                symptoms: last::Last::default(),
                history: past_runs::Remembered::default(),
                locks: last::Last::default(),
                lock: Mutex::new(Some(lock)),
            }),
        };
        store.begin_trail(Clock::system().now_ms()).await?;
        Ok(store)
    }

    /// Asserts that a data folder that has been in use still has its store. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where the file is gone or has no tables: opening it would make an
    /// empty store that knows no agent. A file that cannot be read is left to [`Self::open`].
    pub async fn expect(path: &Path) -> Result<(), StoreError> {
        let missing = || StoreError::Missing {
            path: path.to_owned(),
        };
        if std::fs::metadata(path).map_or(true, |file| file.len() == 0) {
            return Err(missing());
        }
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let Ok(mut database) = options.connect().await else {
            return Ok(());
        };
        let tables: Result<i64, _> = sqlx::query_scalar(
            "SELECT count(*) FROM sqlite_schema WHERE name IN ('_sqlx_migrations', 'tokens')",
        )
        .fetch_one(&mut database)
        .await;
        drop(database.close().await);
        match tables {
            Ok(0) => Err(missing()),
            _ => Ok(()),
        }
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.held.path
    }

    /// Ends all connections and lets another controller in; what was written is durable anyway.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        // Only now: nothing of this process can write any more.
        let lock = self.held.lock.lock();
        lock.unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether it can be read, and whether its one place for writing becomes free.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn answers(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1 FROM rollouts LIMIT 1")
            .fetch_optional(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
        // Nothing is written, and nothing is kept.
        self.write().await.map(drop)
    }

    async fn write(&self) -> Result<Write<'static>, StoreError> {
        let write = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(|fault| self.fault(fault))?;
        self.held.end.begin();
        Ok(write)
    }

    async fn commit(&self, write: Write<'static>) -> Result<(), StoreError> {
        self.commit_of(write, Touched::Anything).await
    }

    /// Commits, and notes what was touched and where the trail ends now. In a task of its own: a caller that goes away in
    /// between must not leave something committed that is not noted.
    async fn commit_of(&self, write: Write<'static>, touched: Touched) -> Result<(), StoreError> {
        let store = self.clone();
        let added = self.held.end.added();
        let committing = tokio::spawn(async move {
            let committed = write.commit().await.map_err(|fault| store.fault(fault));
            match committed {
                Ok(()) => {
                    store.held.marks.note(touched);
                    store.held.end.durable(added);
                }
                // Nobody knows what came of it.
                Err(_) => store.held.marks.note(Touched::Anything),
            }
            committed
        });
        committing
            .await
            .unwrap_or_else(|_| Err(self.fault(sqlx::Error::WorkerCrashed)))
    }

    fn fault(&self, fault: sqlx::Error) -> StoreError {
        StoreError::of(&self.held.path, fault)
    }
}

/// Locks the file beside the database for as long as the process lives.
fn lock(path: &Path) -> Result<File, StoreError> {
    let beside = path.with_extension("db.lock");
    let file = options().open(&beside).map_err(|why| StoreError::File {
        path: beside.clone(),
        why,
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(why)) => Err(StoreError::File { path: beside, why }),
    }
}

/// Makes the database file readable by its owner only, before SQLite opens it: SQLite gives the files
/// beside it the same mode. Answers its size.
fn make_private(path: &Path) -> Result<u64, StoreError> {
    let fault = |why| StoreError::File {
        path: path.to_owned(),
        why,
    };
    let file = options().open(path).map_err(fault)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))
            .map_err(fault)?;
    }
    Ok(file.metadata().map_err(fault)?.len())
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

#[cfg(test)]
mod tests;
