//! What an explanation needs beyond a rollout, out of the store and the sessions.

use std::collections::BTreeMap;

use super::Controller;
use crate::explain::Surroundings;
use crate::store::StoreError;

impl Controller {
    /// What is known beyond any rollout: the same for all of them but `fleet`, which is left empty and is
    /// filled by [`Controller::fleet_for`].
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn surroundings(&self) -> Result<Surroundings, StoreError> {
        let store = self.store();
        let mut locks = BTreeMap::new();
        for (site, &run) in store.locks().await?.iter() {
            locks.insert(site.clone(), (run, store.rollout_of(run).await?));
        }
        let connected = self.sessions().connected();
        let mut hands = store.in_hand().await?;
        let (mut agents, mut in_hand) = (BTreeMap::new(), BTreeMap::new());
        for agent in store.agents().await? {
            if let Some(hand) = hands.remove(&agent.name) {
                in_hand.insert(agent.site, (agent.name.clone(), hand));
            }
            let heard_ms = self.liveness().last(&agent.name).unwrap_or(0);
            let there = connected.contains(&agent.name);
            agents.insert(agent.name, (there, heard_ms.max(agent.last_seen_ms)));
        }
        Ok(Surroundings {
            locks,
            in_hand,
            agents,
            turned_ms: store.turned().await?,
            now_ms: self.now_ms(),
            ..Surroundings::default()
        })
    }
}
