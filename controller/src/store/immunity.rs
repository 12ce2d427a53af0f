//! Fingerprints of poison, and what was set aside because of them.

use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServerName;
use mailmend_proto::run::{
    BatchId, BodyPrint, Custody, Event, PoisonProof, ProvenPoison, Record, RunId,
};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::row::{parsed, unsigned};
use super::{Change, Store, StoreError, Write};
use crate::immunity::{Fingerprint, MOST, State, id_of};

const TABLE: &str = "fingerprints";

/// The longest Message-ID and the longest words that are kept of a fingerprint, bytes.
const LONGEST_ID: usize = 256;
const LONGEST_HOW: usize = 1000;

/// Phases of a run in which its mail may be given back.
const RESTING: &str = "('succeeded', 'not-needed', 'failed', 'cancelled', 'needs-person')";

/// How long the answer to a release is left to take effect before there is another, milliseconds.
const AGAIN_MS: i64 = 60_000;

/// A fingerprint and what it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FingerprintRow {
    /// The fingerprint.
    pub fingerprint: Fingerprint,
    /// Messages that are poison because of it now.
    pub set_aside: u64,
    /// Messages that were, and are back in a queue or delivered.
    pub given_back: u64,
}

/// A message that was set aside because of a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAsideRow {
    /// On which server.
    pub agent: ServerName,
    /// In which run or duty.
    pub run: RunId,
    /// Its batch.
    pub batch: BatchId,
    /// Its entry there.
    pub entry: u32,
    /// Its spool name.
    pub name: String,
    /// Its state now.
    pub custody: Custody,
    /// The evidence of that.
    pub evidence: String,
    /// Since when, by the agent's clock.
    pub changed_ms: i64,
    /// It is set aside because of the fingerprint and of nothing else.
    pub standing: bool,
    /// What the agent said to the last release of its run, where it refused it.
    pub refused: String,
    /// A release of its run waits for the agent.
    pub waiting: bool,
}

/// A batch with messages that a withdrawn fingerprint had set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRelease {
    /// The fingerprint.
    pub fingerprint: Uuid,
    /// The agent.
    pub agent: ServerName,
    /// The run or duty.
    pub run: RunId,
    /// The batch.
    pub batch: BatchId,
    /// Who withdrew it.
    pub by: String,
    /// In that person's words.
    pub why: String,
}

fn bad(why: String) -> StoreError {
    StoreError::Row { table: TABLE, why }
}

fn digest(bytes: Vec<u8>) -> Result<Digest, StoreError> {
    let bytes: [u8; 32] = bytes
        .try_into()
        .map_err(|_| bad("a digest has 32 bytes".to_owned()))?;
    Ok(Digest::from_bytes(bytes))
}

fn fingerprint(row: &SqliteRow) -> Result<Fingerprint, StoreError> {
    let proof: &str = row.get("proof");
    let state: &str = row.get("state");
    let body: Vec<u8> = row.get("body");
    let proofs = PoisonProof::ALL.iter();
    let states = State::ALL.iter();
    Ok(Fingerprint {
        id: parsed(TABLE, row.get("id"))?,
        hash: digest(row.get("hash"))?,
        size: row.get::<i64, _>("size").cast_unsigned(),
        body: if body.is_empty() {
            None
        } else {
            Some(BodyPrint {
                hash: digest(body)?,
                bytes: row.get::<i64, _>("body_bytes").cast_unsigned(),
            })
        },
        message_id: row.get("message_id"),
        agent: parsed(TABLE, row.get("agent"))?,
        run: RunId(parsed(TABLE, row.get("run"))?),
        batch: BatchId(parsed(TABLE, row.get("batch"))?),
        entry: unsigned(TABLE, row.get("entry"))?,
        proof: proofs
            .clone()
            .find(|(name, _)| *name == proof)
            .map(|(_, proof)| *proof)
            .ok_or_else(|| bad(format!("`{proof}` is no proof")))?,
        how: row.get("how"),
        policy: row.get("policy"),
        found_ms: row.get("found_ms"),
        state: states
            .clone()
            .find(|(name, _)| *name == state)
            .map(|(_, state)| *state)
            .ok_or_else(|| bad(format!("`{state}` is no state")))?,
        changed_ms: row.get("changed_ms"),
        by: row.get("changed_by"),
        why: row.get("why"),
    })
}

