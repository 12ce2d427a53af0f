//! How fast the agent's time runs against the machine's, and what the machine's wall clock reads.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How many times faster the uptime runs than the wall clock: 1 outside the lab, never less.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace(f64);

impl Pace {
    /// A factor that makes no sense is 1.
    pub(super) fn of(factor: f64) -> Self {
        if factor.is_finite() && factor > 1.0 {
            Self(factor)
        } else {
            Self(1.0)
        }
    }

    pub(super) const fn factor(self) -> f64 {
        self.0
    }

    /// How much of the agent's time passes in that time of the machine's.
    pub(super) fn passed(self, on_the_machine: Duration) -> Duration {
        on_the_machine.mul_f64(self.0)
    }

    /// How long the machine needs for that time of the agent's.
    pub(super) fn needed(self, period: Duration) -> Duration {
        period.div_f64(self.0)
    }
}

/// What the machine's wall clock reads, in milliseconds since 1970 UTC.
pub(super) fn wall_ms() -> i64 {
    // A clock that stands before 1970 is a clock in error; negative milliseconds say so.
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_that_makes_no_sense_is_taken_as_one() {
        for factor in [f64::NAN, f64::INFINITY, 0.0, -3.0, 0.5] {
            assert_eq!(Pace::of(factor), Pace(1.0), "{factor}");
        }
        assert_eq!(Pace::of(60.0), Pace(60.0));
    }

    #[test]
    fn an_hour_of_the_agent_is_a_minute_of_the_machine_at_sixty() {
        let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));
        assert_eq!(Pace::of(60.0).needed(hour), minute);
        assert_eq!(Pace::of(60.0).passed(minute), hour);
    }
}
