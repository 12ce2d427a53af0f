//! The message tracking log: one file a day, `yyyymmdd.log`, names and times in GMT (Q173280,
//! Q163074). A record is a line of thirteen fields, separated by tabs, and a line for each recipient.
//!
//! Exchange 4.0, 5.0 and 5.5 write the same fields (Q173280). The events 1010 to 1018 came with 5.0
//! (Q173364): a log of 4.0 shows of an outbound message that the service took it over (1003), not that
//! the next hop has it, and of an inbound one 1004. A folder may hold both after an upgrade; a record
//! is known by its event. No line that begins with `#` is documented for these versions; one is
//! passed over, as later versions begin their logs with some.

use std::io::{self, Read};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::event_log::time;
use super::lines::{self, Damage, LineReader, Malformed};
use super::log_time;

/// The service took an outbound message over from the store; all that 4.0 tells of it.
pub const GATEWAY_OUT: u32 = 1003;
/// A message came in from a gateway; all that 4.0 tells of it.
pub const GATEWAY_IN: u32 = 1004;
/// The service has scheduled an outbound message (5.0 and 5.5).
pub const QUEUED_OUTBOUND: u32 = 1010;
/// The next hop has taken an outbound message (5.0 and 5.5).
pub const TRANSFERRED_OUTBOUND: u32 = 1011;
/// The service has received an inbound message (5.0 and 5.5).
pub const RECEIVED_INBOUND: u32 = 1012;
/// The store has taken an inbound message (5.0 and 5.5).
pub const TRANSFERRED_INBOUND: u32 = 1013;
/// The store has delivered a message.
pub const DELIVERED: u32 = 9;
/// The last of the events that came with 5.0.
const REPORT_ABSORBED: u32 = 1018;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The log that it stands in.
    pub log: String,
    /// The number of its first line, from 1.
    pub line: u64,
    /// The MTS-ID or message id, as written.
    pub mts_id: String,
    /// What befell the message.
    pub event: u32,
    /// When, in milliseconds since 1970 UTC; whole seconds.
    pub at_ms: i64,
    /// The host at the other end.
    pub partner: String,
    /// From the remote id: the Internet Message-ID (with `%` for `;` and `_` for a space) and the
    /// name of the spool file.
    pub remote: Option<(String, String)>,
    /// The originator.
    pub originator: String,
    /// The subject; of a report, the MTS-ID of the message that it is about.
    pub about: String,
    /// The recipients, as written.
    pub recipients: Vec<String>,
}

impl Record {
    /// One line for a ledger, with its place.
    #[must_use]
    pub fn evidence(&self) -> String {
        format!(
            "tracking log `{}` line {}: {} at {} to {}",
            self.log,
            self.line,
            self.event,
            time(self.at_ms),
            self.recipients.join(", ")
        )
    }
}

/// What a log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrackingLog {
    /// Its records, in order.
    pub records: Vec<Record>,
    /// The lines that make no sense.
    pub malformed: Vec<Malformed>,
}

/// The name of the log of a moment's day.
#[must_use]
pub fn file_name(at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or(if at_ms < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    });
    let day = at.to_zoned(TimeZone::UTC).date();
    // Before the year 0 there were no logs, and names must sort.
    format!(
        "{:04}{:02}{:02}.log",
        day.year().max(0),
        day.month(),
        day.day()
    )
}

/// Whether a file is named as a log is.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.strip_suffix(".log")
        .is_some_and(|day| day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reads a log. A record that is still being written is left out.
///
/// # Errors
/// Where reading fails.
pub fn read(log: &mut dyn Read, name: &str) -> io::Result<TrackingLog> {
    let mut reader = Reader::new(name);
    lines::for_each(log, &mut reader)?;
    let malformed = reader.malformed().collect();
    Ok(TrackingLog {
        records: Arc::unwrap_or_clone(reader.records),
        malformed,
    })
}

/// Reads a log line by line; its clones share what was found.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    name: String,
    records: Arc<Vec<Record>>,
    damage: Arc<Damage>,
    /// The record that is being read, its first line, and how many recipients are still to come.
    open: Option<(Record, String, usize)>,
    modern: bool,
}

