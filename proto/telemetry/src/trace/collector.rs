//! The way to a collector: a bounded queue and one task that empties it by OTLP over gRPC.
//!
//! Who tells a span never waits: it goes into the queue, or it is dropped and counted. A collector that cannot be
//! reached costs memory for [`QUEUE`] spans and nothing else.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::transport::Uri;

use super::span::Span;

/// So many spans wait at most, about 1 KiB each.
pub const QUEUE: usize = 4096;
/// So many are sent at once at most.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_millis(200);
/// The longest that a collector may take with a batch.
const PATIENCE: Duration = Duration::from_secs(5);
/// A batch is tried so often, with growing rests; then it is dropped.
const TRIES: u32 = 8;
/// The longest rest between two tries.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// Where spans go: `off`, or `http://HOST:PORT` of a collector that takes OTLP over gRPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(pub Option<Uri>);

/// A text that names no collector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointFault {
    /// It is no address.
    #[error(
        "write `off`, or the address of a collector that takes OTLP over gRPC: `http://HOST:PORT`, such as http://127.0.0.1:4317"
    )]
    NoAddress,
    /// It asks for TLS.
    #[error(
        "spans are given to a collector without TLS; run one on this machine, which can pass them on over TLS, and write `http://127.0.0.1:4317`"
    )]
    Tls,
}

impl FromStr for Endpoint {
    type Err = EndpointFault;

    fn from_str(text: &str) -> Result<Self, EndpointFault> {
        let text = text.trim();
        if text.is_empty() || text == "off" {
            return Ok(Self(None));
        }
        let uri: Uri = text.parse().map_err(|_| EndpointFault::NoAddress)?;
        if uri.scheme_str() == Some("https") {
            return Err(EndpointFault::Tls);
        }
        let plain = uri.scheme_str() == Some("http")
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.port_u16().is_some_and(|port| port > 0)
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none();
        plain
            .then_some(Self(Some(uri)))
            .ok_or(EndpointFault::NoAddress)
    }
}

/// Who tells spans.
#[derive(Debug, Clone)]
pub struct Service {
    /// `mailmend` or `mailmend-agent`.
    pub name: &'static str,
    /// Which of them: the server's name, or the address.
    pub instance: String,
    /// Its version.
    pub version: &'static str,
}

/// What became of spans, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Given to the collector.
    pub exported: u64,
    /// Dropped: the queue was full, or the collector did not take them.
    pub dropped: u64,
}

/// Takes spans. Cloning is cheap; [`Tracer::default`] drops everything, and costs nothing.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Shared>>);

struct Shared {
    queue: mpsc::Sender<SpanData>,
    exported: AtomicU64,
    dropped: AtomicU64,
    full: AtomicBool,
    scope: InstrumentationScope,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracer").field(&self.counts()).finish()
    }
}

impl Tracer {
    /// Whether anybody listens: what is only for spans need not be found out else.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Tells a span. Never waits and never fails: what does not fit is dropped and counted.
    pub fn tell(&self, span: Span) {
        let Some(shared) = &self.0 else { return };
        match shared.queue.try_send(span.into_data(&shared.scope)) {
            Ok(()) => shared.full.store(false, Ordering::Relaxed),
            Err(_) => {
                shared.dropped.fetch_add(1, Ordering::Relaxed);
                if !shared.full.swap(true, Ordering::Relaxed) {
                    tracing::warn!("{QUEUE} spans wait for the collector; more are dropped");
                }
            }
        }
    }

    /// What became of spans; `None`: nobody listens.
    #[must_use]
    pub fn counts(&self) -> Option<Counts> {
        self.0.as_ref().map(|shared| Counts {
            exported: shared.exported.load(Ordering::Relaxed),
            dropped: shared.dropped.load(Ordering::Relaxed),
        })
    }
}

