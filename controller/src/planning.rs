//! From a request to frozen plans: which sites, which servers, what would be done, under which digest.

pub mod drift;
mod fleet;

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::digest::Digest;
use mailmend_policy::name::{ServerName, SiteName};
use mailmend_policy::parse::parse;
use mailmend_policy::plan::{Plan, PlanFault, Server, plan};
use mailmend_policy::policy::Policy;
use mailmend_policy::preview::worst_case;
use mailmend_policy::selector::{Selector, SelectorFault};
use mailmend_policy::source::PolicySource;
use mailmend_policy::strategy::{
    Impossible, LastPath, Resolved, Share, Strategy, Targets, overridden,
};

pub use fleet::Fleet;

use crate::mail_flow::{MailFlow, Route};
use crate::rollout::tolerance;
use crate::store::PolicyRow;

/// What a rollout would be.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The policy.
    pub policy: Policy,
    /// Its plans, in the order in which they are begun.
    pub plans: Vec<Plan>,
    /// All servers of each site.
    pub servers: BTreeMap<SiteName, Vec<Server>>,
    /// The digest over the digests of all plans: what a person approves.
    pub digest: Digest,
    /// How it would go through the sites.
    pub strategy: Strategy,
    /// The same in numbers.
    pub resolved: Resolved,
    /// What a person should know of address spaces before it is started, in sentences.
    pub mail_flow: Vec<String>,
}

/// What a request has in the place of the policy's strategy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overrides<'a> {
    /// How many sites at once, 1 to 1000.
    pub sites_at_once: Option<u32>,
    /// How many runs may fail.
    pub max_failed: Option<u32>,
    /// A TOML fragment with keys of `[strategy]`; empty: none.
    pub strategy: &'a [u8],
    /// One wave, whatever the strategy says: for a rollout of one site that a symptom starts.
    pub one_wave: bool,
}

/// Why a request cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanningFault {
    /// The selector makes no sense.
    #[error("C080-selector: `{text}` selects nothing that makes sense: {why}")]
    Selector {
        /// As given.
        text: String,
        /// What is wrong.
        why: SelectorFault,
    },
    /// The selector matches no server.
    #[error(
        "C081-nothing-selected: `{selector}` matches none of {servers} servers; `mailmend agent list` shows \
         their labels and facts"
    )]
    NothingSelected {
        /// As given.
        selector: String,
        /// How many servers there are.
        servers: usize,
    },
    /// The policy cannot be bound to the servers of the selected sites.
    #[error("C082-not-plannable: {}", list(.0))]
    Plan(Vec<PlanFault>),
    /// A published policy is refused by this version's rules.
    #[error("C083-policy-refused: the published policy has faults under this version's rules: {0}")]
    Policy(String),
    /// The strategy could never go on with these targets.
    #[error("C112-strategy: the strategy could never go on: {0}")]
    Strategy(Impossible),
    /// What is to override the strategy has faults.
    #[error("C114-strategy-refused: {0}")]
    Override(String),
    /// A server to be mended is the only outbound path of an address space, and the strategy refuses that.
    #[error(
        "C125-last-path: `{server}` is the only outbound path of {route}, and `last_path` is `refuse`: mail there would \
         wait while it is mended; state another path, or accept that with `last_path = \"accept\"` in `[strategy]`"
    )]
    LastPath {
        /// The space.
        route: Route,
        /// The server.
        server: ServerName,
    },
    /// A limit is out of range.
    #[error("C084-limit: sites_at_once is {0}; 1 to 1000 are allowed")]
    SitesAtOnce(u32),
}

/// So many faults of a plan are told; of a large fleet each server may have the same.
const TOLD: usize = 8;

fn list(faults: &[PlanFault]) -> String {
    let told: Vec<String> = faults.iter().take(TOLD).map(ToString::to_string).collect();
    let more = match faults.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!("; and {more} more like these"),
    };
    told.join("; ") + &more
}

