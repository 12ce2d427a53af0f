//! The audit trail in the store: never changed, never forked, and with what it tells of.

use mailmend_proto::wire;
use mailmend_proto::wire::trail_item::What;
use prost::Message as _;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use super::*;
use crate::store::trail::{Actor, Deed};
use crate::trail::Head;
use crate::trail::verify::{Finding, Trail};

/// The whole trail, verified.
async fn verified(store: &Store) -> Result<Trail, Finding> {
    let mut trail = Trail::default();
    loop {
        let rows = store.trail_after(trail.head().seq).await.unwrap();
        if rows.is_empty() {
            return Ok(trail);
        }
        for row in rows {
            let says = Head {
                seq: row.entry.seq,
                hash: row.hash.try_into().unwrap(),
            };
            trail.entry(&row.entry, &row.entry.encode_to_vec(), says)?;
        }
    }
}

async fn kinds(store: &Store) -> Vec<String> {
    let rows = store.trail(&TrailFilter::default(), 1000).await.unwrap();
    rows.into_iter().map(|row| row.entry.kind).collect()
}

/// A door into the file that knows nothing of mailmend.
async fn behind(store: &Store) -> SqliteConnection {
    let path = format!("sqlite://{}", store.path().display());
    SqliteConnection::connect(&path).await.unwrap()
}

async fn run(database: &mut SqliteConnection, sql: &str) -> Result<(), sqlx::Error> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    done.execute(database).await.map(drop)
}

fn deed() -> Deed<'static> {
    Deed {
        at_ms: 1,
        actor: Actor::Controller,
        kind: "test",
        target: "x",
        why: "",
    }
}

#[tokio::test]
async fn what_is_done_stands_in_the_trail_with_who_did_it_and_what_it_allows() {
    let (_folder, store) = store().await;
    enrolled(&store, "oslo-A", 1).await;
    let id = rollout(&store, &["oslo"]).await;
    let loaded = store.rollout(id).await.unwrap().unwrap();
    let run = loaded.runs[0].id;
    let actions = [
        Action::Assign { run },
        Action::Advance {
            run,
            server: name("oslo-A"),
            through: 1,
        },
    ];
    store.carry_out(&loaded, &actions, 9).await.unwrap();
    assert_eq!(
        kinds(&store).await,
        [
            "begin-trail",
            "create-token",
            "issue-certificate",
            "publish-policy",
            "start-rollout",
            "decide"
        ]
    );
    let trail = verified(&store).await.unwrap();
    assert_eq!(trail.head(), store.trail_head().await.unwrap());
    let rows = store.trail_of(&id.to_string()).await.unwrap();
    assert_eq!(
        (rows[0].entry.actor.as_str(), rows[0].entry.at_ms),
        ("mailmend", 9)
    );
    let allowed = crate::trail::item::decoded(&rows[0].entry.detail).unwrap();
    let expected = What::Advanced(wire::TrailAdvanced {
        run: run.to_string(),
        agent: "oslo-A".into(),
        fence: 1,
        through: 1,
    });
    assert_eq!(allowed[1], expected);
    let of_admin = TrailFilter {
        actor: Some("admin".into()),
        kind: Some("publish-policy".into()),
        ..TrailFilter::default()
    };
    let rows = store.trail(&of_admin, 10).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].entry.role, "admin");
}

#[tokio::test]
async fn the_database_itself_refuses_to_change_or_remove_an_entry() {
    let (_folder, store) = store().await;
    store.note_change(&change()).await.unwrap();
    let mut database = behind(&store).await;
    for sql in [
        "UPDATE audit SET why = 'x' WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 2",
        "INSERT OR REPLACE INTO audit SELECT 2, at_ms, actor, role, kind, target, 'x', detail, hash FROM audit WHERE seq = 2",
        "INSERT INTO audit SELECT 4, at_ms, actor, role, kind, target, why, detail, hash FROM audit WHERE seq = 2",
    ] {
        let refused = run(&mut database, sql).await.unwrap_err();
        assert!(
            refused.to_string().contains("only ever appended to"),
            "{sql}: {refused}"
        );
    }
    assert_eq!(verified(&store).await.unwrap().head().seq, 2);
}

