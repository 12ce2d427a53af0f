//! The stream: orders, reports, reconnects, and a controller that means harm.

use std::sync::Mutex;

use mailmend_proto::run::{Event, RunId};
use mailmend_proto::wire::{from_agent, to_agent};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::controller::{Controller, LONG, Line, enrolled};
use crate::depths::Depths;
use crate::faults::known;
use crate::journal::MemoryJournal;
use crate::session::*;
use crate::symptoms::{Of, Standing, Symptom};
use crate::trust::Permit;
use tonic::Status;

const RUN: RunId = RunId(Uuid::from_u128(7));
const ID: Uuid = Uuid::from_u128(1);

/// Writes down what was ordered; refuses fences below 10.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn take(&self, order: String, fence: u64) -> Result<(), OrderRefused> {
        if fence < 10 {
            return Err(OrderRefused {
                code: const { known("A017-bad-message") },
                why: format!("fence {fence} is old"),
            });
        }
        self.0.lock().unwrap().push(order);
        Ok(())
    }
}

impl Orders for Recorder {
    fn order(&self, order: &wire::Order) -> Result<(), OrderRefused> {
        let fence = if order.why.is_empty() { 0 } else { 10 };
        self.take(format!("order {}", order.id), fence)
    }

    fn immunize(&self, immunity: wire::Immunity) -> Result<(), crate::immunity::ImmunityError> {
        let taken = format!("immunity {}", immunity.generation);
        self.0.lock().unwrap().push(taken);
        Ok(())
    }

    fn audit(&self, request: &wire::AuditRequest, tell: &mut dyn FnMut(wire::Audit) -> bool) {
        let piece = |last| wire::Audit {
            id: request.id.clone(),
            messages: 7,
            last,
            ..wire::Audit::default()
        };
        if tell(piece(false)) {
            tell(piece(true));
        }
    }

    fn trust(&self, documents: wire::TrustDocuments) -> Result<bool, OrderRefused> {
        self.take(format!("trust {}", documents.roots.len()), 10)?;
        Ok(true)
    }

    fn admit(&self, assignment: wire::Assignment) -> Result<(), OrderRefused> {
        self.take(
            format!("admit {}", assignment.policy_name),
            assignment.fence,
        )
    }
    fn advance(&self, _: RunId, fence: u64, through: u32) -> Result<(), OrderRefused> {
        self.take(format!("advance {through}"), fence)
    }
    fn unwind(&self, _: RunId, fence: u64, down_to: u32, last: bool) -> Result<(), OrderRefused> {
        self.take(format!("unwind {down_to} {last}"), fence)
    }
    fn fence(&self, _: RunId, fence: u64) -> Result<(), OrderRefused> {
        self.take(format!("fence {fence}"), fence)
    }
    fn supported_actions(&self) -> Vec<String> {
        vec!["check".into()]
    }
}

/// An agent's session at work.
struct Agent {
    folder: tempfile::TempDir,
    journal: Journal,
    orders: Arc<Recorder>,
    facts: watch::Sender<Facts>,
    watchlist: Arc<Watchlist>,
    symptoms: watch::Sender<Seen>,
    depths: watch::Sender<Depths>,
    address: String,
    stop: CancellationToken,
    _running: Option<AbortOnDropHandle<()>>,
}

impl Agent {
    fn new(controller: &Controller, days: (i64, i64)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        enrolled(&controller.authority, folder.path(), days);
        let journal = Journal::memory(&MemoryJournal::new(ID)).unwrap();
        let facts = Facts::from([("ims.direction".to_owned(), "outbound".to_owned())]);
        Self {
            journal,
            orders: Arc::default(),
            facts: watch::Sender::new(facts),
            watchlist: Arc::new(Watchlist::open(folder.path(), |_| Ok(Permit::Unasked))),
            symptoms: watch::Sender::default(),
            depths: watch::Sender::default(),
            address: controller.address.clone(),
            stop: CancellationToken::new(),
            _running: None,
            folder,
        }
    }

    fn session(&self) -> Session {
        Session::new(Settings {
            address: self.address.clone(),
            data: self.folder.path().to_path_buf(),
            name: "SRVB".parse().unwrap(),
            journal: self.journal.clone(),
            orders: self.orders.clone(),
            facts: self.facts.subscribe(),
            watchlist: self.watchlist.clone(),
            symptoms: self.symptoms.subscribe(),
            depths: self.depths.subscribe(),
            trust: watch::Sender::default().subscribe(),
            now_ms: || jiff::Timestamp::now().as_millisecond(),
            retry: Retry {
                base: Duration::from_millis(1),
                cap: Duration::from_millis(20),
                good_after: Duration::ZERO,
            },
        })
    }

