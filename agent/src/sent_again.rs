//! The looks for what was sent before a moment and again after it: more and more seldom for an hour, each
//! message told once.

use std::collections::BTreeSet;
use std::time::Duration;

use mailmend_policy::name::ServiceName;
use mailmend_proto::run::{Ended, Event, RunId};

use crate::evidence::sent_again::sent_again;
use crate::faults::known;
use crate::journal::JournalError;
use crate::queue::MAIL_SERVICE;
use crate::station::Station;

/// How long after the moment the logs are looked at.
pub(crate) const LOOKED_AFTER: Duration = Duration::from_secs(3600);
/// The time between two looks: the first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const MOST_PAUSE: Duration = Duration::from_secs(600);
/// How far back a message may have been sent before, in milliseconds: tracking logs are kept a week.
const BACK_MS: i64 = 7 * 86_400_000;
/// The most messages that one alarm names; as many alarms are raised as it takes to name each.
const NAMED: usize = 20;

/// What the alarm says beside the messages.
pub(crate) struct Words {
    /// The duty in the journal.
    pub(crate) duty: &'static str,
    /// Why it began.
    pub(crate) why: &'static str,
    /// Since when, after "may have been delivered twice, since".
    pub(crate) since: &'static str,
}

/// The looks after one moment.
pub(crate) struct Looks {
    next: Duration,
    pause: Duration,
    told: BTreeSet<String>,
}

impl Looks {
    /// The first is due at once, by uptime.
    pub(crate) const fn new() -> Self {
        Self {
            next: Duration::ZERO,
            pause: FIRST_PAUSE,
            told: BTreeSet::new(),
        }
    }

    /// Whether a look is due, by uptime.
    pub(crate) fn due(&self, now: Duration) -> bool {
        now >= self.next
    }

    /// Looks once, and tells what is new: sent, or begun, before `boundary_ms` and again after it.
    ///
    /// # Errors
    /// Where nothing can be written down; it is told at the next look then.
    pub(crate) fn look(
        &mut self,
        station: &Station,
        now: Duration,
        boundary_ms: i64,
        words: &Words,
    ) -> Result<(), JournalError> {
        let Ok(service) = MAIL_SERVICE.parse::<ServiceName>() else {
            return Ok(());
        };
        let host = station.host.as_ref();
        let (found, gap) = sent_again(host, boundary_ms.saturating_sub(BACK_MS), boundary_ms);
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(MOST_PAUSE);
        let new: Vec<_> = found
            .into_iter()
            .filter(|one| !self.told.contains(&one.message))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let more = gap.map_or_else(String::new, |gap| format!(" ({gap})"));
        let text = format!(
            "{} messages may have been delivered twice, since {}{more}",
            new.len(),
            words.since
        );
        let mut events = vec![Event::DutyBegan {
            duty: words.duty.to_owned(),
            service,
            why: words.why.to_owned(),
        }];
        events.extend(new.chunks(NAMED).map(|some| {
            let named = some
                .iter()
                .map(|one| format!("{}: {}", one.message, one.evidence.join(", then ")));
            let text = format!("{text}; {}", named.collect::<Vec<_>>().join("; "));
            tracing::error!("A110-sent-again: {text}");
            let code = const { known("A110-sent-again") }.into();
            Event::Alarm { code, text }
        }));
        events.push(Event::Closed {
            how: Ended::Committed,
            detail: text,
        });
        station.record(RunId(host.clock().unique()), events)?;
        self.told.extend(new.into_iter().map(|one| one.message));
        Ok(())
    }
}
