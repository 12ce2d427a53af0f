//! `queue.settle`: wait for evidence that what was replayed has been delivered, and settle each message.

use std::time::Duration;

use mailmend_policy::name::StepId;
use mailmend_proto::run::Event;

use super::queue_quarantine::ended;
use super::queue_replay::held_by;
use super::{StepEnd, StepResult, Work};
use crate::custody::settle::{Settling, settle};
use crate::faults::known;

/// The time between two looks at the logs: from the first to the second, and at most.
const FIRST_POLL: Duration = Duration::from_secs(2);
const MOST_POLL: Duration = Duration::from_secs(30);

/// How long the logs may lag behind a message that has left the queue.
const GRACE: Duration = Duration::from_secs(60);

pub(super) fn apply(work: &Work<'_>, of: &StepId) -> StepResult {
    let (care, batches) = match held_by(work, of)? {
        Ok(found) => found,
        Err(why) => return Ok(StepEnd::no_effect(why)),
    };
    let mut pause = FIRST_POLL;
    let mut unproven_since = None;
    loop {
        let now = work.station.now().since_boot;
        let time_over = now >= work.until;
        let grace_over = unproven_since.is_some_and(|since| now >= since + GRACE) || time_over;
        let mut sum = Settling::default();
        {
            // The watchdog may set mail aside meanwhile; one of us at a time.
            let _alone = work.station.disturb();
            for batch in &batches {
                match settle(&care.desk(), *batch, &care.records(), grace_over) {
                    Ok(settling) => {
                        sum.delivered += settling.delivered;
                        sum.waiting += settling.waiting;
                        sum.unproven += settling.unproven;
                        sum.in_doubt += settling.in_doubt;
                    }
                    Err(error) => return ended(error),
                }
            }
        }
        if sum.is_over() {
            return over(work, sum);
        }
        if time_over {
            return Ok(StepEnd::no_effect(format!(
                "A061-condition-not-met: {} messages still wait in the queue, {} were delivered, {} are in doubt",
                sum.waiting, sum.delivered, sum.in_doubt
            )));
        }
        unproven_since = if sum.waiting == 0 {
            Some(unproven_since.unwrap_or(now))
        } else {
            None
        };
        let until = (now + pause).min(work.until);
        work.station.wait_for(until, pause, || Ok(None::<()>))?;
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
