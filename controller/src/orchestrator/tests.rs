//! The whole controller, on a store on disk, with agents that talk to it as over the wire.

mod trail;
mod waves;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_policy::parse::parse;
use mailmend_policy::plan::{Plan, plan};
use mailmend_policy::source::PolicySource;
use mailmend_proto::convert::{record_to_wire, run_from_wire, server_from_wire};
use mailmend_proto::run::{Event, Outcome, RunId};
use mailmend_proto::wire::{self, from_agent, to_agent};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use uuid::Uuid;

use super::*;
use crate::planning::{Overrides, planned};
use crate::react::{Answer, Binding, InHand, Proposal, Throttle};
use crate::rollout::{RolloutId, RolloutState, RunPhase, Unwinding};
use crate::server::agents::serve_session;
use crate::sessions::AGAIN;
use crate::simulated_agent::{Ends, SimulatedAgent};
use crate::store::{
    AgentRow, Change, Greeting, NewRollout, NewRun, NewToken, PolicyRow, ReactionStart,
};

const POLICY: &str = include_str!("../../../policies/library/stuck-outbound-routing.toml");
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn all_done() -> Ends {
    Arc::new(|_, _, _| Outcome::Done)
}

/// Two servers and their agents, whichever controller is there now.
struct Site {
    agents: Vec<Arc<Mutex<SimulatedAgent>>>,
    controller: watch::Sender<Option<Controller>>,
}

impl Site {
    fn new(ends: &Ends) -> Self {
        Self::of(&["EXA1", "EXB1"], ends)
    }

    fn of(names: &[&str], ends: &Ends) -> Self {
        let agent = |name: &&str| Arc::new(Mutex::new(SimulatedAgent::new(name, ends.clone())));
        let site = Self {
            agents: names.iter().map(agent).collect(),
            controller: watch::Sender::new(None),
        };
        for agent in &site.agents {
            tokio::spawn(live(agent.clone(), site.controller.subscribe()));
        }
        site
    }

    /// How often each step was begun, over all agents.
    fn begun(&self) -> BTreeMap<u32, u32> {
        let mut begun = BTreeMap::new();
        for agent in &self.agents {
            for record in &agent.lock().unwrap().journal {
                if let Event::StepIntended { step, .. } = record.event {
                    *begun.entry(step).or_insert(0) += 1;
                }
            }
        }
        begun
    }
}

/// An agent's life: it connects to the controller that is there, and again when the stream ends.
async fn live(agent: Arc<Mutex<SimulatedAgent>>, mut there: watch::Receiver<Option<Controller>>) {
    loop {
        let Ok(controller) = there.wait_for(Option::is_some).await.map(|now| now.clone()) else {
            return;
        };
        let controller = controller.unwrap();
        if !controller.stopping().is_cancelled() {
            talk(&agent, &controller).await;
        }
        tokio::task::yield_now().await;
    }
}

fn say(message: from_agent::Message) -> Result<wire::FromAgent, Status> {
    Ok(wire::FromAgent {
        message: Some(message),
    })
}

