//! One agent's stream, from hello to its end.

use std::time::{Duration, SystemTime};

use mailmend_policy::name::ServerName;
use mailmend_proto::convert::{offer_to_wire, run_from_wire};
use mailmend_proto::wire::from_agent::Message;
use mailmend_proto::wire::record::Event;
use mailmend_proto::wire::{self, to_agent};
use mailmend_telemetry::trace::Span;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::traced;
use crate::immunity::Fingerprint;
use crate::ingest::{IngestFault, Ledger, Weight};
use crate::orchestrator::{Controller, Point};
use crate::rollout::Refusal;
use crate::sessions::{Session, Telling};
use crate::store::{AgentRow, Greeting, OrderAnswer};
use crate::watches::Looking;

/// How long an agent may take to say hello, and to take what it is told.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the last word to an agent may take.
const PARTING: Duration = Duration::from_secs(1);

/// An agent's facts and actions: more than this many are refused.
const MOST_FACTS: usize = 256;

type Outgoing = mpsc::Sender<Result<wire::ToAgent, Status>>;

/// Serves a stream until it, the controller or its place among the sessions ends; the agent is told
/// why. What it was told and has not written down after `again` it is told again.
pub(crate) async fn serve(
    controller: Controller,
    name: ServerName,
    incoming: impl Stream<Item = Result<wire::FromAgent, Status>> + Unpin + Send,
    outgoing: Outgoing,
    again: Duration,
) {
    let ended = tokio::select! {
        ended = session(&controller, &name, incoming, &outgoing, again) => ended,
        () = controller.stopping().cancelled() => {
            Err(Status::unavailable("C078-stopping: the controller is stopping; connect again"))
        }
        () = outgoing.closed() => Ok(()),
    };
    match ended {
        Ok(()) => tracing::info!(agent = %name, "the stream ended"),
        Err(status) => {
            tracing::warn!(agent = %name, why = status.message(), "ended the stream");
            // Nobody may be there to be told, and the controller may be waiting to stop.
            drop(tokio::time::timeout(PARTING, outgoing.send(Err(status))).await);
        }
    }
    controller.audits().gone(&name);
    // Who is connected has changed.
    controller.symptoms_changed();
}

async fn session(
    controller: &Controller,
    name: &ServerName,
    mut incoming: impl Stream<Item = Result<wire::FromAgent, Status>> + Unpin + Send,
    outgoing: &Outgoing,
    again: Duration,
) -> Result<(), Status> {
    let hello = tokio::time::timeout(PATIENCE, incoming.next())
        .await
        .map_err(|_| Status::deadline_exceeded("C072-no-hello: the agent said nothing"))?;
    let first = hello.transpose()?.and_then(|first| first.message);
    let Some(Message::Hello(hello)) = first else {
        return Err(Status::invalid_argument(
            "C072-no-hello: a stream begins with hello",
        ));
    };
    let session = controller.sessions().begin(name).await;
    let held = hello.trust.clone();
    let agent = greet(controller, name, hello).await?;
    controller
        .store()
        .note_held(name, held.as_ref(), controller.now_ms())
        .await?;
    // One that knows nothing of signatures would end the session.
    let follows = held.is_some_and(|held| held.signed);
    let mut ledger = Ledger::of(&agent);
    let welcome = to_agent::Message::Welcome(wire::Welcome {
        acknowledged: agent.acknowledged,
        journal: agent.journal,
    });
    tell(outgoing, welcome).await?;
    tell_head(controller, outgoing).await?;
    session.greeted();
    controller.liveness().heard(name, controller.now_ms());
    controller.symptoms_changed();
    tracing::info!(agent = %name, acknowledged = ledger.acknowledged(), "connected");
    tokio::select! {
        ended = listen(controller, name, &mut ledger, incoming, outgoing) => ended,
        ended = talk(controller, name, &session, outgoing, (again, follows)) => ended,
        () = session.replaced() => Err(Status::aborted(
            "C073-replaced: another stream of this agent has begun",
        )),
    }
}

