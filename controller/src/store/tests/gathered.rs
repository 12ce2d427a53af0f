//! What many say at once is stored as if each had said it alone, and what is kept of rollouts is what is stored.

use tokio::task::JoinSet;

use super::*;
use crate::react::Effect;
use crate::rollout::Rollout;

const AGENTS: usize = 40;

fn admitted(run: &crate::rollout::Run) -> Event {
    Event::Admitted {
        fence: run.fence.unwrap(),
        plan: run.plan.digest(),
        policy: Digest::of(b"text"),
        assignment: vec![1, 2, 3],
    }
}

fn told(events: &[Event]) -> Told {
    let mut state = RunState::default();
    let mut told = Told::default();
    for event in events {
        state = state.after(event).unwrap();
        told = told.after(&state, event);
    }
    told
}

/// What an agent of each site reports of its run: taken on, or begun and closed again.
fn report(run: &crate::rollout::Run, number: usize) -> Vec<Event> {
    let fence = run.fence.unwrap();
    let mut events = vec![admitted(run)];
    if number.is_multiple_of(3) {
        events.push(Event::UnwindOrdered {
            fence,
            down_to: 0,
            last: true,
        });
        events.push(Event::Closed {
            how: mailmend_proto::run::Ended::Unwound,
            detail: "as told".into(),
        });
    }
    events
}

/// A store with a rollout over many sites whose runs are all assigned, and their agents greeted.
async fn begun() -> (tempfile::TempDir, Store, RolloutId) {
    let (folder, store) = store().await;
    let sites: Vec<String> = (0..AGENTS).map(|number| format!("s{number}")).collect();
    let sites: Vec<&str> = sites.iter().map(String::as_str).collect();
    for (number, site) in sites.iter().enumerate() {
        let byte = u8::try_from(number).unwrap();
        let name: ServerName = format!("{site}-A").parse().unwrap();
        let token = NewToken {
            site: site.parse().unwrap(),
            ..token(byte, name.as_str())
        };
        store.create_token(&token).await.unwrap();
        store
            .take_token(&[byte; 32], &name, &NewCertificate::default(), 5)
            .await
            .unwrap()
            .unwrap();
    }
    let id = rollout(&store, &sites).await;
    let whole = store.rollout(id).await.unwrap().unwrap();
    let assign = whole.runs.iter().map(|run| Action::Assign { run: run.id });
    let actions: Vec<Action> = assign.collect();
    store.carry_out(&whole, &actions, 8).await.unwrap();
    (folder, store, id)
}

async fn greeted(store: &Store) {
    let mut all = JoinSet::new();
    for number in 0..AGENTS {
        let store = store.clone();
        all.spawn(async move {
            let name = name(&format!("s{number}-A"));
            store.greet(&name, &greeting("one", 9), 9).await.unwrap()
        });
    }
    let mut names: Vec<String> = Vec::new();
    while let Some(agent) = all.join_next().await {
        let agent = agent.unwrap().unwrap();
        assert_eq!((agent.head, agent.journal.as_str()), (9, "one"));
        names.push(agent.name.to_string());
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), AGENTS, "each has its own answer");
}

/// All that the store says of it.
async fn everything(store: &Store, id: RolloutId) -> String {
    let rollout = store.rollout(id).await.unwrap().unwrap();
    let mut text = String::new();
    for run in &rollout.runs {
        text += &format!("{:?} {:?}\n", run.phase, run.parts);
        text += &format!("{:?}\n", store.run_records(run.id).await.unwrap());
        for agent in run.parts.keys() {
            let events = store.events(agent, "one", run.id).await.unwrap();
            text += &format!("{events:?}\n");
        }
    }
    for agent in store.agents().await.unwrap() {
        text += &format!("{} {} {}\n", agent.name, agent.acknowledged, agent.head);
    }
    let runs: Vec<String> = rollout.runs.iter().map(|run| run.id.to_string()).collect();
    // Runs are made with ids of their own: only their order is compared.
    for (number, run) in runs.iter().enumerate() {
        text = text.replace(run, &format!("run {number}"));
    }
    text + &format!(
        "{:?}",
        store.locks().await.unwrap().keys().collect::<Vec<_>>()
    )
}

