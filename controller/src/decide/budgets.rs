//! How many servers are out of service at once, over all rollouts, and how many may be.
//!
//! Out of service are the servers of failed runs and of runs that need a person, until their rollout ends;
//! those that cannot be reached; and one of each run at work. A server counts once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_policy::plan::Plan;
use mailmend_policy::strategy::Share;

use super::Fleet;
use crate::rollout::{Rollout, Run, RunPhase};

/// The servers whose service a plan disturbs.
#[must_use]
pub fn disturbed(plan: &Plan) -> BTreeSet<ServerName> {
    let sections = plan.sections.iter();
    sections.map(|section| section.server.clone()).collect()
}

/// A run that keeps servers out of service, or may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Its site.
    pub site: SiteName,
    /// Where it stands.
    pub phase: RunPhase,
    /// The servers whose service its plan disturbs.
    pub disturbs: BTreeSet<ServerName>,
}

/// Servers out of service, counted; each once, under the first of these that holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Out {
    /// Of runs that failed or need a person.
    pub failed: u32,
    /// Not connected.
    pub away: u32,
    /// Being mended: one for each run at work.
    pub at_work: u32,
}

impl Out {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u32 {
        self.failed + self.away + self.at_work
    }
}

impl fmt::Display for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} being mended, {} failed or in need of a person, {} not connected",
            self.at_work, self.failed, self.away
        )
    }
}

#[derive(Debug, Clone, Default)]
struct Site {
    failed: BTreeSet<ServerName>,
    away: BTreeSet<ServerName>,
    /// Whether a run is at work that disturbs a server which is in service so far.
    at_work: bool,
    servers: u32,
}

impl Site {
    /// Whether a run would put one more out of service.
    fn adds(&self, disturbs: &BTreeSet<ServerName>) -> bool {
        disturbs
            .iter()
            .any(|server| !self.failed.contains(server) && !self.away.contains(server))
    }

    fn out(&self) -> Out {
        let count = |servers: usize| u32::try_from(servers).unwrap_or(u32::MAX);
        Out {
            failed: count(self.failed.len()),
            away: count(self.away.difference(&self.failed).count()),
            at_work: u32::from(self.at_work),
        }
    }
}

/// Which servers are out of service, by site.
#[derive(Debug, Clone, Default)]
pub struct Unavailable {
    sites: BTreeMap<SiteName, Site>,
    fleet: Out,
    servers: u32,
}

impl Unavailable {
    /// As a rollout sees it, whose runs stand in `phases`.
    #[must_use]
    pub fn of(rollout: &Rollout, phases: &[RunPhase], fleet: &Fleet) -> Self {
        let mut sites: BTreeMap<SiteName, Site> = BTreeMap::new();
        for (server, name) in &fleet.servers {
            let site = sites.entry(name.clone()).or_default();
            site.servers += 1;
            if !fleet.connected.contains(server) {
                site.away.insert(server.clone());
            }
        }
        let own = rollout.runs.iter().zip(phases).map(|(run, phase)| Holding {
            site: run.site.clone(),
            phase: *phase,
            disturbs: disturbed(&run.plan),
        });
        let holding: Vec<Holding> = own.chain(fleet.others.iter().cloned()).collect();
        for hold in &holding {
            if matches!(hold.phase, RunPhase::Failed | RunPhase::NeedsPerson) {
                let site = sites.entry(hold.site.clone()).or_default();
                site.failed.extend(hold.disturbs.iter().cloned());
            }
        }
        // Only now: a run at work on a server that is out of service already takes no other one.
        for hold in &holding {
            if hold.phase.holds_site() && hold.phase != RunPhase::NeedsPerson {
                let site = sites.entry(hold.site.clone()).or_default();
                site.at_work |= site.adds(&hold.disturbs);
            }
        }
        let mut all = Out::default();
        for site in sites.values() {
            let out = site.out();
            all.failed += out.failed;
            all.away += out.away;
            all.at_work += out.at_work;
        }
        Self {
            servers: u32::try_from(fleet.servers.len()).unwrap_or(u32::MAX),
            sites,
            fleet: all,
        }
    }

    /// What of a rollout's budgets does not leave room for a run. A run that disturbs no service needs
    /// none.
    #[must_use]
    pub fn shortage(&self, rollout: &Rollout, run: &Run) -> Option<Shortage> {
        let site = self.sites.get(&run.site);
        let disturbs = disturbed(&run.plan);
        if disturbs.is_empty() || site.is_some_and(|site| !site.adds(&disturbs)) {
            return None;
        }
        let shares = &rollout.strategy.max_unavailable;
        let short = |of: Option<SiteName>, out: Out, limit, share, servers| {
            let short = Shortage {
                of,
                out,
                limit,
                share,
                servers,
            };
            (share != Share::Percent(100) && out.total() + 1 > limit).then_some(short)
        };
        let (out, servers) = site.map_or((Out::default(), 0), |site| (site.out(), site.servers));
        let limit = rollout.resolved.max_unavailable_site.get(&run.site);
        limit
            .and_then(|limit| short(Some(run.site.clone()), out, *limit, shares.site, servers))
            .or_else(|| {
                let limit = rollout.resolved.max_unavailable_fleet;
                short(None, self.fleet, limit, shares.fleet, self.servers)
            })
    }

    /// A run is begun.
    pub fn begin(&mut self, run: &Run) {
        let site = self.sites.entry(run.site.clone()).or_default();
        if site.adds(&disturbed(&run.plan)) && !site.at_work {
            site.at_work = true;
            self.fleet.at_work += 1;
        }
    }
}

/// A budget that leaves no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// The site; none: the fleet.
    pub of: Option<SiteName>,
    /// What is out of service there.
    pub out: Out,
    /// How many may be.
    pub limit: u32,
    /// As the strategy says it.
    pub share: Share,
    /// How many servers there are now.
    pub servers: u32,
}

impl Shortage {
    /// What must become true, with its numbers.
    #[must_use]
    pub fn predicate(&self) -> String {
        let name = if self.of.is_some() { "site" } else { "fleet" };
        let part = match self.share {
            Share::Count(_) => String::new(),
            Share::Percent(_) => format!(
                " ({} of the servers when it was started, rounded down)",
                self.share
            ),
        };
        format!(
            "unavailable + 1 <= max_unavailable.{name}, but {} + 1 > {}{part}",
            self.out.total(),
            self.limit
        )
    }
}

#[cfg(test)]
mod tests;
