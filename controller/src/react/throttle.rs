//! Throttles and damping: how often a binding may act, and how long it rests after it has.

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::name::{PolicyName, ServerName, SiteName};
use mailmend_proto::run::RunId;
use serde::{Deserialize, Serialize};

use super::known::{Binding, Busy, Known, Past};
use super::{Effect, Wait};
use crate::rollout::{RolloutId, RunPhase};

const DAY_MS: i64 = 24 * 3_600_000;

/// After so many runs in a row whose effect did not hold, a binding acts no more on a server by itself.
pub const GIVES_UP_AFTER: u32 = 3;

/// How often a binding may act by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// Runs begun on one server in any 24 hours.
    pub per_server_per_day: u32,
    /// Runs begun in one site in any 24 hours.
    pub per_site_per_day: u32,
    /// Runs begun in all in any 24 hours.
    pub per_fleet_per_day: u32,
    /// Rollouts that are open at one time.
    pub at_once: u32,
    /// How long a symptom must have stood before anything is done, milliseconds.
    pub stands_for_ms: i64,
    /// How long after a run nothing begins on its servers, milliseconds; doubled for each run in a row
    /// whose effect did not hold. Also how long a symptom must stay away for the effect to count.
    pub settle_ms: i64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            per_server_per_day: 2,
            per_site_per_day: 4,
            per_fleet_per_day: 20,
            at_once: 1,
            stands_for_ms: 300_000,
            settle_ms: 1_800_000,
        }
    }
}

/// How long nothing begins after a run, where so many in a row did not hold, milliseconds: doubled for
/// each, at most a day, never less than `settle_ms`.
#[must_use]
pub fn delay(settle_ms: i64, streak: u32) -> i64 {
    let doubled = settle_ms.saturating_mul(1 << streak.min(20));
    doubled.min(DAY_MS.max(settle_ms))
}

/// What counts against throttles, and what this very pass has added to it.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    /// Runs that bindings began, in the last day.
    begun: Vec<Begun>,
    /// Rollouts of each policy that a binding began and that are open.
    open: BTreeMap<PolicyName, BTreeSet<RolloutId>>,
    /// Rollouts that this pass has decided on, for each policy.
    decided: BTreeMap<PolicyName, u32>,
    busy: BTreeMap<SiteName, Busy>,
    /// Runs that have ended, newest first.
    ended: Vec<Past>,
}

#[derive(Debug, Clone)]
struct Begun {
    policy: PolicyName,
    site: SiteName,
    servers: BTreeSet<ServerName>,
    at_ms: i64,
}

impl Ledger {
    pub(super) fn of(known: &Known, now_ms: i64) -> Self {
        let own = || known.history.iter().filter(|past| past.by_itself);
        let begun = own()
            .filter(|past| past.began_ms > now_ms - DAY_MS)
            .map(|past| Begun {
                policy: past.policy.clone(),
                site: past.site.clone(),
                servers: past.servers.clone(),
                at_ms: past.began_ms,
            });
        let mut open: BTreeMap<PolicyName, BTreeSet<RolloutId>> = BTreeMap::new();
        for past in own().filter(|past| !past.phase.is_final()) {
            open.entry(past.policy.clone())
                .or_default()
                .insert(past.rollout);
        }
        let mut ended: Vec<Past> = known
            .history
            .iter()
            .filter(|past| past.ended_ms.is_some() && past.phase != RunPhase::Cancelled)
            .cloned()
            .collect();
        ended.sort_by_key(|past| (std::cmp::Reverse(past.ended_ms), past.run));
        Self {
            begun: begun.collect(),
            open,
            decided: BTreeMap::new(),
            busy: known.busy.clone(),
            ended,
        }
    }

    /// An effect that this pass has come to know.
    pub(super) fn judged(&mut self, run: RunId, effect: Effect) {
        for past in &mut self.ended {
            if past.run == run {
                past.effect = Some(effect);
            }
        }
    }

    pub(super) fn busy(&self, site: &SiteName) -> Option<&Busy> {
        self.busy.get(site)
    }

