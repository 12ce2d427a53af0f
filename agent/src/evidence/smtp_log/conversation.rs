//! The lines of an SMTP log, one after another, to transactions.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::{End, Transaction};
use crate::evidence::lines::{Damage, LineReader, Malformed};
use crate::evidence::log_time::{self, LogTime};
use crate::evidence::spool_file::message_id_value;

/// Reads a log line by line; its clones share what was found.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    name: String,
    transactions: Arc<Vec<Transaction>>,
    damage: Arc<Damage>,
    stamp: Stamp,
    state: State,
    side: Side,
    /// Whether the commands of the transaction stand after `>>>`.
    arrows: bool,
    /// Whether the line before was ours, so that a line without a stamp goes on with it.
    ours: bool,
    /// Whether there was a line before.
    begun: bool,
    /// Where the transactions of this conversation begin.
    session: usize,
    sender: String,
    recipients: Vec<String>,
    /// The recipient that waits for its reply.
    offered: Option<String>,
    /// The reply before, to know its repetition.
    last_reply: String,
    /// Whether the Message-ID stands on the next line.
    folded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Which way the conversation goes, as far as the log says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Untold,
    Outbound,
    Inbound,
}

impl Reader {
    pub(crate) fn new(name: &str, clock: LogTime) -> Self {
        Self {
            name: name.to_owned(),
            transactions: Arc::default(),
            damage: Arc::default(),
            stamp: Stamp::new(clock),
            state: State::Idle,
            side: Side::Untold,
            arrows: false,
            ours: false,
            begun: false,
            session: 0,
            sender: String::new(),
            recipients: Vec::new(),
            offered: None,
            last_reply: String::new(),
            folded: false,
        }
    }

    pub(in crate::evidence) fn transactions(&self) -> &Arc<Vec<Transaction>> {
        &self.transactions
    }

    pub(super) fn into_transactions(self) -> Arc<Vec<Transaction>> {
        self.transactions
    }

    /// The lines that make no sense.
    pub(in crate::evidence) fn malformed(&self) -> impl Iterator<Item = &Malformed> {
        self.damage.lines.iter()
    }

    pub(in crate::evidence) fn damaged(&self) -> usize {
        self.damage.lines.len() + self.damage.more
    }

    fn begin_conversation(&mut self, side: Side) {
        self.side = side;
        self.state = State::Idle;
        self.session = self.transactions.len();
        self.last_reply.clear();
    }

    fn text(&mut self, line: u64, at_ms: i64, text: &str) {
        if let Some(rest) = text.strip_prefix("A connection ") {
            if rest.starts_with("to ") && rest.contains("established") {
                return self.begin_conversation(Side::Outbound);
            }
            if rest.starts_with("was accepted from ") {
                return self.begin_conversation(Side::Inbound);
            }
        }
        if let Some(sent) = text.strip_prefix(">>>") {
            self.sent(line, at_ms, sent.trim_start());
        } else if let Some(received) = text.strip_prefix("<<<") {
            self.received(line, received.trim_start());
        } else if let Some(reply) = text.strip_prefix("IO: |") {
            self.ours = true;
            if self.side == Side::Inbound {
                if !is_greeting(reply) {
                    return;
                }
                self.begin_conversation(Side::Untold);
            }
            self.reply(line, reply);
        } else if self.side != Side::Inbound {
            self.ours = true;
            self.plain(line, at_ms, text);
        }
    }

    /// A text without a mark: a command or a line of the message, or a reply that is told once more.
    fn plain(&mut self, line: u64, at_ms: i64, text: &str) {
        if text == self.last_reply && !text.is_empty() {
            return;
        }
        // Before the text begins no line of a message can imitate a reply.
        if matches!(self.state, State::Envelope | State::Data) && is_reply(text) {
            self.reply(line, text);
            return;
        }
        self.command(line, at_ms, text, false);
    }

    /// What the server sent: a command if it is the client, a reply if not.
    fn sent(&mut self, line: u64, at_ms: i64, text: &str) {
        if self.side == Side::Untold && is_greeting(text) {
            // The server greets a client: whatever was open before, its life is over.
            self.begin_conversation(Side::Untold);
            return;
        }
        let client = match self.side {
            Side::Outbound => true,
            Side::Inbound => false,
            Side::Untold => self.arrows && self.state != State::Idle || begins_mail(text),
        };
        if client && (self.arrows || self.state == State::Idle) {
            self.ours = true;
            self.command(line, at_ms, text, true);
        }
    }

