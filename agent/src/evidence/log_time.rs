//! The clock that a log is stamped by. The tracking log says of itself that it is GMT; of the SMTP log
//! and of exported event logs nobody says it, so the administrator does.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// The clock that a log is stamped by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogTime {
    /// UTC.
    #[default]
    Utc,
    /// The machine's own time zone, with its summer time.
    Local,
    /// A fixed distance from UTC, in seconds east of it.
    Fixed(i32),
}

/// The clocks of a server's logs, as its administrator states them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogTimes {
    /// Of the SMTP protocol log.
    pub smtp: LogTime,
    /// Of the event log, where it is an export that does not say UTC itself.
    pub events: LogTime,
}

impl LogTime {
    pub(crate) fn zone(self) -> TimeZone {
        match self {
            Self::Utc => TimeZone::UTC,
            Self::Local => TimeZone::system(),
            Self::Fixed(seconds) => {
                Offset::from_seconds(seconds).map_or(TimeZone::UTC, TimeZone::fixed)
            }
        }
    }
}

/// A moment in a zone, in milliseconds since 1970 UTC; `None` where there is no such date.
///
/// In the hour that a zone has twice the later one is meant: what may have been after a message was
/// written must not count as before.
pub(crate) fn moment(zone: &TimeZone, date: [i16; 3], time: [i8; 3]) -> Option<i64> {
    let [year, month, day] = date;
    let [hour, minute, second] = time;
    let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    let at = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let at = zone.to_ambiguous_timestamp(at).later().ok()?;
    Some(at.as_millisecond())
}

/// `97`, `1997` or `5`: the year of a date with a month first.
pub(crate) fn year(written: i16) -> Option<i16> {
    match written {
        0..70 => Some(2000 + written),
        70..100 => Some(1900 + written),
        1970..2100 => Some(written),
        _ => None,
    }
}

/// The hour of a twelve-hour clock, 0 to 23.
pub(crate) fn hour(written: i16, after_noon: bool) -> Option<i8> {
    let in_range = (1..=12).contains(&written);
    let hour = i8::try_from(written % 12).ok()?;
    in_range.then_some(if after_noon { hour + 12 } else { hour })
}

impl fmt::Display for LogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utc => f.write_str("utc"),
            Self::Local => f.write_str("local"),
            Self::Fixed(seconds) => {
                let sign = if *seconds < 0 { '-' } else { '+' };
                let minutes = seconds.unsigned_abs() / 60;
                write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        }
    }
}

impl FromStr for LogTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "utc" => return Ok(Self::Utc),
            "local" => return Ok(Self::Local),
            _ => {}
        }
        let two = |digits: &str| {
            let shaped = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            shaped.then(|| digits.parse::<i32>().ok()).flatten()
        };
        let fixed = || {
            let (sign, rest) = match text.as_bytes().first()? {
                b'+' => (1, &text[1..]),
                b'-' => (-1, &text[1..]),
                _ => return None,
            };
            let (hours, minutes) = rest.split_once(':')?;
            let (hours, minutes) = (two(hours)?, two(minutes)?);
            (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60)
        };
        fixed()
            .map(Self::Fixed)
            .ok_or_else(|| format!("`{}` is no time of a log", text.escape_debug()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_again_and_nothing_else_is() {
        for text in ["utc", "local", "+02:00", "-05:30", "+00:00", "+23:59"] {
            assert_eq!(text.parse::<LogTime>().unwrap().to_string(), text);
        }
        for text in [
            "", "UTC", "+2:00", "+24:00", "+02:60", "02:00", "+é2:00", "+02:00 ",
        ] {
            assert!(text.parse::<LogTime>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_zone_moves_the_moment_and_the_hour_that_comes_twice_is_the_later_one() {
        let noon = |zone: &TimeZone| moment(zone, [1997, 11, 5], [12, 0, 0]).unwrap();
        let utc = noon(&LogTime::Utc.zone());
        let two: LogTime = "+02:00".parse().unwrap();
        assert_eq!(noon(&two.zone()), utc - 7_200_000);
        // Central Europe left summer time on 26 October 1997, at 3:00.
        let rule = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let twice = moment(&rule, [1997, 10, 26], [2, 30, 0]).unwrap();
        let in_winter = moment(&TimeZone::UTC, [1997, 10, 26], [1, 30, 0]).unwrap();
        assert_eq!(twice, in_winter);
        assert_eq!(moment(&rule, [1997, 2, 30], [2, 30, 0]), None);
    }
}
