//! `service.start`: start a service, after what may have been sent was set aside where it did not stop
//! cleanly, and watch it before the start counts.

use std::time::Duration;

use mailmend_policy::name::ServiceName;

use super::{StepEnd, StepResult, Work};
use crate::ablation::{Mechanism, off};
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
        Err(not) => return Ok(StepEnd::unknown(not.why)),
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
