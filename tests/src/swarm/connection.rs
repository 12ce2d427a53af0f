//! The way of one agent of the swarm to a server: its own certificate, its own tickets, one connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// The name in the certificate of the controller, and of the bare server, which has the same.
const CONTROLLER: &str = "mailmend-controller";
/// How long dialling and the handshake may take, as with the real agent.
const DIAL: Duration = Duration::from_secs(10);
/// How often a server is asked whether it is there, as with the real agent.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Tickets that an agent keeps: a server gives some at each handshake, and one is used at each.
const TICKETS: usize = 8;

/// What a server may send before it is read, bytes.
const WINDOW: u32 = 65_535;

/// How handshakes went.
#[derive(Debug, Default)]
pub struct Handshakes {
    /// With certificates and signatures.
    pub full: AtomicUsize,
    /// With a ticket of an earlier one.
    pub resumed: AtomicUsize,
}

/// An agent's side of TLS. Tickets are kept in it from one connection to the next.
///
/// # Errors
/// Where the certificate and the key do not fit together.
pub fn tls(
    authority: &CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<rustls::ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    let mut config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::in_memory_sessions(TICKETS);
    Ok(Arc::new(config))
}

/// Dials.
///
/// # Errors
/// Where nobody answers, or the handshake fails.
pub async fn dial(
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    handshakes: Arc<Handshakes>,
) -> Result<Channel, tonic::transport::Error> {
    // The scheme is that of plain text because TLS is made here, where it is seen whether it was resumed.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(DIAL)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        // Small, so that who reads nothing holds the server's data up and not this process's memory.
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let connector = tower::service_fn(move |_| {
        let (tls, handshakes) = (TlsConnector::from(tls.clone()), handshakes.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(CONTROLLER).map_err(std::io::Error::other)?;
            let stream = tokio::time::timeout(DIAL, tls.connect(name, stream)).await??;
            let resumed =
                stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            let count = if resumed {
                &handshakes.resumed
            } else {
                &handshakes.full
            };
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    endpoint.connect_with_connector(connector).await
}
