//! Q296879: mail that was sent stays in the store's MTS-OUT (event 3038), and every start sends it again.
//!
//! A scanner holds what is in MTS-OUT of each Server A, or the folder itself is damaged. A person takes the
//! mailbox from the scanner, and out of MTS-OUT exactly what the run lists as sent; where 3038 comes again
//! that person makes the service anew and repairs the store (`administrator.rs`). In `cannot` and `recreate-cannot`
//! that person cannot, and in `untrue` claims to have; all must end without a restart that sends anything twice.

mod administrator;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use self::administrator::Done;
use super::fleet::{Guarded, guarded_tool};
use super::ledger::Ledger;
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
use crate::store::database::{Database, FolderDamage};
use crate::tool::imcsave;
use crate::truth::{Fate, Told};
use crate::world::{Server, SiteSpec};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "sent-not-removed",
    article: "Q296879",
    about: "sent mail stays in MTS-OUT and would be sent again at the next start",
    policy: "sent-not-removed",
    variants: &[
        "scanner",
        "cannot",
        "untrue",
        "folder",
        "store",
        "still-listed",
        "no-backup",
        "no-room",
        "recreate-cannot",
        "killed-saving",
    ],
    bad: 0,
    room: |options| Box::new(SentNotRemoved::new(options)),
};
/// The article is of Exchange 5.5.
const BUILD: &str = "5.5.2653.13";
/// The event of the symptom.
const EVENTS: [u32; 1] = [3038];
/// How long a killed agent stays away.
const BACK_AFTER: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Person {
    Able,
    Unable,
    Untrue,
    /// Makes no backup of the store.
    WithoutBackup,
    /// Cannot make the service anew.
    CannotRecreate,
}

struct SentNotRemoved {
    person: Person,
    /// What is wrong with the folder; `None`: nothing, a scanner holds what is in it.
    damage: Option<FolderDamage>,
    /// Whether the volume of the store is too small to defragment it.
    small_volume: bool,
    /// Whether an agent is killed while it saves, and was.
    kill_saving: bool,
    killed_saving: bool,
    late: usize,
    done: Done,
    /// Servers whose address space another one has now, by index.
    moved: BTreeSet<usize>,
    /// How often mail services had been started when agents came.
    starts: usize,
}

impl SentNotRemoved {
    fn new(options: &Options) -> Self {
        use FolderDamage::{Folder, StillListed, Table};
        let (person, damage) = match options.variant.as_deref() {
            Some("cannot") => (Person::Unable, None),
            Some("untrue") => (Person::Untrue, None),
            Some("folder") => (Person::Able, Some(Folder)),
            Some("store") => (Person::Able, Some(Table)),
            Some("still-listed" | "no-room") => (Person::Able, Some(StillListed)),
            Some("no-backup") => (Person::WithoutBackup, Some(StillListed)),
            Some("recreate-cannot") => (Person::CannotRecreate, Some(Folder)),
            _ => (Person::Able, None),
        };
        let is = |variant| options.variant.as_deref() == Some(variant);
        Self {
            person,
            damage,
            small_volume: is("no-room"),
            kill_saving: is("killed-saving"),
            killed_saving: false,
            late: (options.messages / 10).min(10),
            done: Done::default(),
            moved: BTreeSet::new(),
            starts: 0,
        }
    }

    /// Breaks a server, whose IMS is stopped.
    fn break_server(&self, dir: &ServerDir) -> Result<(), LabError> {
        let write = |path: PathBuf, text: String| {
            std::fs::write(&path, text).attempting(|| format!("write `{}`", path.display()))
        };
        let Some(damage) = self.damage else {
            if self.kill_saving {
                write(dir.imcsave_waits(), String::new())?;
            }
            let faults = Faults {
                scanned: true,
                ..Faults::default()
            };
            return faults.write(dir);
        };
        Database::damaged(damage).write(dir)?;
        if self.small_volume {
            // Room for the store and a little more, but not for a second one.
            let size = std::fs::metadata(dir.private_store()).map(|meta| meta.len());
            let size = size.attempting(|| "measure the store".to_owned())?;
            write(dir.store_volume(), (size + size / 4).to_string())?;
        }
        Ok(())
    }

