//! Beginning runs: all that may hold one back, in the order in which a person should hear of it.

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_proto::run::RunId;

use super::budgets::{Shortage, Unavailable};
use super::windows::{Fit, fit, longest_outage};
use super::{Action, Decision, Fleet};
use crate::mail_flow::{LastPath, MailFlow};
use crate::rollout::{Rollout, Run, RunPhase, Waves};

/// Why a run is not begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Its wave has not begun; from 0.
    Wave(u32),
    /// Its wave is not approved; from 0.
    Unapproved(u32),
    /// A server of its site is in a person's hand.
    InHand,
    /// Another run works at its site: which, where that is known.
    Busy(Option<RunId>),
    /// Agents that are not connected.
    Away(Vec<ServerName>),
    /// An agent would refuse the policy, because of what is signed: why.
    Unsigned(String),
    /// Address spaces that would lose their last live path.
    LastPath(Vec<LastPath>),
    /// No window is open for long enough; the next one opens then, milliseconds since 1970 UTC.
    Window(i64),
    /// As many sites are at work as may be.
    SitesAtOnce(usize),
    /// Too many servers are out of service.
    Budget(Shortage),
}

/// What beginnings are held against.
#[derive(Debug)]
pub struct Beginning<'a> {
    rollout: &'a Rollout,
    fleet: &'a Fleet,
    now_ms: i64,
    waves: Waves<'a>,
    approved: bool,
    busy: BTreeSet<&'a SiteName>,
    /// None where no budget is below everything.
    unavailable: Option<Unavailable>,
    mail_flow: MailFlow,
}

impl<'a> Beginning<'a> {
    /// For a rollout whose runs stand in `phases`.
    #[must_use]
    pub fn of(rollout: &'a Rollout, phases: &[RunPhase], fleet: &'a Fleet, now_ms: i64) -> Self {
        Self {
            rollout,
            fleet,
            now_ms,
            waves: rollout.waves(),
            approved: rollout.is_approved(rollout.wave),
            busy: rollout
                .runs
                .iter()
                .zip(phases)
                .filter(|(_, phase)| phase.holds_site())
                .map(|(run, _)| &run.site)
                .collect(),
            unavailable: rollout
                .has_budget()
                .then(|| Unavailable::of(rollout, phases, fleet)),
            mail_flow: fleet.mail_flow.clone(),
        }
    }

    /// What holds a run back that has not begun; none: it may begin.
    #[must_use]
    pub fn obstacle(&self, run: &Run) -> Option<Obstacle> {
        let wave = self.waves.of(&run.site);
        if wave > self.rollout.wave {
            return Some(Obstacle::Wave(wave));
        }
        if !self.approved {
            return Some(Obstacle::Unapproved(self.rollout.wave));
        }
        if self.fleet.in_hand.contains(&run.site) {
            return Some(Obstacle::InHand);
        }
        // A lock that is freed in this very pass is seen as free in the next one.
        let holder = self.fleet.locks.get(&run.site);
        if holder.is_some() || self.busy.contains(&run.site) {
            return Some(Obstacle::Busy(holder.copied()));
        }
        let away: Vec<ServerName> = run
            .parts
            .keys()
            .filter(|agent| !self.fleet.connected.contains(*agent))
            .cloned()
            .collect();
        if !away.is_empty() {
            return Some(Obstacle::Away(away));
        }
        let mut agents = run.parts.keys();
        if let Some(why) = agents.find_map(|agent| self.fleet.unsigned.get(agent)) {
            return Some(Obstacle::Unsigned(why.clone()));
        }
        let last = self.mail_flow.beginning(run);
        if !last.is_empty() {
            return Some(Obstacle::LastPath(last));
        }
        if !self.rollout.strategy.windows.is_empty()
            && let Some(outage) = longest_outage(&run.plan)
            && let Fit::From(opens_ms) = fit(&self.rollout.strategy.windows, outage, self.now_ms)
        {
            return Some(Obstacle::Window(opens_ms));
        }
        if self.busy.len() >= self.rollout.strategy.sites_at_once as usize {
            return Some(Obstacle::SitesAtOnce(self.busy.len()));
        }
        self.unavailable
            .as_ref()
            .and_then(|unavailable| unavailable.shortage(self.rollout, run))
            .map(Obstacle::Budget)
    }

    fn begin(&mut self, run: &'a Run) {
        self.busy.insert(&run.site);
        self.mail_flow.reserve(run);
        if let Some(unavailable) = &mut self.unavailable {
            unavailable.begin(run);
        }
    }
}

/// Begins runs as far as all that allows.
pub(super) fn begin(
    rollout: &Rollout,
    phases: &[RunPhase],
    fleet: &Fleet,
    now_ms: i64,
    decision: &mut Decision,
) {
    let mut beginning = Beginning::of(rollout, phases, fleet, now_ms);
    for (run, phase) in rollout.runs.iter().zip(phases) {
        if *phase != RunPhase::Waiting {
            continue;
        }
        match beginning.obstacle(run) {
            None => {
                beginning.begin(run);
                decision.actions.push(Action::Assign { run: run.id });
            }
            Some(Obstacle::Window(opens_ms)) => decision.due(Some(opens_ms)),
            // It holds for all that follow, and something changes before it does not any more.
            Some(Obstacle::SitesAtOnce(_) | Obstacle::Unapproved(_)) => return,
            Some(_) => {}
        }
    }
}

/// The first run of the waves so far that has not begun and is not any more what its plan was made from:
/// what has changed.
#[must_use]
pub fn drifted<'a>(
    rollout: &Rollout,
    phases: &[RunPhase],
    drift: &'a BTreeMap<RunId, String>,
) -> Option<&'a str> {
    if drift.is_empty() {
        return None;
    }
    let waves = rollout.waves();
    rollout
        .runs
        .iter()
        .zip(phases)
        .filter(|(run, phase)| **phase == RunPhase::Waiting && waves.of(&run.site) <= rollout.wave)
        .find_map(|(run, _)| drift.get(&run.id))
        .map(String::as_str)
}
