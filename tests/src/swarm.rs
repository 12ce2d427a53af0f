//! A swarm: thousands of agents in one process against the real controller, and in the same run against a bare server of
//! the same stream with the same TLS.
//!
//! The controller is `mailmend serve` as a process of its own over its real store. Each agent has a connection, a key, a
//! certificate and TLS tickets of its own, and says what the real agent says ([`played`]). What the figures mean and what
//! they were: `docs/scale.md`.

pub mod asker;
pub mod bare;
pub mod connection;
pub mod herd;
pub mod inventory;
pub mod live;
pub mod plans;
pub mod played;
pub mod policy;
pub mod process;
pub mod stored;
pub mod table;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use asker::Asker;
use herd::{Herd, Leash};
use inventory::Inventory;
use process::{Kind, Process, Used};
use serde::Serialize;
use stored::Stored;

use crate::lab_error::{Attempting, LabError};
use crate::programs::Programs;

/// What is measured.
#[derive(Debug, Clone)]
pub struct Swarm {
    /// How many agents.
    pub agents: usize,
    /// How many of them stop reading for a while.
    pub slow: usize,
    /// How long any one measurement may take.
    pub patience: Duration,
    /// The bare server is measured too.
    pub bare: bool,
    /// Keep the folder.
    pub keep: bool,
}

/// Sites that are mended at once: the most that a strategy allows.
const SITES_AT_ONCE: usize = 1000;
/// The policy that is pushed has so many bytes.
const POLICY_BYTES: usize = 4096;
/// The policies that slow readers do not read, and how many are pushed.
const SLOW_BYTES: usize = 64 << 10;
const SLOW_PUSHES: u32 = 24;
/// How long a server rests before its memory is read.
const REST: Duration = Duration::from_millis(800);
/// How often a database is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What was measured of one server.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// All agents connected, none with a ticket.
    pub cold: Cost,
    /// Memory before the first agent and with all of them idle, bytes.
    pub empty_bytes: u64,
    /// See `empty_bytes`.
    pub idle_bytes: u64,
    /// A policy of 4 KiB to all, and all answers taken (by the controller: stored).
    pub push: Cost,
    /// All agents of the first wave assigned, and their admissions taken.
    pub assign: Cost,
    /// How many agents that wave had.
    pub first_wave: usize,
    /// Five steps of each agent of the first wave, one after the other, each report taken before the next step.
    pub steps: Cost,
    /// The whole rollout, from its start to its end.
    pub rollout: Cost,
    /// Kill, start, and all agents connected again by their own rule, from when the server listens.
    pub storm: Cost,
    /// How long the server took until it listened again.
    pub restart_seconds: f64,
    /// Of the handshakes of the storm: with a ticket.
    pub resumed: usize,
    /// And without.
    pub full: usize,
    /// Memory with slow readers: before, and the highest while they read nothing; bytes.
    pub slow_before_bytes: u64,
    /// See `slow_before_bytes`.
    pub slow_bytes: u64,
    /// The same with a rollout over all agents begun beside it.
    pub slow_rollout_bytes: u64,
    /// Memory at the end of all, bytes.
    pub end_bytes: u64,
}

/// What something took.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Cost {
    /// Seconds, by the clock.
    pub seconds: f64,
    /// Processor time of the server, seconds.
    pub cpu: f64,
}

/// What came of all.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// How many agents.
    pub agents: usize,
    /// How many of them stopped reading.
    pub slow: usize,
    /// The controller.
    pub controller: Figures,
    /// The bare server.
    pub bare: Option<Figures>,
    /// Steps that the controller has stored, of all rollouts.
    pub steps_stored: usize,
    /// And how many there were to be.
    pub steps_due: usize,
    /// Runs of all rollouts that succeeded, and how many there were.
    pub succeeded: usize,
    /// See `succeeded`.
    pub runs: usize,
}

