//! The socket at which the services of a server are asked about and ordered.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use super::protocol::{Answer, Request};
use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;

/// Answers whoever comes from now on, each in a thread of its own.
pub(super) fn open(
    server: &ServerDir,
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> Result<(), LabError> {
    let socket = server.manager_socket();
    let _ = std::fs::remove_file(&socket);
    let listener =
        UnixListener::bind(&socket).attempting(|| format!("listen at `{}`", socket.display()))?;
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || serve(&stream, &*answer));
        }
    });
    Ok(())
}

/// Takes the socket away.
pub(super) fn close(server: &ServerDir) {
    let _ = std::fs::remove_file(server.manager_socket());
}

fn serve(stream: &UnixStream, answer: &dyn Fn(&Request) -> Answer) {
    let Ok(mut out) = stream.try_clone() else {
        return;
    };
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let answer = match serde_json::from_str::<Request>(&line) {
            Ok(request) => answer(&request),
            Err(error) => Answer::refused(87, &format!("the request makes no sense: {error}")),
        };
        let Ok(mut text) = serde_json::to_string(&answer) else {
            return;
        };
        text.push('\n');
        if out.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}
