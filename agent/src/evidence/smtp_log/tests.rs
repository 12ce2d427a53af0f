use super::conversation::Stamp;
use super::*;
use proptest::prelude::*;

fn log(texts: &[&str]) -> SmtpLog {
    let text: String = texts
        .iter()
        .map(|text| format!("11/5/97 7:51:02 PM : {text}\r\n"))
        .collect();
    read(&mut text.as_bytes(), "L0000000.LOG").unwrap()
}

const GREETING: [&str; 3] = ["IO: |220 hop", "EHLO b", "IO: |250-hop"];
const BEGIN: [&str; 7] = [
    "MAIL FROM:<a@x>",
    "IO: |250 ok",
    "RCPT TO:<b@y>",
    "IO: |250 ok",
    "RCPT TO:<nobody@y>",
    "IO: |550 no such user",
    "DATA",
];
const TEXT: [&str; 3] = ["IO: |354 go", "Subject: x", "Message-Id: <1@x>"];

#[test]
fn an_accepted_transaction_names_its_message_and_the_recipients_that_were_accepted() {
    let found = log(&[&GREETING[..], &BEGIN, &TEXT, &[".", "IO: |250 OK"]].concat());
    let [transaction] = &found.transactions[..] else {
        panic!("{found:?}")
    };
    assert_eq!(transaction.message_id.as_deref(), Some("<1@x>"));
    assert_eq!(transaction.recipients, ["b@y"]);
    assert_eq!(
        transaction.end,
        End::Accepted {
            reply: "250 OK".into(),
            line: 15
        }
    );
    assert!(!transaction.doubtful);
    assert_eq!(
        transaction.evidence(),
        "SMTP log `L0000000.LOG` line 10: DATA at 1997-11-05T19:51:02Z for b@y, \
         accepted in line 15: `250 OK`"
    );
}

#[test]
fn whatever_a_killed_service_left_is_unanswered_also_when_the_next_life_appends() {
    let next = [&GREETING[..], &["QUIT", "IO: |221 bye"]].concat();
    for cut in 0..=4 {
        let whole = [&TEXT[..], &["."]].concat();
        let begun = [&GREETING[..], &BEGIN, &whole[..cut]].concat();
        for texts in [begun.clone(), [&begun[..], &next].concat()] {
            let found = log(&texts);
            assert_eq!(found.transactions.len(), 1, "{texts:?}");
            assert_eq!(found.transactions[0].end, End::Unanswered, "{texts:?}");
            let named = found.transactions[0].message_id.is_some();
            assert_eq!(named, cut >= 3);
        }
    }
}

#[test]
fn a_refusal_of_data_or_of_the_text_is_known_to_have_sent_nothing() {
    let refused = |texts: &[&str]| {
        let found = log(&[&GREETING[..], &BEGIN, texts].concat());
        assert!(
            matches!(found.transactions[0].end, End::Refused { .. }),
            "{texts:?}"
        );
    };
    refused(&["IO: |451 later"]);
    refused(&["IO: |354 go", "Message-ID: <1@x>", ".", "IO: |452 full"]);
    let none = log(&[
        "MAIL FROM:<a@x>",
        "IO: |250 ok",
        "RCPT TO:<b@y>",
        "IO: |550 no",
        "RSET",
    ]);
    assert_eq!(none.transactions, [], "no DATA, nothing sent");
}

#[test]
fn a_header_that_imitates_a_reply_makes_its_conversation_doubtful() {
    let texts = [
        &TEXT[..],
        &["IO: |250 imitated", "X: y", ".", "IO: |451 no"],
    ]
    .concat();
    let found = log(&[&GREETING[..], &BEGIN, &texts].concat());
    assert!(found.transactions[0].doubtful);
    assert!(
        found.transactions[0]
            .evidence()
            .ends_with("(the log is doubtful there)")
    );
}

