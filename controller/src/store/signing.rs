//! What is signed of policies, and what each agent holds of it.

use std::collections::BTreeMap;

use mailmend_policy::name::ServerName;
use mailmend_proto::wire;
use mailmend_trust::{Kind, Offer, Signature, Signed, Trusted};
use sqlx::Row;

use super::at_work::Touched;
use super::row::{parsed, signed, to_json, unsigned};
use super::{Change, Store, StoreError, Write};

const STATE: &str = "trust_state";

/// What an agent told of what it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldRow {
    /// As it told.
    pub held: wire::TrustHeld,
    /// When, milliseconds since 1970 UTC.
    pub told_ms: i64,
}

/// An agent, what it told of what it holds, and when, milliseconds since 1970 UTC.
pub(super) type Said<'a> = (&'a ServerName, Option<&'a wire::TrustHeld>, i64);

/// The longest words of an agent that are kept, bytes.
const LONGEST: usize = 1000;

fn first(text: &str) -> &str {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn damaged(why: impl ToString) -> StoreError {
    StoreError::Row {
        table: STATE,
        why: why.to_string(),
    }
}

impl Store {
    /// What the controller believes; `None`: nothing was ever published.
    ///
    /// # Errors
    /// Where the store fails or the state is damaged.
    pub async fn trusted(&self) -> Result<Option<Trusted>, StoreError> {
        let state: Option<String> =
            sqlx::query_scalar("SELECT state FROM trust_state WHERE id = 1")
                .fetch_optional(&self.readers)
                .await
                .map_err(|fault| self.fault(fault))?;
        state
            .map(|text| Trusted::read(&text).map_err(damaged))
            .transpose()
    }

    /// A number that rises with each change of what is signed; 0: nothing was ever published.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn trust_generation(&self) -> Result<i64, StoreError> {
        let found: Option<i64> =
            sqlx::query_scalar("SELECT generation FROM trust_state WHERE id = 1")
                .fetch_optional(&self.readers)
                .await
                .map_err(|fault| self.fault(fault))?;
        Ok(found.unwrap_or(0))
    }

    /// All that is signed, to be sent to an agent.
    ///
    /// # Errors
    /// Where the store fails or something in it is damaged.
    pub async fn trust_offer(&self) -> Result<Offer, StoreError> {
        let rows = sqlx::query("SELECT text, signatures FROM trust_roots ORDER BY version")
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?;
        let mut offer = Offer::default();
        for row in &rows {
            offer.roots.push(Signed {
                text: row.get("text"),
                signatures: Signature::read_all(row.get("signatures")).map_err(damaged)?,
            });
        }
        if let Some(state) = self.trusted().await? {
            offer.timestamp = state.signed(Kind::Timestamp).cloned();
            offer.catalogue = state.signed(Kind::Catalogue).cloned();
        }
        Ok(offer)
    }

    /// Keeps what was published, all or nothing, with its audit line. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where somebody else published since `generation`.
    pub async fn publish_trust(
        &self,
        generation: i64,
        roots: &[(u64, Signed)],
        state: &Trusted,
        change: &Change,
    ) -> Result<(), StoreError> {
        let text = state.write().map_err(damaged)?;
        let mut write = self.write().await?;
        let now: Option<i64> =
            sqlx::query_scalar("SELECT generation FROM trust_state WHERE id = 1")
                .fetch_optional(&mut *write)
                .await
                .map_err(|fault| self.fault(fault))?;
        if now.unwrap_or(0) != generation {
            return Err(StoreError::Changed("what is signed".to_owned()));
        }
        for (version, root) in roots {
            sqlx::query(
                "INSERT INTO trust_roots (version, text, signatures, published_ms, published_by)
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (version) DO NOTHING",
            )
            .bind(signed("trust_roots", *version)?)
            .bind(&root.text)
            .bind(Signature::write_all(&root.signatures))
            .bind(change.at_ms)
            .bind(&change.operator)
            .execute(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
        }
        sqlx::query(
            "INSERT INTO trust_state (id, generation, state, changed_ms) VALUES (1, $1, $2, $3)
             ON CONFLICT (id) DO UPDATE SET generation = $1, state = $2, changed_ms = $3",
        )
        .bind(generation + 1)
        .bind(text)
        .bind(change.at_ms)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        self.write_change(&mut write, change).await?;
        self.commit(write).await
    }

    /// As [`Store::note_held`], in a transaction of its own.
    pub(super) async fn held_alone(&self, said: &[Said<'_>]) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        self.write_held(&mut write, said).await?;
        self.commit_of(write, Touched::Told(Vec::new())).await
    }

    /// [`Store::note_held`] of many, as a part of a write.
    pub(super) async fn write_held(
        &self,
        write: &mut Write<'_>,
        said: &[Said<'_>],
    ) -> Result<(), StoreError> {
        const TABLE: &str = "trust_held";
        if said.is_empty() {
            return Ok(());
        }
        let agents: Vec<&str> = said.iter().map(|(agent, ..)| agent.as_str()).collect();
        let mut rows = Vec::new();
        for (agent, held, told_ms) in said {
            let Some(held) = held else { continue };
            rows.push((
                agent.as_str(),
                i64::from(held.signed),
                signed(TABLE, held.root)?,
                signed(TABLE, held.catalogue)?,
                signed(TABLE, held.timestamp)?,
                held.expires_ms,
                first(&held.code),
                first(&held.why),
                told_ms,
            ));
        }
        sqlx::query("DELETE FROM trust_held WHERE agent IN (SELECT value FROM json_each($1))")
            .bind(to_json(TABLE, &agents)?)
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        if rows.is_empty() {
            return Ok(());
        }
        // What one agent says twice in a row: the later word stands.
        sqlx::query(
            "INSERT OR REPLACE INTO trust_held
               (agent, signed, root, catalogue, timestamp, expires_ms, code, why, told_ms)
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
               value ->> 6, value ->> 7, value ->> 8
             FROM json_each($1) ORDER BY key",
        )
        .bind(to_json(TABLE, &rows)?)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(())
    }

    /// What each agent told of what it holds.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn trust_held(&self) -> Result<BTreeMap<ServerName, HeldRow>, StoreError> {
        sqlx::query("SELECT * FROM trust_held")
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .iter()
            .map(|row| {
                let version = |column: &str| unsigned::<u64>("trust_held", row.get(column));
                let held = wire::TrustHeld {
                    signed: row.get("signed"),
                    root: version("root")?,
                    catalogue: version("catalogue")?,
                    timestamp: version("timestamp")?,
                    expires_ms: row.get("expires_ms"),
                    code: row.get("code"),
                    why: row.get("why"),
                };
                let told_ms = row.get("told_ms");
                Ok((
                    parsed("trust_held", row.get("agent"))?,
                    HeldRow { held, told_ms },
                ))
            })
            .collect()
    }
}
