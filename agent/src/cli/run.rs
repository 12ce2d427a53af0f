//! `run`: the agent at work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mailmend_agent::config::{Config, HostSettings};
use mailmend_agent::engine::Engine;
use mailmend_agent::facts::gather;
use mailmend_agent::guard::{Guard, last_good};
use mailmend_agent::host::{Facts, Host};
use mailmend_agent::identity::make_data_folder;
use mailmend_agent::journal::{Journal, JournalError};
use mailmend_agent::session::{Retry, Session, Settings};
use mailmend_agent::symptoms::Watchlist;
use mailmend_agent::traces;
use mailmend_telemetry::trace::{self, Endpoint, Service};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Common;
use super::failure::Failure;
use super::supervisor::{self, STILL, Supervisor, UNASKED};

/// How long the last results may take to reach the controller.
const FLUSH: Duration = Duration::from_secs(3);
/// How often the journal is asked whether it can still be written.
const JOURNAL_LOOK: Duration = Duration::from_millis(500);
/// How long the last spans may take, twice: to be read, and to reach the collector.
const LAST_SPANS: Duration = Duration::from_secs(2);
/// How long services may take to come up before an agent whose journal fails ends.
const SERVICE_UP: Duration = Duration::from_secs(60);
/// How often the facts about the server are looked at.
const LOOK: Duration = Duration::from_secs(60);

pub(super) fn run(common: &Common) -> Result<(), Failure> {
    let config = common.load()?;
    common.begin_log()?;
    let collector = common.collector()?;
    let supervisor = supervisor::of_environment();
    work_under(config, &collector, supervisor, Signals::new)
}

/// The agent at work, until `signals` end it.
pub(super) fn work_under(
    config: Config,
    collector: &Endpoint,
    supervisor: Box<dyn Supervisor>,
    signals: impl FnOnce() -> Result<Signals, Failure>,
) -> Result<(), Failure> {
    let (guard, guard_text) = match Guard::read_with_text(&config.guard.value) {
        Ok((guard, text)) => (Arc::new(guard), text),
        Err(error) => {
            leave_what_is_open(&config);
            return Err(error.into());
        }
    };
    make_data_folder(&config.data.value)?;
    let journal = Journal::open(&config.journal_file())?;
    if let Err(error) = last_good::remember(&config.data.value, &guard_text) {
        warn!(
            "{error}; without it a section that is open when the guard file breaks cannot be left"
        );
    }
    let host = host(&config)?;
    let facts = gather(host.as_ref(), &config.facts);
    let name = config.name.value.clone();
    let engine = Engine::new(Arc::clone(&host), journal.clone(), guard, name.clone())?;
    engine.set_facts(facts.clone());
    info!(
        %name,
        journal = %journal.id(),
        head = journal.head(),
        open = journal.open_runs().len(),
        "begins; what was interrupted is mended first"
    );
    let runtime = runtime()?;
    let signals = {
        let _inside = runtime.enter();
        signals()?
    };
    supervisor.ready();
    supervisor.says("mends what was interrupted");
    let agent = Agent {
        host,
        engine,
        journal,
        facts,
        supervisor: supervisor.into(),
    };
    let service = Service {
        name: "mailmend-agent",
        instance: name.to_string(),
        version: env!("CARGO_PKG_VERSION"),
    };
    runtime.block_on(async {
        let (tracer, exporting) = trace::start(collector, &service);
        let stop = CancellationToken::new();
        let following = traces::follow(agent.journal.clone(), name, tracer, stop.clone());
        let following = tokio::spawn(following);
        let ended = work(config, agent, signals).await;
        stop.cancel();
        // After all work: a collector that is away costs this much at the very end, and nothing else.
        let _ = tokio::time::timeout(LAST_SPANS, following).await;
        exporting.end(LAST_SPANS).await;
        ended
    })
}

/// What an agent at work is made of.
struct Agent {
    host: Arc<dyn Host>,
    engine: Engine,
    journal: Journal,
    facts: Facts,
    supervisor: Arc<dyn Supervisor>,
}

