//! Conditions against the simulated machine.

use std::path::Path;

use mailmend_policy::condition::{FileTest, PathRoot};

use super::*;
use crate::host::simulated::{SimSettings, SimWorld};

const OUT: &str = "/exchsrvr/imcdata/Out";

fn imc() -> ServiceName {
    "MSExchangeIMC".parse().unwrap()
}

fn world() -> SimWorld {
    SimWorld::new(SimSettings::default())
}

fn verdict_at(world: &SimWorld, condition: &Condition, began: Option<i64>) -> Verdict {
    let host = world.host();
    let facts = Facts::from([("exchange.version".to_owned(), "5.5.2650.21".to_owned())]);
    let judged = judge(
        condition,
        Scene {
            host: &host,
            facts: &facts,
            run_began_ms: began,
            ended: &|id| (id.as_str() == "mine").then_some(StepEnded::Done),
            answered: &|_| None,
        },
    );
    assert!(!judged.evidence.is_empty());
    judged.verdict
}

fn verdict(world: &SimWorld, condition: &Condition) -> Verdict {
    verdict_at(world, condition, None)
}

fn queue(test: QueueTest) -> Condition {
    Condition::Queue {
        queue: Queue::OutboundAwaitingDelivery,
        test,
    }
}

fn path(parts: &[&str]) -> PathTemplate {
    PathTemplate {
        root: PathRoot::Imcdata,
        parts: parts.iter().map(|part| (*part).to_owned()).collect(),
    }
}

fn file(name: &str, test: FileTest) -> Condition {
    Condition::File {
        file: path(&[name]),
        test,
    }
}

