use std::sync::Mutex;
use std::time::Instant;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::*;
use crate::trace::RunTrace;

const SERVICE: Service = Service {
    name: "mailmend",
    instance: String::new(),
    version: "0",
};

fn span(at: u32) -> Span {
    let run = RunTrace::of([1; 16]);
    let id = run.span(&["test", &at.to_string()]);
    Span::new(run, id, Some(run.run()), "test", (1000, 2000)).with("at", at.to_string())
}

/// A collector that takes everything.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn serve(self, listener: tokio::net::TcpListener) {
        tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(self))
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .unwrap();
    }

    fn count(&self) -> usize {
        let requests = self.0.lock().unwrap();
        let of = |request: &ExportTraceServiceRequest| {
            let resources = request.resource_spans.iter();
            resources
                .flat_map(|one| &one.scope_spans)
                .map(|one| one.spans.len())
                .sum::<usize>()
        };
        requests.iter().map(of).sum()
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn an_address_is_plain_http_with_a_port_or_off() {
    for text in ["off", "", " off "] {
        assert_eq!(text.parse(), Ok(Endpoint(None)), "{text:?}");
    }
    let found: Endpoint = "http://127.0.0.1:4317/".parse().unwrap();
    assert_eq!(found.0.unwrap().port_u16(), Some(4317));
    for text in [
        "127.0.0.1:4317",
        "http://127.0.0.1",
        "http://a:1/v1/traces",
        "http://",
        "ftp://a:1",
    ] {
        assert_eq!(
            text.parse::<Endpoint>(),
            Err(EndpointFault::NoAddress),
            "{text}"
        );
    }
    assert_eq!("https://a:1".parse::<Endpoint>(), Err(EndpointFault::Tls));
}

#[tokio::test]
async fn without_a_collector_nothing_is_done() {
    let (tracer, exporting) = start(&Endpoint(None), &SERVICE);
    assert!(!tracer.is_on());
    tracer.tell(span(1));
    assert_eq!(tracer.counts(), None);
    exporting.end(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_collector_that_does_not_answer_delays_nobody_and_what_does_not_fit_is_counted() {
    // It takes connections and says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (tracer, exporting) = start(&endpoint.parse().unwrap(), &SERVICE);
    let begun = Instant::now();
    let many = u32::try_from(QUEUE).unwrap() * 3;
    for at in 0..many {
        tracer.tell(span(at));
    }
    // Twelve thousand spans; a queue that waited would wait for seconds.
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    let counts = tracer.counts().unwrap();
    assert_eq!(counts.exported, 0);
    assert!(
        counts.dropped >= u64::try_from(QUEUE).unwrap(),
        "of {many} only {QUEUE} and a batch can wait: {counts:?}"
    );
    let begun = Instant::now();
    exporting.end(Duration::from_millis(300)).await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "the end waits no longer than it may"
    );
}

#[tokio::test]
async fn what_waits_is_given_to_a_collector_that_comes_back() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (tracer, exporting) = start(&format!("http://{address}").parse().unwrap(), &SERVICE);
    for at in 0..3 {
        tracer.tell(span(at));
    }
    // The first try meets nobody.
    tokio::time::sleep(GATHER * 3).await;
    assert_eq!(tracer.counts(), Some(Counts::default()));
    let collector = Collector::default();
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let serving = tokio::spawn(collector.clone().serve(listener));
    until("the spans come", || collector.count() == 3).await;
    until("they are counted", || {
        tracer.counts()
            == Some(Counts {
                exported: 3,
                dropped: 0,
            })
    })
    .await;
    // What is told last is given before the end.
    tracer.tell(span(9));
    exporting.end(Duration::from_secs(10)).await;
    assert_eq!(collector.count(), 4);
    serving.abort();
}
