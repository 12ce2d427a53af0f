//! Where every file of a batch is, written down: the end of each quarantine.

use std::collections::BTreeMap;

use mailmend_proto::run::{Batch, BatchId, Custody, Event, Left};

use super::super::survey::Suspect;
use super::super::{CustodyError, Desk, alarm};
use super::{Decision, Finished, Verdict, in_doubt};
use crate::faults::known;

pub(in crate::custody) fn write_down(
    desk: &Desk<'_>,
    id: BatchId,
    batch: &Batch,
    decisions: &[Decision],
    refusals: &BTreeMap<u32, String>,
    verdicts: Vec<Verdict>,
) -> Result<Finished, CustodyError> {
    let mut finished = Finished {
        held: 0,
        gone: 0,
        in_doubt: 0,
        left: Vec::new(),
    };
    let (mut left, mut settlements, mut alarms) = (Vec::new(), Vec::new(), Vec::new());
    for ((entry, decision), verdict) in batch.entries.iter().zip(decisions).zip(verdicts) {
        let name = &entry.name;
        let mut stay = |why: &str| {
            let why = match refusals.get(&entry.index) {
                Some(reason) => format!("{why}: {reason}"),
                None => why.to_owned(),
            };
            left.push(Left {
                index: entry.index,
                why: why.clone(),
            });
            why
        };
        // What was settled with the intention and could not be taken out of the queue may be sent
        // (again): that is said, whatever else is known.
        let doubt = |why: &str| {
            let known = match entry.custody {
                Custody::GoneWithEvidence => "it was delivered and is still in the queue",
                Custody::InDoubt => "it may have been sent and is still in the queue",
                _ => return None,
            };
            Some(format!("{known}: {why}"))
        };
        // What a fingerprint made poison may have been sent just before it was taken, too.
        if matches!(decision, Decision::Held)
            && matches!(entry.custody, Custody::Live | Custody::Poison)
        {
            settlements.extend(verdict.clone().settlement(entry.index));
        }
        match decision {
            Decision::Held => match entry.custody {
                Custody::GoneWithEvidence => finished.gone += 1,
                Custody::InDoubt => finished.in_doubt += 1,
                _ => match &verdict {
                    Verdict::Unsent | Verdict::Known { .. } => finished.held += 1,
                    Verdict::Gone(_) => finished.gone += 1,
                    Verdict::InDoubt(_) => finished.in_doubt += 1,
                },
            },
            Decision::HeldChanged => {
                finished.in_doubt += 1;
                let why = format!(
                    "`{name}` in `{}` is not what the manifest has: it changed, or was swapped, while \
                     it was taken",
                    batch.held
                );
                alarms.push(alarm(const { known("A084-held-mail-damaged") }, &why));
                settlements.push(in_doubt(entry.index, why));
            }
            Decision::Leave(why) | Decision::LeaveWithAlarm(why) => {
                let why = stay(why);
                if matches!(decision, Decision::LeaveWithAlarm(_)) {
                    let text = format!("`{name}` of `{}`: {why}", batch.source);
                    alarms.push(alarm(const { known("A087-custody-contradiction") }, text));
                }
                if let Some(doubt) = doubt(&why) {
                    finished.in_doubt += 1;
                    alarms.push(alarm(
                        const { known("A088-may-be-sent-again") },
                        format!("`{name}` of `{}`: {doubt}", batch.source),
                    ));
                    settlements.push(in_doubt(entry.index, doubt));
                }
                finished.left.push(Suspect {
                    name: name.clone(),
                    why,
                });
            }
            // What had been settled as delivered may well have been removed by the service.
            Decision::Missing if entry.custody == Custody::GoneWithEvidence => finished.gone += 1,
            Decision::Missing if matches!(verdict, Verdict::Gone(_)) => {
                finished.gone += 1;
                settlements.extend(verdict.settlement(entry.index));
            }
            Decision::Missing | Decision::Move => {
                let why = format!(
                    "`{name}` is neither in `{}` nor in `{}`",
                    batch.source, batch.held
                );
                finished.in_doubt += 1;
                alarms.push(alarm(const { known("A089-mail-missing") }, &why));
                settlements.push(in_doubt(entry.index, why));
            }
        }
    }
    let mut events = vec![Event::BatchHeld { batch: id, left }];
    if !settlements.is_empty() {
        events.push(Event::Settled {
            batch: id,
            entries: settlements,
        });
    }
    events.extend(alarms);
    desk.append(events)?;
    Ok(finished)
}