fn hello(agent: &SimulatedAgent) -> from_agent::Message {
    let outbound = agent.name.as_str().starts_with("EXB");
    from_agent::Message::Hello(wire::Hello {
        agent_version: "0.1.0".into(),
        journal: journal(&agent.name),
        head: agent.journal.len() as u64,
        highest_fence: agent.highest_fence(),
        facts: [
            ("exchange.version", "5.5.2653"),
            ("ims.direction", if outbound { "outbound" } else { "both" }),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        actions: actions(),
        trust: None,
    })
}

fn actions() -> Vec<String> {
    let policy = parse(&PolicySource::new("policy", POLICY)).unwrap();
    policy
        .steps
        .iter()
        .map(|step| step.action.name().to_owned())
        .chain(["detect".to_owned()])
        .collect()
}

fn journal(name: &ServerName) -> String {
    let name: [u8; 4] = name.as_str().as_bytes().try_into().unwrap();
    Uuid::from_u128(u32::from_be_bytes(name).into()).to_string()
}

async fn talk(agent: &Arc<Mutex<SimulatedAgent>>, controller: &Controller) {
    let (up, incoming) = mpsc::channel(64);
    let (outgoing, mut down) = mpsc::channel(64);
    let name = agent.lock().unwrap().name.clone();
    let served = tokio::spawn(serve_session(
        controller.clone(),
        name,
        ReceiverStream::new(incoming),
        outgoing,
        AGAIN,
    ));
    let greeting = hello(&agent.lock().unwrap());
    let mut reported = None;
    let mut said = None;
    if up.send(say(greeting)).await.is_ok() {
        while let Some(Ok(message)) = down.recv().await {
            let answer = {
                let mut agent = agent.lock().unwrap();
                let answer = take(&mut agent, message, &mut reported);
                while agent.go_on().is_some() {}
                answer
            };
            if let Some(answer) = answer {
                drop(up.send(say(answer)).await);
            }
            let symptoms = symptoms(&agent.lock().unwrap());
            if reported.is_some() && said != Some(symptoms.clone()) {
                drop(
                    up.send(say(from_agent::Message::Symptoms(symptoms.clone())))
                        .await,
                );
                said = Some(symptoms);
            }
            // A few records a report, so that a death may come in the middle of most things.
            while let Some(report) = tail(&agent.lock().unwrap(), &mut reported) {
                if up.try_send(say(report)).is_err() {
                    break;
                }
            }
        }
    }
    drop(up);
    served.await.unwrap();
}

/// What the agent of Server B sees: the symptom, until it has carried a run out.
fn symptoms(agent: &SimulatedAgent) -> wire::Symptoms {
    let mended = agent.runs.values().any(|(_, state)| state.closed.is_some());
    let symptom = wire::Symptom {
        policy: "stuck-outbound-routing".into(),
        version: 1,
        digest: PolicySource::new("policy", POLICY)
            .digest()
            .as_bytes()
            .to_vec(),
        state: if mended {
            wire::SymptomState::Absent
        } else {
            wire::SymptomState::Stands
        }
        .into(),
        since_ms: 0,
        evidence: vec!["40 messages wait".into()],
        looked_ms: 600_000,
    };
    wire::Symptoms {
        symptoms: agent
            .name
            .as_str()
            .starts_with("EXB")
            .then_some(symptom)
            .into_iter()
            .collect(),
    }
}

fn tail(agent: &SimulatedAgent, reported: &mut Option<u64>) -> Option<from_agent::Message> {
    let after = (*reported)?;
    let records: Vec<_> = agent
        .journal
        .iter()
        .skip(usize::try_from(after).unwrap())
        .take(5)
        .map(record_to_wire)
        .collect();
    *reported = Some(after + records.len() as u64);
    (!records.is_empty()).then_some(from_agent::Message::Report(wire::Report { records }))
}

fn take(
    agent: &mut SimulatedAgent,
    message: wire::ToAgent,
    reported: &mut Option<u64>,
) -> Option<from_agent::Message> {
    match message.message.unwrap() {
        to_agent::Message::Welcome(welcome) => *reported = Some(welcome.acknowledged),
        // A person's word and the watching of symptoms are no part of a rollout.
        to_agent::Message::Order(_)
        | to_agent::Message::Watches(_)
        | to_agent::Message::Immunity(_)
        | to_agent::Message::Trust(_)
        | to_agent::Message::Audit(_) => {}
        to_agent::Message::Assignment(assignment) => {
            let run = run_from_wire(&assignment.run).unwrap();
            let admitted = agent.assign(run, assignment.fence, &planned_again(&assignment));
            return Some(from_agent::Message::Answer(wire::AssignmentAnswer {
                run: assignment.run,
                admitted,
                code: if admitted {
                    String::new()
                } else {
                    "A000-no".into()
                },
                why: "as told".into(),
            }));
        }
        to_agent::Message::Advance(wire::Advance {
            run,
            fence,
            through,
        }) => {
            agent.advance(run_from_wire(&run).unwrap(), fence, through);
        }
        to_agent::Message::Unwind(wire::Unwind {
            run,
            fence,
            down_to,
            last,
        }) => {
            agent.unwind(
                run_from_wire(&run).unwrap(),
                fence,
                Unwinding { down_to, last },
            );
        }
        to_agent::Message::Fence(_)
        | to_agent::Message::Acknowledge(_)
        | to_agent::Message::TrailHead(_) => {}
    }
    None
}

/// The plan as the agent makes it from what it was sent: it must be the one that was approved.
fn planned_again(assignment: &wire::Assignment) -> Arc<Plan> {
    let source = PolicySource::new(&assignment.policy_name, assignment.policy_text.clone());
    let policy = parse(&source).unwrap();
    let servers: Vec<_> = assignment
        .servers
        .iter()
        .map(|server| server_from_wire(server.clone()).unwrap())
        .collect();
    let plans = plan(&policy, source.digest(), &servers).unwrap();
    let plan = plans
        .into_iter()
        .find(|plan| plan.digest().as_bytes().as_slice() == assignment.plan_digest)
        .unwrap();
    Arc::new(plan)
}

async fn open(path: &Path) -> Store {
    Store::open(path).await.unwrap()
}

async fn inventory(store: &Store) {
    enrolled(store, &[("oslo", "EXA1"), ("oslo", "EXB1")]).await;
}

async fn enrolled(store: &Store, servers: &[(&str, &str)]) {
    for (byte, (site, name)) in (1..).zip(servers) {
        let name: ServerName = name.parse().unwrap();
        let token = NewToken {
            hash: [byte; 32],
            agent: name.clone(),
            site: SiteName::try_from((*site).to_owned()).unwrap(),
            labels: BTreeMap::new(),
            created_ms: 0,
            by: "test".into(),
            expires_ms: i64::MAX,
        };
        store.create_token(&token).await.unwrap();
        store
            .take_token(
                &[byte; 32],
                &name,
                &crate::store::NewCertificate::default(),
                1,
            )
            .await
            .unwrap()
            .unwrap();
    }
    let policy = parse(&PolicySource::new("policy", POLICY)).unwrap();
    let row = PolicyRow {
        name: policy.name,
        version: policy.version,
        digest: PolicySource::new("policy", POLICY).digest(),
        title: policy.title,
        article: policy.source.article,
        text: POLICY.into(),
        published_ms: 1,
        by: "test".into(),
    };
    store.publish_policy(&row).await.unwrap();
}

async fn start(controller: &Controller, request: u128) -> RolloutId {
    start_over(controller, request, "site=oslo", b"").await
}

async fn start_over(
    controller: &Controller,
    request: u128,
    selector: &str,
    strategy: &[u8],
) -> RolloutId {
    let store = controller.store();
    let servers: Vec<_> = store
        .agents()
        .await
        .unwrap()
        .iter()
        .map(AgentRow::server)
        .collect();
    let row = store
        .policy("stuck-outbound-routing", 0)
        .await
        .unwrap()
        .unwrap();
    let overrides = Overrides {
        strategy,
        ..Overrides::default()
    };
    let planned = planned(&row, selector, &overrides, &servers).unwrap();
    let new = NewRollout {
        id: RolloutId(Uuid::new_v4()),
        request: Uuid::from_u128(request),
        policy: row.name.clone(),
        version: row.version,
        selector: selector.into(),
        started_ms: 1,
        by: "test".into(),
        strategy: planned.strategy.clone(),
        resolved: planned.resolved.clone(),
        generation: store.generation().await.unwrap(),
        retry_of: None,
        runs: planned
            .plans
            .iter()
            .map(|plan| NewRun {
                id: RunId(Uuid::new_v4()),
                plan: plan.clone(),
                servers: planned.servers[&plan.site].clone(),
            })
            .collect(),
    };
    let change = Change {
        at_ms: 1,
        operator: "test".into(),
        what: "start".into(),
        target: String::new(),
        why: String::new(),
    };
    let id = store.start_rollout(&new, &change).await.unwrap();
    controller.changed();
    id
}

/// Waits until `seen` holds of the rollout; each change of the controller is a reason to look.
async fn until(controller: &Controller, id: RolloutId, seen: impl Fn(&Rollout) -> bool) -> Rollout {
    let mut changes = controller.watch();
    let looked = async {
        loop {
            changes.mark_unchanged();
            let rollout = controller.store().rollout(id).await.unwrap().unwrap();
            if seen(&rollout) {
                return rollout;
            }
            changes.changed().await.unwrap();
        }
    };
    match tokio::time::timeout(LIMIT, looked).await {
        Ok(rollout) => rollout,
        Err(_) => panic!("{:#?}", controller.store().rollout(id).await),
    }
}

async fn both_connected(controller: &Controller) {
    all_connected(controller, 2).await;
}

async fn all_connected(controller: &Controller, agents: usize) {
    let mut changes = controller.watch();
    let waited = async {
        while controller.sessions().connected().len() < agents {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, waited).await.unwrap();
}

#[tokio::test]
async fn the_shipped_policy_goes_through_with_two_agents() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("controller.db")).await;
    inventory(&store).await;
    let site = Site::new(&all_done());
    let controller = Controller::start(store, Clock::of(|| 1000));
    site.controller.send_replace(Some(controller.clone()));
    both_connected(&controller).await;
    let id = start(&controller, 1).await;
    let ended = until(&controller, id, |rollout| rollout.state.is_final()).await;
    assert_eq!(ended.state, RolloutState::Succeeded, "{}", ended.why);
    let run = &ended.runs[0];
    assert_eq!(run.subject, Some("EXB1".parse().unwrap()));
    assert_eq!(
        (run.phase, run.finished()),
        (RunPhase::Succeeded, run.steps())
    );
    assert!(site.begun().values().all(|times| *times == 1));
    assert!(controller.store().locks().await.unwrap().is_empty());
    controller.stop().await;
}

