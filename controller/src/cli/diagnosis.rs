//! Why a connection broke: the handshake once more, bare.
//!
//! In TLS 1.3 a refused client certificate shows only after the handshake, as a connection that ends
//! at some moment; HTTP/2 then tells anything from "connection closed" to an alert. Whoever reads the
//! first byte by hand gets the alert itself.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::failure::{Failure, untrusted};
use crate::identity::CONTROLLER_DNS;

/// Longer than a handshake takes, shorter than a person waits for an error.
const LIMIT: Duration = Duration::from_secs(3);

/// What TLS has against `identity` or against whoever answers at `host`; `None` where it has nothing.
pub(super) async fn diagnose(host: &str, port: u16, identity: &Path) -> Option<Failure> {
    let config = config(identity)?;
    let why = tokio::time::timeout(LIMIT, knock(host, port, config))
        .await
        .ok()?
        .err()?;
    let tls = why.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(untrusted(tls))
}

async fn knock(host: &str, port: u16, config: rustls::ClientConfig) -> io::Result<()> {
    let stream = TcpStream::connect((host, port)).await?;
    let name = ServerName::try_from(CONTROLLER_DNS).map_err(io::Error::other)?;
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    // An HTTP/2 server speaks first where it accepts the caller.
    stream.read_u8().await.map(drop)
}

/// The same trust and certificate as the real connection; `None` where the files are no good, which
/// has been told by then.
fn config(identity: &Path) -> Option<rustls::ClientConfig> {
    let read = |file: &str| std::fs::read(identity.join(file)).ok();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&read("ca.pem")?) {
        roots.add(certificate.ok()?).ok()?;
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read("operator.pem")?).collect();
    let key = PrivateKeyDer::from_pem_slice(&read("operator.key")?).ok()?;
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .ok()?
    .with_root_certificates(roots)
    .with_client_auth_cert(chain.ok()?, key)
    .ok()?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Some(config)
}
