//! The agents' journals, as far as they were reported, and what they add up to.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_proto::chain::Link;
use mailmend_proto::convert::{record_from_wire, record_to_wire};
use mailmend_proto::run::{BatchId, Custody, Event, Record, RunId};
use mailmend_proto::wire;
use mailmend_proto::wire::trail_item::What;
use prost::Message;
use sqlx::{QueryBuilder, Row, Sqlite};
use uuid::Uuid;

use super::asked::{Asked, Question};
use super::at_work::Touched;
use super::gathered::is_plain;
use super::many::pieces;
use super::row::{parsed, signed, to_json, unsigned};
use super::trail::{Actor, Deed};
use super::{Store, StoreError, Write};
use crate::lock::Word;
use crate::rollout::{RolloutId, Told};

/// What an agent raises where the trail is not the one that it saw.
const CONTRADICTS: &str = "A150-trail-contradicts";

/// A run whose state changed by a report.
#[derive(Debug, Clone)]
pub struct StoredRun {
    /// The run.
    pub run: RunId,
    /// What the agent has told of it now.
    pub told: Told,
}

/// The end of an agent's journal as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct Tail<'a> {
    /// The agent.
    pub agent: &'a ServerName,
    /// Its site.
    pub site: &'a SiteName,
    /// Its journal.
    pub journal: &'a str,
    /// The last seq that is stored.
    pub after: u64,
    /// The hash of the journal at the last of the records; none where that is not known.
    pub chain: Option<[u8; 32]>,
    /// Whether the audit trail notes that hash.
    pub noted: bool,
}

/// A record of a run with the agent that wrote it.
#[derive(Debug, Clone)]
pub struct RunRecord {
    /// The agent.
    pub agent: ServerName,
    /// The record.
    pub record: Record,
}

pub(super) fn decoded(bytes: &[u8]) -> Result<Record, StoreError> {
    let fault = |why: String| StoreError::Row {
        table: "records",
        why,
    };
    let record = wire::Record::decode(bytes).map_err(|why| fault(why.to_string()))?;
    record_from_wire(record).map_err(|why| fault(why.to_string()))
}

/// That the head of an agent's journal was seen, for the audit trail; none where that is not due.
pub(super) fn head_seen<'a>(
    tail: &Tail<'a>,
    seq: u64,
    now_ms: i64,
) -> Option<(Deed<'a>, Vec<What>)> {
    let hash = tail.chain.filter(|_| tail.noted)?;
    let seen = wire::TrailHeadSeen {
        agent: tail.agent.to_string(),
        journal: tail.journal.to_owned(),
        seq,
        hash: hash.to_vec(),
        before: false,
    };
    let deed = Deed {
        at_ms: now_ms,
        actor: Actor::Agent(tail.agent.as_str()),
        kind: "report",
        target: tail.agent.as_str(),
        why: "",
    };
    Some((deed, vec![What::HeadSeen(seen)]))
}

/// A record with the bytes that are kept of it.
#[derive(Debug, Clone)]
pub struct Written {
    /// The record.
    pub record: Record,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl From<Record> for Written {
    fn from(record: Record) -> Self {
        let bytes = kept(&record);
        Self { record, bytes }
    }
}

/// The bytes that are kept of a record.
#[must_use]
pub fn kept(record: &Record) -> Vec<u8> {
    record_to_wire(record).encode_to_vec()
}

/// The events of a run in one journal of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EventsOf {
    run: RunId,
    agent: ServerName,
    journal: String,
}

impl Question for EventsOf {
    type Answer = Vec<Event>;

    fn place(store: &Store) -> &Asked<Self> {
        &store.held.questions.events
    }

    async fn read(
        store: &Store,
        questions: &[Self],
    ) -> Result<HashMap<Self, Vec<Event>>, StoreError> {
        let asked: Vec<(String, &str, &str)> = questions
            .iter()
            .map(|one| {
                (
                    one.run.to_string(),
                    one.agent.as_str(),
                    one.journal.as_str(),
                )
            })
            .collect();
        let rows = sqlx::query(
            "SELECT asked.key, c.record FROM json_each($1) AS asked
             JOIN records c ON c.run = asked.value ->> 0 AND c.agent = asked.value ->> 1
               AND c.journal = asked.value ->> 2
             ORDER BY asked.key, c.seq",
        )
        .bind(to_json("records", &asked)?)
        .fetch_all(&store.readers)
        .await
        .map_err(|fault| store.fault(fault))?;
        let mut found: HashMap<Self, Vec<Event>> = HashMap::new();
        for row in &rows {
            let place: usize = unsigned_place(row.get("key"));
            if let Some(one) = questions.get(place) {
                let event = decoded(row.get("record"))?.event;
                found.entry(one.clone()).or_default().push(event);
            }
        }
        Ok(found)
    }
}

