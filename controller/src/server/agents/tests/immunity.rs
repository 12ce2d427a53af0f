//! Fingerprints from the agent that found the poison to every other agent, and back by a withdrawal.

use mailmend_proto::run::{
    BatchId, BodyPrint, Custody, Ended, Entry, PoisonProof, ProvenPoison, Settlement,
};
use mailmend_proto::wire::operator_server::Operator as _;
use mailmend_proto::wire::order::What;

use super::orders::{admin, operator};
use super::*;
use crate::immunity::State;
use crate::store::FingerprintRow;

const FOUND: u128 = 21;
const ASIDE: u128 = 22;

fn run(number: u128) -> RunId {
    RunId(Uuid::from_u128(number))
}

fn batch(number: u128) -> BatchId {
    BatchId(Uuid::from_u128(number << 64))
}

fn reported(number: u128, seq: u64, event: Event) -> from_agent::Message {
    let record = Record {
        seq,
        at_ms: 1_780_000_000_000,
        run: run(number),
        event,
    };
    from_agent::Message::Report(wire::Report {
        records: vec![record_to_wire(&record)],
    })
}

/// Tells events of a run, and waits until they are stored.
async fn told(line: &mut Line, number: u128, seq: &mut u64, events: Vec<Event>) {
    for event in events {
        *seq += 1;
        line.say(reported(number, *seq, event)).await;
        loop {
            if let to_agent::Message::Acknowledge(one) = line.hear().await.unwrap() {
                assert_eq!(one.seq, *seq);
                break;
            }
        }
    }
}

fn settled(number: u128, custody: Custody) -> Event {
    Event::Settled {
        batch: batch(number),
        entries: vec![Settlement {
            index: 0,
            custody,
            evidence: "it is so".into(),
        }],
    }
}

/// A duty that has one message, which is poison.
fn one_poison(number: u128, duty: &str) -> Vec<Event> {
    vec![
        Event::DutyBegan {
            duty: duty.into(),
            service: "MSExchangeIMC".parse().unwrap(),
            why: "it is a test".into(),
        },
        Event::BatchIntended {
            batch: batch(number),
            step: None,
            queue: "inbound-awaiting-conversion".into(),
            source: "/in".into(),
            held: "/held".into(),
            files: 1,
            bytes: 900,
            copied_from: None,
        },
        Event::BatchEntries {
            batch: batch(number),
            entries: vec![Entry {
                index: 0,
                name: "AAAA0001".into(),
                file_id: 1,
                size: 900,
                modified_ms: 0,
                hash: Digest::of(&number.to_le_bytes()),
                mts_id: String::new(),
                message_id: "<1@x.example>".into(),
                custody: Custody::Live,
            }],
        },
        settled(number, Custody::Poison),
    ]
}

fn held(number: u128) -> Event {
    Event::BatchHeld {
        batch: batch(number),
        left: Vec::new(),
    }
}

fn closed(how: Ended) -> Event {
    Event::Closed {
        how,
        detail: "over".into(),
    }
}

fn proven(number: u128, proof: PoisonProof) -> Event {
    Event::PoisonProven {
        batch: batch(number),
        entries: vec![ProvenPoison {
            index: 0,
            proof,
            how: "it crashed the service".into(),
            body: Some(BodyPrint {
                hash: Digest::of(b"body"),
                bytes: 600,
            }),
        }],
    }
}

async fn greeted(line: &mut Line, journal: u128, head: u64) {
    line.say(hello(journal, head)).await;
    let welcome = line.hear().await.unwrap();
    assert!(matches!(welcome, to_agent::Message::Welcome(_)));
}