/// Runs a rollout, killing the controller at the `kill`-th point, and again at the same point counted
/// from its return. Answers whether it was killed at all.
async fn with_a_death_at(kill: usize, ends: &Ends, expected: RolloutState) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("controller.db");
    let site = Site::new(ends);
    let mut deaths = 0;
    loop {
        let store = open(&path).await;
        if deaths == 0 {
            inventory(&store).await;
        }
        let points = AtomicUsize::new(0);
        let mortal = deaths < 2;
        let killer: Killer =
            Arc::new(move |_| mortal && points.fetch_add(1, Ordering::SeqCst) == kill);
        let controller = Controller::start_mortal(store, Clock::of(|| 1000), killer);
        site.controller.send_replace(Some(controller.clone()));
        if deaths == 0 {
            both_connected(&controller).await;
        }
        let id = start(&controller, 1).await;
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
            ended.state, expected,
            "killed at {kill}: {:?}",
            ended.runs[0].why
        );
        for (step, times) in site.begun() {
            assert_eq!(
                times, 1,
                "killed at {kill}: step {step} was begun {times} times"
            );
        }
        let fences: Vec<u64> = ended.runs.iter().filter_map(|run| run.fence).collect();
        assert_eq!(fences, [1], "a second fence was minted");
        assert!(controller.store().locks().await.unwrap().is_empty());
        for agent in &site.agents {
            let agent = agent.lock().unwrap();
            assert!(agent.runs.values().all(|(_, state)| state.closed.is_some()));
        }
        trail::assert_authorised(controller.store(), &site, &ended).await;
        controller.stop().await;
        return deaths > 0;
    }
}

