//! `mailmend serve`: the controller, from its first start to its orderly end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::arguments::Serve;
use super::exit::Exit;
use super::failure::Failure;
use crate::clock::Clock;
use crate::config::Settings;
use crate::enrol::{self, Authority};
use crate::orchestrator::Controller;
use crate::server::agents::AgentsService;
use crate::server::limits::Limits;
use crate::server::metrics::{Metrics, Place};
use crate::server::operator::OperatorService;
use crate::server::{Bound, health, routes, tls};
use crate::store::Store;
use crate::trust::Named;
use mailmend_telemetry::trace::{self, Endpoint, Service};
use tonic_health::server::HealthReporter;

/// How often the controller looks whether its own certificates are near their end.
const RENEWAL: Duration = Duration::from_secs(3600);

/// How often who may call is read again though nothing was heard of a change.
const RELEARN: Duration = Duration::from_secs(4);

/// How long the last spans may take to reach the collector.
const LAST_SPANS: Duration = Duration::from_secs(2);

pub(super) async fn serve(arguments: Serve, settings: &Settings) -> Result<Exit, Failure> {
    let address: SocketAddr = settings.parsed("listen")?;
    let Place(collectors) = settings.parsed("metrics-listen")?;
    let collector: Endpoint = settings.parsed("otlp-endpoint")?;
    let data = PathBuf::from(&settings.get("data").value);
    // Signals are heard from the beginning: a stop in mid-start is an orderly one too.
    let mut signals = Signals::listen()?;
    let clock = Clock::system();
    enrol::prepare_folder(&data, clock.now_ms()).map_err(|why| Failure::of(&why))?;
    // At the first start the authority is made after the store.
    if data.join("ca.pem").exists() {
        Store::expect(&data.join("controller.db"))
            .await
            .map_err(|why| Failure::of(&why))?;
    }
    // The store first: its lock keeps a second controller from the authority too.
    let store = Store::open(&data.join("controller.db"))
        .await
        .map_err(|why| Failure::of(&why))?;
    let authority = Authority::open_or_create(&data, clock.now_ms())
        .map_err(|why| Failure::of(&why))?
        .with_agent_validity(arguments.agent_certificates);
    let authority = Arc::new(authority);
    let own = authority
        .server_certificate(clock.now_ms())
        .map_err(|why| Failure::of(&why))?;
    let identity = authority
        .operator_folder(clock.now_ms())
        .map_err(|why| Failure::of(&why))?;
    let config = tls::server_config(authority.ca_pem(), &own).map_err(|why| Failure::of(&why))?;
    let tickets = authority
        .ticket_keys(clock.now_ms())
        .map_err(|why| Failure::of(&why))?;
    let config = tls::resuming(&config, &tickets);
    let (renewed, following) = watch::channel(config);
    let bound = Bound::bind(address)
        .await
        .map_err(|why| Failure::of(&why))?;
    let address = bound.address();
    let metrics = match collectors {
        Some(place) => Some(
            Metrics::bind(place)
                .await
                .map_err(|why| Failure::of(&why))?,
        ),
        None => None,
    };

    let service = Service {
        name: "mailmend",
        instance: address.to_string(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let (tracer, exporting) = trace::start(&collector, &service);
    let controller = Controller::start_traced(store, clock.clone(), tracer);
    note_own(&controller, &authority, clock.now_ms()).await?;
    let stop = controller.stopping().clone();
    let limits = Limits::default();
    let agents = Arc::new(AgentsService::new(controller.clone(), authority.clone()));
    let operator = Arc::new(OperatorService::new(controller.clone(), authority.clone()));
    let reporter = HealthReporter::new();
    let routes = routes(agents.clone(), agents, operator, &reporter, &limits);
    let ready = arguments
        .ready_file
        .as_deref()
        .map_or(Ok(()), |path| bound.tell(path));
    if let Err(why) = ready {
        controller.stop().await;
        return Err(Failure::of(&why));
    }
    tracing::info!(
        "the controller listens on https://{address}, data in {}",
        data.display()
    );
    tracing::info!(
        "operators: --controller https://{address} --identity {}",
        identity.display()
    );
    if let Some(metrics) = metrics {
        tracing::info!("metrics: http://{}/metrics", metrics.address());
        tokio::spawn(metrics.serve(controller.clone(), arguments.agent_certificates));
    }
    tokio::spawn(renew(
        controller.clone(),
        authority,
        clock.clone(),
        renewed,
        stop.clone(),
    ));
    tokio::spawn(relearn(controller.clone(), stop.clone()));
    tokio::spawn(health::follow(controller.clone(), reporter));

    let grace = limits.shutdown;
    let roster = controller.roster().clone();
    let serving = bound.serve(routes, following, limits, clock, roster, stop.clone());
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        name = signals.next() => {
            tracing::info!("{name}: ending streams, letting calls finish; once more ends at once");
            stop.cancel();
            tokio::select! {
                ended = &mut serving => ended,
                _ = signals.next() => Ok(()),
            }
        }
    };
    remove_ready_file(arguments.ready_file.as_deref(), address);
    tokio::select! {
        () = controller.stop() => tracing::info!("stopped"),
        () = tokio::time::sleep(grace) => {
            tracing::warn!("some work did not end in time; what is stored is whole");
        }
        _ = signals.next() => tracing::warn!("ended at once; what is stored is whole"),
    }
    // After all work: a collector that is away costs this much at the very end, and nothing else.
    exporting.end(LAST_SPANS).await;
    ended.map_err(|why| Failure::of(&why))?;
    Ok(Exit::Success)
}

/// Takes the ready file away, unless another controller has written it anew.
fn remove_ready_file(path: Option<&Path>, address: SocketAddr) {
    let Some(path) = path else { return };
    let ours = std::fs::read_to_string(path).is_ok_and(|text| text.trim() == address.to_string());
    if ours && let Err(why) = std::fs::remove_file(path) {
        tracing::warn!("could not remove `{}`: {why}", path.display());
    }
}

/// Notes the certificate of the operator `admin` that lies in the data folder, and learns who may call.
async fn note_own(
    controller: &Controller,
    authority: &Authority,
    now_ms: i64,
) -> Result<(), Failure> {
    let own = authority
        .operator_certificate()
        .map_err(|why| Failure::of(&why))?;
    let store = controller.store();
    let admin = Named::Operator(enrol::FIRST_OPERATOR.to_owned());
    store
        .own_certificate(&admin, &own, now_ms)
        .await
        .map_err(|why| Failure::of(&why))?;
    controller
        .learn_identities()
        .await
        .map_err(|why| Failure::of(&why))?;
    Ok(())
}

/// A net under a store that failed just when a revocation was to be learnt: what is stored holds at the
/// door within this time.
async fn relearn(controller: Controller, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RELEARN) => {}
        }
        if let Err(why) = controller.learn_identities().await {
            tracing::error!("could not learn who may call: {why}");
        }
    }
}

