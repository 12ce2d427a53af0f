use mailmend_proto::convert::record_from_wire;

use super::super::policy;
use super::*;

fn told(message: to_agent::Message) -> wire::ToAgent {
    wire::ToAgent {
        message: Some(message),
    }
}

fn assignment(run: &str) -> wire::Assignment {
    let text = policy::text(1, 4096).into_bytes();
    let server = wire::Server {
        name: "a-1".to_owned(),
        site: "s-1".to_owned(),
        labels: facts(),
        actions: ACTIONS.iter().map(|&action| action.to_owned()).collect(),
    };
    wire::Assignment {
        run: run.to_owned(),
        fence: 7,
        policy_name: policy::NAME.to_owned(),
        policy_text: text,
        plan_digest: vec![1; 32],
        site: "s-1".to_owned(),
        subject: "a-1".to_owned(),
        servers: vec![server],
        ..Default::default()
    }
}

#[test]
fn a_run_is_told_step_by_step_and_each_record_is_legal_after_those_before_it() {
    let run = "0198c5aa-0000-7000-8000-000000000001";
    let mut agent = Played::default();
    let plans = Plans::default();
    let take = |agent: &mut Played, message| agent.take(told(message), &plans, 1).unwrap();
    let (heard, answer) = take(&mut agent, to_agent::Message::Assignment(assignment(run)));
    assert_eq!(heard, Heard::Assigned);
    assert!(matches!(answer, Some(from_agent::Message::Answer(answer)) if answer.admitted));
    let mut records = agent.report().unwrap().records;
    assert!(!agent.step(1).unwrap(), "nothing was released");
    let advance = wire::Advance {
        run: run.to_owned(),
        fence: 7,
        through: policy::STEPS,
    };
    take(&mut agent, to_agent::Message::Advance(advance.clone()));
    let mut steps = 0;
    while agent.step(1).unwrap() {
        steps += 1;
        records.extend(agent.report().unwrap().records);
    }
    assert_eq!(steps, policy::STEPS);
    // Told again, it changes nothing: the run is over.
    take(&mut agent, to_agent::Message::Assignment(assignment(run)));
    take(&mut agent, to_agent::Message::Advance(advance));
    assert!(agent.report().is_none());
    let events = records
        .into_iter()
        .map(|record| record_from_wire(record).unwrap().event);
    let state = RunState::of(&events.collect::<Vec<_>>()).unwrap();
    assert_eq!(state.closed, Some(Ended::Committed));
    assert_eq!(state.steps.len(), policy::STEPS as usize);
}

#[test]
fn what_was_not_acknowledged_is_told_again_after_the_next_welcome() {
    let mut agent = Played::default();
    let run = "0198c5aa-0000-7000-8000-000000000001";
    let message = told(to_agent::Message::Assignment(assignment(run)));
    agent.take(message, &Plans::default(), 1).unwrap();
    let first = agent.report().unwrap();
    assert!(agent.report().is_none() && !agent.is_heard());
    let welcome = |acknowledged, journal: &str| wire::Welcome {
        acknowledged,
        journal: journal.to_owned(),
    };
    let journal = agent.hello().journal;
    agent.welcome(&welcome(0, &journal)).unwrap();
    assert_eq!(
        agent.report().unwrap(),
        first,
        "the connection was lost with it"
    );
    agent.welcome(&welcome(1, &journal)).unwrap();
    assert!(agent.report().is_none() && agent.is_heard());
    assert!(agent.welcome(&welcome(2, &journal)).is_err());
    assert!(agent.welcome(&welcome(1, "another")).is_err());
}