/// Where in the list that was asked with; SQLite numbers an array from 0.
fn unsigned_place(key: i64) -> usize {
    usize::try_from(key).unwrap_or(usize::MAX)
}

impl Store {
    /// As [`Store::append`], in a transaction of its own.
    pub(super) async fn append_alone(
        &self,
        tail: Tail<'_>,
        records: &[Written],
        runs: &[StoredRun],
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let Some(Written { record: last, .. }) = records.last() else {
            return Ok(());
        };
        let Tail {
            agent,
            site,
            journal,
            after,
            chain,
            ..
        } = tail;
        let mut write = self.write().await?;
        let moved = sqlx::query(
            "UPDATE agents SET acknowledged = $4, head = max(head, $4), last_seen_ms = $5, chain = $6
             WHERE name = $1 AND journal = $2 AND acknowledged = $3",
        )
        .bind(agent.as_str())
        .bind(journal)
        .bind(signed("agents", after)?)
        .bind(signed("agents", last.seq)?)
        .bind(now_ms)
        .bind(chain.map(|hash| hash.to_vec()))
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if moved.rows_affected() != 1 {
            return Err(StoreError::Changed(agent.to_string()));
        }
        self.write_records(&mut write, &tail, records, now_ms)
            .await?;
        for Written { record, .. } in records {
            self.write_custody(&mut write, agent, record).await?;
            self.write_reconciled(&mut write, agent, record).await?;
            self.write_immunity(&mut write, agent, record, now_ms)
                .await?;
            let run = record.run.to_string();
            match &record.event {
                Event::Alarm { code, text } => {
                    self.write_alarm(&mut write, agent, &run, code, text, (record.at_ms, now_ms))
                        .await?;
                }
                Event::TrailWitnessed {
                    seq,
                    hash,
                    contradicts: true,
                } => {
                    let text = format!(
                        "it was told that the audit trail reaches {seq}:{hash}, which contradicts what it saw before"
                    );
                    let times = (record.at_ms, now_ms);
                    self.write_alarm(&mut write, agent, "", CONTRADICTS, &text, times)
                        .await?;
                }
                Event::DutyBegan { duty, service, why } => {
                    sqlx::query(
                        "INSERT INTO runs (id, position, site, subject, phase, why, since_ms, started_ms)
                         VALUES ($1, 0, $2, $3, 'running', $4, $5, $5)",
                    )
                    .bind(&run)
                    .bind(site.as_str())
                    .bind(agent.as_str())
                    .bind(format!("{duty} of {service}: {why}"))
                    .bind(record.at_ms)
                    .execute(&mut *write)
                    .await
                    .map_err(|fault| self.fault(fault))?;
                    sqlx::query("INSERT INTO parts (run, agent) VALUES ($1, $2)")
                        .bind(&run)
                        .bind(agent.as_str())
                        .execute(&mut *write)
                        .await
                        .map_err(|fault| self.fault(fault))?;
                }
                Event::Admitted { .. } => {
                    // It took on what it had refused: nothing was released to it, so it only has to
                    // be closed again.
                    let closes = sqlx::query(
                        "UPDATE parts SET down_to = 0, last = 1
                         WHERE run = $1 AND agent = $2 AND refused IS NOT NULL",
                    )
                    .bind(&run)
                    .bind(agent.as_str())
                    .execute(&mut *write)
                    .await
                    .map_err(|fault| self.fault(fault))?;
                    if closes.rows_affected() > 0 {
                        self.allow_closing(&mut write, &run, agent, now_ms).await?;
                    }
                }
                Event::Closed { how, .. } => {
                    sqlx::query(
                        "UPDATE runs SET phase = $2, since_ms = $3, ended_ms = $3
                         WHERE id = $1 AND rollout IS NULL",
                    )
                    .bind(&run)
                    .bind(super::gathered::phase(*how))
                    .bind(record.at_ms)
                    .execute(&mut *write)
                    .await
                    .map_err(|fault| self.fault(fault))?;
                }
                _ => {}
            }
        }
        self.note_head(&mut write, &tail, last.seq, now_ms).await?;
        for run in runs {
            sqlx::query("UPDATE parts SET told = $3 WHERE run = $1 AND agent = $2")
                .bind(run.run.to_string())
                .bind(agent.as_str())
                .bind(to_json("parts", &run.told)?)
                .execute(&mut *write)
                .await
                .map_err(|fault| self.fault(fault))?;
            // After all of the records: another release may have been taken right after this closing.
            if run.told.closed.is_some() && run.told.releasing.is_none() {
                let fence = run.told.fence;
                let word = Word::Closed {
                    run: run.run,
                    fence,
                };
                self.hear(&mut write, run.run, word).await?;
            }
        }
        // Records of other kinds write what others keep too: fingerprints, custody, duties.
        let touched = if records.iter().all(|one| is_plain(&one.record.event)) {
            Touched::Told(runs.iter().map(|run| run.run).collect())
        } else {
            Touched::Anything
        };
        self.commit_of(write, touched).await
    }

