//! Who calls: read from the client's certificate, and from nothing else.

use mailmend_policy::name::ServerName;

/// The caller of an RPC. The accept loop puts it into the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// An agent, by its certificate.
    Agent(ServerName),
    /// An operator, by certificate; the name is for the audit trail.
    Operator(String),
    /// No client certificate was shown: may enrol, and nothing else.
    Anonymous,
}