async fn sweep(ends: Ends, expected: RolloutState) {
    let mut kill = 0;
    while with_a_death_at(kill, &ends, expected).await {
        kill += 1;
    }
    assert!(kill > 30, "only {kill} points were met");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_succeeds_wherever_the_controller_is_killed_twice() {
    sweep(all_done(), RolloutState::Succeeded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_rollout_is_unwound_wherever_the_controller_is_killed_twice() {
    let ends: Ends = Arc::new(|_, step, undo| {
        if !undo && step.id.as_str() == "probe" {
            Outcome::NoEffect
        } else {
            Outcome::Done
        }
    });
    sweep(ends, RolloutState::Failed).await;
}

async fn bind(store: &Store, answer: Answer) {
    let binding = Binding {
        policy: "stuck-outbound-routing".parse().unwrap(),
        version: 1,
        selector: String::new(),
        answer,
        throttle: Throttle::default(),
        bound_ms: 1,
        by: "test".into(),
    };
    let change = Change {
        at_ms: 1,
        operator: "test".into(),
        what: "bind".into(),
        target: String::new(),
        why: String::new(),
    };
    store.bind(&binding, &change).await.unwrap();
}

/// Waits until `seen` holds of all rollouts and proposals.
async fn until_all(
    controller: &Controller,
    seen: impl Fn(&[Rollout], &[Proposal]) -> bool,
) -> Vec<Rollout> {
    let mut changes = controller.watch();
    let looked = async {
        loop {
            changes.mark_unchanged();
            let rollouts = controller.store().rollouts(10).await.unwrap();
            let proposals = controller.store().proposals(true).await.unwrap();
            if seen(&rollouts, &proposals) {
                return rollouts;
            }
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, looked).await.unwrap()
}

/// Lets a binding answer a symptom, killing the controller at the `kill`-th point, and again at the same
/// point counted from its return. Answers whether it was killed at all.
async fn answered_with_a_death_at(kill: usize, answer: Answer) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("controller.db");
    let site = Site::new(&all_done());
    let mut deaths = 0;
    loop {
        let store = open(&path).await;
        if deaths == 0 {
            inventory(&store).await;
            bind(&store, answer).await;
        }
        let points = AtomicUsize::new(0);
        let mortal = deaths < 2;
        let killer: Killer =
            Arc::new(move |_| mortal && points.fetch_add(1, Ordering::SeqCst) == kill);
        let controller = Controller::start_mortal(store, Clock::of(|| 1000), killer);
        site.controller.send_replace(Some(controller.clone()));
        let ended = tokio::select! {
            ended = until_all(&controller, |rollouts, proposals| match answer {
                Answer::Auto => rollouts.iter().any(|rollout| rollout.state.is_final()),
                _ => !proposals.is_empty(),
            }) => Some(ended),
            () = controller.stopping().cancelled() => None,
        };
        if ended.is_some() {
            // Whoever would start a second one does so when everything is looked at again.
            for _ in 0..3 {
                controller.symptoms_changed();
                tokio::time::timeout(LIMIT, async {
                    while controller.0.symptoms.load(Ordering::Acquire)
                        && !controller.stopping().is_cancelled()
                    {
                        tokio::task::yield_now().await;
                    }
                })
                .await
                .unwrap();
            }
        }
        site.controller.send_replace(None);
        if ended.is_none() || controller.stopping().is_cancelled() {
            controller.stop().await;
            drop(controller);
            deaths += 1;
            continue;
        }
        let rollouts = controller.store().rollouts(10).await.unwrap();
        let proposals = controller.store().proposals(true).await.unwrap();
        match answer {
            Answer::Auto => {
                assert_eq!(rollouts.len(), 1, "killed at {kill}");
                assert_eq!(rollouts[0].state, RolloutState::Succeeded, "{rollouts:?}");
                assert_eq!(rollouts[0].by, "mailmend");
                trail::assert_authorised(controller.store(), &site, &rollouts[0]).await;
                assert!(
                    site.begun().values().all(|times| *times == 1),
                    "killed at {kill}"
                );
            }
            _ => {
                assert_eq!(
                    (rollouts.len(), proposals.len()),
                    (0, 1),
                    "killed at {kill}"
                );
                assert!(site.begun().is_empty());
            }
        }
        controller.stop().await;
        return deaths > 0;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_symptom_is_answered_by_one_rollout_wherever_the_controller_is_killed_twice() {
    let mut kill = 0;
    while answered_with_a_death_at(kill, Answer::Auto).await {
        // The answer is among the first points; the rollout after it is swept by the tests above.
        kill += if kill < 16 { 1 } else { 5 };
    }
    assert!(kill > 30, "only {kill} points were met");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_symptom_is_answered_by_one_proposal_wherever_the_controller_is_killed_twice() {
    let mut kill = 0;
    while answered_with_a_death_at(kill, Answer::Propose).await {
        kill += 1;
    }
    assert!(kill >= 2, "only {kill} points were met");
}

#[tokio::test]
async fn a_run_waits_while_a_server_of_its_site_is_in_hand_and_goes_on_when_it_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("controller.db")).await;
    inventory(&store).await;
    let hand = InHand {
        by: "anna".into(),
        why: "new disk".into(),
        since_ms: 1,
    };
    let change = Change {
        at_ms: 1,
        operator: "anna".into(),
        what: "take-in-hand".into(),
        target: String::new(),
        why: String::new(),
    };
    let relay: ServerName = "EXA1".parse().unwrap();
    store
        .set_in_hand(&relay, Some(&hand), &change)
        .await
        .unwrap();
    bind(&store, Answer::Auto).await;
    let site = Site::new(&all_done());
    let controller = Controller::start(store, Clock::of(|| 1000));
    site.controller.send_replace(Some(controller.clone()));
    both_connected(&controller).await;
    let by_hand = start(&controller, 1).await;
    tokio::time::timeout(LIMIT, async {
        while controller.store().symptoms().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    controller.symptoms_changed();
    while controller.0.symptoms.load(Ordering::Acquire) {
        tokio::task::yield_now().await;
    }
    let rollouts = controller.store().rollouts(10).await.unwrap();
    assert_eq!(rollouts.len(), 1, "nothing begins by itself");
    assert_eq!(rollouts[0].runs[0].phase, RunPhase::Waiting);
    controller
        .store()
        .set_in_hand(&relay, None, &change)
        .await
        .unwrap();
    controller.symptoms_changed();
    until(&controller, by_hand, |rollout| rollout.state.is_final()).await;
    controller.stop().await;
}

#[tokio::test]
async fn a_decision_is_stored_once_and_is_void_where_its_grounds_have_changed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("controller.db")).await;
    inventory(&store).await;
    bind(&store, Answer::Auto).await;
    // Nobody is connected, so nothing is decided but here.
    for name in ["EXA1", "EXB1"] {
        let agent = SimulatedAgent::new(name, all_done());
        let from_agent::Message::Hello(hello) = hello(&agent) else {
            continue;
        };
        let greeting = Greeting {
            version: hello.agent_version,
            journal: hello.journal,
            head: 0,
            highest_fence: 0,
            facts: hello.facts.into_iter().collect(),
            actions: hello.actions.into_iter().collect(),
        };
        store
            .greet(&agent.name, &greeting, 1)
            .await
            .unwrap()
            .unwrap();
    }
    let controller = Controller::start(store.clone(), Clock::of(|| 1000));
    let oslo: SiteName = "oslo".parse().unwrap();
    let servers = BTreeSet::from(["EXB1".parse().unwrap()]);
    let change = Change {
        at_ms: 1,
        operator: "mailmend".into(),
        what: "start".into(),
        target: String::new(),
        why: String::new(),
    };
    let binding = store
        .bindings()
        .await
        .unwrap()
        .into_values()
        .next()
        .unwrap();
    let decided = async |number: u64| {
        let request = request_of(&format!("{}\n{oslo}\n{number}", binding.policy));
        let new = controller
            .rollout_for(&binding, &oslo, &servers, request, "mailmend".into())
            .await
            .unwrap()
            .unwrap();
        let start = ReactionStart {
            binding: &binding,
            site: &oslo,
            number,
        };
        store.start_reaction(&start, &new, &change).await
    };
    let hand = InHand {
        by: "anna".into(),
        why: "new disk".into(),
        since_ms: 1,
    };
    let relay: ServerName = "EXA1".parse().unwrap();
    store
        .set_in_hand(&relay, Some(&hand), &change)
        .await
        .unwrap();
    assert!(matches!(decided(0).await, Err(StoreError::Changed(_))));
    store.set_in_hand(&relay, None, &change).await.unwrap();
    decided(0).await.unwrap();
    assert!(matches!(decided(0).await, Err(StoreError::Changed(_))));
    assert_eq!(store.reactions_of(&binding.policy, &oslo).await.unwrap(), 1);
    let anew = Binding {
        bound_ms: 2,
        ..binding.clone()
    };
    store.bind(&anew, &change).await.unwrap();
    assert!(matches!(decided(1).await, Err(StoreError::Changed(_))));
    assert_eq!(store.rollouts(10).await.unwrap().len(), 1);
    controller.stop().await;
}

#[tokio::test]
async fn a_binding_that_gave_up_raises_an_alarm_with_its_proposal_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("controller.db")).await;
    inventory(&store).await;
    bind(&store, Answer::Auto).await;
    let server: ServerName = "EXB1".parse().unwrap();
    // One that decides nothing by itself: it would end a proposal whose symptom nobody tells of.
    let dead: Killer = Arc::new(|_| true);
    let controller = Controller::start_mortal(store.clone(), Clock::of(|| 1000), dead);
    let known = controller.known_of_symptoms().await.unwrap();
    let gave_up = crate::react::Reaction::Propose {
        policy: "stuck-outbound-routing".parse().unwrap(),
        site: "oslo".parse().unwrap(),
        servers: BTreeSet::from([server.clone()]),
        why: "3 runs in a row did not hold".into(),
    };
    for _ in 0..2 {
        controller.store_reaction(&known, &gave_up).await.unwrap();
    }
    let alarms = store.agent_alarms(&server).await.unwrap();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(
        alarms[0].starts_with("C110-binding-gave-up: "),
        "{alarms:?}"
    );
    let proposals = store.proposals(true).await.unwrap();
    assert_eq!(proposals.len(), 1);
    assert!(alarms[0].contains(&proposals[0].id.to_string()));
    controller.stop().await;
}
