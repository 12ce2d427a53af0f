//! What many agents say at once, in one transaction: a sync to disk for each report would be most of what ten thousand
//! agents cost.
//!
//! Whoever has something to store puts it down and waits. While one transaction is being made durable the next one is
//! gathered; at rest a report is stored alone and at once. A caller hears of it when it is durable, as before: what is
//! gathered together is committed together. Where anything in it is not as expected, nothing of it is stored, and each is
//! stored by itself, so that one agent's trouble is no other's.
//!
//! The statements of many rows say `OR FAIL`: they are a part of a transaction that is rolled back whole where one of them
//! fails, and without it SQLite keeps a copy of each page for the case that one statement alone is to be undone.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_proto::run::{Ended, Event, RunId};
use mailmend_proto::wire;
use sqlx::{QueryBuilder, Row, Sqlite};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::at_work::Touched;
use super::many::filled;
use super::records::{Written, head_seen};
use super::row::{signed, to_json};
use super::{AgentRow, Greeting, Refused, Store, StoreError, StoredRun, SymptomRow, Tail, Write};
use crate::lock::{self, Word};
use crate::rollout::Told;
use crate::trail::chain::hex;

/// At most so many callers are served by one transaction: readers of the store wait for nobody, but the next caller does.
const MOST: usize = 1024;
/// After a transaction of so many callers the next one is gathered for [`LINGERS`] times as long as that one took, and at
/// most [`LINGER`]: thousands report at once, and what they write lies on the same pages, each of which is written once for
/// each transaction. Where [`PLENTY`] wait already it begins at once.
const MANY: usize = 16;
/// See [`MANY`].
const PLENTY: usize = MOST / 2;
/// See [`MANY`].
const LINGERS: u32 = 3;
/// See [`MANY`]; small beside what a step of a run takes.
const LINGER: Duration = Duration::from_millis(40);

/// How long the next transaction is gathered for, after one of so many callers that took so long, while so many wait.
fn linger(took: Duration, served: usize, waiting: usize) -> Duration {
    if served < MANY || waiting >= PLENTY {
        return Duration::ZERO;
    }
    took.saturating_mul(LINGERS).min(LINGER)
}

/// What waits to be stored, and whether somebody is at it.
#[derive(Debug, Default)]
pub(super) struct Gathered(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    jobs: Vec<Job>,
    busy: bool,
    /// How often what was gathered was stored one by one.
    apart: u64,
}

impl Gathered {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often what was gathered was stored one by one, because of something unexpected in it.
    #[cfg(test)]
    pub(super) fn apart(&self) -> u64 {
        self.lock().apart
    }
}

#[derive(Debug)]
enum Job {
    Append(Append, Answer<()>),
    Greet(Greet, Answer<Result<AgentRow, Refused>>),
    Symptoms(Symptoms, Answer<()>),
    Queues(Queues, Answer<()>),
    Held(Held, Answer<()>),
}

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// The next records of an agent's journal.
#[derive(Debug, Clone)]
struct Append {
    agent: ServerName,
    site: SiteName,
    journal: String,
    after: u64,
    chain: Option<[u8; 32]>,
    noted: bool,
    records: Vec<Written>,
    runs: Vec<StoredRun>,
    now_ms: i64,
}

#[derive(Debug, Clone)]
struct Greet {
    agent: ServerName,
    greeting: Greeting,
    now_ms: i64,
}

#[derive(Debug, Clone)]
struct Symptoms {
    agent: ServerName,
    said: Vec<SymptomRow>,
}

#[derive(Debug, Clone)]
struct Queues {
    agent: ServerName,
    told: Vec<wire::QueueDepth>,
}

#[derive(Debug, Clone)]
struct Held {
    agent: ServerName,
    held: Option<wire::TrustHeld>,
    now_ms: i64,
}

