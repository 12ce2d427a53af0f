//! Events: one arm each way for each kind.

use mailmend_policy::name::ServiceName;

use super::{WireFault, batch_from_wire, digest_from_wire, fault, uuid_from_wire};
use crate::run::{
    BodyPrint, Custody, Ended, Entry, Event, Fate, Left, Outcome, PoisonProof, ProvenPoison,
    ReconciledMessage, SearchMark, SearchObservation, SearchSuspect, SectionEnd, ServiceChange,
    Settlement,
};
use crate::wire::{self, record::Event as Wire};

macro_rules! two_way {
    ($from:ident, $to:ident, $field:literal, $domain:ident, $wire:path { $($variant:ident),+ }) => {
        fn $from(value: i32) -> Result<$domain, WireFault> {
            use $wire as W;
            match W::try_from(value) {
                $(Ok(W::$variant) => Ok($domain::$variant),)+
                _ => Err(fault($field, format!("`{value}` is not a known value"))),
            }
        }
        const fn $to(value: $domain) -> i32 {
            use $wire as W;
            match value { $($domain::$variant => W::$variant as i32,)+ }
        }
    };
}
two_way!(
    outcome_in,
    outcome_out,
    "outcome",
    Outcome,
    wire::Outcome {
        Done,
        NoEffect,
        Unknown
    }
);
two_way!(
    section_in,
    section_out,
    "section_ended.how",
    SectionEnd,
    wire::SectionEnd {
        Committed,
        Exited,
        HandedOver
    }
);
two_way!(
    change_in,
    change_out,
    "service_changed.change",
    ServiceChange,
    wire::ServiceChange {
        StopIntended,
        Stopped,
        KillIntended,
        Killed,
        StartIntended,
        Started,
        Died
    }
);
two_way!(
    custody_in,
    custody_out,
    "custody",
    Custody,
    wire::Custody {
        Live,
        Held,
        Replaying,
        GoneWithEvidence,
        Poison,
        InDoubt
    }
);
two_way!(
    ended_in,
    ended_out,
    "closed.how",
    Ended,
    wire::Ended {
        Committed,
        NotNeeded,
        Unwound,
        AtRest,
        Released
    }
);
two_way!(
    mark_in,
    mark_out,
    "search_began.mark",
    SearchMark,
    wire::SearchMark {
        Ordinary,
        Locked,
        Named
    }
);
two_way!(
    proof_in,
    proof_out,
    "poison_proven.proof",
    PoisonProof,
    wire::PoisonProof {
        Search,
        Named,
        Word
    }
);
two_way!(
    fate_in,
    fate_out,
    "reconciled.fate",
    Fate,
    wire::Fate {
        Delivered,
        Waiting,
        Reported,
        Vanished,
        CannotTell,
        InCustody
    }
);

fn service_in(text: &str) -> Result<ServiceName, WireFault> {
    text.parse().map_err(|why| fault("service", why))
}

fn left_in(left: Vec<wire::Left>) -> Vec<Left> {
    left.into_iter()
        .map(|left| Left {
            index: left.index,
            why: left.why,
        })
        .collect()
}

fn left_out(left: &[Left]) -> Vec<wire::Left> {
    left.iter()
        .map(|left| wire::Left {
            index: left.index,
            why: left.why.clone(),
        })
        .collect()
}

/// An entry in custody from the wire.
///
/// # Errors
/// Where a field makes no sense.
pub fn entry_in(entry: wire::Entry) -> Result<Entry, WireFault> {
    Ok(Entry {
        index: entry.index,
        name: entry.name,
        file_id: entry.file_id,
        size: entry.size,
        modified_ms: entry.modified_ms,
        hash: digest_from_wire("entry.hash", &entry.hash)?,
        mts_id: entry.mts_id,
        message_id: entry.message_id,
        custody: custody_in(entry.custody)?,
    })
}

