use std::collections::BTreeMap;

use mailmend_policy::digest::Digest;
use mailmend_proto::convert::record_to_wire;
use mailmend_proto::run::Ended;
use uuid::Uuid;

use super::*;
use crate::store::{CustodyFilter, Greeting, NewToken};

struct World {
    _folder: tempfile::TempDir,
    store: Store,
    name: ServerName,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("controller.db"))
            .await
            .unwrap();
        let name: ServerName = "EXB1".parse().unwrap();
        let token = NewToken {
            hash: [1; 32],
            agent: name.clone(),
            site: "oslo".parse().unwrap(),
            labels: BTreeMap::new(),
            created_ms: 0,
            by: "test".into(),
            expires_ms: 100,
        };
        store.create_token(&token).await.unwrap();
        store
            .take_token(&[1; 32], &name, &crate::store::NewCertificate::default(), 1)
            .await
            .unwrap()
            .unwrap();
        Self {
            _folder: folder,
            store,
            name,
        }
    }

    /// A new session's ledger.
    async fn ledger(&self, head: u64) -> Ledger {
        let greeting = Greeting {
            version: String::new(),
            journal: "one".into(),
            head,
            highest_fence: 0,
            facts: BTreeMap::new(),
            actions: std::collections::BTreeSet::new(),
        };
        let agent = self
            .store
            .greet(&self.name, &greeting, 1)
            .await
            .unwrap()
            .unwrap();
        Ledger::of(&agent)
    }

    async fn report(&self, ledger: &mut Ledger, records: &[&Record]) -> Result<u64, IngestFault> {
        let records = records
            .iter()
            .map(|record| record_to_wire(record))
            .collect();
        ledger.report(&self.store, records, 2).await
    }
}

fn run() -> RunId {
    RunId(Uuid::from_u128(5))
}

fn records() -> Vec<Record> {
    let events = [
        Event::DutyBegan {
            duty: "watchdog".into(),
            service: "MSExchangeIMC".parse().unwrap(),
            why: "it died".into(),
        },
        Event::Alarm {
            code: "A001-x".into(),
            text: "look".into(),
        },
        Event::Closed {
            how: Ended::Committed,
            detail: "up again".into(),
        },
    ];
    events
        .into_iter()
        .zip(1..)
        .map(|(event, seq)| Record {
            seq,
            at_ms: 1,
            run: run(),
            event,
        })
        .collect()
}

#[tokio::test]
async fn repeated_and_overlapping_reports_change_nothing() {
    let world = World::new().await;
    let all = records();
    let mut ledger = world.ledger(3).await;
    assert_eq!(world.report(&mut ledger, &[&all[0]]).await.unwrap(), 1);
    assert_eq!(world.report(&mut ledger, &[&all[0]]).await.unwrap(), 1);
    assert_eq!(
        world
            .report(&mut ledger, &[&all[0], &all[1], &all[1]])
            .await
            .unwrap(),
        2
    );
    // A new session knows nothing but the store.
    let mut ledger = world.ledger(3).await;
    assert_eq!(ledger.acknowledged(), 2);
    assert_eq!(
        world
            .report(&mut ledger, &[&all[1], &all[2]])
            .await
            .unwrap(),
        3
    );
    let stored = world.store.events(&world.name, "one", run()).await.unwrap();
    let told: Vec<&Event> = all.iter().map(|record| &record.event).collect();
    assert_eq!(stored.iter().collect::<Vec<_>>(), told);
    let duty = world.store.duty(run()).await.unwrap().unwrap();
    assert_eq!(duty.phase, crate::rollout::RunPhase::Succeeded);
}

#[tokio::test]
async fn a_gap_is_refused_and_nothing_of_the_report_is_stored() {
    let world = World::new().await;
    let all = records();
    let mut ledger = world.ledger(3).await;
    let fault = world
        .report(&mut ledger, &[&all[0], &all[2]])
        .await
        .unwrap_err();
    assert!(
        matches!(
            fault,
            IngestFault::Gap {
                came: 3,
                expected: 2,
                ..
            }
        ),
        "{fault}"
    );
    assert!(!fault.is_alarm());
    assert_eq!(world.ledger(3).await.acknowledged(), 0);
    assert_eq!(
        world.store.duty(run()).await.unwrap().map(|duty| duty.why),
        None
    );
}

