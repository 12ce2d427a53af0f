//! The world alone, without any agent: it must behave as Exchange does, or nothing proven in it counts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mailmend_lab::clock_factor::ClockFactor;
use mailmend_lab::event_log;
use mailmend_lab::ims::SERVICE;
use mailmend_lab::load::Load;
use mailmend_lab::peer;
use mailmend_lab::server_dir::spooled;
use mailmend_lab::service_manager::{ManagerClient, Op, State, start_time};
use mailmend_lab::tether::{self, Tethered};
use mailmend_lab::truth::{self, Fate};
use mailmend_lab::world::{Server, SiteSpec, World, WorldSpec};
use mailmend_lab::{awaited, mta, smtp_log, spool, store, tool};
use rustix::process::Signal;

const LAB: &str = env!("CARGO_BIN_EXE_mailmend-lab");
const LIMIT: Duration = Duration::from_secs(30);

fn spec() -> WorldSpec {
    WorldSpec {
        clock_factor: ClockFactor(600),
        ..WorldSpec::default()
    }
}

/// The same with a site in which nothing is wrong.
fn well() -> WorldSpec {
    WorldSpec {
        sites: vec![SiteSpec::well()],
        ..spec()
    }
}

fn build(folder: &Path, spec: WorldSpec) -> World {
    World::build(folder, spec, Path::new(LAB)).unwrap_or_else(|error| {
        panic!("{}", error.whole());
    })
}

fn load(world: &World) -> Load {
    Load::new(7, &world.truth_of_users()).unwrap()
}

fn send(load: &mut Load, server: &Server, count: usize) {
    for _ in 0..count {
        load.send(&server.site, &server.name, &server.dir).unwrap();
    }
}

fn count(world: &World, fate: Fate) -> usize {
    truth::count(&world.tell().unwrap(), fate)
}

fn outbound_only(world: &World) -> &Server {
    world.outbound_only().next().unwrap()
}

#[test]
fn mail_moves_through_a_server_with_fresh_routes_and_none_through_one_with_stale_routes() {
    let folder = tempfile::tempdir().unwrap();
    let world = build(folder.path(), spec());
    let mut load = load(&world);
    send(&mut load, &world.servers[0], 20);
    send(&mut load, outbound_only(&world), 20);
    awaited::or_fail("server A's mail", LIMIT, || {
        count(&world, Fate::DeliveredOnce) == 20
    })
    .unwrap();
    let stuck = outbound_only(&world);
    awaited::or_fail("server B to try", LIMIT, || {
        let events = event_log::read(&stuck.dir.events()).unwrap();
        events.iter().filter(|event| event.id == 3010).count() >= 2
    })
    .unwrap();
    assert_eq!(count(&world, Fate::Waiting), 20);
    assert_eq!(stuck.waiting().unwrap(), 20);
    let route_txt = std::fs::read_to_string(stuck.dir.route_txt()).unwrap();
    assert!(
        route_txt.starts_with("SMTP:*\t1\t127.0.0.9:"),
        "{route_txt}"
    );
    let modified = |path: PathBuf| path.metadata().unwrap().modified().unwrap();
    assert!(modified(stuck.dir.route_txt()) < modified(stuck.dir.gwart()));
}

