//! What many ask at once is answered as if each had asked alone, and what is kept is never older than what is stored.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::*;
use crate::react::{Standing, Word};

const AGENTS: usize = 700;

fn of(number: usize) -> String {
    format!("s{number}-A")
}

/// A store with a rollout over many sites; the runs of the even ones are assigned.
async fn begun() -> (tempfile::TempDir, Store, RolloutId) {
    let (folder, store) = store().await;
    let sites: Vec<String> = (0..AGENTS).map(|number| format!("s{number}")).collect();
    let sites: Vec<&str> = sites.iter().map(String::as_str).collect();
    let id = rollout(&store, &sites).await;
    let whole = store.rollout(id).await.unwrap().unwrap();
    let even = whole.runs.iter().step_by(2);
    let actions: Vec<Action> = even.map(|run| Action::Assign { run: run.id }).collect();
    store.carry_out(&whole, &actions, 8).await.unwrap();
    (folder, store, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_that_ask_at_once_has_the_answer_to_its_own_question() {
    let (_folder, store, id) = begun().await;
    let rollout = store.rollout(id).await.unwrap().unwrap();
    let mut all = JoinSet::new();
    for (number, run) in rollout.runs.iter().enumerate() {
        let (store, run) = (store.clone(), run.id);
        all.spawn(async move {
            let agent = name(&of(number));
            let orders = store.orders(&agent).await.unwrap();
            let ordered = store.is_ordered(&agent).await.unwrap();
            let assignment = store.assignment(run).await.unwrap().unwrap();
            let part = store.part(run, &agent).await.unwrap().unwrap();
            let foreign = store.part(run, &name("nobody")).await.unwrap();
            assert!(foreign.is_none() && store.agent(&name("nobody")).await.unwrap().is_none());
            assert_eq!(assignment.site.as_str(), format!("s{number}"));
            let runs: Vec<RunId> = orders.iter().map(|order| order.run).collect();
            let (expected, fenced) = if number % 2 == 0 {
                (vec![run], true)
            } else {
                (vec![], false)
            };
            assert_eq!(
                (runs, ordered, part.fence.is_some()),
                (expected, fenced, fenced)
            );
            assert_eq!(part.fence, orders.first().map(|order| order.fence));
        });
    }
    while let Some(asked) = all.join_next().await {
        asked.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_damaged_row_is_no_other_sessions_trouble() {
    let (_folder, store, id) = begun().await;
    let rollout = store.rollout(id).await.unwrap().unwrap();
    let damaged = rollout.runs[6].id;
    let mut write = store.write().await.unwrap();
    sqlx::query("UPDATE runs SET servers = 'no list' WHERE id = $1")
        .bind(damaged.to_string())
        .execute(&mut *write)
        .await
        .unwrap();
    store.commit(write).await.unwrap();
    let mut all = JoinSet::new();
    for run in &rollout.runs {
        let (store, run) = (store.clone(), run.id);
        all.spawn(async move { (run, store.assignment(run).await) });
    }
    while let Some(asked) = all.join_next().await {
        let (run, answer) = asked.unwrap();
        assert_eq!(answer.is_err(), run == damaged, "{answer:?}");
    }
}

fn symptom(agent: &str, standing: Standing) -> SymptomRow {
    SymptomRow {
        word: Arc::new(Word {
            agent: name(agent),
            policy: "test".parse().unwrap(),
            version: 1,
            standing,
            since_ms: 1,
            looked_ms: 2,
            heard_ms: 3,
            evidence: vec!["as seen".to_owned()],
        }),
        digest: Digest::of(b"text"),
    }
}

#[tokio::test]
async fn what_was_said_of_symptoms_is_read_again_when_it_was_said_again_or_became_void() {
    let (_folder, store) = store().await;
    rollout(&store, &["s0"]).await;
    let agent = name("EXA1");
    for standing in [Standing::Absent, Standing::Stands, Standing::CannotTell] {
        let said = [symptom("EXA1", standing)];
        store.replace_symptoms(&agent, &said).await.unwrap();
        let known = store.last_symptoms().await.unwrap();
        assert_eq!(known[..], said);
        let again = store.last_symptoms().await.unwrap();
        assert!(Arc::ptr_eq(&known, &again), "nothing was said in between");
    }
    let change = Change {
        at_ms: 9,
        operator: "nina".to_owned(),
        what: "unbind".to_owned(),
        target: "test".to_owned(),
        why: String::new(),
    };
    let binding = crate::react::Binding {
        policy: "test".parse().unwrap(),
        version: 1,
        selector: String::new(),
        answer: crate::react::Answer::Observe,
        throttle: Default::default(),
        bound_ms: 1,
        by: "nina".to_owned(),
    };
    store.bind(&binding, &change).await.unwrap();
    assert_eq!(store.last_symptoms().await.unwrap().len(), 1);
    assert!(store.unbind("test", &change).await.unwrap());
    assert!(store.last_symptoms().await.unwrap().is_empty());
}
