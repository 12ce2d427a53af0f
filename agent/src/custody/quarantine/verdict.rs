//! What the logs say of each file that is taken, and what its state becomes by that.

use mailmend_policy::condition::Queue;
use mailmend_proto::run::{Custody, Settlement};

use super::super::survey::{Survey, Surveyed, Suspect};
use super::super::{Evidence, HowStopped, Stopped, direction};
use crate::evidence::{MessageKey, Sent};

/// Files of a queue, each with what the logs say of it.
pub(in crate::custody) struct Judged {
    pub(in crate::custody) files: Vec<(Surveyed, Verdict)>,
    pub(in crate::custody) suspects: Vec<Suspect>,
}

/// What a file's state must become, by evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::custody) enum Verdict {
    Unsent,
    Gone(String),
    InDoubt(String),
    /// It has the fingerprint of a poison: poison by that, or in doubt where the logs show it begun, or cannot tell.
    Known {
        fingerprint: uuid::Uuid,
        custody: Custody,
        evidence: String,
    },
}

impl Verdict {
    /// The one place that turns evidence into a state, for files found in the queue after a stop.
    pub(in crate::custody) fn of(sent: Sent, how: HowStopped) -> Self {
        match (sent, how) {
            (Sent::Delivered { evidence }, _) => Self::Gone(evidence.join("; ")),
            (Sent::Begun { evidence }, _) => {
                Self::InDoubt(format!("sending began: {}", evidence.join("; ")))
            }
            (Sent::NotSeen, _) => Self::Unsent,
            // A clean stop finishes what it is sending, and what it has sent it removes.
            (Sent::CannotTell { .. }, HowStopped::Cleanly) => Self::Unsent,
            (Sent::CannotTell { why }, HowStopped::Uncleanly) => Self::InDoubt(format!(
                "the records cannot tell whether it was sent: {why}"
            )),
        }
    }

    pub(in crate::custody) fn settlement(self, index: u32) -> Option<Settlement> {
        let (custody, evidence) = match self {
            Self::Unsent => return None,
            Self::Gone(place) => (Custody::GoneWithEvidence, place),
            Self::InDoubt(why) => (Custody::InDoubt, why),
            Self::Known {
                custody, evidence, ..
            } => (custody, evidence),
        };
        Some(Settlement {
            index,
            custody,
            evidence,
        })
    }
}

pub(in crate::custody) fn judge(
    survey: Survey,
    queue: Queue,
    stopped: &Stopped,
    evidence: &dyn Evidence,
) -> Judged {
    let direction = direction(queue.name());
    let keys: Vec<MessageKey> = survey
        .files
        .iter()
        .map(|file| file.key(direction))
        .collect();
    let verdicts = verdicts(&keys, stopped.how(), evidence);
    Judged {
        files: survey.files.into_iter().zip(verdicts).collect(),
        suspects: survey.suspects,
    }
}

/// One verdict for each message, in order.
pub(in crate::custody) fn verdicts(
    keys: &[MessageKey],
    how: HowStopped,
    evidence: &dyn Evidence,
) -> Vec<Verdict> {
    let no_answer = || Sent::CannotTell {
        why: "no answer".into(),
    };
    let answers = evidence.of(keys).into_iter().map(Some);
    answers
        .chain(std::iter::repeat_with(|| None))
        .take(keys.len())
        .map(|sent| Verdict::of(sent.unwrap_or_else(no_answer), how))
        .collect()
}

pub(in crate::custody) fn in_doubt(index: u32, evidence: String) -> Settlement {
    Settlement {
        index,
        custody: Custody::InDoubt,
        evidence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_sent_is_never_unsent() {
        use HowStopped::{Cleanly, Uncleanly};
        let place = || "log:1".to_owned();
        let table = [
            (Sent::NotSeen, "unsent", "unsent"),
            (
                Sent::Begun {
                    evidence: vec![place()],
                },
                "doubt",
                "doubt",
            ),
            (
                Sent::Delivered {
                    evidence: vec![place()],
                },
                "gone",
                "gone",
            ),
            (Sent::CannotTell { why: place() }, "unsent", "doubt"),
        ];
        for (sent, clean, unclean) in table {
            for (how, expected) in [(Cleanly, clean), (Uncleanly, unclean)] {
                let name = match Verdict::of(sent.clone(), how) {
                    Verdict::Unsent => "unsent",
                    Verdict::Gone(_) => "gone",
                    Verdict::InDoubt(_) => "doubt",
                    Verdict::Known { .. } => "known",
                };
                assert_eq!(name, expected, "{sent:?} {how:?}");
            }
        }
    }
}
