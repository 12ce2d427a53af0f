//! `queue.settle`: wait for evidence that what was replayed has been delivered, and settle each message.

use std::time::Duration;

use mailmend_policy::name::StepId;
use mailmend_proto::run::{BatchId, Event, RunId};

use super::queue_quarantine::ended;
use super::queue_replay::held_by;
use super::{StepEnd, StepResult, Trouble, Work};
use crate::custody::settle::{Settling, settle};
use crate::custody::{CustodyError, Desk, Records};
use crate::faults::known;
use crate::station::Station;

/// The time between two looks at the logs: from the first to the second, and at most.
const FIRST_POLL: Duration = Duration::from_secs(2);
const MOST_POLL: Duration = Duration::from_secs(30);

/// How long the logs may lag behind a message that has left the queue.
const GRACE: Duration = Duration::from_secs(60);

pub(super) fn apply(work: &Work<'_>, of: &StepId) -> StepResult {
    let batches = match held_by(work, of)? {
        Ok((_, batches)) => batches,
        Err(why) => return Ok(StepEnd::no_effect(why)),
    };
    match await_evidence(work.station, work.run, &batches, work.until)? {
        Ok(sum) if sum.is_over() => over(work, sum),
        Ok(sum) => Ok(StepEnd::no_effect(format!(
            "A061-condition-not-met: {} messages still wait in the queue, {} were delivered, {} are in doubt",
            sum.waiting, sum.delivered, sum.in_doubt
        ))),
        Err(error) => ended(error),
    }
}

/// Settles what was given back of these batches as evidence appears, until nothing is left to wait for or
/// `until` (uptime) has passed. What left the queue and is not proven within a minute, or when the time is
/// over, is in doubt then.
///
/// # Errors
/// Where nothing can be written down, or the agent shuts down; in the inner one where custody fails.
pub(crate) fn await_evidence(
    station: &Station,
    run: RunId,
    batches: &[BatchId],
    until: Duration,
) -> Result<Result<Settling, CustodyError>, Trouble> {
    let desk = Desk {
        host: station.host.as_ref(),
        journal: &station.journal,
        run,
    };
    let records = Records(desk.host);
    let mut pause = FIRST_POLL;
    let mut unproven_since = None;
    loop {
        let now = station.now().since_boot;
        let time_over = now >= until;
        let grace_over = unproven_since.is_some_and(|since| now >= since + GRACE) || time_over;
        let mut sum = Settling::default();
        {
            // The watchdog may set mail aside meanwhile; one of us at a time.
            let _alone = station.disturb();
            for batch in batches {
                match settle(&desk, *batch, &records, grace_over) {
                    Ok(settling) => sum.add(settling),
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        if sum.is_over() || time_over {
            return Ok(Ok(sum));
        }
        unproven_since = if sum.waiting == 0 {
            Some(unproven_since.unwrap_or(now))
        } else {
            None
        };
        let next = (now + pause).min(until);
        station.wait_for(next, pause, || Ok(None::<()>))?;
        pause = (pause * 3 / 2).min(MOST_POLL);
    }
}

/// Service goes on also where messages are in doubt: a person settles them later, and is called.
fn over(work: &Work<'_>, sum: Settling) -> StepResult {
    let mut detail = format!("{} messages were delivered, by evidence", sum.delivered);
    if sum.in_doubt > 0 {
        let text = format!(
            "{} messages may have been delivered and nothing proves it",
            sum.in_doubt
        );
        detail = format!("{detail}; {text}");
        let code = const { known("A069-in-doubt") }.into();
        work.record(vec![Event::Alarm { code, text }])?;
    }
    Ok(StepEnd::done(detail))
}
