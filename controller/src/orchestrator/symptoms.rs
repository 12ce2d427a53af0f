//! Symptoms at work: load, decide, store; as with rollouts, nothing else acts on what was decided.

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::condition::Queue;
use mailmend_policy::name::{PolicyName, ServerName, SiteName};
use mailmend_policy::plan::{Plan, Server};
use mailmend_proto::run::RunId;
use mailmend_proto::wire;
use uuid::Uuid;

use super::{Controller, Point};
use crate::planning::{Fleet, Overrides, Planned, planned, targets};
use crate::react::{
    Answer, Answers, Binding, Known, Member, Proposal, QueueWord, Reaction, Shape, Standing,
    may_follow, react,
};
use crate::rollout::RolloutId;
use crate::store::{AgentRow, Change, NewRollout, NewRun, ReactionStart, StoreError, SymptomRow};
use crate::watches::{Revision, concerns};

/// Who starts what a binding starts.
const BY_ITSELF: &str = "mailmend";

/// More rounds than any symptom needs; beyond it a decision contradicts itself.
const ROUNDS: u32 = 100;

/// Where the answering of symptoms came to rest.
pub(super) enum Answered {
    /// The controller died, as a test wanted.
    Died,
    /// A rollout was started.
    Started,
    /// Nothing follows before this time, milliseconds since 1970 UTC.
    AtRest(Option<i64>),
}

impl Controller {
    /// Answers symptoms until nothing follows, or a rollout was started.
    pub(super) async fn answer_symptoms(&self) -> Result<Answered, StoreError> {
        for _ in 0..ROUNDS {
            if !self.may_follow().await? {
                return Ok(Answered::AtRest(None));
            }
            let known = self.known_of_symptoms().await?;
            let Answers {
                reactions, due_ms, ..
            } = react(&known, self.now_ms());
            if reactions.is_empty() {
                return Ok(Answered::AtRest(due_ms));
            }
            let mut started = false;
            let (judged, reactions): (Vec<_>, Vec<_>) = reactions
                .iter()
                .partition(|reaction| matches!(reaction, Reaction::Judge { .. }));
            if !judged.is_empty() {
                if self.dies_at(Point::Decided) {
                    return Ok(Answered::Died);
                }
                self.keep_judged(&judged).await?;
                if self.dies_at(Point::Stored) {
                    return Ok(Answered::Died);
                }
            }
            for reaction in reactions {
                if self.dies_at(Point::Decided) {
                    return Ok(Answered::Died);
                }
                match self.store_reaction(&known, reaction).await {
                    Ok(()) => {
                        tracing::debug!(?reaction, "stored");
                        started |= matches!(reaction, Reaction::Start { .. });
                    }
                    // A person was faster, or it was stored before this process died.
                    Err(why @ (StoreError::Changed(_) | StoreError::Recalled(_))) => {
                        tracing::debug!(%why, "decided on what is not so any more");
                    }
                    Err(fault) => return Err(fault),
                }
                if self.dies_at(Point::Stored) {
                    return Ok(Answered::Died);
                }
            }
            self.0
                .changes
                .send_modify(|change| *change = change.wrapping_add(1));
            if started {
                return Ok(Answered::Started);
            }
        }
        tracing::error!("answers to symptoms do not come to rest; this is a defect");
        Ok(Answered::AtRest(None))
    }

    /// Whether the fleet is to be looked at at all: of ten thousand servers at which all is well nothing else is read.
    async fn may_follow(&self) -> Result<bool, StoreError> {
        let store = self.store();
        let bindings = store.bindings().await?;
        let proposals = store.proposals(false).await?;
        let symptoms = store.last_symptoms().await?;
        let history = store.history(self.now_ms()).await?;
        let words = symptoms.iter().map(|symptom| symptom.word.as_ref());
        Ok(may_follow(&bindings, words, &history, &proposals))
    }