    /// Kills the agent while imcsave is at work, and lets that go on then.
    fn kill_while_saving(&mut self, stage: &mut Stage<'_>) -> Result<(), LabError> {
        for at in stage.server_indexes() {
            let dir = stage.world.servers[at].dir.clone();
            if !dir.imcsave_waits().exists() || imcsave::places(&dir)?.is_empty() {
                continue;
            }
            let killed = stage.fleet()?.agents[at].kill(BACK_AFTER);
            stage.say("the agent is killed while imcsave is at work");
            let waits = dir.imcsave_waits();
            std::fs::remove_file(&waits).attempting(|| format!("remove `{}`", waits.display()))?;
            self.killed_saving |= killed;
        }
        Ok(())
    }
}

impl Room for SentNotRemoved {
    fn site(&self, spec: &mut SiteSpec) {
        BUILD.clone_into(&mut spec.build);
        spec.archive = false;
    }

    /// Nobody waits twelve hours here for what will not come.
    fn policy(&self, text: String, _factor: ClockFactor) -> Result<String, LabError> {
        let (shipped, played) = ("timeout = \"12h\"", "timeout = \"3m\"");
        match self.person {
            Person::Able | Person::Unable | Person::WithoutBackup | Person::CannotRecreate => {
                Ok(text)
            }
            Person::Untrue if text.contains(shipped) => Ok(text.replace(shipped, played)),
            Person::Untrue => Err(LabError::Malformed {
                what: "the policy `sent-not-removed`".to_owned(),
                reason: format!("it has no `{shipped}`"),
            }),
        }
    }

    fn guard(&self, server: &Server, programs: &Programs) -> Guarded {
        let tool = |name: &str, tail: &str| guarded_tool(name, name, server, programs, tail);
        let fresh = |verdict: &str| {
            format!(
                "fresh_place = \"--place\"\nverdicts = {{ {verdict}, exists = \"already exists\" }}"
            )
        };
        let reads = |verdicts: &str| format!("only_reads = true\nverdicts = {{ {verdicts} }}");
        let tools = [
            tool("imcsave", &fresh("saved = \"item(s) saved\"")),
            tool("list-mts-out", &reads("listed = \"item(s) listed\"")),
            tool(
                "export-connector",
                &fresh("exported = \"connector settings exported\""),
            ),
            tool(
                "compare-connector",
                &reads(
                    "recreated = \"connector recreated\", unchanged = \"is the exported one\", \
                     differs = \"other settings\", missing = \"connector missing\"",
                ),
            ),
            tool(
                "store-room",
                &reads("enough = \"enough room\", short = \"too little room\""),
            ),
        ];
        Guarded {
            tools: tools.into(),
            ..Guarded::default()
        }
    }

    /// The scanner comes, and users send through each Server A.
    fn break_site(&mut self, stage: &mut Stage<'_>) -> Result<(), LabError> {
        let options = stage.options;
        for site in 0..options.sites {
            let server = &stage.world.servers[stage.both_way(site)];
            server.services().stop(ims::SERVICE, LIMIT)?;
            self.break_server(&server.dir)?;
            server.services().start(ims::SERVICE, LIMIT)?;
        }
        for number in 0..options.messages - self.late {
            let server = stage.both_way(number % options.sites);
            stage.send_to_begin(server, None, Begins::Sent)?;
        }
        Ok(())
    }

    /// Waits until all that was sent through a Server A has left and is in MTS-OUT still.
    fn await_symptom(&mut self, stage: &mut Stage<'_>) -> Result<usize, LabError> {
        awaited::or_fail("the symptom", LIMIT, || {
            stage.interrupted()
                || stage.both_ways().all(|server| {
                    let held = spooled(&server.dir.mts_out()).map_or(0, |files| files.len());
                    let told = bad_mail::events_since_start(&server.dir, &EVENTS).unwrap_or(0);
                    let out = spooled(&server.dir.outbound()).map_or(1, |files| files.len());
                    held > 0 && told >= held && out == 0
                })
        })?;
        stage.check_interrupted()?;
        let each = stage
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
        let both = stage.both_way(left % stage.options.sites);
        // Whose address space was moved gets no mail; the site's other server does.
        let server = both + usize::from(self.moved.contains(&both));
        stage.send_to_begin(server, None, Begins::Sent).map(drop)
    }

