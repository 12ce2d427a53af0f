//! Fences: numbers that only grow, by which an agent knows what is old.
//!
//! The controller mints one for each grant of a site's lock, never twice the same and always above every
//! one before. An agent keeps the highest that it has journaled, for each run and over all of them, and
//! judges by these two rules. The lock's side of the protocol is the controller's `lock`; its model
//! explores both together.

/// What came carries a fence that was overtaken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stale {
    /// The fence that came.
    pub came: u64,
    /// The fence that it would have had to reach, or to exceed where it is of a new grant.
    pub known: u64,
}

/// Whether a new grant is taken on: an assignment of a run that the agent does not know, or a release that it
/// does not know. `highest` is the highest fence that the agent has journaled for any run.
///
/// A grant that was refused counts as seen: its fence is journaled before the refusal is said, so that the
/// same grant is not taken on when it comes again, after its lock was given to somebody else.
///
/// # Errors
/// Where another grant was seen since, or this one before.
pub const fn admit(highest: u64, came: u64) -> Result<(), Stale> {
    if came > highest {
        return Ok(());
    }
    Err(Stale {
        came,
        known: highest,
    })
}

/// How far a fence may be above what was seen and still be one that a controller has minted. It mints one for each
/// grant; whoever says more wants every later controller to be taken for an old one.
pub const MOST_AHEAD: u64 = 1 << 32;

/// Whether a controller can have minted this fence after `seen`.
#[must_use]
pub const fn plausible(seen: u64, came: u64) -> bool {
    came <= seen.saturating_add(MOST_AHEAD) && came < i64::MAX.unsigned_abs()
}

/// Whether an order within a grant is obeyed. `current` is the highest fence that the agent has journaled for
/// the run.
///
/// # Errors
/// Where the run was granted anew since.
pub const fn obey(current: u64, came: u64) -> Result<(), Stale> {
    if came >= current {
        return Ok(());
    }
    Err(Stale {
        came,
        known: current,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_grant_is_above_everything_seen_and_an_order_is_not_below_its_run() {
        let stale = |came, known| Err(Stale { came, known });
        assert_eq!((admit(0, 1), admit(7, 8)), (Ok(()), Ok(())));
        assert_eq!((admit(0, 0), admit(7, 7)), (stale(0, 0), stale(7, 7)));
        assert_eq!((obey(7, 7), obey(7, 8)), (Ok(()), Ok(())));
        assert_eq!(obey(7, 6), stale(6, 7));
    }

    #[test]
    fn a_fence_that_nobody_minted_is_not_plausible() {
        assert!(plausible(0, 1) && plausible(7, MOST_AHEAD));
        let last = i64::MAX.unsigned_abs();
        for (seen, came) in [
            (0, u64::MAX),
            (0, MOST_AHEAD + 1),
            (last - 1, last),
            (u64::MAX, u64::MAX),
        ] {
            assert!(!plausible(seen, came), "{came} after {seen}");
        }
    }
}
