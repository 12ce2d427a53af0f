//! The rollouts that have not ended, kept as they were read: of ten thousand runs only those are read again that changed.
//!
//! Every commit says what it touched. What says nothing of it touched everything: then all is read again, as if nothing had
//! been kept. So a new kind of write is slow at first and never wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mailmend_policy::name::ServerName;
use mailmend_proto::run::RunId;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::row::{parsed, to_json};
use super::{Store, StoreError};
use crate::rollout::{Rollout, RolloutId, Run, Told};

/// What a commit touched, as far as it matters to what is kept.
#[derive(Debug)]
pub(super) enum Touched {
    /// Nobody has thought about it: anything.
    Anything,
    /// What agents told of these runs: they are to be read again.
    Told(Vec<RunId>),
    /// What agents told of their parts: exactly this, and nothing else of the runs. A part that has ended may have freed
    /// its site.
    Words(Vec<(RunId, ServerName, Told)>),
    /// A rollout was started: everything, but nothing of what agents said of symptoms.
    Started,
    /// What agents are to do in these runs, and their rollouts.
    Decided(Vec<RunId>),
    /// What came of these runs: only what is remembered of them, and nothing that is at work.
    Judged(Vec<RunId>),
}

/// What was touched since it was read last.
#[derive(Debug)]
pub(super) struct Marks(Mutex<Marked>);

#[derive(Debug)]
struct Marked {
    anything: bool,
    runs: BTreeSet<RunId>,
    /// What agents told last, of which nothing is to be read.
    words: BTreeMap<RunId, BTreeMap<ServerName, Told>>,
    /// Rises with each commit but those of what agents told.
    version: u64,
    /// Rises with each commit by which what agents said of symptoms may be another.
    symptoms: u64,
    /// The runs of which something but a step may be another; `None`: all of them.
    past: Option<BTreeSet<RunId>>,
    /// Rises with each commit by which a site may have been taken or freed.
    locks: u64,
}

/// Of more runs than this nobody keeps which they are: all are read.
const MOST_PAST: usize = 20_000;

impl Marked {
    /// Notes runs of which something but a step may be another.
    fn remember(&mut self, runs: impl Iterator<Item = RunId>) {
        if let Some(past) = &mut self.past {
            past.extend(runs);
            if past.len() > MOST_PAST {
                self.past = None;
            }
        }
    }
}

impl Default for Marks {
    fn default() -> Self {
        Self(Mutex::new(Marked {
            anything: true,
            runs: BTreeSet::new(),
            words: BTreeMap::new(),
            version: 0,
            symptoms: 0,
            past: None,
            locks: 0,
        }))
    }
}

impl Marks {
    fn lock(&self) -> MutexGuard<'_, Marked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a commit. Called when it is over and before anybody hears of it.
    pub(super) fn note(&self, touched: Touched) {
        let mut marked = self.lock();
        match touched {
            Touched::Anything => {
                marked.anything = true;
                marked.past = None;
                marked.symptoms += 1;
            }
            Touched::Started => {
                marked.anything = true;
                marked.past = None;
            }
            Touched::Decided(runs) => {
                marked.remember(runs.iter().copied());
                marked.runs.extend(runs);
            }
            Touched::Judged(runs) => {
                marked.remember(runs.into_iter());
                return;
            }
            Touched::Told(runs) => {
                if !runs.is_empty() {
                    marked.remember(runs.iter().copied());
                    marked.locks += 1;
                }
                marked.runs.extend(runs);
                return;
            }
            Touched::Words(words) => {
                let ended = words.iter().filter(|(_, _, told)| told.closed.is_some());
                let ended: Vec<RunId> = ended.map(|(run, ..)| *run).collect();
                if !ended.is_empty() {
                    marked.remember(ended.into_iter());
                    marked.locks += 1;
                }
                for (run, agent, told) in words {
                    marked.words.entry(run).or_default().insert(agent, told);
                }
                return;
            }
        }
        marked.version += 1;
        marked.locks += 1;
    }

    /// Notes a commit of what agents said of symptoms. Called as [`Self::note`] is.
    pub(super) fn note_symptoms(&self) {
        self.lock().symptoms += 1;
    }

    /// See [`Marked::version`].
    pub(super) fn version(&self) -> u64 {
        self.lock().version
    }

    /// See [`Marked::symptoms`].
    pub(super) fn symptoms(&self) -> u64 {
        self.lock().symptoms
    }

    /// Takes [`Marked::past`]: whoever does reads them again.
    pub(super) fn take_past(&self) -> Option<BTreeSet<RunId>> {
        self.lock().past.replace(BTreeSet::new())
    }

    /// See [`Marked::locks`].
    pub(super) fn locks(&self) -> u64 {
        self.lock().locks
    }
}

/// A look that was given up half way, by an error or because whoever asked has gone: what was noted is used up, so next
/// time everything is read.
struct Unfinished<'a>(&'a Marks);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.lock().anything = true;
    }
}

