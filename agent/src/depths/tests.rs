use uuid::Uuid;

use super::*;
use crate::guard::Guard;
use crate::host::simulated::{SimSettings, SimWorld};
use crate::journal::{Journal, MemoryJournal};

const GUARD: &str =
    "roots = [\"/exchsrvr\"]\nservices = [\"MSExchangeIMC\"]\npolicies = \"unsigned\"\n";

fn counter() -> (SimWorld, Counter) {
    let world = SimWorld::new(SimSettings::default());
    let journal = Journal::memory(&MemoryJournal::new(Uuid::from_u128(1))).unwrap();
    let guard = Arc::new(Guard::parse("guard.toml", GUARD).unwrap());
    let host = Arc::new(world.host());
    let station = Station::new(host, journal, guard, "SRVB".parse().unwrap()).unwrap();
    (world, Counter::new(Arc::new(station)))
}

fn of(depths: &Depths, queue: Queue) -> &wire::QueueDepth {
    let found = depths.queues.iter().find(|one| one.queue == queue.name());
    found.expect("the queue was counted")
}

#[test]
fn messages_bytes_and_the_oldest_are_counted_and_what_is_no_message_is_not() {
    let (world, counter) = counter();
    world.kill_service("MSExchangeIMC");
    let names = world.add_outbound(3, 1000);
    let host = Arc::clone(&counter.station.host);
    let imcdata = host
        .root(mailmend_policy::condition::PathRoot::Imcdata)
        .unwrap();
    let out = imcdata.join("Out");
    world.set_age(&out.join(&names[1]), Duration::from_secs(3600));
    world.put_file(&out.join("readme.txt"), b"no message", Duration::ZERO);
    world.put_link(&out.join("LINKLINK"));
    let began_ms = host.clock().wall_ms();
    counter.count();
    let depths = counter.subscribe().borrow().clone();
    let files = host.spool().list(&out).unwrap();
    let bytes: u64 = files
        .iter()
        .filter(|file| names.contains(&file.name))
        .map(|file| file.size)
        .sum();
    let now_ms = host.clock().wall_ms();
    let oldest = files.iter().find(|file| file.name == names[1]).unwrap();
    let outbound = of(&depths, Queue::OutboundAwaitingDelivery);
    assert_eq!((outbound.messages, outbound.bytes), (3, bytes));
    assert!(bytes >= 3000);
    assert_eq!(outbound.oldest_ms, oldest.modified_ms);
    assert!((began_ms..=now_ms).contains(&outbound.at_ms));
    let inbound = of(&depths, Queue::InboundAwaitingConversion);
    assert_eq!((inbound.messages, inbound.oldest_ms), (0, 0));
}

#[test]
fn a_queue_that_cannot_be_counted_is_left_out_and_not_told_as_empty() {
    let (world, counter) = counter();
    // The service's counters are there only while it runs.
    world.kill_service("MSExchangeIMC");
    counter.count();
    let depths = counter.subscribe().borrow().clone();
    let names: Vec<&str> = depths.queues.iter().map(|one| one.queue.as_str()).collect();
    assert_eq!(
        names,
        ["inbound-awaiting-conversion", "outbound-awaiting-delivery"]
    );
}

#[test]
fn a_count_is_told_when_it_has_changed_not_within_thirty_seconds_and_after_ten_minutes_anyhow() {
    let at = |seconds: u64, messages: u64| Depths {
        queues: vec![wire::QueueDepth {
            queue: "outbound-awaiting-delivery".into(),
            messages,
            at_ms: i64::try_from(seconds).unwrap() * 1000,
            ..wire::QueueDepth::default()
        }],
        counted: Some(Duration::from_secs(seconds)),
    };
    assert!(!worth_telling(None, &Depths::default()), "nothing counted");
    let told = at(100, 4);
    assert!(worth_telling(None, &told), "after each connect");
    assert!(!worth_telling(Some(&told), &at(129, 5)), "too soon");
    assert!(worth_telling(Some(&told), &at(130, 5)), "changed");
    assert!(!worth_telling(Some(&told), &at(160, 4)), "no news");
    assert!(!worth_telling(Some(&told), &at(699, 4)), "no news");
    assert!(worth_telling(Some(&told), &at(700, 4)), "still so");
}

#[test]
fn the_counter_counts_every_thirty_seconds_of_uptime_until_the_station_stops() {
    let (_world, counter) = counter();
    let mut depths = counter.subscribe();
    let station = Arc::clone(&counter.station);
    let running = std::thread::spawn(move || counter.run());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut counted = Vec::new();
    while counted.len() < 4 {
        runtime.block_on(depths.changed()).unwrap();
        counted.push(depths.borrow_and_update().counted.unwrap());
    }
    station.stop();
    running.join().unwrap();
    assert!(
        counted.windows(2).all(|pair| pair[1] - pair[0] >= EVERY),
        "{counted:?}"
    );
}
