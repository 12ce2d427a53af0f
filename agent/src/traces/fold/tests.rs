use super::*;
use mailmend_policy::digest::Digest;
use uuid::Uuid;

const RUN: RunId = RunId(Uuid::from_u128(7));

fn me() -> ServerName {
    "SRVB".parse().unwrap()
}

fn record(seq: u64, at_ms: i64, event: Event) -> Record {
    Record {
        seq,
        at_ms,
        run: RUN,
        event,
    }
}

fn admitted(traceparent: &str) -> Event {
    let assignment = wire::Assignment {
        run: RUN.to_string(),
        traceparent: traceparent.to_owned(),
        ..wire::Assignment::default()
    };
    Event::Admitted {
        fence: 1,
        plan: Digest::of(b"plan"),
        policy: Digest::of(b"policy"),
        assignment: assignment.encode_to_vec(),
    }
}

fn finished(outcome: Outcome) -> Event {
    Event::StepFinished {
        step: 0,
        attempt: 1,
        outcome,
        detail: "stopped".to_owned(),
        evidence: Vec::new(),
    }
}

fn life(traceparent: &str) -> Vec<Record> {
    vec![
        record(1, 1000, admitted(traceparent)),
        record(
            2,
            2000,
            Event::StepIntended {
                step: 0,
                attempt: 1,
            },
        ),
        record(3, 5000, finished(Outcome::Done)),
        record(
            4,
            6000,
            Event::Closed {
                how: Ended::Committed,
                detail: String::new(),
            },
        ),
    ]
}

fn spans(traces: &mut Traces, records: &[Record]) -> Vec<Span> {
    records
        .iter()
        .filter_map(|record| traces.after(record))
        .collect()
}

#[test]
fn a_step_hangs_below_the_part_and_the_part_below_the_order() {
    let order = trace(RUN).span(&["order"]);
    let place = Traceparent {
        trace: trace(RUN).trace(),
        parent: order,
    };
    let told = spans(&mut Traces::new(me()), &life(&place.to_text()));
    let [step, part] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!((step.name.as_ref(), part.name.as_ref()), ("step", "part"));
    assert_eq!(step.parent, Some(part.id));
    assert_eq!(step.ended.duration_since(step.begun).unwrap().as_secs(), 3);
    assert_eq!((part.parent, part.parent_is_remote), (Some(order), true));
    assert_eq!(
        part.id,
        trace(RUN).part("SRVB"),
        "the controller knows it too"
    );
    assert!(step.failed.is_none() && part.failed.is_none());
}

#[test]
fn an_agent_that_begins_again_tells_the_same_spans() {
    let life = life("");
    let whole = spans(&mut Traces::new(me()), &life);
    for killed in 0..=life.len() {
        let before = spans(&mut Traces::new(me()), &life[..killed]);
        // It reads the open run from its first record on.
        let after = spans(&mut Traces::new(me()), &life);
        assert_eq!(after, whole);
        assert!(before.iter().all(|span| whole.contains(span)), "{killed}");
    }
}

#[test]
fn a_place_in_another_trace_and_nonsense_are_passed_over() {
    let foreign = RunTrace::of([9; 16]);
    let foreign = Traceparent {
        trace: foreign.trace(),
        parent: foreign.run(),
    };
    for text in ["", "nonsense", &foreign.to_text()] {
        let told = spans(&mut Traces::new(me()), &life(text));
        assert_eq!(told.len(), 2);
        assert_eq!(
            (told[1].parent, told[1].parent_is_remote),
            (None, false),
            "{text}"
        );
        assert!(told.iter().all(|span| span.run == trace(RUN)));
    }
}

#[test]
fn what_failed_says_so_and_a_release_is_a_span_of_its_own() {
    let mut traces = Traces::new(me());
    let mut life = life("");
    life[2] = record(3, 5000, finished(Outcome::Unknown));
    let told = spans(&mut traces, &life);
    assert_eq!(told[0].failed.as_deref(), Some("stopped"));
    let again = [
        record(
            5,
            7000,
            Event::ReleaseOrdered {
                order: Uuid::from_u128(1),
                by: "anna".to_owned(),
                why: "the relay works".to_owned(),
                batch: None,
            },
        ),
        record(
            6,
            8000,
            Event::Closed {
                how: Ended::Released,
                detail: String::new(),
            },
        ),
    ];
    let released = spans(&mut traces, &again);
    assert_eq!(released.len(), 1);
    assert_eq!(released[0].name, "release");
    assert_eq!(released[0].parent, Some(told[1].id));
    assert_ne!(released[0].id, told[1].id);
    assert!(traces.knows(RUN));
}

#[test]
fn only_so_many_closed_runs_are_remembered() {
    let mut traces = Traces::new(me());
    for run in 0..200_u128 {
        for record in life("") {
            let run = RunId(Uuid::from_u128(run));
            traces.after(&Record { run, ..record });
        }
    }
    assert_eq!(traces.runs.len(), CLOSED);
}