async fn reported(store: &Store, id: RolloutId, together: bool) {
    let rollout = store.rollout(id).await.unwrap().unwrap();
    let mut all = JoinSet::new();
    for (number, run) in rollout.runs.into_iter().enumerate() {
        let store = store.clone();
        let one = async move {
            let agent = name(&format!("s{number}-A"));
            let events = report(&run, number);
            let seqs = 1..=events.len() as u64;
            let records: Vec<Record> = seqs
                .zip(&events)
                .map(|(seq, event)| record(seq, run.id, event.clone()))
                .collect();
            let stored = [StoredRun {
                run: run.id,
                told: told(&events),
            }];
            let tail = tail(&agent, &run.site);
            if together {
                store
                    .append(tail, written(&records), stored.to_vec(), 10)
                    .await
                    .unwrap();
            } else {
                let records = written(&records);
                let alone = store.append_alone(tail, &records, &stored, 10);
                alone.await.unwrap();
            }
        };
        if together {
            all.spawn(one);
        } else {
            one.await;
        }
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn what_many_say_at_once_is_stored_as_if_each_had_said_it_alone() {
    let mut found = Vec::new();
    for together in [false, true] {
        let (_folder, store, id) = begun().await;
        greeted(&store).await;
        reported(&store, id, together).await;
        assert_eq!(store.held.gathered.apart(), 0, "together, not one by one");
        found.push(everything(&store, id).await);
    }
    assert!(found[0].contains("Unwound"), "{}", found[0]);
    assert_eq!(found[0], found[1]);
}

#[tokio::test]
async fn one_agents_trouble_is_no_others() {
    let (_folder, store, id) = begun().await;
    greeted(&store).await;
    let rollout = store.rollout(id).await.unwrap().unwrap();
    let mut all = JoinSet::new();
    for (number, run) in rollout.runs.into_iter().enumerate() {
        let store = store.clone();
        all.spawn(async move {
            let agent = name(&format!("s{number}-A"));
            let events = [admitted(&run)];
            let records = [record(1, run.id, events[0].clone())];
            let stored = [StoredRun {
                run: run.id,
                told: told(&events),
            }];
            let mut tail = tail(&agent, &run.site);
            // This one's journal is not where it says it is.
            if number == 7 {
                tail.after = 5;
            }
            (
                number,
                store
                    .append(tail, written(&records), stored.to_vec(), 10)
                    .await,
            )
        });
    }
    while let Some(done) = all.join_next().await {
        let (number, stored) = done.unwrap();
        match stored {
            Err(StoreError::Changed(agent)) => assert_eq!((number, agent.as_str()), (7, "s7-A")),
            other => assert!(number != 7 && other.is_ok(), "{number}: {other:?}"),
        }
    }
    assert!(store.held.gathered.apart() > 0);
    for agent in store.agents().await.unwrap() {
        let stored = u64::from(agent.name.as_str() != "s7-A");
        assert_eq!(agent.acknowledged, stored, "{}", agent.name);
    }
}

async fn id_of(store: &Store, rollout: RolloutId, run: usize) -> RunId {
    store.rollout(rollout).await.unwrap().unwrap().runs[run].id
}

#[tokio::test]
async fn what_is_kept_of_rollouts_is_what_is_stored() {
    let (_folder, store, id) = begun().await;
    let whole = store.rollout(id).await.unwrap().unwrap();
    let bound = crate::react::Binding {
        policy: whole.policy.clone(),
        version: whole.version,
        selector: String::new(),
        answer: crate::react::Answer::Observe,
        throttle: crate::react::Throttle::default(),
        bound_ms: 1,
        by: "op".into(),
    };
    store.bind(&bound, &change()).await.unwrap();
    let same = async |what: &str| {
        let kept = store.at_work().await.unwrap();
        let kept: Vec<&Rollout> = kept.iter().map(AsRef::as_ref).collect();
        let stored = store.open_rollouts().await.unwrap();
        assert_eq!(kept, stored.iter().collect::<Vec<_>>(), "after {what}");
        let locks = store.read_locks().await.unwrap();
        assert_eq!(*store.locks().await.unwrap(), locks, "after {what}");
        let history = store.read_history(1).await.unwrap();
        assert_eq!(history.len(), AGENTS);
        assert_eq!(*store.history(1).await.unwrap(), history, "after {what}");
    };
    same("it was begun").await;
    greeted(&store).await;
    reported(&store, id, true).await;
    same("reports").await;
    let judged = [(id_of(&store, id, 5).await, Effect::CameBack, "it stands")];
    store.keep_effects(&judged, 7).await.unwrap();
    same("an effect").await;
    let whole = store.at_work().await.unwrap().pop().unwrap();
    assert!(whole.runs[0].parts[&name("s0-A")].told.closed.is_some());
    // As if an older commit were noted after a newer one.
    let old = Told {
        heard_ms: -1,
        ..Told::default()
    };
    let words = vec![(whole.runs[0].id, name("s0-A"), old)];
    store.held.marks.note(Touched::Words(words));
    same("an old word").await;
    let run = whole.runs[1].id;
    let server = name("s1-A");
    let through = 1;
    let enter = Action::Enter {
        run: whole.runs[2].id,
        phase: RunPhase::Running,
        why: "x".into(),
    };
    let advance = Action::Advance {
        run,
        server: server.clone(),
        through,
    };
    store
        .carry_out(&whole, &[enter, advance], 11)
        .await
        .unwrap();
    drop(whole);
    same("a decision").await;
    let refusal = Refusal {
        code: "A040".into(),
        why: "no".into(),
    };
    store
        .refuse(run, &name("s1-B"), &refusal, 12)
        .await
        .unwrap();
    same("a refusal").await;
    let lost = store.greet(&server, &greeting("two", 0), 12).await.unwrap();
    assert!(lost.is_err(), "nobody enrolled it again");
    same("a clone").await;
    // Enrolled again, it comes with another journal: what it was at is lost.
    store.create_token(&token(250, "s1-A")).await.unwrap();
    store
        .take_token(&[250; 32], &server, &NewCertificate::default(), 13)
        .await
        .unwrap()
        .unwrap();
    store
        .greet(&server, &greeting("two", 0), 14)
        .await
        .unwrap()
        .unwrap();
    same("another journal").await;
    assert!(store.open_rollouts().await.unwrap()[0].runs[1].parts[&server].lost);
    let revision = store.open_rollouts().await.unwrap()[0].revision;
    let paused = Changed {
        state: RolloutState::Paused,
        cause: Cause::Person,
        accepted_failures: 0,
        accepted_gate: None,
    };
    store
        .change_rollout(id, revision, &paused, &change())
        .await
        .unwrap();
    same("a pause").await;
    let turn = Action::Turn {
        state: RolloutState::Failed,
        why: "over".into(),
        cause: Cause::None,
    };
    let whole = store.one_at_work(id).await.unwrap().unwrap();
    store.carry_out(&whole, &[turn], 15).await.unwrap();
    drop(whole);
    same("its end").await;
    assert!(store.at_work().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_could_not_be_committed_is_not_kept() {
    let (_folder, store, id) = begun().await;
    greeted(&store).await;
    let kept = store.one_at_work(id).await.unwrap().unwrap();
    let word = (
        kept.runs[3].id,
        name("s3-A"),
        told(&report(&kept.runs[3], 3)),
    );
    drop(kept);
    let mut write = store.write().await.unwrap();
    // Asserted only by the commit, which fails of it.
    sqlx::raw_sql(
        "PRAGMA defer_foreign_keys = ON; INSERT INTO parts (run, agent) VALUES ('none', 's3-A')",
    )
    .execute(&mut *write)
    .await
    .unwrap();
    let words = Touched::Words(vec![word]);
    assert!(store.commit_of(write, words).await.is_err());
    let kept = store.one_at_work(id).await.unwrap().unwrap();
    assert_eq!(*kept, store.open_rollouts().await.unwrap()[0]);
    assert!(kept.runs[3].parts[&name("s3-A")].told.closed.is_none());
    reported(&store, id, true).await;
}

#[tokio::test]
async fn sites_and_former_runs_are_read_again_when_a_part_has_ended_and_not_for_its_steps() {
    let (_folder, store, id) = begun().await;
    greeted(&store).await;
    let run = store.rollout(id).await.unwrap().unwrap().runs[3].clone();
    let agent = name("s3-A");
    let read = async || {
        (
            store.locks().await.unwrap(),
            store.history(1).await.unwrap(),
        )
    };
    let word = |told: Told| Touched::Words(vec![(run.id, agent.clone(), told)]);
    let before = read().await;
    let begun = told(&[admitted(&run)]);
    assert!(begun.closed.is_none());
    store.held.marks.note(word(begun));
    let after = read().await;
    assert!(Arc::ptr_eq(&before.0, &after.0) && Arc::ptr_eq(&before.1, &after.1));
    store.held.marks.note(word(told(&report(&run, 3))));
    let after = read().await;
    assert!(!Arc::ptr_eq(&before.0, &after.0) && !Arc::ptr_eq(&before.1, &after.1));
}

#[tokio::test]
async fn an_outlook_is_read_again_when_something_was_decided_and_not_for_reports() {
    let (_folder, store, id) = begun().await;
    greeted(&store).await;
    let first = store.outlook().await.unwrap();
    reported(&store, id, true).await;
    let second = store.outlook().await.unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    let hand = crate::react::InHand {
        by: "ada".into(),
        why: "look".into(),
        since_ms: 1,
    };
    store
        .set_in_hand(&name("s1-A"), Some(&hand), &change())
        .await
        .unwrap();
    let third = store.outlook().await.unwrap();
    assert!(third.in_hand.contains(&name("s1-A")));
}
