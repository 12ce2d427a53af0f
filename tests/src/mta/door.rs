//! Where the MTA of a server takes requests, one line each: a socket in the server's folder, and under Windows,
//! where the standard library has no such sockets, a port of 127.0.0.1 that is written there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;

/// The answer to a request that was taken.
pub(super) const ACCEPTED: &str = "accepted";
const REFUSED: &str = "refused";
/// How long the other side may be silent.
const SILENCE: Duration = Duration::from_secs(5);

/// Takes requests from now on, in a thread of its own; `accept` says whether one is taken.
#[cfg(unix)]
pub(super) fn open(
    server: &ServerDir,
    accept: impl Fn(&str) -> bool + Send + 'static,
) -> Result<(), LabError> {
    let socket = server.mta_socket();
    // A killed MTA leaves its socket behind.
    let _ = std::fs::remove_file(&socket);
    let listener = std::os::unix::net::UnixListener::bind(&socket)
        .attempting(|| format!("listen at `{}`", socket.display()))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.set_read_timeout(Some(SILENCE));
            let _ = answer(&stream, &stream, &accept);
        }
    });
    Ok(())
}

/// Takes requests from now on, in a thread of its own; `accept` says whether one is taken.
#[cfg(windows)]
pub(super) fn open(
    server: &ServerDir,
    accept: impl Fn(&str) -> bool + Send + 'static,
) -> Result<(), LabError> {
    let attempted = || "listen for requests to the MTA".to_owned();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").attempting(attempted)?;
    let port = listener.local_addr().attempting(attempted)?.port();
    crate::whole_file::write(&server.mta_port(), port.to_string().as_bytes())?;
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.set_read_timeout(Some(SILENCE));
            let _ = answer(&stream, &stream, &accept);
        }
    });
    Ok(())
}

/// Takes no more.
pub(super) fn close(server: &ServerDir) {
    let _ = std::fs::remove_file(server.mta_socket());
    let _ = std::fs::remove_file(server.mta_port());
}

/// Asks the MTA of a server; the MTA may be of either kind.
pub(super) fn ask(server: &ServerDir, request: &str) -> std::io::Result<String> {
    if let Ok(port) = std::fs::read_to_string(server.mta_port()) {
        let stream = TcpStream::connect(format!("127.0.0.1:{}", port.trim()))?;
        stream.set_read_timeout(Some(SILENCE))?;
        return converse(&stream, &stream, request);
    }
    #[cfg(unix)]
    {
        let stream = UnixStream::connect(server.mta_socket())?;
        stream.set_read_timeout(Some(SILENCE))?;
        converse(&stream, &stream, request)
    }
    #[cfg(windows)]
    Err(std::io::Error::new(
        std::io::ErrorKind::NotFound,
        "the MTA does not run",
    ))
}

fn answer(
    from: impl Read,
    mut to: impl Write,
    accept: &dyn Fn(&str) -> bool,
) -> std::io::Result<()> {
    let mut request = String::new();
    BufReader::new(from).read_line(&mut request)?;
    let accepted = accept(request.trim());
    let reply = if accepted { ACCEPTED } else { REFUSED };
    to.write_all(format!("{reply}\n").as_bytes())
}

fn converse(from: impl Read, mut to: impl Write, request: &str) -> std::io::Result<String> {
    to.write_all(format!("{request}\n").as_bytes())?;
    let mut reply = String::new();
    BufReader::new(from).read_line(&mut reply)?;
    Ok(reply.trim().to_owned())
}
