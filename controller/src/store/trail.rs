//! The audit trail's rows. An entry is written in the transaction of what it tells of; only one transaction is open
//! at a time, so the chain cannot fork.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mailmend_policy::digest::Digest;
use mailmend_proto::wire;
use mailmend_proto::wire::trail_item::What;
use prost::Message as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions as _, QueryBuilder, Row, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::many::pieces;
use super::row::{signed, unsigned};
use super::{Change, Store, StoreError, Write};
use crate::trail::item::encoded;
use crate::trail::{CONTROLLER, Head};
use crate::trust::Named;
use crate::trust::refusals::Refused;

/// Entries read at once while all of them are read.
const PAGE: u32 = 1000;

/// Who did something, and to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deed<'a> {
    /// When, milliseconds since 1970 UTC.
    pub(super) at_ms: i64,
    pub(super) actor: Actor<'a>,
    pub(super) kind: &'a str,
    pub(super) target: &'a str,
    /// In words; empty: nothing was said.
    pub(super) why: &'a str,
}

/// Who.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Actor<'a> {
    /// The operator of this name, with the role that the name has now.
    Operator(&'a str),
    /// An agent.
    Agent(&'a str),
    /// The controller by itself.
    Controller,
}

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct TrailRow {
    /// The entry.
    pub entry: wire::TrailEntry,
    /// The hash that stands with it.
    pub hash: Vec<u8>,
}

/// Which entries are wanted; none holds for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrailFilter {
    /// Only from then on, milliseconds since 1970 UTC.
    pub since_ms: Option<i64>,
    /// Only before then.
    pub until_ms: Option<i64>,
    /// Only of this actor.
    pub actor: Option<String>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only with targets that begin so.
    pub target: Option<String>,
}

/// Where the chain ends, as far as this process knows.
#[derive(Debug, Default)]
pub(super) struct End(Mutex<Ends>);

#[derive(Debug, Default)]
struct Ends {
    /// The durable end; not known before the first entry, and while a write that adds to it is under way: whatever
    /// becomes of that, it is read again then.
    durable: Option<Head>,
    /// What the write that is under way has added.
    added: Option<Head>,
    /// The last end that was seen to be durable: to be told, and not to go on from.
    seen: Option<Head>,
}

impl Ends {
    fn see(&mut self, head: Head) {
        if self.seen.is_none_or(|seen| seen.seq < head.seq) {
            self.seen = Some(head);
        }
    }
}

impl End {
    fn locked(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write begins: what an earlier one added and did not commit is gone.
    pub(super) fn begin(&self) {
        self.locked().added = None;
    }

    /// What the write that is about to be committed has added. Asked while it still has the one connection:
    /// right after the commit another write may have begun.
    pub(super) fn added(&self) -> Option<Head> {
        self.locked().added.take()
    }

    /// This is durable. A write that came after may have said more already.
    pub(super) fn durable(&self, added: Option<Head>) {
        let mut ends = self.locked();
        if added.map(|head| head.seq) > ends.durable.map(|head| head.seq) {
            ends.durable = added;
        }
        if let Some(added) = added {
            ends.see(added);
        }
    }

    /// The end to go on from, where it is known.
    fn take(&self) -> Option<Head> {
        let mut ends = self.locked();
        let durable = ends.durable.take();
        ends.added.or(durable)
    }
}

fn row(row: &SqliteRow) -> Result<TrailRow, StoreError> {
    Ok(TrailRow {
        entry: wire::TrailEntry {
            seq: unsigned("audit", row.get("seq"))?,
            at_ms: row.get("at_ms"),
            actor: row.get("actor"),
            role: row.get("role"),
            kind: row.get("kind"),
            target: row.get("target"),
            why: row.get("why"),
            detail: row.get("detail"),
        },
        hash: row.get("hash"),
    })
}

fn head(row: Option<(i64, Vec<u8>)>) -> Result<Head, StoreError> {
    let Some((seq, hash)) = row else {
        return Ok(Head::NONE);
    };
    Ok(Head {
        seq: unsigned("audit", seq)?,
        hash: hash.try_into().map_err(|_| StoreError::Row {
            table: "audit",
            why: format!("the hash of entry {seq} has not 32 bytes"),
        })?,
    })
}

const END: &str = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";

impl Store {
    /// Appends an entry as a part of a write.
    pub(super) async fn write_entry(
        &self,
        write: &mut Write<'_>,
        deed: Deed<'_>,
        items: Vec<What>,
    ) -> Result<(), StoreError> {
        self.write_entries(write, vec![(deed, items)]).await
    }