    /// All that answers to symptoms are decided from.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn known_of_symptoms(&self) -> Result<Known, StoreError> {
        let store = self.store();
        let mut known = Known {
            bindings: store.bindings().await?,
            proposals: store.proposals(false).await?,
            ..Known::default()
        };
        if known.bindings.is_empty() {
            return Ok(known);
        }
        let connected = self.sessions().connected();
        let mut in_hand = store.in_hand().await?;
        let mut queues = store.queues().await?;
        let servers = store.inventory().await?;
        for (name, server) in servers.iter() {
            let member = Member {
                site: server.site.clone(),
                connected: connected.contains(name),
                in_hand: in_hand.remove(name),
                queues: words(queues.remove(name).unwrap_or_default()),
            };
            known.fleet.insert(name.clone(), member);
        }
        let mut stands: BTreeSet<(PolicyName, SiteName)> = BTreeSet::new();
        let mut policies = BTreeMap::new();
        for (name, binding) in &known.bindings {
            if let Some(revision) = self.0.revisions.of(store, binding).await? {
                policies.insert(name.clone(), (binding.clone(), revision));
            }
        }
        for SymptomRow { word, .. } in store.last_symptoms().await?.iter() {
            let (Some((binding, revision)), Some(server)) =
                (policies.get(&word.policy), servers.get(&word.agent))
            else {
                continue;
            };
            let policy = revision.policy.as_ref();
            if !policy.is_some_and(|policy| concerns(binding, policy, server)) {
                continue;
            }
            if word.standing == Standing::Stands && binding.answer != Answer::Observe {
                stands.insert((word.policy.clone(), server.site.clone()));
            }
            known.tell(word.clone());
        }
        known.history = store.history(self.now_ms()).await?;
        if stands.is_empty() {
            return Ok(known);
        }
        known.busy = store.busy_sites().await?;
        let fleet = Fleet::of(servers.values());
        for (policy, site) in stands {
            let shapes = match policies.get(&policy) {
                Some((binding, revision)) => shapes_at(&fleet, binding, revision, &site),
                None => continue,
            };
            known.shapes.insert((policy, site), shapes);
        }
        Ok(known)
    }

    /// The plans of a bound policy at one site, or why there are none.
    async fn plan_for(
        &self,
        binding: &Binding,
        site: &SiteName,
        servers: &[Server],
    ) -> Result<Result<Planned, String>, StoreError> {
        let Some(revision) = self.0.revisions.of(self.store(), binding).await? else {
            return Ok(Err(unpublished(binding)));
        };
        let selector = format!("site={site}");
        let planned = planned(&revision.row, &selector, &ONE_SITE, servers);
        Ok(planned.map_err(|fault| fault.to_string()))
    }

    /// Keeps what came of runs, of ten thousand in one write.
    async fn keep_judged(&self, judged: &[&Reaction]) -> Result<(), StoreError> {
        let mut effects = Vec::with_capacity(judged.len());
        for reaction in judged {
            if let Reaction::Judge { run, effect, why } = reaction {
                tracing::info!(%run, effect = effect.name(), why, "judged");
                effects.push((*run, *effect, why.as_str()));
            }
        }
        self.store().keep_effects(&effects, self.now_ms()).await
    }

    pub(super) async fn store_reaction(
        &self,
        known: &Known,
        reaction: &Reaction,
    ) -> Result<(), StoreError> {
        let (store, now_ms) = (self.store(), self.now_ms());
        match reaction {
            Reaction::Judge { .. } => self.keep_judged(&[reaction]).await,
            Reaction::Lapse { proposal } => store.lapse_proposal(*proposal, now_ms).await,
            Reaction::Revise { proposal, servers } => {
                store.revise_proposal(*proposal, servers).await
            }
            Reaction::Propose {
                policy,
                site,
                servers,
                why,
            } => {
                let Some(binding) = known.bindings.get(policy) else {
                    return Ok(());
                };
                let new = Proposal {
                    id: Uuid::now_v7(),
                    policy: policy.clone(),
                    version: binding.version,
                    site: site.clone(),
                    servers: servers.clone(),
                    why: why.clone(),
                    proposed_ms: now_ms,
                    decided: None,
                    by: String::new(),
                    rollout: None,
                };
                let text = format!(
                    "`{policy}` at site {site}: {why}; a person decides: mailmend proposal start {}",
                    new.id
                );
                let alarm = (!why.is_empty()).then_some(("C110-binding-gave-up", text.as_str()));
                tracing::info!(%policy, %site, why, "proposed");
                store.propose(&new, alarm).await
            }
            Reaction::Start {
                policy,
                site,
                servers,
            } => self.start_reaction(known, policy, site, servers).await,
        }
    }

    async fn start_reaction(
        &self,
        known: &Known,
        policy: &PolicyName,
        site: &SiteName,
        servers: &BTreeSet<ServerName>,
    ) -> Result<(), StoreError> {
        let Some(binding) = known.bindings.get(policy) else {
            return Ok(());
        };
        let number = self.store().reactions_of(policy, site).await?;
        let request = request_of(&format!("{policy}\n{site}\n{number}"));
        let why = format!(
            "the symptom of {policy} version {} stands on {}",
            binding.version,
            list(servers)
        );
        let made = self
            .rollout_for(binding, site, servers, request, BY_ITSELF.to_owned())
            .await?;
        let new = match made {
            Ok(new) => new,
            // It could be planned a moment ago: the fleet has changed, and is looked at again.
            Err(fault) => return Err(StoreError::Changed(fault)),
        };
        let change = Change {
            at_ms: self.now_ms(),
            operator: BY_ITSELF.to_owned(),
            what: "start-rollout".to_owned(),
            target: new.id.to_string(),
            why,
        };
        let start = ReactionStart {
            binding,
            site,
            number,
        };
        let id = self.store().start_reaction(&start, &new, &change).await?;
        tracing::info!(rollout = %id, %policy, %site, "started, because its symptom stands");
        Ok(())
    }

    /// A rollout of a bound policy for the servers of a site where its symptom stands.
    pub(crate) async fn rollout_for(
        &self,
        binding: &Binding,
        site: &SiteName,
        servers: &BTreeSet<ServerName>,
        request: Uuid,
        by: String,
    ) -> Result<Result<NewRollout, String>, StoreError> {
        // Before the servers are read: what changes in between counts as changed.
        let generation = self.store().generation().await?;
        let all: Vec<Server> = self
            .store()
            .agents()
            .await?
            .iter()
            .map(AgentRow::server)
            .collect();
        let planned = match self.plan_for(binding, site, &all).await? {
            Ok(planned) => planned,
            Err(why) => return Ok(Err(why)),
        };
        let plans: Vec<Plan> = planned
            .plans
            .into_iter()
            .filter(|plan| !Shape::of(plan).looks.is_disjoint(servers))
            .collect();
        if plans.is_empty() {
            return Ok(Err(format!(
                "no plan of site {site} is for {}",
                list(servers)
            )));
        }
        let resolved = match planned.strategy.resolve(&targets(&plans, &all)) {
            Ok(resolved) => resolved,
            Err(why) => return Ok(Err(why.to_string())),
        };
        let runs: Vec<NewRun> = plans
            .into_iter()
            .map(|plan| NewRun {
                id: RunId(Uuid::now_v7()),
                servers: planned.servers.get(&plan.site).cloned().unwrap_or_default(),
                plan,
            })
            .collect();
        Ok(Ok(NewRollout {
            id: RolloutId(Uuid::now_v7()),
            request,
            policy: binding.policy.clone(),
            version: binding.version,
            selector: format!("site={site}"),
            started_ms: self.now_ms(),
            by,
            strategy: planned.strategy,
            resolved,
            generation,
            retry_of: None,
            runs,
        }))
    }
}

