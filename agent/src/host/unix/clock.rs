//! The clock: CLOCK_BOOTTIME counts while the machine sleeps, and `boot_id` tells one start of the
//! machine from the next.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::host::pace::{Pace, wall_ms};
use crate::host::{Clock, Uptime};

#[derive(Debug)]
pub(super) struct UnixClock {
    pace: Pace,
}

impl UnixClock {
    pub(super) fn with_factor(factor: f64) -> Self {
        Self {
            pace: Pace::of(factor),
        }
    }
}

impl Clock for UnixClock {
    fn wall_ms(&self) -> i64 {
        wall_ms()
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
            since_boot: self.pace.passed(since_boot),
        }
    }

    fn sleep(&self, period: Duration) {
        // This is the one wait of the host; steps wait through it, so that the simulated clock can.
        std::thread::sleep(self.pace.needed(period));
    }

    fn pace(&self) -> f64 {
        self.pace.factor()
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
}
