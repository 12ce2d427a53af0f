//! Who speaks: the one name in a peer's certificate.
//!
//! A certificate carries exactly one URI `mailmend:KIND:NAME` among its alternative names. Identity
//! comes from there and from nowhere else: not from the subject, not from a message, not from the
//! address that somebody dials from.

use std::net::SocketAddr;

use mailmend_policy::name::ServerName;
use tonic::{Request, Status};

use crate::trust::role::Role;
use x509_parser::extensions::GeneralName;

/// The DNS name in the controller's certificate. Clients verify against it, whatever address they dial.
pub const CONTROLLER_DNS: &str = "mailmend-controller";
/// The URI in the controller's certificate.
pub const CONTROLLER_URI: &str = "mailmend:controller";

/// The longest name of an operator, in characters.
const LONGEST_OPERATOR: usize = 63;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Peer {
    /// An agent, by the server that it lives on.
    Agent(ServerName),
    /// An operator, by name.
    Operator(String),
    /// Nobody in particular: no certificate was shown. May only enrol.
    Anonymous,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Agent(name) => write!(f, "agent `{name}`"),
            Self::Operator(name) => write!(f, "operator `{name}`"),
            Self::Anonymous => f.write_str("a caller without a certificate"),
        }
    }
}

/// What the server knows of a caller. In the extensions of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub peer: Peer,
    /// Where it dials from; for logs only.
    pub from: SocketAddr,
    /// The serial number of its certificate, lower-case hexadecimal; empty without one.
    pub serial: String,
    /// When its certificate ends, milliseconds since 1970 UTC; 0 without one.
    pub until_ms: i64,
}

/// Why a certificate, though signed by our authority, names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityFault {
    /// The bytes are no certificate.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    /// It has no URI of ours.
    #[error("the certificate names neither an agent nor an operator")]
    Nameless,
    /// It has more than one.
    #[error("the certificate has more than one mailmend name")]
    SeveralNames,
    /// Its name is of an unknown kind or has characters that are not allowed.
    #[error("the certificate's name `{0}` is not acceptable")]
    BadName(String),
    /// It was valid once. Resumed sessions are not verified again, so this is checked here.
    #[error("the certificate ended at {0} (milliseconds since 1970)")]
    Expired(i64),
}

/// A certificate's peer, serial and end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who it names.
    pub peer: Peer,
    /// Serial number, lower-case hexadecimal.
    pub serial: String,
    /// When it ends, milliseconds since 1970 UTC.
    pub until_ms: i64,
}

/// Reads who a certificate names. Its signature has been verified by TLS.
///
/// # Errors
/// Where it does not carry exactly one acceptable name, or has ended at `now_ms`.
pub fn identify(certificate: &[u8], now_ms: i64) -> Result<Identity, IdentityFault> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|why| IdentityFault::Unreadable(why.to_string()))?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|why| IdentityFault::Unreadable(why.to_string()))?
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    let mut ours = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) if uri.starts_with("mailmend:") => Some(*uri),
        _ => None,
    });
    let uri = ours.next().ok_or(IdentityFault::Nameless)?;
    if ours.next().is_some() {
        return Err(IdentityFault::SeveralNames);
    }
    let until_ms = certificate
        .validity()
        .not_after
        .timestamp()
        .saturating_mul(1000);
    if until_ms <= now_ms {
        return Err(IdentityFault::Expired(until_ms));
    }
    let serial = certificate.tbs_certificate.serial.to_str_radix(16);
    Ok(Identity {
        peer: peer(uri)?,
        serial,
        until_ms,
    })
}

fn peer(uri: &str) -> Result<Peer, IdentityFault> {
    let bad = || IdentityFault::BadName(uri.escape_debug().take(120).collect());
    if let Some(name) = uri.strip_prefix("mailmend:agent:") {
        return name.parse().map(Peer::Agent).map_err(|_| bad());
    }
    let name = uri.strip_prefix("mailmend:operator:").ok_or_else(bad)?;
    if is_operator_name(name) {
        Ok(Peer::Operator(name.to_owned()))
    } else {
        Err(bad())
    }
}

/// Whether an operator may have this name: 1 to 63 of `a-z A-Z 0-9 - _ . @`.
#[must_use]
pub fn is_operator_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_OPERATOR
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@'))
}

