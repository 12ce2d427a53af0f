//! How often a caller may call, so that one that runs wild leaves room for the others.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::Named;

/// Callers that have been quiet for long are forgotten each time that so many calls were counted.
const FORGET_EVERY: u32 = 4096;

/// A steady rate, and how many calls may come at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Calls a second.
    pub per_second: NonZeroU32,
    /// At once, at most.
    pub burst: NonZeroU32,
}

impl Rate {
    /// A rate; what is 0 counts as 1.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        const fn some(number: u32) -> NonZeroU32 {
            match NonZeroU32::new(number) {
                Some(number) => number,
                None => NonZeroU32::MIN,
            }
        }
        Self {
            per_second: some(per_second),
            burst: some(burst),
        }
    }

    const fn quota(self) -> Quota {
        Quota::per_second(self.per_second).allow_burst(self.burst)
    }
}

/// Counts the calls of each name, and of each address where there is no name.
#[derive(Debug)]
pub struct Rates {
    named: DefaultKeyedRateLimiter<Named>,
    anonymous: DefaultKeyedRateLimiter<IpAddr>,
    counted: AtomicU32,
}

impl Rates {
    /// Counters for callers with a certificate, and for those without.
    #[must_use]
    pub fn new(named: Rate, anonymous: Rate) -> Self {
        Self {
            named: RateLimiter::keyed(named.quota()),
            anonymous: RateLimiter::keyed(anonymous.quota()),
            counted: AtomicU32::new(0),
        }
    }

    /// Whether this call is still within the rate of its caller; it is counted then.
    #[must_use]
    pub fn allow(&self, whom: Option<&Named>, from: IpAddr) -> bool {
        if self
            .counted
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(FORGET_EVERY)
        {
            self.named.retain_recent();
            self.anonymous.retain_recent();
        }
        match whom {
            Some(whom) => self.named.check_key(whom).is_ok(),
            None => self.anonymous.check_key(&from).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_that_runs_wild_leaves_room_for_the_others() {
        let rates = Rates::new(Rate::new(1, 3), Rate::new(1, 2));
        let here: IpAddr = [127, 0, 0, 1].into();
        let agent = |name: &str| Named::Agent(name.parse().unwrap());
        let allowed = |whom: Option<Named>, from| {
            (0..10).filter(|_| rates.allow(whom.as_ref(), from)).count()
        };
        assert_eq!(allowed(Some(agent("SRVB")), here), 3);
        assert_eq!(allowed(Some(agent("SRVC")), here), 3);
        assert_eq!(allowed(None, here), 2);
        assert_eq!(allowed(None, [127, 0, 0, 2].into()), 2);
    }
}
