//! What to do with a file of a batch, from what stands under its two names.

use mailmend_proto::run::Entry;

use crate::host::{FileInfo, FileKind};

/// What stands under one of an entry's two names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Nothing,
    /// The entry's file, as the manifest has it.
    Same,
    /// The entry's file by its identity, with another size or time.
    Changed,
    /// Another file, a folder or a link.
    Other,
}

impl Seen {
    /// Compares what is there with the manifest.
    #[must_use]
    pub fn of(entry: &Entry, found: Option<&FileInfo>) -> Self {
        match found {
            None => Self::Nothing,
            Some(info) if info.kind != FileKind::File || info.file_id != entry.file_id => {
                Self::Other
            }
            Some(info) if info.size != entry.size || info.modified_ms != entry.modified_ms => {
                Self::Changed
            }
            Some(_) => Self::Same,
        }
    }
}

/// What to do with an entry of a batch that is being taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Rename it from the queue to the held folder.
    Move,
    /// It is held.
    Held,
    /// It is held, and is not what the manifest has: a person must know.
    HeldChanged,
    /// It stays in the queue.
    Leave(&'static str),
    /// It stays in the queue although it should not: a person must know.
    LeaveWithAlarm(&'static str),
    /// It is under neither name.
    Missing,
}

pub(super) const STARTED_MEANWHILE: &str = "the service was started before it was moved";

/// What to do with an entry, from what stands under its name in the queue and in the held folder.
///
/// `may_move`: the service is proven stopped.
#[must_use]
pub const fn decide(queue: Seen, held: Seen, may_move: bool) -> Decision {
    match (queue, held) {
        (Seen::Same, Seen::Nothing) if may_move => Decision::Move,
        (Seen::Same, Seen::Nothing) => Decision::Leave(STARTED_MEANWHILE),
        (Seen::Changed, Seen::Nothing) => Decision::Leave("it changed after it was listed"),
        (Seen::Nothing | Seen::Other, Seen::Same) => Decision::Held,
        (Seen::Nothing | Seen::Other, Seen::Changed) => Decision::HeldChanged,
        (Seen::Same | Seen::Changed, Seen::Same | Seen::Changed) => Decision::LeaveWithAlarm(
            "it is in the queue and in the held folder; neither was removed",
        ),
        (Seen::Same | Seen::Changed, Seen::Other) => {
            Decision::LeaveWithAlarm("another file has its name in the held folder")
        }
        (Seen::Nothing | Seen::Other, Seen::Nothing | Seen::Other) => Decision::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::Decision::*;
    use super::Seen::*;
    use super::*;

    #[test]
    fn each_pair_of_names_has_one_decision_and_nothing_moves_while_the_service_may_run() {
        let both = "it is in the queue and in the held folder; neither was removed";
        let taken = "another file has its name in the held folder";
        let changed = "it changed after it was listed";
        let table = [
            (Nothing, Nothing, Missing),
            (Nothing, Same, Held),
            (Nothing, Changed, HeldChanged),
            (Nothing, Other, Missing),
            (Same, Nothing, Move),
            (Same, Same, LeaveWithAlarm(both)),
            (Same, Changed, LeaveWithAlarm(both)),
            (Same, Other, LeaveWithAlarm(taken)),
            (Changed, Nothing, Leave(changed)),
            (Changed, Same, LeaveWithAlarm(both)),
            (Changed, Changed, LeaveWithAlarm(both)),
            (Changed, Other, LeaveWithAlarm(taken)),
            (Other, Nothing, Missing),
            (Other, Same, Held),
            (Other, Changed, HeldChanged),
            (Other, Other, Missing),
        ];
        for (queue, held, expected) in table {
            assert_eq!(decide(queue, held, true), expected, "{queue:?} {held:?}");
            let running = decide(queue, held, false);
            assert_ne!(running, Move, "{queue:?} {held:?}");
            if expected != Move {
                assert_eq!(running, expected);
            }
        }
    }
}
