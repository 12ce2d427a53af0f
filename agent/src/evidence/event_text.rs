//! An event log as text. NT keeps it in a file of its own and hands it out as lines; each line tells its
//! form, so one file may hold several:
//!
//! - mailmend's own: RFC 3339 time in UTC, source, number, type, category, description, separated by
//!   tabs, with `\t`, `\n` and `\\` for what would break the line;
//! - what Event Viewer saves as text: date, time, source, type, category, number, user, computer,
//!   description, separated by commas or tabs;
//! - what `dumpel` writes unless told otherwise: date, time, type and category as numbers, number,
//!   source, user, computer, strings, separated by tabs or commas.
//!
//! Dates of the last two are `m/d/yy`, times `h:mm:ss AM` or `h:mm:ss`, by the clock that the
//! configuration declares. How they write a line break in a description is not documented: a line
//! that is no event goes on with the one before. Other countries' dates are not read.

use std::io::{self, Read};
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::lines::{self, LineReader};
use super::log_time::{self, LogTime};
use crate::host::EventRecord;

/// No description is longer; what is, is cut.
const LONGEST: usize = 64 * 1024;

/// All events of a log in the order of its lines, and the number of its last line that makes no sense.
///
/// # Errors
/// Where reading fails.
pub fn read(log: &mut dyn Read, clock: LogTime) -> io::Result<(Vec<EventRecord>, Option<u64>)> {
    let mut reader = Reader::new(clock);
    lines::for_each(log, &mut reader)?;
    let damaged = reader.damaged.map(|damage| damage.line);
    Ok((Arc::unwrap_or_clone(reader.events), damaged))
}

/// Reads a log line by line; its clones share what was found.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    events: Arc<Vec<EventRecord>>,
    /// The last line that makes no sense.
    damaged: Option<Damage>,
    /// Whether a line that is no event goes on with the one before.
    goes_on: bool,
    zone: TimeZone,
}

#[derive(Debug, Clone, Copy)]
struct Damage {
    line: u64,
    /// When the next event was written.
    before_ms: Option<i64>,
}

impl Reader {
    pub(crate) fn new(clock: LogTime) -> Self {
        Self {
            events: Arc::default(),
            damaged: None,
            goes_on: false,
            zone: clock.zone(),
        }
    }

    /// The events of a source since a moment, oldest first; the number of a line that makes no sense
    /// where it may have been one of them.
    pub(crate) fn since(&self, source: &str, since_ms: i64) -> Result<Vec<EventRecord>, u64> {
        // Lines are appended: what stands before an event that is too old is too old, too.
        let may_matter = |damage: &Damage| damage.before_ms.is_none_or(|at| at >= since_ms);
        if let Some(damage) = self.damaged.filter(may_matter) {
            return Err(damage.line);
        }
        let wanted = |event: &&EventRecord| {
            event.at_ms >= since_ms && event.source.eq_ignore_ascii_case(source)
        };
        let mut found: Vec<EventRecord> = self.events.iter().filter(wanted).cloned().collect();
        found.sort_by_key(|event| event.at_ms);
        Ok(found)
    }
}

impl Reader {
    /// A line that is no event.
    fn other(&mut self, line: u64, text: &str) {
        if self.goes_on && !is_damaged(text) {
            if let Some(event) = Arc::make_mut(&mut self.events).last_mut() {
                go_on(&mut event.description, text);
            }
        } else if !is_heading(text) {
            let before_ms = None;
            self.damaged = Some(Damage { line, before_ms });
        }
    }
}

impl LineReader for Reader {
    fn line(&mut self, line: u64, text: &str) {
        if text.is_empty() {
            return;
        }
        let event = match own(text) {
            Some(event) => {
                self.goes_on = false;
                event
            }
            None => match exported(text, &self.zone) {
                Some(event) => {
                    self.goes_on = true;
                    event
                }
                None => return self.other(line, text),
            },
        };
        if let Some(damage) = &mut self.damaged {
            damage.before_ms.get_or_insert(event.at_ms);
        }
        Arc::make_mut(&mut self.events).push(event);
    }
}

fn go_on(description: &mut String, text: &str) {
    if description.len() + text.len() < LONGEST {
        description.push('\n');
        description.push_str(text);
    }
}

fn is_damaged(text: &str) -> bool {
    text.contains(['\0', char::REPLACEMENT_CHARACTER])
}

/// The names of the columns, which a program that exports may put first.
fn is_heading(text: &str) -> bool {
    let mut words = text.split([',', '\t']).map(str::trim);
    let mut is = |word: &str| words.next().is_some_and(|w| w.eq_ignore_ascii_case(word));
    is("Date") && is("Time")
}

