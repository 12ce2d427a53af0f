//! What happens next, for the shipped policy of Q268494 on Server B.

use std::collections::BTreeMap;

use mailmend_policy::plan::{Server, plan};
use mailmend_policy::{library, parse};
use mailmend_proto::run::{Event, ServiceChange};

use super::*;

fn server(name: &str, direction: &str) -> Server {
    Server {
        name: name.parse().unwrap(),
        site: "SITE".parse().unwrap(),
        labels: BTreeMap::from([
            ("ims.direction".to_owned(), direction.to_owned()),
            ("exchange.version".to_owned(), "5.0.1460.8".to_owned()),
        ]),
        actions: crate::step::SUPPORTED
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
    }
}

fn the_plan() -> Plan {
    let source = library::find("stuck-outbound-routing").unwrap();
    let policy = parse::parse(&source).unwrap();
    let servers = [server("A", "both"), server("B", "outbound")];
    let mut plans = plan(&policy, source.digest(), &servers).unwrap();
    assert_eq!(plans.len(), 1);
    plans.remove(0)
}

fn me() -> ServerName {
    "B".parse().unwrap()
}

fn at(seconds: u64) -> Uptime {
    Uptime {
        boot: "one".into(),
        since_boot: Duration::from_secs(seconds),
    }
}

fn index(plan: &Plan, id: &str) -> u32 {
    let step = plan.steps.iter().find(|step| step.id.as_str() == id);
    step.unwrap().index
}

fn began(section: &Section, seconds: u64) -> Event {
    Event::SectionBegan {
        section: section.index,
        service: section.service.clone(),
        boot: "one".into(),
        since_boot_ms: seconds * 1000,
        budget_ms: 600_000,
    }
}

fn intended(step: u32) -> Event {
    Event::StepIntended { step, attempt: 1 }
}

fn finished(step: u32, outcome: Outcome) -> Event {
    Event::StepFinished {
        step,
        attempt: 1,
        outcome,
        detail: String::new(),
        evidence: Vec::new(),
    }
}

fn done(step: u32) -> [Event; 2] {
    [intended(step), finished(step, Outcome::Done)]
}

fn ended(section: u32, how: SectionEnd) -> Event {
    Event::SectionEnded {
        section,
        how,
        detail: String::new(),
    }
}

fn unwind(down_to: u32, last: bool) -> Event {
    Event::UnwindOrdered {
        fence: 1,
        down_to,
        last,
    }
}

/// The run's events so far, and what they add up to.
struct Story(Plan, Vec<Event>);

impl Story {
    fn released(through: u32) -> Self {
        let plan = the_plan();
        let admitted = Event::Admitted {
            fence: 1,
            plan: plan.digest(),
            policy: plan.policy_digest,
            assignment: Vec::new(),
        };
        Self(plan, vec![admitted, Event::Advanced { fence: 1, through }])
    }

    fn then(mut self, events: impl IntoIterator<Item = Event>) -> Self {
        self.1.extend(events);
        self
    }

    fn next_at(&self, now: &Uptime) -> Move {
        let state = RunState::of(&self.1).expect("the story is legal");
        next_move(&state, &self.0, &me(), now)
    }

    fn next(&self) -> Move {
        self.next_at(&at(100))
    }

    /// Everything up to the first section is done on B.
    fn at_the_first_section(through_section: bool) -> Self {
        let plan = the_plan();
        let section = &plan.sections[0];
        let through = if through_section {
            section.last + 1
        } else {
            section.last
        };
        let before: Vec<Event> = plan
            .steps
            .iter()
            .filter(|step| step.server == me() && step.index < section.first)
            .flat_map(|step| done(step.index))
            .collect();
        Self::released(through).then(before)
    }
}

#[test]
fn nothing_runs_before_it_is_released_and_only_own_steps_do() {
    let story = Story::released(0);
    assert_eq!(
        story.next(),
        Move::Wait {
            waiting: Waiting::Watermark(0),
            until: None
        }
    );
    let story = Story::released(2).then(done(0));
    assert_eq!(story.0.steps[1].server.as_str(), "A");
    assert_eq!(
        story.next(),
        Move::Wait {
            waiting: Waiting::Watermark(index(&story.0, "recalculate")),
            until: None
        }
    );
    assert_eq!(Story::released(1).next(), Move::Run(0));
}

#[test]
fn a_section_that_is_not_released_whole_is_not_opened() {
    let story = Story::at_the_first_section(false);
    assert!(matches!(story.next(), Move::Wait { until: None, .. }));
    assert_eq!(Story::at_the_first_section(true).next(), Move::Begin(0));
}

#[test]
fn an_open_section_is_left_when_its_budget_is_over_or_the_machine_was_started_again() {
    let story = Story::at_the_first_section(true);
    let section = story.0.sections[0].clone();
    let story = story.then([began(&section, 100)]).then(done(section.first));
    assert_eq!(story.next_at(&at(101)), Move::Run(section.first + 1));
    let exit = Move::Exit {
        section: 0,
        why: ExitReason::BudgetOver,
    };
    // 600 s of budget, 30 of which are kept for the exit.
    assert_eq!(story.next_at(&at(669)), Move::Run(section.first + 1));
    assert_eq!(story.next_at(&at(670)), exit);
    let rebooted = Uptime {
        boot: "two".into(),
        since_boot: Duration::from_secs(101),
    };
    assert_eq!(story.next_at(&rebooted), exit);
    let interrupted = story.then([intended(section.first + 1)]);
    assert_eq!(
        interrupted.next_at(&at(670)),
        Move::Finish(section.first + 1)
    );
}

