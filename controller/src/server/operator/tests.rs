use std::collections::BTreeSet;

use mailmend_proto::run::RunId;
use tokio_stream::StreamExt;
use tonic::Code;
use uuid::Uuid;

use super::*;
use crate::clock::Clock;
use crate::identity::{Caller, Peer};
use crate::rollout::RolloutId;
use crate::server::agents::CertifyFault;
use crate::store::{Greeting, NewRollout, NewRun, Store};

const POLICY: &str = include_str!("../../../../policies/library/stuck-outbound-routing.toml");

/// Makes tokens that are easy to guess, and no certificates.
#[derive(Default)]
struct NoAuthority(std::sync::atomic::AtomicU32);

impl Authority for NoAuthority {
    fn certify(&self, _: &ServerName, _: &str, _: i64) -> Result<wire::Certificate, CertifyFault> {
        Ok(wire::Certificate::default())
    }
    fn ca_pem(&self) -> String {
        "ca".into()
    }
    fn fresh_token(&self) -> Result<String, CertifyFault> {
        let number = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
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
}

fn from<T>(peer: Peer, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller {
        peer,
        from: ([127, 0, 0, 1], 1).into(),
        serial: String::new(),
        until_ms: 0,
    });
    request
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
        let controller = Controller::start(store, Clock::of(|| 1000));
        let service = OperatorService::new(controller.clone(), Arc::new(NoAuthority::default()));
        Self {
            _folder: folder,
            controller,
            service,
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
            store.take_token(&hash, &name, 1000).await.unwrap().unwrap();
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
    let policy = check(&PolicySource::new("policy", POLICY)).policy.unwrap();
    let actions = policy
        .steps
        .iter()
        .map(|step| step.action.name().to_owned());
    actions.chain(["detect".to_owned()]).collect()
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
            sites_at_once: 1,
            max_failed: 0,
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
