//! What many sessions ask at once, in one query.
//!
//! Ten thousand sessions that are woken together ask ten thousand times the same of another row, and most of what that
//! costs is handing each statement to SQLite's thread and back. Whoever asks puts the question down and waits; while one
//! query is under way the next one is gathered. At rest a question is read alone and at once. Nothing is kept: an answer
//! is read after its question was asked, as before. Where a query of many fails, each question is read by itself, so that
//! one damaged row is no other session's trouble.

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{Store, StoreError};

/// At most so many questions are answered by one query.
const MOST: usize = 512;

/// A question that many ask, each of another row.
pub(super) trait Question: Clone + Debug + Eq + Hash + Send + Sync + 'static {
    /// What is answered where there is a row.
    type Answer: Clone + Debug + Send + 'static;

    /// Where such questions wait.
    fn place(store: &Store) -> &Asked<Self>;

    /// Reads the answers to all of them; those without a row are left out.
    fn read(
        store: &Store,
        questions: &[Self],
    ) -> impl Future<Output = Result<HashMap<Self, Self::Answer>, StoreError>> + Send;
}

/// Questions of one kind that wait to be read.
#[derive(Debug)]
pub(super) struct Asked<Q: Question>(Mutex<Waiting<Q>>);

#[derive(Debug)]
struct Waiting<Q: Question> {
    questions: Vec<(Q, Answering<Q>)>,
    busy: bool,
}

type Answering<Q> = oneshot::Sender<Result<Option<<Q as Question>::Answer>, StoreError>>;

impl<Q: Question> Default for Asked<Q> {
    fn default() -> Self {
        Self(Mutex::new(Waiting {
            questions: Vec::new(),
            busy: false,
        }))
    }
}

impl<Q: Question> Asked<Q> {
    fn lock(&self) -> MutexGuard<'_, Waiting<Q>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever reads. Where it ends before its time, those who wait hear of it: their answers are dropped.
struct AtIt<'a, Q: Question>(&'a Asked<Q>);

impl<Q: Question> Drop for AtIt<'_, Q> {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.busy = false;
        waiting.questions.clear();
    }
}

impl Store {
    /// Asks, together with whoever else asks the like; none where there is no row.
    pub(super) async fn ask<Q: Question>(
        &self,
        question: Q,
    ) -> Result<Option<Q::Answer>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let idle = {
            let mut waiting = Q::place(self).lock();
            waiting.questions.push((question, answer));
            !std::mem::replace(&mut waiting.busy, true)
        };
        if idle {
            // A task of its own: the asker's stream may end while others wait for the same query.
            let store = self.clone();
            tokio::spawn(async move { store.read_asked::<Q>().await });
        }
        answered
            .await
            .unwrap_or_else(|_| Err(self.fault(sqlx::Error::WorkerCrashed)))
    }

    async fn read_asked<Q: Question>(&self) {
        let place = Q::place(self);
        let at_it = AtIt(place);
        loop {
            let mut asked = {
                let mut waiting = place.lock();
                if waiting.questions.is_empty() {
                    waiting.busy = false;
                    std::mem::forget(at_it);
                    return;
                }
                let count = waiting.questions.len().min(MOST);
                waiting.questions.drain(..count).collect::<Vec<_>>()
            };
            // Whoever does not wait any more has gone with its stream.
            asked.retain(|(_, answer)| !answer.is_closed());
            let questions: Vec<Q> = asked.iter().map(|(question, _)| question.clone()).collect();
            match Q::read(self, &questions).await {
                Ok(found) => {
                    for (question, answer) in asked {
                        drop(answer.send(Ok(found.get(&question).cloned())));
                    }
                }
                Err(fault) if questions.len() > 1 => {
                    tracing::debug!(%fault, "reading one by one what was asked together");
                    for (question, answer) in asked {
                        let alone = Q::read(self, std::slice::from_ref(&question)).await;
                        drop(answer.send(alone.map(|mut found| found.remove(&question))));
                    }
                }
                Err(fault) => {
                    if let Some((_, answer)) = asked.pop() {
                        drop(answer.send(Err(fault)));
                    }
                }
            }
        }
    }
}
