//! The readers together, over the files of a simulated server.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::host::simulated::{Balance, SimSettings, SimWorld};
use crate::host::{FileKind, Registry};

const OUT: &str = "/exchsrvr/imcdata/Out";
const LOG: &str = "/exchsrvr/imcdata/Log/L0000000.LOG";
const TRACKING: &str = "/exchsrvr/tracking.log/19971105.log";

fn keys(host: &dyn Host) -> Vec<MessageKey> {
    let folder = PathBuf::from(OUT);
    let files = host.spool().list(&folder).unwrap();
    files
        .iter()
        .filter(|file| file.kind == FileKind::File)
        .map(|file| {
            let mut open = host.spool().open(&folder.join(&file.name)).unwrap();
            let header = spool_file::read(&mut *open).unwrap();
            MessageKey::new(&file.name, header, file.modified_ms, Direction::Outbound)
        })
        .collect()
}

fn world(seed: u64, messages: usize) -> SimWorld {
    let settings = SimSettings {
        seed,
        stale_routes: false,
        ..SimSettings::default()
    };
    let world = SimWorld::new(settings);
    world.add_outbound(messages, 60);
    world
}

/// The answer for the only message, whose files are these.
fn judged(tracking: &str, smtp: &str) -> Sent {
    let world = SimWorld::new(SimSettings::default());
    world.add_outbound(1, 10);
    let host = world.host();
    let key = &keys(&host)[0];
    let fill = |text: &str| {
        text.replace("MTS", key.mts_id.as_ref().unwrap())
            .replace("MID", key.message_id.as_ref().unwrap())
            .replace("WHOM", &key.recipients.as_ref().unwrap()[0])
            .replace("SPOOL", &key.spool_name)
    };
    let smtp: String = smtp
        .lines()
        .map(|line| format!("11/5/97 8:30:00 PM : {}\r\n", fill(line)))
        .collect();
    world.put_file(&PathBuf::from(LOG), smtp.as_bytes(), Duration::ZERO);
    world.put_file(
        &PathBuf::from(TRACKING),
        fill(tracking).as_bytes(),
        Duration::ZERO,
    );
    what_was_sent(&host, 0, std::slice::from_ref(key)).remove(0)
}

const TRANSFERRED: &str =
    "MTS\t1011\t1997.11.5 20:30:0\t\thop\tMID[SPOOL]\ta\t0\t10\t0\t0\t\t1\nWHOM\t0\n";
const DATA: &str =
    "MAIL FROM:<sender@site.example>\nIO: |250 ok\nRCPT TO:<WHOM>\nIO: |250 ok\nDATA\n";

#[test]
fn a_transfer_in_the_tracking_log_is_a_delivery_whatever_the_case() {
    for text in [
        TRANSFERRED.to_owned(),
        TRANSFERRED.replace("MTS", "C=US;A=x"),
    ] {
        let Sent::Delivered { evidence } = judged(&text, "") else {
            panic!("{text}")
        };
        assert!(
            evidence[0].starts_with("tracking log `19971105.log` line 1: 1011"),
            "{evidence:?}"
        );
    }
    let other = TRANSFERRED
        .replace("MTS", "c=US;a= ;p=X;l=Y")
        .replace("SPOOL", "OTHER000");
    assert_eq!(
        judged(&other, ""),
        Sent::NotSeen,
        "the Message-ID alone is not the file"
    );
}

#[test]
fn a_final_reply_is_a_delivery_and_data_without_one_is_begun() {
    let accepted = format!("{DATA}IO: |354 go\nMessage-ID: MID\n.\nIO: |250 ok");
    assert!(matches!(judged("", &accepted), Sent::Delivered { .. }));
    let lines: Vec<&str> = accepted.lines().collect();
    for end in 5..lines.len() {
        let cut = lines[..end].join("\n");
        assert!(matches!(judged("", &cut), Sent::Begun { .. }), "{cut}");
    }
    for end in 0..5 {
        assert_eq!(judged("", &lines[..end].join("\n")), Sent::NotSeen);
    }
    let refused = accepted
        .replace("IO: |250 ok", "IO: |452 full")
        .replacen("452 full", "250 ok", 2);
    assert_eq!(judged("", &refused), Sent::NotSeen);
}

