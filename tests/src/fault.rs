//! What is wrong with a server, as only its own processes know it: `faults.json` in its folder.
//!
//! A message is known by the hash of its body, so that neither its name nor the folder it lies in gives it
//! away, and a copy of it under another name is as bad as it is. Agents and the controller never read
//! this file.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;
use crate::whole_file;

/// Where the IMS comes upon a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Converting it from `In` for the store.
    In,
    /// Sending it from `Out`.
    Out,
    /// Converting it from the store's MTS-OUT.
    MtsOut,
}

/// What a bad message does to the IMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The process ends at once, with event 4037.
    Crash {
        /// In how many of a hundred starts; always at the first.
        percent: u8,
    },
    /// As `Crash`, before the SMTP log has a word of the message.
    CrashUnlogged,
    /// The whole process hangs, the file open and locked, after event 4037; it hears no stop.
    Hang,
    /// It is deleted without an event or a report (Q157684).
    Vanish,
    /// An event is written, and nothing behind the message moves until the next start.
    Stick {
        /// The event: 4116, 4117 or 4182.
        event: u32,
    },
}

/// A bad message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadMessage {
    /// Where it is bad.
    pub place: Place,
    /// What it does.
    pub effect: Effect,
    /// Whether an event names its file.
    pub named: bool,
}

/// What is wrong with a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Faults {
    /// Bad messages, by the BLAKE3 hash of their body.
    pub messages: BTreeMap<String, BadMessage>,
    /// A virus scanner holds what is in MTS-OUT, so that what was sent cannot be removed (Q296879), until
    /// the mailbox is on its exclusion list.
    pub scanned: bool,
    /// The start of the IMS, from 1, at which it hangs for a reason that is in no message.
    pub hangs_at_start: Option<u64>,
    /// Messages of which the tracking records are dropped, with event 3016; by the hash of their body.
    pub untracked: BTreeSet<String>,
}

impl Faults {
    /// Reads the faults of a server; without a file there are none.
    ///
    /// # Errors
    /// Where the file cannot be read or makes no sense.
    pub fn read(server: &ServerDir) -> Result<Self, LabError> {
        let path = server.faults();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => Err(error).attempting(|| format!("read `{}`", path.display()))?,
        };
        serde_json::from_slice(&bytes).map_err(|error| LabError::Malformed {
            what: format!("`{}`", path.display()),
            reason: error.to_string(),
        })
    }

    /// Writes the faults of a server; its processes learn of them at their next start.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, server: &ServerDir) -> Result<(), LabError> {
        whole_file::write_json(&server.faults(), self)
    }
}

/// Whether a message that crashes in `percent` of a hundred starts does so at this one: always at the
/// first, then as follows from the message and the number of the start.
#[must_use]
pub fn strikes(percent: u8, body_hash: &str, start: u64) -> bool {
    let hash = blake3::hash(format!("{start} {body_hash}").as_bytes());
    let drawn = u32::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1], 0, 0]) % 100;
    start == 1 || drawn < u32::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_were_written_and_a_server_without_any_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let server = ServerDir::new(folder.path());
        assert_eq!(Faults::read(&server).unwrap(), Faults::default());
        let bad = BadMessage {
            place: Place::Out,
            effect: Effect::Crash { percent: 50 },
            named: true,
        };
        let faults = Faults {
            messages: BTreeMap::from([("hash".to_owned(), bad)]),
            scanned: true,
            hangs_at_start: Some(1),
            untracked: BTreeSet::from(["other".to_owned()]),
        };
        faults.write(&server).unwrap();
        assert_eq!(Faults::read(&server).unwrap(), faults);
    }

    #[test]
    fn a_message_that_crashes_sometimes_does_so_in_its_share_of_the_starts() {
        let often = |percent| {
            (2..1002)
                .filter(|start| strikes(percent, "x", *start))
                .count()
        };
        assert_eq!(often(100), 1000);
        assert_eq!(often(0), 0);
        assert!((400..600).contains(&often(50)), "{}", often(50));
    }
}
