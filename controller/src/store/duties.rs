//! Duties: runs that agents began by themselves.

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_proto::run::RunId;
use sqlx::Row;

use super::row::{from_json, parsed};
use super::{Store, StoreError};
use crate::rollout::{RunPhase, Told};

/// A run that an agent began by itself.
#[derive(Debug, Clone)]
pub struct Duty {
    /// The agent.
    pub agent: ServerName,
    /// Its site.
    pub site: SiteName,
    /// How far it is.
    pub phase: RunPhase,
    /// What it was begun for.
    pub why: String,
    /// When it began, by the agent's clock.
    pub started_ms: i64,
    /// When it ended; 0: not yet.
    pub ended_ms: i64,
    /// What was told of it.
    pub told: Told,
}

impl Store {
    /// A duty: a run that an agent began by itself. Its agent, phase, reason, times and part.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn duty(&self, run: RunId) -> Result<Option<Duty>, StoreError> {
        sqlx::query(
            "SELECT r.site, r.phase, r.why, r.started_ms, r.ended_ms, p.agent, p.told
             FROM runs r JOIN parts p ON p.run = r.id WHERE r.id = $1 AND r.rollout IS NULL",
        )
        .bind(run.to_string())
        .fetch_optional(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .map(|row| {
            Ok(Duty {
                agent: parsed("parts", row.get("agent"))?,
                site: parsed("runs", row.get("site"))?,
                phase: parsed("runs", row.get("phase"))?,
                why: row.get("why"),
                started_ms: row.get::<Option<i64>, _>("started_ms").unwrap_or(0),
                ended_ms: row.get::<Option<i64>, _>("ended_ms").unwrap_or(0),
                told: from_json("parts", row.get("told"))?,
            })
        })
        .transpose()
    }
}
