//! Alarms: what a person must know.

use std::collections::BTreeMap;

use mailmend_policy::name::ServerName;
use mailmend_proto::run::RunId;

use super::{Store, StoreError, Write};

impl Store {
    /// Raises an alarm of the controller's own about an agent; the same one once.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn raise_alarm(
        &self,
        agent: &ServerName,
        code: &str,
        text: &str,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        self.write_alarm(&mut write, agent, "", code, text, (now_ms, now_ms))
            .await?;
        self.commit(write).await
    }

    /// The same alarm again is the same one, heard again. Times: by the clock of who raised it, and by ours.
    pub(super) async fn write_alarm(
        &self,
        write: &mut Write<'_>,
        agent: &ServerName,
        run: &str,
        code: &str,
        text: &str,
        (raised_ms, heard_ms): (i64, i64),
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE alarms SET heard_ms = max(heard_ms, $5)
             WHERE agent = $1 AND run = $2 AND code = $3 AND text = $4",
        )
        .bind(agent.as_str())
        .bind(run)
        .bind(code)
        .bind(text)
        .bind(heard_ms)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        sqlx::query(
            "INSERT INTO alarms (agent, run, code, text, raised_ms, heard_ms)
             SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS
               (SELECT 1 FROM alarms WHERE agent = $1 AND run = $2 AND code = $3 AND text = $4)",
        )
        .bind(agent.as_str())
        .bind(run)
        .bind(code)
        .bind(text)
        .bind(raised_ms)
        .bind(heard_ms)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(())
    }

    /// The newest alarm of each agent that was heard after a time, with when.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn alarms_since(
        &self,
        after_ms: i64,
    ) -> Result<BTreeMap<String, (i64, String)>, StoreError> {
        let rows: Vec<(String, i64, String)> = sqlx::query_as(
            "SELECT agent, heard_ms, code || ': ' || text FROM alarms
             WHERE heard_ms > $1 ORDER BY heard_ms, id",
        )
        .bind(after_ms)
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(rows
            .into_iter()
            .map(|(agent, heard_ms, text)| (agent, (heard_ms, text)))
            .collect())
    }

    /// An agent's alarms, newest first, at most 100, each as `code: text`.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn agent_alarms(&self, agent: &ServerName) -> Result<Vec<String>, StoreError> {
        sqlx::query_scalar(
            "SELECT code || ': ' || text FROM alarms WHERE agent = $1 ORDER BY id DESC LIMIT 100",
        )
        .bind(agent.as_str())
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))
    }

    /// The newest alarm of each agent that has one, as `code: text`.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn newest_alarms(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT agent, code || ': ' || text FROM alarms
             WHERE id IN (SELECT max(id) FROM alarms GROUP BY agent)",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(rows.into_iter().collect())
    }

    /// A run's alarms, oldest first, each as `agent: code: text`.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn run_alarms(&self, run: RunId) -> Result<Vec<String>, StoreError> {
        sqlx::query_scalar(
            "SELECT agent || ': ' || code || ': ' || text FROM alarms WHERE run = $1 ORDER BY id LIMIT 1000",
        )
        .bind(run.to_string())
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))
    }
}
