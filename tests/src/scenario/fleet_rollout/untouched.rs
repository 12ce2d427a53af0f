//! Whether the healthy sites were left alone, judged from outside their agents: by their service managers' own
//! history, by the processes and files that were there before and must be there after, and by the truth.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::ims;
use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;
use crate::service_manager::{Change, Op, State};
use crate::truth::{Fate, Told};
use crate::world::Server;

/// At most so many files of a server are named.
const NAMED: usize = 5;

/// A process of a service: its id, and when it started in clock ticks since the machine did.
type Process = (Option<u32>, Option<u64>);

/// A healthy server before anything was rolled out.
pub(super) struct Before {
    /// The process of each service.
    processes: BTreeMap<&'static str, Process>,
    files: BTreeMap<PathBuf, Mark>,
}

/// What tells a file from another one in its place, and its content from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    inode: u64,
    size: u64,
    /// When its content was written last, in nanoseconds since 1970 UTC.
    written: i128,
}

impl Mark {
    fn of(metadata: &Metadata) -> Self {
        let seconds = i128::from(metadata.mtime()) * 1_000_000_000;
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            written: seconds + i128::from(metadata.mtime_nsec()),
        }
    }
}

impl Before {
    /// Looks at a server on which only its own services are at work.
    pub(super) fn look(server: &Server) -> Result<Self, LabError> {
        Ok(Self {
            processes: processes(server)?,
            files: files(&server.dir)?,
        })
    }

    /// What was done to the server since; nothing where it was left alone. `kept` is how many messages of it
    /// the controller lists as ever having been in custody.
    pub(super) fn touched(
        &self,
        server: &Server,
        told: &[Told],
        kept: usize,
    ) -> Result<Vec<String>, LabError> {
        let mut done = interrupted(&server.services().history()?);
        for (service, process) in processes(server)? {
            if self.processes.get(service) != Some(&process) {
                done.push(format!("the process of `{service}` is another one"));
            }
        }
        done.extend(changed(&self.files, &files(&server.dir)?, &server.dir));
        let held = told
            .iter()
            .filter(|one| one.submission.server == server.name && one.fate == Fate::Held)
            .count();
        if held > 0 {
            done.push(format!("{held} message(s) are outside the queues"));
        }
        if kept > 0 {
            done.push(format!("its ledger has {kept} message(s)"));
        }
        let at = |what: String| format!("{}: {what}", server.name);
        Ok(done.into_iter().map(at).collect())
    }
}

fn processes(server: &Server) -> Result<BTreeMap<&'static str, Process>, LabError> {
    let of = |service| {
        let answer = server.services().ask(Op::Query, service)?;
        Ok((service, (answer.pid, answer.started)))
    };
    [ims::SERVICE, ims::MTA].into_iter().map(of).collect()
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

/// The folders and files in which a server's own services, users and agent work: what is there changes by itself.
fn lively(dir: &ServerDir) -> Vec<PathBuf> {
    vec![
        dir.agent(),
        dir.work(),
        dir.log(),
        dir.tracking(),
        dir.mts_in(),
        dir.mts_out(),
        dir.queue_dat(),
        dir.events(),
        dir.output(),
        dir.counters(),
    ]
}

/// The files of a server that nobody has a reason to change while nothing is wrong with it: settings, programs,
/// routing tables, databases, what tools write, what is held, and archival copies.
fn files(dir: &ServerDir) -> Result<BTreeMap<PathBuf, Mark>, LabError> {
    let lively = lively(dir);
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.root().to_owned()];
    while let Some(folder) = folders.pop() {
        let attempted = || format!("list `{}`", folder.display());
        for entry in std::fs::read_dir(&folder).attempting(attempted)? {
            let path = entry.attempting(attempted)?.path();
            // A queue's own files come and go; its archive is looked at.
            let queued = folder == dir.inbound() || folder == dir.outbound();
            let Ok(metadata) = path.symlink_metadata() else {
                continue;
            };
            if lively.contains(&path) {
                continue;
            }
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() && !queued {
                found.insert(path, Mark::of(&metadata));
            }
        }
    }
    Ok(found)
}

