//! A fleet as planning asks of it, gone through once for however many sites are planned one by one: of ten thousand
//! sites at which a symptom stands each has a plan of its own.

use std::collections::BTreeMap;

use mailmend_policy::digest::Digest;
use mailmend_policy::name::SiteName;
use mailmend_policy::plan::{Plan, Server, plan};
use mailmend_policy::policy::Policy;

use super::{Overrides, PlanningFault, another_path, strategy_of, targets_of};
use crate::mail_flow::MailFlow;

/// All servers, by site, and which of them are paths for mail.
#[derive(Debug)]
pub struct Fleet<'s> {
    count: usize,
    sites: BTreeMap<&'s SiteName, Vec<&'s Server>>,
    flow: MailFlow,
}

impl<'s> Fleet<'s> {
    /// The fleet of these servers.
    pub fn of(servers: impl Iterator<Item = &'s Server> + Clone) -> Self {
        let mut sites: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for server in servers.clone() {
            sites.entry(&server.site).or_default().push(server);
        }
        Self {
            count: sites.values().map(Vec::len).sum(),
            sites,
            flow: MailFlow::of(servers),
        }
    }

    /// The plans of a policy at one site, as [`super::planned`] makes them for that site alone.
    ///
    /// # Errors
    /// As [`super::planned`].
    pub fn plans_at(
        &self,
        policy: &Policy,
        digest: Digest,
        overrides: &Overrides<'_>,
        site: &SiteName,
    ) -> Result<Vec<Plan>, PlanningFault> {
        let servers: Vec<Server> = self
            .sites
            .get(site)
            .into_iter()
            .flatten()
            .map(|server| (*server).clone())
            .collect();
        let plans = if servers.is_empty() {
            Vec::new()
        } else {
            plan(policy, digest, &servers).map_err(PlanningFault::Plan)?
        };
        if plans.is_empty() {
            return Err(PlanningFault::NothingSelected {
                selector: format!("site={site}"),
                servers: self.count,
            });
        }
        let strategy = strategy_of(policy, overrides)?;
        let at = u32::try_from(servers.len()).unwrap_or(u32::MAX);
        strategy
            .resolve(&targets_of(
                &plans,
                BTreeMap::from([(site.clone(), at)]),
                self.count,
            ))
            .map_err(PlanningFault::Strategy)?;
        another_path(&strategy, &self.flow, &plans)?;
        Ok(plans)
    }
}
