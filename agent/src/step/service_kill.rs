//! `service.kill`: end the process of a service that cannot be stopped, by pid, start time and image.

use mailmend_policy::name::ServiceName;
use mailmend_policy::step::IfStillRunning;

use super::{StepEnd, StepResult, Work, service_stop};
use crate::host::ServiceState;
use crate::service::{Care, NotStopped};

pub(super) fn apply(work: &Work<'_>, service: &ServiceName) -> StepResult {
    if let Err(why) = service_stop::prepare(work, service)? {
        return Ok(StepEnd::no_effect(why));
    }
    let care = Care {
        station: work.station,
        run: work.run,
        service,
    };
    let status = match work.host().services().query(service) {
        Ok(status) => status,
        Err(error) => return Ok(StepEnd::failed(&error)),
    };
    let ended = match &status.process {
        Some(process) => care.end(process)?,
        None if status.state == ServiceState::Stopped => {
            care.stop(work.until, IfStillRunning::Fail)?
        }
        None => Err(NotStopped {
            unchanged: true,
            why: format!(
                "A050-service-not-stopped: `{service}` shows no process that could be ended"
            ),
        }),
    };
    Ok(match ended {
        Ok(()) => StepEnd::done(format!("the process of `{service}` is gone")),
        Err(NotStopped {
            unchanged: true,
            why,
        }) => StepEnd::no_effect(why),
        Err(NotStopped { why, .. }) => StepEnd::unknown(why),
    })
}
