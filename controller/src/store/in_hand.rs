//! Servers that a person has in hand.

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::name::{ServerName, SiteName};
use sqlx::Row;

use super::row::parsed;
use super::{Change, Store, StoreError};
use crate::react::InHand;

impl Store {
    /// Puts a server in a person's hand, or (`None`) gives it back, with its audit line.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn set_in_hand(
        &self,
        agent: &ServerName,
        hand: Option<&InHand>,
        change: &Change,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        sqlx::query("DELETE FROM in_hand WHERE agent = $1")
            .bind(agent.as_str())
            .execute(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
        if let Some(hand) = hand {
            sqlx::query(
                "INSERT INTO in_hand (agent, held_by, why, since_ms) VALUES ($1, $2, $3, $4)",
            )
            .bind(agent.as_str())
            .bind(&hand.by)
            .bind(&hand.why)
            .bind(hand.since_ms)
            .execute(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
        }
        self.write_change(&mut write, change).await?;
        self.commit(write).await
    }

    /// Every server in hand.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn in_hand(&self) -> Result<BTreeMap<ServerName, InHand>, StoreError> {
        sqlx::query("SELECT * FROM in_hand")
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .iter()
            .map(|row| {
                let hand = InHand {
                    by: row.get("held_by"),
                    why: row.get("why"),
                    since_ms: row.get("since_ms"),
                };
                Ok((parsed("in_hand", row.get("agent"))?, hand))
            })
            .collect()
    }

    /// The sites that have a server in hand.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn sites_in_hand(&self) -> Result<BTreeSet<SiteName>, StoreError> {
        sqlx::query_scalar::<_, String>(
            "SELECT a.site FROM in_hand h JOIN agents a ON a.name = h.agent",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|site| parsed("agents", site))
        .collect()
    }
}