fn event(id: u32, since: Since) -> Condition {
    Condition::Event(EventMatch {
        source: "MSExchangeIMC".into(),
        ids: vec![id],
        since,
        at_least: 1,
        contains: None,
    })
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_queue_is_its_message_files_and_nothing_else() {
    let world = world();
    assert_eq!(
        verdict(&world, &queue(QueueTest::CountUnder(1))),
        Verdict::True
    );
    assert_eq!(
        verdict(&world, &queue(QueueTest::OldestUnder(MINUTE))),
        Verdict::True
    );
    assert_eq!(
        verdict(&world, &queue(QueueTest::OldestOver(MINUTE))),
        Verdict::False
    );
    world.put_file(&Path::new(OUT).join("notes.txt"), b"x", 60 * MINUTE);
    world.put_link(&Path::new(OUT).join("LINK0001"));
    assert_eq!(
        verdict(&world, &queue(QueueTest::CountUnder(1))),
        Verdict::True
    );
    world.add_outbound(2, 10);
    world.advance(10 * MINUTE);
    assert_eq!(
        verdict(&world, &queue(QueueTest::CountOver(1))),
        Verdict::True
    );
    assert_eq!(
        verdict(&world, &queue(QueueTest::CountOver(2))),
        Verdict::False
    );
    assert_eq!(
        verdict(&world, &queue(QueueTest::OldestOver(9 * MINUTE))),
        Verdict::True
    );
    assert_eq!(
        verdict(&world, &queue(QueueTest::OldestOver(11 * MINUTE))),
        Verdict::False
    );
    assert_eq!(
        verdict(&world, &queue(QueueTest::OldestUnder(11 * MINUTE))),
        Verdict::True
    );
}

#[test]
fn a_clock_that_was_set_back_makes_no_file_young() {
    let world = world();
    world.add_outbound(1, 10);
    world.shift_wall_clock(-3_600_000);
    for test in [
        QueueTest::OldestOver(MINUTE),
        QueueTest::OldestUnder(MINUTE),
    ] {
        assert_eq!(verdict(&world, &queue(test)), Verdict::CannotTell);
    }
}

#[test]
fn queues_in_the_store_are_counted_while_the_service_runs_and_their_age_cannot_be_told() {
    let in_store = |test| Condition::Queue {
        queue: Queue::OutboundAwaitingConversion,
        test,
    };
    let world = world();
    let over = in_store(QueueTest::CountOver(0));
    assert_eq!(verdict(&world, &over), Verdict::False);
    let old = in_store(QueueTest::OldestOver(Duration::from_secs(60)));
    assert_eq!(verdict(&world, &old), Verdict::CannotTell);
    world.kill_service("MSExchangeIMC");
    assert_eq!(verdict(&world, &over), Verdict::CannotTell);
}

#[test]
fn what_cannot_be_told_is_not_true_either_when_it_is_negated_or_joined() {
    let world = world();
    let untold = Condition::Fact {
        fact: "no.such".into(),
        equals: "x".into(),
    };
    let yes = Condition::Service {
        service: imc(),
        is: ServiceIs::Running,
    };
    let no = Condition::Service {
        service: imc(),
        is: ServiceIs::Stopped,
    };
    use Verdict::{CannotTell, False, True};
    assert_eq!(verdict(&world, &untold), CannotTell);
    let not = |condition: &Condition| Condition::Not(Box::new(condition.clone()));
    assert_eq!(verdict(&world, &not(&untold)), CannotTell);
    assert_eq!(verdict(&world, &not(&yes)), False);
    let all = |parts: &[&Condition]| Condition::All(parts.iter().map(|&p| p.clone()).collect());
    let any = |parts: &[&Condition]| Condition::Any(parts.iter().map(|&p| p.clone()).collect());
    assert_eq!(verdict(&world, &all(&[&yes, &untold])), CannotTell);
    assert_eq!(verdict(&world, &all(&[&untold, &no])), False);
    assert_eq!(verdict(&world, &all(&[&yes, &yes])), True);
    assert_eq!(verdict(&world, &any(&[&no, &untold])), CannotTell);
    assert_eq!(verdict(&world, &any(&[&untold, &yes])), True);
    assert_eq!(verdict(&world, &any(&[&no, &no])), False);
}

#[test]
fn files_are_judged_by_presence_age_size_and_text_and_links_are_not_followed() {
    let world = world();
    use Verdict::{CannotTell, False, True};
    let is = |name: &str, test: FileTest| verdict_at(&world, &file(name, test), None);
    assert_eq!(is("absent", FileTest::Exists(false)), True);
    assert_eq!(is("absent", FileTest::Exists(true)), False);
    assert_eq!(is("absent", FileTest::SizeOver(0)), CannotTell);
    let old = Path::new("/exchsrvr/imcdata/old");
    let new = Path::new("/exchsrvr/imcdata/new");
    world.put_file(old, b"old text", 10 * MINUTE);
    world.put_file(new, b"x", MINUTE);
    assert_eq!(is("old", FileTest::OlderThanFile(path(&["new"]))), True);
    assert_eq!(is("old", FileTest::NewerThanFile(path(&["new"]))), False);
    assert_eq!(is("new", FileTest::NewerThanFile(path(&["old"]))), True);
    assert_eq!(
        is("new", FileTest::NewerThanFile(path(&["absent"]))),
        CannotTell
    );
    assert_eq!(is("old", FileTest::OlderThan(9 * MINUTE)), True);
    assert_eq!(is("old", FileTest::OlderThan(11 * MINUTE)), False);
    assert_eq!(is("old", FileTest::SizeOver(7)), True);
    assert_eq!(is("old", FileTest::SizeOver(8)), False);
    assert_eq!(is("old", FileTest::Contains("d te".into())), True);
    assert_eq!(is("old", FileTest::Contains("nothing".into())), False);
    assert_eq!(is("old", FileTest::ChangedSinceRunBegan), CannotTell);
    world.put_link(Path::new("/exchsrvr/imcdata/link"));
    assert_eq!(is("link", FileTest::Exists(true)), CannotTell);
    let now = crate::host::Clock::wall_ms(&world.host());
    let changed = file("new", FileTest::ChangedSinceRunBegan);
    assert_eq!(verdict_at(&world, &changed, Some(now)), False);
    assert_eq!(verdict_at(&world, &changed, Some(now - 120_000)), True);
}

#[test]
fn events_count_from_where_they_are_asked_for_and_an_unreadable_log_is_not_silence() {
    let world = world();
    use Verdict::{CannotTell, False, True};
    world.write_event("MSExchangeIMC", 3038, "not removed");
    assert_eq!(verdict(&world, &event(3038, Since::LastStart)), True);
    assert_eq!(verdict(&world, &event(3038, Since::Within(MINUTE))), True);
    assert_eq!(verdict(&world, &event(3039, Since::LastStart)), False);
    world.advance(5 * MINUTE);
    assert_eq!(verdict(&world, &event(3038, Since::Within(MINUTE))), False);
    assert_eq!(verdict(&world, &event(3038, Since::RunBegan)), True);
    let now = crate::host::Clock::wall_ms(&world.host());
    assert_eq!(
        verdict_at(&world, &event(3038, Since::RunBegan), Some(now)),
        False
    );
    world.write_event("MSExchangeIMC", EVENT_STARTED, "started");
    assert_eq!(verdict(&world, &event(3038, Since::LastStart)), False);
    world.set_events_unreadable(true);
    assert_eq!(verdict(&world, &event(3038, Since::LastStart)), CannotTell);
}

#[test]
fn versions_facts_registry_disk_and_steps_are_judged() {
    let world = world();
    use Verdict::{CannotTell, False, True};
    let version = |range: &str| Condition::Version(range.parse().unwrap());
    assert_eq!(verdict(&world, &version(">=5.5, <5.6")), True);
    assert_eq!(verdict(&world, &version("<5.5")), False);
    let registry = |value: &str, equals: &str| Condition::Registry {
        key: r"SYSTEM\CurrentControlSet\Services\MSExchangeIMC\Parameters".into(),
        value: value.into(),
        equals: equals.into(),
    };
    assert_eq!(
        verdict(&world, &registry("RootDir", "/exchsrvr/imcdata")),
        True
    );
    assert_eq!(verdict(&world, &registry("RootDir", "/elsewhere")), False);
    assert_eq!(verdict(&world, &registry("Absent", "1")), False);
    let disk = |free_over| Condition::Disk {
        path: path(&["Out"]),
        free_over,
    };
    world.set_free_bytes(1000);
    assert_eq!(verdict(&world, &disk(999)), True);
    assert_eq!(verdict(&world, &disk(1000)), False);
    let step = |id: &str, was| Condition::Step {
        step: id.parse().unwrap(),
        was,
    };
    assert_eq!(verdict(&world, &step("mine", StepWas::Done)), True);
    assert_eq!(verdict(&world, &step("mine", StepWas::Skipped)), False);
    assert_eq!(verdict(&world, &step("another", StepWas::Done)), CannotTell);
}
