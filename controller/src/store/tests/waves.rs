//! Waves, approvals and recalls as they are kept.

use std::borrow::Cow;

use mailmend_policy::strategy::{MaxUnavailable, Share};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use super::*;
use crate::rollout::Approval;

#[tokio::test]
async fn a_rollout_that_was_started_before_there_were_waves_has_one_and_no_budget() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("controller.db");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let before = SqlitePool::connect_with(options).await.unwrap();
    let known = MIGRATIONS.iter().filter(|one| one.version < 20).cloned();
    let old = Migrator {
        migrations: Cow::Owned(known.collect()),
        ..Migrator::DEFAULT
    };
    old.run(&before).await.unwrap();
    let id = Uuid::from_u128(7).to_string();
    for statement in [
        "INSERT INTO policies VALUES ('test', 1, x'00', 't', 'Q1', x'00', 1, 'ada')".to_owned(),
        format!(
            "INSERT INTO rollouts (id, request, policy, version, selector, state, started_ms, started_by,
               sites_at_once, max_failed) VALUES ('{id}', 'r', 'test', 1, 'site', 'running', 1, 'ada', 3, 2)"
        ),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&before)
            .await
            .unwrap();
    }
    for (at, site) in ["oslo", "rome"].iter().enumerate() {
        let plan = plan_of(site, "A:detect B:check");
        sqlx::query(
            "INSERT INTO runs (id, rollout, position, site, plan_digest, plan, servers, phase, since_ms)
             VALUES ($1, $2, $3, $4, $5, $6, '[]', 'waiting', 1)",
        )
        .bind(Uuid::from_u128(at as u128).to_string())
        .bind(&id)
        .bind(i64::try_from(at).unwrap())
        .bind(*site)
        .bind(plan.digest().as_bytes().as_slice())
        .bind(serde_json::to_string(&*plan).unwrap())
        .execute(&before)
        .await
        .unwrap();
    }
    before.close().await;
    let store = Store::open(&path).await.unwrap();
    let rollout = &store.open_rollouts().await.unwrap()[0];
    assert_eq!(rollout.resolved.waves, [2]);
    assert_eq!(rollout.strategy.sites_at_once, 3);
    assert_eq!(rollout.strategy.max_failed, Share::Count(2));
    assert_eq!((rollout.max_failed(), rollout.wave), (2, 0));
    assert_eq!(rollout.strategy.max_unavailable, MaxUnavailable::default());
    assert!(!rollout.has_budget());
    assert_eq!(rollout.resolved.max_unavailable_site.len(), 2);
}

#[tokio::test]
async fn a_wave_ends_once_and_only_rises_and_a_late_decision_changes_nothing() {
    let (_folder, store) = store().await;
    let id = rollout(&store, &["oslo", "rome"]).await;
    let loaded = store.rollout(id).await.unwrap().unwrap();
    for at_ms in [10, 20] {
        let end = [Action::EndWave { wave: 0 }];
        store.carry_out(&loaded, &end, at_ms).await.unwrap();
    }
    let ended = store.rollout(id).await.unwrap().unwrap();
    assert_eq!((ended.wave, ended.wave_ended_ms), (0, Some(10)));
    let begin = [Action::BeginWave { wave: 1 }];
    store.carry_out(&loaded, &begin, 30).await.unwrap();
    let late = [Action::EndWave { wave: 0 }, Action::BeginWave { wave: 1 }];
    store.carry_out(&loaded, &late, 40).await.unwrap();
    let begun = store.rollout(id).await.unwrap().unwrap();
    assert_eq!((begun.wave, begun.wave_ended_ms), (1, None));
}

#[tokio::test]
async fn an_approval_holds_for_the_generation_that_was_looked_at_and_drift_takes_it_back() {
    let (_folder, store) = store().await;
    let id = rollout(&store, &["oslo", "rome"]).await;
    let loaded = store.rollout(id).await.unwrap().unwrap();
    let approval = |generation| Approval {
        digest: loaded.wave_digest(0),
        generation,
        by: "ada".into(),
        at_ms: 5,
        why: "quiet".into(),
    };
    let now = store.generation().await.unwrap();
    let approve = async |generation| {
        let approval = approval(generation);
        let revision = store.rollout(id).await.unwrap().unwrap().revision;
        store
            .approve_wave(id, revision, 0, &approval, &change())
            .await
    };
    assert!(matches!(
        approve(now + 1).await,
        Err(StoreError::Changed(_))
    ));
    assert!(approve(now).await.is_ok());
    let approved = store.rollout(id).await.unwrap().unwrap();
    assert_eq!(approved.approvals[&0], approval(now));
    let drift = [Action::Turn {
        state: RolloutState::Paused,
        why: "drift: `a` was added".into(),
        cause: Cause::Drift,
    }];
    store.carry_out(&approved, &drift, 9).await.unwrap();
    let paused = store.rollout(id).await.unwrap().unwrap();
    assert_eq!(paused.cause, Cause::Drift);
    assert!(paused.approvals.is_empty());
}

#[tokio::test]
async fn an_alarm_that_is_raised_again_counts_as_heard_again() {
    let (_folder, store) = store().await;
    let agent = name("a");
    for at_ms in [10, 20] {
        let raised = store.raise_alarm(&agent, "C999-x", "it is down", at_ms);
        raised.await.unwrap();
    }
    assert_eq!(store.agent_alarms(&agent).await.unwrap().len(), 1);
    assert_eq!(store.alarms_since(15).await.unwrap()["a"].0, 20);
    assert!(store.alarms_since(20).await.unwrap().is_empty());
}

#[tokio::test]
async fn other_rollouts_hold_what_their_runs_disturb_until_they_end() {
    let (_folder, store) = store().await;
    let id = rollout(&store, &["oslo"]).await;
    let loaded = store.rollout(id).await.unwrap().unwrap();
    let run = loaded.runs[0].id;
    let other = RolloutId(Uuid::from_u128(1));
    assert!(store.holdings(other).await.unwrap().is_empty(), "it waits");
    for (action, phase) in [
        (Action::Assign { run }, RunPhase::Assigned),
        (
            Action::Enter {
                run,
                phase: RunPhase::Failed,
                why: String::new(),
            },
            RunPhase::Failed,
        ),
    ] {
        store.carry_out(&loaded, &[action], 10).await.unwrap();
        assert_eq!(store.holdings(other).await.unwrap()[0].phase, phase);
        assert!(store.holdings(id).await.unwrap().is_empty(), "its own");
    }
    let ended = [Action::Turn {
        state: RolloutState::Failed,
        why: String::new(),
        cause: Cause::None,
    }];
    store.carry_out(&loaded, &ended, 10).await.unwrap();
    assert!(store.holdings(other).await.unwrap().is_empty());
}
