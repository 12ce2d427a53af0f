//! Whether the healthy sites were left alone, by their service managers' own history, their disks and the truth.

use std::path::Path;

use crate::lab_error::LabError;
use crate::scenario::ledger::Ledger;
use crate::service_manager::{Change, State};
use crate::truth::{Fate, Told};
use crate::world::Server;

/// What was done to a healthy server; nothing where it was left alone.
pub(super) fn touched(
    server: &Server,
    told: &[Told],
    ledger: &Ledger,
) -> Result<Vec<String>, LabError> {
    let mut done = interrupted(&server.services().history()?);
    let files = files_below(&server.dir.held());
    if files > 0 {
        done.push(format!("{files} file(s) are held"));
    }
    let held = told
        .iter()
        .filter(|one| one.submission.server == server.name && one.fate == Fate::Held)
        .count();
    if held > 0 {
        done.push(format!("{held} message(s) are outside the queues"));
    }
    if ledger.servers().contains(server.name.as_str()) {
        done.push("its ledger is not empty".to_owned());
    }
    let at = |what: String| format!("{}: {what}", server.name);
    Ok(done.into_iter().map(at).collect())
}

/// The services that were not simply started and left running.
fn interrupted(history: &[Change]) -> Vec<String> {
    let mut services: Vec<&str> = history.iter().map(|one| one.service.as_str()).collect();
    services.sort_unstable();
    services.dedup();
    let after_its_start = |service: &&&str| {
        let own = history.iter().filter(|one| one.service == **service);
        own.skip_while(|one| one.state != State::Running).count() > 1
    };
    let was = services.iter().filter(after_its_start);
    was.map(|service| format!("`{service}` was stopped or started again"))
        .collect()
}

/// How many files are below a folder; one that is not there has none.
fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path()),
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_only_came_up_was_left_alone_and_one_that_was_stopped_or_died_was_not() {
        let history = |states: &[State]| -> Vec<Change> {
            let change = |state: &State| Change {
                at_ms: 0,
                service: "MSExchangeIMC".to_owned(),
                state: *state,
                exit_code: None,
            };
            states.iter().map(change).collect()
        };
        let up = [State::Starting, State::Running];
        assert!(interrupted(&history(&up)).is_empty());
        for more in [State::Stopping, State::Stopped] {
            let changes = history(&[up.as_slice(), &[more]].concat());
            assert_eq!(interrupted(&changes).len(), 1, "{more:?}");
        }
    }

    #[test]
    fn files_are_counted_however_deep_they_lie() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(files_below(&folder.path().join("nowhere")), 0);
        let batch = folder.path().join("batch");
        std::fs::create_dir(&batch).unwrap();
        assert_eq!(files_below(folder.path()), 0, "a folder is no file");
        std::fs::write(batch.join("AAAAAAA1"), "x").unwrap();
        assert_eq!(files_below(folder.path()), 1);
    }
}
