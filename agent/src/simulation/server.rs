//! One simulated server: its agent's process, its stream, and what is to go wrong.

mod life;
mod stream;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mailmend_policy::name::ServerName;
use mailmend_proto::run::RunId;
use mailmend_proto::wire;
use mailmend_proto::wire::from_agent;
use mailmend_proto::wire::simulation_step::What;

use super::ground::Ground;
use crate::engine::Engine;
use crate::report::Reporter;

/// How long until a process that ended is started again, as its service manager does.
const RESTART_MS: i64 = 5_000;
/// How long a machine is off that has lost power.
const OFF_MS: i64 = 120_000;
/// How often the watchdog looks while there is something to see.
const WATCH_MS: i64 = 5_000;
/// How long a report may stay without an acknowledgement before the connection counts as broken.
const STORE_MS: i64 = 60_000;

/// One simulated server.
pub(super) struct Server {
    of: wire::SimulatedServer,
    name: ServerName,
    seed: u64,
    broken: Vec<String>,
    random: fastrand::Rng,
    ground: Option<Ground>,
    life: Life,
    stream: Stream,
    /// What has arrived and is taken when the step under way has ended.
    inbox: VecDeque<wire::ToAgent>,
    assignments: BTreeMap<RunId, wire::Assignment>,
    /// When a run that waits goes on by itself.
    run_due: Option<i64>,
    watch_due: Option<i64>,
    deaths: u32,
}

/// The agent's process.
enum Life {
    /// It lives, and has done nothing yet that needs a machine.
    Idle,
    /// It lives.
    Lives(Engine),
    /// It is started again then.
    Dead(i64),
}

/// The agent's side of the connection.
enum Stream {
    /// It dials then.
    Down { dial_ms: i64 },
    /// It has dialled.
    Dialled,
    /// It has said hello.
    Greeted,
    /// It stands.
    Up {
        reporter: Option<Reporter>,
        oldest: Option<(u64, i64)>,
        since_ms: i64,
    },
}

impl Server {
    pub(super) fn new(
        of: wire::SimulatedServer,
        seed: u64,
        broken: &[String],
    ) -> Result<Self, String> {
        let name = of
            .name
            .parse()
            .map_err(|why| format!("server `{}`: {why}", of.name))?;
        Ok(Self {
            name,
            seed,
            broken: broken.to_vec(),
            random: fastrand::Rng::with_seed(seed),
            ground: None,
            life: Life::Idle,
            stream: Stream::Down { dial_ms: 0 },
            inbox: VecDeque::new(),
            assignments: BTreeMap::new(),
            run_due: None,
            watch_due: None,
            deaths: 0,
            of,
        })
    }

    /// Something happens.
    pub(super) fn step(&mut self, now_ms: i64, what: Option<What>) -> wire::SimulationAnswer {
        let mut answer = wire::SimulationAnswer::default();
        self.misfortune(now_ms, &mut answer);
        match what {
            Some(What::Connected(_)) => self.connected(now_ms, &mut answer),
            Some(What::Cut(_)) => self.cut(now_ms),
            Some(What::Message(message)) => self.arrived(now_ms, message, &mut answer),
            Some(What::Heal(_)) => {
                self.of.crashes_ms.clear();
                self.of.power_cuts_ms.clear();
                self.of.jumps.clear();
                self.of.fault = 0;
                if let Some(ground) = &self.ground {
                    ground.heal();
                    ground.world.dies_at(None);
                }
            }
            Some(What::Wake(_)) | None => {}
        }
        self.go_on(now_ms, &mut answer);
        self.report(now_ms, &mut answer);
        if let Stream::Down { dial_ms } = self.stream
            && dial_ms <= now_ms
            && !matches!(self.life, Life::Dead(_))
        {
            self.stream = Stream::Dialled;
            answer.dials = true;
        }
        answer.next_ms = self.next(now_ms).unwrap_or(0);
        let state = answer.state.take().unwrap_or_default();
        answer.state = Some(wire::SimulatedState {
            broken: state.broken,
            ..self.state()
        });
        answer
    }

    pub(super) fn look(&mut self, settle: bool) -> wire::SimulationAnswer {
        let mut broken = Vec::new();
        if let (Some(ground), Life::Lives(engine)) = (&mut self.ground, &self.life) {
            if settle {
                ground.world.advance(Duration::from_secs(60));
            }
            broken = ground.judge(engine.journal(), true);
        }
        wire::SimulationAnswer {
            state: Some(wire::SimulatedState {
                broken,
                ..self.state()
            }),
            ..Default::default()
        }
    }

    fn state(&self) -> wire::SimulatedState {
        let open = match &self.life {
            Life::Lives(engine) => engine.open_runs(),
            Life::Idle | Life::Dead(_) => Vec::new(),
        };
        let state = self.ground.as_ref().map(|ground| ground.state(&open));
        wire::SimulatedState {
            deaths: self.deaths,
            ..state.unwrap_or(wire::SimulatedState {
                service_up: true,
                settled: true,
                ..Default::default()
            })
        }
    }

    /// When it wants to be woken.
    fn next(&self, now_ms: i64) -> Option<i64> {
        let mut times = vec![];
        if let Life::Dead(until) = self.life {
            times.push(until);
        }
        if let Some(ground) = &self.ground {
            let ahead = ground.reached_ms();
            if ahead > now_ms && !self.inbox.is_empty() {
                times.push(ahead);
            }
            times.extend(self.of.crashes_ms.first());
            times.extend(self.of.power_cuts_ms.first());
            times.extend(self.run_due.map(|due| due.max(ahead)));
            times.extend(self.watch_due.map(|due| due.max(ahead)));
            times.extend(self.of.jumps.first().map(|jump| jump.at_ms));
        }
        match &self.stream {
            Stream::Down { dial_ms } => times.push(*dial_ms),
            Stream::Up {
                reporter: Some(reporter),
                oldest,
                ..
            } => {
                let unsent = self
                    .ground
                    .as_ref()
                    .and_then(|ground| ground.written_ms(reporter.sent()));
                times.extend(unsent.filter(|at| *at > now_ms));
                times.extend(oldest.map(|(_, since)| since + STORE_MS));
            }
            _ => {}
        }
        times.into_iter().min().map(|at| at.max(now_ms + 1))
    }
}

fn say(answer: &mut wire::SimulationAnswer, message: from_agent::Message) {
    answer.said.push(wire::SimulatedMessage {
        message: Some(wire::FromAgent {
            message: Some(message),
        }),
    });
}
