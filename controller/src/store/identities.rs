//! Who may call: operators with their roles, certificates that were issued, and revocations.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row;

use super::trail::{Actor, Deed};
use super::{Store, StoreError, TokenRefused, Write};
use crate::store::changes::Change;
use crate::trail::line;
use crate::trust::Named;
use crate::trust::known::{Known, Revocation};
use crate::trust::role::Role;

/// A certificate that is about to be handed out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewCertificate {
    /// Its serial number, lower-case hexadecimal.
    pub serial: String,
    /// When it ends, milliseconds since 1970 UTC.
    pub until_ms: i64,
}

/// An operator and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorRow {
    /// The name in its certificate.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was added, milliseconds since 1970 UTC.
    pub added_ms: i64,
    /// By whom; empty: by the controller itself.
    pub added_by: String,
    /// The end of its newest certificate, milliseconds since 1970 UTC; 0: none is known.
    pub until_ms: i64,
    /// When, by whom and why what it had was ended.
    pub revoked: Option<(i64, String, String)>,
}

/// A token for an operator to be.
#[derive(Debug, Clone)]
pub struct NewOperator {
    /// Its name.
    pub name: String,
    /// What it will be allowed.
    pub role: Role,
    /// The token's hash; the token itself is never stored.
    pub hash: [u8; 32],
    /// The token is refused from then on, milliseconds since 1970 UTC.
    pub expires_ms: i64,
    /// Whether the name may be there already.
    pub again: bool,
}

/// Why who may call was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperatorRefused {
    /// There is one of this name.
    Exists,
    /// There is none of this name.
    Unknown,
    /// Nobody would be left who may let others in.
    LastAdmin,
}

/// What a revocation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Certificates that had not ended by themselves.
    pub certificates: u32,
    /// Tokens that had not been used.
    pub tokens: u32,
}

/// A renewal that came with a certificate that was revoked meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokedMeanwhile;

impl Store {
    /// Everything that the door must know.
    ///
    /// # Errors
    /// Where the store fails or holds a role of a newer version.
    pub async fn known(&self) -> Result<Known, StoreError> {
        // One read transaction: roles and revocations of the same moment.
        let mut read = self.readers.begin().await.map_err(|f| self.fault(f))?;
        let rows = sqlx::query("SELECT name, role FROM operators")
            .fetch_all(&mut *read)
            .await
            .map_err(|fault| self.fault(fault))?;
        let mut operators = BTreeMap::new();
        for row in rows {
            let name: String = row.get("name");
            let role = super::row::parsed("operators", row.get("role"))?;
            operators.insert(name, role);
        }
        let rows = sqlx::query("SELECT kind, name, after, at_ms, by, why FROM revocations")
            .fetch_all(&mut *read)
            .await
            .map_err(|fault| self.fault(fault))?;
        let mut revoked = BTreeMap::new();
        for row in rows {
            let (kind, name): (&str, &str) = (row.get("kind"), row.get("name"));
            let since: Vec<(String,)> = sqlx::query_as(
                "SELECT serial FROM certificates WHERE kind = $1 AND name = $2 AND id > $3",
            )
            .bind(kind)
            .bind(name)
            .bind(row.get::<i64, _>("after"))
            .fetch_all(&mut *read)
            .await
            .map_err(|fault| self.fault(fault))?;
            let whom = match kind {
                "agent" => Named::Agent(super::row::parsed("revocations", name)?),
                _ => Named::Operator(name.to_owned()),
            };
            let revocation = Revocation {
                at_ms: row.get("at_ms"),
                by: row.get("by"),
                why: row.get("why"),
                since: since
                    .into_iter()
                    .map(|(serial,)| serial)
                    .collect::<BTreeSet<_>>(),
            };
            revoked.insert(whom, revocation);
        }
        Ok(Known { operators, revoked })
    }

