//! What reconciliations found of accepted messages.

use mailmend_policy::name::ServerName;
use mailmend_proto::run::{Event, Fate, ReconciledMessage, Record, RunId};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::row::{from_json, signed, to_json, unsigned};
use super::{Store, StoreError, Write};

/// One message that a reconciliation tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconciledRow {
    /// Its place among those of one time.
    pub id: i64,
    /// The message.
    pub message: ReconciledMessage,
}

const TABLE: &str = "reconciled";

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
        // 500 messages of 11 columns stay far below SQLite's 32766 parameters.
        for rows in rows.chunks(500) {
            let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new(
                "INSERT INTO reconciled (run, agent, step, mts_id, message_id, fate, accepted_ms, recipients,
                   sender, evidence, escrow) ",
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
                    .push_bind(message.escrow.clone());
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

    /// At most `limit` messages after `after` (time and place), in order of acceptance; only what vanished or
    /// cannot be told, unless `all`.
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
        let mut select: QueryBuilder<Sqlite> =
            QueryBuilder::new("SELECT * FROM reconciled WHERE run = ");
        select.push_bind(run.to_string());
        if !all {
            select.push(" AND fate IN ('vanished', 'cannot-tell', 'delivered')");
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
                Ok(ReconciledRow {
                    id: row.get("id"),
                    message: ReconciledMessage {
                        mts_id: row.get("mts_id"),
                        message_id: row.get("message_id"),
                        fate: *fate,
                        accepted_ms: row.get("accepted_ms"),
                        recipients: from_json(TABLE, row.get("recipients"))?,
                        sender: row.get("sender"),
                        evidence: from_json(TABLE, row.get("evidence"))?,
                        escrow: row.get("escrow"),
                    },
                })
            })
            .collect()
    }
}
