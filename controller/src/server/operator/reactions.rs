//! Symptoms over the fleet, and what is done about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mailmend_policy::name::ServerName;
use mailmend_policy::parse::parse;
use mailmend_policy::plan::Server;
use mailmend_policy::selector::Selector;
use mailmend_policy::source::PolicySource;
use mailmend_proto::wire;
use tonic::Status;

use super::{OperatorService, invalid};
use crate::orchestrator::request_of;
use crate::planning::PlanningFault;
use crate::react::{
    Answer, Binding, Decided, InHand, Known, Proposal, Standing, Throttle, Word, react,
};
use crate::store::{AgentRow, StoreError, SymptomRow};
use crate::watches::concerns;

mod views;

pub(super) use views::hand;

/// The longest that a throttle may ask for, seconds: 30 days.
const LONGEST: u64 = 30 * 86_400;
/// The longest that a person's words may be, bytes.
const LONGEST_WHY: usize = 1000;

/// Who an order is from: the operator by certificate, and for whom, where that is said.
fn whose(operator: String, by: &str) -> String {
    match by.trim() {
        "" => operator,
        by if by == operator => operator,
        by => format!("{by} ({operator})"),
    }
}

fn bounded(why: &str) -> Result<String, Status> {
    if why.len() > LONGEST_WHY {
        return Err(invalid(&format!(
            "C038-request: the reason has {} bytes, {LONGEST_WHY} are allowed",
            why.len()
        )));
    }
    Ok(why.trim().to_owned())
}

fn selector(text: &str) -> Result<Option<Selector>, Status> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|why| {
            PlanningFault::Selector {
                text: text.to_owned(),
                why,
            }
            .into()
        }),
    }
}

impl OperatorService {
    /// Binds a policy to its symptom, or unbinds it.
    pub(super) async fn bound(
        &self,
        operator: String,
        request: wire::BindPolicyRequest,
    ) -> Result<wire::Binding, Status> {
        let answer = match request.reaction() {
            wire::Reaction::Unspecified => {
                return Err(invalid(
                    "C038-request: say how to bind it: observe, propose, auto, or not at all",
                ));
            }
            wire::Reaction::Unbound => return self.unbound(operator, &request.policy).await,
            wire::Reaction::Observe => Answer::Observe,
            wire::Reaction::Propose => Answer::Propose,
            wire::Reaction::Auto => Answer::Auto,
        };
        let row = self.policy(&request.policy, request.version).await?;
        let source = PolicySource::new(row.name.as_str(), row.text.clone());
        parse(&source).map_err(|faults| PlanningFault::Policy(faults.to_string()))?;
        selector(&request.selector)?;
        let binding = Binding {
            policy: row.name,
            version: row.version,
            selector: request.selector.trim().to_owned(),
            answer,
            throttle: throttle(request.throttle)?,
            bound_ms: self.controller.now_ms(),
            by: operator.clone(),
        };
        let target = format!("{} {}", binding.policy, binding.version);
        let change = self.change(operator, "bind-policy", target, answer.name().to_owned());
        self.controller.store().bind(&binding, &change).await?;
        self.controller.symptoms_changed();
        self.controller.sessions().wake_all();
        Ok(views::binding(&binding))
    }

    async fn unbound(&self, operator: String, policy: &str) -> Result<wire::Binding, Status> {
        let store = self.controller.store();
        let bindings = store.bindings().await?;
        let before = bindings
            .values()
            .find(|binding| binding.policy.as_str() == policy);
        let change = self.change(operator, "unbind-policy", policy.to_owned(), String::new());
        let (Some(before), true) = (before, store.unbind(policy, &change).await?) else {
            return Err(Status::not_found(format!(
                "C036-not-found: `{}` is not bound; `mailmend policy bindings` shows those that are",
                policy.escape_debug()
            )));
        };
        self.controller.symptoms_changed();
        self.controller.sessions().wake_all();
        let mut unbound = views::binding(before);
        unbound.reaction = wire::Reaction::Unbound.into();
        Ok(unbound)
    }

    /// Every binding.
    pub(super) async fn bindings(
        &self,
        _operator: String,
        _request: wire::ListBindingsRequest,
    ) -> Result<wire::ListBindingsResponse, Status> {
        let bindings = self.controller.store().bindings().await?;
        Ok(wire::ListBindingsResponse {
            bindings: bindings.values().map(views::binding).collect(),
        })
    }

