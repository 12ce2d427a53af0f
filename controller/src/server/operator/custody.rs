//! Listing custody, page by page: a ledger may have a hundred thousand entries.

use mailmend_proto::run::Custody;
use mailmend_proto::wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::store::{CustodyFilter, Histories};

use super::{OperatorService, Streamed, answers, invalid, part, stopping};

/// Entries of one page: far below the largest message.
const PAGE: u32 = 500;

impl OperatorService {
    pub(super) async fn custody(
        &self,
        request: wire::ListCustodyRequest,
    ) -> Result<Streamed<wire::CustodyPage>, Status> {
        let filter = CustodyFilter {
            run: match request.run.as_str() {
                "" => None,
                run => Some(self.run_id(run).await?),
            },
            agent: match request.agent.as_str() {
                "" => None,
                agent => Some(
                    agent
                        .parse()
                        .map_err(|why| invalid(&format!("C038-request: the agent: {why}")))?,
                ),
            },
            state: match request.state.as_str() {
                "" => None,
                name => Some(state(name)?),
            },
        };
        let mut histories = match (request.history, filter.run) {
            (true, Some(run)) => self.controller.store().histories(run).await?,
            (true, None) => {
                return Err(invalid(
                    "C038-request: the history of messages is told of one run at a time",
                ));
            }
            (false, _) => Histories::new(),
        };
        let (pages, stream) = mpsc::channel(2);
        let controller = self.controller.clone();
        self.controller.tasks().spawn(async move {
            let mut after = None;
            loop {
                let page = tokio::select! {
                    () = controller.stopping().cancelled() => Err(stopping()),
                    page = controller.store().custody_page(&filter, after, PAGE) => {
                        page.map_err(Status::from)
                    }
                };
                let rows = match page {
                    Ok(rows) => rows,
                    // A listing that is cut short must not look whole.
                    Err(status) => return part(&pages, status).await,
                };
                let Some(last) = rows.last() else { return };
                after = Some((last.batch, last.entry.index));
                let page = wire::CustodyPage {
                    entries: rows
                        .iter()
                        .map(|row| {
                            let history = histories.remove(&(row.batch, row.entry.index));
                            answers::custody(row, history.unwrap_or_default())
                        })
                        .collect(),
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

fn state(name: &str) -> Result<Custody, Status> {
    Custody::ALL
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, state)| *state)
        .ok_or_else(|| {
            let known: Vec<&str> = Custody::ALL.iter().map(|(known, _)| *known).collect();
            invalid(&format!(
                "C091-custody-state: `{}` is no state of custody; there are {}",
                name.escape_debug(),
                known.join(", ")
            ))
        })
}
