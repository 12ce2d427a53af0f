//! Rules about proof: what was done has to be shown, and mail is never out of sight.

use crate::condition::{Condition, FileTest, PathRoot};
use crate::fault::FaultCode;
use crate::name::StepId;
use crate::step::{Action, QuarantineUndo, Step};

use super::Rule;

pub(super) const RECALCULATION_UNPROVEN: Rule = Rule {
    code: FaultCode::RecalculationUnproven,
    reason: "add `{ file = \"${mtadata}/GWART0.MTA\", changed_since = \"run-began\" }` to `until`: event 5000 tells success though routes are missing (Q182798, Q185693)",
    check: |case| {
        for (at, step) in case.steps.iter().enumerate() {
            let Action::RoutingRecalculate { until, .. } = &step.action else {
                continue;
            };
            if !until.iter().any(table_changed) {
                let message = "nothing shows that the routing table was written anew";
                case.broken(at, "until", message);
            }
        }
    },
};

fn table_changed(condition: &Condition) -> bool {
    match condition {
        Condition::File {
            file,
            test: FileTest::ChangedSinceRunBegan,
        } => {
            file.root == PathRoot::Mtadata
                && file.parts.len() == 1
                && file.parts[0].eq_ignore_ascii_case("GWART0.MTA")
        }
        Condition::All(all) => all.iter().any(table_changed),
        _ => false,
    }
}

/// The quarantine whose mail a step gives back.
const fn replayed(step: &Step) -> Option<&StepId> {
    match &step.action {
        Action::QueueReplay { of, .. } => Some(of),
        _ => None,
    }
}

pub(super) const REPLAY_UNSETTLED: Rule = Rule {
    code: FaultCode::ReplayUnsettled,
    reason: "add `queue.settle` of the same quarantine after the service has started: the article ends without looking whether the mail left (Q268494)",
    check: |case| {
        for (at, step) in case.steps.iter().enumerate() {
            let Some(of) = replayed(step) else { continue };
            let settled = case.steps[at..].iter().any(
                |later| matches!(&later.action, Action::QueueSettle { of: other } if other == of),
            );
            if !settled {
                let message = format!("what `{}` replays is never proven delivered", step.id);
                case.broken(at, "of", message);
            }
        }
    },
};

pub(super) const REPLAYED_TWICE: Rule = Rule {
    code: FaultCode::ReplayedTwice,
    reason: "remove one, or give the earlier a `first`: copying everything back a second time is how mail is sent twice (Q197792)",
    check: |case| {
        for (at, step) in case.steps.iter().enumerate() {
            let Action::QueueReplay { of, .. } = &step.action else {
                continue;
            };
            let all_before = case.steps[..at].iter().any(|earlier| {
                matches!(&earlier.action, Action::QueueReplay { of: other, first: None, .. } if other == of)
                    && earlier.when.is_empty()
            });
            if all_before {
                let message = format!("everything of `{of}` has been replayed already");
                case.broken(at, "of", message);
            }
        }
    },
};

pub(super) const POISON_PUT_BACK: Rule = Rule {
    code: FaultCode::PoisonPutBack,
    reason: "write `undo = \"keep\"`: what crashes the service must not come back by unwinding (Q168883)",
    check: |case| {
        for (at, step) in case.steps.iter().enumerate() {
            let Action::QueueQuarantine {
                undo: QuarantineUndo::Replay,
                ..
            } = &step.action
            else {
                continue;
            };
            let found = case.steps.iter().find_map(|other| match &other.action {
                Action::QueueSearch { of, .. } if *of == step.id => {
                    Some((other, "looks for a message that crashes the service"))
                }
                Action::QueueReplay {
                    of,
                    except_named_since: Some(_),
                    ..
                } if *of == step.id => Some((other, "leaves out messages that events name")),
                _ => None,
            });
            if let Some((other, what)) = found {
                let message = format!("`{}` {what}, and unwinding would put it back", other.id);
                case.broken(at, "undo", message);
            }
        }
    },
};

