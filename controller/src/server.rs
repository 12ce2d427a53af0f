//! The door: one listener, mutual TLS, limits, and who may call what.
//!
//! The order of a call: [`accept`] takes a connection within its limits and verifies the certificate,
//! [`crate::identity`] reads the caller from it, [`access`] refuses what this kind of caller may not
//! call, and only then a service sees the request.

pub mod accept;
pub mod access;
pub mod agents;
pub mod health;
pub mod limits;
pub mod metrics;
pub mod operator;
pub mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mailmend_proto::wire::agents_server::{Agents, AgentsServer};
use mailmend_proto::wire::enrolment_server::{Enrolment, EnrolmentServer};
use mailmend_proto::wire::operator_server::{Operator, OperatorServer};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;

use crate::clock::Clock;
use crate::trust::rates::Rates;
use crate::trust::roster::Roster;
use limits::Limits;

/// Why the server cannot listen, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeFault {
    /// Another program has the address.
    #[error("C010-address-taken: could not listen on {address}: another program has it")]
    Taken {
        /// The address.
        address: SocketAddr,
    },
    /// The address is not of this machine, or not for this user.
    #[error("C011-address: could not listen on {address}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The ready file cannot be written.
    #[error("C012-ready-file: could not write `{path}`")]
    ReadyFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The server ended by itself.
    #[error("C013-stopped: the server ended")]
    Ended(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ServeFault {
    /// The stable code, as in [`crate::faults::FAULTS`].
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Taken { .. } => "C010-address-taken",
            Self::Address { .. } => "C011-address",
            Self::ReadyFile { .. } => "C012-ready-file",
            Self::Ended(_) => "C013-stopped",
        }
    }
}

/// The three services behind one door, with health and reflection beside them, with the message limits of `limits`.
pub fn routes<E: Enrolment, A: Agents, O: Operator>(
    enrolment: Arc<E>,
    agents: Arc<A>,
    operator: Arc<O>,
    reporter: &HealthReporter,
    limits: &Limits,
) -> Routes {
    let size = limits.message_bytes;
    let mut routes = Routes::builder();
    routes
        .add_service(
            EnrolmentServer::from_arc(enrolment)
                .max_decoding_message_size(limits.anonymous_message_bytes)
                .max_encoding_message_size(size),
        )
        .add_service(
            AgentsServer::from_arc(agents)
                .max_decoding_message_size(size)
                .max_encoding_message_size(size),
        )
        .add_service(
            OperatorServer::from_arc(operator)
                .max_decoding_message_size(size)
                .max_encoding_message_size(limits.answer_bytes),
        );
    health::beside(&mut routes, reporter, limits);
    routes.routes()
}

/// Connections that wait to be accepted: those of a fleet that comes back all at once. The kernel may hold fewer.
const BACKLOG: u32 = 4096;

fn listening(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart takes the address again at once; under Windows this would let others take it too.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A listener that is bound and not served yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// Where somebody else has the address, or it is not for us.
    #[expect(clippy::unused_async, reason = "a listener needs a runtime")]
    pub async fn bind(address: SocketAddr) -> Result<Self, ServeFault> {
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AddrInUse => ServeFault::Taken { address },
            _ => ServeFault::Address { address, source },
        };
        let listener = listening(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address that was really taken.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Writes the address into `path`, as a whole or not at all: whoever sees the file can dial.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn tell(&self, path: &Path) -> Result<(), ServeFault> {
        let failed = |source| ServeFault::ReadyFile {
            path: path.to_owned(),
            source,
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        std::io::Write::write_all(&mut file, format!("{}\n", self.address).as_bytes())
            .map_err(failed)?;
        file.persist(path).map_err(|why| failed(why.error))?;
        Ok(())
    }

    /// Serves until `stop` is cancelled; then takes no more connections, lets calls end within
    /// `limits.shutdown`, and drops what has not ended then. Streams end themselves: their services
    /// hold `stop` too.
    ///
    /// `tls` may change while serving: a connection is made under what it says at that moment. `roster`
    /// is asked at every call, and closes the connections of names that are revoked.
    ///
    /// # Errors
    /// Where the server ends though nobody stopped it.
    pub async fn serve(
        self,
        routes: Routes,
        tls: watch::Receiver<Arc<rustls::ServerConfig>>,
        limits: Limits,
        clock: Clock,
        roster: Roster,
        stop: CancellationToken,
    ) -> Result<(), ServeFault> {
        let grace = limits.shutdown;
        let cut = CancellationToken::new();
        let incoming = accept::connections(
            self.listener,
            tls,
            limits.clone(),
            clock,
            roster.clone(),
            stop.clone(),
            cut.clone(),
        );
        let rates = Rates::new(limits.named_rate, limits.anonymous_rate);
        let door = access::AccessLayer {
            roster,
            rates: Arc::new(rates),
        };
        let serving = tonic::transport::Server::builder()
            .max_concurrent_streams(limits.streams_per_connection)
            .concurrency_limit_per_connection(limits.calls_per_connection)
            .http2_max_header_list_size(limits.header_bytes)
            .http2_keepalive_interval(Some(limits.keepalive_every))
            .http2_keepalive_timeout(Some(limits.keepalive_timeout))
            .http2_max_pending_accept_reset_streams(Some(limits.pending_resets))
            .timeout(limits.call_timeout)
            .layer(door)
            .serve_with_incoming_shutdown(
                routes.prepare(),
                incoming,
                stop.clone().cancelled_owned(),
            );
        let ended = within_grace(serving, &stop, grace).await;
        // Connections live in tasks of their own; they notice this when they read.
        cut.cancel();
        ended.map_err(|why| ServeFault::Ended(Box::new(why)))
    }
}

/// hyper waits for every stream for ever; we wait for `grace` after `stop` and leave.
async fn within_grace<E>(
    serving: impl Future<Output = Result<(), E>>,
    stop: &CancellationToken,
    grace: std::time::Duration,
) -> Result<(), E> {
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        ended = serving => ended,
        () = deadline => {
            tracing::warn!("some connections did not end in time and were cut");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
