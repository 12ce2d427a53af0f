//! The accept loop: connections within their limits, handshakes side by side, callers identified.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::limits::Limits;
use crate::clock::Clock;
use crate::identity::{Caller, IdentityFault, Peer, identify};
use crate::trust::Named;
use crate::trust::roster::{Place as Listed, Roster};

/// How long the loop rests when the machine has no file descriptor left.
const REST_WHEN_EXHAUSTED: Duration = Duration::from_millis(100);

/// A connection whose caller is known.
pub struct Secured {
    stream: TlsStream<TcpStream>,
    caller: Caller,
    /// The server's end, for strangers also that of their time.
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    over: bool,
    _place: OwnedSemaphorePermit,
    _listed: Option<Listed>,
}

/// Accepts until `stop` is cancelled; `cut` ends the connections that were made. Each connection's TLS is what `tls` says at that moment.
pub(super) fn connections(
    listener: TcpListener,
    tls: watch::Receiver<Arc<rustls::ServerConfig>>,
    limits: Limits,
    clock: Clock,
    roster: Roster,
    stop: CancellationToken,
    cut: CancellationToken,
) -> ReceiverStream<io::Result<Secured>> {
    let (ready, incoming) = mpsc::channel(64);
    tokio::spawn(async move {
        let gate = Arc::new(Gate {
            named: Arc::new(Semaphore::new(limits.connections)),
            anonymous: Arc::new(Semaphore::new(limits.anonymous_connections)),
            handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            limits,
            clock,
            roster,
            cut,
        });
        loop {
            // First a place, then the connection: a fleet that comes back all at once waits with the kernel, where it
            // costs us nothing, instead of being refused and coming again later.
            let turn = async {
                let handshake = gate.handshakes.clone().acquire_owned().await;
                (handshake, listener.accept().await)
            };
            let (handshake, accepted) = tokio::select! {
                () = stop.cancelled() => return,
                () = ready.closed() => return,
                (Ok(handshake), accepted) = turn => (handshake, accepted),
                // Nobody closes the semaphore.
                else => return,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(why) => {
                    // A connection that was reset before we took it, or no descriptor left.
                    tracing::warn!(%why, "could not accept a connection");
                    tokio::time::sleep(REST_WHEN_EXHAUSTED).await;
                    continue;
                }
            };
            let acceptor = TlsAcceptor::from(tls.borrow().clone());
            let (gate, ready, stop) = (gate.clone(), ready.clone(), stop.clone());
            tokio::spawn(async move {
                let admitted = tokio::select! {
                    () = stop.cancelled() => return,
                    admitted = gate.admit(acceptor, stream, from) => admitted,
                };
                drop(handshake);
                match admitted {
                    // An error means that nobody serves any more.
                    Ok(secured) => drop(ready.send(Ok(secured)).await),
                    Err(why) => tracing::warn!(%from, %why, "refused a connection"),
                }
            });
        }
    });
    ReceiverStream::new(incoming)
}

struct Gate {
    named: Arc<Semaphore>,
    anonymous: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    limits: Limits,
    clock: Clock,
    roster: Roster,
    cut: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the handshake took longer than {0:?}")]
    Slow(Duration),
    #[error("the handshake failed: {0}")]
    Handshake(#[from] io::Error),
    #[error(transparent)]
    Identity(#[from] IdentityFault),
    #[error("all {0} places for {1} are taken")]
    Full(usize, &'static str),
}

impl Gate {
    async fn admit(
        &self,
        acceptor: TlsAcceptor,
        stream: TcpStream,
        from: SocketAddr,
    ) -> Result<Secured, Refusal> {
        stream.set_nodelay(true)?;
        let limit = self.limits.handshake_timeout;
        let stream = tokio::time::timeout(limit, acceptor.accept(stream))
            .await
            .map_err(|_| Refusal::Slow(limit))??;
        let session = stream.get_ref().1;
        let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let caller = match certificate {
            Some(certificate) => {
                let found = identify(certificate, self.clock.now_ms())?;
                Caller {
                    peer: found.peer,
                    from,
                    serial: found.serial,
                    until_ms: found.until_ms,
                }
            }
            None => Caller {
                peer: Peer::Anonymous,
                from,
                serial: String::new(),
                until_ms: 0,
            },
        };
        // Noted first, then asked: a revocation either finds it in the roster or is found here.
        let listed = Named::of(&caller.peer).map(|whom| {
            let listed = self.roster.enter(whom.clone(), caller.serial.clone());
            let barred = self.roster.verdict(&whom, &caller.serial).is_err();
            (listed, barred)
        });
        // Whoever was revoked is let in like a stranger, so that a call can tell it why.
        let stranger = listed.as_ref().is_none_or(|(_, barred)| *barred);
        let (places, most, whom) = if stranger {
            (
                &self.anonymous,
                self.limits.anonymous_connections,
                "callers without a certificate that holds",
            )
        } else {
            (&self.named, self.limits.connections, "connections")
        };
        let place = places
            .clone()
            .try_acquire_owned()
            .map_err(|_| Refusal::Full(most, whom))?;
        let cut = self.cut.clone().cancelled_owned();
        let life = self.limits.anonymous_life;
        // A connection does not outlive its certificate: whoever renewed it dials again.
        let left = Duration::from_millis(
            u64::try_from(caller.until_ms.saturating_sub(self.clock.now_ms())).unwrap_or(0),
        );
        let revoked = listed
            .as_ref()
            .filter(|(_, barred)| !barred)
            .map(|(listed, _)| listed.cut.clone());
        let end = Box::pin(async move {
            let revoked = async {
                match revoked {
                    Some(revoked) => revoked.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            // Too late, cut or revoked: the same to whoever polls.
            tokio::select! {
                () = cut => {}
                () = revoked => {}
                () = tokio::time::sleep(if stranger { life } else { left }) => {}
            }
        });
        tracing::debug!(%from, peer = %caller.peer, resumed, "connected");
        Ok(Secured {
            stream,
            caller,
            end,
            over: false,
            _place: place,
            _listed: listed.map(|(listed, _)| listed),
        })
    }
}

impl Secured {
    fn ended(&mut self, cx: &mut Context<'_>) -> bool {
        // A future that has ended is not asked again.
        self.over = self.over || self.end.as_mut().poll(cx).is_ready();
        self.over
    }
}

impl Connected for Secured {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
