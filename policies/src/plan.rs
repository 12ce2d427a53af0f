//! Plans: a policy bound to the servers of one site. Immutable, with a digest.

mod bind;
mod lay;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::digest::Digest;
use crate::name::{PolicyName, RoleName, ServerName, ServiceName, SiteName, StepId};
use crate::policy::{Limits, Policy};
use crate::step::{Action, Forbid};

pub use bind::PlanFault;

/// A server as the planner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its name, which is its agent's name too.
    pub name: ServerName,
    /// The site that it belongs to.
    pub site: SiteName,
    /// Labels that operators gave it and facts that its agent reports (`ims.direction`,
    /// `exchange.version`, `site`); a label wins over a fact of the same name.
    pub labels: BTreeMap<String, String>,
    /// The actions that its agent can carry out, by name.
    pub actions: BTreeSet<String>,
}

/// The id of the step that the planner puts first, from `[detect]`; no policy may use it.
pub const DETECT: &str = "detect";

/// The fact by which an agent reports the Exchange version of its server.
pub const VERSION_FACT: &str = "exchange.version";

/// Binds a policy to the servers of any number of sites: one plan for each site, or for each server
/// of its `each` role. Sites and servers are taken by name, so the order of `servers` never matters.
///
/// A site where no server takes the `each` role (or, without one, any role) has nothing to mend and
/// gets no plan. A site that is selected in part gets a fault.
///
/// # Errors
/// All faults of all sites. No server at all is a fault too: an empty selection never means
/// "everything", and never "done".
pub fn plan(
    policy: &Policy,
    policy_digest: Digest,
    servers: &[Server],
) -> Result<Vec<Plan>, Vec<PlanFault>> {
    let bindings = bind::bindings(policy, servers)?;
    Ok(bindings
        .iter()
        .map(|binding| lay::plan(policy, policy_digest, binding))
        .collect())
}

/// Which of a policy's plans is wanted.
#[derive(Debug, Clone, Copy)]
pub struct PlanOf<'a> {
    /// The site.
    pub site: &'a str,
    /// The server that the `each` role is bound to; empty: the policy has no such role.
    pub subject: &'a str,
}

/// As [`plan`], of which one plan alone is laid out; none where no such plan is among them.
///
/// # Errors
/// As [`plan`].
pub fn plan_one(
    policy: &Policy,
    policy_digest: Digest,
    servers: &[Server],
    of: PlanOf<'_>,
) -> Result<Option<Plan>, Vec<PlanFault>> {
    let bindings = bind::bindings(policy, servers)?;
    let wanted = bindings.iter().find(|binding| {
        let subject = binding.subject.as_ref().map_or("", ServerName::as_str);
        binding.site.as_str() == of.site && subject == of.subject
    });
    Ok(wanted.map(|binding| lay::plan(policy, policy_digest, binding)))
}

/// A policy bound to servers of one site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The policy's name.
    pub policy: PolicyName,
    /// Its version.
    pub policy_version: u32,
    /// The digest of its exact text.
    pub policy_digest: Digest,
    /// The site.
    pub site: SiteName,
    /// The server that the `each` role is bound to, where the policy has one.
    pub subject: Option<ServerName>,
    /// Which servers took which role.
    pub bindings: BTreeMap<RoleName, Vec<ServerName>>,
    /// What the run may cost.
    pub limits: Limits,
    /// The steps in their one order; a step of an `all` role is there once for each server.
    pub steps: Vec<PlannedStep>,
    /// The sections, in order.
    pub sections: Vec<Section>,
}

/// One step bound to one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Its place in the plan, from 0.
    pub index: u32,
    /// The policy's step.
    pub id: StepId,
    /// The role that the server has in it.
    pub role: RoleName,
    /// The server that carries it out.
    pub server: ServerName,
    /// What is done.
    pub action: Action,
    /// The longest that it may take.
    pub timeout: Duration,
    /// All must hold, or it is skipped.
    pub when: Vec<Condition>,
    /// None may hold.
    pub forbid: Vec<Forbid>,
    /// Unwinding stops above it once it is done.
    pub point_of_no_return: bool,
    /// The section it belongs to.
    pub section: Option<u32>,
    /// Why the step is there, for the operator.
    pub why: Option<String>,
}

/// Consecutive steps on one server between which service is disturbed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Its place among the plan's sections, from 0.
    pub index: u32,
    /// The server.
    pub server: ServerName,
    /// The role that the server has in it: at most one section per (site, role) at a time.
    pub role: RoleName,
    /// The index of the step that opens it (a stop or a kill).
    pub first: u32,
    /// The index of the step that closes it (a start).
    pub last: u32,
    /// The service that is disturbed, stopped first and started last; starting it is the exit.
    pub service: ServiceName,
    /// Other services that the section stops and starts within; the exit starts those that are
    /// stopped, in this order, before `service`.
    pub inner: Vec<ServiceName>,
    /// The longest that service may be disturbed before the agent takes the exit. For a search, which
    /// is a section by itself: in each of its restarts.
    pub budget: Duration,
}

impl Plan {
    /// The digest over the canonical form (JSON in field order, maps sorted).
    ///
    /// # Panics
    /// Never: a plan holds nothing that JSON cannot express.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let canonical = serde_json::to_vec(self).expect("a plan is plain data");
        Digest::of(&canonical)
    }

    /// The servers that have a step in the plan, each once, in the order of their first step.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerName> {
        let mut servers: Vec<ServerName> = Vec::new();
        for step in &self.steps {
            if !servers.contains(&step.server) {
                servers.push(step.server.clone());
            }
        }
        servers
    }
}