#[test]
fn the_article_carried_out_by_hand_and_in_the_right_order_delivers_everything_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = build(folder.path(), spec());
    let mut load = load(&world);
    send(&mut load, outbound_only(&world), 60);
    let stuck = outbound_only(&world);
    let queued = |server: &Server| spooled(&server.dir.outbound()).unwrap().len();
    awaited::or_fail("the spool", LIMIT, || queued(stuck) == 60).unwrap();

    // A recalculation alone changes the table, and nothing that is queued.
    tool::recalculate(&stuck.dir).unwrap();
    let recalculated = || {
        let events = event_log::read(&stuck.dir.events()).unwrap();
        events
            .iter()
            .any(|event| event.source == "MSExchangeSA" && event.id == 5000)
    };
    awaited::or_fail("event 5000", LIMIT, recalculated).unwrap();
    let table = std::fs::read_to_string(stuck.dir.gwart()).unwrap();
    assert!(table.contains(&world.sites[0].peer_address), "{table}");
    let services = stuck.services();
    services.stop(SERVICE, LIMIT).unwrap();
    services.start(SERVICE, LIMIT).unwrap();
    let fresh = std::fs::read_to_string(stuck.dir.route_txt()).unwrap();
    assert!(fresh.contains(&world.sites[0].peer_address), "{fresh}");
    send(&mut load, stuck, 1);
    awaited::or_fail("new mail", LIMIT, || {
        count(&world, Fate::DeliveredOnce) == 1
    })
    .unwrap();
    // The peer has it a moment before the service removes its file.
    awaited::or_fail("its file to go", LIMIT, || queued(stuck) <= 60).unwrap();
    assert_eq!(
        queued(stuck),
        60,
        "what was queued keeps the next hop that it was given"
    );

    // Stop, set the files and queue.dat aside, start, stop, put the files back, start.
    services.stop(SERVICE, LIMIT).unwrap();
    let aside = stuck.dir.held().join("by-hand");
    std::fs::create_dir_all(&aside).unwrap();
    for file in spooled(&stuck.dir.outbound()).unwrap() {
        store::hand_over(&file.name, &stuck.dir.outbound(), &aside).unwrap();
    }
    assert_eq!(count(&world, Fate::Held), 60);
    std::fs::hard_link(stuck.dir.queue_dat(), aside.join("queue.dat.1")).unwrap();
    std::fs::remove_file(stuck.dir.queue_dat()).unwrap();
    services.start(SERVICE, LIMIT).unwrap();
    services.stop(SERVICE, LIMIT).unwrap();
    for file in spooled(&aside).unwrap() {
        store::hand_over(&file.name, &aside, &stuck.dir.outbound()).unwrap();
    }
    services.start(SERVICE, LIMIT).unwrap();
    awaited::or_fail("everything", LIMIT, || stuck.waiting().unwrap() == 0).unwrap();
    assert_eq!(count(&world, Fate::DeliveredOnce), 61);

    let events = event_log::read(&stuck.dir.events()).unwrap();
    let of_ims = |id| {
        events
            .iter()
            .filter(|one| one.source == SERVICE && one.id == id)
            .count()
    };
    assert_eq!((of_ims(1000), of_ims(1001)), (4, 3));
    let tracked = tracking_text(stuck);
    assert_eq!(
        tracked
            .lines()
            .filter(|line| line.split('\t').nth(1) == Some("1011"))
            .count(),
        61
    );
    assert!(world.stop(), "every process ended by itself");
}

fn tracking_text(server: &Server) -> String {
    let folder = std::fs::read_dir(server.dir.tracking()).unwrap();
    folder
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect()
}

fn smtp_logs(server: &Server) -> Vec<String> {
    let mut paths: Vec<_> = std::fs::read_dir(server.dir.log())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "LOG"))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

/// The Message-IDs of deliveries whose DATA was begun and whose outcome is not in the log.
fn begun_without_outcome(log: &str) -> Option<String> {
    let texts: Vec<&str> = log
        .lines()
        .filter_map(|line| line.split_once(" : "))
        .map(|(_, text)| text)
        .collect();
    let data = texts.iter().rposition(|text| *text == "DATA")?;
    let rest = &texts[data + 1..];
    // After 354 a final reply would follow.
    if rest.iter().filter(|text| text.starts_with("IO: |")).count() > 1 {
        return None;
    }
    rest.iter()
        .find_map(|text| text.strip_prefix("Message-ID: "))
        .map(str::to_owned)
}

