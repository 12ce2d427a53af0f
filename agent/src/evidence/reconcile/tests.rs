//! Generated histories: what truly happened is known, the records are made from it and damaged.

use std::path::PathBuf;

use proptest::prelude::*;

use super::super::lines::Malformed;
use super::super::smtp_inbound::Reception;
use super::super::smtp_log::{End, Transaction};
use super::super::tracking_log::Record;
use super::facts::Gap;
use super::*;

const HOUR: i64 = 3_600_000;
const NOW: i64 = 1_000 * HOUR;

fn window() -> Window {
    Window {
        now_ms: NOW,
        over_ms: 200 * HOUR,
        grace_ms: HOUR,
        apart_ms: HOUR,
    }
}

/// What truly became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    /// After so many minutes.
    Delivered(i64),
    Vanished,
    InQueue,
    InCustody,
    Reported,
}

#[derive(Debug, Clone)]
struct Message {
    number: usize,
    inbound: bool,
    accepted: i64,
    truth: Truth,
}

impl Message {
    fn name(&self) -> String {
        format!("AAAA{:04}", self.number)
    }
    fn mts_id(&self) -> String {
        format!("c=US;a= ;p=X;l=SRV9711051951{}", self.name())
    }
    fn message_id(&self) -> String {
        format!("<{}@x.example>", self.number)
    }
    fn recipient(&self) -> String {
        format!("r{}@y.example", self.number)
    }
}

fn message(number: usize) -> impl Strategy<Value = Message> {
    let truth = prop_oneof![
        4 => (0i64..600).prop_map(Truth::Delivered),
        4 => Just(Truth::Vanished),
        1 => Just(Truth::InQueue),
        1 => Just(Truth::InCustody),
        1 => Just(Truth::Reported),
    ];
    (any::<bool>(), 20i64..150, truth).prop_map(move |(inbound, hours_ago, truth)| Message {
        number,
        inbound,
        accepted: NOW - hours_ago * HOUR,
        truth,
    })
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    (1usize..8).prop_flat_map(|count| (0..count).map(message).collect::<Vec<_>>())
}

fn record(message: &Message, event: u32, at_ms: i64) -> Record {
    Record {
        log: "19971105.log".into(),
        line: 1,
        mts_id: message.mts_id(),
        event,
        at_ms,
        partner: if event == 7 {
            "Internet Mail Connector (SRV)"
        } else {
            ""
        }
        .into(),
        remote: (event != 7).then(|| (message.message_id(), message.name())),
        originator: "/o=X/cn=SOMEBODY".into(),
        about: String::new(),
        recipients: vec![message.recipient()],
    }
}