/// What was changed, taken away or added. A server archives what it sends: new copies are its own work.
fn changed(
    before: &BTreeMap<PathBuf, Mark>,
    after: &BTreeMap<PathBuf, Mark>,
    dir: &ServerDir,
) -> Vec<String> {
    let archives = [dir.inbound_archive(), dir.outbound_archive()];
    let archived = |path: &Path| archives.iter().any(|one| path.starts_with(one));
    let place = |path: &Path| {
        let below = path.strip_prefix(dir.root()).unwrap_or(path);
        below.display().to_string()
    };
    let mut found: Vec<String> = before
        .iter()
        .filter_map(|(path, mark)| match after.get(path) {
            None => Some(format!("`{}` is gone", place(path))),
            Some(now) if now != mark => Some(format!("`{}` was changed", place(path))),
            Some(_) => None,
        })
        .collect();
    let new = after.keys().filter(|path| !before.contains_key(*path));
    let new = new.filter(|path| !archived(path));
    found.extend(new.map(|path| format!("`{}` is new", place(path))));
    let more = found.len().saturating_sub(NAMED);
    found.truncate(NAMED);
    if more > 0 {
        found.push(format!("{more} more file(s) were changed"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::whole_file;

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

    /// What is told of a server after something was done in its folder.
    fn after(what: impl FnOnce(&ServerDir)) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let dir = ServerDir::new(folder.path());
        dir.lay_out().unwrap();
        std::fs::write(dir.registry(), "1").unwrap();
        std::fs::write(dir.gwart(), "routes").unwrap();
        std::fs::write(dir.outbound_archive().join("AAAAAAA1"), "old").unwrap();
        std::fs::write(dir.outbound().join("AAAAAAA2"), "waits").unwrap();
        let before = files(&dir).unwrap();
        assert_eq!(before.len(), 3);
        what(&dir);
        changed(&before, &files(&dir).unwrap(), &dir)
    }

    #[test]
    fn what_a_server_does_by_itself_is_no_touch() {
        let told = after(|dir| {
            let sent = dir.outbound_archive().join("AAAAAAA2");
            std::fs::write(sent, "waits").unwrap();
            std::fs::remove_file(dir.outbound().join("AAAAAAA2")).unwrap();
            std::fs::write(dir.outbound().join("AAAAAAA3"), "new").unwrap();
            std::fs::write(dir.queue_dat(), "x").unwrap();
            std::fs::write(dir.route_txt(), "x").unwrap();
            std::fs::write(dir.events(), "x").unwrap();
            std::fs::write(dir.agent().join("journal"), "x").unwrap();
        });
        assert_eq!(told, Vec::<String>::new());
    }

    #[test]
    fn a_file_that_was_written_replaced_taken_or_added_is_named() {
        let written = after(|dir| std::fs::write(dir.registry(), "22").unwrap());
        assert_eq!(written, ["`registry.toml` was changed"]);
        let replaced = after(|dir| whole_file::write(&dir.gwart(), b"routes").unwrap());
        assert_eq!(replaced, ["`exchsrvr/mtadata/GWART0.MTA` was changed"]);
        let taken =
            after(|dir| std::fs::remove_file(dir.outbound_archive().join("AAAAAAA1")).unwrap());
        assert_eq!(taken, ["`exchsrvr/imcdata/Out/Archive/AAAAAAA1` is gone"]);
        let added = after(|dir| {
            let batch = dir.held().join("batch");
            std::fs::create_dir_all(&batch).unwrap();
            for number in 0..NAMED + 2 {
                std::fs::write(batch.join(number.to_string()), "x").unwrap();
            }
        });
        assert_eq!(added[0], "`exchsrvr/mailmend-held/batch/0` is new");
        assert_eq!(
            added.last().map(String::as_str),
            Some("2 more file(s) were changed")
        );
    }
}