    /// A run is decided on.
    pub(super) fn begin(
        &mut self,
        binding: &Binding,
        site: &SiteName,
        servers: &BTreeSet<ServerName>,
        now_ms: i64,
    ) {
        self.begun.push(Begun {
            policy: binding.policy.clone(),
            site: site.clone(),
            servers: servers.clone(),
            at_ms: now_ms,
        });
    }

    /// A rollout is decided on: it takes its site.
    pub(super) fn opened(&mut self, binding: &Binding, site: &SiteName) {
        *self.decided.entry(binding.policy.clone()).or_insert(0) += 1;
        self.busy.insert(site.clone(), Busy { rollout: None });
    }

    /// How many of a server's last runs in a row did not hold, since the policy was bound. A run that was
    /// not needed, or of which nobody can tell, counts neither way.
    pub(super) fn streak(&self, binding: &Binding, server: &ServerName) -> u32 {
        let runs = self.ended.iter().filter(|past| {
            past.policy == binding.policy
                && past.servers.contains(server)
                && past.ended_ms > Some(binding.bound_ms)
        });
        let held = |past: &Past| match (past.phase, past.effect) {
            (RunPhase::Failed, _) | (_, Some(Effect::CameBack)) => Some(false),
            (_, Some(Effect::MailFlows)) => Some(true),
            _ => None,
        };
        let row = runs.filter_map(held).take_while(|held| !held).count();
        u32::try_from(row).unwrap_or(u32::MAX)
    }

    /// Why nothing begins yet after the last run on a server.
    pub(super) fn settling(
        &self,
        binding: &Binding,
        server: &ServerName,
        now_ms: i64,
    ) -> Option<Wait> {
        let last = self
            .ended
            .iter()
            .find(|past| past.policy == binding.policy && past.servers.contains(server))?;
        let streak = self.streak(binding, server);
        if streak >= GIVES_UP_AFTER {
            // Nothing begins by itself any more, and the person who decides need not wait.
            return None;
        }
        let until_ms = last.ended_ms? + delay(binding.throttle.settle_ms, streak);
        (until_ms > now_ms).then_some(Wait::Settles {
            run: last.run,
            streak,
            until_ms,
        })
    }

    /// Which throttle holds a run back.
    pub(super) fn throttled(
        &self,
        binding: &Binding,
        site: &SiteName,
        servers: &BTreeSet<ServerName>,
        now_ms: i64,
    ) -> Option<Wait> {
        let throttle = &binding.throttle;
        let own = |begun: &&Begun| begun.policy == binding.policy && begun.at_ms > now_ms - DAY_MS;
        let full = |what: String, most: u32, count: &dyn Fn(&Begun) -> bool| {
            let mut at: Vec<i64> = self
                .begun
                .iter()
                .filter(own)
                .filter(|begun| count(begun))
                .map(|begun| begun.at_ms)
                .collect();
            at.sort_unstable();
            let most = most as usize;
            // Free again when as many have left the window as are too many, and one.
            let frees = at.len().checked_sub(most)?;
            Some(Wait::Throttled {
                what,
                begun: u32::try_from(at.len()).unwrap_or(u32::MAX),
                most: u32::try_from(most).unwrap_or(u32::MAX),
                until_ms: at.get(frees).map_or(now_ms + DAY_MS, |at| at + DAY_MS),
            })
        };
        for server in servers {
            let on = |begun: &Begun| begun.servers.contains(server);
            let full = full(format!("server {server}"), throttle.per_server_per_day, &on);
            if full.is_some() {
                return full;
            }
        }
        let at = |begun: &Begun| begun.site == *site;
        if let Some(full) = full(format!("site {site}"), throttle.per_site_per_day, &at) {
            return Some(full);
        }
        if let Some(full) = full("the fleet".into(), throttle.per_fleet_per_day, &|_| true) {
            return Some(full);
        }
        let open = self.open.get(&binding.policy).map_or(0, BTreeSet::len);
        let open = u32::try_from(open).unwrap_or(u32::MAX);
        let open = open.saturating_add(self.decided.get(&binding.policy).copied().unwrap_or(0));
        (open >= throttle.at_once).then_some(Wait::AtOnce {
            open,
            most: throttle.at_once,
        })
    }
}
