//! What is signed of policies goes to agents that ask for it, before anything else, and to no others.

use mailmend_proto::convert::offer_from_wire;
use mailmend_trust::{
    Catalogue, Entry, Holder, Kind, Named, Offer, Role, Root, SecretKey, Sha256, Signed, Timestamp,
    Trusted,
};

use super::*;
use crate::signing::publication;
use crate::store::Change;

fn key(seed: u8) -> SecretKey {
    SecretKey::of(&[seed; 32])
}

fn signed(kind: Kind, text: String, seed: u8) -> Signed {
    let text = text.into_bytes();
    Signed {
        signatures: vec![key(seed).sign(kind, &text)],
        text,
    }
}

/// Root 1, and catalogue and timestamp of this version.
fn documents(version: u64) -> Vec<Signed> {
    let role = |seed| {
        let holder = Holder {
            key: key(seed).public(),
            holder: "x".into(),
        };
        Role::new(1, vec![holder]).unwrap()
    };
    let root = Root::new(1, 900_000_000, [1, 2, 3].map(role)).unwrap();
    let list = vec![Entry::of("stuck", 1, b"text")];
    let catalogue = Catalogue::new(version, 800_000_000, list).unwrap().write();
    let stamp = Timestamp {
        version,
        issued_ms: 1000,
        expires_ms: 700_000_000,
        root: 1,
        catalogue: Named {
            version,
            sha256: Sha256::of(catalogue.as_bytes()),
            bytes: catalogue.len() as u64,
        },
    };
    vec![
        signed(Kind::Root, root.write(), 1),
        signed(Kind::Timestamp, stamp.write(), 3),
        signed(Kind::Catalogue, catalogue, 2),
    ]
}

async fn publish(world: &World, version: u64) {
    let store = world.controller.store();
    let before = store.trusted().await.unwrap();
    let made = publication(before.as_ref(), documents(version), 1000).unwrap();
    let change = Change {
        at_ms: 1000,
        operator: "anna".into(),
        what: "publish-trust".into(),
        target: made.what.clone(),
        why: String::new(),
    };
    let generation = store.trust_generation().await.unwrap();
    let stored = store.publish_trust(generation, &made.roots, &made.state, &change);
    stored.await.unwrap();
    // Whoever looked before somebody else published stores nothing.
    let late = store.publish_trust(generation, &made.roots, &made.state, &change);
    assert!(late.await.is_err());
    world.controller.sessions().wake_all();
}

fn hello_of(held: Option<wire::TrustHeld>) -> from_agent::Message {
    from_agent::Message::Hello(wire::Hello {
        agent_version: "0.1.0".into(),
        journal: Uuid::from_u128(1).to_string(),
        trust: held,
        ..wire::Hello::default()
    })
}

async fn offered(line: &mut Line) -> Offer {
    loop {
        if let to_agent::Message::Trust(sent) = line.hear_anything().await.unwrap() {
            return offer_from_wire(sent).unwrap();
        }
    }
}

#[tokio::test]
async fn an_agent_that_asks_for_signatures_hears_them_first_and_again_when_they_change() {
    let world = World::new().await;
    world.enrol("good", "EXB1", "csr").await.unwrap();
    publish(&world, 1).await;
    let mut line = world.dial("EXB1");
    let held = wire::TrustHeld {
        signed: true,
        root: 1,
        ..wire::TrustHeld::default()
    };
    line.say(hello_of(Some(held))).await;
    let welcome = line.hear_anything().await.unwrap();
    assert!(matches!(welcome, to_agent::Message::Welcome(_)));
    let head = line.hear_anything().await.unwrap();
    assert!(matches!(head, to_agent::Message::TrailHead(_)));
    let to_agent::Message::Trust(sent) = line.hear_anything().await.unwrap() else {
        panic!("before all that is to be done");
    };
    let pinned = Trusted::pin(&documents(1)[0].text).unwrap();
    let step = pinned.offered(&offer_from_wire(sent).unwrap(), 1000);
    assert_eq!(step.refused, None);
    assert!(step.state.permits(b"text", 1000).is_ok());
    publish(&world, 2).await;
    let next = step.state.offered(&offered(&mut line).await, 1000);
    assert_eq!(next.refused, None);
    assert_eq!(next.state.version(Kind::Catalogue), 2);
    line.say(from_agent::Message::Trust(wire::TrustHeld {
        signed: true,
        catalogue: 2,
        code: "A161-trust-expired".into(),
        ..wire::TrustHeld::default()
    }))
    .await;
    let store = world.controller.store();
    let noted = async {
        while store.trust_held().await.unwrap()[&name("EXB1")]
            .held
            .catalogue
            != 2
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, noted).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_knows_nothing_of_signatures_is_sent_none() {
    for held in [None, Some(wire::TrustHeld::default())] {
        let world = World::new().await;
        world.enrol("good", "EXB1", "csr").await.unwrap();
        publish(&world, 1).await;
        let mut line = world.dial("EXB1");
        line.say(hello_of(held.clone())).await;
        // The list of what is watched comes after everything else.
        loop {
            match line.hear_anything().await.unwrap() {
                to_agent::Message::Trust(_) => panic!("it would end the session"),
                to_agent::Message::Watches(_) => break,
                _ => {}
            }
        }
        let told = world.controller.store().trust_held().await.unwrap();
        assert_eq!(told.contains_key(&name("EXB1")), held.is_some());
    }
}