#[test]
fn an_ims_killed_while_sending_leaves_data_without_final_reply_and_sends_the_file_again() {
    let folder = tempfile::tempdir().unwrap();
    // The peer takes a message and says so only much later: the kill comes in between.
    let spec = WorldSpec {
        peer_latency: Duration::from_secs(20),
        connections: 1,
        ..well()
    };
    let world = build(folder.path(), spec);
    let server = outbound_only(&world);
    let mut load = load(&world);
    send(&mut load, server, 1);
    let taken = || world.deliveries().unwrap().len() == 1;
    awaited::or_fail("the peer to take it", LIMIT, taken).unwrap();
    let sent = world.submissions().unwrap().remove(0);
    let file = server.dir.outbound().join(sent.spool_name.as_str());
    let locked = std::fs::File::open(&file).unwrap().try_lock();
    assert!(locked.is_err(), "a file that is being sent is locked");
    tether::signal(server.ims_pid().unwrap(), Signal::KILL);
    let services = server.services();
    let stopped = || services.ask(Op::Query, SERVICE).unwrap().state == Some(State::Stopped);
    awaited::or_fail("the service manager to see it", LIMIT, stopped).unwrap();

    assert!(
        file.exists(),
        "the file of a message that was taken is still there"
    );
    let logs = smtp_logs(server);
    assert_eq!(
        begun_without_outcome(&logs[0]).as_ref(),
        Some(&sent.message_id)
    );
    assert!(!tracking_text(server).contains("\t1011\t"));
    services.start(SERVICE, LIMIT).unwrap();
    let twice = || world.deliveries().unwrap().len() == 2;
    awaited::or_fail("the second delivery", LIMIT, twice).unwrap();
    assert_eq!(
        count(&world, Fate::Duplicated),
        1,
        "sent again: the hazard is real"
    );
}

#[test]
fn an_ims_that_is_stopped_finishes_what_it_is_sending() {
    let folder = tempfile::tempdir().unwrap();
    let spec = WorldSpec {
        peer_latency: Duration::from_millis(300),
        ..well()
    };
    let world = build(folder.path(), spec);
    let server = outbound_only(&world);
    let mut load = load(&world);
    send(&mut load, server, 20);
    awaited::or_fail("mail under way", LIMIT, || {
        !world.deliveries().unwrap().is_empty()
    })
    .unwrap();
    server.services().stop(SERVICE, LIMIT).unwrap();
    let left = server.waiting().unwrap();
    assert!(left > 0, "it does not wait for the whole queue");
    assert_eq!(count(&world, Fate::DeliveredOnce) + left, 20);
    assert_eq!(count(&world, Fate::Waiting), left);
    server.services().start(SERVICE, LIMIT).unwrap();
    awaited::or_fail("the rest", LIMIT, || server.waiting().unwrap() == 0).unwrap();
    assert_eq!(count(&world, Fate::DeliveredOnce), 20);
}

#[test]
fn the_service_manager_answers_as_the_windows_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let world = build(folder.path(), spec());
    let server = &world.servers[0];
    let services = server.services();
    let code = |op, service| services.ask(op, service).unwrap().code;
    let state = |service| services.ask(Op::Query, service).unwrap().state;

    let running = services.ask(Op::Query, "msexchangeimc").unwrap();
    let pid = running.pid.unwrap();
    assert_eq!(running.state, Some(State::Running));
    assert_eq!(running.accepts_stop, Some(true));
    assert_eq!(running.exit_code, None);
    assert_eq!(running.started, start_time(pid));
    let image = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(running.image.map(PathBuf::from), Some(image));
    assert_eq!(code(Op::Start, SERVICE), Some(1056));
    assert_eq!(code(Op::Query, "MSExchangeDX"), Some(1060));
    let dependents = services
        .ask(Op::Query, "MSExchangeMTA")
        .unwrap()
        .dependents
        .unwrap();
    assert_eq!(dependents, [SERVICE]);
    assert_eq!(code(Op::Stop, "MSExchangeMTA"), Some(1051));

    services.stop(SERVICE, LIMIT).unwrap();
    assert_eq!(services.ask(Op::Query, SERVICE).unwrap().exit_code, Some(0));
    assert_eq!(code(Op::Stop, SERVICE), Some(1062));
    services.stop("MSExchangeMTA", LIMIT).unwrap();
    assert!(
        mta::request_recalculation(&server.dir).is_err(),
        "no MTA, no recalculation"
    );
    services.start(SERVICE, LIMIT).unwrap();
    assert_eq!(
        state("MSExchangeMTA"),
        Some(State::Running),
        "what it needs was started too"
    );

    tether::signal(server.ims_pid().unwrap(), Signal::KILL);
    let died = || services.ask(Op::Query, SERVICE).unwrap().exit_code == Some(1067);
    awaited::or_fail("the death to be seen", LIMIT, died).unwrap();
    assert_eq!(
        state(SERVICE),
        Some(State::Stopped),
        "nothing starts it again"
    );
    assert_eq!(code(Op::Stop, SERVICE), Some(1062));
}