/// The records of a server of 4.0 or 5.0 on which this happened.
fn facts(messages: &[Message], old: bool) -> Facts {
    let mut facts = Facts {
        mts_out: StoreFolder::Counted(0),
        mts_in: StoreFolder::Counted(0),
        read: "tracking logs".into(),
        ..Facts::default()
    };
    // The last message of each direction was delivered a moment ago: recording goes on.
    let last = [true, false].map(|inbound| Message {
        number: if inbound { 9000 } else { 9001 },
        inbound,
        accepted: NOW - HOUR / 2,
        truth: Truth::Delivered(1),
    });
    for message in messages.iter().chain(&last) {
        if message.inbound {
            facts.received.push(Reception {
                log: "L0000001.LOG".into(),
                line: 9,
                at_ms: message.accepted,
                sender: "a@z.example".into(),
                recipients: vec![message.recipient()],
                message_id: Some(message.message_id()),
                spool_name: Some(message.name()),
            });
            if !old {
                facts.tracking.push(record(message, 1012, message.accepted));
            }
        } else {
            facts.tracking.push(record(message, 7, message.accepted));
            let converted = if old { 1003 } else { 1010 };
            facts
                .tracking
                .push(record(message, converted, message.accepted));
        }
        match message.truth {
            Truth::Delivered(minutes) => {
                let at_ms = message.accepted + minutes * 60_000;
                if message.inbound {
                    facts
                        .tracking
                        .push(record(message, if old { 1004 } else { 1013 }, at_ms));
                } else {
                    facts.sent.push(Transaction {
                        log: "L0000000.LOG".into(),
                        line: 5,
                        at_ms,
                        sender: "a@x.example".into(),
                        recipients: vec![message.recipient()],
                        message_id: Some(message.message_id()),
                        end: End::Accepted {
                            reply: "250 ok".into(),
                            line: 9,
                        },
                        doubtful: false,
                    });
                    if !old {
                        facts.tracking.push(record(message, 1011, at_ms));
                    }
                }
            }
            Truth::Reported => {
                let mut report = record(message, 1007, message.accepted + HOUR);
                report.mts_id = format!("c=US;a= ;p=X;l=SRV-REPORT{:08}", message.number);
                report.about = message.mts_id();
                report.remote = Some((message.message_id(), message.name()));
                facts.tracking.push(report);
            }
            Truth::InQueue | Truth::InCustody => facts.places.push(Place {
                spool_name: message.name(),
                mts_id: None,
                message_id: None,
                path: PathBuf::from("/imcdata").join(message.name()),
                kind: if message.truth == Truth::InQueue {
                    PlaceKind::Queue
                } else {
                    PlaceKind::Custody
                },
                what: "it is there".into(),
            }),
            Truth::Vanished => {}
        }
    }
    facts
}

/// What may befall the records, said where life says it and silent where life is silent.
#[derive(Debug, Clone)]
enum Damage {
    /// Tracking records were dropped at some time, and an event says so.
    Dropped { hours_ago: i64, minutes: i64 },
    /// The logs of before are gone.
    RotatedAway { hours_ago: i64 },
    /// The SMTP logs of before are gone.
    SmtpRotatedAway { hours_ago: i64 },
    /// A record became a line that makes no sense.
    Garbled { record: usize },
    /// Logging was turned off some time ago, and nobody says so.
    TurnedOff { hours_ago: i64 },
    /// The SMTP log is not at the level that shows headers.
    Nameless,
    /// The clock of the tracking log is off.
    Apart { minutes: i64 },
    /// The store holds messages that cannot be listed.
    InStore,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (1i64..160, 0i64..600)
            .prop_map(|(hours_ago, minutes)| Damage::Dropped { hours_ago, minutes }),
        (1i64..160).prop_map(|hours_ago| Damage::RotatedAway { hours_ago }),
        (1i64..160).prop_map(|hours_ago| Damage::SmtpRotatedAway { hours_ago }),
        (0usize..40).prop_map(|record| Damage::Garbled { record }),
        (0i64..160).prop_map(|hours_ago| Damage::TurnedOff { hours_ago }),
        Just(Damage::Nameless),
        (-59i64..60).prop_map(|minutes| Damage::Apart { minutes }),
        Just(Damage::InStore),
    ]
}

