//! All agents of the swarm, in one process: each connects, says what it has to say, and connects again after a rest when
//! its stream ends, by the rule of the real agent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mailmend_agent::session::Retry;
use mailmend_proto::wire::agents_client::AgentsClient;
use mailmend_proto::wire::{self, from_agent, to_agent};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::connection::{self, Handshakes};
use super::plans::Plans;
use super::played::{Heard, Played};
use crate::lab_error::LabError;

/// How long a call may take, as with the real agent.
const CALL: Duration = Duration::from_secs(30);
/// Messages to the server that may wait for the network, as with the real agent.
const OUTBOX: usize = 32;
/// The largest message that is read, as with the real agent.
const LARGEST: usize = 8 << 20;
/// How often a condition of the whole herd is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// What the agents have come to, counted together.
#[derive(Debug, Default)]
pub struct Board {
    /// Welcomed and still connected.
    pub connected: AtomicUsize,
    /// Streams that ended.
    pub ended: AtomicUsize,
    /// Attempts to connect that failed.
    pub failed: AtomicUsize,
    /// How handshakes went.
    pub handshakes: Arc<Handshakes>,
    /// Admissions that the server has stored.
    pub admitted: AtomicUsize,
    /// Runs that may go on and wait for the herd's word.
    pub waiting: AtomicUsize,
    /// Steps whose report the server has stored.
    pub steps: AtomicUsize,
    /// What makes no sense to an agent; the first one's text is kept.
    pub nonsense: std::sync::Mutex<Option<String>>,
}

/// What the herd may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leash {
    /// Steps are carried out.
    pub steps: bool,
    /// The slow ones read.
    pub reading: bool,
}

/// All agents.
pub struct Herd {
    /// What they have come to.
    pub board: Arc<Board>,
    shared: Arc<Shared>,
    leash: watch::Sender<Leash>,
    runtime: tokio::runtime::Runtime,
    count: usize,
}

struct Shared {
    address: SocketAddr,
    plans: Plans,
    retry: Retry,
    over: AtomicBool,
}

/// One agent's identity: its side of TLS, whose certificate names it.
pub type Member = Arc<rustls::ClientConfig>;

impl Herd {
    /// Lets all agents begin; the first `slow` of them stop reading when the leash says so.
    ///
    /// # Errors
    /// Where no threads can be had.
    pub fn start(address: SocketAddr, members: Vec<Member>, slow: usize) -> Result<Self, LabError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|source| LabError::Io {
                attempted: "start the swarm".to_owned(),
                source,
            })?;
        let board = Arc::new(Board::default());
        let (leash, held) = watch::channel(Leash {
            steps: true,
            reading: true,
        });
        let shared = Arc::new(Shared {
            address,
            plans: Plans::default(),
            retry: Retry::default(),
            over: AtomicBool::new(false),
        });
        let count = members.len();
        for (number, member) in members.into_iter().enumerate() {
            let agent = Agent {
                played: Played::default(),
                member,
                board: board.clone(),
                shared: shared.clone(),
                leash: held.clone(),
                slow: number < slow,
                stepped: 0,
                admissions: Vec::new(),
            };
            runtime.spawn(agent.run());
        }
        Ok(Self {
            board,
            shared,
            leash,
            runtime,
            count,
        })
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// What they may do from now on.
    pub fn hold(&self, leash: Leash) {
        self.leash.send_replace(leash);
    }

    /// Waits until the condition holds; answers how long that took.
    ///
    /// # Errors
    /// Where `limit` passed first, or an agent met what makes no sense.
    pub fn until(
        &self,
        awaited: &str,
        limit: Duration,
        holds: impl Fn(&Board) -> bool,
    ) -> Result<Duration, LabError> {
        let begun = Instant::now();
        loop {
            let nonsense = self.board.nonsense.lock();
            let nonsense = nonsense.unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(why) = nonsense.as_ref() {
                return Err(LabError::Malformed {
                    what: "what a server told an agent of the swarm".to_owned(),
                    reason: why.clone(),
                });
            }
            drop(nonsense);
            if holds(&self.board) {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > limit {
                return Err(LabError::TimedOut {
                    awaited: format!("{awaited}: {:?}", self.board),
                    waited: limit,
                });
            }
            // Ten thousand tasks count; nothing tells when a count is reached.
            std::thread::sleep(LOOK);
        }
    }

    /// Ends all connections.
    pub fn stop(self) {
        self.shared.over.store(true, Ordering::Release);
        self.runtime.shutdown_background();
    }
}

