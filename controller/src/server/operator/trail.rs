//! The audit trail, told: the newest entries, and all of them page by page.

use mailmend_proto::wire;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{OperatorService, Streamed, invalid, part, stopping};
use crate::store::{TrailFilter, TrailRow};

/// How many entries are listed where nobody says.
const LISTED: u32 = 100;

/// How many are listed at most.
const MOST: u32 = 10_000;

fn row(row: TrailRow) -> wire::TrailRow {
    wire::TrailRow {
        entry: row.entry.encode_to_vec(),
        hash: row.hash,
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl OperatorService {
    pub(super) async fn trail_listed(
        &self,
        request: wire::ListTrailRequest,
    ) -> Result<wire::ListTrailResponse, Status> {
        let limit = match request.limit {
            0 => LISTED,
            limit if limit <= MOST => limit,
            limit => {
                return Err(invalid(&format!(
                    "C038-request: at most {MOST} entries are listed, not {limit}; `mailmend audit export` tells all"
                )));
            }
        };
        let filter = TrailFilter {
            since_ms: (request.since_ms != 0).then_some(request.since_ms),
            until_ms: (request.until_ms != 0).then_some(request.until_ms),
            actor: some(request.actor),
            kind: some(request.kind),
            target: some(request.target),
        };
        let store = self.controller.store();
        let rows = store.trail(&filter, limit).await?;
        let head = store.trail_head().await?;
        Ok(wire::ListTrailResponse {
            rows: rows.into_iter().map(row).collect(),
            head: head.seq,
            head_hash: head.hash.to_vec(),
        })
    }

    pub(super) async fn trail_exported(
        &self,
        request: wire::ExportTrailRequest,
    ) -> Result<Streamed<wire::TrailPage>, Status> {
        let end = self.controller.store().trail_head().await?.seq;
        let (pages, stream) = mpsc::channel(2);
        let controller = self.controller.clone();
        self.controller.tasks().spawn(async move {
            let mut after = request.after;
            while after < end {
                let page = tokio::select! {
                    () = controller.stopping().cancelled() => Err(stopping()),
                    page = controller.store().trail_after(after) => page.map_err(Status::from),
                };
                let mut rows = match page {
                    Ok(rows) => rows,
                    // An export that is cut short must not look whole.
                    Err(status) => return part(&pages, status).await,
                };
                rows.retain(|row| row.entry.seq <= end);
                let Some(last) = rows.last() else { return };
                after = last.entry.seq;
                let page = wire::TrailPage {
                    rows: rows.into_iter().map(row).collect(),
                };
                tokio::select! {
                    () = controller.stopping().cancelled() => {
                        return part(&pages, stopping()).await;
                    }
                    sent = pages.send(Ok(page)) => if sent.is_err() { return },
                }
            }
        });
        Ok(Box::pin(ReceiverStream::new(stream)))
    }
}