async fn greet(
    controller: &Controller,
    name: &ServerName,
    hello: wire::Hello,
) -> Result<AgentRow, Status> {
    if hello.facts.len() > MOST_FACTS || hello.actions.len() > MOST_FACTS {
        return Err(too_many());
    }
    if uuid::Uuid::try_parse(&hello.journal).is_err() {
        return Err(Status::invalid_argument(format!(
            "C072-no-hello: the journal of `{name}` has no id"
        )));
    }
    let greeting = Greeting {
        version: hello.agent_version,
        journal: hello.journal,
        head: hello.head,
        highest_fence: hello.highest_fence,
        facts: hello.facts.into_iter().collect(),
        actions: hello.actions.into_iter().collect(),
    };
    let store = controller.store();
    match store.greet(name, &greeting, controller.now_ms()).await? {
        Ok(agent) => Ok(agent),
        Err(refused) => {
            let text = refused.to_string();
            let (code, why) = text.split_once(": ").unwrap_or(("", &text));
            store
                .raise_alarm(name, code, why, controller.now_ms())
                .await?;
            Err(Status::failed_precondition(text))
        }
    }
}

fn too_many() -> Status {
    Status::invalid_argument(format!(
        "C074-too-many-facts: at most {MOST_FACTS} facts and actions are taken"
    ))
}

/// Takes in what the agent says, one message after the other.
async fn listen(
    controller: &Controller,
    name: &ServerName,
    ledger: &mut Ledger,
    mut incoming: impl Stream<Item = Result<wire::FromAgent, Status>> + Unpin + Send,
    outgoing: &Outgoing,
) -> Result<(), Status> {
    // The head of the trail was told right after the welcome.
    let mut headed_ms = controller.now_ms();
    while let Some(message) = incoming.next().await {
        controller.liveness().heard(name, controller.now_ms());
        match message?.message {
            Some(Message::Report(report)) => {
                let weight = weight(&report);
                let seq = take_in(controller, name, ledger, report).await?;
                tell(
                    outgoing,
                    to_agent::Message::Acknowledge(wire::Acknowledge { seq }),
                )
                .await?;
                let now_ms = controller.now_ms();
                if weight.is_due(Some(headed_ms), now_ms) {
                    headed_ms = now_ms;
                    tell_head(controller, outgoing).await?;
                }
            }
            Some(Message::JournalHead(head)) => {
                same_journal(controller, name, ledger, &head).await?;
            }
            Some(Message::Answer(answer)) if answer.admitted => {}
            Some(Message::Answer(answer)) => {
                let run = run_from_wire(&answer.run)
                    .map_err(|why| Status::invalid_argument(why.to_string()))?;
                tracing::warn!(agent = %name, %run, code = answer.code, why = answer.why, "refused a run");
                let refusal = Refusal {
                    code: answer.code,
                    why: answer.why,
                };
                controller
                    .store()
                    .refuse(run, name, &refusal, controller.now_ms())
                    .await?;
                controller.changed();
            }
            Some(Message::Facts(facts)) => {
                if facts.facts.len() > MOST_FACTS {
                    return Err(too_many());
                }
                let facts = facts.facts.into_iter().collect();
                controller
                    .store()
                    .replace_facts(name, &facts, controller.now_ms())
                    .await?;
                // What is looked for on the server may have changed with them.
                controller.sessions().wake(std::slice::from_ref(name));
                controller.symptoms_changed();
            }
            Some(Message::Symptoms(said)) => super::symptoms::heard(controller, name, said).await?,
            // The record of it is what counts.
            Some(Message::FenceTaken(_)) => {}
            Some(Message::OrderAnswer(answer)) => {
                take_answer(controller, name, answer).await?;
            }
            Some(Message::Audit(audit)) => controller.audits().told(name, audit),
            Some(Message::Queues(told)) => {
                let store = controller.store();
                store.replace_queues(name, &told.queues).await?;
            }
            Some(Message::Trust(held)) => {
                if !held.code.is_empty() {
                    tracing::warn!(agent = %name, code = held.code, why = held.why, "begins nothing new, or refused what is signed");
                }
                let store = controller.store();
                store
                    .note_held(name, Some(&held), controller.now_ms())
                    .await?;
                controller.changed();
            }
            Some(Message::Hello(_)) => {
                return Err(Status::invalid_argument(
                    "C072-no-hello: hello is said once in a stream",
                ));
            }
            // A kind of message that a newer agent knows.
            None => tracing::warn!(agent = %name, "ignored a message of an unknown kind"),
        }
    }
    Ok(())
}

