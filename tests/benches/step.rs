//! What a step costs beside its own work, with everything real: controller and two agents as processes,
//! store and journals on disk, gRPC over mutual TLS on loopback. Each step waits for the one before it on
//! the other server, so the time from one step's beginning to the next one's is a whole turn: finished,
//! journaled, reported, stored, decided, released, journaled, begun.
//!
//! Beside it, in the same run: one message each way over a bare bidirectional stream with the same TLS,
//! and the same with the four durable writes that a turn cannot do without (twice in a journal, the
//! report and the decision in the store), as plain appends with a sync. The benchmark `step` of the
//! package `mailmend` measures the controller's part alone.
//!
//! `cargo bench -p mailmend-lab --bench step`; more steps with `MAILMEND_BENCH_STEPS=200`.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use mailmend_agent::journal::Journal;
use mailmend_lab::awaited;
use mailmend_lab::clock_factor::ClockFactor;
use mailmend_lab::programs::Programs;
use mailmend_lab::scenario::fleet::{Fleet, Guarded};
use mailmend_lab::world::{World, WorldSpec};
use mailmend_proto::run::Event;
use mailmend_proto::wire::agents_client::AgentsClient;
use mailmend_proto::wire::agents_server::{Agents, AgentsServer};
use mailmend_proto::wire::{self, from_agent, to_agent};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The steps at the beginning and the end that are not counted: detection, the first connection's slow
/// start, the close.
const UNCOUNTED: usize = 3;
const LIMIT: Duration = Duration::from_secs(300);
/// What a record is, roughly.
const RECORD: [u8; 512] = [7; 512];

fn main() -> Fallible<()> {
    // `cargo test --benches` runs this too: then only a few steps.
    let bench = std::env::args().any(|argument| argument == "--bench");
    let steps = match std::env::var("MAILMEND_BENCH_STEPS") {
        Ok(steps) => steps.parse()?,
        Err(_) if bench => 60,
        Err(_) => 10,
    };
    let lab = Path::new(env!("CARGO_BIN_EXE_mailmend-lab"));
    let programs = Programs::built_beside(lab).map_err(|why| why.whole())?;
    let folder = tempfile::tempdir()?;
    let spec = WorldSpec {
        clock_factor: ClockFactor(1),
        ..WorldSpec::default()
    };
    let world = World::build(folder.path(), spec, lab).map_err(|why| why.whole())?;
    let mut fleet =
        Fleet::start(&world, &programs, &|_| Guarded::default()).map_err(|why| why.whole())?;
    let turns = turns(&world, &fleet, steps)?;
    let data = world.folder.join("controller/data");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let bare = runtime.block_on(echo(&data, steps.max(50), None))?;
    let synced = runtime.block_on(echo(&data, steps.max(50), Some(&world.folder)))?;
    let stubborn = fleet.stop();
    if !stubborn.is_empty() {
        return Err(format!("{stubborn:?} did not end by itself").into());
    }
    let (step, bare, synced) = (median(turns), median(bare), median(synced));
    println!(
        "one step, from its release to its stored report and the next release, median of {steps}:"
    );
    println!(
        "  step                                   {:8.2} ms",
        millis(step)
    );
    println!(
        "  echo, same TLS                         {:8.2} ms  {:6.1} x",
        millis(bare),
        millis(step) / millis(bare)
    );
    println!(
        "  echo and four durable writes           {:8.2} ms  {:6.1} x",
        millis(synced),
        millis(step) / millis(synced)
    );
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Steps that look at one service and change nothing, on the two servers in turn.
fn policy(steps: usize) -> String {
    let mut text = String::from(
        r#"schema = "mailmend/v1"
name = "bench"
version = 1
title = "steps that change nothing"
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

/// Carries the policy out. Answers the times from each step's beginning to the next one's, as the
/// agents journaled them.
fn turns(world: &World, fleet: &Fleet, steps: usize) -> Fallible<Vec<Duration>> {
    let file = world.folder.join("bench.toml");
    std::fs::write(&file, policy(steps))?;
    let ask = |arguments: &[&str]| {
        let answer = fleet.operator.ask(arguments);
        answer.map_err(|why| why.whole())
    };
    ask(&["policy", "publish", &file.display().to_string()])?;
    let started = ask(&["rollout", "start", "bench", "-l", "site", "--yes"])?;
    let id = started["id"].as_str().ok_or("the rollout has no id")?;
    let mut state = String::new();
    awaited::until(LIMIT, || {
        let shown = ask(&["rollout", "show", id]).unwrap_or_default();
        state = shown["state"].as_str().unwrap_or_default().to_owned();
        !matches!(state.as_str(), "" | "running")
    });
    if state != "succeeded" {
        let why = ask(&["rollout", "show", id])?;
        return Err(format!("the rollout is {state}: {why:#}").into());
    }
    let mut begun = Vec::new();
    for server in &world.servers {
        let journal = Journal::read(&server.dir.agent().join("data/journal.db"))?;
        for record in journal.after(0, usize::MAX)? {
            if let Event::StepIntended { step, .. } = record.event {
                begun.push((step, record.at_ms));
            }
        }
    }
    begun.sort_unstable();
    // The plan has the detection before them.
    if begun.len() < steps {
        return Err(format!("{} of {steps} steps were begun", begun.len()).into());
    }
    let counted = &begun[UNCOUNTED..begun.len() - UNCOUNTED];
    let between = counted.windows(2).map(|pair| pair[1].1 - pair[0].1);
    Ok(between
        .map(|ms| Duration::from_millis(ms.max(0).unsigned_abs()))
        .collect())
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

/// The times of single messages there and back; with `folder`, each with four synced appends there.
async fn echo(data: &Path, count: usize, folder: Option<&Path>) -> Fallible<Vec<Duration>> {
    let read = |name: &str| std::fs::read(data.join(name));
    let authority = Certificate::from_pem(read("ca.pem")?);
    let server = ServerTlsConfig::new()
        .identity(Identity::from_pem(read("server.pem")?, read("server.key")?))
        .client_ca_root(authority.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = tokio::spawn(
        Server::builder()
            .tls_config(server)?
            .add_service(AgentsServer::new(Echo))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let client = ClientTlsConfig::new()
        .domain_name("mailmend-controller")
        .identity(Identity::from_pem(
            read("operator/operator.pem")?,
            read("operator/operator.key")?,
        ))
        .ca_certificate(authority);
    let channel = Endpoint::from_shared(format!("https://{address}"))?
        .tls_config(client)?
        .connect()
        .await?;
    let (telling, told) = mpsc::channel(1);
    let mut answers = AgentsClient::new(channel)
        .session(ReceiverStream::new(told))
        .await?
        .into_inner();
    let mut file = match folder {
        Some(folder) => Some(std::fs::File::create(folder.join("reference"))?),
        None => None,
    };
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        telling
            .send(wire::FromAgent {
                message: Some(from_agent::Message::Report(wire::Report::default())),
            })
            .await?;
        answers.message().await?.ok_or("the echo ended")?;
        if let Some(file) = &mut file {
            for _ in 0..4 {
                file.write_all(&RECORD)?;
                file.sync_data()?;
            }
        }
        times.push(begun.elapsed());
    }
    drop(telling);
    serving.abort();
    Ok(times)
}
