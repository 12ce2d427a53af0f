mod doctor;
mod waves;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use mailmend_proto::run::RunId;
use tokio_stream::StreamExt;
use tonic::Code;
use uuid::Uuid;

use super::*;
use crate::clock::Clock;
use crate::identity::{Caller, Peer};
use crate::react::{Standing, Word};
use crate::rollout::RolloutId;
use crate::server::agents::{Certified, CertifyFault};
use crate::store::{Greeting, NewRollout, NewRun, Store, SymptomRow};
use crate::trust::Named;

const POLICY: &str = include_str!("../../../../policies/library/stuck-outbound-routing.toml");

const SEARCHES: &str = include_str!("../../../../policies/library/corrupt-message.toml");

/// Makes tokens that are easy to guess, and no certificates.
#[derive(Default)]
struct NoAuthority(std::sync::atomic::AtomicU32);

impl Authority for NoAuthority {
    fn certify(&self, _: &Named, _: &str, _: i64) -> Result<Certified, CertifyFault> {
        Ok(Certified::default())
    }
    fn ca_pem(&self) -> String {
        "ca".into()
    }
    fn fresh_token(&self) -> Result<String, CertifyFault> {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        Ok(format!("token {number}"))
    }
    fn token_hash(&self, token: &str) -> [u8; 32] {
        *mailmend_policy::digest::Digest::of(token.as_bytes()).as_bytes()
    }
}

struct World {
    _folder: tempfile::TempDir,
    controller: Controller,
    service: OperatorService,
    /// What the controller's clock says.
    now_ms: Arc<AtomicI64>,
}

fn from<T>(peer: Peer, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Role::Admin);
    request.extensions_mut().insert(Caller {
        peer,
        from: ([127, 0, 0, 1], 1).into(),
        serial: String::new(),
        until_ms: 0,
    });
    request
}

/// Another person than [`admin`]: nobody approves their own change.
fn approver<T>(message: T) -> Request<T> {
    from(Peer::Operator("ben".into()), message)
}

fn admin<T>(message: T) -> Request<T> {
    from(Peer::Operator("admin".into()), message)
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("controller.db"))
            .await
            .unwrap();
        let now_ms = Arc::new(AtomicI64::new(1000));
        let clock = now_ms.clone();
        let clock = Clock::of(move || clock.load(Ordering::Relaxed));
        let controller = Controller::start(store, clock);
        let service = OperatorService::new(controller.clone(), Arc::new(NoAuthority::default()));
        Self {
            _folder: folder,
            controller,
            service,
            now_ms,
        }
    }

    /// Two servers of one site, enrolled and known, and not connected.
    async fn with_site() -> Self {
        let world = Self::new().await;
        world.publish(POLICY).await.unwrap();
        for (name, direction) in [("EXA1", "both"), ("EXB1", "outbound")] {
            let request = wire::CreateTokenRequest {
                name: name.into(),
                site: "oslo".into(),
                ..wire::CreateTokenRequest::default()
            };
            let token = world
                .service
                .create_token(admin(request))
                .await
                .unwrap()
                .into_inner();
            let name: ServerName = name.parse().unwrap();
            let store = world.controller.store();
            let hash = NoAuthority::default().token_hash(&token.token);
            store
                .take_token(&hash, &name, &crate::store::NewCertificate::default(), 1000)
                .await
                .unwrap()
                .unwrap();
            let greeting = Greeting {
                version: "0.1.0".into(),
                journal: Uuid::new_v4().to_string(),
                head: 0,
                highest_fence: 0,
                facts: [
                    ("exchange.version", "5.5.2653"),
                    ("ims.direction", direction),
                ]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
                actions: policy_actions(),
            };
            store.greet(&name, &greeting, 1000).await.unwrap().unwrap();
        }
        world
    }

    async fn publish(&self, text: &str) -> Result<wire::PolicyRevision, Status> {
        let request = wire::PublishPolicyRequest {
            file: "policy.toml".into(),
            text: text.into(),
        };
        self.service
            .publish_policy(admin(request))
            .await
            .map(Response::into_inner)
    }

    async fn start(&self, request: &wire::RolloutRequest) -> Result<wire::Rollout, Status> {
        self.service
            .start_rollout(admin(request.clone()))
            .await
            .map(Response::into_inner)
    }

    async fn change(&self, id: &str, change: wire::RolloutChange) -> Result<wire::Rollout, Status> {
        let request = wire::ChangeRolloutRequest {
            id: id.into(),
            change: change.into(),
            why: "for a test".into(),
        };
        self.service
            .change_rollout(admin(request))
            .await
            .map(Response::into_inner)
    }
}

