//! What one step costs beside its own work: from its release to its report in the store, and on to the
//! next release. Beside it, in the same run, what that cannot be cheaper than: one message each way over
//! the same kind of stream, and two durable transactions (the report's and the decision's).
//!
//! `cargo bench -p mailmend --bench step`; more steps with `MAILMEND_BENCH_STEPS=500`. Plain TCP on
//! loopback; agents that do nothing and keep no journal. The goal is at most [`GOAL`] times the reference.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailmend::clock::Clock;
use mailmend::identity::{Caller, Peer};
use mailmend::orchestrator::Controller;
use mailmend::planning::{Overrides, Planned, planned};
use mailmend::rollout::{RolloutId, RolloutState};
use mailmend::server::agents::{AgentsService, Authority, Certified, CertifyFault};
use mailmend::store::{AgentRow, Change, NewRollout, NewRun, NewToken, PolicyRow, Store};
use mailmend::trust::Named;
use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServerName;
use mailmend_policy::parse::parse;
use mailmend_policy::source::PolicySource;
use mailmend_proto::convert::record_to_wire;
use mailmend_proto::run::{Ended, Event, Outcome, Record, RunId};
use mailmend_proto::wire::agents_client::AgentsClient;
use mailmend_proto::wire::agents_server::{Agents, AgentsServer};
use mailmend_proto::wire::{self, from_agent, to_agent};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const GOAL: f64 = 3.0;

fn main() -> Fallible<()> {
    // `cargo test --benches` runs this too: then only a few steps.
    let bench = std::env::args().any(|argument| argument == "--bench");
    let steps = std::env::var("MAILMEND_BENCH_STEPS").unwrap_or_else(|_| {
        let steps = if bench { "200" } else { "10" };
        steps.to_owned()
    });
    let steps: u32 = steps.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(measure(steps))
}

async fn measure(steps: u32) -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    let echo = echoes(steps).await?;
    let commit = commits(&folder.path().join("reference.db"), steps).await?;
    let step = rollout(&folder.path().join("controller.db"), steps).await?;
    let reference = echo + 2 * commit;
    let ratio = step.as_secs_f64() / reference.as_secs_f64();
    println!("steps                       {steps}");
    println!("one message each way        {echo:>12.1?}");
    println!("one durable transaction     {commit:>12.1?}");
    println!("reference (1 + 2 of them)   {reference:>12.1?}");
    println!("one step                    {step:>12.1?}");
    println!("ratio                       {ratio:>12.2}  (goal: at most {GOAL})");
    Ok(())
}

/// The time of one message each way over a stream.
async fn echoes(count: u32) -> Fallible<Duration> {
    let address = serve(Routes::new(AgentsServer::new(Echo))).await?;
    let mut client = connect(address).await?;
    let (up, outgoing) = mpsc::channel(1);
    up.send(say(from_agent::Message::FenceTaken(
        wire::FenceTaken::default(),
    )))
    .await?;
    let mut down = client
        .session(ReceiverStream::new(outgoing))
        .await?
        .into_inner();
    down.next().await.ok_or("the echo ended")??;
    let began = Instant::now();
    for _ in 0..count {
        up.send(say(from_agent::Message::FenceTaken(
            wire::FenceTaken::default(),
        )))
        .await?;
        down.next().await.ok_or("the echo ended")??;
    }
    Ok(began.elapsed() / count)
}

/// The time of one durable transaction of the store.
async fn commits(path: &Path, count: u32) -> Fallible<Duration> {
    let store = Store::open(path).await?;
    let change = Change {
        at_ms: 1,
        operator: "bench".into(),
        what: "nothing".into(),
        target: "x".repeat(200),
        why: String::new(),
    };
    let began = Instant::now();
    for _ in 0..count {
        store.note_change(&change).await?;
    }
    let each = began.elapsed() / count;
    store.close().await;
    Ok(each)
}

