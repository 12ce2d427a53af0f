//! The door for a metrics collector: plain HTTP, `GET /metrics` and nothing else.
//!
//! It has no encryption and knows no callers: it is closed unless the setting `metrics-listen` opens it, and
//! then on this machine only, unless an address is given.

use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::codegen::http::{Method, Request, Response, StatusCode, header};

use super::ServeFault;
use crate::metrics::{CONTENT_TYPE, text};
use crate::orchestrator::Controller;

/// So many collectors may be connected at one time; more wait.
const CONNECTIONS: usize = 8;

/// The longest that a connection may last: a collector asks once, or again and again on the same one.
const LIFE: Duration = Duration::from_secs(600);

/// The longest that a request's head may take to come.
const HEAD: Duration = Duration::from_secs(10);

/// Where metrics are told: `off`, a port on this machine, or an address with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(pub Option<SocketAddr>);

/// A text that names no place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoPlace;

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "there are `off`, a port on this machine such as 9268, and an address with a port",
        )
    }
}

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let port = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match text.trim() {
            "" | "off" => Ok(Self(None)),
            text => text
                .parse()
                .map(port)
                .or_else(|_| text.parse())
                .map(|address| Self(Some(address)))
                .map_err(|_| NoPlace),
        }
    }
}

/// A listener for collectors that is bound and not served yet.
#[derive(Debug)]
pub struct Metrics {
    listener: TcpListener,
    address: SocketAddr,
}

impl Metrics {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// Where somebody else has the address, or it is not for us.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServeFault> {
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AddrInUse => ServeFault::Taken { address },
            _ => ServeFault::Address { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if !address.ip().is_loopback() {
            tracing::warn!(
                "metrics are told at {address} to whoever can reach it, without encryption"
            );
        }
        Ok(Self { listener, address })
    }

    /// The address that was really taken.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the controller stops.
    pub async fn serve(self, controller: Controller, certificates: Duration) {
        let places = std::sync::Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                () = controller.stopping().cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(why) => {
                    // Out of file descriptors, most likely: others may give some back.
                    tracing::warn!("could not accept a collector of metrics: {why}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let controller = controller.clone();
            tokio::spawn(async move {
                let stop = controller.stopping().clone();
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(LIFE) => {}
                    () = serve_one(stream, controller, certificates) => {}
                }
                drop(place);
            });
        }
    }
}

async fn serve_one(stream: TcpStream, controller: Controller, certificates: Duration) {
    let service = tower::service_fn(move |request: Request<_>| {
        let controller = controller.clone();
        async move { Ok::<_, Infallible>(answer(&request, &controller, certificates).await) }
    });
    let mut server = Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD);
    let served = server
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await;
    if let Err(why) = served {
        tracing::debug!("a collector of metrics left: {why}");
    }
}

async fn answer<B>(
    request: &Request<B>,
    controller: &Controller,
    certificates: Duration,
) -> Response<Body> {
    let plain = "text/plain; charset=utf-8";
    if request.uri().path() != "/metrics" {
        return told(StatusCode::NOT_FOUND, plain, "there is /metrics\n".into());
    }
    if request.method() != Method::GET {
        return told(
            StatusCode::METHOD_NOT_ALLOWED,
            plain,
            "metrics are asked for by GET\n".into(),
        );
    }
    match controller.picture(certificates).await {
        Ok(picture) => told(StatusCode::OK, CONTENT_TYPE, text(&picture)),
        Err(fault) => {
            tracing::error!(%fault, "could not read the metrics from the store");
            told(StatusCode::SERVICE_UNAVAILABLE, plain, format!("{fault}\n"))
        }
    }
}

fn told(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::new(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests;