impl Reader {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            records: Arc::default(),
            damage: Arc::default(),
            open: None,
            modern: false,
        }
    }

    pub(super) fn records(&self) -> &Arc<Vec<Record>> {
        &self.records
    }

    /// The lines that make no sense, a record that is still being written among them: it may be about
    /// the message asked for.
    pub(super) fn malformed(&self) -> impl Iterator<Item = Malformed> + '_ {
        let open = self.open.iter();
        let open = open.map(|(record, text, _)| Malformed::new(&self.name, record.line, text));
        self.damage.lines.iter().cloned().chain(open)
    }

    pub(super) fn damaged(&self) -> usize {
        self.damage.lines.len() + self.damage.more
    }

    /// Whether it has events that only Exchange 5.0 and 5.5 write, 1010 to 1018.
    pub(super) fn is_modern(&self) -> bool {
        self.modern
    }
}

impl LineReader for Reader {
    fn line(&mut self, line: u64, text: &str) {
        // A line with that many fields is never a recipient's.
        let first_line = text.split('\t').nth(10).is_some();
        match &mut self.open {
            Some((record, _, left)) if !first_line => {
                let recipient = text.split('\t').next().unwrap_or_default();
                record.recipients.push(recipient.to_owned());
                *left -= 1;
            }
            _ => {
                if let Some((record, text, _)) = self.open.take() {
                    // Its recipients never came.
                    Arc::make_mut(&mut self.damage).add(&self.name, record.line, &text);
                }
                match parse(text, &self.name, line) {
                    Some((record, recipients)) => {
                        self.open = Some((record, text.to_owned(), recipients));
                    }
                    None if text.is_empty() || text.starts_with('#') => {}
                    None => Arc::make_mut(&mut self.damage).add(&self.name, line, text),
                }
            }
        }
        if let Some((record, _, _)) = self.open.take_if(|(_, _, left)| *left == 0) {
            self.modern |= (QUEUED_OUTBOUND..=REPORT_ABSORBED).contains(&record.event);
            Arc::make_mut(&mut self.records).push(record);
        }
    }
}

fn parse(text: &str, log: &str, line: u64) -> Option<(Record, usize)> {
    let fields: Vec<&str> = text.split('\t').collect();
    // The twelfth is the subject, which may hold tabs.
    let [mts_id, event, at, _gateway, partner, remote, originator, ..] = fields[..] else {
        return None;
    };
    if fields.len() < 13 {
        return None;
    }
    let recipients = fields.last()?.trim().parse().ok()?;
    let record = Record {
        log: log.to_owned(),
        line,
        mts_id: mts_id.to_owned(),
        event: event.parse().ok()?,
        at_ms: moment(at)?,
        partner: partner.to_owned(),
        remote: remote_id(remote),
        originator: originator.to_owned(),
        about: fields[11..fields.len() - 1].join("\t"),
        recipients: Vec::new(),
    };
    Some((record, recipients))
}

/// `1996.7.1 18:32:9`, GMT.
fn moment(text: &str) -> Option<i64> {
    let (date, time) = text.trim().split_once(' ')?;
    let mut date = date.split('.');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    let mut time = time.trim().split(':');
    let (hour, minute, second) = (time.next()?, time.next()?, time.next()?);
    if date.next().is_some() || time.next().is_some() {
        return None;
    }
    log_time::moment(
        &TimeZone::UTC,
        [year.parse().ok()?, month.parse().ok()?, day.parse().ok()?],
        [
            hour.parse().ok()?,
            minute.parse().ok()?,
            second.parse().ok()?,
        ],
    )
}

