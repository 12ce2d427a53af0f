//! W3C Trace Context: the place in a trace, as text in an order.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;

const FIELD: &str = "traceparent";
/// A shorter text is no place: version 00 has so many characters, and the library takes ids without their zeros.
const SHORTEST: usize = 55;
/// A longer text is no place either; a later version may add to it.
const LONGEST: usize = 128;

/// A place in a trace: spans of whoever reads it hang below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent {
    /// The trace.
    pub trace: TraceId,
    /// The span that is the parent.
    pub parent: SpanId,
}

impl Traceparent {
    /// `00-TRACE-PARENT-01`: whoever writes it records.
    #[must_use]
    pub fn to_text(self) -> String {
        let place = SpanContext::new(
            self.trace,
            self.parent,
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        let mut fields = HashMap::new();
        let context = opentelemetry::Context::new().with_remote_span_context(place);
        TraceContextPropagator::new().inject_context(&context, &mut fields);
        fields.remove(FIELD).unwrap_or_default()
    }

    /// Reads a text; `None`: it is no place in a trace, which is no fault of anything that matters.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if !(SHORTEST..=LONGEST).contains(&text.len()) {
            return None;
        }
        let fields = HashMap::from([(FIELD.to_owned(), text.to_owned())]);
        let nowhere = opentelemetry::Context::new();
        let context = TraceContextPropagator::new().extract_with_context(&nowhere, &fields);
        let span = context.span();
        let place = span.span_context();
        place.is_valid().then(|| Self {
            trace: place.trace_id(),
            parent: place.span_id(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::RunTrace;

    #[test]
    fn what_is_written_is_read_again_and_is_as_the_standard_has_it() {
        let run = RunTrace::of([7; 16]);
        let place = Traceparent {
            trace: run.trace(),
            parent: run.run(),
        };
        let text = place.to_text();
        assert_eq!(text, format!("00-{}-{}-01", run.trace(), run.run()));
        assert_eq!(Traceparent::read(&text), Some(place));
    }

    #[test]
    fn nonsense_is_no_place_and_never_a_panic() {
        let zeros = format!("00-{}-{}-01", "0".repeat(32), "1".repeat(16));
        let long = format!("00-{}-{}-01", "1".repeat(32), "1".repeat(1 << 20));
        for text in ["", "-", "00-1-2-01", "ä", "00-xyz", &zeros, &long] {
            assert_eq!(
                Traceparent::read(text),
                None,
                "{}",
                &text[..text.len().min(80)]
            );
        }
    }
}
