mod asked;
mod gathered;
mod pictured;
mod trail;
mod waves;

use std::collections::BTreeMap;

use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServerName;
use mailmend_policy::strategy::Strategy;
use mailmend_proto::run::{
    BatchId, Custody, Entry, Event, Left, Outcome, Record, RunId, RunState, Settlement,
};
use uuid::Uuid;

use super::*;
use crate::decide::Action;
use crate::rollout::{Cause, Refusal, RolloutId, RolloutState, RunPhase, Told};
use crate::simulated_agent::{plan_of, resolved};

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("controller.db"))
        .await
        .unwrap();
    (folder, store)
}

fn written(records: &[Record]) -> Vec<Written> {
    records.iter().cloned().map(Written::from).collect()
}

fn name(text: &str) -> ServerName {
    text.parse().unwrap()
}

fn token(byte: u8, agent: &str) -> NewToken {
    NewToken {
        hash: [byte; 32],
        agent: name(agent),
        site: "oslo".parse().unwrap(),
        labels: BTreeMap::from([("role".to_owned(), "relay".to_owned())]),
        created_ms: 1,
        by: "admin".into(),
        expires_ms: 1000,
    }
}

fn greeting(journal: &str, head: u64) -> Greeting {
    Greeting {
        version: "0.1.0".into(),
        journal: journal.into(),
        head,
        highest_fence: 0,
        facts: BTreeMap::from([("ims.direction".to_owned(), "both".to_owned())]),
        actions: ["check".to_owned()].into(),
    }
}

async fn enrolled(store: &Store, agent: &str, byte: u8) {
    store.create_token(&token(byte, agent)).await.unwrap();
    store
        .take_token(&[byte; 32], &name(agent), &NewCertificate::default(), 5)
        .await
        .unwrap()
        .unwrap();
}

fn record(seq: u64, run: RunId, event: Event) -> Record {
    Record {
        seq,
        at_ms: i64::try_from(seq).unwrap(),
        run,
        event,
    }
}

fn tail<'a>(agent: &'a ServerName, site: &'a SiteName) -> Tail<'a> {
    Tail {
        agent,
        site,
        journal: "one",
        after: 0,
        chain: None,
        noted: false,
    }
}

async fn rollout(store: &Store, sites: &[&str]) -> RolloutId {
    let policy = PolicyRow {
        name: "test".parse().unwrap(),
        version: 1,
        digest: Digest::of(b"text"),
        title: "a test".into(),
        article: "Q1".into(),
        text: b"text".to_vec(),
        published_ms: 1,
        by: "admin".into(),
    };
    store.publish_policy(&policy).await.unwrap();
    let id = RolloutId(Uuid::new_v4());
    let plans: Vec<_> = sites
        .iter()
        .map(|site| plan_of(site, "A:detect B:check"))
        .collect();
    let new = NewRollout {
        id,
        request: Uuid::new_v4(),
        policy: policy.name,
        version: 1,
        selector: "site".into(),
        started_ms: 7,
        by: "admin".into(),
        strategy: Strategy::default(),
        resolved: resolved(&Strategy::default(), plans.iter().map(AsRef::as_ref)),
        generation: 1,
        retry_of: None,
        runs: plans
            .iter()
            .map(|plan| NewRun {
                id: RunId(Uuid::new_v4()),
                plan: (**plan).clone(),
                servers: Vec::new(),
            })
            .collect(),
    };
    let started = store.start_rollout(&new, &change()).await.unwrap();
    assert_eq!(
        store.start_rollout(&new, &change()).await.unwrap(),
        started,
        "the same request"
    );
    started
}

