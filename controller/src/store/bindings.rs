//! How policies answer to their symptoms.

use std::collections::BTreeMap;

use mailmend_policy::name::PolicyName;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::row::{from_json, parsed, to_json, unsigned};
use super::{Change, Store, StoreError};
use crate::react::Binding;

fn binding(row: &SqliteRow) -> Result<Binding, StoreError> {
    const TABLE: &str = "bindings";
    Ok(Binding {
        policy: parsed(TABLE, row.get("policy"))?,
        version: unsigned(TABLE, row.get("version"))?,
        selector: row.get("selector"),
        answer: parsed(TABLE, row.get("answer"))?,
        throttle: from_json(TABLE, row.get("throttle"))?,
        bound_ms: row.get("bound_ms"),
        by: row.get("bound_by"),
    })
}

impl Store {
    /// Binds a policy, in the place of what it was bound as, with its audit line.
    ///
    /// # Errors
    /// [`StoreError::Recalled`] where the version was recalled; it must be published.
    pub async fn bind(&self, new: &Binding, change: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        self.refuse_recalled(&mut write, &new.policy, new.version)
            .await?;
        sqlx::query(
            "INSERT INTO bindings (policy, version, selector, answer, throttle, bound_ms, bound_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (policy) DO UPDATE SET version = $2, selector = $3, answer = $4,
               throttle = $5, bound_ms = $6, bound_by = $7",
        )
        .bind(new.policy.as_str())
        .bind(new.version)
        .bind(&new.selector)
        .bind(new.answer.name())
        .bind(to_json("bindings", &new.throttle)?)
        .bind(new.bound_ms)
        .bind(&new.by)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        self.write_change(&mut write, change).await?;
        self.commit(write).await
    }

    /// Unbinds a policy, with its audit line, and forgets what agents said of its symptom: nobody looks any
    /// more. Answers whether it was bound.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn unbind(&self, policy: &str, change: &Change) -> Result<bool, StoreError> {
        let mut write = self.write().await?;
        let done = sqlx::query("DELETE FROM bindings WHERE policy = $1")
            .bind(policy)
            .execute(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query("DELETE FROM symptoms WHERE policy = $1")
            .bind(policy)
            .execute(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
        self.write_change(&mut write, change).await?;
        self.commit(write).await?;
        Ok(true)
    }

    /// All bindings.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn bindings(&self) -> Result<BTreeMap<PolicyName, Binding>, StoreError> {
        sqlx::query("SELECT * FROM bindings")
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .iter()
            .map(|row| binding(row).map(|binding| (binding.policy.clone(), binding)))
            .collect()
    }
}