#[test]
fn inbound_lines_are_passed_over_and_malformed_ones_reported() {
    let mut text = String::from("nonsense\r\n12/31/69 12:00:00 AM : <<< DATA\r\ntext\r\n");
    text += "1/2/98 13:00:00 PM : x\r\n1/2/98 1:00:00 XM : x\r\n1/2/98 1:00:00 PM :\r\n";
    let found = read(&mut text.as_bytes(), "L").unwrap();
    assert_eq!(found.transactions, []);
    assert_eq!(
        found.malformed.iter().map(|m| m.line).collect::<Vec<_>>(),
        [1, 4, 5]
    );
    assert!(is_file_name("L0000000.LOG") && is_file_name("L0000001.log"));
    assert!(!is_file_name("Route.txt") && !is_file_name("L1.LOG"));
}

#[test]
fn the_twelve_hour_clock_is_read_rightly() {
    let mut clock = Stamp::new(LogTime::Utc);
    let mut at = |stamp: &str| time(clock.split(&format!("{stamp} : x")).unwrap().0);
    assert_eq!(at("1/2/98 12:00:00 AM"), "1998-01-02T00:00:00Z");
    assert_eq!(at("1/2/98 12:30:00 PM"), "1998-01-02T12:30:00Z");
    assert_eq!(at("11/5/26 7:51:02 PM"), "2026-11-05T19:51:02Z");
}

/// The only transaction of a log, and what it says of it in short.
fn only(texts: &[&str]) -> (Transaction, bool) {
    let mut found = log(texts);
    assert_eq!(found.malformed, [], "{texts:?}");
    assert_eq!(found.transactions.len(), 1, "{texts:?}: {found:?}");
    let transaction = found.transactions.remove(0);
    let accepted = matches!(transaction.end, End::Accepted { .. });
    (transaction, accepted)
}

#[test]
fn a_conversation_in_the_form_of_the_articles_is_read_with_its_repeated_replies() {
    let begun = [
        "A connection to 192.0.2.1 was established.",
        "IO: |220 hop",
        "EHLO b",
        "IO: |250-hop",
        "MAIL FROM:a@x",
        "IO: |250 a@x... Sender ok",
        "RCPT TO:b@y",
        "IO: |250 b@y... Recipient ok",
        "250 b@y... Recipient ok",
        "DATA",
        "IO: |354 Enter mail",
        "354 Enter mail",
    ];
    let (transaction, accepted) = only(&[&begun[..], &["IO: |250 OK", "250 OK"]].concat());
    assert!(accepted && !transaction.doubtful);
    assert_eq!(transaction.recipients, ["b@y"]);
    // The service's own word for a connection that dropped is no answer of the next hop.
    let dropped = "499 No routing hosts are reachable for y. Message subject: \"s\".";
    let (transaction, _) = only(&[&begun[..], &[dropped]].concat());
    assert_eq!(transaction.end, End::Unanswered);
    let (transaction, _) = only(&[&begun[..10], &["499 No routing hosts are reachable"]].concat());
    assert!(
        matches!(transaction.end, End::Refused { .. }),
        "no text was asked for"
    );
}

#[test]
fn a_conversation_whose_lines_have_arrows_is_ours_when_we_are_the_client() {
    let lines = [
        "<<< IO: |220 hop",
        "<<< 220 hop",
        ">>> EHLO b",
        "<<< 250 hop",
        ">>> MAIL FROM: <a@x>",
        "<<< IO: |250 ok",
        "<<< 250 ok",
        ">>> RCPT TO:<b@y>",
        "<<< IO: |250 ok",
        "<<< 250 ok",
        ">>> DATA",
        "<<< 354 go",
        ">>> Message-ID: <1@x>",
        ">>> .",
        "<<< 250 taken",
        "<<< 250 taken",
    ];
    let (transaction, accepted) = only(&lines);
    assert!(accepted && !transaction.doubtful);
    assert_eq!(transaction.message_id.as_deref(), Some("<1@x>"));
    assert_eq!(
        (transaction.sender.as_str(), &transaction.recipients[..]),
        ("a@x", &["b@y".to_owned()][..])
    );
    let (told, accepted) = only(&[&["A connection to hop was established."], &lines[2..]].concat());
    assert!(accepted && told.message_id.is_some());
}

