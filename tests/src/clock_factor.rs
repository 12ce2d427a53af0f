//! How much faster than life the lab's clock runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many seconds of life pass in one second of the lab; 1 is real time. What in life takes
/// 15 minutes takes 15 seconds at a factor of 60.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockFactor(pub u32);

impl ClockFactor {
    /// How long a period of life takes in the lab.
    #[must_use]
    pub fn shorten(self, life: Duration) -> Duration {
        life / self.0.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_an_hour_takes_fifteen_seconds_at_sixty() {
        assert_eq!(
            ClockFactor(60).shorten(Duration::from_secs(900)),
            Duration::from_secs(15)
        );
        assert_eq!(
            ClockFactor(0).shorten(Duration::from_secs(1)),
            Duration::from_secs(1)
        );
    }
}
