//! The Internet Mail Service of a server: a real SMTP client, and on a server for both directions a
//! real SMTP server, over real spool files.
//!
//! Outbound: MTS-OUT → `Out` → next hop. Inbound: `Work` → `In` → MTS-IN. Routing is loaded at start and
//! every `RouteCalculationInterval` minutes (0: at start only) and written to `Route.txt`. The queue's
//! state is in `queue.dat`; without that file it is rebuilt from `Out`.
//!
//! The order of a delivery is the one that makes a killed IMS a hazard in life: log the command, send it,
//! hear the peer's 250, log it, track it (1011), note it in the queue, remove the file. Killed anywhere
//! between the peer's 250 and the removal, the file stays, and is sent again at the next start.

mod counters;
mod fault;
mod inbound;
mod outbound;
mod smtp_client;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::event_log::{EventLog, Gravity};
use crate::lab_error::{Attempting, LabError};
use crate::queue_index::{Entry, QueueIndex};
use crate::registry;
use crate::routing::RoutingTable;
use crate::server_dir::{Direction, ServerConfig, ServerDir, Spooled, spooled};
use crate::spool::{SpoolMessage, SpoolName};
use crate::tracking_log::TrackingLog;
use crate::whole_file;

/// The name of the service, and of its source in the event log.
pub const SERVICE: &str = "MSExchangeIMC";
/// The name of the service that it needs.
pub const MTA: &str = "MSExchangeMTA";
const INITIALIZATION: &str = "Initialization/Termination";
const INTERNAL: &str = "Internal Processing";
const TRANSFER: &str = "Message Transfer";
/// Where the registry says nothing, routing is loaded so often, in minutes.
const ROUTE_INTERVAL: u32 = 15;
/// Nothing tells the IMS of a message in the store, so it looks this often. Not scaled: the looks are
/// the lab's, not life's.
const LOOK: Duration = Duration::from_millis(20);
/// How often the queue's state is written while it changes.
const QUEUE_WRITE: Duration = Duration::from_millis(250);

struct Ims {
    server: ServerDir,
    config: ServerConfig,
    events: EventLog,
    tracking: TrackingLog,
    routing: RwLock<Option<RoutingTable>>,
    queue: Mutex<QueueIndex>,
    work: Condvar,
    queue_changed: AtomicBool,
    stop: Arc<AtomicBool>,
    trouble: fault::Trouble,
}

/// Runs the IMS until `stop` is set; deliveries under way are then finished. `running` is called once it
/// does its work.
///
/// # Errors
/// Where the server's folder is not as it should be.
pub fn run(server: ServerDir, stop: Arc<AtomicBool>, running: &dyn Fn()) -> Result<(), LabError> {
    let config = server.config()?;
    let interval =
        registry::number(&server, SERVICE, "RouteCalculationInterval")?.unwrap_or(ROUTE_INTERVAL);
    // Made again at start where they are missing (Q146791).
    server.lay_out()?;
    let ims = Ims {
        events: EventLog::open(&server.events(), SERVICE)?,
        tracking: TrackingLog::new(&server.tracking()),
        routing: RwLock::new(None),
        queue: Mutex::new(QueueIndex::default()),
        work: Condvar::new(),
        queue_changed: AtomicBool::new(true),
        stop,
        trouble: fault::Trouble::begin(&server)?,
        config,
        server,
    };
    ims.load_routing();
    ims.load_queue()?;
    let listener = match ims.config.direction {
        Direction::Both => Some(inbound::listen(&ims.server)?),
        Direction::Outbound => None,
    };
    ims.events.write(
        1000,
        Gravity::Information,
        INITIALIZATION,
        &format!(
            "The Microsoft Exchange Internet Mail Service started successfully. (build {})",
            ims.config.build
        ),
    );
    ims.events.write(
        2004,
        Gravity::Information,
        "SMTP Protocol Log",
        &format!(
            "SMTP protocol logging is enabled in `{}`.",
            ims.server.log().display()
        ),
    );
    ims.hang_at_start();
    running();
    let (ims, listener) = (&ims, listener.as_ref());
    std::thread::scope(|threads| {
        for number in 0..ims.config.connections.clamp(1, 64) {
            threads.spawn(move || outbound::deliver(ims, number));
        }
        threads.spawn(|| outbound::convert(ims));
        threads.spawn(|| ims.write_queue_while_running());
        threads.spawn(|| counters::write_while_running(ims));
        if let Some(listener) = listener {
            threads.spawn(|| inbound::receive(ims, listener));
            threads.spawn(|| inbound::convert(ims));
        }
        ims.reload_routing_while_running(interval);
        ims.work.notify_all();
    });
    ims.write_queue();
    ims.events.write(
        1001,
        Gravity::Information,
        INITIALIZATION,
        "The Microsoft Exchange Internet Mail Service stopped successfully.",
    );
    Ok(())
}

impl Ims {
    fn stopping(&self) -> bool {
        self.trouble.hang_with_it();
        self.stop.load(Ordering::Relaxed)
    }