/// What is known of a request's caller. A request that did not come through our own listener has
/// none and counts as anonymous.
pub fn peer_of<T>(request: &Request<T>) -> Peer {
    request
        .extensions()
        .get::<Caller>()
        .map_or(Peer::Anonymous, |caller| caller.peer.clone())
}

/// The agent that a request comes from.
///
/// # Errors
/// `UNAUTHENTICATED` or `PERMISSION_DENIED` where the caller is no agent.
pub fn agent_of<T>(request: &Request<T>) -> Result<ServerName, Status> {
    match peer_of(request) {
        Peer::Agent(name) => Ok(name),
        other => Err(denied(&other, "an agent")),
    }
}

/// The operator that a request comes from.
///
/// # Errors
/// `UNAUTHENTICATED` or `PERMISSION_DENIED` where the caller is no operator.
pub fn operator_of<T>(request: &Request<T>) -> Result<String, Status> {
    match peer_of(request) {
        Peer::Operator(name) => Ok(name),
        other => Err(denied(&other, "an operator")),
    }
}

/// The role of the operator that a request comes from, as the door found it. A request that did not
/// come through our own listener has the weakest.
pub fn role_of<T>(request: &Request<T>) -> Role {
    request
        .extensions()
        .get::<Role>()
        .copied()
        .unwrap_or(Role::Viewer)
}

/// Refuses an operator whose role is weaker than `needed`.
///
/// # Errors
/// `PERMISSION_DENIED` then.
pub fn at_least(role: Role, needed: Role, what: &str) -> Result<(), Status> {
    if role >= needed {
        return Ok(());
    }
    Err(Status::permission_denied(format!(
        "C150-role: {what} needs the role {needed}, yours is {role}; an admin gives roles with \
         `mailmend operator role`"
    )))
}

/// The refusal of a caller that is not what a call needs.
pub(crate) fn denied(peer: &Peer, needed: &str) -> Status {
    match peer {
        Peer::Anonymous => Status::unauthenticated(format!(
            "C021-unauthenticated: {needed} must show a certificate of this controller, none was shown"
        )),
        other => Status::permission_denied(format!(
            "C024-not-permitted: {other} called what only {needed} may call"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(uris: &[&str]) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = uris
            .iter()
            .map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap()))
            .collect();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_names_exactly_one_agent_or_operator() {
        let who = |uris: &[&str]| identify(&certificate(uris), 0).map(|found| found.peer);
        assert_eq!(
            who(&["mailmend:agent:SRV-B"]),
            Ok(Peer::Agent("SRV-B".parse().unwrap()))
        );
        assert_eq!(
            who(&["mailmend:operator:admin"]),
            Ok(Peer::Operator("admin".to_owned()))
        );
        assert_eq!(
            who(&["https://example.com", "mailmend:operator:admin"]),
            Ok(Peer::Operator("admin".to_owned()))
        );
        assert_eq!(who(&[]), Err(IdentityFault::Nameless));
        assert_eq!(
            who(&["mailmend:agent:A", "mailmend:operator:admin"]),
            Err(IdentityFault::SeveralNames)
        );
        for bad in [
            "mailmend:agent:",
            "mailmend:agent:a/../b",
            "mailmend:root:x",
            "mailmend:operator:a b",
            "mailmend:controller",
        ] {
            assert!(
                matches!(who(&[bad]), Err(IdentityFault::BadName(_))),
                "{bad}"
            );
        }
        assert!(matches!(
            identify(b"noise", 0),
            Err(IdentityFault::Unreadable(_))
        ));
    }

    #[test]
    fn a_certificate_that_has_ended_names_nobody_even_in_a_resumed_session() {
        let year_9999 = 253_402_300_799_000;
        assert!(matches!(
            identify(&certificate(&["mailmend:agent:A"]), year_9999),
            Err(IdentityFault::Expired(_))
        ));
    }

    #[test]
    fn a_request_from_nowhere_is_anonymous_and_may_do_nothing() {
        let request = Request::new(());
        assert_eq!(
            operator_of(&request).unwrap_err().code(),
            tonic::Code::Unauthenticated
        );
        assert_eq!(
            agent_of(&request).unwrap_err().code(),
            tonic::Code::Unauthenticated
        );
    }
}