impl Job {
    /// Whether nobody waits for it any more: the stream of its agent has ended, and the next one says it again.
    fn is_given_up(&self) -> bool {
        match self {
            Self::Append(_, answer)
            | Self::Symptoms(_, answer)
            | Self::Queues(_, answer)
            | Self::Held(_, answer) => answer.is_closed(),
            Self::Greet(_, answer) => answer.is_closed(),
        }
    }
}

/// Whether the record changes nothing beyond its agent, its run and its part: of the others each has tables of its own.
pub(super) const fn is_plain(event: &Event) -> bool {
    matches!(
        event,
        Event::Admitted { .. }
            | Event::Advanced { .. }
            | Event::Fenced { .. }
            | Event::UnwindOrdered { .. }
            | Event::StepIntended { .. }
            | Event::StepSkipped { .. }
            | Event::StepFinished { .. }
            | Event::SectionBegan { .. }
            | Event::SectionEnded { .. }
            | Event::ServiceChanged { .. }
            | Event::UndoIntended { .. }
            | Event::UndoFinished { .. }
            | Event::Closed { .. }
            | Event::TrailWitnessed {
                contradicts: false,
                ..
            }
    )
}

/// The rest of a transaction that nobody finishes any more is left to others.
struct AtIt<'a>(&'a Store);

impl Drop for AtIt<'_> {
    fn drop(&mut self) {
        self.0.held.gathered.lock().busy = false;
    }
}

impl Store {
    /// Appends the next records of an agent's journal, all or none, with what they add up to.
    /// Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where the stored journal does not end at `tail.after`.
    pub async fn append(
        &self,
        tail: Tail<'_>,
        records: Vec<Written>,
        runs: Vec<StoredRun>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        if !records.iter().all(|one| is_plain(&one.record.event)) {
            return self.append_alone(tail, &records, &runs, now_ms).await;
        }
        let append = Append {
            agent: tail.agent.clone(),
            site: tail.site.clone(),
            journal: tail.journal.to_owned(),
            after: tail.after,
            chain: tail.chain,
            noted: tail.noted,
            records,
            runs,
            now_ms,
        };
        self.gather(|answer| Job::Append(append, answer)).await
    }

