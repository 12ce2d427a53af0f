//! After a start of the machine: a mail service that starts with it may have sent again what it had sent
//! when the power went, before the agent could look. What the logs show of that is named, for the first
//! hour, as it appears.
//!
//! What the agent itself held is safe from this: it is not in the queue. A power loss may have taken the last
//! lines of the logs too, so the list may be short, and says so.

use std::sync::{Arc, Mutex, PoisonError};

use crate::journal::JournalError;
use crate::sent_again::{LOOKED_AFTER, Looks, Words};
use crate::station::Station;

const WORDS: Words = Words {
    duty: "power-loss",
    why: "the machine started",
    since: "`MSExchangeIMC` began to send when the machine started, before this agent could look; the last \
            lines of the logs before that may be lost, so there may be more",
};

/// Looks for what was sent again.
pub(crate) struct PowerLoss {
    station: Arc<Station>,
    looks: Mutex<Looks>,
}

impl PowerLoss {
    pub(crate) fn new(station: Arc<Station>) -> Self {
        Self {
            station,
            looks: Mutex::new(Looks::new()),
        }
    }

    /// Looks once where it is time to.
    ///
    /// # Errors
    /// Where nothing can be written down.
    pub(crate) fn look(&self) -> Result<(), JournalError> {
        let now = self.station.now().since_boot;
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        if now > LOOKED_AFTER || !looks.due(now) {
            return Ok(());
        }
        let clock = self.station.host.clock();
        let up_ms = now.div_f64(clock.pace()).as_millis();
        let started_ms = clock
            .wall_ms()
            .saturating_sub(i64::try_from(up_ms).unwrap_or(i64::MAX));
        looks.look(&self.station, now, started_ms, &WORDS)
    }
}
