//! What the floor of mail flow is held against, beyond the open rollouts.

use mailmend_policy::name::ServerName;
use mailmend_policy::plan::Server;
use mailmend_proto::run::RunId;
use sqlx::Row;

use super::row::parsed;
use super::{AgentRow, Store, StoreError};

impl Store {
    /// Every server as the planner sees it, by name.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn planned_servers(&self) -> Result<Vec<Server>, StoreError> {
        let agents = self.agents().await?;
        Ok(agents.iter().map(AgentRow::server).collect())
    }

    /// The servers that a run or duty which is over left with service down, and that none has mended since.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn left_down(&self) -> Result<Vec<(ServerName, RunId)>, StoreError> {
        sqlx::query(
            "SELECT p.agent, p.run FROM parts p JOIN runs r ON r.id = p.run
               LEFT JOIN rollouts o ON o.id = r.rollout
             WHERE ((r.rollout IS NULL AND r.phase = 'needs-person')
                 OR (o.state IN ('succeeded', 'failed', 'aborted')
                     AND json_extract(p.told, '$.handed_over') = 1))
               AND NOT EXISTS (SELECT 1 FROM parts q JOIN runs s ON s.id = q.run
                 WHERE q.agent = p.agent AND s.phase = 'succeeded' AND s.started_ms > r.started_ms)
             ORDER BY p.agent, p.run",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|row| {
            Ok((
                parsed("parts", row.get("agent"))?,
                RunId(parsed("parts", row.get("run"))?),
            ))
        })
        .collect()
    }
}