fn change() -> Change {
    Change {
        at_ms: 7,
        operator: "admin".into(),
        what: "start-rollout".into(),
        target: "x".into(),
        why: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_racers_for_one_token_one_wins() {
    let (_folder, store) = store().await;
    store.create_token(&token(1, "EXB1")).await.unwrap();
    let racers: Vec<_> = (0..100)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                store
                    .take_token(&[1; 32], &name("EXB1"), &NewCertificate::default(), 5)
                    .await
                    .unwrap()
            })
        })
        .collect();
    let mut winners = 0;
    for racer in racers {
        match racer.await.unwrap() {
            Ok(()) => winners += 1,
            Err(why) => assert_eq!(why, TokenRefused::Used),
        }
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn a_token_is_for_one_name_and_one_time() {
    let (_folder, store) = store().await;
    store.create_token(&token(1, "EXB1")).await.unwrap();
    let take = |byte: u8, agent: &'static str, now| {
        let store = store.clone();
        async move {
            store
                .take_token(&[byte; 32], &name(agent), &NewCertificate::default(), now)
                .await
                .unwrap()
        }
    };
    assert_eq!(take(2, "EXB1", 5).await, Err(TokenRefused::Unknown));
    assert_eq!(take(1, "EXB2", 5).await, Err(TokenRefused::OtherName));
    assert_eq!(take(1, "EXB1", 1000).await, Err(TokenRefused::Expired));
    assert_eq!(take(1, "EXB1", 999).await, Ok(()));
    assert_eq!(take(1, "EXB1", 999).await, Err(TokenRefused::Used));
    let agent = store.agent(&name("EXB1")).await.unwrap().unwrap();
    assert_eq!(agent.server().labels["role"], "relay");
    assert_eq!(agent.server().labels["site"], "oslo");
    assert_eq!(store.agent(&name("EXB2")).await.unwrap(), None);
}

#[tokio::test]
async fn a_second_controller_on_the_same_store_is_kept_away_until_the_first_has_gone() {
    let (folder, store) = store().await;
    let path = folder.path().join("controller.db");
    let second = Store::open(&path).await.unwrap_err();
    assert!(matches!(second, StoreError::Locked { .. }), "{second}");
    store.close().await;
    drop(store);
    Store::open(&path).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_can_read_any_file_of_the_store() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, store) = store().await;
    enrolled(&store, "EXB1", 1).await;
    let mut files = 0;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.path());
        files += 1;
    }
    assert!(files >= 3, "database, log and lock");
}

#[tokio::test]
async fn a_store_of_a_later_version_and_a_damaged_one_are_refused_with_a_remedy() {
    let (folder, store) = store().await;
    let path = folder.path().join("controller.db");
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', 1, x'00', 0)",
    )
    .execute(&store.writer)
    .await
    .unwrap();
    store.close().await;
    drop(store);
    let newer = Store::open(&path).await.unwrap_err();
    assert!(
        matches!(newer, StoreError::Newer { found: 9999, .. }),
        "{newer}"
    );

    let mut bytes = std::fs::read(&path).unwrap();
    for byte in &mut bytes[4096..] {
        *byte = 0xa5;
    }
    std::fs::write(&path, &bytes).unwrap();
    let damaged = Store::open(&path).await.unwrap_err();
    assert!(matches!(damaged, StoreError::Corrupt { .. }), "{damaged}");
    std::fs::write(&path, b"this is not a database, it is a letter to my aunt").unwrap();
    let letter = Store::open(&path).await.unwrap_err();
    assert!(matches!(letter, StoreError::Corrupt { .. }), "{letter}");
    assert!(letter.to_string().starts_with("C103-store-corrupt: "));
}

