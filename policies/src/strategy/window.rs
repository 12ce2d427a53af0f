//! Maintenance windows: when service may be disturbed, in the local time of a named zone.
//!
//! A window is never open at a local time that it does not name, however clocks are set. It begins once
//! the local time has passed `from` for good, and ends when it first reaches `to`: where a clock is set
//! forward over its beginning it begins right after the gap, over its end it ends right before; where a
//! clock is set back it begins at the second of two equal times, and ends at the first. One that lies in
//! the gap is not open that day.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use super::zone::Zone;

/// A span of local time on some days of the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The days on which it begins; never empty.
    pub days: Vec<Day>,
    /// When it begins.
    pub from: LocalTime,
    /// When it ends: on the next day where that is not after `from`. Equal to `from`: a whole day.
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

/// Whether service may be disturbed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// It may.
    Open {
        /// Until then, milliseconds since 1970 UTC. It is looked for [`AHEAD`] days ahead: one that is open
        /// longer is told until some time after those. None: there are no windows, it is open for ever.
        until_ms: Option<i64>,
    },
    /// It may not.
    Shut {
        /// Until then, milliseconds since 1970 UTC; [`i64::MAX`] for never, which only windows without
        /// days have.
        opens_ms: i64,
    },
}

/// How many days on a window is looked for: a week, and another where a clock swallows it.
pub const AHEAD: i32 = 15;

/// Whether any of these windows is open at a time, in milliseconds since 1970 UTC; without windows one
/// always is. Those that overlap or adjoin are one opening.
#[must_use]
pub fn opening(windows: &[Window], now_ms: i64) -> Opening {
    if windows.is_empty() {
        return Opening::Open { until_ms: None };
    }
    let Ok(now) = Timestamp::from_millisecond(now_ms) else {
        return Opening::Shut { opens_ms: i64::MAX };
    };
    let far = now.saturating_add(SignedDuration::from_hours(24 * i64::from(AHEAD)));
    let far = far.unwrap_or(Timestamp::MAX);
    let mut until = now;
    while until < far {
        let ends = windows.iter().filter_map(|window| window.open_at(until));
        match ends.max() {
            Some(ends) => until = ends,
            None => break,
        }
    }
    if until > now {
        return Opening::Open {
            until_ms: Some(until.as_millisecond()),
        };
    }
    let next = windows.iter().filter_map(|window| window.next(now)).min();
    Opening::Shut {
        opens_ms: next.map_or(i64::MAX, Timestamp::as_millisecond),
    }
}

const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;

/// How long the longest opening is, in a week in which no clock is set; seven days where it never
/// shuts, none without windows. Those of one zone that overlap or adjoin are one; those of
/// different zones count each zone for itself, since their clocks are not set together.
#[must_use]
pub fn longest_opening(windows: &[Window]) -> Option<Duration> {
    let longest = windows.iter().map(|one| {
        let same = windows.iter().filter(|other| other.zone == one.zone);
        longest_of_zone(same)
    });
    let minutes = longest.max()?;
    Some(Duration::from_secs(u64::from(minutes) * 60))
}

fn longest_of_zone<'w>(windows: impl Iterator<Item = &'w Window>) -> u32 {
    // Two weeks, so that what goes on from Sunday to Monday is seen whole.
    let mut spans: Vec<(u32, u32)> = windows
        .flat_map(|window| {
            let length = window.minutes();
            window.days.iter().flat_map(move |day| {
                let begins = *day as u32 * DAY + u32::from(window.from.minutes);
                [begins, begins + WEEK].map(|begins| (begins, begins + length))
            })
        })
        .collect();
    spans.sort_unstable();
    let mut longest = 0;
    let mut opening: Option<(u32, u32)> = None;
    for (begins, ends) in spans {
        let merged = match opening {
            Some((first, last)) if begins <= last => (first, last.max(ends)),
            _ => (begins, ends),
        };
        longest = longest.max(merged.1 - merged.0);
        opening = Some(merged);
    }
    longest.min(WEEK)
}

impl Window {
    /// How long it is open, on a day on which no clock is set: 1 to 1440 minutes.
    fn minutes(&self) -> u32 {
        let (from, to) = (u32::from(self.from.minutes), u32::from(self.to.minutes));
        if to > from {
            to - from
        } else {
            DAY + to - from
        }
    }

    /// When it ends, where it is open.
    fn open_at(&self, now: Timestamp) -> Option<Timestamp> {
        let today = self.zone.date(now);
        // One that began the day before yesterday is open only where a whole day was left out.
        [0, -1, -2]
            .into_iter()
            .filter_map(|days| self.near(today, days))
            .find(|(begins, ends)| *begins <= now && now < *ends)
            .map(|(_, ends)| ends)
    }

    /// When it opens next.
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let today = self.zone.date(now);
        (-1..=AHEAD)
            .filter_map(|days| self.near(today, days))
            .map(|(begins, _)| begins)
            .find(|begins| *begins > now)
    }

    /// When it opens and shuts on a day that is so many days after another.
    fn near(&self, date: Date, days: i32) -> Option<(Timestamp, Timestamp)> {
        let date = date.checked_add(days.days()).ok()?;
        if !self.days.contains(&Day::of(date.weekday())) {
            return None;
        }
        let last = if self.to > self.from {
            date
        } else {
            date.tomorrow().ok()?
        };
        let begins = self.zone.last(self.from.on(date))?;
        let ends = self.zone.first(self.to.on(last))?;
        (begins < ends).then_some((begins, ends))
    }
}

#[cfg(test)]
mod tests;