/// `<Message-ID>[SPOOLNAM]`.
fn remote_id(text: &str) -> Option<(String, String)> {
    let (message_id, name) = text.trim().strip_suffix(']')?.rsplit_once('[')?;
    Some((message_id.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The fields that Q153188 shows of a real record, in a whole one.
    const REAL: &str = "c=US;a= ;p=MICROSOFT;l=TAMRAJ2-960701173047Z-2\t1003\t1996.7.1 18:32:9\tIMC\talpine.microsoft.com\t<c=US%a=_%p=MICROSOFT%l=TAMRAJ2-960701173047Z-2@tamraj.microsoft.com>[PBZ70AAB]\t/O=MS/OU=NA/CN=A\t0\t1024\t1\t0\t\t1\na@alpine.microsoft.com\n";

    fn log(text: &str) -> TrackingLog {
        read(&mut text.as_bytes(), "19960701.log").unwrap()
    }

    #[test]
    fn the_real_sample_is_read() {
        let found = log(REAL);
        assert_eq!(found.malformed, []);
        let record = &found.records[0];
        assert_eq!((record.event, record.line), (1003, 1));
        assert_eq!(time(record.at_ms), "1996-07-01T18:32:09Z");
        let (message_id, name) = record.remote.as_ref().unwrap();
        assert_eq!(name, "PBZ70AAB");
        let plain = "<c=US;a= ;p=MICROSOFT;l=TAMRAJ2-960701173047Z-2@tamraj.microsoft.com>";
        assert_eq!(super::super::fold(message_id), super::super::fold(plain));
        assert_eq!(record.recipients, ["a@alpine.microsoft.com"]);
        assert!(
            record
                .evidence()
                .starts_with("tracking log `19960701.log` line 1: 1003 at 1996")
        );
    }

    #[test]
    fn a_record_that_is_cut_or_makes_no_sense_is_reported_and_the_next_one_read() {
        let two = REAL.replace("\t1\na@", "\t2\na@");
        let found = log(&format!("nonsense\n{two}{REAL}{two}"));
        assert_eq!(found.records.len(), 1);
        assert_eq!(found.records[0].line, 4);
        let lines: Vec<u64> = found.malformed.iter().map(|m| m.line).collect();
        assert_eq!(lines, [1, 2, 6]);
        assert!(found.malformed[1].mentions("pbz70aab"));
        let cut = &REAL[..REAL.len() - 5];
        let found = log(cut);
        assert!(found.records.is_empty(), "its recipient is not whole");
        assert_eq!(found.malformed.len(), 1);
    }

    #[test]
    fn times_that_do_not_exist_are_refused() {
        for bad in [
            "1996.13.1 0:0:0",
            "1996.2.30 0:0:0",
            "1996.7.1 24:0:0",
            "1996.7.1",
            "x",
            "",
        ] {
            assert_eq!(moment(bad), None, "{bad}");
        }
        assert!(moment("1996.2.29 23:59:59").is_some());
    }

    #[test]
    fn names_of_logs_follow_the_day_in_gmt() {
        assert_eq!(file_name(836_252_729_000), "19960701.log");
        assert!(file_name(i64::MIN) < file_name(0));
        for (name, is) in [
            ("19960701.log", true),
            ("19960701.LOG", true),
            ("1996071.log", false),
            ("x9960701.log", false),
        ] {
            assert_eq!(is_file_name(name), is, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&mut &*bytes, "x");
        }

        #[test]
        fn damage_in_one_record_never_hides_the_record_after_the_next(
            at in 0..REAL.len(), byte in 32u8..127,
        ) {
            let mut damaged = REAL.as_bytes().to_vec();
            damaged[at] = byte;
            let text = [&damaged[..], REAL.as_bytes(), REAL.as_bytes()].concat();
            let found = read(&mut &*text, "x").unwrap();
            prop_assert!(found.records.len() + found.malformed.len() >= 2);
            prop_assert_eq!(found.records.last().unwrap().event, 1003);
        }
    }
}
