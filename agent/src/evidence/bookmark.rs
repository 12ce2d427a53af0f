//! Bookmarks in logs that grow: what was read of a log stays in memory, and only what was appended since
//! is read again.
//!
//! A log is the same as before when its file is, when it is not shorter than the bookmark, and when
//! the first and the last 4 KiB before the bookmark are still the same bytes. Otherwise it was rotated,
//! truncated or written anew, and is read from its beginning. Nothing is ever concluded from a
//! bookmark that reading the whole log would not say; the tests compare the two.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::lines::{self, LineReader, Position, Witness};
use super::smtp_log;
use super::tracking_log;
use crate::host::{FileInfo, FileKind, HostError, HostErrorKind, LogFile, Spool};

/// How much is compared at each end.
const MARK: usize = 4096;
/// Logs are kept in memory up to this size together; what is beyond is read whole each time.
const KEPT: u64 = 64 * 1024 * 1024;
/// How often a log, or a folder of logs, that changes while it is read is tried again.
const TRIES: usize = 5;

/// What was read of the logs of a server so far. It is lost with the process, and costs one whole
/// reading then.
#[derive(Debug, Default)]
pub struct Bookmarks {
    tracking: Shelf<tracking_log::Reader>,
    smtp: Shelf<smtp_log::Reader>,
}

impl Bookmarks {
    pub(super) fn tracking(&self) -> &Shelf<tracking_log::Reader> {
        &self.tracking
    }

    pub(super) fn smtp(&self) -> &Shelf<smtp_log::Reader> {
        &self.smtp
    }
}

/// Bookmarks of one kind of log, by path.
#[derive(Debug)]
pub(crate) struct Shelf<R>(Mutex<HashMap<PathBuf, Bookmark<R>>>);

impl<R> Default for Shelf<R> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<R> Shelf<R> {
    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Bookmark<R>>> {
        // What is in it is whole between calls, whoever died with the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a log was read, and what it said until there.
#[derive(Debug, Clone)]
pub(crate) struct Bookmark<R> {
    file_id: u64,
    at: Position,
    marks: Marks,
    pub(crate) reader: R,
}

/// The first and the last bytes before a bookmark.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Marks {
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Bytes of a line that has not ended yet.
    pending: Vec<u8>,
}

/// Keeps the last `MARK` bytes, now and then.
fn trim(bytes: &mut Vec<u8>, at_most: usize) {
    if bytes.len() > at_most {
        bytes.drain(..bytes.len() - MARK);
    }
}

impl Witness for Marks {
    fn saw(&mut self, bytes: &[u8], ends: bool) {
        if !ends || !self.pending.is_empty() {
            // The head takes the beginning of a line that spans buffers only once the line is whole,
            // so all that may be needed of it is kept: its first and its last bytes.
            self.pending.extend_from_slice(bytes);
            if self.pending.len() > 64 * MARK {
                let middle = self.pending.len() - MARK;
                self.pending.drain(MARK..middle);
            }
            if !ends {
                return;
            }
            let pending = std::mem::take(&mut self.pending);
            self.whole(&pending);
        } else {
            self.whole(bytes);
        }
    }
}

impl Marks {
    fn whole(&mut self, line: &[u8]) {
        if self.head.len() < MARK {
            let room = (MARK - self.head.len()).min(line.len());
            self.head.extend_from_slice(&line[..room]);
        }
        self.tail
            .extend_from_slice(&line[line.len().saturating_sub(MARK)..]);
        trim(&mut self.tail, 16 * MARK);
    }

    fn settle(&mut self) {
        self.pending = Vec::new();
        trim(&mut self.tail, MARK);
    }

    /// Whether the file still has these bytes there.
    fn hold(&self, file: &mut dyn LogFile, at: Position) -> io::Result<bool> {
        let mut same = |from: u64, expected: &[u8]| -> io::Result<bool> {
            file.seek(SeekFrom::Start(from))?;
            let mut found = Vec::with_capacity(expected.len());
            (&mut *file)
                .take(expected.len() as u64)
                .read_to_end(&mut found)?;
            Ok(found == expected)
        };
        let tail_from = at.offset.saturating_sub(self.tail.len() as u64);
        Ok(same(0, &self.head)? && same(tail_from, &self.tail)?)
    }
}

impl<R: LineReader> Bookmark<R> {
    fn new(file_id: u64, reader: R) -> Self {
        Self {
            file_id,
            at: Position::default(),
            marks: Marks::default(),
            reader,
        }
    }

    /// How many bytes stand before it.
    pub(crate) fn offset(&self) -> u64 {
        self.at.offset
    }

