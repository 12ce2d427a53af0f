//! Rollouts, their runs, and what each agent may be told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mailmend_policy::name::{PolicyName, ServerName};
use mailmend_policy::plan::{Plan, Server};
use mailmend_policy::strategy::{Resolved, Strategy};
use mailmend_proto::run::RunId;
use mailmend_proto::wire;
use mailmend_proto::wire::trail_item::What;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, QueryBuilder, Row, Sqlite};
use uuid::Uuid;

use super::at_work::Touched;
use super::many::pieces;
use super::orders::unwinding;
use super::row::digest;
use super::row::{from_json, parsed, to_json, unsigned};
use super::{Change, Store, StoreError, Write};
use crate::rollout::{Part, Refusal, Rollout, RolloutId, Run};

/// Plans that are read by one query.
const PLANS_AT_ONCE: usize = 256;

/// A rollout to start.
#[derive(Debug, Clone)]
pub struct NewRollout {
    /// Its id.
    pub id: RolloutId,
    /// The caller's own id for the request: the same again starts nothing new.
    pub request: Uuid,
    /// The policy.
    pub policy: PolicyName,
    /// Its version.
    pub version: u32,
    /// The selector as given.
    pub selector: String,
    /// When, milliseconds since 1970 UTC.
    pub started_ms: i64,
    /// By whom.
    pub by: String,
    /// How it goes through the sites.
    pub strategy: Strategy,
    /// The same in numbers.
    pub resolved: Resolved,
    /// The inventory's generation that the plans were made from.
    pub generation: i64,
    /// The rollout of which it tries the failed runs again.
    pub retry_of: Option<RolloutId>,
    /// The runs, in order.
    pub runs: Vec<NewRun>,
}

/// A run of a rollout to start.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// Its plan.
    pub plan: Plan,
    /// All servers of the site, as the plan was made from them.
    pub servers: Vec<Server>,
}

impl NewRollout {
    /// That it was started, for the audit trail.
    pub(super) fn told(&self) -> What {
        let runs = self.runs.iter().map(|run| wire::TrailStartedRun {
            run: run.id.to_string(),
            site: run.plan.site.to_string(),
            plan_digest: run.plan.digest().as_bytes().to_vec(),
        });
        What::Started(wire::TrailStarted {
            rollout: self.id.to_string(),
            policy: self.policy.to_string(),
            version: self.version,
            runs: runs.collect(),
        })
    }
}

impl Store {
    /// Freezes and starts a rollout, or answers the one that the same request started before.
    ///
    /// # Errors
    /// [`StoreError::Recalled`] where the policy was recalled.
    pub async fn start_rollout(
        &self,
        new: &NewRollout,
        change: &Change,
    ) -> Result<RolloutId, StoreError> {
        let mut write = self.write().await?;
        let before: Option<String> =
            sqlx::query_scalar("SELECT id FROM rollouts WHERE request = $1")
                .bind(new.request.to_string())
                .fetch_optional(&mut *write)
                .await
                .map_err(|fault| self.fault(fault))?;
        if let Some(before) = before {
            return parsed("rollouts", &before).map(RolloutId);
        }
        self.write_rollout(&mut write, new).await?;
        self.write_change_of(&mut write, change, vec![new.told()])
            .await?;
        self.commit_of(write, Touched::Started).await?;
        let mut plans = self.held.plans.lock();
        for run in &new.runs {
            plans.insert(run.id.to_string(), Arc::new(run.plan.clone()));
        }
        Ok(new.id)
    }