    /// What the server received: a reply if it is the client. Only a transaction whose commands stand
    /// after arrows has its replies there: after a crash an inbound conversation may follow.
    fn received(&mut self, line: u64, text: &str) {
        if let Some(reply) = text.strip_prefix("IO: |") {
            self.ours = true;
            if is_greeting(reply) || self.arrows {
                self.reply(line, reply);
            }
        } else if self.side != Side::Inbound && is_greeting(text) {
            self.ours = true;
            self.reply(line, text);
        } else if self.arrows && self.side != Side::Inbound && is_reply(text) {
            self.ours = true;
            if text != self.last_reply {
                self.reply(line, text);
            }
        } else if self.side == Side::Untold && begins_session(text) {
            // A client greets us: whatever was open before, its life is over.
            self.begin_conversation(Side::Untold);
        }
    }

    fn command(&mut self, line: u64, at_ms: i64, text: &str, arrows: bool) {
        let word = text.as_bytes().first().map(u8::to_ascii_uppercase);
        let is = |prefix: &str| {
            let bytes = text.as_bytes();
            bytes.len() >= prefix.len()
                && bytes[..prefix.len()].eq_ignore_ascii_case(prefix.as_bytes())
        };
        let whole = |command: &str| text.trim_end().eq_ignore_ascii_case(command);
        match word {
            Some(b'M') if is("MAIL FROM:") => {
                self.state = State::Envelope;
                self.arrows = arrows;
                self.sender = path(text);
                self.recipients.clear();
                self.offered = None;
                self.last_reply.clear();
                return;
            }
            Some(b'R') if is("RCPT TO:") && self.state == State::Envelope => {
                self.offered = Some(path(text));
                self.last_reply.clear();
                return;
            }
            Some(b'D') if self.state == State::Envelope && whole("DATA") => {
                self.data(line, at_ms);
                return;
            }
            Some(b'R') if whole("RSET") => return self.state = State::Idle,
            Some(b'Q') if whole("QUIT") => return self.state = State::Idle,
            Some(b'E') if is("EHLO ") => return self.state = State::Idle,
            Some(b'H') if is("HELO ") => return self.state = State::Idle,
            _ => {}
        }
        match self.state {
            State::Text | State::Data => self.header(text),
            // The rest of a text whose transaction seemed to be over: its end was an imitation.
            State::Idle if whole(".") || message_id_value(text).is_some() => self.doubt(),
            State::Idle | State::Envelope => {}
        }
    }

    fn data(&mut self, line: u64, at_ms: i64) {
        self.state = State::Data;
        self.folded = false;
        self.last_reply.clear();
        let transaction = Transaction {
            log: self.name.clone(),
            line,
            at_ms,
            sender: std::mem::take(&mut self.sender),
            recipients: std::mem::take(&mut self.recipients),
            message_id: None,
            end: End::Unanswered,
            doubtful: false,
        };
        Arc::make_mut(&mut self.transactions).push(transaction);
    }

