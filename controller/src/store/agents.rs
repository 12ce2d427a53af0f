//! The inventory: enrolled agents and what they say of themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_policy::plan::Server;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::asked::{Asked, Question};
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

/// Whether an agent that is known so may begin a session with this greeting, of whose journal `acknowledged` records are
/// stored.
fn judged(
    known: &AgentRow,
    adopts: bool,
    greeting: &Greeting,
    acknowledged: u64,
    minted: u64,
) -> Result<(), Refused> {
    if known.journal != greeting.journal && !adopts && !known.journal.is_empty() {
        return Err(Refused::OtherJournal {
            agent: known.name.clone(),
            came: greeting.journal.clone(),
            known: known.journal.clone(),
        });
    }
    if greeting.head < acknowledged {
        return Err(Refused::Behind {
            agent: known.name.clone(),
            head: greeting.head,
            acknowledged,
        });
    }
    if greeting.highest_fence.saturating_sub(minted) > BELIEVED_AHEAD {
        return Err(Refused::FenceAhead {
            agent: known.name.clone(),
            fence: greeting.highest_fence,
            minted,
        });
    }
    Ok(())
}

/// All servers by name, and the generation of the inventory of which they are at the least.
type At = (i64, Arc<BTreeMap<ServerName, Server>>);

/// The inventory as it was read last.
#[derive(Debug, Default)]
pub(super) struct LastInventory(tokio::sync::Mutex<Option<At>>);

/// Which agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Named(ServerName);

impl Question for Named {
    type Answer = AgentRow;

    fn place(store: &Store) -> &Asked<Self> {
        &store.held.questions.agents
    }