fn policy_actions() -> BTreeSet<String> {
    let mut actions = BTreeSet::from(["detect".to_owned()]);
    for text in [POLICY, SEARCHES] {
        let policy = check(&PolicySource::new("policy", text)).policy.unwrap();
        let names = policy.steps.iter().map(|step| step.action.name());
        actions.extend(names.map(ToOwned::to_owned));
    }
    actions
}

fn request() -> wire::RolloutRequest {
    wire::RolloutRequest {
        policy: "stuck-outbound-routing".into(),
        selector: "site=oslo".into(),
        request_id: Uuid::from_u128(1).to_string(),
        ..wire::RolloutRequest::default()
    }
}

#[tokio::test]
async fn only_operators_are_served() {
    let world = World::new().await;
    let agent = Peer::Agent("EXB1".parse().unwrap());
    for (peer, code) in [
        (agent, Code::PermissionDenied),
        (Peer::Anonymous, Code::Unauthenticated),
    ] {
        let refused = world
            .service
            .list_agents(from(peer, wire::ListAgentsRequest::default()))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), code);
    }
}

#[tokio::test]
async fn a_policy_with_faults_is_refused_with_all_of_them() {
    let world = World::new().await;
    let refused = world
        .publish("schema = \"mailmend/v1\"\ncolour = 3\nname = \"Bad Name\"\n")
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().starts_with("C032-policy-refused: "),
        "{}",
        refused.message()
    );
    assert!(
        refused.message().contains("colour"),
        "{}",
        refused.message()
    );
    let huge = "x = \u{e9}\n".repeat(100_000);
    assert!(world.publish(&huge).await.unwrap_err().message().len() <= LONGEST_STATUS);
}

