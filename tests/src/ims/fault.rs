//! What a bad message does to the IMS that comes upon it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{INTERNAL, Ims};
use crate::event_log::Gravity;
use crate::fault::{self, BadMessage, Effect, Faults, Place};
use crate::lab_error::LabError;
use crate::mta::database::Damage;
use crate::server_dir::ServerDir;
use crate::spool::{self, SpoolName};
use crate::store::database::Database;

/// The text of event 4037.
const EXCEPTION: &str =
    "An exception (0xc0000005) was handled while a message was processed; the service ends.";
/// How often a stuck message is tried again, in time of life.
const RETRY: Duration = Duration::from_secs(5 * 60);
/// How long a stream that cannot be opened is tried again, before its file is deleted. An agent that is told of
/// new files keeps its copy within that time; on a busy machine Wine tells it a second later.
const TRIED_AGAIN: Duration = Duration::from_millis(if cfg!(windows) { 3_000 } else { 200 });
/// How long a thread that does nothing any more sleeps at a time.
const ASLEEP: Duration = Duration::from_secs(3600);

/// The faults of a running IMS.
#[derive(Debug)]
pub(super) struct Trouble {
    faults: Faults,
    /// Which start of this IMS it is.
    start: u64,
    hung: AtomicBool,
    outbound_stuck: AtomicBool,
    /// Whether what was sent may have to stay in MTS-OUT.
    keeps: bool,
    /// What of MTS-OUT was converted since this start and is there still.
    converted: Mutex<BTreeSet<SpoolName>>,
}

/// When in its handling a message is come upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Its file has been read.
    Read,
    /// Its envelope is on the wire and in the log, and `DATA` is next.
    Offered,
}

impl Trouble {
    /// Learns of the server's faults, and counts the start.
    pub(super) fn begin(server: &ServerDir) -> Result<Self, LabError> {
        let faults = Faults::read(server)?;
        let counted = std::fs::read_to_string(server.ims_starts()).ok();
        let start = counted.and_then(|text| text.parse().ok()).unwrap_or(0) + 1;
        if faults != Faults::default() {
            let _ = std::fs::write(server.ims_starts(), u64::to_string(&start));
        }
        let folder = Database::read(server)?;
        Ok(Self {
            keeps: faults.scanned || folder.is_some_and(|store| store.keeps_what_was_sent()),
            faults,
            start,
            hung: AtomicBool::new(false),
            outbound_stuck: AtomicBool::new(false),
            converted: Mutex::default(),
        })
    }

    /// Whether this start is the one at which the IMS hangs.
    pub(super) fn hangs_now(&self) -> bool {
        self.faults.hangs_at_start == Some(self.start)
    }

    /// Whether sending waits behind a stuck message.
    pub(super) fn outbound_is_stuck(&self) -> bool {
        self.outbound_stuck.load(Ordering::Relaxed)
    }

    /// Whether a scanner or a damaged folder may hold what is in MTS-OUT on this server.
    pub(super) fn keeps_sent(&self) -> bool {
        self.keeps
    }

    /// Whether it does so now.
    pub(super) fn keeps_sent_now(&self, server: &ServerDir) -> bool {
        let scanned = self.faults.scanned && !server.scanner_excluded().exists();
        // A store that cannot be read lets nothing be removed either.
        scanned
            || Database::read(server).map_or(true, |store| {
                store.is_some_and(|store| store.keeps_what_was_sent())
            })
    }

    /// Notes that a message of MTS-OUT is converted; false where it was since this start.
    pub(super) fn first_conversion(&self, name: &SpoolName) -> bool {
        let mut converted = self
            .converted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        converted.insert(name.clone())
    }

    /// Whether a message of MTS-OUT was converted since this start.
    pub(super) fn was_converted(&self, name: &SpoolName) -> bool {
        let converted = self
            .converted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        converted.contains(name)
    }

    /// Whether the process hangs; who asks then hangs with it.
    pub(super) fn hang_with_it(&self) {
        while self.hung.load(Ordering::Relaxed) {
            // This is the fault: a thread that never comes back.
            std::thread::sleep(ASLEEP);
        }
    }
}

