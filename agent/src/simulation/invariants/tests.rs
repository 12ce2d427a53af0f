//! Each invariant is seen to fail on a world that breaks it, and to hold on the same world unbroken.

use mailmend_policy::digest::Digest;
use mailmend_proto::run::{BatchId, Ended, SectionEnd};
use uuid::Uuid;

use super::*;
use crate::host::simulated::{SimSettings, SimWorld};

const RUN: RunId = RunId(Uuid::from_u128(1));

fn service() -> ServiceName {
    "MSExchangeIMC".parse().unwrap()
}

fn told(events: Vec<Event>) -> (Memory, Vec<String>) {
    let (mut memory, mut found) = (Memory::default(), Vec::new());
    for (seq, event) in (1..).zip(events) {
        let record = Record {
            seq,
            at_ms: 0,
            run: RUN,
            event,
        };
        memory.take(&record, &service(), &mut found);
    }
    memory.replays(&mut found);
    (memory, found)
}

fn admitted(fence: u64) -> Event {
    Event::Admitted {
        fence,
        plan: Digest::of(b"plan"),
        policy: Digest::of(b"policy"),
        assignment: Vec::new(),
    }
}

fn balance() -> Balance {
    let world = SimWorld::new(SimSettings::default());
    world.add_outbound(2, 100);
    world.balance()
}

fn names(found: &[String], invariant: &str) {
    assert!(!found.is_empty(), "{invariant} does not fail");
    assert!(
        found.iter().all(|one| one.starts_with(invariant)),
        "{found:?}"
    );
}

#[test]
fn mail_that_is_lost_altered_or_unnamed_twice_breaks_i1() {
    let checked = |named: &Named, change: &dyn Fn(&mut Account)| {
        let (mut balance, mut found) = (balance(), Vec::new());
        change(&mut balance.accounts[0]);
        conservation(&balance, &Kept::new(), named, true, &mut found);
        found
    };
    let unnamed = Named::default();
    let check = |change: &dyn Fn(&mut Account)| checked(&unnamed, change);
    assert_eq!(check(&|_| {}), Vec::<String>::new());
    names(&check(&|one| one.live.clear()), "I1");
    names(&check(&|one| one.altered.push("/x".into())), "I1");
    names(&check(&|one| one.delivered = 2), "I1");
    // Named by its file, or by its id in what was said of a start of the machine: that one and no other.
    let (first, second) = (&balance().accounts[0], &balance().accounts[1]);
    for (of, broken) in [(first, false), (second, true)] {
        let file = Named {
            files: [of.spool_name.clone()].into(),
            ..Named::default()
        };
        let text = Named {
            texts: vec![format!("1 messages ...; {}: line 7", of.message_id)],
            ..Named::default()
        };
        for named in [file, text] {
            let found = checked(&named, &|one| one.delivered = 2);
            assert_eq!(!found.is_empty(), broken, "{named:?}: {found:?}");
        }
    }
}

#[test]
fn mail_that_is_not_where_its_state_says_breaks_i1() {
    let mut found = Vec::new();
    for (state, delivered, live, broken) in [
        (Custody::Held, 0, true, true),
        (Custody::Live, 0, true, false),
        (Custody::GoneWithEvidence, 0, false, true),
        (Custody::GoneWithEvidence, 1, false, false),
        (Custody::GoneWithEvidence, 1, true, true),
        (Custody::Replaying, 0, false, true),
        (Custody::Replaying, 0, true, false),
        (Custody::InDoubt, 1, true, true),
        (Custody::InDoubt, 1, false, false),
    ] {
        let mut balance = balance();
        let one = &mut balance.accounts[0];
        one.delivered = delivered;
        if !live {
            one.live.clear();
        }
        let kept = Kept::from([(one.spool_name.clone(), vec![state])]);
        found.clear();
        custody(&balance, &kept, &Named::default(), &mut found);
        assert_eq!(
            !found.is_empty(),
            broken,
            "{state:?} {delivered} {live}: {found:?}"
        );
    }
}

#[test]
fn custody_of_what_never_was_breaks_i1() {
    let kept = Kept::from([("NOSUCH00".to_owned(), vec![Custody::Held])]);
    let mut found = Vec::new();
    conservation(&balance(), &kept, &Named::default(), true, &mut found);
    names(&found, "I1");
}

#[test]
fn a_second_replay_breaks_i3_unless_it_was_taken_back() {
    let batch = BatchId(Uuid::from_u128(3));
    let replay = |replay| Event::ReplayIntended {
        batch,
        replay,
        step: None,
        target: "Out".into(),
        entries: vec![(0, 1)],
    };
    assert!(told(vec![replay(1)]).1.is_empty());
    names(&told(vec![replay(1), replay(2)]).1, "I3");
    let back = Event::Settled {
        batch,
        entries: [0, 1]
            .map(|index| mailmend_proto::run::Settlement {
                index,
                custody: Custody::Held,
                evidence: "never read".into(),
            })
            .into(),
    };
    assert!(told(vec![replay(1), back, replay(2)]).1.is_empty());
}

#[test]
fn a_step_that_acts_twice_breaks_i5() {
    let intended = |attempt| Event::StepIntended { step: 2, attempt };
    assert!(told(vec![intended(1), intended(2)]).1.is_empty());
    names(&told(vec![intended(1), intended(1)]).1, "I5");
}

#[test]
fn a_fence_that_falls_breaks_i6() {
    assert!(
        told(vec![admitted(4), Event::Fenced { fence: 5 }])
            .1
            .is_empty()
    );
    names(&told(vec![admitted(4), Event::Fenced { fence: 3 }]).1, "I6");
    names(&told(vec![admitted(4), admitted(4)]).1, "I6");
}

#[test]
fn service_that_the_agent_stopped_and_nobody_started_breaks_i8() {
    let stopped = Event::ServiceChanged {
        service: service(),
        change: ServiceChange::Stopped,
        pid: 0,
    };
    let alarm = Event::Alarm {
        code: "A054-service-left-down".into(),
        text: String::new(),
    };
    let check = |events: Vec<Event>, down: u64| {
        let (memory, mut found) = told(events);
        memory.service(Some(Duration::from_secs(down)), Duration::ZERO, &mut found);
        found
    };
    assert!(check(vec![stopped.clone()], 60).is_empty());
    names(&check(vec![stopped.clone()], 600), "I8");
    assert!(check(vec![stopped, alarm], 600).is_empty());
    // Whoever else stopped it: not ours to start.
    assert!(check(vec![], 600).is_empty());
}

#[test]
fn a_section_that_ends_twice_or_is_left_open_breaks_i9() {
    let began = Event::SectionBegan {
        section: 0,
        service: service(),
        boot: "boot".into(),
        since_boot_ms: 0,
        budget_ms: 1,
    };
    let ended = Event::SectionEnded {
        section: 0,
        how: SectionEnd::Committed,
        detail: String::new(),
    };
    let closed = Event::Closed {
        how: Ended::Committed,
        detail: String::new(),
    };
    assert!(
        told(vec![began.clone(), ended.clone(), closed.clone()])
            .1
            .is_empty()
    );
    names(&told(vec![began.clone(), ended.clone(), ended]).1, "I9");
    names(&told(vec![began.clone(), began.clone()]).1, "I9");
    names(&told(vec![began, closed]).1, "I9");
}

#[test]
fn more_starts_than_the_guard_allows_break_i12() {
    let mut found = Vec::new();
    restarts(4, 4, &mut found);
    assert!(found.is_empty());
    restarts(5, 4, &mut found);
    names(&found, "I12");
}
