//! Storing what was decided and what operators change: watermarks only rise, unwinding only falls, and
//! a site has one holder, whatever was decided.

use std::collections::BTreeMap;

use mailmend_policy::name::ServerName;
use mailmend_policy::strategy::Gate;
use mailmend_proto::run::RunId;
use sqlx::Row;

use super::at_work::Touched;
use super::row::{parsed, signed, to_json};
use super::trail::{Actor, Deed};
use super::{Store, StoreError, Write};
use crate::decide::Action;
use crate::decide::budgets::{Holding, disturbed};
use crate::lock::{Purpose, Word};
use crate::rollout::{Cause, Part, Refusal, Rollout, RolloutId, RunPhase};
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
        let mut fences: BTreeMap<RunId, u64> = rollout
            .runs
            .iter()
            .filter_map(|run| Some((run.id, run.fence?)))
            .collect();
        let mut gathered = Gathered::default();
        for action in actions {
            if !gathered.takes(action) {
                let minted = self.write_gathered(&mut write, &mut gathered, now_ms);
                fences.extend(minted.await?);
            }
            gathered.take(action);
            self.carry_out_one(&mut write, rollout, action, now_ms)
                .await?;
        }
        let minted = self.write_gathered(&mut write, &mut gathered, now_ms);
        fences.extend(minted.await?);
        let parts: BTreeMap<RunId, &BTreeMap<ServerName, Part>> = rollout
            .runs
            .iter()
            .map(|run| (run.id, &run.parts))
            .collect();
        let mut items = Vec::with_capacity(actions.len());
        for action in actions {
            match action {
                Action::Assign { run } => {
                    let parts = parts.get(run).into_iter();
                    told.extend(parts.flat_map(|parts| parts.keys().cloned()));
                }
                Action::Advance { server, .. } | Action::Unwind { server, .. } => {
                    told.push(server.clone());
                }
                // Its agents look for the symptom no longer.
                Action::Turn { state, .. }
                    if state.is_final() && rollout.strategy.gate == Gate::Health =>
                {
                    told.extend(parts.values().flat_map(|parts| parts.keys().cloned()));
                }
                _ => {}
            }
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

    /// Writes what was gathered; answers the fences that were minted by it.
    async fn write_gathered(
        &self,
        write: &mut Write<'_>,
        gathered: &mut Gathered,
        now_ms: i64,
    ) -> Result<BTreeMap<RunId, u64>, StoreError> {
        let Gathered {
            assigned,
            entered,
            advanced,
        } = std::mem::take(gathered);
        let mut fences = BTreeMap::new();
        if !assigned.is_empty() {
            let taken = self
                .take_sites(write, &assigned, Purpose::Run, now_ms)
                .await?;
            fences =
                taken.map_err(|(run, _)| StoreError::Changed(format!("the site of run {run}")))?;
            let mut rows = BTreeMap::new();
            for (run, fence) in &fences {
                rows.insert(run.to_string(), signed("runs", *fence)?);
            }
            // The plus keeps SQLite from going through all that wait, once for each that is given.
            sqlx::query(
                "UPDATE OR FAIL runs SET phase = 'assigned', fence = given.value, since_ms = $2, started_ms = $2
                 FROM json_each($1) AS given WHERE runs.id = given.key AND +phase = 'waiting'",
            )
            .bind(to_json("runs", &rows)?)
            .bind(now_ms)
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        }
        if !entered.is_empty() {
            let rows: BTreeMap<String, (&str, &str, bool)> = entered
                .iter()
                .map(|(run, (phase, why))| {
                    let row = (phase.name(), why.as_str(), phase.is_final());
                    (run.to_string(), row)
                })
                .collect();
            sqlx::query(
                "UPDATE OR FAIL runs SET phase = now.value ->> 0, why = now.value ->> 1, since_ms = $2,
                   ended_ms = CASE WHEN now.value ->> 2 THEN $2 ELSE ended_ms END
                 FROM json_each($1) AS now WHERE runs.id = now.key",
            )
            .bind(to_json("runs", &rows)?)
            .bind(now_ms)
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
            let ended: Vec<(RunId, Word)> = entered
                .iter()
                .filter(|(_, (phase, _))| phase.is_final())
                .map(|(run, _)| (*run, Word::Ended { run: *run }))
                .collect();
            self.hear_all(write, &ended).await?;
        }
        if !advanced.is_empty() {
            let rows: Vec<(String, &str, u32)> = advanced
                .iter()
                .map(|((run, server), through)| (run.to_string(), server.as_str(), *through))
                .collect();
            // It only rises, whatever was decided.
            sqlx::query(
                "UPDATE OR FAIL parts SET through = max(through, far.value ->> 2) FROM json_each($1) AS far
                 WHERE run = far.value ->> 0 AND agent = far.value ->> 1",
            )
            .bind(to_json("parts", &rows)?)
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        }
        Ok(fences)
    }

    /// What is rare is written at once, in the order in which it was decided.
    async fn carry_out_one(
        &self,
        write: &mut Write<'_>,
        rollout: &Rollout,
        action: &Action,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        match action {
            Action::Assign { .. } | Action::Enter { .. } | Action::Advance { .. } => {}
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
                if *cause == Cause::Drift {
                    self.void_approvals(write, rollout).await?;
                }
            }
            Action::EndWave { wave } => self.end_wave(write, rollout.id, *wave, now_ms).await?,
            Action::BeginWave { wave } => self.begin_wave(write, rollout.id, *wave).await?,
        }
        Ok(())
    }
}

/// Actions of the kinds that a large rollout takes by the thousand: written in one statement for each kind.
///
/// What is gathered commutes: an entry of a run is gathered beside no grant, because what ends frees its site, and at most
/// once. A watermark and a phase have nothing to do with each other.
#[derive(Debug, Default)]
struct Gathered {
    assigned: Vec<RunId>,
    entered: BTreeMap<RunId, (RunPhase, String)>,
    advanced: BTreeMap<(RunId, ServerName), u32>,
}

impl Gathered {
    /// Whether an action may be written together with those before it.
    fn takes(&self, action: &Action) -> bool {
        match action {
            Action::Assign { .. } => self.entered.is_empty(),
            Action::Enter { run, .. } => {
                self.assigned.is_empty() && !self.entered.contains_key(run)
            }
            Action::Advance { .. } => true,
            Action::Unwind { .. }
            | Action::Turn { .. }
            | Action::EndWave { .. }
            | Action::BeginWave { .. } => false,
        }
    }

    /// Gathers an action, where it is of a kind that is gathered.
    fn take(&mut self, action: &Action) {
        match action {
            Action::Assign { run } => self.assigned.push(*run),
            Action::Enter { run, phase, why } => {
                self.entered.insert(*run, (*phase, why.clone()));
            }
            Action::Advance {
                run,
                server,
                through,
            } => {
                let far = self.advanced.entry((*run, server.clone())).or_default();
                *far = (*far).max(*through);
            }
            Action::Unwind { .. }
            | Action::Turn { .. }
            | Action::EndWave { .. }
            | Action::BeginWave { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
