//! Q268494: mail waits on Server B, which only sends, because its routing is stale.
//!
//! The peer of each site has moved. The directory knows, Server A knows, Server B does not. Mail through
//! A is delivered; mail through B stays in `Out`. A rollout of the shipped policy is to mend it, while
//! users go on sending.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::Value;

use super::fleet::Fleet;
use super::operator::{Operator, rows};
use super::{Options, Report};
use crate::chaos::{self, Kill, Victim};
use crate::clock_factor::ClockFactor;
use crate::ims;
use crate::lab_error::{Attempting, LabError};
use crate::load::Load;
use crate::outage::Outages;
use crate::programs::Programs;
use crate::server_dir::{ServerDir, spooled};
use crate::tether::{self, Tethered};
use crate::truth::{self, Fate, OnDisk, Told};
use crate::world::{World, WorldSpec};
use crate::{awaited, stop_signal};

/// The scenario's name.
pub const NAME: &str = "stuck-outbound";
/// The shipped policy that mends it.
pub const POLICY: &str = "stuck-outbound-routing";
/// When mail counts as stuck: as the policy says, in time of life.
const STUCK_AFTER: Duration = Duration::from_secs(15 * 60);
/// How long the lab watches that nothing leaves a stuck server, in real time.
const WATCHED: Duration = Duration::from_millis(500);
/// How long things of the lab may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// The time between two looks of the main loop.
const LOOK: Duration = Duration::from_millis(10);
/// The time between two writings of `lab.json`.
const CHART: Duration = Duration::from_millis(500);
/// The time between two messages that users send while the site is being mended.
const ARRIVALS: Duration = Duration::from_millis(200);
/// Within this time of its start a rollout is disturbed.
const KILL_WINDOW: Duration = Duration::from_secs(8);
/// How often an operator starts the rollout again when kills made it fail.
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
    let interrupted = stop_signal::install()?;
    let mut scratch = tempfile::Builder::new()
        .prefix("mailmend-lab-")
        .tempdir()
        .attempting(|| "make a folder for the world".to_owned())?;
    if options.keep {
        scratch.disable_cleanup(true);
        say(&format!(
            "the world is kept in {}",
            scratch.path().display()
        ));
    }
    let folder = scratch
        .path()
        .canonicalize()
        .attempting(|| format!("find `{}`", scratch.path().display()))?;
    let spec = WorldSpec {
        sites: options.sites,
        clock_factor: options.clock_factor,
        ..WorldSpec::default()
    };
    say(&format!(
        "building {} site(s) of two servers",
        options.sites
    ));
    let world = World::build(&folder, spec, &programs.lab)?;
    let load = Load::new(options.seed, &world.truth_of_users())?;
    let mut act = Act {
        options,
        programs,
        say,
        world,
        load,
        late: 0,
        interrupted,
    };
    let mut report = act.play()?;
    report.seconds = (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    let against = report.against();
    report.outcome = if against.is_empty() {
        "mended".to_owned()
    } else {
        against.join("; ")
    };
    let told = act.world.tell()?;
    Ok(Outcome {
        report,
        told,
        folder,
    })
}

