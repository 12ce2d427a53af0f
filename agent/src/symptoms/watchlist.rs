//! The policies to watch, as the controller sent them last: kept in the data folder, so that the agent
//! goes on looking after a restart without a controller.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mailmend_policy::digest::Digest;
use mailmend_policy::parse::parse;
use mailmend_policy::policy::Policy;
use mailmend_policy::source::PolicySource;
use mailmend_proto::wire;
use prost::Message;

use super::Of;
use crate::inbox::Refusal;
use crate::trust::Permit;

/// The file in the data folder: the BLAKE3 digest of what follows, 32 bytes, then a `Watches` message.
const FILE: &str = "watches";

/// More policies than this are not watched.
const MOST: usize = 64;

/// The policies to watch. Shared by the session, which takes them, and the watcher, which looks.
pub struct Watchlist {
    file: PathBuf,
    may_watch: MayWatch,
    now: Mutex<Arc<Watching>>,
}

/// Whether a text may be looked into at all, and as what.
type MayWatch = Box<dyn Fn(&[u8]) -> Result<Permit, Refusal> + Send + Sync>;

/// What is watched.
#[derive(Default)]
pub struct Watching {
    /// Different for each list that was taken.
    pub number: u64,
    /// In the order in which the controller sent them.
    pub watched: Vec<Watched>,
    /// Labels that operators gave this server; each wins over a fact.
    pub labels: BTreeMap<String, String>,
    sent: wire::Watches,
}

/// A policy that is watched.
pub struct Watched {
    /// Which.
    pub of: Of,
    /// The policy, or why this agent cannot use its text.
    pub policy: Result<Box<Policy>, String>,
}

/// The watchlist cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum WatchlistError {
    /// More policies than an agent watches.
    #[error(
        "A100-watches-refused: the controller sent {0} policies to watch, at most {MOST} are watched; the former ones stay"
    )]
    TooMany(usize),
    /// The file cannot be written.
    #[error(
        "A101-watches-unwritten: could not write `{}`: {reason}; the former policies stay watched, and the controller sends these again with the next connection",
        file.display()
    )]
    Unwritten {
        /// The file.
        file: PathBuf,
        /// What the machine said.
        reason: String,
    },
    /// The file is damaged.
    #[error(
        "A102-watches-damaged: `{}` does not read back as it was written: {reason}; nothing is watched until the controller has sent the policies again",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Watchlist {
    /// What was kept in the data folder; nothing where nothing was. A file that cannot be read is told
    /// of and counts as none: the controller sends the list at each connect.
    #[must_use]
    pub fn open(
        data: &Path,
        may_watch: impl Fn(&[u8]) -> Result<Permit, Refusal> + Send + Sync + 'static,
    ) -> Self {
        let file = data.join(FILE);
        let kept = read(&file).unwrap_or_else(|error| {
            tracing::error!("{error}");
            None
        });
        let list = Self {
            file,
            may_watch: Box::new(may_watch),
            now: Mutex::default(),
        };
        if let Some(sent) = kept {
            list.replace(sent);
        }
        list
    }

    /// Takes the controller's list in the place of the former one. Durable on return.
    ///
    /// # Errors
    /// Where it is too long or cannot be kept; the former one stays.
    pub fn take(&self, sent: wire::Watches) -> Result<(), WatchlistError> {
        if sent.watches.len() > MOST {
            return Err(WatchlistError::TooMany(sent.watches.len()));
        }
        if self.now().sent == sent {
            return Ok(());
        }
        write(&self.file, &sent.encode_to_vec()).map_err(|error| WatchlistError::Unwritten {
            file: self.file.clone(),
            reason: error.to_string(),
        })?;
        self.replace(sent);
        Ok(())
    }

    /// Judges all that is watched anew: what is trusted may have changed.
    pub fn judge_again(&self) {
        let sent = self.now().sent.clone();
        let refused = |watching: &Watching| -> Vec<bool> {
            let all = watching.watched.iter();
            all.map(|one| one.policy.is_err()).collect()
        };
        let (before, after) = (self.now(), self.watching(sent));
        if refused(before.as_ref()) != refused(&after) {
            self.put(after);
        }
    }

    /// What is watched now.
    #[must_use]
    pub fn now(&self) -> Arc<Watching> {
        Arc::clone(&self.lock())
    }

    fn replace(&self, sent: wire::Watches) {
        let watching = self.watching(sent);
        self.put(watching);
    }

    fn watching(&self, sent: wire::Watches) -> Watching {
        let judged = |watch| watched(watch, &self.may_watch);
        Watching {
            number: 0,
            watched: sent.watches.iter().map(judged).collect(),
            labels: sent.labels.clone().into_iter().collect(),
            sent,
        }
    }

    fn put(&self, watching: Watching) {
        let mut now = self.lock();
        *now = Arc::new(Watching {
            number: now.number + 1,
            ..watching
        });
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Watching>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A policy by the same parser as a run's; what is wrong with it is told as a symptom that cannot be
/// told, so that the operator sees it.
fn watched(watch: &wire::Watch, may_watch: &MayWatch) -> Watched {
    let source = PolicySource::new(&watch.policy, watch.text.clone());
    let policy = if source.digest().as_bytes().as_slice() == watch.digest {
        permitted(&source, may_watch)
    } else {
        Err("the policy's text is not the one that its digest stands for".to_owned())
    };
    Watched {
        of: Of {
            policy: watch.policy.clone(),
            version: watch.version,
            digest: source.digest(),
        },
        policy,
    }
}

fn permitted(source: &PolicySource, may_watch: &MayWatch) -> Result<Box<Policy>, String> {
    // Before the text is read at all.
    let permit = may_watch(source.bytes()).map_err(|refusal| refusal.to_string())?;
    let policy = parse(source).map_err(|faults| {
        let faults = faults.to_string();
        let first = faults.lines().next().unwrap_or_default();
        format!("this agent refuses the policy: {first}")
    })?;
    let named = permit.is_for(policy.name.as_str(), policy.version);
    named.map_err(|refusal| refusal.to_string())?;
    Ok(Box::new(policy))
}

fn read(file: &Path) -> Result<Option<wire::Watches>, WatchlistError> {
    let damaged = |reason: String| WatchlistError::Damaged {
        file: file.to_path_buf(),
        reason,
    };
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(damaged(error.to_string())),
    };
    let Some((digest, message)) = bytes.split_at_checked(32) else {
        return Err(damaged(format!("it has {} bytes", bytes.len())));
    };
    if Digest::of(message).as_bytes().as_slice() != digest {
        return Err(damaged("its digest does not fit".to_owned()));
    }
    let watches = wire::Watches::decode(message).map_err(|error| damaged(error.to_string()))?;
    Ok(Some(watches))
}

/// Writes the file whole, readable for this account alone, and makes it durable.
fn write(file: &Path, message: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    let mut new = tempfile::Builder::new()
        .prefix(".mailmend-")
        .tempfile_in(folder)?;
    new.write_all(Digest::of(message).as_bytes())?;
    new.write_all(message)?;
    new.as_file().sync_all()?;
    new.persist(file).map_err(|error| error.error)?;
    crate::host::sync_own_folder(folder)
}