/// The time of one step of a rollout whose steps change server each time, so that each is released by
/// itself.
async fn rollout(path: &Path, steps: u32) -> Fallible<Duration> {
    let store = Store::open(path).await?;
    let text = policy(steps);
    let source = PolicySource::new("bench", text.as_str());
    let parsed = parse(&source).map_err(|faults| faults.to_string())?;
    let row = PolicyRow {
        name: parsed.name,
        version: parsed.version,
        digest: source.digest(),
        title: parsed.title,
        article: parsed.source.article,
        text: text.into_bytes(),
        published_ms: 1,
        by: "bench".into(),
    };
    store.publish_policy(&row).await?;
    for (byte, name) in [(1, "EXA1"), (2, "EXB1")] {
        enrol(&store, byte, name).await?;
    }
    let controller = Controller::start(store.clone(), Clock::system());
    let service = AgentsService::new(controller.clone(), Arc::new(NoAuthority));
    let address = serve(Routes::new(AgentsServer::with_interceptor(
        service, identified,
    )))
    .await?;
    let mut changes = controller.watch();
    let agents = ["EXA1", "EXB1"].map(|name| tokio::spawn(agent(address, name)));
    while controller.sessions().connected().len() < 2 {
        changes.changed().await?;
    }
    let servers: Vec<_> = store.agents().await?.iter().map(AgentRow::server).collect();
    let planned = planned(&row, "site", &Overrides::default(), &servers)?;
    let id = start(&store, &row, &planned).await?;
    controller.changed();
    // Watching the rollout would cost as much as carrying it out.
    let mut spans = Vec::new();
    for agent in agents {
        spans.push(agent.await??);
    }
    loop {
        changes.mark_unchanged();
        let rollout = store.rollout(id).await?.ok_or("the rollout has gone")?;
        match rollout.state {
            RolloutState::Succeeded => break,
            state if state.is_final() => return Err(rollout.why.into()),
            _ => changes.changed().await?,
        }
    }
    // From the first release to the last acknowledgement: not how long it takes to plan.
    let began = spans.iter().map(|(began, _)| *began).min();
    let ended = spans.iter().map(|(_, ended)| *ended).max();
    let (began, ended) = began.zip(ended).ok_or("there are no agents")?;
    let each = (ended - began) / u32::try_from(planned.plans[0].steps.len())?;
    controller.stop().await;
    Ok(each)
}

fn policy(steps: u32) -> String {
    let mut text = String::from(
        r#"
schema = "mailmend/v1"
name = "bench"
version = 1
title = "steps that do nothing"
[source]
article = "Q268494"
[applies_to]
product = "exchange"
versions = ">=4.0, <5.6"
[roles]
outbound = { select = "ims.direction=outbound", bind = "each" }
relay = { select = "ims.direction=both", bind = "one" }
[limits]
max_outage = "10m"
max_restarts = 4
max_files = 10
[detect]
on = "outbound"
all = [{ service = "MSExchangeIMC", is = "running" }]
"#,
    );
    for step in 0..steps {
        let role = if step % 2 == 0 { "relay" } else { "outbound" };
        text += &format!(
            "[[step]]\nid = \"step-{step}\"\non = \"{role}\"\naction = \"check\"\n\
             all = [{{ service = \"MSExchangeIMC\", is = \"running\" }}]\n"
        );
    }
    text
}

async fn enrol(store: &Store, byte: u8, name: &str) -> Fallible<()> {
    let agent: ServerName = name.parse()?;
    let token = NewToken {
        hash: [byte; 32],
        agent: agent.clone(),
        site: "oslo".parse()?,
        labels: BTreeMap::new(),
        created_ms: 0,
        by: "bench".into(),
        expires_ms: i64::MAX,
    };
    store.create_token(&token).await?;
    match store
        .take_token(
            &[byte; 32],
            &agent,
            &mailmend::store::NewCertificate::default(),
            1,
        )
        .await?
    {
        Ok(()) => Ok(()),
        Err(why) => Err(format!("{why:?}").into()),
    }
}

