//! The lab writes and the agent reads the same formats, each with code of its own. Here they meet:
//! what the one writes, the other must understand.

use std::collections::BTreeSet;

use jiff::Timestamp;
use mailmend_agent::evidence::smtp_log::{self, End};
use mailmend_agent::evidence::{spool_file, tracking_log};
use mailmend_lab::smtp_log::{SmtpLog, line};
use mailmend_lab::spool::{SpoolMessage, SpoolName, mts_id};
use mailmend_lab::tracking_log::{Befell, Record};

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