    fn reply(&mut self, line: u64, reply: &str) {
        reply.clone_into(&mut self.last_reply);
        if reply.as_bytes().get(3) == Some(&b'-') {
            return;
        }
        let code: Option<u16> = reply.get(..3).and_then(|code| code.parse().ok());
        match (self.state, code) {
            // A greeting: another connection, perhaps of another life of the service.
            (_, Some(220)) => {
                let side = self.side;
                self.begin_conversation(side);
                reply.clone_into(&mut self.last_reply);
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
        let named = self
            .transactions
            .last()
            .is_none_or(|t| t.message_id.is_some());
        if named {
            return;
        }
        let value = if self.folded {
            Some(text.trim().to_owned())
        } else {
            message_id_value(text)
        };
        self.folded = value.as_ref().is_some_and(String::is_empty);
        if let Some(id) = value.filter(|id| !id.is_empty())
            && let Some(transaction) = Arc::make_mut(&mut self.transactions).last_mut()
        {
            transaction.message_id = Some(id);
        }
    }

    fn end(&mut self, end: End) {
        self.state = State::Idle;
        if let Some(transaction) = Arc::make_mut(&mut self.transactions).last_mut() {
            transaction.end = end;
        }
    }

    fn doubt(&mut self) {
        for transaction in &mut Arc::make_mut(&mut self.transactions)[self.session..] {
            transaction.doubtful = true;
        }
    }
}

impl LineReader for Reader {
    fn line(&mut self, line: u64, text: &str) {
        match self.stamp.split(text) {
            Some((at_ms, text)) => {
                self.begun = true;
                self.ours = false;
                self.text(line, at_ms, text);
            }
            None if text.is_empty() => {}
            // What was written over or cut may be anything, what is whole goes on with the line before.
            None if self.begun && !unreadable(text) && !looks_stamped(text) => {
                if !self.ours || self.arrows && is_reply(text) {
                    return;
                }
                match self.state {
                    State::Text | State::Data if text != "." => self.header(text),
                    State::Idle if text == "." || message_id_value(text).is_some() => self.doubt(),
                    _ => {}
                }
            }
            None => Arc::make_mut(&mut self.damage).add(&self.name, line, text),
        }
    }
}

fn unreadable(text: &str) -> bool {
    text.contains(['\0', char::REPLACEMENT_CHARACTER])
}

/// Whether a line was meant to have a stamp: then it is damaged, and goes on with nothing.
fn looks_stamped(text: &str) -> bool {
    text.contains(" : ") && text.as_bytes().first().is_some_and(u8::is_ascii_digit)
}

/// `250 text` or `250-text`.
fn is_reply(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 3
        && bytes[..3].iter().all(u8::is_ascii_digit)
        && matches!(bytes.get(3), None | Some(b' ' | b'-'))
}

fn is_greeting(text: &str) -> bool {
    is_reply(text) && text.starts_with("220")
}

fn begins_session(text: &str) -> bool {
    let begins = |word: &str| text.get(..5).is_some_and(|t| t.eq_ignore_ascii_case(word));
    begins("EHLO ") || begins("HELO ")
}

fn begins_mail(text: &str) -> bool {
    begins_session(text)
        || text
            .get(..10)
            .is_some_and(|t| t.eq_ignore_ascii_case("MAIL FROM:"))
}

/// The address of `MAIL FROM:<a@b> SIZE=1`, `RCPT TO:<a@b>` or, as some show it, `RCPT TO:a@b`.
pub(in crate::evidence) fn path(command: &str) -> String {
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

/// Reads the stamps of lines. Most have the minute of the one before.
#[derive(Debug, Clone)]
pub(in crate::evidence) struct Stamp {
    zone: TimeZone,
    /// Date, hour and minute as they stood there, and that moment.
    last: ([i16; 3], [i8; 2], Option<i64>),
}

impl Stamp {
    pub(in crate::evidence) fn new(clock: LogTime) -> Self {
        Self {
            zone: clock.zone(),
            last: ([0; 3], [-1; 2], None),
        }
    }

    /// `11/5/97 7:51:02 PM : text`.
    pub(in crate::evidence) fn split<'a>(&mut self, line: &'a str) -> Option<(i64, &'a str)> {
        let mut rest = line;
        let month = number(&mut rest, b'/')?;
        let day = number(&mut rest, b'/')?;
        let year = number(&mut rest, b' ')?;
        let hour = number(&mut rest, b':')?;
        let minute = number(&mut rest, b':')?;
        let second = number(&mut rest, b' ')?;
        let after_noon = match rest.get(..2)? {
            "AM" => false,
            "PM" => true,
            _ => return None,
        };
        let text = match rest.get(2..)? {
            " :" => "",
            rest => rest.strip_prefix(" : ")?,
        };
        let year = log_time::year(year)?;
        let hour = log_time::hour(hour, after_noon)?;
        if !(0..60).contains(&second) {
            return None;
        }
        let minute = i8::try_from(minute).ok()?;
        let (date, time) = ([year, month, day], [hour, minute]);
        if self.last.0 != date || self.last.1 != time {
            let at = log_time::moment(&self.zone, date, [hour, minute, 0]);
            self.last = (date, time, at);
        }
        Some((self.last.2? + i64::from(second) * 1000, text))
    }
}

/// Digits, at most four, and the byte after them.
fn number(rest: &mut &str, end: u8) -> Option<i16> {
    let bytes = rest.as_bytes();
    let digits = bytes.iter().take(5).position(|&byte| byte == end)?;
    let mut value = 0i16;
    for &byte in &bytes[..digits] {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i16::from(byte - b'0');
    }
    *rest = &rest[digits + 1..];
    (digits > 0).then_some(value)
}
