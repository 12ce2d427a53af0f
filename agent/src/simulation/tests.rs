//! Simulated servers, driven as a controller would that has one run for each.

use mailmend_policy::library;
use mailmend_policy::plan::{Plan, Server as Planned, plan};
use mailmend_policy::{parse, policy::Policy};
use mailmend_proto::convert::server_to_wire;
use mailmend_proto::wire::simulation_step::What;
use mailmend_proto::wire::{from_agent, to_agent};

use super::*;

const START: i64 = 1_000_000;

/// A controller that says what the simplest one would: everything at once.
struct Driver {
    servers: Servers,
    now_ms: i64,
    records: u64,
    closed: bool,
    /// A step failed or a section was left by its exit: what was done is undone.
    unwinding: bool,
    broken: Vec<String>,
    trace: Vec<String>,
    plan: Plan,
    assignment: wire::Assignment,
}

fn planned(policy: &str) -> (Policy, Plan, wire::Assignment) {
    let source = library::find(policy).unwrap();
    let policy = parse::parse(&source).unwrap();
    let server = |name: &str, direction: &str| Planned {
        name: name.parse().unwrap(),
        site: "SITE".parse().unwrap(),
        labels: [
            ("ims.direction".to_owned(), direction.to_owned()),
            ("exchange.version".to_owned(), "5.0.1460.8".to_owned()),
        ]
        .into(),
        actions: crate::step::SUPPORTED
            .iter()
            .map(|one| (*one).to_owned())
            .collect(),
    };
    let servers = [server("A", "both"), server("B", "outbound")];
    let plans = plan(&policy, source.digest(), &servers).unwrap();
    let ours = |plan: &Plan| plan.subject.as_ref().is_none_or(|one| one.as_str() == "B");
    let plan = plans.into_iter().find(ours).unwrap();
    let assignment = wire::Assignment {
        run: uuid::Uuid::from_u128(7).to_string(),
        fence: 1,
        policy_name: plan.policy.to_string(),
        policy_text: source.bytes().to_vec(),
        plan_digest: plan.digest().as_bytes().to_vec(),
        site: "SITE".into(),
        subject: "B".into(),
        servers: servers.iter().map(server_to_wire).collect(),
        traceparent: String::new(),
    };
    (policy, plan, assignment)
}

impl Driver {
    fn new(policy: &str, server: wire::SimulatedServer) -> Self {
        let (_, plan, assignment) = planned(policy);
        let mut servers = Servers::new();
        let begin = wire::SimulationBegin {
            seed: 5,
            servers: vec![wire::SimulatedServer {
                name: "B".into(),
                symptom: policy.into(),
                messages: 6,
                ..server
            }],
            broken: Vec::new(),
        };
        let request = Request::Begin(begin);
        let begun = servers.answer(wire::SimulationRequest {
            request: Some(request),
        });
        assert_eq!(begun.failed, "");
        Self {
            servers,
            now_ms: START,
            records: 0,
            closed: false,
            unwinding: false,
            broken: Vec::new(),
            trace: Vec::new(),
            plan,
            assignment,
        }
    }

    fn step(&mut self, what: What) -> wire::SimulationAnswer {
        let step = wire::SimulationStep {
            server: "B".into(),
            now_ms: self.now_ms,
            what: Some(what),
        };
        let request = Request::Step(step);
        let answer = self.servers.answer(wire::SimulationRequest {
            request: Some(request),
        });
        assert_eq!(answer.failed, "");
        self.trace.push(format!("{} {answer:?}", self.now_ms));
        self.broken.extend(answer.state.clone().unwrap().broken);
        answer
    }

    /// Until the run is closed and the whole journal is told.
    fn play(&mut self) -> wire::SimulatedState {
        let mut due = std::collections::VecDeque::from([What::Wake(true)]);
        let mut told_again = 0;
        let as_message = |message| {
            What::Message(wire::ToAgent {
                message: Some(message),
            })
        };
        for _ in 0..100_000 {
            let Some(what) = due.pop_front() else {
                panic!("it waits for nothing");
            };
            let answer = self.step(what);
            if answer.hung_up {
                due.clear();
            }
            if answer.dials {
                due.push_back(What::Connected(true));
            }
            for said in answer.said {
                let message = said.message.unwrap().message.unwrap();
                due.extend(self.told(message).into_iter().map(as_message));
            }
            let state = answer.state.unwrap();
            if self.closed && state.settled && due.is_empty() {
                return state;
            }
            if due.is_empty() && answer.next_ms > self.now_ms {
                told_again = 0;
                self.now_ms = answer.next_ms;
                due.push_back(What::Wake(true));
            } else if due.is_empty() {
                // What an agent dropped, because it died over it, the controller tells again on the same
                // stream after a minute.
                assert!(told_again < 3, "it waits for nothing: {state:?}");
                told_again += 1;
                self.now_ms += 60_000;
                due.extend(self.orders().into_iter().map(as_message));
            }
        }
        panic!("it does not end");
    }

    /// The run, and all of it released or all of it taken back.
    fn orders(&self) -> Vec<to_agent::Message> {
        let run = self.assignment.run.clone();
        let order = if self.unwinding {
            to_agent::Message::Unwind(wire::Unwind {
                run,
                fence: 1,
                down_to: 0,
                last: true,
            })
        } else {
            to_agent::Message::Advance(wire::Advance {
                run,
                fence: 1,
                through: u32::try_from(self.plan.steps.len()).unwrap(),
            })
        };
        vec![
            to_agent::Message::Assignment(self.assignment.clone()),
            order,
        ]
    }

