//! The fingerprints that stand, as the controller sent them last: kept in the data folder, so that they hold after a
//! restart without a controller.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mailmend_policy::digest::Digest;
use mailmend_proto::wire;
use prost::Message;

use super::fingerprint::{Fingerprint, Known, MOST};

/// The file in the data folder: the BLAKE3 digest of what follows, 32 bytes, then an `Immunity` message.
const FILE: &str = "immunity";

/// The fingerprints that stand. Shared by the session, which takes them, and everybody who looks.
#[derive(Default)]
pub struct List {
    /// None until it is known where to keep them: for a simulation they are not kept.
    file: OnceLock<PathBuf>,
    now: Mutex<(wire::Immunity, Arc<Known>)>,
}

/// The fingerprints cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ImmunityError {
    /// They make no sense, or are too many.
    #[error(
        "A142-immunity-refused: the controller sent fingerprints that are not taken: {0}; the former ones stay"
    )]
    Refused(String),
    /// The file cannot be written.
    #[error(
        "A143-immunity-unwritten: could not write `{}`: {reason}; the former fingerprints stay, and the controller sends these again with the next connection",
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
        "A144-immunity-damaged: `{}` does not read back as it was written: {reason}; no fingerprint stands until the controller has sent them again",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl List {
    /// Keeps the fingerprints in this folder from now on, and takes what was kept there. A file that cannot be read is
    /// told of and counts as none: the controller sends the list at each connect.
    pub fn keep_in(&self, data: &Path) {
        let file = data.join(FILE);
        match read(&file) {
            Ok(Some(sent)) => match known(&sent) {
                Ok(known) => self.replace(sent, known),
                Err(error) => tracing::error!("{error}"),
            },
            Ok(None) => {}
            Err(error) => tracing::error!("{error}"),
        }
        // Set once, at the start of the agent.
        let _ = self.file.set(file);
    }

    /// Takes the controller's list in the place of the former one. Durable on return.
    ///
    /// # Errors
    /// Where it makes no sense, is too long or cannot be kept; the former one stays.
    pub fn take(&self, sent: wire::Immunity) -> Result<(), ImmunityError> {
        if self.lock().0 == sent {
            return Ok(());
        }
        let known = known(&sent)?;
        if let Some(file) = self.file.get() {
            write(file, &sent.encode_to_vec()).map_err(|error| ImmunityError::Unwritten {
                file: file.clone(),
                reason: error.to_string(),
            })?;
        }
        self.replace(sent, known);
        Ok(())
    }

    /// The folder in which they are kept.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.file.get().and_then(|file| file.parent())
    }

    /// What stands now.
    #[must_use]
    pub fn now(&self) -> Arc<Known> {
        Arc::clone(&self.lock().1)
    }

    fn replace(&self, sent: wire::Immunity, known: Known) {
        *self.lock() = (sent, Arc::new(known));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (wire::Immunity, Arc<Known>)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn known(sent: &wire::Immunity) -> Result<Known, ImmunityError> {
    let count = sent.fingerprints.len();
    if count > MOST {
        let why = format!("{count} are more than {MOST}");
        return Err(ImmunityError::Refused(why));
    }
    let fingerprints = sent
        .fingerprints
        .iter()
        .map(Fingerprint::from_wire)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|why| ImmunityError::Refused(why.to_string()))?;
    Ok(Known::new(sent.generation, sent.in_hand, fingerprints))
}

fn read(file: &Path) -> Result<Option<wire::Immunity>, ImmunityError> {
    let damaged = |reason: String| ImmunityError::Damaged {
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
    let sent = wire::Immunity::decode(message).map_err(|error| damaged(error.to_string()))?;
    Ok(Some(sent))
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
