//! Rules about starting, stopping and ending services.

use std::time::Duration;

use crate::condition::{Condition, Queue, QueueTest, Since};
use crate::fault::FaultCode;
use crate::step::{Action, IfStillRunning};

use super::{IMS, Rule};

/// The shortest time that a started service has to be watched.
const LEAST_OBSERVATION: Duration = Duration::from_secs(10);

/// Services whose process holds a database that does not survive being ended.
const DATABASES: [&str; 3] = ["MSExchangeIS", "MSExchangeDS", "MSExchangeMTA"];

/// Services that the mail service depends on, directly or not.
const BELOW_IMS: [&str; 4] = [
    "MSExchangeIS",
    "MSExchangeMTA",
    "MSExchangeDS",
    "MSExchangeSA",
];

pub(super) const STOP_WHILE_3038: Rule = Rule {
    code: FaultCode::StopWhile3038,
    reason: "add `forbid = [{ event = { source = \"MSExchangeIMC\", id = 3038, since = \"last-start\" }, why = \"..\" }]`, or that event and `{ queue = \"outbound-awaiting-conversion\", count_over = 0 }` in one `all`: what could not be removed is sent again at the next start (Q296879)",
    check: |case| {
        for (at, step) in case.steps.iter().enumerate() {
            let (Action::ServiceStop { service, .. }
            | Action::ServiceKill { service }
            | Action::QueueSearch { service, .. }) = &step.action
            else {
                continue;
            };
            let forbidden = step
                .forbid
                .iter()
                .any(|forbid| forbids_3038(&forbid.condition));
            if service.as_str() == IMS && !forbidden {
                let message = format!("`{}` does not look for event 3038 first", step.id);
                case.broken(at, "forbid", message);
            }
        }
    },
};

/// Whether a condition holds at least wherever 3038 stands and sent mail may still wait.
fn forbids_3038(condition: &Condition) -> bool {
    match condition {
        Condition::Event(event) => {
            event.source == IMS
                && event.ids.contains(&3038)
                && event.since == Since::LastStart
                && event.at_least == 1
                && event.contains.is_none()
        }
        Condition::Any(any) => any.iter().any(forbids_3038),
        // An empty MTS-OUT has nothing left that could be sent again.
        Condition::All(all) => {
            let waiting = Condition::Queue {
                queue: Queue::OutboundAwaitingConversion,
                test: QueueTest::CountOver(0),
            };
            all.iter().any(forbids_3038)
                && all.iter().all(|one| forbids_3038(one) || *one == waiting)
        }
        _ => false,
    }
}

pub(super) const UNOBSERVED: Rule = Rule {
    code: FaultCode::Unobserved,
    reason: "observe at least 10s: a service that a message crashes starts well and dies when it reads it (Q168883)",
    check: |case| {
        for (at, step) in case.steps.iter().enumerate() {
            let (Action::ServiceStart { observe, .. } | Action::QueueSearch { observe, .. }) =
                &step.action
            else {
                continue;
            };
            if *observe < LEAST_OBSERVATION {
                let written = crate::units::write_duration(*observe);
                case.broken(
                    at,
                    "observe",
                    format!("the service is watched for {written} only"),
                );
            }
        }
    },
};

pub(super) const STORE_KILLED: Rule = Rule {
    code: FaultCode::StoreKilled,
    reason: "stop it with `then = \"fail\"` and ask a person where it hangs: ending it damages its database (Q168883 ends msexcimc.exe, never store.exe; Q259851)",
    check: |case| {
        for (at, step) in case.steps.iter().enumerate() {
            let (Action::ServiceKill { service }
            | Action::ServiceStop {
                service,
                then: IfStillRunning::Kill,
            }) = &step.action
            else {
                continue;
            };
            if DATABASES
                .iter()
                .any(|name| service.as_str().eq_ignore_ascii_case(name))
            {
                let message = format!("`{service}` holds a database and would be ended");
                case.broken(at, "service", message);
            }
        }
    },
};

pub(super) const KILLED_FIRST: Rule = Rule {
    code: FaultCode::KilledFirst,
    reason: "stop it first with `service.stop`, which can end it after its timeout: an ended service may send again what it was sending (Q312443)",
    check: |case| {
        for (at, step) in case.steps.iter().enumerate() {
            let Action::ServiceKill { service } = &step.action else {
                continue;
            };
            let tried = case.steps[..at].iter().any(|earlier| {
                earlier.on == step.on
                    && matches!(&earlier.action, Action::ServiceStop { service: other, .. } if other == service)
            });
            if !tried {
                case.broken(
                    at,
                    "action",
                    "the process is ended before an ordinary stop was tried",
                );
            }
        }
    },
};

pub(super) const DEPENDENTS_FORGOTTEN: Rule = Rule {
    code: FaultCode::DependentsForgotten,
    reason: "stop MSExchangeIMC before it and start it after it: a dependent that goes down with it is not started again (Q143380, Q246287)",
    check: |case| {
        for (at, step) in case.steps.iter().enumerate() {
            let (Action::ServiceStop { service, .. } | Action::ServiceKill { service }) =
                &step.action
            else {
                continue;
            };
            let below = BELOW_IMS
                .iter()
                .any(|name| service.as_str().eq_ignore_ascii_case(name));
            let covered = case.sections.iter().any(|section| {
                section.contains(at) && section.first < at && section.service.as_str() == IMS
            });
            if below && !covered {
                let message = format!("MSExchangeIMC depends on `{service}` and runs here");
                case.broken(at, "service", message);
            }
        }
    },
};