fn befall(facts: &mut Facts, damage: &Damage) {
    let gap = |to_ms, direction| Gap {
        to_ms,
        direction,
        why: "a gap".into(),
    };
    match *damage {
        Damage::Dropped { hours_ago, minutes } => {
            let to_ms = NOW - hours_ago * HOUR;
            let from_ms = to_ms - minutes * 60_000;
            facts
                .tracking
                .retain(|record| !(from_ms..=to_ms).contains(&record.at_ms));
            facts.gaps.push(gap(to_ms, None));
        }
        Damage::RotatedAway { hours_ago } => {
            let to_ms = NOW - hours_ago * HOUR;
            facts.tracking.retain(|record| record.at_ms > to_ms);
            facts.gaps.push(gap(to_ms, None));
        }
        Damage::SmtpRotatedAway { hours_ago } => {
            let to_ms = NOW - hours_ago * HOUR;
            facts.sent.retain(|one| one.at_ms > to_ms);
            facts.received.retain(|one| one.at_ms > to_ms);
            facts.gaps.push(gap(to_ms, Some(Direction::Outbound)));
        }
        Damage::Garbled { record } => {
            if record < facts.tracking.len() {
                let gone = facts.tracking.remove(record);
                let text = format!("{}\t{}\tx", gone.mts_id, gone.event);
                facts
                    .malformed
                    .push(Malformed::new(&gone.log, gone.line, &text));
            }
        }
        Damage::TurnedOff { hours_ago } => {
            let from_ms = NOW - hours_ago * HOUR;
            facts.tracking.retain(|record| record.at_ms < from_ms);
            facts.sent.retain(|one| one.at_ms < from_ms);
        }
        Damage::Nameless => {
            facts.sent.iter_mut().for_each(|one| one.message_id = None);
            for one in &mut facts.received {
                (one.message_id, one.spool_name) = (None, None);
            }
        }
        Damage::Apart { minutes } => {
            facts
                .tracking
                .iter_mut()
                .for_each(|record| record.at_ms += minutes * 60_000);
        }
        Damage::InStore => {
            facts.mts_out = StoreFolder::Counted(2);
            facts.mts_in = StoreFolder::Unknown("nobody looked".into());
        }
    }
}

fn fate_of(found: &Found, message: &Message) -> Option<Fate> {
    let mut of = found
        .messages
        .iter()
        .filter(|one| one.mts_id == message.mts_id() || one.message_id == message.message_id());
    of.next().map(|one| one.fate)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_was_delivered_is_never_called_vanished_whatever_befalls_the_records(
        messages in messages(),
        old in any::<bool>(),
        damages in proptest::collection::vec(damage(), 0..4),
    ) {
        let mut facts = facts(&messages, old);
        damages.iter().for_each(|damage| befall(&mut facts, damage));
        let found = reconcile(&facts, window());
        for message in messages.iter().filter(|one| one.truth != Truth::Vanished) {
            prop_assert_ne!(fate_of(&found, message), Some(Fate::Vanished), "{:?}", message);
        }
    }

    #[test]
    fn where_the_records_are_whole_exactly_what_vanished_is_called_so(
        messages in messages(),
        old in any::<bool>(),
    ) {
        let found = reconcile(&facts(&messages, old), window());
        for message in &messages {
            let expected = match message.truth {
                Truth::Delivered(_) => None,
                Truth::Vanished => Some(Fate::Vanished),
                Truth::InQueue => Some(Fate::Waiting),
                Truth::InCustody => Some(Fate::InCustody),
                Truth::Reported => Some(Fate::Reported),
            };
            prop_assert_eq!(fate_of(&found, message), expected, "{:?}", message);
        }
        let delivered = messages.iter().filter(|one| matches!(one.truth, Truth::Delivered(_))).count();
        prop_assert_eq!(found.delivered, delivered as u64 + 2);
        let listed = messages.len() - delivered;
        prop_assert_eq!(found.messages.len(), listed);
    }

    #[test]
    fn no_claim_is_made_for_what_was_accepted_before_records_were_dropped(
        messages in messages(),
        old in any::<bool>(),
    ) {
        let mut facts = facts(&messages, old);
        // After all of them: 5007, 3016 or 2026 stands in the window of each.
        facts.gaps.push(Gap { to_ms: NOW - 10 * HOUR, direction: None, why: "event 5007".into() });
        prop_assert_eq!(reconcile(&facts, window()).count(Fate::Vanished), 0);
    }
}

fn one(inbound: bool, truth: Truth) -> Message {
    Message {
        number: 1,
        inbound,
        accepted: NOW - 50 * HOUR,
        truth,
    }
}

