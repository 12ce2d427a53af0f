//! Rollouts: planning, starting, changing, watching, explaining.

use std::collections::BTreeSet;

use mailmend_policy::digest::Digest;
use mailmend_policy::plan::Server;
use mailmend_proto::run::{Event, RunId};
use mailmend_proto::wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use uuid::Uuid;

use crate::decide;
use crate::explain::explain;
use crate::planning::{Overrides, Planned, planned};
use crate::rollout::{Cause, Rollout, RolloutId, Wish};
use crate::store::{AgentRow, Changed, NewRollout, NewRun, PolicyRow, RunRecord, StoreError};

use super::signing::asked;
use super::{OperatorService, Streamed, answers, invalid, part, stopping};

/// How many rollouts are listed, the newest.
pub(super) const LISTED: u32 = 200;

/// How often a change is tried again while decisions change the same rollout.
pub(super) const ATTEMPTS: u32 = 20;

impl OperatorService {
    async fn planned(
        &self,
        request: &wire::RolloutRequest,
    ) -> Result<(PolicyRow, Planned, i64), Status> {
        let revision = self.policy(&request.policy, request.version).await?;
        // Before the servers are read: what changes in between counts as changed.
        let generation = self.controller.store().generation().await?;
        let servers: Vec<Server> = self
            .controller
            .store()
            .agents()
            .await?
            .iter()
            .map(AgentRow::server)
            .collect();
        let overrides = Overrides {
            sites_at_once: request.sites_at_once,
            max_failed: request.max_failed,
            strategy: &request.strategy,
            one_wave: false,
        };
        let planned = planned(&revision, &request.selector, &overrides, &servers)?;
        Ok((revision, planned, generation))
    }

    pub(super) async fn plan(
        &self,
        request: &wire::RolloutRequest,
    ) -> Result<wire::PlanRolloutResponse, Status> {
        let (_, planned, generation) = self.planned(request).await?;
        let connected = self.controller.sessions().connected();
        // The plans and their digest are made without these: mail that arrives changes no plan.
        let queues = self.controller.store().queues().await?;
        let plans = planned
            .plans
            .iter()
            .map(|plan| {
                let away: BTreeSet<String> = plan
                    .servers()
                    .iter()
                    .filter(|server| !connected.contains(*server))
                    .map(ToString::to_string)
                    .collect();
                answers::plan(plan, away.into_iter().collect(), &queues)
            })
            .collect();
        Ok(wire::PlanRolloutResponse {
            digest: planned.digest.as_bytes().to_vec(),
            inequality: planned.inequality(),
            generation,
            strategy: answers::planned_strategy(&planned),
            waves: answers::planned_waves(&planned),
            mail_flow: planned.mail_flow,
            plans,
        })
    }

    pub(super) async fn begin(
        &self,
        operator: String,
        request: &wire::RolloutRequest,
    ) -> Result<wire::Rollout, Status> {
        let request_id = Uuid::try_parse(&request.request_id).map_err(|_| {
            invalid("C092-request-id: `request_id` must be a UUID that the caller made for this request")
        })?;
        let store = self.controller.store();
        // The same request again, after its answer was lost: whatever the fleet looks like by now.
        if let Some(id) = store.rollout_of_request(request_id).await? {
            return self.answer(id).await;
        }
        let (revision, planned, generation) = self.planned(request).await?;
        if !request.approved_digest.is_empty()
            && request.approved_digest != planned.digest.as_bytes()
        {
            let approved = match request.approved_digest.as_slice().try_into() {
                Ok(bytes) => Digest::from_bytes(bytes).short(),
                Err(_) => "no digest at all".to_owned(),
            };
            return Err(Status::failed_precondition(format!(
                "C093-plan-changed: the plans have digest {} now, {approved} was approved: servers, labels or \
                 the policy have changed; look at `mailmend rollout plan` again",
                planned.digest.short()
            )));
        }
        if request.approved_generation != 0 && request.approved_generation != generation {
            return Err(Status::failed_precondition(format!(
                "C093-plan-changed: the inventory is at generation {generation} now, {} was approved: an agent \
                 was enrolled, or its labels, facts or actions have changed; look at `mailmend rollout plan` \
                 again",
                request.approved_generation
            )));
        }
        asked(&self.controller, &planned.plans, &revision.text).await?;
        let id = RolloutId(Uuid::new_v4());
        let runs = planned
            .plans
            .into_iter()
            .map(|plan| NewRun {
                id: RunId(Uuid::new_v4()),
                servers: planned.servers.get(&plan.site).cloned().unwrap_or_default(),
                plan,
            })
            .collect();
        let why = format!("plans {}", planned.digest);
        let change = self.change(operator.clone(), "start-rollout", id.to_string(), why);
        let new = NewRollout {
            id,
            request: request_id,
            policy: revision.name,
            version: revision.version,
            selector: request.selector.clone(),
            started_ms: self.controller.now_ms(),
            by: operator,
            strategy: planned.strategy,
            resolved: planned.resolved,
            generation,
            retry_of: None,
            runs,
        };
        let id = store.start_rollout(&new, &change).await?;
        self.controller.changed();
        self.answer(id).await
    }

    pub(super) async fn answer(&self, id: RolloutId) -> Result<wire::Rollout, Status> {
        let store = self.controller.store();
        let rollout = store.rollout(id).await?;
        let rollout =
            rollout.ok_or_else(|| Status::not_found("C036-not-found: the rollout has gone"))?;
        Ok(wire::Rollout {
            inventory: store.generation().await?,
            ..answers::rollout(&rollout)
        })
    }