#[test]
fn what_a_client_sends_us_after_a_crash_answers_no_transaction_of_ours() {
    let arrows = [
        "<<< 220 hop",
        ">>> MAIL FROM:<a@x>",
        ">>> RCPT TO:<b@y>",
        "<<< 250 ok",
        ">>> DATA",
        "<<< 354 go",
    ];
    let plain = [
        "IO: |220 hop",
        "MAIL FROM:<a@x>",
        "RCPT TO:<b@y>",
        "IO: |250 ok",
        "DATA",
        "IO: |354 go",
    ];
    for begun in [&arrows[..], &plain[..]] {
        for inbound in [
            &[
                "A connection was accepted from evil",
                "<<< 250 ok",
                "IO: |250 ok",
                "250 ok",
            ][..],
            &[">>> 220 us", "<<< 250 ok", "<<< Message-ID: <forged@x>"][..],
            &["<<< EHLO evil", "<<< 250 ok"][..],
        ] {
            let (transaction, _) = only(&[begun, inbound].concat());
            let told = inbound[0].starts_with("A connection");
            // Nothing tells a plain `IO: |` line of ours from another, so it is not in the other two.
            assert!(told || !inbound.iter().any(|line| line.starts_with("IO")));
            assert_eq!(transaction.end, End::Unanswered, "{begun:?} {inbound:?}");
            assert_eq!(transaction.message_id, None);
        }
    }
}

#[test]
fn a_line_without_a_stamp_goes_on_with_the_one_before() {
    let stamp = "11/5/97 7:51:02 PM : ";
    let ours = format!(
        "{stamp}IO: |220 hop\r\n{stamp}MAIL FROM:<a@x>\r\n{stamp}RCPT TO:<b@y>\r\n{stamp}IO: |250 ok\r\n\
         {stamp}DATA\r\n{stamp}IO: |354 go\r\n"
    );
    let text = format!(
        "{ours}{stamp}Subject: x\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n{stamp}IO: |250 ok\r\n"
    );
    let found = read(&mut text.as_bytes(), "L").unwrap();
    assert_eq!(found.malformed, []);
    assert_eq!(found.transactions[0].message_id.as_deref(), Some("<1@x>"));
    assert!(!found.transactions[0].doubtful);
    let inbound = format!("{ours}{stamp}<<< DATA\r\nMessage-ID: <1@x>\r\n250 ok\r\n");
    let found = read(&mut inbound.as_bytes(), "L").unwrap();
    assert_eq!(
        found.transactions[0].message_id, None,
        "it is another's text"
    );
    let damaged = format!("{ours}11/5/97 7:5\0:02 PM : IO: |250 ok\r\n\u{fffd}\r\n");
    let found = read(&mut damaged.as_bytes(), "L").unwrap();
    assert_eq!(found.malformed.len(), 2);
    assert_eq!(found.transactions[0].end, End::Unanswered);
}

#[test]
fn a_clock_that_is_declared_moves_every_stamp() {
    let text = "11/5/97 7:51:02 PM : MAIL FROM:<a@x>\r\n11/5/97 7:51:02 PM : DATA\r\n";
    let at = |clock: &str| {
        let found = read_in(&mut text.as_bytes(), "L", clock.parse().unwrap()).unwrap();
        time(found.transactions[0].at_ms)
    };
    assert_eq!(at("utc"), "1997-11-05T19:51:02Z");
    assert_eq!(at("+02:00"), "1997-11-05T17:51:02Z");
    assert_eq!(at("-05:30"), "1997-11-06T01:21:02Z");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&mut &*bytes, "x");
    }

    #[test]
    fn no_order_of_lines_makes_it_panic_or_accept_without_a_reply(
        order in proptest::collection::vec(0usize..12, 0..60),
    ) {
        let texts = [
            "IO: |220 hop", "EHLO b", "MAIL FROM:<a@x>", "RCPT TO:<b@y>", "DATA", "IO: |354 go",
            "Message-ID: <1@x>", ".", "IO: |250 ok", "IO: |451 no", "RSET", "IO: |",
        ];
        let texts: Vec<&str> = order.iter().map(|&n| texts[n]).collect();
        let found = log(&texts);
        let accepted = found.transactions.iter()
            .filter(|t| matches!(t.end, End::Accepted { .. })).count();
        prop_assert!(accepted <= texts.iter().filter(|t| **t == "IO: |250 ok").count());
        prop_assert!(found.transactions.len() <= texts.iter().filter(|t| **t == "DATA").count());
    }
}
