//! `queue.reset-index`: set `queue.dat` aside, so that the service builds it anew. Never deletes it.

use mailmend_policy::condition::Queue;

use super::queue_quarantine::ended;
use super::{StepEnd, StepResult, Work};
use crate::custody::index;

pub(super) fn apply(work: &Work<'_>) -> StepResult {
    // The index is of all queues; any of them leads to it.
    let care = match work.queue_care(Queue::OutboundAwaitingDelivery) {
        Ok(care) => care,
        Err(why) => return Ok(StepEnd::no_effect(why)),
    };
    let file = care.imcdata().join(index::FILE);
    if let Err(refusal) = work.station.guard.allows_path(&file) {
        return Ok(StepEnd::no_effect(refusal.to_string()));
    }
    let stopped = match care.prove_stopped()? {
        Ok(stopped) => stopped,
        Err(why) => return Ok(StepEnd::no_effect(why)),
    };
    match index::set_aside(&care.desk(), care.imcdata(), &stopped) {
        Ok(Some(to)) => Ok(StepEnd::done(format!("it is now `{}`", to.display()))),
        Ok(None) => Ok(StepEnd::done("there was none to set aside")),
        Err(error) => ended(error),
    }
}