#[test]
fn another_file_with_the_same_message_id_turns_a_reply_into_doubt_and_a_tracked_one_into_none() {
    let accepted = format!("{DATA}IO: |354 go\nMessage-ID: MID\n.\nIO: |250 ok");
    let twin = TRANSFERRED
        .replace("MTS", "c=US;a= ;p=X;l=Y")
        .replace("SPOOL", "TWIN0000");
    assert_eq!(
        judged(&twin, &accepted),
        Sent::NotSeen,
        "the reply was the twin's"
    );
    let queued = twin.replace("1011", "1010");
    assert!(
        matches!(judged(&queued, &accepted), Sent::Begun { .. }),
        "whose was it?"
    );
    let twice = format!("{accepted}\n{accepted}");
    assert!(matches!(judged(&twin, &twice), Sent::Begun { .. }));
}

#[test]
fn an_accepted_text_that_the_log_does_not_name_is_doubt_unless_a_transfer_accounts_for_it() {
    let unnamed = format!("{DATA}IO: |354 go\nIO: |250 ok");
    let Sent::Begun { evidence } = judged("", &unnamed) else {
        panic!()
    };
    assert!(evidence[0].contains("unnamed message"), "{evidence:?}");
    let other = TRANSFERRED
        .replace("MTS", "c=US;a= ;p=X;l=Y")
        .replace("MID[SPOOL]", "<other@x>[OTHER000]");
    assert_eq!(judged(&other, &unnamed), Sent::NotSeen);
    assert!(matches!(
        judged(&other, &format!("{unnamed}\n{unnamed}")),
        Sent::Begun { .. }
    ));
    let elsewhere = unnamed.replace("WHOM", "else@where.example");
    assert_eq!(judged("", &elsewhere), Sent::NotSeen);
}

#[test]
fn a_long_queue_and_long_logs_are_judged_in_linear_time() {
    // Quadratic work would take minutes here; the test asserts the answers, the suite's limit the time.
    let world = SimWorld::new(SimSettings::default());
    let host = world.host();
    let count = 20_000;
    let (mut tracking, mut smtp) = (String::new(), String::new());
    let keys: Vec<MessageKey> = (0..count)
        .map(|n| {
            let (mts, mid, spool) = (
                format!("c=x;l=S{n}"),
                format!("<{n}@x>"),
                format!("S{n:07}"),
            );
            let fill = |text: &str| {
                text.replace("MTS", &mts)
                    .replace("MID", &mid)
                    .replace("SPOOL", &spool)
                    .replace("WHOM", "one@and.only")
            };
            if n % 2 == 0 {
                tracking += &fill(TRANSFERRED);
                for line in fill(&format!("{DATA}IO: |354 go\nIO: |250 ok")).lines() {
                    smtp += &format!("11/5/97 8:30:00 PM : {line}\r\n");
                }
            }
            MessageKey {
                spool_name: spool.clone(),
                mts_id: Some(mts.clone()),
                message_id: Some(mid.clone()),
                sender: None,
                recipients: Some(vec!["one@and.only".into()]),
                written_ms: 0,
                direction: Direction::Outbound,
            }
        })
        .collect();
    world.put_file(&PathBuf::from(LOG), smtp.as_bytes(), Duration::ZERO);
    world.put_file(
        &PathBuf::from(TRACKING),
        tracking.as_bytes(),
        Duration::ZERO,
    );
    let sent = what_was_sent(&host, 0, &keys);
    let delivered = sent
        .iter()
        .filter(|s| matches!(s, Sent::Delivered { .. }))
        .count();
    let not_seen = sent.iter().filter(|s| **s == Sent::NotSeen).count();
    assert_eq!((delivered, not_seen), (count / 2, count / 2));
}

