//! How every scenario is played: break the site, have it mended, account for every message.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::person::{self, Answer, Task};
use super::report::Report;
use super::room::Room;
use super::stage::{LIMIT, Stage};
use super::{Options, Scenario, account, symptoms};
use crate::chaos;
use crate::lab_error::LabError;
use crate::programs::Programs;
use crate::truth::Told;
use crate::whole_file;
use crate::world::{Server, SiteSpec, WorldSpec};

/// How long agents may take to report the last of what they did.
const REPORTS: Duration = Duration::from_secs(30);
/// The time between two messages that users send while the site is being mended.
const ARRIVALS: Duration = Duration::from_millis(200);
/// The time between two looks for open tasks.
const TASKS: Duration = Duration::from_millis(300);
/// Within this time of its start a rollout is disturbed.
const KILL_WINDOW: Duration = Duration::from_secs(5);
/// How long the peers of a disturbed site take to confirm a message, at most: the longer, the more often a
/// kill meets a message that was taken and not confirmed.
const SLOW_PEER_MS: u64 = 150;
/// How often an operator starts the rollout when kills make it fail.
const ROLLOUTS: usize = 4;
/// How long nothing may move in queues that are to stay as they are, before they count as at rest.
const STAYS: Duration = Duration::from_secs(1);

/// What came of a scenario, and every message with its fate.
#[derive(Debug)]
pub struct Outcome {
    /// The report.
    pub report: Report,
    /// Every message.
    pub told: Vec<Told>,
    /// The world's folder; gone unless it was to be kept.
    pub folder: PathBuf,
}

/// Plays a scenario. `say` gets a line for people at each stage.
///
/// # Errors
/// Where the lab itself fails, or is interrupted; what it started is then ended.
pub fn run(
    scenario: &Scenario,
    options: &Options,
    programs: &Programs,
    say: &dyn Fn(&str),
) -> Result<Outcome, LabError> {
    let begun = Instant::now();
    let asked = options.variant.as_deref();
    let variant = scenario
        .variant(asked)
        .map_err(|reason| LabError::Refused {
            attempted: format!("play `{}`", scenario.name),
            reason,
        })?;
    let room = (scenario.room)(options);
    let mut site = SiteSpec::well();
    room.site(&mut site);
    let mut spec = WorldSpec {
        sites: vec![site; options.sites],
        clock_factor: options.clock_factor,
        platform: options.platform.clone(),
        ..WorldSpec::default()
    };
    if options.kills > 0 {
        spec.peer_latency = slow_peer(options.seed);
    }
    let mut play = Play {
        stage: Stage::build(options, spec, programs, say)?,
        late: room.late(),
        room,
        scenario,
        answered: Vec::new(),
        runs: Vec::new(),
        symptoms: Vec::new(),
    };
    let (mut report, told) = play.play(programs)?;
    report.variant = variant.to_owned();
    report.seconds = (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    report.against_scenario = play.room.against(&report);
    report.against_scenario.append(&mut play.symptoms);
    report.outcome = report.told();
    let folder = play.stage.folder.clone();
    Ok(Outcome {
        report,
        told,
        folder,
    })
}

/// How long the peers of a disturbed world take to confirm a message.
pub(super) fn slow_peer(seed: u64) -> Duration {
    Duration::from_millis(fastrand::Rng::with_seed(seed).u64(1..=SLOW_PEER_MS))
}

struct Play<'a> {
    stage: Stage<'a>,
    scenario: &'a Scenario,
    room: Box<dyn Room>,
    /// How many messages users will still send while the site is being mended.
    late: usize,
    /// What a person was asked and answered.
    answered: Vec<(Task, Answer)>,
    /// The runs of all rollouts.
    runs: Vec<String>,
    /// Symptoms that stand although the site is mended.
    symptoms: Vec<String>,
}

