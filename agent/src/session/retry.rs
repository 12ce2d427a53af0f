//! How long to wait before the next attempt.

use std::time::Duration;

/// Full jitter: anything between nothing and a bound that doubles with each failure. A fleet that
/// lost its controller does not come back in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The bound after the first failure.
    pub base: Duration,
    /// The largest bound.
    pub cap: Duration,
    /// A session that stood this long counts as good: the bound begins anew.
    pub good_after: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            good_after: Duration::from_secs(10),
        }
    }
}

impl Retry {
    /// The wait after `failed` failures in a row; `random` is from 0 to 1.
    #[must_use]
    pub fn wait(&self, failed: u32, random: f64) -> Duration {
        let doubled = self.base.saturating_mul(1_u32 << failed.min(20));
        let wait = doubled.min(self.cap).mul_f64(random.clamp(0.0, 1.0));
        Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_jitter_takes_all_of_it() {
        let retry = Retry::default();
        assert_eq!(retry.wait(0, 1.0), Duration::from_millis(500));
        assert_eq!(retry.wait(1, 1.0), Duration::from_secs(1));
        assert_eq!(retry.wait(3, 0.5), Duration::from_secs(2));
        for failed in [6, 20, 31, 32, u32::MAX] {
            assert_eq!(retry.wait(failed, 1.0), Duration::from_secs(30));
            assert_eq!(retry.wait(failed, 0.0), Duration::ZERO);
        }
    }
}
