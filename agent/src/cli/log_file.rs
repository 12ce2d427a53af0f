//! The log of a service that has no terminal and no journal: files of bounded size, numbered, the oldest
//! removed. A log that fills the volume would stop the mail service that the agent is there for.
//!
//! No file is renamed: on Windows one that somebody reads cannot be.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A file that is as long is followed by the next, in bytes.
const FILE: u64 = 8 << 20;
/// So many files are kept: 64 MiB in all.
const FILES: usize = 8;

/// Where a service's log goes.
pub(super) struct LogFile {
    folder: PathBuf,
    service: String,
    size: u64,
    open: Mutex<Open>,
}

struct Open {
    number: u64,
    written: u64,
    file: File,
}

impl LogFile {
    /// Goes on with the newest file of that service in the folder, which is made where it is not there.
    pub(super) fn open(folder: &Path, service: &str) -> io::Result<Self> {
        Self::of_size(folder, service, FILE)
    }

    fn of_size(folder: &Path, service: &str, size: u64) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let newest = numbers(folder, service)?.last().copied().unwrap_or(1);
        let open = opened(&path(folder, service, newest), newest)?;
        Ok(Self {
            folder: folder.to_path_buf(),
            service: service.to_owned(),
            size,
            open: Mutex::new(open),
        })
    }

    /// Begins the next file, and removes those that are too old.
    fn next(&self, open: &mut Open) -> io::Result<()> {
        let number = open.number + 1;
        *open = opened(&path(&self.folder, &self.service, number), number)?;
        let numbers = numbers(&self.folder, &self.service)?;
        for old in &numbers[..numbers.len().saturating_sub(FILES)] {
            // One that cannot be removed now, because somebody reads it, is removed with the next.
            let _ = std::fs::remove_file(path(&self.folder, &self.service, *old));
        }
        Ok(())
    }
}

impl Write for &LogFile {
    /// Takes one whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if open.written > 0 && open.written.saturating_add(length) > self.size {
            self.next(&mut open)?;
        }
        open.file.write_all(line)?;
        open.written += length;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn path(folder: &Path, service: &str, number: u64) -> PathBuf {
    folder.join(format!("{service}.{number:06}.log"))
}

fn opened(path: &Path, number: u64) -> io::Result<Open> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let written = file.metadata()?.len();
    Ok(Open {
        number,
        written,
        file,
    })
}

/// The numbers of the files that there are, the oldest first.
fn numbers(folder: &Path, service: &str) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| {
                name.strip_prefix(service)?
                    .strip_prefix('.')?
                    .strip_suffix(".log")
            })
            .and_then(|number| number.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_log_is_bounded_and_its_oldest_lines_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = folder.path().join("other.000001.log");
        std::fs::write(&foreign, "x").unwrap();
        let log = LogFile::of_size(folder.path(), "agent", 20).unwrap();
        for number in 0..100 {
            (&log)
                .write_all(format!("line {number:03}\n").as_bytes())
                .unwrap();
        }
        let names = names(folder.path());
        assert_eq!(names.len(), FILES + 1);
        assert!(foreign.exists());
        let newest = std::fs::read_to_string(folder.path().join(&names[FILES - 1])).unwrap();
        assert!(newest.ends_with("line 099\n"), "{newest}");
        for name in &names[..FILES] {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(text.len() <= 20, "{name}: {text}");
        }
    }

    #[test]
    fn the_next_start_goes_on_where_the_last_one_ended() {
        let folder = tempfile::tempdir().unwrap();
        for line in ["one", "two"] {
            let log = LogFile::open(folder.path(), "agent").unwrap();
            (&log).write_all(format!("{line}\n").as_bytes()).unwrap();
        }
        assert_eq!(names(folder.path()), ["agent.000001.log"]);
        let text = std::fs::read_to_string(folder.path().join("agent.000001.log")).unwrap();
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn a_line_that_is_longer_than_a_file_is_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogFile::of_size(folder.path(), "agent", 4).unwrap();
        for _ in 0..2 {
            (&log).write_all(b"a long line\n").unwrap();
        }
        assert_eq!(
            names(folder.path()),
            ["agent.000001.log", "agent.000002.log"]
        );
    }
}