#[tokio::test]
async fn a_published_version_never_changes_and_versions_never_fall() {
    let (_folder, store) = store().await;
    let policy = |version, text: &str| PolicyRow {
        name: "p".parse().unwrap(),
        version,
        digest: Digest::of(text.as_bytes()),
        title: String::new(),
        article: String::new(),
        text: text.into(),
        published_ms: 1,
        by: String::new(),
    };
    let publish = |row: PolicyRow| {
        let store = store.clone();
        async move { store.publish_policy(&row).await.unwrap() }
    };
    assert!(matches!(
        publish(policy(2, "a")).await,
        Published::Stored(_)
    ));
    assert!(matches!(
        publish(policy(2, "a")).await,
        Published::Stored(_)
    ));
    assert!(matches!(
        publish(policy(2, "b")).await,
        Published::Differs(_)
    ));
    assert_eq!(
        publish(policy(1, "c")).await,
        Published::Older { newest: 2 }
    );
    assert!(matches!(
        publish(policy(3, "d")).await,
        Published::Stored(_)
    ));
    assert_eq!(store.policy("p", 0).await.unwrap().unwrap().text, b"d");
    assert_eq!(store.policy("p", 2).await.unwrap().unwrap().text, b"a");
    assert_eq!(store.policy("p", 1).await.unwrap(), None);
    assert!(
        store
            .policies()
            .await
            .unwrap()
            .iter()
            .all(|row| row.text.is_empty())
    );
}

#[tokio::test]
async fn another_journal_is_a_clone_unless_a_person_enrolled_the_agent_again() {
    let (_folder, store) = store().await;
    let hello = |journal: &'static str, head| {
        let store = store.clone();
        async move {
            store
                .greet(&name("EXB1"), &greeting(journal, head), 9)
                .await
                .unwrap()
        }
    };
    assert!(matches!(hello("one", 0).await, Err(Refused::Unknown(_))));
    enrolled(&store, "EXB1", 1).await;
    assert_eq!(hello("one", 3).await.unwrap().acknowledged, 0);
    assert!(matches!(
        hello("two", 0).await,
        Err(Refused::OtherJournal { .. })
    ));
    assert_eq!(hello("one", 3).await.unwrap().journal, "one");
    enrolled(&store, "EXB1", 2).await;
    assert_eq!(hello("two", 0).await.unwrap().journal, "two");
    assert!(matches!(
        hello("one", 3).await,
        Err(Refused::OtherJournal { .. })
    ));
}

#[tokio::test]
async fn a_renewed_enrolment_does_not_let_a_later_clone_in() {
    let (_folder, store) = store().await;
    enrolled(&store, "EXB1", 1).await;
    store
        .greet(&name("EXB1"), &greeting("one", 0), 9)
        .await
        .unwrap()
        .unwrap();
    enrolled(&store, "EXB1", 2).await;
    store
        .greet(&name("EXB1"), &greeting("one", 0), 9)
        .await
        .unwrap()
        .unwrap();
    let clone = store
        .greet(&name("EXB1"), &greeting("two", 0), 9)
        .await
        .unwrap();
    assert!(matches!(clone, Err(Refused::OtherJournal { .. })));
}

#[tokio::test]
async fn a_journal_that_ends_before_what_is_stored_is_refused() {
    let (_folder, store) = store().await;
    enrolled(&store, "EXB1", 1).await;
    store
        .greet(&name("EXB1"), &greeting("one", 5), 9)
        .await
        .unwrap()
        .unwrap();
    let run = RunId(Uuid::new_v4());
    let duty = Event::DutyBegan {
        duty: "watchdog".into(),
        service: "MSExchangeIMC".parse().unwrap(),
        why: "it died".into(),
    };
    let site = "oslo".parse().unwrap();
    let told = [StoredRun {
        run,
        told: Told::default(),
    }];
    store
        .append(
            tail(&name("EXB1"), &site),
            written(&[record(1, run, duty)]),
            told.to_vec(),
            9,
        )
        .await
        .unwrap();
    let behind = store
        .greet(&name("EXB1"), &greeting("one", 0), 9)
        .await
        .unwrap();
    assert!(matches!(
        behind,
        Err(Refused::Behind {
            head: 0,
            acknowledged: 1,
            ..
        })
    ));
    let duty = store.duty(run).await.unwrap().unwrap();
    assert_eq!((duty.agent, duty.phase), (name("EXB1"), RunPhase::Running));
}

