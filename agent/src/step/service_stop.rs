//! `service.stop`: stop a service and prove it. A service that says that it is stopped while its
//! process lives is not stopped.

use mailmend_policy::name::ServiceName;
use mailmend_policy::step::IfStillRunning;

use super::{StepEnd, StepResult, Trouble, Work};
use crate::ablation::{Mechanism, off};
use crate::service::{Care, NotStopped, Start};

/// Whether the guard allows to disturb the service and everything that would have to stop with it.
pub(super) fn prepare(
    work: &Work<'_>,
    service: &ServiceName,
) -> Result<Result<(), String>, Trouble> {
    let guard = &work.station.guard;
    let dependents = match work.host().services().running_dependents(service) {
        Ok(dependents) => dependents,
        Err(error) => return Ok(Err(format!("could not {error}"))),
    };
    for service in dependents.iter().chain([service]) {
        if let Err(refusal) = guard.allows_service(service)
            && !off(Mechanism::GuardAtStep)
        {
            return Ok(Err(refusal.to_string()));
        }
    }
    Ok(Ok(()))
}

pub(super) fn apply(work: &Work<'_>, service: &ServiceName, then: IfStillRunning) -> StepResult {
    if let Err(why) = prepare(work, service)? {
        return Ok(StepEnd::no_effect(why));
    }
    let care = Care {
        station: work.station,
        run: work.run,
        service,
    };
    Ok(match care.stop(work.until, then)? {
        Ok(()) => StepEnd::done(format!("`{service}` is stopped and its process is gone")),
        Err(NotStopped {
            unchanged: true,
            why,
        }) => StepEnd::no_effect(why),
        Err(NotStopped { why, .. }) => StepEnd::unknown(why),
    })
}

/// The service is started again, and what was stopped with it.
pub(super) fn undo(work: &Work<'_>, service: &ServiceName) -> StepResult {
    let care = Care {
        station: work.station,
        run: work.run,
        service,
    };
    Ok(match care.start(Start::BACK)? {
        Ok(detail) => StepEnd::done(detail),
        Err(not) => StepEnd::unknown(not.why),
    })
}
