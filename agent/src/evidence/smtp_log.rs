//! The SMTP protocol log: `L0000000.LOG` and on, one for each concurrent connection, appended to by
//! every life of the service. A line is `m/d/yy h:mm:ss AM : text`; of outbound conversations the
//! text is the command as sent or `IO: |` and the reply. Inbound ones (`<<<`, `>>>`) are passed over.
//!
//! The lines of a message's header may say anything, so they could imitate commands and replies. A
//! conversation in which something stands where nothing of the kind can is marked doubtful: it
//! proves no delivery.

use std::io::{self, Read};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::event_log::time;
use super::lines::{self, Malformed};
use super::spool_file::message_id_value;

/// One attempt to hand a message to the next hop, from its DATA on. Attempts that ended before DATA
/// sent nothing and are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The log that it stands in.
    pub log: String,
    /// The number of its DATA line, from 1.
    pub line: u64,
    /// When DATA was sent, in milliseconds since 1970, the log's time taken for UTC; whole seconds.
    pub at_ms: i64,
    /// The envelope's sender, as sent.
    pub sender: String,
    /// The recipients that the next hop accepted, as sent.
    pub recipients: Vec<String>,
    /// The Message-ID, where the log is at the level that shows headers.
    pub message_id: Option<String>,
    /// How it ended.
    pub end: End,
    /// Whether something in its conversation cannot be what it seems.
    pub doubtful: bool,
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The next hop took the message.
    Accepted {
        /// Its reply.
        reply: String,
        /// The number of the reply's line.
        line: u64,
    },
    /// The next hop refused it.
    Refused {
        /// Its reply.
        reply: String,
        /// The number of the reply's line.
        line: u64,
    },
    /// No reply is recorded: it is not known whether the next hop took it.
    Unanswered,
}

impl Transaction {
    /// One line for a ledger, with its place.
    #[must_use]
    pub fn evidence(&self) -> String {
        let end = match &self.end {
            End::Accepted { reply, line } => format!("accepted in line {line}: `{reply}`"),
            End::Refused { reply, line } => format!("refused in line {line}: `{reply}`"),
            End::Unanswered => "no answer is recorded".to_owned(),
        };
        let doubt = if self.doubtful {
            " (the log is doubtful there)"
        } else {
            ""
        };
        let unnamed = if self.message_id.is_some() {
            ""
        } else {
            ", of an unnamed message"
        };
        format!(
            "SMTP log `{}` line {}: DATA at {} for {}{unnamed}, {end}{doubt}",
            self.log,
            self.line,
            time(self.at_ms),
            self.recipients.join(", "),
        )
    }
}

/// What a log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SmtpLog {
    /// Its outbound transactions, in order.
    pub transactions: Vec<Transaction>,
    /// The lines that make no sense.
    pub malformed: Vec<Malformed>,
}

/// Whether a file is named as a log is.
#[must_use]
pub fn is_file_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name.strip_suffix(".LOG")
        .and_then(|stem| stem.strip_prefix('L'))
        .is_some_and(|number| number.len() == 7 && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Reads a log.
///
/// # Errors
/// Where reading fails.
pub fn read(log: &mut dyn Read, name: &str) -> io::Result<SmtpLog> {
    let mut reader = Reader {
        name,
        found: SmtpLog::default(),
        state: State::Idle,
        session: 0,
        sender: String::new(),
        recipients: Vec::new(),
        offered: None,
        folded: false,
    };
    lines::for_each(log, |line, text| match split(text) {
        Some((at_ms, text)) => reader.line(line, at_ms, text),
        None if text.is_empty() => {}
        None => reader.found.malformed.push(Malformed {
            log: name.to_owned(),
            line,
            text: text.to_owned(),
        }),
    })?;
    Ok(reader.found)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between transactions.
    Idle,
    /// After MAIL.
    Envelope,
    /// After DATA, before the reply to it.
    Data,
    /// While the text is sent.
    Text,
}

struct Reader<'a> {
    name: &'a str,
    found: SmtpLog,
    state: State,
    /// Where the transactions of this conversation begin.
    session: usize,
    sender: String,
    recipients: Vec<String>,
    /// The recipient that waits for its reply.
    offered: Option<String>,
    /// Whether the Message-ID stands on the next line.
    folded: bool,
}