#[test]
fn a_transfer_to_some_recipients_only_is_begun_and_names_the_others() {
    let world = SimWorld::new(SimSettings::default());
    world.add_outbound(1, 10);
    let host = world.host();
    let mut key = keys(&host).remove(0);
    let first = key.recipients.as_ref().unwrap()[0].clone();
    key.recipients = Some(vec![first.clone(), "second@elsewhere.example".into()]);
    let record = TRANSFERRED
        .replace("MTS", key.mts_id.as_ref().unwrap())
        .replace("WHOM", &first);
    world.put_file(&PathBuf::from(TRACKING), record.as_bytes(), Duration::ZERO);
    world.put_file(&PathBuf::from(LOG), b"", Duration::ZERO);
    let judge = |key: &MessageKey| what_was_sent(&host, 0, std::slice::from_ref(key)).remove(0);
    let Sent::Begun { evidence } = judge(&key) else {
        panic!()
    };
    assert!(
        evidence
            .last()
            .unwrap()
            .contains("second@elsewhere.example"),
        "{evidence:?}"
    );
    let unknown = MessageKey {
        recipients: None,
        ..key.clone()
    };
    assert!(
        matches!(judge(&unknown), Sent::Begun { .. }),
        "how many there are is not known"
    );
    let both = format!(
        "{record}{}",
        record.replace(&first, "SECOND@elsewhere.example")
    );
    world.put_file(&PathBuf::from(TRACKING), both.as_bytes(), Duration::ZERO);
    assert!(matches!(judge(&key), Sent::Delivered { .. }));
}

