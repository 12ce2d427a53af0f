//! The lab writes and the agent reads the same formats, each with code of its own. Here they meet:
//! what the one writes, the other must understand.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;

use jiff::Timestamp;
use mailmend_agent::evidence::smtp_log::{self, End};
use mailmend_agent::evidence::{spool_file, tracking_log};
use mailmend_agent::host::unix::{UnixHost, UnixSettings};
use mailmend_agent::host::{Host, HostErrorKind, ProcessIdentity, ServiceState};
use mailmend_lab::event_log::{EventLog, Gravity};
use mailmend_lab::registry::Registry;
use mailmend_lab::server_dir::ServerDir;
use mailmend_lab::service_manager::{Answer, State};
use mailmend_lab::smtp_log::{SmtpLog, line};
use mailmend_lab::spool::{SpoolMessage, SpoolName, mts_id};
use mailmend_lab::tracking_log::{Befell, Record};
use mailmend_policy::condition::PathRoot;

fn now() -> Timestamp {
    "1997-11-05T19:51:07Z".parse().unwrap()
}

fn message() -> (SpoolName, SpoolMessage) {
    let name = SpoolName::parse("WKA6D6YM").unwrap();
    let message = SpoolMessage {
        sender: "ada@contoso.example".to_owned(),
        recipients: vec!["bob@example.net".to_owned(), "eve@example.org".to_owned()],
        mts_id: mts_id("oslo-b", now(), &name),
        text: b"From: ada\r\nMessage-ID: <1;2 3@oslo>\r\n\r\nbody\r\n".to_vec(),
    };
    (name, message)
}

#[test]
fn the_agent_reads_the_spool_files_of_the_lab() {
    let (_, message) = message();
    let header = spool_file::parse(&message.encode());
    assert!(header.recognised);
    assert_eq!(header.mts_id.as_ref(), Some(&message.mts_id));
    assert_eq!(header.sender, Some(message.sender.clone()));
    assert_eq!(header.recipients, Some(message.recipients.clone()));
    assert_eq!(header.message_id, message.message_id());
}

#[test]
fn the_agent_reads_the_tracking_log_of_the_lab() {
    let (name, message) = message();
    let message_id = message.message_id().unwrap();
    let record = |befell| {
        let record = Record {
            befell,
            mts_id: &message.mts_id,
            partner: "127.0.0.1:2525",
            message_id: &message_id,
            spool_name: name.as_str(),
            originator: &message.sender,
            bytes: message.text.len(),
            recipients: &message.recipients,
        };
        record.lines(now())
    };
    let text = [
        Befell::QueuedOutbound,
        Befell::TransferredOutbound,
        Befell::TransferredInbound,
    ]
    .map(record)
    .concat();
    let found = tracking_log::read(&mut text.as_bytes(), "19971105.log").unwrap();
    assert_eq!(found.malformed, []);
    let events: Vec<u32> = found.records.iter().map(|record| record.event).collect();
    let known = [
        tracking_log::QUEUED_OUTBOUND,
        tracking_log::TRANSFERRED_OUTBOUND,
        tracking_log::TRANSFERRED_INBOUND,
    ];
    assert_eq!(events, known);
    for record in found.records {
        assert_eq!(record.mts_id, message.mts_id);
        assert_eq!(record.at_ms, now().as_millisecond());
        assert_eq!(record.recipients, message.recipients);
        assert_eq!(record.remote.unwrap().1, name.as_str());
    }
}

#[test]
fn the_agent_reads_the_smtp_log_of_the_lab() {
    let folder = tempfile::tempdir().unwrap();
    let log = SmtpLog::open(folder.path(), 0).unwrap();
    log.write([
        "IO: |220 hop",
        "EHLO oslo-b",
        "IO: |250 hop",
        "MAIL FROM:<ada@contoso.example>",
        "IO: |250 ok",
        "RCPT TO:<bob@example.net>",
        "IO: |250 ok",
        "DATA",
        "IO: |354 go",
        "From: ada",
        "Message-ID: <1@oslo>",
        ".",
        "IO: |250 OK",
    ]);
    let names: BTreeSet<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let name = names.first().unwrap();
    assert!(smtp_log::is_file_name(name), "{name}");
    let mut file = std::fs::File::open(folder.path().join(name)).unwrap();
    let found = smtp_log::read(&mut file, name).unwrap();
    assert_eq!(found.malformed, []);
    let [transaction] = &found.transactions[..] else {
        panic!("{found:?}")
    };
    assert_eq!(transaction.message_id.as_deref(), Some("<1@oslo>"));
    assert_eq!(transaction.recipients, ["bob@example.net"]);
    assert!(matches!(transaction.end, End::Accepted { .. }));

    let stamped = line(now(), "MAIL FROM:<a@b>") + &line(now(), "DATA");
    let found = smtp_log::read(&mut stamped.as_bytes(), "L").unwrap();
    assert_eq!(found.transactions[0].at_ms, now().as_millisecond());
}

