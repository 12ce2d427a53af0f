//! The simulated controller: what it has stored survives its death, everything else is gone.

mod people;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_policy::plan::Server;
use mailmend_proto::convert::run_from_wire;
use mailmend_proto::run::{Event, Record, RunId};
use mailmend_proto::wire;
use mailmend_proto::wire::to_agent::Message;
use uuid::Uuid;

use super::Setup;
use super::invariants;
use crate::decide::gate::{Health, Vitals, health, mended};
use crate::decide::{Decision, Fleet, decide};
use crate::ingest::{Folded, IngestFault, Sorted, agrees, sorted};
use crate::mail_flow::MailFlow;
use crate::rollout::{
    Books, Cause, Part, Refusal, Rollout, RolloutId, RolloutState, Run, RunPhase, Unwinding,
};
use crate::sessions::{Lacks, Telling, assigned};
use crate::store::{Order, Orders, PartKey, kept};

/// More rounds than any decision needs to come to rest.
const ROUNDS: u32 = 10_000;

/// What is stored of an agent.
#[derive(Debug, Default)]
struct Journal {
    id: String,
    records: Vec<Record>,
    /// Alarms after the last run of it ended: code and text of the newest.
    alarm: Option<String>,
    /// The highest fence that it ever told.
    fence: u64,
}

/// A stream, as the controller has it.
#[derive(Debug, Default)]
struct Session {
    stream: u64,
    telling: Telling,
    /// The runs that it reports on; folded anew after each beginning.
    folded: BTreeMap<RunId, Folded>,
    told_orders: BTreeSet<Uuid>,
    /// Whether a look at what it has not written down is due already.
    again: bool,
}

/// A person's order that waits for its agent.
#[derive(Debug, Clone)]
struct Waits {
    id: Uuid,
    order: wire::Order,
}

pub(super) struct Controller {
    pub(super) rollout: Rollout,
    pub(super) books: Books,
    servers: BTreeMap<SiteName, Vec<Server>>,
    text: Vec<u8>,
    /// The places of the runs that a server has a part in.
    runs_of: BTreeMap<ServerName, Vec<usize>>,
    journals: BTreeMap<ServerName, Journal>,
    orders: BTreeMap<ServerName, Vec<Waits>>,
    /// Human tasks that somebody was sent for.
    asked: BTreeSet<(RunId, u32)>,
    fleet: Fleet,
    /// Which servers are outbound paths by configuration.
    paths: MailFlow,
    sessions: BTreeMap<ServerName, Session>,
    pub(super) found: Vec<String>,
}

/// What the controller says to an agent, on its stream.
pub(super) type Said = (ServerName, wire::ToAgent);

impl Controller {
    pub(super) fn new(setup: &Setup, start_ms: i64) -> Self {
        let planned = &setup.planned;
        let runs = planned
            .plans
            .iter()
            .enumerate()
            .map(|(position, plan)| Run {
                id: RunId(Uuid::from_u64_pair(
                    0x51B0_0000_0000_7001,
                    position as u64 + 1,
                )),
                site: plan.site.clone(),
                subject: plan.subject.clone(),
                plan: Arc::new(plan.clone()),
                phase: RunPhase::Waiting,
                fence: None,
                why: String::new(),
                since_ms: start_ms,
                started_ms: None,
                ended_ms: None,
                parts: plan
                    .servers()
                    .into_iter()
                    .map(|server| (server, Part::default()))
                    .collect(),
            });
        let rollout = Rollout {
            id: RolloutId(Uuid::from_u64_pair(0x51B0_0000_0000_7002, setup.seed)),
            policy: setup.revision.name.clone(),
            version: setup.revision.version,
            selector: String::new(),
            state: RolloutState::Running,
            started_ms: start_ms,
            ended_ms: None,
            strategy: planned.strategy.clone(),
            resolved: planned.resolved.clone(),
            accepted_failures: 0,
            generation: 1,
            wave: 0,
            wave_ended_ms: None,
            approvals: BTreeMap::new(),
            accepted: BTreeSet::new(),
            retry_of: None,
            why: String::new(),
            cause: Cause::None,
            by: "simulation".into(),
            revision: 0,
            runs: runs.collect(),
        };
        let mut runs_of: BTreeMap<ServerName, Vec<usize>> = BTreeMap::new();
        for (number, run) in rollout.runs.iter().enumerate() {
            for server in run.parts.keys() {
                runs_of.entry(server.clone()).or_default().push(number);
            }
        }
        let fleet = Fleet {
            servers: setup
                .servers
                .iter()
                .map(|one| (one.name.clone(), one.site.clone()))
                .collect(),
            ..Fleet::default()
        };
        let paths = MailFlow::of(&setup.servers);
        Self {
            rollout,
            books: Books::default(),
            servers: planned.servers.clone(),
            text: setup.revision.text.clone(),
            runs_of,
            journals: BTreeMap::new(),
            orders: BTreeMap::new(),
            asked: BTreeSet::new(),
            fleet,
            paths,
            sessions: BTreeMap::new(),
            found: Vec::new(),
        }
    }

