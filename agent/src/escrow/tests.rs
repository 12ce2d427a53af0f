//! Escrow on the simulated machine: what appears is kept, through deaths, within limits, until its time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mailmend_policy::condition::Queue;
use mailmend_policy::digest::Digest;
use mailmend_proto::run::{Event, RunId};
use uuid::Uuid;

use super::*;
use crate::host::Host;
use crate::host::simulated::{SimSettings, SimWorld};
use crate::journal::MemoryJournal;
use crate::station::Station;

const OUT: &str = "/exchsrvr/imcdata/Out";
const KEPT: &str = "/exchsrvr/mailmend-held/escrow/Out";
const HOUR: Duration = Duration::from_secs(3600);

struct Bench {
    world: SimWorld,
    storage: MemoryJournal,
    limits: &'static str,
}

fn run() -> RunId {
    RunId(Uuid::from_u128(7))
}

impl Bench {
    fn new(stale_routes: bool, limits: &'static str) -> Self {
        let settings = SimSettings {
            stale_routes,
            ..SimSettings::default()
        };
        Self {
            world: SimWorld::new(settings),
            storage: MemoryJournal::new(Uuid::from_u128(1)),
            limits,
        }
    }

    /// A life of the agent.
    fn station(&self) -> Station {
        let journal = Journal::memory(&self.storage).unwrap();
        let text = format!(
            "roots = [\"/exchsrvr\"]\nservices = [\"MSExchangeIMC\"]\npolicies = \"unsigned\"\n[limits]\n{}\n",
            self.limits
        );
        let guard = Arc::new(Guard::parse("guard.toml", &text).unwrap());
        let host: Arc<dyn Host> = Arc::new(self.world.host());
        Station::new(host, journal, guard, "serverb".parse().unwrap()).unwrap()
    }

    fn ordered(&self, station: &Station) {
        let digest = Digest::of(b"plan");
        let admitted = Event::Admitted {
            fence: 1,
            plan: digest,
            policy: digest,
            assignment: Vec::new(),
        };
        let ordered = Event::EscrowOrdered {
            step: 0,
            queue: Queue::OutboundAwaitingDelivery.name().into(),
            folder: OUT.into(),
            kept_in: KEPT.into(),
            keep_ms: 7 * 24 * 3_600_000,
        };
        station.record(run(), vec![admitted, ordered]).unwrap();
    }

    fn names(&self, station: &Station, folder: &str) -> Vec<String> {
        let files = station
            .host
            .spool()
            .list(Path::new(folder))
            .unwrap_or_default();
        files
            .into_iter()
            .filter(|file| file.kind == crate::host::FileKind::File)
            .map(|file| file.name)
            .collect()
    }
}

#[test]
fn what_the_server_deletes_is_still_there_and_an_agents_death_changes_nothing() {
    let bench = Bench::new(true, "");
    let first = bench.world.add_outbound(3, 100);
    let station = bench.station();
    bench.ordered(&station);
    assert_eq!(station.escrow.sweep(&station).unwrap().new, 3);
    assert_eq!(
        station.escrow.sweep(&station).unwrap().new,
        0,
        "they have their names"
    );
    drop(station);
    let more = bench.world.add_outbound(1, 100);
    let station = bench.station();
    assert_eq!(
        station.escrow.sweep(&station).unwrap().new,
        1,
        "the journal alone orders it"
    );
    let deleted = PathBuf::from(OUT).join(&first[0]);
    station.host.spool().remove(&deleted).unwrap();
    let mut all = [first.clone(), more].concat();
    all.sort();
    assert_eq!(bench.names(&station, KEPT), all);
    let balance = bench.world.balance();
    assert!(
        !balance.by_spool_name(&first[0]).unwrap().is_lost(),
        "its bytes are kept"
    );
    assert!(balance.altered().is_empty());
}

#[test]
fn a_name_that_comes_again_is_kept_beside_the_first() {
    let bench = Bench::new(true, "");
    let station = bench.station();
    bench.ordered(&station);
    let name = bench.world.add_outbound(1, 100).remove(0);
    station.escrow.sweep(&station).unwrap();
    let path = PathBuf::from(OUT).join(&name);
    station.host.spool().remove(&path).unwrap();
    bench
        .world
        .put_file(&path, b"another message", Duration::ZERO);
    assert_eq!(station.escrow.sweep(&station).unwrap().new, 1);
    let kept = bench.names(&station, KEPT);
    assert_eq!(kept.len(), 2);
    assert!(
        kept.iter()
            .all(|copy| spool_name_of(copy) == Some(name.as_str()))
    );
    assert_eq!(station.escrow.sweep(&station).unwrap().new, 0);
}

#[test]
fn at_its_limit_it_takes_nothing_more_keeps_what_it_has_and_tells_once() {
    for limits in ["escrow_files = 2", "escrow_bytes = 1000"] {
        let bench = Bench::new(true, limits);
        bench.world.add_outbound(5, 100);
        let station = bench.station();
        bench.ordered(&station);
        let kept = station.escrow.sweep(&station).unwrap();
        assert!(kept.new >= 1 && kept.missed >= 2, "{limits}: {kept:?}");
        let again = station.escrow.sweep(&station).unwrap();
        assert_eq!(again.new, 0);
        assert_eq!(bench.names(&station, KEPT).len() as u64, kept.new);
        let alarms = |record: &&mailmend_proto::run::Record| matches!(&record.event, Event::Alarm { code, .. } if code == "A090-escrow-full");
        let records = station.journal.records(run()).unwrap();
        assert_eq!(records.iter().filter(alarms).count(), 1, "{limits}");
    }
}