    /// Appends entries as a part of a write, in order.
    pub(super) async fn write_entries(
        &self,
        write: &mut Write<'_>,
        deeds: Vec<(Deed<'_>, Vec<What>)>,
    ) -> Result<(), StoreError> {
        if deeds.is_empty() {
            return Ok(());
        }
        let mut end = match self.held.end.take() {
            Some(former) => former,
            None => head(
                sqlx::query_as(END)
                    .fetch_optional(&mut **write)
                    .await
                    .map_err(|fault| self.fault(fault))?,
            )?,
        };
        let mut rows = Vec::with_capacity(deeds.len());
        for (deed, items) in deeds {
            let (actor, role) = self.named(write, deed.actor).await?;
            let entry = wire::TrailEntry {
                seq: end.seq + 1,
                at_ms: deed.at_ms,
                actor,
                role,
                kind: deed.kind.to_owned(),
                target: deed.target.to_owned(),
                why: deed.why.to_owned(),
                detail: encoded(items),
            };
            end = end.after(&entry.encode_to_vec());
            rows.push((signed("audit", entry.seq)?, entry, end.hash));
        }
        for rows in pieces(&rows) {
            let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new(
                "INSERT OR FAIL INTO audit (seq, at_ms, actor, role, kind, target, why, detail, hash) ",
            );
            insert.push_values(rows, |mut row, (seq, entry, hash)| {
                row.push_bind(*seq)
                    .push_bind(entry.at_ms)
                    .push_bind(entry.actor.clone())
                    .push_bind(entry.role.clone())
                    .push_bind(entry.kind.clone())
                    .push_bind(entry.target.clone())
                    .push_bind(entry.why.clone())
                    .push_bind(entry.detail.clone())
                    .push_bind(hash.to_vec());
            });
            insert
                .build()
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
        }
        self.held.end.locked().added = Some(end);
        Ok(())
    }

    /// The name and the role of whoever did something.
    async fn named(
        &self,
        write: &mut Write<'_>,
        actor: Actor<'_>,
    ) -> Result<(String, String), StoreError> {
        let (name, role) = match actor {
            // Reactions are told as if the controller were an operator.
            Actor::Controller | Actor::Operator(CONTROLLER) => {
                (CONTROLLER, "controller".to_owned())
            }
            Actor::Agent(name) => (name, "agent".to_owned()),
            Actor::Operator(name) => {
                let role: Option<String> =
                    sqlx::query_scalar("SELECT role FROM operators WHERE name = $1")
                        .bind(name)
                        .fetch_optional(&mut **write)
                        .await
                        .map_err(|fault| self.fault(fault))?;
                (name, role.unwrap_or_default())
            }
        };
        Ok((name.to_owned(), role))
    }

    /// Begins the trail of a store that has none, with what was noted before there was one.
    pub(super) async fn begin_trail(&self, now_ms: i64) -> Result<(), StoreError> {
        if self.trail_head().await?.seq > 0 {
            return Ok(());
        }
        let mut write = self.write().await?;
        let before: Vec<(i64, String, String, String, String)> =
            sqlx::query_as("SELECT at_ms, operator, what, target, why FROM changes ORDER BY id")
                .fetch_all(&mut *write)
                .await
                .map_err(|fault| self.fault(fault))?;
        let trail = Uuid::new_v4().to_string();
        let begun = wire::TrailBegun {
            trail: trail.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            copied: before.len() as u64,
        };
        let deed = Deed {
            at_ms: now_ms,
            actor: Actor::Controller,
            kind: "begin-trail",
            target: &trail,
            why: "",
        };
        self.write_entry(&mut write, deed, vec![What::Begun(begun)])
            .await?;
        for (at_ms, operator, kind, target, why) in &before {
            let deed = Deed {
                at_ms: *at_ms,
                actor: Actor::Operator(operator),
                kind,
                target,
                why,
            };
            self.write_entry(&mut write, deed, Vec::new()).await?;
        }
        let standing = self.standing(&mut write).await?;
        if !standing.is_empty() {
            let deed = Deed {
                at_ms: now_ms,
                actor: Actor::Controller,
                kind: "carry-over",
                target: &trail,
                why: "what was stored and allowed before there was a trail",
            };
            self.write_entry(&mut write, deed, standing).await?;
        }
        self.commit(write).await
    }

    /// What was stored of journals, and what agents were allowed and have not done, when the trail begins.
    async fn standing(&self, write: &mut Write<'_>) -> Result<Vec<What>, StoreError> {
        let mut items = Vec::new();
        let journals = sqlx::query(
            "SELECT agent, journal, max(seq) AS seq FROM records GROUP BY agent, journal ORDER BY agent, journal",
        )
        .fetch_all(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        for row in journals {
            items.push(What::HeadSeen(wire::TrailHeadSeen {
                agent: row.get("agent"),
                journal: row.get("journal"),
                seq: unsigned("records", row.get("seq"))?,
                hash: Vec::new(),
                before: true,
            }));
        }
        let parts = sqlx::query(
            "SELECT p.run, p.agent, p.through, p.down_to, p.last, r.fence FROM parts p JOIN runs r ON r.id = p.run
             WHERE r.fence IS NOT NULL AND json_extract(p.told, '$.closed') IS NULL ORDER BY r.fence, p.agent",
        )
        .fetch_all(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        for row in parts {
            let (run, agent): (String, String) = (row.get("run"), row.get("agent"));
            let fence = unsigned("runs", row.get("fence"))?;
            items.push(What::Assigned(wire::TrailAssigned {
                run: run.clone(),
                fence,
                agents: vec![agent.clone()],
            }));
            items.push(What::Advanced(wire::TrailAdvanced {
                run: run.clone(),
                agent: agent.clone(),
                fence,
                through: unsigned("parts", row.get("through"))?,
            }));
            if let Some(down_to) = row.get::<Option<i64>, _>("down_to") {
                items.push(What::Unwound(wire::TrailUnwound {
                    run,
                    agent,
                    fence,
                    down_to: unsigned("parts", down_to)?,
                    last: row.get("last"),
                }));
            }
        }
        for order in
            sqlx::query("SELECT * FROM person_orders WHERE state <> 'refused' ORDER BY at_ms, id")
                .fetch_all(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?
        {
            let fence: Option<i64> = order.get("fence");
            let bytes: Vec<u8> = order.get("bytes");
            items.push(What::Ordered(wire::TrailOrdered {
                order: order.get("id"),
                run: order.get("run"),
                agent: order.get("agent"),
                what: order.get("kind"),
                fence: unsigned("person_orders", fence.unwrap_or(0))?,
                digest: Digest::of(&bytes).as_bytes().to_vec(),
            }));
        }
        Ok(items)
    }

    /// Notes calls that were refused; nothing is written where there are none.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn note_refusals(&self, refused: &[Refused], now_ms: i64) -> Result<(), StoreError> {
        if refused.is_empty() {
            return Ok(());
        }
        let mut write = self.write().await?;
        for one in refused {
            let deed = Deed {
                at_ms: now_ms,
                actor: match &one.whom {
                    Named::Agent(name) => Actor::Agent(name.as_str()),
                    Named::Operator(name) => Actor::Operator(name),
                },
                kind: "refused-call",
                target: one.call,
                why: &format!("{} times; {}", one.times, one.why),
            };
            self.write_entry(&mut write, deed, Vec::new()).await?;
        }
        self.commit(write).await
    }

    /// Where the trail ends.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn trail_head(&self) -> Result<Head, StoreError> {
        let known = self.held.end.locked().seen;
        if let Some(known) = known {
            return Ok(known);
        }
        let found = head(
            sqlx::query_as(END)
                .fetch_optional(&self.readers)
                .await
                .map_err(|fault| self.fault(fault))?,
        )?;
        if found != Head::NONE {
            self.held.end.locked().see(found);
        }
        Ok(found)
    }

    /// The next entries after one, in order; at most 1000.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn trail_after(&self, after: u64) -> Result<Vec<TrailRow>, StoreError> {
        sqlx::query("SELECT * FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2")
            .bind(signed("audit", after)?)
            .bind(PAGE)
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .iter()
            .map(row)
            .collect()
    }

    /// The newest entries that fit, oldest first.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn trail(
        &self,
        filter: &TrailFilter,
        limit: u32,
    ) -> Result<Vec<TrailRow>, StoreError> {
        let mut rows = sqlx::query(
            "SELECT * FROM audit WHERE at_ms >= coalesce($1, at_ms) AND at_ms < coalesce($2, at_ms + 1)
               AND actor = coalesce($3, actor) AND kind = coalesce($4, kind)
               AND ($5 IS NULL OR substr(target, 1, length($5)) = $5)
             ORDER BY seq DESC LIMIT $6",
        )
        .bind(filter.since_ms)
        .bind(filter.until_ms)
        .bind(&filter.actor)
        .bind(&filter.kind)
        .bind(&filter.target)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?
        .iter()
        .map(row)
        .collect::<Result<Vec<_>, _>>()?;
        rows.reverse();
        Ok(rows)
    }