    /// Notes the head of an agent's journal in the audit trail, where that is due.
    async fn note_head(
        &self,
        write: &mut Write<'_>,
        tail: &Tail<'_>,
        seq: u64,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let seen = head_seen(tail, seq, now_ms).into_iter().collect();
        self.write_entries(write, seen).await
    }

    /// That an agent is to close again what it took on after it had refused it.
    async fn allow_closing(
        &self,
        write: &mut Write<'_>,
        run: &str,
        agent: &ServerName,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let row = sqlx::query("SELECT rollout, fence FROM runs WHERE id = $1")
            .bind(run)
            .fetch_one(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        let fence: Option<i64> = row.get("fence");
        let unwound = wire::TrailUnwound {
            run: run.to_owned(),
            agent: agent.to_string(),
            fence: unsigned("runs", fence.unwrap_or(0))?,
            down_to: 0,
            last: true,
        };
        let deed = Deed {
            at_ms: now_ms,
            actor: Actor::Controller,
            kind: "decide",
            target: row.get::<Option<&str>, _>("rollout").unwrap_or(run),
            why: "it took the run on after it had refused it",
        };
        self.write_entry(write, deed, vec![What::Unwound(unwound)])
            .await
    }

    async fn write_records(
        &self,
        write: &mut Write<'_>,
        tail: &Tail<'_>,
        records: &[Written],
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let rows = records
            .iter()
            .map(|one| Ok((one, signed("records", one.record.seq)?)))
            .collect::<Result<Vec<_>, StoreError>>()?;
        for rows in pieces(&rows) {
            let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new(
                "INSERT INTO records (agent, journal, seq, run, kind, at_ms, stored_ms, record) ",
            );
            insert.push_values(rows, |mut row, (Written { record, bytes }, seq)| {
                row.push_bind(tail.agent.to_string())
                    .push_bind(tail.journal.to_owned())
                    .push_bind(*seq)
                    .push_bind(record.run.to_string())
                    .push_bind(record.event.name())
                    .push_bind(record.at_ms)
                    .push_bind(now_ms)
                    .push_bind(bytes.clone());
            });
            insert
                .build()
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
        }
        Ok(())
    }

    /// The hash of an agent's journal at a record, from the records that are stored.
    ///
    /// # Errors
    /// Where the store fails, or records are missing.
    pub async fn chain_at(
        &self,
        agent: &ServerName,
        journal: Uuid,
        seq: u64,
    ) -> Result<Link, StoreError> {
        let mut link = Link::first(journal);
        while link.seq < seq {
            let rows: Vec<Vec<u8>> = sqlx::query_scalar(
                "SELECT record FROM records WHERE agent = $1 AND journal = $2 AND seq > $3 AND seq <= $4
                 ORDER BY seq LIMIT 1000",
            )
            .bind(agent.as_str())
            .bind(journal.to_string())
            .bind(signed("records", link.seq)?)
            .bind(signed("records", seq)?)
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
            if rows.is_empty() {
                return Err(StoreError::Row {
                    table: "records",
                    why: format!("record {} of {agent} is missing", link.seq + 1),
                });
            }
            link = rows.iter().fold(link, |link, bytes| link.after(bytes));
        }
        Ok(link)
    }

    /// Notes that an agent's journal is not what is stored of it: an alarm and an entry of the trail, once.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn journal_contradicts(
        &self,
        agent: &ServerName,
        code: &str,
        text: &str,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let known: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM alarms WHERE agent = $1 AND code = $2 AND text = $3",
        )
        .bind(agent.as_str())
        .bind(code)
        .bind(text)
        .fetch_one(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        self.write_alarm(&mut write, agent, "", code, text, (now_ms, now_ms))
            .await?;
        if known == 0 {
            let deed = Deed {
                at_ms: now_ms,
                actor: Actor::Agent(agent.as_str()),
                kind: code,
                target: agent.as_str(),
                why: text,
            };
            self.write_entry(&mut write, deed, Vec::new()).await?;
        }
        self.commit(write).await
    }

