//! Rules that add up what the steps may cost and hold it against the policy's limits.

use std::time::Duration;

use crate::bounds::Case as Search;
use crate::fault::FaultCode;
use crate::preview;
use crate::step::Action;
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

/// Both bounds are declared, so both must hold for the longest queue and the most bad messages that the
/// policy speaks of.
pub(super) const SEARCH_CUT_SHORT: Rule = Rule {
    code: FaultCode::SearchCutShort,
    reason: "raise the limit to that number, or lower `max_files` or `max_bad`: a search that stops half way leaves mail held and the bad message unknown (Q168883)",
    check: |case| {
        let Some(limits) = case.limits else { return };
        for (at, step) in case.steps.iter().enumerate() {
            let Action::QueueSearch {
                max_restarts,
                max_crashes,
                max_bad,
                ..
            } = &step.action
            else {
                continue;
            };
            let Some(search) = Search::of(&step.action, limits.max_files, (*max_bad).into()) else {
                continue;
            };
            let declared = [
                (
                    "max_restarts",
                    *max_restarts,
                    search.restarts_in_all(),
                    "starts",
                ),
                ("max_crashes", *max_crashes, search.crashes(), "crashes"),
            ];
            for (key, declared, needed, what) in declared {
                if u64::from(declared) < needed {
                    let message = format!(
                        "among {} files (`max_files`) the search may need {needed} {what} to find {max_bad} bad ones (`max_bad`), `{key}` is {declared}",
                        limits.max_files
                    );
                    case.broken(at, key, message);
                }
            }
        }
    },
};
