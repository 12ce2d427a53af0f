//! Maintenance windows: when service may be disturbed, in the local time of a named zone.
//!
//! Zones come from the database in the program, so that controller, simulation and check agree whatever
//! the machine has. A window is never longer than it is written: where a clock is set forward over its
//! beginning it begins after the gap, where a clock is set back it begins at the second of two equal
//! times, and it ends at the first.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

/// A span of local time on some days of the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The days on which it begins; never empty.
    pub days: Vec<Day>,
    /// When it begins.
    pub from: LocalTime,
    /// When it ends: on the next day where that is not after `from`.
    pub to: LocalTime,
    /// Whose local time that is.
    pub zone: Zone,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // Their names say it all.
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Mon,
        Self::Tue,
        Self::Wed,
        Self::Thu,
        Self::Fri,
        Self::Sat,
        Self::Sun,
    ];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mon => "mon",
            Self::Tue => "tue",
            Self::Wed => "wed",
            Self::Thu => "thu",
            Self::Fri => "fri",
            Self::Sat => "sat",
            Self::Sun => "sun",
        }
    }

    fn of(weekday: Weekday) -> Self {
        Self::ALL[usize::from(weekday.to_monday_zero_offset().unsigned_abs())]
    }
}

/// A time of day, to the minute: `22:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LocalTime {
    minutes: u16,
}

/// A text that is no time of day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a time of day: write hours and minutes such as `22:00`, from `00:00` to `23:59`"
)]
pub struct NotATime(pub String);

impl FromStr for LocalTime {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let two = |digits: &str| {
            let plain = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|_| plain)
        };
        let read = text.split_once(':').and_then(|(hours, minutes)| {
            let (hours, minutes) = (two(hours)?, two(minutes)?);
            (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
        });
        read.map(|minutes| Self { minutes })
            .ok_or_else(|| NotATime(text.to_owned()))
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

impl TryFrom<String> for LocalTime {
    type Error = NotATime;

    fn try_from(text: String) -> Result<Self, NotATime> {
        text.parse()
    }
}

impl From<LocalTime> for String {
    fn from(time: LocalTime) -> Self {
        time.to_string()
    }
}

impl LocalTime {
    fn on(self, date: Date) -> DateTime {
        let part = |number: u16| i8::try_from(number).unwrap_or_default();
        let time = Time::new(part(self.minutes / 60), part(self.minutes % 60), 0, 0);
        date.to_datetime(time.unwrap_or_default())
    }
}

/// A zone of the IANA database, such as `Europe/Oslo` or `UTC`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(TimeZone);

/// A text that names no zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no time zone: write a name of the IANA database such as `Europe/Oslo` or `UTC`"
)]
pub struct NoZone(pub String);

impl FromStr for Zone {
    type Err = NoZone;

    fn from_str(text: &str) -> Result<Self, NoZone> {
        let fault = || NoZone(text.to_owned());
        let zone = jiff::tz::TimeZoneDatabase::bundled()
            .get(text)
            .map_err(|_| fault())?;
        // The database answers without regard to case; one way to write each zone.
        if zone.iana_name() == Some(text) {
            Ok(Self(zone))
        } else {
            Err(fault())
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl TryFrom<String> for Zone {
    type Error = NoZone;

    fn try_from(text: String) -> Result<Self, NoZone> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.to_string()
    }
}

/// Whether service may be disturbed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// It may.
    Open {
        /// Until then, milliseconds since 1970 UTC; none: for ever.
        until_ms: Option<i64>,
    },
    /// It may not.
    Shut {
        /// Until then.
        opens_ms: i64,
    },
}

/// How many days on a window is looked for: a week, and another where a clock swallows it.
const AHEAD: i32 = 15;

/// Whether any of these windows is open at a time; without windows it always is.
#[must_use]
pub fn opening(windows: &[Window], now_ms: i64) -> Opening {
    if windows.is_empty() {
        return Opening::Open { until_ms: None };
    }
    let mut spans: Vec<(i64, i64)> = windows
        .iter()
        .flat_map(|window| window.near(now_ms))
        .collect();
    spans.sort_unstable();
    let mut at = 0;
    while let Some(&(begins, mut ends)) = spans.get(at) {
        // What begins before this one ends belongs to it.
        while let Some(&(next, later)) = spans.get(at + 1)
            && next <= ends
        {
            ends = ends.max(later);
            at += 1;
        }
        if now_ms < begins {
            return Opening::Shut { opens_ms: begins };
        }
        if now_ms < ends {
            return Opening::Open {
                until_ms: Some(ends),
            };
        }
        at += 1;
    }
    // Only at the end of representable time.
    Opening::Shut { opens_ms: i64::MAX }
}

impl Window {
    /// How long it is open, on a day on which no clock is set.
    #[must_use]
    pub fn longest(&self) -> Duration {
        let (from, to) = (self.from.minutes, self.to.minutes);
        let minutes = if to > from {
            to - from
        } else {
            1440 + to - from
        };
        Duration::from_secs(u64::from(minutes) * 60)
    }

    /// The spans that begin from yesterday on, milliseconds since 1970 UTC.
    fn near(&self, now_ms: i64) -> Vec<(i64, i64)> {
        let Ok(now) = Timestamp::from_millisecond(now_ms) else {
            return Vec::new();
        };
        let today = now.to_zoned(self.zone.0.clone()).date();
        (-2..=AHEAD)
            .filter_map(|days| today.checked_add(days.days()).ok())
            .filter(|date| self.days.contains(&Day::of(date.weekday())))
            .filter_map(|date| self.on(date))
            .collect()
    }

    fn on(&self, date: Date) -> Option<(i64, i64)> {
        let last = if self.to > self.from {
            date
        } else {
            date.tomorrow().ok()?
        };
        let zone = &self.zone.0;
        let begins = zone
            .to_ambiguous_timestamp(self.from.on(date))
            .later()
            .ok()?;
        let ends = zone
            .to_ambiguous_timestamp(self.to.on(last))
            .earlier()
            .ok()?;
        (begins < ends).then(|| (begins.as_millisecond(), ends.as_millisecond()))
    }
}