#[tokio::test]
async fn the_same_seq_with_another_content_is_a_clone() {
    let world = World::new().await;
    let mut all = records();
    let mut ledger = world.ledger(3).await;
    world
        .report(&mut ledger, &[&all[0], &all[1]])
        .await
        .unwrap();
    all[1].at_ms += 1;
    let fault = world
        .report(&mut ledger, &[&all[1], &all[2]])
        .await
        .unwrap_err();
    assert!(
        matches!(fault, IngestFault::SecondHistory { seq: 2, .. }),
        "{fault}"
    );
    assert!(fault.is_alarm());
}

#[tokio::test]
async fn what_cannot_have_happened_is_refused_and_stored_nowhere() {
    let world = World::new().await;
    let mut all = records();
    all[1].event = Event::StepIntended {
        step: 0,
        attempt: 1,
    };
    let mut ledger = world.ledger(3).await;
    let fault = world
        .report(&mut ledger, &[&all[0], &all[1]])
        .await
        .unwrap_err();
    assert!(
        matches!(fault, IngestFault::Illegal { seq: 2, .. }),
        "{fault}"
    );
    assert_eq!(world.ledger(3).await.acknowledged(), 0);
    let listed = world
        .store
        .custody_page(&CustodyFilter::default(), None, 10)
        .await
        .unwrap();
    assert!(listed.is_empty());
}

#[tokio::test]
async fn an_agent_cannot_report_on_a_run_that_it_has_no_part_in_or_take_one_on_by_itself() {
    let world = World::new().await;
    let admitted = Record {
        seq: 1,
        at_ms: 1,
        run: run(),
        event: Event::Admitted {
            fence: 1,
            plan: Digest::of(b"mine"),
            policy: Digest::of(b"mine"),
            assignment: Vec::new(),
        },
    };
    let mut ledger = world.ledger(1).await;
    let fault = world.report(&mut ledger, &[&admitted]).await.unwrap_err();
    assert!(
        matches!(fault, IngestFault::Foreign { seq: 1, .. }),
        "{fault}"
    );

    let all = records();
    let mut ledger = world.ledger(3).await;
    world.report(&mut ledger, &[&all[0]]).await.unwrap();
    let other = Record {
        seq: 2,
        ..all[0].clone()
    };
    let fault = world.report(&mut ledger, &[&other]).await.unwrap_err();
    assert!(
        matches!(
            fault,
            IngestFault::Foreign {
                why: "which exists already",
                ..
            }
        ),
        "{fault}"
    );
}

#[test]
fn an_agent_goes_no_further_than_was_released_to_it() {
    let part = PartKey {
        plan: Some(Digest::of(b"plan")),
        fence: Some(3),
        through: 5,
    };
    let advanced = |fence, through| agrees(Some(part), &Event::Advanced { fence, through });
    assert_eq!(advanced(3, 5), Ok(()));
    assert_eq!(advanced(2, 1), Ok(()));
    assert_eq!(advanced(3, 6), Err("further than was released to it"));
    assert_eq!(
        advanced(4, 5),
        Err("with a fence that was never minted for it")
    );
    let event = Event::Advanced {
        fence: 1,
        through: 1,
    };
    assert_eq!(agrees(None, &event), Err("which it has no part in"));
}

#[tokio::test]
async fn a_record_that_makes_no_sense_is_refused_with_its_number() {
    let world = World::new().await;
    let mut ledger = world.ledger(1).await;
    let record = wire::Record {
        seq: 1,
        run: "not a run".into(),
        ..wire::Record::default()
    };
    let fault = ledger
        .report(&world.store, vec![record], 2)
        .await
        .unwrap_err();
    assert!(
        fault
            .to_string()
            .starts_with("C060-report-malformed: record 1 of `EXB1`"),
        "{fault}"
    );
}
