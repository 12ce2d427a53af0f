use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mailmend_policy::digest::Digest;
use mailmend_policy::source::PolicySource;
use mailmend_proto::convert::record_to_wire;
use mailmend_proto::run::{Event, Record, RunId};
use mailmend_proto::wire::{from_agent, to_agent};
use tonic::Code;
use uuid::Uuid;

use super::*;
use crate::clock::Clock;
use crate::react::{Answer, Binding, Standing, Throttle};
use crate::store::{NewToken, Store};

const LIMIT: Duration = Duration::from_secs(10);

/// Certifies whatever is not empty, and counts how often.
#[derive(Default)]
struct Certifier(AtomicU32);

impl Authority for Certifier {
    fn certify(&self, _: &Named, csr: &str, _: i64) -> Result<Certified, CertifyFault> {
        if csr.is_empty() {
            return Err(CertifyFault {
                code: "C007-request-refused",
                why: "it is empty".into(),
            });
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Certified {
            certificate: wire::Certificate {
                certificate_pem: "certificate".into(),
                ca_pem: "ca".into(),
                not_after_ms: 5000,
            },
            noted: NewCertificate {
                serial: "5e".into(),
                until_ms: 5000,
            },
        })
    }
    fn ca_pem(&self) -> String {
        "ca".into()
    }
    fn fresh_token(&self) -> Result<String, CertifyFault> {
        Ok("token".into())
    }
    fn token_hash(&self, token: &str) -> [u8; 32] {
        *Digest::of(token.as_bytes()).as_bytes()
    }
}

struct World {
    _folder: tempfile::TempDir,
    controller: Controller,
    service: AgentsService,
}

fn name(text: &str) -> ServerName {
    text.parse().unwrap()
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("controller.db"))
            .await
            .unwrap();
        let controller = Controller::start(store, Clock::of(|| 1000));
        let service = AgentsService::new(controller.clone(), Arc::new(Certifier::default()));
        let world = Self {
            _folder: folder,
            controller,
            service,
        };
        world.token("good", "EXB1").await;
        world
    }

    async fn token(&self, token: &str, agent: &str) {
        let new = NewToken {
            hash: Certifier::default().token_hash(token),
            agent: name(agent),
            site: "oslo".parse().unwrap(),
            labels: BTreeMap::new(),
            created_ms: 0,
            by: "test".into(),
            expires_ms: 2000,
        };
        self.controller.store().create_token(&new).await.unwrap();
    }

    async fn enrol(&self, token: &str, name: &str, csr: &str) -> Result<wire::Certificate, Status> {
        let request = wire::EnrolRequest {
            token: token.into(),
            name: name.into(),
            csr_pem: csr.into(),
        };
        self.service
            .enrol(Request::new(request))
            .await
            .map(Response::into_inner)
    }

    async fn alarms(&self, agent: &str) -> Vec<String> {
        self.controller
            .store()
            .agent_alarms(&name(agent))
            .await
            .unwrap()
    }

    fn dial(&self, agent: &str) -> Line {
        self.dial_and_hear_again_after(agent, AGAIN)
    }

    fn dial_and_hear_again_after(&self, agent: &str, again: Duration) -> Line {
        let (up, incoming) = mpsc::channel(8);
        let (outgoing, down) = mpsc::channel(8);
        tokio::spawn(session::serve(
            self.controller.clone(),
            name(agent),
            ReceiverStream::new(incoming),
            outgoing,
            again,
        ));
        Line { up, down }
    }
}

/// The agent's end of a stream.
struct Line {
    up: mpsc::Sender<Result<wire::FromAgent, Status>>,
    down: mpsc::Receiver<Result<wire::ToAgent, Status>>,
}

impl Line {
    async fn say(&self, message: from_agent::Message) {
        let message = wire::FromAgent {
            message: Some(message),
        };
        self.up.send(Ok(message)).await.unwrap();
    }

    async fn hear_anything(&mut self) -> Result<to_agent::Message, Status> {
        let heard = tokio::time::timeout(LIMIT, self.down.recv()).await.unwrap();
        heard
            .expect("the stream ended without a word")
            .map(|message| message.message.unwrap())
    }

    /// The next message but what is to be watched, what is poison and the head of the trail, which come with every
    /// connection.
    async fn hear(&mut self) -> Result<to_agent::Message, Status> {
        loop {
            match self.hear_anything().await? {
                to_agent::Message::Watches(_)
                | to_agent::Message::Immunity(_)
                | to_agent::Message::TrailHead(_) => {}
                other => return Ok(other),
            }
        }
    }

    /// The fingerprints of poison, as they are told next.
    async fn immunity(&mut self) -> wire::Immunity {
        loop {
            if let to_agent::Message::Immunity(immunity) = self.hear_anything().await.unwrap() {
                return immunity;
            }
        }
    }

