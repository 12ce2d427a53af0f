//! Waves through the whole controller: with a gate that its agents answer, and killed at every point.

use super::*;
use crate::rollout::Cause;
use crate::store::Changed;

const SERVERS: [(&str, &str); 4] = [
    ("oslo", "EXA1"),
    ("oslo", "EXB1"),
    ("rome", "EXA2"),
    ("rome", "EXB2"),
];

const IN_WAVES: &[u8] = b"waves = [\"1 site\", \"100%\"]\ngate = \"health\"\nsites_at_once = 2\n";

fn names() -> Vec<&'static str> {
    SERVERS.iter().map(|(_, name)| *name).collect()
}

/// Runs a rollout of two waves, killing the controller at the `kill`-th point, twice. Answers whether it
/// was killed at all.
async fn with_a_death_at(kill: usize) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("controller.db");
    let site = Site::of(&names(), &all_done());
    let mut deaths = 0;
    loop {
        let store = open(&path).await;
        if deaths == 0 {
            enrolled(&store, &SERVERS).await;
        }
        let points = AtomicUsize::new(0);
        let mortal = deaths < 2;
        let killer: Killer =
            Arc::new(move |_| mortal && points.fetch_add(1, Ordering::SeqCst) == kill);
        let controller = Controller::start_mortal(store, Clock::of(|| 1000), killer);
        site.controller.send_replace(Some(controller.clone()));
        if deaths == 0 {
            all_connected(&controller, SERVERS.len()).await;
        }
        let id = start_over(&controller, 1, "site", IN_WAVES).await;
        let ended = tokio::select! {
            ended = until(&controller, id, |rollout| rollout.state.is_final()) => Some(ended),
            () = controller.stopping().cancelled() => None,
        };
        site.controller.send_replace(None);
        let Some(ended) = ended else {
            controller.stop().await;
            drop(controller);
            deaths += 1;
            continue;
        };
        assert_eq!(
            (ended.state, ended.wave),
            (RolloutState::Succeeded, 1),
            "killed at {kill}: {}",
            ended.why
        );
        // The first wave had ended before anything of the second began.
        let fences: Vec<Option<u64>> = ended.runs.iter().map(|run| run.fence).collect();
        assert_eq!(fences, [Some(1), Some(2)], "killed at {kill}");
        for agent in &site.agents {
            let mut begun = BTreeSet::new();
            for record in &agent.lock().unwrap().journal {
                if let Event::StepIntended { step, .. } = record.event {
                    assert!(begun.insert(step), "killed at {kill}: {step} began twice");
                }
            }
        }
        assert!(controller.store().locks().await.unwrap().is_empty());
        controller.stop().await;
        return deaths > 0;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waves_go_on_to_their_end_wherever_the_controller_is_killed_twice() {
    let mut kill = 0;
    while with_a_death_at(kill).await {
        kill += 1;
    }
    assert!(kill > 20, "{kill} points");
}

#[tokio::test]
async fn the_second_wave_waits_for_the_gate_and_an_alarm_halts_it_until_a_person_accepts() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("controller.db")).await;
    enrolled(&store, &SERVERS).await;
    let time = Arc::new(std::sync::atomic::AtomicI64::new(1000));
    let now = time.clone();
    let site = Site::of(&names(), &all_done());
    let controller = Controller::start(store, Clock::of(move || now.load(Ordering::SeqCst)));
    site.controller.send_replace(Some(controller.clone()));
    all_connected(&controller, SERVERS.len()).await;
    let strategy = [IN_WAVES, b"soak = \"1h\"\n"].concat();
    let id = start_over(&controller, 1, "site", &strategy).await;
    let soaking = until(&controller, id, |rollout| rollout.wave_ended_ms.is_some()).await;
    assert_eq!(soaking.runs[1].phase, RunPhase::Waiting, "it soaks");

    // An alarm in the soak: heard after the run ended.
    time.store(2000, Ordering::SeqCst);
    let relay: ServerName = "EXA1".parse().unwrap();
    let store = controller.store();
    store
        .raise_alarm(&relay, "A000-test", "it does not start", 2000)
        .await
        .unwrap();
    time.store(1000 + 3_600_000, Ordering::SeqCst);
    controller.changed();
    let halted = until(&controller, id, |rollout| {
        rollout.state != RolloutState::Running
    })
    .await;
    assert_eq!(halted.state, RolloutState::Halted, "{}", halted.why);
    assert!(
        halted.why.contains("`EXA1`") && halted.why.contains("it does not start"),
        "{}",
        halted.why
    );
    assert_eq!(halted.cause, Cause::Gate);

    let resumed = Changed {
        state: RolloutState::Running,
        cause: Cause::None,
        accepted_failures: 0,
        accepted_gate: Some(0),
    };
    let change = Change {
        at_ms: 3000,
        operator: "ada".into(),
        what: "resume-rollout".into(),
        target: id.to_string(),
        why: "the disk is replaced".into(),
    };
    store
        .change_rollout(id, halted.revision, &resumed, &change)
        .await
        .unwrap();
    controller.changed();
    let second = until(&controller, id, |rollout| {
        rollout.wave == 1 && rollout.wave_ended_ms.is_some()
    })
    .await;
    assert!(second.accepted.contains(&0));
    // That alarm stands before the gate of the last wave too, of which nobody has spoken.
    time.store(3 * 3_600_000, Ordering::SeqCst);
    controller.changed();
    let ended = until(&controller, id, |rollout| rollout.state.is_final()).await;
    assert_eq!(ended.state, RolloutState::Failed);
    assert!(ended.why.contains("the last wave"), "{}", ended.why);
    controller.stop().await;
}

