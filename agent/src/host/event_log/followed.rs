//! What was read of a log so far, kept in a file that survives the agent.
//!
//! Logs of NT are small and write over their oldest records, and somebody may clear them. What was read
//! once is kept, so that an event stays known when the log has forgotten it; and where records went
//! before they were read, that is an error for whoever asks about that time, never an empty answer.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::record::{Record, RecordLog, SECOND_MS};
use crate::host::{EventRecord, HostError};

/// At most so many records are kept; beyond that the older half goes.
const MOST: usize = 50_000;

#[derive(Debug)]
pub(in crate::host) struct Followed {
    file: PathBuf,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    /// From when on no record is missing; `None` before the first reading.
    whole_since_ms: Option<i64>,
    /// In the order of the log; the last one is the bookmark.
    records: Vec<Record>,
}

/// The first line of the file.
#[derive(Serialize, Deserialize)]
struct Head {
    whole_since_ms: i64,
}

impl Followed {
    /// What that file says; without one, or with one that makes no sense, nothing was read yet.
    pub(in crate::host) fn kept_in(file: PathBuf) -> Self {
        let state = match std::fs::read_to_string(&file) {
            Ok(text) => State::parse(&text),
            Err(_) => State::default(),
        };
        Self { file, state }
    }

    /// Reads on from the bookmark.
    pub(in crate::host) fn follow(&mut self, log: &mut dyn RecordLog) -> Result<(), HostError> {
        let Some((oldest, newest)) = log.span()? else {
            // Empty: somebody cleared it, and nobody knows what was written since the last look.
            if self.state.whole_since_ms.is_none() || !self.state.records.is_empty() {
                self.begin_anew(now_ms(), Vec::new());
            }
            return Ok(());
        };
        let last = self.state.records.last();
        let at = match last {
            // The bookmark is read again, to see that it is still the same record.
            Some(last) if (oldest..=newest).contains(&last.number) => last.number,
            // Everything up to the bookmark has been written over, and nothing after it.
            Some(last) if last.number + 1 == oldest => oldest,
            _ => {
                let records = log.read(oldest)?;
                let since = records.first().map_or_else(now_ms, |first| first.at_ms);
                self.begin_anew(since, records);
                return Ok(());
            }
        };
        let mut records = log.read(at)?;
        if let Some(last) = last
            && last.number == at
        {
            if !records.first().is_some_and(|first| first.is_same(last)) {
                // Cleared, and grown since beyond the bookmark.
                let records = if at == oldest {
                    records
                } else {
                    log.read(oldest)?
                };
                let since = records.first().map_or_else(now_ms, |first| first.at_ms);
                self.begin_anew(since, records);
                return Ok(());
            }
            records.remove(0);
        } else if records.first().is_none_or(|first| first.number != at) {
            // The log wrote over more of them since it told where it begins.
            let since = records.first().map_or_else(now_ms, |first| first.at_ms);
            self.begin_anew(since, records);
            return Ok(());
        }
        self.append(records);
        Ok(())
    }

    /// The events of a source since a moment, oldest first, or why some may be missing.
    pub(in crate::host) fn since(
        &self,
        source: &str,
        since_ms: i64,
    ) -> Result<Vec<EventRecord>, String> {
        let whole = self.state.whole_since_ms.unwrap_or(i64::MAX);
        if since_ms < whole {
            let from = jiff::Timestamp::from_millisecond(whole).unwrap_or_default();
            return Err(format!(
                "the log holds events from {from:.0} on, older ones were written over or cleared before they were \
                 read, so events may be missing; make the log larger in the Event Viewer"
            ));
        }
        let wanted = |record: &&Record| {
            record.latest_ms() >= since_ms && record.source.eq_ignore_ascii_case(source)
        };
        let mut found: Vec<EventRecord> = self
            .state
            .records
            .iter()
            .filter(wanted)
            .map(EventRecord::from)
            .collect();
        found.sort_by_key(|event| event.at_ms);
        Ok(found)
    }

    fn begin_anew(&mut self, since_ms: i64, records: Vec<Record>) {
        self.state = State {
            whole_since_ms: Some(since_ms),
            records,
        };
        self.shorten();
        self.kept(State::write);
    }

    fn append(&mut self, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let from = self.state.records.len();
        self.state.records.extend(records);
        if self.shorten() {
            self.kept(State::write);
        } else {
            self.kept(|state, file| {
                lines(
                    OpenOptions::new().append(true).open(file)?,
                    &state.records[from..],
                )
            });
        }
    }

    fn shorten(&mut self) -> bool {
        let length = self.state.records.len();
        if length <= MOST {
            return false;
        }
        self.state.records.drain(..length - MOST / 2);
        let first = self.state.records.first().map(|record| record.at_ms);
        // Of its second, some may have gone.
        self.state.whole_since_ms = first.map(|at| at.saturating_add(SECOND_MS + 1));
        true
    }

    /// A file that cannot be written costs what the log forgets until the next start, and nothing else.
    fn kept(&self, write: impl Fn(&State, &Path) -> std::io::Result<()>) {
        if let Err(error) = write(&self.state, &self.file) {
            warn!(
                "could not keep what was read of the event log in `{}`: {error}; events that the log has \
                 written over are forgotten at the next start of the agent",
                self.file.display()
            );
        }
    }
}

impl State {
    /// A line that was cut by a crash ends it: what follows is read from the log again.
    fn parse(text: &str) -> Self {
        let mut lines = text
            .split_inclusive('\n')
            .map_while(|line| line.strip_suffix('\n'));
        let head = lines
            .next()
            .and_then(|line| serde_json::from_str::<Head>(line).ok());
        let Some(head) = head else {
            return Self::default();
        };
        let mut records: Vec<Record> = Vec::new();
        for record in lines.map_while(|line| serde_json::from_str::<Record>(line).ok()) {
            // A cut line to which another one was appended: what follows is of no known place.
            if records
                .last()
                .is_some_and(|last| last.number + 1 != record.number)
            {
                break;
            }
            records.push(record);
        }
        Self {
            whole_since_ms: Some(head.whole_since_ms),
            records,
        }
    }

    fn write(&self, file: &Path) -> std::io::Result<()> {
        let folder = file.parent().unwrap_or(Path::new("."));
        let mut new = tempfile::Builder::new()
            .prefix(".mailmend-")
            .tempfile_in(folder)?;
        let head = Head {
            whole_since_ms: self.whole_since_ms.unwrap_or(i64::MAX),
        };
        writeln!(new, "{}", serde_json::to_string(&head)?)?;
        lines(new.as_file().try_clone()?, &self.records)?;
        new.persist(file)?;
        Ok(())
    }
}

fn lines(file: File, records: &[Record]) -> std::io::Result<()> {
    let mut file = BufWriter::new(file);
    for record in records {
        writeln!(file, "{}", serde_json::to_string(record)?)?;
    }
    file.flush()
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests;
