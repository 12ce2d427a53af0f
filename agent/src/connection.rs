//! The way to the controller: TLS, deadlines, keepalive, and what a failure means.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

use crate::identity::{Identity, time};

/// The name that the controller's certificate has, whatever address it is dialled at.
const CONTROLLER: &str = "mailmend-controller";
/// How long dialling and the TLS handshake may take, each.
const DIAL: Duration = Duration::from_secs(10);
/// How often the controller is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How the protocol is called in TLS.
const HTTP2: &[u8] = b"h2";
/// The port where an address has none.
const HTTPS: u16 = 443;
/// Tickets that are kept: the controller gives some at each handshake, and each is shown once.
const TICKETS: usize = 8;
/// How long one call may take.
pub(crate) const CALL: Duration = Duration::from_secs(30);
/// The largest message that is read; an assignment carries a policy of at most 1 MiB.
pub(crate) const LARGEST: usize = 8 << 20;

/// The controller cannot be spoken with.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// It does not answer.
    #[error(
        "A025-controller-unreachable: the controller at `{address}` does not answer: {reason}; check the address, the network, and that `mailmend serve` runs there"
    )]
    Unreachable {
        /// Its address.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// What answers there is not the controller that is trusted.
    #[error(
        "A026-controller-untrusted: what answers at `{address}` cannot be trusted: {reason}; check the address, and that the authority (`--ca`, or `ca.pem` in the data folder) is this controller's"
    )]
    Untrusted {
        /// Its address.
        address: String,
        /// What TLS said.
        reason: String,
    },
    /// Its certificate does not hold now.
    #[error(
        "A024-clock: the certificate of the controller at `{address}` does not hold now: {reason}; this machine's clock reads {now}: set the clock, or the controller's"
    )]
    Clock {
        /// Its address.
        address: String,
        /// What TLS said.
        reason: String,
        /// What the clock reads.
        now: String,
    },
    /// The controller refuses this agent.
    #[error(
        "A027-controller-refuses: the controller at `{address}` refuses this agent: {reason}; look at `mailmend agent show`, and enrol again with a new token if it shall be trusted"
    )]
    Refused {
        /// Its address.
        address: String,
        /// What the controller said.
        reason: String,
    },
    /// The controller answered with an error.
    #[error("A019-controller-error: the controller at `{address}` answered: {reason}")]
    Answered {
        /// Its address.
        address: String,
        /// What the controller said.
        reason: String,
    },
    /// It took too long.
    #[error("A028-controller-slow: the controller at `{address}` did not answer within {limit:?}")]
    Slow {
        /// Its address.
        address: String,
        /// How long was waited.
        limit: Duration,
    },
}

/// This agent's side of TLS, with the tickets that the controller gave it: whoever keeps it from one connection to the
/// next resumes, and signs once. It is of one certificate; a renewed one begins anew.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<rustls::ClientConfig>,
    certificate_pem: Option<String>,
    ca_pem: String,
}

impl Tls {
    /// TLS that trusts the authority `ca_pem`, and shows the identity where there is one. It has no ticket yet.
    ///
    /// # Errors
    /// Where a certificate or the key cannot be used.
    pub fn new(ca_pem: &str, identity: Option<&Identity>) -> Result<Self, rustls::Error> {
        let unusable = |why: rustls::pki_types::pem::Error| rustls::Error::General(why.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            roots.add(certificate.map_err(unusable)?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes())
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(unusable)?;
                let key =
                    PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(unusable)?;
                builder.with_client_auth_cert(chain, key)?
            }
        };
        config.alpn_protocols = vec![HTTP2.to_vec()];
        config.resumption = Resumption::in_memory_sessions(TICKETS);
        Ok(Self {
            config: Arc::new(config),
            certificate_pem: identity.map(|identity| identity.certificate_pem.clone()),
            ca_pem: ca_pem.to_owned(),
        })
    }

    /// Whether it is of this identity: the same certificate, the same authority.
    #[must_use]
    pub fn is_of(&self, identity: &Identity) -> bool {
        self.certificate_pem.as_ref() == Some(&identity.certificate_pem)
            && self.ca_pem == identity.ca_pem
    }

    async fn connect(self, host: String, port: u16) -> io::Result<TokioIo<Stream>> {
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(CONTROLLER).map_err(io::Error::other)?;
        let secured = TlsConnector::from(self.config).connect(name, stream);
        let stream = tokio::time::timeout(DIAL, secured).await??;
        if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
            return Err(io::Error::other("it does not speak HTTP/2 over TLS"));
        }
        Ok(TokioIo::new(stream))
    }
}

