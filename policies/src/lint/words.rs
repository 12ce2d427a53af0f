//! Rules about what conditions and texts say.

use crate::condition::{Condition, FileTest, QueueTest, StepWas};
use crate::fault::FaultCode;
use crate::step::Action;

use super::Rule;

pub(super) const NEVER_TRUE: Rule = Rule {
    code: FaultCode::NeverTrue,
    reason: "remove one of the two: conditions of a list must all hold at the same time (Q268494 states one symptom)",
    check: |case| {
        if let Some((one, other)) = case.detect.and_then(|detect| contradiction(&detect.all)) {
            case.broken_detect(format!("the symptom can never stand: {one} and {other}"));
        }
        for (at, step) in case.steps.iter().enumerate() {
            let mut lists = vec![("when", &step.when)];
            match &step.action {
                Action::WaitUntil { until, .. } | Action::RoutingRecalculate { until, .. } => {
                    lists.push(("until", until));
                }
                Action::Check { all } => lists.push(("all", all)),
                _ => {}
            }
            for (key, list) in lists {
                if let Some((one, other)) = contradiction(list) {
                    case.broken(
                        at,
                        key,
                        format!("`{key}` can never hold: {one} and {other}"),
                    );
                }
            }
        }
    },
};

/// Two conditions that never hold together, in words.
fn contradiction(list: &[Condition]) -> Option<(String, String)> {
    let mut flat = Vec::new();
    flatten(list, &mut flat);
    for (at, one) in flat.iter().enumerate() {
        for other in &flat[at + 1..] {
            if exclude(one, other) || exclude(other, one) {
                return Some((one.to_string(), other.to_string()));
            }
        }
    }
    None
}

fn flatten<'c>(list: &'c [Condition], flat: &mut Vec<&'c Condition>) {
    for condition in list {
        match condition {
            Condition::All(all) => flatten(all, flat),
            other => flat.push(other),
        }
    }
}

fn exclude(one: &Condition, other: &Condition) -> bool {
    match (one, other) {
        (Condition::Not(inner), other) => **inner == *other,
        (
            Condition::Service { service: a, is },
            Condition::Service {
                service: b,
                is: other,
            },
        ) => a == b && is != other,
        (
            Condition::Queue { queue: a, test },
            Condition::Queue {
                queue: b,
                test: other,
            },
        ) => a == b && queue_tests_exclude(*test, *other),
        (
            Condition::File { file: a, test },
            Condition::File {
                file: b,
                test: other,
            },
        ) => a == b && file_tests_exclude(test, other),
        (
            Condition::Fact { fact: a, equals },
            Condition::Fact {
                fact: b,
                equals: other,
            },
        ) => a == b && equals != other,
        (
            Condition::Registry {
                key: a,
                value: x,
                equals,
            },
            Condition::Registry {
                key: b,
                value: y,
                equals: other,
            },
        ) => a.eq_ignore_ascii_case(b) && x.eq_ignore_ascii_case(y) && equals != other,
        (
            Condition::Step { step: a, was },
            Condition::Step {
                step: b,
                was: other,
            },
        ) => a == b && was != other,
        (
            Condition::Answered { step: a, answer },
            Condition::Answered {
                step: b,
                answer: other,
            },
        ) => a == b && answer != other,
        (
            Condition::Answered { step: a, .. },
            Condition::Step {
                step: b,
                was: StepWas::Skipped,
            },
        ) => a == b,
        _ => false,
    }
}

fn queue_tests_exclude(one: QueueTest, other: QueueTest) -> bool {
    match (one, other) {
        (QueueTest::OldestOver(over), QueueTest::OldestUnder(under)) => under <= over,
        (QueueTest::CountOver(over), QueueTest::CountUnder(under)) => under <= over + 1,
        // An empty queue has no oldest message.
        (QueueTest::OldestOver(_), QueueTest::CountUnder(1)) => true,
        _ => false,
    }
}

fn file_tests_exclude(one: &FileTest, other: &FileTest) -> bool {
    match (one, other) {
        (FileTest::Exists(true), FileTest::Exists(false)) => true,
        (FileTest::Exists(false), FileTest::Exists(_)) => false,
        (FileTest::Exists(false), _) => true,
        (FileTest::OlderThanFile(a), FileTest::NewerThanFile(b)) => a == b,
        _ => false,
    }
}

pub(super) const NEVER_DIFFERS: Rule = Rule {
    code: FaultCode::NeverDiffers,
    reason: "add a condition on a queue, a file, an event or a service: what the mending cannot change would start it again and again (Q157684 can only be told from the logs)",
    check: |case| {
        let Some(detect) = case.detect else { return };
        if detect.all.iter().all(never_changes) {
            case.broken_detect("the symptom stands before and after alike");
        }
    },
};

/// Whether nothing that a policy does changes the outcome.
fn never_changes(condition: &Condition) -> bool {
    match condition {
        Condition::Version(_) | Condition::Fact { .. } => true,
        Condition::All(inner) => inner.iter().all(never_changes),
        Condition::Any(inner) => {
            inner.iter().all(never_changes)
                || inner
                    .iter()
                    .any(|one| inner.iter().any(|other| exclude_by_not(one, other)))
        }
        Condition::Not(inner) => never_changes(inner),
        _ => false,
    }
}

fn exclude_by_not(one: &Condition, other: &Condition) -> bool {
    matches!(one, Condition::Not(inner) if **inner == *other)
}

pub(super) const UNEXPLAINED: Rule = Rule {
    code: FaultCode::Unexplained,
    reason: "add a `why`: the operator at 3 a.m. decides by it (Q197792 never says what its tools destroy)",
    check: |case| {
        for (at, step) in case.steps.iter().enumerate() {
            let asks = matches!(
                step.action,
                Action::ToolRun { .. } | Action::HumanTask { .. }
            );
            if (asks || step.point_of_no_return) && step.why.is_none() {
                case.broken(at, "id", "the step does not say why it is there");
            }
        }
    },
};
