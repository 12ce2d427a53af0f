//! What became of every message, from the users' list, the peers' records and the disk. What agents and
//! the controller say is not asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::lab_error::{Attempting, LabError};
use crate::load::Submission;
use crate::peer::Delivery;
use crate::server_dir::ServerDir;
use crate::spool::{self, SpoolMessage, SpoolName};

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Every recipient has it, once; inbound mail: the store has it, once.
    DeliveredOnce,
    /// Some recipient has it more than once.
    Duplicated,
    /// Some recipient does not have it; it is in a queue of its server.
    Waiting,
    /// Some recipient does not have it; it is on its server's disk, outside the queues.
    Held,
    /// Some recipient does not have it, and it is nowhere; or it arrived with another body.
    Lost,
}

/// Where messages still are: by Message-ID, whether the bytes are in a queue, or outside.
#[derive(Debug, Default)]
pub struct OnDisk {
    queued: BTreeSet<(String, String)>,
    held: BTreeSet<(String, String)>,
    /// How often the store has it for mailboxes.
    in_store: BTreeMap<(String, String), usize>,
}

impl OnDisk {
    /// Looks through the folders of a server. Archives do not count: a message there alone is lost to
    /// its recipients.
    ///
    /// # Errors
    /// Where a folder cannot be read.
    pub fn look(&mut self, server: &ServerDir) -> Result<(), LabError> {
        let queues = [
            server.mts_out(),
            server.outbound(),
            server.work(),
            server.inbound(),
            server.mtadata(),
        ];
        let store = server.mts_in();
        let mut folders = vec![server.exchsrvr()];
        while let Some(folder) = folders.pop() {
            for (path, is_folder) in entries(&folder)? {
                let name = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .unwrap_or_default();
                if is_folder {
                    if name != "Archive" {
                        folders.push(path);
                    }
                } else if let Some(found) = message(&path) {
                    if folder == store {
                        *self.in_store.entry(found).or_default() += 1;
                        continue;
                    }
                    let place = if queues.contains(&folder) {
                        &mut self.queued
                    } else {
                        &mut self.held
                    };
                    place.insert(found);
                }
            }
        }
        Ok(())
    }

    fn fate(&self, submission: &Submission) -> Option<Fate> {
        let key = (submission.message_id.clone(), submission.body_hash.clone());
        if self.queued.contains(&key) {
            Some(Fate::Waiting)
        } else if self.held.contains(&key) {
            Some(Fate::Held)
        } else {
            None
        }
    }
}

fn entries(folder: &Path) -> Result<Vec<(PathBuf, bool)>, LabError> {
    let attempted = || format!("list `{}`", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).attempting(attempted)? {
        let entry = entry.attempting(attempted)?;
        // An entry that goes away while it is looked at is somewhere else at the next look.
        if let Ok(kind) = entry.file_type() {
            found.push((entry.path(), kind.is_dir()));
        }
    }
    Ok(found)
}

/// Message-ID and body hash of a spool file, whatever its name is now.
fn message(path: &Path) -> Option<(String, String)> {
    let mut file = std::fs::File::open(path).ok()?;
    let mut begin = [0; spool::BEGIN.len()];
    std::io::Read::read_exact(&mut file, &mut begin).ok()?;
    if begin != spool::BEGIN {
        return None;
    }
    let message = SpoolMessage::parse(&std::fs::read(path).ok()?).ok()?;
    Some((message.message_id()?, spool::body_hash(&message.text)))
}

/// A message and what became of it.
#[derive(Debug, Clone)]
pub struct Told {
    /// The message.
    pub submission: Submission,
    /// What became of it.
    pub fate: Fate,
}

/// Tells the fate of every message that was sent.
#[must_use]
pub fn tell(submissions: &[Submission], deliveries: &[Delivery], disk: &OnDisk) -> Vec<Told> {
    let mut arrived: BTreeMap<(&str, &str), Vec<&Delivery>> = BTreeMap::new();
    for delivery in deliveries {
        for recipient in &delivery.recipients {
            arrived
                .entry((&delivery.message_id, recipient))
                .or_default()
                .push(delivery);
        }
    }
    submissions
        .iter()
        .map(|submission| Told {
            submission: submission.clone(),
            fate: fate(submission, &arrived, disk),
        })
        .collect()
}

fn fate(
    submission: &Submission,
    arrived: &BTreeMap<(&str, &str), Vec<&Delivery>>,
    disk: &OnDisk,
) -> Fate {
    if submission.inbound {
        let key = (submission.message_id.clone(), submission.body_hash.clone());
        return match disk.in_store.get(&key) {
            None => disk.fate(submission).unwrap_or(Fate::Lost),
            Some(1) => Fate::DeliveredOnce,
            Some(_) => Fate::Duplicated,
        };
    }
    let mut missing = false;
    let mut twice = false;
    for recipient in &submission.recipients {
        let copies = arrived.get(&(submission.message_id.as_str(), recipient.as_str()));
        let copies = copies.map_or(&[][..], Vec::as_slice);
        if copies
            .iter()
            .any(|copy| copy.body_hash != submission.body_hash)
        {
            return Fate::Lost;
        }
        missing |= copies.is_empty();
        twice |= copies.len() > 1;
    }
    match (missing, twice) {
        (true, _) => disk.fate(submission).unwrap_or(Fate::Lost),
        (false, true) => Fate::Duplicated,
        (false, false) => Fate::DeliveredOnce,
    }
}

