//! Time zones by name, from the database in the program: controller, simulation and check agree whatever
//! the machine has.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

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

impl NoZone {
    /// The names of zones that are most like it, nearest first; at most three.
    #[must_use]
    pub fn near(&self) -> Vec<String> {
        let given = self.0.trim().replace(' ', "_").to_lowercase();
        // The distance is quadratic in the length.
        if given.is_empty() || given.len() > 64 {
            return Vec::new();
        }
        let mut near: Vec<(usize, String)> = TimeZoneDatabase::bundled()
            .available()
            .filter_map(|name| {
                let name = name.as_str();
                let known = name.to_lowercase();
                let place = known.rsplit('/').next().unwrap_or_default();
                let whole = strsim::damerau_levenshtein(&given, &known);
                // Who writes only the place means the zone of that place.
                let distance = whole.min(strsim::damerau_levenshtein(&given, place) + 1);
                (distance <= (given.len() / 4).max(1)).then(|| (distance, name.to_owned()))
            })
            .collect();
        near.sort_unstable();
        near.into_iter().map(|(_, name)| name).take(3).collect()
    }
}

impl FromStr for Zone {
    type Err = NoZone;

    fn from_str(text: &str) -> Result<Self, NoZone> {
        // The database keeps each zone that was read once, so this is a look into a list.
        TimeZoneDatabase::bundled()
            .get(text)
            .ok()
            // It answers without regard to case; there is one way to write each zone.
            .filter(|zone| zone.iana_name() == Some(text) && !zone.is_unknown())
            .map(Self)
            .ok_or_else(|| NoZone(text.to_owned()))
    }
}

impl Zone {
    /// The local date at a time.
    pub(super) fn date(&self, now: Timestamp) -> Date {
        self.0.to_datetime(now).date()
    }

    /// When the local time is that for the first time; where a gap leaves it out, when the gap is.
    pub(super) fn first(&self, local: DateTime) -> Option<Timestamp> {
        match self.0.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset }
            | AmbiguousOffset::Fold { before: offset, .. } => offset.to_timestamp(local).ok(),
            AmbiguousOffset::Gap { after, .. } => self.gap(after.to_timestamp(local).ok()?),
        }
    }

    /// When the local time is that for the last time; where a gap leaves it out, when the gap is.
    pub(super) fn last(&self, local: DateTime) -> Option<Timestamp> {
        match self.0.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset }
            | AmbiguousOffset::Fold { after: offset, .. } => offset.to_timestamp(local).ok(),
            AmbiguousOffset::Gap { after, .. } => self.gap(after.to_timestamp(local).ok()?),
        }
    }

    /// When a clock is set forward, after a time shortly before.
    fn gap(&self, shortly_before: Timestamp) -> Option<Timestamp> {
        let offset = self.0.to_offset(shortly_before);
        self.0
            .following(shortly_before)
            .find(|change| change.offset() != offset)
            .map(|change| change.timestamp())
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