    /// Which policies' symptoms stand where.
    pub(super) async fn symptoms(
        &self,
        _operator: String,
        request: wire::ListSymptomsRequest,
    ) -> Result<wire::ListSymptomsResponse, Status> {
        let selector = selector(&request.selector)?;
        let store = self.controller.store();
        let known = self.controller.known_of_symptoms().await?;
        let now_ms = self.controller.now_ms();
        let answers = react(&known, now_ms);
        let mut selected: Vec<Server> =
            store.agents().await?.iter().map(AgentRow::server).collect();
        selected.retain(|server| {
            let selector = selector.as_ref();
            selector.is_none_or(|selector| selector.selects(&server.labels))
        });
        let mut rows = store.symptoms().await?;
        let names: BTreeSet<&ServerName> = selected.iter().map(|server| &server.name).collect();
        rows.retain(|row| names.contains(&row.word.agent));
        self.add_untold(&known, &selected, &mut rows).await?;
        let connected = self.controller.sessions().connected();
        let shown = views::Shown::new(&known, &answers);
        let symptoms = rows
            .into_iter()
            .filter(|row| request.all || row.word.standing != Standing::Absent)
            .map(|row| {
                let stale = !connected.contains(&row.word.agent);
                views::symptom(row, &shown, stale)
            })
            .collect();
        Ok(wire::ListSymptomsResponse { symptoms })
    }

    /// Adds what agents should look for and have said nothing of: an operator must not take it for
    /// absent.
    async fn add_untold(
        &self,
        known: &Known,
        servers: &[Server],
        rows: &mut Vec<SymptomRow>,
    ) -> Result<(), Status> {
        let store = self.controller.store();
        for binding in known.bindings.values() {
            let Some(revision) = self.controller.revisions().of(store, binding).await? else {
                continue;
            };
            let Some(policy) = &revision.policy else {
                continue;
            };
            let of_it = rows.iter().filter(|row| row.word.policy == binding.policy);
            let told: BTreeSet<ServerName> = of_it.map(|row| row.word.agent.clone()).collect();
            for server in servers {
                if told.contains(&server.name) || !concerns(binding, policy, server) {
                    continue;
                }
                rows.push(SymptomRow {
                    word: Arc::new(Word {
                        agent: server.name.clone(),
                        policy: binding.policy.clone(),
                        version: binding.version,
                        standing: Standing::CannotTell,
                        since_ms: binding.bound_ms,
                        looked_ms: 0,
                        heard_ms: 0,
                        evidence: vec!["the agent has told nothing of it yet".to_owned()],
                    }),
                    digest: revision.row.digest,
                });
            }
        }
        rows.sort_by(|one, other| {
            let [one, other] = [&one.word, &other.word];
            (&one.agent, &one.policy).cmp(&(&other.agent, &other.policy))
        });
        Ok(())
    }

    /// Rollouts that wait for a person's word.
    pub(super) async fn proposals(
        &self,
        _operator: String,
        request: wire::ListProposalsRequest,
    ) -> Result<wire::ListProposalsResponse, Status> {
        let proposals = self.controller.store().proposals(request.all).await?;
        let shown = proposals
            .iter()
            .filter(|proposal| request.all || proposal.decided.is_none());
        Ok(wire::ListProposalsResponse {
            proposals: shown.map(views::proposal).collect(),
        })
    }

    /// Starts a proposed rollout, or refuses it. The same word again changes nothing.
    pub(super) async fn decided(
        &self,
        operator: String,
        request: wire::DecideProposalRequest,
    ) -> Result<wire::Proposal, Status> {
        let by = whose(operator, &request.by);
        let why = bounded(&request.why)?;
        let proposal = self.proposal(&request.id).await?;
        match (proposal.decided, request.start) {
            (None, true) => self.start_proposed(&proposal, by, why).await?,
            (None, false) => {
                let id = proposal.id;
                let change = self.change(by, "refuse-proposal", id.to_string(), why.clone());
                let store = self.controller.store();
                store
                    .refuse_proposal(id, &why, &change)
                    .await
                    .map_err(stands_no_more)?;
                self.controller.symptoms_changed();
            }
            (Some(Decided::Started), true) | (Some(Decided::Refused), false) => {}
            (Some(decided), _) => {
                return Err(Status::failed_precondition(format!(
                    "C111-proposal-decided: the proposal was {} already{}",
                    decided.name(),
                    match proposal.by.as_str() {
                        "" => String::new(),
                        by => format!(" by {by}"),
                    }
                )));
            }
        }
        let now = self.proposal(&proposal.id.to_string()).await?;
        Ok(views::proposal(&now))
    }

