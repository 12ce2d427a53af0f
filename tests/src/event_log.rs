//! The event log of a server: a text file, one event a line, tab separated.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use jiff::Timestamp;

use crate::lab_error::{Attempting, LabError};

/// How grave an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gravity {
    /// For information.
    Information,
    /// Something may be wrong.
    Warning,
    /// Something is wrong.
    Error,
}

impl Gravity {
    const ALL: [(&'static str, Self); 3] = [
        ("Information", Self::Information),
        ("Warning", Self::Warning),
        ("Error", Self::Error),
    ];
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When it was written, to the millisecond.
    pub at: Timestamp,
    /// Who wrote it.
    pub source: String,
    /// Its number.
    pub id: u32,
    /// How grave it is.
    pub gravity: Gravity,
    /// Its category.
    pub category: String,
    /// Its text.
    pub description: String,
}

impl Event {
    /// The line of the log, its end included.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{:.3}\t{}\t{}\t{}\t{}\t{}\n",
            self.at,
            self.source,
            self.id,
            Gravity::ALL[self.gravity as usize].0,
            self.category,
            escape(&self.description)
        )
    }

    /// Reads a line of the log.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let event = Self {
            at: fields.next()?.parse().ok()?,
            source: fields.next()?.to_owned(),
            id: fields.next()?.parse().ok()?,
            gravity: {
                let name = fields.next()?;
                Gravity::ALL.iter().find(|(known, _)| *known == name)?.1
            },
            category: fields.next()?.to_owned(),
            description: unescape(fields.next()?),
        };
        fields.next().is_none().then_some(event)
    }
}

/// The log, open for appending. Several processes of a server write to one log: each event is one
/// write to a file opened for appending, so lines never mix.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    source: &'static str,
}

impl EventLog {
    /// Opens the log for a source.
    ///
    /// # Errors
    /// Where the file cannot be opened.
    pub fn open(path: &Path, source: &'static str) -> Result<Self, LabError> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .attempting(|| format!("open the event log `{}`", path.display()))?;
        Ok(Self { file, source })
    }

    /// Writes an event of this source now. A log that cannot be written must not stop the mail: the
    /// event is then lost, as in life.
    pub fn write(&self, id: u32, gravity: Gravity, category: &str, description: &str) {
        self.write_as(self.source, id, gravity, category, description);
    }

    /// Writes an event of another source now: the MTA's process also stands for the system
    /// attendant.
    pub fn write_as(
        &self,
        source: &str,
        id: u32,
        gravity: Gravity,
        category: &str,
        description: &str,
    ) {
        let event = Event {
            at: Timestamp::now(),
            source: source.to_owned(),
            id,
            gravity,
            category: category.to_owned(),
            description: description.to_owned(),
        };
        let _ = (&self.file).write_all(event.line().as_bytes());
    }
}

/// All events of a log, oldest first; a log that is not there yet is empty.
///
/// # Errors
/// Where it cannot be read, or a line makes no sense.
pub fn read(path: &Path) -> Result<Vec<Event>, LabError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => Err(error).attempting(|| format!("read `{}`", path.display()))?,
    };
    text.lines()
        .map(|line| {
            Event::parse(line).ok_or_else(|| LabError::Malformed {
                what: format!("an event in `{}`", path.display()),
                reason: format!("`{line}`"),
            })
        })
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\t', "\\t")
        .replace('\n', "\\n")
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, false) => plain.push(letter),
            (_, true) => match letters.next() {
                Some('t') => plain.push('\t'),
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(description: &str) -> Event {
        Event {
            at: "1998-03-04T05:06:07.089Z".parse().unwrap(),
            source: "MSExchangeIMC".to_owned(),
            id: 3010,
            gravity: Gravity::Warning,
            category: "SMTP Interface Events".to_owned(),
            description: description.to_owned(),
        }
    }

    #[test]
    fn an_event_is_one_line_with_milliseconds() {
        assert_eq!(
            event("a\tb\nc\\d").line(),
            "1998-03-04T05:06:07.089Z\tMSExchangeIMC\t3010\tWarning\tSMTP Interface Events\ta\\tb\\nc\\\\d\n"
        );
    }

    #[test]
    fn what_is_written_is_read_whatever_the_text() {
        for text in [
            "",
            "plain",
            "tab\there",
            "two\nlines",
            "back\\slash",
            "\\t is not a tab",
            "\\",
        ] {
            let written = event(text);
            assert_eq!(
                Event::parse(written.line().trim_end_matches('\n')),
                Some(written)
            );
        }
    }

    #[test]
    fn a_line_with_a_field_too_few_or_too_many_is_refused() {
        assert_eq!(Event::parse("1998-03-04T05:06:07Z\tX\t1\tError\tc"), None);
        assert_eq!(
            Event::parse("1998-03-04T05:06:07Z\tX\t1\tError\tc\td\te"),
            None
        );
    }
}
