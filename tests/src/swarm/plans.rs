//! Plans of assignments, made once for each policy: all agents of the swarm are alike.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use mailmend_policy::digest::Digest;
use mailmend_policy::parse::parse;
use mailmend_policy::plan::{Plan, PlannedStep, Server, plan};
use mailmend_policy::source::PolicySource;
use mailmend_proto::convert::server_from_wire;
use mailmend_proto::wire;

/// The plans by the text of their policy.
#[derive(Debug, Default)]
pub struct Plans(Mutex<HashMap<Digest, Arc<Plan>>>);

impl Plans {
    /// The plan of an assignment. That of another server of the swarm is taken where there is one: it has the same
    /// steps and sections, and planning ten thousand times would measure the planner.
    ///
    /// # Errors
    /// Where the policy cannot be planned for the servers of the assignment.
    pub fn of(&self, assignment: &wire::Assignment) -> Result<Arc<Plan>, String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let source = PolicySource::new(
            assignment.policy_name.as_str(),
            assignment.policy_text.clone(),
        );
        let digest = source.digest();
        if let Some(plan) = known.get(&digest) {
            return Ok(plan.clone());
        }
        let policy = parse(&source).map_err(|faults| faults.to_string())?;
        let servers = assignment.servers.iter().cloned();
        let servers: Vec<Server> = servers
            .map(|server| server_from_wire(server).map_err(|why| why.to_string()))
            .collect::<Result<_, _>>()?;
        let plans = plan(&policy, digest, &servers).map_err(|faults| format!("{faults:?}"))?;
        let alone = |step: &PlannedStep| step.server.as_str() == assignment.subject;
        let own = plans
            .into_iter()
            .find(|plan| plan.steps.iter().all(alone))
            .ok_or("no plan is for this server alone")?;
        let own = Arc::new(own);
        known.insert(digest, own.clone());
        Ok(own)
    }
}
