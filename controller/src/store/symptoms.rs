//! Each agent's last word about the symptoms that it looks for.

use std::sync::Arc;

use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServerName;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::at_work::Touched;
use super::row::{digest, from_json, parsed, to_json, unsigned};
use super::{Store, StoreError};
use crate::react::Word;

/// A last word, with the text of the policy that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymptomRow {
    /// What was said.
    pub word: Arc<Word>,
    /// The digest of the policy's exact text.
    pub digest: Digest,
}

fn symptom(row: &SqliteRow) -> Result<SymptomRow, StoreError> {
    const TABLE: &str = "symptoms";
    Ok(SymptomRow {
        word: Arc::new(Word {
            agent: parsed(TABLE, row.get("agent"))?,
            policy: parsed(TABLE, row.get("policy"))?,
            version: unsigned(TABLE, row.get("version"))?,
            standing: parsed(TABLE, row.get("state"))?,
            since_ms: row.get("since_ms"),
            looked_ms: row.get("looked_ms"),
            heard_ms: row.get("heard_ms"),
            evidence: from_json(TABLE, row.get("evidence"))?,
        }),
        digest: digest(row.get("digest"))?,
    })
}

impl Store {
    /// As [`Store::replace_symptoms`], in a transaction of its own.
    pub(super) async fn symptoms_alone(
        &self,
        agent: &ServerName,
        said: &[SymptomRow],
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        sqlx::query("DELETE FROM symptoms WHERE agent = $1")
            .bind(agent.as_str())
            .execute(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
        for SymptomRow { word, digest } in said {
            sqlx::query(
                "INSERT OR REPLACE INTO symptoms
                   (agent, policy, version, digest, state, since_ms, looked_ms, heard_ms, evidence)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(agent.as_str())
            .bind(word.policy.as_str())
            .bind(word.version)
            .bind(digest.as_bytes().as_slice())
            .bind(word.standing.name())
            .bind(word.since_ms)
            .bind(word.looked_ms)
            .bind(word.heard_ms)
            .bind(to_json("symptoms", &word.evidence)?)
            .execute(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
        }
        let committed = self.commit_of(write, Touched::Told(Vec::new())).await;
        self.held.marks.note_symptoms();
        committed
    }

    /// As [`Self::symptoms`], read again only where something was said since.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn last_symptoms(&self) -> Result<Arc<Vec<SymptomRow>>, StoreError> {
        let version = || self.held.marks.symptoms();
        let read = async || self.symptoms().await;
        self.held.symptoms.or_read(version, read).await
    }

    /// What all agents said last, by agent and policy.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn symptoms(&self) -> Result<Vec<SymptomRow>, StoreError> {
        sqlx::query("SELECT * FROM symptoms ORDER BY agent, policy")
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .iter()
            .map(symptom)
            .collect()
    }
}
