//! Policies that must not run any more, for ever.

use mailmend_policy::name::PolicyName;
use mailmend_proto::wire;
use mailmend_proto::wire::trail_item::What;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::row::{parsed, unsigned};
use super::trail::Deed;
use super::{Change, Store, StoreError, Write};
use crate::rollout::RolloutId;

/// A revision that was recalled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// The policy.
    pub policy: PolicyName,
    /// Its version.
    pub version: u32,
    /// The article by which it was recalled; empty: by its name.
    pub article: String,
    /// Why.
    pub why: String,
    /// By whom.
    pub by: String,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
}

/// What is to be recalled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recalled {
    /// One version of a policy, or all that are published.
    Policy(PolicyName, Option<u32>),
    /// All that is published of an article.
    Article(String),
}

/// What a recall did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecallOutcome {
    /// The revisions that are recalled by it, those from before included; empty: nothing is so called.
    pub revisions: Vec<Recall>,
    /// The rollouts that it aborts.
    pub rollouts: Vec<RolloutId>,
    /// The policies that were bound and are not any more.
    pub unbound: Vec<PolicyName>,
}

fn recall(row: &SqliteRow) -> Result<Recall, StoreError> {
    const TABLE: &str = "recalls";
    Ok(Recall {
        policy: parsed(TABLE, row.get("policy"))?,
        version: unsigned(TABLE, row.get("version"))?,
        article: row.get("article"),
        why: row.get("why"),
        by: row.get("recalled_by"),
        at_ms: row.get("at_ms"),
    })
}

impl Store {
    /// Recalls revisions: they are noted, unbound, and their open rollouts turned to aborting, all in one
    /// write with its audit line. A revision that was recalled before keeps its reason.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn recall(
        &self,
        what: &Recalled,
        change: &Change,
    ) -> Result<RecallOutcome, StoreError> {
        let (name, version, article) = match what {
            Recalled::Policy(name, version) => (name.as_str(), *version, ""),
            Recalled::Article(article) => ("", None, article.as_str()),
        };
        let mut write = self.write().await?;
        sqlx::query(
            "INSERT OR IGNORE INTO recalls (policy, version, article, why, recalled_by, at_ms)
             SELECT name, version, $3, $4, $5, $6 FROM policies
             WHERE CASE WHEN $3 = '' THEN name = $1 AND version = coalesce($2, version)
                   ELSE article = $3 END",
        )
        .bind(name)
        .bind(version)
        .bind(article)
        .bind(&change.why)
        .bind(&change.operator)
        .bind(change.at_ms)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        let revisions = sqlx::query(
            "SELECT r.* FROM recalls r JOIN policies p ON p.name = r.policy AND p.version = r.version
             WHERE CASE WHEN $3 = '' THEN p.name = $1 AND p.version = coalesce($2, p.version)
                   ELSE p.article = $3 END
             ORDER BY r.policy, r.version",
        )
        .bind(name)
        .bind(version)
        .bind(article)
        .fetch_all(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(recall)
        .collect::<Result<Vec<_>, _>>()?;
        if revisions.is_empty() {
            return Ok(RecallOutcome::default());
        }
        let (rollouts, unbound) = self.stop_recalled(&mut write, change).await?;
        self.write_change(&mut write, change).await?;
        for rollout in &rollouts {
            let turned = wire::TrailTurned {
                rollout: rollout.to_string(),
                state: "aborting".to_owned(),
                why: format!("the policy was recalled: {}", change.why),
                cause: "recall".to_owned(),
                accepted_failures: 0,
                accepted_gate: None,
            };
            let deed = Deed {
                kind: "abort-rollout",
                target: &rollout.to_string(),
                ..Deed::from(change)
            };
            self.write_entry(&mut write, deed, vec![What::Turned(turned)])
                .await?;
        }
        self.commit(write).await?;
        Ok(RecallOutcome {
            revisions,
            rollouts,
            unbound,
        })
    }

    /// Aborts and unbinds whatever is recalled.
    async fn stop_recalled(
        &self,
        write: &mut Write<'_>,
        change: &Change,
    ) -> Result<(Vec<RolloutId>, Vec<PolicyName>), StoreError> {
        let rollouts = sqlx::query_scalar::<_, String>(
            "UPDATE rollouts SET state = 'aborting', cause = 'recall', why = $1, revision = revision + 1,
               turned_ms = $2
             WHERE state NOT IN ('aborting', 'succeeded', 'failed', 'aborted')
               AND (policy, version) IN (SELECT policy, version FROM recalls)
             RETURNING id",
        )
        .bind(format!("the policy was recalled: {}", change.why))
        .bind(change.at_ms)
        .fetch_all(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|id| parsed("rollouts", id).map(RolloutId))
        .collect::<Result<_, _>>()?;
        let unbound: Vec<PolicyName> = sqlx::query_scalar::<_, String>(
            "DELETE FROM bindings
             WHERE (policy, version) IN (SELECT policy, version FROM recalls) RETURNING policy",
        )
        .fetch_all(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|policy| parsed("bindings", policy))
        .collect::<Result<_, _>>()?;
        sqlx::query(
            "DELETE FROM symptoms WHERE (policy, version) IN (SELECT policy, version FROM recalls)",
        )
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok((rollouts, unbound))
    }

    /// Every recall, by policy and version.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn recalls(&self) -> Result<Vec<Recall>, StoreError> {
        sqlx::query("SELECT * FROM recalls ORDER BY policy, version")
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .iter()
            .map(recall)
            .collect()
    }

    /// Refuses, within a write, what was recalled.
    pub(super) async fn refuse_recalled(
        &self,
        write: &mut Write<'_>,
        policy: &PolicyName,
        version: u32,
    ) -> Result<(), StoreError> {
        let row = sqlx::query("SELECT * FROM recalls WHERE policy = $1 AND version = $2")
            .bind(policy.as_str())
            .bind(version)
            .fetch_optional(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        match row {
            Some(row) => Err(StoreError::Recalled(Box::new(recall(&row)?))),
            None => Ok(()),
        }
    }
}
