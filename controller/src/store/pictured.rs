//! What the doctor and the metrics look at, over all rollouts and agents.

use std::collections::BTreeMap;

use mailmend_proto::run::{Custody, RunId};
use sqlx::Row;

use super::row::parsed;
use super::{Store, StoreError};
use crate::doctor::{AgentSeen, Health, Kept, OpenOrder, OpenRelease};
use crate::rollout::{RolloutState, RunPhase};

impl Store {
    /// Every agent as the doctor sees it, by name; whether it is connected is not known here.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn agents_seen(&self) -> Result<Vec<AgentSeen>, StoreError> {
        let alarms: BTreeMap<String, (i64, String)> = self.alarms_since(0).await?;
        let counted: Vec<(String, i64)> =
            sqlx::query_as("SELECT agent, min(at_ms) FROM queues GROUP BY agent")
                .fetch_all(&self.readers)
                .await
                .map_err(|fault| self.fault(fault))?;
        let counted: BTreeMap<String, i64> = counted.into_iter().collect();
        sqlx::query(
            "SELECT name, site, enrolled_ms, last_seen_ms, version, certificate_until_ms
             FROM agents ORDER BY name",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|row| {
            let name: &str = row.get("name");
            Ok(AgentSeen {
                name: parsed("agents", name)?,
                site: parsed("agents", row.get("site"))?,
                connected: false,
                enrolled_ms: row.get("enrolled_ms"),
                heard_ms: row.get("last_seen_ms"),
                version: row.get("version"),
                certificate_until_ms: row.get("certificate_until_ms"),
                alarm: alarms.get(name).cloned(),
                counted_ms: counted.get(name).copied(),
            })
        })
        .collect()
    }

    /// Orders of persons that no agent has answered, oldest first.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn open_orders(&self) -> Result<Vec<OpenOrder>, StoreError> {
        const TABLE: &str = "person_orders";
        sqlx::query(
            "SELECT id, agent, run, kind, ordered_by, at_ms FROM person_orders
             WHERE state = 'waiting' ORDER BY at_ms, id",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|row| {
            Ok(OpenOrder {
                id: parsed(TABLE, row.get("id"))?,
                agent: parsed(TABLE, row.get("agent"))?,
                run: RunId(parsed(TABLE, row.get("run"))?),
                kind: row.get("kind"),
                by: row.get("ordered_by"),
                at_ms: row.get("at_ms"),
            })
        })
        .collect()
    }

    /// Releases that agents have taken and not ended, oldest first.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn open_releases(&self) -> Result<Vec<OpenRelease>, StoreError> {
        const TABLE: &str = "person_orders";
        sqlx::query(
            "SELECT o.id, o.agent, o.run, coalesce(o.answered_ms, o.at_ms) AS taken_ms
             FROM person_orders o JOIN parts p ON p.run = o.run AND p.agent = o.agent
             WHERE o.state = 'taken' AND o.kind = 'release'
               AND json_extract(p.told, '$.releasing') = o.id
             ORDER BY taken_ms, o.id",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|row| {
            Ok(OpenRelease {
                order: parsed(TABLE, row.get("id"))?,
                agent: parsed(TABLE, row.get("agent"))?,
                run: RunId(parsed(TABLE, row.get("run"))?),
                taken_ms: row.get("taken_ms"),
            })
        })
        .collect()
    }

    /// Messages that are held, in doubt, poison or replaying, and those that vanished with a copy kept, by
    /// run, agent and state.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn kept(&self) -> Result<Vec<Kept>, StoreError> {
        // The condition is the index's, word for word.
        let rows = sqlx::query(
            "SELECT b.run, b.agent, c.state, count(*) AS messages, min(c.changed_ms) AS since_ms
             FROM custody c JOIN batches b ON b.batch = c.batch
             WHERE c.state IN ('held', 'replaying', 'poison', 'in-doubt')
             GROUP BY b.run, b.agent, c.state",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?;
        let mut kept = Vec::new();
        for row in &rows {
            let name: &str = row.get("state");
            let state = Custody::ALL.iter().find(|(known, _)| *known == name);
            kept.push(Kept {
                run: RunId(parsed("batches", row.get("run"))?),
                agent: parsed("batches", row.get("agent"))?,
                state: state.map(|(_, state)| *state),
                messages: u64::try_from(row.get::<i64, _>("messages")).unwrap_or(0),
                since_ms: row.get("since_ms"),
            });
        }
        let rows = sqlx::query(
            "SELECT p.run, p.agent, json_extract(p.told, '$.recoverable') AS messages,
               coalesce(r.ended_ms, r.since_ms) AS since_ms
             FROM parts p JOIN runs r ON r.id = p.run
             WHERE json_extract(p.told, '$.recoverable') > 0",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?;
        for row in &rows {
            kept.push(Kept {
                run: RunId(parsed("parts", row.get("run"))?),
                agent: parsed("parts", row.get("agent"))?,
                state: None,
                messages: u64::try_from(row.get::<i64, _>("messages")).unwrap_or(0),
                since_ms: row.get("since_ms"),
            });
        }
        Ok(kept)
    }

    /// How many runs there are in each phase, duties included; every phase is told.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn runs_by_phase(&self) -> Result<Vec<(RunPhase, u64)>, StoreError> {
        let counts = self
            .counts("SELECT phase, count(*) FROM runs GROUP BY phase")
            .await?;
        let count = |phase: RunPhase| counts.get(phase.name()).copied().unwrap_or(0);
        Ok(RunPhase::ALL
            .iter()
            .map(|phase| (*phase, count(*phase)))
            .collect())
    }

    /// How many rollouts there are in each state; every state is told.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn rollouts_by_state(&self) -> Result<Vec<(RolloutState, u64)>, StoreError> {
        let counts = self
            .counts("SELECT state, count(*) FROM rollouts GROUP BY state")
            .await?;
        let count = |state: RolloutState| counts.get(state.name()).copied().unwrap_or(0);
        Ok(RolloutState::ALL
            .iter()
            .map(|state| (*state, count(*state)))
            .collect())
    }

    async fn counts(&self, sql: &'static str) -> Result<BTreeMap<String, u64>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(sql)
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
        let counted = |(name, count): (String, i64)| (name, u64::try_from(count).unwrap_or(0));
        Ok(rows.into_iter().map(counted).collect())
    }

    /// How the store itself is.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn health(&self) -> Result<Health, StoreError> {
        let schema: i64 = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
            .fetch_one(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
        let path = self.path();
        let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |file| file.len());
        Ok(Health {
            path: path.display().to_string(),
            schema,
            bytes: size(path) + size(&path.with_extension("db-wal")),
            free_bytes: free(path),
        })
    }
}

/// What is free for us on the disk of a file, bytes.
#[cfg(unix)]
fn free(path: &std::path::Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free(_: &std::path::Path) -> Option<u64> {
    None
}
