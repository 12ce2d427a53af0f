//! What a plan would do and what it may cost, before anything is touched.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::bounds::Case;
use crate::condition::{Condition, Queue};
use crate::name::{ServerName, ServiceName};
use crate::plan::{Plan, PlannedStep};
use crate::step::{Action, IfStillRunning, QuarantineUndo};
use crate::units::write_duration;

/// The most that a plan may cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorstCase {
    /// Service starts of the whole run, forwards. Unwinding and the dead man's switch may each add one
    /// for a section that they have to end.
    pub restarts: u32,
    /// The longest that each section keeps a service down, in the plan's order.
    pub sections: Vec<SectionCost>,
    /// The sum of a server's sections.
    pub servers: BTreeMap<ServerName, Duration>,
}

/// The most that one section may cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SectionCost {
    /// The section's place in the plan.
    pub section: u32,
    /// The server.
    pub server: ServerName,
    /// The service that is down.
    pub service: ServiceName,
    /// For how long at most.
    pub downtime: Duration,
    /// Service starts in it at most.
    pub restarts: u32,
}

/// The most that a plan may cost if every timeout is used up.
#[must_use]
pub fn worst_case(plan: &Plan) -> WorstCase {
    let mut sections = Vec::new();
    let mut servers: BTreeMap<ServerName, Duration> = BTreeMap::new();
    for section in &plan.sections {
        let steps: Vec<&PlannedStep> = plan
            .steps
            .iter()
            .filter(|step| step.section == Some(section.index))
            .collect();
        let timeouts: Duration = steps.iter().map(|step| step.timeout).sum();
        let restarts = steps.iter().map(|step| restarts(&step.action)).sum::<u32>();
        // A search has the budget anew for each of its restarts; an ordinary section has it once.
        let rounds = if section.first == section.last {
            restarts.max(1)
        } else {
            1
        };
        let downtime = timeouts.min(section.budget.saturating_mul(rounds));
        *servers.entry(section.server.clone()).or_default() += downtime;
        sections.push(SectionCost {
            section: section.index,
            server: section.server.clone(),
            service: section.service.clone(),
            downtime,
            restarts,
        });
    }
    let restarts = plan.steps.iter().map(|step| restarts(&step.action)).sum();
    WorstCase {
        restarts,
        sections,
        servers,
    }
}

/// How often an action starts a service at most.
#[must_use]
pub const fn restarts(action: &Action) -> u32 {
    match action {
        Action::ServiceStart { attempts, .. } => *attempts,
        Action::QueueSearch { max_restarts, .. } => *max_restarts,
        _ => 0,
    }
}

/// What a step takes at most, by the length of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepBound {
    /// Restarts or crashes.
    pub what: &'static str,
    /// At most, with that many files.
    pub at_most: u64,
    /// What the policy allows: where this is lower the step stops there.
    pub declared: u64,
    /// The rule, with its values.
    pub how: String,
}

/// The queue whose length a step's bounds depend on: that of the quarantine which it searches.
#[must_use]
pub fn searched_queue(plan: &Plan, step: &PlannedStep) -> Option<Queue> {
    let Action::QueueSearch { of, .. } = &step.action else {
        return None;
    };
    plan.steps
        .iter()
        .filter(|other| other.server == step.server && other.id == *of)
        .find_map(|other| match other.action {
            Action::QueueQuarantine { queue, .. } => Some(queue),
            _ => None,
        })
}

/// What an action takes at most where its queue holds so many files; empty where that does not depend
/// on the queue.
#[must_use]
pub fn bounds(action: &Action, files: u64) -> Vec<StepBound> {
    let Action::QueueSearch {
        max_bad,
        max_restarts,
        max_crashes,
        ..
    } = action
    else {
        return Vec::new();
    };
    let Some(case) = Case::of(action, files, u64::from(*max_bad).min(files)) else {
        return Vec::new();
    };
    let bound = |what, at_most, declared: u32, how: String| StepBound {
        what,
        at_most,
        declared: declared.into(),
        how,
    };
    vec![
        bound(
            "restarts",
            case.restarts_in_all(),
            *max_restarts,
            format!("{}, one to give back the good", case.rule()),
        ),
        bound(
            "crashes",
            case.crashes(),
            *max_crashes,
            format!("of at most {} bad messages", case.bad),
        ),
    ]
}