#[test]
fn a_client_that_talks_nonsense_or_dies_does_not_disturb_the_service_manager() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let world = build(folder.path(), spec());
    let server = &world.servers[0];
    let connect = || std::os::unix::net::UnixStream::connect(server.dir.manager_socket()).unwrap();
    connect()
        .write_all(b"{\"op\":\"kill\",\"service\":\"MSExchangeIMC\"}\n")
        .unwrap();
    connect().write_all(b"\xff\xfe half a line").unwrap();
    drop(connect());
    assert!(server.ims_runs());
}

#[test]
fn a_server_for_both_directions_takes_mail_into_the_store() {
    use std::io::{BufRead, BufReader, Write};
    let folder = tempfile::tempdir().unwrap();
    let world = build(folder.path(), spec());
    let server = &world.servers[0];
    let port: u16 = std::fs::read_to_string(server.dir.smtp_port())
        .unwrap()
        .parse()
        .unwrap();
    let mut client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut replies = BufReader::new(client.try_clone().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut talk = |text: &str| {
        client.write_all(text.as_bytes()).unwrap();
        replies.next().unwrap()
    };
    assert!(talk("").starts_with("220 "));
    assert!(talk("DATA\r\n").starts_with("503 "));
    assert!(talk("EHLO outside\r\n").starts_with("250 "));
    assert!(talk("MAIL FROM:<eve@example.net>\r\n").starts_with("250 "));
    assert!(talk("RCPT TO:<ada@contoso.example>\r\n").starts_with("250 "));
    assert!(talk("DATA\r\n").starts_with("354 "));
    let taken = talk("Message-ID: <in@x>\r\n\r\n..dot\r\nbody\r\n.\r\n");
    assert!(taken.starts_with("250 OK "), "{taken}");
    assert!(talk("QUIT\r\n").starts_with("221 "));
    let delivered = || spooled(&server.dir.mts_in()).unwrap();
    awaited::or_fail("the store", LIMIT, || delivered().len() == 1).unwrap();
    let bytes = std::fs::read(server.dir.mts_in().join(delivered()[0].name.as_str())).unwrap();
    let message = spool::SpoolMessage::parse(&bytes).unwrap();
    assert_eq!(message.text, b"Message-ID: <in@x>\r\n\r\n.dot\r\nbody\r\n");
    assert_eq!(message.recipients, ["ada@contoso.example"]);
    awaited::or_fail("1013", LIMIT, || tracking_text(server).contains("\t1013\t")).unwrap();
    assert!(spooled(&server.dir.inbound()).unwrap().is_empty());
}

#[test]
fn the_chart_names_every_process_and_all_of_them_end_with_the_world() {
    let folder = tempfile::tempdir().unwrap();
    let world = build(
        folder.path(),
        WorldSpec {
            sites: vec![SiteSpec::default(); 2],
            ..spec()
        },
    );
    let chart: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("lab.json")).unwrap()).unwrap();
    let processes = chart["processes"].as_array().unwrap();
    let roles = |role: &str| processes.iter().filter(|one| one["role"] == role).count();
    assert_eq!(
        ["peer", "service-manager", "ims", "mta"].map(roles),
        [2, 4, 4, 4]
    );
    let pids: BTreeSet<u32> = processes
        .iter()
        .map(|one| u32::try_from(one["pid"].as_u64().unwrap()).unwrap())
        .collect();
    assert_eq!(pids.len(), 14, "each has its own");
    let alive = |pid: &u32| start_time(*pid).is_some() && !is_zombie(*pid);
    assert!(pids.iter().all(alive));
    // Not stopped, only dropped: the service managers are killed, and their services with them.
    drop(world);
    awaited::or_fail("every process to be gone", LIMIT, || {
        !pids.iter().any(alive)
    })
    .unwrap();
}