/// An entry in custody for the wire.
#[must_use]
pub fn entry_out(entry: &Entry) -> wire::Entry {
    wire::Entry {
        index: entry.index,
        name: entry.name.clone(),
        file_id: entry.file_id,
        size: entry.size,
        modified_ms: entry.modified_ms,
        hash: entry.hash.as_bytes().to_vec(),
        mts_id: entry.mts_id.clone(),
        message_id: entry.message_id.clone(),
        custody: custody_out(entry.custody),
    }
}

fn ranges_in(ranges: &[wire::Range]) -> Result<Vec<(u32, u32)>, WireFault> {
    ranges
        .iter()
        .map(|range| {
            if range.first > range.last {
                return Err(fault(
                    "range",
                    format!("{} is after {}", range.first, range.last),
                ));
            }
            Ok((range.first, range.last))
        })
        .collect()
}

pub(super) fn from_wire(event: Wire) -> Result<Event, WireFault> {
    Ok(match event {
        Wire::Admitted(e) => Event::Admitted {
            fence: e.fence,
            plan: digest_from_wire("admitted.plan_digest", &e.plan_digest)?,
            policy: digest_from_wire("admitted.policy_digest", &e.policy_digest)?,
            assignment: e.assignment,
        },
        Wire::DutyBegan(e) => Event::DutyBegan {
            duty: e.duty,
            service: service_in(&e.service)?,
            why: e.why,
        },
        Wire::Advanced(e) => Event::Advanced {
            fence: e.fence,
            through: e.through,
        },
        Wire::Fenced(e) => Event::Fenced { fence: e.fence },
        Wire::UnwindOrdered(e) => Event::UnwindOrdered {
            fence: e.fence,
            down_to: e.down_to,
            last: e.last,
        },
        Wire::StepIntended(e) => Event::StepIntended {
            step: e.step,
            attempt: e.attempt,
        },
        Wire::StepSkipped(e) => Event::StepSkipped {
            step: e.step,
            why: e.why,
        },
        Wire::StepFinished(e) => Event::StepFinished {
            step: e.step,
            attempt: e.attempt,
            outcome: outcome_in(e.outcome)?,
            detail: e.detail,
            evidence: e.evidence,
        },
        Wire::SectionBegan(e) => Event::SectionBegan {
            section: e.section,
            service: service_in(&e.service)?,
            boot: e.boot,
            since_boot_ms: e.since_boot_ms,
            budget_ms: e.budget_ms,
        },
        Wire::SectionEnded(e) => Event::SectionEnded {
            section: e.section,
            how: section_in(e.how)?,
            detail: e.detail,
        },
        Wire::UndoIntended(e) => Event::UndoIntended { step: e.step },
        Wire::UndoFinished(e) => Event::UndoFinished {
            step: e.step,
            outcome: outcome_in(e.outcome)?,
            detail: e.detail,
        },
        Wire::ServiceChanged(e) => Event::ServiceChanged {
            service: service_in(&e.service)?,
            change: change_in(e.change)?,
            pid: e.pid,
        },
        Wire::BatchIntended(e) => Event::BatchIntended {
            batch: batch_from_wire(&e.batch)?,
            step: e.step,
            queue: e.queue,
            source: e.source,
            held: e.held,
            files: e.files,
            bytes: e.bytes,
            copied_from: (!e.copied_from.is_empty()).then_some(e.copied_from),
        },
        Wire::BatchEntries(e) => Event::BatchEntries {
            batch: batch_from_wire(&e.batch)?,
            entries: e
                .entries
                .into_iter()
                .map(entry_in)
                .collect::<Result<_, _>>()?,
        },
        Wire::BatchHeld(e) => Event::BatchHeld {
            batch: batch_from_wire(&e.batch)?,
            left: left_in(e.left),
        },
        Wire::ReplayIntended(e) => Event::ReplayIntended {
            batch: batch_from_wire(&e.batch)?,
            replay: e.replay,
            step: e.step,
            target: e.target,
            entries: ranges_in(&e.entries)?,
        },
        Wire::ReplayPlaced(e) => Event::ReplayPlaced {
            batch: batch_from_wire(&e.batch)?,
            replay: e.replay,
            renamed: e
                .renamed
                .into_iter()
                .map(|renamed| (renamed.index, renamed.name))
                .collect(),
            left: left_in(e.left),
        },
        Wire::Settled(e) => Event::Settled {
            batch: batch_from_wire(&e.batch)?,
            entries: e
                .entries
                .into_iter()
                .map(|s| {
                    let custody = custody_in(s.custody)?;
                    Ok(Settlement {
                        index: s.index,
                        custody,
                        evidence: s.evidence,
                    })
                })
                .collect::<Result<_, WireFault>>()?,
        },
        Wire::IndexSetAside(e) => Event::IndexSetAside {
            from: e.from,
            to: e.to,
        },
        Wire::Alarm(e) => Event::Alarm {
            code: e.code,
            text: e.text,
        },
        Wire::Closed(e) => Event::Closed {
            how: ended_in(e.how)?,
            detail: e.detail,
        },
        Wire::Answered(e) => Event::Answered {
            order: uuid_from_wire("answered.order", &e.order)?,
            step: e.step,
            answer: e.answer,
            by: e.by,
            note: e.note,
        },
        Wire::ReleaseOrdered(e) => Event::ReleaseOrdered {
            order: uuid_from_wire("release_ordered.order", &e.order)?,
            by: e.by,
            why: e.why,
            batch: match e.batch.as_str() {
                "" => None,
                batch => Some(batch_from_wire(batch)?),
            },
        },
        Wire::RecoverOrdered(e) => Event::RecoverOrdered {
            order: uuid_from_wire("recover_ordered.order", &e.order)?,
            by: e.by,
            why: e.why,
            left: e.left,
        },
        Wire::SettleOrdered(e) => Event::SettleOrdered {
            order: uuid_from_wire("settle_ordered.order", &e.order)?,
            by: e.by,
            why: e.why,
        },
        Wire::FolderIntended(e) => Event::FolderIntended {
            batch: batch_from_wire(&e.batch)?,
            step: e.step,
            queue: e.queue,
            source: e.source,
            held: e.held,
            folder_id: e.folder_id,
            unclean: e.unclean,
        },
        Wire::SearchBegan(e) => Event::SearchBegan {
            step: e.step,
            batch: batch_from_wire(&e.batch)?,
            suspects: e
                .suspects
                .into_iter()
                .map(|suspect| {
                    Ok(SearchSuspect {
                        index: suspect.index,
                        mark: mark_in(suspect.mark)?,
                        suspicion: suspect.suspicion,
                        in_flight: suspect.in_flight,
                    })
                })
                .collect::<Result<_, WireFault>>()?,
        },
        Wire::SearchStarted(e) => Event::SearchStarted {
            step: e.step,
            start: e.start,
            fed: ranges_in(&e.fed)?,
            may_send_twice: e.may_send_twice,
            boot: e.boot,
            since_boot_ms: e.since_boot_ms,
        },
        Wire::SearchObserved(e) => Event::SearchObserved {
            step: e.step,
            start: e.start,
            observation: SearchObservation {
                crashed: e.crashed,
                settled: ranges_in(&e.settled)?,
                still_there: ranges_in(&e.still_there)?,
                in_flight: match e.flight_known {
                    true => Some(ranges_in(&e.in_flight)?),
                    false => None,
                },
                named: e.named,
                locked: e.locked,
                disturbed: e.disturbed,
            },
        },
        Wire::Reconciled(e) => Event::Reconciled {
            step: e.step,
            piece: e.piece,
            delivered: e.delivered,
            messages: e
                .messages
                .into_iter()
                .map(reconciled_in)
                .collect::<Result<_, WireFault>>()?,
        },
        Wire::EscrowOrdered(e) => Event::EscrowOrdered {
            step: e.step,
            queue: e.queue,
            folder: e.folder,
            kept_in: e.kept_in,
            keep_ms: e.keep_ms,
        },
        Wire::PoisonProven(e) => Event::PoisonProven {
            batch: batch_from_wire(&e.batch)?,
            entries: e
                .entries
                .into_iter()
                .map(proven_in)
                .collect::<Result<_, _>>()?,
        },
        Wire::Immunized(e) => Event::Immunized {
            batch: batch_from_wire(&e.batch)?,
            entries: e
                .entries
                .iter()
                .map(|one| {
                    let id = uuid_from_wire("immunized.fingerprint", &one.fingerprint)?;
                    Ok((one.index, id))
                })
                .collect::<Result<_, _>>()?,
        },
        Wire::TrailWitnessed(e) => Event::TrailWitnessed {
            seq: e.seq,
            hash: digest_from_wire("trail_witnessed.hash", &e.hash)?,
            contradicts: e.contradicts,
        },
    })
}

