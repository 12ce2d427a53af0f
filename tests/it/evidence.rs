//! What the lab's services write, the agent's readers must understand: both were written from the facts,
//! by different hands.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use mailmend_agent::evidence::{Direction, MessageKey, Sent, spool_file, what_was_sent};
use mailmend_agent::host::unix::{UnixHost, UnixSettings};
use mailmend_agent::host::{Host, HostErrorKind, RegistryValue, ServiceState};
use mailmend_lab::awaited;
use mailmend_lab::clock_factor::ClockFactor;
use mailmend_lab::ims::SERVICE;
use mailmend_lab::load::{Load, Submission};
use mailmend_lab::server_dir::ServerDir;
use mailmend_lab::tether;
use mailmend_lab::world::{SiteSpec, World, WorldSpec};
use mailmend_policy::condition::PathRoot;
use rustix::process::Signal;

const LAB: &str = env!("CARGO_BIN_EXE_mailmend-lab");
const LIMIT: Duration = Duration::from_secs(30);

fn host(dir: &ServerDir) -> UnixHost {
    UnixHost::new(UnixSettings {
        service_socket: dir.manager_socket(),
        registry_file: dir.registry(),
        events_file: dir.events(),
        counters_file: None,
        clock_factor: 1.0,
    })
}

/// The key of a message as the agent makes it from the spool file, found in a folder.
fn key(folder: &Path, sent: &Submission) -> MessageKey {
    let path = folder.join(sent.spool_name.as_str());
    let mut file = std::fs::File::open(&path).unwrap();
    let written = file.metadata().unwrap().modified().unwrap();
    let written_ms = written.duration_since(UNIX_EPOCH).unwrap().as_millis();
    let header = spool_file::read(&mut file).unwrap();
    let name = sent.spool_name.as_str();
    MessageKey::new(
        name,
        header,
        i64::try_from(written_ms).unwrap(),
        Direction::Outbound,
    )
}

#[test]
fn the_agent_tells_sent_from_begun_from_unsent_after_the_service_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let spec = WorldSpec {
        sites: vec![SiteSpec::well()],
        clock_factor: ClockFactor(600),
        connections: 1,
        peer_latency: Duration::from_millis(400),
        ..WorldSpec::default()
    };
    let world = World::build(folder.path(), spec, Path::new(LAB)).unwrap();
    let server = world.outbound_only().next().unwrap();
    let mut load = Load::new(11, &world.truth_of_users()).unwrap();
    for _ in 0..4 {
        load.send(&server.site, &server.name, &server.dir).unwrap();
    }
    // The second is taken and not yet confirmed: the first is done, the others have not begun.
    let taken = || world.deliveries().unwrap().len() == 2;
    awaited::or_fail("the second message", LIMIT, taken).unwrap();
    tether::signal(server.ims_pid().unwrap(), Signal::KILL);
    let submissions = world.submissions().unwrap();
    let deliveries = world.deliveries().unwrap();
    let of = |index: usize| {
        let id = &deliveries[index].message_id;
        submissions
            .iter()
            .find(|one| one.message_id == *id)
            .unwrap()
    };
    let (done, begun) = (of(0), of(1));

    let host = host(&server.dir);
    let out = server.dir.outbound();
    let archive = server.dir.outbound_archive();
    // The archive keeps a copy of what has been removed from Out.
    let mut keys = vec![key(&archive, done), key(&out, begun)];
    let unsent = submissions
        .iter()
        .filter(|one| one.message_id != done.message_id && one.message_id != begun.message_id);
    keys.extend(unsent.map(|one| key(&out, one)));
    assert_eq!(keys[1].mts_id.as_ref(), Some(&begun.mts_id));
    assert_eq!(keys[1].message_id.as_ref(), Some(&begun.message_id));
    assert_eq!(keys[1].recipients.as_ref(), Some(&begun.recipients));

    let sent = what_was_sent(&host, 0, &keys);
    assert!(matches!(&sent[0], Sent::Delivered { .. }), "{:?}", sent[0]);
    assert!(matches!(&sent[1], Sent::Begun { .. }), "{:?}", sent[1]);
    assert_eq!(sent[2..], [Sent::NotSeen, Sent::NotSeen]);
}

#[test]
fn the_agent_finds_its_way_through_a_server_of_the_lab() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::build(folder.path(), WorldSpec::default(), Path::new(LAB)).unwrap();
    let server = &world.servers[0];
    let host = host(&server.dir);
    let canonical = |path: std::path::PathBuf| path.canonicalize().unwrap();
    assert_eq!(
        host.root(PathRoot::Imcdata).unwrap(),
        canonical(server.dir.imcdata())
    );
    assert_eq!(
        host.root(PathRoot::Mtadata).unwrap(),
        canonical(server.dir.mtadata())
    );
    assert_eq!(
        host.root(PathRoot::Trackinglog).unwrap(),
        canonical(server.dir.tracking())
    );
    let key = r"SYSTEM\CurrentControlSet\Services\MSExchangeIMC\Parameters";
    let interval = host
        .registry()
        .read(key, "RouteCalculationInterval")
        .unwrap();
    assert_eq!(interval, Some(RegistryValue::Number(15)));
    let events = host.events().read(SERVICE, 0).unwrap();
    assert_eq!(events.iter().filter(|event| event.id == 1000).count(), 1);

    let service = SERVICE.parse().unwrap();
    let status = host.services().query(&service).unwrap();
    assert_eq!(status.state, ServiceState::Running);
    let process = status.process.unwrap();
    assert!(host.services().process_alive(&process).unwrap());
    let again = host.services().request_start(&service).unwrap_err();
    assert_eq!(again.kind, HostErrorKind::Service(1056));
    let mut other = process.clone();
    other.started += 1;
    assert!(
        host.services().end_process(&other).is_err(),
        "another process of the same number"
    );
    host.services().end_process(&process).unwrap();
    let died = || host.services().query(&service).unwrap().exit_code == Some(1067);
    awaited::or_fail("the death to be seen", LIMIT, died).unwrap();
    assert!(!host.services().process_alive(&process).unwrap());
}
