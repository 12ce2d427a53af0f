//! Approvals, drift, retry and recall, as operators meet them.

use super::*;

const EACH_WAVE: &[u8] = b"approve = \"each-wave\"\n";

impl World {
    async fn direction(&self, name: &str, direction: &str) {
        let facts = [
            ("exchange.version", "5.5.2653"),
            ("ims.direction", direction),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let store = self.controller.store();
        store
            .replace_facts(&name.parse().unwrap(), &facts, 2000)
            .await
            .unwrap();
        self.controller.changed();
    }

    async fn shown(&self, id: &str) -> wire::Rollout {
        let request = wire::GetRolloutRequest { id: id.into() };
        let shown = self.service.get_rollout(admin(request)).await;
        shown.unwrap().into_inner()
    }

    async fn until(&self, id: &str, state: wire::RolloutState) -> wire::Rollout {
        let mut changes = self.controller.watch();
        loop {
            changes.mark_unchanged();
            let rollout = self.shown(id).await;
            if rollout.state() == state {
                return rollout;
            }
            changes.changed().await.unwrap();
        }
    }

    async fn approve(
        &self,
        rollout: &wire::Rollout,
        alter: impl Fn(&mut wire::ApproveWaveRequest),
    ) -> Result<wire::Rollout, Status> {
        let mut request = wire::ApproveWaveRequest {
            id: rollout.id.clone(),
            wave: 1,
            digest: rollout.waves[0].digest.clone(),
            generation: rollout.inventory,
            why: "looked at".into(),
        };
        alter(&mut request);
        let approved = self.service.approve_wave(approver(request)).await;
        approved.map(Response::into_inner)
    }

    async fn recall(
        &self,
        request: wire::RecallPolicyRequest,
    ) -> Result<wire::RecallPolicyResponse, Status> {
        let recalled = self.service.recall_policy(admin(request)).await;
        recalled.map(Response::into_inner)
    }

    async fn retry(&self, id: &str, request: u128) -> Result<wire::Rollout, Status> {
        let request = wire::RetryRolloutRequest {
            id: id.into(),
            request_id: Uuid::from_u128(request).to_string(),
            ..wire::RetryRolloutRequest::default()
        };
        let retried = self.service.retry_rollout(admin(request)).await;
        retried.map(Response::into_inner)
    }
}

fn asking() -> wire::RolloutRequest {
    wire::RolloutRequest {
        strategy: EACH_WAVE.to_vec(),
        ..request()
    }
}

fn refused(answer: Result<wire::Rollout, Status>, code: &str) {
    let status = answer.unwrap_err();
    assert!(status.message().starts_with(code), "{}", status.message());
}

#[tokio::test]
async fn a_wave_is_approved_only_as_it_was_looked_at_and_once() {
    let world = World::with_site().await;
    let rollout = world.start(&asking()).await.unwrap();
    assert!(rollout.waves[0].asks && rollout.waves[0].approval.is_none());
    assert_eq!(rollout.waves[0].servers, 2);
    refused(
        world.approve(&rollout, |it| it.digest = vec![7; 32]).await,
        "C115-approval-void",
    );
    refused(
        world.approve(&rollout, |it| it.generation -= 1).await,
        "C115-approval-void",
    );
    refused(
        world.approve(&rollout, |it| it.wave = 2).await,
        "C038-request",
    );
    let approved = world.approve(&rollout, |_| {}).await.unwrap();
    let approval = approved.waves[0].approval.clone().unwrap();
    assert_eq!(approval.digest, rollout.waves[0].digest);
    assert_eq!(approval.generation, rollout.inventory);
    // The same word again, after its answer was lost, whatever has changed since.
    let again = world.approve(&rollout, |_| {}).await.unwrap();
    assert_eq!(again.waves[0].approval, Some(approval));
    let other = wire::RolloutRequest {
        request_id: Uuid::from_u128(2).to_string(),
        ..request()
    };
    let unasked = world.start(&other).await.unwrap();
    refused(
        world.approve(&unasked, |_| {}).await,
        "C116-approval-not-asked",
    );
}

#[tokio::test]
async fn a_start_that_was_approved_is_refused_when_the_inventory_has_moved_though_its_plans_have_not()
 {
    let world = World::with_site().await;
    let plan = wire::RolloutRequest {
        request_id: String::new(),
        ..request()
    };
    let planned = world.service.plan_rollout(admin(plan)).await;
    let planned = planned.unwrap().into_inner();
    let facts = [("hostname".to_owned(), "new".to_owned())].into();
    let other = "EXX1";
    let token = wire::CreateTokenRequest {
        name: other.into(),
        site: "rome".into(),
        ..wire::CreateTokenRequest::default()
    };
    let token = world.service.create_token(admin(token)).await.unwrap();
    let hash = NoAuthority::default().token_hash(&token.into_inner().token);
    let store = world.controller.store();
    let name: ServerName = other.parse().unwrap();
    let before = store.generation().await.unwrap();
    store
        .take_token(&hash, &name, &crate::store::NewCertificate::default(), 1000)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(store.generation().await.unwrap(), before + 1);
    store.replace_facts(&name, &facts, 1000).await.unwrap();
    assert_eq!(store.generation().await.unwrap(), before + 2);
    store.replace_facts(&name, &facts, 1001).await.unwrap();
    store.seen(&[(name, 1002)].into()).await.unwrap();
    assert_eq!(store.generation().await.unwrap(), before + 2, "nothing new");
    let request = wire::RolloutRequest {
        approved_digest: planned.digest,
        approved_generation: planned.generation,
        ..request()
    };
    refused(world.start(&request).await, "C093-plan-changed");
    let request = wire::RolloutRequest {
        approved_generation: before + 2,
        ..request
    };
    assert!(world.start(&request).await.is_ok());
}

#[tokio::test]
async fn drift_pauses_voids_what_was_approved_and_is_not_resumed_while_it_stands() {
    let world = World::with_site().await;
    let rollout = world.start(&asking()).await.unwrap();
    world.approve(&rollout, |_| {}).await.unwrap();
    world.direction("EXB1", "both").await;
    let paused = world.until(&rollout.id, wire::RolloutState::Paused).await;
    assert!(
        paused
            .why
            .starts_with("drift: site oslo: `ims.direction` of `EXB1` was `outbound`, is `both`"),
        "{}",
        paused.why
    );
    assert_eq!(paused.waves[0].approval, None, "what was approved is void");
    refused(
        world.change(&rollout.id, wire::RolloutChange::Resume).await,
        "C119-drift",
    );
    refused(world.approve(&paused, |_| {}).await, "C115-approval-void");
    world.direction("EXB1", "outbound").await;
    let resumed = world.change(&rollout.id, wire::RolloutChange::Resume).await;
    assert_eq!(resumed.unwrap().state(), wire::RolloutState::Running);
    let shown = world.shown(&rollout.id).await;
    assert!(world.approve(&shown, |_| {}).await.is_ok());
}

#[tokio::test]
async fn a_change_that_planning_does_not_read_is_no_drift() {
    let world = World::with_site().await;
    let rollout = world.start(&request()).await.unwrap();
    let facts = [
        ("exchange.version", "5.5.2653"),
        ("ims.direction", "outbound"),
        ("hostname", "renamed"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let store = world.controller.store();
    store
        .replace_facts(&"EXB1".parse().unwrap(), &facts, 2000)
        .await
        .unwrap();
    let loaded = store
        .rollout(RolloutId(rollout.id.parse().unwrap()))
        .await
        .unwrap()
        .unwrap();
    assert!(store.generation().await.unwrap() > loaded.generation);
    assert!(world.controller.drift_of(&loaded).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_failed_or_never_began_is_tried_again_by_a_new_rollout_and_nothing_else() {
    let world = World::with_site().await;
    let rollout = world.start(&asking()).await.unwrap();
    refused(world.retry(&rollout.id, 7).await, "C117-nothing-to-retry");
    let aborted = world.change(&rollout.id, wire::RolloutChange::Abort).await;
    assert!(aborted.is_ok());
    world.until(&rollout.id, wire::RolloutState::Aborted).await;
    let retried = world.retry(&rollout.id, 7).await.unwrap();
    assert_eq!(retried.retry_of, rollout.id);
    assert_eq!(retried.runs.len(), 1);
    assert_eq!(
        (&retried.runs[0].site, &retried.runs[0].subject),
        (&rollout.runs[0].site, &rollout.runs[0].subject)
    );
    assert!(retried.waves[0].asks, "the strategy of the first");
    let again = world.retry(&rollout.id, 7).await.unwrap();
    assert_eq!(again.id, retried.id, "the same request");
}

#[tokio::test]
async fn a_recall_aborts_unbinds_and_refuses_for_ever_and_a_later_version_may_run() {
    let world = World::with_site().await;
    let rollout = world.start(&asking()).await.unwrap();
    let bind = wire::BindPolicyRequest {
        policy: "stuck-outbound-routing".into(),
        reaction: wire::Reaction::Observe.into(),
        ..wire::BindPolicyRequest::default()
    };
    world
        .service
        .bind_policy(admin(bind.clone()))
        .await
        .unwrap();
    let by_name = |why: &str| wire::RecallPolicyRequest {
        policy: "stuck-outbound-routing".into(),
        why: why.into(),
        ..wire::RecallPolicyRequest::default()
    };
    let silent = world.recall(by_name(" ")).await.unwrap_err();
    assert!(silent.message().starts_with("C098-reason-missing"));
    let unknown = wire::RecallPolicyRequest {
        policy: "no-such-policy".into(),
        ..by_name("wrong")
    };
    assert_eq!(
        world.recall(unknown).await.unwrap_err().code(),
        Code::NotFound
    );

    let done = world.recall(by_name("wrong queue")).await.unwrap();
    assert_eq!(done.rollouts.join(","), rollout.id);
    assert_eq!(done.unbound, ["stuck-outbound-routing"]);
    let ended = world.until(&rollout.id, wire::RolloutState::Aborted).await;
    assert_eq!(ended.runs[0].phase(), wire::RunPhase::Cancelled);
    let listed = world
        .service
        .list_policies(admin(wire::ListPoliciesRequest {}))
        .await
        .unwrap()
        .into_inner();
    let recall = listed.policies[0].recall.clone().unwrap();
    assert_eq!(recall.why, "wrong queue");

    let anew = wire::RolloutRequest {
        request_id: Uuid::from_u128(3).to_string(),
        ..request()
    };
    refused(world.start(&anew).await, "C113-policy-recalled");
    refused(world.retry(&rollout.id, 8).await, "C113-policy-recalled");
    let bound = world.service.bind_policy(admin(bind)).await.unwrap_err();
    assert!(bound.message().starts_with("C113-policy-recalled"));
    let later = POLICY.replace("version = 1", "version = 2");
    assert_ne!(later, POLICY);
    world.publish(&later).await.unwrap();
    assert!(world.start(&anew).await.is_ok());
    let again = world.recall(by_name("again")).await.unwrap();
    let whys: Vec<&str> = again
        .revisions
        .iter()
        .filter_map(|revision| revision.recall.as_ref())
        .map(|recall| recall.why.as_str())
        .collect();
    assert_eq!(whys, ["wrong queue", "again"], "the first reason stays");
}

#[tokio::test]
async fn everything_of_an_article_is_recalled_at_once() {
    let world = World::with_site().await;
    let rollout = world.start(&asking()).await.unwrap();
    let request = wire::RecallPolicyRequest {
        article: "Q268494".into(),
        why: "withdrawn".into(),
        ..wire::RecallPolicyRequest::default()
    };
    let done = world.recall(request).await.unwrap();
    assert_eq!(done.rollouts, [rollout.id]);
    assert_eq!(
        done.revisions[0].recall.as_ref().unwrap().article,
        "Q268494"
    );
}

#[tokio::test]
async fn a_strategy_that_has_faults_or_could_never_go_on_is_refused_with_what_is_wrong() {
    let world = World::with_site().await;
    let with = |strategy: &str| wire::RolloutRequest {
        strategy: strategy.into(),
        ..request()
    };
    refused(
        world.start(&with("soak = 3\n")).await,
        "C114-strategy-refused",
    );
    refused(
        world
            .start(&with("waves = [\"2 sites\", \"100%\"]\n"))
            .await,
        "C112-strategy",
    );
    let started = world.start(&with("soak = \"5m\"\n")).await.unwrap();
    let soak = started.strategy.iter().find(|term| term.name == "soak");
    assert!(soak.is_some_and(|term| term.what.contains("one wave")));
}