/// An agent said whether it takes a person's order.
async fn take_answer(
    controller: &Controller,
    name: &ServerName,
    answer: wire::OrderAnswer,
) -> Result<(), Status> {
    let id = uuid::Uuid::try_parse(&answer.id)
        .map_err(|why| Status::invalid_argument(format!("the order has no id: {why}")))?;
    let said = if answer.taken {
        OrderAnswer::Taken
    } else {
        tracing::warn!(agent = %name, order = %id, code = answer.code, why = answer.why, "refused an order");
        OrderAnswer::Refused {
            code: answer.code,
            why: answer.why,
        }
    };
    let store = controller.store();
    store
        .answer_order(id, name, &said, controller.now_ms())
        .await?;
    controller.changed();
    Ok(())
}

async fn take_in(
    controller: &Controller,
    name: &ServerName,
    ledger: &mut Ledger,
    report: wire::Report,
) -> Result<u64, Status> {
    let store = controller.store();
    let before = ledger.acknowledged();
    let dead = || Status::unavailable("C078-stopping: the controller is stopping; connect again");
    if controller.dies_at(Point::Reported) {
        return Err(dead());
    }
    let (tracer, begun) = (controller.tracer(), SystemTime::now());
    let runs = traced::counted(tracer, &report);
    let taken = ledger
        .report(store, report.records, controller.now_ms())
        .await;
    let seq = match taken {
        Ok(seq) => seq,
        Err(fault) => return Err(refuse_report(controller, name, fault).await),
    };
    if controller.dies_at(Point::Ingested) {
        return Err(dead());
    }
    if seq > before {
        traced::stored(tracer, name, runs, begun, seq);
        controller.changed();
    }
    Ok(seq)
}

/// What a report is worth to the audit trail, before it is understood.
fn weight(report: &wire::Report) -> Weight {
    let each = report.records.iter().map(|record| match record.event {
        Some(Event::TrailWitnessed(_)) => Weight::Nothing,
        Some(Event::Closed(_)) => Weight::Closed,
        _ => Weight::Something,
    });
    each.max().unwrap_or(Weight::Nothing)
}

/// Tells how far the audit trail reaches, for the agent to note.
async fn tell_head(controller: &Controller, outgoing: &Outgoing) -> Result<(), Status> {
    let head = controller.store().trail_head().await?;
    let head = wire::TrailHead {
        seq: head.seq,
        hash: head.hash.to_vec(),
    };
    tell(outgoing, to_agent::Message::TrailHead(head)).await
}

/// Whether the agent's journal is what is stored of it. An alarm where it is not; the agent is served all the same:
/// mail must not wait for the past to be settled.
async fn same_journal(
    controller: &Controller,
    name: &ServerName,
    ledger: &mut Ledger,
    told: &wire::JournalHead,
) -> Result<(), Status> {
    let store = controller.store();
    match ledger.is_same(store, told).await {
        Ok(()) => Ok(()),
        Err(IngestFault::Store(fault)) => Err(fault.into()),
        Err(fault) => {
            let text = fault.to_string();
            tracing::error!(agent = %name, "{text}");
            let (code, why) = text.split_once(": ").unwrap_or(("", &text));
            store
                .journal_contradicts(name, code, why, controller.now_ms())
                .await?;
            Ok(())
        }
    }
}