#[tokio::test]
async fn fences_only_grow_also_above_what_an_agent_has_admitted_but_not_by_leaps() {
    let (_folder, store) = store().await;
    enrolled(&store, "EXB1", 1).await;
    let hello = |highest_fence| {
        let store = store.clone();
        async move {
            let mut greeting = greeting("one", 0);
            greeting.highest_fence = highest_fence;
            store.greet(&name("EXB1"), &greeting, 9).await.unwrap()
        }
    };
    hello(41).await.unwrap();
    let id = rollout(&store, &["oslo"]).await;
    let loaded = store.rollout(id).await.unwrap().unwrap();
    let assign = [Action::Assign {
        run: loaded.runs[0].id,
    }];
    store.carry_out(&loaded, &assign, 10).await.unwrap();
    let run = &store.rollout(id).await.unwrap().unwrap().runs[0];
    assert_eq!((run.fence, run.phase), (Some(42), RunPhase::Assigned));
    assert!(matches!(
        hello(u64::MAX).await,
        Err(Refused::FenceAhead { .. })
    ));
    hello(7).await.unwrap();
    assert_eq!(store.minted().await.unwrap(), 42);
}

#[tokio::test]
async fn two_runs_never_hold_one_site_whatever_was_decided() {
    let (_folder, store) = store().await;
    let first = rollout(&store, &["oslo"]).await;
    let second = rollout(&store, &["oslo"]).await;
    let assign = |id| {
        let store = store.clone();
        async move {
            let loaded = store.rollout(id).await.unwrap().unwrap();
            let run = loaded.runs[0].id;
            store
                .carry_out(&loaded, &[Action::Assign { run }], 10)
                .await
        }
    };
    let told = assign(first).await.unwrap();
    assert_eq!(told, [name("oslo-A"), name("oslo-B")]);
    let refused = assign(second).await.unwrap_err();
    assert!(matches!(refused, StoreError::Changed(_)), "{refused}");
    let loaded = store.rollout(first).await.unwrap().unwrap();
    let ended = Action::Enter {
        run: loaded.runs[0].id,
        phase: RunPhase::Failed,
        why: "refused".into(),
    };
    store.carry_out(&loaded, &[ended], 11).await.unwrap();
    assign(second).await.unwrap();
    assert_eq!(store.locks().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_decided_before_an_operators_change_is_void() {
    let (_folder, store) = store().await;
    let id = rollout(&store, &["oslo"]).await;
    let loaded = store.rollout(id).await.unwrap().unwrap();
    let paused = Changed {
        state: RolloutState::Paused,
        cause: Cause::Person,
        accepted_failures: 0,
        accepted_gate: None,
    };
    store
        .change_rollout(id, loaded.revision, &paused, &change())
        .await
        .unwrap();
    let assign = [Action::Assign {
        run: loaded.runs[0].id,
    }];
    let late = store.carry_out(&loaded, &assign, 10).await.unwrap_err();
    assert!(matches!(late, StoreError::Changed(_)));
    let after = store.rollout(id).await.unwrap().unwrap();
    assert_eq!(after.runs[0].phase, RunPhase::Waiting);
    assert_eq!(store.minted().await.unwrap(), 0, "nothing of it was stored");
    let changes = store.changes().await.unwrap();
    let changes: Vec<&str> = changes.iter().map(|one| one.what.as_str()).collect();
    assert_eq!(
        changes,
        ["publish-policy", "start-rollout", "start-rollout"]
    );
}

#[tokio::test]
async fn an_agent_is_told_only_what_is_open_and_a_refusal_never_beats_a_record() {
    let (_folder, store) = store().await;
    let id = rollout(&store, &["oslo"]).await;
    let loaded = store.rollout(id).await.unwrap().unwrap();
    let run = loaded.runs[0].id;
    assert_eq!(store.orders(&name("oslo-A")).await.unwrap(), []);
    store
        .carry_out(&loaded, &[Action::Assign { run }], 10)
        .await
        .unwrap();
    let orders = store.orders(&name("oslo-A")).await.unwrap();
    assert_eq!(
        (orders.len(), orders[0].fence, orders[0].begun),
        (1, 1, false)
    );
    let refusal = Refusal {
        code: "A001-x".into(),
        why: "no".into(),
    };
    store
        .refuse(run, &name("oslo-A"), &refusal, 30)
        .await
        .unwrap();
    assert_eq!(store.orders(&name("oslo-A")).await.unwrap(), []);
    assert_eq!(store.orders(&name("oslo-B")).await.unwrap().len(), 1);

    // What it refused it has taken on after all: it is only told to close.
    enrolled(&store, "oslo-A", 1).await;
    store
        .greet(&name("oslo-A"), &greeting("one", 1), 9)
        .await
        .unwrap()
        .unwrap();
    let admitted = Event::Admitted {
        fence: 1,
        plan: loaded.runs[0].plan.digest(),
        policy: Digest::of(b"text"),
        assignment: Vec::new(),
    };
    let state = RunState::of([&admitted]).unwrap();
    let told = Told::default().after(&state, &admitted);
    let site = "oslo".parse().unwrap();
    store
        .append(
            tail(&name("oslo-A"), &site),
            written(&[record(1, run, admitted)]),
            vec![StoredRun { run, told }],
            9,
        )
        .await
        .unwrap();
    let orders = store.orders(&name("oslo-A")).await.unwrap();
    let unwind = orders[0].unwind.unwrap();
    assert_eq!(
        (unwind.down_to, unwind.last, orders[0].through),
        (0, true, 0)
    );
}

#[tokio::test]
async fn the_ledger_says_what_the_records_add_up_to() {
    let (_folder, store) = store().await;
    enrolled(&store, "EXB1", 1).await;
    store
        .greet(&name("EXB1"), &greeting("one", 0), 9)
        .await
        .unwrap()
        .unwrap();
    let (run, batch) = (RunId(Uuid::new_v4()), BatchId(Uuid::new_v4()));
    let entry = |index: u32| Entry {
        index,
        name: format!("FILE{index:04}"),
        file_id: u64::MAX - u64::from(index),
        size: 10,
        modified_ms: -1,
        hash: Digest::of(&index.to_be_bytes()),
        mts_id: String::new(),
        message_id: "<a@b>".into(),
        custody: if index == 9 {
            Custody::InDoubt
        } else {
            Custody::Live
        },
    };
    let settled = |index, custody| Settlement {
        index,
        custody,
        evidence: "19960701.log:3".into(),
    };
    let left = |index| Left {
        index,
        why: "locked".into(),
    };
    let events = [
        Event::DutyBegan {
            duty: "watchdog".into(),
            service: "MSExchangeIMC".parse().unwrap(),
            why: String::new(),
        },
        Event::BatchIntended {
            batch,
            step: None,
            queue: "outbound-awaiting-delivery".into(),
            source: "/imcdata/Out".into(),
            held: "/held/1".into(),
            files: 10,
            bytes: 100,
            copied_from: None,
        },
        Event::BatchEntries {
            batch,
            entries: (0..6).map(entry).collect(),
        },
        Event::BatchEntries {
            batch,
            entries: (6..10).map(entry).collect(),
        },
        Event::BatchHeld {
            batch,
            left: vec![left(0)],
        },
        Event::ReplayIntended {
            batch,
            replay: 1,
            step: None,
            target: "/imcdata/Out".into(),
            entries: vec![(1, 3), (5, 6)],
        },
        Event::ReplayPlaced {
            batch,
            replay: 1,
            renamed: vec![(2, "OTHER001".into())],
            left: vec![left(3)],
        },
        Event::Settled {
            batch,
            entries: vec![
                settled(1, Custody::GoneWithEvidence),
                settled(4, Custody::Poison),
            ],
        },
        Event::Alarm {
            code: "A001-x".into(),
            text: "look".into(),
        },
    ];
    let state = RunState::of(&events).unwrap();
    let records: Vec<Record> = events
        .iter()
        .zip(1..)
        .map(|(event, seq)| record(seq, run, event.clone()))
        .collect();
    let told = Told::default().after(&state, &events[0]).counted(&state);
    let runs = [StoredRun {
        run,
        told: told.clone(),
    }];
    let site = "oslo".parse().unwrap();
    store
        .append(
            tail(&name("EXB1"), &site),
            written(&records),
            runs.to_vec(),
            9,
        )
        .await
        .unwrap();

    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = store
            .custody_page(&CustodyFilter::default(), after, 3)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.batch, last.entry.index));
        listed.extend(page);
    }
    let entries: Vec<&Entry> = listed.iter().map(|row| &row.entry).collect();
    let expected: Vec<&Entry> = state.batches[&batch].entries.iter().collect();
    assert_eq!(entries, expected);
    assert_eq!(told.custody["replaying"], 3);
    let kept = store.kept().await.unwrap();
    assert!(
        kept.iter()
            .all(|one| (one.run, &one.agent) == (run, &name("EXB1")))
    );
    let counted: BTreeMap<&str, u64> = kept
        .iter()
        .map(|one| (one.state.unwrap().name(), one.messages))
        .collect();
    for (state, count) in &counted {
        assert_eq!(told.custody[*state], *count, "{state}");
    }
    assert_eq!(
        counted.keys().copied().collect::<Vec<_>>(),
        ["held", "in-doubt", "poison", "replaying"]
    );
    let filter = CustodyFilter {
        run: Some(run),
        agent: Some(name("EXB1")),
        state: Some(Custody::Poison),
    };
    let poison = store.custody_page(&filter, None, 100).await.unwrap();
    assert_eq!(poison.len(), 1);
    assert_eq!(
        (poison[0].entry.index, poison[0].evidence.as_str()),
        (4, "19960701.log:3")
    );
    assert_eq!(store.run_alarms(run).await.unwrap(), ["EXB1: A001-x: look"]);
    assert_eq!(store.newest_alarms().await.unwrap()["EXB1"], "A001-x: look");

    let again = store
        .append(
            tail(&name("EXB1"), &site),
            written(&records),
            runs.to_vec(),
            9,
        )
        .await;
    assert!(
        matches!(again, Err(StoreError::Changed(_))),
        "it ends at 9 now"
    );
    let folded = store.events(&name("EXB1"), "one", run).await.unwrap();
    assert_eq!(RunState::of(&folded).unwrap(), state);
}