/// Measures. `say` gets a line for people at each stage.
///
/// # Errors
/// Where the lab fails, or a server does not get there within the patience.
pub fn run(swarm: &Swarm, programs: &Programs, say: &dyn Fn(&str)) -> Result<Outcome, LabError> {
    let mut folder = tempfile::Builder::new()
        .prefix("mailmend-swarm-")
        .tempdir()
        .attempting(|| "make a folder".to_owned())?;
    let path = folder.path().to_owned();
    folder.disable_cleanup(swarm.keep);
    if swarm.keep {
        say(&format!("the folder is {}", path.display()));
    }
    let data = path.join("controller");
    say(&format!("enrolling {} agents", swarm.agents));
    let inventory = Inventory::make(&data, swarm.agents)?;
    let mut outcome = Outcome {
        agents: swarm.agents,
        slow: swarm.slow,
        controller: Figures::default(),
        bare: None,
        steps_stored: 0,
        steps_due: 0,
        succeeded: 0,
        runs: 0,
    };
    if swarm.bare {
        let mut bare = Measuring::begin(swarm, Kind::Bare, programs, &path, &data, &inventory)?;
        outcome.bare = Some(bare.all(say, "bare")?);
    }
    let mut controller =
        Measuring::begin(swarm, Kind::Controller, programs, &path, &data, &inventory)?;
    outcome.controller = controller.all(say, "controller")?;
    let stored = Stored::open(&data)?;
    outcome.steps_stored = stored.records("step-finished")?;
    outcome.runs = controller.rollouts.len() * swarm.agents;
    outcome.steps_due = outcome.runs * policy::STEPS as usize;
    for id in &controller.rollouts {
        outcome.succeeded += stored.succeeded(id)?;
    }
    Ok(outcome)
}

struct Measuring<'a> {
    swarm: &'a Swarm,
    server: Process,
    herd: Herd,
    asker: Option<Asker>,
    stored: Option<Stored>,
    figures: Figures,
    rollouts: Vec<String>,
    version: u32,
}

impl<'a> Measuring<'a> {
    fn begin(
        swarm: &'a Swarm,
        kind: Kind,
        programs: &Programs,
        folder: &Path,
        data: &Path,
        inventory: &Inventory,
    ) -> Result<Self, LabError> {
        let server = Process::start(kind, programs, folder, data)?;
        // What was just done comes to rest before memory is read.
        std::thread::sleep(REST);
        let mut figures = Figures {
            empty_bytes: server.used()?.rss,
            ..Figures::default()
        };
        let (asker, stored) = match kind {
            Kind::Bare => (None, None),
            Kind::Controller => (
                Some(Asker::new(server.address(), data)?),
                Some(Stored::open(data)?),
            ),
        };
        let (before, begun) = (server.used()?, Instant::now());
        let herd = Herd::start(server.address(), inventory.members()?, swarm.slow)?;
        let all = herd.count();
        herd.until("all agents to connect", swarm.patience, |board| {
            board.connected.load(Ordering::Relaxed) == all
        })?;
        figures.cold = cost(before, begun, &server)?;
        Ok(Self {
            swarm,
            server,
            herd,
            asker,
            stored,
            figures,
            rollouts: Vec::new(),
            version: 0,
        })
    }

    /// Everything, one after the other.
    fn all(&mut self, say: &dyn Fn(&str), name: &str) -> Result<Figures, LabError> {
        let told = |what: &str, cost: &Cost| {
            let Cost { seconds, cpu } = cost;
            say(&format!(
                "{name}: {what} {seconds:.2} s, {cpu:.2} s of its processors"
            ));
        };
        told("connected", &self.figures.cold);
        // What was just done comes to rest before memory is read.
        std::thread::sleep(REST);
        self.figures.idle_bytes = self.server.used()?.rss;
        self.figures.push = self.push(POLICY_BYTES)?;
        told("push", &self.figures.push);
        self.roll()?;
        told("assignment of the first wave", &self.figures.assign);
        told("its steps", &self.figures.steps);
        told("the rollout", &self.figures.rollout);
        self.storm()?;
        told("storm", &self.figures.storm);
        if self.swarm.slow > 0 {
            self.slow()?;
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            say(&format!(
                "{name}: {:.1} MiB before and {:.1} MiB while {} agents read nothing",
                mib(self.figures.slow_before_bytes),
                mib(self.figures.slow_bytes),
                self.swarm.slow
            ));
        }
        // What was just done comes to rest before memory is read.
        std::thread::sleep(REST);
        self.figures.end_bytes = self.server.used()?.rss;
        Ok(self.figures.clone())
    }

