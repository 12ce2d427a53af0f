//! A person gives back what vanished, through the command line, and tries what must be refused.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::super::operator::rows;
use super::super::stage::Stage;
use crate::fault::Faults;
use crate::lab_error::{Attempting, LabError};
use crate::spool::{self, SpoolMessage};

/// What came of it.
#[derive(Default)]
pub(super) struct GivenBack {
    /// What a person ordered to be given back: Message-IDs.
    pub(super) messages: BTreeSet<String>,
    /// What was refused to a person who asked for too much.
    pub(super) refusals: usize,
    /// What stands against the giving back.
    pub(super) complaints: Vec<String>,
}

impl GivenBack {
    /// A person has the server mended, and gives back what vanished: each run's messages by one order, after
    /// orders that ask for what cannot be given.
    pub(super) fn recover<'r>(
        &mut self,
        stage: &mut Stage<'_>,
        runs: impl Iterator<Item = &'r String>,
    ) -> Result<(), LabError> {
        for server in stage.servers() {
            // Service Pack 3 is on: the next start of the service, which is the recovery's, deletes nothing.
            let mut faults = Faults::read(&server.dir)?;
            faults.messages.clear();
            faults.write(&server.dir)?;
        }
        for run in runs {
            let shown = stage.fleet()?.ask(&["run", "reconciled", run])?;
            let copies: Vec<Value> = rows(&shown["messages"])
                .iter()
                .filter(|row| row["fate"] == "vanished" && row["escrow"].is_string())
                .cloned()
                .collect();
            let taken_up = copies.iter().any(|row| row["custody"].is_string());
            let why = "the service pack is on, and the recipients miss them";
            let all = ["custody", "recover", run, "--why", why];
            if copies.is_empty() {
                self.is_refused(stage, &all, "C100-nothing-to-recover");
                continue;
            }
            if taken_up {
                // A run that had to be started again found the same messages.
                self.is_refused(stage, &all, "A092-recover-refused");
                continue;
            }
            let offered = format!("mailmend custody recover {run} --why ...");
            if shown["recover"] != offered.as_str() {
                let line = format!(
                    "`run reconciled` says {}, not `{offered}`",
                    shown["recover"]
                );
                self.complaints.push(line);
            }
            let stranger = [&all[..], &["--message", "<nobody@nowhere.example>"]].concat();
            self.is_refused(stage, &stranger, "C100-nothing-to-recover");
            let order = match stage.fleet()?.ask(&all) {
                Ok(order) => order,
                Err(error) => {
                    self.complaints.push(error.whole());
                    continue;
                }
            };
            stage.say(&format!("given back: {}", order["outcome"]));
            self.messages.extend(
                copies
                    .iter()
                    .filter_map(|row| row["message_id"].as_str())
                    .map(str::to_owned),
            );
            // A second order finds nothing left.
            self.is_refused(stage, &all, "A092-recover-refused");
            let after = stage.fleet()?.ask(&["run", "reconciled", run])?;
            let gone = rows(&after["messages"])
                .iter()
                .filter(|row| row["custody"] == "gone-with-evidence")
                .count();
            if gone != copies.len() || after["recoverable"] != 0 {
                self.complaints.push(format!(
                    "of {} messages that were given back, {gone} are gone with evidence",
                    copies.len()
                ));
            }
        }
        Ok(())
    }

    fn is_refused(&mut self, stage: &mut Stage<'_>, order: &[&str], code: &str) {
        let answered = stage.fleet().and_then(|fleet| fleet.ask(order));
        match answered {
            Err(error) if error.whole().contains(code) => self.refusals += 1,
            Err(error) => self
                .complaints
                .push(format!("not refused by {code}: {}", error.whole())),
            Ok(answer) => self
                .complaints
                .push(format!("not refused by {code}: {answer}")),
        }
    }
}

/// The bodies that an agent holds in custody, by their hashes: on its disk, whatever it says. Escrow is no custody.
pub(super) fn in_custody(held: &Path) -> Result<BTreeSet<String>, LabError> {
    let mut found = BTreeSet::new();
    let batches = std::fs::read_dir(held).into_iter().flatten().flatten();
    for batch in batches.filter(|batch| batch.file_name() != "escrow") {
        let files = std::fs::read_dir(batch.path()).into_iter().flatten();
        for file in files.flatten() {
            let bytes = std::fs::read(file.path())
                .attempting(|| format!("read `{}`", file.path().display()))?;
            if let Ok(message) = SpoolMessage::parse(&bytes) {
                found.insert(spool::body_hash(&message.text));
            }
        }
    }
    Ok(found)
}
