//! What the controller is measured beside: a tonic server of the same stream with the same TLS, that says the same words and
//! keeps nothing: no store, no limits, no decisions.
//!
//! It is told what to do over a port of its own, a line for each command: `push VERSION BYTES` answers `done` when every
//! agent has answered; `send VERSION BYTES` and `run`, which assigns a run to every agent, answer at once.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mailmend::clock::Clock;
use mailmend::enrol::Authority;
use mailmend::server::tls;
use mailmend_proto::wire::agents_server::{Agents, AgentsServer};
use mailmend_proto::wire::record::Event;
use mailmend_proto::wire::{self, from_agent, to_agent};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::played::{ACTIONS, facts};
use super::policy;
use crate::lab_error::{Attempting, LabError};
use crate::tether;

/// Messages to an agent that wait to be sent.
const WAITING: usize = 64;
/// Connections that wait to be accepted, as with the controller.
const BACKLOG: u32 = 4096;
/// How long all agents may take to answer.
const ANSWERS: Duration = Duration::from_secs(120);

type Told = Result<wire::ToAgent, Status>;

#[derive(Default)]
struct Shared {
    streams: Mutex<Vec<mpsc::Sender<Told>>>,
    answers: AtomicUsize,
    runs: AtomicUsize,
}

/// Serves until it is killed.
///
/// # Errors
/// Where it cannot listen, or the authority in `data` cannot be used.
pub fn run(data: &Path, listen: SocketAddr) -> Result<(), LabError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .attempting(|| "start the bare server".to_owned())?;
    let failed = |why: String| LabError::Refused {
        attempted: "start the bare server".to_owned(),
        reason: why,
    };
    let now_ms = Clock::system().now_ms();
    let authority =
        Authority::open_or_create(data, now_ms).map_err(|why| failed(why.to_string()))?;
    let own = authority
        .server_certificate(now_ms)
        .map_err(|why| failed(why.to_string()))?;
    let tickets = authority
        .ticket_keys(now_ms)
        .map_err(|why| failed(why.to_string()))?;
    let config =
        tls::server_config(authority.ca_pem(), &own).map_err(|why| failed(why.to_string()))?;
    let config = tls::resuming(&config, &tickets);
    let shared = Arc::new(Shared::default());
    let commands = std::net::TcpListener::bind("127.0.0.1:0")
        .attempting(|| "listen for commands".to_owned())?;
    let control = commands
        .local_addr()
        .attempting(|| "learn the port".to_owned())?;
    let serving = shared.clone();
    runtime.block_on(async move {
        let socket = TcpSocket::new_v4().attempting(|| "listen".to_owned())?;
        // The address of a killed server is taken again at once.
        socket
            .set_reuseaddr(true)
            .and_then(|()| socket.bind(listen))
            .attempting(|| format!("listen on {listen}"))?;
        let listener = socket
            .listen(BACKLOG)
            .attempting(|| format!("listen on {listen}"))?;
        let (ready, incoming) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, ready) = (TlsAcceptor::from(config.clone()), ready.clone());
                tokio::spawn(async move {
                    // A connection that fails is its caller's affair: it dials again.
                    let _ = stream.set_nodelay(true);
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = ready.send(Ok::<_, std::io::Error>(stream)).await;
                    }
                });
            }
        });
        std::thread::spawn(move || obey(&commands, &shared));
        tether::ready(&control.to_string());
        let served = Server::builder()
            .add_service(AgentsServer::new(Bare(serving)))
            .serve_with_incoming(ReceiverStream::new(incoming))
            .await;
        served.map_err(|why| failed(why.to_string()))
    })
}

fn obey(commands: &std::net::TcpListener, shared: &Shared) {
    for stream in commands.incoming().flatten() {
        let Ok(mut answer) = stream.try_clone() else {
            continue;
        };
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            shared.obey(&line);
            let _ = writeln!(answer, "done");
        }
    }
}

