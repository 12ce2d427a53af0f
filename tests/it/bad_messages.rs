//! What bad messages do to the IMS, without any agent: as in life, or nothing proven with them counts.

use std::path::Path;
use std::time::{Duration, SystemTime};

use mailmend_lab::clock_factor::ClockFactor;
use mailmend_lab::fault::{BadMessage, Effect, Faults, Place};
use mailmend_lab::ims::SERVICE;
use mailmend_lab::load::{Begins, Load, Submission};
use mailmend_lab::server_dir::spooled;
use mailmend_lab::service_manager::{Op, PROCESS_DIED, State};
use mailmend_lab::truth::{self, Fate};
use mailmend_lab::world::{SiteSpec, World, WorldSpec};
use mailmend_lab::{awaited, event_log, tether};
use rustix::process::Signal;

use crate::lab_run::LAB;

const LIMIT: Duration = Duration::from_secs(30);

/// Six messages lie in a queue of Server A, oldest first, and the third is bad; its IMS has just started.
fn with_third_bad(folder: &Path, begins: Begins, effect: Effect) -> (World, Vec<Submission>) {
    let spec = WorldSpec {
        clock_factor: ClockFactor(600),
        sites: vec![SiteSpec::well()],
        connections: 1,
        ..WorldSpec::default()
    };
    let world = World::build(folder, spec, Path::new(LAB)).unwrap();
    let mut load = Load::new(7, &world.truth_of_users()).unwrap();
    let server = &world.servers[0];
    server.services().stop(SERVICE, LIMIT).unwrap();
    let since = |number: u64| SystemTime::now() - Duration::from_secs(60 - number);
    let mut send = |number| {
        let since = Some(since(number));
        load.send_to_begin(&server.site, &server.name, &server.dir, since, begins)
            .unwrap()
    };
    let sent: Vec<Submission> = (0..6).map(&mut send).collect();
    let place = if begins == Begins::Received {
        Place::In
    } else {
        Place::Out
    };
    let bad = BadMessage {
        place,
        effect,
        named: true,
    };
    let mut faults = Faults::default();
    faults.messages.insert(sent[2].body_hash.clone(), bad);
    faults.write(&server.dir).unwrap();
    let _ = server.services().start(SERVICE, LIMIT);
    (world, sent)
}

fn state(world: &World) -> Option<State> {
    let services = world.servers[0].services();
    services.ask(Op::Query, SERVICE).unwrap().state
}

fn wrote(world: &World, id: u32) -> Vec<String> {
    let events = event_log::read(&world.servers[0].dir.events()).unwrap();
    let of = events.into_iter().filter(|event| event.id == id);
    of.map(|event| event.description).collect()
}

fn delivered(world: &World) -> usize {
    truth::count(&world.tell().unwrap(), Fate::DeliveredOnce)
}

#[test]
fn a_message_that_ends_the_service_does_so_at_every_start_and_what_came_before_it_is_delivered() {
    for begins in [Begins::Converted, Begins::Received] {
        let folder = tempfile::tempdir().unwrap();
        let effect = Effect::Crash { percent: 100 };
        let (world, sent) = with_third_bad(folder.path(), begins, effect);
        for starts in 1..=2 {
            awaited::or_fail("the end", LIMIT, || state(&world) == Some(State::Stopped)).unwrap();
            let services = world.servers[0].services();
            let answer = services.ask(Op::Query, SERVICE).unwrap();
            assert_eq!(answer.exit_code, Some(PROCESS_DIED));
            assert_eq!(wrote(&world, 4037).len(), starts);
            let named = wrote(&world, 4182);
            assert!(named[starts - 1].contains(sent[2].spool_name.as_str()));
            assert_eq!(delivered(&world), 2, "{begins:?}");
            let _ = services.start(SERVICE, LIMIT);
        }
    }
}

#[test]
fn a_service_that_hangs_holds_the_file_and_hears_no_stop_until_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (world, sent) = with_third_bad(folder.path(), Begins::Converted, Effect::Hang);
    awaited::or_fail("event 4037", LIMIT, || !wrote(&world, 4037).is_empty()).unwrap();
    let server = &world.servers[0];
    let file = server.dir.outbound().join(sent[2].spool_name.as_str());
    assert!(std::fs::File::open(&file).unwrap().try_lock().is_err());
    let limit = Duration::from_millis(500);
    assert!(server.services().stop(SERVICE, limit).is_err());
    assert_eq!(state(&world), Some(State::Stopping));
    tether::signal(server.ims_pid().unwrap(), Signal::KILL);
    awaited::or_fail("the end", LIMIT, || state(&world) == Some(State::Stopped)).unwrap();
    assert!(std::fs::File::open(&file).unwrap().try_lock().is_ok());
}

#[test]
fn a_stuck_message_holds_up_what_is_behind_it_and_the_service_still_stops() {
    for begins in [Begins::Converted, Begins::Received] {
        let folder = tempfile::tempdir().unwrap();
        let effect = Effect::Stick { event: 4182 };
        let (world, sent) = with_third_bad(folder.path(), begins, effect);
        awaited::or_fail("the second retry", LIMIT, || wrote(&world, 4182).len() > 1).unwrap();
        assert!(wrote(&world, 4182)[0].contains(sent[2].spool_name.as_str()));
        assert_eq!(delivered(&world), 2, "{begins:?}");
        let server = &world.servers[0];
        server.services().stop(SERVICE, LIMIT).unwrap();
        let waiting = [server.dir.inbound(), server.dir.outbound()];
        let waiting = waiting.iter().map(|folder| spooled(folder).unwrap().len());
        assert_eq!(waiting.sum::<usize>(), 4, "{begins:?}");
    }
}
