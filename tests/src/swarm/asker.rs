//! The operator of the measured controller: calls without a command line's start-up between.

use std::path::Path;
use std::time::Duration;

use mailmend_proto::wire;
use mailmend_proto::wire::operator_client::OperatorClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::lab_error::{Attempting, LabError};

/// How long a call may take: ten thousand plans take a while.
const CALL: Duration = Duration::from_secs(120);
/// The largest answer: a rollout with ten thousand runs.
const LARGEST: usize = 64 << 20;

/// An operator.
pub struct Asker {
    runtime: tokio::runtime::Runtime,
    client: OperatorClient<Channel>,
}

fn failed(attempted: &str, why: impl std::fmt::Display) -> LabError {
    LabError::Refused {
        attempted: attempted.to_owned(),
        reason: why.to_string(),
    }
}

impl Asker {
    /// The operator whose identity is in a controller's data folder. It dials at its first call, and again when the
    /// controller was away.
    ///
    /// # Errors
    /// Where there is no identity.
    pub fn new(address: std::net::SocketAddr, data: &Path) -> Result<Self, LabError> {
        let folder = data.join("operator");
        let read = |name: &str| {
            std::fs::read(folder.join(name)).attempting(|| format!("read the operator's `{name}`"))
        };
        let tls = ClientTlsConfig::new()
            .domain_name("mailmend-controller")
            .identity(Identity::from_pem(
                read("operator.pem")?,
                read("operator.key")?,
            ))
            .ca_certificate(Certificate::from_pem(read("ca.pem")?));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .attempting(|| "start an operator".to_owned())?;
        let entered = runtime.enter();
        let channel = Endpoint::from_shared(format!("https://{address}"))
            .and_then(|endpoint| endpoint.tls_config(tls))
            .map_err(|why| failed("dial the controller", why))?
            .timeout(CALL)
            .connect_lazy();
        drop(entered);
        let client = OperatorClient::new(channel).max_decoding_message_size(LARGEST);
        Ok(Self { runtime, client })
    }

    /// How many agents are connected.
    ///
    /// # Errors
    /// Where the controller cannot be asked.
    pub fn connected(&mut self) -> Result<usize, LabError> {
        let answer = self.client.list_agents(wire::ListAgentsRequest::default());
        let answer = self.runtime.block_on(answer);
        let agents = answer.map_err(|why| failed("list agents", why))?;
        let agents = agents.into_inner().agents;
        Ok(agents.iter().filter(|agent| agent.connected).count())
    }

    /// Publishes a policy.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn publish(&mut self, text: &str) -> Result<(), LabError> {
        let request = wire::PublishPolicyRequest {
            file: "swarm.toml".to_owned(),
            text: text.as_bytes().to_vec(),
        };
        let answer = self.client.publish_policy(request);
        let answer = self.runtime.block_on(answer);
        answer.map(drop).map_err(|why| failed("publish", why))
    }

    /// Binds the newest version of a policy, so that the agents that the selector selects are told to look for its
    /// symptom; empty: all.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn bind(&mut self, policy: &str, selector: &str) -> Result<(), LabError> {
        let request = wire::BindPolicyRequest {
            policy: policy.to_owned(),
            selector: selector.to_owned(),
            reaction: wire::Reaction::Observe.into(),
            ..Default::default()
        };
        let answer = self.runtime.block_on(self.client.bind_policy(request));
        answer.map(drop).map_err(|why| failed("bind", why))
    }

    /// Starts a rollout of the first version over all sites; answers its id.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn rollout(&mut self, policy: &str, waves: &str, at_once: u32) -> Result<String, LabError> {
        let request = wire::RolloutRequest {
            policy: policy.to_owned(),
            version: 1,
            selector: "site".to_owned(),
            sites_at_once: Some(at_once),
            request_id: uuid::Uuid::new_v4().to_string(),
            strategy: format!("waves = [{waves}]\n").into_bytes(),
            ..Default::default()
        };
        let answer = self.runtime.block_on(self.client.start_rollout(request));
        answer
            .map(|answer| answer.into_inner().id)
            .map_err(|why| failed("start a rollout", why))
    }
}
