//! What operators may call.

mod answers;
mod audit;
mod custody;
mod doctor;
mod identities;
mod immunity;
mod naming;
mod past;
mod person_orders;
mod reactions;
mod recalls;
mod retries;
mod rollouts;
mod searched;
mod signing;
mod trail;
mod waves;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mailmend_policy::name::ServerName;
use mailmend_policy::parse::check;
use mailmend_policy::selector::Selector;
use mailmend_policy::source::PolicySource;
use mailmend_proto::wire;
use mailmend_proto::wire::operator_server::Operator;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::identity::{at_least, operator_of, role_of};
use crate::orchestrator::Controller;
use crate::planning::PlanningFault;
use crate::react::InHand;
use crate::store::{AgentRow, Change, NewToken, PolicyRow, Published};

use super::agents::{Authority, serial_of};
use crate::trust::role::Role;

/// The longest that a message of a status may be: it travels in a header.
const LONGEST_STATUS: usize = 8 * 1024;

/// How long the last word to an operator may take.
const PARTING: Duration = Duration::from_secs(1);

/// The service that operators call.
pub struct OperatorService {
    controller: Controller,
    authority: Arc<dyn Authority>,
}

impl std::fmt::Debug for OperatorService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorService").finish_non_exhaustive()
    }
}

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl OperatorService {
    /// The service over a controller at work.
    #[must_use]
    pub fn new(controller: Controller, authority: Arc<dyn Authority>) -> Self {
        Self {
            controller,
            authority,
        }
    }

    fn change(&self, operator: String, what: &str, target: String, why: String) -> Change {
        Change {
            at_ms: self.controller.now_ms(),
            operator,
            what: what.to_owned(),
            target,
            why,
        }
    }

    fn told(
        &self,
        agent: AgentRow,
        alarms: Vec<String>,
        hand: Option<&InHand>,
        queues: Vec<wire::QueueDepth>,
    ) -> wire::Agent {
        let heard = self.controller.liveness().last(&agent.name).unwrap_or(0);
        wire::Agent {
            in_hand: hand.map(reactions::hand),
            queues,
            ..answers::agent(
                &agent,
                self.controller.sessions().is_connected(&agent.name),
                heard.max(agent.last_seen_ms),
                alarms,
            )
        }
    }
}

/// A refusal with a text of bounded length.
fn invalid(text: &str) -> Status {
    let mut end = text.len().min(LONGEST_STATUS);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Status::invalid_argument(&text[..end])
}

fn stopping() -> Status {
    Status::unavailable("C078-stopping: the controller is stopping; ask again")
}

/// The last word of a stream. Nobody may listen any more, and the controller may be waiting to stop.
async fn part<T>(stream: &mpsc::Sender<Result<T, Status>>, status: Status) {
    drop(tokio::time::timeout(PARTING, stream.send(Err(status))).await);
}

impl From<PlanningFault> for Status {
    fn from(fault: PlanningFault) -> Self {
        invalid(&fault.to_string())
    }
}

#[tonic::async_trait]
impl Operator for OperatorService {
    async fn publish_policy(
        &self,
        request: Request<wire::PublishPolicyRequest>,
    ) -> Result<Response<wire::PolicyRevision>, Status> {
        let operator = operator_of(&request)?;
        let request = request.into_inner();
        let source = PolicySource::new(request.file, request.text);
        let checked = check(&source);
        let Some(policy) = checked.policy else {
            return Err(invalid(&format!("C032-policy-refused: {}", checked.faults)));
        };
        let row = PolicyRow {
            name: policy.name,
            version: policy.version,
            digest: source.digest(),
            title: policy.title,
            article: policy.source.article,
            text: source.bytes().to_vec(),
            published_ms: self.controller.now_ms(),
            by: operator,
        };
        let store = self.controller.store();
        match store.publish_policy(&row).await? {
            Published::Stored(stored) => {
                // It is noted with the policy; the same text again changes nothing.
                Ok(Response::new(answers::policy(stored)))
            }
            Published::Differs(stored) => Err(Status::already_exists(format!(
                "C086-version-taken: `{}` version {} was published with another text ({}); a published \
                 version never changes, publish it as version {}",
                stored.name,
                stored.version,
                stored.digest.short(),
                stored.version.saturating_add(1)
            ))),
            Published::Older { newest } => Err(Status::failed_precondition(format!(
                "C087-version-falls: `{}` version {} is older than version {newest}, which is published; \
                 versions only rise",
                row.name, row.version
            ))),
        }
    }

    async fn list_policies(
        &self,
        request: Request<wire::ListPoliciesRequest>,
    ) -> Result<Response<wire::ListPoliciesResponse>, Status> {
        operator_of(&request)?;
        let policies = self.controller.store().policies().await?;
        Ok(Response::new(wire::ListPoliciesResponse {
            policies: self.revisions(policies).await?,
        }))
    }

