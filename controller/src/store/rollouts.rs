//! Rollouts, their runs, and what each agent may be told.

use std::collections::BTreeMap;
use std::sync::Arc;

use mailmend_policy::digest::Digest;
use mailmend_policy::name::{PolicyName, ServerName, SiteName};
use mailmend_policy::plan::{Plan, Server};
use mailmend_proto::run::RunId;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::row::{from_json, parsed, to_json, unsigned};
use super::{Change, Store, StoreError, Write};
use crate::decide::Action;
use crate::rollout::{Part, Refusal, Rollout, RolloutId, RolloutState, Run, RunPhase, Unwinding};

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
    /// How many sites at once.
    pub sites_at_once: u32,
    /// How many runs may fail.
    pub max_failed: u32,
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

fn digest(bytes: &[u8]) -> Result<Digest, StoreError> {
    bytes
        .try_into()
        .map(Digest::from_bytes)
        .map_err(|_| StoreError::Row {
            table: "runs",
            why: "a digest has 32 bytes".to_owned(),
        })
}

fn unwinding(row: &SqliteRow) -> Result<Option<Unwinding>, StoreError> {
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
    /// Freezes and starts a rollout, or answers the one that the same request started before.
    ///
    /// # Errors
    /// Where the store fails.
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
        sqlx::query(
            "INSERT INTO rollouts (id, request, policy, version, selector, state, started_ms,
               started_by, sites_at_once, max_failed)
             VALUES ($1, $2, $3, $4, $5, 'running', $6, $7, $8, $9)",
        )
        .bind(new.id.to_string())
        .bind(new.request.to_string())
        .bind(new.policy.as_str())
        .bind(new.version)
        .bind(&new.selector)
        .bind(new.started_ms)
        .bind(&new.by)
        .bind(new.sites_at_once)
        .bind(new.max_failed)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        for (position, run) in new.runs.iter().enumerate() {
            sqlx::query(
                "INSERT INTO runs (id, rollout, position, site, subject, plan_digest, plan, servers,
                   phase, since_ms)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'waiting', $9)",
            )
            .bind(run.id.to_string())
            .bind(new.id.to_string())
            .bind(i64::try_from(position).unwrap_or(i64::MAX))
            .bind(run.plan.site.as_str())
            .bind(run.plan.subject.as_ref().map(ServerName::as_str))
            .bind(run.plan.digest().as_bytes().as_slice())
            .bind(to_json("runs", &run.plan)?)
            .bind(to_json("runs", &run.servers)?)
            .bind(new.started_ms)
            .execute(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
            for server in run.plan.servers() {
                sqlx::query("INSERT INTO parts (run, agent) VALUES ($1, $2)")
                    .bind(run.id.to_string())
                    .bind(server.as_str())
                    .execute(&mut *write)
                    .await
                    .map_err(|fault| self.fault(fault))?;
            }
        }
        self.write_change(&mut write, change).await?;
        self.commit(write).await?;
        Ok(new.id)
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

    async fn with_runs(&self, row: &SqliteRow) -> Result<Rollout, StoreError> {
        const TABLE: &str = "rollouts";
        let id: String = row.get("id");
        let mut parts: BTreeMap<String, BTreeMap<ServerName, Part>> = BTreeMap::new();
        let rows =
            sqlx::query("SELECT p.* FROM parts p JOIN runs r ON r.id = p.run WHERE r.rollout = $1")
                .bind(&id)
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
        let rows = sqlx::query("SELECT * FROM runs WHERE rollout = $1 ORDER BY position")
            .bind(&id)
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
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
                plan: self.plan(run_id, run.get("plan"), run.get("plan_digest"))?,
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
        Ok(Rollout {
            id: RolloutId(parsed(TABLE, &id)?),
            policy: parsed(TABLE, row.get("policy"))?,
            version: unsigned(TABLE, row.get("version"))?,
            selector: row.get("selector"),
            state: parsed(TABLE, row.get("state"))?,
            started_ms: row.get("started_ms"),
            ended_ms: row.get("ended_ms"),
            sites_at_once: unsigned(TABLE, row.get("sites_at_once"))?,
            max_failed: unsigned(TABLE, row.get("max_failed"))?,
            why: row.get("why"),
            by: row.get("started_by"),
            revision: row.get("revision"),
            runs,
        })
    }

    /// A frozen plan; read and checked against its digest once in the life of the process.
    fn plan(&self, run: &str, json: &str, frozen: &[u8]) -> Result<Arc<Plan>, StoreError> {
        let mut plans = self.held.plans.lock();
        if let Some(plan) = plans.get(run) {
            return Ok(plan.clone());
        }
        let plan: Plan = from_json("runs", json)?;
        if plan.digest() != digest(frozen)? {
            return Err(StoreError::Row {
                table: "runs",
                why: format!("the plan of run {run} is not the one that was approved"),
            });
        }
        let plan = Arc::new(plan);
        plans.insert(run.to_owned(), plan.clone());
        Ok(plan)
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

    /// An operator's change of a rollout's state, with its audit line. What was decided before it and
    /// not stored yet is void.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where the rollout is not at `revision` any more.
    pub async fn change_rollout(
        &self,
        id: RolloutId,
        revision: i64,
        state: RolloutState,
        max_failed: u32,
        change: &Change,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let done = sqlx::query(
            "UPDATE rollouts SET state = $3, why = $4, max_failed = $5, revision = revision + 1
             WHERE id = $1 AND revision = $2
               AND state NOT IN ('succeeded', 'failed', 'aborted')",
        )
        .bind(id.to_string())
        .bind(revision)
        .bind(state.name())
        .bind(&change.why)
        .bind(max_failed)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if done.rows_affected() != 1 {
            return Err(StoreError::Changed(format!("rollout {id}")));
        }
        self.write_change(&mut write, change).await?;
        self.commit(write).await
    }

    /// Notes that an agent did not take a run on. What it has journaled counts for more.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn refuse(
        &self,
        run: RunId,
        agent: &ServerName,
        refusal: &Refusal,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        sqlx::query(
            "UPDATE parts SET refused = $3, refused_why = $4
             WHERE run = $1 AND agent = $2 AND refused IS NULL
               AND coalesce(json_extract(told, '$.begun'), 0) = 0",
        )
        .bind(run.to_string())
        .bind(agent.as_str())
        .bind(&refusal.code)
        .bind(&refusal.why)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        self.commit(write).await
    }

    /// Stores what was decided about a rollout, all or nothing, and answers the agents that must hear
    /// of it. Fences are minted here; the site's lock is taken and freed here.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where an operator changed the rollout since it was loaded.
    pub async fn carry_out(
        &self,
        rollout: &Rollout,
        actions: &[Action],
        now_ms: i64,
    ) -> Result<Vec<ServerName>, StoreError> {
        let mut write = self.write().await?;
        let revision: Option<i64> =
            sqlx::query_scalar("SELECT revision FROM rollouts WHERE id = $1")
                .bind(rollout.id.to_string())
                .fetch_optional(&mut *write)
                .await
                .map_err(|fault| self.fault(fault))?;
        if revision != Some(rollout.revision) {
            return Err(StoreError::Changed(format!("rollout {}", rollout.id)));
        }
        let mut told = Vec::new();
        for action in actions {
            self.carry_out_one(&mut write, rollout, action, now_ms, &mut told)
                .await?;
        }
        self.commit(write).await?;
        told.sort();
        told.dedup();
        Ok(told)
    }

    async fn carry_out_one(
        &self,
        write: &mut Write<'_>,
        rollout: &Rollout,
        action: &Action,
        now_ms: i64,
        told: &mut Vec<ServerName>,
    ) -> Result<(), StoreError> {
        match action {
            Action::Assign { run } => {
                let site = sqlx::query_scalar::<_, String>("SELECT site FROM runs WHERE id = $1")
                    .bind(run.to_string())
                    .fetch_one(&mut **write)
                    .await
                    .map_err(|fault| self.fault(fault))?;
                sqlx::query("INSERT INTO locks (site, run, since_ms) VALUES ($1, $2, $3)")
                    .bind(&site)
                    .bind(run.to_string())
                    .bind(now_ms)
                    .execute(&mut **write)
                    .await
                    .map_err(|fault| match fault {
                        sqlx::Error::Database(fault) if fault.is_unique_violation() => {
                            StoreError::Changed(format!("the lock of site {site}"))
                        }
                        other => self.fault(other),
                    })?;
                let fence: i64 = sqlx::query_scalar(
                    "UPDATE counters SET value = value + 1 WHERE name = 'fence' RETURNING value",
                )
                .fetch_one(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
                sqlx::query(
                    "UPDATE runs SET phase = 'assigned', fence = $2, since_ms = $3, started_ms = $3
                     WHERE id = $1 AND phase = 'waiting'",
                )
                .bind(run.to_string())
                .bind(fence)
                .bind(now_ms)
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
                if let Some(run) = rollout.runs.iter().find(|other| other.id == *run) {
                    told.extend(run.parts.keys().cloned());
                }
            }
            Action::Advance {
                run,
                server,
                through,
            } => {
                // It only rises, whatever was decided.
                sqlx::query(
                    "UPDATE parts SET through = max(through, $3) WHERE run = $1 AND agent = $2",
                )
                .bind(run.to_string())
                .bind(server.as_str())
                .bind(through)
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
                told.push(server.clone());
            }
            Action::Unwind { run, server, order } => {
                // It only falls, and the last order stays the last.
                sqlx::query(
                    "UPDATE parts SET down_to = min(coalesce(down_to, $3), $3), last = max(last, $4)
                     WHERE run = $1 AND agent = $2",
                )
                .bind(run.to_string())
                .bind(server.as_str())
                .bind(order.down_to)
                .bind(order.last)
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
                told.push(server.clone());
            }
            Action::Enter { run, phase, why } => {
                sqlx::query(
                    "UPDATE runs SET phase = $2, why = $3, since_ms = $4,
                       ended_ms = CASE WHEN $5 THEN $4 ELSE ended_ms END
                     WHERE id = $1",
                )
                .bind(run.to_string())
                .bind(phase.name())
                .bind(why)
                .bind(now_ms)
                .bind(phase.is_final())
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
                if phase.is_final() {
                    sqlx::query("DELETE FROM locks WHERE run = $1")
                        .bind(run.to_string())
                        .execute(&mut **write)
                        .await
                        .map_err(|fault| self.fault(fault))?;
                }
            }
            Action::Turn { state, why } => {
                sqlx::query(
                    "UPDATE rollouts SET state = $2, why = $3, revision = revision + 1,
                       ended_ms = CASE WHEN $4 THEN $5 ELSE ended_ms END
                     WHERE id = $1",
                )
                .bind(rollout.id.to_string())
                .bind(state.name())
                .bind(why)
                .bind(state.is_final())
                .bind(now_ms)
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
            }
        }
        Ok(())
    }

    /// What an agent is to be told: its open parts of assigned runs, oldest fence first.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn orders(&self, agent: &ServerName) -> Result<Vec<Order>, StoreError> {
        sqlx::query(
            "SELECT p.run, p.through, p.down_to, p.last, r.fence,
               coalesce(json_extract(p.told, '$.begun'), 0) AS begun
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

    /// The plan digest and fence of an assigned run, where the agent has a part in it.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn part(
        &self,
        run: RunId,
        agent: &ServerName,
    ) -> Result<Option<PartKey>, StoreError> {
        sqlx::query(
            "SELECT r.plan_digest, r.fence FROM parts p JOIN runs r ON r.id = p.run
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
            })
        })
        .transpose()
    }
}

/// What an agent's records of a run must agree with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartKey {
    /// The plan's digest; none for a duty.
    pub plan: Option<Digest>,
    /// The fence of the assignment; none while the run waits and for a duty.
    pub fence: Option<u64>,
}

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
    pub told: crate::rollout::Told,
}