/// Makes the controller's own certificates anew while it runs. A failure is told and tried again:
/// there are weeks left when it begins to try.
async fn renew(
    controller: Controller,
    authority: Arc<Authority>,
    clock: Clock,
    renewed: watch::Sender<Arc<rustls::ServerConfig>>,
    stop: CancellationToken,
) {
    let mut last = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RENEWAL) => {}
        }
        let now_ms = clock.now_ms();
        match authority.operator_folder(now_ms) {
            Err(why) => tracing::error!("could not renew the operator's certificate: {why}"),
            Ok(_) => {
                if let Err(why) = note_own(&controller, &authority, now_ms).await {
                    tracing::error!("could not note the operator's certificate: {why:?}");
                }
            }
        }
        let tickets = match authority.ticket_keys(now_ms) {
            Ok(tickets) => tickets,
            Err(why) => {
                tracing::error!("could not renew the keys of tickets: {why}");
                continue;
            }
        };
        match authority.server_certificate(now_ms) {
            Err(why) => tracing::error!("could not renew the server's certificate: {why}"),
            Ok(own) if last == Some((own.certificate_pem.clone(), tickets.clone())) => {}
            Ok(own) => match tls::server_config(authority.ca_pem(), &own) {
                Err(why) => tracing::error!("could not use the renewed certificate: {why}"),
                Ok(config) => {
                    renewed.send_replace(tls::resuming(&config, &tickets));
                    last = Some((own.certificate_pem, tickets));
                }
            },
        }
    }
}

/// The signals that ask for an orderly end.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |why: std::io::Error| {
            Failure::new(
                "C039-controller",
                format!("could not listen for signals: {why}"),
            )
        };
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
        })
    }

    #[cfg(unix)]
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    #[cfg(not(unix))]
    fn listen() -> Result<Self, Failure> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> &'static str {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            Err(_) => std::future::pending().await,
        }
    }
}