async fn start(store: &Store, row: &PolicyRow, planned: &Planned) -> Fallible<RolloutId> {
    let plan = planned.plans.first().ok_or("nothing was planned")?.clone();
    let servers = &planned.servers[&plan.site];
    let new = NewRollout {
        id: RolloutId(Uuid::new_v4()),
        request: Uuid::new_v4(),
        policy: row.name.clone(),
        version: row.version,
        selector: "site".into(),
        started_ms: 1,
        by: "bench".into(),
        strategy: planned.strategy.clone(),
        resolved: planned.resolved.clone(),
        generation: store.generation().await?,
        retry_of: None,
        runs: vec![NewRun {
            id: RunId(Uuid::new_v4()),
            plan,
            servers: servers.to_vec(),
        }],
    };
    let change = Change {
        at_ms: 1,
        operator: "bench".into(),
        what: "start".into(),
        target: String::new(),
        why: String::new(),
    };
    Ok(store.start_rollout(&new, &change).await?)
}

/// Serves on a free port of loopback for as long as the process lives.
async fn serve(routes: Routes) -> Fallible<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // As the real listener does: else small messages wait for each other.
    let incoming = TcpListenerStream::new(listener)
        .map(|accepted| accepted.and_then(|stream| stream.set_nodelay(true).map(|()| stream)));
    let server = tonic::transport::Server::builder().add_routes(routes);
    tokio::spawn(server.serve_with_incoming(incoming));
    Ok(address)
}

async fn connect(address: SocketAddr) -> Fallible<AgentsClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
    Ok(AgentsClient::new(endpoint.connect().await?))
}

/// Takes the caller's word for its name, where a certificate would tell it.
fn identified(mut request: Request<()>) -> Result<Request<()>, Status> {
    let name = request
        .metadata()
        .get("agent")
        .and_then(|name| name.to_str().ok())
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| Status::unauthenticated("no name"))?;
    request.extensions_mut().insert(Caller {
        peer: Peer::Agent(name),
        from: ([127, 0, 0, 1], 0).into(),
        serial: String::new(),
        until_ms: i64::MAX,
    });
    Ok(request)
}

fn say(message: from_agent::Message) -> wire::FromAgent {
    wire::FromAgent {
        message: Some(message),
    }
}

/// An agent whose steps are done as soon as they are released. Answers when it was first released, and
/// when its last record was stored.
async fn agent(address: SocketAddr, name: &'static str) -> Fallible<(Instant, Instant)> {
    let mut client = connect(address).await?;
    let (up, outgoing) = mpsc::channel(64);
    up.send(say(hello(name))).await?;
    let mut request = Request::new(ReceiverStream::new(outgoing));
    request.metadata_mut().insert("agent", name.parse()?);
    let mut down = client.session(request).await?.into_inner();
    let mut scribe = Scribe {
        name: name.parse()?,
        seq: 0,
        next: 0,
        own: Vec::new(),
        steps: 0,
        closed: None,
    };
    let mut began = None;
    while let Some(message) = down.next().await {
        let records = match message?.message {
            Some(to_agent::Message::Assignment(assignment)) => scribe.admit(&assignment)?,
            Some(to_agent::Message::Advance(advance)) => {
                began.get_or_insert_with(Instant::now);
                scribe.advance(&advance)?
            }
            Some(to_agent::Message::Acknowledge(stored)) if scribe.closed == Some(stored.seq) => {
                let began = began.ok_or("nothing was released")?;
                return Ok((began, Instant::now()));
            }
            _ => continue,
        };
        let records = records.iter().map(record_to_wire).collect();
        up.send(say(from_agent::Message::Report(wire::Report { records })))
            .await?;
    }
    Err("the stream ended".into())
}

