//! A person's orders from the operator's call to the agent's answer, over lost connections and a controller
//! that is started again.

use mailmend_policy::parse::check;
use mailmend_policy::source::PolicySource;
use mailmend_proto::run::{BatchId, Custody, Ended, Entry, Fate, ReconciledMessage};
use mailmend_proto::wire::operator_server::Operator as _;
use mailmend_proto::wire::order::What;
use tokio_stream::StreamExt as _;

use super::*;
use crate::identity::{Caller, Peer};
use crate::server::operator::OperatorService;

const ASKING: &str = r#"
schema = "mailmend/v1"
name = "asking"
version = 1
title = "Somebody has to look"
[source]
article = "Q296879"
deviations = [{ step = "1", why = "it is a test" }]
[applies_to]
product = "exchange"
versions = ">=4.0, <5.6"
[roles]
mail = { select = "ims.direction", bind = "each" }
[limits]
max_outage = "1m"
max_restarts = 0
[detect]
on = "mail"
all = [{ queue = "outbound-awaiting-delivery", count_over = 0 }]
[[step]]
id = "look"
on = "mail"
action = "human.task"
ask = "Look at the relay."
answers = ["done", "cannot"]
accept = ["done"]
why = "only a person can see it"
[[step]]
id = "symptom-is-gone"
on = "mail"
action = "check"
all = [{ queue = "outbound-awaiting-delivery", count_under = 1 }]
"#;

pub(super) fn operator(controller: &Controller) -> OperatorService {
    OperatorService::new(controller.clone(), Arc::new(Certifier::default()))
}

pub(super) fn admin<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller {
        peer: Peer::Operator("admin".into()),
        from: ([127, 0, 0, 1], 1).into(),
        serial: String::new(),
        until_ms: 0,
    });
    request
}

fn duty_run() -> String {
    Uuid::from_u128(9).to_string()
}

fn batch() -> BatchId {
    BatchId(Uuid::from_u128(0xab))
}

/// A duty that has ended and keeps two messages: one held, one in doubt.
fn ended_duty() -> Vec<Event> {
    let entry = |index, custody| Entry {
        index,
        name: format!("AAAAAAA{index}"),
        file_id: u64::from(index),
        size: 1,
        modified_ms: 0,
        hash: Digest::of(b"x"),
        mts_id: String::new(),
        message_id: String::new(),
        custody,
    };
    vec![
        duty(),
        Event::BatchIntended {
            batch: batch(),
            step: None,
            queue: "outbound-awaiting-delivery".into(),
            source: "/out".into(),
            held: "/held".into(),
            files: 2,
            bytes: 2,
            copied_from: None,
        },
        Event::BatchEntries {
            batch: batch(),
            entries: vec![entry(0, Custody::Live), entry(1, Custody::InDoubt)],
        },
        Event::BatchHeld {
            batch: batch(),
            left: Vec::new(),
        },
        Event::Closed {
            how: Ended::Committed,
            detail: "up again".into(),
        },
    ]
}

/// Greets, and hears the welcome.
async fn greeted(line: &mut Line, head: u64) {
    line.say(hello(1, head)).await;
    assert!(matches!(
        line.hear().await.unwrap(),
        to_agent::Message::Welcome(_)
    ));
}

async fn acknowledged(line: &mut Line, seq: u64, event: Event) {
    line.say(report(seq, event)).await;
    assert_eq!(
        line.hear().await.unwrap(),
        to_agent::Message::Acknowledge(wire::Acknowledge { seq })
    );
}

/// The next order. What the controller decides about the run in its own time may come before it.
async fn order(line: &mut Line) -> wire::Order {
    loop {
        match line.hear().await.unwrap() {
            to_agent::Message::Order(order) => return order,
            to_agent::Message::Advance(_) => {}
            other => panic!("{other:?} instead of an order"),
        }
    }
}

async fn answer(line: &Line, id: &str, refused: Option<(&str, &str)>) {
    let (code, why) = refused.unwrap_or_default();
    line.say(from_agent::Message::OrderAnswer(wire::OrderAnswer {
        id: id.into(),
        taken: refused.is_none(),
        code: code.into(),
        why: why.into(),
    }))
    .await;
}

