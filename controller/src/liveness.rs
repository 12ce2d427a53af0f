//! When each agent was last heard. Kept in memory and written down now and then: losing half a minute
//! of it harms nobody, a write for every message would.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mailmend_policy::name::ServerName;

use crate::store::{Store, StoreError};

/// How often it is written down.
pub const WRITTEN_EVERY: Duration = Duration::from_secs(30);

/// When agents were heard since it was last written down.
#[derive(Debug, Default)]
pub struct Liveness {
    heard: Mutex<HashMap<ServerName, i64>>,
}

impl Liveness {
    /// An agent was heard.
    pub fn heard(&self, agent: &ServerName, now_ms: i64) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match heard.get_mut(agent) {
            Some(at) => *at = now_ms,
            None => {
                heard.insert(agent.clone(), now_ms);
            }
        }
    }

    /// When an agent was heard, where that is not written down yet.
    #[must_use]
    pub fn last(&self, agent: &ServerName) -> Option<i64> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(agent).copied()
    }

    /// Writes it down.
    ///
    /// # Errors
    /// Where the store fails; what was heard is kept for the next time.
    pub async fn write_down(&self, store: &Store) -> Result<(), StoreError> {
        let heard = {
            let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.clone()
        };
        if heard.is_empty() {
            return Ok(());
        }
        store.seen(&heard).await?;
        let mut left = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|name, at| heard.get(name) != Some(at));
        Ok(())
    }
}
