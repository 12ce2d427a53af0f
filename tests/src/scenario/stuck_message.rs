//! Q197792: mail waits because one message is stuck in a queue, and the IMS logs event 4116, 4117 or 4182.
//!
//! Where the message is varies: in `In`, in `Out`, in the store's MTS-OUT, or in the MTA's database, where
//! it is a damaged object. In the last two the policy asks a person, who looks into the store as with
//! Mdbvu32: what the service cannot convert is taken out of MTS-OUT, and nothing else.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::bad_mail::{self, Lying};
use super::fleet::{Guarded, guarded_tool};
use super::operator::rows;
use super::person::{Answer, Task};
use super::room::Room;
use super::stage::{LIMIT, Stage};
use super::{Options, Scenario};
use crate::awaited;
use crate::fault::{BadMessage, Effect};
use crate::lab_error::{Attempting, LabError};
use crate::load::{Begins, Submission};
use crate::mta::database::Damage;
use crate::programs::Programs;
use crate::server_dir::{Direction, spooled};
use crate::truth::{Fate, Told};
use crate::world::Server;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "stuck-message",
    article: "Q197792",
    about: "mail waits because a message is stuck in a queue of the IMS",
    policy: "stuck-message",
    variants: &["out", "in", "store", "mta", "mta-serious"],
    bad: 0,
    room: |options| Box::new(StuckMessage::new(options)),
};
/// When mail counts as stuck: as the policy says, in time of life.
const STUCK_AFTER: Duration = Duration::from_secs(30 * 60);
/// The events of the symptom.
const EVENTS: [u32; 4] = [4102, 4116, 4117, 4182];

/// Where the stuck message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Culprit {
    In,
    Out,
    Store,
    Mta { hopeless: bool },
}

struct StuckMessage {
    culprit: Culprit,
    late: usize,
    /// The stuck messages; none where it is an object of the MTA.
    stuck: Vec<Submission>,
    /// How often mtacheck was run.
    mtachecks: usize,
}

impl StuckMessage {
    fn new(options: &Options) -> Self {
        let culprit = match options.variant.as_deref() {
            Some("in") => Culprit::In,
            Some("store") => Culprit::Store,
            Some("mta") => Culprit::Mta { hopeless: false },
            Some("mta-serious") => Culprit::Mta { hopeless: true },
            _ => Culprit::Out,
        };
        Self {
            culprit,
            late: (options.messages / 10).min(10),
            stuck: Vec::new(),
            mtachecks: 0,
        }
    }

    /// The mail of a site's Server A: the stuck message first, where there is one; then half of the others
    /// in each direction.
    fn mail(&self, count: usize) -> Vec<Lying> {
        let lying = |begins| Lying { begins, bad: None };
        let stuck = |begins, event, named| Lying {
            begins,
            bad: Some(BadMessage {
                place: bad_mail::place(begins),
                effect: Effect::Stick { event },
                named,
            }),
        };
        let mut mail: Vec<Lying> = (0..count)
            .map(|number| match (self.culprit, number % 2) {
                (Culprit::In, _) | (_, 0) => lying(Begins::Received),
                (Culprit::Store, _) => lying(Begins::Sent),
                _ => lying(Begins::Converted),
            })
            .collect();
        if let Some(first) = mail.first_mut() {
            match self.culprit {
                Culprit::In => *first = stuck(Begins::Received, 4182, true),
                Culprit::Out => *first = stuck(Begins::Converted, 4182, true),
                Culprit::Store => *first = stuck(Begins::Sent, 4116, false),
                Culprit::Mta { .. } => {}
            }
        }
        mail
    }
}

impl Room for StuckMessage {
    fn guard(&self, server: &Server, programs: &Programs) -> Guarded {
        let imcsave = "verdicts = { saved = \"item(s) saved\", exists = \"already exists\" }";
        let save = "verdicts = { saved = \"MTA database saved\" }";
        let mtacheck = "verdicts = { clean = \"Database clean, no errors detected\", \
             repaired = \"Database repaired, some data may have been lost\", \
             serious = \"Database has serious errors\", \
             missing = \"missing from the Boot Environment\" }";
        let tools = [
            guarded_tool("imcsave", "imcsave", server, programs, imcsave),
            guarded_tool("save-mtadata", "save-mtadata", server, programs, save),
            guarded_tool("mtacheck", "mtacheck", server, programs, mtacheck),
        ];
        Guarded {
            tools: tools.into(),
            ..Guarded::default()
        }
    }

    fn break_site(&mut self, stage: &mut Stage<'_>) -> Result<(), LabError> {
        let options = stage.options;
        let factor = stage.world.spec.clock_factor;
        let waited = if options.waited_before {
            factor.shorten(STUCK_AFTER + STUCK_AFTER / 5)
        } else {
            Duration::ZERO
        };
        let since = SystemTime::now() - waited;
        let first = options.messages - self.late;
        for site in 0..options.sites {
            // Server A of the site; what does not divide goes to the first sites.
            let count = first / options.sites + usize::from(site < first % options.sites);
            let server = stage.both_way(site);
            if let Culprit::Mta { hopeless } = self.culprit {
                let damage = if hopeless {
                    Damage::hopeless()
                } else {
                    Damage::in_two_places()
                };
                damage.write(&stage.world.servers[server].dir)?;
                for number in 0..count {
                    stage.send_to_mta(server, number)?;
                }
                continue;
            }
            let mail = self.mail(count);
            let sent = bad_mail::lay(stage, server, &mail, since)?;
            let bad = mail
                .iter()
                .zip(sent)
                .filter(|(lying, _)| lying.bad.is_some());
            self.stuck.extend(bad.map(|(_, sent)| sent));
        }
        Ok(())
    }

