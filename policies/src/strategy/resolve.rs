//! From shares to numbers, once, when the targets are frozen. What could never go on is refused here.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Strategy, longest_opening};
use crate::name::SiteName;
use crate::units::write_duration;

/// What a rollout is over, as far as its strategy needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// How many runs it has.
    pub runs: u32,
    /// The servers that each of its sites has, of whatever role.
    pub sites: BTreeMap<SiteName, u32>,
    /// All servers that the controller knows.
    pub fleet: u32,
    /// The longest that one of its sections may keep a service down; zero where service is not disturbed.
    pub longest_outage: Duration,
}

/// A strategy in numbers. Frozen with the rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolved {
    /// How many sites are begun by the end of each wave; strictly rising, the last is all of them. A wave
    /// of the strategy that adds no site to the one before is not there.
    pub waves: Vec<u32>,
    /// It halts as soon as `failed > max_failed`.
    pub max_failed: u32,
    /// How many servers of a site may be out of service at once, by site.
    pub max_unavailable_site: BTreeMap<SiteName, u32>,
    /// How many servers of the fleet may be out of service at once.
    pub max_unavailable_fleet: u32,
}

/// A strategy that could never go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// There is nothing to go over.
    #[error("the rollout has no site")]
    NoSite,
    /// A wave asks for more sites than there are.
    #[error(
        "wave {wave} is to reach {wanted} sites, and the rollout has {sites}: ask for fewer, or for a percentage"
    )]
    WaveTooLarge {
        /// Which, from 1.
        wave: usize,
        /// What it asks for.
        wanted: u32,
        /// How many there are.
        sites: u32,
    },
    /// Waves do not rise.
    #[error(
        "wave {wave} is to reach {reaches} of {sites} sites, and the wave before it {before}: waves must rise"
    )]
    WavesFall {
        /// Which, from 1.
        wave: usize,
        /// How far it goes.
        reaches: u32,
        /// How far the one before goes.
        before: u32,
        /// How many sites there are.
        sites: u32,
    },
    /// Some sites would never be begun.
    #[error(
        "the last wave reaches {reaches} of {sites} sites, so the rollout could never end: let it be `100%`"
    )]
    NotAll {
        /// How far the last wave goes.
        reaches: u32,
        /// How many sites there are.
        sites: u32,
    },
    /// No server of a site may be disturbed.
    #[error(
        "max_unavailable.site = {share} allows {allowed} of the {servers} servers of site `{site}` to be out of \
         service: 0 + 1 > {allowed}, so it could never begin; allow at least 1"
    )]
    NoneOfSite {
        /// The site.
        site: SiteName,
        /// As given.
        share: String,
        /// In numbers.
        allowed: u32,
        /// How many servers the site has.
        servers: u32,
    },
    /// No server at all may be disturbed.
    #[error(
        "max_unavailable.fleet = {share} allows {allowed} of {servers} servers to be out of service: 0 + 1 > \
         {allowed}, so it could never begin; allow at least 1"
    )]
    NoneOfFleet {
        /// As given.
        share: String,
        /// In numbers.
        allowed: u32,
        /// How many servers there are.
        servers: u32,
    },
    /// No site may be mended.
    #[error("sites_at_once = 0, so it could never begin; allow at least 1")]
    NoneAtOnce,
    /// No opening is longer than a section may last. Windows of one zone that adjoin are one opening.
    #[error(
        "a section may last {}, and the maintenance windows are open for {} at most: it would never fit; use a \
         longer window",
        write_duration(*.outage), write_duration(*.window)
    )]
    WindowTooShort {
        /// The longest section.
        outage: Duration,
        /// The longest opening.
        window: Duration,
    },
}

impl Strategy {
    /// This strategy in numbers, for these targets.
    ///
    /// # Errors
    /// Where it could never go on. It is refused and not bent: who wrote it meant something else.
    pub fn resolve(&self, targets: &Targets) -> Result<Resolved, Impossible> {
        let sites = u32::try_from(targets.sites.len()).unwrap_or(u32::MAX);
        if sites == 0 {
            return Err(Impossible::NoSite);
        }
        let mut waves: Vec<u32> = Vec::new();
        for (at, share) in self.waves.iter().enumerate() {
            let wave = at + 1;
            let reaches = share.ceil_of(sites);
            if reaches > sites {
                return Err(Impossible::WaveTooLarge {
                    wave,
                    wanted: reaches,
                    sites,
                });
            }
            match waves.last().copied().unwrap_or(0) {
                before if reaches < before => {
                    return Err(Impossible::WavesFall {
                        wave,
                        reaches,
                        before,
                        sites,
                    });
                }
                before if reaches == before => {}
                _ => waves.push(reaches),
            }
        }
        let reaches = waves.last().copied().unwrap_or(0);
        if reaches < sites {
            return Err(Impossible::NotAll { reaches, sites });
        }
        let mut max_unavailable_site = BTreeMap::new();
        for (site, servers) in &targets.sites {
            let allowed = self.max_unavailable.site.floor_of(*servers);
            if allowed == 0 {
                return Err(Impossible::NoneOfSite {
                    site: site.clone(),
                    share: self.max_unavailable.site.to_string(),
                    allowed,
                    servers: *servers,
                });
            }
            max_unavailable_site.insert(site.clone(), allowed);
        }
        let max_unavailable_fleet = self.max_unavailable.fleet.floor_of(targets.fleet);
        if max_unavailable_fleet == 0 {
            return Err(Impossible::NoneOfFleet {
                share: self.max_unavailable.fleet.to_string(),
                allowed: 0,
                servers: targets.fleet,
            });
        }
        if self.sites_at_once == 0 {
            return Err(Impossible::NoneAtOnce);
        }
        if let Some(window) = longest_opening(&self.windows)
            && window <= targets.longest_outage
        {
            return Err(Impossible::WindowTooShort {
                outage: targets.longest_outage,
                window,
            });
        }
        Ok(Resolved {
            waves,
            max_failed: self.max_failed.floor_of(targets.runs),
            max_unavailable_site,
            max_unavailable_fleet,
        })
    }
}

#[cfg(test)]
mod tests;