    /// Lets an agent in, or says why not, and notes what it says of itself. A journal other than the
    /// known one is only accepted right after an enrolment; the agent's open parts under the old one
    /// are lost then and need a person.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn greet(
        &self,
        name: &ServerName,
        greeting: &Greeting,
        now_ms: i64,
    ) -> Result<Result<AgentRow, Refused>, StoreError> {
        let greet = Greet {
            agent: name.clone(),
            greeting: greeting.clone(),
            now_ms,
        };
        self.gather(|answer| Job::Greet(greet, answer)).await
    }

    /// Replaces all that an agent said of symptoms.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn replace_symptoms(
        &self,
        agent: &ServerName,
        said: &[SymptomRow],
    ) -> Result<(), StoreError> {
        let symptoms = Symptoms {
            agent: agent.clone(),
            said: said.to_vec(),
        };
        self.gather(|answer| Job::Symptoms(symptoms, answer)).await
    }

    /// Replaces all that an agent told of its queues. What are no queues of this version is dropped, and
    /// what is told twice counts once.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn replace_queues(
        &self,
        agent: &ServerName,
        told: &[wire::QueueDepth],
    ) -> Result<(), StoreError> {
        let queues = Queues {
            agent: agent.clone(),
            told: told.to_vec(),
        };
        self.gather(|answer| Job::Queues(queues, answer)).await
    }

    /// Notes what an agent told of what it holds; one that knows nothing of signatures: `None`.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn note_held(
        &self,
        agent: &ServerName,
        held: Option<&wire::TrustHeld>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let held = Held {
            agent: agent.clone(),
            held: held.cloned(),
            now_ms,
        };
        self.gather(|answer| Job::Held(held, answer)).await
    }

    /// Has something stored with what others have, and waits for it.
    async fn gather<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let idle = {
            let mut waiting = self.held.gathered.lock();
            waiting.jobs.push(job(answer));
            !std::mem::replace(&mut waiting.busy, true)
        };
        if idle {
            // A task of its own: the caller's stream may end while others wait for the same transaction.
            let store = self.clone();
            tokio::spawn(async move { store.store_gathered().await });
        }
        answered
            .await
            .unwrap_or_else(|_| Err(self.fault(sqlx::Error::WorkerCrashed)))
    }

    async fn store_gathered(&self) {
        let at_it = AtIt(self);
        loop {
            let mut jobs = {
                let mut waiting = self.held.gathered.lock();
                if waiting.jobs.is_empty() {
                    waiting.busy = false;
                    std::mem::forget(at_it);
                    return;
                }
                let count = waiting.jobs.len().min(MOST);
                waiting.jobs.drain(..count).collect::<Vec<_>>()
            };
            jobs.retain(|job| !job.is_given_up());
            if jobs.len() > 1 {
                let began = Instant::now();
                match self.store_together(&jobs).await {
                    Ok(greeted) => {
                        let (took, served) = (began.elapsed(), jobs.len());
                        answer(jobs, greeted);
                        let waiting = self.held.gathered.lock().jobs.len();
                        let linger = linger(took, served, waiting);
                        if !linger.is_zero() {
                            tokio::time::sleep(linger).await;
                        }
                        continue;
                    }
                    Err(fault) => {
                        tracing::debug!(%fault, "storing one by one what was gathered");
                        self.held.gathered.lock().apart += 1;
                    }
                }
            }
            for job in jobs {
                self.store_alone(job).await;
            }
        }
    }

    async fn store_alone(&self, job: Job) {
        // Whoever does not wait any more has gone with its stream.
        match job {
            Job::Append(append, answer) => {
                let tail = Tail {
                    agent: &append.agent,
                    site: &append.site,
                    journal: &append.journal,
                    after: append.after,
                    chain: append.chain,
                    noted: append.noted,
                };
                let stored = self.append_alone(tail, &append.records, &append.runs, append.now_ms);
                drop(answer.send(stored.await));
            }
            Job::Greet(greet, answer) => {
                let greeted = self.greet_alone(&greet.agent, &greet.greeting, greet.now_ms);
                drop(answer.send(greeted.await));
            }
            Job::Symptoms(symptoms, answer) => {
                let stored = self.symptoms_alone(&symptoms.agent, &symptoms.said).await;
                drop(answer.send(stored));
            }
            Job::Queues(queues, answer) => {
                let said = [(&queues.agent, &queues.told[..])];
                drop(answer.send(self.queues_alone(&said).await));
            }
            Job::Held(held, answer) => {
                let said = [(&held.agent, held.held.as_ref(), held.now_ms)];
                drop(answer.send(self.held_alone(&said).await));
            }
        }
    }

    /// Stores all of it in one transaction; answers what came of the greetings, in order.
    async fn store_together(
        &self,
        jobs: &[Job],
    ) -> Result<Vec<Result<AgentRow, Refused>>, StoreError> {
        let mut write = self.write().await?;
        let (mut appends, mut symptoms, mut greetings) = (Vec::new(), Vec::new(), Vec::new());
        let (mut queues, mut held, mut now_ms) = (Vec::new(), Vec::new(), i64::MIN);
        for job in jobs {
            match job {
                Job::Append(append, _) => appends.push(append),
                Job::Symptoms(said, _) => symptoms.push(said),
                Job::Greet(greet, _) => {
                    now_ms = now_ms.max(greet.now_ms);
                    greetings.push((&greet.agent, &greet.greeting));
                }
                Job::Queues(said, _) => queues.push((&said.agent, &said.told[..])),
                Job::Held(said, _) => held.push((&said.agent, said.held.as_ref(), said.now_ms)),
            }
        }
        let (greeted, beyond) = if greetings.is_empty() {
            (Vec::new(), false)
        } else {
            self.greet_within(&mut write, &greetings, now_ms).await?
        };
        self.write_queues(&mut write, &queues).await?;
        self.write_held(&mut write, &held).await?;
        if !symptoms.is_empty() {
            self.write_symptoms(&mut write, &symptoms).await?;
        }
        if !appends.is_empty() {
            self.write_appends(&mut write, &appends).await?;
        }
        let touched = if beyond {
            Touched::Anything
        } else {
            Touched::Words(words(&appends))
        };
        let committed = self.commit_of(write, touched).await;
        if !symptoms.is_empty() {
            self.held.marks.note_symptoms();
        }
        committed?;
        Ok(greeted)
    }

    async fn write_symptoms(
        &self,
        write: &mut Write<'_>,
        symptoms: &[&Symptoms],
    ) -> Result<(), StoreError> {
        let agents: Vec<&str> = symptoms.iter().map(|one| one.agent.as_str()).collect();
        let mut rows = Vec::new();
        for SymptomRow { word, digest } in symptoms.iter().flat_map(|one| &one.said) {
            rows.push((
                word.agent.as_str(),
                word.policy.as_str(),
                word.version,
                hex(digest.as_bytes()),
                word.standing.name(),
                word.since_ms,
                word.looked_ms,
                word.heard_ms,
                to_json("symptoms", &word.evidence)?,
            ));
        }
        sqlx::query("DELETE FROM symptoms WHERE agent IN (SELECT value FROM json_each($1))")
            .bind(to_json("symptoms", &agents)?)
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        sqlx::query(
            "INSERT OR REPLACE INTO symptoms
               (agent, policy, version, digest, state, since_ms, looked_ms, heard_ms, evidence)
             SELECT value ->> 0, value ->> 1, value ->> 2, unhex(value ->> 3), value ->> 4, value ->> 5,
               value ->> 6, value ->> 7, value ->> 8
             FROM json_each($1)",
        )
        .bind(to_json("symptoms", &rows)?)
        .execute(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        Ok(())
    }

    /// As [`Store::append_alone`] for many agents, whose records are all plain.
    async fn write_appends(
        &self,
        write: &mut Write<'_>,
        appends: &[&Append],
    ) -> Result<(), StoreError> {
        self.move_tails(write, appends).await?;
        self.insert_records(write, appends).await?;
        self.note_heads(write, appends).await?;
        let (mut admitted, mut closed) = (Vec::new(), Vec::new());
        for append in appends {
            for Written { record, .. } in &append.records {
                let run = record.run.to_string();
                match &record.event {
                    Event::Admitted { .. } => admitted.push((run, append.agent.as_str())),
                    Event::Closed { how, .. } => closed.push((run, phase(*how), record.at_ms)),
                    _ => {}
                }
            }
        }
        if !admitted.is_empty() {
            // Rare, and the trail has to say that it may be closed again: that is `append_alone`'s to do.
            let refused: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM json_each($1) AS taken JOIN parts
                   ON run = taken.value ->> 0 AND agent = taken.value ->> 1 WHERE refused IS NOT NULL)",
            )
            .bind(to_json("parts", &admitted)?)
            .fetch_one(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
            if refused {
                return Err(StoreError::Changed("a refused part".to_owned()));
            }
        }
        if !closed.is_empty() {
            sqlx::query(
                "UPDATE runs SET phase = ended.value ->> 1, since_ms = ended.value ->> 2,
                   ended_ms = ended.value ->> 2
                 FROM json_each($1) AS ended
                 WHERE runs.id = ended.value ->> 0 AND rollout IS NULL",
            )
            .bind(to_json("runs", &closed)?)
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        }
        let mut words = Vec::new();
        for append in appends {
            for StoredRun { run, told: now } in &append.runs {
                // After all of the records: another release may have been taken right after this closing.
                if now.closed.is_some() && now.releasing.is_none() {
                    let fence = now.fence;
                    words.push((*run, Word::Closed { run: *run, fence }));
                }
            }
        }
        self.write_told(write, appends).await?;
        self.hear_all(write, &words).await
    }

    /// Moves the ends of the journals on; all of them must be where their reports begin.
    async fn move_tails(
        &self,
        write: &mut Write<'_>,
        appends: &[&Append],
    ) -> Result<(), StoreError> {
        let mut tails = Vec::with_capacity(appends.len());
        for append in appends {
            let last = append.records.last();
            let last = last.map_or(append.after, |last| last.record.seq);
            let (after, last) = (signed("agents", append.after)?, signed("agents", last)?);
            tails.push((*append, after, last));
        }
        let mut moved = 0;
        for tails in filled(&tails) {
            let mut update: QueryBuilder<Sqlite> =
                QueryBuilder::new("WITH tail (agent, journal, after, last, at_ms, chain) AS (");
            update.push_values(tails, |mut row, tail| {
                let chain = tail.and_then(|(append, ..)| append.chain);
                row.push_bind(tail.map(|(append, ..)| append.agent.to_string()))
                    .push_bind(tail.map(|(append, ..)| append.journal.clone()))
                    .push_bind(tail.map(|(_, after, _)| *after))
                    .push_bind(tail.map(|(_, _, last)| *last))
                    .push_bind(tail.map(|(append, ..)| append.now_ms))
                    .push_bind(chain.map(|hash| hash.to_vec()));
            });
            update.push(
                ") UPDATE OR FAIL agents SET acknowledged = tail.last, head = max(head, tail.last),
                     last_seen_ms = tail.at_ms, chain = tail.chain
                   FROM tail WHERE agents.name = tail.agent AND agents.journal = tail.journal
                     AND agents.acknowledged = tail.after",
            );
            let done = update
                .build()
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
            moved += done.rows_affected();
        }
        if moved == appends.len() as u64 {
            return Ok(());
        }
        Err(StoreError::Changed("one of many agents".to_owned()))
    }

    /// Writes what the agents have told of their parts of runs.
    async fn write_told(
        &self,
        write: &mut Write<'_>,
        appends: &[&Append],
    ) -> Result<(), StoreError> {
        let mut told = Vec::new();
        for append in appends {
            for StoredRun { run, told: now } in &append.runs {
                told.push((*run, &append.agent, to_json("parts", now)?));
            }
        }
        for told in filled(&told) {
            let mut update: QueryBuilder<Sqlite> =
                QueryBuilder::new("WITH part (run, agent, told) AS (");
            update.push_values(told, |mut row, told| {
                row.push_bind(told.map(|(run, ..)| run.to_string()))
                    .push_bind(told.map(|(_, agent, _)| agent.to_string()))
                    .push_bind(told.map(|(.., told)| told.clone()));
            });
            update.push(
                ") UPDATE OR FAIL parts SET told = part.told FROM part
                   WHERE parts.run = part.run AND parts.agent = part.agent",
            );
            update
                .build()
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
        }
        Ok(())
    }

    /// Notes the heads of journals in the audit trail where that is due, as [`Store::append_alone`] does.
    async fn note_heads(
        &self,
        write: &mut Write<'_>,
        appends: &[&Append],
    ) -> Result<(), StoreError> {
        let mut heads = Vec::new();
        for append in appends {
            let tail = Tail {
                agent: &append.agent,
                site: &append.site,
                journal: &append.journal,
                after: append.after,
                chain: append.chain,
                noted: append.noted,
            };
            let last = append.records.last();
            heads.extend(last.and_then(|last| head_seen(&tail, last.record.seq, append.now_ms)));
        }
        self.write_entries(write, heads).await
    }

    async fn insert_records(
        &self,
        write: &mut Write<'_>,
        appends: &[&Append],
    ) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        for append in appends {
            for one in &append.records {
                rows.push((*append, one, signed("records", one.record.seq)?));
            }
        }
        for rows in filled(&rows) {
            let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new(
                "INSERT OR FAIL INTO records (agent, journal, seq, run, kind, at_ms, stored_ms, record)
                 SELECT * FROM (",
            );
            insert.push_values(rows, |mut row, one| {
                let record = one.map(|(_, written, _)| &written.record);
                row.push_bind(one.map(|(append, ..)| append.agent.to_string()))
                    .push_bind(one.map(|(append, ..)| append.journal.clone()))
                    .push_bind(one.map(|(.., seq)| *seq))
                    .push_bind(record.map(|record| record.run.to_string()))
                    .push_bind(record.map(|record| record.event.name()))
                    .push_bind(record.map(|record| record.at_ms))
                    .push_bind(one.map(|(append, ..)| append.now_ms))
                    .push_bind(one.map(|(_, written, _)| written.bytes.clone()));
            });
            insert.push(") WHERE column1 IS NOT NULL");
            insert
                .build()
                .execute(&mut **write)
                .await
                .map_err(|fault| self.fault(fault))?;
        }
        Ok(())
    }

    /// As [`Store::hear`] for many runs: those that have a lock are read at once.
    pub(super) async fn hear_all(
        &self,
        write: &mut Write<'_>,
        words: &[(RunId, Word)],
    ) -> Result<(), StoreError> {
        if words.is_empty() {
            return Ok(());
        }
        let runs: Vec<String> = words.iter().map(|(run, _)| run.to_string()).collect();
        let rows = sqlx::query(
            "SELECT run, fence, release FROM locks WHERE run IN (SELECT value FROM json_each($1))",
        )
        .bind(to_json("locks", &runs)?)
        .fetch_all(&mut **write)
        .await
        .map_err(|fault| self.fault(fault))?;
        let mut free = Vec::new();
        for row in &rows {
            let before = super::locks::held(row)?;
            let mut spoken = words.iter().filter(|(run, _)| *run == before.run);
            let now = spoken.try_fold(before, |held, (_, word)| lock::after(held, *word));
            match now {
                None => free.push(row.get::<String, _>("run")),
                Some(now) if now == before => {}
                // Rare: a part of the lock is freed.
                Some(_) => {
                    for (run, word) in words.iter().filter(|(run, _)| *run == before.run) {
                        self.hear(write, *run, *word).await?;
                    }
                }
            }
        }
        if free.is_empty() {
            return Ok(());
        }
        sqlx::query("DELETE FROM locks WHERE run IN (SELECT value FROM json_each($1))")
            .bind(to_json("locks", &free)?)
            .execute(&mut **write)
            .await
            .map_err(|fault| self.fault(fault))?;
        Ok(())
    }
}

