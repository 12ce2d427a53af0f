//! A next-hop SMTP server that records every delivery: the ground truth.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::lab_error::{Attempting, LabError};
use crate::smtp_server::{self, Received};
use crate::spool;
use crate::tether;

/// A message that a peer took, in a line of its truth file. It stands there, durably, before the client
/// hears of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// The Message-ID; empty where the message had none.
    pub message_id: String,
    /// The envelope's sender.
    pub sender: String,
    /// The envelope's recipients.
    pub recipients: Vec<String>,
    /// The BLAKE3 hash of the body.
    pub body_hash: String,
    /// The size of the text in bytes.
    pub bytes: usize,
}

/// Runs a peer: listens on a free port of 127.0.0.1, says which, and takes mail until it is killed.
/// After recording a message it waits for `latency` before it says so: the time in which a sender that
/// dies cannot know whether its message was taken.
///
/// # Errors
/// Where it cannot listen or the truth file cannot be opened.
pub fn run(truth: &Path, latency: Duration) -> Result<(), LabError> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(truth)
        .attempting(|| format!("open the truth `{}`", truth.display()))?;
    let listener = TcpListener::bind("127.0.0.1:0").attempting(|| "listen for mail".to_owned())?;
    let port = listener
        .local_addr()
        .attempting(|| "learn the port".to_owned())?
        .port();
    tether::ready(&port.to_string());
    let truth = Arc::new(Mutex::new(file));
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let truth = Arc::clone(&truth);
        std::thread::spawn(move || serve(stream, &truth, latency));
    }
    Ok(())
}

fn serve(stream: TcpStream, truth: &Mutex<File>, latency: Duration) {
    // A broken connection is the client's affair: what was recorded was recorded.
    let _ = smtp_server::converse(stream, "peer.example.net", None, |received| {
        record(truth, received).map_err(|error| error.whole())?;
        // A slow peer: the moment in which a killed sender cannot know whether it was heard.
        std::thread::sleep(latency);
        Ok("OK, taken".to_owned())
    });
}

fn record(truth: &Mutex<File>, received: Received) -> Result<(), LabError> {
    let delivery = Delivery {
        at_ms: Timestamp::now().as_millisecond(),
        message_id: spool::message_id(&received.text).unwrap_or_default(),
        sender: received.sender,
        recipients: received.recipients,
        body_hash: spool::body_hash(&received.text),
        bytes: received.text.len(),
    };
    let mut line = serde_json::to_vec(&delivery).map_err(|error| LabError::Malformed {
        what: "a delivery".to_owned(),
        reason: error.to_string(),
    })?;
    line.push(b'\n');
    let mut file = truth.lock().unwrap_or_else(PoisonError::into_inner);
    file.write_all(&line)
        .and_then(|()| file.sync_data())
        .attempting(|| "record a delivery".to_owned())
}

/// The deliveries that a truth file records, oldest first; none where it is not there. A last line
/// without its end is left out: that delivery was never confirmed.
///
/// # Errors
/// Where it cannot be read or makes no sense.
pub fn deliveries(truth: &Path) -> Result<Vec<Delivery>, LabError> {
    let text = match std::fs::read_to_string(truth) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => Err(error).attempting(|| format!("read `{}`", truth.display()))?,
    };
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| {
            serde_json::from_str(line).map_err(|error| LabError::Malformed {
                what: format!("a delivery in `{}`", truth.display()),
                reason: error.to_string(),
            })
        })
        .collect()
}
