//! The runs of bound policies, as decisions about symptoms remember them.

use mailmend_policy::step::Action;
use mailmend_proto::run::RunId;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::row::{from_json, parsed, to_json};
use super::{Store, StoreError};
use crate::react::{Busy, Effect, Past};
use crate::rollout::{RolloutId, RunPhase, Told};

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mailmend_policy::name::SiteName;

/// How far back runs are remembered, milliseconds: longer than any throttle and any rest.
const REMEMBERED_MS: i64 = 30 * 24 * 3_600_000;

/// More runs than this are not looked at, the newest are.
const MOST: i64 = 5000;

/// How often runs are read again though nothing changed, milliseconds: those of long ago are forgotten.
const FORGOTTEN_EVERY_MS: i64 = 3_600_000;

const TABLE: &str = "runs";

/// What was remembered last, with the hour in which it was read.
#[derive(Debug, Default)]
pub(super) struct Remembered(tokio::sync::Mutex<Option<(i64, Arc<Vec<Past>>)>>);

/// The runs whose effect is to be judged: what became of their messages is needed.
fn judged(rows: &[SqliteRow]) -> Vec<&str> {
    rows.iter()
        .filter(|row| {
            let (phase, effect): (&str, Option<&str>) = (row.get("phase"), row.get("effect"));
            effect.is_none() && phase == RunPhase::Succeeded.name()
        })
        .map(|row| row.get("id"))
        .collect()
}

/// What became of a run.
struct Became {
    phase: RunPhase,
    effect: Option<Effect>,
    /// Delivered, and still held.
    messages: (u64, u64),
}

impl Became {
    fn of(row: &SqliteRow, messages: &HashMap<String, (u64, u64)>) -> Result<Self, StoreError> {
        let effect: Option<&str> = row.get("effect");
        let id: &str = row.get("id");
        Ok(Self {
            phase: parsed(TABLE, row.get("phase"))?,
            effect: effect.map(|effect| parsed("effects", effect)).transpose()?,
            messages: messages.get(id).copied().unwrap_or_default(),
        })
    }
}