/// Plans a rollout of `revision` over the sites of the servers that `selector` selects. A site is
/// always taken whole, so that a plan sees every server that shares its routing.
///
/// # Errors
/// Where the selector, the policy or its binding to the servers is at fault; nothing selected is a
/// fault too.
pub fn planned(
    revision: &PolicyRow,
    selector: &str,
    overrides: &Overrides<'_>,
    servers: &[Server],
) -> Result<Planned, PlanningFault> {
    let selects: Selector = selector.parse().map_err(|why| PlanningFault::Selector {
        text: selector.to_owned(),
        why,
    })?;
    let source = PolicySource::new(revision.name.as_str(), revision.text.clone());
    let policy = parse(&source).map_err(|faults| PlanningFault::Policy(faults.to_string()))?;
    let sites: BTreeSet<&SiteName> = servers
        .iter()
        .filter(|server| selects.selects(&server.labels))
        .map(|server| &server.site)
        .collect();
    if sites.is_empty() {
        return Err(PlanningFault::NothingSelected {
            selector: selector.to_owned(),
            servers: servers.len(),
        });
    }
    let selected: Vec<Server> = servers
        .iter()
        .filter(|server| sites.contains(&server.site))
        .cloned()
        .collect();
    let plans = plan(&policy, source.digest(), &selected).map_err(PlanningFault::Plan)?;
    if plans.is_empty() {
        return Err(PlanningFault::NothingSelected {
            selector: selector.to_owned(),
            servers: servers.len(),
        });
    }
    let strategy = strategy_of(&policy, overrides)?;
    let resolved = strategy
        .resolve(&targets(&plans, servers))
        .map_err(PlanningFault::Strategy)?;
    let flow = MailFlow::of(servers);
    another_path(&strategy, &flow, &plans)?;
    let mail_flow = flow.notes(&plans, servers);
    let mut by_site: BTreeMap<SiteName, Vec<Server>> = BTreeMap::new();
    for server in selected {
        by_site.entry(server.site.clone()).or_default().push(server);
    }
    let planned: BTreeSet<&SiteName> = plans.iter().map(|plan| &plan.site).collect();
    by_site.retain(|site, _| planned.contains(site));
    Ok(Planned {
        digest: digest(&plans),
        policy,
        plans,
        servers: by_site,
        strategy,
        resolved,
        mail_flow,
    })
}

/// The policy's strategy with what a request has in its place.
fn strategy_of(policy: &Policy, overrides: &Overrides<'_>) -> Result<Strategy, PlanningFault> {
    let mut strategy = if overrides.strategy.is_empty() {
        policy.strategy.clone()
    } else {
        overridden(&policy.strategy, overrides.strategy, "the strategy")
            .map_err(|faults| PlanningFault::Override(faults.to_string()))?
    };
    if let Some(sites_at_once) = overrides.sites_at_once {
        strategy.sites_at_once = sites_at_once;
    }
    if let Some(max_failed) = overrides.max_failed {
        strategy.max_failed = Share::Count(max_failed);
    }
    if overrides.one_wave {
        strategy.waves = vec![Share::Percent(100)];
    }
    if !(1..=1000).contains(&strategy.sites_at_once) {
        return Err(PlanningFault::SitesAtOnce(strategy.sites_at_once));
    }
    Ok(strategy)
}

/// That no plan takes the only outbound path of a route, where the strategy refuses that.
fn another_path(strategy: &Strategy, flow: &MailFlow, plans: &[Plan]) -> Result<(), PlanningFault> {
    if strategy.last_path == LastPath::Refuse
        && let Some((route, server)) = plans.iter().flat_map(|plan| flow.only_paths(plan)).next()
    {
        return Err(PlanningFault::LastPath { route, server });
    }
    Ok(())
}

/// What a strategy is resolved for: these plans, out of all servers.
#[must_use]
pub fn targets(plans: &[Plan], servers: &[Server]) -> Targets {
    let mut sites: BTreeMap<SiteName, u32> =
        plans.iter().map(|plan| (plan.site.clone(), 0)).collect();
    for server in servers {
        if let Some(count) = sites.get_mut(&server.site) {
            *count += 1;
        }
    }
    targets_of(plans, sites, servers.len())
}

/// The same for sites of so many servers each, in a fleet of so many.
fn targets_of(plans: &[Plan], sites: BTreeMap<SiteName, u32>, fleet: usize) -> Targets {
    let outages = plans
        .iter()
        .flat_map(|plan| worst_case(plan).sections)
        .map(|section| section.downtime);
    Targets {
        runs: u32::try_from(plans.len()).unwrap_or(u32::MAX),
        sites,
        fleet: u32::try_from(fleet).unwrap_or(u32::MAX),
        longest_outage: outages.max().unwrap_or_default(),
    }
}

/// The digest over the digests of plans, in order.
#[must_use]
pub fn digest<'a>(plans: impl IntoIterator<Item = &'a Plan>) -> Digest {
    let digests: Vec<u8> = plans
        .into_iter()
        .flat_map(|plan| *plan.digest().as_bytes())
        .collect();
    Digest::of(&digests)
}

impl Planned {
    /// When the rollout halts, as the inequality that decides it.
    #[must_use]
    pub fn inequality(&self) -> String {
        format!(
            "halts as soon as failed > {}, of {} runs; a run that needs a person counts as failed, a server \
             that cannot be reached is waited for and does not",
            tolerance(
                self.strategy.max_failed,
                self.resolved.max_failed,
                self.plans.len()
            ),
            self.plans.len()
        )
    }
}

#[cfg(test)]
mod tests;
