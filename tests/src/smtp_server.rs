//! The receiving end of SMTP (RFC 821 with EHLO): what the peers and an IMS that takes mail share.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::smtp_log::SmtpLog;
use crate::spool;

/// The longest line that is taken, in bytes.
const LONGEST_LINE: usize = 64 * 1024;
/// The longest message that is taken, in bytes.
const LONGEST_MESSAGE: usize = 64 * 1024 * 1024;
/// How long the other side may be silent.
const SILENCE: Duration = Duration::from_secs(120);

/// A message that was received.
#[derive(Debug)]
pub struct Received {
    /// The envelope's sender.
    pub sender: String,
    /// The envelope's recipients.
    pub recipients: Vec<String>,
    /// The RFC 822 text.
    pub text: Vec<u8>,
}

/// Talks to one client until it quits. `accept` takes each message and returns the words after `250 `,
/// or an error that the client gets as `451`; a message counts as taken when `accept` has returned.
///
/// # Errors
/// Where the connection breaks.
pub fn converse(
    stream: TcpStream,
    host: &str,
    log: Option<&SmtpLog>,
    mut accept: impl FnMut(Received) -> Result<String, String>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream);
    let mut reply = |text: &str| -> io::Result<()> {
        if let Some(log) = log {
            log.write([format!(">>> {text}").as_str()]);
        }
        out.write_all(format!("{text}\r\n").as_bytes())
    };
    reply(&format!(
        "220 {host} ESMTP Server (Microsoft Exchange Internet Mail Service) ready"
    ))?;
    let mut sender: Option<String> = None;
    let mut recipients = Vec::new();
    while let Some(line) = read_line(&mut lines)? {
        let line = String::from_utf8_lossy(&line).into_owned();
        if let Some(log) = log {
            log.write([format!("<<< {line}").as_str()]);
        }
        let upper = line.to_ascii_uppercase();
        if upper.starts_with("EHLO") || upper.starts_with("HELO") {
            reply(&format!("250 {host} Hello"))?;
        } else if upper.starts_with("MAIL FROM:") {
            sender = Some(address(&line[10..]));
            recipients.clear();
            reply("250 OK - mail from accepted")?;
        } else if upper.starts_with("RCPT TO:") && sender.is_some() {
            recipients.push(address(&line[8..]));
            reply("250 OK - recipient accepted")?;
        } else if upper == "DATA" && !recipients.is_empty() {
            reply("354 Send data.  End with CRLF.CRLF")?;
            let text = read_message(&mut lines)?;
            if let Some(log) = log {
                let headers: Vec<String> = spool::header_lines(&text).collect();
                log.write(headers.iter().map(String::as_str).chain(["<<< ."]));
            }
            let received = Received {
                sender: sender.take().unwrap_or_default(),
                recipients: std::mem::take(&mut recipients),
                text,
            };
            match accept(received) {
                Ok(words) => reply(&format!("250 {words}"))?,
                Err(reason) => reply(&format!("451 {reason}"))?,
            }
        } else if upper == "RSET" {
            sender = None;
            recipients.clear();
            reply("250 OK - reset")?;
        } else if upper == "NOOP" {
            reply("250 OK")?;
        } else if upper == "QUIT" {
            return reply("221 closing connection");
        } else if upper == "DATA" || upper.starts_with("RCPT TO:") {
            reply("503 bad sequence of commands")?;
        } else {
            reply("500 command not recognized")?;
        }
    }
    Ok(())
}

/// A line without its end; `None` at the end of the connection. Half a line is an error: the other side
/// died within it.
pub fn read_line(lines: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    use std::io::Read;
    let mut line = Vec::new();
    lines
        .take(LONGEST_LINE as u64)
        .read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the line does not end",
        ));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(line))
}

fn read_message(lines: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let Some(line) = read_line(lines)? else {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the message does not end",
            ));
        };
        if line == b"." {
            return Ok(text);
        }
        text.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        text.extend_from_slice(b"\r\n");
        if text.len() > LONGEST_MESSAGE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the message is too long",
            ));
        }
    }
}

fn address(argument: &str) -> String {
    let argument = argument.trim();
    let argument = argument.strip_prefix('<').unwrap_or(argument);
    argument.split('>').next().unwrap_or(argument).to_owned()
}
