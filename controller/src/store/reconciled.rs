//! What reconciliations found of accepted messages.

use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServerName;
use mailmend_proto::run::{BatchId, Custody, Event, Fate, ReconciledMessage, Record, RunId};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::row::{from_json, parsed, signed, to_json, unsigned};
use super::{Store, StoreError, Write};

/// One message that a reconciliation tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconciledRow {
    /// Its place among those of one time.
    pub id: i64,
    /// The message.
    pub message: ReconciledMessage,
    /// Its copy in custody, where it became that: batch, entry and state.
    pub taken_up: Option<(BatchId, u32, Custody)>,
}

/// A message that vanished and has a copy of the agent's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCopy {
    /// Whose.
    pub agent: ServerName,
    /// Empty: not known.
    pub mts_id: String,
    /// Empty: not known.
    pub message_id: String,
    /// The file.
    pub escrow: String,
}

/// The entry of custody that a copy became: the same content under the same name, from the same folder.
const TAKEN_UP: &str = "(SELECT c.batch || '/' || c.entry || '/' || c.state FROM batches b JOIN custody c ON c.batch = b.batch
       WHERE b.agent = r.agent AND b.copied_from <> '' AND c.state <> 'live' AND r.fate = 'vanished'
         AND length(r.escrow_hash) > 0 AND c.hash = r.escrow_hash
         AND substr(r.escrow, 1, length(b.copied_from)) = b.copied_from
         AND instr(substr(r.escrow, length(b.copied_from) + 1), c.name) > 0
       ORDER BY c.changed_ms DESC LIMIT 1)";

const TABLE: &str = "reconciled";

/// `BATCH/ENTRY/STATE`, as the query above puts it together.
fn entry_of(text: &str) -> Result<(BatchId, u32, Custody), StoreError> {
    let bad = || StoreError::Row {
        table: TABLE,
        why: format!("`{text}` is no entry of custody"),
    };
    let mut parts = text.splitn(3, '/');
    let mut next = || parts.next().ok_or_else(bad);
    let batch = BatchId(parsed(TABLE, next()?)?);
    let entry = next()?.parse().map_err(|_| bad())?;
    let state = next()?;
    let custody = Custody::ALL.iter().find(|(name, _)| *name == state);
    Ok((batch, entry, custody.ok_or_else(bad)?.1))
}

impl Store {
    /// Carries one record over. A piece that begins anew (1) replaces what its step told before: it was
    /// carried out again.
    pub(super) async fn write_reconciled(
        &self,
        write: &mut Write<'_>,
        agent: &ServerName,
        record: &Record,
    ) -> Result<(), StoreError> {
        let Event::Reconciled {
            step,
            piece,
            delivered,
            messages,
        } = &record.event
        else {
            return Ok(());
        };
        let run = record.run.to_string();
        if *piece == 1 {
            for delete in [
                "DELETE FROM reconciled WHERE run = $1 AND agent = $2 AND step = $3",
                "DELETE FROM reconciliations WHERE run = $1 AND agent = $2 AND step = $3",
            ] {
                sqlx::query(delete)
                    .bind(&run)
                    .bind(agent.as_str())
                    .bind(step)
                    .execute(&mut **write)
                    .await
                    .map_err(|fault| self.fault(fault))?;
            }
        }
        sqlx::query(
            "INSERT INTO reconciliations (run, agent, step, pieces, delivered) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (run, agent, step) DO UPDATE SET pieces = $4, delivered = delivered + $5",
        )
        .bind(&run)
        .bind(agent.as_str())
        .bind(step)
        .bind(piece)
        .bind(signed(TABLE, *delivered)?)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        let rows = messages
            .iter()
            .map(|message| {
                let recipients = to_json(TABLE, &message.recipients)?;
                Ok((message, recipients, to_json(TABLE, &message.evidence)?))
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        // 500 messages of 12 columns stay far below SQLite's 32766 parameters.
        for rows in rows.chunks(500) {
            let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new(
                "INSERT INTO reconciled (run, agent, step, mts_id, message_id, fate, accepted_ms, recipients,
                   sender, evidence, escrow, escrow_hash) ",
            );
            insert.push_values(rows, |mut row, (message, recipients, evidence)| {
                row.push_bind(run.clone())
                    .push_bind(agent.to_string())
                    .push_bind(*step)
                    .push_bind(message.mts_id.clone())
                    .push_bind(message.message_id.clone())
                    .push_bind(message.fate.name())
                    .push_bind(message.accepted_ms)
                    .push_bind(recipients.clone())
                    .push_bind(message.sender.clone())
                    .push_bind(evidence.clone())
                    .push_bind(message.escrow.clone())
                    .push_bind(
                        message
                            .escrow_hash
                            .map(|hash| hash.as_bytes().to_vec())
                            .unwrap_or_default(),
                    );
            });
            insert
                .build()
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
        }
        Ok(())
    }

    /// How many messages a run's reconciliations found delivered.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn reconciled_delivered(&self, run: RunId) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(delivered), 0) FROM reconciliations WHERE run = $1",
        )
        .bind(run.to_string())
        .fetch_one(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?;
        unsigned(TABLE, count)
    }