    /// Reads on from the bookmark to the last whole line.
    fn read_on(&mut self, file: &mut dyn LogFile) -> io::Result<()> {
        file.seek(SeekFrom::Start(self.at.offset))?;
        lines::read(
            &mut &mut *file,
            &mut self.at,
            &mut self.reader,
            &mut self.marks,
        )?;
        self.marks.settle();
        Ok(())
    }
}

/// Reads a log to its end, from the bookmark on where it still holds.
pub(crate) fn follow<R: LineReader>(
    path: &Path,
    open: &dyn Fn() -> Result<(FileInfo, Box<dyn LogFile>), HostError>,
    mut old: Option<Bookmark<R>>,
    fresh: &dyn Fn() -> R,
) -> Result<Bookmark<R>, HostError> {
    let failed = |error: &io::Error| {
        let attempted = format!("read `{}`", path.display());
        HostError::unchanged(HostErrorKind::Io, attempted, error.to_string())
    };
    for _ in 0..TRIES {
        let (info, mut file) = open()?;
        let file = &mut *file;
        let kept = match old.take() {
            Some(old) if old.file_id == info.file_id && old.at.offset <= info.size => {
                let holds = old.marks.hold(file, old.at).map_err(|e| failed(&e))?;
                holds.then_some(old)
            }
            _ => None,
        };
        let mut bookmark = kept.unwrap_or_else(|| Bookmark::new(info.file_id, fresh()));
        bookmark.read_on(file).map_err(|e| failed(&e))?;
        // What was written over while it was read may be a mixture of old and new.
        if bookmark
            .marks
            .hold(file, bookmark.at)
            .map_err(|e| failed(&e))?
        {
            return Ok(bookmark);
        }
    }
    Err(changing(path))
}

fn changing(path: &Path) -> HostError {
    HostError::unchanged(
        HostErrorKind::Io,
        format!("read `{}`", path.display()),
        format!("it was written anew {TRIES} times while it was read"),
    )
}

/// Reads every wanted log of a folder and gives what their readers found, in the order of their names.
/// Logs that are renamed, removed or begun meanwhile are looked for again until the folder rests; no
/// file is read twice under two names.
pub(super) fn read_folder<R: LineReader + Clone>(
    spool: &dyn Spool,
    folder: &Path,
    shelf: Option<&Shelf<R>>,
    wanted: &dyn Fn(&str) -> bool,
    fresh: &dyn Fn(&str) -> R,
) -> Result<Vec<R>, HostError> {
    let list = || -> Result<Vec<FileInfo>, HostError> {
        let mut files = spool.list(folder)?;
        files.retain(|file| file.kind == FileKind::File && wanted(&file.name));
        Ok(files)
    };
    let mut read: BTreeMap<u64, (String, Bookmark<R>)> = BTreeMap::new();
    let mut listed = list()?;
    for _ in 0..TRIES {
        for file in &listed {
            if read
                .get(&file.file_id)
                .is_some_and(|(_, b)| b.at.offset <= file.size)
            {
                continue;
            }
            let path = folder.join(&file.name);
            let old = shelf.and_then(|shelf| shelf.lock().remove(&path));
            match follow(&path, &|| spool.open_log(&path), old, &|| fresh(&file.name)) {
                Ok(bookmark) => {
                    read.insert(bookmark.file_id, (file.name.clone(), bookmark));
                }
                // Renamed or removed since the listing: the next listing tells.
                Err(error) if error.kind == HostErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let again = list()?;
        let seen = |file: &FileInfo| {
            let found = read.get(&file.file_id);
            found.is_some_and(|(_, bookmark)| bookmark.at.offset <= file.size)
        };
        if again.iter().all(seen) {
            let mut found: Vec<(String, Bookmark<R>)> = read.into_values().collect();
            found.sort_by(|a, b| a.0.cmp(&b.0));
            let readers = found.iter().map(|(_, b)| b.reader.clone()).collect();
            if let Some(shelf) = shelf {
                keep(shelf, folder, found);
            }
            return Ok(readers);
        }
        listed = again;
    }
    Err(changing(folder))
}

/// Keeps the bookmarks of a folder, the longest logs first to go where they are too much.
fn keep<R>(shelf: &Shelf<R>, folder: &Path, mut found: Vec<(String, Bookmark<R>)>) {
    found.sort_by_key(|(_, bookmark)| bookmark.at.offset);
    let mut shelf = shelf.lock();
    shelf.clear();
    let mut sum = 0;
    for (name, bookmark) in found {
        sum += bookmark.at.offset;
        if sum > KEPT {
            break;
        }
        shelf.insert(folder.join(name), bookmark);
    }
}

#[cfg(test)]
mod tests;
