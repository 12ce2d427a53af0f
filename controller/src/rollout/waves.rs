//! Which sites belong to which wave, and what people have said about waves.

use std::collections::BTreeMap;

use mailmend_policy::digest::Digest;
use mailmend_policy::name::SiteName;
use mailmend_policy::strategy::{Resolved, Share};

use super::{Rollout, Run, RunPhase};
use crate::planning;

/// A person's word that a wave may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Over the plans that the wave still had to carry out: [`Rollout::wave_digest`].
    pub digest: Digest,
    /// Of the inventory that was looked at.
    pub generation: i64,
    /// By whom.
    pub by: String,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Why, in that person's words.
    pub why: String,
}

/// Which sites belong to which wave, counted from 0. Sites are taken by name.
#[derive(Debug, Clone)]
pub struct Waves<'a> {
    of: BTreeMap<&'a SiteName, u32>,
    count: u32,
}

impl<'a> Waves<'a> {
    /// The waves of these sites: the wave `k` has the sites that `resolved.waves[k]` adds to those before.
    #[must_use]
    pub fn over(sites: impl Iterator<Item = &'a SiteName>, resolved: &Resolved) -> Self {
        let mut of: BTreeMap<&SiteName, u32> = sites.map(|site| (site, 0)).collect();
        let reaches = &resolved.waves;
        let count = u32::try_from(reaches.len()).unwrap_or(u32::MAX).max(1);
        for (rank, wave) in of.values_mut().enumerate() {
            let before = reaches
                .iter()
                .take_while(|reaches| **reaches as usize <= rank)
                .count();
            *wave = u32::try_from(before).unwrap_or(u32::MAX).min(count - 1);
        }
        Self { of, count }
    }

    /// The wave of a site; the last one for a site that is not of this rollout.
    #[must_use]
    pub fn of(&self, site: &SiteName) -> u32 {
        self.of.get(site).copied().unwrap_or(self.last())
    }

    /// The last wave.
    #[must_use]
    pub const fn last(&self) -> u32 {
        self.count.saturating_sub(1)
    }

    /// How many there are; at least 1.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The sites of a wave, by name.
    pub fn sites(&self, wave: u32) -> impl Iterator<Item = &SiteName> {
        self.of
            .iter()
            .filter(move |(_, of)| **of == wave)
            .map(|(site, _)| *site)
    }
}

impl Rollout {
    /// Its waves.
    #[must_use]
    pub fn waves(&self) -> Waves<'_> {
        Waves::over(self.runs.iter().map(|run| &run.site), &self.resolved)
    }

    /// Whether a wave may begin as far as people are asked.
    #[must_use]
    pub fn is_approved(&self, wave: u32) -> bool {
        !self.strategy.approve.before(wave) || self.approvals.contains_key(&wave)
    }

    /// The runs of a wave that have not begun.
    pub fn waiting_in(&self, wave: u32) -> impl Iterator<Item = &Run> {
        let waves = self.waves();
        self.runs
            .iter()
            .filter(move |run| run.phase == RunPhase::Waiting && waves.of(&run.site) == wave)
    }

    /// The digest over the plans that a wave still has to carry out: what a person approves.
    #[must_use]
    pub fn wave_digest(&self, wave: u32) -> Digest {
        planning::digest(self.waiting_in(wave).map(|run| run.plan.as_ref()))
    }

    /// Whether it is held to how many servers are out of service at once.
    #[must_use]
    pub fn has_budget(&self) -> bool {
        let shares = &self.strategy.max_unavailable;
        [shares.site, shares.fleet]
            .iter()
            .any(|share| *share != Share::Percent(100))
    }

    /// How many runs may fail: the frozen number, or more where a person accepted more by resuming.
    #[must_use]
    pub fn max_failed(&self) -> u32 {
        self.resolved.max_failed.max(self.accepted_failures)
    }

    /// How many runs may fail, with where the number comes from: `max_failed 1 (5% of 20 runs, rounded
    /// down)`.
    #[must_use]
    pub fn tolerance(&self) -> String {
        if self.accepted_failures > self.resolved.max_failed {
            return format!(
                "max_failed {} (accepted by a person who resumed; it was {})",
                self.accepted_failures, self.resolved.max_failed
            );
        }
        tolerance(
            self.strategy.max_failed,
            self.resolved.max_failed,
            self.runs.len(),
        )
    }
}

/// How many runs may fail, with where the number comes from.
#[must_use]
pub fn tolerance(share: Share, max_failed: u32, runs: usize) -> String {
    match share {
        Share::Count(_) => format!("max_failed {max_failed}"),
        Share::Percent(_) => {
            format!("max_failed {max_failed} ({share} of {runs} runs, rounded down)")
        }
    }
}