/// What agents told of their parts of runs, in order.
fn words(appends: &[&Append]) -> Vec<(RunId, ServerName, Told)> {
    let each = appends.iter().flat_map(|append| {
        let runs = append.runs.iter();
        runs.map(|run| (run.run, append.agent.clone(), run.told.clone()))
    });
    each.collect()
}

/// The phase of a duty that ended so.
pub(super) const fn phase(how: Ended) -> &'static str {
    match how {
        Ended::Committed | Ended::Unwound | Ended::Released => "succeeded",
        Ended::NotNeeded => "not-needed",
        Ended::AtRest => "needs-person",
    }
}

/// Tells everybody that it is durable.
fn answer(jobs: Vec<Job>, greeted: Vec<Result<AgentRow, Refused>>) {
    let mut greeted = greeted.into_iter();
    for job in jobs {
        match job {
            Job::Append(_, answer)
            | Job::Symptoms(_, answer)
            | Job::Queues(_, answer)
            | Job::Held(_, answer) => drop(answer.send(Ok(()))),
            Job::Greet(_, answer) => {
                if let Some(found) = greeted.next() {
                    drop(answer.send(Ok(found)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_gathered_for_after_one_of_many_and_not_where_plenty_wait() {
        let ms = Duration::from_millis;
        assert_eq!(linger(ms(10), MANY - 1, 0), Duration::ZERO);
        assert_eq!(linger(ms(10), MANY, 0), ms(30));
        assert_eq!(linger(ms(20), MOST, PLENTY - 1), LINGER);
        assert_eq!(linger(ms(20), MOST, PLENTY), Duration::ZERO);
    }
}
