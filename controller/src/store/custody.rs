//! What the agents' records say of each message file.

use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServerName;
use mailmend_proto::run::{BatchId, Custody, Entry, Event, Left, Record, RunId};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::row::{parsed, unsigned};
use super::{Store, StoreError, Write};

/// A message file, as last told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustodyRow {
    /// Its batch.
    pub batch: BatchId,
    /// Its agent.
    pub agent: ServerName,
    /// The run or duty that took it.
    pub run: RunId,
    /// The queue.
    pub queue: String,
    /// The folder it is held in.
    pub held: String,
    /// The folder of escrow whose copy it is; empty: it was taken from the queue.
    pub copied_from: String,
    /// The file and its state.
    pub entry: Entry,
    /// The evidence of its state.
    pub evidence: String,
    /// When the state changed, by the agent's clock.
    pub changed_ms: i64,
}

/// Which files to list; what is absent holds for all.
#[derive(Debug, Clone, Default)]
pub struct CustodyFilter {
    /// Of this run.
    pub run: Option<RunId>,
    /// Of this agent.
    pub agent: Option<ServerName>,
    /// In this state.
    pub state: Option<Custody>,
}

/// The state of that name.
fn custody(name: &str) -> Option<Custody> {
    Custody::ALL
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, state)| *state)
}

