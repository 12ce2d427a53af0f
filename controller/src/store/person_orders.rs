//! What people ordered: kept until their agents have answered, and for those who look later.

use std::collections::HashMap;

use mailmend_policy::name::ServerName;
use mailmend_proto::run::{BatchId, RunId};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::asked::{Asked, Question};
use super::row::{from_json, parsed, signed, to_json, unsigned};
use super::trail::{Actor, Deed};
use super::{Change, Store, StoreError};
use crate::lock::{Purpose, Taken, Word};
use crate::rollout::Told;
use crate::trail::item;

/// A person's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonOrder {
    /// Its id, which is the request's: the same request again is the same order.
    pub id: Uuid,
    /// The agent that it goes to.
    pub agent: ServerName,
    /// The run or duty that it is about.
    pub run: RunId,
    /// What it is.
    pub kind: OrderKind,
    /// As the contract encodes it.
    pub bytes: Vec<u8>,
    /// Who ordered it.
    pub by: String,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Of a release: the fence of the grant of the site that it was stored with, from the store.
    pub fence: Option<u64>,
    /// How it stands.
    pub answer: OrderAnswer,
}

/// What a person's order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderKind {
    /// An answer to this step.
    Answer(u32),
    /// A release of held mail.
    Release,
    /// A settlement.
    Settle,
}

/// What the agent said to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderAnswer {
    /// Nothing yet.
    Waiting,
    /// It has it in its journal.
    Taken,
    /// It refused it.
    Refused {
        /// A code of `docs/faults.md`.
        code: String,
        /// What is wrong, with values.
        why: String,
    },
}

/// What became of an order that was to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ordered {
    /// It is stored, now or by an earlier request of the same id.
    Stored(PersonOrder),
    /// Another one is under way that says the same or the opposite.
    Beside,
    /// Another run works at the site, and a release disturbs service there too.
    SiteTaken(RunId),
}

impl OrderKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Answer(_) => "answer",
            Self::Release => "release",
            Self::Settle => "settle",
        }
    }
}

fn order(row: &SqliteRow) -> Result<PersonOrder, StoreError> {
    const TABLE: &str = "person_orders";
    let bad = |what: &str, text: &str| StoreError::Row {
        table: TABLE,
        why: format!("`{text}` is no {what} of an order"),
    };
    let kind = match row.get::<&str, _>("kind") {
        "answer" => OrderKind::Answer(unsigned(TABLE, row.get("step"))?),
        "release" => OrderKind::Release,
        "settle" => OrderKind::Settle,
        other => return Err(bad("kind", other)),
    };
    let answer = match row.get::<&str, _>("state") {
        "waiting" => OrderAnswer::Waiting,
        "taken" => OrderAnswer::Taken,
        "refused" => OrderAnswer::Refused {
            code: row.get("code"),
            why: row.get("why"),
        },
        other => return Err(bad("state", other)),
    };
    Ok(PersonOrder {
        id: parsed(TABLE, row.get("id"))?,
        agent: parsed(TABLE, row.get("agent"))?,
        run: RunId(parsed(TABLE, row.get("run"))?),
        kind,
        bytes: row.get("bytes"),
        by: row.get("ordered_by"),
        at_ms: row.get("at_ms"),
        fence: row
            .get::<Option<i64>, _>("fence")
            .map(|fence| unsigned(TABLE, fence))
            .transpose()?,
        answer,
    })
}

/// The orders that this agent has not answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct WaitingFor(ServerName);

impl Question for WaitingFor {
    type Answer = Vec<PersonOrder>;

    fn place(store: &Store) -> &Asked<Self> {
        &store.held.questions.waiting
    }

    async fn read(
        store: &Store,
        questions: &[Self],
    ) -> Result<HashMap<Self, Vec<PersonOrder>>, StoreError> {
        let agents: Vec<&str> = questions.iter().map(|Self(agent)| agent.as_str()).collect();
        let rows = sqlx::query(
            "SELECT * FROM person_orders
             WHERE agent IN (SELECT value FROM json_each($1)) AND state = 'waiting' ORDER BY at_ms, id",
        )
        .bind(to_json("person_orders", &agents)?)
        .fetch_all(&store.readers)
        .await
        .map_err(|fault| store.fault(fault))?;
        let mut found: HashMap<Self, Vec<PersonOrder>> = HashMap::new();
        for row in &rows {
            let order = order(row)?;
            let agent = Self(order.agent.clone());
            found.entry(agent).or_default().push(order);
        }
        Ok(found)
    }
}