fn proven_in(proven: wire::ProvenPoison) -> Result<ProvenPoison, WireFault> {
    Ok(ProvenPoison {
        index: proven.index,
        proof: proof_in(proven.proof)?,
        how: proven.how,
        body: body_in("poison_proven.body", &proven.body, proven.body_bytes)?,
    })
}

/// The print of a body from the wire; none where the digest is empty.
///
/// # Errors
/// Where the digest has another length.
pub fn body_in(
    field: &'static str,
    hash: &[u8],
    bytes: u64,
) -> Result<Option<BodyPrint>, WireFault> {
    if hash.is_empty() {
        return Ok(None);
    }
    let hash = digest_from_wire(field, hash)?;
    Ok(Some(BodyPrint { hash, bytes }))
}

/// The print of a body for the wire: its digest, empty where there is none, and its length.
#[must_use]
pub fn body_out(body: Option<&BodyPrint>) -> (Vec<u8>, u64) {
    body.map_or_else(Default::default, |body| {
        (body.hash.as_bytes().to_vec(), body.bytes)
    })
}

/// How a message was proven to be poison, for the wire.
#[must_use]
pub const fn proof_to_wire(proof: PoisonProof) -> i32 {
    proof_out(proof)
}

/// What became of a message, from the wire.
///
/// # Errors
/// Where its fate is not a known one.
pub fn reconciled_in(message: wire::ReconciledMessage) -> Result<ReconciledMessage, WireFault> {
    Ok(ReconciledMessage {
        mts_id: message.mts_id,
        message_id: message.message_id,
        fate: fate_in(message.fate)?,
        accepted_ms: message.accepted_ms,
        recipients: message.recipients,
        sender: message.sender,
        evidence: message.evidence,
        escrow: message.escrow,
        escrow_hash: match message.escrow_hash.as_slice() {
            [] => None,
            bytes => Some(digest_from_wire("reconciled.escrow_hash", bytes)?),
        },
    })
}