#[tokio::test]
async fn a_plan_touches_nothing_and_what_was_approved_is_what_starts() {
    let world = World::with_site().await;
    let plan = wire::RolloutRequest {
        request_id: String::new(),
        ..request()
    };
    let planned = world
        .service
        .plan_rollout(admin(plan))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(planned.plans.len(), 1);
    assert_eq!(planned.plans[0].subject, "EXB1");
    assert_eq!(planned.plans[0].unavailable, ["EXA1", "EXB1"]);
    assert!(planned.plans[0].worst_restarts > 0 && planned.plans[0].worst_outage_ms > 0);
    assert!(
        world
            .controller
            .store()
            .rollouts(10)
            .await
            .unwrap()
            .is_empty()
    );

    let wrong = wire::RolloutRequest {
        approved_digest: vec![7; 32],
        ..request()
    };
    let refused = world.start(&wrong).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().starts_with("C093-plan-changed"));
    let right = wire::RolloutRequest {
        approved_digest: planned.digest,
        ..request()
    };
    let started = world.start(&right).await.unwrap();
    assert_eq!(
        world.start(&right).await.unwrap().id,
        started.id,
        "the same request"
    );
    assert_eq!(started.runs[0].phase(), wire::RunPhase::Waiting);
    let nameless = wire::RolloutRequest {
        request_id: "x".into(),
        ..request()
    };
    assert_eq!(
        world.start(&nameless).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_rollout_is_watched_explained_paused_and_aborted() {
    let world = World::with_site().await;
    let id = world.start(&request()).await.unwrap().id;
    let get = || wire::GetRolloutRequest { id: id[..8].into() };
    let mut watched = world
        .service
        .watch_rollout(admin(get()))
        .await
        .unwrap()
        .into_inner();
    let first = watched.next().await.unwrap().unwrap();
    assert_eq!(first.state(), wire::RolloutState::Running);
    let explained = world
        .service
        .explain_rollout(admin(get()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(explained.waiting[0].holder, "not connected: EXA1, EXB1");

    let paused = world.change(&id, wire::RolloutChange::Pause).await.unwrap();
    assert_eq!(paused.state(), wire::RolloutState::Paused);
    assert_eq!(paused.why, "admin: for a test");
    world.change(&id, wire::RolloutChange::Pause).await.unwrap();
    world
        .change(&id, wire::RolloutChange::Resume)
        .await
        .unwrap();
    world.change(&id, wire::RolloutChange::Abort).await.unwrap();
    let mut last = first;
    while let Some(next) = watched.next().await {
        last = next.unwrap();
    }
    assert_eq!(
        last.state(),
        wire::RolloutState::Aborted,
        "the stream ends with the rollout"
    );
    assert_eq!(last.runs[0].phase(), wire::RunPhase::Cancelled);
    let late = world
        .change(&id, wire::RolloutChange::Resume)
        .await
        .unwrap_err();
    assert!(
        late.message()
            .starts_with("C085-rollout-state: the rollout is aborted"),
        "{}",
        late.message()
    );
    let what: Vec<String> = world
        .controller
        .store()
        .changes()
        .await
        .unwrap()
        .into_iter()
        .map(|change| change.what)
        .collect();
    assert_eq!(
        what[what.len() - 4..],
        [
            "start-rollout",
            "pause-rollout",
            "resume-rollout",
            "abort-rollout"
        ]
    );
    let run = wire::GetRunRequest {
        id: last.runs[0].id.clone(),
    };
    let detail = world
        .service
        .get_run(admin(run))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(detail.rollout, id);
    assert!(detail.steps.iter().all(|step| step.state == "waiting"));
}

#[tokio::test]
async fn an_id_may_be_shortened_as_long_as_it_names_one_thing() {
    let world = World::with_site().await;
    world.start(&request()).await.unwrap();
    let store = world.controller.store();
    let some = store.rollouts(1).await.unwrap().remove(0);
    for last in [1, 2] {
        let new = NewRollout {
            id: RolloutId(Uuid::from_u128((0xabcd_ef12 << 96) | last)),
            request: Uuid::new_v4(),
            policy: some.policy.clone(),
            version: some.version,
            selector: String::new(),
            started_ms: 1,
            by: String::new(),
            strategy: some.strategy.clone(),
            resolved: some.resolved.clone(),
            generation: 1,
            retry_of: None,
            runs: vec![NewRun {
                id: RunId(Uuid::new_v4()),
                plan: (*some.runs[0].plan).clone(),
                servers: Vec::new(),
            }],
        };
        let change = world
            .service
            .change(String::new(), "test", String::new(), String::new());
        store.start_rollout(&new, &change).await.unwrap();
    }
    let get = |id: &str| {
        world
            .service
            .get_rollout(admin(wire::GetRolloutRequest { id: id.into() }))
    };
    let message = |status: Status| status.message().to_owned();
    assert!(message(get("abcdef").await.unwrap_err()).starts_with("C090-id-ambiguous"));
    assert!(message(get("abcde").await.unwrap_err()).starts_with("C089-id"));
    assert!(message(get("abcdeg1").await.unwrap_err()).starts_with("C089-id"));
    assert!(message(get("' OR 1=1 --").await.unwrap_err()).starts_with("C089-id"));
    assert_eq!(get("ffffffff").await.unwrap_err().code(), Code::NotFound);
    assert!(get("ABCDEF12-0000-0000-0000-000000000001").await.is_ok());
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_with_what_to_mend() {
    let world = World::with_site().await;
    let token = |name: &str, valid_seconds| wire::CreateTokenRequest {
        name: name.into(),
        site: "oslo".into(),
        valid_seconds,
        ..wire::CreateTokenRequest::default()
    };
    for (bad, code) in [
        (token("a b", 0), "C038-request"),
        (token("EXC1", 59), "C088-token-validity"),
    ] {
        let refused = world.service.create_token(admin(bad)).await.unwrap_err();
        assert!(refused.message().starts_with(code), "{}", refused.message());
    }
    let custody = wire::ListCustodyRequest {
        state: "lost".into(),
        ..wire::ListCustodyRequest::default()
    };
    let refused = world
        .service
        .list_custody(admin(custody))
        .await
        .err()
        .unwrap();
    assert!(
        refused.message().starts_with("C091-custody-state"),
        "{}",
        refused.message()
    );
    let agents = wire::ListAgentsRequest {
        selector: "=x".into(),
    };
    let refused = world.service.list_agents(admin(agents)).await.unwrap_err();
    assert!(
        refused.message().starts_with("C080-selector"),
        "{}",
        refused.message()
    );
    let missing = wire::GetPolicyRequest {
        name: "none".into(),
        version: 0,
    };
    let refused = world.service.get_policy(admin(missing)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

/// Agents that are connected as long as this lives, and what Server B says of its symptom.
async fn connected(world: &World) -> Vec<crate::sessions::Session> {
    let mut sessions = Vec::new();
    for name in ["EXA1", "EXB1"] {
        let session = world
            .controller
            .sessions()
            .begin(&name.parse().unwrap())
            .await;
        session.greeted();
        sessions.push(session);
    }
    sessions
}

async fn says(world: &World, standing: Standing) {
    let word = Word {
        agent: "EXB1".parse().unwrap(),
        policy: "stuck-outbound-routing".parse().unwrap(),
        version: 1,
        standing,
        since_ms: 0,
        looked_ms: 600_000,
        heard_ms: 1000,
        evidence: vec!["40 messages wait".into()],
    };
    let digest = PolicySource::new("policy", POLICY).digest();
    let row = SymptomRow {
        word: Arc::new(word),
        digest,
    };
    let store = world.controller.store();
    store
        .replace_symptoms(&"EXB1".parse().unwrap(), &[row])
        .await
        .unwrap();
    world.controller.symptoms_changed();
}

impl World {
    async fn bind(&self, reaction: wire::Reaction) -> Result<wire::Binding, Status> {
        let request = wire::BindPolicyRequest {
            policy: "stuck-outbound-routing".into(),
            reaction: reaction.into(),
            ..wire::BindPolicyRequest::default()
        };
        let bound = self.service.bind_policy(admin(request)).await;
        bound.map(Response::into_inner)
    }

    async fn symptoms(&self) -> Vec<wire::SymptomView> {
        let request = wire::ListSymptomsRequest {
            selector: "site=oslo".into(),
            all: true,
        };
        let listed = self.service.list_symptoms(admin(request)).await.unwrap();
        listed.into_inner().symptoms
    }

    async fn proposals(&self, all: bool) -> Vec<wire::Proposal> {
        let request = wire::ListProposalsRequest { all };
        let listed = self.service.list_proposals(admin(request)).await.unwrap();
        listed.into_inner().proposals
    }

    /// Waits until a proposal stands, or none does.
    async fn proposed(&self, some: bool) -> Option<wire::Proposal> {
        let mut changes = self.controller.watch();
        let waited = async {
            loop {
                changes.mark_unchanged();
                let mut found = self.proposals(false).await;
                if found.is_empty() != some {
                    return found.pop();
                }
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waited)
            .await
            .unwrap()
    }

    async fn decide(&self, id: &str, start: bool) -> Result<wire::Proposal, Status> {
        let request = wire::DecideProposalRequest {
            id: id.into(),
            start,
            by: "anna".into(),
            why: "as agreed".into(),
        };
        let decided = self.service.decide_proposal(admin(request)).await;
        decided.map(Response::into_inner)
    }

    async fn in_hand(&self, in_hand: bool, why: &str) -> Result<wire::Agent, Status> {
        let request = wire::SetInHandRequest {
            agent: "EXA1".into(),
            in_hand,
            by: "anna".into(),
            why: why.into(),
        };
        let set = self.service.set_in_hand(admin(request)).await;
        set.map(Response::into_inner)
    }
}

#[tokio::test]
async fn a_policy_is_bound_with_its_defaults_listed_and_unbound() {
    let world = World::with_site().await;
    let refused = world.bind(wire::Reaction::Unspecified).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let bound = world.bind(wire::Reaction::Auto).await.unwrap();
    let throttle = bound.throttle.unwrap();
    assert_eq!(
        (
            throttle.per_server_per_day,
            throttle.at_once,
            throttle.stands_for_seconds
        ),
        (2, 1, 300)
    );
    assert_eq!((bound.version, bound.reaction()), (1, wire::Reaction::Auto));
    let list = async || {
        let listed = world
            .service
            .list_bindings(admin(wire::ListBindingsRequest {}))
            .await;
        listed.unwrap().into_inner().bindings
    };
    assert_eq!(list().await, [bound]);
    let unbound = world.bind(wire::Reaction::Unbound).await.unwrap();
    assert_eq!(unbound.reaction(), wire::Reaction::Unbound);
    assert!(list().await.is_empty());
    let refused = world.bind(wire::Reaction::Unbound).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    for (selector, settle) in [("site=", 0), ("", 100_000_000)] {
        let request = wire::BindPolicyRequest {
            policy: "stuck-outbound-routing".into(),
            selector: selector.into(),
            reaction: wire::Reaction::Auto.into(),
            throttle: Some(wire::Throttle {
                settle_seconds: settle,
                ..wire::Throttle::default()
            }),
            ..wire::BindPolicyRequest::default()
        };
        let refused = world.service.bind_policy(admin(request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{selector}");
    }
}

#[tokio::test]
async fn a_standing_symptom_is_proposed_and_a_persons_word_starts_it_once() {
    let world = World::with_site().await;
    let _sessions = connected(&world).await;
    world.bind(wire::Reaction::Propose).await.unwrap();
    let untold = world.symptoms().await.remove(0);
    assert_eq!(untold.agent, "EXB1", "Server A has another role");
    let symptom = untold.symptom.unwrap();
    assert_eq!(symptom.state(), wire::SymptomState::CannotTell);
    assert_eq!(symptom.evidence, ["the agent has told nothing of it yet"]);
    says(&world, Standing::Stands).await;
    let proposal = world.proposed(true).await.unwrap();
    assert_eq!(proposal.servers, ["EXB1"]);
    assert_eq!(proposal.selector, "site=oslo");
    let view = world.symptoms().await.remove(0);
    assert_eq!(view.proposal, proposal.id);
    assert!(
        view.waits.contains("mailmend proposal start"),
        "{}",
        view.waits
    );
    assert!(!view.stale);
    let started = world.decide(&proposal.id[..8], true).await.unwrap();
    assert_eq!(
        (started.decided.as_str(), started.by.as_str()),
        ("started", "anna (admin)")
    );
    let again = world.decide(&proposal.id, true).await.unwrap();
    assert_eq!(again.rollout, started.rollout, "the same word again");
    let refused = world.decide(&proposal.id, false).await.unwrap_err();
    assert!(
        refused.message().starts_with("C111-proposal-decided"),
        "{refused}"
    );
    let rollouts = world.controller.store().rollouts(10).await.unwrap();
    assert_eq!(rollouts.len(), 1);
    assert_eq!(rollouts[0].id.to_string(), started.rollout);
    assert!(world.proposals(false).await.is_empty());
    let view = world.symptoms().await.remove(0);
    assert_eq!((view.rollout, view.waits.as_str()), (started.rollout, ""));
}

#[tokio::test]
async fn a_refused_proposal_stays_refused_until_its_symptom_has_gone() {
    let world = World::with_site().await;
    let _sessions = connected(&world).await;
    world.bind(wire::Reaction::Propose).await.unwrap();
    says(&world, Standing::Stands).await;
    let first = world.proposed(true).await.unwrap();
    let refused = world.decide(&first.id, false).await.unwrap();
    assert_eq!(
        (refused.decided.as_str(), refused.why.as_str()),
        ("refused", "as agreed")
    );
    says(&world, Standing::Stands).await;
    let view = world.symptoms().await.remove(0);
    assert!(
        view.waits.starts_with("anna (admin) refused"),
        "{}",
        view.waits
    );
    says(&world, Standing::Absent).await;
    // It lapses when everything is looked at again.
    let mut changes = world.controller.watch();
    let gone = async {
        loop {
            changes.mark_unchanged();
            if world
                .controller
                .store()
                .proposals(false)
                .await
                .unwrap()
                .is_empty()
            {
                return;
            }
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .unwrap();
    says(&world, Standing::Stands).await;
    let second = world.proposed(true).await.unwrap();
    assert_ne!(second.id, first.id);
    says(&world, Standing::Absent).await;
    world.proposed(false).await;
    let all = world.proposals(true).await;
    let decided: Vec<&str> = all
        .iter()
        .map(|proposal| proposal.decided.as_str())
        .collect();
    assert!(
        decided.contains(&"refused") && decided.contains(&"lapsed"),
        "{decided:?}"
    );
}

#[tokio::test]
async fn a_server_in_hand_is_shown_and_holds_its_site_until_it_is_given_back() {
    let world = World::with_site().await;
    let _sessions = connected(&world).await;
    let refused = world.in_hand(true, " ").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let agent = world.in_hand(true, "new disk").await.unwrap();
    assert_eq!(agent.in_hand.unwrap().by, "anna (admin)");
    world.bind(wire::Reaction::Auto).await.unwrap();
    says(&world, Standing::Stands).await;
    let view = world.symptoms().await.remove(0);
    assert!(
        view.waits
            .starts_with("EXA1 is in the hand of anna (admin): new disk"),
        "{}",
        view.waits
    );
    let rollout = world.start(&request()).await.unwrap();
    let explained = world
        .service
        .explain_rollout(admin(wire::GetRolloutRequest { id: rollout.id }))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        explained.waiting[0].release,
        "mailmend agent give-back EXA1"
    );
    let listed = world
        .service
        .list_agents(admin(wire::ListAgentsRequest::default()))
        .await
        .unwrap()
        .into_inner();
    assert!(listed.agents[0].in_hand.is_some() && listed.agents[1].in_hand.is_none());
    assert!(world.in_hand(false, "").await.unwrap().in_hand.is_none());
}

#[tokio::test]
async fn a_plan_tells_the_bounds_of_a_search_for_the_queue_as_told_and_its_digest_does_not_change()
{
    let world = World::with_site().await;
    world.publish(SEARCHES).await.unwrap();
    let store = world.controller.store();
    let request = wire::RolloutRequest {
        policy: "corrupt-message".into(),
        selector: "site=oslo".into(),
        ..wire::RolloutRequest::default()
    };
    let plan = async || {
        let planned = world.service.plan_rollout(admin(request.clone())).await;
        planned.unwrap().into_inner()
    };
    let search = |planned: &wire::PlanRolloutResponse, queue: &str| {
        let mut steps = planned.plans.iter().flat_map(|plan| &plan.steps);
        let found = steps.find(|step| step.server == "EXB1" && step.queue == queue);
        found.expect("it is searched").clone()
    };
    let (inbound, outbound) = ("inbound-awaiting-conversion", "outbound-awaiting-delivery");
    let before = plan().await;
    for queue in [inbound, outbound] {
        let untold = search(&before, queue);
        assert_eq!(untold.action, "queue.search");
        assert!(untold.waiting.is_none() && untold.bounds.is_empty());
    }
    let stop = &before.plans[0].steps[1];
    assert!(stop.queue.is_empty(), "{stop:?}");

    let depth = |queue: &str, messages| wire::QueueDepth {
        queue: queue.into(),
        messages,
        at_ms: 9,
        ..wire::QueueDepth::default()
    };
    // What another server's agent tells is no word about this one.
    let other: ServerName = "EXA1".parse().unwrap();
    store
        .replace_queues(&other, &[depth(inbound, 7)])
        .await
        .unwrap();
    let told = [depth(inbound, 100_000), depth(outbound, 300)];
    let server: ServerName = "EXB1".parse().unwrap();
    store.replace_queues(&server, &told).await.unwrap();
    let after = plan().await;
    assert_eq!(after.digest, before.digest);
    assert_eq!(after.plans[0].digest, before.plans[0].digest);
    let bounds = |step: &wire::StepView| -> Vec<(String, u64, u64)> {
        let bounds = step.bounds.iter();
        bounds
            .map(|bound| (bound.what.clone(), bound.at_most, bound.declared))
            .collect()
    };
    // 5 bad among 300 with 32 in flight: 5(1 + 5 + 1) + 1, one with nothing, one for a hint, one to give back.
    let step = search(&after, outbound);
    assert_eq!(step.waiting.as_ref(), Some(&told[1]));
    assert_eq!(
        bounds(&step),
        [("restarts".into(), 39, 39), ("crashes".into(), 35, 35)]
    );
    assert!(step.bounds[0].how.contains("w = 32"), "{:?}", step.bounds);
    // 5 bad among 100000 in groups of 1000: 5(1 + 10 + 1) + 100 and three more.
    let step = search(&after, inbound);
    assert_eq!(
        bounds(&step),
        [("restarts".into(), 163, 163), ("crashes".into(), 60, 60)]
    );
    // More than the policy declares for: it says so.
    store
        .replace_queues(&server, &[depth(inbound, 200_000)])
        .await
        .unwrap();
    let after = plan().await;
    assert_eq!(after.digest, before.digest);
    let step = search(&after, inbound);
    assert_eq!(step.bounds[0].at_most, 263);
    assert!(step.bounds[0].declared < step.bounds[0].at_most);
    assert!(search(&after, outbound).waiting.is_none(), "told no more");
}

#[tokio::test]
async fn an_agent_is_shown_with_what_it_told_last_of_its_queues() {
    let world = World::with_site().await;
    let told = wire::QueueDepth {
        queue: "outbound-awaiting-delivery".into(),
        messages: 40,
        bytes: 4000,
        oldest_ms: 5,
        at_ms: 9,
    };
    let server: ServerName = "EXB1".parse().unwrap();
    let store = world.controller.store();
    store
        .replace_queues(&server, std::slice::from_ref(&told))
        .await
        .unwrap();
    let request = wire::GetAgentRequest {
        name: "EXB1".into(),
    };
    let shown = world.service.get_agent(admin(request)).await.unwrap();
    assert_eq!(shown.into_inner().queues, std::slice::from_ref(&told));
    let request = wire::ListAgentsRequest::default();
    let listed = world.service.list_agents(admin(request)).await.unwrap();
    let listed = listed.into_inner().agents;
    assert!(listed[0].queues.is_empty());
    assert_eq!(listed[1].queues, [told]);
}
