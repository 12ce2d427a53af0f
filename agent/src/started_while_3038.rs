//! After a start of the mail service while event 3038 stood: whoever started it, and if only because it had
//! died, it sends again what it had sent and could not remove (Q296879). Nothing can be prevented then; what
//! the logs show of it is named, for an hour, as it appears.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::evidence::event_log::{IMS, NOT_REMOVED, STARTED};
use crate::journal::JournalError;
use crate::sent_again::{LOOKED_AFTER, Looks, Words};
use crate::station::Station;

/// How often the event log is asked for a new start, in uptime.
const ASKED_EVERY: Duration = Duration::from_secs(30);

const WORDS: Words = Words {
    duty: "started-while-3038",
    why: "the mail service started while event 3038 stood",
    since: "`MSExchangeIMC` was started while event 3038 stood: it sends again what it had sent and could not \
            remove",
};

/// Looks for what was sent again.
pub(crate) struct StartedWhile3038 {
    station: Arc<Station>,
    watched: Mutex<Watched>,
}

struct Watched {
    asked: Duration,
    /// The last start that 3038 stood before, when it was seen, and the looks after it.
    start: Option<(i64, Duration, Looks)>,
}

impl StartedWhile3038 {
    pub(crate) fn new(station: Arc<Station>) -> Self {
        let watched = Watched {
            asked: Duration::ZERO,
            start: None,
        };
        Self {
            station,
            watched: Mutex::new(watched),
        }
    }

    /// Looks once where it is time to.
    ///
    /// # Errors
    /// Where nothing can be written down.
    pub(crate) fn look(&self) -> Result<(), JournalError> {
        let now = self.station.now().since_boot;
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= watched.asked {
            watched.asked = now + ASKED_EVERY;
            let at_ms = self.start_while_3038();
            let known = watched.start.as_ref().map(|(known, ..)| *known);
            if let Some(at_ms) = at_ms.filter(|at_ms| Some(*at_ms) != known) {
                watched.start = Some((at_ms, now, Looks::new()));
            }
        }
        match &mut watched.start {
            Some((at_ms, seen, looks))
                if now.saturating_sub(*seen) <= LOOKED_AFTER && looks.due(now) =>
            {
                looks.look(&self.station, now, *at_ms, &WORDS)
            }
            _ => Ok(()),
        }
    }

    /// When the service last started, where that is within the time that is looked at and 3038 stood then.
    /// A log that cannot be read is told by what needs it.
    fn start_while_3038(&self) -> Option<i64> {
        let clock = self.station.host.clock();
        let looked = LOOKED_AFTER.div_f64(clock.pace()).as_millis();
        let since_ms = clock
            .wall_ms()
            .saturating_sub(i64::try_from(looked).unwrap_or(i64::MAX));
        let events = self.station.host.events().read(IMS, i64::MIN).ok()?;
        let mut starts = events.iter().rev().filter(|event| event.id == STARTED);
        let last = starts.next().filter(|last| last.at_ms >= since_ms)?;
        let before_ms = starts.next().map_or(i64::MIN, |before| before.at_ms);
        let stood = events.iter().any(|event| {
            event.id == NOT_REMOVED && (before_ms..=last.at_ms).contains(&event.at_ms)
        });
        stood.then_some(last.at_ms)
    }
}