impl Store {
    /// Stores an order with its audit line, unless it is stored already. Durable when it returns.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn store_order(
        &self,
        new: &PersonOrder,
        change: &Change,
    ) -> Result<Ordered, StoreError> {
        let mut write = self.write().await?;
        let stored = sqlx::query("SELECT * FROM person_orders WHERE id = $1")
            .bind(new.id.to_string())
            .fetch_optional(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
        if let Some(stored) = stored {
            return Ok(Ordered::Stored(order(&stored)?));
        }
        // A release disturbs service: it takes the site as a run that begins does, under a fence of its own.
        let fence = match new.kind {
            OrderKind::Release => {
                let taken = self
                    .take_site(&mut write, new.run, Purpose::Release, new.at_ms)
                    .await?;
                match taken {
                    Ok(fence) => Some(fence),
                    Err(Taken::Other(holder)) => return Ok(Ordered::SiteTaken(holder)),
                    Err(Taken::Already) => return Ok(Ordered::Beside),
                }
            }
            OrderKind::Answer(_) | OrderKind::Settle => None,
        };
        let step = match new.kind {
            OrderKind::Answer(step) => Some(step),
            OrderKind::Release | OrderKind::Settle => None,
        };
        let inserted = sqlx::query(
            "INSERT INTO person_orders (id, agent, run, kind, step, bytes, ordered_by, at_ms, fence)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(new.id.to_string())
        .bind(new.agent.as_str())
        .bind(new.run.to_string())
        .bind(new.kind.name())
        .bind(step)
        .bind(&new.bytes)
        .bind(&new.by)
        .bind(new.at_ms)
        .bind(fence.map(|fence| signed("person_orders", fence)).transpose()?)
        .execute(&mut *write)
        .await;
        match inserted {
            Ok(_) => {}
            Err(sqlx::Error::Database(fault)) if fault.is_unique_violation() => {
                return Ok(Ordered::Beside);
            }
            Err(fault) => return Err(self.fault(fault)),
        }
        let (what, bytes) = (new.kind.name(), &new.bytes);
        let ordered = item::ordered(new.id, new.run, &new.agent, what, fence, bytes);
        self.write_change_of(&mut write, change, vec![ordered])
            .await?;
        self.commit(write).await?;
        Ok(Ordered::Stored(PersonOrder {
            fence,
            ..new.clone()
        }))
    }

    /// The orders that an agent has not answered, oldest first.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn waiting_orders(&self, agent: &ServerName) -> Result<Vec<PersonOrder>, StoreError> {
        let found = self.ask(WaitingFor(agent.clone())).await?;
        Ok(found.unwrap_or_default())
    }

    /// Notes what an agent said to an order of its own; the first answer counts.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn answer_order(
        &self,
        id: Uuid,
        agent: &ServerName,
        answer: &OrderAnswer,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let (state, code, why) = match answer {
            OrderAnswer::Waiting => return Ok(()),
            OrderAnswer::Taken => ("taken", "", ""),
            OrderAnswer::Refused { code, why } => ("refused", code.as_str(), why.as_str()),
        };
        let mut write = self.write().await?;
        let answered = sqlx::query(
            "UPDATE person_orders SET state = $3, code = $4, why = $5, answered_ms = $6
             WHERE id = $1 AND agent = $2 AND state = 'waiting'",
        )
        .bind(id.to_string())
        .bind(agent.as_str())
        .bind(state)
        .bind(code)
        .bind(why)
        .bind(now_ms)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if answered.rows_affected() == 0 {
            return Ok(());
        }
        let deed = Deed {
            at_ms: now_ms,
            actor: Actor::Agent(agent.as_str()),
            kind: if state == "taken" {
                "take-order"
            } else {
                "refuse-order"
            },
            target: &id.to_string(),
            why: &match answer {
                OrderAnswer::Refused { code, why } => format!("{code}: {why}"),
                OrderAnswer::Waiting | OrderAnswer::Taken => String::new(),
            },
        };
        self.write_entry(&mut write, deed, Vec::new()).await?;
        if state == "refused" {
            let refused = sqlx::query(
                "SELECT run, fence FROM person_orders
                 WHERE id = $1 AND agent = $2 AND kind = 'release' AND state = 'refused'",
            )
            .bind(id.to_string())
            .bind(agent.as_str())
            .fetch_optional(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
            if let Some(row) = refused {
                let run = RunId(parsed("person_orders", row.get("run"))?);
                let fence = row.get::<Option<i64>, _>("fence").unwrap_or(0);
                let fence = unsigned("person_orders", fence)?;
                self.hear(&mut write, run, Word::Refused { run, fence })
                    .await?;
            }
        }
        self.commit(write).await
    }

    /// One order.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn person_order(&self, id: Uuid) -> Result<Option<PersonOrder>, StoreError> {
        sqlx::query("SELECT * FROM person_orders WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .as_ref()
            .map(order)
            .transpose()
    }

    /// The orders whose ids begin so, at most 10.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn orders_named(&self, prefix: &str) -> Result<Vec<Uuid>, StoreError> {
        sqlx::query_scalar::<_, String>(
            "SELECT id FROM person_orders WHERE substr(id, 1, length($1)) = $1 ORDER BY id LIMIT 10",
        )
        .bind(prefix)
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|id| parsed("person_orders", id))
        .collect()
    }

    /// The answer to a step that is under way or taken.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn answer_of(
        &self,
        run: RunId,
        step: u32,
    ) -> Result<Option<PersonOrder>, StoreError> {
        sqlx::query(
            "SELECT * FROM person_orders
             WHERE run = $1 AND step = $2 AND kind = 'answer' AND state <> 'refused'",
        )
        .bind(run.to_string())
        .bind(step)
        .fetch_optional(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .as_ref()
        .map(order)
        .transpose()
    }

    /// What an agent has told of a run or duty.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn told(&self, run: RunId, agent: &ServerName) -> Result<Option<Told>, StoreError> {
        sqlx::query_scalar::<_, String>("SELECT told FROM parts WHERE run = $1 AND agent = $2")
            .bind(run.to_string())
            .bind(agent.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .map(|told| from_json("parts", &told))
            .transpose()
    }

    /// The batches of a run: whose custody, and how many of its messages are held.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn batches_of(
        &self,
        run: RunId,
    ) -> Result<Vec<(BatchId, ServerName, u64)>, StoreError> {
        sqlx::query(
            "SELECT b.batch, b.agent,
               (SELECT count(*) FROM custody c WHERE c.batch = b.batch AND c.state = 'held') AS held
             FROM batches b WHERE b.run = $1 ORDER BY b.batch",
        )
        .bind(run.to_string())
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|row| {
            Ok((
                BatchId(parsed("batches", row.get("batch"))?),
                parsed("batches", row.get("agent"))?,
                unsigned("custody", row.get("held"))?,
            ))
        })
        .collect()
    }
}
