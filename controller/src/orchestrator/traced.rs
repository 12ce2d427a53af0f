//! Spans of what was decided and stored.

use mailmend_telemetry::trace::{RunTrace, Span, Tracer};

use crate::decide::Action;
use crate::rollout::{Rollout, Run, RunPhase};
use mailmend_proto::run::RunId;

/// Tells what was stored: each decision that assigned a run, and each run that has ended with it.
pub(super) fn stored(
    tracer: &Tracer,
    rollout: &Rollout,
    actions: &[Action],
    (decided_ms, stored_ms): (i64, i64),
) {
    if !tracer.is_on() {
        return;
    }
    for action in actions {
        let span = match action {
            Action::Assign { run } => Some(decided(rollout, *run, (decided_ms, stored_ms))),
            Action::Enter { run, phase, why } if phase.is_final() => rollout
                .runs
                .iter()
                .find(|known| known.id == *run)
                .and_then(|run| ended(rollout, run, *phase, why, stored_ms)),
            _ => None,
        };
        if let Some(span) = span {
            tracer.tell(span);
        }
    }
}

fn trace(run: RunId) -> RunTrace {
    RunTrace::of(run.0.into_bytes())
}

/// The decision that a run begins, from its making to its being stored.
fn decided(rollout: &Rollout, run: RunId, times: (i64, i64)) -> Span {
    let trace = trace(run);
    let id = trace.span(&["decide"]);
    of(
        Span::new(trace, id, Some(trace.run()), "decide", times),
        rollout,
        run,
    )
}

/// The whole run: the root of its trace. One that was never assigned has no trace.
fn ended(rollout: &Rollout, run: &Run, phase: RunPhase, why: &str, ended_ms: i64) -> Option<Span> {
    let trace = trace(run.id);
    let times = (run.started_ms?, ended_ms);
    let span = Span::new(trace, trace.run(), None, "run", times)
        .with("mailmend.site", run.site.as_str())
        .with("mailmend.phase", phase.name());
    let bad = matches!(phase, RunPhase::Failed | RunPhase::NeedsPerson);
    let failed = bad.then(|| why.to_owned());
    Some(Span {
        failed,
        ..of(span, rollout, run.id)
    })
}

fn of(span: Span, rollout: &Rollout, run: RunId) -> Span {
    span.with("mailmend.run", run.to_string())
        .with("mailmend.rollout", rollout.id.to_string())
        .with("mailmend.policy", rollout.policy.as_str())
}
