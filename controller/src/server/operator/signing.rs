//! What is signed of policies: published, shown, and asked before a rollout begins.

use std::collections::BTreeSet;

use mailmend_policy::name::ServerName;
use mailmend_policy::plan::Plan;
use mailmend_proto::convert::signed_from_wire;
use mailmend_proto::wire;
use mailmend_trust::{Kind, Sha256, Trusted};
use tonic::Status;

use super::{OperatorService, invalid};
use crate::orchestrator::Controller;
use crate::signing::{SigningFault, publication, would_take};
use crate::store::StoreError;

/// How often a publication is tried again while somebody else publishes.
const ATTEMPTS: u32 = 5;

impl From<SigningFault> for Status {
    fn from(fault: SigningFault) -> Self {
        Self::failed_precondition(fault.to_string())
    }
}

/// Whether the agents of these plans that take signed policies alone would take this text now.
pub(super) async fn asked(
    controller: &Controller,
    plans: &[Plan],
    text: &[u8],
) -> Result<(), Status> {
    let store = controller.store();
    let held = store.trust_held().await?;
    let servers: BTreeSet<ServerName> = plans
        .iter()
        .flat_map(Plan::servers)
        .filter(|server| held.get(server).is_some_and(|one| one.held.signed))
        .collect();
    if servers.is_empty() {
        return Ok(());
    }
    let state = store.trusted().await?;
    would_take(state.as_ref(), &servers, text, controller.now_ms())?;
    Ok(())
}

impl OperatorService {
    pub(super) async fn trust_published(
        &self,
        operator: String,
        request: wire::PublishTrustRequest,
    ) -> Result<wire::Trust, Status> {
        let documents = request.documents.into_iter().map(signed_from_wire);
        let documents: Vec<_> = documents
            .collect::<Result<_, _>>()
            .map_err(|why| invalid(&format!("C038-request: {why}")))?;
        if documents.is_empty() {
            return Err(invalid("C038-request: no document was given"));
        }
        let store = self.controller.store();
        for _ in 0..ATTEMPTS {
            let generation = store.trust_generation().await?;
            let before = store.trusted().await?;
            let made = publication(before.as_ref(), documents.clone(), self.controller.now_ms())?;
            if before.as_ref() == Some(&made.state) {
                return self.trust().await;
            }
            let change = self.change(
                operator.clone(),
                "publish-trust",
                made.what.clone(),
                String::new(),
            );
            let stored = store
                .publish_trust(generation, &made.roots, &made.state, &change)
                .await;
            match stored {
                Ok(()) => {
                    self.controller.sessions().wake_all();
                    self.controller.changed();
                    return self.trust().await;
                }
                Err(StoreError::Changed(_)) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Err(Status::aborted(
            "C106-store-changed: somebody else publishes at the same time; try again",
        ))
    }

    pub(super) async fn trust(&self) -> Result<wire::Trust, Status> {
        let store = self.controller.store();
        let state = store.trusted().await?;
        let held = store.trust_held().await?;
        let mut agents = Vec::new();
        for agent in store.agents().await? {
            let row = held.get(&agent.name);
            agents.push(wire::AgentTrust {
                agent: agent.name.to_string(),
                held: row.map(|row| row.held.clone()),
                told_ms: row.map_or(0, |row| row.told_ms),
            });
        }
        let Some(state) = state else {
            return Ok(wire::Trust {
                agents,
                ..wire::Trust::default()
            });
        };
        let stale = state.fresh(self.controller.now_ms()).err();
        Ok(wire::Trust {
            documents: Kind::ALL
                .into_iter()
                .filter_map(|kind| document(&state, kind))
                .collect(),
            policies: self.catalogued(&state).await?,
            agents,
            stale: stale.map_or_else(String::new, |why| why.to_string()),
        })
    }

    async fn catalogued(&self, state: &Trusted) -> Result<Vec<wire::CataloguedPolicy>, Status> {
        let mut policies = Vec::new();
        for entry in state.catalogue().map_or(&[][..], |one| one.entries()) {
            let published = self
                .controller
                .store()
                .policy(&entry.name, entry.version)
                .await?;
            policies.push(wire::CataloguedPolicy {
                name: entry.name.clone(),
                version: entry.version,
                sha256: entry.sha256.to_string(),
                bytes: entry.bytes,
                published: published.is_some_and(|row| Sha256::of(&row.text) == entry.sha256),
            });
        }
        Ok(policies)
    }
}

fn document(state: &Trusted, kind: Kind) -> Option<wire::TrustDocument> {
    let role = state.root().role(kind);
    let holders = role.holders().iter();
    Some(wire::TrustDocument {
        kind: kind.name().to_owned(),
        version: state.version(kind),
        expires_ms: state.expires_ms(kind)?,
        sha256: Sha256::of(&state.signed(kind)?.text).to_string(),
        threshold: role.threshold(),
        keys: holders
            .map(|one| format!("{} ({})", one.holder, one.key.id().short()))
            .collect(),
    })
}
