//! How deep each agent's queues are, as it told last.

use std::collections::BTreeMap;

use mailmend_policy::condition::Queue;
use mailmend_policy::name::ServerName;
use mailmend_proto::wire;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::at_work::Touched;
use super::row::{parsed, unsigned};
use super::{Store, StoreError};

const TABLE: &str = "queues";

/// The store keeps signed numbers; no queue is that deep.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn depth(row: &SqliteRow) -> Result<(ServerName, wire::QueueDepth), StoreError> {
    let depth = wire::QueueDepth {
        queue: row.get("queue"),
        messages: unsigned(TABLE, row.get("messages"))?,
        bytes: unsigned(TABLE, row.get("bytes"))?,
        oldest_ms: row.get("oldest_ms"),
        at_ms: row.get("at_ms"),
    };
    Ok((parsed(TABLE, row.get("agent"))?, depth))
}

impl Store {
    /// Replaces all that an agent told of its queues. What are no queues of this version is dropped, and
    /// what is told twice counts once.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn replace_queues(
        &self,
        agent: &ServerName,
        told: &[wire::QueueDepth],
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        sqlx::query("DELETE FROM queues WHERE agent = $1")
            .bind(agent.as_str())
            .execute(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
        let known = Queue::ALL
            .iter()
            .filter_map(|(name, _)| told.iter().find(|depth| depth.queue == *name));
        for depth in known {
            sqlx::query(
                "INSERT INTO queues (agent, queue, messages, bytes, oldest_ms, at_ms)
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(agent.as_str())
            .bind(&depth.queue)
            .bind(signed(depth.messages))
            .bind(signed(depth.bytes))
            .bind(depth.oldest_ms)
            .bind(depth.at_ms)
            .execute(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
        }
        self.commit_of(write, Touched::Told(Vec::new())).await
    }

    /// What all agents told last of their queues, by agent and the queue's name.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn queues(&self) -> Result<BTreeMap<ServerName, Vec<wire::QueueDepth>>, StoreError> {
        let rows = sqlx::query("SELECT * FROM queues ORDER BY agent, queue")
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
        let mut queues: BTreeMap<ServerName, Vec<wire::QueueDepth>> = BTreeMap::new();
        for row in &rows {
            let (agent, depth) = depth(row)?;
            queues.entry(agent).or_default().push(depth);
        }
        Ok(queues)
    }

    /// What one agent told last of its queues.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn queues_of(&self, agent: &ServerName) -> Result<Vec<wire::QueueDepth>, StoreError> {
        sqlx::query("SELECT * FROM queues WHERE agent = $1 ORDER BY queue")
            .bind(agent.as_str())
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .iter()
            .map(|row| depth(row).map(|(_, depth)| depth))
            .collect()
    }
}
