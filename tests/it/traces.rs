//! Traces over real processes: a controller and agents tell one collector, and each run is one trace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use mailmend_telemetry::trace::RunTrace;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::lab_run::{lab, report};

const SCENARIO: &str = "stuck-outbound";
const VARIABLE: &str = "MAILMEND_OTLP_ENDPOINT";

/// A collector on a port of its own, for as long as it lives.
struct Collector {
    taken: Taken,
    address: String,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Taken {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let taken = Taken::default();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(taken.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(server);
        Self {
            taken,
            address,
            _runtime: runtime,
        }
    }

    /// Every span with the name of the service that told it.
    fn told(&self) -> Vec<(String, Span)> {
        let requests = self.taken.0.lock().unwrap();
        let mut told = Vec::new();
        for resource in requests.iter().flat_map(|request| &request.resource_spans) {
            let of = &resource.resource.as_ref().unwrap().attributes;
            let service = text(of, "service.name").unwrap();
            let spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            told.extend(spans.map(|span| (service.clone(), span.clone())));
        }
        told
    }
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|one| one.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

/// Service, id and parent of a span.
type Placed = (String, Vec<u8>, Vec<u8>);

/// The spans of one run.
#[derive(Default)]
struct Trace {
    ids: BTreeSet<Vec<u8>>,
    /// By name.
    spans: BTreeMap<String, Vec<Placed>>,
}

impl Trace {
    fn of(&self, name: &str) -> &[Placed] {
        self.spans.get(name).map_or(&[], Vec::as_slice)
    }

    fn has(&self, name: &str, id: &[u8]) -> bool {
        self.of(name).iter().any(|(_, other, _)| other == id)
    }
}

fn by_run(told: Vec<(String, Span)>) -> BTreeMap<String, Trace> {
    let mut traces: BTreeMap<String, Trace> = BTreeMap::new();
    for (service, span) in told {
        let run = text(&span.attributes, "mailmend.run").expect("each span names its run");
        let trace = traces.entry(run).or_default();
        trace.ids.insert(span.trace_id);
        let known = trace.spans.entry(span.name).or_default();
        known.push((service, span.span_id, span.parent_span_id));
    }
    traces
}

/// Each run is one trace: decision, order, the agent's part and its steps, and what was stored, each below the other.
/// Answers how many agents' parts were told.
fn assert_whole(traces: &BTreeMap<String, Trace>) -> usize {
    let mut parts = 0;
    for (run, trace) in traces {
        let id = RunTrace::of(Uuid::parse_str(run).unwrap().into_bytes());
        let expected = BTreeSet::from([id.trace().to_bytes().to_vec()]);
        assert_eq!(
            trace.ids, expected,
            "run {run} is one trace, which its id tells"
        );
        for (service, _, parent) in trace.of("decide") {
            assert_eq!(
                (service.as_str(), parent.as_slice()),
                ("mailmend", &id.run().to_bytes()[..])
            );
        }
        for (service, own, parent) in trace.of("run") {
            assert_eq!(service, "mailmend");
            assert!(parent.is_empty() && *own == id.run().to_bytes());
        }
        for (service, _, parent) in trace.of("order") {
            assert_eq!(service, "mailmend");
            assert!(
                trace.has("decide", parent),
                "an order of {run} hangs below the decision"
            );
        }
        // Duties of agents are no orders.
        for (service, own, parent) in trace.of("part") {
            parts += 1;
            assert_eq!(service, "mailmend-agent");
            assert!(
                trace.has("order", parent),
                "a part of {run} hangs below the order, which another process told"
            );
            assert!(
                trace
                    .of("step")
                    .iter()
                    .any(|(service, _, above)| { service == "mailmend-agent" && above == own }),
                "run {run} has steps"
            );
            assert!(
                trace
                    .of("store")
                    .iter()
                    .any(|(service, _, above)| { service == "mailmend" && above == own }),
                "the controller stored what the part of {run} reported"
            );
        }
    }
    parts
}

#[test]
fn each_run_is_one_trace_over_controller_and_agents() {
    let collector = Collector::start();
    let arguments = [
        "--json",
        "--waited-before",
        "--messages",
        "20",
        "--seed",
        "3",
    ];
    let output = lab(SCENARIO, &arguments)
        .env(VARIABLE, &collector.address)
        .output()
        .unwrap();
    assert_eq!(report(&output).outcome, "mended");
    let traces = by_run(collector.told());
    assert!(assert_whole(&traces) > 0, "agents told their parts");
    assert!(
        traces.values().any(|trace| !trace.of("run").is_empty()),
        "the controller told the run"
    );
    assert!(
        traces.values().any(|trace| !trace.of("section").is_empty()),
        "how long service was away is a span"
    );
}

#[test]
fn a_run_that_outlives_crashes_of_its_agents_goes_on_with_its_trace() {
    let collector = Collector::start();
    let arguments = [
        "--json",
        "--waited-before",
        "--messages",
        "40",
        "--seed",
        "7",
        "--kills",
        "6",
    ];
    let output = lab(SCENARIO, &arguments)
        .env(VARIABLE, &collector.address)
        .output()
        .unwrap();
    assert_eq!(report(&output).harm(), Vec::<String>::new());
    let traces = by_run(collector.told());
    for (run, trace) in &traces {
        let id = RunTrace::of(Uuid::parse_str(run).unwrap().into_bytes());
        let expected = BTreeSet::from([id.trace().to_bytes().to_vec()]);
        assert_eq!(trace.ids, expected, "one trace, whoever was killed");
        for (_, own, _) in trace.of("part") {
            // Its parent may have died with the controller that sent the order; its children are there.
            assert!(
                trace.of("step").iter().any(|(_, _, above)| above == own),
                "{run}"
            );
        }
    }
    assert!(traces.values().any(|trace| !trace.of("part").is_empty()));
}

#[test]
fn a_collector_that_takes_connections_and_never_answers_is_no_trouble_to_mail() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let arguments = [
        "--json",
        "--waited-before",
        "--messages",
        "20",
        "--seed",
        "3",
    ];
    let output = lab(SCENARIO, &arguments)
        .env(VARIABLE, address)
        .output()
        .unwrap();
    let report = report(&output);
    assert!(output.status.success(), "{report:?}");
    assert_eq!(
        (report.outcome.as_str(), report.delivered_once),
        ("mended", 20),
        "{report:?}"
    );
}
