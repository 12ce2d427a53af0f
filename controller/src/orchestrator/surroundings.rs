//! What a rollout is decided from beyond itself, out of the store and the sessions.

use crate::decide::Fleet;
use crate::rollout::Rollout;
use crate::store::StoreError;

use super::Controller;

impl Controller {
    /// All that a rollout is decided from beyond itself.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn fleet_for(&self, rollout: &Rollout) -> Result<Fleet, StoreError> {
        let store = self.store();
        Ok(Fleet {
            locks: store.locks().await?,
            connected: self.sessions().connected(),
            in_hand: store.sites_in_hand().await?,
            servers: store.servers().await?,
            others: store.holdings(rollout.id).await?,
            ..Fleet::default()
        })
    }
}
