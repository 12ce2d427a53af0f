//! The clock of a simulation: whatever happens next, in order, until nothing does.

mod deciding;
mod finish;
mod streams;
mod trouble;
mod words;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_proto::run::RunId;
use mailmend_proto::wire;
use mailmend_proto::wire::simulation_request::Request;
use mailmend_proto::wire::simulation_step::What;

use super::agents::{Agents, AgentsFault};
use super::controller::Controller;
use super::invariants::{self, Sections};
use super::outcome::{Ending, Gates, Outcome};
use super::{START_MS, Setup};
use crate::mail_flow::MailFlow;
use crate::rollout::{RolloutState, RunPhase, Wish};
use words::heard;

/// How soon a change is decided on: what changes meanwhile is decided on together.
const SETTLE_MS: i64 = 50;
/// Nothing has moved for so long, though nothing was left to wait for: longer than any step waits.
const STILL_MS: i64 = 26 * 3_600_000;
/// How long after everything was healed the rollout must have ended, its soaks and windows apart.
const BOUND_MS: i64 = 24 * 3_600_000;
/// More invariants than this are not collected: the first one matters.
const MOST_FOUND: usize = 20;

/// Something that happens at a time.
#[derive(Debug, Clone)]
enum Happens {
    /// A server asked to be woken.
    Wake { server: usize, number: u64 },
    /// A connection stands, or not.
    Dialled { server: usize },
    /// A message of the controller reaches an agent.
    Arrives {
        server: usize,
        stream: u64,
        message: wire::ToAgent,
    },
    /// A message of an agent reaches the controller.
    Comes {
        server: usize,
        stream: u64,
        message: wire::FromAgent,
    },
    /// An agent learns that its stream is gone.
    AgentLearns { server: usize, stream: u64 },
    /// The controller does.
    ControllerLearns { server: usize, stream: u64 },
    /// The controller looks whether an agent has written down what it was told on a stream.
    Again { server: usize, stream: u64 },
    /// Something is decided.
    Decide { number: u64 },
    /// A part of the fleet is cut off, for so long.
    Parted { for_ms: i64 },
    /// It is not any more.
    Joined { number: u64 },
    /// The controller will die at the next place of this kind.
    Doomed { place: u8, for_ms: i64 },
    /// It lives again.
    Lives,
    /// Its clock is set.
    Jumps { by_ms: i64 },
    /// A person looks at the rollout.
    Looks,
    /// A person does something.
    Wishes(Wish),
    /// A person answers a step.
    Answers {
        run: RunId,
        server: ServerName,
        step: u32,
    },
    /// Nothing goes wrong any more.
    Healed,
}

/// The way between the controller and one server.
#[derive(Debug, Clone, Default)]
struct Line {
    name: Option<ServerName>,
    site: String,
    unreachable: bool,
    slow: bool,
    /// The stream as its agent has it.
    stream: Option<u64>,
    /// Whether what is sent on the stream is lost from now on.
    broken: bool,
    parted: u64,
    /// When the last message in each direction arrives.
    last: [i64; 2],
    wake: u64,
}

/// Plays a rollout through.
///
/// # Errors
/// Where the servers cannot be played.
pub fn simulate(setup: &Setup, agents: &mut dyn Agents) -> Result<Outcome, AgentsFault> {
    Engine::begin(setup, agents)?.play()
}

struct Engine<'a> {
    setup: &'a Setup,
    agents: &'a mut dyn Agents,
    random: fastrand::Rng,
    now_ms: i64,
    queue: BinaryHeap<Reverse<(i64, u64)>>,
    events: BTreeMap<u64, Happens>,
    number: u64,
    controller: Controller,
    alive: bool,
    /// Where the controller dies: 1 decided, 2 stored, 3 reported, 4 ingested.
    doomed: Option<(u8, i64)>,
    clock_ms: i64,
    lines: Vec<Line>,
    numbers: BTreeMap<ServerName, usize>,
    states: BTreeMap<usize, wire::SimulatedState>,
    sections: BTreeMap<SiteName, Sections>,
    paths: MailFlow,
    streams: u64,
    parts: u64,
    decide: u64,
    decide_ms: Option<i64>,
    looks: bool,
    moved_ms: i64,
    healed_ms: Option<i64>,
    gates: Gates,
    halted_with: Option<u32>,
    counts: BTreeMap<String, u64>,
    found: Vec<String>,
    hasher: blake3::Hasher,
    trace: Vec<String>,
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}

