//! Records → spans. Pure.

use std::collections::BTreeMap;

use mailmend_policy::name::ServerName;
use mailmend_policy::plan::Plan;
use mailmend_proto::run::{Ended, Event, Outcome, Record, RunId, SectionEnd};
use mailmend_proto::wire;
use mailmend_telemetry::trace::{RunTrace, Span, SpanId, SpanKind, Traceparent};
use prost::Message as _;

use crate::inbox::bind;

/// So many runs are remembered after their end: a release may open one again.
const CLOSED: usize = 64;

/// What the records so far began and did not end.
#[derive(Debug)]
pub(super) struct Traces {
    me: ServerName,
    runs: BTreeMap<RunId, Part>,
    /// Runs that are closed, the oldest first.
    closed: Vec<RunId>,
}

/// This agent's part of a run.
#[derive(Debug)]
struct Part {
    /// What the controller said that its span hangs below.
    parent: Option<SpanId>,
    begun_ms: i64,
    /// A release or recovery that is under way, after the part was closed: its first record and time.
    again: Option<(u64, i64, &'static str)>,
    plan: Option<Plan>,
    what: &'static str,
    /// When each step that has not ended was begun.
    steps: BTreeMap<u32, i64>,
    undos: BTreeMap<u32, i64>,
    section: Option<(u32, String, i64)>,
}

impl Traces {
    pub(super) fn new(me: ServerName) -> Self {
        Self {
            me,
            runs: BTreeMap::new(),
            closed: Vec::new(),
        }
    }

    /// Whether the records of a run are known from its first on.
    pub(super) fn knows(&self, run: RunId) -> bool {
        self.runs.contains_key(&run)
    }

    /// The spans that end with a record.
    pub(super) fn after(&mut self, record: &Record) -> Option<Span> {
        let (at_ms, run) = (record.at_ms, record.run);
        match &record.event {
            Event::Admitted { assignment, .. } => {
                let part = Part::admitted(run, assignment, &self.me, at_ms);
                self.runs.insert(run, part);
                None
            }
            Event::DutyBegan { .. } => {
                self.runs.insert(run, Part::began(at_ms, "duty"));
                None
            }
            Event::Closed { how, detail } => {
                let span = self.runs.get_mut(&run)?.closed(run, &self.me, at_ms);
                let span = span
                    .with("mailmend.ended", ended(*how))
                    .with("mailmend.detail", detail);
                self.closed.retain(|other| *other != run);
                self.closed.push(run);
                if self.closed.len() > CLOSED {
                    let oldest = self.closed.remove(0);
                    self.runs.remove(&oldest);
                }
                let failed = (*how == Ended::AtRest).then(|| "a person is needed".to_owned());
                Some(Span { failed, ..span })
            }
            event => {
                let part = self.runs.get_mut(&run)?;
                if let Event::ReleaseOrdered { .. } | Event::RecoverOrdered { .. } = event {
                    self.closed.retain(|other| *other != run);
                }
                part.after(run, &self.me, record)
            }
        }
    }
}

impl Part {
    fn began(begun_ms: i64, what: &'static str) -> Self {
        Self {
            parent: None,
            begun_ms,
            again: None,
            plan: None,
            what,
            steps: BTreeMap::new(),
            undos: BTreeMap::new(),
            section: None,
        }
    }

    fn admitted(run: RunId, assignment: &[u8], me: &ServerName, at_ms: i64) -> Self {
        let mut part = Self::began(at_ms, "part");
        // What an older agent admitted may be what this one would not: its spans have numbers only.
        if let Ok(assignment) = wire::Assignment::decode(assignment) {
            part.parent = Traceparent::read(&assignment.traceparent)
                .filter(|place| place.trace == trace(run).trace())
                .map(|place| place.parent);
            part.plan = bind(&assignment, me).ok().map(|bound| bound.plan);
        }
        part
    }

    /// The span that what happens now hangs below.
    fn own(&self, run: RunId, me: &ServerName) -> SpanId {
        let trace = trace(run);
        match &self.again {
            None => trace.part(me.as_str()),
            Some((seq, ..)) => trace.span(&["again", me.as_str(), &seq.to_string()]),
        }
    }

    fn span(
        &self,
        run: RunId,
        me: &ServerName,
        name: &'static str,
        words: &[&str],
        times: (i64, i64),
    ) -> Span {
        let words = [&[name, me.as_str()][..], words].concat();
        let trace = trace(run);
        let own = Some(self.own(run, me));
        Span::new(trace, trace.span(&words), own, name, times)
            .with("mailmend.run", run.to_string())
            .with("mailmend.agent", me.as_str())
    }