    fn queue(&self) -> MutexGuard<'_, QueueIndex> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change of the queue, or for the next look.
    fn rest(&self) {
        let queue = self.queue();
        drop(self.work.wait_timeout(queue, LOOK));
    }

    /// Loads the routing table and writes `Route.txt`. A table that cannot be read leaves the old one in
    /// use (Q156063).
    fn load_routing(&self) {
        let path = self.server.gwart();
        let loaded = std::fs::read_to_string(&path)
            .attempting(|| format!("read the routing table `{}`", path.display()))
            .and_then(|text| RoutingTable::parse(&text));
        let table = match loaded {
            Ok(table) => table,
            Err(error) => {
                self.events
                    .write(4074, Gravity::Error, INTERNAL, &error.whole());
                return;
            }
        };
        let route_txt = self.server.route_txt();
        if let Ok(old) = std::fs::read(&route_txt) {
            let _ = whole_file::write(&route_txt.with_extension("old"), &old);
        }
        let _ = whole_file::write(&route_txt, table.text().as_bytes());
        *self.routing.write().unwrap_or_else(PoisonError::into_inner) = Some(table);
    }

    fn reload_routing_while_running(&self, interval_minutes: u32) {
        let life = Duration::from_secs(u64::from(interval_minutes) * 60);
        let interval = self.config.clock_factor.shorten(life);
        let mut loaded = Instant::now();
        while !self.stopping() {
            // Between two looks at whether it is to stop; so below.
            std::thread::sleep(LOOK);
            if interval_minutes > 0 && loaded.elapsed() >= interval {
                self.load_routing();
                loaded = Instant::now();
            }
        }
    }

    /// Loads `queue.dat`; rebuilds from the spool folder what it does not know.
    fn load_queue(&self) -> Result<(), LabError> {
        let known = match QueueIndex::read(&self.server.queue_dat()) {
            Ok(known) => known.unwrap_or_default(),
            Err(error) => {
                let text = format!(
                    "The outbound queue is corrupt and is rebuilt; messages may be sent twice. {}",
                    error.whole()
                );
                self.events.write(3013, Gravity::Error, INTERNAL, &text);
                Vec::new()
            }
        };
        for Spooled { name, .. } in spooled(&self.server.outbound())? {
            let mut entries = known.iter().filter(|entry| entry.file == name).peekable();
            if entries.peek().is_none() {
                self.enqueue(&name);
                continue;
            }
            let mut queue = self.queue();
            entries.for_each(|entry| queue.add(entry.clone()));
        }
        Ok(())
    }

    /// Queues a spool file of `Out`: an entry for each next hop of its recipients, as routing says now.
    fn enqueue(&self, name: &SpoolName) {
        let path = self.server.outbound().join(name.as_str());
        let message = match std::fs::read(&path)
            .attempting(|| format!("read `{}`", path.display()))
            .and_then(|bytes| SpoolMessage::parse(&bytes))
        {
            Ok(message) => message,
            Err(error) => {
                let text = format!(
                    "The spool file {name} will be retried at restart: {}",
                    error.whole()
                );
                self.events.write(4182, Gravity::Error, INTERNAL, &text);
                return;
            }
        };
        let routing = self.routing.read().unwrap_or_else(PoisonError::into_inner);
        let mut by_hop: Vec<(String, Vec<String>)> = Vec::new();
        for recipient in &message.recipients {
            let hop = routing.as_ref().and_then(|table| table.next_hop(recipient));
            let Some(hop) = hop else {
                let text = format!("No routing hosts are reachable for {recipient} ({name}).");
                self.events.write(2006, Gravity::Warning, TRANSFER, &text);
                continue;
            };
            match by_hop.iter_mut().find(|(known, _)| known == hop) {
                Some((_, recipients)) => recipients.push(recipient.clone()),
                None => by_hop.push((hop.to_owned(), vec![recipient.clone()])),
            }
        }
        drop(routing);
        let mut queue = self.queue();
        for (next_hop, recipients) in by_hop {
            queue.add(Entry {
                file: name.clone(),
                next_hop,
                recipients,
                attempts: 0,
                next_try_ms: 0,
                done: false,
            });
        }
        drop(queue);
        self.queue_changed.store(true, Ordering::Relaxed);
        self.work.notify_one();
    }

    fn write_queue(&self) {
        if self.queue_changed.swap(false, Ordering::Relaxed) {
            // A queue that cannot be written is rebuilt at the next start.
            let _ = self.queue().write(&self.server.queue_dat());
        }
    }

    fn write_queue_while_running(&self) {
        let mut written = None::<Instant>;
        while !self.stopping() {
            if written.is_none_or(|at| at.elapsed() >= QUEUE_WRITE) {
                self.write_queue();
                written = Some(Instant::now());
            }
            std::thread::sleep(LOOK);
        }
    }

    fn now_ms() -> i64 {
        Timestamp::now().as_millisecond()
    }
}