impl Reader<'_> {
    fn line(&mut self, line: u64, at_ms: i64, text: &str) {
        if text.starts_with("<<<") || text.starts_with(">>>") {
            return;
        }
        if let Some(reply) = text.strip_prefix("IO: |") {
            self.reply(line, reply);
            return;
        }
        let command = text.trim_end().to_ascii_uppercase();
        if command.starts_with("MAIL FROM:") {
            self.state = State::Envelope;
            self.sender = path(text);
            self.recipients.clear();
            self.offered = None;
        } else if command.starts_with("RCPT TO:") && self.state == State::Envelope {
            self.offered = Some(path(text));
        } else if command == "DATA" && self.state == State::Envelope {
            self.state = State::Data;
            self.folded = false;
            self.found.transactions.push(Transaction {
                log: self.name.to_owned(),
                line,
                at_ms,
                sender: std::mem::take(&mut self.sender),
                recipients: std::mem::take(&mut self.recipients),
                message_id: None,
                end: End::Unanswered,
                doubtful: false,
            });
        } else if matches!(command.as_str(), "RSET" | "QUIT")
            || command.starts_with("EHLO ")
            || command.starts_with("HELO ")
        {
            self.state = State::Idle;
        } else if matches!(self.state, State::Text | State::Data) {
            self.header(text);
        } else if self.state == State::Idle && (command == "." || message_id_value(text).is_some())
        {
            // The rest of a text whose transaction seemed to be over: its end was an imitation.
            self.doubt();
        }
    }

    fn reply(&mut self, line: u64, reply: &str) {
        if reply.as_bytes().get(3) == Some(&b'-') {
            return;
        }
        let code: Option<u16> = reply.get(..3).and_then(|code| code.parse().ok());
        match (self.state, code) {
            // A greeting: another connection, perhaps of another life of the service.
            (_, Some(220)) => {
                self.state = State::Idle;
                self.session = self.found.transactions.len();
            }
            (State::Envelope, code) => {
                let accepted = code.is_some_and(|code| (200..300).contains(&code));
                if let Some(recipient) = self.offered.take()
                    && accepted
                {
                    self.recipients.push(recipient);
                }
            }
            (State::Data, Some(300..400)) => self.state = State::Text,
            (State::Text, Some(200..300)) => {
                self.end(End::Accepted {
                    reply: reply.to_owned(),
                    line,
                });
            }
            (State::Data | State::Text, Some(400..600)) => {
                self.end(End::Refused {
                    reply: reply.to_owned(),
                    line,
                });
            }
            (State::Data | State::Text, _) => self.doubt(),
            (State::Idle, _) => {}
        }
    }

    fn header(&mut self, text: &str) {
        let Some(transaction) = self.found.transactions.last_mut() else {
            return;
        };
        if transaction.message_id.is_some() {
            return;
        }
        let value = if self.folded {
            Some(text.trim().to_owned())
        } else {
            message_id_value(text)
        };
        self.folded = value.as_ref().is_some_and(String::is_empty);
        transaction.message_id = value.filter(|id| !id.is_empty());
    }

    fn end(&mut self, end: End) {
        self.state = State::Idle;
        if let Some(transaction) = self.found.transactions.last_mut() {
            transaction.end = end;
        }
    }

    fn doubt(&mut self) {
        for transaction in &mut self.found.transactions[self.session..] {
            transaction.doubtful = true;
        }
    }
}

/// The address of `MAIL FROM:<a@b> SIZE=1` or `RCPT TO:<a@b>`.
fn path(command: &str) -> String {
    let after = command
        .split_once(':')
        .map_or("", |(_, after)| after)
        .trim();
    match after
        .strip_prefix('<')
        .and_then(|rest| rest.split_once('>'))
    {
        Some((address, _)) => address.to_owned(),
        None => after
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}

/// `11/5/97 7:51:02 PM : text`.
fn split(line: &str) -> Option<(i64, &str)> {
    let (stamp, text) = line
        .split_once(" : ")
        .or_else(|| Some((line.strip_suffix(" :")?, "")))?;
    let mut parts = stamp.split(' ');
    let (date, time, half) = (parts.next()?, parts.next()?, parts.next()?);
    let mut date = date.split('/');
    let (month, day, year) = (date.next()?, date.next()?, date.next()?);
    let mut time = time.split(':');
    let (hour, minute, second) = (time.next()?, time.next()?, time.next()?);
    if parts.next().is_some() || date.next().is_some() || time.next().is_some() {
        return None;
    }
    let year: i16 = year.parse().ok()?;
    let year = match year {
        0..70 => 2000 + year,
        70..100 => 1900 + year,
        _ => return None,
    };
    let hour: i8 = hour.parse().ok().filter(|hour| (1..=12).contains(hour))?;
    let hour = match half {
        "AM" => hour % 12,
        "PM" => hour % 12 + 12,
        _ => return None,
    };
    let at = DateTime::new(
        year,
        month.parse().ok()?,
        day.parse().ok()?,
        hour,
        minute.parse().ok()?,
        second.parse().ok()?,
        0,
    );
    let at = at
        .ok()?
        .to_zoned(TimeZone::UTC)
        .ok()?
        .timestamp()
        .as_millisecond();
    Some((at, text))
}

#[cfg(test)]
mod tests {
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
        let mut text = String::from("12/31/69 12:00:00 AM : <<< DATA\r\nnonsense\r\n");
        text += "1/2/98 13:00:00 PM : x\r\n1/2/98 1:00:00 XM : x\r\n1/2/98 1:00:00 PM :\r\n";
        let found = read(&mut text.as_bytes(), "L").unwrap();
        assert_eq!(found.transactions, []);
        assert_eq!(
            found.malformed.iter().map(|m| m.line).collect::<Vec<_>>(),
            [2, 3, 4]
        );
        assert!(is_file_name("L0000000.LOG") && is_file_name("L0000001.log"));
        assert!(!is_file_name("Route.txt") && !is_file_name("L1.LOG"));
    }

    #[test]
    fn the_twelve_hour_clock_is_read_rightly() {
        let at = |stamp: &str| time(split(&format!("{stamp} : x")).unwrap().0);
        assert_eq!(at("1/2/98 12:00:00 AM"), "1998-01-02T00:00:00Z");
        assert_eq!(at("1/2/98 12:30:00 PM"), "1998-01-02T12:30:00Z");
        assert_eq!(at("11/5/26 7:51:02 PM"), "2026-11-05T19:51:02Z");
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
}