/// The order as the operator sees it, once it is as it should be.
async fn until(
    operator: &OperatorService,
    id: &str,
    seen: impl Fn(&wire::OrderStatus) -> bool,
) -> wire::OrderStatus {
    let looked = tokio::time::timeout(LIMIT, async {
        loop {
            let request = admin(wire::GetOrderRequest { id: id[..8].into() });
            let status = operator.get_order(request).await.unwrap().into_inner();
            if seen(&status) {
                return status;
            }
            tokio::task::yield_now().await;
        }
    });
    looked.await.expect("the order comes to this")
}

fn release(id: u128, why: &str) -> Request<wire::ReleaseCustodyRequest> {
    admin(wire::ReleaseCustodyRequest {
        run: duty_run(),
        by: "anna".into(),
        why: why.into(),
        request_id: Uuid::from_u128(id).to_string(),
        ..wire::ReleaseCustodyRequest::default()
    })
}

#[tokio::test]
async fn an_order_is_told_at_each_connect_until_it_is_answered_and_over_a_restart() {
    let world = World::new().await;
    world.enrol("good", "EXB1", "csr").await.unwrap();
    let mut line = world.dial("EXB1");
    greeted(&mut line, 5).await;
    for (seq, event) in (1..).zip(ended_duty()) {
        acknowledged(&mut line, seq, event).await;
    }
    let service = operator(&world.controller);
    let refused = service.release_custody(release(1, " ")).await.unwrap_err();
    assert!(refused.message().starts_with("C098-reason-missing"));
    let id = Uuid::from_u128(1 << 100).to_string();
    let stored = service
        .release_custody(release(1 << 100, "the next hop is back"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (stored.id.as_str(), stored.agent.as_str()),
        (id.as_str(), "EXB1")
    );
    assert_eq!(
        (stored.state(), stored.over),
        (wire::OrderState::Waiting, false)
    );
    // A release disturbs service: nothing else begins at the site meanwhile.
    let locks = world.controller.store().locks().await.unwrap();
    let run = RunId(Uuid::from_u128(9));
    assert_eq!(*locks, BTreeMap::from([("oslo".parse().unwrap(), run)]));
    let told = order(&mut line).await;
    assert_eq!(
        (told.by.as_str(), told.run.as_str()),
        ("anna", duty_run().as_str())
    );
    assert_eq!(told.what, Some(What::Release(wire::Release::default())));
    // The same request again is the same order; another one beside it is refused.
    let again = service
        .release_custody(release(1 << 100, "the next hop is back"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again, stored);
    let beside = service
        .release_custody(release(2, "me too"))
        .await
        .unwrap_err();
    assert!(
        beside.message().starts_with("C037-refused"),
        "{}",
        beside.message()
    );
    // The agent dies before it has answered, and so does the controller.
    drop(line);
    let path = world.controller.store().path().to_owned();
    world.controller.stop().await;
    let store = Store::open(&path).await.unwrap();
    let world = World {
        controller: Controller::start(store, Clock::of(|| 2000)),
        ..world
    };
    let service = operator(&world.controller);
    let mut line = world.dial("EXB1");
    greeted(&mut line, 5).await;
    assert_eq!(order(&mut line).await, told);
    answer(&line, &id, None).await;
    let taken = until(&service, &id, |one| one.state() == wire::OrderState::Taken).await;
    assert!(!taken.over, "it is carried out yet");
    // What was answered and is not reported yet is under way: a second release is not even stored, for the
    // agent would refuse it, and that must not free the site under the first.
    let beside = service
        .release_custody(release(3, "again"))
        .await
        .unwrap_err();
    assert!(
        beside.message().starts_with("C037-refused"),
        "{}",
        beside.message()
    );
    let ordered = Event::ReleaseOrdered {
        order: Uuid::from_u128(1 << 100),
        by: "anna".into(),
        why: "the next hop is back".into(),
        batch: None,
    };
    acknowledged(&mut line, 6, ordered).await;
    assert!(told.fence > 0, "a release is granted");
    let fenced = Event::Fenced { fence: told.fence };
    acknowledged(&mut line, 7, fenced).await;
    let locks = world.controller.store().locks().await.unwrap();
    assert_eq!(locks.len(), 1, "it is not over yet");
    let closed = Event::Closed {
        how: Ended::Released,
        detail: "1 messages were given back".into(),
    };
    acknowledged(&mut line, 8, closed).await;
    let over = until(&service, &id, |one| one.over).await;
    assert_eq!(over.outcome, "1 messages were given back");
    let locks = world.controller.store().locks().await.unwrap();
    assert!(locks.is_empty(), "the site is free again");
    // What is answered is told no more: the first word after the welcome is of something else.
    drop(line);
    let mut line = world.dial("EXB1");
    greeted(&mut line, 8).await;
    answer(&line, &id, Some(("A073-release-refused", "late"))).await;
    acknowledged(
        &mut line,
        9,
        Event::Alarm {
            code: "A000-test".into(),
            text: "x".into(),
        },
    )
    .await;
    let still = until(&service, &id, |one| one.over).await;
    assert_eq!(
        still.state(),
        wire::OrderState::Taken,
        "the first answer counts"
    );
}

#[tokio::test]
async fn what_an_agent_has_not_taken_is_told_again_on_the_same_stream() {
    let world = World::new().await;
    world.enrol("good", "EXB1", "csr").await.unwrap();
    let mut line = world.dial_and_hear_again_after("EXB1", Duration::from_millis(20));
    greeted(&mut line, 5).await;
    for (seq, event) in (1..).zip(ended_duty()) {
        acknowledged(&mut line, seq, event).await;
    }
    let service = operator(&world.controller);
    service
        .release_custody(release(1 << 100, "the next hop is back"))
        .await
        .unwrap();
    let told = order(&mut line).await;
    // It was swallowed on its way, and the stream lives on.
    for _ in 0..3 {
        assert_eq!(order(&mut line).await, told);
    }
    let id = Uuid::from_u128(1 << 100).to_string();
    answer(&line, &id, None).await;
    until(&service, &id, |one| one.state() == wire::OrderState::Taken).await;
}

#[tokio::test]
async fn a_settlement_names_messages_of_one_batch_and_tells_why_it_was_refused() {
    let world = World::new().await;
    world.enrol("good", "EXB1", "csr").await.unwrap();
    let mut line = world.dial("EXB1");
    greeted(&mut line, 5).await;
    for (seq, event) in (1..).zip(ended_duty()) {
        acknowledged(&mut line, seq, event).await;
    }
    let service = operator(&world.controller);
    let settle = |ids: &[&str], custody: wire::Custody, id: u128| {
        admin(wire::SettleCustodyRequest {
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            run: duty_run(),
            custody: custody.into(),
            why: "the recipient has it".into(),
            request_id: Uuid::from_u128(id).to_string(),
            ..wire::SettleCustodyRequest::default()
        })
    };
    let gone = wire::Custody::GoneWithEvidence;
    for (ids, custody, code) in [
        (&["ffffffff/1"][..], gone, "C096-custody-ids"),
        (&["0000000000ab"], gone, "C096-custody-ids"),
        (&[], gone, "C096-custody-ids"),
        (
            &["0000000000ab/1"],
            wire::Custody::InDoubt,
            "C091-custody-state",
        ),
    ] {
        let refused = service
            .settle_custody(settle(ids, custody, 5))
            .await
            .unwrap_err();
        assert!(refused.message().starts_with(code), "{}", refused.message());
    }
    // As `run ledger` prints it: the end of the batch, and the entry.
    let id = Uuid::from_u128(6 << 100).to_string();
    service
        .settle_custody(settle(&["0000000000ab/1"], gone, 6 << 100))
        .await
        .unwrap();
    let told = order(&mut line).await;
    assert_eq!(told.by, "admin", "the certificate says who it was");
    let Some(What::Settle(said)) = told.what else {
        panic!("a settlement");
    };
    assert_eq!(said.batch, batch().to_string());
    assert_eq!(said.entries, [wire::Range { first: 1, last: 1 }]);
    answer(
        &line,
        &id,
        Some(("A074-settle-refused", "it is in a queue")),
    )
    .await;
    let refused = until(&service, &id, |one| one.over).await;
    assert_eq!(refused.state(), wire::OrderState::Refused);
    assert_eq!(
        (refused.code.as_str(), refused.why.as_str()),
        ("A074-settle-refused", "it is in a queue")
    );
    let changes = world.controller.store().changes().await.unwrap();
    assert_eq!(changes.last().unwrap().what, "settle-custody");
}

#[tokio::test]
async fn an_audit_is_passed_on_in_pieces_and_fails_where_the_agent_is_away_or_leaves() {
    let world = World::new().await;
    world.enrol("good", "EXB1", "csr").await.unwrap();
    let service = operator(&world.controller);
    let ask = || {
        admin(wire::AuditLedgerRequest {
            agent: "EXB1".into(),
            run: String::new(),
        })
    };
    let away = service.audit_ledger(ask()).await.err().unwrap();
    assert_eq!(away.code(), Code::Unavailable);
    assert!(away.message().starts_with("C097-agent-away"));
    let mut line = world.dial("EXB1");
    greeted(&mut line, 0).await;
    let mut pages = service.audit_ledger(ask()).await.unwrap().into_inner();
    let to_agent::Message::Audit(asked) = line.hear().await.unwrap() else {
        panic!("the agent is asked");
    };
    let piece = |messages, last| {
        from_agent::Message::Audit(wire::Audit {
            id: asked.id.clone(),
            found: vec![wire::Disagreement::default()],
            messages,
            last,
            ..wire::Audit::default()
        })
    };
    line.say(piece(500, false)).await;
    line.say(piece(800, true)).await;
    let mut seen = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        seen.push((page.messages, page.found.len()));
    }
    assert_eq!(seen, [(500, 1), (800, 1)]);
    // One that is cut short never looks whole.
    let mut pages = service.audit_ledger(ask()).await.unwrap().into_inner();
    line.hear().await.unwrap();
    drop(line);
    let cut = pages.next().await.unwrap().unwrap_err();
    assert_eq!(cut.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_task_is_shown_with_its_command_and_answered_once() {
    let world = World::new().await;
    world.enrol("good", "EXB1", "csr").await.unwrap();
    let service = operator(&world.controller);
    let source = PolicySource::new("asking.toml", ASKING);
    assert!(check(&source).policy.is_some(), "{}", check(&source).faults);
    let publish = wire::PublishPolicyRequest {
        file: "asking.toml".into(),
        text: ASKING.into(),
    };
    service.publish_policy(admin(publish)).await.unwrap();
    let mut line = world.dial("EXB1");
    line.say(from_agent::Message::Hello(wire::Hello {
        agent_version: "0.1.0".into(),
        journal: Uuid::from_u128(1).to_string(),
        facts: [("ims.direction", "both"), ("exchange.version", "5.5.2653")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        actions: ["detect", "human.task", "check"]
            .map(str::to_owned)
            .to_vec(),
        ..wire::Hello::default()
    }))
    .await;
    line.hear().await.unwrap();
    let start = wire::RolloutRequest {
        policy: "asking".into(),
        selector: "site=oslo".into(),
        request_id: Uuid::from_u128(1).to_string(),
        ..wire::RolloutRequest::default()
    };
    let rollout = service
        .start_rollout(admin(start))
        .await
        .unwrap()
        .into_inner();
    let to_agent::Message::Assignment(assignment) = line.hear().await.unwrap() else {
        panic!("the run is assigned");
    };
    let run = RunId(Uuid::try_parse(&assignment.run).unwrap());
    let record = |seq, event| {
        let record = Record {
            seq,
            at_ms: 1,
            run,
            event,
        };
        from_agent::Message::Report(wire::Report {
            records: vec![record_to_wire(&record)],
        })
    };
    let digest: [u8; 32] = assignment.plan_digest.clone().try_into().unwrap();
    let admitted = Event::Admitted {
        fence: assignment.fence,
        plan: Digest::from_bytes(digest),
        policy: source.digest(),
        assignment: Vec::new(),
    };
    line.say(record(1, admitted)).await;
    let finished = |step, outcome| Event::StepFinished {
        step,
        attempt: 1,
        outcome,
        detail: String::new(),
        evidence: Vec::new(),
    };
    let intended = |step| Event::StepIntended { step, attempt: 1 };
    // It goes as far as it is let, and says so: further would be refused.
    let mut seq = 2;
    let mut through = 0;
    let mut done = false;
    while through < 2 {
        if let to_agent::Message::Advance(advance) = line.hear().await.unwrap() {
            through = advance.through;
            let fence = assignment.fence;
            line.say(record(seq, Event::Advanced { fence, through }))
                .await;
            seq += 1;
            if !done {
                done = true;
                line.say(record(seq, intended(0))).await;
                let ended = finished(0, mailmend_proto::run::Outcome::Done);
                line.say(record(seq + 1, ended)).await;
                seq += 2;
            }
        }
    }
    line.say(record(seq, intended(1))).await;
    let mut heard = 0;
    while heard < seq {
        if let to_agent::Message::Acknowledge(wire::Acknowledge { seq }) =
            line.hear().await.unwrap()
        {
            heard = seq;
        }
    }
    let shown = service
        .get_run(admin(wire::GetRunRequest {
            id: assignment.run.clone(),
        }))
        .await
        .unwrap()
        .into_inner();
    let task = shown.steps[1].task.clone().expect("it asks");
    assert_eq!(task.answers, ["done", "cannot"]);
    let explained = service
        .explain_rollout(admin(wire::GetRolloutRequest {
            id: rollout.id.clone(),
        }))
        .await
        .unwrap()
        .into_inner();
    let waiting = &explained.waiting[0];
    assert!(waiting.holder.contains("Look at the relay."), "{waiting:?}");
    let command = format!(
        "mailmend run answer {} --step look --answer done|cannot",
        &assignment.run[..8]
    );
    assert_eq!(waiting.release, command);

    let give = |answer: &str, step: &str, id: u128| {
        admin(wire::AnswerTaskRequest {
            run: assignment.run.clone(),
            step: step.into(),
            answer: answer.into(),
            request_id: Uuid::from_u128(id).to_string(),
            ..wire::AnswerTaskRequest::default()
        })
    };
    for (answer, step) in [
        ("perhaps", ""),
        ("done", "symptom-is-gone"),
        ("done", "look@ELSEWHERE"),
    ] {
        let refused = service
            .answer_task(give(answer, step, 2))
            .await
            .unwrap_err();
        assert!(
            refused.message().starts_with("C094-not-asked"),
            "{}",
            refused.message()
        );
    }
    let id = Uuid::from_u128(3 << 100).to_string();
    service
        .answer_task(give("done", "look", 3 << 100))
        .await
        .unwrap();
    let other = service
        .answer_task(give("cannot", "", 4))
        .await
        .unwrap_err();
    assert!(
        other.message().contains("admin said `done`"),
        "{}",
        other.message()
    );
    let told = order(&mut line).await;
    let wanted = wire::AnswerTask {
        step: 1,
        answer: "done".into(),
    };
    assert_eq!(told.what, Some(What::Answer(wanted)));
    answer(&line, &id, None).await;
    assert!(
        until(&service, &id, |one| one.over)
            .await
            .outcome
            .is_empty()
    );
    let answered = Event::Answered {
        order: Uuid::from_u128(3 << 100),
        step: 1,
        answer: "done".into(),
        by: "admin".into(),
        note: String::new(),
    };
    line.say(record(6, answered)).await;
    let stored = to_agent::Message::Acknowledge(wire::Acknowledge { seq: 6 });
    while line.hear().await.unwrap() != stored {}
    let shown = service
        .get_run(admin(wire::GetRunRequest {
            id: assignment.run.clone(),
        }))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(shown.steps[1].task, None, "it asks no more");
}

/// A duty that reconciled: one message vanished and has a copy, another has none.
fn reconciled() -> Vec<Event> {
    let vanished = |at: u32, copy: bool| ReconciledMessage {
        mts_id: format!("c=US;l=EXB1-{at}"),
        message_id: format!("<{at}@peer.example>"),
        fate: Fate::Vanished,
        accepted_ms: i64::from(at),
        recipients: Vec::new(),
        sender: String::new(),
        evidence: Vec::new(),
        escrow: if copy {
            format!("/held/escrow/In/AAAAAAA{at}")
        } else {
            String::new()
        },
        escrow_hash: copy.then(|| Digest::of(b"x")),
    };
    vec![
        duty(),
        Event::Reconciled {
            step: 0,
            piece: 1,
            delivered: 3,
            messages: vec![vanished(1, true), vanished(2, false)],
        },
        Event::Closed {
            how: Ended::Committed,
            detail: "looked".into(),
        },
    ]
}

#[tokio::test]
async fn vanished_messages_are_given_back_by_one_order_and_told_as_custody_from_then_on() {
    let world = World::new().await;
    world.enrol("good", "EXB1", "csr").await.unwrap();
    let mut line = world.dial("EXB1");
    greeted(&mut line, 5).await;
    for (seq, event) in (1..).zip(reconciled()) {
        acknowledged(&mut line, seq, event).await;
    }
    let service = operator(&world.controller);
    let recover = |messages: &[&str], agent: &str, id: u128| {
        admin(wire::RecoverCustodyRequest {
            run: duty_run(),
            agent: agent.into(),
            messages: messages.iter().map(|&one| one.to_owned()).collect(),
            why: "the service pack is on".into(),
            request_id: Uuid::from_u128(id).to_string(),
            ..wire::RecoverCustodyRequest::default()
        })
    };
    for (messages, agent) in [
        (&["<2@peer.example>"][..], ""),
        (&["<nobody@peer.example>"], ""),
        (&[], "EXB9"),
    ] {
        let refused = service
            .recover_custody(recover(messages, agent, 5))
            .await
            .unwrap_err();
        assert!(
            refused.message().starts_with("C100-nothing-to-recover"),
            "{}",
            refused.message()
        );
    }
    let id = Uuid::from_u128(6 << 100).to_string();
    // As the records write an MTS-ID.
    let named = "C=us%l=EXB1-1";
    let stored = service
        .recover_custody(recover(&[named], "exb1", 6 << 100))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((stored.id.as_str(), stored.over), (id.as_str(), false));
    let beside = service
        .recover_custody(recover(&[], "", 7 << 100))
        .await
        .unwrap_err();
    assert!(beside.message().starts_with("C037"), "{}", beside.message());
    let told = order(&mut line).await;
    let messages = vec![named.to_owned()];
    assert_eq!(told.what, Some(What::Recover(wire::Recover { messages })));
    answer(&line, &id, None).await;
    let ordered = Event::RecoverOrdered {
        order: Uuid::from_u128(6 << 100),
        by: "anna".into(),
        why: "the service pack is on".into(),
        left: Vec::new(),
    };
    let mut taken_up = ended_duty();
    taken_up.remove(0);
    if let Some(Event::BatchIntended {
        copied_from, files, ..
    }) = taken_up.first_mut()
    {
        *copied_from = Some("/held/escrow/In".into());
        *files = 1;
    }
    if let Some(Event::BatchEntries { entries, .. }) = taken_up.get_mut(1) {
        entries.truncate(1);
        entries[0].name = "AAAAAAA1".into();
    }
    let store = world.controller.store();
    let run = RunId(Uuid::from_u128(9));
    let agent = "EXB1".parse().unwrap();
    let told = store.told(run, &agent).await.unwrap().unwrap();
    assert_eq!(told.recoverable, 1);
    for (seq, event) in (4..).zip([ordered].into_iter().chain(taken_up)) {
        acknowledged(&mut line, seq, event).await;
    }
    let over = until(&service, &id, |one| one.over).await;
    assert_eq!(over.outcome, "up again");
    let told = store.told(run, &agent).await.unwrap().unwrap();
    assert_eq!(told.recoverable, 0);
    let page = store.reconciled_page(run, false, None, 10).await.unwrap();
    let custody: Vec<_> = page.iter().map(|row| row.taken_up).collect();
    assert_eq!(custody, [Some((batch(), 0, Custody::Held)), None]);
    assert_eq!(page[0].message.escrow_hash, Some(Digest::of(b"x")));
}
