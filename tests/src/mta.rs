//! The MTA of a server, with what the system attendant does for routing.
//!
//! It holds the server's replica of the site's routing table and writes it to `GWART0.MTA`. A restart
//! only writes again what the replica says; it takes a recalculation to learn what the directory says
//! now. A recalculation is asked for and goes on in the background; event 5000 tells that it is over.

pub mod database;
mod door;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::event_log::{EventLog, Gravity};
use crate::lab_error::{Attempting, LabError};
use crate::routing::RoutingTable;
use crate::server_dir::{ServerConfig, ServerDir};
use crate::whole_file;
use database::Damage;

/// How long a recalculation takes in life: "several minutes" (Q268494).
const RECALCULATION: Duration = Duration::from_secs(120);
/// How often a damaged object is tried again, in time of life.
const RETRY: Duration = Duration::from_secs(5 * 60);
const STOP_LOOK: Duration = Duration::from_millis(20);
const RECALCULATE: &str = "recalculate";
const WRITE_AGAIN: &str = "write-again";
const INITIALIZATION: &str = "Initialization/Termination";

/// Runs the MTA until `stop` is set. `running` is called once it does its work.
///
/// # Errors
/// Where the server's folder is not as it should be.
pub fn run(server: &ServerDir, stop: &AtomicBool, running: &dyn Fn()) -> Result<(), LabError> {
    let config = server.config()?;
    let log = EventLog::open(&server.events(), "MSExchangeMTA")?;
    publish(server, &RoutingTable::read_directory(&server.replica())?)?;
    let (ask, asked) = mpsc::channel();
    let again = server.clone();
    door::open(server, move |request| answer(&again, request, &ask))?;
    log.write(
        9298,
        Gravity::Information,
        INITIALIZATION,
        "The Microsoft Exchange Message Transfer Agent started successfully. (1458.49)",
    );
    running();
    serve(server, &config, &log, &asked, stop);
    log.write(
        9299,
        Gravity::Information,
        INITIALIZATION,
        "The Microsoft Exchange Message Transfer Agent stopped successfully.",
    );
    door::close(server);
    Ok(())
}

fn serve(
    server: &ServerDir,
    config: &ServerConfig,
    log: &EventLog,
    asked: &mpsc::Receiver<()>,
    stop: &AtomicBool,
) {
    let mut told = None::<Instant>;
    while !stop.load(Ordering::Relaxed) {
        // What fails now is tried again at the next look.
        let _ = database::hand_over(server);
        let retry = config.clock_factor.shorten(RETRY);
        if Damage::read(server).is_ok_and(Damage::any)
            && told.is_none_or(|at| at.elapsed() >= retry)
        {
            told = Some(Instant::now());
            tell_of_damage(log);
        }
        match asked.recv_timeout(STOP_LOOK) {
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
            Ok(()) => {
                let over = Instant::now() + config.clock_factor.shorten(RECALCULATION);
                while Instant::now() < over && !stop.load(Ordering::Relaxed) {
                    // A recalculation takes minutes in life; this is that time, scaled.
                    std::thread::sleep(STOP_LOOK.min(config.clock_factor.shorten(RECALCULATION)));
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // Requests that came while it went on are answered by this one.
                while asked.try_recv().is_ok() {}
                let (gravity, result) = match recalculate(server, config) {
                    Ok(routes) => (Gravity::Information, format!("success, {routes} route(s)")),
                    Err(error) => (Gravity::Error, error.whole()),
                };
                log.write_as(
                    "MSExchangeSA",
                    5000,
                    gravity,
                    "General",
                    &format!(
                        "The routing table for site {} was recalculated. Result: {result}.",
                        config.site
                    ),
                );
            }
        }
    }
}

/// What the MTA writes while an object of the database is damaged.
fn tell_of_damage(log: &EventLog) {
    let object = database::DAMAGED;
    let text = format!("A database server error was encountered. Object at fault: {object}.");
    log.write(2175, Gravity::Error, "Field Engineering", &text);
}

fn recalculate(server: &ServerDir, config: &ServerConfig) -> Result<usize, LabError> {
    let table = RoutingTable::read_directory(&config.directory)?;
    if config.recalculates_falsely {
        return Ok(table.0.len());
    }
    table.write_directory(&server.replica())?;
    publish(server, &table)?;
    Ok(table.0.len())
}

/// Writes `GWART0.MTA`; the one before becomes `GWART1.MTA`.
fn publish(server: &ServerDir, table: &RoutingTable) -> Result<(), LabError> {
    if let Ok(previous) = std::fs::read(server.gwart()) {
        whole_file::write(&server.gwart_previous(), &previous)?;
    }
    whole_file::write(&server.gwart(), table.text().as_bytes())
}

/// Whether a request is accepted.
fn answer(server: &ServerDir, request: &str, ask: &mpsc::Sender<()>) -> bool {
    match request {
        RECALCULATE => ask.send(()).is_ok(),
        WRITE_AGAIN => RoutingTable::read_directory(&server.replica())
            .and_then(|table| publish(server, &table))
            .is_ok(),
        _ => false,
    }
}

/// Asks a server's MTA to recalculate the routing, and returns when it has taken the request.
///
/// # Errors
/// Where the MTA does not run or does not take it.
pub fn request_recalculation(server: &ServerDir) -> Result<(), LabError> {
    request(
        server,
        RECALCULATE,
        "ask the MTA to recalculate the routing",
    )
}

/// Has a server's MTA write `GWART0.MTA` again from its replica, as its schedule does every night.
///
/// # Errors
/// Where the MTA does not run or could not write it.
pub fn request_writing(server: &ServerDir) -> Result<(), LabError> {
    request(
        server,
        WRITE_AGAIN,
        "ask the MTA to write its routing table again",
    )
}

fn request(server: &ServerDir, what: &str, attempted: &str) -> Result<(), LabError> {
    let reply = door::ask(server, what).attempting(|| attempted.to_owned())?;
    if reply == door::ACCEPTED {
        return Ok(());
    }
    Err(LabError::Refused {
        attempted: attempted.to_owned(),
        reason: reply,
    })
}