type Stream = tokio_rustls::client::TlsStream<TcpStream>;

/// Dials the controller. Without an identity only enrolment can be called.
///
/// # Errors
/// Where it cannot be reached or trusted, with this machine's time `now_ms` for people.
pub async fn dial(
    address: &str,
    ca_pem: &str,
    identity: Option<&Identity>,
    now_ms: i64,
) -> Result<Channel, ConnectionError> {
    let tls = Tls::new(ca_pem, identity).map_err(|error| diagnose(address, &error, now_ms))?;
    dial_again(address, &tls, now_ms).await
}

/// As [`dial`], with the tickets of earlier connections.
///
/// # Errors
/// As [`dial`].
pub async fn dial_again(address: &str, tls: &Tls, now_ms: i64) -> Result<Channel, ConnectionError> {
    let failed = |error: &(dyn std::error::Error + 'static)| diagnose(address, error, now_ms);
    let origin: Uri = address
        .parse()
        .map_err(|error: tonic::codegen::http::uri::InvalidUri| failed(&error))?;
    let (host, port) = (
        origin
            .host()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned(),
        origin.port_u16().unwrap_or(HTTPS),
    );
    // TLS is made below, where the tickets are: to tonic the connection is plain, and its calls are those of `origin`.
    let plain = address.replacen("https://", "http://", 1);
    let endpoint = Endpoint::from_shared(plain)
        .and_then(|endpoint| {
            let version = concat!("mailmend-agent/", env!("CARGO_PKG_VERSION"));
            endpoint.user_agent(version)
        })
        .map_err(|error| failed(&error))?
        .origin(origin)
        .connect_timeout(DIAL)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    let tls = tls.clone();
    let connector = tower::service_fn(move |_: Uri| tls.clone().connect(host.clone(), port));
    endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|error| failed(&error))
}

/// What a failed call means.
#[must_use]
pub fn of_status(address: &str, status: &Status, now_ms: i64) -> ConnectionError {
    if let Some(source) = status.source()
        && status.code() != Code::Cancelled
        && let found @ (ConnectionError::Untrusted { .. }
        | ConnectionError::Clock { .. }
        | ConnectionError::Refused { .. }) = diagnose(address, source, now_ms)
    {
        return found;
    }
    let address = address.to_owned();
    let reason = if status.message().is_empty() {
        status.code().to_string()
    } else {
        status.message().to_owned()
    };
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => {
            ConnectionError::Refused { address, reason }
        }
        Code::Unavailable => ConnectionError::Unreachable { address, reason },
        // A connection that broke shows as one of these, with the transport's error below it.
        Code::Unknown | Code::Internal | Code::Cancelled if status.source().is_some() => {
            ConnectionError::Unreachable { address, reason }
        }
        Code::DeadlineExceeded => ConnectionError::Slow {
            address,
            limit: CALL,
        },
        _ => ConnectionError::Answered { address, reason },
    }
}

/// What a failure of the transport means: the innermost cause decides.
pub(crate) fn diagnose(
    address: &str,
    error: &(dyn std::error::Error + 'static),
    now_ms: i64,
) -> ConnectionError {
    let address = address.to_owned();
    let mut reason = error.to_string();
    let mut next = Some(error);
    while let Some(error) = next {
        // An I/O error answers the source of what it wraps, and skips what it wraps.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn std::error::Error + 'static));
        let tls = error
            .downcast_ref::<rustls::Error>()
            .or_else(|| wrapped.and_then(|inner| inner.downcast_ref::<rustls::Error>()));
        if let Some(tls) = tls {
            return of_tls(address, tls, now_ms);
        }
        reason = error.to_string();
        next = wrapped.or_else(|| error.source());
    }
    ConnectionError::Unreachable { address, reason }
}

fn of_tls(address: String, error: &rustls::Error, now_ms: i64) -> ConnectionError {
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => ConnectionError::Clock {
            address,
            reason: error.to_string(),
            now: time(now_ms),
        },
        rustls::Error::AlertReceived(alert) => ConnectionError::Refused {
            address,
            reason: format!("it ended the TLS handshake with {alert:?}"),
        },
        other => ConnectionError::Untrusted {
            address,
            reason: other.to_string(),
        },
    }
}