fn all(conditions: &[Condition]) -> String {
    let words: Vec<String> = conditions.iter().map(Condition::to_string).collect();
    words.join(", and ")
}

/// What a step would do on its server, in words, with its conditions.
#[must_use]
pub fn describe(step: &PlannedStep) -> String {
    let mut text = what(&step.action);
    if !step.when.is_empty() {
        text = format!("{text}; only where {}", all(&step.when));
    }
    for forbid in &step.forbid {
        text = format!("{text}; not while {}", forbid.condition);
    }
    text
}

fn what(action: &Action) -> String {
    match action {
        Action::Detect { all: symptom } => format!("look for the symptom: {}", all(symptom)),
        Action::ServiceStop {
            service,
            then: IfStillRunning::Kill,
        } => {
            format!("stop {service}, end its process where it does not stop in time")
        }
        Action::ServiceStop {
            service,
            then: IfStillRunning::Fail,
        } => {
            format!("stop {service}, fail where it does not stop in time")
        }
        Action::ServiceStart {
            service,
            observe,
            attempts,
        } => {
            let times = if *attempts == 1 {
                "once".to_owned()
            } else {
                format!("up to {attempts} times")
            };
            format!(
                "start {service} {times} and watch it for {}",
                write_duration(*observe)
            )
        }
        Action::ServiceKill { service } => format!("end the process of {service}"),
        Action::RoutingRecalculate { tool, until } => {
            format!(
                "have `{tool}` recalculate routing, wait until {}",
                all(until)
            )
        }
        Action::QueueQuarantine { queue, undo } => {
            let back = match undo {
                QuarantineUndo::Keep => "unwinding keeps them held",
                QuarantineUndo::Replay => "unwinding puts them back",
            };
            format!("take the files of {} into custody ({back})", queue.name())
        }
        Action::QueueResetIndex {} => "set queue.dat aside".to_owned(),
        Action::QueueReplay {
            of,
            first,
            except_named_since,
        } => {
            let which = match first {
                Some(first) => format!("the {first} oldest messages"),
                None => "the held messages".to_owned(),
            };
            let except = match except_named_since {
                Some(_) => ", except those that an event names",
                None => "",
            };
            format!("put {which} of `{of}` back{except}")
        }
        Action::QueueSearch {
            of,
            service,
            max_restarts,
            max_crashes,
            max_duplicates,
            max_bad,
            ..
        } => format!(
            "search `{of}` for up to {max_bad} messages that crash {service}: at most {max_restarts} restarts, {max_crashes} crashes, {max_duplicates} messages sent twice by a crash"
        ),
        Action::MailProbe { tool, to } => {
            format!("send a test message to {to} with `{tool}`, wait for evidence that it left")
        }
        Action::QueueSettle { of } => {
            format!("wait for evidence that what was replayed of `{of}` is delivered")
        }
        Action::WaitUntil { until, poll } => {
            format!(
                "wait until {} (look every {})",
                all(until),
                write_duration(*poll)
            )
        }
        Action::Check { all: conditions } => format!("check that {}", all(conditions)),
        Action::ToolRun { tool, with, accept } => {
            let flags: Vec<String> = with
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            let flags = if flags.is_empty() {
                String::new()
            } else {
                format!(" with {}", flags.join(" "))
            };
            format!(
                "run `{tool}`{flags}, accept the verdict {}",
                accept.join(" or ")
            )
        }
        Action::HumanTask { ask, accept, .. } => {
            let ask = ask.split_whitespace().collect::<Vec<_>>().join(" ");
            format!("ask a person: {ask} (goes on with {})", accept.join(" or "))
        }
        Action::MailReconcile { over, grace, .. } => format!(
            "compare SMTP log, tracking log and queues over the last {}, list what has been missing for {}",
            write_duration(*over),
            write_duration(*grace)
        ),
        Action::MailEscrow { queue, keep } => format!(
            "keep a second name of every file in {} until {} after its delivery",
            queue.name(),
            write_duration(*keep)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library;
    use crate::parse::parse;
    use crate::plan::{Server, VERSION_FACT, plan};

    fn planned(policy: &str, version: &str) -> Plan {
        let source = library::find(policy).unwrap();
        let policy = parse(&source).unwrap();
        let server = |name: &str, direction: &str| Server {
            name: name.parse().unwrap(),
            site: "oslo".parse().unwrap(),
            labels: [("ims.direction", direction), (VERSION_FACT, version)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            actions: policy
                .steps
                .iter()
                .map(|step| step.action.name().to_owned())
                .collect(),
        };
        let servers = [server("a", "both"), server("b", "outbound")];
        plan(&policy, source.digest(), &servers).unwrap().remove(0)
    }

    #[test]
    fn the_worst_case_adds_up_every_timeout_of_each_section() {
        let plan = planned("stuck-outbound-routing", "5.0.1458.49");
        let worst = worst_case(&plan);
        assert_eq!(worst.restarts, 6);
        let downtimes: Vec<u64> = worst
            .sections
            .iter()
            .map(|cost| cost.downtime.as_secs())
            .collect();
        assert_eq!(downtimes, [480, 420, 540]);
        assert_eq!(worst.servers.len(), 1);
        assert_eq!(
            worst.servers[&"b".parse().unwrap()],
            Duration::from_secs(1440)
        );
    }

    #[test]
    fn a_search_has_the_budget_in_each_of_its_restarts_and_never_more_than_its_timeout() {
        let worst = worst_case(&planned("corrupt-message", "5.5.2650.21"));
        assert_eq!(worst.restarts, 203);
        let search = &worst.sections[1];
        assert_eq!(
            (search.restarts, search.downtime),
            (163, Duration::from_secs(4 * 3600))
        );
    }

    #[test]
    fn the_bounds_of_a_search_follow_the_queue_only_where_there_is_no_evidence() {
        let plan = planned("corrupt-message", "5.5.2650.21");
        let search = |id: &str| {
            let found = plan.steps.iter().find(|step| step.id.as_str() == id);
            found.unwrap()
        };
        let (inbound, outbound) = (search("search-inbound"), search("search-outbound"));
        assert_eq!(
            [inbound, outbound].map(|step| searched_queue(&plan, step)),
            [
                Some(Queue::InboundAwaitingConversion),
                Some(Queue::OutboundAwaitingDelivery)
            ]
        );
        let restarts = |step: &PlannedStep, files| bounds(&step.action, files)[0].at_most;
        assert_eq!(
            [0, 1, 20, 2_000].map(|n| restarts(inbound, n)),
            [3, 6, 39, 65]
        );
        assert_eq!(
            [0, 1, 20, 2_000].map(|n| restarts(outbound, n)),
            [3, 6, 39, 39]
        );
        for step in [inbound, outbound] {
            for files in [0, 1, 1_000, 100_000] {
                for bound in bounds(&step.action, files) {
                    assert!(bound.at_most <= bound.declared, "{files}: {bound:?}");
                }
            }
        }
        assert_eq!(
            bounds(&outbound.action, 2_000)[0].how,
            "d(1 + log2 w + 1) + 1 with d = 5, w = 32: 5 x 7 + 1; one with nothing, one for a wrong hint, one to give back the good"
        );
        assert!(bounds(&plan.steps[0].action, 9).is_empty());
    }

    #[test]
    fn every_step_of_every_shipped_policy_is_described_in_one_line() {
        let versions = [
            "5.5.2650.21",
            "5.5.2650.21",
            "4.0.837.3",
            "5.5.2650.21",
            "5.0.1458.49",
        ];
        for ((name, _), version) in library::SHIPPED.iter().zip(versions) {
            for step in planned(name, version).steps {
                let text = describe(&step);
                assert!(!text.is_empty() && !text.contains('\n'), "{text}");
            }
        }
        let plan = planned("stuck-outbound-routing", "5.0.1458.49");
        let text = |id: &str| {
            describe(
                plan.steps
                    .iter()
                    .find(|step| step.id.as_str() == id)
                    .unwrap(),
            )
        };
        assert_eq!(
            text("stop-ims"),
            "stop MSExchangeIMC, end its process where it does not stop in time; not while event MSExchangeIMC 3038 stands since the last start"
        );
        assert_eq!(
            text("replay-canary"),
            "put the 10 oldest messages of `hold-outbound` back"
        );
        assert_eq!(
            text("symptom-is-gone"),
            "wait until no message in outbound-awaiting-delivery has waited 15m or longer (look every 5s)"
        );
    }
}