/// What became of a message, for the wire.
#[must_use]
pub fn reconciled_out(message: ReconciledMessage) -> wire::ReconciledMessage {
    wire::ReconciledMessage {
        mts_id: message.mts_id,
        message_id: message.message_id,
        fate: fate_out(message.fate),
        accepted_ms: message.accepted_ms,
        recipients: message.recipients,
        sender: message.sender,
        evidence: message.evidence,
        escrow: message.escrow,
        escrow_hash: message
            .escrow_hash
            .map(|hash| hash.as_bytes().to_vec())
            .unwrap_or_default(),
    }
}

fn ranges_out(ranges: Vec<(u32, u32)>) -> Vec<wire::Range> {
    ranges
        .into_iter()
        .map(|(first, last)| wire::Range { first, last })
        .collect()
}

pub(super) fn to_wire(event: &Event) -> Wire {
    match event.clone() {
        Event::Admitted {
            fence,
            plan,
            policy,
            assignment,
        } => Wire::Admitted(wire::Admitted {
            fence,
            plan_digest: plan.as_bytes().to_vec(),
            policy_digest: policy.as_bytes().to_vec(),
            assignment,
        }),
        Event::DutyBegan { duty, service, why } => Wire::DutyBegan(wire::DutyBegan {
            duty,
            service: service.to_string(),
            why,
        }),
        Event::Advanced { fence, through } => Wire::Advanced(wire::Advanced { fence, through }),
        Event::Fenced { fence } => Wire::Fenced(wire::Fenced { fence }),
        Event::UnwindOrdered {
            fence,
            down_to,
            last,
        } => Wire::UnwindOrdered(wire::UnwindOrdered {
            fence,
            down_to,
            last,
        }),
        Event::StepIntended { step, attempt } => {
            Wire::StepIntended(wire::StepIntended { step, attempt })
        }
        Event::StepSkipped { step, why } => Wire::StepSkipped(wire::StepSkipped { step, why }),
        Event::StepFinished {
            step,
            attempt,
            outcome,
            detail,
            evidence,
        } => {
            let outcome = outcome_out(outcome);
            Wire::StepFinished(wire::StepFinished {
                step,
                attempt,
                outcome,
                detail,
                evidence,
            })
        }
        Event::SectionBegan {
            section,
            service,
            boot,
            since_boot_ms,
            budget_ms,
        } => {
            let service = service.to_string();
            Wire::SectionBegan(wire::SectionBegan {
                section,
                service,
                boot,
                since_boot_ms,
                budget_ms,
            })
        }
        Event::SectionEnded {
            section,
            how,
            detail,
        } => Wire::SectionEnded(wire::SectionEnded {
            section,
            how: section_out(how),
            detail,
        }),
        Event::UndoIntended { step } => Wire::UndoIntended(wire::UndoIntended { step }),
        Event::UndoFinished {
            step,
            outcome,
            detail,
        } => Wire::UndoFinished(wire::UndoFinished {
            step,
            outcome: outcome_out(outcome),
            detail,
        }),
        Event::ServiceChanged {
            service,
            change,
            pid,
        } => {
            let (service, change) = (service.to_string(), change_out(change));
            Wire::ServiceChanged(wire::ServiceChanged {
                service,
                change,
                pid,
            })
        }
        Event::BatchIntended {
            batch,
            step,
            queue,
            source,
            held,
            files,
            bytes,
            copied_from,
        } => {
            let batch = batch.to_string();
            Wire::BatchIntended(wire::BatchIntended {
                batch,
                step,
                queue,
                source,
                held,
                files,
                bytes,
                copied_from: copied_from.unwrap_or_default(),
            })
        }
        Event::BatchEntries { batch, entries } => Wire::BatchEntries(wire::BatchEntries {
            batch: batch.to_string(),
            entries: entries.iter().map(entry_out).collect(),
        }),
        Event::BatchHeld { batch, left } => Wire::BatchHeld(wire::BatchHeld {
            batch: batch.to_string(),
            left: left_out(&left),
        }),
        Event::ReplayIntended {
            batch,
            replay,
            step,
            target,
            entries,
        } => Wire::ReplayIntended(wire::ReplayIntended {
            batch: batch.to_string(),
            replay,
            step,
            target,
            entries: entries
                .into_iter()
                .map(|(first, last)| wire::Range { first, last })
                .collect(),
        }),
        Event::ReplayPlaced {
            batch,
            replay,
            renamed,
            left,
        } => Wire::ReplayPlaced(wire::ReplayPlaced {
            batch: batch.to_string(),
            replay,
            renamed: renamed
                .into_iter()
                .map(|(index, name)| wire::Renamed { index, name })
                .collect(),
            left: left_out(&left),
        }),
        Event::Settled { batch, entries } => Wire::Settled(wire::Settled {
            batch: batch.to_string(),
            entries: entries
                .into_iter()
                .map(|s| wire::Settlement {
                    index: s.index,
                    custody: custody_out(s.custody),
                    evidence: s.evidence,
                })
                .collect(),
        }),
        Event::IndexSetAside { from, to } => Wire::IndexSetAside(wire::IndexSetAside { from, to }),
        Event::Alarm { code, text } => Wire::Alarm(wire::Alarm { code, text }),
        Event::Closed { how, detail } => Wire::Closed(wire::Closed {
            how: ended_out(how),
            detail,
        }),
        Event::Answered {
            order,
            step,
            answer,
            by,
            note,
        } => Wire::Answered(wire::Answered {
            order: order.to_string(),
            step,
            answer,
            by,
            note,
        }),
        Event::ReleaseOrdered {
            order,
            by,
            why,
            batch,
        } => Wire::ReleaseOrdered(wire::ReleaseOrdered {
            order: order.to_string(),
            by,
            why,
            batch: batch.map_or_else(String::new, |batch| batch.to_string()),
        }),
        Event::RecoverOrdered {
            order,
            by,
            why,
            left,
        } => Wire::RecoverOrdered(wire::RecoverOrdered {
            order: order.to_string(),
            by,
            why,
            left,
        }),
        Event::SettleOrdered { order, by, why } => Wire::SettleOrdered(wire::SettleOrdered {
            order: order.to_string(),
            by,
            why,
        }),
        Event::FolderIntended {
            batch,
            step,
            queue,
            source,
            held,
            folder_id,
            unclean,
        } => Wire::FolderIntended(wire::FolderIntended {
            batch: batch.to_string(),
            step,
            queue,
            source,
            held,
            folder_id,
            unclean,
        }),
        Event::SearchBegan {
            step,
            batch,
            suspects,
        } => Wire::SearchBegan(wire::SearchBegan {
            step,
            batch: batch.to_string(),
            suspects: suspects
                .into_iter()
                .map(|suspect| wire::SearchSuspect {
                    index: suspect.index,
                    mark: mark_out(suspect.mark),
                    suspicion: suspect.suspicion,
                    in_flight: suspect.in_flight,
                })
                .collect(),
        }),
        Event::SearchStarted {
            step,
            start,
            fed,
            may_send_twice,
            boot,
            since_boot_ms,
        } => Wire::SearchStarted(wire::SearchStarted {
            step,
            start,
            fed: ranges_out(fed),
            may_send_twice,
            boot,
            since_boot_ms,
        }),
        Event::SearchObserved {
            step,
            start,
            observation: seen,
        } => Wire::SearchObserved(wire::SearchObserved {
            step,
            start,
            crashed: seen.crashed,
            settled: ranges_out(seen.settled),
            still_there: ranges_out(seen.still_there),
            flight_known: seen.in_flight.is_some(),
            in_flight: ranges_out(seen.in_flight.unwrap_or_default()),
            named: seen.named,
            locked: seen.locked,
            disturbed: seen.disturbed,
        }),
        Event::Reconciled {
            step,
            piece,
            delivered,
            messages,
        } => Wire::Reconciled(wire::Reconciled {
            step,
            piece,
            delivered,
            messages: messages.into_iter().map(reconciled_out).collect(),
        }),
        Event::EscrowOrdered {
            step,
            queue,
            folder,
            kept_in,
            keep_ms,
        } => Wire::EscrowOrdered(wire::EscrowOrdered {
            step,
            queue,
            folder,
            kept_in,
            keep_ms,
        }),
        Event::PoisonProven { batch, entries } => Wire::PoisonProven(wire::PoisonProven {
            batch: batch.to_string(),
            entries: entries
                .into_iter()
                .map(|proven| {
                    let (body, body_bytes) = body_out(proven.body.as_ref());
                    wire::ProvenPoison {
                        index: proven.index,
                        proof: proof_out(proven.proof),
                        how: proven.how,
                        body,
                        body_bytes,
                    }
                })
                .collect(),
        }),
        Event::Immunized { batch, entries } => Wire::Immunized(wire::Immunized {
            batch: batch.to_string(),
            entries: entries
                .into_iter()
                .map(|(index, fingerprint)| wire::ImmunizedEntry {
                    index,
                    fingerprint: fingerprint.to_string(),
                })
                .collect(),
        }),
        Event::TrailWitnessed {
            seq,
            hash,
            contradicts,
        } => Wire::TrailWitnessed(wire::TrailWitnessed {
            seq,
            hash: hash.as_bytes().to_vec(),
            contradicts,
        }),
    }
}