struct Act<'a> {
    options: &'a Options,
    programs: &'a Programs,
    say: &'a dyn Fn(&str),
    world: World,
    load: Load,
    /// How many messages users will still send while the site is being mended.
    late: usize,
    interrupted: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Act<'_> {
    fn play(&mut self) -> Result<Report, LabError> {
        self.send_first()?;
        let mut fleet = Fleet::start(&self.world, self.programs)?;
        self.world.chart(&fleet.chart())?;
        let symptom_before = self.await_symptom()?;
        (self.say)(&format!(
            "{symptom_before} message(s) are stuck; nothing leaves their servers"
        ));
        let ended = self.mend(&mut fleet)?;
        (self.say)(&format!("the rollout ended: {ended}"));
        while self.late > 0 {
            self.send_late()?;
        }
        let service_running = self.await_rest(&mut fleet)?;
        fleet.await_reports(LIMIT);
        let ledger = Ledger::read(&fleet.operator)?;
        let stubborn = fleet.stop();
        let outages: Vec<Outages> = self.outages()?;
        let symptom_after = self.stuck_at_the_end()?;
        if !self.world.stop() || !stubborn.is_empty() {
            (self.say)(&format!(
                "had to be killed at the end: {}",
                stubborn.join(", ")
            ));
        }
        let told = self.world.tell()?;
        let duplicated = truth::names(&told, Fate::Duplicated);
        Ok(Report {
            scenario: NAME.to_owned(),
            policy: POLICY.to_owned(),
            seed: self.options.seed,
            sites: self.world.sites.len(),
            servers: self.world.servers.len(),
            submitted: told.len(),
            delivered_once: truth::count(&told, Fate::DeliveredOnce),
            duplicated: duplicated.len(),
            duplicates_named: duplicated
                .iter()
                .filter(|name| ledger.names(name.as_str()))
                .count(),
            lost: truth::count(&told, Fate::Lost),
            held: truth::count(&told, Fate::Held),
            poison: ledger.poison,
            in_doubt: ledger.in_doubt.len(),
            symptom_before,
            symptom_after,
            restarts: outages.iter().map(|one| one.restarts).sum(),
            service_running,
            longest_outage_ms: outages
                .iter()
                .map(|one| u64::try_from(one.longest.as_millis()).unwrap_or(u64::MAX))
                .max()
                .unwrap_or_default(),
            seconds: 0.0,
            outcome: String::new(),
        })
    }

    /// Users send: a quarter through Server A, the rest through Server B, a tenth of all while the
    /// site is being mended.
    fn send_first(&mut self) -> Result<(), LabError> {
        self.late = (self.options.messages / 10).min(20);
        let mut random = fastrand::Rng::with_seed(self.options.seed);
        for number in 0..self.options.messages - self.late {
            let site = number % self.world.sites.len();
            let b = random.u32(..4) > 0;
            self.send(2 * site + usize::from(b), self.options.waited_before && b)?;
        }
        Ok(())
    }

    fn send(&mut self, server: usize, waited: bool) -> Result<(), LabError> {
        let server = &self.world.servers[server];
        let since = waited.then(|| {
            SystemTime::now()
                - self
                    .world
                    .spec
                    .clock_factor
                    .shorten(STUCK_AFTER + STUCK_AFTER / 5)
        });
        self.load
            .send_waiting_since(&server.site, &server.name, &server.dir, since)
            .map(drop)
    }

    fn send_late(&mut self) -> Result<(), LabError> {
        let servers = self.world.servers.len();
        // Three of four through a Server B: the second of each pair.
        let index = self.late % servers;
        let index = if self.late.is_multiple_of(4) {
            index & !1
        } else {
            index | 1
        };
        self.late -= 1;
        self.send(index, false)
    }

    /// Waits until mail is stuck on every Server B, and watches that nothing leaves them.
    fn await_symptom(&self) -> Result<usize, LabError> {
        let factor = self.world.spec.clock_factor;
        let limit = factor.shorten(STUCK_AFTER) + LIMIT;
        let stuck = |dir: &ServerDir| stuck(dir, factor).is_ok_and(|count| count > 0);
        awaited::or_fail("the symptom", limit, || {
            self.interrupted() || self.world.outbound_only().all(|server| stuck(&server.dir))
        })?;
        self.check_interrupted()?;
        let left = || self.delivered_by_outbound_only();
        let before = left()?;
        std::thread::sleep(WATCHED);
        if left()? > before {
            return Ok(0);
        }
        self.stuck_at_the_end()
    }

    /// How many messages of the servers that only send have been delivered.
    fn delivered_by_outbound_only(&self) -> Result<usize, LabError> {
        let told = truth::tell(
            &self.world.submissions()?,
            &self.world.deliveries()?,
            &OnDisk::default(),
        );
        let of_b = |name: &str| self.world.outbound_only().any(|server| server.name == name);
        Ok(told
            .iter()
            .filter(|one| one.fate == Fate::DeliveredOnce && of_b(&one.submission.server))
            .count())
    }

    fn stuck_at_the_end(&self) -> Result<usize, LabError> {
        self.world
            .outbound_only()
            .map(crate::world::Server::waiting)
            .sum()
    }

    /// Rolls the policy out, disturbs it as the seed says, and starts it again where it was made to fail.
    fn mend(&mut self, fleet: &mut Fleet) -> Result<String, LabError> {
        let policy = self.policy_file()?;
        fleet
            .operator
            .ask(&["policy", "publish", &policy.display().to_string()])?;
        let until = Instant::now() + self.options.patience;
        let mut kills = chaos::kills(
            self.options.seed,
            self.options.kills,
            KILL_WINDOW,
            self.world.servers.len(),
        );
        let mut ended = String::new();
        for round in 0..ROLLOUTS {
            let started = fleet
                .operator
                .ask(&["rollout", "start", POLICY, "-l", "site", "--yes"])?;
            let rollout = started["id"].as_str().unwrap_or_default().to_owned();
            (self.say)(&format!("rollout {rollout} of {POLICY} has started"));
            let code = self.accompany(fleet, &rollout, std::mem::take(&mut kills), until)?;
            let shown = fleet.operator.ask(&["rollout", "show", &rollout])?;
            ended = summary(&shown, code);
            if code == Some(0) && self.stuck_beyond(fleet)? == 0 {
                break;
            }
            // Without kills a rollout has one chance.
            if self.options.kills == 0 || round + 1 == ROLLOUTS || Instant::now() > until {
                break;
            }
            (self.say)(&format!("{ended}; trying again"));
            self.await_services(fleet, LIMIT)?;
            self.await_symptom()?;
        }
        Ok(ended)
    }

    /// How many messages are stuck on servers that only send.
    fn stuck_beyond(&self, fleet: &mut Fleet) -> Result<usize, LabError> {
        fleet.keep()?;
        let factor = self.world.spec.clock_factor;
        self.world
            .outbound_only()
            .map(|server| stuck(&server.dir, factor))
            .sum()
    }

    fn policy_file(&self) -> Result<PathBuf, LabError> {
        if let Some(file) = &self.options.policy {
            return Ok(file.clone());
        }
        let file = self.world.folder.join(format!("{POLICY}.toml"));
        let (_, text) = mailmend_policy::library::SHIPPED
            .iter()
            .find(|(name, _)| *name == POLICY)
            .ok_or_else(|| LabError::Malformed {
                what: "the library of policies".to_owned(),
                reason: format!("it has no `{POLICY}`"),
            })?;
        crate::whole_file::write(&file, text.as_bytes())?;
        Ok(file)
    }

    /// Goes along with a rollout until it ends: users send, processes die and come back.
    fn accompany(
        &mut self,
        fleet: &mut Fleet,
        rollout: &str,
        kills: Vec<Kill>,
        until: Instant,
    ) -> Result<Option<i32>, LabError> {
        let begun = Instant::now();
        let mut kills = kills.into_iter().peekable();
        let mut arrival = begun + ARRIVALS;
        let mut chart = begun;
        let mut watch: Tethered = fleet.operator.watch(rollout, self.options.watch)?;
        loop {
            self.check_interrupted()?;
            if Instant::now() > until {
                let explained = fleet.operator.ask(&["rollout", "explain", rollout])?;
                return Err(LabError::TimedOut {
                    awaited: format!("the rollout: {explained}"),
                    waited: self.options.patience,
                });
            }
            if kills
                .peek()
                .is_some_and(|kill| kill.after <= begun.elapsed())
                && let Some(kill) = kills.next()
            {
                self.kill(fleet, &kill)?;
            }
            if fleet.keep()? || Instant::now() >= chart {
                // The services' processes change without the lab.
                self.world.chart(&fleet.chart())?;
                chart = Instant::now() + CHART;
            }
            if self.late > 0 && Instant::now() >= arrival {
                self.send_late()?;
                arrival += ARRIVALS;
            }
            match watch.ended() {
                None => {}
                // The controller was away, or the watch itself died: look again.
                Some(Some(6) | None) => {
                    watch = fleet.operator.watch(rollout, self.options.watch)?;
                }
                Some(code) => return Ok(code),
            }
            std::thread::sleep(LOOK);
        }
    }

    fn kill(&self, fleet: &mut Fleet, kill: &Kill) -> Result<(), LabError> {
        let (what, killed) = match kill.victim {
            Victim::Controller => (
                "the controller".to_owned(),
                fleet.controller.kill(kill.back_after),
            ),
            Victim::Agent(index) => {
                let agent = &mut fleet.agents[index];
                (agent.what.clone(), agent.kill(kill.back_after))
            }
            Victim::Ims(index) => {
                let server = &self.world.servers[index];
                let pid = server.ims_pid();
                if let Some(pid) = pid {
                    tether::signal(pid, Signal::KILL);
                }
                (format!("the IMS of {}", server.name), pid.is_some())
            }
        };
        if killed {
            (self.say)(&format!("{:.1} s: killed {what}", kill.after.as_secs_f32()));
        }
        self.world.chart(&fleet.chart())
    }

    /// Waits until every mail service runs; returns whether it does.
    fn await_services(&self, fleet: &mut Fleet, limit: Duration) -> Result<bool, LabError> {
        let mut failed = None;
        let up = awaited::until(limit, || {
            failed = fleet.keep().err();
            failed.is_some()
                || self.interrupted()
                || self
                    .world
                    .servers
                    .iter()
                    .all(crate::world::Server::ims_runs)
        });
        self.check_interrupted()?;
        failed.map_or(Ok(up.is_some()), Err)
    }

    /// Waits until every mail service runs and the queues are empty; returns whether the services run.
    fn await_rest(&self, fleet: &mut Fleet) -> Result<bool, LabError> {
        self.await_services(fleet, LIMIT)?;
        awaited::until(LIMIT, || {
            let _ = fleet.keep();
            self.interrupted()
                || self
                    .world
                    .servers
                    .iter()
                    .all(|one| one.waiting().is_ok_and(|count| count == 0))
        });
        self.await_services(fleet, LIMIT)
    }

    fn outages(&self) -> Result<Vec<Outages>, LabError> {
        let now_ms = Timestamp::now().as_millisecond();
        let of = |server: &crate::world::Server| {
            Ok(Outages::of(
                &server.services().history()?,
                ims::SERVICE,
                now_ms,
            ))
        };
        self.world.servers.iter().map(of).collect()
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn check_interrupted(&self) -> Result<(), LabError> {
        if self.interrupted() {
            return Err(LabError::Refused {
                attempted: "finish the scenario".to_owned(),
                reason: "interrupted".to_owned(),
            });
        }
        Ok(())
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

fn summary(rollout: &Value, code: Option<i32>) -> String {
    let state = rollout["state"].as_str().unwrap_or("unknown");
    let why = rows(&rollout["runs"])
        .iter()
        .filter_map(|run| run["why"].as_str().filter(|why| !why.is_empty()))
        .collect::<Vec<_>>()
        .join("; ");
    let code = code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
    if why.is_empty() {
        format!("{state} ({code})")
    } else {
        format!("{state} ({code}): {why}")
    }
}

/// What the ledgers say: only to compare with the truth which duplicates were named.
#[derive(Debug, Default)]
struct Ledger {
    in_doubt: Vec<String>,
    poison: usize,
}

impl Ledger {
    fn read(operator: &Operator) -> Result<Self, LabError> {
        let names = |state: &str| -> Result<Vec<String>, LabError> {
            let listed = operator.ask(&["ledger", "list", "--state", state])?;
            Ok(rows(&listed)
                .iter()
                .filter_map(|entry| entry["name"].as_str().map(str::to_owned))
                .collect())
        };
        Ok(Self {
            in_doubt: names("in-doubt")?,
            poison: names("poison")?.len(),
        })
    }

    fn names(&self, spool_name: &str) -> bool {
        self.in_doubt.iter().any(|name| name == spool_name)
    }
}