impl<'a> Engine<'a> {
    fn begin(setup: &'a Setup, agents: &'a mut dyn Agents) -> Result<Self, AgentsFault> {
        let symptom = setup.revision.name.as_str();
        let mut lines = Vec::with_capacity(setup.servers.len());
        let mut servers = Vec::with_capacity(setup.servers.len());
        let mut numbers = BTreeMap::new();
        for (number, server) in setup.servers.iter().enumerate() {
            let seed = setup.seed.wrapping_mul(0xD134_2543_DE82_EF95) ^ (number as u64 + 1);
            let drawn = setup.odds.draw(server, symptom, seed, START_MS);
            numbers.insert(server.name.clone(), number);
            servers.push(drawn.server);
            lines.push(Line {
                name: Some(server.name.clone()),
                site: server.site.to_string(),
                unreachable: drawn.unreachable,
                slow: drawn.slow,
                ..Line::default()
            });
        }
        let mut engine = Self {
            random: fastrand::Rng::with_seed(setup.seed),
            now_ms: START_MS,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            number: 0,
            controller: Controller::new(setup, START_MS),
            alive: true,
            doomed: None,
            clock_ms: 0,
            lines,
            numbers,
            states: BTreeMap::new(),
            sections: BTreeMap::new(),
            paths: MailFlow::of(&setup.servers),
            streams: 0,
            parts: 0,
            decide: 0,
            decide_ms: None,
            looks: false,
            moved_ms: START_MS,
            healed_ms: None,
            gates: Gates::default(),
            halted_with: None,
            counts: BTreeMap::new(),
            found: Vec::new(),
            hasher: blake3::Hasher::new(),
            trace: Vec::new(),
            setup,
            agents,
        };
        engine.ask(Request::Begin(wire::SimulationBegin {
            seed: setup.seed,
            servers,
            broken: setup.broken.clone(),
        }))?;
        engine.foresee();
        Ok(engine)
    }

    fn at(&mut self, at_ms: i64, happens: Happens) {
        self.number += 1;
        self.events.insert(self.number, happens);
        self.queue
            .push(Reverse((at_ms.max(self.now_ms), self.number)));
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        let line = format!("{} {}", self.now_ms - START_MS, line());
        self.hasher.update(line.as_bytes());
        self.hasher.update(b"\n");
        if self.setup.traced {
            self.trace.push(line);
        }
    }

    fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    fn name(&self, server: usize) -> ServerName {
        match &self.lines[server].name {
            Some(name) => name.clone(),
            None => unreachable!("every line has its server"),
        }
    }

    fn ask(&mut self, request: Request) -> Result<wire::SimulationAnswer, AgentsFault> {
        let answer = self.agents.answer(wire::SimulationRequest {
            request: Some(request),
        })?;
        if answer.failed.is_empty() {
            Ok(answer)
        } else {
            Err(AgentsFault::Ended(answer.failed))
        }
    }

    fn play(mut self) -> Result<Outcome, AgentsFault> {
        let end_ms = START_MS + ms(self.setup.longest);
        let ending = loop {
            if let Some(ending) = self.over() {
                break ending;
            }
            let Some(Reverse((at_ms, number))) = self.queue.pop() else {
                break Ending::Waiting;
            };
            if at_ms > end_ms {
                self.now_ms = end_ms;
                break Ending::TimeOver;
            }
            let Some(happens) = self.events.remove(&number) else {
                continue;
            };
            self.now_ms = at_ms;
            self.happens(happens)?;
            let mut found = std::mem::take(&mut self.controller.found);
            self.found.append(&mut found);
            if !self.found.is_empty() {
                break Ending::TimeOver;
            }
        };
        self.finish(ending)
    }

