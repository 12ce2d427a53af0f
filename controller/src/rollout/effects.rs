//! What an action makes of a rollout: the store does the same in SQL, and a test holds the two together.
//!
//! Watermarks only rise, unwinding only falls, a site has one holder, and a fence is minted once, whatever
//! was decided.

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_proto::run::RunId;

use super::{Cause, Refusal, Rollout, Run, RunPhase, Unwinding};
use crate::decide::Action;
use crate::lock::{self, Held, Purpose, Word};

/// What is kept beside the rollouts, over all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Books {
    /// What holds which site.
    pub held: BTreeMap<SiteName, Held>,
    /// The last fence that was minted.
    pub minted: u64,
}

impl Books {
    /// Which run holds which site, as a decision is made on it.
    #[must_use]
    pub fn locks(&self) -> BTreeMap<SiteName, RunId> {
        let held = self.held.iter();
        held.map(|(site, held)| (site.clone(), held.run)).collect()
    }

    /// Gives a site to a run, under a new fence, by the rule of [`lock::take`].
    fn take(&mut self, site: &SiteName, run: RunId) -> Result<u64, NotSo> {
        let before = self.held.get(site).copied();
        let granted = lock::take(before, run, Purpose::Run, self.minted)
            .map_err(|_| NotSo::Held(site.clone()))?;
        self.held.insert(site.clone(), granted.held);
        self.minted = granted.fence;
        Ok(granted.fence)
    }

    /// Whether [`Self::take`] would give it.
    fn may_take(&self, site: &SiteName, run: RunId) -> bool {
        let before = self.held.get(site).copied();
        lock::take(before, run, Purpose::Run, self.minted).is_ok()
    }

    /// Frees what a word frees, by the rule of [`lock::after`].
    fn hear(&mut self, word: Word) {
        self.held.retain(|_, held| match lock::after(*held, word) {
            Some(now) => {
                *held = now;
                true
            }
            None => false,
        });
    }
}

/// An action that cannot be carried out: what it was decided on is not so any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSo {
    /// The site has another holder.
    #[error("the lock of site {0} is held")]
    Held(SiteName),
    /// There is no such run.
    #[error("there is no run {0}")]
    NoRun(RunId),
}

impl Rollout {
    fn run_mut(&mut self, id: RunId) -> Result<&mut Run, NotSo> {
        let found = self.runs.iter_mut().find(|run| run.id == id);
        found.ok_or(NotSo::NoRun(id))
    }

    /// Carries out what was decided, all or nothing, and answers the agents that must hear of it, each once.
    ///
    /// # Errors
    /// Where it was decided on what is not so any more; nothing has changed then.
    pub fn carry_out(
        &mut self,
        books: &mut Books,
        actions: &[Action],
        now_ms: i64,
    ) -> Result<Vec<ServerName>, NotSo> {
        self.carried_out(books, actions)?;
        let mut told = Vec::new();
        for action in actions {
            self.carry_out_one(books, action, now_ms, &mut told)?;
        }
        told.sort();
        told.dedup();
        Ok(told)
    }

    /// Whether all of it can be carried out.
    fn carried_out(&self, books: &Books, actions: &[Action]) -> Result<(), NotSo> {
        let mut taken = BTreeSet::new();
        for action in actions {
            let (Action::Assign { run }
            | Action::Advance { run, .. }
            | Action::Unwind { run, .. }
            | Action::Enter { run, .. }) = action
            else {
                continue;
            };
            let found = self.runs.iter().find(|one| one.id == *run);
            let site = &found.ok_or(NotSo::NoRun(*run))?.site;
            let assigns = matches!(action, Action::Assign { .. });
            if assigns && (!books.may_take(site, *run) || !taken.insert(site)) {
                return Err(NotSo::Held(site.clone()));
            }
        }
        Ok(())
    }

    fn carry_out_one(
        &mut self,
        books: &mut Books,
        action: &Action,
        now_ms: i64,
        told: &mut Vec<ServerName>,
    ) -> Result<(), NotSo> {
        match action {
            Action::Assign { run } => {
                let run = self.run_mut(*run)?;
                let fence = books.take(&run.site, run.id)?;
                if run.phase == RunPhase::Waiting {
                    run.phase = RunPhase::Assigned;
                    run.fence = Some(fence);
                    run.since_ms = now_ms;
                    run.started_ms = Some(now_ms);
                }
                told.extend(run.parts.keys().cloned());
            }
            Action::Advance {
                run,
                server,
                through,
            } => {
                let run = self.run_mut(*run)?;
                if let Some(part) = run.parts.get_mut(server) {
                    part.through = part.through.max(*through);
                }
                told.push(server.clone());
            }
            Action::Unwind { run, server, order } => {
                let run = self.run_mut(*run)?;
                if let Some(part) = run.parts.get_mut(server) {
                    let before = part.unwind;
                    part.unwind = Some(Unwinding {
                        down_to: before.map_or(order.down_to, |one| one.down_to.min(order.down_to)),
                        last: order.last || before.is_some_and(|one| one.last),
                    });
                }
                told.push(server.clone());
            }
            Action::Enter { run, phase, why } => {
                let run = self.run_mut(*run)?;
                run.phase = *phase;
                run.why.clone_from(why);
                run.since_ms = now_ms;
                if phase.is_final() {
                    run.ended_ms = Some(now_ms);
                    books.hear(Word::Ended { run: run.id });
                }
            }
            Action::Turn { state, why, cause } => {
                self.state = *state;
                self.why.clone_from(why);
                self.cause = *cause;
                self.revision += 1;
                if state.is_final() {
                    self.ended_ms = Some(now_ms);
                }
                if *cause == Cause::Drift {
                    let wave = self.wave;
                    self.approvals.retain(|approved, _| *approved < wave);
                }
            }
            Action::EndWave { wave } => {
                if self.wave == *wave && self.wave_ended_ms.is_none() {
                    self.wave_ended_ms = Some(now_ms);
                }
            }
            Action::BeginWave { wave } => {
                if self.wave < *wave {
                    self.wave = *wave;
                    self.wave_ended_ms = None;
                }
            }
        }
        Ok(())
    }

    /// Notes that an agent did not take a run on. What it has journaled counts for more.
    pub fn refused(&mut self, run: RunId, agent: &ServerName, refusal: &Refusal) {
        if let Ok(run) = self.run_mut(run)
            && let Some(part) = run.parts.get_mut(agent)
            && !part.told.begun
        {
            part.refused.get_or_insert_with(|| refusal.clone());
        }
    }
}
