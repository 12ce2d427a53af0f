//! How much of the guard's hourly allowance of restarts, sections, tool calls and messages set aside is used up.
//!
//! Tool calls have no record of their own: those of an earlier process are not counted. No controller can end one.
//!
//! What this process did is counted on the monotonic clock. What an earlier one did is known by the
//! wall clock of its records only: a record counts while it is less than an hour away, in either
//! direction, so that a clock that jumped forgives at most one hour's worth and never freezes the agent.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mailmend_proto::run::{Event, Record, ServiceChange};

use crate::host::Clock;

const HOUR: Duration = Duration::from_secs(3600);

/// Restarts, sections, tool calls and messages set aside, when they were.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    used: Mutex<Vec<Used>>,
}

#[derive(Debug, Clone, Copy)]
struct Used {
    what: What,
    at_ms: i64,
    since_boot: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Restart,
    Section,
    Immunized,
    Tool,
}

impl Allowance {
    /// Counts a record where it is one that counts; `since_boot` when this process wrote it.
    pub(crate) fn note(&self, record: &Record, since_boot: Option<Duration>) {
        let what = match record.event {
            Event::ServiceChanged {
                change: ServiceChange::StartIntended,
                ..
            } => What::Restart,
            Event::SectionBegan { .. } => What::Section,
            Event::Immunized { .. } => What::Immunized,
            _ => return,
        };
        let times = match &record.event {
            Event::Immunized { entries, .. } => entries.len(),
            _ => 1,
        };
        let used = Used {
            what,
            at_ms: record.at_ms,
            since_boot,
        };
        let mut all = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(std::iter::repeat_n(used, times));
    }

    /// Counts a call of a tool, unless `most` of them were made within an hour; how many there were.
    ///
    /// # Errors
    /// How many there were, where that is `most` or more.
    pub(crate) fn call_tool(&self, clock: &dyn Clock, most: u32) -> Result<u32, u32> {
        let before = self.count(What::Tool, clock);
        if before >= most {
            return Err(before);
        }
        let used = Used {
            what: What::Tool,
            at_ms: clock.wall_ms(),
            since_boot: Some(clock.uptime().since_boot),
        };
        let mut all = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(used);
        Ok(before)
    }

    pub(crate) fn restarts(&self, clock: &dyn Clock) -> u32 {
        self.count(What::Restart, clock)
    }

    pub(crate) fn sections(&self, clock: &dyn Clock) -> u32 {
        self.count(What::Section, clock)
    }

    /// Messages that were set aside because of a fingerprint.
    pub(crate) fn immunized(&self, clock: &dyn Clock) -> u32 {
        self.count(What::Immunized, clock)
    }

    fn count(&self, what: What, clock: &dyn Clock) -> u32 {
        let (wall, now) = (clock.wall_ms(), clock.uptime().since_boot);
        let mut all = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // What is past stays past on the monotonic clock; by the wall clock it may come back.
        all.retain(|used| {
            used.since_boot
                .is_none_or(|then| now.saturating_sub(then) < HOUR)
        });
        let recent = |used: &&Used| match used.since_boot {
            Some(_) => true,
            None => {
                let apart = Duration::from_millis(wall.abs_diff(used.at_ms));
                apart.mul_f64(clock.pace()) < HOUR
            }
        };
        let count = all
            .iter()
            .filter(|used| used.what == what)
            .filter(recent)
            .count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}
