//! The event log as a text file. Writers append whole lines. Where Windows has an event log, this is what
//! stands in for it when the configuration says so.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::evidence::bookmark::{self, Bookmark};
use crate::evidence::event_text::Reader;
use crate::evidence::log_time::LogTime;
use crate::host::{EventRecord, Events, FileInfo, HostError, HostErrorKind, LogFile, here};

/// An event log up to this size is kept in memory; a longer one is read whole each time.
const KEPT: u64 = 64 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct EventFile {
    file: PathBuf,
    clock: LogTime,
    bookmark: Mutex<Option<Bookmark<Reader>>>,
}

impl EventFile {
    pub(super) fn at(file: PathBuf) -> Self {
        Self {
            file,
            clock: LogTime::Utc,
            bookmark: Mutex::new(None),
        }
    }

    pub(super) fn set_clock(&mut self, clock: LogTime) {
        self.clock = clock;
    }

    fn open(&self, attempted: &str) -> Result<(FileInfo, Box<dyn LogFile>), HostError> {
        let failed = |error| here::told(attempted, &error);
        let file = File::open(&self.file).map_err(failed)?;
        let info = here::about(&self.file.display().to_string(), &file).map_err(failed)?;
        Ok((info, Box::new(file)))
    }
}

impl Events for EventFile {
    fn read(&self, source: &str, since_ms: i64) -> Result<Vec<EventRecord>, HostError> {
        let attempted = format!("read the events of `{source}` in `{}`", self.file.display());
        let mut kept = self.bookmark.lock().unwrap_or_else(PoisonError::into_inner);
        let open = || self.open(&attempted);
        let fresh = || Reader::new(self.clock);
        let bookmark = bookmark::follow(&self.file, &open, kept.take(), &fresh)?;
        let found = bookmark.reader.since(source, since_ms);
        if bookmark.offset() <= KEPT {
            *kept = Some(bookmark);
        }
        found.map_err(|line| {
            HostError::unchanged(
                HostErrorKind::Malformed,
                attempted,
                format!("line {line} is no event, so events may be missing"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &str) -> (tempfile::TempDir, EventFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("events.log");
        std::fs::write(&file, text).unwrap();
        (folder, EventFile::at(file))
    }

    #[test]
    fn events_of_a_source_since_a_moment_come_oldest_first_and_a_line_in_the_making_is_left() {
        let (_folder, log) = log(
            "1997-11-05T19:51:00.250Z\tMSExchangeIMC\t1000\tInformation\tInitialization/Termination\tbuild 1460.8\n\
             1997-11-05T19:50:00.000Z\tMSExchangeIMC\t1001\tInformation\tInitialization/Termination\tstopped\n\
             1997-11-05T19:52:00.000Z\tMSExchangeSA\t5000\tInformation\tGeneral\trecalculated\n\
             1997-11-05T19:53:00.000Z\tmsexchangeimc\t3038\tError\tMessage Transfer\ta\\tb\\nc\\\\d\n\
             1997-11-05T19:54:00.000Z\tMSExchangeIMC\t10",
        );
        let all = log.read("MSExchangeIMC", 0).unwrap();
        assert_eq!(
            all.iter().map(|e| e.id).collect::<Vec<_>>(),
            [1001, 1000, 3038]
        );
        assert_eq!(all[2].description, "a\tb\nc\\d");
        let since = log.read("MSExchangeIMC", all[1].at_ms).unwrap();
        assert_eq!(since.len(), 2, "the moment itself counts");
        assert_eq!(
            log.read("MSExchangeIMC", all[1].at_ms + 1).unwrap().len(),
            1
        );
    }

    #[test]
    fn a_damaged_line_is_an_error_because_events_may_be_missing() {
        let (_folder, log) = log("nonsense\n1997-11-05T19:50:00Z\tX\t1\tError\tC\tD\n");
        let error = log.read("X", 0).unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Malformed);
        assert!(error.reason.contains("line 1"), "{error}");
        assert_eq!(
            EventFile::at("/nowhere/x".into())
                .read("X", 0)
                .unwrap_err()
                .kind,
            HostErrorKind::NotFound
        );
    }
}
