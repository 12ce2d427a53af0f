//! What agents may call: enrolment, renewal, and the one stream of each.

mod session;
mod symptoms;
mod traced;

use std::pin::Pin;
use std::sync::Arc;

use mailmend_policy::name::ServerName;
use mailmend_proto::wire;
use mailmend_proto::wire::agents_server::Agents;
use mailmend_proto::wire::enrolment_server::Enrolment;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::identity::{Caller, agent_of, is_operator_name};
use crate::orchestrator::Controller;
use crate::sessions::AGAIN;
use crate::store::{Change, NewCertificate, RevokedMeanwhile, StoreError, TokenRefused};
use crate::trust::Named;

#[cfg(test)]
pub(crate) use session::serve as serve_session;

/// Messages to an agent that wait to be sent; more wait in the store. One: each may have a policy in it, and an agent that
/// reads nothing holds all of them.
const WAITING: usize = 1;

/// Who signs certificates and makes tokens. The services know nothing of keys.
pub trait Authority: Send + Sync + 'static {
    /// A certificate for this name over the key of the request, whose names are ignored.
    ///
    /// # Errors
    /// Where the request is no certificate request or its signature does not match its key.
    fn certify(&self, whom: &Named, csr_pem: &str, now_ms: i64) -> Result<Certified, CertifyFault>;

    /// The certificate of the authority, PEM.
    fn ca_pem(&self) -> String;

    /// A fresh token for a person to carry, unguessable.
    ///
    /// # Errors
    /// Where the machine gives no randomness.
    fn fresh_token(&self) -> Result<String, CertifyFault>;

    /// What is stored of a token.
    fn token_hash(&self, token: &str) -> [u8; 32];

    /// How long the certificates live that [`Self::certify`] makes.
    fn agent_validity(&self) -> std::time::Duration {
        std::time::Duration::from_secs(86_400)
    }
}

/// A certificate that was made and is not handed out yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Certified {
    /// What travels.
    pub certificate: wire::Certificate,
    /// What is stored of it before it does.
    pub noted: NewCertificate,
}

/// A certificate could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {why}")]
pub struct CertifyFault {
    /// A code of `docs/faults.md`.
    pub code: &'static str,
    /// What is wrong with the request.
    pub why: String,
}

impl From<CertifyFault> for Status {
    fn from(fault: CertifyFault) -> Self {
        Self::invalid_argument(fault.to_string())
    }
}

impl From<StoreError> for Status {
    /// What the caller may know: whether to try again. The whole of it stands in the log.
    fn from(fault: StoreError) -> Self {
        tracing::error!(error = &fault as &dyn std::error::Error, "the store failed");
        match fault {
            StoreError::Changed(_) => Self::aborted(fault.to_string()),
            StoreError::Recalled(_) => Self::failed_precondition(fault.to_string()),
            // Not `unavailable`: the controller is there, and says what it lacks.
            StoreError::Full { .. } => Self::resource_exhausted(fault.to_string()),
            StoreError::Locked { .. } => Self::unavailable(fault.to_string()),
            _ => Self::internal(fault.to_string()),
        }
    }
}

/// The services that agents call.
pub struct AgentsService {
    controller: Controller,
    authority: Arc<dyn Authority>,
}

impl std::fmt::Debug for AgentsService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentsService").finish_non_exhaustive()
    }
}

impl AgentsService {
    /// The services over a controller at work.
    #[must_use]
    pub fn new(controller: Controller, authority: Arc<dyn Authority>) -> Self {
        Self {
            controller,
            authority,
        }
    }

    /// Notes a renewed certificate, then hands it out.
    pub(super) async fn renewed(
        controller: &Controller,
        authority: &dyn Authority,
        whom: &Named,
        with: &str,
        csr_pem: &str,
    ) -> Result<Response<wire::Certificate>, Status> {
        let now_ms = controller.now_ms();
        let made = authority.certify(whom, csr_pem, now_ms)?;
        let store = controller.store();
        match store
            .certificate_renewed(whom, with, &made.noted, now_ms)
            .await?
        {
            Ok(()) => {}
            Err(RevokedMeanwhile) => {
                return Err(Status::unauthenticated(format!(
                    "C152-identity-revoked: the certificate of {whom} was revoked while it was being renewed"
                )));
            }
        }
        controller.learn_identities().await?;
        Ok(Response::new(made.certificate))
    }
}