impl Store {
    /// Carries one record over to the files it speaks of; the record was folded before and is legal.
    pub(super) async fn write_custody(
        &self,
        write: &mut Write<'_>,
        agent: &ServerName,
        record: &Record,
    ) -> Result<(), StoreError> {
        let at_ms = record.at_ms;
        match &record.event {
            Event::BatchIntended {
                batch,
                queue,
                source,
                held,
                copied_from,
                ..
            } => {
                sqlx::query(
                    "INSERT INTO batches (batch, agent, run, queue, source, held, copied_from)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)",
                )
                .bind(batch.to_string())
                .bind(agent.as_str())
                .bind(record.run.to_string())
                .bind(queue)
                .bind(source)
                .bind(held)
                .bind(copied_from.as_deref().unwrap_or_default())
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
            }
            Event::BatchEntries { batch, entries } => {
                let batch = batch.to_string();
                // 500 entries of 12 columns stay far below SQLite's 32766 parameters.
                for entries in entries.chunks(500) {
                    let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new(
                        "INSERT INTO custody (batch, entry, name, file_id, size, modified_ms, hash,
                           mts_id, message_id, state, changed_ms) ",
                    );
                    insert.push_values(entries, |mut row, entry| {
                        row.push_bind(batch.clone())
                            .push_bind(entry.index)
                            .push_bind(entry.name.clone())
                            .push_bind(entry.file_id.cast_signed())
                            .push_bind(entry.size.cast_signed())
                            .push_bind(entry.modified_ms)
                            .push_bind(entry.hash.as_bytes().to_vec())
                            .push_bind(entry.mts_id.clone())
                            .push_bind(entry.message_id.clone())
                            .push_bind(entry.custody.name())
                            .push_bind(at_ms);
                    });
                    insert
                        .build()
                        .execute(&mut **write)
                        .await
                        .map_err(|fault| self.fault(fault))?;
                }
            }
            Event::BatchHeld { batch, left } => {
                sqlx::query(
                    "UPDATE custody SET state = 'held', changed_ms = $2
                     WHERE batch = $1 AND state = 'live'",
                )
                .bind(batch.to_string())
                .bind(at_ms)
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
                self.left(write, *batch, left, Custody::Live, at_ms).await?;
            }
            Event::ReplayIntended { batch, entries, .. } => {
                for (first, last) in entries {
                    sqlx::query(
                        "UPDATE custody SET state = 'replaying', changed_ms = $4
                         WHERE batch = $1 AND entry BETWEEN $2 AND $3",
                    )
                    .bind(batch.to_string())
                    .bind(first)
                    .bind(last)
                    .bind(at_ms)
                    .execute(&mut **write)
                    .await
                    .map_err(|fault| self.fault(fault))?;
                }
            }
            Event::ReplayPlaced { batch, left, .. } => {
                self.left(write, *batch, left, Custody::Held, at_ms).await?;
            }
            Event::Settled { batch, entries } => {
                for settled in entries {
                    self.settle(
                        write,
                        *batch,
                        settled.index,
                        settled.custody,
                        &settled.evidence,
                        at_ms,
                    )
                    .await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn left(
        &self,
        write: &mut Write<'_>,
        batch: BatchId,
        left: &[Left],
        state: Custody,
        at_ms: i64,
    ) -> Result<(), StoreError> {
        for stayed in left {
            self.settle(write, batch, stayed.index, state, &stayed.why, at_ms)
                .await?;
        }
        Ok(())
    }

    async fn settle(
        &self,
        write: &mut Write<'_>,
        batch: BatchId,
        entry: u32,
        state: Custody,
        evidence: &str,
        at_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE custody SET state = $3, evidence = $4, changed_ms = $5
             WHERE batch = $1 AND entry = $2",
        )
        .bind(batch.to_string())
        .bind(entry)
        .bind(state.name())
        .bind(evidence)
        .bind(at_ms)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(())
    }

    /// At most `limit` files after `after`, by batch and entry.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn custody_page(
        &self,
        filter: &CustodyFilter,
        after: Option<(BatchId, u32)>,
        limit: u32,
    ) -> Result<Vec<CustodyRow>, StoreError> {
        const TABLE: &str = "custody";
        let mut select: QueryBuilder<Sqlite> = QueryBuilder::new(
            "SELECT c.*, b.agent, b.run, b.queue, b.held, b.copied_from FROM custody c
             JOIN batches b ON b.batch = c.batch WHERE 1 = 1",
        );
        if let Some((batch, entry)) = after {
            select.push(" AND (c.batch, c.entry) > (");
            select.push_bind(batch.to_string());
            select.push(", ");
            select.push_bind(entry);
            select.push(")");
        }
        if let Some(run) = filter.run {
            select.push(" AND b.run = ");
            select.push_bind(run.to_string());
        }
        if let Some(agent) = &filter.agent {
            select.push(" AND b.agent = ");
            select.push_bind(agent.to_string());
        }
        if let Some(state) = filter.state {
            select.push(" AND c.state = ");
            select.push_bind(state.name());
        }
        select.push(" ORDER BY c.batch, c.entry LIMIT ");
        select.push_bind(limit);
        let rows = select
            .build()
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
        let mut page = Vec::with_capacity(rows.len());
        for row in rows {
            let hash: Vec<u8> = row.get("hash");
            let hash: [u8; 32] = hash.try_into().map_err(|_| StoreError::Row {
                table: TABLE,
                why: "a digest has 32 bytes".to_owned(),
            })?;
            let state: &str = row.get("state");
            page.push(CustodyRow {
                batch: BatchId(parsed(TABLE, row.get("batch"))?),
                agent: parsed(TABLE, row.get("agent"))?,
                run: RunId(parsed(TABLE, row.get("run"))?),
                queue: row.get("queue"),
                held: row.get("held"),
                copied_from: row.get("copied_from"),
                evidence: row.get("evidence"),
                changed_ms: row.get("changed_ms"),
                entry: Entry {
                    index: unsigned(TABLE, row.get("entry"))?,
                    name: row.get("name"),
                    file_id: row.get::<i64, _>("file_id").cast_unsigned(),
                    size: row.get::<i64, _>("size").cast_unsigned(),
                    modified_ms: row.get("modified_ms"),
                    hash: Digest::from_bytes(hash),
                    mts_id: row.get("mts_id"),
                    message_id: row.get("message_id"),
                    custody: custody(state).ok_or_else(|| StoreError::Row {
                        table: TABLE,
                        why: format!("`{state}` is no custody state"),
                    })?,
                },
            });
        }
        Ok(page)
    }
}
