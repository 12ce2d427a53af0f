//! Somebody outside who sends mail to a server of the lab.

use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;
use crate::smtp_server::read_line;
use crate::spool::{SpoolMessage, SpoolName};

/// How long the server may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// Sends a message to a server that takes mail; returns the name of the spool file that its reply tells.
///
/// # Errors
/// Where the server does not take it with a final 250.
pub fn send(server: &ServerDir, message: &SpoolMessage) -> Result<SpoolName, LabError> {
    let attempted = || format!("send mail to `{}`", server.root().display());
    let port = std::fs::read_to_string(server.smtp_port()).attempting(attempted)?;
    let stream = TcpStream::connect(format!("127.0.0.1:{}", port.trim())).attempting(attempted)?;
    let reply = converse(stream, message).attempting(attempted)?;
    let name = reply.split_whitespace().next_back();
    name.and_then(SpoolName::parse)
        .ok_or_else(|| LabError::Refused {
            attempted: attempted(),
            reason: reply,
        })
}

/// The reply to the text.
fn converse(mut stream: TcpStream, message: &SpoolMessage) -> io::Result<String> {
    stream.set_read_timeout(Some(SILENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut reply = |wanted: char| -> io::Result<String> {
        let line = read_line(&mut lines)?.unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.starts_with(wanted) {
            Ok(line)
        } else {
            Err(io::Error::other(format!("the server said `{line}`")))
        }
    };
    reply('2')?;
    let mut commands = vec![
        "EHLO outside.example".to_owned(),
        format!("MAIL FROM:<{}>", message.sender),
    ];
    let rcpt = |recipient| format!("RCPT TO:<{recipient}>");
    commands.extend(message.recipients.iter().map(rcpt));
    for command in commands {
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        reply('2')?;
    }
    stream.write_all(b"DATA\r\n")?;
    reply('3')?;
    let mut text = Vec::with_capacity(message.text.len() + 64);
    for line in message.text.split_inclusive(|byte| *byte == b'\n') {
        if line.first() == Some(&b'.') {
            text.push(b'.');
        }
        text.extend_from_slice(line);
    }
    text.extend_from_slice(b".\r\n");
    stream.write_all(&text)?;
    let taken = reply('2')?;
    // What the server says to that is no matter.
    let _ = stream.write_all(b"QUIT\r\n");
    Ok(taken)
}