    /// It dies: whatever was not stored is gone.
    pub(super) fn dies(&mut self) {
        self.sessions.clear();
        self.fleet.connected.clear();
    }

    /// The stream of an agent, where it has one.
    pub(super) fn stream(&self, server: &ServerName) -> Option<u64> {
        self.sessions.get(server).map(|session| session.stream)
    }

    /// A stream has ended.
    pub(super) fn gone(&mut self, server: &ServerName, stream: u64) -> bool {
        let this = self.stream(server) == Some(stream);
        if this {
            self.sessions.remove(server);
            self.fleet.connected.remove(server);
        }
        this
    }

    /// An agent said hello. What it is answered; nothing where it is not let in.
    pub(super) fn hello(
        &mut self,
        server: &ServerName,
        stream: u64,
        hello: &wire::Hello,
    ) -> Vec<Said> {
        let journal = self.journals.entry(server.clone()).or_default();
        let stored = journal.records.len() as u64;
        let (fence, highest) = (hello.highest_fence, journal.fence);
        invariants::hello(server, hello.head, stored, fence, highest, &mut self.found);
        journal.fence = journal.fence.max(hello.highest_fence);
        if !journal.id.is_empty() && journal.id != hello.journal {
            self.found
                .push(format!("I1: `{server}` came with another journal"));
            return Vec::new();
        }
        journal.id.clone_from(&hello.journal);
        let welcome = Message::Welcome(wire::Welcome {
            acknowledged: stored,
            journal: hello.journal.clone(),
        });
        self.sessions.insert(
            server.clone(),
            Session {
                stream,
                ..Session::default()
            },
        );
        self.fleet.connected.insert(server.clone());
        let mut said = vec![(server.clone(), wrapped(welcome))];
        said.extend(self.tell(server, false));
        said
    }

    /// Whether an agent was told something on its stream of which there is no record, and nobody is to look for
    /// that yet; from now on somebody is.
    pub(super) fn is_to_hear_again(&mut self, server: &ServerName) -> bool {
        let waits = self.orders.get(server).is_some_and(|all| !all.is_empty());
        let Some(session) = self.sessions.get_mut(server) else {
            return false;
        };
        let unheard = waits || session.telling.is_unheard();
        unheard && !std::mem::replace(&mut session.again, unheard)
    }