impl Play<'_> {
    fn play(&mut self, programs: &Programs) -> Result<(Report, Vec<Told>), LabError> {
        self.room.break_site(&mut self.stage)?;
        let room = &self.room;
        let guard = |server: &Server| room.guard(server, programs);
        self.stage.start_fleet(programs, &guard)?;
        let symptom_before = self.room.await_symptom(&mut self.stage)?;
        self.stage
            .say(&format!("{symptom_before} messages are stuck"));
        let ended = self.mend()?;
        self.stage.say(&format!("the rollout ended: {ended}"));
        while self.late > 0 {
            self.late -= 1;
            self.room.send_late(&mut self.stage, self.late)?;
        }
        let rests = self.room.rests_with();
        let service_running = self.settle(rests.is_some())?;
        if let Err(error) = self.stage.fleet()?.await_reports(REPORTS) {
            // The account rests on the truth; only duplicates would then stand unnamed.
            self.stage.say(&error.whole());
        }
        self.room.ask(&mut self.stage, &self.runs)?;
        // What was killed may have left a server to a person: then its symptom may stand.
        if rests.is_none() && self.stage.options.kills == 0 {
            let stays = self.room.symptom_stays();
            self.symptoms =
                symptoms::not_as_it_should(&mut self.stage, self.scenario.policy, stays)?;
        }
        let fleet = self.stage.fleet()?;
        let ledger = Ledger::read(fleet, &self.runs)?;
        let stubborn = fleet.stop();
        let outages = self.stage.outages()?;
        let orderly = self.stage.world.stop();
        if !orderly || !stubborn.is_empty() {
            let line = format!("had to be killed at the end: {}", stubborn.join(", "));
            self.stage.say(&line);
        }
        // Nothing moves any more.
        let told = self.stage.world.tell()?;
        let mut report = Report {
            scenario: self.scenario.name.to_owned(),
            policy: self.scenario.policy.to_owned(),
            seed: self.stage.options.seed,
            sites: self.stage.world.sites.len(),
            servers: self.stage.world.servers.len(),
            symptom_before,
            symptom_after: self.room.symptom_after(&told),
            service_running,
            rollout: ended,
            rests_with: rests.map(str::to_owned),
            service_can_run: self.room.service_can_run(),
            ..account::count(&told, &ledger, &outages, &self.answered)
        };
        self.room
            .report(&mut self.stage, &told, &ledger, &mut report)?;
        Ok((report, told))
    }

    /// Waits until everything rests. Returns whether every mail service runs then.
    fn settle(&mut self, stays: bool) -> Result<bool, LabError> {
        if !self.room.service_can_run() {
            self.stage.await_rest(STAYS)?;
            return Ok(self.stage.world.servers.iter().all(Server::ims_runs));
        }
        self.stage.await_services()?;
        if stays {
            self.stage.await_rest(STAYS)?;
        } else {
            self.stage.await_rest(super::stage::STILL)?;
        }
        self.stage.await_services()
    }

    /// Rolls the policy out, disturbs it as the seed says, and rolls it out again where it was made to
    /// fail.
    fn mend(&mut self) -> Result<String, LabError> {
        let policy = self.policy_file()?;
        self.stage.publish(&policy)?;
        let options = self.stage.options;
        let until = Instant::now() + options.patience;
        let servers = self.stage.world.servers.len();
        let mut kills = chaos::kills(
            options.seed,
            options.kills,
            KILL_WINDOW,
            servers,
            self.room.ill(),
        );
        if options.kills_agents_alone {
            kills = chaos::of_agents(kills, self.room.ill());
        }
        let mut round = 1;
        loop {
            let kills = std::mem::take(&mut kills);
            let (room, late) = (&mut self.room, &mut self.late);
            let (answered, mut next, mut look) = (&mut self.answered, ARRIVALS, TASKS);
            let name = self.scenario.policy;
            let end = self
                .stage
                .roll_out(name, kills, until, |stage, rollout, elapsed| {
                    if *late > 0 && elapsed >= next {
                        next = elapsed + ARRIVALS;
                        *late -= 1;
                        room.send_late(stage, *late)?;
                    }
                    if room.asks() && elapsed >= look {
                        let more = person::answer_tasks(stage, &mut **room, rollout, answered)?;
                        answered.extend(more);
                        look = elapsed + TASKS;
                    }
                    room.meanwhile(stage, elapsed)
                })?;
            self.runs.extend(end.runs.iter().cloned());
            let good = match self.room.rests_with() {
                Some(words) => end.told.contains(words),
                None => end.good && !self.room.still_ill(&self.stage)?,
            };
            // Without kills a rollout has one chance.
            if good || options.kills == 0 || round == ROLLOUTS || Instant::now() > until {
                return Ok(end.told);
            }
            round += 1;
            self.stage.say(&format!("{}; trying again", end.told));
            let serves = !self.room.service_can_run() || self.stage.await_services()?;
            if !serves || !self.stage.abort(&end.id, LIMIT)? {
                return Ok(format!("{}; it needs a person", end.told));
            }
        }
    }

    /// The policy's file: the shipped one, written into the world, unless another was named.
    fn policy_file(&self) -> Result<PathBuf, LabError> {
        if let Some(file) = &self.stage.options.policy {
            return Ok(file.clone());
        }
        let text = played_policy(self.scenario, &*self.room, self.stage.options)?;
        let file = self
            .stage
            .folder
            .join(format!("{}.toml", self.scenario.policy));
        whole_file::write(&file, text.as_bytes())?;
        Ok(file)
    }
}

/// The text of the shipped policy of a scenario, as its room has it played.
pub(super) fn played_policy(
    scenario: &Scenario,
    room: &dyn Room,
    options: &Options,
) -> Result<String, LabError> {
    let wanted = scenario.policy;
    let (_, text) = mailmend_policy::library::SHIPPED
        .iter()
        .find(|(name, _)| *name == wanted)
        .ok_or_else(|| LabError::Malformed {
            what: "the library of policies".to_owned(),
            reason: format!("it has no `{wanted}`"),
        })?;
    room.policy((*text).to_owned(), options.clock_factor)
}