#[test]
fn where_only_the_start_is_left_it_runs_whatever_the_budget_says() {
    let story = Story::at_the_first_section(true);
    let section = story.0.sections[0].clone();
    let steps: Vec<Event> = (section.first..section.last).flat_map(done).collect();
    let story = story.then([began(&section, 100)]).then(steps);
    assert_eq!(story.next_at(&at(5000)), Move::Run(section.last));
    let story = story.then(done(section.last));
    assert_eq!(story.next_at(&at(5000)), Move::End(0));
}

#[test]
fn a_step_that_fails_in_a_section_is_followed_by_its_exit_and_then_nothing_goes_forward() {
    for outcome in [Outcome::NoEffect, Outcome::Unknown] {
        let story = Story::at_the_first_section(true);
        let section = story.0.sections[0].clone();
        let story = story.then([
            began(&section, 100),
            intended(section.first),
            finished(section.first, outcome),
        ]);
        assert_eq!(
            story.next(),
            Move::Exit {
                section: 0,
                why: ExitReason::Failed(section.first)
            }
        );
        let story = story.then([ended(0, SectionEnd::Exited)]);
        assert_eq!(
            story.next(),
            Move::Wait {
                waiting: Waiting::Unwinding,
                until: None
            }
        );
    }
}

#[test]
fn a_section_that_was_left_is_not_entered_again() {
    let story = Story::at_the_first_section(true);
    let section = story.0.sections[0].clone();
    let story = story
        .then([began(&section, 100)])
        .then(done(section.first))
        .then([ended(0, SectionEnd::Exited)]);
    assert_eq!(
        story.next(),
        Move::Wait {
            waiting: Waiting::Unwinding,
            until: None
        }
    );
}

#[test]
fn unwinding_undoes_in_reverse_what_has_an_undo_and_closes_only_when_nothing_further_comes() {
    let story = Story::at_the_first_section(true);
    let section = story.0.sections[0].clone();
    let hold = index(&story.0, "hold-outbound");
    let stop = index(&story.0, "stop-ims");
    let steps: Vec<Event> = (section.first..=section.last).flat_map(done).collect();
    let story = story
        .then([began(&section, 100)])
        .then(steps)
        .then([ended(0, SectionEnd::Committed), unwind(hold, false)]);
    assert_eq!(story.next(), Move::Undo(hold));
    let undone = |step| {
        [
            Event::UndoIntended { step },
            Event::UndoFinished {
                step,
                outcome: Outcome::Done,
                detail: String::new(),
            },
        ]
    };
    let story = story.then(undone(hold));
    assert_eq!(
        story.next(),
        Move::Wait {
            waiting: Waiting::Further,
            until: None
        }
    );
    let story = story.then([unwind(0, false)]);
    assert_eq!(story.next(), Move::Undo(stop));
    let story = story.then(undone(stop));
    assert!(matches!(story.next(), Move::Close(Ended::Unwound, _)));
}

#[test]
fn what_is_unknown_is_never_unwound() {
    let story = Story::at_the_first_section(true);
    let section = story.0.sections[0].clone();
    let story = story
        .then([began(&section, 100)])
        .then(done(section.first))
        .then([
            intended(section.first + 1),
            finished(section.first + 1, Outcome::Unknown),
            ended(0, SectionEnd::Exited),
            unwind(0, true),
        ]);
    assert!(
        matches!(story.next(), Move::Close(Ended::AtRest, why) if why.contains("hold-outbound"))
    );
}

#[test]
fn an_undo_that_was_interrupted_goes_on_and_is_left_when_its_budget_is_over() {
    let story = Story::at_the_first_section(true);
    let section = story.0.sections[0].clone();
    let hold = index(&story.0, "hold-outbound");
    let undoing = undo_section(&story.0, hold);
    let steps: Vec<Event> = (section.first..=section.last).flat_map(done).collect();
    let story = story.then([began(&section, 100)]).then(steps).then([
        ended(0, SectionEnd::Committed),
        unwind(0, true),
        Event::UndoIntended { step: hold },
        Event::SectionBegan {
            section: undoing,
            service: section.service.clone(),
            boot: "one".into(),
            since_boot_ms: 200_000,
            budget_ms: 600_000,
        },
    ]);
    assert_eq!(story.next_at(&at(201)), Move::Undo(hold));
    assert_eq!(
        story.next_at(&at(2000)),
        Move::Exit {
            section: undoing,
            why: ExitReason::BudgetOver
        }
    );
    let failed = Event::UndoFinished {
        step: hold,
        outcome: Outcome::Unknown,
        detail: String::new(),
    };
    let story = story.then([failed]);
    assert_eq!(
        story.next_at(&at(201)),
        Move::Exit {
            section: undoing,
            why: ExitReason::UndoEnded
        }
    );
    let story = story.then([ended(undoing, SectionEnd::Exited)]);
    assert!(matches!(story.next(), Move::Close(Ended::AtRest, _)));
}

#[test]
fn a_run_is_committed_when_all_is_released_and_done_and_then_over() {
    let plan = the_plan();
    let all = u32::try_from(plan.steps.len()).unwrap();
    let mut story = Story::released(all);
    for step in plan.steps.iter().filter(|step| step.server == me()) {
        if let Some(section) = plan.sections.iter().find(|s| s.first == step.index) {
            story = story.then([began(section, 100)]);
        }
        story = story.then(done(step.index));
        if let Some(section) = plan.sections.iter().find(|s| s.last == step.index) {
            story = story.then([
                Event::ServiceChanged {
                    service: section.service.clone(),
                    change: ServiceChange::Started,
                    pid: 1,
                },
                ended(section.index, SectionEnd::Committed),
            ]);
        }
    }
    assert!(matches!(story.next(), Move::Close(Ended::Committed, _)));
    let closed = Event::Closed {
        how: Ended::Committed,
        detail: String::new(),
    };
    assert_eq!(story.then([closed]).next(), Move::Over);
}
