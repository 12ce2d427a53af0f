//! A number of things, or a part of all of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of things, or a percentage of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Share {
    /// That many.
    Count(u32),
    /// That part of all, 0 to 100.
    Percent(u32),
}

/// A text that is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither a number nor a percentage: write such as `1 site`, `12 sites`, `3` or `10%`"
)]
pub struct NotAShare(pub String);

impl Share {
    /// How many of `all` that is, a part rounded down.
    #[must_use]
    pub fn floor_of(self, all: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => part(percent, all, 0),
        }
    }

    /// How many of `all` that is, a part rounded up.
    #[must_use]
    pub fn ceil_of(self, all: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => part(percent, all, 99),
        }
    }
}

fn part(percent: u32, all: u32, up: u64) -> u32 {
    let part = (u64::from(percent) * u64::from(all) + up) / 100;
    u32::try_from(part).unwrap_or(u32::MAX)
}

impl FromStr for Share {
    type Err = NotAShare;

    fn from_str(text: &str) -> Result<Self, NotAShare> {
        let fault = || NotAShare(text.to_owned());
        let number = |digits: &str| {
            // A leading zero or a sign would be a second way to write the same number.
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit())
                && (digits == "0" || !digits.starts_with('0'));
            digits.parse::<u32>().ok().filter(|_| plain)
        };
        if let Some(percent) = text.strip_suffix('%') {
            let percent = number(percent).filter(|percent| *percent <= 100);
            return percent.map(Self::Percent).ok_or_else(fault);
        }
        let digits = match text.strip_suffix(" site") {
            Some("1") => "1",
            Some(_) => return Err(fault()),
            None => match text.strip_suffix(" sites") {
                Some("1") => return Err(fault()),
                Some(digits) => digits,
                None => text,
            },
        };
        number(digits).map(Self::Count).ok_or_else(fault)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl TryFrom<String> for Share {
    type Error = NotAShare;

    fn try_from(text: String) -> Result<Self, NotAShare> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}