    /// Notes a renewed certificate before it is handed out, unless the one that it was asked with,
    /// `with`, was revoked meanwhile. Durable when it returns.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn certificate_renewed(
        &self,
        whom: &Named,
        with: &str,
        new: &NewCertificate,
        now_ms: i64,
    ) -> Result<Result<(), RevokedMeanwhile>, StoreError> {
        let mut write = self.write().await?;
        let barred: Option<(i64,)> = sqlx::query_as(
            "SELECT 1 FROM revocations r WHERE kind = $1 AND name = $2 AND NOT EXISTS (
               SELECT 1 FROM certificates c
               WHERE c.kind = r.kind AND c.name = r.name AND c.serial = $3 AND c.id > r.after)",
        )
        .bind(whom.kind())
        .bind(whom.name())
        .bind(with)
        .fetch_optional(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if barred.is_some() {
            return Ok(Err(RevokedMeanwhile));
        }
        self.write_certificate(&mut write, whom, new, now_ms)
            .await?;
        self.commit(write).await?;
        Ok(Ok(()))
    }

    /// Notes the certificate that this process made for `whom` by itself, once; not where the name was
    /// revoked. Durable when it returns.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn own_certificate(
        &self,
        whom: &Named,
        own: &NewCertificate,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let there: Option<(i64,)> = sqlx::query_as(
            "SELECT 1 FROM certificates WHERE kind = $1 AND name = $2 AND serial = $3
             UNION SELECT 1 FROM revocations WHERE kind = $1 AND name = $2",
        )
        .bind(whom.kind())
        .bind(whom.name())
        .bind(&own.serial)
        .fetch_optional(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if there.is_some() {
            return Ok(());
        }
        self.write_certificate(&mut write, whom, own, now_ms)
            .await?;
        self.commit(write).await
    }

    pub(super) async fn write_certificate(
        &self,
        write: &mut Write<'_>,
        whom: &Named,
        new: &NewCertificate,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        // What has ended by itself is refused by TLS and needs no row.
        sqlx::query("DELETE FROM certificates WHERE kind = $1 AND name = $2 AND until_ms < $3")
            .bind(whom.kind())
            .bind(whom.name())
            .bind(now_ms)
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        sqlx::query(
            "INSERT INTO certificates (kind, name, serial, until_ms) VALUES ($1, $2, $3, $4)",
        )
        .bind(whom.kind())
        .bind(whom.name())
        .bind(&new.serial)
        .bind(new.until_ms)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        let deed = Deed {
            at_ms: now_ms,
            actor: Actor::Controller,
            kind: "issue-certificate",
            target: &whom.to_string(),
            why: &format!("serial {} until {}", new.serial, line::time(new.until_ms)),
        };
        self.write_entry(write, deed, Vec::new()).await?;
        if let Named::Agent(agent) = whom {
            sqlx::query("UPDATE agents SET certificate_until_ms = $2 WHERE name = $1")
                .bind(agent.as_str())
                .bind(new.until_ms)
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
        }
        Ok(())
    }

    /// Adds an operator, or gives one that is there a new role and token. Durable when it returns.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn add_operator(
        &self,
        new: &NewOperator,
        change: &Change,
    ) -> Result<Result<(), OperatorRefused>, StoreError> {
        let mut write = self.write().await?;
        if let Some(old) = self.role_of(&mut write, &new.name).await? {
            if !new.again {
                return Ok(Err(OperatorRefused::Exists));
            }
            if old == Role::Admin
                && new.role != Role::Admin
                && self.other_admins(&mut write, &new.name).await? == 0
            {
                return Ok(Err(OperatorRefused::LastAdmin));
            }
        }
        sqlx::query(
            "INSERT INTO operators (name, role, added_ms, added_by) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE SET role = excluded.role",
        )
        .bind(&new.name)
        .bind(new.role.name())
        .bind(change.at_ms)
        .bind(&change.operator)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        sqlx::query(
            "INSERT INTO operator_tokens (hash, operator, created_ms, created_by, expires_ms)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(new.hash.as_slice())
        .bind(&new.name)
        .bind(change.at_ms)
        .bind(&change.operator)
        .bind(new.expires_ms)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        self.write_change(&mut write, change).await?;
        self.commit(write).await?;
        Ok(Ok(()))
    }

    /// Uses an operator's token up and notes its certificate, both or neither. Durable when it returns.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn take_operator_token(
        &self,
        hash: &[u8; 32],
        name: &str,
        new: &NewCertificate,
        now_ms: i64,
    ) -> Result<Result<(), TokenRefused>, StoreError> {
        let mut write = self.write().await?;
        let taken = sqlx::query(
            "UPDATE operator_tokens SET used_ms = $3
             WHERE hash = $1 AND operator = $2 AND used_ms IS NULL AND expires_ms > $3",
        )
        .bind(hash.as_slice())
        .bind(name)
        .bind(now_ms)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        if taken.rows_affected() == 0 {
            let row: Option<(String, Option<i64>)> =
                sqlx::query_as("SELECT operator, used_ms FROM operator_tokens WHERE hash = $1")
                    .bind(hash.as_slice())
                    .fetch_optional(&mut *write)
                    .await
                    .map_err(|fault| self.fault(fault))?;
            return Ok(Err(match row {
                None => TokenRefused::Unknown,
                Some((operator, _)) if operator != name => TokenRefused::OtherName,
                Some((_, Some(_))) => TokenRefused::Used,
                Some((_, None)) => TokenRefused::Expired,
            }));
        }
        let whom = Named::Operator(name.to_owned());
        self.write_certificate(&mut write, &whom, new, now_ms)
            .await?;
        self.commit(write).await?;
        Ok(Ok(()))
    }

    /// Gives an operator another role. Durable when it returns.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn set_role(
        &self,
        name: &str,
        role: Role,
        change: &Change,
    ) -> Result<Result<(), OperatorRefused>, StoreError> {
        let mut write = self.write().await?;
        let Some(old) = self.role_of(&mut write, name).await? else {
            return Ok(Err(OperatorRefused::Unknown));
        };
        if old == Role::Admin
            && role != Role::Admin
            && self.other_admins(&mut write, name).await? == 0
        {
            return Ok(Err(OperatorRefused::LastAdmin));
        }
        sqlx::query("UPDATE operators SET role = $2 WHERE name = $1")
            .bind(name)
            .bind(role.name())
            .execute(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
        self.write_change(&mut write, change).await?;
        self.commit(write).await?;
        Ok(Ok(()))
    }

    /// Ends every certificate and token that a name has now. Durable when it returns.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn revoke(
        &self,
        whom: &Named,
        change: &Change,
    ) -> Result<Result<Ended, OperatorRefused>, StoreError> {
        let mut write = self.write().await?;
        let (known, tokens) = match whom {
            Named::Agent(_) => (
                "SELECT 1 FROM agents WHERE name = $1",
                "UPDATE tokens SET used_ms = $2 WHERE agent = $1 AND used_ms IS NULL",
            ),
            Named::Operator(_) => (
                "SELECT 1 FROM operators WHERE name = $1",
                "UPDATE operator_tokens SET used_ms = $2 WHERE operator = $1 AND used_ms IS NULL",
            ),
        };
        let known: Option<(i64,)> = sqlx::query_as(known)
            .bind(whom.name())
            .fetch_optional(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?;
        if known.is_none() {
            return Ok(Err(OperatorRefused::Unknown));
        }
        if let Named::Operator(name) = whom
            && self.role_of(&mut write, name).await? == Some(Role::Admin)
            && self.other_admins(&mut write, name).await? == 0
        {
            return Ok(Err(OperatorRefused::LastAdmin));
        }
        let tokens = sqlx::query(tokens)
            .bind(whom.name())
            .bind(change.at_ms)
            .execute(&mut *write)
            .await
            .map_err(|fault| self.fault(fault))?
            .rows_affected();
        let (certificates,): (i64,) = sqlx::query_as(
            "SELECT count(*) FROM certificates c WHERE kind = $1 AND name = $2 AND until_ms > $3
             AND id > coalesce((SELECT after FROM revocations r WHERE r.kind = c.kind AND r.name = c.name), 0)",
        )
        .bind(whom.kind())
        .bind(whom.name())
        .bind(change.at_ms)
        .fetch_one(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        // The highest id ever given, also of rows that are gone.
        sqlx::query(
            "INSERT INTO revocations (kind, name, after, at_ms, by, why)
             VALUES ($1, $2,
               coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'certificates'), 0), $3, $4, $5)
             ON CONFLICT (kind, name) DO UPDATE SET after = excluded.after, at_ms = excluded.at_ms,
               by = excluded.by, why = excluded.why",
        )
        .bind(whom.kind())
        .bind(whom.name())
        .bind(change.at_ms)
        .bind(&change.operator)
        .bind(&change.why)
        .execute(&mut *write)
        .await
        .map_err(|fault| self.fault(fault))?;
        self.write_change(&mut write, change).await?;
        self.commit(write).await?;
        let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Ok(Ended {
            certificates: count(certificates),
            tokens: count(i64::try_from(tokens).unwrap_or(i64::MAX)),
        }))
    }

    /// Every operator, in order of name.
    ///
    /// # Errors
    /// Where the store fails or holds a role of a newer version.
    pub async fn operators(&self) -> Result<Vec<OperatorRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT o.name, o.role, o.added_ms, o.added_by, r.at_ms, r.by, r.why,
               coalesce((SELECT max(until_ms) FROM certificates c
                         WHERE c.kind = 'operator' AND c.name = o.name AND c.id > coalesce(r.after, 0)), 0)
                 AS until_ms
             FROM operators o LEFT JOIN revocations r ON r.kind = 'operator' AND r.name = o.name
             ORDER BY o.name",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?;
        rows.into_iter()
            .map(|row| {
                Ok(OperatorRow {
                    name: row.get("name"),
                    role: super::row::parsed("operators", row.get("role"))?,
                    added_ms: row.get("added_ms"),
                    added_by: row.get("added_by"),
                    until_ms: row.get("until_ms"),
                    revoked: row
                        .get::<Option<i64>, _>("at_ms")
                        .map(|at_ms| (at_ms, row.get("by"), row.get("why"))),
                })
            })
            .collect()
    }

    async fn role_of(&self, write: &mut Write<'_>, name: &str) -> Result<Option<Role>, StoreError> {
        let row: Option<(String,)> = sqlx::query_as("SELECT role FROM operators WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        row.map(|(role,)| super::row::parsed("operators", &role))
            .transpose()
    }

    /// Admins beside `name` that can call: not revoked, or enrolled since.
    async fn other_admins(&self, write: &mut Write<'_>, name: &str) -> Result<i64, StoreError> {
        let (count,): (i64,) = sqlx::query_as(
            "SELECT count(*) FROM operators o
             LEFT JOIN revocations r ON r.kind = 'operator' AND r.name = o.name
             WHERE o.role = 'admin' AND o.name <> $1 AND EXISTS (
               SELECT 1 FROM certificates c
               WHERE c.kind = 'operator' AND c.name = o.name AND c.id > coalesce(r.after, 0))",
        )
        .bind(name)
        .fetch_one(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(count)
    }
}
