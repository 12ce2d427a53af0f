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

/// What counts against throttles, and what this very pass has added to it. Asked for every server of a fleet whose
/// symptom stands, so nothing here is looked for one by one.
#[derive(Debug)]
pub(super) struct Ledger<'k> {
    /// Runs that bindings began, in the last day.
    begun: BTreeMap<&'k PolicyName, Begun<'k>>,
    /// Rollouts of each policy that a binding began and that are open.
    open: BTreeMap<&'k PolicyName, BTreeSet<RolloutId>>,
    /// Rollouts that this pass has decided on, for each policy.
    decided: BTreeMap<&'k PolicyName, u32>,
    busy: &'k BTreeMap<SiteName, Busy>,
    /// Sites that this pass has taken.
    taken: BTreeSet<&'k SiteName>,
    /// Runs that have ended, newest first.
    ended: BTreeMap<(&'k PolicyName, &'k ServerName), Vec<&'k Past>>,
    /// Effects that this pass has come to know.
    judged: BTreeMap<RunId, Effect>,
}

/// When runs were begun, oldest first, milliseconds since 1970 UTC.
#[derive(Debug, Default)]
struct Begun<'k> {
    fleet: Vec<i64>,
    sites: BTreeMap<&'k SiteName, Vec<i64>>,
    servers: BTreeMap<&'k ServerName, Vec<i64>>,
}

impl<'k> Begun<'k> {
    fn note(&mut self, site: &'k SiteName, servers: &'k BTreeSet<ServerName>, at_ms: i64) {
        let note = |all: &mut Vec<i64>| all.insert(all.partition_point(|at| *at <= at_ms), at_ms);
        note(&mut self.fleet);
        note(self.sites.entry(site).or_default());
        for server in servers {
            note(self.servers.entry(server).or_default());
        }
    }
}

impl<'k> Ledger<'k> {
    pub(super) fn of(known: &'k Known, now_ms: i64) -> Self {
        let own = || known.history.iter().filter(|past| past.by_itself);
        let mut begun: BTreeMap<&PolicyName, Begun<'_>> = BTreeMap::new();
        // The store tells the newest first; oldest first nothing has to be moved.
        for past in own().rev().filter(|past| past.began_ms > now_ms - DAY_MS) {
            let begun = begun.entry(&past.policy).or_default();
            begun.note(&past.site, &past.servers, past.began_ms);
        }
        let mut open: BTreeMap<&PolicyName, BTreeSet<RolloutId>> = BTreeMap::new();
        for past in own().filter(|past| !past.phase.is_final()) {
            open.entry(&past.policy).or_default().insert(past.rollout);
        }
        let mut newest: Vec<&Past> = known
            .history
            .iter()
            .filter(|past| past.ended_ms.is_some() && past.phase != RunPhase::Cancelled)
            .collect();
        newest.sort_by_key(|past| (std::cmp::Reverse(past.ended_ms), past.run));
        let mut ended: BTreeMap<_, Vec<&Past>> = BTreeMap::new();
        for past in newest {
            for server in &past.servers {
                ended.entry((&past.policy, server)).or_default().push(past);
            }
        }
        Self {
            begun,
            open,
            decided: BTreeMap::new(),
            busy: &known.busy,
            taken: BTreeSet::new(),
            ended,
            judged: BTreeMap::new(),
        }
    }

    /// An effect that this pass has come to know.
    pub(super) fn judged(&mut self, run: RunId, effect: Effect) {
        self.judged.insert(run, effect);
    }

    pub(super) fn busy(&self, site: &SiteName) -> Option<Busy> {
        if self.taken.contains(site) {
            return Some(Busy { rollout: None });
        }
        self.busy.get(site).copied()
    }

    /// A run is decided on.
    pub(super) fn begin(
        &mut self,
        binding: &'k Binding,
        site: &'k SiteName,
        servers: &'k BTreeSet<ServerName>,
        now_ms: i64,
    ) {
        let begun = self.begun.entry(&binding.policy).or_default();
        begun.note(site, servers, now_ms);
    }

    /// A rollout is decided on: it takes its site.
    pub(super) fn opened(&mut self, binding: &'k Binding, site: &'k SiteName) {
        *self.decided.entry(&binding.policy).or_insert(0) += 1;
        self.taken.insert(site);
    }

    /// The runs of a policy on a server that have ended, newest first.
    fn ended(&self, binding: &'k Binding, server: &'k ServerName) -> &[&'k Past] {
        let ended = self.ended.get(&(&binding.policy, server));
        ended.map_or(&[], Vec::as_slice)
    }

    /// How many of a server's last runs in a row did not hold, since the policy was bound. A run that was
    /// not needed, or of which nobody can tell, counts neither way.
    pub(super) fn streak(&self, binding: &'k Binding, server: &'k ServerName) -> u32 {
        let ended = self.ended(binding, server).iter();
        let runs = ended.filter(|past| past.ended_ms > Some(binding.bound_ms));
        let held = |past: &&Past| {
            let effect = self.judged.get(&past.run).copied().or(past.effect);
            match (past.phase, effect) {
                (RunPhase::Failed, _) | (_, Some(Effect::CameBack)) => Some(false),
                (_, Some(Effect::MailFlows)) => Some(true),
                _ => None,
            }
        };
        let row = runs.filter_map(held).take_while(|held| !held).count();
        u32::try_from(row).unwrap_or(u32::MAX)
    }

    /// Why nothing begins yet after the last run on a server.
    pub(super) fn settling(
        &self,
        binding: &'k Binding,
        server: &'k ServerName,
        now_ms: i64,
    ) -> Option<Wait> {
        let last = self.ended(binding, server).first()?;
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
        binding: &'k Binding,
        site: &'k SiteName,
        servers: &'k BTreeSet<ServerName>,
        now_ms: i64,
    ) -> Option<Wait> {
        let throttle = &binding.throttle;
        let full = |what: &dyn Fn() -> String, most: u32, at: Option<&Vec<i64>>| {
            let at = at.map_or(&[][..], Vec::as_slice);
            let most = most as usize;
            // Free again when as many have left the window as are too many, and one.
            let frees = at.len().checked_sub(most)?;
            Some(Wait::Throttled {
                what: what(),
                begun: u32::try_from(at.len()).unwrap_or(u32::MAX),
                most: u32::try_from(most).unwrap_or(u32::MAX),
                until_ms: at.get(frees).map_or(now_ms + DAY_MS, |at| at + DAY_MS),
            })
        };
        let begun = self.begun.get(&binding.policy);
        for server in servers {
            let at = begun.and_then(|begun| begun.servers.get(server));
            let what = || format!("server {server}");
            let full = full(&what, throttle.per_server_per_day, at);
            if full.is_some() {
                return full;
            }
        }
        let at = begun.and_then(|begun| begun.sites.get(site));
        let what = || format!("site {site}");
        if let Some(full) = full(&what, throttle.per_site_per_day, at) {
            return Some(full);
        }
        let at = begun.map(|begun| &begun.fleet);
        if let Some(full) = full(&|| "the fleet".into(), throttle.per_fleet_per_day, at) {
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
