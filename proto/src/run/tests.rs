//! What the one match allows and refuses.

use std::collections::BTreeMap;

use mailmend_policy::digest::Digest;
use uuid::Uuid;

use super::*;

fn admitted() -> Event {
    let digest = Digest::of(b"plan");
    Event::Admitted {
        fence: 7,
        plan: digest,
        policy: digest,
        assignment: Vec::new(),
    }
}

fn advanced(through: u32) -> Event {
    Event::Advanced { fence: 7, through }
}

fn intended(step: u32, attempt: u32) -> Event {
    Event::StepIntended { step, attempt }
}

fn finished(step: u32, attempt: u32, outcome: Outcome) -> Event {
    Event::StepFinished {
        step,
        attempt,
        outcome,
        detail: String::new(),
        evidence: Vec::new(),
    }
}

fn batch() -> BatchId {
    BatchId(Uuid::from_u128(1))
}

fn entries(count: u32) -> Vec<Entry> {
    (0..count)
        .map(|index| Entry {
            index,
            name: format!("AAAAAA{index:02}"),
            file_id: u64::from(index),
            size: 10,
            modified_ms: 0,
            hash: Digest::of(&index.to_le_bytes()),
            mts_id: String::new(),
            message_id: String::new(),
            custody: Custody::Live,
        })
        .collect()
}

fn quarantined(count: u32) -> Vec<Event> {
    vec![
        admitted(),
        advanced(9),
        intended(0, 1),
        Event::BatchIntended {
            batch: batch(),
            step: Some(0),
            queue: "outbound-awaiting-delivery".into(),
            source: "Out".into(),
            held: "held".into(),
            files: u64::from(count),
            bytes: 10 * u64::from(count),
            copied_from: None,
        },
        Event::BatchEntries {
            batch: batch(),
            entries: entries(count),
        },
        Event::BatchHeld {
            batch: batch(),
            left: vec![],
        },
        finished(0, 1, Outcome::Done),
    ]
}

fn replay(replay: u32, first: u32, last: u32) -> Event {
    Event::ReplayIntended {
        batch: batch(),
        replay,
        step: Some(1),
        target: "Out".into(),
        entries: vec![(first, last)],
    }
}

fn refused(events: &[Event]) -> Illegal {
    let (last, before) = events.split_last().unwrap();
    let state = RunState::of(before).expect("all but the last are legal");
    state.after(last).expect_err("the last is illegal")
}

#[test]
fn nothing_happens_before_a_run_has_begun_or_twice() {
    assert_eq!(refused(&[advanced(1)]).event, "advanced");
    assert_eq!(refused(&[admitted(), admitted()]).event, "admitted");
}

#[test]
fn a_step_needs_the_watermark_and_runs_once() {
    assert!(
        refused(&[admitted(), intended(0, 1)])
            .why
            .contains("not released")
    );
    assert!(
        refused(&[admitted(), advanced(2), intended(0, 1), intended(1, 1)])
            .why
            .contains("step 0")
    );
    let done = [
        admitted(),
        advanced(1),
        intended(0, 1),
        finished(0, 1, Outcome::Done),
    ];
    RunState::of(&done).unwrap();
    assert!(
        refused(&[done.to_vec(), vec![intended(0, 2)]].concat())
            .why
            .contains("step 0")
    );
}

#[test]
fn an_attempt_rises_only_after_no_effect() {
    let after = |outcome| {
        let events = [
            admitted(),
            advanced(1),
            intended(0, 1),
            finished(0, 1, outcome),
            intended(0, 2),
        ];
        RunState::of(&events)
    };
    after(Outcome::NoEffect).unwrap();
    after(Outcome::Unknown).unwrap_err();
    after(Outcome::Done).unwrap_err();
}

#[test]
fn the_watermark_and_the_fence_never_fall() {
    assert!(
        refused(&[admitted(), advanced(3), advanced(2)])
            .why
            .contains("fall")
    );
    let old = Event::Advanced {
        fence: 6,
        through: 4,
    };
    assert!(
        refused(&[admitted(), advanced(3), old])
            .why
            .contains("fence")
    );
    let raised = Event::Fenced { fence: 9 };
    assert!(
        refused(&[admitted(), raised, advanced(1)])
            .why
            .contains("fence")
    );
}

