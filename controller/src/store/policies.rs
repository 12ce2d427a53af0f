//! Published policies.

use mailmend_policy::digest::Digest;
use mailmend_policy::name::PolicyName;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::row::{parsed, unsigned};
use super::trail::{Actor, Deed};
use super::{Store, StoreError};

/// A published policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRow {
    /// Its name.
    pub name: PolicyName,
    /// Its version, from 1.
    pub version: u32,
    /// The digest of its text.
    pub digest: Digest,
    /// One line for people.
    pub title: String,
    /// The article that it carries out.
    pub article: String,
    /// Its exact text; empty in listings.
    pub text: Vec<u8>,
    /// When, milliseconds since 1970 UTC.
    pub published_ms: i64,
    /// By whom.
    pub by: String,
}

/// What became of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// It is stored now, or was stored before with the very same text.
    Stored(PolicyRow),
    /// The version exists with another text: a published version never changes.
    Differs(PolicyRow),
    /// A higher version exists: versions never fall.
    Older {
        /// The highest version.
        newest: u32,
    },
}

const COLUMNS: &str = "name, version, digest, title, article, published_ms, published_by";

fn policy(row: &SqliteRow, text: Vec<u8>) -> Result<PolicyRow, StoreError> {
    let digest: Vec<u8> = row.get("digest");
    let digest: [u8; 32] = digest.try_into().map_err(|_| StoreError::Row {
        table: "policies",
        why: "a digest has 32 bytes".to_owned(),
    })?;
    Ok(PolicyRow {
        name: parsed("policies", row.get("name"))?,
        version: unsigned("policies", row.get("version"))?,
        digest: Digest::from_bytes(digest),
        title: row.get("title"),
        article: row.get("article"),
        text,
        published_ms: row.get("published_ms"),
        by: row.get("published_by"),
    })
}

impl Store {
    /// Publishes a policy. Durable when it returns.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn publish_policy(&self, new: &PolicyRow) -> Result<Published, StoreError> {
        let mut write = self.write().await?;
        let row = sqlx::query(
            "SELECT name, version, digest, title, article, published_ms, published_by, text
             FROM policies WHERE name = $1 AND version = $2",
        )
        .bind(new.name.as_str())
        .bind(new.version)
        .fetch_optional(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if let Some(row) = row {
            let stored = policy(&row, row.get("text"))?;
            return Ok(if stored.digest == new.digest {
                Published::Stored(stored)
            } else {
                Published::Differs(stored)
            });
        }
        let newest: Option<i64> =
            sqlx::query_scalar("SELECT max(version) FROM policies WHERE name = $1")
                .bind(new.name.as_str())
                .fetch_one(&mut *write)
                .await
                .map_err(|fault| self.fault(fault))?;
        if let Some(newest) = newest
            && newest > i64::from(new.version)
        {
            return Ok(Published::Older {
                newest: unsigned("policies", newest)?,
            });
        }
        sqlx::query(
            "INSERT INTO policies
               (name, version, digest, title, article, text, published_ms, published_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(new.name.as_str())
        .bind(new.version)
        .bind(new.digest.as_bytes().as_slice())
        .bind(&new.title)
        .bind(&new.article)
        .bind(&new.text)
        .bind(new.published_ms)
        .bind(&new.by)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        let deed = Deed {
            at_ms: new.published_ms,
            actor: Actor::Operator(&new.by),
            kind: "publish-policy",
            target: &format!("{} {}", new.name, new.version),
            why: &format!("digest {}", new.digest),
        };
        self.write_entry(&mut write, deed, Vec::new()).await?;
        self.commit(write).await?;
        Ok(Published::Stored(new.clone()))
    }

    /// All policies without their texts, by name and version.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn policies(&self) -> Result<Vec<PolicyRow>, StoreError> {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM policies ORDER BY name, version"
        )))
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(|row| policy(row, Vec::new()))
        .collect()
    }

    /// A policy with its text; version 0 is the newest.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn policy(&self, name: &str, version: u32) -> Result<Option<PolicyRow>, StoreError> {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS}, text FROM policies WHERE name = $1 AND ($2 = 0 OR version = $2)
             ORDER BY version DESC LIMIT 1"
        )))
        .bind(name)
        .bind(version)
        .fetch_optional(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .map(|row| policy(&row, row.get("text")))
        .transpose()
    }
}