    fn asks(&self) -> bool {
        true
    }

    fn meanwhile(&mut self, stage: &mut Stage<'_>, _elapsed: Duration) -> Result<(), LabError> {
        if self.kill_saving && !self.killed_saving {
            self.kill_while_saving(stage)?;
        }
        Ok(())
    }

    fn answer(&mut self, stage: &mut Stage<'_>, task: &Task) -> Result<Option<Answer>, LabError> {
        self.administer(stage, task)
    }

    fn ill(&self) -> Direction {
        Direction::Both
    }

    fn still_ill(&self, stage: &Stage<'_>) -> Result<bool, LabError> {
        for server in stage.both_ways() {
            let told = bad_mail::events_since_start(&server.dir, &EVENTS)?;
            if told > 0 && !spooled(&server.dir.mts_out())?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn rests_with(&self) -> Option<&'static str> {
        match self.person {
            Person::Able if self.small_volume => Some("says `short`"),
            Person::Able => None,
            Person::Unable => Some("cannot"),
            Person::Untrue => Some("outbound-awaiting-conversion"),
            Person::WithoutBackup => Some("answered `no-backup`"),
            Person::CannotRecreate => Some("answered `cannot`"),
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
        for server in stage.both_ways() {
            left += spooled(&server.dir.mts_out())?.len();
        }
        let delivered = told.iter().filter(|one| one.fate == Fate::DeliveredOnce);
        report.bad = report.symptom_before;
        let extras = &mut report.extras;
        extras.insert("removed".to_owned(), self.done.removed.into());
        extras.insert(
            "removed_unsaved".to_owned(),
            self.done.removed_unsaved.into(),
        );
        extras.insert("recreated".to_owned(), self.done.recreated.into());
        extras.insert("isinteg_fixes".to_owned(), self.done.fixes.into());
        extras.insert("defragmented".to_owned(), self.done.defragmented.into());
        extras.insert("backups".to_owned(), self.done.backups.into());
        extras.insert("killed_saving".to_owned(), self.killed_saving.into());
        let (mut begun, mut whole, mut damaged) = (0, 0, 0);
        for server in stage.both_ways() {
            begun += imcsave::places(&server.dir)?.len();
            whole += imcsave::whole(&server.dir)?.len();
            damaged += usize::from(
                Database::read(&server.dir)?.is_some_and(|store| store.keeps_what_was_sent()),
            );
        }
        extras.insert("saved_places".to_owned(), begun.into());
        extras.insert("saved_whole".to_owned(), whole.into());
        extras.insert("still_damaged".to_owned(), damaged.into());
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
        let mut wrong = |is: bool, what: &str| {
            if is {
                against.push(what.to_owned());
            }
        };
        wrong(
            extra("removed_unsaved") != Some(0),
            "mail was removed from MTS-OUT that no saving had",
        );
        let mended = self.rests_with().is_none();
        wrong(
            mended && extra("left_in_store") != Some(0),
            "sent mail is in MTS-OUT still",
        );
        wrong(
            mended && extra("still_damaged") != Some(0),
            "a folder is damaged still",
        );
        wrong(
            !mended && extra("defragmented") != Some(0),
            "a store was defragmented that should not have been",
        );
        wrong(
            matches!(self.person, Person::Unable | Person::Untrue) && extra("restarted") != Some(0),
            "a service was restarted while sent mail was in MTS-OUT",
        );
        wrong(
            self.kill_saving && !self.killed_saving,
            "no agent was killed while it saved",
        );
        against
    }
}

/// How often the mail services of all Server A were started.
fn starts(stage: &Stage<'_>) -> Result<usize, LabError> {
    let each = stage
        .both_ways()
        .map(|server| bad_mail::events(&server.dir, &[bad_mail::STARTED]));
    each.sum()
}
