//! After a start of the machine: a mail service that starts with it may have sent again what it had sent
//! when the power went, before the agent could look. What the logs show of that is named, for the first
//! hour, as it appears.
//!
//! What the agent itself held is safe from this: it is not in the queue. A power loss may have taken the last
//! lines of the logs too, so the list may be short, and says so.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mailmend_proto::run::{Ended, Event, RunId};
use uuid::Uuid;

use crate::evidence::sent_again::sent_again;
use crate::faults::known;
use crate::journal::JournalError;
use crate::queue::MAIL_SERVICE;
use crate::station::Station;

/// How long after a start of the machine the logs are looked at.
const LOOKED_AFTER: Duration = Duration::from_secs(3600);
/// The time between two looks: the first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const MOST_PAUSE: Duration = Duration::from_secs(600);
/// How far back a message may have been sent before, in milliseconds: tracking logs are kept a week.
const BACK_MS: i64 = 7 * 86_400_000;
/// The most messages that one alarm names.
const NAMED: usize = 20;

/// Looks for what was sent again.
pub(crate) struct PowerLoss {
    station: Arc<Station>,
    looks: Mutex<Looks>,
}

struct Looks {
    next: Duration,
    pause: Duration,
    told: BTreeSet<String>,
}

impl PowerLoss {
    pub(crate) fn new(station: Arc<Station>) -> Self {
        let looks = Looks {
            next: Duration::ZERO,
            pause: FIRST_PAUSE,
            told: BTreeSet::new(),
        };
        Self {
            station,
            looks: Mutex::new(looks),
        }
    }

    /// Looks once where it is time to.
    ///
    /// # Errors
    /// Where nothing can be written down.
    pub(crate) fn look(&self) -> Result<(), JournalError> {
        let now = self.station.now().since_boot;
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        if now > LOOKED_AFTER || now < looks.next {
            return Ok(());
        }
        let Ok(service) = MAIL_SERVICE.parse() else {
            return Ok(());
        };
        let clock = self.station.host.clock();
        let up_ms = now.div_f64(clock.pace()).as_millis();
        let started_ms = clock
            .wall_ms()
            .saturating_sub(i64::try_from(up_ms).unwrap_or(i64::MAX));
        let host = self.station.host.as_ref();
        let (found, gap) = sent_again(host, started_ms.saturating_sub(BACK_MS), started_ms);
        looks.next = now + looks.pause;
        looks.pause = (looks.pause * 2).min(MOST_PAUSE);
        let new = found
            .into_iter()
            .filter(|one| !looks.told.contains(&one.message));
        let new: Vec<_> = new.collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut text = format!(
            "{} messages may have been delivered twice, since `{service}` began to send when the machine \
             started, before this agent could look; the last lines of the logs before that may be lost, so \
             there may be more",
            new.len()
        );
        if let Some(gap) = gap {
            text = format!("{text} ({gap})");
        }
        for one in new.iter().take(NAMED) {
            text = format!("{text}; {}: {}", one.message, one.evidence.join(", then "));
        }
        if new.len() > NAMED {
            text = format!("{text}; and {} more", new.len() - NAMED);
        }
        tracing::error!("A110-sent-again: {text}");
        let run = RunId(Uuid::now_v7());
        let why = "the machine started".to_owned();
        let duty = "power-loss".to_owned();
        let events = vec![
            Event::DutyBegan { duty, service, why },
            Event::Alarm {
                code: const { known("A110-sent-again") }.into(),
                text: text.clone(),
            },
            Event::Closed {
                how: Ended::Committed,
                detail: text,
            },
        ];
        self.station.record(run, events)?;
        looks.told.extend(new.into_iter().map(|one| one.message));
        Ok(())
    }
}
