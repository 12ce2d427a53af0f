//! What operators changed, and when: entries of the audit trail.

use mailmend_proto::wire::trail_item::What;

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
        self.write_change_of(write, change, Vec::new()).await
    }

    /// The same, with what it allows or changes beyond its words.
    pub(super) async fn write_change_of(
        &self,
        write: &mut Write<'_>,
        change: &Change,
        items: Vec<What>,
    ) -> Result<(), StoreError> {
        self.write_entry(write, change.into(), items).await
    }

    /// All changes by operators, oldest first.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn changes(&self) -> Result<Vec<Change>, StoreError> {
        let rows: Vec<(i64, String, String, String, String)> = sqlx::query_as(
            "SELECT at_ms, actor, kind, target, why FROM audit
                 WHERE role NOT IN ('agent', 'controller') ORDER BY seq",
        )
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