    /// The bytes kept of one record, to tell a repetition from a second history.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn record_bytes(
        &self,
        agent: &ServerName,
        journal: &str,
        seq: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        sqlx::query_scalar(
            "SELECT record FROM records WHERE agent = $1 AND journal = $2 AND seq = $3",
        )
        .bind(agent.as_str())
        .bind(journal)
        .bind(signed("records", seq)?)
        .fetch_optional(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))
    }

    /// All events of a run in one journal of an agent, in order: what its state is folded from.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn events(
        &self,
        agent: &ServerName,
        journal: &str,
        run: RunId,
    ) -> Result<Vec<Event>, StoreError> {
        let asked = EventsOf {
            run,
            agent: agent.clone(),
            journal: journal.to_owned(),
        };
        Ok(self.ask(asked).await?.unwrap_or_default())
    }

    /// What the agents of a run had reported by a time, by the controller's clock: in order for each agent.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn events_until(
        &self,
        run: RunId,
        at_ms: i64,
    ) -> Result<Vec<(ServerName, Event)>, StoreError> {
        sqlx::query(
            "SELECT agent, record FROM records WHERE run = $1 AND stored_ms <= $2
             ORDER BY agent, stored_ms, seq",
        )
        .bind(run.to_string())
        .bind(at_ms)
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|row| {
            let agent = parsed("records", row.get("agent"))?;
            Ok((agent, decoded(row.get("record"))?.event))
        })
        .collect()
    }

    /// When each agent wrote down the last of the succeeded runs of a rollout, by its own clock.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn last_written(
        &self,
        rollout: RolloutId,
    ) -> Result<BTreeMap<ServerName, i64>, StoreError> {
        sqlx::query(
            "SELECT c.agent, max(c.at_ms) AS at_ms FROM runs r JOIN records c ON c.run = r.id
             WHERE r.rollout = $1 AND r.phase = 'succeeded' GROUP BY c.agent",
        )
        .bind(rollout.to_string())
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|row| Ok((parsed("records", row.get("agent"))?, row.get("at_ms"))))
        .collect()
    }

    /// What a run found to be poison, as its agents wrote it down, whatever became of it since.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn run_poison(&self, run: RunId) -> Result<BTreeSet<(BatchId, u32)>, StoreError> {
        let rows = sqlx::query("SELECT record FROM records WHERE run = $1 AND kind = 'settled'")
            .bind(run.to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
        let mut found = BTreeSet::new();
        for row in rows {
            if let Event::Settled { batch, entries } = decoded(row.get("record"))?.event {
                let poison = entries.iter().filter(|one| one.custody == Custody::Poison);
                found.extend(poison.map(|one| (batch, one.index)));
            }
        }
        Ok(found)
    }

    /// The records of a run without manifests and what became of each message, by agent and seq.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn run_records(&self, run: RunId) -> Result<Vec<RunRecord>, StoreError> {
        sqlx::query(
            "SELECT agent, record FROM records
             WHERE run = $1 AND kind NOT IN ('batch-entries', 'settled', 'admitted')
             ORDER BY agent, seq",
        )
        .bind(run.to_string())
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|row| {
            Ok(RunRecord {
                agent: parsed("records", row.get("agent"))?,
                record: decoded(row.get("record"))?,
            })
        })
        .collect()
    }
}
