//! Mail for the lab: messages of many sizes, each unlike every other, from a seed.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::lab_error::{Attempting, LabError};
use crate::mta::database;
use crate::server_dir::ServerDir;
use crate::smtp_log::SmtpLog;
use crate::spool::{self, SpoolMessage, SpoolName};
use crate::store;
use crate::tracking_log::{Befell, Record, TrackingLog};

/// A message that a user has sent, in a line of the truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// The site.
    pub site: String,
    /// The server that was to send it.
    pub server: String,
    /// The Message-ID.
    pub message_id: String,
    /// The MTS-ID.
    pub mts_id: String,
    /// The name of its spool file.
    pub spool_name: SpoolName,
    /// The recipients.
    pub recipients: Vec<String>,
    /// The BLAKE3 hash of the body.
    pub body_hash: String,
    /// The size of the text in bytes.
    pub bytes: usize,
    /// Whether it came from outside, for mailboxes of the server.
    #[serde(default)]
    pub inbound: bool,
}

/// Where a message is when the lab begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// A user has just sent it: in the store's MTS-OUT.
    Sent,
    /// It was converted before and waits in `Out`.
    Converted,
    /// It was received before and waits in `In`.
    Received,
    /// It was sent before and waits in the MTA's database.
    InMta {
        /// As which number, from 0.
        number: usize,
    },
}

/// The number of the log of connections that came in before the lab began.
const RECEIVED_LOG: usize = 99;

/// The users of the lab.
#[derive(Debug)]
pub struct Load {
    random: fastrand::Rng,
    sent: u64,
    truth: File,
}

impl Load {
    /// Users whose messages follow from the seed, and are noted in the file `truth`.
    ///
    /// # Errors
    /// Where the file cannot be opened.
    pub fn new(seed: u64, truth: &Path) -> Result<Self, LabError> {
        let truth = OpenOptions::new()
            .create(true)
            .append(true)
            .open(truth)
            .attempting(|| format!("open the truth `{}`", truth.display()))?;
        Ok(Self {
            random: fastrand::Rng::with_seed(seed),
            sent: 0,
            truth,
        })
    }

    /// Sends a message through a server: it is noted, then put into the store.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn send(
        &mut self,
        site: &str,
        server_name: &str,
        server: &ServerDir,
    ) -> Result<Submission, LabError> {
        self.send_waiting_since(site, server_name, server, None)
    }

    /// As [`Self::send`]; the message's file says that it has been waiting since then.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn send_waiting_since(
        &mut self,
        site: &str,
        server_name: &str,
        server: &ServerDir,
        since: Option<SystemTime>,
    ) -> Result<Submission, LabError> {
        self.send_to_begin(site, server_name, server, since, Begins::Sent)
    }

    /// As [`Self::send_waiting_since`], for a message that is where it is said to begin. The IMS must not
    /// run where that is a folder of its spool.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn send_to_begin(
        &mut self,
        site: &str,
        server_name: &str,
        server: &ServerDir,
        since: Option<SystemTime>,
        begins: Begins,
    ) -> Result<Submission, LabError> {
        let inbound = begins == Begins::Received;
        let (name, message) = self.draft(server_name, inbound);
        let submission = self.note(site, server_name, &name, &message, inbound)?;
        match begins {
            Begins::Sent => store::submit(server, &name, &message, since)?,
            Begins::Converted => store::put(&server.outbound(), &name, &message, since)?,
            Begins::Received => store::put(&server.inbound(), &name, &message, since)?,
            Begins::InMta { number } => database::put(server, number, &message)?,
        }
        note_in_logs(server, &name, &message, begins)?;
        Ok(submission)
    }

    /// As [`Self::send_to_begin`], for a message whose text is known: another recipient's copy of one that was sent
    /// elsewhere, with the envelope, the spool name and the records of this server.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn send_text(
        &mut self,
        site: &str,
        server_name: &str,
        server: &ServerDir,
        begins: Begins,
        text: Vec<u8>,
    ) -> Result<Submission, LabError> {
        let inbound = begins == Begins::Received;
        let (name, draft) = self.draft(server_name, inbound);
        let message = SpoolMessage { text, ..draft };
        let submission = self.note(site, server_name, &name, &message, inbound)?;
        let folder = match begins {
            Begins::Received => server.inbound(),
            Begins::Converted => server.outbound(),
            Begins::Sent | Begins::InMta { .. } => server.mts_out(),
        };
        store::put(&folder, &name, &message, None)?;
        note_in_logs(server, &name, &message, begins)?;
        Ok(submission)
    }

    /// Writes a message that is not sent yet, so that what is wrong with it can be said before.
    pub fn draft(&mut self, server_name: &str, inbound: bool) -> (SpoolName, SpoolMessage) {
        let now = Timestamp::now();
        let name = SpoolName::make(&mut self.random);
        self.sent += 1;
        let mut message = compose(&mut self.random, server_name, &name, self.sent, now);
        if inbound {
            message.recipients.truncate(1);
            std::mem::swap(&mut message.sender, &mut message.recipients[0]);
        }
        (name, message)
    }

    /// Notes in the truth that a user sends a message, or that somebody outside has sent it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn note(
        &mut self,
        site: &str,
        server_name: &str,
        name: &SpoolName,
        message: &SpoolMessage,
        inbound: bool,
    ) -> Result<Submission, LabError> {
        let submission = Submission {
            inbound,
            at_ms: Timestamp::now().as_millisecond(),
            site: site.to_owned(),
            server: server_name.to_owned(),
            message_id: message.message_id().unwrap_or_default(),
            mts_id: message.mts_id.clone(),
            spool_name: name.clone(),
            recipients: message.recipients.clone(),
            body_hash: spool::body_hash(&message.text),
            bytes: message.text.len(),
        };
        let line = format!("{}\n", serde_json::json!(submission));
        self.truth
            .write_all(line.as_bytes())
            .attempting(|| "note a message in the truth".to_owned())?;
        Ok(submission)
    }
}

