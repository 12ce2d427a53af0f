//! What journal, disk and logs say of one message, and whether that fits together. Pure.

use mailmend_proto::run::Custody;

use crate::evidence::Sent;

/// What stands under a message's name in its held folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldFile {
    /// Nothing.
    Missing,
    /// Its file, byte for byte as the manifest has it.
    Whole,
    /// Something else, or its file with other bytes.
    Damaged(String),
}

/// What the three sources say of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// The journal.
    pub custody: Custody,
    /// Its state rests on a person's word, not on the logs.
    pub by_word: bool,
    /// Its run goes on, and settles it by itself.
    pub open: bool,
    /// The held folder.
    pub held: HeldFile,
    /// Its name in a queue folder; none where it is in no queue.
    pub queued: Option<String>,
    /// The server's own logs.
    pub sent: Sent,
}

/// Where the sources disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What the disk says; empty where it does not contradict.
    pub disk: String,
    /// What the logs say; empty where they do not contradict.
    pub logs: String,
    /// What to do.
    pub remedy: Remedy,
}

/// What a person does about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Say what became of it, as the logs show.
    SettleDelivered,
    /// Find out what became of it, then say so.
    SettleAfterAsking,
    /// Take its name out of the queue before the service sends it again.
    TakeOutOfQueue,
    /// Its bytes are gone or changed: look for them elsewhere.
    FindBytes,
    /// A name that should not be there: look at both files.
    CompareFiles,
}

/// Whether the sources fit together; none where they do.
#[must_use]
pub fn compare(sources: &Sources) -> Option<Finding> {
    let disk = on_disk(sources);
    let logs = in_logs(sources);
    let remedy = match (&disk, &logs) {
        (None, None) => return None,
        // What may be sent again comes first, then what may be lost.
        (Some((_, remedy @ Remedy::TakeOutOfQueue)), _) => *remedy,
        (_, Some((_, remedy))) => *remedy,
        (Some((_, remedy)), None) => *remedy,
    };
    Some(Finding {
        disk: disk.map(|(said, _)| said).unwrap_or_default(),
        logs: logs.map(|(said, _)| said).unwrap_or_default(),
        remedy,
    })
}

fn on_disk(sources: &Sources) -> Option<(String, Remedy)> {
    let queued = sources.queued.as_ref();
    let kept = match sources.custody {
        Custody::Live => {
            return match &sources.held {
                HeldFile::Missing => None,
                _ => Some((
                    "a file stands under its name in the held folder".to_owned(),
                    Remedy::CompareFiles,
                )),
            };
        }
        // Its held name goes when retention ends; only a name in a queue matters.
        Custody::GoneWithEvidence => {
            return queued
                .map(|name| (format!("`{name}` is in the queue"), Remedy::TakeOutOfQueue));
        }
        Custody::Replaying => true,
        Custody::Held | Custody::Poison | Custody::InDoubt => {
            if let Some(name) = queued {
                let held = match sources.held {
                    HeldFile::Missing => "and not in the held folder",
                    _ => "and in the held folder",
                };
                let said = format!("`{name}` is in the queue, {held}");
                return Some((said, Remedy::TakeOutOfQueue));
            }
            true
        }
    };
    match &sources.held {
        HeldFile::Whole => None,
        HeldFile::Missing if kept => Some((
            "its file is gone from the held folder".to_owned(),
            Remedy::FindBytes,
        )),
        HeldFile::Missing => None,
        HeldFile::Damaged(why) => Some((why.clone(), Remedy::FindBytes)),
    }
}

