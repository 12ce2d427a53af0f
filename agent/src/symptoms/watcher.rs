//! The watcher: looks at an interval, on a thread of its own, and never waits for a run nor a run for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::disturbed::disturbed;
use super::look::look;
use super::watchlist::Watchlist;
use super::{Seen, after};
use crate::journal::JournalError;
use crate::station::Station;

/// The most of the time that looking may take: after a look the watcher rests at least nine times as
/// long as the look took.
const REST: u32 = 9;

/// How often, between two looks, the watcher sees whether there is a reason to look at once, in uptime.
const GLANCE: Duration = Duration::from_secs(2);

/// Looks for symptoms.
pub struct Watcher {
    station: Arc<Station>,
    watchlist: Arc<Watchlist>,
    every: Duration,
    seen: watch::Sender<Seen>,
}

impl Watcher {
    /// A watcher that looks each `every` of uptime.
    #[must_use]
    pub fn new(station: Arc<Station>, watchlist: Arc<Watchlist>, every: Duration) -> Self {
        Self {
            station,
            watchlist,
            every,
            seen: watch::Sender::default(),
        }
    }

    /// What each look sees.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Looks once.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub fn look(&self) -> Result<(), JournalError> {
        let station = &self.station;
        // Before looking: what is journaled from here on may not be seen.
        let head = station.journal.head();
        let before = disturbed(&station.journal)?;
        let watching = self.watchlist.now();
        let mut judged = look(
            station.host.as_ref(),
            &station.facts(),
            &watching,
            before.as_deref(),
        );
        // A run that began to disturb while we looked spoils the look.
        if before.is_none()
            && let Some(why) = disturbed(&station.journal)?
        {
            for judged in &mut judged {
                judged.standing = super::Standing::CannotTell;
                judged.evidence = vec![why.clone()];
            }
        }
        let now_ms = station.host.clock().wall_ms();
        self.seen.send_modify(|seen| {
            *seen = Seen {
                symptoms: after(&seen.symptoms, judged, now_ms),
                head,
                looked_ms: now_ms,
            };
        });
        Ok(())
    }

    /// Looks again and again, until the station stops.
    pub fn run(&self) {
        while !self.station.stopping() {
            let began = self.station.now().since_boot;
            let (list, run) = self.reasons();
            match catch_unwind(AssertUnwindSafe(|| self.look())) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!("could not look for symptoms: {error}"),
                Err(_) => {
                    tracing::error!("looking for symptoms ended in a defect; please report it");
                }
            }
            let now = self.station.now().since_boot;
            let rest = pause_after(now.saturating_sub(began), self.every);
            // A new list, and a run that begins or ceases to disturb, are reasons not to wait.
            let reason = || Ok((self.reasons() != (list, run)).then_some(()));
            // Interrupted only by the shutdown that ends the loop.
            let _ = self.station.wait_for(now + rest, GLANCE.min(rest), reason);
        }
    }

    fn reasons(&self) -> (u64, bool) {
        let run = disturbed(&self.station.journal).is_ok_and(|why| why.is_some());
        (self.watchlist.now().number, run)
    }
}

/// How long to rest after a look that took so long.
pub(crate) fn pause_after(took: Duration, every: Duration) -> Duration {
    every.max(took.saturating_mul(REST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_takes_long_is_followed_by_a_longer_rest() {
        let minute = Duration::from_secs(60);
        assert_eq!(pause_after(Duration::from_millis(200), minute), minute);
        assert_eq!(
            pause_after(Duration::from_secs(20), minute),
            Duration::from_secs(180)
        );
    }
}
