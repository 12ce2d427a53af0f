//! The event log as a text file: one event per line; tab-separated UTC time, source, number, type,
//! category, description. Writers append whole lines.

use std::path::PathBuf;

use crate::host::{EventRecord, Events, HostError, HostErrorKind};

#[derive(Debug)]
pub(super) struct EventFile {
    file: PathBuf,
}

impl EventFile {
    pub(super) fn at(file: PathBuf) -> Self {
        Self { file }
    }
}

impl Events for EventFile {
    fn read(&self, source: &str, since_ms: i64) -> Result<Vec<EventRecord>, HostError> {
        let attempted = || format!("read the events of `{source}` in `{}`", self.file.display());
        let bytes = std::fs::read(&self.file).map_err(|e| super::reading(attempted(), &e))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut events = Vec::new();
        for (number, line) in text.split_inclusive('\n').enumerate() {
            // A line without its end is still being written.
            let Some(line) = line.strip_suffix('\n') else {
                break;
            };
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let event = parse(line).ok_or_else(|| {
                HostError::unchanged(
                    HostErrorKind::Malformed,
                    attempted(),
                    format!("line {} is no event, so events may be missing", number + 1),
                )
            })?;
            if event.at_ms >= since_ms && event.source.eq_ignore_ascii_case(source) {
                events.push(event);
            }
        }
        events.sort_by_key(|event| event.at_ms);
        Ok(events)
    }
}

fn parse(line: &str) -> Option<EventRecord> {
    let mut fields = line.splitn(6, '\t');
    let at: jiff::Timestamp = fields.next()?.parse().ok()?;
    let source = fields.next()?.to_owned();
    let id = fields.next()?.parse().ok()?;
    let _type = fields.next()?;
    let _category = fields.next()?;
    let description = unescape(fields.next()?);
    Some(EventRecord {
        at_ms: at.as_millisecond(),
        source,
        id,
        description,
    })
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('\\') => plain.push('\\'),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    plain
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