    /// Pushes the next version of the policy to all, and waits until all have answered.
    fn push(&mut self, bytes: usize) -> Result<Cost, LabError> {
        self.version += 1;
        let (version, all) = (self.version, self.herd.count());
        if let Some(asker) = &mut self.asker {
            asker.publish(&policy::text(version, bytes))?;
        }
        let (before, begun) = (self.server.used()?, Instant::now());
        match (&mut self.asker, &self.stored) {
            (Some(asker), Some(stored)) => {
                asker.bind(policy::NAME, "")?;
                until("all answers", self.swarm.patience, || {
                    Ok(stored.answers(version)? >= all)
                })?;
            }
            _ => self.server.command(&format!("push {version} {bytes}"))?,
        }
        cost(before, begun, &self.server)
    }

    /// A rollout over all agents, the first wave of it in steps that are measured.
    fn roll(&mut self) -> Result<(), LabError> {
        let all = self.herd.count();
        let (first, waves) = match (&self.asker, all) {
            (None, _) => (all, ""),
            (Some(_), ..20) => (all, "\"100%\""),
            (Some(_), 20..=2000) => (all / 2, "\"50%\", \"100%\""),
            (Some(_), _) => (all / 10, "\"10%\", \"100%\""),
        };
        let first = first.min(if self.asker.is_some() {
            SITES_AT_ONCE
        } else {
            all
        });
        let (patience, herd) = (self.swarm.patience, &self.herd);
        self.figures.first_wave = first;
        let board = &herd.board;
        let [admitted, waiting, steps] = [&board.admitted, &board.waiting, &board.steps]
            .map(|count| count.load(Ordering::Relaxed));
        herd.hold(Leash {
            steps: false,
            reading: true,
        });
        let (start, begun) = (self.server.used()?, Instant::now());
        match &mut self.asker {
            Some(asker) => {
                let at_once = u32::try_from(all.min(SITES_AT_ONCE)).unwrap_or(1);
                self.rollouts
                    .push(asker.rollout(policy::NAME, waves, at_once)?);
            }
            None => self.server.command("run")?,
        }
        herd.until("the first wave to be admitted", patience, |board| {
            board.admitted.load(Ordering::Relaxed) - admitted >= first
                && board.waiting.load(Ordering::Relaxed) - waiting >= first
        })?;
        self.figures.assign = cost(start, begun, &self.server)?;
        // What was just done comes to rest before memory is read.
        std::thread::sleep(REST);
        let (before, stepping) = (self.server.used()?, Instant::now());
        herd.hold(Leash {
            steps: true,
            reading: true,
        });
        let due = first * policy::STEPS as usize;
        herd.until("the first wave's steps", patience, |board| {
            board.steps.load(Ordering::Relaxed) - steps >= due
        })?;
        self.figures.steps = cost(before, stepping, &self.server)?;
        let all_due = all * policy::STEPS as usize;
        herd.until("all steps", patience, |board| {
            board.steps.load(Ordering::Relaxed) - steps >= all_due
        })?;
        if let (Some(stored), Some(id)) = (&self.stored, self.rollouts.last()) {
            ended(stored, id, patience)?;
        }
        self.figures.rollout = cost(start, begun, &self.server)?;
        // The rest in which the first wave's memory was left alone is the lab's.
        self.figures.rollout.seconds -= REST.as_secs_f64();
        Ok(())
    }

