//! What a rollout is decided from beyond itself, out of the store and the sessions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use mailmend_policy::name::ServerName;
use mailmend_policy::plan::Server;
use mailmend_policy::strategy::Gate;
use mailmend_proto::run::RunId;

use super::Controller;
use crate::decide::Fleet;
use crate::decide::gate::{Health, Vitals, health, mended};
use crate::planning::drift::drift;
use crate::react::{Shape, Word};
use crate::rollout::{Rollout, RolloutId, Run, RunPhase};
use crate::signing::would_take;
use crate::store::{AgentRow, StoreError};

/// What has drifted, by run.
type Drift = Arc<BTreeMap<RunId, String>>;

/// What has drifted of each rollout, and at which generation of the inventory that was looked at: planning
/// again is slow, and nothing else changes it.
#[derive(Debug, Default)]
pub(super) struct Drifts(Mutex<HashMap<RolloutId, (i64, Drift)>>);

/// More rollouts than this are forgotten at once.
const KEPT: usize = 1000;

impl Controller {
    /// All that a rollout is decided from beyond itself.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn fleet_for(&self, rollout: &Rollout) -> Result<Fleet, StoreError> {
        let store = self.store();
        let (servers, others) = if rollout.has_budget() {
            (store.servers().await?, store.holdings(rollout.id).await?)
        } else {
            Default::default()
        };
        Ok(Fleet {
            locks: store.locks().await?.as_ref().clone(),
            connected: self.sessions().connected(),
            in_hand: store.sites_in_hand().await?,
            servers,
            others,
            health: self.health_after(rollout).await?,
            unsigned: self.unsigned_for(rollout).await?,
            drift: self.drift_of(rollout).await?.as_ref().clone(),
            mail_flow: self.mail_flow().await?,
        })
    }

    /// The agents of runs that have not begun which would refuse the policy now, and why: better to wait than to
    /// have a run refused.
    async fn unsigned_for(
        &self,
        rollout: &Rollout,
    ) -> Result<BTreeMap<ServerName, String>, StoreError> {
        let store = self.store();
        let waits = |run: &&Run| run.phase == RunPhase::Waiting;
        if !rollout.runs.iter().any(|run| waits(&run)) {
            return Ok(BTreeMap::new());
        }
        let held = store.trust_held().await?;
        let waiting = rollout.runs.iter().filter(waits);
        let asking: BTreeSet<ServerName> = waiting
            .flat_map(|run| run.parts.keys())
            .filter(|agent| held.get(*agent).is_some_and(|row| row.held.signed))
            .cloned()
            .collect();
        if asking.is_empty() {
            return Ok(BTreeMap::new());
        }
        let revision = self
            .revisions()
            .get(store, &rollout.policy, rollout.version)
            .await?;
        let text = revision.as_ref().map_or(&[][..], |one| &one.row.text);
        let state = store.trusted().await?;
        Ok(
            match would_take(state.as_ref(), &asking, text, self.now_ms()) {
                Ok(()) => BTreeMap::new(),
                Err(fault) => asking
                    .into_iter()
                    .map(|agent| (agent, fault.to_string()))
                    .collect(),
            },
        )
    }

    /// How the servers are whose run succeeded; empty while no gate is to be judged.
    async fn health_after(
        &self,
        rollout: &Rollout,
    ) -> Result<BTreeMap<ServerName, Health>, StoreError> {
        let mut found = BTreeMap::new();
        if rollout.strategy.gate != Gate::Health || rollout.wave_ended_ms.is_none() {
            return Ok(found);
        }
        let mut ended: BTreeMap<&ServerName, i64> = BTreeMap::new();
        let mut looks = BTreeSet::new();
        let succeeded = rollout
            .runs
            .iter()
            .filter(|run| run.phase == RunPhase::Succeeded);
        for run in succeeded {
            for server in run.parts.keys() {
                let last = ended.entry(server).or_insert(i64::MIN);
                *last = (*last).max(run.ended_ms.unwrap_or(run.since_ms));
            }
            looks.extend(Shape::of(&run.plan).looks);
        }
        let store = self.store();
        let first = ended.values().copied().min().unwrap_or(i64::MAX);
        let alarms = store.alarms_since(first).await?;
        let written = store.last_written(rollout.id).await?;
        let symptoms = store.last_symptoms().await?;
        let words: BTreeMap<&ServerName, &Word> = symptoms
            .iter()
            .filter(|symptom| symptom.word.policy == rollout.policy)
            .map(|symptom| (&symptom.word.agent, symptom.word.as_ref()))
            .collect();
        let connected = self.sessions().connected();
        for server in mended(rollout) {
            let ended_ms = ended.get(server).copied().unwrap_or(i64::MIN);
            let alarm = alarms
                .get(server.as_str())
                .filter(|(heard_ms, _)| *heard_ms > ended_ms);
            let vitals = Vitals {
                connected: connected.contains(server),
                alarm: alarm.map(|(_, text)| text.as_str()),
                looks: looks.contains(server),
                version: rollout.version,
                closed_ms: written.get(server).copied(),
                word: words.get(server).copied(),
            };
            found.insert(server.clone(), health(&vitals));
        }
        Ok(found)
    }

    /// The waiting runs of a rollout that are not any more what their plan was made from, and what has
    /// changed.
    ///
    /// # Errors
    /// Where the store fails.
    pub(crate) async fn drift_of(&self, rollout: &Rollout) -> Result<Drift, StoreError> {
        let store = self.store();
        let generation = store.generation().await?;
        if generation == rollout.generation || rollout.state.is_final() {
            return Ok(Drift::default());
        }
        let known = |drifts: &Drifts| {
            let known = drifts.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (at, drift) = known.get(&rollout.id)?;
            (*at == generation).then(|| drift.clone())
        };
        if let Some(drift) = known(&self.0.drifts) {
            return Ok(drift);
        }
        let found = Arc::new(self.look_for_drift(rollout).await?);
        let mut kept = self
            .0
            .drifts
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if kept.len() > KEPT {
            kept.clear();
        }
        kept.insert(rollout.id, (generation, found.clone()));
        Ok(found)
    }

    async fn look_for_drift(
        &self,
        rollout: &Rollout,
    ) -> Result<BTreeMap<RunId, String>, StoreError> {
        let store = self.store();
        let mut found = BTreeMap::new();
        let waiting: Vec<_> = rollout
            .runs
            .iter()
            .filter(|run| run.phase == RunPhase::Waiting)
            .collect();
        let revision = self
            .revisions()
            .get(store, &rollout.policy, rollout.version)
            .await?;
        let Some((row, policy)) = revision
            .as_ref()
            .and_then(|revision| Some((&revision.row, revision.policy.as_ref()?)))
        else {
            let why = "the policy is refused by this version's rules";
            found.extend(waiting.iter().map(|run| (run.id, why.to_owned())));
            return Ok(found);
        };
        let agents = store.agents().await?;
        let servers: Vec<Server> = agents.iter().map(AgentRow::server).collect();
        for run in waiting {
            let then = store.run_servers(run.id).await?;
            if let Some(change) = drift(policy, row.digest, &run.plan, &then, &servers) {
                found.insert(run.id, change);
            }
        }
        Ok(found)
    }
}