    /// What the simplest controller answers.
    fn told(&mut self, message: from_agent::Message) -> Vec<to_agent::Message> {
        match message {
            from_agent::Message::Hello(hello) => {
                assert!(hello.head >= self.records, "its journal fell back");
                let mut all = vec![to_agent::Message::Welcome(wire::Welcome {
                    acknowledged: self.records,
                    journal: hello.journal,
                })];
                all.extend(self.orders());
                all
            }
            from_agent::Message::Report(report) => {
                let first = report.records[0].seq;
                assert!(first <= self.records + 1, "a gap before {first}");
                self.records = self.records.max(report.records.last().unwrap().seq);
                self.closed |= report
                    .records
                    .iter()
                    .any(|record| matches!(record.event, Some(wire::record::Event::Closed(_))));
                let failed = report.records.iter().any(|record| match &record.event {
                    Some(wire::record::Event::SectionEnded(end)) => {
                        end.how() == wire::SectionEnd::Exited
                    }
                    Some(wire::record::Event::StepFinished(step)) => {
                        step.outcome() != wire::Outcome::Done
                    }
                    _ => false,
                });
                let seq = self.records;
                let mut all = vec![to_agent::Message::Acknowledge(wire::Acknowledge { seq })];
                if failed && !self.unwinding {
                    self.unwinding = true;
                    all.extend(self.orders());
                }
                all
            }
            _ => Vec::new(),
        }
    }
}

#[test]
fn a_simulated_server_mends_what_the_shipped_policy_is_for_and_reports_as_time_passes() {
    for policy in ["stuck-outbound-routing", "corrupt-message", "stuck-message"] {
        let mut driver = Driver::new(policy, wire::SimulatedServer::default());
        let state = driver.play();
        assert_eq!(driver.broken, Vec::<String>::new(), "{policy}");
        assert!(state.service_up && !state.in_section, "{policy}: {state:?}");
        let poison = u64::from(policy == "corrupt-message");
        assert_eq!(
            state.delivered + poison,
            state.messages,
            "{policy}: {state:?}"
        );
        assert!(state.outage_ms > 0, "{policy}");
        // The run took its time, and its records did not all come at its end.
        assert!(
            driver.now_ms > START + 60_000,
            "{policy}: {}",
            driver.now_ms
        );
    }
}

#[test]
fn a_server_without_the_symptom_says_so_at_once_and_nothing_is_touched() {
    let mut driver = Driver::new("stuck-outbound-routing", wire::SimulatedServer::default());
    let healthy = wire::SimulatedServer {
        name: "B".into(),
        ..Default::default()
    };
    let begin = wire::SimulationBegin {
        servers: vec![healthy],
        ..Default::default()
    };
    let request = Some(Request::Begin(begin));
    let _ = driver.servers.answer(wire::SimulationRequest { request });
    let state = driver.play();
    assert_eq!((state.outage_ms, state.restarts), (0, 0));
    assert!(driver.now_ms < START + 10_000, "{}", driver.now_ms);
    assert_eq!(driver.broken, Vec::<String>::new());
}

#[test]
fn an_agent_that_is_killed_and_a_machine_that_loses_power_break_nothing() {
    let mut deaths = 0;
    for seed in 0..40_i64 {
        let server = wire::SimulatedServer {
            crashes_ms: vec![START + 3_000 + 1_700 * seed, START + 20_000 + 2_300 * seed],
            power_cuts_ms: vec![START + 60_000 + 1_000 * seed],
            jumps: vec![wire::ClockJump {
                at_ms: START + 5_000 * seed,
                by_ms: if seed % 2 == 0 {
                    -86_400_000
                } else {
                    86_400_000
                },
            }],
            ..Default::default()
        };
        let mut driver = Driver::new("stuck-outbound-routing", server);
        let state = driver.play();
        assert_eq!(driver.broken, Vec::<String>::new(), "seed {seed}");
        assert!(state.settled && state.deaths > 0, "seed {seed}: {state:?}");
        deaths += state.deaths;
    }
    assert!(deaths > 80, "{deaths}");
}

#[test]
fn the_same_fleet_behaves_the_same_in_process_and_over_the_pipe() {
    let trace = || {
        let mut driver = Driver::new("corrupt-message", wire::SimulatedServer::default());
        driver.play();
        driver.trace
    };
    assert_eq!(trace(), trace());
}

#[test]
fn a_world_that_is_broken_on_purpose_is_noticed() {
    let mut driver = Driver::new("stuck-outbound-routing", wire::SimulatedServer::default());
    let begin = wire::SimulationBegin {
        servers: vec![wire::SimulatedServer {
            name: "B".into(),
            symptom: "stuck-outbound-routing".into(),
            messages: 3,
            ..Default::default()
        }],
        broken: vec!["lose-mail".into()],
        ..Default::default()
    };
    let request = Some(Request::Begin(begin));
    let _ = driver.servers.answer(wire::SimulationRequest { request });
    driver.play();
    assert!(
        driver.broken.iter().any(|one| one.starts_with("I1: ")),
        "{:?}",
        driver.broken
    );
}