/// All refusals are one answer: a stranger learns neither names nor tokens.
fn token_refused() -> Status {
    Status::unauthenticated(
        "C070-token-refused: the token is unknown, used, expired or for another name; ask for a new one \
         (`mailmend agent token`, for people `mailmend operator add`)",
    )
}

/// The serial of the certificate that a call came with.
pub(super) fn serial_of<T>(request: &Request<T>) -> String {
    request
        .extensions()
        .get::<Caller>()
        .map(|caller| caller.serial.clone())
        .unwrap_or_default()
}

#[tonic::async_trait]
impl Enrolment for AgentsService {
    async fn enrol(
        &self,
        request: Request<wire::EnrolRequest>,
    ) -> Result<Response<wire::Certificate>, Status> {
        let request = request.into_inner();
        let name: ServerName = request.name.parse().map_err(|_| token_refused())?;
        let hash = self.authority.token_hash(&request.token);
        let now_ms = self.controller.now_ms();
        let whom = Named::Agent(name.clone());
        // Before the token is used up: a bad request must not cost a good token.
        let made = self.authority.certify(&whom, &request.csr_pem, now_ms)?;
        let store = self.controller.store();
        let taken = store.take_token(&hash, &name, &made.noted, now_ms).await?;
        if let Err(why) = taken {
            tracing::warn!(agent = %name, ?why, "refused an enrolment");
            if let Some(text) = misuse(why) {
                store
                    .raise_alarm(&name, "C071-token-misused", text, now_ms)
                    .await?;
            }
            return Err(token_refused());
        }
        tracing::info!(agent = %name, "enrolled");
        self.controller.learn_identities().await?;
        self.controller.changed();
        Ok(Response::new(made.certificate))
    }

    async fn enrol_operator(
        &self,
        request: Request<wire::EnrolRequest>,
    ) -> Result<Response<wire::Certificate>, Status> {
        let request = request.into_inner();
        if !is_operator_name(&request.name) {
            return Err(token_refused());
        }
        let hash = self.authority.token_hash(&request.token);
        let now_ms = self.controller.now_ms();
        let whom = Named::Operator(request.name.clone());
        let made = self.authority.certify(&whom, &request.csr_pem, now_ms)?;
        let store = self.controller.store();
        let taken = store
            .take_operator_token(&hash, &request.name, &made.noted, now_ms)
            .await?;
        if let Err(why) = taken {
            tracing::warn!(operator = request.name, ?why, "refused an enrolment");
            if let Some(text) = misuse(why) {
                // In the audit trail: alarms are of agents.
                let change = Change {
                    at_ms: now_ms,
                    operator: request.name.clone(),
                    what: "C071-token-misused".to_owned(),
                    target: whom.to_string(),
                    why: text.to_owned(),
                };
                store.note_change(&change).await?;
            }
            return Err(token_refused());
        }
        tracing::info!(operator = request.name, "enrolled");
        self.controller.learn_identities().await?;
        Ok(Response::new(made.certificate))
    }
}

/// What a refused token says of whoever shows it, where that is worth an alarm.
const fn misuse(why: TokenRefused) -> Option<&'static str> {
    match why {
        TokenRefused::Used => Some("a token for this name was shown again after it was used"),
        TokenRefused::OtherName => Some("a token for another name was shown with this name"),
        TokenRefused::Unknown | TokenRefused::Expired => None,
    }
}

#[tonic::async_trait]
impl Agents for AgentsService {
    async fn renew(
        &self,
        request: Request<wire::RenewRequest>,
    ) -> Result<Response<wire::Certificate>, Status> {
        let name = agent_of(&request)?;
        if self.controller.store().agent(&name).await?.is_none() {
            return Err(Status::permission_denied(
                crate::store::Refused::Unknown(name).to_string(),
            ));
        }
        let whom = Named::Agent(name);
        let with = serial_of(&request);
        let csr_pem = request.into_inner().csr_pem;
        Self::renewed(&self.controller, &*self.authority, &whom, &with, &csr_pem).await
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<wire::ToAgent, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<wire::FromAgent>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let name = agent_of(&request)?;
        let (outgoing, stream) = mpsc::channel(WAITING);
        let incoming = request.into_inner();
        let controller = self.controller.clone();
        self.controller
            .tasks()
            .spawn(session::serve(controller, name, incoming, outgoing, AGAIN));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

#[cfg(test)]
mod tests;
