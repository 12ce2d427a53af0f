//! What the SMTP protocol log tells of mail that came in: `<<<` is what the other side said, `>>>` the
//! service's own reply. Only what it took with a final 250 is its own to deliver.

use std::io::{self, Read};

use super::event_log::time;
use super::lines::{self, LineReader};
use super::log_time::LogTime;
use super::smtp_log::{Stamp, path};
use super::spool_file::message_id_value;

/// A message that the service took from the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reception {
    /// The log that it stands in.
    pub log: String,
    /// The number of the line with the final 250, from 1.
    pub line: u64,
    /// When that was, in milliseconds since 1970, the log's time taken for UTC; whole seconds.
    pub at_ms: i64,
    /// The envelope's sender, as said.
    pub sender: String,
    /// The recipients that the service accepted, as said.
    pub recipients: Vec<String>,
    /// The Message-ID, where the log is at the level that shows headers.
    pub message_id: Option<String>,
    /// The name of the spool file, where the reply tells it.
    pub spool_name: Option<String>,
}

impl Reception {
    /// One line for people, with its place.
    #[must_use]
    pub fn evidence(&self) -> String {
        format!(
            "SMTP log `{}` line {}: taken with 250 at {} for {}",
            self.log,
            self.line,
            time(self.at_ms),
            self.recipients.join(", ")
        )
    }
}

/// What came in, by a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Inbound {
    /// In order.
    pub(super) received: Vec<Reception>,
    /// When its first line was written; none: it has none.
    pub(super) began_ms: Option<i64>,
}

/// Reads a log that is stamped by this clock.
///
/// # Errors
/// Where reading fails.
pub(super) fn read(log: &mut dyn Read, name: &str, clock: LogTime) -> io::Result<Inbound> {
    let mut stamped = Stamped {
        name,
        stamp: Stamp::new(clock),
        began_ms: None,
        reader: Reader::default(),
    };
    lines::for_each(log, &mut stamped)?;
    Ok(Inbound {
        received: stamped.reader.found,
        began_ms: stamped.began_ms,
    })
}

struct Stamped<'a> {
    name: &'a str,
    stamp: Stamp,
    began_ms: Option<i64>,
    reader: Reader,
}

impl LineReader for Stamped<'_> {
    fn line(&mut self, number: u64, text: &str) {
        if let Some((at_ms, text)) = self.stamp.split(text) {
            self.began_ms = self.began_ms.or(Some(at_ms));
            self.reader.line(self.name, number, at_ms, text);
        }
    }
}

#[derive(Default)]
struct Reader {
    found: Vec<Reception>,
    sender: String,
    recipients: Vec<String>,
    offered: Option<String>,
    message_id: Option<String>,
    /// Whether the Message-ID stands on the next line.
    folded: bool,
    /// DATA was said; `true` once the service has asked for the text.
    data: Option<bool>,
}

impl Reader {
    fn line(&mut self, log: &str, line: u64, at_ms: i64, text: &str) {
        if let Some(said) = text.strip_prefix("<<< ") {
            self.said(said);
        } else if let Some(reply) = text.strip_prefix(">>> ") {
            self.reply(log, line, at_ms, reply);
        } else if self.data == Some(true) {
            self.header(text);
        }
    }

    fn said(&mut self, said: &str) {
        let command = said.trim_end().to_ascii_uppercase();
        if command.starts_with("MAIL FROM:") {
            self.forget();
            self.sender = path(said);
        } else if command.starts_with("RCPT TO:") {
            self.offered = Some(path(said));
        } else if command == "DATA" {
            self.data = Some(false);
        } else if matches!(command.as_str(), "RSET" | "QUIT")
            || command.starts_with("EHLO ")
            || command.starts_with("HELO ")
        {
            self.forget();
        } else if self.data == Some(true) && command != "." {
            self.header(said);
        }
    }

    fn reply(&mut self, log: &str, line: u64, at_ms: i64, reply: &str) {
        if reply.as_bytes().get(3) == Some(&b'-') {
            return;
        }
        let code: Option<u16> = reply.get(..3).and_then(|code| code.parse().ok());
        match (self.data, code) {
            (_, Some(220 | 221)) => self.forget(),
            (None, code) => {
                if let Some(recipient) = self.offered.take()
                    && code.is_some_and(|code| (200..300).contains(&code))
                {
                    self.recipients.push(recipient);
                }
            }
            (Some(false), Some(354)) => self.data = Some(true),
            (Some(true), Some(250)) => {
                self.found.push(Reception {
                    log: log.to_owned(),
                    line,
                    at_ms,
                    sender: std::mem::take(&mut self.sender),
                    recipients: std::mem::take(&mut self.recipients),
                    message_id: self.message_id.take(),
                    spool_name: spool_name(reply),
                });
                self.forget();
            }
            (Some(_), _) => self.forget(),
        }
    }

