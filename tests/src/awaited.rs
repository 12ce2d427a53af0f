//! Conditions in other processes that have to come about.

use std::time::{Duration, Instant};

use crate::lab_error::LabError;

/// The time between two looks. Nothing announces what happens in another process, so it is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Looks until the condition holds; returns how long that took, `None` where `limit` passed first.
pub fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> Option<Duration> {
    let begun = Instant::now();
    loop {
        if holds() {
            return Some(begun.elapsed());
        }
        if begun.elapsed() >= limit {
            return None;
        }
        // Other processes are awaited, and they tell nothing.
        std::thread::sleep(LOOK);
    }
}

/// As [`until`], with an error that says what was awaited.
///
/// # Errors
/// Where `limit` passed first.
pub fn or_fail(
    awaited: &str,
    limit: Duration,
    holds: impl FnMut() -> bool,
) -> Result<Duration, LabError> {
    until(limit, holds).ok_or_else(|| LabError::TimedOut {
        awaited: awaited.to_owned(),
        waited: limit,
    })
}
