//! How long a service was away, and how often it was started, from its manager's own history.

use std::time::Duration;

use crate::service_manager::{Change, State};

/// What a service went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outages {
    /// How often it came up again after its first start.
    pub restarts: usize,
    /// The longest time without it, up to now.
    pub longest: Duration,
    /// How often it stopped without having been asked to.
    pub deaths: usize,
}

impl Outages {
    /// Reads a service's history, oldest first.
    #[must_use]
    pub fn of(history: &[Change], service: &str, now_ms: i64) -> Self {
        let mut outages = Self::default();
        let mut starts = 0_usize;
        let mut gone_since: Option<i64> = None;
        let longest = |outages: &mut Self, since: i64, until: i64| {
            let away = Duration::from_millis(u64::try_from(until - since).unwrap_or_default());
            outages.longest = outages.longest.max(away);
        };
        let mut last = State::Stopped;
        for change in history.iter().filter(|change| change.service == service) {
            let died = change.state == State::Stopped && last != State::Stopping;
            outages.deaths += usize::from(died);
            last = change.state;
            match (change.state, gone_since) {
                (State::Running, since) => {
                    starts += 1;
                    if let Some(since) = since {
                        longest(&mut outages, since, change.at_ms);
                    }
                    gone_since = None;
                }
                // Before its first start it was not away.
                (_, None) if starts > 0 => gone_since = Some(change.at_ms),
                _ => {}
            }
        }
        if let Some(since) = gone_since {
            longest(&mut outages, since, now_ms);
        }
        outages.restarts = starts.saturating_sub(1);
        outages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(changes: &[(i64, State)]) -> Vec<Change> {
        let change = |&(at_ms, state)| Change {
            at_ms,
            service: "MSExchangeIMC".to_owned(),
            state,
            exit_code: None,
        };
        changes.iter().map(change).collect()
    }

    fn outages(changes: &[(i64, State)]) -> (usize, u128) {
        let outages = Outages::of(&history(changes), "MSExchangeIMC", 10_000);
        (outages.restarts, outages.longest.as_millis())
    }

    #[test]
    fn an_outage_lasts_from_the_request_to_stop_until_it_runs_again() {
        use State::{Running, Starting, Stopped, Stopping};
        let first = [(0, Starting), (50, Running)];
        assert_eq!(outages(&first), (0, 0), "the first start is no outage");
        let again = [
            (100, Stopping),
            (150, Stopped),
            (300, Starting),
            (350, Running),
            (900, Stopped),
        ];
        let twice = [
            first.as_slice(),
            &again,
            &[(1_000, Starting), (1_100, Running)],
        ]
        .concat();
        assert_eq!(outages(&twice), (2, 250));
    }

    #[test]
    fn a_service_that_is_away_now_has_been_away_until_now() {
        use State::{Running, Stopped};
        assert_eq!(outages(&[(0, Running), (4_000, Stopped)]), (0, 6_000));
        let other = history(&[(0, Running), (4_000, Stopped)]);
        assert_eq!(
            Outages::of(&other, "MSExchangeMTA", 10_000),
            Outages::default()
        );
    }
}