#[tokio::test]
async fn the_agents_of_a_gated_rollout_look_for_its_symptom_until_it_ends_and_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("controller.db")).await;
    enrolled(&store, &SERVERS).await;
    let controller = Controller::start(store, Clock::of(|| 1000));
    let store = controller.store();
    for (_, name) in SERVERS {
        let agent = SimulatedAgent::new(name, all_done());
        let from_agent::Message::Hello(hello) = hello(&agent) else {
            unreachable!()
        };
        let greeting = Greeting {
            version: hello.agent_version,
            journal: hello.journal,
            head: 0,
            highest_fence: 0,
            facts: hello.facts.into_iter().collect(),
            actions: hello.actions.into_iter().collect(),
        };
        let name: ServerName = name.parse().unwrap();
        store.greet(&name, &greeting, 1000).await.unwrap().unwrap();
    }
    let watched = async |name: &str| {
        let name: ServerName = name.parse().unwrap();
        let (store, revisions) = (controller.store(), controller.revisions());
        let outlook = store.outlook().await.unwrap();
        let mut looking = crate::watches::Looking::default();
        let watches = looking.news(store, revisions, &outlook, &name);
        watches.await.unwrap().map_or(0, |now| now.watches.len())
    };
    assert_eq!(watched("EXB1").await, 0, "nothing is bound");
    let ungated = start_over(&controller, 2, "site", b"waves = [\"1 site\", \"100%\"]\n").await;
    assert_eq!(watched("EXB1").await, 0, "no gate asks");
    let id = start_over(&controller, 1, "site", IN_WAVES).await;
    assert_ne!(id, ungated);
    assert_eq!(watched("EXB1").await, 1);
    assert_eq!(watched("EXA1").await, 0, "it does not judge the symptom");
    let rollout = store.rollout(id).await.unwrap().unwrap();
    let aborted = Changed {
        state: RolloutState::Aborting,
        cause: Cause::Person,
        accepted_failures: 0,
        accepted_gate: None,
    };
    let change = Change {
        at_ms: 1,
        operator: "ada".into(),
        what: "abort".into(),
        target: String::new(),
        why: String::new(),
    };
    store
        .change_rollout(id, rollout.revision, &aborted, &change)
        .await
        .unwrap();
    controller.changed();
    until(&controller, id, |rollout| rollout.state.is_final()).await;
    assert_eq!(watched("EXB1").await, 0);
    controller.stop().await;
}