    pub(super) async fn changed(
        &self,
        operator: String,
        request: wire::ChangeRolloutRequest,
    ) -> Result<wire::Rollout, Status> {
        let (wish, what) = match request.change() {
            wire::RolloutChange::Pause => (Wish::Pause, "pause-rollout"),
            wire::RolloutChange::Resume => (Wish::Resume, "resume-rollout"),
            wire::RolloutChange::Abort => (Wish::Abort, "abort-rollout"),
            wire::RolloutChange::Unspecified => {
                return Err(invalid(
                    "C038-request: say what to change: pause, resume or abort",
                ));
            }
        };
        for _ in 0..ATTEMPTS {
            let rollout = self.rollout(&request.id).await?;
            let state = rollout
                .state
                .after(wish)
                .map_err(|why| Status::failed_precondition(why.to_string()))?;
            if state == rollout.state {
                return Ok(answers::rollout(&rollout));
            }
            if wish == Wish::Resume && rollout.cause == Cause::Drift {
                let drift = self.controller.drift_of(&rollout).await?;
                let phases: Vec<_> = rollout.runs.iter().map(|run| run.phase).collect();
                if let Some(change) = decide::begin::drifted(&rollout, &phases, &drift) {
                    return Err(Status::failed_precondition(format!(
                        "C119-drift: the servers are not what the plans were made from: {change}; put that \
                         back, or abort the rollout and start anew"
                    )));
                }
            }
            // Who resumes a rollout accepts the failures, or the gate, that held it.
            let resumes = wish == Wish::Resume;
            let accepted_failures = if resumes {
                rollout.accepted_failures.max(decide::failed(&rollout))
            } else {
                rollout.accepted_failures
            };
            let changed = Changed {
                state,
                cause: if resumes { Cause::None } else { Cause::Person },
                accepted_failures,
                accepted_gate: (resumes && rollout.cause == Cause::Gate).then_some(rollout.wave),
            };
            let mut why = request.why.clone();
            if wish != Wish::Resume {
                let separator = if why.is_empty() { "" } else { ": " };
                why = format!("{operator}{separator}{why}");
            }
            let change = self.change(operator.clone(), what, rollout.id.to_string(), why);
            let stored = self
                .controller
                .store()
                .change_rollout(rollout.id, rollout.revision, &changed, &change)
                .await;
            match stored {
                Ok(()) => {
                    self.controller.changed();
                    return self.answer(rollout.id).await;
                }
                Err(StoreError::Changed(_)) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Err(Status::aborted(
            "C106-store-changed: the rollout changes faster than it can be changed; try again",
        ))
    }

    pub(super) fn watched(&self, id: RolloutId) -> Streamed<wire::Rollout> {
        let (seen, stream) = mpsc::channel(4);
        let controller = self.controller.clone();
        self.controller.tasks().spawn(async move {
            let mut changes = controller.watch();
            let mut last = None;
            loop {
                // Before looking, so that a change while looking is seen afterwards.
                changes.mark_unchanged();
                let rollout = match controller.store().rollout(id).await {
                    Ok(Some(rollout)) => rollout,
                    Ok(None) => return,
                    Err(fault) => return part(&seen, fault.into()).await,
                };
                if last.as_ref() != Some(&rollout) {
                    let told = seen.send(Ok(answers::rollout(&rollout)));
                    let told = tokio::select! {
                        () = controller.stopping().cancelled() => {
                            return part(&seen, stopping()).await;
                        }
                        told = told => told,
                    };
                    if told.is_err() || rollout.state.is_final() {
                        return;
                    }
                    last = Some(rollout);
                }
                tokio::select! {
                    () = controller.stopping().cancelled() => {
                        return part(&seen, stopping()).await;
                    }
                    () = seen.closed() => return,
                    changed = changes.changed() => if changed.is_err() { return },
                }
            }
        });
        Box::pin(ReceiverStream::new(stream))
    }

    pub(super) async fn explained(&self, rollout: &Rollout) -> Result<wire::Explanation, Status> {
        let mut around = self.controller.surroundings().await?;
        around.fleet = self.controller.fleet_for(rollout).await?;
        let now_ms = around.now_ms;
        let waiting = explain(rollout, &around);
        Ok(wire::Explanation {
            rollout: rollout.id.to_string(),
            state: answers::state(rollout.state).into(),
            waiting: waiting
                .into_iter()
                .map(|one| answers::waiting(one, now_ms))
                .collect(),
        })
    }

    pub(super) async fn run_detail(&self, prefix: &str) -> Result<wire::RunDetail, Status> {
        let id = self.run_id(prefix).await?;
        let store = self.controller.store();
        let alarms = store.run_alarms(id).await?;
        let gone = || Status::not_found("C036-not-found: the run has gone");
        let Some(rollout) = store.rollout_of(id).await? else {
            let duty = store.duty(id).await?.ok_or_else(gone)?;
            return Ok(wire::RunDetail {
                run: Some(answers::duty(id.to_string(), &duty)),
                alarms,
                restarts: duty.told.restarts,
                ..wire::RunDetail::default()
            });
        };
        let rollout = store.rollout(rollout).await?.ok_or_else(gone)?;
        let run = rollout
            .runs
            .iter()
            .find(|run| run.id == id)
            .ok_or_else(gone)?;
        let records = store.run_records(id).await?;
        let searched = |one: &RunRecord| matches!(one.record.event, Event::SearchBegan { .. });
        let poison = if records.iter().any(searched) {
            store.run_poison(id).await?
        } else {
            BTreeSet::new()
        };
        Ok(wire::RunDetail {
            run: Some(answers::run(run)),
            rollout: rollout.id.to_string(),
            policy: rollout.policy.to_string(),
            version: rollout.version,
            steps: answers::steps(run, &records, &poison),
            alarms,
            restarts: answers::restarts(run.parts.values().map(|part| &part.told)),
        })
    }
}