    /// Whether nothing more can come of it.
    fn over(&mut self) -> Option<Ending> {
        let rollout = &self.controller.rollout;
        let healed = self.healed_ms.map(|at| self.now_ms - at);
        let strategy = &rollout.strategy;
        let soaks = ms(strategy.soak).saturating_mul(i64::from(rollout.waves().count()));
        let weeks = if strategy.windows.is_empty() {
            0
        } else {
            14 * 86_400_000
        };
        let bound_ms = BOUND_MS.saturating_add(soaks).saturating_add(weeks);
        invariants::ends(rollout.state.is_final(), healed, bound_ms, &mut self.found);
        if !self.found.is_empty() {
            return Some(Ending::TimeOver);
        }
        match rollout.state {
            RolloutState::Succeeded => return Some(Ending::Succeeded),
            RolloutState::Failed => return Some(Ending::Failed),
            RolloutState::Aborted => return Some(Ending::Aborted),
            _ => {}
        }
        if self.healed_ms.is_some() || self.setup.healed_after.is_some() {
            return None;
        }
        let working = |phase| {
            matches!(
                phase,
                RunPhase::Assigned | RunPhase::Running | RunPhase::Unwinding
            )
        };
        let at_work = rollout.runs.iter().any(|run| working(run.phase));
        if !at_work && !self.setup.people.resume && self.setup.people.pause.is_none() {
            match rollout.state {
                RolloutState::Halted => return Some(Ending::Halted),
                RolloutState::Paused => return Some(Ending::Paused),
                _ => {}
            }
        }
        let still = self.now_ms - self.moved_ms > STILL_MS && self.decide_ms.is_none();
        still.then_some(Ending::Waiting)
    }

    fn happens(&mut self, happens: Happens) -> Result<(), AgentsFault> {
        match happens {
            Happens::Wake { server, number } => {
                if self.lines[server].wake == number {
                    self.step(server, What::Wake(true))?;
                }
            }
            Happens::Dialled { server } => self.dialled(server)?,
            Happens::Arrives {
                server,
                stream,
                message,
            } => {
                if self.lines[server].stream == Some(stream) {
                    self.note(|| format!("{server} hears {}", heard(&message)));
                    self.step(server, What::Message(message))?;
                }
            }
            Happens::Comes {
                server,
                stream,
                message,
            } => self.comes(server, stream, message),
            Happens::AgentLearns { server, stream } => {
                if self.lines[server].stream == Some(stream) {
                    self.lines[server].stream = None;
                    self.step(server, What::Cut(true))?;
                }
            }
            Happens::ControllerLearns { server, stream } => {
                let name = self.name(server);
                if self.controller.gone(&name, stream) {
                    self.changed();
                }
            }
            Happens::Again { server, stream } => {
                let name = self.name(server);
                if self.alive && self.controller.stream(&name) == Some(stream) {
                    let said = self.controller.tell(&name, true);
                    if !said.is_empty() {
                        self.count("orders told again on a stream");
                    }
                    self.say(said);
                    self.again_later(server);
                }
            }
            Happens::Decide { number } => {
                if number == self.decide {
                    self.decide_ms = None;
                    self.settle();
                }
            }
            Happens::Parted { for_ms } => self.part(for_ms),
            Happens::Joined { number } => {
                self.note(|| format!("partition {number} ends"));
                for line in &mut self.lines {
                    if line.parted == number {
                        line.parted = 0;
                    }
                }
            }
            Happens::Doomed { place, for_ms } => self.doomed = Some((place, for_ms)),
            Happens::Lives => {
                self.note(|| "the controller lives".to_owned());
                self.alive = true;
                self.changed();
            }
            Happens::Jumps { by_ms } => {
                self.note(|| format!("the controller's clock jumps by {by_ms}"));
                self.count("clock jumps of the controller");
                self.clock_ms += by_ms;
                self.changed();
            }
            Happens::Looks => self.looks(),
            Happens::Wishes(wish) => {
                if self.controller.wish(wish) {
                    self.note(|| format!("a person: {wish:?}"));
                    self.moved_ms = self.now_ms;
                    self.changed();
                }
            }
            Happens::Answers { run, server, step } => {
                self.note(|| format!("a person answers step {step} of run {run}"));
                let said = self.controller.answer(run, &server, step);
                self.say(said);
            }
            Happens::Healed => self.heal()?,
        }
        Ok(())
    }
}