    /// Every entry about exactly this, in order.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn trail_of(&self, target: &str) -> Result<Vec<TrailRow>, StoreError> {
        sqlx::query("SELECT * FROM audit WHERE target = $1 ORDER BY seq")
            .bind(target)
            .fetch_all(&self.readers)
            .await
            .map_err(|fault| self.fault(fault))?
            .iter()
            .map(row)
            .collect()
    }
}

/// The trail in a store's file, read without opening the store: beside its controller, or when that is gone.
#[derive(Debug)]
pub struct TrailFile {
    path: PathBuf,
    database: SqliteConnection,
}

impl TrailFile {
    /// Opens the file to read it; nothing is written, and a schema of another version is left as it is.
    ///
    /// # Errors
    /// Where it is no store, or cannot be read.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let database = options.connect().await;
        Ok(Self {
            path: path.to_owned(),
            database: database.map_err(|fault| StoreError::of(path, fault))?,
        })
    }

    /// The next entries after one, in order; at most 1000.
    ///
    /// # Errors
    /// Where the file cannot be read, has no trail or a row is damaged.
    pub async fn after(&mut self, after: u64) -> Result<Vec<TrailRow>, StoreError> {
        sqlx::query("SELECT * FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2")
            .bind(signed("audit", after)?)
            .bind(PAGE)
            .fetch_all(&mut self.database)
            .await
            .map_err(|fault| StoreError::of(&self.path, fault))?
            .iter()
            .map(row)
            .collect()
    }
}

impl<'a> From<&'a Change> for Deed<'a> {
    fn from(change: &'a Change) -> Self {
        Self {
            at_ms: change.at_ms,
            actor: Actor::Operator(&change.operator),
            kind: &change.what,
            target: &change.target,
            why: &change.why,
        }
    }
}
