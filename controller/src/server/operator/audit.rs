//! Audits of an agent's ledger, and what a reconciliation found.

use mailmend_proto::wire;
use tonic::Status;

use super::OperatorService;

impl OperatorService {
    /// What a run's reconciliation found.
    pub(super) async fn reconciled(
        &self,
        _operator: String,
        _request: wire::ListReconciledRequest,
    ) -> Result<super::Streamed<wire::ReconciledPage>, Status> {
        Err(Status::unimplemented("reconciled"))
    }

    /// Derives an agent's ledger anew and tells where it disagrees.
    pub(super) async fn audited(
        &self,
        _operator: String,
        _request: wire::AuditLedgerRequest,
    ) -> Result<super::Streamed<wire::AuditPage>, Status> {
        Err(Status::unimplemented("audited"))
    }
}