    fn header(&mut self, text: &str) {
        if self.message_id.is_some() {
            return;
        }
        let value = if self.folded {
            Some(text.trim().to_owned())
        } else {
            message_id_value(text)
        };
        self.folded = value.as_ref().is_some_and(String::is_empty);
        self.message_id = value.filter(|id| !id.is_empty());
    }

    fn forget(&mut self) {
        let found = std::mem::take(&mut self.found);
        *self = Self {
            found,
            ..Self::default()
        };
    }
}

/// The last word of a reply, where it is shaped as the name of a spool file: capitals and digits.
fn spool_name(reply: &str) -> Option<String> {
    let word = reply.split_whitespace().next_back()?;
    let shape = word.len() == 8
        && word
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    shape.then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(texts: &[&str]) -> Vec<Reception> {
        let text: String = texts
            .iter()
            .map(|text| format!("1/2/98 1:02:03 PM : {text}\r\n"))
            .collect();
        let found = read(&mut text.as_bytes(), "L0000003.LOG", LogTime::Utc).unwrap();
        assert!(found.began_ms.is_some());
        found.received
    }

    const BEGIN: [&str; 9] = [
        ">>> 220 oslo-a ready",
        "<<< EHLO peer",
        ">>> 250 oslo-a Hello",
        "<<< MAIL FROM:<a@x.example>",
        ">>> 250 OK - mail from accepted",
        "<<< RCPT TO:<b@contoso.example>",
        ">>> 250 OK - recipient accepted",
        "<<< DATA",
        ">>> 354 Send data.  End with CRLF.CRLF",
    ];

    #[test]
    fn what_was_taken_with_a_250_is_found_with_its_place() {
        let found = log(&[
            &BEGIN[..],
            &["Message-ID: <1@x>", "<<< .", ">>> 250 OK AAAAAAA1"],
        ]
        .concat());
        assert_eq!(found.len(), 1);
        let one = &found[0];
        assert_eq!((one.line, one.sender.as_str()), (12, "a@x.example"));
        assert_eq!(one.recipients, ["b@contoso.example"]);
        assert_eq!(one.message_id.as_deref(), Some("<1@x>"));
        assert_eq!(one.spool_name.as_deref(), Some("AAAAAAA1"));
        assert!(one.evidence().contains("`L0000003.LOG` line 12"));
    }

    #[test]
    fn what_was_refused_or_broken_off_was_not_taken() {
        for end in [&[">>> 451 no"][..], &[], &["<<< QUIT", ">>> 221 bye"]] {
            assert_eq!(log(&[&BEGIN[..], end].concat()), []);
        }
        let refused_recipient = [
            "<<< MAIL FROM:<a@x>",
            ">>> 250 ok",
            "<<< RCPT TO:<no@y>",
            ">>> 550 no",
            "<<< RCPT TO:<b@y>",
            ">>> 250 ok",
            "<<< DATA",
            ">>> 354 go",
            ">>> 250 OK",
        ];
        let found = log(&refused_recipient);
        assert_eq!(found[0].recipients, ["b@y"]);
        assert_eq!(found[0].spool_name, None);
        // Outbound conversations in the same log are none of its business.
        assert_eq!(
            log(&[
                "MAIL FROM:<a@x>",
                "IO: |250 ok",
                "DATA",
                "IO: |354",
                "IO: |250 OK"
            ]),
            []
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&mut &*bytes, "x", LogTime::Utc);
        }

        #[test]
        fn no_order_of_lines_takes_more_than_was_answered_with_a_250(
            order in proptest::collection::vec(0usize..9, 0..60),
        ) {
            let texts = ["<<< EHLO b", "<<< MAIL FROM:<a@x>", "<<< RCPT TO:<b@y>", "<<< DATA", ">>> 354 go",
                "Message-ID: <1@x>", "<<< .", ">>> 250 ok", ">>> 451 no"];
            let texts: Vec<&str> = order.iter().map(|&n| texts[n]).collect();
            let replies = texts.iter().filter(|t| **t == ">>> 250 ok").count();
            prop_assert!(texts.is_empty() || log(&texts).len() <= replies);
        }
    }
}
