//! Traces: one for each run, over the controller and the agents that carry it out.
//!
//! The ids follow from the run's id ([`RunTrace`]), so that whoever begins again after a crash goes on with the same
//! trace. The order carries the place that the agent's spans hang below ([`Traceparent`]). Spans are given to a
//! collector by OTLP ([`Tracer`]); nobody ever waits for it.

mod collector;
mod context;
mod ids;
mod span;

pub use collector::{Counts, Endpoint, EndpointFault, Exporting, QUEUE, Service, Tracer, start};
pub use context::Traceparent;
pub use ids::RunTrace;
pub use opentelemetry::KeyValue;
pub use opentelemetry::trace::{SpanId, SpanKind, TraceId};
pub use span::Span;
