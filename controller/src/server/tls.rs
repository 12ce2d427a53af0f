//! TLS of the listener: version 1.3, our own authority, client certificates optional.
//!
//! A caller without a certificate gets in, because enrolling needs that; [`super::access`] lets it
//! call nothing else. A certificate of another authority, or an expired one, ends the handshake.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use crate::enrol::{KeyedCertificate, TicketKeys};

/// Why TLS could not be set up from the files of the authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("C005-key-unreadable: could not set up TLS: {0}")]
pub struct TlsFault(String);

fn fault(why: impl std::fmt::Display) -> TlsFault {
    TlsFault(why.to_string())
}

/// The TLS configuration for a server certificate and the authority that callers must be of.
///
/// # Errors
/// Where a certificate or key cannot be used.
pub fn server_config(
    ca_pem: &str,
    own: &KeyedCertificate,
) -> Result<Arc<rustls::ServerConfig>, TlsFault> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.map_err(fault)?).map_err(fault)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(fault)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(own.certificate_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(fault)?;
    let key = PrivateKeyDer::from_pem_slice(own.key_pem.as_bytes()).map_err(fault)?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(fault)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(fault)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Agents that come back after a restart of the network resume instead of signing again.
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(fault)?;
    Ok(Arc::new(config))
}

/// The same with tickets that are taken after a restart of the controller too.
#[must_use]
pub fn resuming(config: &rustls::ServerConfig, keys: &TicketKeys) -> Arc<rustls::ServerConfig> {
    let mut config = config.clone();
    config.ticketer = keys.ticketer();
    Arc::new(config)
}