/// The MTA's record of a message that it hands to the IMS: 7.
///
/// # Errors
/// Where it cannot be written.
pub fn hand_to_ims(server: &ServerDir, message: &SpoolMessage) -> Result<(), LabError> {
    TrackingLog::new(&server.tracking()).write(&Record {
        befell: Befell::HandedToIms,
        mts_id: &message.mts_id,
        partner: "MSExchangeIMC",
        message_id: "",
        spool_name: "",
        originator: &message.sender,
        bytes: message.text.len(),
        recipients: &message.recipients,
    })
}

/// What the IMS had written of a message before it came to lie in its spool.
fn note_in_logs(
    server: &ServerDir,
    name: &SpoolName,
    message: &SpoolMessage,
    begins: Begins,
) -> Result<(), LabError> {
    let befell = match begins {
        Begins::Sent | Begins::InMta { .. } => return Ok(()),
        Begins::Converted => Befell::QueuedOutbound,
        Begins::Received => Befell::ReceivedInbound,
    };
    if begins == Begins::Received {
        let mut lines = vec![format!("<<< MAIL FROM:<{}>", message.sender)];
        lines.push(">>> 250 OK".to_owned());
        for recipient in &message.recipients {
            lines.push(format!("<<< RCPT TO:<{recipient}>"));
            lines.push(">>> 250 OK".to_owned());
        }
        lines.push("<<< DATA".to_owned());
        lines.push(">>> 354 Send data.  End with CRLF.CRLF".to_owned());
        lines.extend(spool::header_lines(&message.text));
        lines.push("<<< .".to_owned());
        lines.push(format!(">>> 250 OK {name}"));
        let log = SmtpLog::open(&server.log(), RECEIVED_LOG)?;
        log.write(lines.iter().map(String::as_str));
    }
    TrackingLog::new(&server.tracking()).write(&Record {
        befell,
        mts_id: &message.mts_id,
        partner: "",
        message_id: &message.message_id().unwrap_or_default(),
        spool_name: name.as_str(),
        originator: &message.sender,
        bytes: message.text.len(),
        recipients: &message.recipients,
    })
}