/// A symptom is answered at one site at a time: there are no waves to go in.
const ONE_SITE: Overrides<'static> = Overrides {
    sites_at_once: None,
    max_failed: None,
    strategy: b"",
    one_wave: true,
};

fn unpublished(binding: &Binding) -> String {
    format!(
        "version {} of `{}` is not published",
        binding.version, binding.policy
    )
}

/// What the plans of a bound policy at a site are like, or why there are none.
fn shapes_at(
    fleet: &Fleet<'_>,
    binding: &Binding,
    revision: &Revision,
    site: &SiteName,
) -> Result<Vec<Shape>, String> {
    let Some(policy) = &revision.policy else {
        return Err(unpublished(binding));
    };
    let plans = fleet.plans_at(policy, revision.row.digest, &ONE_SITE, site);
    let plans = plans.map_err(|fault| fault.to_string())?;
    Ok(plans.iter().map(Shape::of).collect())
}

/// What an agent told of its queues, for the decision: nothing where it could not count those that are
/// folders, of which alone it can tell how long mail waits.
fn words(told: Vec<wire::QueueDepth>) -> Vec<QueueWord> {
    let folders = Queue::ALL
        .iter()
        .filter(|(_, queue)| queue.folder().is_some());
    let all = folders
        .clone()
        .all(|(name, _)| told.iter().any(|depth| depth.queue == *name));
    if !all {
        return Vec::new();
    }
    told.iter()
        .map(|depth| QueueWord {
            messages: depth.messages,
            oldest_ms: depth.oldest_ms,
            at_ms: depth.at_ms,
        })
        .collect()
}

/// A request's id that is the same for the same text: who decides the same thing again asks for the same
/// rollout.
pub(crate) fn request_of(text: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn list(servers: &BTreeSet<ServerName>) -> String {
    let names: Vec<&str> = servers.iter().map(ServerName::as_str).collect();
    names.join(", ")
}
