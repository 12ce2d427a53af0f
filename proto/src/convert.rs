//! Wire ⇄ domain, parsed once at the edge.

mod event;
mod record;
mod trust;

pub use event::{
    body_in as body_from_wire, body_out as body_to_wire, entry_in as entry_from_wire,
    entry_out as entry_to_wire, proof_to_wire, reconciled_in as reconciled_from_wire,
    reconciled_out as reconciled_to_wire,
};
pub use record::{record_from_wire, record_to_wire};
pub use trust::{offer_from_wire, offer_to_wire, signed_from_wire, signed_to_wire};

use mailmend_policy::digest::Digest;
use mailmend_policy::plan::Server;
use uuid::Uuid;

use crate::run::{BatchId, RunId};
use crate::wire;

/// A message that the wire format allows and its meaning does not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireFault {
    /// A field that must be there is not.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A field has a value that makes no sense.
    #[error("`{field}` makes no sense: {why}")]
    Value {
        /// The field.
        field: &'static str,
        /// Why.
        why: String,
    },
}

pub(crate) fn fault(field: &'static str, why: impl ToString) -> WireFault {
    WireFault::Value {
        field,
        why: why.to_string(),
    }
}

/// A digest from its 32 bytes.
///
/// # Errors
/// Where the length is another.
pub fn digest_from_wire(field: &'static str, bytes: &[u8]) -> Result<Digest, WireFault> {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| {
        fault(
            field,
            format!("a digest has 32 bytes, this has {}", bytes.len()),
        )
    })?;
    Ok(Digest::from_bytes(bytes))
}

/// An id from its text.
///
/// # Errors
/// Where the text is no UUID.
pub fn uuid_from_wire(field: &'static str, text: &str) -> Result<Uuid, WireFault> {
    Uuid::try_parse(text).map_err(|why| fault(field, why))
}

/// A run id from its text.
///
/// # Errors
/// Where the text is no UUID.
pub fn run_from_wire(text: &str) -> Result<RunId, WireFault> {
    Uuid::try_parse(text)
        .map(RunId)
        .map_err(|why| fault("run", why))
}

/// A batch id from its text.
///
/// # Errors
/// Where the text is no UUID.
pub fn batch_from_wire(text: &str) -> Result<BatchId, WireFault> {
    Uuid::try_parse(text)
        .map(BatchId)
        .map_err(|why| fault("batch", why))
}

/// A server from the wire.
///
/// # Errors
/// Where a name is not acceptable.
pub fn server_from_wire(server: wire::Server) -> Result<Server, WireFault> {
    Ok(Server {
        name: server
            .name
            .parse()
            .map_err(|why| fault("server.name", why))?,
        site: server
            .site
            .parse()
            .map_err(|why| fault("server.site", why))?,
        labels: server.labels.into_iter().collect(),
        actions: server.actions.into_iter().collect(),
    })
}

/// A server for the wire.
#[must_use]
pub fn server_to_wire(server: &Server) -> wire::Server {
    wire::Server {
        name: server.name.to_string(),
        site: server.site.to_string(),
        labels: server.labels.clone().into_iter().collect(),
        actions: server.actions.iter().cloned().collect(),
    }
}