impl Store {
    /// The runs of bound policies, newest first. Only those are read again that may have changed.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn history(&self, now_ms: i64) -> Result<Arc<Vec<Past>>, StoreError> {
        let mut kept = self.held.history.0.lock().await;
        // Taken before anything is read: what is committed from here on is noted for the next time.
        let touched = self.held.marks.take_past();
        let hour = now_ms / FORGOTTEN_EVERY_MS;
        // What is given up half way leaves nothing behind, so that next time all is read.
        let last = kept.take().filter(|(at, _)| *at == hour);
        let history = match last.zip(touched) {
            Some(((_, mut history), touched)) => {
                if !touched.is_empty() {
                    let remembered: &mut Vec<Past> = Arc::make_mut(&mut history);
                    self.remember_again(remembered, &touched).await?;
                }
                history
            }
            None => Arc::new(self.read_history(now_ms).await?),
        };
        *kept = Some((hour, history.clone()));
        Ok(history)
    }

    /// Reads again what became of these runs, where they are remembered. Which plan a run has never changes.
    async fn remember_again(
        &self,
        history: &mut [Past],
        runs: &BTreeSet<RunId>,
    ) -> Result<(), StoreError> {
        let known = history.iter_mut().filter(|past| runs.contains(&past.run));
        let mut known: HashMap<String, &mut Past> =
            known.map(|past| (past.run.to_string(), past)).collect();
        let ids: Vec<&String> = known.keys().collect();
        let rows = sqlx::query(
            "SELECT r.id, r.phase, r.ended_ms, e.effect, coalesce(e.why, '') AS why
             FROM runs r LEFT JOIN effects e ON e.run = r.id
             WHERE r.id IN (SELECT value FROM json_each($1))",
        )
        .bind(to_json(TABLE, &ids)?)
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?;
        let messages = self.messages_of(&judged(&rows)).await?;
        for row in &rows {
            let id: &str = row.get("id");
            if let Some(past) = known.get_mut(id) {
                let now = Became::of(row, &messages)?;
                (past.phase, past.ended_ms) = (now.phase, row.get("ended_ms"));
                (past.delivered, past.kept) = now.messages;
                (past.effect, past.effect_why) = (now.effect, row.get("why"));
            }
        }
        Ok(())
    }

    pub(super) async fn read_history(&self, now_ms: i64) -> Result<Vec<Past>, StoreError> {
        let rows = sqlx::query(
            "SELECT r.id, r.rollout, r.site, r.phase, r.ended_ms, o.policy, o.started_ms,
               x.rollout IS NOT NULL AS by_itself, e.effect, coalesce(e.why, '') AS why
             FROM runs r JOIN rollouts o ON o.id = r.rollout
             LEFT JOIN reactions x ON x.rollout = o.id LEFT JOIN effects e ON e.run = r.id
             WHERE o.policy IN (SELECT policy FROM bindings)
               AND (o.started_ms > $1 OR r.ended_ms IS NULL)
             ORDER BY o.started_ms DESC, r.position LIMIT $2",
        )
        .bind(now_ms.saturating_sub(REMEMBERED_MS))
        .bind(MOST)
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?;
        let ids: Vec<&str> = rows.iter().map(|row| row.get("id")).collect();
        let plans = self.plans(&ids).await?;
        let messages = self.messages_of(&judged(&rows)).await?;
        let mut history = Vec::with_capacity(rows.len());
        for row in &rows {
            let id: &str = row.get("id");
            let plan = plans
                .get(id)
                .ok_or_else(|| self.fault(sqlx::Error::RowNotFound))?;
            let detects = plan
                .steps
                .iter()
                .filter(|step| matches!(step.action, Action::Detect { .. }));
            let now = Became::of(row, &messages)?;
            let (delivered, kept) = now.messages;
            history.push(Past {
                run: RunId(parsed(TABLE, id)?),
                rollout: RolloutId(parsed(TABLE, row.get("rollout"))?),
                policy: parsed(TABLE, row.get("policy"))?,
                site: parsed(TABLE, row.get("site"))?,
                servers: detects.map(|step| step.server.clone()).collect(),
                by_itself: row.get("by_itself"),
                began_ms: row.get("started_ms"),
                ended_ms: row.get("ended_ms"),
                phase: now.phase,
                delivered,
                kept,
                effect: now.effect,
                effect_why: row.get("why"),
            });
        }
        Ok(history)
    }

    /// How many messages of each run are known to be delivered, and how many are still held.
    async fn messages_of(&self, runs: &[&str]) -> Result<HashMap<String, (u64, u64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT run, told FROM parts WHERE run IN (SELECT value FROM json_each($1))",
        )
        .bind(to_json("parts", &runs)?)
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?;
        let mut found: HashMap<String, (u64, u64)> = HashMap::new();
        for row in rows {
            let told: Told = from_json("parts", row.get("told"))?;
            let count = |state: &str| told.custody.get(state).copied().unwrap_or(0);
            let (delivered, kept) = found.entry(row.get("run")).or_default();
            *delivered += count("gone-with-evidence");
            *kept += count("held") + count("replaying");
        }
        Ok(found)
    }

    /// The sites at which a run is at work, or one of an open rollout waits to be.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn busy_sites(&self) -> Result<BTreeMap<SiteName, Busy>, StoreError> {
        sqlx::query(
            "SELECT r.site, r.rollout FROM runs r JOIN rollouts o ON o.id = r.rollout
             WHERE o.state NOT IN ('succeeded', 'failed', 'aborted')
               AND r.phase NOT IN ('succeeded', 'not-needed', 'failed', 'cancelled')
             UNION SELECT l.site, r.rollout FROM locks l JOIN runs r ON r.id = l.run",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|row| {
            let rollout = row
                .get::<Option<&str>, _>("rollout")
                .map(|id| parsed("runs", id).map(RolloutId))
                .transpose()?;
            Ok((parsed("runs", row.get("site"))?, Busy { rollout }))
        })
        .collect()
    }
}
