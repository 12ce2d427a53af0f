//! What operators changed, and when.

use super::{Store, StoreError, Write};

/// One change by an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Who.
    pub operator: String,
    /// What: the RPC or what it did.
    pub what: String,
    /// To what.
    pub target: String,
    /// Why, in the operator's words.
    pub why: String,
}

impl Store {
    /// Notes a change that is no change of a rollout; those are noted with it.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn note_change(&self, change: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        self.write_change(&mut write, change).await?;
        self.commit(write).await
    }

    pub(super) async fn write_change(
        &self,
        write: &mut Write<'_>,
        change: &Change,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO changes (at_ms, operator, what, target, why) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(change.at_ms)
        .bind(&change.operator)
        .bind(&change.what)
        .bind(&change.target)
        .bind(&change.why)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(())
    }

    /// All changes, oldest first.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn changes(&self) -> Result<Vec<Change>, StoreError> {
        let rows: Vec<(i64, String, String, String, String)> =
            sqlx::query_as("SELECT at_ms, operator, what, target, why FROM changes ORDER BY id")
                .fetch_all(&self.readers)
                .await
                .map_err(|fault| self.fault(fault))?;
        Ok(rows
            .into_iter()
            .map(|(at_ms, operator, what, target, why)| Change {
                at_ms,
                operator,
                what,
                target,
                why,
            })
            .collect())
    }
}
