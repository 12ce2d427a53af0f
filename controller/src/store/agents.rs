//! The inventory: enrolled agents and what they say of themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_policy::plan::Server;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::at_work::Touched;
use super::row::{Labels, from_json, parsed, signed, to_json, unsigned};
use super::{Store, StoreError, Write};

/// An enrolled agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRow {
    /// Its name, which is its server's name too.
    pub name: ServerName,
    /// Its site.
    pub site: SiteName,
    /// Labels that operators gave it.
    pub labels: Labels,
    /// Facts that it reports.
    pub facts: Labels,
    /// Actions that it can carry out.
    pub actions: BTreeSet<String>,
    /// Its version.
    pub version: String,
    /// The end of its newest certificate, milliseconds since 1970 UTC; 0: none.
    pub certificate_until_ms: i64,
    /// When it was last heard; 0: never.
    pub last_seen_ms: i64,
    /// Its journal's id; empty: it never said hello.
    pub journal: String,
    /// The highest seq that it has told of.
    pub head: u64,
    /// The highest seq that is stored here.
    pub acknowledged: u64,
    /// The hash of its journal there, as it follows from what is stored; none: not computed yet.
    pub chain: Option<[u8; 32]>,
}

impl AgentRow {
    /// The server as the planner sees it: labels win over facts.
    #[must_use]
    pub fn server(&self) -> Server {
        let mut labels: BTreeMap<String, String> = self.facts.clone();
        labels.extend(self.labels.clone());
        labels.insert("site".to_owned(), self.site.to_string());
        labels.insert("name".to_owned(), self.name.to_string());
        Server {
            name: self.name.clone(),
            site: self.site.clone(),
            labels,
            actions: self.actions.clone(),
        }
    }
}

/// What an agent says when it connects.
#[derive(Debug, Clone)]
pub struct Greeting {
    /// Its version.
    pub version: String,
    /// Its journal.
    pub journal: String,
    /// The highest seq in it.
    pub head: u64,
    /// The highest fence that it admitted.
    pub highest_fence: u64,
    /// Its facts.
    pub facts: Labels,
    /// Its actions.
    pub actions: BTreeSet<String>,
}

/// Why an agent may not begin a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has a valid certificate and stands in no inventory.
    #[error(
        "C201-agent-unknown: `{0}` is not in the inventory; enrol it with a token from `mailmend agent token`"
    )]
    Unknown(ServerName),
    /// It comes with another journal though nobody enrolled it again.
    #[error(
        "C202-agent-cloned: `{agent}` comes with journal {came}, but {known} is the one whose records are \
         kept here: two machines use one identity, or its data folder was replaced; stop the wrong one, or \
         enrol it again with a token from `mailmend agent token`"
    )]
    OtherJournal {
        /// The agent.
        agent: ServerName,
        /// The journal it came with.
        came: String,
        /// The journal known.
        known: String,
    },
    /// Its journal ends before what is stored of it.
    #[error(
        "C203-agent-journal-behind: the journal of `{agent}` ends at {head}, but {acknowledged} records of it \
         are stored here: its data folder was put back from a backup, or is a clone; put the newest one in \
         its place, or move it away and enrol the agent again"
    )]
    Behind {
        /// The agent.
        agent: ServerName,
        /// Where its journal ends.
        head: u64,
        /// What is stored.
        acknowledged: u64,
    },
    /// It has admitted a fence that was never minted here.
    #[error(
        "C204-agent-fence-ahead: `{agent}` has admitted fence {fence}, far above {minted}, the last that was \
         minted here: it belongs to another controller, or this one's store was put back from an old backup"
    )]
    FenceAhead {
        /// The agent.
        agent: ServerName,
        /// Its fence.
        fence: u64,
        /// The last one minted.
        minted: u64,
    },
}

/// How far a fence may be above the last one minted and still be believed: more than a controller
/// mints between two backups, less than a hostile agent needs to exhaust the numbers.
const BELIEVED_AHEAD: u64 = 1_000_000;

fn agent(row: &SqliteRow) -> Result<AgentRow, StoreError> {
    const TABLE: &str = "agents";
    Ok(AgentRow {
        name: parsed(TABLE, row.get("name"))?,
        site: parsed(TABLE, row.get("site"))?,
        labels: from_json(TABLE, row.get("labels"))?,
        facts: from_json(TABLE, row.get("facts"))?,
        actions: from_json(TABLE, row.get("actions"))?,
        version: row.get("version"),
        certificate_until_ms: row.get("certificate_until_ms"),
        last_seen_ms: row.get("last_seen_ms"),
        journal: row.get("journal"),
        head: unsigned(TABLE, row.get("head"))?,
        acknowledged: unsigned(TABLE, row.get("acknowledged"))?,
        chain: row
            .get::<Option<&[u8]>, _>("chain")
            .and_then(|hash| hash.try_into().ok()),
    })
}

