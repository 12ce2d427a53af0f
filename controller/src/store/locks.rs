//! The locks of sites, as they are kept: who has which, and the fences that were minted.
//!
//! What may be taken and what frees it is decided in [`crate::lock`], here it is read and written, in one
//! transaction.

use std::collections::BTreeMap;

use mailmend_policy::name::SiteName;
use mailmend_proto::run::RunId;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::row::{parsed, signed, unsigned};
use super::{Store, StoreError, Write};
use crate::lock::{self, Held, Purpose, Taken, Word};

fn fence(row: &SqliteRow, column: &str) -> Result<Option<u64>, StoreError> {
    row.get::<Option<i64>, _>(column)
        .map(|fence| unsigned("locks", fence))
        .transpose()
}

pub(super) fn held(row: &SqliteRow) -> Result<Held, StoreError> {
    Ok(Held {
        run: RunId(parsed("locks", row.get("run"))?),
        own: fence(row, "fence")?,
        release: fence(row, "release")?,
    })
}

impl Store {
    /// The runs that hold a site, over all rollouts.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn locks(&self) -> Result<BTreeMap<SiteName, RunId>, StoreError> {
        sqlx::query("SELECT site, run FROM locks")
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .iter()
            .map(|row| {
                Ok((
                    parsed("locks", row.get("site"))?,
                    RunId(parsed("locks", row.get("run"))?),
                ))
            })
            .collect()
    }

    /// The last fence that was minted.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn minted(&self) -> Result<u64, StoreError> {
        let value: i64 = sqlx::query_scalar("SELECT value FROM counters WHERE name = 'fence'")
            .fetch_one(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
        unsigned("counters", value)
    }

    /// Gives a run the site it is of, with a new fence; or says who has it.
    pub(super) async fn take_site(
        &self,
        write: &mut Write<'_>,
        run: RunId,
        purpose: Purpose,
        now_ms: i64,
    ) -> Result<Result<u64, Taken>, StoreError> {
        let site: String = sqlx::query_scalar("SELECT site FROM runs WHERE id = $1")
            .bind(run.to_string())
            .fetch_one(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        let holder = sqlx::query("SELECT run, fence, release FROM locks WHERE site = $1")
            .bind(&site)
            .fetch_optional(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        let holder = holder.as_ref().map(held).transpose()?;
        let minted: i64 = sqlx::query_scalar("SELECT value FROM counters WHERE name = 'fence'")
            .fetch_one(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        let granted = match lock::take(holder, run, purpose, unsigned("counters", minted)?) {
            Ok(granted) => granted,
            Err(taken) => return Ok(Err(taken)),
        };
        sqlx::query("UPDATE counters SET value = $1 WHERE name = 'fence'")
            .bind(signed("counters", granted.fence)?)
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        // The key says that a site has one holder even if a decision did not.
        sqlx::query(
            "INSERT INTO locks (site, run, since_ms, fence, release) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (site) DO UPDATE SET fence = excluded.fence, release = excluded.release
               WHERE run = excluded.run",
        )
        .bind(&site)
        .bind(run.to_string())
        .bind(now_ms)
        .bind(column(granted.held.own)?)
        .bind(column(granted.held.release)?)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(Ok(granted.fence))
    }

    /// Frees what a word frees of the lock that its run has, if it has one.
    pub(super) async fn hear(
        &self,
        write: &mut Write<'_>,
        run: RunId,
        word: Word,
    ) -> Result<(), StoreError> {
        let row = sqlx::query("SELECT run, fence, release FROM locks WHERE run = $1")
            .bind(run.to_string())
            .fetch_optional(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        let Some(row) = row else {
            return Ok(());
        };
        let before = held(&row)?;
        let query = match lock::after(before, word) {
            Some(now) if now == before => return Ok(()),
            Some(now) => sqlx::query("UPDATE locks SET fence = $2, release = $3 WHERE run = $1")
                .bind(run.to_string())
                .bind(column(now.own)?)
                .bind(column(now.release)?),
            None => sqlx::query("DELETE FROM locks WHERE run = $1").bind(run.to_string()),
        };
        query
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        Ok(())
    }
}

fn column(fence: Option<u64>) -> Result<Option<i64>, StoreError> {
    fence.map(|fence| signed("locks", fence)).transpose()
}