    fn await_symptom(&mut self, stage: &mut Stage<'_>) -> Result<usize, LabError> {
        let factor = stage.world.spec.clock_factor;
        let too_long = factor.shorten(STUCK_AFTER);
        let limit = too_long + LIMIT;
        awaited::or_fail("the symptom", limit, || {
            stage.interrupted() || stage.both_ways().all(|server| stuck(server, too_long))
        })?;
        stage.check_interrupted()?;
        stage.waiting()
    }

    fn late(&self) -> usize {
        self.late
    }

    fn send_late(&mut self, stage: &mut Stage<'_>, left: usize) -> Result<(), LabError> {
        stage.send(stage.both_way(0) + left % stage.servers().len(), None)
    }

    fn asks(&self) -> bool {
        matches!(self.culprit, Culprit::Store | Culprit::Mta { .. })
    }

    /// Looks into MTS-OUT of the server, and takes out what is stuck there.
    fn answer(&mut self, stage: &mut Stage<'_>, task: &Task) -> Result<Option<Answer>, LabError> {
        let found = stage.servers().iter().find(|one| one.name == task.server);
        let Some(dir) = found.map(|server| server.dir.clone()) else {
            return Ok(None);
        };
        let mut removed = Vec::new();
        for stuck in &self.stuck {
            let path = dir.mts_out().join(stuck.spool_name.as_str());
            if path.exists() {
                std::fs::remove_file(&path)
                    .attempting(|| format!("remove `{}`", path.display()))?;
            }
            if stuck.server == task.server && self.culprit == Culprit::Store {
                removed.push(stuck.mts_id.clone());
            }
        }
        Ok(Some(if removed.is_empty() {
            Answer {
                answer: "not-found".to_owned(),
                note: "MTS-IN and MTS-OUT have no message that cannot be opened".to_owned(),
            }
        } else {
            Answer {
                answer: "removed".to_owned(),
                note: format!("{}, saved in Imcdata\\Backup", removed.join(", ")),
            }
        }))
    }

    fn ill(&self) -> Direction {
        Direction::Both
    }

    fn still_ill(&self, stage: &Stage<'_>) -> Result<bool, LabError> {
        let factor = stage.world.spec.clock_factor;
        let too_long = factor.shorten(STUCK_AFTER);
        Ok(stage.both_ways().any(|server| stuck(server, too_long)))
    }

    fn rests_with(&self) -> Option<&'static str> {
        match self.culprit {
            Culprit::Mta { hopeless: true } => Some("tool `mtacheck` says `serious`"),
            _ => None,
        }
    }

    fn ask(&mut self, stage: &mut Stage<'_>, runs: &[String]) -> Result<(), LabError> {
        for run in runs {
            let shown = stage.fleet()?.ask(&["run", "show", run])?;
            let checked = |step: &&Value| {
                let id = step["id"].as_str().unwrap_or_default();
                id.starts_with("mtacheck") && step["state"] == "done"
            };
            self.mtachecks += rows(&shown["steps"]).iter().filter(checked).count();
        }
        Ok(())
    }

    fn report(
        &mut self,
        _stage: &mut Stage<'_>,
        told: &[Told],
        ledger: &super::ledger::Ledger,
        report: &mut super::Report,
    ) -> Result<(), LabError> {
        report.bad = self.stuck.len();
        // The stuck message stays behind in the end, and the ledger says why.
        let named = |stuck: &&Submission| ledger.poison.contains(stuck.spool_name.as_str());
        let named = self.stuck.iter().filter(named).count();
        let held = |one: &&Told| {
            let of = |stuck: &Submission| stuck.message_id == one.submission.message_id;
            one.fate == Fate::Held && self.stuck.iter().any(of)
        };
        let held = told.iter().filter(held).count();
        let mtachecks = self.mtachecks.into();
        report.extras.insert("mtachecks".to_owned(), mtachecks);
        report.extras.insert("stuck_held".to_owned(), held.into());
        report.extras.insert("stuck_named".to_owned(), named.into());
        Ok(())
    }
}

/// Whether the events of the symptom stand, and mail waits too long or the error has come again
/// since the last start.
fn stuck(server: &Server, too_long: Duration) -> bool {
    let events = bad_mail::events(&server.dir, &EVENTS).unwrap_or_default();
    let now = SystemTime::now();
    let waited = |written| now.duration_since(written).is_ok_and(|age| age > too_long);
    let files = [server.dir.inbound(), server.dir.outbound()];
    let waits = files
        .iter()
        .filter_map(|folder| spooled(folder).ok())
        .flatten()
        .any(|file| waited(file.written));
    let again = bad_mail::events_since_start(&server.dir, &EVENTS).unwrap_or_default();
    events > 0 && (waits || again > 1)
}