#[tokio::test]
async fn what_is_told_of_steps_reads_back_from_its_row() {
    let events = [
        Event::Admitted {
            fence: 1,
            plan: Digest::of(b""),
            policy: Digest::of(b""),
            assignment: Vec::new(),
        },
        Event::Advanced {
            fence: 1,
            through: 2,
        },
        Event::StepIntended {
            step: 1,
            attempt: 1,
        },
        Event::StepFinished {
            step: 1,
            attempt: 1,
            outcome: Outcome::NoEffect,
            detail: "no".into(),
            evidence: Vec::new(),
        },
    ];
    let mut state = RunState::default();
    let mut told = Told::default();
    for event in &events {
        state = state.after(event).unwrap();
        told = told.after(&state, event);
    }
    let json = serde_json::to_string(&told).unwrap();
    assert_eq!(serde_json::from_str::<Told>(&json).unwrap(), told);
    assert_eq!(told.why[&1], "no");
}

#[tokio::test]
async fn a_full_disk_is_told_as_such_and_nothing_is_half_written() {
    let (_folder, store) = store().await;
    enrolled(&store, "EXB1", 1).await;
    store
        .greet(&name("EXB1"), &greeting("one", 0), 9)
        .await
        .unwrap()
        .unwrap();
    let limit = |pages: i64| {
        let store = store.clone();
        async move {
            let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
            sqlx::query(limit).execute(&store.writer).await.unwrap();
        }
    };
    // Not less than it has: from here on it cannot grow.
    limit(1).await;
    let run = RunId(Uuid::new_v4());
    let records = [
        record(
            1,
            run,
            Event::DutyBegan {
                duty: "watchdog".into(),
                service: "MSExchangeIMC".parse().unwrap(),
                why: "x".repeat(100_000),
            },
        ),
        record(
            2,
            run,
            Event::Alarm {
                code: "A001-x".into(),
                text: "y".repeat(100_000),
            },
        ),
    ];
    let agent = name("EXB1");
    let site = "oslo".parse().unwrap();
    let full = store
        .append(tail(&agent, &site), written(&records), Vec::new(), 9)
        .await
        .unwrap_err();
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    assert!(full.to_string().starts_with("C104-store-full: "));
    let row = store.agent(&agent).await.unwrap().unwrap();
    assert_eq!(row.acknowledged, 0);
    assert!(store.agent_alarms(&agent).await.unwrap().is_empty());
    limit(1_000_000).await;
    store
        .append(tail(&agent, &site), written(&records), Vec::new(), 9)
        .await
        .unwrap();
    assert_eq!(store.events(&agent, "one", run).await.unwrap().len(), 2);
}