/// The rollouts as they were read.
#[derive(Debug, Default)]
pub(super) struct Kept(tokio::sync::Mutex<BTreeMap<RolloutId, Arc<Rollout>>>);

impl Store {
    /// All rollouts that have not ended, oldest first, as they are now.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn at_work(&self) -> Result<Vec<Arc<Rollout>>, StoreError> {
        self.refreshed(None).await
    }

    /// One rollout as it is now; none once it has ended.
    ///
    /// # Errors
    /// Where the store fails or a row is damaged.
    pub async fn one_at_work(&self, id: RolloutId) -> Result<Option<Arc<Rollout>>, StoreError> {
        Ok(self.refreshed(Some(id)).await?.pop())
    }

    /// Forgets what is kept: a net under a kind of write that was noted wrongly.
    pub fn look_anew(&self) {
        self.held.marks.lock().anything = true;
    }

    async fn refreshed(&self, only: Option<RolloutId>) -> Result<Vec<Arc<Rollout>>, StoreError> {
        let mut kept = self.held.kept.0.lock().await;
        let unfinished = Unfinished(&self.held.marks);
        let all = self.refresh(&mut kept, only).await?;
        std::mem::forget(unfinished);
        Ok(all)
    }

    async fn refresh(
        &self,
        kept: &mut BTreeMap<RolloutId, Arc<Rollout>>,
        only: Option<RolloutId>,
    ) -> Result<Vec<Arc<Rollout>>, StoreError> {
        // Taken before anything is read: what is committed from here on is noted for the next time.
        let (anything, mut runs, mut words) = {
            let mut marked = self.held.marks.lock();
            let anything = std::mem::take(&mut marked.anything);
            let words = std::mem::take(&mut marked.words);
            (anything, std::mem::take(&mut marked.runs), words)
        };
        if anything {
            kept.clear();
        }
        let rows = sqlx::query(
            "SELECT * FROM rollouts WHERE state NOT IN ('succeeded', 'failed', 'aborted')
             ORDER BY started_ms, id",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(|fault| self.fault(fault))?;
        let ids = rows.iter().map(id).collect::<Result<Vec<_>, _>>()?;
        kept.retain(|id, _| ids.contains(id));
        // What is read is read after these words.
        words.retain(|run, _| !runs.contains(run));
        runs.extend(heard(kept, words));
        if !runs.is_empty() && !kept.is_empty() {
            self.read_runs(kept, &runs).await?;
        }
        let mut all = Vec::with_capacity(rows.len());
        for (row, id) in rows.iter().zip(ids) {
            if only.is_some_and(|only| only != id) {
                continue;
            }
            let runs = match kept.remove(&id) {
                Some(known) => Arc::unwrap_or_clone(known).runs,
                None => self.runs_of(&id.to_string()).await?,
            };
            let rollout = Arc::new(self.rollout_of_row(row, runs).await?);
            kept.insert(id, rollout.clone());
            all.push(rollout);
        }
        Ok(all)
    }

    /// Reads these runs again where they are kept.
    async fn read_runs(
        &self,
        kept: &mut BTreeMap<RolloutId, Arc<Rollout>>,
        runs: &BTreeSet<RunId>,
    ) -> Result<(), StoreError> {
        let ids: Vec<String> = runs.iter().map(ToString::to_string).collect();
        let ids = to_json("runs", &ids)?;
        let mut fresh: BTreeMap<RunId, Run> = self
            .runs_where("id IN (SELECT value FROM json_each($1))", &ids)
            .await?
            .into_iter()
            .map(|run| (run.id, run))
            .collect();
        for rollout in kept.values_mut() {
            if !rollout.runs.iter().any(|run| fresh.contains_key(&run.id)) {
                continue;
            }
            for run in &mut Arc::make_mut(rollout).runs {
                if let Some(now) = fresh.remove(&run.id) {
                    *run = now;
                }
            }
        }
        Ok(())
    }
}

/// Puts what agents told in its place. Answers the runs of which something newer is known already: they are to be read.
fn heard(
    kept: &mut BTreeMap<RolloutId, Arc<Rollout>>,
    mut words: BTreeMap<RunId, BTreeMap<ServerName, Told>>,
) -> Vec<RunId> {
    let mut doubtful = Vec::new();
    for rollout in kept.values_mut() {
        if !rollout.runs.iter().any(|run| words.contains_key(&run.id)) {
            continue;
        }
        for run in &mut Arc::make_mut(rollout).runs {
            for (agent, told) in words.remove(&run.id).unwrap_or_default() {
                match run.parts.get_mut(&agent) {
                    Some(part) if part.told.heard_ms <= told.heard_ms => part.told = told,
                    // Two commits were noted in another order than they were made in, or the clock was set back.
                    _ => doubtful.push(run.id),
                }
            }
        }
    }
    doubtful
}

fn id(row: &SqliteRow) -> Result<RolloutId, StoreError> {
    parsed("rollouts", row.get("id")).map(RolloutId)
}
