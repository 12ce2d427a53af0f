//! Rollouts that wait for a person's word.

use std::collections::BTreeSet;

use mailmend_policy::name::ServerName;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::row::{from_json, parsed, to_json, unsigned};
use super::trail::{Actor, Deed};
use super::{Change, NewRollout, Store, StoreError, Write};
use crate::react::{Decided, Proposal};
use crate::rollout::RolloutId;

fn proposal(row: &SqliteRow) -> Result<Proposal, StoreError> {
    const TABLE: &str = "proposals";
    let decided: Option<String> = row.get("decided");
    let reason: String = row.get("reason");
    let why: String = row.get("why");
    Ok(Proposal {
        id: parsed(TABLE, row.get("id"))?,
        policy: parsed(TABLE, row.get("policy"))?,
        version: unsigned(TABLE, row.get("version"))?,
        site: parsed(TABLE, row.get("site"))?,
        servers: from_json(TABLE, row.get("servers"))?,
        why: if reason.is_empty() { why } else { reason },
        proposed_ms: row.get("proposed_ms"),
        decided: decided.map(|text| parsed(TABLE, &text)).transpose()?,
        by: row.get("decided_by"),
        rollout: row
            .get::<Option<&str>, _>("rollout")
            .map(|id| parsed(TABLE, id).map(RolloutId))
            .transpose()?,
    })
}

impl Store {
    /// Proposals: those that stand, or were refused while their symptom still stands; with `all`, every
    /// one. Newest first, at most 1000.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn proposals(&self, all: bool) -> Result<Vec<Proposal>, StoreError> {
        sqlx::query(
            "SELECT * FROM proposals WHERE over = 0 OR $1 ORDER BY proposed_ms DESC, id LIMIT 1000",
        )
        .bind(all)
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(proposal)
        .collect()
    }

    /// Proposals whose id begins with `prefix`, at most three.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn proposals_named(&self, prefix: &str) -> Result<Vec<Proposal>, StoreError> {
        sqlx::query("SELECT * FROM proposals WHERE substr(id, 1, length($1)) = $1 LIMIT 3")
            .bind(prefix)
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .iter()
            .map(proposal)
            .collect()
    }

    /// Makes a proposal, and raises an alarm about its servers where one is given. Nothing where one
    /// stands already for the policy and the site.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn propose(
        &self,
        new: &Proposal,
        alarm: Option<(&str, &str)>,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let done = sqlx::query(
            "INSERT INTO proposals (id, policy, version, site, servers, why, proposed_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        )
        .bind(new.id.to_string())
        .bind(new.policy.as_str())
        .bind(new.version)
        .bind(new.site.as_str())
        .bind(to_json("proposals", &new.servers)?)
        .bind(&new.why)
        .bind(new.proposed_ms)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if done.rows_affected() == 0 {
            return Ok(());
        }
        if let Some((code, text)) = alarm {
            for server in &new.servers {
                self.write_alarm(
                    &mut write,
                    server,
                    "",
                    code,
                    text,
                    (new.proposed_ms, new.proposed_ms),
                )
                .await?;
            }
        }
        let deed = Deed {
            at_ms: new.proposed_ms,
            actor: Actor::Controller,
            kind: "propose",
            target: &new.id.to_string(),
            why: &new.why,
        };
        self.write_entry(&mut write, deed, Vec::new()).await?;
        self.commit(write).await
    }

    /// Notes on which servers a proposal's symptom stands now.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn revise_proposal(
        &self,
        id: Uuid,
        servers: &BTreeSet<ServerName>,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        sqlx::query("UPDATE proposals SET servers = $2 WHERE id = $1 AND over = 0")
            .bind(id.to_string())
            .bind(to_json("proposals", servers)?)
            .execute(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
        self.commit(write).await
    }

    /// Ends a proposal whose symptom or binding has gone.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn lapse_proposal(&self, id: Uuid, now_ms: i64) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        self.lapse(&mut write, id, now_ms).await?;
        let deed = Deed {
            at_ms: now_ms,
            actor: Actor::Controller,
            kind: "lapse-proposal",
            target: &id.to_string(),
            why: "",
        };
        self.write_entry(&mut write, deed, Vec::new()).await?;
        self.commit(write).await
    }

    async fn lapse(&self, write: &mut Write<'_>, id: Uuid, now_ms: i64) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE proposals SET over = 1, decided_ms = coalesce(decided_ms, $2),
               decided = coalesce(decided, 'lapsed') WHERE id = $1 AND over = 0",
        )
        .bind(id.to_string())
        .bind(now_ms)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(())
    }

    /// Refuses a proposal: it is not made again before its symptom has gone and come again.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where it stands no more.
    pub async fn refuse_proposal(
        &self,
        id: Uuid,
        why: &str,
        change: &Change,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let done = sqlx::query(
            "UPDATE proposals SET decided = 'refused', decided_ms = $2, decided_by = $3, reason = $4
             WHERE id = $1 AND over = 0 AND decided IS NULL",
        )
        .bind(id.to_string())
        .bind(change.at_ms)
        .bind(&change.operator)
        .bind(why)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if done.rows_affected() != 1 {
            return Err(StoreError::Changed(format!("proposal {id}")));
        }
        self.write_change(&mut write, change).await?;
        self.commit(write).await
    }

    /// Starts a proposal's rollout: the decision and the rollout are one write.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where it stands no more.
    pub async fn start_proposal(
        &self,
        id: Uuid,
        new: &NewRollout,
        change: &Change,
    ) -> Result<RolloutId, StoreError> {
        let mut write = self.write().await?;
        let done = sqlx::query(
            "UPDATE proposals SET decided = 'started', decided_ms = $2, decided_by = $3, over = 1
             WHERE id = $1 AND over = 0 AND decided IS NULL",
        )
        .bind(id.to_string())
        .bind(change.at_ms)
        .bind(&change.operator)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if done.rows_affected() != 1 {
            return Err(StoreError::Changed(format!("proposal {id}")));
        }
        let rollout = self.write_rollout(&mut write, new).await?;
        sqlx::query("UPDATE proposals SET rollout = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(rollout.to_string())
            .execute(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
        self.write_change_of(&mut write, change, vec![new.told()])
            .await?;
        self.commit(write).await?;
        Ok(rollout)
    }

    /// Ends the proposals of a policy at a site, in a write that answers its symptom otherwise.
    pub(super) async fn lapse_all(
        &self,
        write: &mut Write<'_>,
        policy: &str,
        site: &str,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE proposals SET over = 1, decided_ms = coalesce(decided_ms, $3),
               decided = coalesce(decided, 'lapsed')
             WHERE policy = $1 AND site = $2 AND over = 0",
        )
        .bind(policy)
        .bind(site)
        .bind(now_ms)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(())
    }
}

impl std::str::FromStr for Decided {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Started, Self::Refused, Self::Lapsed]
            .into_iter()
            .find(|decided| decided.name() == text)
            .ok_or_else(|| "it is no decision".to_owned())
    }
}