fn hello(name: &str) -> from_agent::Message {
    let direction = if name == "EXB1" { "outbound" } else { "both" };
    from_agent::Message::Hello(wire::Hello {
        agent_version: "bench".into(),
        journal: Uuid::new_v4().to_string(),
        facts: [
            ("exchange.version", "5.5.2653"),
            ("ims.direction", direction),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        actions: vec!["detect".into(), "check".into()],
        ..wire::Hello::default()
    })
}

/// What the agent would write into its journal.
struct Scribe {
    name: ServerName,
    seq: u64,
    next: usize,
    own: Vec<u32>,
    steps: u32,
    /// The seq of its last record.
    closed: Option<u64>,
}

impl Scribe {
    fn write(&mut self, run: RunId, event: Event) -> Record {
        self.seq += 1;
        Record {
            seq: self.seq,
            at_ms: 1,
            run,
            event,
        }
    }

    fn admit(&mut self, assignment: &wire::Assignment) -> Fallible<Vec<Record>> {
        let source = PolicySource::new("bench", assignment.policy_text.clone());
        let policy = parse(&source).map_err(|faults| faults.to_string())?;
        let servers = assignment
            .servers
            .iter()
            .map(|server| mailmend_proto::convert::server_from_wire(server.clone()))
            .collect::<Result<Vec<_>, _>>()?;
        let plans = mailmend_policy::plan::plan(&policy, source.digest(), &servers)
            .map_err(|faults| format!("{faults:?}"))?;
        let plan = plans.first().ok_or("nothing was planned")?;
        self.steps = u32::try_from(plan.steps.len())?;
        let own = plan.steps.iter().filter(|step| step.server == self.name);
        self.own = own.map(|step| step.index).collect();
        let event = Event::Admitted {
            fence: assignment.fence,
            plan: plan.digest(),
            policy: Digest::of(&assignment.policy_text),
            assignment: Vec::new(),
        };
        let run = RunId(Uuid::try_parse(&assignment.run)?);
        Ok(vec![self.write(run, event)])
    }

    fn advance(&mut self, advance: &wire::Advance) -> Fallible<Vec<Record>> {
        let run = RunId(Uuid::try_parse(&advance.run)?);
        let (fence, through) = (advance.fence, advance.through);
        let mut records = vec![self.write(run, Event::Advanced { fence, through })];
        while let Some(step) = self.own.get(self.next).copied() {
            if step >= through {
                break;
            }
            self.next += 1;
            records.push(self.write(run, Event::StepIntended { step, attempt: 1 }));
            let finished = Event::StepFinished {
                step,
                attempt: 1,
                outcome: Outcome::Done,
                detail: "it holds".into(),
                evidence: Vec::new(),
            };
            records.push(self.write(run, finished));
        }
        if through == self.steps && self.next == self.own.len() {
            let closed = Event::Closed {
                how: Ended::Committed,
                detail: String::new(),
            };
            records.push(self.write(run, closed));
            self.closed = Some(self.seq);
        }
        Ok(records)
    }
}

/// Answers each message with one of its own.
struct Echo;

#[tonic::async_trait]
impl Agents for Echo {
    async fn renew(
        &self,
        _: Request<wire::RenewRequest>,
    ) -> Result<Response<wire::Certificate>, Status> {
        Err(Status::unimplemented("an echo"))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<wire::ToAgent, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<wire::FromAgent>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let answers = request.into_inner().map(|message| {
            message.map(|_| wire::ToAgent {
                message: Some(to_agent::Message::Acknowledge(wire::Acknowledge { seq: 1 })),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

struct NoAuthority;

impl Authority for NoAuthority {
    fn certify(&self, _: &Named, _: &str, _: i64) -> Result<Certified, CertifyFault> {
        Ok(Certified::default())
    }
    fn ca_pem(&self) -> String {
        String::new()
    }
    fn fresh_token(&self) -> Result<String, CertifyFault> {
        Ok(String::new())
    }
    fn token_hash(&self, _: &str) -> [u8; 32] {
        [0; 32]
    }
}