fn own(line: &str) -> Option<EventRecord> {
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

fn exported(line: &str, zone: &TimeZone) -> Option<EventRecord> {
    let separator = line.find([',', '\t'])?;
    let separator = char::from(*line.as_bytes().get(separator)?);
    let mut fields = line.splitn(9, separator);
    let (date, time) = (fields.next()?, fields.next()?);
    let at_ms = moment(date.trim(), time.trim(), zone)?;
    let (third, _fourth) = (fields.next()?.trim(), fields.next()?);
    let (fifth, sixth) = (fields.next()?.trim(), fields.next()?.trim());
    let (_user, _computer) = (fields.next()?, fields.next()?);
    let description = fields.next().unwrap_or_default();
    let (source, id) = match third.parse::<u32>() {
        // Type and category are numbers: `dumpel`.
        Ok(_) => (sixth, fifth),
        Err(_) => (third, sixth),
    };
    if source.is_empty() {
        return None;
    }
    Some(EventRecord {
        at_ms,
        source: source.to_owned(),
        id: id.parse().ok()?,
        description: description.to_owned(),
    })
}

/// `11/5/97` and `7:51:02 PM` or `19:51:02`.
fn moment(date: &str, time: &str, zone: &TimeZone) -> Option<i64> {
    let digits = |text: &str| -> Option<i16> {
        let shaped = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        shaped.then(|| text.parse().ok()).flatten()
    };
    let three = |text: &str, by: char| -> Option<[i16; 3]> {
        let mut parts = text.split(by);
        let three = [parts.next()?, parts.next()?, parts.next()?];
        let [a, b, c] = three.map(digits);
        parts.next().is_none().then_some([a?, b?, c?])
    };
    let [month, day, year] = three(date, '/')?;
    let (time, half) = match time.split_once(' ') {
        Some((time, half)) => (time, Some(half)),
        None => (time, None),
    };
    let [hour, minute, second] = three(time, ':')?;
    let hour = match half {
        None => i8::try_from(hour).ok()?,
        Some("AM") => log_time::hour(hour, false)?,
        Some("PM") => log_time::hour(hour, true)?,
        Some(_) => return None,
    };
    let (minute, second) = (i8::try_from(minute).ok()?, i8::try_from(second).ok()?);
    log_time::moment(
        zone,
        [log_time::year(year)?, month, day],
        [hour, minute, second],
    )
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

    fn events(text: &str) -> Vec<EventRecord> {
        let (events, damaged) = read(&mut text.as_bytes(), LogTime::Utc).unwrap();
        assert_eq!(damaged, None, "{text}");
        events
    }

    #[test]
    fn an_event_is_the_same_in_every_form_also_in_one_file() {
        let text = "1997-11-05T19:51:02.000Z\tMSExchangeIMC\t3038\tError\tMessage Transfer\tnot removed, again\n\
                    Date,Time,Source,Type,Category,Event,User,Computer,Description\n\
                    11/5/97,7:51:02 PM,MSExchangeIMC,Error,Message Transfer,3038,N/A,OSLO-B,not removed, again\n\
                    11/5/97\t7:51:02 PM\tMSExchangeIMC\tError\tMessage Transfer\t3038\tN/A\tOSLO-B\tnot removed, again\n\
                    11/5/1997,19:51:02,1,3,3038,MSExchangeIMC,N/A,OSLO-B,not removed, again\n\
                    11/5/97\t7:51:02 PM\t1\t3\t3038\tMSExchangeIMC\tN/A\tOSLO-B\tnot removed, again\n";
        let found = events(text);
        assert_eq!(found.len(), 5);
        assert_eq!(found[0].description, "not removed, again");
        assert!(found.iter().all(|event| *event == found[0]), "{found:?}");
    }

    #[test]
    fn a_declared_clock_moves_exports_and_leaves_what_says_utc() {
        let text =
            "1997-11-05T19:51:02Z\tX\t1\tError\tC\tD\n11/5/97,9:51:02 PM,X,Error,C,1,U,S,D\n";
        let (found, _) = read(&mut text.as_bytes(), LogTime::Fixed(7200)).unwrap();
        assert_eq!(found[0], found[1]);
    }

    #[test]
    fn a_line_break_in_an_exported_description_goes_on_and_damage_does_not() {
        let found = events("11/5/97,9:51:02 PM,X,Error,C,1,U,S,first\nsecond, third\n\nlast\n");
        assert_eq!(found[0].description, "first\nsecond, third\nlast");
        let own = "1997-11-05T19:51:02Z\tX\t1\tError\tC\tD\n";
        for damaged in [
            "second\n",
            "11/5/97,9:51:02 PM,X\n",
            "5.11.97,21:51:02,X,Error,C,1,U,S,D\n",
        ] {
            let text = format!("{own}{damaged}");
            let (_, line) = read(&mut text.as_bytes(), LogTime::Utc).unwrap();
            assert_eq!(line, Some(2), "{damaged}");
        }
    }

    #[test]
    fn damage_matters_until_an_event_after_it_is_older_than_what_is_asked_for() {
        let text = "nonsense\n1997-11-05T19:50:00Z\tX\t1\tError\tC\tD\n1997-11-05T19:52:00Z\tX\t2\tError\tC\tD\n";
        let mut reader = Reader::new(LogTime::Utc);
        lines::for_each(&mut text.as_bytes(), &mut reader).unwrap();
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        assert_eq!(reader.since("X", at("1997-11-05T19:50:00Z")), Err(1));
        let later = reader.since("x", at("1997-11-05T19:51:00Z")).unwrap();
        assert_eq!(later.iter().map(|event| event.id).collect::<Vec<_>>(), [2]);
    }
}