#[test]
fn the_agent_finds_the_folders_and_events_of_a_server_of_the_lab() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerDir::new(folder.path().canonicalize().unwrap());
    server.lay_out().unwrap();
    std::fs::write(server.registry(), Registry::as_set_up(&server, 15).text()).unwrap();
    let host = host(&server);
    for (root, expected) in [
        (PathRoot::Imcdata, server.imcdata()),
        (PathRoot::Mtadata, server.mtadata()),
        (PathRoot::Trackinglog, server.tracking()),
        (PathRoot::Exchsrvr, server.exchsrvr()),
    ] {
        assert_eq!(host.root(root).unwrap(), expected);
    }
    let log = EventLog::open(&server.events(), "MSExchangeIMC").unwrap();
    log.write(1000, Gravity::Information, "Initialization", "a\tb\nc\\d");
    log.write_as("MSExchangeSA", 5000, Gravity::Error, "General", "");
    let events = host.events().read("msexchangeimc", 0).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].id, events[0].description.as_str()),
        (1000, "a\tb\nc\\d")
    );
    assert_eq!(host.events().read("MSExchangeSA", 0).unwrap()[0].id, 5000);
}

#[test]
fn the_agent_understands_the_answers_of_the_labs_service_manager() {
    let folder = tempfile::tempdir().unwrap();
    let server = ServerDir::new(folder.path().canonicalize().unwrap());
    let listener = UnixListener::bind(server.manager_socket()).unwrap();
    let answers = [
        Answer {
            ok: true,
            state: Some(State::Running),
            pid: Some(7),
            started: Some(99),
            image: Some("/x/ims".to_owned()),
            accepts_stop: Some(true),
            dependents: Some(vec!["MSExchangeDX".to_owned()]),
            ..Answer::default()
        },
        Answer {
            ok: true,
            state: Some(State::Stopped),
            exit_code: Some(u32::MAX),
            accepts_stop: Some(false),
            dependents: Some(Vec::new()),
            ..Answer::default()
        },
        Answer {
            ok: true,
            ..Answer::default()
        },
        Answer::refused(1062, "The service has not been started."),
    ];
    let manager = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).unwrap();
            serde_json::from_str::<mailmend_lab::service_manager::Request>(&request).unwrap();
            let line = serde_json::to_string(&answer).unwrap() + "\n";
            stream.write_all(line.as_bytes()).unwrap();
        }
    });
    let host = host(&server);
    let service = "MSExchangeIMC".parse().unwrap();
    let status = host.services().query(&service).unwrap();
    assert_eq!(status.state, ServiceState::Running);
    let process = ProcessIdentity {
        pid: 7,
        started: 99,
        image: "/x/ims".to_owned(),
    };
    assert_eq!(status.process, Some(process));
    assert!(status.accepts_stop);
    let status = host.services().query(&service).unwrap();
    assert_eq!(
        (status.state, status.process),
        (ServiceState::Stopped, None)
    );
    assert_eq!(status.exit_code, Some(u32::MAX));
    host.services().request_start(&service).unwrap();
    let refused = host.services().request_stop(&service).unwrap_err();
    assert_eq!(refused.kind, HostErrorKind::Service(1062));
    manager.join().unwrap();
}

fn host(server: &ServerDir) -> UnixHost {
    UnixHost::new(UnixSettings {
        service_socket: server.manager_socket(),
        registry_file: server.registry(),
        events_file: server.events(),
        counters_file: None,
        clock_factor: 60.0,
    })
}