    /// What an agent lacks on its stream; `again`: with what it was told a while ago and has not written down.
    pub(super) fn tell(&mut self, server: &ServerName, again: bool) -> Vec<Said> {
        let orders = self.orders_of(server);
        let Some(session) = self.sessions.get_mut(server) else {
            return Vec::new();
        };
        session.again &= !again;
        let mut messages: Vec<Message> = Vec::new();
        for waits in self.orders.get(server).into_iter().flatten() {
            if session.told_orders.insert(waits.id) || again {
                messages.push(Message::Order(waits.order.clone()));
            }
        }
        for lacks in session.telling.lacks(&orders, again) {
            match lacks {
                Lacks::Message(message) => messages.push(message),
                Lacks::Assignment(order) => {
                    let run = self.rollout.runs.iter().find(|run| run.id == order.run);
                    messages.extend(run.map(|run| {
                        let orders = Orders {
                            policy: self.rollout.policy.clone(),
                            text: self.text.clone(),
                            plan: run.plan.digest(),
                            site: run.site.clone(),
                            subject: run.subject.clone(),
                            servers: self.servers.get(&run.site).cloned().unwrap_or_default(),
                        };
                        Message::Assignment(assigned(order, orders))
                    }));
                }
            }
        }
        messages
            .into_iter()
            .map(|message| (server.clone(), wrapped(message)))
            .collect()
    }

    /// What the store says that an agent is to be told.
    fn orders_of(&self, server: &ServerName) -> Vec<Order> {
        let runs = self.runs_of.get(server).into_iter().flatten();
        let mut orders: Vec<Order> = runs
            .filter_map(|number| {
                let run = self.rollout.runs.get(*number)?;
                let (part, fence) = (run.parts.get(server)?, run.fence?);
                let begun = part.told.begun;
                let open = begun || (part.refused.is_none() && run.phase.holds_site());
                (!part.lost && part.told.closed.is_none() && open).then_some(Order {
                    run: run.id,
                    fence,
                    begun,
                    through: part.through,
                    unwind: part.unwind,
                    journaled: part.told.through,
                    journaled_unwind: part.told.down_to.map(|down_to| Unwinding {
                        down_to,
                        last: part.told.unwind_last,
                    }),
                })
            })
            .collect();
        orders.sort_by_key(|order| order.fence);
        orders
    }

    /// A report. The acknowledgement, or why the stream is to end.
    pub(super) fn report(
        &mut self,
        server: &ServerName,
        report: wire::Report,
    ) -> Result<wire::ToAgent, String> {
        let (Some(journal), Some(session)) =
            (self.journals.get_mut(server), self.sessions.get_mut(server))
        else {
            return Err("there is no stream".to_owned());
        };
        let stored = journal.records.len() as u64;
        let Sorted { fresh, known } = match sorted(server, stored, report.records) {
            Ok(sorted) => sorted,
            Err(gap @ IngestFault::Gap { .. }) => return Err(gap.to_string()),
            Err(fault) => {
                self.found.push(format!("I1: {fault}"));
                return Err(fault.to_string());
            }
        };
        for record in known {
            let at = usize::try_from(record.seq).unwrap_or(0).saturating_sub(1);
            if journal.records.get(at).map(kept) != Some(kept(&record)) {
                self.found.push(format!(
                    "I1: record {} of `{server}` came again and says something else",
                    record.seq
                ));
            }
        }
        for record in &fresh {
            let run = self
                .rollout
                .runs
                .iter_mut()
                .find(|run| run.id == record.run);
            if let (Some(run), Event::Admitted { .. } | Event::Advanced { .. }) =
                (&run, &record.event)
            {
                let part = run.parts.get(server).map(|part| PartKey {
                    plan: Some(run.plan.digest()),
                    fence: run.fence,
                    through: part.through,
                });
                if let Err(why) = agrees(part, &record.event) {
                    self.found.push(format!(
                        "I5: record {} of `{server}` belongs to run {} {why}",
                        record.seq, run.id
                    ));
                }
            }
            let folded = match session.folded.remove(&record.run) {
                Some(folded) => Ok(folded),
                // Folded from what is stored, as after each beginning of a stream.
                None => journal
                    .records
                    .iter()
                    .filter(|stored| stored.run == record.run)
                    .try_fold(Folded::default(), |folded, stored| {
                        folded.after(&stored.event)
                    }),
            };
            let folded = match folded.and_then(|folded| folded.after(&record.event)) {
                Ok(folded) => folded,
                Err(why) => {
                    self.found
                        .push(format!("I5: record {} of `{server}`: {why}", record.seq));
                    return Err(why.to_string());
                }
            };
            if let Some(part) = run.and_then(|run| run.parts.get_mut(server)) {
                part.told = folded.told.clone().counted(&folded.state);
            }
            match &record.event {
                Event::Alarm { code, text } => journal.alarm = Some(format!("{code}: {text}")),
                // What was raised in the run is the run's own matter.
                Event::Closed { .. } => journal.alarm = None,
                _ => {}
            }
            if folded.state.closed.is_none() {
                session.folded.insert(record.run, folded);
            }
            journal.records.push(record.clone());
        }
        let seq = journal.records.len() as u64;
        Ok(wrapped(Message::Acknowledge(wire::Acknowledge { seq })))
    }

