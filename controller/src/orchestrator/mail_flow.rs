//! Which servers are outbound paths now, out of the store and the sessions.

use std::sync::PoisonError;

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
        let stated = self.stated().await?;
        if stated.constrains_nothing() {
            return Ok(stated);
        }
        let mut flow = stated.connected(&self.sessions().connected());
        for (server, run) in store.left_down().await? {
            flow.is_down(&server, Why::LeftDown(run));
        }
        for rollout in store.at_work().await? {
            for run in &rollout.runs {
                flow = flow.with_run(run);
            }
        }
        Ok(flow)
    }

    /// What servers state of themselves; read again only when the inventory has changed.
    async fn stated(&self) -> Result<MailFlow, StoreError> {
        let store = self.store();
        // Before the servers are read: what changes in between counts as changed.
        let generation = store.generation().await?;
        let known = || self.0.stated.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, stated)) = &*known()
            && *at == generation
        {
            return Ok(stated.clone());
        }
        let stated = MailFlow::of(&store.planned_servers().await?);
        *known() = Some((generation, stated.clone()));
        Ok(stated)
    }
}
