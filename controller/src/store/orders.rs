//! What each agent is to be told, and what its records must agree with.

use std::collections::HashMap;

use mailmend_policy::digest::Digest;
use mailmend_policy::name::{PolicyName, ServerName, SiteName};
use mailmend_policy::plan::Server;
use mailmend_proto::run::RunId;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::asked::{Asked, Question};
use super::row::{digest, from_json, parsed, to_json, unsigned};
use super::{Store, StoreError};
use crate::rollout::Unwinding;

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
    /// How far the agent has journaled that it may go, as far as it has reported.
    pub journaled: u32,
    /// What it has journaled that it is to undo.
    pub journaled_unwind: Option<Unwinding>,
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

/// What an agent's records of a run must agree with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartKey {
    /// The plan's digest; none for a duty.
    pub plan: Option<Digest>,
    /// The fence of the assignment; none while the run waits and for a duty.
    pub fence: Option<u64>,
    /// The highest watermark that was released to the agent.
    pub through: u32,
}

pub(super) fn unwinding(row: &SqliteRow) -> Result<Option<Unwinding>, StoreError> {
    row.get::<Option<i64>, _>("down_to")
        .map(|down_to| {
            Ok(Unwinding {
                down_to: unsigned("parts", down_to)?,
                last: row.get("last"),
            })
        })
        .transpose()
}

fn order(row: &SqliteRow) -> Result<Order, StoreError> {
    Ok(Order {
        run: RunId(parsed("parts", row.get("run"))?),
        fence: unsigned("runs", row.get("fence"))?,
        begun: row.get("begun"),
        through: unsigned("parts", row.get("through"))?,
        unwind: unwinding(row)?,
        journaled: unsigned("parts", row.get("journaled"))?,
        journaled_unwind: row
            .get::<Option<i64>, _>("journaled_down_to")
            .map(|down_to| {
                Ok(Unwinding {
                    down_to: unsigned("parts", down_to)?,
                    last: row.get("journaled_last"),
                })
            })
            .transpose()?,
    })
}

/// What this agent is to be told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct OfAgent(ServerName);

impl Question for OfAgent {
    type Answer = Vec<Order>;

    fn place(store: &Store) -> &Asked<Self> {
        &store.held.questions.orders
    }

    async fn read(
        store: &Store,
        questions: &[Self],
    ) -> Result<HashMap<Self, Vec<Order>>, StoreError> {
        let agents: Vec<&str> = questions.iter().map(|Self(agent)| agent.as_str()).collect();
        let rows = sqlx::query(
            "SELECT p.agent, p.run, p.through, p.down_to, p.last, r.fence,
               coalesce(json_extract(p.told, '$.begun'), 0) AS begun,
               coalesce(json_extract(p.told, '$.through'), 0) AS journaled,
               json_extract(p.told, '$.down_to') AS journaled_down_to,
               coalesce(json_extract(p.told, '$.unwind_last'), 0) AS journaled_last
             FROM parts p JOIN runs r ON r.id = p.run
             WHERE p.agent IN (SELECT value FROM json_each($1)) AND r.fence IS NOT NULL AND p.lost = 0
               AND json_extract(p.told, '$.closed') IS NULL
               AND (begun = 1 OR (p.refused IS NULL
                    AND r.phase IN ('assigned', 'running', 'unwinding', 'needs-person')))
             ORDER BY r.fence",
        )
        .bind(to_json("parts", &agents)?)
        .fetch_all(&store.readers)
        .await
        .map_err(|fault| store.fault(fault))?;
        let mut found: HashMap<Self, Vec<Order>> = HashMap::new();
        for row in &rows {
            let agent = Self(parsed("parts", row.get("agent"))?);
            found.entry(agent).or_default().push(order(row)?);
        }
        Ok(found)
    }
}

/// What an agent needs to take this run on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct OfRun(RunId);

impl Question for OfRun {
    type Answer = Orders;

    fn place(store: &Store) -> &Asked<Self> {
        &store.held.questions.assignments
    }

    async fn read(store: &Store, questions: &[Self]) -> Result<HashMap<Self, Orders>, StoreError> {
        let runs: Vec<String> = questions.iter().map(|Self(run)| run.to_string()).collect();
        sqlx::query(
            "SELECT r.id, p.name, p.text, r.plan_digest, r.site, r.subject, r.servers
             FROM runs r JOIN rollouts o ON o.id = r.rollout
             JOIN policies p ON p.name = o.policy AND p.version = o.version
             WHERE r.id IN (SELECT value FROM json_each($1))",
        )
        .bind(to_json("runs", &runs)?)
        .fetch_all(&store.readers)
        .await
        .map_err(|fault| store.fault(fault))?
        .iter()
        .map(|row| {
            let orders = Orders {
                policy: parsed("policies", row.get("name"))?,
                text: row.get("text"),
                plan: digest(row.get("plan_digest"))?,
                site: parsed("runs", row.get("site"))?,
                subject: row
                    .get::<Option<&str>, _>("subject")
                    .map(|subject| parsed("runs", subject))
                    .transpose()?,
                servers: from_json("runs", row.get("servers"))?,
            };
            Ok((Self(RunId(parsed("runs", row.get("id"))?)), orders))
        })
        .collect()
    }
}

/// What an agent's records of a run must agree with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PartOf(RunId, ServerName);

impl Question for PartOf {
    type Answer = PartKey;

    fn place(store: &Store) -> &Asked<Self> {
        &store.held.questions.parts
    }

    async fn read(store: &Store, questions: &[Self]) -> Result<HashMap<Self, PartKey>, StoreError> {
        let parts: Vec<(String, &str)> = questions
            .iter()
            .map(|Self(run, agent)| (run.to_string(), agent.as_str()))
            .collect();
        sqlx::query(
            "SELECT p.run, p.agent, r.plan_digest, r.fence, p.through FROM json_each($1) AS asked
             JOIN parts p ON p.run = asked.value ->> 0 AND p.agent = asked.value ->> 1
             JOIN runs r ON r.id = p.run",
        )
        .bind(to_json("parts", &parts)?)
        .fetch_all(&store.readers)
        .await
        .map_err(|fault| store.fault(fault))?
        .iter()
        .map(|row| {
            let part = PartKey {
                plan: row
                    .get::<Option<&[u8]>, _>("plan_digest")
                    .map(digest)
                    .transpose()?,
                fence: row
                    .get::<Option<i64>, _>("fence")
                    .map(|fence| unsigned("runs", fence))
                    .transpose()?,
                through: unsigned("parts", row.get("through"))?,
            };
            let run = RunId(parsed("parts", row.get("run"))?);
            Ok((Self(run, parsed("parts", row.get("agent"))?), part))
        })
        .collect()
    }
}

impl Store {
    /// What an agent is to be told: its open parts of assigned runs, oldest fence first.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn orders(&self, agent: &ServerName) -> Result<Vec<Order>, StoreError> {
        let found = self.ask(OfAgent(agent.clone())).await?;
        Ok(found.unwrap_or_default())
    }

    /// What an agent needs to take a run on.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn assignment(&self, run: RunId) -> Result<Option<Orders>, StoreError> {
        self.ask(OfRun(run)).await
    }

    /// The plan digest, fence and watermark of an assigned run, where the agent has a part in it.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn part(
        &self,
        run: RunId,
        agent: &ServerName,
    ) -> Result<Option<PartKey>, StoreError> {
        self.ask(PartOf(run, agent.clone())).await
    }
}