#[test]
fn unwinding_only_goes_down_and_stops_all_forward_work() {
    let unwind = |down_to| Event::UnwindOrdered {
        fence: 7,
        down_to,
        last: false,
    };
    assert!(
        refused(&[admitted(), advanced(2), unwind(1), unwind(2)])
            .why
            .contains("rise")
    );
    assert!(
        refused(&[admitted(), advanced(2), unwind(1), intended(0, 1)])
            .why
            .contains("unwinding")
    );
    assert!(
        refused(&[admitted(), unwind(0), advanced(1)])
            .why
            .contains("unwinding")
    );
    let undone = [
        admitted(),
        advanced(1),
        intended(0, 1),
        finished(0, 1, Outcome::Done),
        unwind(0),
        Event::UndoIntended { step: 0 },
        Event::UndoFinished {
            step: 0,
            outcome: Outcome::Done,
            detail: String::new(),
        },
    ];
    let state = RunState::of(&undone).unwrap();
    assert_eq!(state.steps[&0], StepState::Undone);
}

#[test]
fn a_manifest_is_whole_before_anything_counts_as_held() {
    let mut short = quarantined(3);
    short.truncate(6);
    short[4] = Event::BatchEntries {
        batch: batch(),
        entries: entries(2),
    };
    assert!(refused(&short).why.contains("not whole"));
    let state = RunState::of(&quarantined(3)).unwrap();
    assert_eq!(state.custody_counts(), BTreeMap::from([(Custody::Held, 3)]));
}

#[test]
fn an_entry_is_given_back_only_while_it_is_held() {
    let mut events = quarantined(3);
    events.push(replay(1, 0, 1));
    let state = RunState::of(&events).unwrap();
    assert_eq!(state.custody_counts()[&Custody::Replaying], 2);
    events.push(replay(2, 1, 2));
    assert!(refused(&events).why.contains("replaying, not held"));
    let mut doubtful = quarantined(3);
    doubtful.push(Event::Settled {
        batch: batch(),
        entries: vec![Settlement {
            index: 0,
            custody: Custody::InDoubt,
            evidence: String::new(),
        }],
    });
    doubtful.push(replay(1, 0, 0));
    assert!(refused(&doubtful).why.contains("in-doubt, not held"));
}

#[test]
fn a_range_beyond_the_batch_is_refused_at_once() {
    let mut events = quarantined(3);
    events.push(replay(1, 2, u32::MAX));
    assert!(refused(&events).why.contains("does not exist"));
}

#[test]
fn what_is_gone_with_evidence_stays_gone() {
    let settle = |custody| Event::Settled {
        batch: batch(),
        entries: vec![Settlement {
            index: 0,
            custody,
            evidence: "1011".into(),
        }],
    };
    let mut events = quarantined(1);
    events.push(settle(Custody::GoneWithEvidence));
    events.push(settle(Custody::Held));
    assert!(refused(&events).why.contains("gone with evidence"));
}

#[test]
fn a_start_marks_what_may_have_been_read() {
    let mut events = quarantined(2);
    events.push(replay(1, 0, 0));
    let before = RunState::of(&events).unwrap();
    assert!(!before.batches[&batch()].replays[&1].start_followed);
    events.push(Event::ServiceChanged {
        service: "MSExchangeIMC".parse().unwrap(),
        change: ServiceChange::StartIntended,
        pid: 0,
    });
    let after = RunState::of(&events).unwrap();
    assert!(after.batches[&batch()].replays[&1].start_followed);
    assert_eq!(after.restarts, 1);
}

#[test]
fn a_run_is_not_closed_with_a_section_or_a_step_open() {
    let closed = Event::Closed {
        how: Ended::Committed,
        detail: String::new(),
    };
    let section = Event::SectionBegan {
        section: 0,
        service: "MSExchangeIMC".parse().unwrap(),
        boot: "b".into(),
        since_boot_ms: 0,
        budget_ms: 1,
    };
    assert!(
        refused(&[admitted(), section, closed.clone()])
            .why
            .contains("section 0")
    );
    assert!(
        refused(&[admitted(), advanced(1), intended(0, 1), closed.clone()])
            .why
            .contains("step 0")
    );
    assert!(
        refused(&[admitted(), closed, advanced(1)])
            .why
            .contains("closed")
    );
}

#[test]
fn a_section_ends_in_one_way_and_does_not_begin_again() {
    let began = Event::SectionBegan {
        section: 0,
        service: "MSExchangeIMC".parse().unwrap(),
        boot: "boot".into(),
        since_boot_ms: 0,
        budget_ms: 1,
    };
    let ended = Event::SectionEnded {
        section: 0,
        how: SectionEnd::Exited,
        detail: String::new(),
    };
    let state = RunState::of(&[admitted(), began.clone(), ended.clone()]).unwrap();
    assert_eq!(state.ended_sections.get(&0), Some(&SectionEnd::Exited));
    assert!(
        refused(&[admitted(), began.clone(), ended, began])
            .why
            .contains("has ended")
    );
}