struct Agent {
    member: Member,
    played: Played,
    board: Arc<Board>,
    shared: Arc<Shared>,
    leash: watch::Receiver<Leash>,
    slow: bool,
    /// Steps that were carried out and are not acknowledged.
    stepped: usize,
    /// The journal's length after each admission that is not acknowledged.
    admissions: Vec<u64>,
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// Why a stream ended.
enum Ended {
    /// The network or the server: it connects again.
    Broken,
    /// The server said what makes no sense.
    Nonsense(String),
}

impl Agent {
    async fn run(mut self) {
        let mut failed: u32 = 0;
        while !self.shared.over.load(Ordering::Acquire) {
            let began = Instant::now();
            match self.once().await {
                Ended::Broken => {}
                Ended::Nonsense(why) => {
                    let mut first = self.board.nonsense.lock();
                    if let Ok(first) = &mut first {
                        first.get_or_insert(why);
                    }
                    return;
                }
            }
            failed = if began.elapsed() >= self.shared.retry.good_after {
                0
            } else {
                failed.saturating_add(1)
            };
            // The rest that the real agent takes before it dials again.
            tokio::time::sleep(self.shared.retry.wait(failed, fastrand::f64())).await;
        }
    }

    async fn once(&mut self) -> Ended {
        let handshakes = self.board.handshakes.clone();
        let dialled = connection::dial(self.shared.address, self.member.clone(), handshakes);
        let Ok(channel) = dialled.await else {
            self.board.failed.fetch_add(1, Ordering::Relaxed);
            return Ended::Broken;
        };
        let (outbox, outgoing) = mpsc::channel(OUTBOX);
        let hello = from_agent::Message::Hello(self.played.hello());
        // The channel is empty and its receiver is here, so this neither waits nor fails.
        let _ = outbox.send(message(hello)).await;
        let mut client = AgentsClient::new(channel).max_decoding_message_size(LARGEST);
        let opened = client.session(ReceiverStream::new(outgoing));
        let Ok(Ok(opened)) = tokio::time::timeout(CALL, opened).await else {
            self.board.failed.fetch_add(1, Ordering::Relaxed);
            return Ended::Broken;
        };
        let mut incoming = opened.into_inner();
        let first = tokio::time::timeout(CALL, incoming.message()).await;
        let Ok(Ok(Some(first))) = first else {
            self.board.failed.fetch_add(1, Ordering::Relaxed);
            return Ended::Broken;
        };
        let Some(to_agent::Message::Welcome(welcome)) = first.message else {
            return Ended::Nonsense("a session begins with a welcome".to_owned());
        };
        if let Err(why) = self.played.welcome(&welcome) {
            return Ended::Nonsense(why);
        }
        self.settle();
        self.board.connected.fetch_add(1, Ordering::Relaxed);
        let ended = self.converse(&outbox, &mut incoming).await;
        self.board.connected.fetch_sub(1, Ordering::Relaxed);
        self.board.ended.fetch_add(1, Ordering::Relaxed);
        ended
    }

    async fn converse(
        &mut self,
        outbox: &mpsc::Sender<wire::FromAgent>,
        incoming: &mut Streaming<wire::ToAgent>,
    ) -> Ended {
        loop {
            let leash = *self.leash.borrow_and_update();
            // One step after the other: the next one begins when the last one's report is stored.
            if leash.steps && self.played.is_heard() {
                match self.played.step(now_ms()) {
                    Ok(true) => self.stepped += 1,
                    Ok(false) => {}
                    Err(why) => return Ended::Nonsense(why),
                }
            }
            if let Some(report) = self.played.report() {
                let report = message(from_agent::Message::Report(report));
                if outbox.send(report).await.is_err() {
                    return Ended::Broken;
                }
            }
            let reads = leash.reading || !self.slow;
            tokio::select! {
                received = incoming.message(), if reads => {
                    let Ok(Some(received)) = received else { return Ended::Broken };
                    let taken = self.played.take(received, &self.shared.plans, now_ms());
                    let (heard, answer) = match taken {
                        Ok(taken) => taken,
                        Err(why) => return Ended::Nonsense(why),
                    };
                    self.note(heard);
                    if let Some(answer) = answer
                        && outbox.send(message(answer)).await.is_err()
                    {
                        return Ended::Broken;
                    }
                }
                changed = self.leash.changed() => if changed.is_err() { return Ended::Broken },
                () = outbox.closed() => return Ended::Broken,
            }
        }
    }

    fn note(&mut self, heard: Heard) {
        match heard {
            Heard::Acknowledged(_) => self.settle(),
            Heard::Assigned => self.admissions.push(self.played.head()),
            Heard::Advanced => {
                self.board.waiting.fetch_add(1, Ordering::Relaxed);
            }
            Heard::Other => {}
        }
    }

    /// Counts what is acknowledged now.
    fn settle(&mut self) {
        let known = self.played.acknowledged();
        let before = self.admissions.len();
        self.admissions.retain(|seq| *seq > known);
        let stored = before - self.admissions.len();
        self.board.admitted.fetch_add(stored, Ordering::Relaxed);
        if self.played.is_heard() && self.stepped > 0 {
            self.board.steps.fetch_add(self.stepped, Ordering::Relaxed);
            self.stepped = 0;
        }
    }
}

fn message(message: from_agent::Message) -> wire::FromAgent {
    wire::FromAgent {
        message: Some(message),
    }
}