#[tokio::test]
async fn an_entry_that_was_changed_past_the_triggers_is_found() {
    let (_folder, store) = store().await;
    for _ in 0..3 {
        store.note_change(&change()).await.unwrap();
    }
    let mut database = behind(&store).await;
    run(
        &mut database,
        "DROP TRIGGER audit_is_never_changed; UPDATE audit SET actor = 'eve' WHERE seq = 3",
    )
    .await
    .unwrap();
    let found = verified(&store).await.unwrap_err();
    assert_eq!(found.place, "entry 3 of the trail");
}

#[tokio::test]
async fn a_write_that_is_given_up_leaves_no_gap_and_no_second_branch() {
    let (_folder, store) = store().await;
    store.note_change(&change()).await.unwrap();
    let before = store.trail_head().await.unwrap();
    // It died after the entry and before the act was durable: neither is there.
    let mut write = store.write().await.unwrap();
    store
        .write_entry(&mut write, deed(), Vec::new())
        .await
        .unwrap();
    assert_eq!(store.trail_head().await.unwrap(), before);
    drop(write);
    assert_eq!(store.trail_head().await.unwrap(), before);
    store.note_change(&change()).await.unwrap();
    assert_eq!(verified(&store).await.unwrap().head().seq, before.seq + 1);
    // The same when it dies as a whole.
    let mut write = store.write().await.unwrap();
    store
        .write_entry(&mut write, deed(), Vec::new())
        .await
        .unwrap();
    drop(write);
    let path = store.path().to_owned();
    store.close().await;
    let store = Store::open(&path).await.unwrap();
    store.note_change(&change()).await.unwrap();
    assert_eq!(verified(&store).await.unwrap().head().seq, before.seq + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn operators_who_act_at_once_make_one_chain() {
    let (_folder, store) = store().await;
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0..25 {
                    if number % 5 == task % 5 {
                        // One that gives up in the middle.
                        let mut write = store.write().await.unwrap();
                        let entry = store.write_entry(&mut write, deed(), Vec::new());
                        entry.await.unwrap();
                        continue;
                    }
                    store.note_change(&change()).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let trail = verified(&store).await.unwrap();
    assert_eq!(trail.head().seq, 1 + 8 * 20);
    assert_eq!(trail.head(), store.trail_head().await.unwrap());
}

#[tokio::test]
async fn what_was_noted_before_there_was_a_trail_is_copied_into_it_once() {
    let (_folder, store) = store().await;
    let mut database = behind(&store).await;
    // As a store of an older version is after its migration.
    run(
        &mut database,
        "DROP TRIGGER audit_is_never_removed; DELETE FROM audit;
         INSERT INTO changes (at_ms, operator, what, target, why) VALUES
           (5, 'admin', 'bind-policy', 'p', 'auto'), (6, 'gone', 'abort-rollout', 'r', 'why')",
    )
    .await
    .unwrap();
    let path = store.path().to_owned();
    store.close().await;
    for _ in 0..2 {
        let store = Store::open(&path).await.unwrap();
        assert_eq!(verified(&store).await.unwrap().head().seq, 3);
        assert_eq!(
            kinds(&store).await,
            ["begin-trail", "bind-policy", "abort-rollout"]
        );
        let rows = store.trail_after(0).await.unwrap();
        let begun = crate::trail::item::decoded(&rows[0].entry.detail).unwrap();
        assert!(matches!(&begun[0], What::Begun(one) if one.copied == 2));
        assert_eq!(
            (rows[1].entry.role.as_str(), rows[1].entry.at_ms),
            ("admin", 5)
        );
        assert_eq!(store.changes().await.unwrap().len(), 2);
        store.close().await;
    }
}

#[tokio::test]
async fn a_trail_that_begins_in_the_middle_of_a_run_takes_over_what_was_allowed_and_stored() {
    let (_folder, store) = store().await;
    let id = rollout(&store, &["oslo"]).await;
    let loaded = store.rollout(id).await.unwrap().unwrap();
    let run_id = loaded.runs[0].id;
    let actions = [
        Action::Assign { run: run_id },
        Action::Advance {
            run: run_id,
            server: name("oslo-A"),
            through: 1,
        },
    ];
    store.carry_out(&loaded, &actions, 9).await.unwrap();
    let mut database = behind(&store).await;
    run(
        &mut database,
        "DROP TRIGGER audit_is_never_removed; DELETE FROM audit;
         INSERT INTO records (agent, journal, seq, run, kind, at_ms, stored_ms, record)
           VALUES ('oslo-A', 'one', 1, 'r', 'alarm', 1, 1, x'00'), ('oslo-A', 'one', 2, 'r', 'alarm', 1, 1, x'00')",
    )
    .await
    .unwrap();
    let path = store.path().to_owned();
    store.close().await;
    let store = Store::open(&path).await.unwrap();
    assert_eq!(kinds(&store).await, ["begin-trail", "carry-over"]);
    let rows = store.trail_after(1).await.unwrap();
    let carried = crate::trail::item::decoded(&rows[0].entry.detail).unwrap();
    let told: Vec<String> = carried.iter().map(crate::trail::item::told).collect();
    assert_eq!(
        told,
        [
            "the journal one of oslo-A was stored up to 2 before".to_owned(),
            format!("run {run_id} may be taken on by oslo-A with fence 1"),
            format!("oslo-A may go on in run {run_id} below step 1 with fence 1"),
            format!("run {run_id} may be taken on by oslo-B with fence 1"),
            format!("oslo-B may go on in run {run_id} below step 0 with fence 1"),
        ]
    );
    verified(&store).await.unwrap();
}

#[tokio::test]
async fn a_rollout_is_told_as_it_stood_at_each_of_its_entries() {
    let (_folder, store) = store().await;
    let id = rollout(&store, &["oslo", "bergen"]).await;
    let mut stood = Vec::new();
    let paused = Changed {
        state: RolloutState::Paused,
        cause: Cause::Person,
        accepted_failures: 3,
        accepted_gate: Some(0),
    };
    for step in 0..5_i64 {
        let now = store.rollout(id).await.unwrap().unwrap();
        stood.push(now.clone());
        let (run, at_ms) = (now.runs[0].id, 10 + step);
        let actions = match step {
            0 => vec![Action::Assign { run }],
            1 => vec![
                Action::Advance {
                    run,
                    server: name("oslo-A"),
                    through: 1,
                },
                Action::Enter {
                    run,
                    phase: RunPhase::Running,
                    why: String::new(),
                },
            ],
            2 => {
                let change = Change {
                    at_ms,
                    target: id.to_string(),
                    why: "lunch".into(),
                    ..change()
                };
                store
                    .change_rollout(id, now.revision, &paused, &change)
                    .await
                    .unwrap();
                continue;
            }
            3 => vec![
                Action::Unwind {
                    run,
                    server: name("oslo-A"),
                    order: crate::rollout::Unwinding {
                        down_to: 0,
                        last: true,
                    },
                },
                Action::Enter {
                    run,
                    phase: RunPhase::Failed,
                    why: "it broke".into(),
                },
                Action::EndWave { wave: 0 },
            ],
            _ => vec![
                Action::BeginWave { wave: 1 },
                Action::Turn {
                    state: RolloutState::Failed,
                    why: "over".into(),
                    cause: Cause::None,
                },
            ],
        };
        store.carry_out(&now, &actions, at_ms).await.unwrap();
    }
    let now = store.rollout(id).await.unwrap().unwrap();
    stood.push(now.clone());
    let mut entries = store.trail_of(&id.to_string()).await.unwrap();
    // The start of these tests says another target: its item is what counts.
    let start = TrailFilter {
        kind: Some("start-rollout".into()),
        ..TrailFilter::default()
    };
    let start = store.trail(&start, 100).await.unwrap();
    entries.retain(|row| row.entry.at_ms >= 10);
    let past = |count: usize| {
        let entries: Vec<_> = start[..1]
            .iter()
            .chain(&entries[..count])
            .cloned()
            .collect();
        crate::trail::past::rollout(&now, &entries).unwrap()
    };
    for (count, stood) in stood.iter().enumerate() {
        assert_eq!(past(count).as_ref(), Some(stood), "after {count} entries");
    }
    assert_eq!(
        crate::trail::past::rollout(&now, &entries).unwrap(),
        None,
        "without its start nothing is known"
    );
}
