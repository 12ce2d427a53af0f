//! What goes wrong on servers, drawn once for each from the seed.

use std::collections::BTreeMap;
use std::time::Duration;

use mailmend_policy::plan::Server;
use mailmend_proto::wire::{ClockJump, SimulatedFault, SimulatedServer};

/// How often what goes wrong on servers. Shares are of all servers, from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Odds {
    /// On how many the symptom stands.
    pub affected: f64,
    /// How many messages wait there.
    pub messages: u32,
    /// On how many a part of the run goes wrong: service, disk, log, tool, journal.
    pub failing: f64,
    /// How many refuse the run, because their guard file allows nothing.
    pub refusing: f64,
    /// How many never connect.
    pub unreachable: f64,
    /// On how many services start and stop ten times slower, over a slow line.
    pub slow: f64,
    /// How many agents are killed, once or twice.
    pub crashing: f64,
    /// How many machines lose power, once.
    pub losing_power: f64,
    /// On how many the wall clock is set by up to a day, once.
    pub jumping: f64,
    /// Within what time after the start the last three happen.
    pub within: Duration,
}

impl Default for Odds {
    fn default() -> Self {
        Self {
            affected: 0.25,
            messages: 12,
            failing: 0.0,
            refusing: 0.0,
            unreachable: 0.0,
            slow: 0.0,
            crashing: 0.0,
            losing_power: 0.0,
            jumping: 0.0,
            within: Duration::from_secs(3600),
        }
    }
}

/// What a server's part of a run may go wrong by, where it does.
const FAULTS: [SimulatedFault; 8] = [
    SimulatedFault::StopRefused,
    SimulatedFault::StopLies,
    SimulatedFault::StartFlaps,
    SimulatedFault::StartFails,
    SimulatedFault::DiskFull,
    SimulatedFault::Events,
    SimulatedFault::Tools,
    SimulatedFault::Journal,
];

/// A server as it was drawn.
#[derive(Debug, Clone)]
pub(super) struct Drawn {
    pub(super) server: SimulatedServer,
    pub(super) unreachable: bool,
    pub(super) slow: bool,
}

impl Odds {
    /// Draws a server. Each has a seed of its own, so that one more changes none of the others.
    pub(super) fn draw(&self, server: &Server, symptom: &str, seed: u64, start_ms: i64) -> Drawn {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut drawn = [0.0; 9];
        drawn.fill_with(|| random.f64());
        let [
            affected,
            failing,
            refusing,
            unreachable,
            slow,
            crashing,
            twice,
            power,
            jumping,
        ] = drawn;
        let (affected, failing, refusing) = (
            affected < self.affected,
            failing < self.failing,
            refusing < self.refusing,
        );
        let (unreachable, slow) = (unreachable < self.unreachable, slow < self.slow);
        let (crashing, twice) = (crashing < self.crashing, twice < 0.5);
        let (power, jumping) = (power < self.losing_power, jumping < self.jumping);
        let fault = if refusing {
            SimulatedFault::Guard
        } else if failing {
            FAULTS[random.usize(..FAULTS.len())]
        } else {
            SimulatedFault::Unspecified
        };
        let within = i64::try_from(self.within.as_millis())
            .unwrap_or(i64::MAX / 4)
            .max(1);
        let mut times: Vec<i64> = std::iter::repeat_with(|| start_ms + random.i64(1..=within))
            .take(4)
            .collect();
        let (jump_ms, power_ms) = (times.pop(), times.pop());
        let by_ms = random.i64(-86_400_000..=86_400_000);
        times.truncate(usize::from(crashing) * (1 + usize::from(twice)));
        times.sort_unstable();
        let jumps = jump_ms
            .filter(|_| jumping)
            .map(|at_ms| ClockJump { at_ms, by_ms });
        let facts: BTreeMap<String, String> = server.labels.clone();
        Drawn {
            server: SimulatedServer {
                name: server.name.to_string(),
                facts: facts.into_iter().collect(),
                symptom: if affected {
                    symptom.to_owned()
                } else {
                    String::new()
                },
                messages: self.messages,
                fault: fault.into(),
                slowness: if slow { 10 } else { 1 },
                crashes_ms: times,
                power_cuts_ms: power_ms.filter(|_| power).into_iter().collect(),
                jumps: jumps.into_iter().collect(),
            },
            unreachable,
            slow,
        }
    }
}