impl Shared {
    fn obey(&self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["push", version, bytes] => {
                let (version, bytes) = (version.parse().unwrap_or(1), bytes.parse().unwrap_or(0));
                self.answers.store(0, Ordering::Release);
                let told = self.tell(|_| watches(version, bytes));
                crate::awaited::until(ANSWERS, || self.answers.load(Ordering::Acquire) >= told);
            }
            ["send", version, bytes] => {
                let (version, bytes) = (version.parse().unwrap_or(1), bytes.parse().unwrap_or(0));
                self.tell(|_| watches(version, bytes));
            }
            ["run"] => {
                let text = policy::text(1, 4096).into_bytes();
                let first = self.runs.fetch_add(1_000_000, Ordering::Relaxed);
                self.tell(|number| assignment(first + number, number, &text));
            }
            _ => {}
        }
    }

    /// Tells every agent; answers how many there are.
    fn tell(&self, message: impl Fn(usize) -> to_agent::Message) -> usize {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| !stream.is_closed());
        for (number, stream) in streams.iter().enumerate() {
            // What does not fit is lost: this server keeps nothing.
            let _ = stream.try_send(told(message(number)));
        }
        streams.len()
    }
}

fn told(message: to_agent::Message) -> Told {
    Ok(wire::ToAgent {
        message: Some(message),
    })
}

fn watches(version: u32, bytes: usize) -> to_agent::Message {
    let text = policy::text(version, bytes).into_bytes();
    to_agent::Message::Watches(wire::Watches {
        watches: vec![wire::Watch {
            policy: policy::NAME.to_owned(),
            version,
            digest: vec![1; 32],
            text,
        }],
        labels: [
            ("name".to_owned(), "agent-00000".to_owned()),
            ("site".to_owned(), "site-00000".to_owned()),
        ]
        .into(),
    })
}

fn assignment(run: usize, number: usize, text: &[u8]) -> to_agent::Message {
    let run = uuid::Uuid::from_u128(run as u128 + 1);
    let name = format!("agent-{number:05}");
    let site = format!("site-{number:05}");
    let server = wire::Server {
        name: name.clone(),
        site: site.clone(),
        labels: facts(),
        actions: ACTIONS.iter().map(|&action| action.to_owned()).collect(),
    };
    to_agent::Message::Assignment(wire::Assignment {
        run: run.to_string(),
        fence: 1,
        policy_name: policy::NAME.to_owned(),
        policy_text: text.to_vec(),
        plan_digest: vec![1; 32],
        site,
        subject: name,
        servers: vec![server],
        ..Default::default()
    })
}

struct Bare(Arc<Shared>);

#[tonic::async_trait]
impl Agents for Bare {
    async fn renew(
        &self,
        _: Request<wire::RenewRequest>,
    ) -> Result<Response<wire::Certificate>, Status> {
        Err(Status::unimplemented("a bare server"))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Told> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<wire::FromAgent>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (outgoing, stream) = mpsc::channel(WAITING);
        let shared = self.0.clone();
        tokio::spawn(async move {
            // It ends with its connection.
            let _ = session(&shared, request.into_inner(), outgoing).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

async fn session(
    shared: &Shared,
    mut incoming: Streaming<wire::FromAgent>,
    outgoing: mpsc::Sender<Told>,
) -> Option<()> {
    let (mut journal, mut acknowledged) = (String::new(), 0);
    while let Some(Ok(message)) = incoming.next().await {
        match message.message? {
            from_agent::Message::Hello(hello) => {
                journal.clone_from(&hello.journal);
                acknowledged = hello.head;
                let welcome = to_agent::Message::Welcome(wire::Welcome {
                    acknowledged,
                    journal: journal.clone(),
                });
                outgoing.send(told(welcome)).await.ok()?;
                for first in [
                    to_agent::Message::Immunity(wire::Immunity::default()),
                    to_agent::Message::Watches(wire::Watches::default()),
                ] {
                    outgoing.send(told(first)).await.ok()?;
                }
                let mut streams = shared.streams.lock();
                let streams = streams
                    .as_mut()
                    .unwrap_or_else(|poisoned| poisoned.get_mut());
                streams.push(outgoing.clone());
            }
            from_agent::Message::Report(report) => {
                acknowledged = report.records.last().map_or(acknowledged, |last| last.seq);
                let seq = acknowledged;
                let stored = to_agent::Message::Acknowledge(wire::Acknowledge { seq });
                outgoing.send(told(stored)).await.ok()?;
                for record in report.records {
                    if let Some(Event::Admitted(admitted)) = record.event {
                        let advance = to_agent::Message::Advance(wire::Advance {
                            run: record.run,
                            fence: admitted.fence,
                            through: policy::STEPS,
                        });
                        outgoing.send(told(advance)).await.ok()?;
                    }
                }
            }
            from_agent::Message::Symptoms(_) => {
                shared.answers.fetch_add(1, Ordering::Release);
            }
            _ => {}
        }
    }
    Some(())
}
