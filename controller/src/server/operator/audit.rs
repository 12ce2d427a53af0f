//! Audits of an agent's ledger, and what a reconciliation found.

use std::time::Duration;

use mailmend_policy::name::ServerName;
use mailmend_proto::wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::audits::Audit;

use super::{OperatorService, Streamed, invalid, part, stopping};

/// Messages of one page: far below the largest message of the wire.
const PAGE: u32 = 500;

/// How long an agent may take for the next piece of an audit: it reads every held file of a batch meanwhile.
const PATIENCE: Duration = Duration::from_secs(300);

impl OperatorService {
    /// What a run's reconciliation found.
    pub(super) async fn reconciled(
        &self,
        _operator: String,
        request: wire::ListReconciledRequest,
    ) -> Result<Streamed<wire::ReconciledPage>, Status> {
        let run = self.run_id(&request.run).await?;
        let (pages, stream) = mpsc::channel(2);
        let controller = self.controller.clone();
        self.controller.tasks().spawn(async move {
            let store = controller.store();
            let mut delivered = match store.reconciled_delivered(run).await {
                Ok(delivered) => Some(delivered),
                Err(fault) => return part(&pages, fault.into()).await,
            };
            let mut after = None;
            loop {
                let page = tokio::select! {
                    () = controller.stopping().cancelled() => Err(stopping()),
                    page = store.reconciled_page(run, request.all, after, PAGE) => page.map_err(Status::from),
                };
                let rows = match page {
                    Ok(rows) => rows,
                    // A listing that is cut short must not look whole.
                    Err(status) => return part(&pages, status).await,
                };
                let last = rows.last().map(|row| (row.message.accepted_ms, row.id));
                // The count is told also where nothing is listed.
                if last.is_none() && delivered.is_none() {
                    return;
                }
                let page = super::answers::reconciled(rows, delivered.take().unwrap_or_default());
                if pages.send(Ok(page)).await.is_err() || last.is_none() {
                    return;
                }
                after = last;
            }
        });
        Ok(Box::pin(ReceiverStream::new(stream)))
    }

    /// Derives an agent's ledger anew and tells where it disagrees.
    pub(super) async fn audited(
        &self,
        _operator: String,
        request: wire::AuditLedgerRequest,
    ) -> Result<Streamed<wire::AuditPage>, Status> {
        let agent: ServerName = request
            .agent
            .parse()
            .map_err(|why| invalid(&format!("C038-request: the agent: {why}")))?;
        let store = self.controller.store();
        if store.agent(&agent).await?.is_none() {
            return Err(Status::not_found(format!(
                "C036-not-found: there is no agent `{agent}`; `mailmend agent list` shows all"
            )));
        }
        let run = match request.run.as_str() {
            "" => String::new(),
            run => self.run_id(run).await?.to_string(),
        };
        let audit = self.controller.audits().begin(&agent);
        let ask = wire::AuditRequest {
            id: audit.id().to_string(),
            run,
        };
        if !self.controller.sessions().ask(&agent, ask) {
            return Err(away(&agent));
        }
        let (pages, stream) = mpsc::channel(2);
        let controller = self.controller.clone();
        self.controller.tasks().spawn(async move {
            let passed = pass_on(audit, &agent, &pages);
            let ended = tokio::select! {
                () = controller.stopping().cancelled() => Err(stopping()),
                () = pages.closed() => return,
                ended = passed => ended,
            };
            if let Err(status) = ended {
                part(&pages, status).await;
            }
        });
        Ok(Box::pin(ReceiverStream::new(stream)))
    }
}

fn away(agent: &ServerName) -> Status {
    Status::unavailable(format!(
        "C097-agent-away: `{agent}` is not connected; start mailmend-agent there, or see on the server itself: \
         `mailmend-agent ledger audit`"
    ))
}

/// Passes on what the agent finds, until it has said that nothing follows.
async fn pass_on(
    mut audit: Audit,
    agent: &ServerName,
    pages: &mpsc::Sender<Result<wire::AuditPage, Status>>,
) -> Result<(), Status> {
    loop {
        let piece = tokio::time::timeout(PATIENCE, audit.next())
            .await
            .map_err(|_| {
                Status::deadline_exceeded(format!("C099-audit-failed: `{agent}` says nothing more"))
            })?;
        let Some(piece) = piece else {
            return Err(away(agent));
        };
        if !piece.failed.is_empty() {
            return Err(Status::failed_precondition(format!(
                "C099-audit-failed: `{agent}`: {}",
                piece.failed
            )));
        }
        let page = wire::AuditPage {
            found: piece.found,
            messages: piece.messages,
        };
        if pages.send(Ok(page)).await.is_err() || piece.last {
            return Ok(());
        }
    }
}
