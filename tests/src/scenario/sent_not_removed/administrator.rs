//! What the administrator of Q296879 does who is asked, and answers when it is done.

use std::collections::BTreeSet;

use super::{Person, SentNotRemoved};
use crate::awaited;
use crate::ims;
use crate::lab_error::{Attempting, LabError};
use crate::scenario::operator::rows;
use crate::scenario::person::{Answer, Task};
use crate::scenario::stage::{LIMIT, Stage};
use crate::server_dir::{ServerDir, spooled};
use crate::spool::SpoolMessage;
use crate::tool::{connector, eseutil, imcsave, isinteg};

/// The most passes of isinteg, before its errors count as remaining.
const PASSES: usize = 5;

/// What was done, over all servers.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Messages taken out of MTS-OUT.
    pub(super) removed: usize,
    /// Of these, those that no whole saving had then.
    pub(super) removed_unsaved: usize,
    /// Services made anew.
    pub(super) recreated: usize,
    /// What isinteg fixed.
    pub(super) fixes: usize,
    /// Stores defragmented.
    pub(super) defragmented: usize,
    /// Full backups.
    pub(super) backups: usize,
}

fn answer(answer: &str, note: &str) -> Answer {
    Answer {
        answer: answer.to_owned(),
        note: note.to_owned(),
    }
}

impl SentNotRemoved {
    /// Does what a step asks, and answers; `None` for a step that is no task of this policy.
    pub(super) fn administer(
        &mut self,
        stage: &mut Stage<'_>,
        task: &Task,
    ) -> Result<Option<Answer>, LabError> {
        let mut servers = stage.world.servers.iter();
        let Some(at) = servers.position(|one| one.name == task.server) else {
            return Ok(None);
        };
        let dir = stage.world.servers[at].dir.clone();
        Ok(Some(match task.step.as_str() {
            "exclude-scanner" if self.damage.is_some() => {
                answer("no-scanner", "no scanner is installed")
            }
            "exclude-scanner" => {
                let path = dir.scanner_excluded();
                std::fs::write(&path, "the mailbox of the IMS\n")
                    .attempting(|| format!("write `{}`", path.display()))?;
                answer("excluded", "the scanner leaves the mailbox alone")
            }
            "move-address-space" | "move-address-space-now" => {
                self.moved.insert(at);
                answer("moved", "to the other server of the site")
            }
            "give-address-space-back" => {
                self.moved.remove(&at);
                answer("given-back", "")
            }
            "remove-sent" | "remove-sent-again" => match self.person {
                Person::Unable => answer("cannot", "Mdbvu32 is not at hand"),
                Person::Untrue => answer("removed", "nothing was done"),
                _ => {
                    self.remove_sent(stage, &task.run, &dir)?;
                    answer("removed", "what the run lists as sent, with Mdbvu32")
                }
            },
            "recreate-connector" if self.person == Person::CannotRecreate => {
                answer("cannot", "the Administrator program is not at hand")
            }
            "recreate-connector" => self.recreate(stage, at)?,
            "back-up-store" | "back-up-store-again" if self.person == Person::WithoutBackup => {
                answer("no-backup", "the tape drive is broken")
            }
            "back-up-store" | "back-up-store-again" => {
                let told = eseutil::back_up(&dir)?;
                self.done.backups += 1;
                answer("backed-up", &told)
            }
            "check-store" => self.check_store(stage, at)?,
            "defragment-store" => self.defragment(stage, at)?,
            "inbound-arrives" => receive(stage, at)?,
            _ => return Ok(None),
        }))
    }

