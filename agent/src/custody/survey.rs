//! What is in a queue folder: looked at while the service still runs, and again after it stopped.
//!
//! The outage must not grow with the queue: the files are read and hashed here, before the stop. After
//! it only their identity is compared (file id, size, time), and what changed or is new is read.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use mailmend_policy::digest::Digest;
use mailmend_proto::run::{Custody, Entry};

use super::CustodyError;
use super::halves::on_two_threads;
use crate::ablation::{Mechanism, off};
use crate::evidence::spool_file::{self, SpoolHeader};
use crate::evidence::{Direction, MessageKey};
use crate::host::{FileInfo, FileKind, Host, HostError, HostErrorKind};

/// A file that was written less than this before it was hashed is hashed again after the stop: a
/// second write within one tick of the file system's clock would not show. FAT ticks every 2 s.
const TICK_MS: i64 = 2_000;

/// Whether a name is one of a spool file: `^[A-Z0-9]{8}$`, in any case.
#[must_use]
pub fn is_spool_name(name: &str) -> bool {
    name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A message file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    /// What the folder says of it.
    pub info: FileInfo,
    /// The digest of its content.
    pub hash: Digest,
    /// What it tells about its message.
    pub header: SpoolHeader,
}

impl Surveyed {
    pub(super) fn key(&self, direction: Direction) -> MessageKey {
        let info = &self.info;
        MessageKey::new(&info.name, self.header.clone(), info.modified_ms, direction)
    }

    pub(super) fn entry(&self, index: u32) -> Entry {
        Entry {
            index,
            name: self.info.name.clone(),
            file_id: self.info.file_id,
            size: self.info.size,
            modified_ms: self.info.modified_ms,
            hash: self.hash,
            mts_id: self.header.mts_id.clone().unwrap_or_default(),
            message_id: self.header.message_id.clone().unwrap_or_default(),
            custody: Custody::Live,
        }
    }
}

/// A message file that cannot be taken now, and why; it stays where it is. Often it is the one that
/// the service chokes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// Its name.
    pub name: String,
    /// Why.
    pub why: String,
}

/// What was found in a queue folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// The message files, in name order.
    pub files: Vec<Surveyed>,
    /// Message files that could not be read.
    pub suspects: Vec<Suspect>,
    /// Folders, links and files of other names, and what each is: never taken for mail.
    pub others: Vec<(String, FileKind)>,
    /// When it began, on the wall clock.
    at_ms: i64,
}

impl Survey {
    /// The bytes of its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.info.size).sum()
    }

    /// Whether it has a file of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        let by_name = |file: &Surveyed| file.info.name.as_str().cmp(name);
        self.files.binary_search_by(by_name).is_ok()
    }

    /// Looks again, after the stop: the identity of each file is compared, and only what changed, is
    /// new or was written just before it was read is read (again).
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn again(self, host: &dyn Host, folder: &Path) -> Result<Self, CustodyError> {
        let settled_before = self.at_ms - TICK_MS;
        let known = self
            .files
            .into_iter()
            .map(|file| (file.info.name.clone(), file))
            .collect();
        look(host, folder, known, settled_before)
    }
}

/// Looks at a queue folder: top level only, spool names only; folders, links and other files are
/// never touched. Changes nothing. A file that goes away meanwhile is not in the result.
///
/// # Errors
/// Where the folder cannot be read.
pub fn survey(host: &dyn Host, folder: &Path) -> Result<Survey, CustodyError> {
    look(host, folder, BTreeMap::new(), i64::MIN)
}

fn look(
    host: &dyn Host,
    folder: &Path,
    mut known: BTreeMap<String, Surveyed>,
    settled_before: i64,
) -> Result<Survey, CustodyError> {
    let at_ms = host.clock().wall_ms();
    let mut survey = Survey {
        at_ms,
        ..Survey::default()
    };
    let mut unread = Vec::new();
    for info in host.spool().list(folder)? {
        let named = is_spool_name(&info.name) || off(Mechanism::OnlySpoolNames);
        if info.kind != FileKind::File || !named {
            survey.others.push((info.name, info.kind));
            continue;
        }
        match known.remove(&info.name) {
            Some(file) if file.info == info && info.modified_ms < settled_before => {
                survey.files.push(file);
            }
            _ => unread.push(info),
        }
    }
    let bytes = unread.iter().map(|info| info.size).sum();
    let read = on_two_threads(unread, bytes, |unread| read_all(host, folder, unread));
    for (info, read) in read {
        match read {
            Ok(Some(file)) => survey.files.push(file),
            Ok(None) => {}
            Err(why) => survey.suspects.push(Suspect {
                name: info.name,
                why,
            }),
        }
    }
    survey
        .files
        .sort_unstable_by(|a, b| a.info.name.cmp(&b.info.name));
    Ok(survey)
}

type Found = (FileInfo, Result<Option<Surveyed>, String>);

fn read_all(host: &dyn Host, folder: &Path, files: Vec<FileInfo>) -> Vec<Found> {
    let names: Vec<&str> = files.iter().map(|info| info.name.as_str()).collect();
    let mut found = Vec::with_capacity(files.len());
    let mut buffer = buffer();
    host.spool().open_each(folder, &names, &mut |at, file| {
        found.push(read(&files[at], file, &mut buffer));
    });
    files.into_iter().zip(found).collect()
}

fn read(
    info: &FileInfo,
    file: Result<OneFile, HostError>,
    buffer: &mut [u8],
) -> Result<Option<Surveyed>, String> {
    let read = match file {
        Ok(reader) => hash(reader, buffer).map_err(|error| error.to_string())?,
        Err(error) if error.kind == HostErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.reason),
    };
    if read.size != info.size {
        return Err(format!(
            "it changes while it is read: {} bytes, then {}",
            info.size, read.size
        ));
    }
    Ok(Some(Surveyed {
        info: info.clone(),
        hash: read.hash,
        header: spool_file::parse(&read.head),
    }))
}

type OneFile = Box<dyn Read + Send>;

/// The content of a file, read once.
pub(super) struct Content {
    pub(super) hash: Digest,
    pub(super) size: u64,
    /// Its beginning, long enough for the headers.
    head: Vec<u8>,
}

/// How much of a file is searched for its headers; those of real mail are far shorter.
const HEAD: usize = 256 << 10;

/// A buffer for [`hash`], to be used for many files: clearing it costs more than reading a small one.
pub(super) fn buffer() -> Vec<u8> {
    vec![0; 64 << 10]
}

/// The digest of a file, its size, and what its header tells.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn digest_of(
    host: &dyn Host,
    path: &Path,
) -> Result<(Digest, u64, SpoolHeader), String> {
    let reader = host
        .spool()
        .open(path)
        .map_err(|error| format!("could not {error}"))?;
    let content = hash(reader, &mut buffer())
        .map_err(|error| format!("could not read `{}`: {error}", path.display()))?;
    Ok((content.hash, content.size, spool_file::parse(&content.head)))
}

pub(super) fn hash(mut reader: OneFile, buffer: &mut [u8]) -> std::io::Result<Content> {
    let mut hasher = blake3::Hasher::new();
    let mut size = 0;
    let mut head = Vec::new();
    loop {
        let read = match reader.read(buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let piece = &buffer[..read];
        hasher.update(piece);
        size += read as u64;
        if head.len() < HEAD {
            head.extend_from_slice(&piece[..read.min(HEAD - head.len())]);
        }
    }
    Ok(Content {
        hash: Digest::from_bytes(*hasher.finalize().as_bytes()),
        size,
        head,
    })
}
