//! What all sessions ask the store for, read once for all of them whenever it may have changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mailmend_policy::name::{PolicyName, ServerName};
use sqlx::Row;

use super::asked::{Asked, Question};
use super::row::{parsed, to_json, unsigned};
use super::{Store, StoreError};
use crate::immunity::Fingerprint;
use crate::react::Binding;

/// What is the same for all sessions.
#[derive(Debug)]
pub struct Outlook {
    /// The inventory's generation; it may be a newer one by now, through what agents said of themselves at their hello.
    pub generation: i64,
    /// The generation of what is signed.
    pub trust: i64,
    /// The generation of fingerprints.
    pub immunity: u64,
    /// Those that stand, oldest first.
    pub fingerprints: Vec<Fingerprint>,
    /// The servers that a person has in hand.
    pub in_hand: BTreeSet<ServerName>,
    /// How policies answer to their symptoms.
    pub bindings: BTreeMap<PolicyName, Binding>,
    /// The policies whose symptom an agent looks for because the gate of an open rollout asks it.
    pub gated: HashMap<ServerName, BTreeMap<PolicyName, u32>>,
}

impl Store {
    /// What all sessions ask for, as it is now.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn outlook(&self) -> Result<Arc<Outlook>, StoreError> {
        let version = || self.held.marks.version();
        let read = async || self.read_outlook().await;
        self.held.outlook.or_read(version, read).await
    }

    async fn read_outlook(&self) -> Result<Outlook, StoreError> {
        Ok(Outlook {
            // First, so that what is read after it is not older.
            generation: self.generation().await?,
            trust: self.trust_generation().await?,
            immunity: self.immunity_generation().await?,
            fingerprints: self.standing_fingerprints().await?,
            in_hand: self.in_hand().await?.into_keys().collect(),
            bindings: self.bindings().await?,
            gated: self.gated().await?,
        })
    }

    async fn gated(&self) -> Result<HashMap<ServerName, BTreeMap<PolicyName, u32>>, StoreError> {
        let rows = sqlx::query(
            "SELECT DISTINCT p.agent, o.policy, o.version, o.started_ms
             FROM (SELECT * FROM rollouts WHERE state NOT IN ('succeeded', 'failed', 'aborted')
                     AND json_extract(strategy, '$.gate') = 'health') o
               CROSS JOIN runs r ON r.rollout = o.id CROSS JOIN parts p ON p.run = r.id
             ORDER BY o.started_ms",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?;
        let mut gated: HashMap<ServerName, BTreeMap<PolicyName, u32>> = HashMap::new();
        for row in &rows {
            let agent: ServerName = parsed("parts", row.get("agent"))?;
            let policy = parsed("rollouts", row.get("policy"))?;
            let version = unsigned("rollouts", row.get("version"))?;
            gated.entry(agent).or_default().insert(policy, version);
        }
        Ok(gated)
    }

    /// Whether there is anything that an agent is to be told of runs or by persons: see [`Store::orders`] and
    /// [`Store::waiting_orders`].
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn is_ordered(&self, agent: &ServerName) -> Result<bool, StoreError> {
        Ok(self.ask(IsOrdered(agent.clone())).await?.is_some())
    }
}

/// Whether there is anything that this agent is to be told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct IsOrdered(ServerName);

impl Question for IsOrdered {
    type Answer = ();

    fn place(store: &Store) -> &Asked<Self> {
        &store.held.questions.ordered
    }

    async fn read(store: &Store, questions: &[Self]) -> Result<HashMap<Self, ()>, StoreError> {
        let agents: Vec<&str> = questions.iter().map(|Self(agent)| agent.as_str()).collect();
        sqlx::query_scalar::<_, String>(
            "SELECT asked.value FROM json_each($1) AS asked
             WHERE EXISTS (SELECT 1 FROM parts p JOIN runs r ON r.id = p.run
                WHERE p.agent = asked.value AND r.fence IS NOT NULL AND p.lost = 0
                  AND json_extract(p.told, '$.closed') IS NULL)
              OR EXISTS (SELECT 1 FROM person_orders WHERE agent = asked.value AND state = 'waiting')",
        )
        .bind(to_json("parts", &agents)?)
        .fetch_all(&store.readers)
        .await
        .map_err(|fault| store.fault(fault))?
        .iter()
        .map(|agent| Ok((Self(parsed("parts", agent)?), ())))
        .collect()
    }
}