/// Whether a process has ended and only waits for whoever collects the dead.
fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('Z'))
}

#[test]
fn a_program_that_is_not_the_labs_ends_when_its_starter_does() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("log");
    let mut command = std::process::Command::new(LAB);
    command.args(["tether", "/bin/sleep", "1000"]);
    let mut sleeper = std::thread::spawn(move || {
        let sleeper = Tethered::start("a sleeper", command, &output).unwrap();
        let exe = format!("/proc/{}/exe", sleeper.pid());
        awaited::or_fail("the exec", LIMIT, || {
            std::fs::read_link(&exe)
                .is_ok_and(|exe| exe.ends_with("sleep") || exe.ends_with("coreutils"))
        })
        .unwrap();
        sleeper
    })
    .join()
    .unwrap();
    // The thread that started it has ended.
    awaited::or_fail("the sleeper's end", LIMIT, || !sleeper.runs()).unwrap();
}

#[test]
fn the_probe_tool_prints_the_mts_id_of_a_message_that_is_then_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let world = build(folder.path(), spec());
    let server = &world.servers[0];
    let output = std::process::Command::new(LAB)
        .args([
            "tool",
            "submit",
            "--to",
            "probe@example.net",
            "--server-dir",
        ])
        .arg(server.dir.root())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mts_id = text.strip_prefix("submitted ").unwrap().trim().to_owned();
    assert!(
        mts_id.starts_with("c=US;a= ;p=Contoso;l=OSLO-A"),
        "{mts_id}"
    );
    let tracked = || tracking_text(server).contains(&format!("{mts_id}\t1011\t"));
    awaited::or_fail("1011 for the probe", LIMIT, tracked).unwrap();
    let truth = world.deliveries().unwrap();
    assert!(
        truth
            .iter()
            .any(|one: &peer::Delivery| one.recipients == ["probe@example.net"])
    );
}

#[test]
fn a_corrupt_queue_file_is_told_of_and_rebuilt_from_the_spool() {
    let folder = tempfile::tempdir().unwrap();
    let world = build(folder.path(), well());
    let server = outbound_only(&world);
    let services: ManagerClient = server.services();
    services.stop(SERVICE, LIMIT).unwrap();
    let mut load = load(&world);
    send(&mut load, server, 3);
    for file in spooled(&server.dir.mts_out()).unwrap() {
        store::hand_over(&file.name, &server.dir.mts_out(), &server.dir.outbound()).unwrap();
    }
    std::fs::write(server.dir.queue_dat(), "not a queue").unwrap();
    services.start(SERVICE, LIMIT).unwrap();
    awaited::or_fail("the mail", LIMIT, || {
        count(&world, Fate::DeliveredOnce) == 3
    })
    .unwrap();
    let events = event_log::read(&server.dir.events()).unwrap();
    assert!(events.iter().any(|event| event.id == 3013));
    let first = smtp_logs(server).concat();
    assert!(
        first.contains(" : DATA\r\n"),
        "{}",
        smtp_log::line(jiff::Timestamp::now(), "DATA")
    );
}