    /// The policies that are to be watched, as they are told next.
    async fn watches(&mut self) -> wire::Watches {
        loop {
            if let to_agent::Message::Watches(watches) = self.hear_anything().await.unwrap() {
                return watches;
            }
        }
    }
}

fn hello(journal: u128, head: u64) -> from_agent::Message {
    from_agent::Message::Hello(wire::Hello {
        agent_version: "0.1.0".into(),
        journal: Uuid::from_u128(journal).to_string(),
        head,
        ..wire::Hello::default()
    })
}

fn report(seq: u64, event: Event) -> from_agent::Message {
    let record = Record {
        seq,
        at_ms: 1,
        run: RunId(Uuid::from_u128(9)),
        event,
    };
    from_agent::Message::Report(wire::Report {
        records: vec![record_to_wire(&record)],
    })
}

fn duty() -> Event {
    Event::DutyBegan {
        duty: "watchdog".into(),
        service: "MSExchangeIMC".parse().unwrap(),
        why: "it died".into(),
    }
}

#[tokio::test]
async fn a_token_enrols_its_own_name_once_and_a_bad_request_does_not_cost_it() {
    let world = World::new().await;
    let bad = world.enrol("good", "EXB1", "").await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
    assert!(bad.message().starts_with("C007-request-refused"));
    let mut answers = Vec::new();
    for (token, agent) in [("bad", "EXB1"), ("good", "EXA1"), ("good", "no such name!")] {
        let refused = world.enrol(token, agent, "csr").await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        answers.push(refused.message().to_owned());
    }
    assert_eq!(
        world
            .enrol("good", "EXB1", "csr")
            .await
            .unwrap()
            .not_after_ms,
        5000
    );
    let again = world.enrol("good", "EXB1", "csr").await.unwrap_err();
    answers.push(again.message().to_owned());
    answers.dedup();
    assert_eq!(
        answers.len(),
        1,
        "a stranger learns nothing from the answers"
    );
    assert!(world.alarms("EXB1").await[0].starts_with("C071-token-misused: "));
    assert!(world.alarms("EXA1").await[0].starts_with("C071-token-misused: "));
    let row = world
        .controller
        .store()
        .agent(&name("EXB1"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.certificate_until_ms, 5000);
}

#[tokio::test]
async fn what_is_reported_is_acknowledged_and_told_as_known_at_the_next_hello() {
    let world = World::new().await;
    world.enrol("good", "EXB1", "csr").await.unwrap();
    let mut line = world.dial("EXB1");
    line.say(hello(1, 1)).await;
    let to_agent::Message::Welcome(welcome) = line.hear().await.unwrap() else {
        panic!("the first word is welcome");
    };
    assert_eq!(
        (welcome.acknowledged, welcome.journal),
        (0, Uuid::from_u128(1).to_string())
    );
    line.say(report(1, duty())).await;
    assert_eq!(
        line.hear().await.unwrap(),
        to_agent::Message::Acknowledge(wire::Acknowledge { seq: 1 })
    );
    drop(line);
    let mut line = world.dial("EXB1");
    line.say(hello(1, 1)).await;
    let heard = line.hear().await.unwrap();
    assert!(matches!(heard, to_agent::Message::Welcome(welcome) if welcome.acknowledged == 1));
}

#[tokio::test]
async fn a_report_that_cannot_be_true_raises_an_alarm_and_ends_the_stream() {
    let world = World::new().await;
    world.enrol("good", "EXB1", "csr").await.unwrap();
    let mut line = world.dial("EXB1");
    line.say(hello(1, 2)).await;
    line.hear().await.unwrap();
    line.say(report(
        1,
        Event::StepIntended {
            step: 0,
            attempt: 1,
        },
    ))
    .await;
    let ended = line.hear().await.unwrap_err();
    assert_eq!(ended.code(), Code::FailedPrecondition);
    assert!(
        ended.message().starts_with("C064-report-illegal: "),
        "{}",
        ended.message()
    );
    assert!(world.alarms("EXB1").await[0].starts_with("C064-report-illegal: "));
}

#[tokio::test]
async fn a_clone_and_a_stranger_with_a_certificate_are_told_why_they_are_not_let_in() {
    let world = World::new().await;
    let mut line = world.dial("EXB1");
    line.say(hello(1, 0)).await;
    assert!(
        line.hear()
            .await
            .unwrap_err()
            .message()
            .starts_with("C201-agent-unknown: ")
    );
    world.enrol("good", "EXB1", "csr").await.unwrap();
    let mut line = world.dial("EXB1");
    line.say(hello(1, 0)).await;
    line.hear().await.unwrap();
    drop(line);
    let mut line = world.dial("EXB1");
    line.say(hello(2, 0)).await;
    let refused = line.hear().await.unwrap_err();
    assert!(
        refused.message().starts_with("C202-agent-cloned: "),
        "{}",
        refused.message()
    );
    assert!(world.alarms("EXB1").await[0].starts_with("C202-agent-cloned: "));
    assert!(!world.controller.sessions().is_connected(&name("EXB1")));
}

#[tokio::test]
async fn the_newest_stream_of_a_name_stays_and_the_former_is_told() {
    let world = World::new().await;
    world.enrol("good", "EXB1", "csr").await.unwrap();
    let mut first = world.dial("EXB1");
    first.say(hello(1, 0)).await;
    first.hear().await.unwrap();
    let mut second = world.dial("EXB1");
    second.say(hello(1, 0)).await;
    second.hear().await.unwrap();
    let replaced = first.hear().await.unwrap_err();
    assert!(
        replaced.message().starts_with("C073-replaced: "),
        "{}",
        replaced.message()
    );
    assert!(world.controller.sessions().is_connected(&name("EXB1")));
}

#[tokio::test]
async fn a_stream_begins_with_hello_and_says_it_once() {
    let world = World::new().await;
    world.enrol("good", "EXB1", "csr").await.unwrap();
    let mut line = world.dial("EXB1");
    line.say(report(1, duty())).await;
    assert!(
        line.hear()
            .await
            .unwrap_err()
            .message()
            .starts_with("C072-no-hello: ")
    );
    let mut line = world.dial("EXB1");
    line.say(hello(1, 0)).await;
    line.hear().await.unwrap();
    line.say(hello(1, 0)).await;
    assert!(
        line.hear()
            .await
            .unwrap_err()
            .message()
            .starts_with("C072-no-hello: ")
    );
}

#[tokio::test]
async fn a_controller_that_stops_tells_its_agents_and_leaves_nothing_under_way() {
    let world = World::new().await;
    world.enrol("good", "EXB1", "csr").await.unwrap();
    let mut line = world.dial("EXB1");
    line.say(hello(1, 0)).await;
    line.hear().await.unwrap();
    tokio::time::timeout(LIMIT, world.controller.stop())
        .await
        .unwrap();
    let ended = line.hear().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
}

const POLICY: &str = include_str!("../../../../policies/library/stuck-outbound-routing.toml");

impl World {
    async fn publish(&self) {
        let source = PolicySource::new("policy", POLICY);
        let policy = mailmend_policy::parse::parse(&source).unwrap();
        let row = crate::store::PolicyRow {
            name: policy.name,
            version: policy.version,
            digest: source.digest(),
            title: policy.title,
            article: policy.source.article,
            text: POLICY.into(),
            published_ms: 1,
            by: "test".into(),
        };
        let store = self.controller.store();
        store.publish_policy(&row).await.unwrap();
    }

    async fn bind(&self, selector: &str) {
        let binding = Binding {
            policy: "stuck-outbound-routing".parse().unwrap(),
            version: 1,
            selector: selector.into(),
            answer: Answer::Observe,
            throttle: Throttle::default(),
            bound_ms: 1,
            by: "test".into(),
        };
        let store = self.controller.store();
        store.bind(&binding, &change()).await.unwrap();
        self.controller.sessions().wake_all();
    }
}

fn change() -> Change {
    Change {
        at_ms: 1,
        operator: "test".into(),
        what: "bind".into(),
        target: String::new(),
        why: String::new(),
    }
}

fn facts(direction: &str) -> BTreeMap<String, String> {
    [
        ("ims.direction", direction),
        ("exchange.version", "5.5.2653.13"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn symptom(policy: &str, state: wire::SymptomState) -> from_agent::Message {
    from_agent::Message::Symptoms(wire::Symptoms {
        symptoms: vec![wire::Symptom {
            policy: policy.into(),
            version: 1,
            digest: PolicySource::new("policy", POLICY)
                .digest()
                .as_bytes()
                .to_vec(),
            state: state.into(),
            since_ms: 5,
            evidence: vec!["40 messages wait".into(); 30],
            looked_ms: 9,
        }],
    })
}

#[tokio::test]
async fn an_agent_is_told_what_to_watch_at_connect_and_whenever_that_changes() {
    let world = World::new().await;
    world.enrol("good", "EXB1", "csr").await.unwrap();
    world.publish().await;
    let mut line = world.dial("EXB1");
    line.say(hello(1, 0)).await;
    assert!(line.watches().await.watches.is_empty(), "nothing is bound");
    // Its facts are not known yet, so it is not known to be an outbound server.
    world.bind("").await;
    line.say(from_agent::Message::Facts(wire::Facts {
        facts: facts("outbound"),
    }))
    .await;
    let watches = line.watches().await;
    assert_eq!(watches.watches[0].text, POLICY.as_bytes());
    assert_eq!(watches.labels["site"], "oslo");
    world.bind("site=bergen").await;
    assert!(line.watches().await.watches.is_empty(), "not selected");
    world.bind("site=oslo").await;
    assert_eq!(line.watches().await.watches.len(), 1);
    line.say(from_agent::Message::Facts(wire::Facts {
        facts: facts("both"),
    }))
    .await;
    assert!(line.watches().await.watches.is_empty(), "another role");
    drop(line);
    let mut line = world.dial("EXB1");
    line.say(hello(1, 0)).await;
    assert!(line.watches().await.watches.is_empty());
}

#[tokio::test]
async fn what_an_agent_says_of_symptoms_is_kept_whole_and_replaced_whole() {
    let world = World::new().await;
    world.enrol("good", "EXB1", "csr").await.unwrap();
    world.publish().await;
    world.bind("").await;
    let mut line = world.dial("EXB1");
    line.say(hello(1, 0)).await;
    let said = async |expected: usize| {
        let mut changes = world.controller.watch();
        tokio::time::timeout(LIMIT, async {
            loop {
                changes.mark_unchanged();
                let rows = world.controller.store().symptoms().await.unwrap();
                if rows.len() == expected {
                    return rows;
                }
                changes.changed().await.unwrap();
            }
        })
        .await
        .unwrap()
    };
    line.say(symptom("not-bound", wire::SymptomState::Stands))
        .await;
    line.say(symptom(
        "stuck-outbound-routing",
        wire::SymptomState::Stands,
    ))
    .await;
    let rows = said(1).await;
    assert_eq!(rows[0].word.standing, Standing::Stands);
    assert_eq!((rows[0].word.since_ms, rows[0].word.looked_ms), (5, 9));
    assert_eq!(rows[0].word.evidence.len(), 20, "bounded");
    line.say(from_agent::Message::Symptoms(wire::Symptoms::default()))
        .await;
    assert!(said(0).await.is_empty());
    line.say(symptom(
        "stuck-outbound-routing",
        wire::SymptomState::Unspecified,
    ))
    .await;
    let refused = loop {
        if let Err(status) = line.hear().await {
            break status;
        }
    };
    assert!(
        refused.message().starts_with("C065-symptoms-malformed"),
        "{refused}"
    );
}

fn depth(queue: &str, messages: u64) -> wire::QueueDepth {
    wire::QueueDepth {
        queue: queue.into(),
        messages,
        bytes: messages.saturating_mul(1000),
        oldest_ms: 5,
        at_ms: 9,
    }
}

#[tokio::test]
async fn what_an_agent_tells_of_its_queues_is_kept_over_a_restart_and_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("controller.db");
    let agent = name("EXB1");
    let store = Store::open(&path).await.unwrap();
    let told = [
        depth("outbound-awaiting-delivery", 40),
        depth("inbound-awaiting-conversion", u64::MAX),
        depth("a-queue-of-a-newer-version", 1),
        depth("outbound-awaiting-delivery", 41),
    ];
    store.replace_queues(&agent, &told).await.unwrap();
    drop(store);
    let store = Store::open(&path).await.unwrap();
    let kept = store.queues_of(&agent).await.unwrap();
    let names: Vec<&str> = kept.iter().map(|depth| depth.queue.as_str()).collect();
    assert_eq!(
        names,
        ["inbound-awaiting-conversion", "outbound-awaiting-delivery"]
    );
    assert_eq!(kept[1], told[0]);
    assert_eq!(store.queues().await.unwrap()[&agent], kept);
    assert!(store.queues_of(&name("EXB2")).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_last_word_about_the_queues_is_what_counts() {
    let world = World::new().await;
    world.enrol("good", "EXB1", "csr").await.unwrap();
    let mut line = world.dial("EXB1");
    line.say(hello(1, 0)).await;
    for (seq, queues) in [
        (1, vec![depth("outbound-awaiting-delivery", 40)]),
        (2, vec![depth("inbound-awaiting-conversion", 2)]),
    ] {
        line.say(from_agent::Message::Queues(wire::Queues {
            queues: queues.clone(),
        }))
        .await;
        // Messages are taken one after the other: what is acknowledged came after it.
        let event = if seq == 1 {
            duty()
        } else {
            Event::Alarm {
                code: "A000".into(),
                text: "for a test".into(),
            }
        };
        line.say(report(seq, event)).await;
        loop {
            if let to_agent::Message::Acknowledge(stored) = line.hear().await.unwrap() {
                assert_eq!(stored.seq, seq);
                break;
            }
        }
        let store = world.controller.store();
        assert_eq!(store.queues_of(&name("EXB1")).await.unwrap(), queues);
    }
}

mod immunity;
mod orders;
mod signing;
mod trail;