    fn running(controller: &Controller) -> Self {
        let mut agent = Self::new(controller, (-1, 30));
        agent.start();
        agent
    }

    fn start(&mut self) {
        let running = tokio::spawn(self.session().run(self.stop.clone()));
        self._running = Some(AbortOnDropHandle::new(running));
    }

    /// Appends alarms of about `bytes`, after the beginning of their duty.
    fn write(&self, count: usize, bytes: usize) {
        if self.journal.head() == 0 {
            let began = Event::DutyBegan {
                duty: "watchdog".into(),
                service: "MSExchangeIMC".parse().unwrap(),
                why: String::new(),
            };
            self.journal.append(RUN, 0, vec![began]).unwrap();
        }
        let alarm = Event::Alarm {
            code: "A000".into(),
            text: "x".repeat(bytes),
        };
        self.journal.append(RUN, 0, vec![alarm; count]).unwrap();
    }

    /// Until the journal knows that the controller has everything up to `seq`.
    async fn acknowledged(&self, seq: u64) {
        let deadline = Instant::now() + LONG;
        while self.journal.acknowledged() < seq {
            assert!(Instant::now() < deadline, "never acknowledged");
            tokio::task::yield_now().await;
        }
    }
}

fn assignment(policy: &str, fence: u64) -> to_agent::Message {
    to_agent::Message::Assignment(wire::Assignment {
        run: RUN.to_string(),
        fence,
        policy_name: policy.to_owned(),
        ..wire::Assignment::default()
    })
}

fn answer(message: from_agent::Message) -> wire::AssignmentAnswer {
    match message {
        from_agent::Message::Answer(answer) => answer,
        other => panic!("{other:?} instead of an answer"),
    }
}

#[tokio::test]
async fn hello_says_who_the_agent_is_and_what_it_has() {
    let mut controller = Controller::new().await;
    let agent = Agent::new(&controller, (-1, 30));
    agent.write(2, 1);
    let mut agent = agent;
    agent.start();
    let hello = controller.session().await.welcome(0, "").await;
    assert_eq!(hello.journal, ID.to_string());
    assert_eq!((hello.head, hello.highest_fence), (3, 0));
    assert_eq!(hello.facts["ims.direction"], "outbound");
    assert_eq!(hello.actions, ["check"]);
}

#[tokio::test]
async fn a_persons_order_is_answered_each_time_it_comes_and_an_audit_in_pieces() {
    let mut controller = Controller::new().await;
    let _agent = Agent::running(&controller);
    let mut line = controller.session().await;
    line.welcome(0, &ID.to_string()).await;
    let order = |why: &str| {
        to_agent::Message::Order(wire::Order {
            id: RUN.to_string(),
            run: RUN.to_string(),
            why: why.into(),
            ..wire::Order::default()
        })
    };
    for (why, taken) in [("seen", true), ("seen", true), ("", false)] {
        line.say(order(why)).await;
        let from_agent::Message::OrderAnswer(answer) = line.heard().await else {
            panic!("an order is answered");
        };
        assert_eq!((answer.id, answer.taken), (RUN.to_string(), taken));
        assert_eq!(answer.code.is_empty(), taken);
    }
    line.say(to_agent::Message::Audit(wire::AuditRequest {
        id: "an id".into(),
        run: String::new(),
    }))
    .await;
    for last in [false, true] {
        let from_agent::Message::Audit(piece) = line.heard().await else {
            panic!("an audit is told in pieces");
        };
        assert_eq!(
            (piece.id.as_str(), piece.messages, piece.last),
            ("an id", 7, last)
        );
    }
}

