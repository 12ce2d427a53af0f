//! The audit trail and an agent's journal see each other.

use mailmend_proto::chain::Link;
use mailmend_proto::run::Ended;
use mailmend_proto::wire::trail_item::What;

use super::*;
use crate::store::TrailFilter;
use crate::trail::item::decoded;

const JOURNAL: u128 = 1;

/// An agent that keeps its own chain, and says what it says over one stream.
struct Agent {
    line: Line,
    link: Link,
}

impl Agent {
    async fn connected(world: &World) -> Self {
        world.enrol("good", "EXB1", "csr").await.unwrap();
        let mut line = world.dial("EXB1");
        line.say(hello(JOURNAL, 0)).await;
        line.hear().await.unwrap();
        let link = Link::first(Uuid::from_u128(JOURNAL));
        Self { line, link }
    }

    /// Reports the next record and hears that it is stored.
    async fn report(&mut self, run: RunId, event: Event) {
        let record = Record {
            seq: self.link.seq + 1,
            at_ms: 1,
            run,
            event,
        };
        self.link = self.link.after(&crate::store::kept(&record));
        let records = vec![record_to_wire(&record)];
        let report = from_agent::Message::Report(wire::Report { records });
        self.line.say(report).await;
        let seq = self.link.seq;
        let stored = to_agent::Message::Acknowledge(wire::Acknowledge { seq });
        assert_eq!(self.line.hear().await.unwrap(), stored);
    }

    async fn says_hash(&self, hash: [u8; 32]) {
        let head = wire::JournalHead {
            seq: self.link.seq,
            hash: hash.to_vec(),
        };
        self.line.say(from_agent::Message::JournalHead(head)).await;
    }

    /// The next head of the trail that it is told.
    async fn head(&mut self) -> wire::TrailHead {
        loop {
            if let to_agent::Message::TrailHead(head) = self.line.hear_anything().await.unwrap() {
                return head;
            }
        }
    }
}

fn run() -> RunId {
    RunId(Uuid::from_u128(9))
}

fn closed() -> Event {
    Event::Closed {
        how: Ended::Committed,
        detail: String::new(),
    }
}

fn seen(contradicts: bool) -> Event {
    Event::TrailWitnessed {
        seq: 3,
        hash: Digest::of(b"3"),
        contradicts,
    }
}

async fn entries(world: &World, kind: &str) -> Vec<crate::store::TrailRow> {
    let filter = TrailFilter {
        kind: Some(kind.to_owned()),
        ..TrailFilter::default()
    };
    world.controller.store().trail(&filter, 100).await.unwrap()
}

#[tokio::test]
async fn the_head_of_the_trail_is_told_after_the_welcome_and_when_a_run_has_closed() {
    let world = World::new().await;
    let mut agent = Agent::connected(&world).await;
    let first = agent.head().await;
    let stands = world.controller.store().trail_head().await.unwrap();
    assert_eq!((first.seq, first.hash), (stands.seq, stands.hash.to_vec()));
    agent.report(run(), duty()).await;
    agent.report(run(), closed()).await;
    let second = agent.head().await;
    assert!(second.seq > first.seq, "its own reports are entries too");
}

#[tokio::test]
async fn a_journals_head_is_noted_as_it_follows_from_the_records_and_witnessing_is_no_reason_to_note_it()
 {
    let world = World::new().await;
    let mut agent = Agent::connected(&world).await;
    agent.report(RunId::NONE, seen(false)).await;
    assert_eq!(entries(&world, "report").await, []);
    agent.report(run(), duty()).await;
    agent.report(run(), closed()).await;
    let noted = entries(&world, "report").await;
    assert_eq!(noted.len(), 2, "at first, and when a run has closed");
    let expected = What::HeadSeen(wire::TrailHeadSeen {
        agent: "EXB1".into(),
        journal: Uuid::from_u128(JOURNAL).to_string(),
        seq: 3,
        hash: agent.link.hash.to_vec(),
        before: false,
    });
    assert_eq!(decoded(&noted[1].entry.detail).unwrap(), [expected]);
    // The clock of these tests stands still: five minutes are not over.
    agent.report(RunId::NONE, seen(false)).await;
    assert_eq!(entries(&world, "report").await.len(), 2);
}

#[tokio::test]
async fn a_journal_whose_past_is_another_raises_one_alarm_and_the_agent_is_served_on() {
    let world = World::new().await;
    let mut agent = Agent::connected(&world).await;
    agent.report(run(), duty()).await;
    agent.says_hash(agent.link.hash).await;
    agent.says_hash([7; 32]).await;
    agent.says_hash([7; 32]).await;
    agent.report(run(), closed()).await;
    let alarms = world.alarms("EXB1").await;
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(
        alarms[0].starts_with("C160-journal-contradicts: "),
        "{alarms:?}"
    );
    assert_eq!(entries(&world, "C160-journal-contradicts").await.len(), 1);
}

#[tokio::test]
async fn a_chain_that_was_not_computed_yet_follows_from_the_records_that_are_stored() {
    let world = World::new().await;
    let mut agent = Agent::connected(&world).await;
    agent.report(run(), duty()).await;
    agent.report(run(), closed()).await;
    let store = world.controller.store();
    let found = store
        .chain_at(&name("EXB1"), Uuid::from_u128(JOURNAL), 2)
        .await
        .unwrap();
    assert_eq!(found, agent.link);
    let row = store.agent(&name("EXB1")).await.unwrap().unwrap();
    assert_eq!(row.chain, Some(agent.link.hash));
}

#[tokio::test]
async fn an_agent_that_saw_another_trail_raises_an_alarm_here_too() {
    let world = World::new().await;
    let mut agent = Agent::connected(&world).await;
    agent.report(RunId::NONE, seen(true)).await;
    let alarms = world.alarms("EXB1").await;
    assert!(
        alarms[0].starts_with("A150-trail-contradicts: "),
        "{alarms:?}"
    );
}

#[tokio::test]
async fn what_belongs_to_no_run_is_refused_under_a_run_and_the_other_way_round() {
    for (run, event) in [(run(), seen(false)), (RunId::NONE, duty())] {
        let world = World::new().await;
        let mut agent = Agent::connected(&world).await;
        let record = Record {
            seq: 1,
            at_ms: 1,
            run,
            event,
        };
        let records = vec![record_to_wire(&record)];
        let report = from_agent::Message::Report(wire::Report { records });
        agent.line.say(report).await;
        let refused = agent.line.hear().await.unwrap_err();
        assert!(
            refused.message().starts_with("C063-report-foreign"),
            "{refused}"
        );
    }
}