async fn refuse_report(controller: &Controller, name: &ServerName, fault: IngestFault) -> Status {
    if fault.is_alarm() {
        let text = fault.to_string();
        let (code, why) = text.split_once(": ").unwrap_or(("", &text));
        let raised = controller
            .store()
            .raise_alarm(name, code, why, controller.now_ms())
            .await;
        if let Err(failed) = raised {
            return failed.into();
        }
    }
    match fault {
        IngestFault::Store(fault) => fault.into(),
        IngestFault::Gap { .. } => Status::out_of_range(fault.to_string()),
        IngestFault::Malformed { .. } => Status::invalid_argument(fault.to_string()),
        IngestFault::SecondHistory { .. }
        | IngestFault::Foreign { .. }
        | IngestFault::Contradicts { .. }
        | IngestFault::Illegal { .. } => Status::failed_precondition(fault.to_string()),
    }
}

/// Tells the agent what the store says that it must know, now and whenever that may have changed.
async fn talk(
    controller: &Controller,
    name: &ServerName,
    session: &Session,
    outgoing: &Outgoing,
    (pause, follows): (Duration, bool),
) -> Result<(), Status> {
    let mut telling = Telling::default();
    let mut looking = Looking::default();
    let mut immune = None;
    let mut signed = 0;
    let (mut again, mut due) = (false, None);
    loop {
        // First of all: without it the agent takes neither runs nor symptoms.
        let store = controller.store();
        let outlook = store.outlook().await?;
        if follows && signed != outlook.trust {
            let offer = store.trust_offer().await?;
            tell(outgoing, to_agent::Message::Trust(offer_to_wire(&offer))).await?;
            signed = outlook.trust;
        }
        // Before the orders: a withdrawal is known before what it set aside is given back.
        let stands = (outlook.immunity, outlook.in_hand.contains(name));
        if immune != Some(stands) {
            let fingerprints = outlook.fingerprints.iter();
            let message = wire::Immunity {
                generation: stands.0,
                in_hand: stands.1,
                fingerprints: fingerprints.map(Fingerprint::to_wire).collect(),
            };
            tell(outgoing, to_agent::Message::Immunity(message)).await?;
            immune = Some(stands);
        }
        if telling.is_unheard() || store.is_ordered(name).await? {
            for mut message in telling.lacking(store, name, again).await? {
                let tracer = controller.tracer();
                let span = traced::order(tracer, name, &mut message, controller.now_ms());
                sent(outgoing, Ok(message)).await?;
                if let Some(span) = span {
                    let ended = SystemTime::now().max(span.begun);
                    tracer.tell(Span { ended, ..span });
                }
            }
        }
        if again || !telling.is_unheard() {
            due = None;
        }
        if telling.is_unheard() {
            due.get_or_insert_with(|| Instant::now() + pause);
        }
        for audit in session.asked() {
            tell(outgoing, to_agent::Message::Audit(audit)).await?;
        }
        let news = looking.news(store, controller.revisions(), &outlook, name);
        if let Some(watches) = news.await? {
            tell(outgoing, to_agent::Message::Watches(watches)).await?;
        }
        again = match due {
            Some(due) => timeout_at(due, session.woken()).await.is_err(),
            None => {
                session.woken().await;
                false
            }
        };
    }
}

async fn tell(outgoing: &Outgoing, message: to_agent::Message) -> Result<(), Status> {
    let message = wire::ToAgent {
        message: Some(message),
    };
    sent(outgoing, Ok(message)).await
}

async fn sent(outgoing: &Outgoing, message: Result<wire::ToAgent, Status>) -> Result<(), Status> {
    match tokio::time::timeout(PATIENCE, outgoing.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Status::cancelled("the agent has gone")),
        Err(_) => Err(Status::deadline_exceeded(
            "C075-slow-agent: the agent does not take what it is told",
        )),
    }
}
