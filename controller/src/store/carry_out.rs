//! Storing what was decided and what operators change: watermarks only rise, unwinding only falls, and
//! a site has one holder, whatever was decided.

use std::collections::BTreeMap;

use mailmend_policy::name::ServerName;
use mailmend_policy::strategy::Gate;
use mailmend_proto::run::RunId;
use sqlx::Row;

use super::at_work::Touched;
use super::row::{parsed, signed};
use super::trail::{Actor, Deed};
use super::{Store, StoreError, Write};
use crate::decide::Action;
use crate::decide::budgets::{Holding, disturbed};
use crate::lock::{Purpose, Word};
use crate::rollout::{Cause, Refusal, Rollout, RolloutId};
use crate::trail::item;

impl Store {
    /// The runs of all open rollouts but one that keep servers out of service, or may.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn holdings(&self, but: RolloutId) -> Result<Vec<Holding>, StoreError> {
        let rows = sqlx::query(
            "SELECT r.id, r.site, r.phase FROM runs r JOIN rollouts o ON o.id = r.rollout
             WHERE o.state NOT IN ('succeeded', 'failed', 'aborted') AND o.id <> $1
               AND r.phase NOT IN ('waiting', 'succeeded', 'not-needed', 'cancelled')",
        )
        .bind(but.to_string())
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?;
        let mut holdings = Vec::with_capacity(rows.len());
        for row in rows {
            holdings.push(Holding {
                site: parsed("runs", row.get("site"))?,
                phase: parsed("runs", row.get("phase"))?,
                disturbs: disturbed(self.plan(row.get("id")).await?.as_ref()),
            });
        }
        Ok(holdings)
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
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let noted = sqlx::query(
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
        if noted.rows_affected() == 0 {
            return Ok(());
        }
        let deed = Deed {
            at_ms: now_ms,
            actor: Actor::Agent(agent.as_str()),
            kind: "refuse-run",
            target: &run.to_string(),
            why: &format!("{}: {}", refusal.code, refusal.why),
        };
        self.write_entry(&mut write, deed, Vec::new()).await?;
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
        let mut items = Vec::with_capacity(actions.len());
        let mut fences: BTreeMap<RunId, u64> = rollout
            .runs
            .iter()
            .filter_map(|run| Some((run.id, run.fence?)))
            .collect();
        for action in actions {
            let minted = self
                .carry_out_one(&mut write, rollout, action, now_ms, &mut told)
                .await?;
            fences.extend(minted);
            let fence = action.run().and_then(|run| fences.get(&run));
            items.push(item::of_action(
                rollout,
                action,
                fence.copied().unwrap_or(0),
            ));
        }
        // Whatever agents are told of it is authorised by this entry, which is durable before they are.
        let deed = Deed {
            at_ms: now_ms,
            actor: Actor::Controller,
            kind: "decide",
            target: &rollout.id.to_string(),
            why: "",
        };
        self.write_entry(&mut write, deed, items).await?;
        let runs = actions.iter().filter_map(Action::run).collect();
        self.commit_of(write, Touched::Decided(runs)).await?;
        told.sort();
        told.dedup();
        Ok(told)
    }

    /// Answers the fence that was minted by it, with its run.
    async fn carry_out_one(
        &self,
        write: &mut Write<'_>,
        rollout: &Rollout,
        action: &Action,
        now_ms: i64,
        told: &mut Vec<ServerName>,
    ) -> Result<Option<(RunId, u64)>, StoreError> {
        match action {
            Action::Assign { run } => {
                let taken = self.take_site(write, *run, Purpose::Run, now_ms).await?;
                let fence =
                    taken.map_err(|_| StoreError::Changed(format!("the site of run {run}")))?;
                sqlx::query(
                    "UPDATE runs SET phase = 'assigned', fence = $2, since_ms = $3, started_ms = $3
                     WHERE id = $1 AND phase = 'waiting'",
                )
                .bind(run.to_string())
                .bind(signed("runs", fence)?)
                .bind(now_ms)
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
                if let Some(run) = rollout.runs.iter().find(|other| other.id == *run) {
                    told.extend(run.parts.keys().cloned());
                }
                return Ok(Some((*run, fence)));
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
                    self.hear(write, *run, Word::Ended { run: *run }).await?;
                }
            }
            Action::Turn { state, why, cause } => {
                sqlx::query(
                    "UPDATE rollouts SET state = $2, why = $3, revision = revision + 1,
                       ended_ms = CASE WHEN $4 THEN $5 ELSE ended_ms END, cause = $6, turned_ms = $5
                     WHERE id = $1",
                )
                .bind(rollout.id.to_string())
                .bind(state.name())
                .bind(why)
                .bind(state.is_final())
                .bind(now_ms)
                .bind(cause.name())
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
                // Its agents look for the symptom no longer.
                if state.is_final() && rollout.strategy.gate == Gate::Health {
                    told.extend(
                        rollout
                            .runs
                            .iter()
                            .flat_map(|run| run.parts.keys().cloned()),
                    );
                }
                if *cause == Cause::Drift {
                    self.void_approvals(write, rollout).await?;
                }
            }
            Action::EndWave { wave } => self.end_wave(write, rollout.id, *wave, now_ms).await?,
            Action::BeginWave { wave } => self.begin_wave(write, rollout.id, *wave).await?,
        }
        Ok(None)
    }
}