#[tokio::test]
async fn orders_are_taken_one_after_the_other_and_answered() {
    let mut controller = Controller::new().await;
    let agent = Agent::running(&controller);
    let mut line = controller.session().await;
    line.welcome(0, &ID.to_string()).await;
    let run = RUN.to_string();
    line.say(assignment("a", 10)).await;
    // Repeated, as after a reconnect: handed on again, for the engine to know.
    line.say(assignment("a", 10)).await;
    line.say(to_agent::Message::Advance(wire::Advance {
        run: run.clone(),
        fence: 10,
        through: 2,
    }))
    .await;
    line.say(to_agent::Message::Advance(wire::Advance {
        run: run.clone(),
        fence: 9,
        through: 9,
    }))
    .await;
    line.say(to_agent::Message::Unwind(wire::Unwind {
        run: run.clone(),
        fence: 11,
        down_to: 1,
        last: true,
    }))
    .await;
    line.say(to_agent::Message::Fence(wire::Fence {
        run: run.clone(),
        fence: 9,
    }))
    .await;
    line.say(to_agent::Message::Fence(wire::Fence {
        run: run.clone(),
        fence: 12,
    }))
    .await;
    assert!(answer(line.heard().await).admitted);
    assert!(answer(line.heard().await).admitted);
    // The old fence is not confirmed, the new one is.
    let taken = line.heard().await;
    assert_eq!(
        taken,
        from_agent::Message::FenceTaken(wire::FenceTaken { run, fence: 12 })
    );
    let orders = agent.orders.0.lock().unwrap().clone();
    assert_eq!(
        orders,
        [
            "admit a",
            "admit a",
            "advance 2",
            "unwind 1 true",
            "fence 12"
        ]
    );
}

#[tokio::test]
async fn a_refused_assignment_says_why_and_the_session_goes_on() {
    let mut controller = Controller::new().await;
    let _agent = Agent::running(&controller);
    let mut line = controller.session().await;
    line.welcome(0, "").await;
    line.say(assignment("old", 3)).await;
    let refused = answer(line.heard().await);
    assert!(
        !refused.admitted && refused.why.contains("fence 3"),
        "{refused:?}"
    );
    let nonsense = wire::Assignment {
        run: "../../etc".into(),
        fence: 99,
        ..wire::Assignment::default()
    };
    line.say(to_agent::Message::Assignment(nonsense)).await;
    let refused = answer(line.heard().await);
    assert_eq!(
        (refused.admitted, refused.code.as_str()),
        (false, "A017-bad-message")
    );
    line.say(assignment("new", 10)).await;
    assert!(answer(line.heard().await).admitted);
}

#[tokio::test]
async fn what_is_journaled_is_reported_and_acknowledged_for_good() {
    let mut controller = Controller::new().await;
    let agent = Agent::running(&controller);
    let mut line = controller.session().await;
    line.welcome(0, "").await;
    agent.write(1, 10);
    let mut seen = line.report().await;
    while seen.last() != Some(&2) {
        seen.extend(line.report().await);
    }
    assert_eq!(seen, [1, 2]);
    line.acknowledge(2).await;
    agent.acknowledged(2).await;
    // Repeated and older acknowledgements change nothing.
    line.acknowledge(2).await;
    line.acknowledge(1).await;
    agent.write(1, 10);
    assert_eq!(line.report().await, [3]);
    assert_eq!(agent.journal.acknowledged(), 2);
}

#[tokio::test]
async fn a_controller_that_does_not_acknowledge_is_sent_a_window_and_no_more() {
    let mut controller = Controller::new().await;
    let mut agent = Agent::new(&controller, (-1, 30));
    agent.write(12, 600_000);
    agent.start();
    let mut line = controller.session().await;
    line.welcome(0, "").await;
    let mut last = 0;
    for _ in 0..4 {
        last = *line.report().await.last().unwrap();
    }
    // If a fifth report had been sent it would come before this answer.
    line.say(assignment("a", 10)).await;
    assert!(answer(line.heard().await).admitted);
    line.acknowledge(last).await;
    assert_eq!(line.report().await[0], last + 1);
}

#[tokio::test]
async fn after_a_cut_the_agent_comes_back_and_tells_again_what_was_not_stored() {
    let mut controller = Controller::new().await;
    let mut agent = Agent::new(&controller, (-1, 30));
    agent.write(3, 10);
    agent.start();
    let mut line = controller.session().await;
    line.welcome(0, "").await;
    assert_eq!(line.report().await, [1, 2, 3, 4]);
    line.acknowledge(3).await;
    agent.acknowledged(3).await;
    line.fail(Status::unavailable("restarting")).await;
    agent.write(1, 10);
    let mut line = controller.session().await;
    // It was restored from a backup and has lost record 3: it is told again, whatever it had said.
    let hello = line.welcome(2, &ID.to_string()).await;
    assert_eq!(hello.head, 5);
    assert_eq!(line.report().await, [3, 4, 5]);
}

