//! What the doctor and the metrics read.

use super::*;
use crate::store::person_orders::{OrderAnswer, OrderKind, PersonOrder};

#[tokio::test]
async fn an_order_is_open_until_its_agent_answers_and_a_release_until_it_is_carried_out() {
    let (_folder, store) = store().await;
    enrolled(&store, "oslo-A", 1).await;
    let id = rollout(&store, &["oslo"]).await;
    let run = store.rollout(id).await.unwrap().unwrap().runs[0].id;
    let order = PersonOrder {
        id: Uuid::new_v4(),
        agent: name("oslo-A"),
        run,
        kind: OrderKind::Release,
        bytes: Vec::new(),
        by: "anna".into(),
        at_ms: 40,
        answer: OrderAnswer::Waiting,
        fence: None,
    };
    store.store_order(&order, &change()).await.unwrap();
    let open = store.open_orders().await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(
        (
            open[0].id,
            open[0].run,
            open[0].at_ms,
            open[0].kind.as_str()
        ),
        (order.id, run, 40, "release")
    );
    assert!(store.open_releases().await.unwrap().is_empty());

    store
        .answer_order(order.id, &order.agent, &OrderAnswer::Taken, 50)
        .await
        .unwrap();
    assert!(store.open_orders().await.unwrap().is_empty());
    let releasing = |releasing: Option<String>| {
        let told = Told {
            releasing,
            recoverable: 2,
            ..Told::default()
        };
        let store = store.clone();
        async move {
            let mut write = store.write().await.unwrap();
            sqlx::query("UPDATE parts SET told = $2 WHERE run = $1 AND agent = 'oslo-A'")
                .bind(run.to_string())
                .bind(serde_json::to_string(&told).unwrap())
                .execute(&mut *write)
                .await
                .unwrap();
            store.commit(write).await.unwrap();
        }
    };
    releasing(Some(order.id.to_string())).await;
    let open = store.open_releases().await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].order, open[0].taken_ms), (order.id, 50));
    let kept = store.kept().await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].state, kept[0].messages), (None, 2));
    releasing(None).await;
    assert!(store.open_releases().await.unwrap().is_empty());
}

#[tokio::test]
async fn runs_and_rollouts_are_counted_in_every_phase_and_state() {
    let (_folder, store) = store().await;
    let id = rollout(&store, &["oslo", "rome"]).await;
    let runs = store.runs_by_phase().await.unwrap();
    assert_eq!(runs.len(), RunPhase::ALL.len());
    assert!(runs.contains(&(RunPhase::Waiting, 2)));
    let states = store.rollouts_by_state().await.unwrap();
    assert_eq!(states.len(), RolloutState::ALL.len());
    assert!(states.contains(&(RolloutState::Running, 1)));
    assert_eq!(store.turned().await.unwrap(), [(id, 7)].into());
}

#[tokio::test]
async fn the_store_tells_how_it_is() {
    let (_folder, store) = store().await;
    let health = store.health().await.unwrap();
    assert!(health.schema >= 35 && health.bytes > 0, "{health:?}");
    assert!(cfg!(not(unix)) || health.free_bytes.is_some());
}

#[tokio::test]
async fn a_scrape_counts_by_indexes_and_reads_no_plan_and_no_message_that_is_gone() {
    let (_folder, store) = store().await;
    for (sql, index) in [
        (
            "SELECT phase, count(*) FROM runs GROUP BY phase",
            "runs_phase",
        ),
        (
            "SELECT state, count(*) FROM rollouts GROUP BY state",
            "rollouts_state",
        ),
        (
            "SELECT b.run, b.agent, c.state, count(*) AS messages, min(c.changed_ms) AS since_ms
             FROM custody c JOIN batches b ON b.batch = c.batch
             WHERE c.state IN ('held', 'replaying', 'poison', 'in-doubt')
             GROUP BY b.run, b.agent, c.state",
            "custody_kept",
        ),
    ] {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
                .fetch_all(&store.readers)
                .await
                .unwrap();
        assert!(
            plan.iter().any(|row| row.3.contains(index)),
            "{index}: {plan:?}"
        );
    }
}
