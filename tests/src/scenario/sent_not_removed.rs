//! Q296879: mail that was sent stays in the store's MTS-OUT (event 3038), and every start sends it again.
//!
//! A scanner holds what is in MTS-OUT of each Server A. A person takes the mailbox from the scanner, and out of
//! MTS-OUT exactly what the run lists as sent. In `cannot` that person cannot, and in `untrue` claims to have;
//! both must end without a restart, since that alone would send everything twice.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fleet::{Guarded, guarded_tool};
use super::ledger::Ledger;
use super::operator::rows;
use super::person::{Answer, Task};
use super::room::Room;
use super::stage::{LIMIT, Stage};
use super::{Options, Report, Scenario, bad_mail};
use crate::awaited;
use crate::clock_factor::ClockFactor;
use crate::fault::Faults;
use crate::ims;
use crate::lab_error::{Attempting, LabError};
use crate::load::Begins;
use crate::programs::Programs;
use crate::server_dir::{Direction, ServerDir, spooled};
use crate::spool::SpoolMessage;
use crate::truth::{Fate, Told};
use crate::world::{Server, WorldSpec};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "sent-not-removed",
    article: "Q296879",
    about: "sent mail stays in MTS-OUT and would be sent again at the next start",
    policy: "sent-not-removed",
    variants: &["scanner", "cannot", "untrue"],
    bad: 0,
    room: |options| Box::new(SentNotRemoved::new(options)),
};
/// The article is of Exchange 5.5.
const BUILD: &str = "5.5.2653.13";
/// The event of the symptom.
const EVENTS: [u32; 1] = [3038];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Person {
    Able,
    Unable,
    Untrue,
}

struct SentNotRemoved {
    person: Person,
    late: usize,
    /// What the person took out of MTS-OUT.
    removed: usize,
    /// How often mail services had been started when agents came.
    starts: usize,
}

impl SentNotRemoved {
    fn new(options: &Options) -> Self {
        let person = match options.variant.as_deref() {
            Some("cannot") => Person::Unable,
            Some("untrue") => Person::Untrue,
            _ => Person::Able,
        };
        Self {
            person,
            late: (options.messages / 10).min(10),
            removed: 0,
            starts: 0,
        }
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
        let folder = dir.mts_out();
        for file in spooled(&folder)? {
            let path = folder.join(file.name.as_str());
            let attempted = || format!("look at `{}`", path.display());
            let Ok(bytes) = std::fs::read(&path) else {
                continue;
            };
            if sent.contains(&SpoolMessage::parse(&bytes)?.mts_id) {
                std::fs::remove_file(&path).attempting(attempted)?;
                self.removed += 1;
            }
        }
        Ok(())
    }
}

impl Room for SentNotRemoved {
    fn world(&self, spec: &mut WorldSpec) {
        BUILD.clone_into(&mut spec.build);
        spec.archive = false;
    }

    /// Nobody waits twelve hours here for what will not come.
    fn policy(&self, text: String, _factor: ClockFactor) -> Result<String, LabError> {
        let (shipped, played) = ("timeout = \"12h\"", "timeout = \"3m\"");
        match self.person {
            Person::Able | Person::Unable => Ok(text),
            Person::Untrue if text.contains(shipped) => Ok(text.replace(shipped, played)),
            Person::Untrue => Err(LabError::Malformed {
                what: "the policy `sent-not-removed`".to_owned(),
                reason: format!("it has no `{shipped}`"),
            }),
        }
    }

    fn guard(&self, server: &Server, programs: &Programs) -> Guarded {
        let imcsave = "verdicts = { saved = \"item(s) saved\", exists = \"already exists\" }";
        let listed = "verdicts = { listed = \"item(s) listed\" }";
        let export = "verdicts = { exported = \"connector settings exported\", exists = \"already exists\" }";
        let tools = [
            guarded_tool("imcsave", "imcsave", server, programs, imcsave),
            guarded_tool("list-mts-out", "list-mts-out", server, programs, listed),
            guarded_tool(
                "export-connector",
                "export-connector",
                server,
                programs,
                export,
            ),
        ];
        Guarded {
            tools: tools.concat(),
            ..Guarded::default()
        }
    }

    /// The scanner comes, and users send through each Server A.
    fn break_site(&mut self, stage: &mut Stage<'_>) -> Result<(), LabError> {
        let options = stage.options;
        for site in 0..options.sites {
            let server = &stage.world.servers[2 * site];
            let faults = Faults {
                scanned: true,
                ..Faults::default()
            };
            faults.write(&server.dir)?;
            server.services().stop(ims::SERVICE, LIMIT)?;
            server.services().start(ims::SERVICE, LIMIT)?;
        }
        for number in 0..options.messages - self.late {
            stage.send_to_begin(2 * (number % options.sites), None, Begins::Sent)?;
        }
        Ok(())
    }