/// Decided or not: the same actions in the same order make the same of a stored rollout and of one in memory.
#[tokio::test]
async fn the_store_makes_of_an_action_what_a_rollout_in_memory_makes_of_it() {
    use crate::rollout::{Books, Unwinding};
    let (_folder, store) = store().await;
    for (agent, byte) in [
        ("oslo-A", 1),
        ("oslo-B", 2),
        ("bergen-A", 3),
        ("bergen-B", 4),
    ] {
        enrolled(&store, agent, byte).await;
    }
    let id = rollout(&store, &["oslo", "bergen"]).await;
    let mut random = fastrand::Rng::with_seed(1);
    let mut here = store.rollout(id).await.unwrap().unwrap();
    let mut books = Books {
        held: BTreeMap::new(),
        minted: store.minted().await.unwrap(),
    };
    let phases = [
        RunPhase::Running,
        RunPhase::Unwinding,
        RunPhase::NeedsPerson,
        RunPhase::Succeeded,
        RunPhase::Failed,
    ];
    for at in 0..300 {
        let run = &here.runs[random.usize(..2)];
        let (id_of_run, servers) = (run.id, run.parts.keys().cloned().collect::<Vec<_>>());
        let server = servers[random.usize(..servers.len())].clone();
        let action = match random.u8(..7) {
            0 if run.phase == RunPhase::Waiting => Action::Assign { run: id_of_run },
            0 | 1 => Action::Advance {
                run: id_of_run,
                server,
                through: random.u32(..5),
            },
            2 => Action::Unwind {
                run: id_of_run,
                server,
                order: Unwinding {
                    down_to: random.u32(..5),
                    last: random.bool(),
                },
            },
            3 if run.phase != RunPhase::Waiting => Action::Enter {
                run: id_of_run,
                phase: phases[random.usize(..phases.len())],
                why: format!("why {at}"),
            },
            4 => Action::Turn {
                state: [
                    RolloutState::Running,
                    RolloutState::Halted,
                    RolloutState::Paused,
                ][random.usize(..3)],
                why: format!("why {at}"),
                cause: [Cause::None, Cause::Failures, Cause::Drift][random.usize(..3)],
            },
            5 => Action::EndWave { wave: here.wave },
            _ => Action::BeginWave {
                wave: random.u32(..=here.wave + 1),
            },
        };
        let stored = store.rollout(id).await.unwrap().unwrap();
        let actions = [action];
        let there = store.carry_out(&stored, &actions, at).await;
        let mine = here.carry_out(&mut books, &actions, at);
        assert_eq!(there.ok(), mine.ok(), "{actions:?}");
        assert_eq!(
            store.rollout(id).await.unwrap().unwrap(),
            here,
            "{actions:?}"
        );
        assert_eq!(*store.locks().await.unwrap(), books.locks(), "{actions:?}");
        assert_eq!(store.minted().await.unwrap(), books.minted, "{actions:?}");
    }
}