fn in_logs(sources: &Sources) -> Option<(String, Remedy)> {
    let shown = |evidence: &[String]| evidence.join("; ");
    match (sources.custody, &sources.sent) {
        (Custody::Held | Custody::Poison | Custody::InDoubt, Sent::Delivered { evidence }) => {
            Some((
                format!("delivered: {}", shown(evidence)),
                Remedy::SettleDelivered,
            ))
        }
        (Custody::Held | Custody::Poison, Sent::Begun { evidence }) if !sources.by_word => Some((
            format!("sending began: {}", shown(evidence)),
            Remedy::SettleAfterAsking,
        )),
        // In the queue, or settled by the run itself in a moment.
        (Custody::Replaying, _) if sources.queued.is_some() || sources.open => None,
        (Custody::Replaying, Sent::Delivered { evidence }) => Some((
            format!("delivered: {}", shown(evidence)),
            Remedy::SettleDelivered,
        )),
        (Custody::Replaying, Sent::NotSeen) => Some((
            "it has left the queue, and nothing shows where to".to_owned(),
            Remedy::SettleAfterAsking,
        )),
        (Custody::GoneWithEvidence, _) if sources.by_word => None,
        (Custody::GoneWithEvidence, Sent::NotSeen) => Some((
            "they are whole and do not show that it was ever sent".to_owned(),
            Remedy::SettleAfterAsking,
        )),
        (Custody::GoneWithEvidence, Sent::Begun { evidence }) => Some((
            format!("only that sending began: {}", shown(evidence)),
            Remedy::SettleAfterAsking,
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreeing(custody: Custody) -> Sources {
        let queued = matches!(custody, Custody::Live | Custody::Replaying);
        Sources {
            custody,
            by_word: false,
            open: false,
            held: if custody == Custody::Live {
                HeldFile::Missing
            } else {
                HeldFile::Whole
            },
            queued: queued.then(|| "AAAAAAAA".to_owned()),
            sent: if custody == Custody::GoneWithEvidence {
                Sent::Delivered {
                    evidence: vec!["line 4".into()],
                }
            } else {
                Sent::NotSeen
            },
        }
    }

    #[test]
    fn sources_that_fit_together_are_no_finding_and_what_cannot_be_told_is_none_either() {
        for (_, custody) in Custody::ALL {
            let mut sources = agreeing(custody);
            assert_eq!(compare(&sources), None, "{custody:?}");
            sources.sent = Sent::CannotTell { why: "gap".into() };
            assert_eq!(compare(&sources), None, "{custody:?}");
        }
        let purged = Sources {
            held: HeldFile::Missing,
            ..agreeing(Custody::GoneWithEvidence)
        };
        assert_eq!(compare(&purged), None, "its held name goes after retention");
    }

    #[test]
    fn what_is_kept_must_be_there_whole() {
        for custody in [
            Custody::Held,
            Custody::Poison,
            Custody::InDoubt,
            Custody::Replaying,
        ] {
            for held in [
                HeldFile::Missing,
                HeldFile::Damaged("another digest".into()),
            ] {
                let sources = Sources {
                    held,
                    ..agreeing(custody)
                };
                let found = compare(&sources).unwrap();
                assert_eq!(found.remedy, Remedy::FindBytes, "{custody:?}");
            }
        }
    }

    #[test]
    fn what_is_not_to_be_sent_must_be_in_no_queue() {
        for custody in [
            Custody::Held,
            Custody::Poison,
            Custody::InDoubt,
            Custody::GoneWithEvidence,
        ] {
            for held in [HeldFile::Missing, HeldFile::Whole] {
                let sources = Sources {
                    held,
                    queued: Some("BBBBBBBB".into()),
                    ..agreeing(custody)
                };
                let found = compare(&sources).unwrap();
                assert_eq!(found.remedy, Remedy::TakeOutOfQueue, "{custody:?}");
                assert!(found.disk.contains("BBBBBBBB"), "{found:?}");
            }
        }
    }

    #[test]
    fn the_logs_count_for_more_than_the_journal() {
        let delivered = Sent::Delivered {
            evidence: vec!["line 4".into()],
        };
        for custody in [Custody::Held, Custody::Poison, Custody::InDoubt] {
            let sources = Sources {
                sent: delivered.clone(),
                ..agreeing(custody)
            };
            let found = compare(&sources).unwrap();
            assert_eq!(found.remedy, Remedy::SettleDelivered, "{custody:?}");
            assert!(found.logs.contains("line 4"));
        }
        let left = Sources {
            queued: None,
            ..agreeing(Custody::Replaying)
        };
        assert!(compare(&left).is_some());
        assert_eq!(compare(&Sources { open: true, ..left }), None);
        let unseen = Sources {
            sent: Sent::NotSeen,
            ..agreeing(Custody::GoneWithEvidence)
        };
        assert!(compare(&unseen).is_some());
        let said = Sources {
            by_word: true,
            ..unseen
        };
        assert_eq!(compare(&said), None, "a person's word needs no log");
    }

    #[test]
    fn a_message_that_was_left_in_the_queue_has_no_file_in_the_held_folder() {
        let sources = Sources {
            held: HeldFile::Whole,
            ..agreeing(Custody::Live)
        };
        assert_eq!(compare(&sources).unwrap().remedy, Remedy::CompareFiles);
    }
}