async fn the_one(world: &World) -> FingerprintRow {
    let mut all = world.controller.store().fingerprints(true).await.unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn withdraw(id: &str) -> Request<wire::WithdrawFingerprintRequest> {
    admin(wire::WithdrawFingerprintRequest {
        id: id.into(),
        by: "anna".into(),
        why: "it is the newsletter".into(),
        keep: false,
    })
}

/// Two agents; the first has found poison, the second has heard of it and set a message aside.
async fn set_aside() -> (World, [Line; 2], [u64; 2], String) {
    let world = World::new().await;
    world.token("other", "EXA1").await;
    world.enrol("good", "EXB1", "csr").await.unwrap();
    world.enrol("other", "EXA1", "csr").await.unwrap();
    let (mut finder, mut other) = (world.dial("EXB1"), world.dial("EXA1"));
    greeted(&mut finder, 1, 99).await;
    greeted(&mut other, 2, 99).await;
    let before = other.immunity().await;
    assert_eq!((before.generation, before.fingerprints.len()), (0, 0));
    let (mut first, mut second) = (0, 0);
    let mut found = one_poison(FOUND, "watchdog");
    found.push(held(FOUND));
    found.push(proven(FOUND, PoisonProof::Search));
    found.push(closed(Ended::Committed));
    told(&mut finder, FOUND, &mut first, found).await;
    let now = other.immunity().await;
    assert_eq!((now.generation, now.fingerprints.len()), (1, 1));
    let id = now.fingerprints[0].id.clone();
    let mut aside = one_poison(ASIDE, "immunity");
    aside.push(Event::Immunized {
        batch: batch(ASIDE),
        entries: vec![(0, Uuid::try_parse(&id).unwrap())],
    });
    aside.push(held(ASIDE));
    aside.push(closed(Ended::Committed));
    told(&mut other, ASIDE, &mut second, aside).await;
    (world, [finder, other], [first, second], id)
}

#[tokio::test]
async fn poison_that_one_agent_proved_is_told_to_all_with_its_provenance() {
    let (world, [_finder, other], _, id) = set_aside().await;
    let row = the_one(&world).await;
    assert_eq!((row.set_aside, row.given_back), (1, 0));
    assert_eq!(row.fingerprint.agent, name("EXB1"));
    assert_eq!(row.fingerprint.run, run(FOUND));
    // One that connects later hears of it too.
    drop(other);
    let mut again = world.dial("EXA1");
    greeted(&mut again, 2, 99).await;
    let told = again.immunity().await;
    assert_eq!(told.fingerprints[0].id, id);
    assert!(
        told.fingerprints[0]
            .provenance
            .starts_with("EXB1 found it at ")
    );
    assert_eq!(told.fingerprints[0].message_id, "<1@x.example>");
    assert!(!told.in_hand);
    let hand = admin(wire::SetInHandRequest {
        agent: "EXA1".into(),
        in_hand: true,
        by: "anna".into(),
        why: "new disk".into(),
    });
    operator(&world.controller).set_in_hand(hand).await.unwrap();
    assert!(again.immunity().await.in_hand);
}

#[tokio::test]
async fn a_withdrawal_is_told_first_and_then_what_was_set_aside_is_ordered_back_once() {
    let (world, [mut finder, mut other], [mut first, mut second], id) = set_aside().await;
    let service = operator(&world.controller);
    let nobody = admin(wire::WithdrawFingerprintRequest {
        id: id.clone(),
        ..wire::WithdrawFingerprintRequest::default()
    });
    let refused = service.withdraw_fingerprint(nobody).await.unwrap_err();
    assert!(refused.message().starts_with("C098-reason-missing"));
    for _ in 0..2 {
        service.withdraw_fingerprint(withdraw(&id)).await.unwrap();
    }
    let store = world.controller.store();
    assert_eq!(store.immunity_generation().await.unwrap(), 2, "once");
    // It may not have heard of its own finding yet.
    loop {
        let told = finder.immunity().await;
        if told.generation == 2 {
            assert!(told.fingerprints.is_empty());
            break;
        }
    }
    assert!(other.immunity().await.fingerprints.is_empty());
    let heard = other.hear().await.unwrap();
    let to_agent::Message::Order(order) = heard else {
        panic!("{heard:?} instead of an order")
    };
    assert_eq!(order.run, run(ASIDE).to_string());
    assert!(order.fence > 0, "it is granted the site");
    assert_eq!(
        order.what,
        Some(What::Release(wire::Release {
            batch: batch(ASIDE).to_string(),
            fingerprint: id.clone(),
        }))
    );
    // While it is under way there is no other, also not after the controller has looked again.
    assert_eq!(store.due_releases(i64::MAX).await.unwrap(), []);
    let answer = wire::OrderAnswer {
        id: order.id.clone(),
        taken: false,
        code: "A073-release-refused".into(),
        why: "another run is open".into(),
    };
    other.say(from_agent::Message::OrderAnswer(answer)).await;
    // Refused: it is due again a minute later, and said why until then.
    let shown = || async {
        let request = admin(wire::GetFingerprintRequest { id: id.clone() });
        let shown = service.get_fingerprint(request).await.unwrap().into_inner();
        shown.messages[0].waits.clone()
    };
    let refused = tokio::time::timeout(LIMIT, async {
        loop {
            let waits = shown().await;
            if waits.contains("another run is open") {
                return waits;
            }
            tokio::task::yield_now().await;
        }
    });
    refused.await.expect("the refusal is shown");
    assert_eq!(store.due_releases(1000).await.unwrap(), []);
    let due = store.due_releases(1000 + 60_001).await.unwrap();
    assert_eq!((due.len(), due[0].agent.clone()), (1, name("EXA1")));
    // It is given back: nothing is due any more, and what was given back is counted.
    let released = vec![
        settled(ASIDE, Custody::Held),
        Event::ReleaseOrdered {
            order: Uuid::from_u128(77),
            by: "anna".into(),
            why: "withdrawn".into(),
            batch: Some(batch(ASIDE)),
        },
        closed(Ended::Released),
    ];
    told(&mut other, ASIDE, &mut second, released).await;
    assert_eq!(store.due_releases(i64::MAX).await.unwrap(), []);
    let row = the_one(&world).await;
    assert_eq!((row.set_aside, row.given_back), (0, 0));
    assert_eq!(row.fingerprint.state, State::Withdrawn);
    // What the release could not place is told, until it is back.
    assert!(shown().await.contains("left it held"));
    let gone = vec![settled(ASIDE, Custody::GoneWithEvidence)];
    told(&mut other, ASIDE, &mut second, gone).await;
    let row = the_one(&world).await;
    assert_eq!((row.set_aside, row.given_back), (0, 1));
    assert_eq!(shown().await, "");
    // Proven again it does not stand by itself; by a person's word it does.
    let again = vec![proven(FOUND, PoisonProof::Search)];
    told(&mut finder, FOUND, &mut first, again).await;
    assert_eq!(the_one(&world).await.fingerprint.state, State::Withdrawn);
    let alarms = world.alarms("EXB1").await;
    assert!(
        alarms[0].starts_with("C120-immunity-proven-again"),
        "{alarms:?}"
    );
    let word = vec![proven(FOUND, PoisonProof::Word)];
    told(&mut finder, FOUND, &mut first, word).await;
    assert_eq!(the_one(&world).await.fingerprint.state, State::Standing);
}

#[tokio::test]
async fn what_is_in_doubt_is_listed_with_its_fingerprint_and_waits_for_a_person() {
    let (world, [_finder, mut other], [_, mut second], id) = set_aside().await;
    let doubt = vec![settled(ASIDE, Custody::InDoubt)];
    told(&mut other, ASIDE, &mut second, doubt).await;
    let service = operator(&world.controller);
    let withdrawn = service.withdraw_fingerprint(withdraw(&id)).await.unwrap();
    let one = withdrawn.into_inner().messages.remove(0);
    assert!(one.standing);
    assert!(one.waits.contains("mailmend custody settle"), "{one:?}");
    let store = world.controller.store();
    assert_eq!(store.due_releases(i64::MAX).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_kept_at_a_withdrawal_is_not_given_back_until_somebody_says_so() {
    let (world, _lines, _, id) = set_aside().await;
    let service = operator(&world.controller);
    let mut keep = withdraw(&id);
    keep.get_mut().keep = true;
    service.withdraw_fingerprint(keep).await.unwrap();
    let store = world.controller.store();
    assert_eq!(store.due_releases(i64::MAX).await.unwrap(), []);
    service.withdraw_fingerprint(withdraw(&id)).await.unwrap();
    let ordered = tokio::time::timeout(LIMIT, async {
        while store
            .waiting_orders(&name("EXA1"))
            .await
            .unwrap()
            .is_empty()
        {
            tokio::task::yield_now().await;
        }
    });
    ordered.await.expect("the release is ordered");
}

#[tokio::test]
async fn what_a_person_settles_anew_is_no_fingerprints_any_more() {
    let (world, [_finder, mut other], [_, mut second], id) = set_aside().await;
    let poison = vec![settled(ASIDE, Custody::Poison)];
    told(&mut other, ASIDE, &mut second, poison).await;
    let service = operator(&world.controller);
    service.withdraw_fingerprint(withdraw(&id)).await.unwrap();
    assert!(other.immunity().await.fingerprints.is_empty());
    let store = world.controller.store();
    assert_eq!(store.due_releases(i64::MAX).await.unwrap(), []);
}

#[tokio::test]
async fn a_person_adds_a_message_in_custody_and_its_agent_is_asked_for_the_fingerprint() {
    let (world, [mut finder, _other], _, _) = set_aside().await;
    let service = operator(&world.controller);
    let add = |entry: &str, id: u128| {
        admin(wire::AddFingerprintRequest {
            run: run(FOUND).to_string(),
            entry: entry.into(),
            by: "anna".into(),
            why: "three servers died of it".into(),
            request_id: Uuid::from_u128(id).to_string(),
        })
    };
    let entry = format!("{}/0", batch(FOUND));
    let range = format!("{}/0-1", batch(FOUND));
    for bad in [range.as_str(), "nothing"] {
        let refused = service.add_fingerprint(add(bad, 7)).await.unwrap_err();
        assert!(
            refused.message().starts_with("C096"),
            "{}",
            refused.message()
        );
    }
    let stored = service.add_fingerprint(add(&entry, 8)).await.unwrap();
    assert_eq!(stored.into_inner().agent, "EXB1");
    let order = loop {
        if let to_agent::Message::Order(order) = finder.hear().await.unwrap() {
            break order;
        }
    };
    let batch = batch(FOUND).to_string();
    let wanted = What::Immunize(wire::Immunize { batch, entry: 0 });
    assert_eq!((order.by.as_str(), order.what), ("anna", Some(wanted)));
}