/// From recovery to the end.
async fn work(config: Config, agent: Agent, mut signals: Signals) -> Result<(), Failure> {
    let Agent {
        host,
        engine,
        journal,
        facts,
        supervisor,
    } = agent;
    engine.keep_immunity(&config.data.value);
    engine.keep_trust(&config.data.value);
    let (recovered, ordered) = recover(&engine, &mut signals, supervisor.as_ref()).await?;
    if let Err(error) = recovered {
        if journal.poisoned().is_some() {
            return Err(poisoned_end(&engine, error).await);
        }
        return Err(error.into());
    }
    if ordered {
        return if end(&engine, supervisor).await? {
            info!("ended");
            Ok(())
        } else {
            Err(unfinished())
        };
    }
    info!("recovered; dials {}", config.controller.value);
    supervisor.says(&format!("at work for {}", config.controller.value));

    let asked = engine.clone();
    let may_watch = move |text: &[u8]| asked.may_watch(text);
    let watchlist = Arc::new(Watchlist::open(&config.data.value, may_watch));
    let symptoms = engine.watch_symptoms(Arc::clone(&watchlist), config.look_every.value);
    let depths = engine.count_queues();

    let (telling, told) = watch::channel(facts);
    let stop = CancellationToken::new();
    let session = Session::new(Settings {
        address: config.controller.value,
        data: config.data.value,
        name: config.name.value,
        journal: journal.clone(),
        orders: Arc::new(engine.clone()),
        facts: told,
        watchlist,
        symptoms,
        depths,
        trust: engine.trust_held(),
        now_ms,
        retry: Retry::default(),
    });
    let mut session = tokio::spawn(session.run(stop.clone()));
    let looking = tokio::spawn(look(
        host,
        engine.clone(),
        config.facts,
        telling,
        stop.clone(),
    ));

    let broken = tokio::select! {
        signal = signals.next() => {
            info!(signal, "ends: steps that wait are left, an open section is brought to its end");
            None
        }
        // It runs until it is told to stop: this is a defect. Whoever started us starts us again.
        ended = &mut session => {
            error!("the session with the controller ended by itself; the agent ends in order");
            let why = format!("a defect of the agent, please report it: the session ended: {ended:?}");
            Some(Failure::failed(why))
        }
        error = poisoned(&journal) => Some(poisoned_end(&engine, error).await),
    };
    let over = end(&engine, supervisor).await?;
    flushed(&journal).await;
    stop.cancel();
    if !session.is_finished() {
        // It ends at once; a panic of its last moment is in the log.
        let _ = session.await;
    }
    let _ = looking.await;
    if let Some(failure) = broken {
        return Err(failure);
    }
    if over {
        info!("ended");
        return Ok(());
    }
    Err(unfinished())
}

fn unfinished() -> Failure {
    let told = "A006-shutdown-unfinished: a step did not end in time; the next start goes on with it, so start the agent again soon";
    Failure::timed_out(told.to_owned())
}

/// Mends what was interrupted. An end that is ordered meanwhile waits for it: what it mends may be a mail
/// service that is stopped. Whether an end was ordered comes second.
async fn recover(
    engine: &Engine,
    signals: &mut Signals,
    supervisor: &dyn Supervisor,
) -> Result<(Result<(), JournalError>, bool), Failure> {
    let recovering = engine.clone();
    let recovered = blocking(move || recovering.recover());
    tokio::pin!(recovered);
    let mut ordered = false;
    loop {
        tokio::select! {
            recovered = &mut recovered => return Ok((recovered?, ordered)),
            signal = signals.next(), if !ordered => {
                info!(signal, "ends once what was interrupted is mended");
                ordered = true;
                supervisor.ending();
            }
            () = tokio::time::sleep(STILL), if ordered => supervisor.ending(),
        }
    }
}

/// Ends the engine, and says so again and again to whoever waits. Whether all came to its end in time.
async fn end(engine: &Engine, supervisor: Arc<dyn Supervisor>) -> Result<bool, Failure> {
    let engine = engine.clone();
    blocking(move || {
        let begun = Instant::now();
        loop {
            supervisor.ending();
            supervisor.says("ends: service is brought up first");
            if engine.shutdown(STILL) {
                return true;
            }
            let limit = if engine.in_section() {
                supervisor.patience()
            } else {
                UNASKED
            };
            if begun.elapsed() + STILL > limit {
                return false;
            }
        }
    })
    .await
}

/// Waits until nothing can be written down any more.
async fn poisoned(journal: &Journal) -> JournalError {
    loop {
        tokio::time::sleep(JOURNAL_LOOK).await;
        if let Some(why) = journal.poisoned() {
            return JournalError::Poisoned { why };
        }
    }
}

/// An agent that cannot write down what it does is alive and of no use. Services come up, then it ends
/// with an exit code of its own: whoever started it starts it again, and recovery sees what is really
/// there.
async fn poisoned_end(engine: &Engine, error: JournalError) -> Failure {
    error!("{error}; services are started, then the agent ends to be started again");
    let engine = engine.clone();
    match blocking(move || engine.service_up_without_journal(SERVICE_UP)).await {
        Ok(true) => {}
        Ok(false) => error!(
            "a service that was stopped does not run: the next start of the agent tries again"
        ),
        Err(failure) => return failure,
    }
    error.into()
}

/// Looks at the facts again and again, and tells them when they have changed.
async fn look(
    host: Arc<dyn Host>,
    engine: Engine,
    stated: Facts,
    telling: watch::Sender<Facts>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => return,
        }
        let (host, stated, asked) = (Arc::clone(&host), stated.clone(), engine.clone());
        let looked = move || {
            asked.look_at_trust();
            gather(host.as_ref(), &stated)
        };
        let Ok(facts) = blocking(looked).await else {
            continue;
        };
        telling.send_if_modified(|known| {
            let changed = *known != facts;
            if changed {
                info!("the facts about this server have changed");
                engine.set_facts(facts.clone());
                *known = facts;
            }
            changed
        });
    }
}

