//! What each agent is to be told, and what its records must agree with.

use mailmend_policy::digest::Digest;
use mailmend_policy::name::{PolicyName, ServerName, SiteName};
use mailmend_policy::plan::Server;
use mailmend_proto::run::RunId;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::row::{digest, from_json, parsed, unsigned};
use super::{Store, StoreError};
use crate::rollout::Unwinding;

/// What an agent is to be told of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The run.
    pub run: RunId,
    /// The fence of its assignment.
    pub fence: u64,
    /// Whether the agent has journaled that it took the run on.
    pub begun: bool,
    /// How far it may go; 0: nowhere yet.
    pub through: u32,
    /// What it is to undo.
    pub unwind: Option<Unwinding>,
    /// How far the agent has journaled that it may go, as far as it has reported.
    pub journaled: u32,
    /// What it has journaled that it is to undo.
    pub journaled_unwind: Option<Unwinding>,
}

/// What an agent needs to take a run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orders {
    /// The policy's name.
    pub policy: PolicyName,
    /// Its exact text.
    pub text: Vec<u8>,
    /// The digest that the agent's own plan must have.
    pub plan: Digest,
    /// The site.
    pub site: SiteName,
    /// The subject.
    pub subject: Option<ServerName>,
    /// All servers of the site, frozen.
    pub servers: Vec<Server>,
}

/// What an agent's records of a run must agree with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartKey {
    /// The plan's digest; none for a duty.
    pub plan: Option<Digest>,
    /// The fence of the assignment; none while the run waits and for a duty.
    pub fence: Option<u64>,
    /// The highest watermark that was released to the agent.
    pub through: u32,
}

pub(super) fn unwinding(row: &SqliteRow) -> Result<Option<Unwinding>, StoreError> {
    row.get::<Option<i64>, _>("down_to")
        .map(|down_to| {
            Ok(Unwinding {
                down_to: unsigned("parts", down_to)?,
                last: row.get("last"),
            })
        })
        .transpose()
}

impl Store {
    /// What an agent is to be told: its open parts of assigned runs, oldest fence first.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn orders(&self, agent: &ServerName) -> Result<Vec<Order>, StoreError> {
        sqlx::query(
            "SELECT p.run, p.through, p.down_to, p.last, r.fence,
               coalesce(json_extract(p.told, '$.begun'), 0) AS begun,
               coalesce(json_extract(p.told, '$.through'), 0) AS journaled,
               json_extract(p.told, '$.down_to') AS journaled_down_to,
               coalesce(json_extract(p.told, '$.unwind_last'), 0) AS journaled_last
             FROM parts p JOIN runs r ON r.id = p.run
             WHERE p.agent = $1 AND r.fence IS NOT NULL AND p.lost = 0
               AND json_extract(p.told, '$.closed') IS NULL
               AND (begun = 1 OR (p.refused IS NULL
                    AND r.phase IN ('assigned', 'running', 'unwinding', 'needs-person')))
             ORDER BY r.fence",
        )
        .bind(agent.as_str())
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|row| {
            Ok(Order {
                run: RunId(parsed("parts", row.get("run"))?),
                fence: unsigned("runs", row.get("fence"))?,
                begun: row.get("begun"),
                through: unsigned("parts", row.get("through"))?,
                unwind: unwinding(row)?,
                journaled: unsigned("parts", row.get("journaled"))?,
                journaled_unwind: row
                    .get::<Option<i64>, _>("journaled_down_to")
                    .map(|down_to| {
                        Ok(Unwinding {
                            down_to: unsigned("parts", down_to)?,
                            last: row.get("journaled_last"),
                        })
                    })
                    .transpose()?,
            })
        })
        .collect()
    }

    /// What an agent needs to take a run on.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn assignment(&self, run: RunId) -> Result<Option<Orders>, StoreError> {
        sqlx::query(
            "SELECT p.name, p.text, r.plan_digest, r.site, r.subject, r.servers
             FROM runs r JOIN rollouts o ON o.id = r.rollout
             JOIN policies p ON p.name = o.policy AND p.version = o.version WHERE r.id = $1",
        )
        .bind(run.to_string())
        .fetch_optional(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .map(|row| {
            Ok(Orders {
                policy: parsed("policies", row.get("name"))?,
                text: row.get("text"),
                plan: digest(row.get("plan_digest"))?,
                site: parsed("runs", row.get("site"))?,
                subject: row
                    .get::<Option<&str>, _>("subject")
                    .map(|subject| parsed("runs", subject))
                    .transpose()?,
                servers: from_json("runs", row.get("servers"))?,
            })
        })
        .transpose()
    }

    /// The plan digest, fence and watermark of an assigned run, where the agent has a part in it.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn part(
        &self,
        run: RunId,
        agent: &ServerName,
    ) -> Result<Option<PartKey>, StoreError> {
        sqlx::query(
            "SELECT r.plan_digest, r.fence, p.through FROM parts p JOIN runs r ON r.id = p.run
             WHERE p.run = $1 AND p.agent = $2",
        )
        .bind(run.to_string())
        .bind(agent.as_str())
        .fetch_optional(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .map(|row| {
            Ok(PartKey {
                plan: row
                    .get::<Option<&[u8]>, _>("plan_digest")
                    .map(digest)
                    .transpose()?,
                fence: row
                    .get::<Option<i64>, _>("fence")
                    .map(|fence| unsigned("runs", fence))
                    .transpose()?,
                through: unsigned("parts", row.get("through"))?,
            })
        })
        .transpose()
    }
}
