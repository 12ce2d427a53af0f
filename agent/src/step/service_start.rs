//! `service.start`: start a service, after what may have been sent was set aside where it did not stop
//! cleanly, and watch it before the start counts.

use std::time::Duration;

use mailmend_policy::condition::Queue;
use mailmend_policy::name::ServiceName;

use super::queue_search::ELSEWHERE;
use super::{StepEnd, StepResult, Work};
use crate::ablation::{Mechanism, off};
use crate::condition::{is_spool_name, queue_folder};
use crate::faults::known;
use crate::queue::MAIL_SERVICE;
use crate::service::{Bound, Care, Start};

pub(super) fn prepare(work: &Work<'_>, service: &ServiceName) -> Result<(), String> {
    let allowed = match work.station.guard.allows_service(service) {
        Err(_) if off(Mechanism::GuardAtStep) => Ok(()),
        asked => asked,
    };
    allowed.map_err(|refusal| refusal.to_string())
}

pub(super) fn apply(
    work: &Work<'_>,
    service: &ServiceName,
    observe: Duration,
    attempts: u32,
) -> StepResult {
    if let Err(why) = prepare(work, service) {
        return Ok(StepEnd::no_effect(why));
    }
    let care = Care {
        station: work.station,
        run: work.run,
        service,
    };
    // The step's time is for coming up; watching is on top of it, and never cut short by the budget
    // of the section: service runs meanwhile.
    let how = Start {
        observe,
        attempts,
        limit: work.step.timeout,
        bound: Bound::Run(work.plan.limits.max_restarts),
    };
    let detail = match care.start(how)? {
        Ok(detail) => detail,
        Err(not) if not.never_ran => return Ok(StepEnd::no_effect(not.why)),
        Err(not) => return Ok(StepEnd::unknown(why_with_nothing(work, service, not.why))),
    };
    let mut end = StepEnd::done(detail);
    // What was stopped only because it depends on this service comes back with it.
    for dependent in care.stopped_with_it(work.plan)? {
        let care = Care {
            service: &dependent,
            ..care
        };
        match care.start(Start::BACK)? {
            Ok(detail) => end.evidence.push(detail),
            Err(not) => return Ok(StepEnd::unknown(not.why).with(end.evidence)),
        }
    }
    Ok(end)
}

/// Why it died, with what to look at where its queues were empty.
fn why_with_nothing(work: &Work<'_>, service: &ServiceName, why: String) -> String {
    let queues = [
        Queue::InboundAwaitingConversion,
        Queue::OutboundAwaitingDelivery,
    ];
    let empty = service.as_str().eq_ignore_ascii_case(MAIL_SERVICE)
        && queues.iter().all(|queue| {
            let folder = queue_folder(*queue, work.host()).ok();
            let files = folder.and_then(|folder| work.host().spool().list(&folder).ok());
            files.is_some_and(|files| !files.iter().any(|file| is_spool_name(&file.name)))
        });
    if empty {
        format!(
            "{why}; {}: In and Out are empty, so the message is in the store, not in the spool. {ELSEWHERE}",
            const { known("A122-poison-not-in-spool") }
        )
    } else {
        why
    }
}
