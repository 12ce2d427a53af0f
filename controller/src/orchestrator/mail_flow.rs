//! Which servers are outbound paths now, out of the store and the sessions.

use super::Controller;
use crate::mail_flow::{MailFlow, Why};
use crate::store::StoreError;

impl Controller {
    /// Which servers are outbound paths, and which are not live, over all rollouts.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn mail_flow(&self) -> Result<MailFlow, StoreError> {
        let store = self.store();
        let stated = MailFlow::of(&store.planned_servers().await?);
        if stated.constrains_nothing() {
            return Ok(stated);
        }
        let mut flow = stated.connected(&self.sessions().connected());
        for (server, run) in store.left_down().await? {
            flow.is_down(&server, Why::LeftDown(run));
        }
        for rollout in store.open_rollouts().await? {
            for run in &rollout.runs {
                flow = flow.with_run(run);
            }
        }
        Ok(flow)
    }
}