    async fn get_policy(
        &self,
        request: Request<wire::GetPolicyRequest>,
    ) -> Result<Response<wire::PolicyRevision>, Status> {
        operator_of(&request)?;
        let request = request.into_inner();
        let policy = self.policy(&request.name, request.version).await?;
        let mut found = self.revisions(vec![policy]).await?;
        Ok(Response::new(found.remove(0)))
    }

    async fn recall_policy(
        &self,
        request: Request<wire::RecallPolicyRequest>,
    ) -> Result<Response<wire::RecallPolicyResponse>, Status> {
        let operator = operator_of(&request)?;
        self.recalled(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn create_token(
        &self,
        request: Request<wire::CreateTokenRequest>,
    ) -> Result<Response<wire::Token>, Status> {
        let operator = operator_of(&request)?;
        let request = request.into_inner();
        let valid_seconds = identities::token_life(request.valid_seconds)?;
        let agent: ServerName = request
            .name
            .parse()
            .map_err(|why| invalid(&format!("C038-request: the name: {why}")))?;
        let site = request
            .site
            .parse()
            .map_err(|why| invalid(&format!("C038-request: the site: {why}")))?;
        let created_ms = self.controller.now_ms();
        let expires_ms =
            created_ms.saturating_add(i64::try_from(valid_seconds * 1000).unwrap_or(i64::MAX));
        let token = self.authority.fresh_token()?;
        let store = self.controller.store();
        store
            .create_token(&NewToken {
                hash: self.authority.token_hash(&token),
                agent,
                site,
                labels: request.labels.into_iter().collect(),
                created_ms,
                by: operator,
                expires_ms,
            })
            .await?;
        Ok(Response::new(wire::Token {
            token,
            expires_ms,
            ca_pem: self.authority.ca_pem(),
        }))
    }

    async fn list_agents(
        &self,
        request: Request<wire::ListAgentsRequest>,
    ) -> Result<Response<wire::ListAgentsResponse>, Status> {
        operator_of(&request)?;
        let text = request.into_inner().selector;
        let selector: Option<Selector> = match text.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|why| PlanningFault::Selector {
                text: text.to_owned(),
                why,
            })?),
        };
        let store = self.controller.store();
        let mut alarms: BTreeMap<String, String> = store.newest_alarms().await?;
        let in_hand = store.in_hand().await?;
        let mut queues = store.queues().await?;
        let agents = store
            .agents()
            .await?
            .into_iter()
            .filter(|agent| {
                selector
                    .as_ref()
                    .is_none_or(|selector| selector.selects(&agent.server().labels))
            })
            .map(|agent| {
                let alarms = alarms.remove(agent.name.as_str()).into_iter().collect();
                let hand = in_hand.get(&agent.name);
                let queues = queues.remove(&agent.name).unwrap_or_default();
                self.told(agent, alarms, hand, queues)
            })
            .collect();
        Ok(Response::new(wire::ListAgentsResponse { agents }))
    }

    async fn get_agent(
        &self,
        request: Request<wire::GetAgentRequest>,
    ) -> Result<Response<wire::Agent>, Status> {
        operator_of(&request)?;
        let name = request.into_inner().name;
        let missing = || {
            Status::not_found(format!(
                "C036-not-found: there is no agent `{name}`; `mailmend agent list` shows all"
            ))
        };
        let parsed: ServerName = name.parse().map_err(|_| missing())?;
        let store = self.controller.store();
        let agent = store.agent(&parsed).await?.ok_or_else(missing)?;
        let alarms = store.agent_alarms(&parsed).await?;
        let in_hand = store.in_hand().await?;
        let hand = in_hand.get(&parsed);
        let queues = store.queues_of(&parsed).await?;
        Ok(Response::new(self.told(agent, alarms, hand, queues)))
    }

    async fn plan_rollout(
        &self,
        request: Request<wire::RolloutRequest>,
    ) -> Result<Response<wire::PlanRolloutResponse>, Status> {
        operator_of(&request)?;
        self.plan(&request.into_inner()).await.map(Response::new)
    }

    async fn start_rollout(
        &self,
        request: Request<wire::RolloutRequest>,
    ) -> Result<Response<wire::Rollout>, Status> {
        let operator = operator_of(&request)?;
        self.begin(operator, &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_rollouts(
        &self,
        request: Request<wire::ListRolloutsRequest>,
    ) -> Result<Response<wire::ListRolloutsResponse>, Status> {
        operator_of(&request)?;
        let rollouts = self.controller.store().rollouts(rollouts::LISTED).await?;
        Ok(Response::new(wire::ListRolloutsResponse {
            rollouts: rollouts.iter().map(answers::rollout).collect(),
        }))
    }

    async fn get_rollout(
        &self,
        request: Request<wire::GetRolloutRequest>,
    ) -> Result<Response<wire::Rollout>, Status> {
        operator_of(&request)?;
        let id = self.rollout(&request.into_inner().id).await?.id;
        self.answer(id).await.map(Response::new)
    }

    async fn get_rollout_at(
        &self,
        request: Request<wire::GetRolloutAtRequest>,
    ) -> Result<Response<wire::Rollout>, Status> {
        operator_of(&request)?;
        self.rollout_at(request.into_inner())
            .await
            .map(Response::new)
    }

    type WatchRolloutStream = Streamed<wire::Rollout>;

    async fn watch_rollout(
        &self,
        request: Request<wire::GetRolloutRequest>,
    ) -> Result<Response<Self::WatchRolloutStream>, Status> {
        operator_of(&request)?;
        let id = self.rollout(&request.into_inner().id).await?.id;
        Ok(Response::new(self.watched(id)))
    }

    async fn change_rollout(
        &self,
        request: Request<wire::ChangeRolloutRequest>,
    ) -> Result<Response<wire::Rollout>, Status> {
        let operator = operator_of(&request)?;
        // Pausing is always allowed: stopping harm needs nobody's leave.
        if request.get_ref().change() != wire::RolloutChange::Pause {
            at_least(role_of(&request), Role::Operator, "all but pausing")?;
        }
        self.changed(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn approve_wave(
        &self,
        request: Request<wire::ApproveWaveRequest>,
    ) -> Result<Response<wire::Rollout>, Status> {
        let operator = operator_of(&request)?;
        self.approved(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn retry_rollout(
        &self,
        request: Request<wire::RetryRolloutRequest>,
    ) -> Result<Response<wire::Rollout>, Status> {
        let operator = operator_of(&request)?;
        self.retried(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn explain_rollout(
        &self,
        request: Request<wire::GetRolloutRequest>,
    ) -> Result<Response<wire::Explanation>, Status> {
        operator_of(&request)?;
        let rollout = self.rollout(&request.into_inner().id).await?;
        self.explained(&rollout).await.map(Response::new)
    }

    async fn doctor(
        &self,
        request: Request<wire::DoctorRequest>,
    ) -> Result<Response<wire::DoctorReport>, Status> {
        operator_of(&request)?;
        self.examined().await.map(Response::new)
    }

    async fn get_run(
        &self,
        request: Request<wire::GetRunRequest>,
    ) -> Result<Response<wire::RunDetail>, Status> {
        operator_of(&request)?;
        self.run_detail(&request.into_inner().id)
            .await
            .map(Response::new)
    }

    type ListCustodyStream = Streamed<wire::CustodyPage>;

    async fn list_custody(
        &self,
        request: Request<wire::ListCustodyRequest>,
    ) -> Result<Response<Self::ListCustodyStream>, Status> {
        operator_of(&request)?;
        self.custody(request.into_inner()).await.map(Response::new)
    }

    type ListReconciledStream = Streamed<wire::ReconciledPage>;

    async fn list_reconciled(
        &self,
        request: Request<wire::ListReconciledRequest>,
    ) -> Result<Response<Self::ListReconciledStream>, Status> {
        let operator = operator_of(&request)?;
        self.reconciled(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    type AuditLedgerStream = Streamed<wire::AuditPage>;

    async fn audit_ledger(
        &self,
        request: Request<wire::AuditLedgerRequest>,
    ) -> Result<Response<Self::AuditLedgerStream>, Status> {
        let operator = operator_of(&request)?;
        self.audited(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_fingerprints(
        &self,
        request: Request<wire::ListFingerprintsRequest>,
    ) -> Result<Response<wire::ListFingerprintsResponse>, Status> {
        operator_of(&request)?;
        self.fingerprints(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn get_fingerprint(
        &self,
        request: Request<wire::GetFingerprintRequest>,
    ) -> Result<Response<wire::FingerprintDetail>, Status> {
        operator_of(&request)?;
        self.fingerprint_detail(&request.into_inner().id)
            .await
            .map(Response::new)
    }

    async fn add_fingerprint(
        &self,
        request: Request<wire::AddFingerprintRequest>,
    ) -> Result<Response<wire::OrderStatus>, Status> {
        let operator = operator_of(&request)?;
        self.fingerprint_added(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn withdraw_fingerprint(
        &self,
        request: Request<wire::WithdrawFingerprintRequest>,
    ) -> Result<Response<wire::FingerprintDetail>, Status> {
        let operator = operator_of(&request)?;
        self.fingerprint_withdrawn(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_trail(
        &self,
        request: Request<wire::ListTrailRequest>,
    ) -> Result<Response<wire::ListTrailResponse>, Status> {
        operator_of(&request)?;
        self.trail_listed(request.into_inner())
            .await
            .map(Response::new)
    }

    type ExportTrailStream = Streamed<wire::TrailPage>;

    async fn export_trail(
        &self,
        request: Request<wire::ExportTrailRequest>,
    ) -> Result<Response<Self::ExportTrailStream>, Status> {
        operator_of(&request)?;
        self.trail_exported(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn answer_task(
        &self,
        request: Request<wire::AnswerTaskRequest>,
    ) -> Result<Response<wire::OrderStatus>, Status> {
        let operator = operator_of(&request)?;
        self.answered(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn release_custody(
        &self,
        request: Request<wire::ReleaseCustodyRequest>,
    ) -> Result<Response<wire::OrderStatus>, Status> {
        let operator = operator_of(&request)?;
        self.released(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn recover_custody(
        &self,
        request: Request<wire::RecoverCustodyRequest>,
    ) -> Result<Response<wire::OrderStatus>, Status> {
        let operator = operator_of(&request)?;
        self.recovered(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn settle_custody(
        &self,
        request: Request<wire::SettleCustodyRequest>,
    ) -> Result<Response<wire::OrderStatus>, Status> {
        let operator = operator_of(&request)?;
        self.settled(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn get_order(
        &self,
        request: Request<wire::GetOrderRequest>,
    ) -> Result<Response<wire::OrderStatus>, Status> {
        let operator = operator_of(&request)?;
        self.order(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn bind_policy(
        &self,
        request: Request<wire::BindPolicyRequest>,
    ) -> Result<Response<wire::Binding>, Status> {
        let operator = operator_of(&request)?;
        self.bound(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_bindings(
        &self,
        request: Request<wire::ListBindingsRequest>,
    ) -> Result<Response<wire::ListBindingsResponse>, Status> {
        let operator = operator_of(&request)?;
        self.bindings(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_symptoms(
        &self,
        request: Request<wire::ListSymptomsRequest>,
    ) -> Result<Response<wire::ListSymptomsResponse>, Status> {
        let operator = operator_of(&request)?;
        self.symptoms(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_proposals(
        &self,
        request: Request<wire::ListProposalsRequest>,
    ) -> Result<Response<wire::ListProposalsResponse>, Status> {
        let operator = operator_of(&request)?;
        self.proposals(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn decide_proposal(
        &self,
        request: Request<wire::DecideProposalRequest>,
    ) -> Result<Response<wire::Proposal>, Status> {
        let operator = operator_of(&request)?;
        self.decided(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn set_in_hand(
        &self,
        request: Request<wire::SetInHandRequest>,
    ) -> Result<Response<wire::Agent>, Status> {
        let operator = operator_of(&request)?;
        self.in_hand(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn who_am_i(
        &self,
        request: Request<wire::WhoAmIRequest>,
    ) -> Result<Response<wire::OperatorIdentity>, Status> {
        let operator = operator_of(&request)?;
        self.operator_named(&operator).await.map(Response::new)
    }

    async fn list_operators(
        &self,
        request: Request<wire::ListOperatorsRequest>,
    ) -> Result<Response<wire::ListOperatorsResponse>, Status> {
        operator_of(&request)?;
        self.all_operators().await.map(Response::new)
    }

    async fn add_operator(
        &self,
        request: Request<wire::AddOperatorRequest>,
    ) -> Result<Response<wire::Token>, Status> {
        let operator = operator_of(&request)?;
        self.operator_added(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn set_role(
        &self,
        request: Request<wire::SetRoleRequest>,
    ) -> Result<Response<wire::OperatorIdentity>, Status> {
        let operator = operator_of(&request)?;
        self.role_set(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn revoke_identity(
        &self,
        request: Request<wire::RevokeIdentityRequest>,
    ) -> Result<Response<wire::RevokeIdentityResponse>, Status> {
        let operator = operator_of(&request)?;
        self.identity_revoked(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn publish_trust(
        &self,
        request: Request<wire::PublishTrustRequest>,
    ) -> Result<Response<wire::Trust>, Status> {
        let operator = operator_of(&request)?;
        self.trust_published(operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn get_trust(
        &self,
        request: Request<wire::GetTrustRequest>,
    ) -> Result<Response<wire::Trust>, Status> {
        operator_of(&request)?;
        self.trust().await.map(Response::new)
    }

    async fn renew_operator(
        &self,
        request: Request<wire::RenewRequest>,
    ) -> Result<Response<wire::Certificate>, Status> {
        let operator = operator_of(&request)?;
        let with = serial_of(&request);
        self.operator_renewed(operator, &with, &request.into_inner().csr_pem)
            .await
    }
}

#[cfg(test)]
mod tests;