#[test]
fn the_disk_is_never_filled() {
    let bench = Bench::new(true, "least_free_bytes = 5000");
    bench.world.add_outbound(2, 100);
    bench.world.set_free_bytes(4000);
    let station = bench.station();
    bench.ordered(&station);
    let kept = station.escrow.sweep(&station).unwrap();
    assert_eq!((kept.new, kept.missed), (0, 2));
}

#[test]
fn a_copy_goes_only_after_evidence_of_delivery_and_its_time() {
    let bench = Bench::new(false, "");
    let station = bench.station();
    bench.ordered(&station);
    let sent = bench.world.add_outbound(2, 100);
    let lost = bench.world.add_outbound(1, 100).remove(0);
    assert_eq!(station.escrow.sweep(&station).unwrap().new, 3);
    station
        .host
        .spool()
        .remove(&PathBuf::from(OUT).join(&lost))
        .unwrap();
    bench.world.advance(HOUR);
    let kept = station.escrow.sweep(&station).unwrap();
    assert_eq!(
        (kept.settled, kept.removed),
        (2, 0),
        "{sent:?} were delivered"
    );
    assert_eq!(bench.names(&station, KEPT), std::slice::from_ref(&lost));
    bench.world.advance(7 * 24 * HOUR);
    assert_eq!(
        station.escrow.sweep(&station).unwrap().removed,
        0,
        "the day counts to its end"
    );
    bench.world.advance(24 * HOUR);
    assert_eq!(station.escrow.sweep(&station).unwrap().removed, 2);
    assert_eq!(
        bench.names(&station, KEPT),
        [lost],
        "never delivered, never let go"
    );
}

#[test]
fn only_names_of_spool_files_are_those_of_copies() {
    assert_eq!(spool_name_of("AAAA0001"), Some("AAAA0001"));
    assert_eq!(spool_name_of("AAAA0001-1f"), Some("AAAA0001"));
    for other in [
        "AAAA000",
        "AAAA00012",
        "delivered-19971105",
        "queue.dat",
        "å",
    ] {
        assert_eq!(spool_name_of(other), None, "{other}");
    }
}

/// Files that live for milliseconds are seen on a real machine.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_lives_for_milliseconds_is_told_of() {
    use crate::host::unix::{UnixHost, UnixSettings};
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let (source, kept) = (folder.join("In"), folder.join("kept"));
    for folder in [&source, &kept] {
        std::fs::create_dir(folder).unwrap();
    }
    let host = UnixHost::new(UnixSettings {
        service_socket: folder.join("none"),
        registry_file: folder.join("none"),
        events_file: folder.join("none"),
        counters_file: None,
        clock_factor: 1.0,
    });
    let mut watch = host
        .spool()
        .watch(std::slice::from_ref(&source))
        .unwrap()
        .unwrap();
    let writer = std::thread::spawn({
        let source = source.clone();
        move || {
            for number in 0..20 {
                let file = source.join(format!("AAAA{number:04}"));
                std::fs::write(&file, b"mail").unwrap();
                // The server's own haste, which is what is tried here.
                std::thread::sleep(Duration::from_millis(20));
                std::fs::remove_file(file).unwrap();
            }
        }
    });
    let mut told = std::collections::BTreeSet::new();
    while told.len() < 20 {
        let found = watch.wait(Duration::from_secs(10)).unwrap();
        assert!(!found.is_empty(), "only {} were told of", told.len());
        for (place, name) in found {
            // Kept at once: whether it is in time is the machine's affair, most are.
            let _ = host.spool().link_new(&place.join(&name), &kept.join(&name));
            told.insert(name);
        }
    }
    writer.join().unwrap();
    let kept = std::fs::read_dir(kept).unwrap().count();
    assert!(kept >= 10, "only {kept} of 20 were kept");
}

#[test]
fn an_order_that_comes_before_the_wait_for_it_is_not_slept_over() {
    let keeper = Keeper::default();
    let heard = keeper.heard();
    keeper.wake();
    let began = std::time::Instant::now();
    keeper.wait(heard, Duration::from_secs(600));
    assert!(began.elapsed() < Duration::from_secs(300));
}

#[test]
fn a_folder_counts_as_watched_only_once_the_thread_says_so() {
    let keeper = Keeper::default();
    let (queue, other) = (Path::new("/queue"), PathBuf::from("/other"));
    // By hand there is nothing to wait for.
    assert!(keeper.await_watched(queue, Duration::ZERO));
    keeper.thread_began();
    assert!(!keeper.await_watched(queue, Duration::ZERO));
    keeper.watching(&[other]);
    assert!(!keeper.await_watched(queue, Duration::ZERO));
    std::thread::scope(|threads| {
        let waits = threads.spawn(|| keeper.await_watched(queue, Duration::from_secs(600)));
        keeper.watching(&[queue.to_path_buf()]);
        assert!(waits.join().unwrap());
    });
}