    /// The messages of a run that vanished and whose copies its agents keep, also those that became custody.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn kept_copies(&self, run: RunId) -> Result<Vec<KeptCopy>, StoreError> {
        sqlx::query(
            "SELECT agent, mts_id, message_id, escrow FROM reconciled
             WHERE run = $1 AND fate = 'vanished' AND length(escrow_hash) > 0 ORDER BY accepted_ms, id",
        )
        .bind(run.to_string())
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|row| {
            Ok(KeptCopy {
                agent: parsed(TABLE, row.get("agent"))?,
                mts_id: row.get("mts_id"),
                message_id: row.get("message_id"),
                escrow: row.get("escrow"),
            })
        })
        .collect()
    }

    /// At most `limit` messages after `after` (time and place), in order of acceptance; only what vanished, is in
    /// custody or cannot be told, unless `all`.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn reconciled_page(
        &self,
        run: RunId,
        all: bool,
        after: Option<(i64, i64)>,
        limit: u32,
    ) -> Result<Vec<ReconciledRow>, StoreError> {
        let mut select: QueryBuilder<Sqlite> = QueryBuilder::new(format!(
            "SELECT r.*, {TAKEN_UP} AS taken_up FROM reconciled r WHERE run = "
        ));
        select.push_bind(run.to_string());
        if !all {
            select.push(" AND fate IN ('vanished', 'cannot-tell', 'in-custody', 'delivered')");
        }
        if let Some((accepted_ms, id)) = after {
            select.push(" AND (accepted_ms, id) > (");
            select.push_bind(accepted_ms);
            select.push(", ");
            select.push_bind(id);
            select.push(")");
        }
        select.push(" ORDER BY accepted_ms, id LIMIT ");
        select.push_bind(limit);
        let rows = select
            .build()
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
        rows.iter()
            .map(|row| {
                let name: &str = row.get("fate");
                let fate = Fate::ALL.iter().find(|(known, _)| *known == name);
                let (_, fate) = fate.ok_or_else(|| StoreError::Row {
                    table: TABLE,
                    why: format!("`{name}` is no fate"),
                })?;
                let taken_up: Option<String> = row.get("taken_up");
                let hash: Vec<u8> = row.get("escrow_hash");
                let escrow_hash = match <[u8; 32]>::try_from(hash) {
                    Ok(hash) => Some(Digest::from_bytes(hash)),
                    Err(hash) if hash.is_empty() => None,
                    Err(_) => {
                        return Err(StoreError::Row {
                            table: TABLE,
                            why: "a digest has 32 bytes".to_owned(),
                        });
                    }
                };
                Ok(ReconciledRow {
                    id: row.get("id"),
                    taken_up: taken_up.as_deref().map(entry_of).transpose()?,
                    message: ReconciledMessage {
                        mts_id: row.get("mts_id"),
                        message_id: row.get("message_id"),
                        fate: *fate,
                        accepted_ms: row.get("accepted_ms"),
                        recipients: from_json(TABLE, row.get("recipients"))?,
                        sender: row.get("sender"),
                        evidence: from_json(TABLE, row.get("evidence"))?,
                        escrow: row.get("escrow"),
                        escrow_hash,
                    },
                })
            })
            .collect()
    }
}
