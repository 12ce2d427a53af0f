//! The locks of sites, as they are kept: who has which, and the fences that were minted.
//!
//! What may be taken and what frees it is decided in [`crate::lock`], here it is read and written, in one
//! transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use mailmend_policy::name::SiteName;
use mailmend_proto::run::RunId;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::row::{parsed, signed, to_json, unsigned};
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
    /// The runs that hold a site, over all rollouts. Read anew only when one may have been taken or freed.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn locks(&self) -> Result<Arc<BTreeMap<SiteName, RunId>>, StoreError> {
        let version = || self.held.marks.locks();
        let read = async || self.read_locks().await;
        self.held.locks.or_read(version, read).await
    }

    pub(super) async fn read_locks(&self) -> Result<BTreeMap<SiteName, RunId>, StoreError> {
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
        match self.take_sites(write, &[run], purpose, now_ms).await? {
            Ok(fences) => match fences.get(&run) {
                Some(fence) => Ok(Ok(*fence)),
                None => Err(StoreError::Changed(format!("the site of run {run}"))),
            },
            Err((_, taken)) => Ok(Err(taken)),
        }
    }

    /// Gives each of these runs the site it is of, with a new fence, in order; or says which one cannot have it and who
    /// has it. Nothing is written then.
    pub(super) async fn take_sites(
        &self,
        write: &mut Write<'_>,
        runs: &[RunId],
        purpose: Purpose,
        now_ms: i64,
    ) -> Result<Result<BTreeMap<RunId, u64>, (RunId, Taken)>, StoreError> {
        let ids: Vec<String> = runs.iter().map(ToString::to_string).collect();
        let ids = to_json("runs", &ids)?;
        let sites =
            sqlx::query("SELECT id, site FROM runs WHERE id IN (SELECT value FROM json_each($1))")
                .bind(&ids)
                .fetch_all(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
        let mut site_of: BTreeMap<RunId, &str> = BTreeMap::new();
        for row in &sites {
            site_of.insert(RunId(parsed("runs", row.get("id"))?), row.get("site"));
        }
        let holders = sqlx::query(
            "SELECT site, run, fence, release FROM locks
             WHERE site IN (SELECT site FROM runs WHERE id IN (SELECT value FROM json_each($1)))",
        )
        .bind(&ids)
        .fetch_all(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        let mut holder_of: BTreeMap<&str, Held> = BTreeMap::new();
        for row in &holders {
            holder_of.insert(row.get("site"), held(row)?);
        }
        let minted: i64 = sqlx::query_scalar("SELECT value FROM counters WHERE name = 'fence'")
            .fetch_one(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        let mut minted = unsigned("counters", minted)?;
        let (mut fences, mut rows) = (BTreeMap::new(), BTreeMap::new());
        for run in runs {
            let site = *site_of
                .get(run)
                .ok_or_else(|| self.fault(sqlx::Error::RowNotFound))?;
            let granted = match lock::take(holder_of.get(site).copied(), *run, purpose, minted) {
                Ok(granted) => granted,
                Err(taken) => return Ok(Err((*run, taken))),
            };
            minted = granted.fence;
            holder_of.insert(site, granted.held);
            let (own, release) = (column(granted.held.own)?, column(granted.held.release)?);
            rows.insert(site, (run.to_string(), own, release));
            fences.insert(*run, granted.fence);
        }
        sqlx::query("UPDATE counters SET value = $1 WHERE name = 'fence'")
            .bind(signed("counters", minted)?)
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        // The key says that a site has one holder even if a decision did not.
        sqlx::query(
            "INSERT INTO locks (site, run, since_ms, fence, release)
             SELECT key, value ->> 0, $2, value ->> 1, value ->> 2 FROM json_each($1) WHERE true
             ON CONFLICT (site) DO UPDATE SET fence = excluded.fence, release = excluded.release
               WHERE run = excluded.run",
        )
        .bind(to_json("locks", &rows)?)
        .bind(now_ms)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(Ok(fences))
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
