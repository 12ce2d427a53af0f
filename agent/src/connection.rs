//! The way to the controller: TLS, deadlines, keepalive, and what a failure means.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use rustls::CertificateError;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

use crate::identity::{Identity, time};

/// The name that the controller's certificate has, whatever address it is dialled at.
const CONTROLLER: &str = "mailmend-controller";
/// How long dialling and the TLS handshake may take, each.
const DIAL: Duration = Duration::from_secs(10);
/// How often the controller is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(10);
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
    let mut tls = ClientTlsConfig::new()
        .domain_name(CONTROLLER)
        .ca_certificate(Certificate::from_pem(ca_pem))
        .timeout(DIAL);
    if let Some(identity) = identity {
        let (certificate, key) = (&identity.certificate_pem, &identity.key_pem);
        tls = tls.identity(tonic::transport::Identity::from_pem(certificate, key));
    }
    let endpoint = Endpoint::from_shared(address.to_owned())
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map_err(|error| diagnose(address, &error, now_ms))?
        .connect_timeout(DIAL)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .user_agent(concat!("mailmend-agent/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| diagnose(address, &error, now_ms))?;
    endpoint
        .connect()
        .await
        .map_err(|error| diagnose(address, &error, now_ms))
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
fn diagnose(
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