    /// Kills the server and starts it again, with everybody coming back.
    fn storm(&mut self) -> Result<(), LabError> {
        let all = self.herd.count();
        let handshakes = self.herd.board.handshakes.clone();
        let [resumed, full] =
            [&handshakes.resumed, &handshakes.full].map(|count| count.load(Ordering::Relaxed));
        self.server.kill();
        self.herd
            .until("all to notice", self.swarm.patience, |board| {
                board.connected.load(Ordering::Relaxed) == 0
            })?;
        self.figures.restart_seconds = self.server.again()?.as_secs_f64();
        // Its processor time begins with it.
        let (before, begun) = (Used::default(), Instant::now());
        self.herd
            .until("all to be back", self.swarm.patience, |board| {
                board.connected.load(Ordering::Relaxed) == all
            })?;
        self.figures.storm = cost(before, begun, &self.server)?;
        self.figures.resumed = handshakes.resumed.load(Ordering::Relaxed) - resumed;
        self.figures.full = handshakes.full.load(Ordering::Relaxed) - full;
        Ok(())
    }

    /// Some agents read nothing while large policies are pushed and a rollout begins; then they read again, and nothing
    /// of what they had to tell is missing.
    fn slow(&mut self) -> Result<(), LabError> {
        let (all, slow) = (self.herd.count(), self.swarm.slow);
        let patience = self.swarm.patience;
        // What was just done comes to rest before memory is read.
        std::thread::sleep(REST);
        self.figures.slow_before_bytes = self.server.used()?.rss;
        self.herd.hold(Leash {
            steps: true,
            reading: false,
        });
        let mut highest = 0;
        for _ in 0..SLOW_PUSHES {
            self.version += 1;
            let version = self.version;
            match &mut self.asker {
                Some(asker) => {
                    asker.publish(&policy::text(version, SLOW_BYTES))?;
                    asker.bind(policy::NAME, &inventory::first(slow))?;
                }
                None => self
                    .server
                    .command(&format!("send {version} {SLOW_BYTES}"))?,
            }
            // So that the pushes come one after the other, as an operator makes them.
            std::thread::sleep(LOOK * 30);
            highest = highest.max(self.server.used()?.rss);
        }
        self.figures.slow_bytes = highest;
        let steps = self.herd.board.steps.load(Ordering::Relaxed);
        if let Some(asker) = &mut self.asker {
            let at_once = u32::try_from(all.min(SITES_AT_ONCE)).unwrap_or(1);
            let id = asker.rollout(policy::NAME, "\"100%\"", at_once)?;
            self.rollouts.push(id);
            // What was just done comes to rest before memory is read.
            std::thread::sleep(REST);
            highest = highest.max(self.server.used()?.rss);
        }
        self.figures.slow_rollout_bytes = highest;
        self.herd.hold(Leash {
            steps: true,
            reading: true,
        });
        if let (Some(stored), Some(id)) = (&self.stored, self.rollouts.last()) {
            let due = all * policy::STEPS as usize;
            self.herd.until("all steps", patience, |board| {
                board.steps.load(Ordering::Relaxed) - steps >= due
            })?;
            ended(stored, id, patience)?;
            until("the slow readers' answers", patience, || {
                Ok(stored.answers(self.version)? >= slow)
            })?;
        }
        Ok(())
    }
}

/// Waits until a rollout has succeeded.
fn ended(stored: &Stored, id: &str, patience: Duration) -> Result<(), LabError> {
    until("the rollout to end", patience, || {
        let (state, why) = stored.rollout(id)?;
        match state.as_str() {
            "succeeded" => Ok(true),
            "running" => Ok(false),
            other => Err(LabError::Refused {
                attempted: "roll out over the swarm".to_owned(),
                reason: format!("the rollout is {other}: {why}"),
            }),
        }
    })
}

fn until(
    awaited: &str,
    limit: Duration,
    mut holds: impl FnMut() -> Result<bool, LabError>,
) -> Result<(), LabError> {
    let begun = Instant::now();
    while !holds()? {
        if begun.elapsed() > limit {
            return Err(LabError::TimedOut {
                awaited: awaited.to_owned(),
                waited: limit,
            });
        }
        // Another process changes the database; nothing tells when.
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn cost(before: Used, begun: Instant, server: &Process) -> Result<Cost, LabError> {
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = server.used()?.cpu.saturating_sub(before.cpu);
    Ok(Cost {
        seconds,
        cpu: cpu.as_secs_f64(),
    })
}