/// Whether a tool's name has one of these words between its dashes.
fn says(tool: &str, words: &[&str]) -> bool {
    tool.split('-').any(|part| words.contains(&part))
}

const CLEARS: [&str; 10] = [
    "clear", "clean", "empty", "reset", "purge", "delete", "wipe", "gwclean", "gwreset", "mdbvu32",
];
const SAVES: [&str; 5] = ["save", "imcsave", "backup", "export", "dump"];

pub(super) const CLEARED_UNSAVED: Rule = Rule {
    code: FaultCode::ClearedUnsaved,
    reason: "save the folders first with a tool such as imcsave, on the same role and under no other condition: what is cleared from MTS-IN and MTS-OUT is gone (Q197792, Q195804)",
    check: |case| {
        for (at, step) in case.steps.iter().enumerate() {
            let Action::ToolRun { tool, with, .. } = &step.action else {
                continue;
            };
            let clears =
                says(tool.as_str(), &CLEARS) || with.keys().any(|flag| says(flag, &CLEARS));
            let saved = case.steps[..at].iter().any(|earlier| {
                matches!(&earlier.action, Action::ToolRun { tool, .. } if says(tool.as_str(), &SAVES) && !says(tool.as_str(), &CLEARS))
                    && earlier.on == step.on
                    && earlier.when.iter().all(|condition| step.when.contains(condition))
            });
            if clears && !saved {
                let message = format!("`{tool}` clears what no step has saved");
                case.broken(at, "tool", message);
            }
        }
    },
};

pub(super) const HELD_FOR_GOOD: Rule = Rule {
    code: FaultCode::HeldForGood,
    reason: "add a `queue.replay` or a `queue.search` of it, or say in `why` who takes the mail on (Q268494 never gives it back)",
    check: |case| {
        for (at, step) in case.steps.iter().enumerate() {
            if !matches!(step.action, Action::QueueQuarantine { .. }) || step.why.is_some() {
                continue;
            }
            let given_back = case.steps[at..].iter().any(|later| {
                matches!(&later.action, Action::QueueReplay { of, .. } | Action::QueueSearch { of, .. } if *of == step.id)
            });
            if !given_back {
                case.broken(at, "id", "what is held here is never given back");
            }
        }
    },
};

pub(super) const NO_CANARY: Rule = Rule {
    code: FaultCode::NoCanary,
    reason: "replay and settle a few first (`first = 10`): where the cause is another, everything sticks again (Q268494, Q197792)",
    check: |case| {
        for (at, step) in case.steps.iter().enumerate() {
            let Action::QueueReplay {
                of, first: None, ..
            } = &step.action
            else {
                continue;
            };
            let canary = case.steps[..at].iter().any(|earlier| {
                matches!(&earlier.action, Action::QueueReplay { of: other, first: Some(_), .. } if other == of)
            });
            let searched = case.steps[..at].iter().any(
                |earlier| matches!(&earlier.action, Action::QueueSearch { of: other, .. } if other == of),
            );
            if !canary && !searched {
                case.broken(at, "of", "everything is replayed at once");
            }
        }
    },
};

pub(super) const NOT_RECHECKED: Rule = Rule {
    code: FaultCode::NotRechecked,
    reason: "end with a `wait.until` or `check` that shows the symptom gone: internal success is not delivery (Q268494)",
    check: |case| {
        let Some(last) = case.sections.iter().map(|section| section.last).max() else {
            return;
        };
        let looked = case.steps[last..].iter().any(|step| {
            matches!(
                step.action,
                Action::WaitUntil { .. } | Action::Check { .. } | Action::MailReconcile { .. }
            )
        });
        if !looked {
            case.broken(
                last,
                "id",
                "after this step nothing looks whether the symptom is gone",
            );
        }
    },
};
