//! A span: something that took time, with what came of it.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::SpanData;

use super::ids::RunTrace;

/// The longest text of an attribute, bytes: the journal has the rest.
const LONGEST: usize = 1024;

/// A span that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The run that it belongs to.
    pub run: RunTrace,
    /// Its own id.
    pub id: SpanId,
    /// What it hangs below; `None`: it is the trace's root.
    pub parent: Option<SpanId>,
    /// Whether the parent is another process'.
    pub parent_is_remote: bool,
    /// Its role.
    pub kind: SpanKind,
    /// What it is called: one of a few words. Ids and values stand in attributes.
    pub name: Cow<'static, str>,
    /// When it began.
    pub begun: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// What is known of it.
    pub attributes: Vec<KeyValue>,
    /// Why it failed; `None`: it did not.
    pub failed: Option<String>,
}

impl Span {
    /// A span without attributes that did not fail, of two times in milliseconds since 1970 UTC.
    #[must_use]
    pub fn new(
        run: RunTrace,
        id: SpanId,
        parent: Option<SpanId>,
        name: impl Into<Cow<'static, str>>,
        (begun_ms, ended_ms): (i64, i64),
    ) -> Self {
        Self {
            run,
            id,
            parent,
            parent_is_remote: false,
            kind: SpanKind::Internal,
            name: name.into(),
            begun: at(begun_ms),
            // A clock that was set back must not make a span without an end.
            ended: at(ended_ms.max(begun_ms)),
            attributes: Vec::new(),
            failed: None,
        }
    }

    /// The same with one more thing known of it. A long text is cut.
    #[must_use]
    pub fn with(mut self, name: &'static str, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.len() > LONGEST {
            text.truncate(text.floor_char_boundary(LONGEST));
        }
        self.attributes.push(KeyValue::new(name, text));
        self
    }

    /// The same with one more number known of it.
    #[must_use]
    pub fn with_number(mut self, name: &'static str, number: i64) -> Self {
        self.attributes.push(KeyValue::new(name, number));
        self
    }

    pub(super) fn into_data(self, scope: &InstrumentationScope) -> SpanData {
        let place = SpanContext::new(
            self.run.trace(),
            self.id,
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        );
        SpanData {
            span_context: place,
            parent_span_id: self.parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: self.parent_is_remote,
            span_kind: self.kind,
            name: self.name,
            start_time: self.begun,
            end_time: self.ended,
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: self.failed.map_or(Status::Unset, Status::error),
            instrumentation_scope: scope.clone(),
        }
    }
}

fn at(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