impl Ims {
    /// What befalls the process when it comes upon a message. A crash or a hang does not return; a stuck
    /// message returns when the service is to stop.
    pub(super) fn come_upon(&self, place: Place, moment: Moment, name: &SpoolName, text: &[u8]) {
        // Hashing is for servers with faults only.
        if self.trouble.faults.messages.is_empty() {
            return;
        }
        let hash = spool::body_hash(text);
        let Some(bad) = self.trouble.faults.messages.get(&hash) else {
            return;
        };
        // What is logged before a crash is the difference between the two kinds; only in `Out` is anything.
        let strikes_at = match (bad.effect, place) {
            (Effect::Crash { .. }, Place::Out) => Moment::Offered,
            _ => Moment::Read,
        };
        if bad.place != place || moment != strikes_at {
            return;
        }
        match bad.effect {
            Effect::Crash { percent } if !fault::strikes(percent, &hash, self.trouble.start) => {}
            Effect::Crash { .. } | Effect::CrashUnlogged => {
                self.tell_of_the_end(bad.named, name);
                end_at_once();
            }
            Effect::Hang => {
                self.tell_of_the_end(bad.named, name);
                self.trouble.hung.store(true, Ordering::Relaxed);
                self.trouble.hang_with_it();
            }
            // The two converters see to that themselves.
            Effect::Vanish => {}
            Effect::Stick { event } => self.stick(place, event, bad.named, name),
        }
    }

    /// Whether a message is to be deleted without a word when it is to be converted here (Q157684). For a
    /// moment its stream is tried again.
    pub(super) fn vanishes(&self, place: Place, text: &[u8]) -> bool {
        let bad = |(hash, bad): (&String, &BadMessage)| {
            bad.place == place && bad.effect == Effect::Vanish && *hash == spool::body_hash(text)
        };
        let faults = &self.trouble.faults.messages;
        let vanishes = !faults.is_empty() && faults.iter().any(bad);
        if vanishes {
            std::thread::sleep(TRIED_AGAIN);
        }
        vanishes
    }

    /// Whether the tracking record of a message is dropped; event 3016 then says so.
    pub(super) fn drops_record_of(&self, text: &[u8]) -> bool {
        let untracked = &self.trouble.faults.untracked;
        !untracked.is_empty() && untracked.contains(&spool::body_hash(text))
    }

    /// Hangs at this start, where that is what is wrong; every thread that asks whether it is to stop hangs
    /// with it.
    pub(super) fn hang_at_start(&self) {
        if self.trouble.hangs_now() {
            self.events.write(4037, Gravity::Error, INTERNAL, EXCEPTION);
            self.trouble.hung.store(true, Ordering::Relaxed);
        }
    }

    fn tell_of_the_end(&self, named: bool, name: &SpoolName) {
        if named {
            self.tell_of_retry(4182, true, name.as_str());
        }
        self.events.write(4037, Gravity::Error, INTERNAL, EXCEPTION);
    }

    fn tell_of_retry(&self, event: u32, named: bool, name: &str) {
        let text = match (event, named) {
            (4117, true) => {
                format!("The spool file {name} failed and is to be moved to the archive.")
            }
            (_, true) => format!("The spool file {name} will be retried at restart."),
            (_, false) => {
                "A MAPI error (0x80040116) occurred; the message is retried at restart.".to_owned()
            }
        };
        self.events.write(event, Gravity::Error, INTERNAL, &text);
    }

    /// Asking the MTA for mail fails while an object of its database is damaged; told at every retry.
    pub(super) fn tell_of_a_damaged_mta(&self, told: &mut Option<Instant>) {
        let retry = self.config.clock_factor.shorten(RETRY);
        if told.is_some_and(|at| at.elapsed() < retry) || !self.server.mta_damage().exists() {
            return;
        }
        if Damage::read(&self.server).is_ok_and(Damage::any) {
            self.tell_of_retry(4116, false, "");
            *told = Some(Instant::now());
        }
    }

    /// Nothing behind the message moves; the event comes again at every retry.
    fn stick(&self, place: Place, event: u32, named: bool, name: &SpoolName) {
        if place == Place::Out {
            self.trouble.outbound_stuck.store(true, Ordering::Relaxed);
        }
        let retry = self.config.clock_factor.shorten(RETRY);
        let mut told = None::<Instant>;
        while !self.stopping() {
            if told.is_none_or(|at| at.elapsed() >= retry) {
                self.tell_of_retry(event, named, name.as_str());
                told = Some(Instant::now());
            }
            std::thread::sleep(super::LOOK);
        }
    }
}

/// Ends the process as a crash does: nothing that it holds is written or said.
#[cfg(unix)]
fn end_at_once() {
    crate::tether::signal(std::process::id(), rustix::process::Signal::KILL);
    std::thread::sleep(ASLEEP);
}

/// Ends the process as a crash does: the service control manager hears of it from the process's end alone.
#[cfg(windows)]
fn end_at_once() {
    std::process::exit(i32::try_from(crate::service_manager::PROCESS_DIED).unwrap_or(1));
}
