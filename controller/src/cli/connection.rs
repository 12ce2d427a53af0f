//! The way to the controller: mutual TLS with the operator's certificate.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mailmend_proto::wire;
use mailmend_proto::wire::enrolment_client::EnrolmentClient;
use mailmend_proto::wire::operator_client::OperatorClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Response, Status, Streaming};

use super::diagnosis::diagnose;
use super::exit::Exit;
use super::failure::Failure;
use super::waiting::waiting;
use crate::config::Settings;
use crate::identity::CONTROLLER_DNS;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const KEEPALIVE: Duration = Duration::from_secs(20);
/// The largest answer, bytes: a plan over many sites.
const MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// A controller that has not been dialled yet: the first call does.
#[derive(Debug, Clone)]
pub(super) struct Controller {
    address: String,
    host: String,
    port: u16,
    identity: PathBuf,
    channel: Channel,
    client: OperatorClient<Channel>,
}

impl Controller {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, Failure> {
        let Dialled {
            address,
            host,
            port,
            endpoint,
        } = dialled(settings)?;
        let folder = PathBuf::from(&settings.get("identity").value);
        let tls = tls(&folder)?;
        let channel = endpoint
            .tls_config(tls)
            .map_err(|why| {
                identity(&format!(
                    "the certificate or key cannot be used: {}",
                    inner(&why)
                ))
            })?
            .connect_lazy();
        let client = OperatorClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES);
        Ok(Self {
            address,
            host,
            port,
            identity: folder,
            channel,
            client,
        })
    }

    /// The way itself, for services that are not the contract's.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// One call and its answer; `what` completes "could not ...".
    pub(super) async fn ask<Q, A, F>(
        &self,
        what: &str,
        message: Q,
        call: impl FnOnce(OperatorClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Failure>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut request = Request::new(message);
        request.set_timeout(CALL_TIMEOUT);
        let answer = waiting(what, call(self.client.clone(), request)).await;
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.failed(what, status).await),
        }
    }

    /// A call whose answer is a stream without an end in time.
    pub(super) async fn follow<Q, A, F>(
        &self,
        what: &str,
        message: Q,
        call: impl FnOnce(OperatorClient<Channel>, Request<Q>) -> F,
    ) -> Result<Streaming<A>, Failure>
    where
        F: Future<Output = Result<Response<Streaming<A>>, Status>>,
    {
        let answer = waiting(what, call(self.client.clone(), Request::new(message))).await;
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.failed(what, status).await),
        }
    }

    /// A status as a failure that names the controller where the way to it is the trouble.
    pub(super) async fn failed(&self, what: &str, status: Status) -> Failure {
        let mut failure = Failure::from(status);
        if failure.exit() != Exit::Unreachable {
            return failure.attempting(what);
        }
        if failure.code() == "C020-unreachable"
            && let Some(better) = diagnose(&self.host, self.port, &self.identity).await
        {
            failure = better;
        }
        failure.attempting(&format!("{what} at {}", self.address))
    }
}

/// Where the controller is, taken apart.
struct Dialled {
    address: String,
    host: String,
    port: u16,
    endpoint: Endpoint,
}

fn dialled(settings: &Settings) -> Result<Dialled, Failure> {
    let address = settings.get("controller").value.clone();
    let bad = |why: String| {
        Failure::new(
            "C025-controller-address",
            format!("`{address}` is no address: {why}"),
        )
        .with_exit(Exit::Usage)
    };
    if !address.starts_with("https://") {
        return Err(bad("it does not begin with https://".to_owned()));
    }
    let endpoint = Endpoint::from_shared(address.clone())
        .map_err(|why| bad(why.to_string()))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(Duration::from_secs(10));
    let port = endpoint
        .uri()
        .port_u16()
        .ok_or_else(|| bad("it has no port".to_owned()))?;
    let host = endpoint.uri().host().unwrap_or_default();
    let host = host.trim_matches(['[', ']']).to_owned();
    Ok(Dialled {
        address,
        host,
        port,
        endpoint,
    })
}

/// Calls of somebody who has no certificate yet.
pub(super) struct Stranger {
    address: String,
    client: EnrolmentClient<Channel>,
}

/// A stranger that trusts the authority `ca_pem`. Nothing is dialled before the first call.
pub(super) fn stranger(settings: &Settings, ca_pem: &str) -> Result<Stranger, Failure> {
    let Dialled {
        address, endpoint, ..
    } = dialled(settings)?;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca_pem))
        .domain_name(CONTROLLER_DNS);
    let channel = endpoint
        .tls_config(tls)
        .map_err(|why| {
            identity(&format!(
                "the authority's certificate cannot be used: {}",
                inner(&why)
            ))
        })?
        .connect_lazy();
    Ok(Stranger {
        address,
        client: EnrolmentClient::new(channel),
    })
}

impl Stranger {
    /// Exchanges an operator's token for a certificate.
    pub(super) async fn enrol(
        mut self,
        what: &str,
        message: wire::EnrolRequest,
    ) -> Result<wire::Certificate, Failure> {
        let mut request = Request::new(message);
        request.set_timeout(CALL_TIMEOUT);
        match waiting(what, self.client.enrol_operator(request)).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => {
                Err(Failure::from(status).attempting(&format!("{what} at {}", self.address)))
            }
        }
    }
}

fn inner(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), inner)
}

fn identity(why: &str) -> Failure {
    Failure::new("C023-identity", why).with_exit(Exit::Unreachable)
}

fn tls(folder: &Path) -> Result<ClientTlsConfig, Failure> {
    let read = |file: &str| {
        let path = folder.join(file);
        std::fs::read(&path)
            .map_err(|why| identity(&format!("could not read `{}`: {why}", path.display())))
    };
    let own = Identity::from_pem(read("operator.pem")?, read("operator.key")?);
    Ok(ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("ca.pem")?))
        .identity(own)
        .domain_name(CONTROLLER_DNS))
}