    async fn start_proposed(
        &self,
        proposal: &Proposal,
        by: String,
        why: String,
    ) -> Result<(), Status> {
        let store = self.controller.store();
        let known = self.controller.known_of_symptoms().await?;
        let binding = known.bindings.get(&proposal.policy).ok_or_else(|| {
            Status::failed_precondition(format!(
                "C111-proposal-decided: `{}` is not bound any more, so the proposal stands no more",
                proposal.policy
            ))
        })?;
        // Where it stands now; the proposal's own servers where nobody can tell.
        let standing: BTreeSet<ServerName> = known
            .words
            .get(&proposal.policy)
            .into_iter()
            .flat_map(BTreeMap::values)
            .filter(|word| word.standing == Standing::Stands)
            .filter(|word| {
                let member = known.fleet.get(&word.agent);
                member.is_some_and(|member| member.site == proposal.site)
            })
            .map(|word| word.agent.clone())
            .collect();
        let servers = if standing.is_empty() {
            &proposal.servers
        } else {
            &standing
        };
        let request = request_of(&format!("proposal\n{}", proposal.id));
        let new = self
            .controller
            .rollout_for(binding, &proposal.site, servers, request, by.clone())
            .await?
            .map_err(|why| {
                if why.starts_with('C') {
                    invalid(&why)
                } else {
                    invalid(&format!("C082-not-plannable: {why}"))
                }
            })?;
        let separator = if why.is_empty() { "" } else { ": " };
        let why = format!("proposal {}{separator}{why}", proposal.id);
        let change = self.change(by, "start-rollout", new.id.to_string(), why);
        store
            .start_proposal(proposal.id, &new, &change)
            .await
            .map_err(stands_no_more)?;
        self.controller.symptoms_changed();
        Ok(())
    }

    /// Puts a server in a person's hand, or gives it back.
    pub(super) async fn in_hand(
        &self,
        operator: String,
        request: wire::SetInHandRequest,
    ) -> Result<wire::Agent, Status> {
        let missing = || {
            Status::not_found(format!(
                "C036-not-found: there is no agent `{}`; `mailmend agent list` shows all",
                request.agent.escape_debug()
            ))
        };
        let name: ServerName = request.agent.parse().map_err(|_| missing())?;
        let store = self.controller.store();
        let agent = store.agent(&name).await?.ok_or_else(missing)?;
        let why = bounded(&request.why)?;
        if request.in_hand && why.is_empty() {
            return Err(invalid(
                "C038-request: say why the server is taken in hand, for those who look later",
            ));
        }
        let by = whose(operator, &request.by);
        let what = if request.in_hand {
            "take-in-hand"
        } else {
            "give-back"
        };
        let change = self.change(by.clone(), what, name.to_string(), why.clone());
        let hand = InHand {
            by,
            why,
            since_ms: self.controller.now_ms(),
        };
        let hand = request.in_hand.then_some(&hand);
        store.set_in_hand(&name, hand, &change).await?;
        // The agent is told: nothing leaves a queue of its own while it is in hand.
        self.controller.sessions().wake(std::slice::from_ref(&name));
        self.controller.symptoms_changed();
        let alarms = store.agent_alarms(&name).await?;
        let queues = store.queues_of(&name).await?;
        Ok(self.told(agent, alarms, hand, queues))
    }
}

fn stands_no_more(fault: StoreError) -> Status {
    match fault {
        StoreError::Changed(what) => Status::failed_precondition(format!(
            "C111-proposal-decided: {what} stands no more: somebody decided it, or its symptom went away"
        )),
        fault => fault.into(),
    }
}

fn throttle(asked: Option<wire::Throttle>) -> Result<Throttle, Status> {
    let asked = asked.unwrap_or_default();
    let default = Throttle::default();
    let count = |asked: u32, default: u32| if asked == 0 { default } else { asked };
    let span = |what: &str, asked: u64, default: i64| match asked {
        0 => Ok(default),
        1..=LONGEST => Ok(i64::try_from(asked).unwrap_or(i64::MAX) * 1000),
        other => Err(invalid(&format!(
            "C038-request: {what} is {other} seconds; 1 to {LONGEST} are allowed"
        ))),
    };
    Ok(Throttle {
        per_server_per_day: count(asked.per_server_per_day, default.per_server_per_day),
        per_site_per_day: count(asked.per_site_per_day, default.per_site_per_day),
        per_fleet_per_day: count(asked.per_fleet_per_day, default.per_fleet_per_day),
        at_once: count(asked.at_once, default.at_once),
        stands_for_ms: span(
            "stands-for",
            asked.stands_for_seconds,
            default.stands_for_ms,
        )?,
        settle_ms: span("settle", asked.settle_seconds, default.settle_ms)?,
    })
}