/// How many messages had a fate.
#[must_use]
pub fn count(told: &[Told], fate: Fate) -> usize {
    told.iter().filter(|one| one.fate == fate).count()
}

/// The names of the spool files whose messages had a fate.
#[must_use]
pub fn names(told: &[Told], fate: Fate) -> BTreeSet<SpoolName> {
    told.iter()
        .filter(|one| one.fate == fate)
        .map(|one| one.submission.spool_name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(recipients: &[&str]) -> Submission {
        Submission {
            at_ms: 0,
            site: "oslo".to_owned(),
            server: "oslo-b".to_owned(),
            message_id: "<1@x>".to_owned(),
            mts_id: String::new(),
            spool_name: SpoolName::parse("AAAAAAA1").unwrap(),
            recipients: recipients.iter().map(|&one| one.to_owned()).collect(),
            body_hash: "right".to_owned(),
            bytes: 1,
            inbound: false,
        }
    }

    fn delivery(recipients: &[&str], body_hash: &str) -> Delivery {
        Delivery {
            at_ms: 0,
            message_id: "<1@x>".to_owned(),
            sender: String::new(),
            recipients: recipients.iter().map(|&one| one.to_owned()).collect(),
            body_hash: body_hash.to_owned(),
            bytes: 1,
        }
    }

    fn told(deliveries: &[Delivery], disk: &OnDisk) -> Fate {
        tell(&[submission(&["a", "b"])], deliveries, disk)[0].fate
    }

    #[test]
    fn every_recipient_must_have_it_once() {
        let nowhere = OnDisk::default();
        assert_eq!(
            told(&[delivery(&["a", "b"], "right")], &nowhere),
            Fate::DeliveredOnce
        );
        let apart = [delivery(&["a"], "right"), delivery(&["b"], "right")];
        assert_eq!(told(&apart, &nowhere), Fate::DeliveredOnce);
        let twice = [delivery(&["a", "b"], "right"), delivery(&["b"], "right")];
        assert_eq!(told(&twice, &nowhere), Fate::Duplicated);
    }

    #[test]
    fn inbound_mail_is_delivered_when_the_store_has_it_once() {
        let mut inbound = submission(&["bob@contoso.example"]);
        inbound.inbound = true;
        let key = (inbound.message_id.clone(), inbound.body_hash.clone());
        let told = |copies: usize, queued: bool| {
            let mut disk = OnDisk::default();
            if copies > 0 {
                disk.in_store.insert(key.clone(), copies);
            }
            if queued {
                disk.queued.insert(key.clone());
            }
            tell(std::slice::from_ref(&inbound), &[], &disk)[0].fate
        };
        assert_eq!(told(1, false), Fate::DeliveredOnce);
        assert_eq!(told(2, false), Fate::Duplicated);
        assert_eq!(told(0, true), Fate::Waiting);
        assert_eq!(told(0, false), Fate::Lost);
    }

    #[test]
    fn what_is_nowhere_or_changed_is_lost() {
        let nowhere = OnDisk::default();
        assert_eq!(told(&[], &nowhere), Fate::Lost);
        assert_eq!(told(&[delivery(&["a"], "right")], &nowhere), Fate::Lost);
        assert_eq!(
            told(&[delivery(&["a", "b"], "wrong")], &nowhere),
            Fate::Lost
        );
    }

    #[test]
    fn what_is_on_disk_is_waiting_in_a_queue_and_held_elsewhere_and_lost_in_an_archive() {
        let folder = tempfile::tempdir().unwrap();
        let server = ServerDir::new(folder.path());
        server.lay_out().unwrap();
        std::fs::create_dir_all(server.held().join("batch")).unwrap();
        let message = SpoolMessage {
            sender: String::new(),
            recipients: vec!["a".to_owned()],
            mts_id: String::new(),
            text: b"Message-ID: <1@x>\r\n\r\nbody\r\n".to_vec(),
        };
        let mut sent = submission(&["a"]);
        sent.body_hash = spool::body_hash(&message.text);
        for (place, expected) in [
            (server.outbound(), Fate::Waiting),
            (server.mts_out(), Fate::Waiting),
            (server.held().join("batch"), Fate::Held),
            (server.outbound_archive(), Fate::Lost),
        ] {
            let file = place.join("AAAAAAA1");
            std::fs::write(&file, message.encode()).unwrap();
            let mut disk = OnDisk::default();
            disk.look(&server).unwrap();
            assert_eq!(
                tell(&[sent.clone()], &[], &disk)[0].fate,
                expected,
                "{}",
                place.display()
            );
            std::fs::write(&file, b"\xF7ImCrtorn").unwrap();
            let mut disk = OnDisk::default();
            disk.look(&server).unwrap();
            assert_eq!(
                tell(&[sent.clone()], &[], &disk)[0].fate,
                Fate::Lost,
                "changed bytes"
            );
            std::fs::remove_file(file).unwrap();
        }
    }
}
