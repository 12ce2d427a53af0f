//! The controller's end of the wire, byte by byte: what is put on it may be no message at all.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http_body::{Body as _, Frame};
use mailmend::enrol::Authority;
use mailmend_proto::wire;
use mailmend_proto::wire::{from_agent, to_agent};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Bytes, Service, http};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use super::certificates::now_ms;
use super::refused;
use crate::lab_error::{Attempting, LabError};

/// How much may wait on a line before whoever speaks has to wait.
const WAITING: usize = 64;
/// The pause between two tries to speak on a line that is full.
const PAUSE: Duration = Duration::from_millis(5);

/// What is put on a stream.
#[derive(Debug)]
pub enum Said {
    /// Bytes, which may be a part of a message, or none.
    Bytes(Vec<u8>),
    /// The stream ends in order, with this gRPC status.
    End(u8),
    /// The stream is broken off.
    Break,
}

/// An answer to a renewal: the whole body, from the request for a certificate.
pub type Renewal = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

/// A message as gRPC frames it.
#[must_use]
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// One session as the controller sees it.
#[derive(Debug)]
pub struct Line {
    incoming: Receiver<wire::FromAgent>,
    outgoing: mpsc::Sender<Said>,
}

impl Line {
    /// The agent's next message; `None` where none comes in time, or the session is over.
    #[must_use]
    pub fn heard(&self, limit: Duration) -> Option<from_agent::Message> {
        self.incoming.recv_timeout(limit).ok()?.message
    }

    /// Whether the agent has ended the session.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.outgoing.is_closed()
    }

    /// Puts something on the stream. Whether it went there within `limit`.
    pub fn put(&self, said: Said, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut said = said;
        loop {
            match self.outgoing.try_send(said) {
                Ok(()) => return true,
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
                Err(mpsc::error::TrySendError::Full(back)) => said = back,
            }
            if Instant::now() >= until {
                return false;
            }
            // Nothing tells that the agent reads on.
            std::thread::sleep(PAUSE);
        }
    }

    /// Says a message. Whether it went on its way.
    pub fn say(&self, message: to_agent::Message) -> bool {
        let whole = wire::ToAgent {
            message: Some(message),
        };
        self.put(
            Said::Bytes(framed(&whole.encode_to_vec())),
            Duration::from_secs(10),
        )
    }
}

/// A hostile controller that listens.
pub struct HostileController {
    /// `HOST:PORT`.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// The authority that the agent trusts: stolen, key and all.
    pub authority: Arc<Authority>,
    lines: Receiver<Line>,
    behind: Arc<Behind>,
    // The last: its tasks end with it.
    _runtime: tokio::runtime::Runtime,
}

/// What stands behind the door.
struct Behind {
    lines: Mutex<Sender<Line>>,
    /// It takes nothing off the wire.
    deaf: Arc<AtomicBool>,
    renewals: Mutex<VecDeque<Renewal>>,
    renewed: AtomicUsize,
}

impl HostileController {
    /// Listens with the certificate of the authority in a folder.
    ///
    /// # Errors
    /// Where the authority cannot be used or nothing can listen.
    pub fn listen(authority: &Path) -> Result<Self, LabError> {
        const LISTEN: &str = "have a hostile controller listen";
        let now = now_ms();
        let authority =
            Authority::open_or_create(authority, now).map_err(|why| refused(LISTEN, why))?;
        let own = authority
            .server_certificate(now)
            .map_err(|why| refused(LISTEN, why))?;
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(own.certificate_pem, own.key_pem))
            .client_ca_root(Certificate::from_pem(authority.ca_pem()))
            .client_auth_optional(true);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .attempting(|| LISTEN.to_owned())?;
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.6:0"))
            .attempting(|| LISTEN.to_owned())?;
        let address = listener.local_addr().attempting(|| LISTEN.to_owned())?;
        let (lines, heard) = channel();
        let behind = Arc::new(Behind {
            lines: Mutex::new(lines),
            deaf: Arc::default(),
            renewals: Mutex::default(),
            renewed: AtomicUsize::new(0),
        });
        let mut server = Server::builder()
            .tls_config(tls)
            .map_err(|why| refused(LISTEN, why))?;
        let served = server
            .add_service(Door(Arc::clone(&behind)))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(served);
        Ok(Self {
            address: address.to_string(),
            port: address.port(),
            authority: Arc::new(authority),
            lines: heard,
            behind,
            _runtime: runtime,
        })
    }

    /// The next session that the agent opens, with its Hello.
    ///
    /// # Errors
    /// Where none comes within `limit`.
    pub fn session(&self, limit: Duration) -> Result<(Line, wire::Hello), LabError> {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                // The agent opens another only after it has given up the one before.
                Ok(line) => self.lines.try_iter().last().unwrap_or(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(LabError::TimedOut {
                        awaited: "a session of the agent".to_owned(),
                        waited: limit,
                    });
                }
            };
            // One that was given up before it began is followed by another.
            if let Some(from_agent::Message::Hello(hello)) = line.heard(Duration::from_secs(10)) {
                return Ok((line, hello));
            }
        }
    }

    /// Lets go of the sessions that nobody took: whoever opened them is gone.
    pub fn forget_sessions(&self) {
        self.lines.try_iter().for_each(drop);
    }

    /// As [`Self::session`], answered as an honest controller answers that has nothing stored.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub fn welcomed(&self, limit: Duration) -> Result<(Line, wire::Hello), LabError> {
        let (line, hello) = self.session(limit)?;
        line.say(to_agent::Message::Welcome(wire::Welcome::default()));
        Ok((line, hello))
    }

    /// From now on nothing but the next message is taken off the wire, or everything is again.
    pub fn be_deaf(&self, deaf: bool) {
        self.behind.deaf.store(deaf, Ordering::SeqCst);
    }

    /// Answers the next renewals so, each once; then as an honest one would.
    pub fn answer_renewals(&self, answers: impl IntoIterator<Item = Renewal>) {
        let mut renewals = self
            .behind
            .renewals
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *renewals = answers.into_iter().collect();
    }

    /// How many renewals were asked for.
    #[must_use]
    pub fn renewed(&self) -> usize {
        self.behind.renewed.load(Ordering::SeqCst)
    }
}

