//! The clock: CLOCK_BOOTTIME counts while the machine sleeps, and `boot_id` tells one start of the
//! machine from the next.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::host::{Clock, Uptime};

#[derive(Debug)]
pub(super) struct UnixClock {
    factor: f64,
}

impl UnixClock {
    pub(super) fn with_factor(factor: f64) -> Self {
        Self {
            factor: if factor.is_finite() && factor > 1.0 {
                factor
            } else {
                1.0
            },
        }
    }
}

impl Clock for UnixClock {
    fn wall_ms(&self) -> i64 {
        // A clock that stands before 1970 is a clock in error; negative milliseconds say so.
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }

    fn uptime(&self) -> Uptime {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned());
        let since_boot = Duration::new(seconds, nanoseconds);
        Uptime {
            boot,
            since_boot: since_boot.mul_f64(self.factor),
        }
    }

    fn sleep(&self, period: Duration) {
        // This is the one wait of the host; steps wait through it, so that the simulated clock can.
        std::thread::sleep(period.div_f64(self.factor));
    }

    fn pace(&self) -> f64 {
        self.factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_advances_the_uptime_by_its_whole_length_at_any_factor() {
        for factor in [1.0, 60.0] {
            let clock = UnixClock::with_factor(factor);
            let period = Duration::from_millis(20).mul_f64(factor);
            let (wall, before) = (clock.wall_ms(), clock.uptime());
            clock.sleep(period);
            let after = clock.uptime();
            assert_eq!(before.boot, after.boot);
            assert!(after.since_boot >= before.since_boot + period.mul_f64(0.999));
            assert!(clock.wall_ms() - wall < 10_000, "the wall clock stays true");
        }
    }

    #[test]
    fn a_factor_that_makes_no_sense_is_taken_as_one() {
        for factor in [f64::NAN, f64::INFINITY, 0.0, -3.0, 0.5] {
            assert!((UnixClock::with_factor(factor).pace() - 1.0).abs() < f64::EPSILON);
        }
    }
}
