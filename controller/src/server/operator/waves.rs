//! A person's word that a wave may begin.

use std::collections::BTreeMap;

use mailmend_policy::digest::Digest;
use mailmend_proto::run::RunId;
use mailmend_proto::wire;
use tonic::Status;

use super::rollouts::ATTEMPTS;
use super::{OperatorService, invalid};
use crate::rollout::{Approval, Rollout, RolloutState};
use crate::store::StoreError;

/// What a person has to look at again.
fn moved(what: &str) -> Status {
    Status::failed_precondition(format!("C115-approval-void: {what}"))
}

/// The drift of the runs that a wave still has to carry out.
fn drift_in<'a>(
    rollout: &Rollout,
    wave: u32,
    drift: &'a BTreeMap<RunId, String>,
) -> Option<&'a String> {
    rollout.waiting_in(wave).find_map(|run| drift.get(&run.id))
}

/// What is approved must be what would be done now.
fn same(
    rollout: &Rollout,
    wave: u32,
    request: &wire::ApproveWaveRequest,
    inventory: i64,
) -> Result<Approval, Status> {
    let digest = rollout.wave_digest(wave);
    if request.digest != digest.as_bytes() {
        let approved = match request.digest.as_slice().try_into() {
            Ok(bytes) => Digest::from_bytes(bytes).short(),
            Err(_) => "no digest at all".to_owned(),
        };
        return Err(moved(&format!(
            "wave {} has digest {} now, {approved} was looked at; look at `mailmend rollout show` again",
            request.wave,
            digest.short()
        )));
    }
    if request.generation != inventory {
        return Err(moved(&format!(
            "the inventory is at generation {inventory} now, {} was looked at: an agent was enrolled, or its \
             labels, facts or actions have changed; look at `mailmend rollout show` again",
            request.generation
        )));
    }
    Ok(Approval {
        digest,
        generation: inventory,
        by: String::new(),
        at_ms: 0,
        why: request.why.clone(),
    })
}

impl OperatorService {
    pub(super) async fn approved(
        &self,
        operator: String,
        request: wire::ApproveWaveRequest,
    ) -> Result<wire::Rollout, Status> {
        let store = self.controller.store();
        for _ in 0..ATTEMPTS {
            let rollout = self.rollout(&request.id).await?;
            let waves = rollout.waves().count();
            if request.wave == 0 || request.wave > waves {
                return Err(invalid(&format!(
                    "C038-request: wave {}; the rollout has waves 1 to {waves}",
                    request.wave
                )));
            }
            let wave = request.wave - 1;
            if rollout.state.is_final() || rollout.state == RolloutState::Aborting {
                return Err(Status::failed_precondition(format!(
                    "C085-rollout-state: the rollout is {}; there is nothing to approve",
                    rollout.state.name()
                )));
            }
            if !rollout.strategy.approve.before(wave) {
                return Err(Status::failed_precondition(format!(
                    "C116-approval-not-asked: nobody is asked before wave {}; `mailmend rollout show` tells \
                     its waves",
                    request.wave
                )));
            }
            if rollout.by == operator {
                return Err(Status::failed_precondition(format!(
                    "C151-own-change: `{operator}` started the rollout, and nobody approves their own change; \
                     ask another operator of the role approver (`mailmend operator list`)"
                )));
            }
            if rollout.approvals.contains_key(&wave) {
                return self.answer(rollout.id).await;
            }
            let inventory = store.generation().await?;
            let approval = same(&rollout, wave, &request, inventory)?;
            let drift = self.controller.drift_of(&rollout).await?;
            if let Some(change) = drift_in(&rollout, wave, &drift) {
                return Err(moved(&format!(
                    "the servers are not what the plans were made from: {change}; put that back, or abort \
                     and start anew"
                )));
            }
            let why = format!(
                "wave {} ({}) {}",
                request.wave, approval.digest, request.why
            );
            let change = self.change(
                operator.clone(),
                "approve-wave",
                rollout.id.to_string(),
                why.trim_end().to_owned(),
            );
            let approval = Approval {
                by: operator.clone(),
                at_ms: change.at_ms,
                ..approval
            };
            let stored = store
                .approve_wave(rollout.id, rollout.revision, wave, &approval, &change)
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
}
