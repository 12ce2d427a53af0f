//! Symptoms over the fleet, and what is done about them.

use mailmend_proto::wire;
use tonic::Status;

use super::OperatorService;

impl OperatorService {
    /// Binds a policy to its symptom.
    pub(super) async fn bound(
        &self,
        _operator: String,
        _request: wire::BindPolicyRequest,
    ) -> Result<wire::Binding, Status> {
        Err(Status::unimplemented("bound"))
    }

    /// Every binding.
    pub(super) async fn bindings(
        &self,
        _operator: String,
        _request: wire::ListBindingsRequest,
    ) -> Result<wire::ListBindingsResponse, Status> {
        Err(Status::unimplemented("bindings"))
    }

    /// Which policies' symptoms stand where.
    pub(super) async fn symptoms(
        &self,
        _operator: String,
        _request: wire::ListSymptomsRequest,
    ) -> Result<wire::ListSymptomsResponse, Status> {
        Err(Status::unimplemented("symptoms"))
    }

    /// Rollouts that wait for a person's word.
    pub(super) async fn proposals(
        &self,
        _operator: String,
        _request: wire::ListProposalsRequest,
    ) -> Result<wire::ListProposalsResponse, Status> {
        Err(Status::unimplemented("proposals"))
    }

    /// Starts a proposed rollout, or refuses it.
    pub(super) async fn decided(
        &self,
        _operator: String,
        _request: wire::DecideProposalRequest,
    ) -> Result<wire::Proposal, Status> {
        Err(Status::unimplemented("decided"))
    }

    /// Puts a server in a person's hand, or gives it back.
    pub(super) async fn in_hand(
        &self,
        _operator: String,
        _request: wire::SetInHandRequest,
    ) -> Result<wire::Agent, Status> {
        Err(Status::unimplemented("in_hand"))
    }
}
