//! Spans of what passes over an agent's stream: orders out, reports in.

use std::collections::BTreeMap;
use std::time::SystemTime;

use mailmend_policy::name::ServerName;
use mailmend_proto::convert::run_from_wire;
use mailmend_proto::run::RunId;
use mailmend_proto::wire::{self, to_agent};
use mailmend_telemetry::trace::{RunTrace, Span, SpanKind, Traceparent, Tracer};

/// Gives an assignment the place that the agent's spans hang below, and answers the span of its sending, which is told
/// when it was sent. Each sending is a span of its own: the agent journals the place of the one that it admits.
pub(super) fn order(
    tracer: &Tracer,
    agent: &ServerName,
    message: &mut wire::ToAgent,
    now_ms: i64,
) -> Option<Span> {
    if !tracer.is_on() {
        return None;
    }
    let Some(to_agent::Message::Assignment(assignment)) = &mut message.message else {
        return None;
    };
    let run = run_from_wire(&assignment.run).ok()?;
    let trace = RunTrace::of(run.0.into_bytes());
    let id = trace.span(&["order", agent.as_str(), &now_ms.to_string()]);
    let place = Traceparent {
        trace: trace.trace(),
        parent: id,
    };
    assignment.traceparent = place.to_text();
    let below = Some(trace.span(&["decide"]));
    let span = Span::new(trace, id, below, "order", (now_ms, now_ms));
    let span = Span {
        kind: SpanKind::Producer,
        begun: SystemTime::now(),
        ..span
    };
    Some(of(span, run, agent))
}

/// How many records of which run a report has; empty where nobody listens.
pub(super) fn counted(tracer: &Tracer, report: &wire::Report) -> BTreeMap<RunId, i64> {
    let mut runs = BTreeMap::new();
    if tracer.is_on() {
        for record in &report.records {
            if let Ok(run) = run_from_wire(&record.run) {
                *runs.entry(run).or_default() += 1;
            }
        }
    }
    runs
}

/// Tells that a report was stored, in the trace of each run that it is of, below the agent's part.
pub(super) fn stored(
    tracer: &Tracer,
    agent: &ServerName,
    runs: BTreeMap<RunId, i64>,
    begun: SystemTime,
    seq: u64,
) {
    for (run, records) in runs {
        let trace = RunTrace::of(run.0.into_bytes());
        let id = trace.span(&["store", agent.as_str(), &seq.to_string()]);
        let span = Span::new(trace, id, Some(trace.part(agent.as_str())), "store", (0, 0));
        let span = Span {
            begun,
            ended: SystemTime::now().max(begun),
            parent_is_remote: true,
            ..span
        };
        tracer.tell(of(span, run, agent).with_number("mailmend.records", records));
    }
}

fn of(span: Span, run: RunId, agent: &ServerName) -> Span {
    span.with("mailmend.run", run.to_string())
        .with("mailmend.agent", agent.as_str())
}