    /// Freezes a rollout as a part of a write; a request that started one before is refused.
    pub(super) async fn write_rollout(
        &self,
        write: &mut Write<'_>,
        new: &NewRollout,
    ) -> Result<RolloutId, StoreError> {
        self.refuse_recalled(write, &new.policy, new.version)
            .await?;
        sqlx::query(
            "INSERT INTO rollouts (id, request, policy, version, selector, state, started_ms,
               started_by, sites_at_once, max_failed, strategy, resolved, generation, retry_of, turned_ms)
             VALUES ($1, $2, $3, $4, $5, 'running', $6, $7, $8, $9, $10, $11, $12, $13, $6)",
        )
        .bind(new.id.to_string())
        .bind(new.request.to_string())
        .bind(new.policy.as_str())
        .bind(new.version)
        .bind(&new.selector)
        .bind(new.started_ms)
        .bind(&new.by)
        .bind(new.strategy.sites_at_once)
        .bind(new.resolved.max_failed)
        .bind(to_json("rollouts", &new.strategy)?)
        .bind(to_json("rollouts", &new.resolved)?)
        .bind(new.generation)
        .bind(new.retry_of.map(|id| id.to_string()))
        .execute(&mut **write)
        .await
        .map_err(|fault| match fault {
            sqlx::Error::Database(fault) if fault.is_unique_violation() => {
                StoreError::Changed(format!("request {}", new.request))
            }
            other => self.fault(other),
        })?;
        let runs: Vec<(usize, &NewRun)> = new.runs.iter().enumerate().collect();
        for runs in pieces(&runs) {
            self.write_runs(write, new, runs).await?;
        }
        Ok(new.id)
    }

    async fn write_runs(
        &self,
        write: &mut Write<'_>,
        new: &NewRollout,
        runs: &[(usize, &NewRun)],
    ) -> Result<(), StoreError> {
        let mut texts = Vec::with_capacity(runs.len());
        for (_, run) in runs {
            let servers = to_json("runs", &run.servers)?;
            texts.push((to_json("runs", &run.plan)?, servers));
        }
        let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new(
            "INSERT OR FAIL INTO runs (id, rollout, position, site, subject, plan_digest, plan, servers, phase,
               since_ms) ",
        );
        insert.push_values(
            runs.iter().zip(texts),
            |mut row, ((position, run), (plan, servers))| {
                row.push_bind(run.id.to_string())
                    .push_bind(new.id.to_string())
                    .push_bind(i64::try_from(*position).unwrap_or(i64::MAX))
                    .push_bind(run.plan.site.to_string())
                    .push_bind(run.plan.subject.as_ref().map(ToString::to_string))
                    .push_bind(run.plan.digest().as_bytes().to_vec())
                    .push_bind(plan)
                    .push_bind(servers)
                    .push_bind("waiting")
                    .push_bind(new.started_ms);
            },
        );
        insert
            .build()
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        let parts: Vec<(String, ServerName)> = runs
            .iter()
            .flat_map(|(_, run)| {
                let servers = run.plan.servers().into_iter();
                servers.map(|server| (run.id.to_string(), server))
            })
            .collect();
        sqlx::query(
            "INSERT OR FAIL INTO parts (run, agent) SELECT value ->> 0, value ->> 1 FROM json_each($1)",
        )
        .bind(to_json("parts", &parts)?)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(())
    }

    /// The rollout that a request started.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn rollout_of_request(&self, request: Uuid) -> Result<Option<RolloutId>, StoreError> {
        sqlx::query_scalar::<_, String>("SELECT id FROM rollouts WHERE request = $1")
            .bind(request.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .map(|id| parsed("rollouts", &id).map(RolloutId))
            .transpose()
    }

    /// One rollout with its runs.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn rollout(&self, id: RolloutId) -> Result<Option<Rollout>, StoreError> {
        let row = sqlx::query("SELECT * FROM rollouts WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
        match row {
            Some(row) => Ok(Some(self.with_runs(&row).await?)),
            None => Ok(None),
        }
    }

    /// The newest rollouts with their runs, newest first.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn rollouts(&self, limit: u32) -> Result<Vec<Rollout>, StoreError> {
        let rows = sqlx::query("SELECT * FROM rollouts ORDER BY started_ms DESC, id DESC LIMIT $1")
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
        let mut rollouts = Vec::with_capacity(rows.len());
        for row in rows {
            rollouts.push(self.with_runs(&row).await?);
        }
        Ok(rollouts)
    }

    /// All rollouts that have not ended, oldest first.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn open_rollouts(&self) -> Result<Vec<Rollout>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM rollouts WHERE state NOT IN ('succeeded', 'failed', 'aborted')
             ORDER BY started_ms, id",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?;
        let mut rollouts = Vec::with_capacity(rows.len());
        for row in rows {
            rollouts.push(self.with_runs(&row).await?);
        }
        Ok(rollouts)
    }

    async fn with_runs(&self, row: &SqliteRow) -> Result<Rollout, StoreError> {
        let runs = self.runs_of(row.get("id")).await?;
        self.rollout_of_row(row, runs).await
    }

    /// The runs of a rollout, in order.
    pub(super) async fn runs_of(&self, rollout: &str) -> Result<Vec<Run>, StoreError> {
        self.runs_where("rollout = $1", rollout).await
    }

    /// Runs with their parts, in order; `which` is a condition on the table of runs with one value.
    pub(super) async fn runs_where(
        &self,
        which: &'static str,
        value: &str,
    ) -> Result<Vec<Run>, StoreError> {
        let mut parts: BTreeMap<String, BTreeMap<ServerName, Part>> = BTreeMap::new();
        let text =
            format!("SELECT p.* FROM parts p WHERE p.run IN (SELECT id FROM runs WHERE {which})");
        let rows = sqlx::query(AssertSqlSafe(text))
            .bind(value)
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
        for part in rows {
            let refused: Option<String> = part.get("refused");
            parts.entry(part.get("run")).or_default().insert(
                parsed("parts", part.get("agent"))?,
                Part {
                    through: unsigned("parts", part.get("through"))?,
                    unwind: unwinding(&part)?,
                    refused: refused.map(|code| Refusal {
                        code,
                        why: part.get("refused_why"),
                    }),
                    lost: part.get("lost"),
                    told: from_json("parts", part.get("told"))?,
                },
            );
        }
        // Without plans and servers, which are large and never change.
        let text = format!(
            "SELECT id, site, subject, phase, fence, why, since_ms, started_ms, ended_ms
             FROM runs WHERE {which} ORDER BY position"
        );
        let rows = sqlx::query(AssertSqlSafe(text))
            .bind(value)
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
        let ids: Vec<&str> = rows.iter().map(|run| run.get("id")).collect();
        let mut plans = self.plans(&ids).await?;
        let mut runs = Vec::with_capacity(rows.len());
        for run in rows {
            let run_id: &str = run.get("id");
            runs.push(Run {
                id: RunId(parsed("runs", run_id)?),
                site: parsed("runs", run.get("site"))?,
                subject: run
                    .get::<Option<&str>, _>("subject")
                    .map(|subject| parsed("runs", subject))
                    .transpose()?,
                plan: plans
                    .remove(run_id)
                    .ok_or_else(|| self.fault(sqlx::Error::RowNotFound))?,
                phase: parsed("runs", run.get("phase"))?,
                fence: run
                    .get::<Option<i64>, _>("fence")
                    .map(|fence| unsigned("runs", fence))
                    .transpose()?,
                why: run.get("why"),
                since_ms: run.get("since_ms"),
                started_ms: run.get("started_ms"),
                ended_ms: run.get("ended_ms"),
                parts: parts.remove(run_id).unwrap_or_default(),
            });
        }
        Ok(runs)
    }

    /// A rollout of its row and its runs.
    pub(super) async fn rollout_of_row(
        &self,
        row: &SqliteRow,
        runs: Vec<Run>,
    ) -> Result<Rollout, StoreError> {
        const TABLE: &str = "rollouts";
        let id: String = row.get("id");
        let (approvals, accepted) = self.words_on_waves(&id).await?;
        Ok(Rollout {
            id: RolloutId(parsed(TABLE, &id)?),
            policy: parsed(TABLE, row.get("policy"))?,
            version: unsigned(TABLE, row.get("version"))?,
            selector: row.get("selector"),
            state: parsed(TABLE, row.get("state"))?,
            started_ms: row.get("started_ms"),
            ended_ms: row.get("ended_ms"),
            strategy: from_json(TABLE, row.get("strategy"))?,
            resolved: from_json(TABLE, row.get("resolved"))?,
            accepted_failures: unsigned(TABLE, row.get("max_failed"))?,
            generation: row.get("generation"),
            wave: unsigned(TABLE, row.get("wave"))?,
            wave_ended_ms: row.get("wave_ended_ms"),
            approvals,
            accepted,
            retry_of: row
                .get::<Option<&str>, _>("retry_of")
                .map(|id| parsed(TABLE, id).map(RolloutId))
                .transpose()?,
            why: row.get("why"),
            cause: parsed(TABLE, row.get("cause"))?,
            by: row.get("started_by"),
            revision: row.get("revision"),
            runs,
        })
    }

    /// A frozen plan; read and checked against its digest once in the life of the process.
    pub(super) async fn plan(&self, run: &str) -> Result<Arc<Plan>, StoreError> {
        let mut plans = self.plans(&[run]).await?;
        plans
            .remove(run)
            .ok_or_else(|| self.fault(sqlx::Error::RowNotFound))
    }

    /// As [`Self::plan`], of many runs; those without a row are left out.
    pub(super) async fn plans(
        &self,
        runs: &[&str],
    ) -> Result<HashMap<String, Arc<Plan>>, StoreError> {
        let mut found = HashMap::with_capacity(runs.len());
        let mut unknown = Vec::new();
        {
            let known = self.held.plans.lock();
            for run in runs {
                match known.get(*run) {
                    Some(plan) => drop(found.insert((*run).to_owned(), plan.clone())),
                    None => unknown.push(*run),
                }
            }
        }
        // A plan has some KiB: not all of a large fleet's at once, and once more as text.
        for unknown in unknown.chunks(PLANS_AT_ONCE) {
            let rows = sqlx::query(
                "SELECT id, plan, plan_digest FROM runs WHERE id IN (SELECT value FROM json_each($1))",
            )
            .bind(to_json("runs", &unknown)?)
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
            for row in &rows {
                let run: &str = row.get("id");
                let plan: Plan = from_json("runs", row.get("plan"))?;
                if plan.digest() != digest(row.get("plan_digest"))? {
                    return Err(StoreError::Row {
                        table: "runs",
                        why: format!("the plan of run {run} is not the one that was approved"),
                    });
                }
                found.insert(run.to_owned(), Arc::new(plan));
            }
            let mut known = self.held.plans.lock();
            for run in unknown {
                if let Some(plan) = found.get(*run) {
                    known.insert((*run).to_owned(), plan.clone());
                }
            }
        }
        Ok(found)
    }

    /// The servers of a run's site, as its plan was made from them.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn run_servers(&self, run: RunId) -> Result<Vec<Server>, StoreError> {
        let servers: Option<String> = sqlx::query_scalar("SELECT servers FROM runs WHERE id = $1")
            .bind(run.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .flatten();
        servers.map_or_else(|| Ok(Vec::new()), |servers| from_json("runs", &servers))
    }

    /// The ids of rollouts that begin with `prefix`, at most three.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn rollouts_named(&self, prefix: &str) -> Result<Vec<RolloutId>, StoreError> {
        sqlx::query_scalar::<_, String>(
            "SELECT id FROM rollouts WHERE substr(id, 1, length($1)) = $1 LIMIT 3",
        )
        .bind(prefix)
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|id| parsed("rollouts", id).map(RolloutId))
        .collect()
    }

    /// The ids of runs that begin with `prefix`, at most three.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn runs_named(&self, prefix: &str) -> Result<Vec<RunId>, StoreError> {
        sqlx::query_scalar::<_, String>(
            "SELECT id FROM runs WHERE substr(id, 1, length($1)) = $1 LIMIT 3",
        )
        .bind(prefix)
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|id| parsed("runs", id).map(RunId))
        .collect()
    }

    /// The rollout that a run belongs to; none for a duty.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn rollout_of(&self, run: RunId) -> Result<Option<RolloutId>, StoreError> {
        sqlx::query_scalar::<_, Option<String>>("SELECT rollout FROM runs WHERE id = $1")
            .bind(run.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .flatten()
            .map(|id| parsed("runs", &id).map(RolloutId))
            .transpose()
    }
}