    /// Waits until all that was sent through a Server A has left and is in MTS-OUT still.
    fn await_symptom(&mut self, stage: &mut Stage<'_>) -> Result<usize, LabError> {
        awaited::or_fail("the symptom", LIMIT, || {
            stage.interrupted()
                || stage.world.both_ways().all(|server| {
                    let held = spooled(&server.dir.mts_out()).map_or(0, |files| files.len());
                    let told = bad_mail::events_since_start(&server.dir, &EVENTS).unwrap_or(0);
                    let out = spooled(&server.dir.outbound()).map_or(1, |files| files.len());
                    held > 0 && told >= held && out == 0
                })
        })?;
        stage.check_interrupted()?;
        let each = stage
            .world
            .both_ways()
            .map(|server| spooled(&server.dir.mts_out()));
        let mut held = 0;
        for files in each {
            held += files?.len();
        }
        self.starts = starts(stage)?;
        Ok(held)
    }

    fn late(&self) -> usize {
        self.late
    }

    fn send_late(&mut self, stage: &mut Stage<'_>, left: usize) -> Result<(), LabError> {
        let sites = stage.options.sites;
        stage
            .send_to_begin(2 * (left % sites), None, Begins::Sent)
            .map(drop)
    }

    fn asks(&self) -> bool {
        true
    }

    fn answer(&mut self, stage: &mut Stage<'_>, task: &Task) -> Result<Option<Answer>, LabError> {
        let found = stage
            .world
            .servers
            .iter()
            .find(|one| one.name == task.server);
        let Some(dir) = found.map(|server| server.dir.clone()) else {
            return Ok(None);
        };
        let answer = |answer: &str, note: &str| {
            Some(Answer {
                answer: answer.to_owned(),
                note: note.to_owned(),
            })
        };
        if task.step == "exclude-scanner" {
            let path = dir.scanner_excluded();
            std::fs::write(&path, "the mailbox of the IMS\n")
                .attempting(|| format!("write `{}`", path.display()))?;
            return Ok(answer("excluded", "the scanner leaves the mailbox alone"));
        }
        if task.step != "remove-sent" {
            return Ok(None);
        }
        Ok(match self.person {
            Person::Unable => answer("cannot", "Mdbvu32 is not at hand"),
            Person::Untrue => answer("removed", "nothing was done"),
            Person::Able => {
                self.remove_sent(stage, &task.run, &dir)?;
                answer("removed", "what the run lists as sent, with Mdbvu32")
            }
        })
    }

    fn ill(&self) -> Direction {
        Direction::Both
    }

    fn still_ill(&self, stage: &Stage<'_>) -> Result<bool, LabError> {
        for server in stage.world.both_ways() {
            let told = bad_mail::events_since_start(&server.dir, &EVENTS)?;
            if told > 0 && !spooled(&server.dir.mts_out())?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn rests_with(&self) -> Option<&'static str> {
        match self.person {
            Person::Able => None,
            Person::Unable => Some("cannot"),
            Person::Untrue => Some("outbound-awaiting-conversion"),
        }
    }

    /// Everything was delivered; what is wrong after it is in `left_in_store`.
    fn symptom_after(&self, _told: &[Told]) -> usize {
        0
    }

    fn report(
        &mut self,
        stage: &mut Stage<'_>,
        told: &[Told],
        _ledger: &Ledger,
        report: &mut Report,
    ) -> Result<(), LabError> {
        let mut left = 0;
        for server in stage.world.both_ways() {
            left += spooled(&server.dir.mts_out())?.len();
        }
        let delivered = told.iter().filter(|one| one.fate == Fate::DeliveredOnce);
        report.bad = report.symptom_before;
        let extras = &mut report.extras;
        extras.insert("removed".to_owned(), self.removed.into());
        extras.insert("left_in_store".to_owned(), left.into());
        extras.insert("delivered".to_owned(), delivered.count().into());
        let restarted = starts(stage)?.saturating_sub(self.starts);
        report
            .extras
            .insert("restarted".to_owned(), Value::from(restarted));
        Ok(())
    }

    fn against(&self, report: &Report) -> Vec<String> {
        let extra = |name: &str| report.extras.get(name).and_then(Value::as_u64);
        let mut against = Vec::new();
        match self.person {
            Person::Able if extra("left_in_store") != Some(0) => {
                against.push("sent mail is in MTS-OUT still".to_owned());
            }
            Person::Unable | Person::Untrue if extra("restarted") != Some(0) => {
                against.push("a service was restarted while sent mail was in MTS-OUT".to_owned());
            }
            _ => {}
        }
        against
    }
}

/// How often the mail services of all Server A were started.
fn starts(stage: &Stage<'_>) -> Result<usize, LabError> {
    let each = stage
        .world
        .both_ways()
        .map(|server| bad_mail::events(&server.dir, &[bad_mail::STARTED]));
    each.sum()
}
