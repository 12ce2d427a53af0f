//! Who may call what, now: roles of operators, and revocations of certificates.
//!
//! The store holds it, [`roster::Roster`] answers from memory at each call: a changed role or a
//! revocation holds from the next call on, and a revocation closes the connections that are open.

pub mod known;
pub mod rates;
pub mod refusals;
pub mod role;
pub mod roster;

use mailmend_policy::name::ServerName;

use crate::identity::Peer;

/// A name that certificates are made for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Named {
    /// An agent, by its server.
    Agent(ServerName),
    /// An operator.
    Operator(String),
}

impl Named {
    /// Whom a peer is named as; `None`: it has no certificate.
    #[must_use]
    pub fn of(peer: &Peer) -> Option<Self> {
        match peer {
            Peer::Agent(name) => Some(Self::Agent(name.clone())),
            Peer::Operator(name) => Some(Self::Operator(name.clone())),
            Peer::Anonymous => None,
        }
    }

    /// `agent` or `operator`, as the store and certificates' URIs say it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::Operator(_) => "operator",
        }
    }

    /// The name without its kind.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Agent(name) => name.as_str(),
            Self::Operator(name) => name,
        }
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}`", self.kind(), self.name())
    }
}