#[test]
fn gaps_make_silence_mean_nothing_and_leave_proofs_alone() {
    type Gap = (&'static str, fn(&SimWorld));
    let gaps: [Gap; 6] = [
        ("3016", |w| w.write_event("MSExchangeIMC", 3016, "x")),
        ("5007", |w| w.write_event("MSExchangeSA", 5007, "x")),
        ("2026", |w| w.write_event("MSExchangeMTA", 2026, "x")),
        ("event log", |w| w.set_events_unreadable(true)),
        ("tracking log", |w| {
            let key = r"SYSTEM\CurrentControlSet\Services\MSExchangeSA\Parameters";
            w.set_registry(key, "Log Directory", None);
        }),
        ("makes no sense", |w| {
            w.put_file(&PathBuf::from(TRACKING), b"\0\0\n", Duration::ZERO);
        }),
    ];
    for (name, gap) in gaps {
        let world = SimWorld::new(SimSettings::default());
        world.add_outbound(1, 10);
        let host = world.host();
        let keys = keys(&host);
        assert_eq!(
            what_was_sent(&host, 0, &keys),
            [Sent::NotSeen],
            "before: {name}"
        );
        gap(&world);
        let sent = what_was_sent(&host, 0, &keys).remove(0);
        let Sent::CannotTell { why } = sent else {
            panic!("{name}: {sent:?}")
        };
        assert!(why.contains(name), "{name}: {why}");
    }
    let world = world(1, 1);
    let host = world.host();
    let keys = keys(&host);
    world.advance(Duration::from_secs(10));
    world.write_event("MSExchangeIMC", 3016, "x");
    assert!(matches!(
        what_was_sent(&host, 0, &keys)[0],
        Sent::Delivered { .. }
    ));
}

#[test]
fn a_damaged_line_matters_only_to_the_messages_that_it_may_be_about() {
    assert_eq!(judged("some other nonsense\n", ""), Sent::NotSeen);
    for damaged in ["MTS\t1011\t19", "x MID\n", "spool\n", "SPOOL\n"] {
        let sent = judged(damaged, "");
        // A line in the making is left out unless it is a whole first line of a record.
        let whole = damaged.ends_with('\n') && damaged != "spool\n";
        assert_eq!(
            matches!(sent, Sent::CannotTell { .. }),
            whole,
            "{damaged}: {sent:?}"
        );
    }
    let without_recipient = TRANSFERRED.replace("WHOM\t0\n", "WHOM");
    assert!(matches!(
        judged(&without_recipient, ""),
        Sent::CannotTell { .. }
    ));
}

#[test]
fn a_server_without_an_smtp_log_can_prove_no_silence_about_outbound_mail() {
    let world = SimWorld::new(SimSettings::default());
    world.add_outbound(1, 10);
    let host = world.host();
    for log in host
        .spool()
        .list(&PathBuf::from("/exchsrvr/imcdata/Log"))
        .unwrap()
    {
        if smtp_log::is_file_name(&log.name) {
            host.spool()
                .remove(&PathBuf::from("/exchsrvr/imcdata/Log").join(&log.name))
                .unwrap();
        }
    }
    let mut keys = keys(&host);
    let Sent::CannotTell { why } = what_was_sent(&host, 0, &keys).remove(0) else {
        panic!()
    };
    assert!(why.contains("SMTP protocol logging"), "{why}");
    keys[0].direction = Direction::Inbound;
    assert_eq!(what_was_sent(&host, 0, &keys), [Sent::NotSeen]);
    let key = r"SYSTEM\CurrentControlSet\Services\MSExchangeIMC\Parameters";
    assert!(Registry::read(&host, key, "RootDir").unwrap().is_some());
}

#[test]
fn events_tell_the_last_start_and_what_was_sent_but_not_removed() {
    let world = world(1, 0);
    world.write_event("MSExchangeIMC", 3038, "before the start");
    world.kill_service("MSExchangeIMC");
    world.by_hand("MSExchangeIMC", true);
    world.advance(Duration::from_secs(5));
    let host = world.host();
    assert_eq!(event_log::sent_but_not_removed(host.events()).unwrap(), []);
    world.advance(Duration::from_secs(5));
    world.write_event("MSExchangeIMC", 3038, "after it");
    assert_eq!(
        event_log::sent_but_not_removed(host.events())
            .unwrap()
            .len(),
        1
    );
    let start = event_log::last_start(host.events(), "MSExchangeIMC")
        .unwrap()
        .unwrap();
    assert!(start.description.contains("1460.8"));
    assert_eq!(
        event_log::last_start(host.events(), "Nobody").unwrap(),
        None
    );
}

/// What is left in Out after a kill, judged, and the truth.
fn after_kill(seed: u64, messages: usize, at_ms: u64) -> (BTreeMap<String, Sent>, Balance) {
    let world = world(seed, messages);
    world.advance(Duration::from_millis(at_ms));
    world.kill_service("MSExchangeIMC");
    let host = world.host();
    let keys = keys(&host);
    let sent = what_was_sent(&host, 0, &keys);
    (by_spool_name(&keys, sent), world.balance())
}

#[test]
fn a_kill_at_any_moment_is_judged_rightly_for_every_file() {
    let mut seen = [0; 3];
    for at_ms in (0..1200).step_by(10) {
        let (sent, balance) = after_kill(3, 4, at_ms);
        for (name, sent) in sent {
            let delivered = balance.by_spool_name(&name).unwrap().delivered;
            match sent {
                Sent::Delivered { .. } => {
                    seen[0] += 1;
                    assert_eq!(delivered, 1, "{name} at {at_ms} ms would be lost");
                }
                Sent::NotSeen => {
                    seen[1] += 1;
                    assert_eq!(delivered, 0, "{name} at {at_ms} ms would be sent twice");
                }
                Sent::Begun { .. } => seen[2] += 1,
                Sent::CannotTell { why } => panic!("{why}"),
            }
        }
    }
    assert!(
        seen.iter().all(|&n| n > 0),
        "delivered, not seen, begun: {seen:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_kill_makes_a_message_lost_or_an_unnamed_duplicate(
        seed in 0u64..1000, messages in 1usize..7, at_ms in 0u64..2500,
    ) {
        let (sent, balance) = after_kill(seed, messages, at_ms);
        for (name, sent) in sent {
            let delivered = balance.by_spool_name(&name).unwrap().delivered;
            let proven = matches!(sent, Sent::Delivered { .. });
            prop_assert!(delivered == 1 || !proven, "{} would be lost", name);
            prop_assert!(delivered == 0 || sent != Sent::NotSeen, "{} would be sent twice", name);
        }
    }
}