#[tokio::test]
async fn what_happens_while_the_controller_is_away_is_told_when_it_is_back() {
    let first = Controller::new().await;
    let authority = Arc::clone(&first.authority);
    let address = first
        .address
        .strip_prefix("https://")
        .unwrap()
        .parse()
        .unwrap();
    let mut agent = Agent::new(&first, (-1, 30));
    drop(first);
    agent.start();
    agent.write(5, 10);
    // The port is free again as soon as the first listener has ended.
    let deadline = Instant::now() + LONG;
    while tokio::net::TcpListener::bind::<std::net::SocketAddr>(address)
        .await
        .is_err()
    {
        assert!(Instant::now() < deadline, "the port stays taken");
        tokio::task::yield_now().await;
    }
    let mut controller = Controller::listening(authority, address, (-1, 30)).await;
    let mut line = controller.session().await;
    line.welcome(0, "").await;
    assert_eq!(line.report().await, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_controller_that_knows_another_journal_is_told_nothing() {
    let mut controller = Controller::new().await;
    let agent = Agent::new(&controller, (-1, 30));
    agent.write(3, 10);
    for (acknowledged, journal) in [(1, Uuid::from_u128(2)), (5, ID)] {
        let mut session = agent.session();
        let talking = tokio::spawn(async move { session.once().await });
        let mut line = controller.session().await;
        line.welcome(acknowledged, &journal.to_string()).await;
        let error = talking.await.unwrap();
        assert!(
            error.to_string().starts_with("A018-foreign-journal"),
            "{error}"
        );
        assert!(line.heard_or_end().await.is_none());
        assert_eq!(agent.journal.acknowledged(), 0);
    }
}

#[tokio::test]
async fn a_controller_that_calls_the_agent_a_clone_is_told_as_that_and_not_as_an_error_of_its_own()
{
    let mut controller = Controller::new().await;
    let agent = Agent::new(&controller, (-1, 30));
    let refusal = "C202-agent-cloned: `EXB1` comes with journal 7, but 8 is the one whose records are kept \
                   here: two machines use one identity; stop the wrong one";
    let mut session = agent.session();
    let talking = tokio::spawn(async move { session.once().await });
    let mut line = controller.session().await;
    line.heard().await;
    line.fail(Status::failed_precondition(refusal)).await;
    let error = talking.await.unwrap().to_string();
    let expected = "A018-foreign-journal: `EXB1` comes with journal 7, but 8 is the one whose records are kept \
                    here; was this agent cloned";
    assert!(error.starts_with(expected), "{error}");
}

#[tokio::test]
async fn messages_that_make_no_sense_end_the_session_and_change_nothing() {
    let mut controller = Controller::new().await;
    let agent = Agent::new(&controller, (-1, 30));
    agent.write(1, 10);
    for nonsense in 0..4 {
        let mut session = agent.session();
        let talking = tokio::spawn(async move { session.once().await });
        let mut line = controller.session().await;
        if nonsense == 0 {
            let _ = line.heard().await;
            line.say(assignment("before the welcome", 10)).await;
        } else {
            line.welcome(0, "").await;
            match nonsense {
                1 => line.say_nothing_at_all().await,
                2 => line.acknowledge(u64::MAX).await,
                _ => {
                    line.say(to_agent::Message::Welcome(wire::Welcome::default()))
                        .await;
                }
            }
        }
        let error = talking.await.unwrap();
        assert!(
            error.to_string().starts_with("A017-bad-message"),
            "{nonsense}: {error}"
        );
    }
    assert!(agent.orders.0.lock().unwrap().is_empty());
    assert_eq!(agent.journal.acknowledged(), 0);
}

#[tokio::test]
async fn facts_are_told_again_when_they_change() {
    let mut controller = Controller::new().await;
    let agent = Agent::running(&controller);
    let mut line = controller.session().await;
    line.welcome(0, "").await;
    // The welcome has been read once an order is answered.
    line.say(assignment("a", 10)).await;
    assert!(answer(line.heard().await).admitted);
    let facts = Facts::from([("exchange.version".to_owned(), "5.5.2653.13".to_owned())]);
    agent.facts.send_replace(facts.clone());
    let told = line.heard().await;
    let expected = wire::Facts {
        facts: facts.into_iter().collect(),
    };
    assert_eq!(told, from_agent::Message::Facts(expected));
}

#[tokio::test]
async fn a_certificate_past_half_its_life_is_renewed_and_used_at_once() {
    let mut controller = Controller::new().await;
    let mut agent = Agent::new(&controller, (-20, 3));
    agent.start();
    let mut old = controller.session().await;
    old.welcome(0, "").await;
    let mut new = controller.session().await;
    new.welcome(0, "").await;
    assert_ne!(old.certificate, new.certificate);
    assert_eq!(*controller.renewals.borrow(), 1);
    let name = "SRVB".parse().unwrap();
    let stored = Identity::load(
        agent.folder.path(),
        &name,
        (agent.session().settings.now_ms)(),
    )
    .unwrap();
    assert!(stored.validity.half_ms() > (agent.session().settings.now_ms)());
}

#[tokio::test]
async fn renewing_comes_to_rest_where_new_certificates_are_past_half_their_life() {
    let mut controller = Controller::new().await;
    controller.renewal_days.send_replace((-20, 3));
    let mut agent = Agent::new(&controller, (-20, 3));
    agent.start();
    let mut old = controller.session().await;
    old.welcome(0, "").await;
    let mut line = controller.session().await;
    line.welcome(0, "").await;
    assert_eq!(*controller.renewals.borrow(), 1);
    // Later than the soonest renewal the session still stands.
    let later = Instant::now() + SOONEST + Duration::from_millis(500);
    tokio::time::sleep_until(later).await;
    line.say(assignment("a", 10)).await;
    assert!(answer(line.heard().await).admitted);
    assert_eq!(*controller.renewals.borrow(), 1);
}

#[tokio::test]
async fn stopping_ends_the_session_and_the_attempts_to_have_one() {
    let mut controller = Controller::new().await;
    let agent = Agent::new(&controller, (-1, 30));
    let running = tokio::spawn(agent.session().run(agent.stop.clone()));
    controller.session().await.welcome(0, "").await;
    agent.stop.cancel();
    timeout(LONG, running).await.unwrap().unwrap();

    let lonely = Agent::new(&controller, (-1, 30));
    drop(controller);
    let running = tokio::spawn(lonely.session().run(lonely.stop.clone()));
    lonely.stop.cancel();
    timeout(LONG, running).await.unwrap().unwrap();
}

fn seen(standing: Standing, head: u64) -> Seen {
    let of = Of {
        policy: "p".into(),
        version: 2,
        digest: mailmend_policy::digest::Digest::of(b"text"),
    };
    Seen {
        symptoms: vec![Symptom {
            of,
            standing,
            since_ms: 5,
            evidence: vec!["40 wait".into()],
            looked_ms: 9,
        }],
        head,
        looked_ms: 9,
    }
}

#[tokio::test]
async fn what_to_watch_is_kept_and_what_is_seen_is_told_at_each_connect_and_when_it_changes() {
    let mut controller = Controller::new().await;
    let agent = Agent::running(&controller);
    agent.symptoms.send_replace(seen(Standing::Absent, 0));
    let mut line = controller.session().await;
    line.welcome(0, "").await;
    let told = |state: wire::SymptomState, message| match message {
        from_agent::Message::Symptoms(told) => {
            assert_eq!(told.symptoms[0].state(), state);
            assert_eq!(told.symptoms[0].version, 2);
            assert_eq!(told.symptoms[0].evidence, ["40 wait"]);
        }
        other => panic!("{other:?}"),
    };
    told(wire::SymptomState::Absent, line.heard().await);
    // Nothing new, then something new: one message.
    agent.symptoms.send_replace(seen(Standing::Absent, 0));
    agent.symptoms.send_replace(seen(Standing::Stands, 0));
    told(wire::SymptomState::Stands, line.heard().await);

    line.say(to_agent::Message::Watches(wire::Watches {
        watches: vec![wire::Watch {
            policy: "p".into(),
            ..wire::Watch::default()
        }],
        ..wire::Watches::default()
    }))
    .await;
    line.say(assignment("a", 10)).await;
    assert!(answer(line.heard().await).admitted);
    assert_eq!(agent.watchlist.now().watched.len(), 1);

    line.fail(Status::unavailable("the controller restarts"))
        .await;
    let mut line = controller.session().await;
    line.welcome(0, "").await;
    told(wire::SymptomState::Stands, line.heard().await);
}

#[tokio::test]
async fn a_look_from_before_the_last_record_is_not_told_as_a_look_after_it() {
    let mut controller = Controller::new().await;
    let agent = Agent::running(&controller);
    let mut line = controller.session().await;
    line.welcome(0, "").await;
    agent.write(2, 10);
    let head = agent.journal.head();
    agent
        .symptoms
        .send_replace(seen(Standing::Absent, head - 1));
    assert_eq!(line.report().await.last(), Some(&head));
    agent.symptoms.send_replace(seen(Standing::Stands, head));
    match line.heard().await {
        from_agent::Message::Symptoms(told) => {
            assert_eq!(told.symptoms[0].state(), wire::SymptomState::Stands);
        }
        other => panic!("{other:?}"),
    }
}

fn counted(at_s: u64, messages: u64) -> Depths {
    Depths {
        queues: vec![wire::QueueDepth {
            queue: "outbound-awaiting-delivery".into(),
            messages,
            bytes: 1000 * messages,
            ..wire::QueueDepth::default()
        }],
        counted: Some(Duration::from_secs(at_s)),
    }
}

#[tokio::test]
async fn the_queues_are_told_at_each_connect_and_when_they_change_at_most_every_thirty_seconds() {
    let mut controller = Controller::new().await;
    let agent = Agent::running(&controller);
    agent.depths.send_replace(counted(10, 4));
    let mut line = controller.session().await;
    line.welcome(0, "").await;
    let told = |messages: u64, message| match message {
        from_agent::Message::Queues(told) => {
            let [queue] = <[wire::QueueDepth; 1]>::try_from(told.queues).unwrap();
            assert_eq!((queue.messages, queue.bytes), (messages, 1000 * messages));
        }
        other => panic!("{other:?}"),
    };
    told(4, line.heard().await);
    // Each is taken before the next is made: an order that is answered says so.
    let mut asked = 0;
    let mut quiet = async |line: &mut Line| {
        asked += 1;
        line.say(assignment(&format!("run {asked}"), 10)).await;
        answer(line.heard().await);
    };
    agent.depths.send_replace(counted(39, 5));
    quiet(&mut line).await;
    agent.depths.send_replace(counted(40, 4));
    quiet(&mut line).await;
    agent.depths.send_replace(counted(41, 6));
    told(6, line.heard().await);

    line.fail(Status::unavailable("the controller restarts"))
        .await;
    let mut line = controller.session().await;
    line.welcome(0, "").await;
    told(6, line.heard().await);
}

fn trail(seq: u64, byte: u8) -> to_agent::Message {
    to_agent::Message::TrailHead(wire::TrailHead {
        seq,
        hash: vec![byte; 32],
    })
}

/// What the next report says of the trail: seq, first byte of the hash, whether it contradicts.
async fn witnessed(line: &mut Line) -> (u64, u8, bool) {
    match line.heard().await {
        from_agent::Message::Report(report) => match &report.records[0].event {
            Some(wire::record::Event::TrailWitnessed(one)) => {
                (one.seq, one.hash[0], one.contradicts)
            }
            other => panic!("{other:?} is reported instead of what was witnessed"),
        },
        other => panic!("{other:?} instead of a report"),
    }
}

#[tokio::test]
async fn the_head_of_the_trail_is_noted_and_one_that_contradicts_it_too_and_the_agent_goes_on() {
    let mut controller = Controller::new().await;
    let agent = Agent::running(&controller);
    let mut line = controller.session().await;
    line.welcome(0, "").await;
    line.say(trail(5, 5)).await;
    assert_eq!(witnessed(&mut line).await, (5, 5, false));
    line.acknowledge(1).await;
    // Known, and a little further: noted a moment ago.
    line.say(trail(5, 5)).await;
    line.say(trail(6, 6)).await;
    // It was put back from a backup, and written anew.
    line.say(trail(4, 4)).await;
    assert_eq!(witnessed(&mut line).await, (4, 4, true));
    line.acknowledge(2).await;
    // One that contradicts itself all the time is noted once in a while only.
    line.say(trail(4, 9)).await;
    line.say(trail(3, 3)).await;
    line.say(assignment("a", 10)).await;
    assert!(answer(line.heard().await).admitted, "its duty goes on");
    assert_eq!(agent.journal.head(), 2);
    assert_eq!(agent.journal.open_runs(), [], "it belongs to no run");
}

#[tokio::test]
async fn the_journals_hash_at_what_the_controller_has_is_told_after_each_welcome() {
    let mut controller = Controller::new().await;
    let mut agent = Agent::new(&controller, (-1, 30));
    agent.write(3, 10);
    agent.start();
    let mut line = controller.session().await;
    line.welcome(2, "").await;
    assert_eq!(line.report().await, [3, 4]);
    let told = line.journal_head.clone().unwrap();
    assert_eq!(told.seq, 2);
    assert_eq!(told.hash, agent.journal.hash_at(2).unwrap());
}