/// The task that gives spans to the collector.
#[derive(Debug)]
pub struct Exporting {
    task: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Exporting {
    /// Gives what waits to the collector once more, for as long as `limit`; what is left then is lost.
    pub async fn end(mut self, limit: Duration) {
        self.stop.cancel();
        let Some(mut task) = self.task.take() else {
            return;
        };
        if tokio::time::timeout(limit, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// Begins to give spans to a collector; without one, nothing is done. Dials when the first span comes. Has to be
/// called inside a runtime.
#[must_use]
pub fn start(endpoint: &Endpoint, service: &Service) -> (Tracer, Exporting) {
    let stop = CancellationToken::new();
    let off = |stop| (Tracer::default(), Exporting { task: None, stop });
    let Some(uri) = &endpoint.0 else {
        return off(stop);
    };
    let channel = Channel::builder(uri.clone())
        .connect_timeout(PATIENCE)
        .timeout(PATIENCE)
        .connect_lazy();
    let built = SpanExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .with_timeout(PATIENCE)
        .build();
    let mut exporter = match built {
        Ok(exporter) => exporter,
        Err(why) => {
            tracing::error!("no spans are told: {why}; see the variables OTEL_EXPORTER_OTLP_*");
            return off(stop);
        }
    };
    exporter.set_resource(&resource(service));
    let (queue, waiting) = mpsc::channel(QUEUE);
    let shared = Arc::new(Shared {
        queue,
        exported: AtomicU64::new(0),
        dropped: AtomicU64::new(0),
        full: AtomicBool::new(false),
        scope: InstrumentationScope::builder("mailmend")
            .with_version(service.version)
            .build(),
    });
    tracing::info!("spans go to {uri}");
    let work = Work {
        waiting,
        exporter,
        shared: shared.clone(),
        uri: uri.clone(),
        stop: stop.clone(),
        away: false,
    };
    let task = Some(tokio::spawn(work.run()));
    (Tracer(Some(shared)), Exporting { task, stop })
}

fn resource(service: &Service) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", service.name),
            KeyValue::new("service.instance.id", service.instance.clone()),
            KeyValue::new("service.version", service.version),
        ])
        .build()
}

struct Work {
    waiting: mpsc::Receiver<SpanData>,
    exporter: SpanExporter,
    shared: Arc<Shared>,
    uri: Uri,
    stop: CancellationToken,
    away: bool,
}

impl Work {
    async fn run(mut self) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                _ = self.waiting.recv_many(&mut batch, BATCH) => {}
                () = self.stop.cancelled() => return,
            }
            if batch.is_empty() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = self.stop.cancelled() => {}
            }
            while batch.len() < BATCH
                && let Ok(span) = self.waiting.try_recv()
            {
                batch.push(span);
            }
            self.give(batch).await;
        }
    }

    /// Gives a batch to the collector, or drops it in the end.
    async fn give(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        let mut rest = Duration::from_secs(1);
        for left in (0..TRIES).rev() {
            let given = tokio::time::timeout(PATIENCE, self.exporter.export(batch.clone())).await;
            let why = match given {
                Ok(Ok(())) => {
                    self.shared.exported.fetch_add(count, Ordering::Relaxed);
                    if std::mem::take(&mut self.away) {
                        let dropped = self.shared.dropped.load(Ordering::Relaxed);
                        tracing::info!(dropped, "the collector at {} takes spans again", self.uri);
                    }
                    return;
                }
                Ok(Err(why)) => why.to_string(),
                Err(_) => format!("it took longer than {PATIENCE:?}"),
            };
            if !std::mem::replace(&mut self.away, true) {
                tracing::warn!(
                    "the collector at {} does not take spans: {why}; the newest {QUEUE} wait, nothing else does",
                    self.uri
                );
            }
            if left == 0 || self.stop.is_cancelled() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.stop.cancelled() => {}
            }
            rest = (rest * 2).min(LONGEST_REST);
        }
        self.shared.dropped.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
