//! Rules that add up what the steps may cost and hold it against the policy's limits.

use std::time::Duration;

use crate::fault::FaultCode;
use crate::preview;
use crate::units::write_duration;

use super::Rule;

pub(super) const TOO_MANY_RESTARTS: Rule = Rule {
    code: FaultCode::TooManyRestarts,
    reason: "raise `max_restarts`, or try less often: each start may send mail again (Q312443)",
    check: |case| {
        let Some(limits) = case.limits else { return };
        let mut sum: u64 = 0;
        for (at, step) in case.steps.iter().enumerate() {
            let restarts = u64::from(preview::restarts(&step.action));
            let before = sum;
            sum += restarts;
            if before <= limits.max_restarts.into() && sum > limits.max_restarts.into() {
                let most = limits.max_restarts;
                let message = format!(
                    "with this step a run may start services {sum} times, `max_restarts` is {most}"
                );
                case.broken(at, "action", message);
            }
        }
    },
};

pub(super) const OUTAGE_TOO_LONG: Rule = Rule {
    code: FaultCode::OutageTooLong,
    reason: "shorten the timeouts or raise `max_outage`: the agent would start the service in the middle of the section (Q268494 waits for routing with the service down)",
    check: |case| {
        let Some(limits) = case.limits else { return };
        for section in case
            .sections
            .iter()
            .filter(|section| section.first != section.last)
        {
            let steps = &case.steps[section.first..=section.last];
            let sum: Duration = steps.iter().map(|step| step.timeout).sum();
            if sum > limits.max_outage {
                let each: Vec<String> = steps
                    .iter()
                    .map(|step| format!("{} {}", step.id, write_duration(step.timeout)))
                    .collect();
                let message = format!(
                    "the section may take {} > `max_outage` {} ({})",
                    write_duration(sum),
                    write_duration(limits.max_outage),
                    each.join(" + "),
                );
                case.broken(section.first, "id", message);
            }
        }
    },
};
