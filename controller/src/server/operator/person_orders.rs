//! A person's word: answers to tasks, releases and settlements, as orders that an agent takes once.

use mailmend_proto::wire;
use tonic::Status;

use super::OperatorService;

impl OperatorService {
    /// Answers a `human.task` step.
    pub(super) async fn answered(
        &self,
        _operator: String,
        _request: wire::AnswerTaskRequest,
    ) -> Result<wire::OrderStatus, Status> {
        Err(Status::unimplemented("answered"))
    }

    /// Gives held mail of a closed run back.
    pub(super) async fn released(
        &self,
        _operator: String,
        _request: wire::ReleaseCustodyRequest,
    ) -> Result<wire::OrderStatus, Status> {
        Err(Status::unimplemented("released"))
    }

    /// Settles messages by a person's word.
    pub(super) async fn settled(
        &self,
        _operator: String,
        _request: wire::SettleCustodyRequest,
    ) -> Result<wire::OrderStatus, Status> {
        Err(Status::unimplemented("settled"))
    }

    /// How an order stands.
    pub(super) async fn order(
        &self,
        _operator: String,
        _request: wire::GetOrderRequest,
    ) -> Result<wire::OrderStatus, Status> {
        Err(Status::unimplemented("order"))
    }
}