#[test]
fn each_vanished_message_has_its_acceptance_with_its_place_and_its_copy() {
    let message = one(true, Truth::Vanished);
    let mut facts = facts(std::slice::from_ref(&message), true);
    facts.places.push(Place {
        spool_name: message.name(),
        mts_id: None,
        message_id: None,
        path: PathBuf::from("/held/escrow/In/AAAA0001"),
        kind: PlaceKind::Escrow,
        what: "kept".into(),
    });
    let found = reconcile(&facts, window());
    let told = &found.messages[0];
    assert_eq!(told.fate, Fate::Vanished);
    assert_eq!(told.escrow, "/held/escrow/In/AAAA0001");
    assert_eq!(told.recipients, ["r1@y.example"]);
    assert!(
        told.evidence[0].contains("`L0000001.LOG` line 9"),
        "{:?}",
        told.evidence
    );
    assert!(told.evidence[1].contains("neither delivery nor report"));
}

#[test]
fn what_was_sent_and_stands_in_mts_out_is_listed_and_what_was_not_sent_waits() {
    let sent = one(false, Truth::Delivered(5));
    let mut waiting = one(false, Truth::Vanished);
    waiting.number = 2;
    let mut facts = facts(&[sent.clone(), waiting.clone()], false);
    facts.mts_out = StoreFolder::Listed(vec![sent.mts_id().to_uppercase(), waiting.mts_id()]);
    let found = reconcile(&facts, window());
    assert_eq!(fate_of(&found, &sent), Some(Fate::Delivered));
    assert_eq!(fate_of(&found, &waiting), Some(Fate::Waiting));
    assert_eq!(found.delivered, 3, "it counts as delivered too");
    // What the tracking log knows nothing of was not sent either.
    facts.mts_out = StoreFolder::Listed(vec!["c=US;a= ;p=X;l=SRV9711051951ZZZZ9999".into()]);
    let found = reconcile(&facts, window());
    let strange = found
        .messages
        .iter()
        .find(|one| one.mts_id.ends_with("ZZZZ9999"));
    assert_eq!(strange.map(|one| one.fate), Some(Fate::Waiting));
}

#[test]
fn an_event_that_names_the_file_is_a_word_and_no_silent_loss() {
    let message = one(true, Truth::Vanished);
    let mut facts = facts(std::slice::from_ref(&message), false);
    for (reported, expected) in [(false, Fate::CannotTell), (true, Fate::Reported)] {
        facts.hints = vec![Hint {
            text: format!("THE SPOOL FILE {} FAILED", message.name()),
            reported,
            evidence: "event".into(),
        }];
        assert_eq!(
            fate_of(&reconcile(&facts, window()), &message),
            Some(expected)
        );
    }
}

#[test]
fn a_conversation_without_an_answer_and_a_twin_are_no_loss() {
    let message = one(false, Truth::Delivered(5));
    let mut begun = facts(std::slice::from_ref(&message), true);
    begun.sent[0].end = End::Unanswered;
    assert_eq!(
        fate_of(&reconcile(&begun, window()), &message),
        Some(Fate::CannotTell)
    );
    // Another message with the same Message-ID was delivered: whose the reply is cannot be told.
    let mut twin = facts(std::slice::from_ref(&message), true);
    let mut other = record(&message, 1003, message.accepted);
    other.mts_id = "c=US;a= ;p=X;l=SRV9711051951BBBB0001".into();
    twin.tracking.push(other);
    let found = reconcile(&twin, window());
    assert_eq!(found.count(Fate::Vanished), 0, "{:?}", found.messages);
}

#[test]
fn what_is_younger_than_the_grace_waits() {
    let mut message = one(false, Truth::Vanished);
    message.accepted = NOW - HOUR / 2;
    let found = reconcile(&facts(std::slice::from_ref(&message), true), window());
    assert_eq!(fate_of(&found, &message), Some(Fate::Waiting));
}

#[test]
fn a_transfer_that_the_smtp_log_does_not_know_means_that_it_is_not_whole() {
    let (lost, mut sent) = (one(false, Truth::Vanished), one(false, Truth::Delivered(5)));
    sent.number = 2;
    let mut facts = facts(&[lost.clone(), sent], false);
    facts.sent.remove(0);
    assert_eq!(
        fate_of(&reconcile(&facts, window()), &lost),
        Some(Fate::CannotTell)
    );
}
