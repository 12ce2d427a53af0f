//! Enrolment tokens: stored hashed, for one name, used once.

use mailmend_policy::name::{ServerName, SiteName};
use sqlx::Row;

use super::row::{Labels, to_json};
use super::trail::{Actor, Deed};
use super::{NewCertificate, Store, StoreError};
use crate::trust::Named;

/// A token to store.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its hash; the token itself is never stored.
    pub hash: [u8; 32],
    /// The only name that may use it.
    pub agent: ServerName,
    /// The site that the agent will belong to.
    pub site: SiteName,
    /// The labels that it will have.
    pub labels: Labels,
    /// When it was made, milliseconds since 1970 UTC.
    pub created_ms: i64,
    /// By whom.
    pub by: String,
    /// It is refused from then on.
    pub expires_ms: i64,
}

/// Why a token was not taken. The caller is told none of it: all are one answer to a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefused {
    /// There is no such token.
    Unknown,
    /// It is for another name.
    OtherName,
    /// It was used.
    Used,
    /// Its time is over.
    Expired,
}

impl Store {
    /// Stores a token. Durable when it returns.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn create_token(&self, new: &NewToken) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        sqlx::query(
            "INSERT INTO tokens (hash, agent, site, labels, created_ms, created_by, expires_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(new.hash.as_slice())
        .bind(new.agent.as_str())
        .bind(new.site.as_str())
        .bind(to_json("tokens", &new.labels)?)
        .bind(new.created_ms)
        .bind(&new.by)
        .bind(new.expires_ms)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        let deed = Deed {
            at_ms: new.created_ms,
            actor: Actor::Operator(&new.by),
            kind: "create-token",
            target: new.agent.as_str(),
            why: "",
        };
        self.write_entry(&mut write, deed, Vec::new()).await?;
        self.commit(write).await
    }

    /// Uses a token up, puts its agent into the inventory and notes its certificate, all or nothing. Of
    /// many callers with the same token one wins.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn take_token(
        &self,
        hash: &[u8; 32],
        name: &ServerName,
        certificate: &NewCertificate,
        now_ms: i64,
    ) -> Result<Result<(), TokenRefused>, StoreError> {
        let mut write = self.write().await?;
        let taken = sqlx::query(
            "UPDATE tokens SET used_ms = $3
             WHERE hash = $1 AND agent = $2 AND used_ms IS NULL AND expires_ms > $3
             RETURNING site, labels",
        )
        .bind(hash.as_slice())
        .bind(name.as_str())
        .bind(now_ms)
        .fetch_optional(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        let Some(taken) = taken else {
            let row = sqlx::query("SELECT agent, used_ms FROM tokens WHERE hash = $1")
                .bind(hash.as_slice())
                .fetch_optional(&mut *write)
                .await
                .map_err(|fault| self.fault(fault))?;
            return Ok(Err(match row {
                None => TokenRefused::Unknown,
                Some(row) if row.get::<&str, _>("agent") != name.as_str() => {
                    TokenRefused::OtherName
                }
                Some(row) if row.get::<Option<i64>, _>("used_ms").is_some() => TokenRefused::Used,
                Some(_) => TokenRefused::Expired,
            }));
        };
        // An enrolment by a person is what allows another journal: see `greet`.
        sqlx::query(
            "INSERT INTO agents (name, site, labels, enrolled_ms) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE
             SET site = excluded.site, labels = excluded.labels,
                 enrolled_ms = excluded.enrolled_ms, adopts = 1",
        )
        .bind(name.as_str())
        .bind(taken.get::<&str, _>("site"))
        .bind(taken.get::<&str, _>("labels"))
        .bind(now_ms)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        let whom = Named::Agent(name.clone());
        self.write_certificate(&mut write, &whom, certificate, now_ms)
            .await?;
        self.commit(write).await?;
        Ok(Ok(()))
    }
}
