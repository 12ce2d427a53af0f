//! Q268494: mail waits on Server B, which only sends, because its routing is stale.
//!
//! The peer of each site has moved. The directory knows, Server A knows, Server B does not. Mail through
//! A is delivered; mail through B stays in `Out`. A rollout of the shipped policy is to mend it, while
//! users go on sending.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::ledger::Ledger;
use super::stage::{LIMIT, Stage};
use super::{Options, Report};
use crate::awaited;
use crate::chaos;
use crate::clock_factor::ClockFactor;
use crate::lab_error::LabError;
use crate::programs::Programs;
use crate::server_dir::{ServerDir, spooled};
use crate::truth::{self, Fate, OnDisk, Told};
use crate::whole_file;
use crate::world::{Server, WorldSpec};

/// The scenario's name.
pub const NAME: &str = "stuck-outbound";
/// The shipped policy that mends it.
pub const POLICY: &str = "stuck-outbound-routing";
/// When mail counts as stuck: as the policy says, in time of life.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(15 * 60);
/// How long the lab watches that nothing leaves a stuck server, in real time.
const WATCHED: Duration = Duration::from_millis(500);
/// How long agents may take to report the last of what they did.
const REPORTS: Duration = Duration::from_secs(30);
/// The time between two messages that users send while the site is being mended.
const ARRIVALS: Duration = Duration::from_millis(200);
/// Within this time of its start a rollout is disturbed.
const KILL_WINDOW: Duration = Duration::from_secs(5);
/// How long the peers of a disturbed site take to confirm a message, at most: the longer, the more often a
/// kill meets a message that was taken and not confirmed.
const SLOW_PEER_MS: u64 = 150;
/// How often an operator starts the rollout when kills make it fail.
const ROLLOUTS: usize = 4;

/// What came of the scenario, and every message with its fate.
#[derive(Debug)]
pub struct Outcome {
    /// The report.
    pub report: Report,
    /// Every message.
    pub told: Vec<Told>,
    /// The world's folder; gone unless it was to be kept.
    pub folder: PathBuf,
}

/// Runs the scenario. `say` gets a line for people at each stage.
///
/// # Errors
/// Where the lab itself fails, or is interrupted; what it started is then ended.
pub fn run(
    options: &Options,
    programs: &Programs,
    say: &dyn Fn(&str),
) -> Result<Outcome, LabError> {
    let begun = Instant::now();
    let mut spec = WorldSpec {
        sites: options.sites,
        clock_factor: options.clock_factor,
        ..WorldSpec::default()
    };
    if options.kills > 0 {
        let mut random = fastrand::Rng::with_seed(options.seed);
        spec.peer_latency = Duration::from_millis(random.u64(1..=SLOW_PEER_MS));
    }
    let stage = Stage::build(options, spec, programs, say)?;
    let mut play = Play { stage, late: 0 };
    let (mut report, told) = play.play(programs)?;
    report.seconds = (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    report.outcome = report.told();
    let folder = play.stage.folder.clone();
    Ok(Outcome {
        report,
        told,
        folder,
    })
}

struct Play<'a> {
    stage: Stage<'a>,
    /// How many messages users will still send while the site is being mended.
    late: usize,
}