    /// Takes out of MTS-OUT what the run lists as sent, and nothing else.
    fn remove_sent(
        &mut self,
        stage: &mut Stage<'_>,
        run: &str,
        dir: &ServerDir,
    ) -> Result<(), LabError> {
        let told = stage.fleet()?.ask(&["run", "reconciled", run, "--all"])?;
        let sent: BTreeSet<String> = rows(&told["messages"])
            .iter()
            .filter(|message| message["fate"] == "delivered")
            .filter_map(|message| message["mts_id"].as_str().map(str::to_owned))
            .collect();
        let saved = imcsave::whole(dir)?;
        let folder = dir.mts_out();
        for file in spooled(&folder)? {
            let path = folder.join(file.name.as_str());
            let Ok(bytes) = std::fs::read(&path) else {
                continue;
            };
            if !sent.contains(&SpoolMessage::parse(&bytes)?.mts_id) {
                continue;
            }
            let same = |folder: &std::path::PathBuf| {
                std::fs::read(folder.join(file.name.as_str())).is_ok_and(|copy| copy == bytes)
            };
            self.done.removed_unsaved += usize::from(!saved.iter().any(same));
            std::fs::remove_file(&path).attempting(|| format!("remove `{}`", path.display()))?;
            self.done.removed += 1;
        }
        Ok(())
    }

    /// Deletes the service and makes it anew, and looks whether it was listed in between.
    fn recreate(&mut self, stage: &Stage<'_>, at: usize) -> Result<Answer, LabError> {
        let server = &stage.world.servers[at];
        server.services().stop(ims::SERVICE, LIMIT)?;
        let listed = connector::delete(&server.dir)?;
        connector::create(&server.dir)?;
        server.services().start(ims::SERVICE, LIMIT)?;
        self.done.recreated += 1;
        Ok(if listed {
            answer(
                "recreated-still-listed",
                "it was under Mailbox Resources still",
            )
        } else {
            answer("recreated", "")
        })
    }

    fn check_store(&mut self, stage: &Stage<'_>, at: usize) -> Result<Answer, LabError> {
        let dir = stage.world.servers[at].dir.clone();
        let mut said = Vec::new();
        with_the_store_down(stage, at, || {
            for _ in 0..PASSES {
                let told = isinteg::fix(&dir)?;
                let clean = told.contains(" 0 error(s);") && told.contains(" 0 fix(es);");
                said.push(told);
                if clean {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .map(|clean| {
            let fixes = said.len() - usize::from(clean);
            self.done.fixes += fixes;
            let note = said.join(" / ");
            match (clean, fixes) {
                (false, _) => answer("errors-remain", &note),
                (true, 0) => answer("clean", &note),
                (true, _) => answer("fixed", &note),
            }
        })
    }

    fn defragment(&mut self, stage: &Stage<'_>, at: usize) -> Result<Answer, LabError> {
        let dir = stage.world.servers[at].dir.clone();
        let told = with_the_store_down(stage, at, || Ok(eseutil::defragment(&dir)))?;
        Ok(match told {
            Ok(told) if told.contains("completed successfully") => {
                self.done.defragmented += 1;
                answer("defragmented", &told)
            }
            Ok(told) => answer("failed", &told),
            Err(error) => answer("failed", &error.whole()),
        })
    }
}

/// Stops what uses the store, does something, and starts it again, whatever came of that.
fn with_the_store_down<T>(
    stage: &Stage<'_>,
    at: usize,
    act: impl FnOnce() -> Result<T, LabError>,
) -> Result<T, LabError> {
    let services = stage.world.servers[at].services();
    services.stop(ims::SERVICE, LIMIT)?;
    services.stop(ims::MTA, LIMIT)?;
    let done = act();
    services.start(ims::MTA, LIMIT)?;
    services.start(ims::SERVICE, LIMIT)?;
    done
}

/// Somebody outside sends a message, and looks whether it arrives in the store.
fn receive(stage: &mut Stage<'_>, at: usize) -> Result<Answer, LabError> {
    let dir = stage.world.servers[at].dir.clone();
    let before = spooled(&dir.mts_in())?.len();
    let draft = stage.draft(at, true);
    stage.send_draft(&draft)?;
    let arrived = awaited::until(LIMIT, || {
        spooled(&dir.mts_in()).is_ok_and(|files| files.len() > before)
    });
    Ok(match arrived {
        Some(_) => answer("arrived", ""),
        None => answer("not-arrived", "it is not in the mailbox"),
    })
}
