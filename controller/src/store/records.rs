//! The agents' journals, as far as they were reported, and what they add up to.

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_proto::convert::{record_from_wire, record_to_wire};
use mailmend_proto::run::{BatchId, Custody, Event, Record, RunId};
use mailmend_proto::wire;
use prost::Message;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::at_work::Touched;
use super::gathered::is_plain;
use super::row::{parsed, signed, to_json};
use super::{Store, StoreError, Write};
use crate::lock::Word;
use crate::rollout::{RolloutId, Told};

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

/// The bytes that are kept of a record.
#[must_use]
pub fn kept(record: &Record) -> Vec<u8> {
    record_to_wire(record).encode_to_vec()
}

impl Store {
    /// As [`Store::append`], in a transaction of its own.
    pub(super) async fn append_alone(
        &self,
        tail: Tail<'_>,
        records: &[Record],
        runs: &[StoredRun],
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let Some(last) = records.last() else {
            return Ok(());
        };
        let Tail {
            agent,
            site,
            journal,
            after,
        } = tail;
        let mut write = self.write().await?;
        let moved = sqlx::query(
            "UPDATE agents SET acknowledged = $4, head = max(head, $4), last_seen_ms = $5
             WHERE name = $1 AND journal = $2 AND acknowledged = $3",
        )
        .bind(agent.as_str())
        .bind(journal)
        .bind(signed("agents", after)?)
        .bind(signed("agents", last.seq)?)
        .bind(now_ms)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if moved.rows_affected() != 1 {
            return Err(StoreError::Changed(agent.to_string()));
        }
        self.write_records(&mut write, &tail, records, now_ms)
            .await?;
        for record in records {
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
                    sqlx::query(
                        "UPDATE parts SET down_to = 0, last = 1
                         WHERE run = $1 AND agent = $2 AND refused IS NOT NULL",
                    )
                    .bind(&run)
                    .bind(agent.as_str())
                    .execute(&mut *write)
                    .await
                    .map_err(|fault| self.fault(fault))?;
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
        let touched = if records.iter().all(|record| is_plain(&record.event)) {
            Touched::Told(runs.iter().map(|run| run.run).collect())
        } else {
            Touched::Anything
        };
        self.commit_of(write, touched).await
    }

    async fn write_records(
        &self,
        write: &mut Write<'_>,
        tail: &Tail<'_>,
        records: &[Record],
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let rows = records
            .iter()
            .map(|record| Ok((record, signed("records", record.seq)?)))
            .collect::<Result<Vec<_>, StoreError>>()?;
        // 500 rows of 8 columns stay far below SQLite's 32766 parameters.
        for rows in rows.chunks(500) {
            let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new(
                "INSERT INTO records (agent, journal, seq, run, kind, at_ms, stored_ms, record) ",
            );
            insert.push_values(rows, |mut row, (record, seq)| {
                row.push_bind(tail.agent.to_string())
                    .push_bind(tail.journal.to_owned())
                    .push_bind(*seq)
                    .push_bind(record.run.to_string())
                    .push_bind(record.event.name())
                    .push_bind(record.at_ms)
                    .push_bind(now_ms)
                    .push_bind(kept(record));
            });
            insert
                .build()
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
        }
        Ok(())
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
        sqlx::query_scalar::<_, Vec<u8>>(
            "SELECT record FROM records WHERE run = $1 AND agent = $2 AND journal = $3 ORDER BY seq",
        )
        .bind(run.to_string())
        .bind(agent.as_str())
        .bind(journal)
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|bytes| decoded(bytes).map(|record| record.event))
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