/// Writes a message. Sizes are as in life: most are small, few are large.
fn compose(
    random: &mut fastrand::Rng,
    server: &str,
    name: &SpoolName,
    number: u64,
    at: Timestamp,
) -> SpoolMessage {
    let body_bytes = match random.u32(..100) {
        0..70 => random.usize(20..2_000),
        70..95 => random.usize(2_000..20_000),
        _ => random.usize(20_000..200_000),
    };
    let recipients = if random.u32(..100) < 15 {
        random.usize(2..=5)
    } else {
        1
    };
    let recipients = (0..recipients)
        .map(|index| format!("{}.{index}@{}", person(random), outside(random)))
        .collect();
    let mut text = message_head(random, server, number, at).into_bytes();
    text.extend_from_slice(format!("Message {number}, spooled as {name}.\r\n").as_bytes());
    let end = text.len() + body_bytes;
    while text.len() < end {
        text.extend_from_slice(line(random).as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    SpoolMessage {
        sender: format!("{}@contoso.example", person(random)),
        recipients,
        mts_id: spool::mts_id(server, at, name),
        text,
    }
}

fn message_head(random: &mut fastrand::Rng, server: &str, number: u64, at: Timestamp) -> String {
    let stamp = at.to_zoned(jiff::tz::TimeZone::UTC);
    format!(
        "From: <{0}@contoso.example>\r\nSubject: {1}\r\nDate: {2}\r\n\
         Message-ID: <c=US%a=_%p=Contoso%l={3}-{4}Z-{number}@{3}.contoso.example>\r\n\
         X-Mailer: Internet Mail Service (5.0.1458.49)\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
        person(random),
        subject(random),
        stamp.strftime("%a, %d %b %Y %H:%M:%S %z"),
        server.to_ascii_uppercase(),
        stamp.strftime("%y%m%d%H%M%S"),
    )
}

fn person(random: &mut fastrand::Rng) -> &'static str {
    [
        "ada", "bjarne", "chandra", "dagny", "edsger", "frances", "grace", "hedy",
    ][random.usize(..8)]
}

fn outside(random: &mut fastrand::Rng) -> &'static str {
    ["example.net", "example.org", "mail.example.com"][random.usize(..3)]
}

fn subject(random: &mut fastrand::Rng) -> &'static str {
    [
        "Minutes of Tuesday",
        "100%s of the budget",
        "Re: Re: lunch",
        "Blåbær",
    ][random.usize(..4)]
}

/// A line of text; some are empty, some begin with a dot, some are long, some are not ASCII.
fn line(random: &mut fastrand::Rng) -> String {
    match random.u32(..20) {
        0 => String::new(),
        1 => ".".to_owned(),
        2 => format!("..{}", random.u64(..)),
        3 => "x".repeat(random.usize(80..900)),
        4 => "på lørdag, æøå".to_owned(),
        _ => (0..random.usize(3..12))
            .map(|_| random.u16(..).to_string() + " ")
            .collect(),
    }
}

/// The messages that were sent, oldest first.
///
/// # Errors
/// Where the truth cannot be read or makes no sense.
pub fn submissions(truth: &Path) -> Result<Vec<Submission>, LabError> {
    std::fs::read_to_string(truth)
        .attempting(|| format!("read `{}`", truth.display()))?
        .lines()
        .map(|line| {
            serde_json::from_str(line).map_err(|error| LabError::Malformed {
                what: format!("a message in `{}`", truth.display()),
                reason: error.to_string(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_mail_and_no_two_messages_are_alike() {
        let at: Timestamp = "1998-03-04T05:06:07Z".parse().unwrap();
        let write = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            (0..200)
                .map(|number| {
                    let name = SpoolName::make(&mut random);
                    compose(&mut random, "oslo-b", &name, number, at)
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(write(1), write(1));
        assert_ne!(write(1), write(2));
        let hashes: std::collections::BTreeSet<_> = write(1)
            .iter()
            .map(|message| spool::body_hash(&message.text))
            .collect();
        assert_eq!(hashes.len(), 200);
        assert!(write(1).iter().any(|message| message.recipients.len() > 1));
        assert!(write(1).iter().any(|message| message.text.len() > 20_000));
    }
}