/// The first so many bytes of a text, whole characters.
fn first(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

impl Store {
    /// Carries one record over to the fingerprints; the record was folded before and is legal.
    pub(super) async fn write_immunity(
        &self,
        write: &mut Write<'_>,
        agent: &ServerName,
        record: &Record,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        match &record.event {
            Event::PoisonProven { batch, entries } => {
                for proven in entries {
                    self.write_proven(write, agent, record, (*batch, proven), now_ms)
                        .await?;
                }
            }
            Event::Immunized { batch, entries } => {
                for (entry, fingerprint) in entries {
                    sqlx::query(
                        "INSERT INTO immunized (batch, entry, fingerprint) VALUES ($1, $2, $3)
                         ON CONFLICT (batch, entry) DO UPDATE SET fingerprint = $3, standing = 1",
                    )
                    .bind(batch.to_string())
                    .bind(entry)
                    .bind(fingerprint.to_string())
                    .execute(&mut **write)
                    .await
                    .map_err(|fault| self.fault(fault))?;
                }
            }
            Event::Settled { batch, entries } => {
                for settled in entries {
                    // In doubt it still lies there because of the fingerprint.
                    if settled.custody == Custody::InDoubt {
                        continue;
                    }
                    sqlx::query(
                        "UPDATE immunized SET standing = 0 WHERE batch = $1 AND entry = $2",
                    )
                    .bind(batch.to_string())
                    .bind(settled.index)
                    .execute(&mut **write)
                    .await
                    .map_err(|fault| self.fault(fault))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A message was proven to be poison. What was withdrawn stays so, unless a person says it anew.
    async fn write_proven(
        &self,
        write: &mut Write<'_>,
        agent: &ServerName,
        record: &Record,
        (batch, proven): (BatchId, &ProvenPoison),
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let found = sqlx::query(
            "SELECT c.hash, c.size, c.message_id,
               coalesce((SELECT o.policy || ' ' || o.version FROM runs r JOIN rollouts o ON o.id = r.rollout
                 WHERE r.id = b.run), '') AS policy
             FROM custody c JOIN batches b ON b.batch = c.batch WHERE c.batch = $1 AND c.entry = $2",
        )
        .bind(batch.to_string())
        .bind(proven.index)
        .fetch_optional(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        let Some(found) = found else {
            return Ok(());
        };
        let hash = digest(found.get("hash"))?;
        let size = found.get::<i64, _>("size").cast_unsigned();
        let message_id: String = found.get("message_id");
        let message_id = first(&message_id, LONGEST_ID);
        let id = id_of(&hash, size, proven.body.as_ref(), message_id);
        let stands =
            sqlx::query_scalar::<_, String>("SELECT state FROM fingerprints WHERE id = $1")
                .bind(id.to_string())
                .fetch_optional(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
        let word = proven.proof == PoisonProof::Word;
        let (run, at_ms) = (record.run.to_string(), record.at_ms);
        match stands.as_deref() {
            Some("standing") => return Ok(()),
            Some("withdrawn") if !word => {
                let text = format!(
                    "fingerprint {id} was withdrawn, and `{agent}` found the message to be poison again: {}; it is not told \
                     to the others. Where the withdrawal was wrong: `mailmend immunity add {run} {batch}/{} --why ...`",
                    proven.how, proven.index
                );
                return self
                    .write_alarm(
                        write,
                        agent,
                        &run,
                        "C120-immunity-proven-again",
                        &text,
                        (at_ms, now_ms),
                    )
                    .await;
            }
            _ => {}
        }
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM fingerprints WHERE state = 'standing'")
                .fetch_one(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
        let full = count.cast_unsigned() >= MOST;
        if full {
            let text = format!(
                "{MOST} fingerprints stand already, and {id} of `{agent}` is not told to the others; withdraw old ones with \
                 `mailmend immunity withdraw FINGERPRINT --keep`, then `mailmend immunity add {run} {batch}/{} --why ...`",
                proven.index
            );
            self.write_alarm(
                write,
                agent,
                &run,
                "C121-immunity-full",
                &text,
                (at_ms, now_ms),
            )
            .await?;
        }
        sqlx::query(
            "INSERT INTO fingerprints (id, hash, size, body, body_bytes, message_id, agent, run, batch, entry,
               proof, how, policy, found_ms, state, changed_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $14)
             ON CONFLICT (id) DO UPDATE SET hash = $2, size = $3, body = $4, body_bytes = $5, message_id = $6,
               agent = $7, run = $8, batch = $9, entry = $10, proof = $11, how = $12, policy = $13,
               found_ms = $14, state = $15, changed_ms = $14, changed_by = '', why = '', give_back = 0",
        )
        .bind(id.to_string())
        .bind(hash.as_bytes().to_vec())
        .bind(size.cast_signed())
        .bind(proven.body.map_or_else(Vec::new, |body| body.hash.as_bytes().to_vec()))
        .bind(proven.body.map_or(0, |body| body.bytes.cast_signed()))
        .bind(message_id)
        .bind(agent.as_str())
        .bind(&run)
        .bind(batch.to_string())
        .bind(proven.index)
        .bind(proven.proof.name())
        .bind(first(&proven.how, LONGEST_HOW))
        .bind(found.get::<String, _>("policy"))
        .bind(at_ms)
        .bind(if full { "refused" } else { "standing" })
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        self.raise_immunity(write).await
    }

    async fn raise_immunity(&self, write: &mut Write<'_>) -> Result<(), StoreError> {
        sqlx::query("UPDATE counters SET value = value + 1 WHERE name = 'immunity'")
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        Ok(())
    }

    /// The generation of what stands; it rises with each change.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn immunity_generation(&self) -> Result<u64, StoreError> {
        let value: i64 = sqlx::query_scalar("SELECT value FROM counters WHERE name = 'immunity'")
            .fetch_one(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
        unsigned("counters", value)
    }

    /// Whether a person has the server in hand.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn is_in_hand(&self, agent: &ServerName) -> Result<bool, StoreError> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM in_hand WHERE agent = $1)")
            .bind(agent.as_str())
            .fetch_one(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))
    }

    /// What stands, oldest first.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn standing_fingerprints(&self) -> Result<Vec<Fingerprint>, StoreError> {
        sqlx::query("SELECT * FROM fingerprints WHERE state = 'standing' ORDER BY found_ms, id")
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .iter()
            .map(fingerprint)
            .collect()
    }

    /// Fingerprints with what they did, newest first, at most 10 000: those that stand, or all.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn fingerprints(&self, all: bool) -> Result<Vec<FingerprintRow>, StoreError> {
        self.fingerprint_rows("f.state = 'standing' OR $1", if all { "1" } else { "" })
            .await
    }

    /// Fingerprints whose ids begin so, at most three.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn fingerprints_named(
        &self,
        prefix: &str,
    ) -> Result<Vec<FingerprintRow>, StoreError> {
        let mut found = self
            .fingerprint_rows("substr(f.id, 1, length($1)) = $1", prefix)
            .await?;
        found.truncate(3);
        Ok(found)
    }

    async fn fingerprint_rows(
        &self,
        which: &'static str,
        value: &str,
    ) -> Result<Vec<FingerprintRow>, StoreError> {
        let select = format!(
            "SELECT f.*,
               (SELECT count(*) FROM immunized i JOIN custody c ON c.batch = i.batch AND c.entry = i.entry
                 WHERE i.fingerprint = f.id AND i.standing = 1 AND c.state = 'poison') AS aside,
               (SELECT count(*) FROM immunized i JOIN custody c ON c.batch = i.batch AND c.entry = i.entry
                 WHERE i.fingerprint = f.id AND i.standing = 0
                   AND c.state IN ('replaying', 'gone-with-evidence')) AS back
             FROM fingerprints f WHERE {which} ORDER BY f.found_ms DESC, f.id LIMIT 10000"
        );
        sqlx::query(sqlx::AssertSqlSafe(select))
            .bind(value)
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .iter()
            .map(|row| {
                Ok(FingerprintRow {
                    fingerprint: fingerprint(row)?,
                    set_aside: unsigned("immunized", row.get("aside"))?,
                    given_back: unsigned("immunized", row.get("back"))?,
                })
            })
            .collect()
    }

    /// What was set aside because of a fingerprint, at most 10 000.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn set_aside_by(&self, id: Uuid) -> Result<Vec<SetAsideRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT i.batch, i.entry, i.standing, c.name, c.state, c.evidence, c.changed_ms, b.agent, b.run,
               coalesce((SELECT CASE o.state WHEN 'refused' THEN o.code || ': ' || o.why ELSE '' END
                 FROM person_orders o WHERE o.run = b.run AND o.agent = b.agent AND o.kind = 'release'
                 ORDER BY o.at_ms DESC, o.id LIMIT 1), '') AS refused,
               EXISTS (SELECT 1 FROM person_orders o WHERE o.run = b.run AND o.agent = b.agent
                 AND o.kind = 'release' AND o.state = 'waiting') AS waiting
             FROM immunized i JOIN custody c ON c.batch = i.batch AND c.entry = i.entry
             JOIN batches b ON b.batch = i.batch
             WHERE i.fingerprint = $1 ORDER BY b.agent, i.batch, i.entry LIMIT 10000",
        )
        .bind(id.to_string())
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?;
        rows.iter()
            .map(|row| {
                let state: &str = row.get("state");
                let custody = Custody::ALL.iter().find(|(name, _)| *name == state);
                Ok(SetAsideRow {
                    agent: parsed("batches", row.get("agent"))?,
                    run: RunId(parsed("batches", row.get("run"))?),
                    batch: BatchId(parsed("immunized", row.get("batch"))?),
                    entry: unsigned("immunized", row.get("entry"))?,
                    name: row.get("name"),
                    custody: custody
                        .map(|(_, custody)| *custody)
                        .ok_or_else(|| bad(format!("`{state}` is no custody state")))?,
                    evidence: row.get("evidence"),
                    changed_ms: row.get("changed_ms"),
                    standing: row.get("standing"),
                    refused: row.get("refused"),
                    waiting: row.get("waiting"),
                })
            })
            .collect()
    }

    /// Withdraws a fingerprint with its audit line. Nothing where it does not stand; but one that was withdrawn and kept
    /// may be withdrawn to be given back.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn withdraw_fingerprint(
        &self,
        id: Uuid,
        give_back: bool,
        by: &str,
        change: &Change,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let done = sqlx::query(
            "UPDATE fingerprints SET state = 'withdrawn', give_back = $2, changed_ms = $3, changed_by = $4, why = $5
             WHERE id = $1 AND (state <> 'withdrawn' OR (give_back = 0 AND $2))",
        )
        .bind(id.to_string())
        .bind(give_back)
        .bind(change.at_ms)
        .bind(by)
        .bind(&change.why)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if done.rows_affected() == 0 {
            return Ok(());
        }
        self.raise_immunity(&mut write).await?;
        self.write_change(&mut write, change).await?;
        self.commit(write).await
    }

    /// Batches with messages that a withdrawn fingerprint had set aside, of runs that are at rest, and that no release is
    /// under way for.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn due_releases(&self, now_ms: i64) -> Result<Vec<DueRelease>, StoreError> {
        let select = format!(
            "SELECT DISTINCT f.id, f.changed_by, f.why, b.agent, b.run, b.batch
             FROM fingerprints f JOIN immunized i ON i.fingerprint = f.id
             JOIN custody c ON c.batch = i.batch AND c.entry = i.entry
             JOIN batches b ON b.batch = i.batch JOIN runs r ON r.id = b.run
             WHERE f.state = 'withdrawn' AND f.give_back = 1 AND i.standing = 1 AND c.state = 'poison'
               AND r.phase IN {RESTING}
               AND NOT EXISTS (SELECT 1 FROM person_orders o
                 WHERE o.run = b.run AND o.agent = b.agent AND o.kind = 'release'
                   AND (o.state = 'waiting' OR o.answered_ms > $1))
             ORDER BY b.agent, b.run, b.batch, f.id LIMIT 1000"
        );
        sqlx::query(sqlx::AssertSqlSafe(select))
            .bind(now_ms.saturating_sub(AGAIN_MS))
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .iter()
            .map(|row| {
                Ok(DueRelease {
                    fingerprint: parsed(TABLE, row.get("id"))?,
                    agent: parsed("batches", row.get("agent"))?,
                    run: RunId(parsed("batches", row.get("run"))?),
                    batch: BatchId(parsed("batches", row.get("batch"))?),
                    by: row.get("changed_by"),
                    why: row.get("why"),
                })
            })
            .collect()
    }
}