    /// An agent does not take a run on.
    pub(super) fn refused(&mut self, server: &ServerName, answer: &wire::AssignmentAnswer) {
        if let (false, Ok(run)) = (answer.admitted, run_from_wire(&answer.run)) {
            let refusal = Refusal {
                code: answer.code.clone(),
                why: answer.why.clone(),
            };
            self.rollout.refused(run, server, &refusal);
        }
    }

    /// An agent said whether it takes a person's order.
    pub(super) fn answered(&mut self, server: &ServerName, answer: &wire::OrderAnswer) {
        if let Some(orders) = self.orders.get_mut(server) {
            orders.retain(|waits| waits.id.to_string() != answer.id);
        }
    }

    /// What follows now. It is carried out with [`Self::carry_out`] or, where the controller dies before, not.
    pub(super) fn decide(&mut self, now_ms: i64) -> Decision {
        self.fleet.locks = self.books.locks();
        self.fleet.mail_flow = self.mail_flow();
        if self.rollout.wave_ended_ms.is_some() {
            self.fleet.health = self.health();
        }
        let decision = decide(&self.rollout, &self.fleet, now_ms);
        invariants::decision(&self.rollout, &decision.actions, &mut self.found);
        decision
    }

    /// Which servers are outbound paths now, as the real controller finds it out of its store and sessions.
    fn mail_flow(&self) -> MailFlow {
        let stated = self.paths.clone();
        if stated.constrains_nothing() {
            return stated;
        }
        let runs = self.rollout.runs.iter();
        runs.fold(stated.connected(&self.fleet.connected), MailFlow::with_run)
    }

    /// Stores what was decided; answers who must hear of it.
    pub(super) fn carry_out(&mut self, decision: &Decision, now_ms: i64) -> Vec<ServerName> {
        let told = self
            .rollout
            .carry_out(&mut self.books, &decision.actions, now_ms);
        invariants::books(&self.rollout, &self.books, &mut self.found);
        told.unwrap_or_else(|not| {
            self.found
                .push(format!("I4: what was decided cannot be carried out: {not}"));
            Vec::new()
        })
    }

    /// The most rounds of deciding until it must have come to rest.
    pub(super) const fn rounds() -> u32 {
        ROUNDS
    }

    /// How the servers of ended runs are, as far as the gate asks.
    fn health(&self) -> BTreeMap<ServerName, Health> {
        let vitals = mended(&self.rollout).into_iter().map(|server| {
            let vitals = Vitals {
                connected: self.fleet.connected.contains(server),
                alarm: self
                    .journals
                    .get(server)
                    .and_then(|journal| journal.alarm.as_deref()),
                ..Vitals::default()
            };
            (server.clone(), health(&vitals))
        });
        vitals.collect()
    }
}

fn wrapped(message: Message) -> wire::ToAgent {
    wire::ToAgent {
        message: Some(message),
    }
}
