//! The sending end of SMTP: every line is in the log before it is on the wire.

use std::io::{self, BufReader, BufWriter, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::smtp_log::SmtpLog;
use crate::smtp_server::read_line;
use crate::spool;

const CONNECT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(60);

/// What came of offering a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// The peer took it.
    Taken,
    /// The peer refused it for now, with its reply.
    Refused(String),
}

/// A connection to a next hop.
pub(super) struct SmtpClient<'a> {
    log: &'a SmtpLog,
    lines: BufReader<TcpStream>,
    out: TcpStream,
}

impl<'a> SmtpClient<'a> {
    /// Connects and greets.
    pub(super) fn connect(next_hop: &str, host: &str, log: &'a SmtpLog) -> io::Result<Self> {
        let address: SocketAddr = next_hop
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))?;
        let stream = TcpStream::connect_timeout(&address, CONNECT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let out = stream.try_clone()?;
        let mut client = Self {
            log,
            lines: BufReader::new(stream),
            out,
        };
        let greeting = client.reply()?;
        let hello = client.command(&format!("EHLO {host}"))?;
        if positive(&greeting) && positive(&hello) {
            return Ok(client);
        }
        Err(io::Error::other(format!(
            "the host said `{greeting}`, `{hello}`"
        )))
    }

    /// Offers a message; `before_data` is called when its envelope was accepted and its header logged. An
    /// error means that it is not known whether the peer took it.
    pub(super) fn offer(
        &mut self,
        sender: &str,
        recipients: &[String],
        text: &[u8],
        before_data: impl FnOnce(),
    ) -> io::Result<Offered> {
        let mut commands = vec![format!("MAIL FROM:<{sender}>")];
        commands.extend(
            recipients
                .iter()
                .map(|recipient| format!("RCPT TO:<{recipient}>")),
        );
        commands.push("DATA".to_owned());
        for command in commands {
            let reply = self.command(&command)?;
            if !positive(&reply) {
                self.command("RSET")?;
                return Ok(Offered::Refused(reply));
            }
        }
        let headers: Vec<String> = spool::header_lines(text).collect();
        self.log.write(headers.iter().map(String::as_str));
        before_data();
        self.send_text(text)?;
        let reply = self.command(".")?;
        Ok(if positive(&reply) {
            Offered::Taken
        } else {
            Offered::Refused(reply)
        })
    }

    /// Says goodbye; the answer does not matter.
    pub(super) fn quit(mut self) {
        let _ = self.command("QUIT");
    }

    fn send_text(&mut self, text: &[u8]) -> io::Result<()> {
        let mut out = BufWriter::new(&self.out);
        let text = text.strip_suffix(b"\r\n").unwrap_or(text);
        for line in text.split(|byte| *byte == b'\n') {
            if line.first() == Some(&b'.') {
                out.write_all(b".")?;
            }
            out.write_all(line.strip_suffix(b"\r").unwrap_or(line))?;
            out.write_all(b"\r\n")?;
        }
        out.flush()
    }

    fn command(&mut self, command: &str) -> io::Result<String> {
        self.log.write([command]);
        self.out.write_all(format!("{command}\r\n").as_bytes())?;
        self.reply()
    }

    /// The last line of the peer's reply.
    fn reply(&mut self) -> io::Result<String> {
        loop {
            let Some(line) = read_line(&mut self.lines)? else {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the host hung up",
                ));
            };
            let line = String::from_utf8_lossy(&line).into_owned();
            self.log.write([format!("IO: |{line}").as_str()]);
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }
}

fn positive(reply: &str) -> bool {
    reply.starts_with('2') || reply.starts_with('3')
}
