//! The picture that the doctor and the metrics are made from.

use std::time::Duration;

use mailmend_trust::{Kind, Trusted};

use super::Controller;
use crate::doctor::{Picture, SignedSeen, Unfollowed};
use crate::explain::explain;
use crate::store::StoreError;

/// How long before its end a root or a catalogue is told: people with keys have to meet.
const LEAD_MS: i64 = 30 * 86_400_000;

/// What is current of what is signed.
fn seen(state: &Trusted) -> Vec<SignedSeen> {
    let lead_ms = |kind| match (kind, state.timestamp()) {
        (Kind::Timestamp, Some(one)) => (one.expires_ms - one.issued_ms) / 2,
        _ => LEAD_MS,
    };
    let of = |kind: Kind| {
        Some(SignedSeen {
            kind: kind.name(),
            version: state.version(kind),
            expires_ms: state.expires_ms(kind)?,
            lead_ms: lead_ms(kind),
        })
    };
    Kind::ALL.into_iter().filter_map(of).collect()
}

impl Controller {
    /// Everything as it is now. `certificates` is how long agents' certificates live.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn picture(&self, certificates: Duration) -> Result<Picture, StoreError> {
        let store = self.store();
        let connected = self.sessions().connected();
        let mut agents = store.agents_seen().await?;
        for agent in &mut agents {
            agent.connected = connected.contains(&agent.name);
            let heard_ms = self.liveness().last(&agent.name).unwrap_or(0);
            agent.heard_ms = agent.heard_ms.max(heard_ms);
        }
        let mut rollouts = Vec::new();
        let mut around = self.surroundings().await?;
        for rollout in &store.open_rollouts().await? {
            around.fleet = self.fleet_for(rollout).await?;
            rollouts.push((rollout.id, rollout.state, explain(rollout, &around)));
        }
        let mut proposals = store.proposals(false).await?;
        proposals.retain(|proposal| proposal.decided.is_none());
        let held = store.trust_held().await?;
        let unfollowed = held
            .iter()
            .filter(|(_, row)| row.held.signed && !row.held.code.is_empty());
        let unfollowed = unfollowed.map(|(agent, row)| Unfollowed {
            agent: agent.clone(),
            why: format!("{}: {}", row.held.code, row.held.why),
            since_ms: row.told_ms,
        });
        Ok(Picture {
            signed: store
                .trusted()
                .await?
                .as_ref()
                .map(seen)
                .unwrap_or_default(),
            unfollowed: unfollowed.collect(),
            unsigned: held.values().filter(|row| !row.held.signed).count(),
            now_ms: self.now_ms(),
            certificate_ms: i64::try_from(certificates.as_millis()).unwrap_or(i64::MAX),
            agents,
            in_hand: store.in_hand().await?.into_iter().collect(),
            orders: store.open_orders().await?,
            releases: store.open_releases().await?,
            proposals,
            rollouts,
            kept: store.kept().await?,
            store: store.health().await?,
            runs: store.runs_by_phase().await?,
            states: store.rollouts_by_state().await?,
            spans: self.tracer().counts().unwrap_or_default(),
        })
    }
}