impl Play<'_> {
    fn play(&mut self, programs: &Programs) -> Result<(Report, Vec<Told>), LabError> {
        self.send_first()?;
        self.stage.start_fleet(programs)?;
        let symptom_before = self.await_symptom()?;
        let line = format!("{symptom_before} messages are stuck; nothing leaves their servers");
        self.stage.say(&line);
        let ended = self.mend()?;
        self.stage.say(&format!("the rollout ended: {ended}"));
        while self.late > 0 {
            self.late -= 1;
            self.stage
                .send(late_server(self.late, self.stage.world.servers.len()), None)?;
        }
        self.stage.await_services()?;
        self.stage.await_rest()?;
        let service_running = self.stage.await_services()?;
        if let Err(error) = self.stage.fleet()?.await_reports(REPORTS) {
            // The account rests on the truth; only duplicates would then stand unnamed.
            self.stage.say(&error.whole());
        }
        let fleet = self.stage.fleet()?;
        let ledger = Ledger::read(fleet)?;
        let stubborn = fleet.stop();
        let outages = self.stage.outages()?;
        let orderly = self.stage.world.stop();
        if !orderly || !stubborn.is_empty() {
            let line = format!("had to be killed at the end: {}", stubborn.join(", "));
            self.stage.say(&line);
        }
        // Nothing moves any more.
        let told = self.stage.world.tell()?;
        let duplicated = truth::names(&told, Fate::Duplicated);
        let named = duplicated.iter().filter(|name| ledger.names(name.as_str()));
        let longest = outages.iter().map(|one| one.longest).max();
        let report = Report {
            scenario: NAME.to_owned(),
            policy: POLICY.to_owned(),
            seed: self.stage.options.seed,
            sites: self.stage.world.sites.len(),
            servers: self.stage.world.servers.len(),
            submitted: told.len(),
            delivered_once: truth::count(&told, Fate::DeliveredOnce),
            duplicated: duplicated.len(),
            duplicates_named: named.count(),
            lost: truth::count(&told, Fate::Lost),
            held: truth::count(&told, Fate::Held),
            poison: ledger.poison.len(),
            in_doubt: ledger.in_doubt.len(),
            symptom_before,
            symptom_after: truth::count(&told, Fate::Waiting),
            restarts: outages.iter().map(|one| one.restarts).sum(),
            service_running,
            longest_outage_ms: u64::try_from(longest.unwrap_or_default().as_millis())
                .unwrap_or(u64::MAX),
            seconds: 0.0,
            outcome: String::new(),
        };
        Ok((report, told))
    }

    /// Users send: a quarter through Server A, the rest through Server B; a tenth of all, at most twenty,
    /// while the site is being mended.
    fn send_first(&mut self) -> Result<(), LabError> {
        let options = self.stage.options;
        self.late = (options.messages / 10).min(20);
        let factor = self.stage.world.spec.clock_factor;
        let long_ago = SystemTime::now() - factor.shorten(STUCK_AFTER + STUCK_AFTER / 5);
        let mut random = fastrand::Rng::with_seed(options.seed);
        for number in 0..options.messages - self.late {
            let site = number % options.sites;
            let b = random.u32(..4) > 0;
            let since = (options.waited_before && b).then_some(long_ago);
            self.stage.send(2 * site + usize::from(b), since)?;
        }
        Ok(())
    }

    /// Waits until mail is stuck on every Server B, and watches that nothing leaves them. Returns how
    /// much is stuck; nothing where something left.
    fn await_symptom(&self) -> Result<usize, LabError> {
        let factor = self.stage.world.spec.clock_factor;
        let is_stuck = |server: &Server| stuck(&server.dir, factor).is_ok_and(|files| files > 0);
        awaited::or_fail("the symptom", factor.shorten(STUCK_AFTER) + LIMIT, || {
            self.stage.interrupted() || self.stage.world.outbound_only().all(is_stuck)
        })?;
        let before = self.delivered_by_outbound_only()?;
        awaited::until(WATCHED, || self.stage.interrupted());
        self.stage.check_interrupted()?;
        if self.delivered_by_outbound_only()? > before {
            return Ok(0);
        }
        self.stage.world.outbound_only().map(Server::waiting).sum()
    }

    /// How many messages of the servers that only send have been delivered.
    fn delivered_by_outbound_only(&self) -> Result<usize, LabError> {
        let world = &self.stage.world;
        let told = truth::tell(
            &world.submissions()?,
            &world.deliveries()?,
            &OnDisk::default(),
        );
        let of_b = |one: &&Told| {
            let name = &one.submission.server;
            world.outbound_only().any(|server| server.name == *name)
        };
        let delivered = told.iter().filter(|one| one.fate == Fate::DeliveredOnce);
        Ok(delivered.filter(of_b).count())
    }

    /// Rolls the policy out, disturbs it as the seed says, and rolls it out again where it was made to
    /// fail.
    fn mend(&mut self) -> Result<String, LabError> {
        let policy = self.policy_file()?;
        self.stage.publish(&policy)?;
        let options = self.stage.options;
        let until = Instant::now() + options.patience;
        let servers = self.stage.world.servers.len();
        let mut kills = chaos::kills(options.seed, options.kills, KILL_WINDOW, servers);
        let mut round = 1;
        loop {
            let kills = std::mem::take(&mut kills);
            let late = &mut self.late;
            let mut next = ARRIVALS;
            let end = self
                .stage
                .roll_out(POLICY, kills, until, |stage, elapsed| {
                    if *late > 0 && elapsed >= next {
                        next = elapsed + ARRIVALS;
                        *late -= 1;
                        stage.send(late_server(*late, servers), None)?;
                    }
                    Ok(())
                })?;
            let good = end.good && self.still_stuck()? == 0;
            // Without kills a rollout has one chance.
            if good || options.kills == 0 || round == ROLLOUTS || Instant::now() > until {
                return Ok(end.told);
            }
            round += 1;
            self.stage.say(&format!("{}; trying again", end.told));
            if !self.stage.await_services()? || !self.stage.abort(&end.id, LIMIT)? {
                return Ok(format!("{}; it needs a person", end.told));
            }
        }
    }

    /// How many messages have waited too long on servers that only send.
    fn still_stuck(&self) -> Result<usize, LabError> {
        let world = &self.stage.world;
        let factor = world.spec.clock_factor;
        world
            .outbound_only()
            .map(|server| stuck(&server.dir, factor))
            .sum()
    }

    /// The policy's file: the shipped one, written into the world, unless another was named.
    fn policy_file(&self) -> Result<PathBuf, LabError> {
        if let Some(file) = &self.stage.options.policy {
            return Ok(file.clone());
        }
        let file = self.stage.folder.join(format!("{POLICY}.toml"));
        let (_, text) = mailmend_policy::library::SHIPPED
            .iter()
            .find(|(name, _)| *name == POLICY)
            .ok_or_else(|| LabError::Malformed {
                what: "the library of policies".to_owned(),
                reason: format!("it has no `{POLICY}`"),
            })?;
        whole_file::write(&file, text.as_bytes())?;
        Ok(file)
    }
}

/// Whose turn it is to get a late message: three of four go to a Server B, the second of each pair.
fn late_server(number: usize, servers: usize) -> usize {
    let index = number % servers;
    if number.is_multiple_of(4) {
        index & !1
    } else {
        index | 1
    }
}

/// How many messages of a server have waited too long.
fn stuck(dir: &ServerDir, factor: ClockFactor) -> Result<usize, LabError> {
    let too_long = factor.shorten(STUCK_AFTER);
    let now = SystemTime::now();
    let waited = |written| now.duration_since(written).is_ok_and(|age| age > too_long);
    let files = spooled(&dir.outbound())?;
    Ok(files.iter().filter(|file| waited(file.written)).count())
}
