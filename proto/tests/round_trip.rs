//! Whatever the domain can say survives the wire, and whatever the wire can carry is parsed or refused.
#![expect(clippy::unwrap_used, reason = "a test")]

use mailmend_policy::digest::Digest;
use mailmend_proto::convert::{record_from_wire, record_to_wire};
use mailmend_proto::run::{
    BatchId, BodyPrint, Custody, Ended, Entry, Event, Fate, Left, Outcome, PoisonProof,
    ProvenPoison, ReconciledMessage, Record, RunId, RunState, SearchMark, SearchObservation,
    SearchSuspect, SectionEnd, ServiceChange, Settlement,
};
use mailmend_proto::wire;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;

fn text() -> impl Strategy<Value = String> {
    "[ -~é\\t]{0,20}"
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn batch() -> impl Strategy<Value = BatchId> {
    any::<u128>().prop_map(|id| BatchId(uuid::Uuid::from_u128(id)))
}

fn outcome() -> impl Strategy<Value = Outcome> {
    select(vec![Outcome::Done, Outcome::NoEffect, Outcome::Unknown])
}

fn custody() -> impl Strategy<Value = Custody> {
    select(Custody::ALL.map(|(_, custody)| custody).to_vec())
}

fn entry() -> impl Strategy<Value = Entry> {
    let ids = (
        any::<u32>(),
        text(),
        any::<u64>(),
        any::<u64>(),
        any::<i64>(),
    );
    (ids, digest(), text(), text(), custody()).prop_map(
        |((index, name, file_id, size, modified_ms), hash, mts_id, message_id, custody)| Entry {
            index,
            name,
            file_id,
            size,
            modified_ms,
            hash,
            mts_id,
            message_id,
            custody,
        },
    )
}

fn proven() -> impl Strategy<Value = ProvenPoison> {
    let body = proptest::option::of((digest(), any::<u64>()));
    let proof = select(PoisonProof::ALL.map(|(_, proof)| proof).to_vec());
    (any::<u32>(), proof, text(), body).prop_map(|(index, proof, how, body)| ProvenPoison {
        index,
        proof,
        how,
        body: body.map(|(hash, bytes)| BodyPrint { hash, bytes }),
    })
}

fn left() -> impl Strategy<Value = Vec<Left>> {
    proptest::collection::vec(
        (any::<u32>(), text()).prop_map(|(index, why)| Left { index, why }),
        0..3,
    )
}

fn ranges() -> impl Strategy<Value = Vec<(u32, u32)>> {
    let range = any::<(u32, u32)>().prop_map(|(a, b)| (a.min(b), a.max(b)));
    proptest::collection::vec(range, 0..3)
}

fn suspect() -> impl Strategy<Value = SearchSuspect> {
    let mark = select(vec![
        SearchMark::Ordinary,
        SearchMark::Locked,
        SearchMark::Named,
    ]);
    (any::<(u32, u32, bool)>(), mark).prop_map(|((index, suspicion, in_flight), mark)| {
        SearchSuspect {
            index,
            mark,
            suspicion,
            in_flight,
        }
    })
}

fn observation() -> impl Strategy<Value = SearchObservation> {
    let seen = (ranges(), ranges(), proptest::option::of(ranges()));
    let rest = any::<(bool, Option<u32>, Option<u32>, bool)>();
    (seen, rest).prop_map(
        |((settled, still_there, in_flight), (crashed, named, locked, disturbed))| {
            SearchObservation {
                crashed,
                settled,
                still_there,
                in_flight,
                named,
                locked,
                disturbed,
            }
        },
    )
}

fn reconciled() -> impl Strategy<Value = ReconciledMessage> {
    let fate = select(Fate::ALL.map(|(_, fate)| fate).to_vec());
    let texts = (text(), text(), text(), text());
    let lists = (
        proptest::collection::vec(text(), 0..3),
        proptest::collection::vec(text(), 0..3),
    );
    let hash = proptest::option::of(any::<[u8; 32]>().prop_map(Digest::from_bytes));
    (texts, lists, fate, any::<i64>(), hash).prop_map(
        |(
            (mts_id, message_id, sender, escrow),
            (recipients, evidence),
            fate,
            accepted_ms,
            escrow_hash,
        )| {
            ReconciledMessage {
                mts_id,
                message_id,
                fate,
                accepted_ms,
                recipients,
                sender,
                evidence,
                escrow,
                escrow_hash,
            }
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let service =
        || select(vec!["MSExchangeIMC", "MSExchangeMTA"]).prop_map(|s| s.parse().unwrap());
    let change = select(vec![
        ServiceChange::StopIntended,
        ServiceChange::Stopped,
        ServiceChange::KillIntended,
        ServiceChange::Killed,
        ServiceChange::StartIntended,
        ServiceChange::Started,
        ServiceChange::Died,
    ]);
    let section_end = select(vec![
        SectionEnd::Committed,
        SectionEnd::Exited,
        SectionEnd::HandedOver,
    ]);
    let ended = select(vec![
        Ended::Committed,
        Ended::NotNeeded,
        Ended::Unwound,
        Ended::AtRest,
        Ended::Released,
    ]);
    let range = (any::<u32>(), any::<u32>()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    prop_oneof![
        (any::<u64>(), digest(), digest(), any::<Vec<u8>>()).prop_map(
            |(fence, plan, policy, assignment)| Event::Admitted {
                fence,
                plan,
                policy,
                assignment
            }
        ),
        (text(), service(), text()).prop_map(|(duty, service, why)| Event::DutyBegan {
            duty,
            service,
            why
        }),
        any::<(u64, u32)>().prop_map(|(fence, through)| Event::Advanced { fence, through }),
        any::<u64>().prop_map(|fence| Event::Fenced { fence }),
        any::<(u64, u32, bool)>().prop_map(|(fence, down_to, last)| Event::UnwindOrdered {
            fence,
            down_to,
            last
        }),
        any::<(u32, u32)>().prop_map(|(step, attempt)| Event::StepIntended { step, attempt }),
        (any::<u32>(), text()).prop_map(|(step, why)| Event::StepSkipped { step, why }),
        (
            any::<(u32, u32)>(),
            outcome(),
            text(),
            proptest::collection::vec(text(), 0..3)
        )
            .prop_map(
                |((step, attempt), outcome, detail, evidence)| Event::StepFinished {
                    step,
                    attempt,
                    outcome,
                    detail,
                    evidence
                }
            ),
        (any::<u32>(), service(), text(), any::<(u64, u64)>()).prop_map(
            |(section, service, boot, (since_boot_ms, budget_ms))| Event::SectionBegan {
                section,
                service,
                boot,
                since_boot_ms,
                budget_ms
            }
        ),
        (any::<u32>(), section_end, text()).prop_map(|(section, how, detail)| {
            Event::SectionEnded {
                section,
                how,
                detail,
            }
        }),
        any::<u32>().prop_map(|step| Event::UndoIntended { step }),
        (any::<u32>(), outcome(), text()).prop_map(|(step, outcome, detail)| Event::UndoFinished {
            step,
            outcome,
            detail
        }),
        (service(), change, any::<u32>()).prop_map(|(service, change, pid)| {
            Event::ServiceChanged {
                service,
                change,
                pid,
            }
        }),
        (
            batch(),
            any::<Option<u32>>(),
            (text(), text(), text()),
            any::<(u64, u64)>(),
            proptest::option::of("[a-z/]{1,12}")
        )
            .prop_map(
                |(batch, step, (queue, source, held), (files, bytes), copied_from)| {
                    Event::BatchIntended {
                        copied_from,
                        batch,
                        step,
                        queue,
                        source,
                        held,
                        files,
                        bytes,
                    }
                }
            ),
        (batch(), proptest::collection::vec(entry(), 0..4))
            .prop_map(|(batch, entries)| Event::BatchEntries { batch, entries }),
        (batch(), left()).prop_map(|(batch, left)| Event::BatchHeld { batch, left }),
        (
            batch(),
            any::<(u32, Option<u32>)>(),
            text(),
            proptest::collection::vec(range, 0..3)
        )
            .prop_map(
                |(batch, (replay, step), target, entries)| Event::ReplayIntended {
                    batch,
                    replay,
                    step,
                    target,
                    entries
                }
            ),
        (
            batch(),
            any::<u32>(),
            proptest::collection::vec((any::<u32>(), text()), 0..3),
            left()
        )
            .prop_map(|(batch, replay, renamed, left)| Event::ReplayPlaced {
                batch,
                replay,
                renamed,
                left
            }),
        (
            batch(),
            proptest::collection::vec(
                (any::<u32>(), custody(), text()).prop_map(|(index, custody, evidence)| {
                    Settlement {
                        index,
                        custody,
                        evidence,
                    }
                }),
                0..3
            )
        )
            .prop_map(|(batch, entries)| Event::Settled { batch, entries }),
        (text(), text()).prop_map(|(from, to)| Event::IndexSetAside { from, to }),
        (text(), text()).prop_map(|(code, text)| Event::Alarm { code, text }),
        (ended, text()).prop_map(|(how, detail)| Event::Closed { how, detail }),
        (any::<(u128, u32)>(), text(), text(), text()).prop_map(
            |((order, step), answer, by, note)| Event::Answered {
                order: uuid::Uuid::from_u128(order),
                step,
                answer,
                by,
                note
            }
        ),
        (any::<u128>(), text(), text(), proptest::option::of(batch())).prop_map(
            |(order, by, why, batch)| Event::ReleaseOrdered {
                order: uuid::Uuid::from_u128(order),
                by,
                why,
                batch
            }
        ),
        (batch(), text(), text(), text(), any::<u64>(), any::<bool>()).prop_map(
            |(batch, queue, source, held, folder_id, unclean)| Event::FolderIntended {
                batch,
                step: unclean.then_some(7),
                queue,
                source,
                held,
                folder_id,
                unclean,
            }
        ),
        (
            any::<u128>(),
            text(),
            text(),
            proptest::collection::vec(text(), 0..3)
        )
            .prop_map(|(order, by, why, left)| Event::RecoverOrdered {
                order: uuid::Uuid::from_u128(order),
                by,
                why,
                left
            }),
        (any::<u128>(), text(), text()).prop_map(|(order, by, why)| Event::SettleOrdered {
            order: uuid::Uuid::from_u128(order),
            by,
            why
        }),
        (
            any::<u32>(),
            batch(),
            proptest::collection::vec(suspect(), 0..3)
        )
            .prop_map(|(step, batch, suspects)| Event::SearchBegan {
                step,
                batch,
                suspects
            }),
        (any::<(u32, u32, u64, u64)>(), ranges(), text()).prop_map(
            |((step, start, may_send_twice, since_boot_ms), fed, boot)| Event::SearchStarted {
                step,
                start,
                fed,
                may_send_twice,
                boot,
                since_boot_ms,
            }
        ),
        (any::<(u32, u32)>(), observation()).prop_map(|((step, start), observation)| {
            Event::SearchObserved {
                step,
                start,
                observation,
            }
        }),
        (
            any::<(u32, u32, u64)>(),
            proptest::collection::vec(reconciled(), 0..3)
        )
            .prop_map(|((step, piece, delivered), messages)| Event::Reconciled {
                step,
                piece,
                delivered,
                messages
            }),
        (any::<(u32, u64)>(), text(), text(), text()).prop_map(
            |((step, keep_ms), queue, folder, kept_in)| Event::EscrowOrdered {
                step,
                queue,
                folder,
                kept_in,
                keep_ms
            }
        ),
        (batch(), proptest::collection::vec(proven(), 0..3))
            .prop_map(|(batch, entries)| Event::PoisonProven { batch, entries }),
        (
            batch(),
            proptest::collection::vec(
                (any::<u32>(), any::<u128>().prop_map(uuid::Uuid::from_u128)),
                0..3
            )
        )
            .prop_map(|(batch, entries)| Event::Immunized { batch, entries }),
        (any::<u64>(), digest(), any::<bool>()).prop_map(|(seq, hash, contradicts)| {
            Event::TrailWitnessed {
                seq,
                hash,
                contradicts,
            }
        }),
    ]
}

proptest! {
    #[test]
    fn a_record_survives_the_wire(seq: u64, at_ms: i64, run: u128, event in event()) {
        let record = Record { seq, at_ms, run: RunId(uuid::Uuid::from_u128(run)), event };
        let bytes = record_to_wire(&record).encode_to_vec();
        let back = record_from_wire(wire::Record::decode(&bytes[..]).unwrap()).unwrap();
        prop_assert_eq!(back, record);
    }

    #[test]
    fn bytes_from_a_stranger_are_parsed_or_refused_without_a_panic(bytes: Vec<u8>) {
        if let Ok(record) = wire::Record::decode(&bytes[..]) {
            let _ = record_from_wire(record);
        }
    }

    #[test]
    fn events_in_any_order_are_folded_or_refused_without_a_panic(
        events in proptest::collection::vec(event(), 0..12)
    ) {
        let first = Event::DutyBegan {
            duty: "watchdog".into(),
            service: "MSExchangeIMC".parse().unwrap(),
            why: String::new(),
        };
        let mut state = RunState::default().after(&first).unwrap();
        for event in &events {
            state = state.clone().after(event).unwrap_or(state);
        }
    }
}

#[test]
fn an_unspecified_enum_and_a_short_digest_are_refused_by_name() {
    let run = uuid::Uuid::nil().to_string();
    let event = wire::record::Event::Closed(wire::Closed {
        how: 0,
        detail: String::new(),
    });
    let record = wire::Record {
        seq: 1,
        at_ms: 0,
        run: run.clone(),
        event: Some(event),
    };
    assert!(
        record_from_wire(record)
            .unwrap_err()
            .to_string()
            .contains("closed.how")
    );
    let event = wire::record::Event::Admitted(wire::Admitted {
        plan_digest: vec![0; 31],
        ..wire::Admitted::default()
    });
    let record = wire::Record {
        seq: 1,
        at_ms: 0,
        run,
        event: Some(event),
    };
    assert!(
        record_from_wire(record)
            .unwrap_err()
            .to_string()
            .contains("31")
    );
    let empty = wire::Record {
        run: "x".into(),
        ..wire::Record::default()
    };
    assert!(record_from_wire(empty).is_err());
}
