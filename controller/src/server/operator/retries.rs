//! Trying failed runs again.

use std::collections::BTreeSet;

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_policy::plan::{Plan, Server};
use mailmend_policy::strategy::overridden;
use mailmend_proto::run::RunId;
use mailmend_proto::wire;
use tonic::Status;
use uuid::Uuid;

use super::signing::asked;
use super::{OperatorService, invalid};
use crate::planning::{Overrides, PlanningFault, planned, targets};
use crate::rollout::{Rollout, RolloutId, RunPhase};
use crate::store::{AgentRow, NewRollout, NewRun};

/// What a run is about, whatever its plan.
type Target = (SiteName, Option<ServerName>);

/// The runs that failed or were never begun.
fn failed(rollout: &Rollout) -> BTreeSet<Target> {
    rollout
        .runs
        .iter()
        .filter(|run| matches!(run.phase, RunPhase::Failed | RunPhase::Cancelled))
        .map(|run| (run.site.clone(), run.subject.clone()))
        .collect()
}

impl OperatorService {
    pub(super) async fn retried(
        &self,
        operator: String,
        request: wire::RetryRolloutRequest,
    ) -> Result<wire::Rollout, Status> {
        let request_id = Uuid::try_parse(&request.request_id).map_err(|_| {
            invalid("C092-request-id: `request_id` must be a UUID that the caller made for this request")
        })?;
        let store = self.controller.store();
        if let Some(id) = store.rollout_of_request(request_id).await? {
            return self.answer(id).await;
        }
        let first = self.rollout(&request.id).await?;
        let failed = failed(&first);
        if failed.is_empty() {
            return Err(Status::failed_precondition(format!(
                "C117-nothing-to-retry: no run of rollout {} has failed or was cancelled; `mailmend rollout \
                 show` tells how they stand",
                first.id
            )));
        }
        let revision = self.policy(first.policy.as_str(), first.version).await?;
        // Before the servers are read: what changes in between counts as changed.
        let generation = store.generation().await?;
        let agents = store.agents().await?;
        let servers: Vec<Server> = agents.iter().map(AgentRow::server).collect();
        let mut sites: Vec<&str> = failed.iter().map(|(site, _)| site.as_str()).collect();
        sites.dedup();
        let selector = format!("site in ({})", sites.join(","));
        let overrides = Overrides {
            one_wave: true,
            ..Overrides::default()
        };
        let planned = planned(&revision, &selector, &overrides, &servers)?;
        let plans: Vec<Plan> = planned
            .plans
            .into_iter()
            .filter(|plan| failed.contains(&(plan.site.clone(), plan.subject.clone())))
            .collect();
        if plans.len() != failed.len() {
            let here: BTreeSet<Target> = plans
                .iter()
                .map(|plan| (plan.site.clone(), plan.subject.clone()))
                .collect();
            let gone: Vec<String> = failed
                .difference(&here)
                .map(|(site, subject)| match subject {
                    Some(subject) => format!("{subject} at {site}"),
                    None => site.to_string(),
                })
                .collect();
            return Err(Status::failed_precondition(format!(
                "C118-retry-drift: {} cannot be planned as it was: its servers have changed; start a rollout \
                 anew with `mailmend rollout start`",
                gone.join(", ")
            )));
        }
        asked(&self.controller, &plans, &revision.text).await?;
        let strategy = if request.strategy.is_empty() {
            first.strategy.clone()
        } else {
            overridden(&first.strategy, &request.strategy, "the strategy")
                .map_err(|faults| PlanningFault::Override(faults.to_string()))?
        };
        let resolved = strategy
            .resolve(&targets(&plans, &servers))
            .map_err(PlanningFault::Strategy)?;
        let runs = plans
            .into_iter()
            .map(|plan| NewRun {
                id: RunId(Uuid::new_v4()),
                servers: planned.servers.get(&plan.site).cloned().unwrap_or_default(),
                plan,
            })
            .collect();
        let id = RolloutId(Uuid::new_v4());
        let why = format!(
            "{} failed runs of {} {}",
            failed.len(),
            first.id,
            request.why
        );
        let change = self.change(
            operator.clone(),
            "retry-rollout",
            id.to_string(),
            why.trim_end().to_owned(),
        );
        let new = NewRollout {
            id,
            request: request_id,
            policy: revision.name,
            version: revision.version,
            selector,
            started_ms: self.controller.now_ms(),
            by: operator,
            strategy,
            resolved,
            generation,
            retry_of: Some(first.id),
            runs,
        };
        let id = store.start_rollout(&new, &change).await?;
        self.controller.changed();
        self.answer(id).await
    }
}
