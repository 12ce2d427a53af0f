//! How deep each agent's queues are, as it told last.

use std::collections::BTreeMap;

use mailmend_policy::condition::Queue;
use mailmend_policy::name::ServerName;
use mailmend_proto::wire;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::at_work::Touched;
use super::row::{parsed, to_json, unsigned};
use super::{Store, StoreError, Write};

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
    /// As [`Store::replace_queues`], in a transaction of its own.
    pub(super) async fn queues_alone(
        &self,
        said: &[(&ServerName, &[wire::QueueDepth])],
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        self.write_queues(&mut write, said).await?;
        self.commit_of(write, Touched::Told(Vec::new())).await
    }

    /// [`Store::replace_queues`] of many, as a part of a write.
    pub(super) async fn write_queues(
        &self,
        write: &mut Write<'_>,
        said: &[(&ServerName, &[wire::QueueDepth])],
    ) -> Result<(), StoreError> {
        if said.is_empty() {
            return Ok(());
        }
        let agents: Vec<&str> = said.iter().map(|(agent, _)| agent.as_str()).collect();
        let mut rows = Vec::new();
        for (agent, told) in said {
            let known = Queue::ALL
                .iter()
                .filter_map(|(name, _)| told.iter().find(|depth| depth.queue == *name));
            for depth in known {
                rows.push((
                    agent.as_str(),
                    depth.queue.as_str(),
                    signed(depth.messages),
                    signed(depth.bytes),
                    depth.oldest_ms,
                    depth.at_ms,
                ));
            }
        }
        sqlx::query("DELETE FROM queues WHERE agent IN (SELECT value FROM json_each($1))")
            .bind(to_json(TABLE, &agents)?)
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        // What one agent says twice in a row: the later word stands.
        sqlx::query(
            "INSERT OR REPLACE INTO queues (agent, queue, messages, bytes, oldest_ms, at_ms)
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5
             FROM json_each($1) ORDER BY key",
        )
        .bind(to_json(TABLE, &rows)?)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(())
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
