//! Fleet immunity at work: agents are woken when what stands has changed, and what a withdrawn fingerprint had set aside is
//! given back, one run of a site at a time, by the releases that a person could have ordered.

use std::sync::atomic::Ordering;

use mailmend_proto::wire;
use mailmend_proto::wire::order::What;
use prost::Message as _;
use uuid::Uuid;

use super::Controller;
use crate::rollout::Told;
use crate::store::{Change, DueRelease, OrderAnswer, OrderKind, Ordered, PersonOrder, StoreError};

impl Controller {
    /// Tells of what stands, and orders what is due to be given back. Safe to repeat: what is ordered is in the store
    /// before anybody is told, and is not due any more.
    pub(super) async fn keep_immunity(&self) -> Result<(), StoreError> {
        let store = self.store();
        let generation = store.immunity_generation().await?;
        if self.0.immunity.swap(generation, Ordering::AcqRel) != generation {
            self.sessions().wake_all();
        }
        for due in store.due_releases(self.now_ms()).await? {
            let told: Told = store.told(due.run, &due.agent).await?.unwrap_or_default();
            if told.closed.is_none() || told.releasing.is_some() {
                continue;
            }
            self.order_release(due).await?;
        }
        Ok(())
    }

    async fn order_release(&self, due: DueRelease) -> Result<(), StoreError> {
        let id = Uuid::new_v4();
        let why = format!("fingerprint {} was withdrawn: {}", due.fingerprint, due.why);
        let order = wire::Order {
            id: id.to_string(),
            run: due.run.to_string(),
            by: due.by.clone(),
            why: why.clone(),
            what: Some(What::Release(wire::Release {
                batch: due.batch.to_string(),
                fingerprint: due.fingerprint.to_string(),
            })),
            // The store grants it.
            fence: 0,
        };
        let new = PersonOrder {
            id,
            agent: due.agent.clone(),
            run: due.run,
            kind: OrderKind::Release,
            bytes: order.encode_to_vec(),
            by: due.by.clone(),
            at_ms: self.now_ms(),
            fence: None,
            answer: OrderAnswer::Waiting,
        };
        let change = Change {
            at_ms: self.now_ms(),
            operator: due.by,
            what: "release-custody".to_owned(),
            target: format!("{} {}", due.run, due.batch),
            why,
        };
        match self.store().store_order(&new, &change).await? {
            Ordered::Stored(_) => self.sessions().wake(std::slice::from_ref(&due.agent)),
            // It is due again when the other one is over.
            Ordered::Beside | Ordered::SiteTaken(_) => {}
        }
        Ok(())
    }
}