impl Store {
    /// All agents, by name.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        sqlx::query("SELECT * FROM agents ORDER BY name")
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .iter()
            .map(agent)
            .collect()
    }

    /// Every server with its site.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn servers(&self) -> Result<BTreeMap<ServerName, SiteName>, StoreError> {
        sqlx::query("SELECT name, site FROM agents")
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .iter()
            .map(|row| {
                Ok((
                    parsed("agents", row.get("name"))?,
                    parsed("agents", row.get("site"))?,
                ))
            })
            .collect()
    }

    /// One agent.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn agent(&self, name: &ServerName) -> Result<Option<AgentRow>, StoreError> {
        sqlx::query("SELECT * FROM agents WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .as_ref()
            .map(agent)
            .transpose()
    }

    /// As [`Store::greet`], in a transaction of its own.
    pub(super) async fn greet_alone(
        &self,
        name: &ServerName,
        greeting: &Greeting,
        now_ms: i64,
    ) -> Result<Result<AgentRow, Refused>, StoreError> {
        let mut write = self.write().await?;
        let (found, lost) = self
            .greet_within(&mut write, name, greeting, now_ms)
            .await?;
        let touched = if lost {
            Touched::Anything
        } else {
            Touched::Told(Vec::new())
        };
        if found.is_ok() {
            self.commit_of(write, touched).await?;
        }
        Ok(found)
    }

    /// [`Store::greet`] as a part of a write; a refused agent changes nothing. Answers also whether the agent lost what
    /// it was at.
    pub(super) async fn greet_within(
        &self,
        write: &mut Write<'_>,
        name: &ServerName,
        greeting: &Greeting,
        now_ms: i64,
    ) -> Result<(Result<AgentRow, Refused>, bool), StoreError> {
        let row = sqlx::query("SELECT * FROM agents WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        let Some(row) = row else {
            return Ok((Err(Refused::Unknown(name.clone())), false));
        };
        let adopts: bool = row.get("adopts");
        let known = agent(&row)?;
        let mut acknowledged = known.acknowledged;
        if known.journal != greeting.journal {
            if !adopts && !known.journal.is_empty() {
                let refused = Refused::OtherJournal {
                    agent: name.clone(),
                    came: greeting.journal.clone(),
                    known: known.journal,
                };
                return Ok((Err(refused), false));
            }
            let stored: Option<i64> = sqlx::query_scalar(
                "SELECT max(seq) FROM records WHERE agent = $1 AND journal = $2",
            )
            .bind(name.as_str())
            .bind(&greeting.journal)
            .fetch_one(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
            acknowledged = unsigned("records", stored.unwrap_or(0))?;
        }
        if greeting.head < acknowledged {
            let refused = Refused::Behind {
                agent: name.clone(),
                head: greeting.head,
                acknowledged,
            };
            return Ok((Err(refused), false));
        }
        let minted: i64 = sqlx::query_scalar("SELECT value FROM counters WHERE name = 'fence'")
            .fetch_one(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        let minted: u64 = unsigned("counters", minted)?;
        if greeting.highest_fence > minted {
            if greeting.highest_fence - minted > BELIEVED_AHEAD {
                let refused = Refused::FenceAhead {
                    agent: name.clone(),
                    fence: greeting.highest_fence,
                    minted,
                };
                return Ok((Err(refused), false));
            }
            sqlx::query("UPDATE counters SET value = $1 WHERE name = 'fence'")
                .bind(signed("counters", greeting.highest_fence)?)
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
        }
        let lost = known.journal != greeting.journal && !known.journal.is_empty();
        if lost {
            sqlx::query(
                "UPDATE parts SET lost = 1 WHERE agent = $1
                   AND run IN (SELECT run FROM records WHERE agent = $1 AND journal = $2)
                   AND json_extract(told, '$.closed') IS NULL",
            )
            .bind(name.as_str())
            .bind(&known.journal)
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        }
        let row = sqlx::query(
            "UPDATE agents SET journal = $2, acknowledged = $3, head = $4, version = $5,
               facts = $6, actions = $7, last_seen_ms = $8, adopts = 0,
               chain = CASE WHEN journal = $2 THEN chain END
             WHERE name = $1 RETURNING *",
        )
        .bind(name.as_str())
        .bind(&greeting.journal)
        .bind(signed("agents", acknowledged)?)
        .bind(signed("agents", greeting.head)?)
        .bind(&greeting.version)
        .bind(to_json("agents", &greeting.facts)?)
        .bind(to_json("agents", &greeting.actions)?)
        .bind(now_ms)
        .fetch_one(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok((Ok(agent(&row)?), lost))
    }

    /// Replaces an agent's facts.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn replace_facts(
        &self,
        name: &ServerName,
        facts: &Labels,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        sqlx::query("UPDATE agents SET facts = $2, last_seen_ms = $3 WHERE name = $1")
            .bind(name.as_str())
            .bind(to_json("agents", facts)?)
            .bind(now_ms)
            .execute(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
        self.commit(write).await
    }

    /// Notes when agents were last heard.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn seen(&self, agents: &HashMap<ServerName, i64>) -> Result<(), StoreError> {
        let seen: BTreeMap<&str, i64> = agents
            .iter()
            .map(|(name, at_ms)| (name.as_str(), *at_ms))
            .collect();
        let mut write = self.write().await?;
        sqlx::query(
            "UPDATE agents SET last_seen_ms = max(last_seen_ms, heard.value)
             FROM json_each($1) AS heard WHERE agents.name = heard.key",
        )
        .bind(to_json("agents", &seen)?)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        self.commit_of(write, Touched::Told(Vec::new())).await
    }
}