    async fn read(
        store: &Store,
        questions: &[Self],
    ) -> Result<HashMap<Self, AgentRow>, StoreError> {
        let names: Vec<&str> = questions.iter().map(|Named(name)| name.as_str()).collect();
        sqlx::query("SELECT * FROM agents WHERE name IN (SELECT value FROM json_each($1))")
            .bind(to_json("agents", &names)?)
            .fetch_all(&store.readers)
            .await
            .map_err(|fault| store.fault(fault))?
            .iter()
            .map(|row| agent(row).map(|found| (Named(found.name.clone()), found)))
            .collect()
    }
}

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

    /// All servers as the planner sees them, by name. Read anew only when the inventory has changed.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn inventory(&self) -> Result<Arc<BTreeMap<ServerName, Server>>, StoreError> {
        // Before the servers are read: what changes in between counts as changed.
        let generation = self.generation().await?;
        let mut last = self.held.inventory.0.lock().await;
        if let Some((_, servers)) = last.as_ref().filter(|(at, _)| *at >= generation) {
            return Ok(servers.clone());
        }
        let agents = self.agents().await?;
        let servers: BTreeMap<ServerName, Server> = agents
            .iter()
            .map(|agent| (agent.name.clone(), agent.server()))
            .collect();
        let servers = Arc::new(servers);
        *last = Some((generation, servers.clone()));
        Ok(servers)
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
        self.ask(Named(name.clone())).await
    }

    /// As [`Store::greet`], in a transaction of its own.
    pub(super) async fn greet_alone(
        &self,
        name: &ServerName,
        greeting: &Greeting,
        now_ms: i64,
    ) -> Result<Result<AgentRow, Refused>, StoreError> {
        let mut write = self.write().await?;
        let (mut found, lost) = self
            .greet_within(&mut write, &[(name, greeting)], now_ms)
            .await?;
        let touched = if lost {
            Touched::Anything
        } else {
            Touched::Told(Vec::new())
        };
        let found = found
            .pop()
            .unwrap_or_else(|| Err(Refused::Unknown(name.clone())));
        if found.is_ok() {
            self.commit_of(write, touched).await?;
        }
        Ok(found)
    }

    /// [`Store::greet`] of many as a part of a write, answered in order; a refused agent changes nothing. Answers also
    /// whether one of them lost what it was at.
    pub(super) async fn greet_within(
        &self,
        write: &mut Write<'_>,
        greeted: &[(&ServerName, &Greeting)],
        now_ms: i64,
    ) -> Result<(Vec<Result<AgentRow, Refused>>, bool), StoreError> {
        let names: Vec<&str> = greeted.iter().map(|(name, _)| name.as_str()).collect();
        let rows =
            sqlx::query("SELECT * FROM agents WHERE name IN (SELECT value FROM json_each($1))")
                .bind(to_json("agents", &names)?)
                .fetch_all(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
        let mut known = HashMap::with_capacity(rows.len());
        for row in &rows {
            let found = agent(row)?;
            known.insert(found.name.clone(), (found, row.get::<bool, _>("adopts")));
        }
        let minted: i64 = sqlx::query_scalar("SELECT value FROM counters WHERE name = 'fence'")
            .fetch_one(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        let minted: u64 = unsigned("counters", minted)?;
        let (mut answers, mut let_in, mut any_lost) = (Vec::new(), BTreeMap::new(), false);
        let mut highest = minted;
        for (name, greeting) in greeted {
            let Some((row, adopts)) = known.get_mut(*name) else {
                answers.push(Err(Refused::Unknown((*name).clone())));
                continue;
            };
            let is_new = row.journal != greeting.journal;
            let acknowledged = if is_new && (*adopts || row.journal.is_empty()) {
                self.stored_of(write, name, &greeting.journal).await?
            } else {
                row.acknowledged
            };
            if let Err(refused) = judged(row, *adopts, greeting, acknowledged, minted) {
                answers.push(Err(refused));
                continue;
            }
            highest = highest.max(greeting.highest_fence);
            if is_new && !row.journal.is_empty() {
                self.lose_parts(write, row).await?;
                any_lost = true;
            }
            if is_new {
                row.chain = None;
            }
            row.journal.clone_from(&greeting.journal);
            row.acknowledged = acknowledged;
            row.head = greeting.head;
            row.version.clone_from(&greeting.version);
            row.facts.clone_from(&greeting.facts);
            row.actions.clone_from(&greeting.actions);
            row.last_seen_ms = now_ms;
            *adopts = false;
            let said = (
                &greeting.journal,
                signed("agents", acknowledged)?,
                signed("agents", greeting.head)?,
                &greeting.version,
                to_json("agents", &greeting.facts)?,
                to_json("agents", &greeting.actions)?,
            );
            let_in.insert(name.as_str(), said);
            answers.push(Ok(row.clone()));
        }
        if highest > minted {
            sqlx::query("UPDATE counters SET value = $1 WHERE name = 'fence'")
                .bind(signed("counters", highest)?)
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
        }
        if !let_in.is_empty() {
            sqlx::query(
                "UPDATE OR FAIL agents SET journal = said.value ->> 0, acknowledged = said.value ->> 1,
                   head = said.value ->> 2, version = said.value ->> 3, facts = said.value ->> 4,
                   actions = said.value ->> 5, last_seen_ms = $2, adopts = 0,
                   chain = CASE WHEN journal = said.value ->> 0 THEN chain END
                 FROM json_each($1) AS said WHERE agents.name = said.key",
            )
            .bind(to_json("agents", &let_in)?)
            .bind(now_ms)
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        }
        Ok((answers, any_lost))
    }

    /// How much of a journal is stored.
    async fn stored_of(
        &self,
        write: &mut Write<'_>,
        name: &ServerName,
        journal: &str,
    ) -> Result<u64, StoreError> {
        let stored: Option<i64> =
            sqlx::query_scalar("SELECT max(seq) FROM records WHERE agent = $1 AND journal = $2")
                .bind(name.as_str())
                .bind(journal)
                .fetch_one(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
        unsigned("records", stored.unwrap_or(0))
    }

    /// Notes that the journal is gone in which the agent wrote what it was at.
    async fn lose_parts(&self, write: &mut Write<'_>, row: &AgentRow) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE parts SET lost = 1 WHERE agent = $1
               AND run IN (SELECT run FROM records WHERE agent = $1 AND journal = $2)
               AND json_extract(told, '$.closed') IS NULL",
        )
        .bind(row.name.as_str())
        .bind(&row.journal)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(())
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