    /// A span of a step, with its name in the policy.
    fn of_step(&self, span: Span, step: u32) -> Span {
        let span = span.with_number("mailmend.step.index", step.into());
        let planned = self.plan.as_ref().and_then(|plan| {
            let index = usize::try_from(step).ok()?;
            plan.steps.get(index)
        });
        match planned {
            Some(planned) => span
                .with("mailmend.step.id", planned.id.as_str())
                .with("mailmend.step.action", planned.action.name()),
            None => span,
        }
    }

    fn after(&mut self, run: RunId, me: &ServerName, record: &Record) -> Option<Span> {
        let at_ms = record.at_ms;
        let seq = record.seq.to_string();
        match &record.event {
            Event::StepIntended { step, .. } => {
                self.steps.insert(*step, at_ms);
                None
            }
            Event::StepFinished {
                step,
                attempt,
                outcome,
                detail,
                ..
            } => {
                let begun_ms = self.steps.remove(step)?;
                let span = self.span(run, me, "step", &[&seq], (begun_ms, at_ms));
                let span = self
                    .of_step(span, *step)
                    .with_number("mailmend.step.attempt", (*attempt).into());
                Some(came_of(span, *outcome, detail))
            }
            Event::StepSkipped { step, why } => {
                let span = self.span(run, me, "step", &[&seq], (at_ms, at_ms));
                let span = self.of_step(span, *step);
                Some(
                    span.with("mailmend.outcome", "skipped")
                        .with("mailmend.detail", why),
                )
            }
            Event::UndoIntended { step } => {
                self.undos.insert(*step, at_ms);
                None
            }
            Event::UndoFinished {
                step,
                outcome,
                detail,
            } => {
                let begun_ms = self.undos.remove(step)?;
                let span = self.span(run, me, "undo", &[&seq], (begun_ms, at_ms));
                Some(came_of(self.of_step(span, *step), *outcome, detail))
            }
            Event::SectionBegan {
                section, service, ..
            } => {
                self.section = Some((*section, service.to_string(), at_ms));
                None
            }
            Event::SectionEnded { how, detail, .. } => {
                let (section, service, begun_ms) = self.section.take()?;
                let span = self.span(run, me, "section", &[&seq], (begun_ms, at_ms));
                let span = span
                    .with_number("mailmend.section", section.into())
                    .with("mailmend.service", service)
                    .with("mailmend.detail", detail);
                let failed = (*how == SectionEnd::HandedOver)
                    .then(|| "service could not be started again".to_owned());
                Some(Span { failed, ..span })
            }
            Event::ReleaseOrdered { .. } => {
                self.again = Some((record.seq, at_ms, "release"));
                None
            }
            Event::RecoverOrdered { .. } => {
                self.again = Some((record.seq, at_ms, "recover"));
                None
            }
            _ => None,
        }
    }

    /// The span of the part itself, or of what opened it again.
    fn closed(&mut self, run: RunId, me: &ServerName, at_ms: i64) -> Span {
        let id = self.own(run, me);
        let trace = trace(run);
        let span = match self.again.take() {
            Some((_, begun_ms, what)) => {
                let below = Some(trace.part(me.as_str()));
                Span::new(trace, id, below, what, (begun_ms, at_ms))
            }
            None => {
                let mut span = Span::new(trace, id, self.parent, self.what, (self.begun_ms, at_ms));
                span.parent_is_remote = self.parent.is_some();
                if span.parent_is_remote {
                    span.kind = SpanKind::Consumer;
                }
                span
            }
        };
        span.with("mailmend.run", run.to_string())
            .with("mailmend.agent", me.as_str())
    }
}

fn trace(run: RunId) -> RunTrace {
    RunTrace::of(run.0.into_bytes())
}

fn came_of(span: Span, outcome: Outcome, detail: &str) -> Span {
    let (name, failed) = match outcome {
        Outcome::Done => ("done", false),
        Outcome::NoEffect => ("no-effect", true),
        Outcome::Unknown => ("unknown", true),
    };
    let span = span
        .with("mailmend.outcome", name)
        .with("mailmend.detail", detail);
    Span {
        failed: failed.then(|| detail.to_owned()),
        ..span
    }
}

const fn ended(how: Ended) -> &'static str {
    match how {
        Ended::Committed => "committed",
        Ended::NotNeeded => "not-needed",
        Ended::Unwound => "unwound",
        Ended::AtRest => "at-rest",
        Ended::Released => "released",
    }
}

#[cfg(test)]
mod tests;