/// The service as the network sees it.
#[derive(Clone)]
struct Door(Arc<Behind>);

impl tonic::server::NamedService for Door {
    const NAME: &'static str = "mailmend.v1.Agents";
}

impl Service<http::Request<Body>> for Door {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let behind = Arc::clone(&self.0);
        Box::pin(async move {
            let renews = request.uri().path().ends_with("/Renew");
            let body = request.into_body();
            let spoken = if renews {
                behind.renewal(body).await
            } else {
                behind.session(body)
            };
            let mut response = http::Response::new(Body::new(spoken));
            response.headers_mut().insert(
                http::header::CONTENT_TYPE,
                http::HeaderValue::from_static("application/grpc"),
            );
            Ok(response)
        })
    }
}

impl Behind {
    fn session(&self, body: Body) -> Spoken {
        let (heard, incoming) = channel();
        let (outgoing, said) = mpsc::channel(WAITING);
        let line = Line { incoming, outgoing };
        let deaf = Arc::clone(&self.deaf);
        tokio::spawn(async move {
            let mut frames = Frames::of(body);
            // Hello is heard also by the deaf, or there would be nothing to speak to.
            while let Some(message) = frames.next().await {
                if heard.send(message).is_err() {
                    break;
                }
                while deaf.load(Ordering::SeqCst) {
                    // Deaf on purpose: nothing is read for as long as it lasts.
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody listens any more when the test is over.
        let _ = lines.send(line);
        Spoken {
            said,
            is_over: false,
        }
    }

    async fn renewal(&self, body: Body) -> Spoken {
        let request: Option<wire::RenewRequest> = Frames::of(body).next().await;
        let csr = request.unwrap_or_default().csr_pem;
        self.renewed.fetch_add(1, Ordering::SeqCst);
        let answer = self
            .renewals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let (outgoing, said) = mpsc::channel(2);
        match answer {
            // The channel is empty and its receiver is here.
            Some(answer) => {
                let _ = outgoing.try_send(Said::Bytes(answer(&csr)));
                let _ = outgoing.try_send(Said::End(0));
            }
            None => {
                let _ = outgoing.try_send(Said::End(14));
            }
        }
        Spoken {
            said,
            is_over: false,
        }
    }
}

/// The messages of a request's body.
struct Frames {
    body: Body,
    kept: Vec<u8>,
}

impl Frames {
    fn of(body: Body) -> Self {
        Self {
            body,
            kept: Vec::new(),
        }
    }

    async fn next<M: Message + Default>(&mut self) -> Option<M> {
        loop {
            if let Some(whole) = self.whole() {
                return M::decode(whole.as_slice()).ok();
            }
            let frame = std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await;
            if let Ok(data) = frame?.ok()?.into_data() {
                self.kept.extend_from_slice(&data);
            }
        }
    }

    fn whole(&mut self) -> Option<Vec<u8>> {
        let (head, rest) = self.kept.split_at_checked(5)?;
        let length = u32::from_be_bytes(head[1..].try_into().ok()?) as usize;
        let whole = rest.get(..length)?.to_vec();
        self.kept.drain(..5 + length);
        Some(whole)
    }
}

/// What is said on a stream, as an HTTP body.
struct Spoken {
    said: mpsc::Receiver<Said>,
    is_over: bool,
}

impl http_body::Body for Spoken {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let Some(said) = ready!(self.said.poll_recv(cx)) else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(match said {
            Said::Bytes(bytes) => Ok(Frame::data(bytes.into())),
            Said::End(status) => {
                self.is_over = true;
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", u16::from(status).into());
                Ok(Frame::trailers(trailers))
            }
            Said::Break => {
                self.is_over = true;
                Err(Status::aborted("broken off"))
            }
        }))
    }
}