#[test]
fn an_unwinding_that_is_the_last_stays_the_last() {
    let ordered = |down_to, last| Event::UnwindOrdered {
        fence: 7,
        down_to,
        last,
    };
    let state = RunState::of(&[admitted(), ordered(3, true), ordered(2, false)]).unwrap();
    assert_eq!((state.down_to, state.unwind_last), (Some(2), true));
}

#[test]
fn an_order_of_a_person_is_taken_once_and_a_release_opens_only_what_is_closed() {
    let order = Uuid::from_u128(9);
    let release = |order| Event::ReleaseOrdered {
        order,
        by: "anna".into(),
        why: "the queue is clean again".into(),
        batch: None,
    };
    let closed = |how| Event::Closed {
        how,
        detail: String::new(),
    };
    let mut events = quarantined(2);
    assert!(
        refused(&[events.clone(), vec![release(order)]].concat())
            .why
            .contains("not closed")
    );
    events.extend([closed(Ended::AtRest), release(order)]);
    let open = RunState::of(&events).unwrap();
    assert_eq!(open.closed, None);
    assert!(open.orders.contains(&order));
    // Nothing happens in it but the release.
    assert!(
        refused(&[events.clone(), vec![advanced(9)]].concat())
            .why
            .contains("being released")
    );
    events.extend([
        Event::SectionBegan {
            section: 7,
            service: "MSExchangeIMC".parse().unwrap(),
            boot: "boot".into(),
            since_boot_ms: 0,
            budget_ms: 1,
        },
        replay(1, 0, 1),
        Event::SectionEnded {
            section: 7,
            how: SectionEnd::Committed,
            detail: String::new(),
        },
    ]);
    let given = RunState::of(&events).unwrap().release.unwrap();
    assert_eq!(given.section, Some(SectionEnd::Committed));
    assert_eq!(given.replays, [(batch(), 1)]);
    events.push(closed(Ended::Released));
    let over = RunState::of(&events).unwrap();
    assert_eq!((over.release, over.closed), (None, Some(Ended::Released)));
    assert!(
        refused(&[events.clone(), vec![release(order)]].concat())
            .why
            .contains("taken already")
    );
    let settled = Event::SettleOrdered {
        order,
        by: "anna".into(),
        why: "the recipient has it".into(),
    };
    assert!(
        refused(&[events, vec![settled]].concat())
            .why
            .contains("taken already")
    );
}

#[test]
fn a_reconciliation_that_begins_anew_does_not_count_twice() {
    let told = |piece, delivered| Event::Reconciled {
        step: 0,
        piece,
        delivered,
        messages: vec![],
    };
    let begun = [admitted(), advanced(1), intended(0, 1)];
    let after = |told: &[Event]| RunState::of(begun.iter().chain(told));
    let state = after(&[told(1, 5), told(2, 3), told(1, 5), told(2, 3)]).unwrap();
    assert_eq!(state.reconciled[&0].delivered, 8);
    for broken in [
        vec![told(2, 1)],
        vec![told(1, 1), told(3, 1)],
        vec![told(0, 1)],
    ] {
        after(&broken).unwrap_err();
    }
}

#[test]
fn copies_become_custody_only_by_the_order_of_a_person_and_are_all_that_it_gives_back() {
    let order = Uuid::from_u128(9);
    let recover = Event::RecoverOrdered {
        order,
        by: "anna".into(),
        why: "they are missed".into(),
        left: vec!["`<2@peer.example>`: it was delivered after all".into()],
    };
    let closed = Event::Closed {
        how: Ended::Committed,
        detail: String::new(),
    };
    let copies = BatchId(Uuid::from_u128(77));
    let taken_up = Event::BatchIntended {
        batch: copies,
        step: None,
        queue: "inbound-awaiting-conversion".into(),
        source: "In".into(),
        held: "held".into(),
        files: 0,
        bytes: 0,
        copied_from: Some("escrow/In".into()),
    };
    let mut events = quarantined(2);
    let unordered = refused(&[events.clone(), vec![taken_up.clone()]].concat());
    assert!(unordered.why.contains("nobody ordered"), "{unordered}");
    let open = refused(&[events.clone(), vec![recover.clone()]].concat());
    assert!(open.why.contains("not closed"), "{open}");
    events.extend([closed, recover.clone(), taken_up.clone()]);
    let state = RunState::of(&events).unwrap();
    let release = state.release.unwrap();
    // What the run holds besides is not meant.
    assert_eq!(release.batches.as_deref(), Some(&[copies][..]));
    assert_eq!(release.left_out.len(), 1);
    assert!(state.batches[&copies].copied_from.is_some());
    let again = refused(&[events.clone(), vec![recover]].concat());
    assert!(again.why.contains("not closed"), "{again}");
}
