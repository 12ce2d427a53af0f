//! Rollouts in waves: where each stands, and what people said of it.

use std::collections::{BTreeMap, BTreeSet};

use mailmend_proto::wire;
use mailmend_proto::wire::trail_item::What;
use sqlx::Row;

use super::row::{digest, parsed, unsigned};
use super::{Change, Store, StoreError, Write};
use crate::rollout::{Approval, Cause, Rollout, RolloutId, RolloutState};

/// What an operator makes of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// The state.
    pub state: RolloutState,
    /// By what, where it does not go on.
    pub cause: Cause,
    /// How many failed runs are accepted.
    pub accepted_failures: u32,
    /// The wave whose gate is accepted.
    pub accepted_gate: Option<u32>,
}

impl Store {
    /// An operator's change of a rollout's state, with its audit line. What was decided before it and
    /// not stored yet is void.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where the rollout is not at `revision` any more.
    pub async fn change_rollout(
        &self,
        id: RolloutId,
        revision: i64,
        changed: &Changed,
        change: &Change,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let done = sqlx::query(
            "UPDATE rollouts SET state = $3, why = $4, max_failed = $5, cause = $6, turned_ms = $7,
               revision = revision + 1
             WHERE id = $1 AND revision = $2
               AND state NOT IN ('succeeded', 'failed', 'aborted')",
        )
        .bind(id.to_string())
        .bind(revision)
        .bind(changed.state.name())
        .bind(&change.why)
        .bind(changed.accepted_failures)
        .bind(changed.cause.name())
        .bind(change.at_ms)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if done.rows_affected() != 1 {
            return Err(StoreError::Changed(format!("rollout {id}")));
        }
        if let Some(wave) = changed.accepted_gate {
            sqlx::query(
                "INSERT OR IGNORE INTO accepted_gates (rollout, wave, accepted_by, at_ms, why)
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(id.to_string())
            .bind(wave)
            .bind(&change.operator)
            .bind(change.at_ms)
            .bind(&change.why)
            .execute(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
        }
        let turned = wire::TrailTurned {
            rollout: id.to_string(),
            state: changed.state.name().to_owned(),
            why: change.why.clone(),
            cause: changed.cause.name().to_owned(),
            accepted_failures: changed.accepted_failures,
            accepted_gate: changed.accepted_gate,
        };
        self.write_change_of(&mut write, change, vec![What::Turned(turned)])
            .await?;
        self.commit(write).await
    }

    /// When each open rollout entered its state, milliseconds since 1970 UTC.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn turned(&self) -> Result<BTreeMap<RolloutId, i64>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT id, turned_ms FROM rollouts WHERE state NOT IN ('succeeded', 'failed', 'aborted')",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?;
        rows.iter()
            .map(|(id, at_ms)| Ok((RolloutId(parsed("rollouts", id)?), *at_ms)))
            .collect()
    }

    /// Keeps a person's word that a wave may begin, with its audit line; the first word stays.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where the rollout is not at `revision` any more, or the inventory not at
    /// the approved generation.
    pub async fn approve_wave(
        &self,
        id: RolloutId,
        revision: i64,
        wave: u32,
        approval: &Approval,
        change: &Change,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let done = sqlx::query(
            "UPDATE rollouts SET revision = revision + 1
             WHERE id = $1 AND revision = $2
               AND state NOT IN ('succeeded', 'failed', 'aborted', 'aborting')
               AND (SELECT value FROM counters WHERE name = 'generation') = $3",
        )
        .bind(id.to_string())
        .bind(revision)
        .bind(approval.generation)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if done.rows_affected() != 1 {
            return Err(StoreError::Changed(format!("rollout {id}")));
        }
        sqlx::query(
            "INSERT OR IGNORE INTO approvals
               (rollout, wave, digest, generation, approved_by, at_ms, why)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(id.to_string())
        .bind(wave)
        .bind(approval.digest.as_bytes().as_slice())
        .bind(approval.generation)
        .bind(&approval.by)
        .bind(approval.at_ms)
        .bind(&approval.why)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        let approved = wire::TrailApproved {
            wave,
            digest: approval.digest.as_bytes().to_vec(),
            generation: approval.generation,
        };
        self.write_change_of(&mut write, change, vec![What::Approved(approved)])
            .await?;
        self.commit(write).await
    }

    /// The inventory's generation: it rises when an agent is enrolled or removed, and when its site,
    /// labels, facts or actions change.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn generation(&self) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT value FROM counters WHERE name = 'generation'")
            .fetch_one(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))
    }

    /// What people approved, and which gates they accepted.
    pub(super) async fn words_on_waves(
        &self,
        rollout: &str,
    ) -> Result<(BTreeMap<u32, Approval>, BTreeSet<u32>), StoreError> {
        const TABLE: &str = "approvals";
        let approvals = sqlx::query("SELECT * FROM approvals WHERE rollout = $1")
            .bind(rollout)
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .iter()
            .map(|row| {
                let approval = Approval {
                    digest: digest(row.get("digest"))?,
                    generation: row.get("generation"),
                    by: row.get("approved_by"),
                    at_ms: row.get("at_ms"),
                    why: row.get("why"),
                };
                Ok((unsigned(TABLE, row.get("wave"))?, approval))
            })
            .collect::<Result<_, StoreError>>()?;
        let accepted =
            sqlx::query_scalar::<_, i64>("SELECT wave FROM accepted_gates WHERE rollout = $1")
                .bind(rollout)
                .fetch_all(&self.readers)
                .await
                .map_err(|fault| self.fault(fault))?
                .into_iter()
                .map(|wave| unsigned("accepted_gates", wave))
                .collect::<Result<_, StoreError>>()?;
        Ok((approvals, accepted))
    }

    /// The soak of a wave begins, once.
    pub(super) async fn end_wave(
        &self,
        write: &mut Write<'_>,
        rollout: RolloutId,
        wave: u32,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE rollouts SET wave_ended_ms = $3
             WHERE id = $1 AND wave = $2 AND wave_ended_ms IS NULL",
        )
        .bind(rollout.to_string())
        .bind(wave)
        .bind(now_ms)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(())
    }

    /// The next wave begins; it only rises.
    pub(super) async fn begin_wave(
        &self,
        write: &mut Write<'_>,
        rollout: RolloutId,
        wave: u32,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE rollouts SET wave = $2, wave_ended_ms = NULL WHERE id = $1 AND wave < $2",
        )
        .bind(rollout.to_string())
        .bind(wave)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(())
    }

    /// What was approved is not what would be done any more: the wave at work and those after it are
    /// approved no more.
    pub(super) async fn void_approvals(
        &self,
        write: &mut Write<'_>,
        rollout: &Rollout,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM approvals WHERE rollout = $1 AND wave >= $2")
            .bind(rollout.id.to_string())
            .bind(rollout.wave)
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        Ok(())
    }
}