/// Waits a moment for the controller to have everything. What it has not stays in the journal.
async fn flushed(journal: &Journal) {
    let flushed = async {
        while journal.acknowledged() < journal.head() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(FLUSH, flushed).await.is_err() {
        let left = journal.head().saturating_sub(journal.acknowledged());
        warn!(
            left,
            "records are told to the controller after the next start"
        );
    }
}

/// Without a guard file nothing may be changed, but a service that the agent stopped itself under the last
/// good one is started. What stays down a person must know.
fn leave_what_is_open(config: &Config) {
    let file = config.journal_file();
    let open = |journal: &Journal| {
        let runs = journal.open_runs().into_iter();
        let mut runs = runs.filter_map(|run| Some((run, journal.state(run).ok()??)));
        runs.find(|(_, state)| state.section.is_some())
    };
    let Some((run, state)) = Journal::read(&file).ok().as_ref().and_then(open) else {
        return;
    };
    let why = match last_good::recall(&config.data.value) {
        Some(guard) => match leave_under(config, guard) {
            Ok(()) => {
                warn!(
                    "what an open section had stopped was started, as the last good guard file allowed"
                );
                return;
            }
            Err(why) => why,
        },
        None => "no copy of the last good guard file is kept".to_owned(),
    };
    if let Some(open) = &state.section {
        error!(
            %run,
            "the service `{}` may be stopped: section {} was open when the agent ended, and without a guard file the agent may not start it ({why}); mend the guard file now, or start the service by hand",
            open.service, open.section
        );
    }
}

fn leave_under(config: &Config, guard: Guard) -> Result<(), String> {
    let journal = Journal::open(&config.journal_file()).map_err(|error| error.to_string())?;
    let host = host(config).map_err(|_| "the machine cannot be reached".to_owned())?;
    let name = config.name.value.clone();
    let engine = Engine::by_hand(host, journal, Arc::new(guard), name);
    let engine = engine.map_err(|error| error.to_string())?;
    engine.leave_sections().map_err(|error| error.to_string())?;
    if engine.service_up_without_journal(SERVICE_UP) {
        Ok(())
    } else {
        Err("it was asked to start and does not run".to_owned())
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|why| Failure::failed(format!("a defect of the agent, please report it: {why}")))
}

#[cfg(unix)]
pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |why| Failure::failed(format!("could not listen for signals: {why}"));
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
        })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// What ends the agent: the service manager, or a person at the console.
#[cfg(not(unix))]
pub(super) struct Signals {
    ordered: Option<tokio::sync::mpsc::UnboundedReceiver<&'static str>>,
}

#[cfg(not(unix))]
impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self { ordered: None })
    }

    /// Those of a service manager.
    pub(super) fn ordered(orders: tokio::sync::mpsc::UnboundedReceiver<&'static str>) -> Self {
        Self {
            ordered: Some(orders),
        }
    }

    pub(super) async fn next(&mut self) -> &'static str {
        let order = match &mut self.ordered {
            Some(orders) => orders.recv().await,
            None => tokio::signal::ctrl_c().await.ok().map(|()| "Ctrl-C"),
        };
        match order {
            Some(order) => order,
            // Where no signal can be had, only the end of the process ends us.
            None => std::future::pending().await,
        }
    }
}

/// This machine's time, milliseconds since 1970 UTC; before 1970 it is negative.
pub(super) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What network calls run on.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("mailmend-session")
        .enable_all()
        .build()
        .map_err(|why| Failure::failed(format!("could not start the network's threads: {why}")))
}

/// The machine, as the configuration says that it is reached.
pub(super) fn host(config: &Config) -> Result<Arc<dyn Host>, Failure> {
    match config.host.value.clone() {
        #[cfg(target_os = "linux")]
        HostSettings::Unix {
            service_socket,
            registry_file,
            events_file,
            counters_file,
            clock_factor,
        } => {
            use mailmend_agent::host::unix::{UnixHost, UnixSettings};
            let host = UnixHost::new(UnixSettings {
                service_socket,
                registry_file,
                events_file,
                counters_file,
                clock_factor,
            });
            Ok(Arc::new(host.with_log_times(config.log_times())))
        }
        #[cfg(not(target_os = "linux"))]
        HostSettings::Unix { .. } => Err(Failure::usage(
            "the provider `unix` works on Linux only: write `provider = \"windows\"` in `[host]`",
        )),
        #[cfg(windows)]
        HostSettings::Windows {
            machine,
            events_file,
            counters_file,
            custody_over_smb,
            clock_factor,
        } => {
            use mailmend_agent::host::windows::{
                EventSource, Machine, WindowsHost, WindowsSettings,
            };
            let bookmark = config.data.value.join("events");
            let host = WindowsHost::new(WindowsSettings {
                machine: machine.map_or(Machine::Local, Machine::Remote),
                events: events_file.map_or(EventSource::Log { bookmark }, EventSource::File),
                counters_file,
                custody_over_smb,
                clock_factor,
            });
            Ok(Arc::new(host.with_log_times(config.log_times())))
        }
        #[cfg(not(windows))]
        HostSettings::Windows { .. } => Err(Failure::usage(
            "the provider `windows` works on Windows only: write `provider = \"unix\"` in `[host]`",
        )),
    }
}
