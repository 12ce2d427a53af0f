//! Many simulated rollouts, in a few numbers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::outcome::{Gates, Outcome};

/// How a number is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: i64,
    /// Half are not larger.
    pub median: i64,
    /// Nine of ten are not larger.
    pub p90: i64,
    /// 99 of 100 are not larger.
    pub p99: i64,
    /// The largest.
    pub max: i64,
}

impl Spread {
    /// Of these numbers; zeros where there are none.
    #[must_use]
    pub fn of(numbers: impl IntoIterator<Item = i64>) -> Self {
        let mut all: Vec<i64> = numbers.into_iter().collect();
        all.sort_unstable();
        // The nearest rank: the smallest number that so many are not larger than.
        let at = |percent: usize| {
            let rank = (all.len() * percent).div_ceil(100).max(1) - 1;
            all.get(rank).copied().unwrap_or(0)
        };
        Self {
            min: all.first().copied().unwrap_or(0),
            median: at(50),
            p90: at(90),
            p99: at(99),
            max: all.last().copied().unwrap_or(0),
        }
    }
}

/// Many simulated rollouts. Durations are of simulated time, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many.
    pub simulations: u32,
    /// How many ended in which way.
    pub endings: BTreeMap<String, u32>,
    /// From start to end.
    pub duration_ms: Spread,
    /// The time without mail service of each server that had any, over all simulations.
    pub outage_ms: Spread,
    /// The longest of each of these without a break.
    pub longest_outage_ms: Spread,
    /// The server with the longest outage of all, and the seed.
    pub worst: Option<(String, u64)>,
    /// Failures when it first halted, or at its end.
    pub failed_before_halt: Spread,
    /// How many waves began.
    pub waves: Spread,
    /// How many waves there are.
    pub waves_of: u32,
    /// What held rollouts back: in how many simulations each did, at least once.
    pub gates: BTreeMap<String, u32>,
    /// Runs by the phase in which they stood at the end, over all simulations.
    pub runs: BTreeMap<String, u32>,
    /// Messages, delivered, delivered twice and named: over all simulations.
    pub messages: (u64, u64, u64),
    /// Seeds of simulations in which an invariant did not hold, with the first of them.
    pub broken: BTreeMap<u64, String>,
}

/// Makes few numbers of many.
#[must_use]
pub fn summary(outcomes: &[Outcome]) -> Summary {
    let mut endings = BTreeMap::new();
    let mut gates = BTreeMap::new();
    let mut runs: BTreeMap<String, u32> = BTreeMap::new();
    let mut messages = (0, 0, 0);
    for outcome in outcomes {
        *endings.entry(outcome.ending.name().to_owned()).or_default() += 1;
        for (name, fired) in fired(&outcome.gates) {
            *gates.entry(name.to_owned()).or_default() += u32::from(fired > 0);
        }
        for (phase, count) in &outcome.runs {
            *runs.entry(phase.clone()).or_default() += count;
        }
        messages.0 += outcome.messages.0;
        messages.1 += outcome.messages.1;
        messages.2 += outcome.messages.2;
    }
    let servers = || outcomes.iter().flat_map(|outcome| outcome.outages.values());
    let worst = outcomes
        .iter()
        .flat_map(|outcome| {
            outcome
                .outages
                .iter()
                .map(|(name, of)| (of.longest_ms, name, outcome.seed))
        })
        .max_by_key(|(longest, ..)| *longest)
        .map(|(_, name, seed)| (name.clone(), seed));
    let broken = outcomes
        .iter()
        .filter_map(|outcome| Some((outcome.seed, outcome.broken.first()?.clone())));
    Summary {
        simulations: u32::try_from(outcomes.len()).unwrap_or(u32::MAX),
        endings,
        duration_ms: Spread::of(outcomes.iter().map(|outcome| outcome.duration_ms)),
        outage_ms: Spread::of(servers().map(|of| of.outage_ms)),
        longest_outage_ms: Spread::of(servers().map(|of| of.longest_ms)),
        worst,
        failed_before_halt: Spread::of(
            outcomes
                .iter()
                .map(|outcome| i64::from(outcome.failed_before_halt)),
        ),
        waves: Spread::of(outcomes.iter().map(|outcome| i64::from(outcome.waves.0))),
        waves_of: outcomes
            .iter()
            .map(|outcome| outcome.waves.1)
            .max()
            .unwrap_or(0),
        gates,
        runs,
        messages,
        broken: broken.collect(),
    }
}

/// What held a rollout back, by name.
fn fired(gates: &Gates) -> [(&'static str, u32); 5] {
    [
        ("max_failed", gates.max_failed),
        ("health is bad", gates.health_bad),
        ("health cannot be told", gates.health_unknown),
        ("approval", gates.approval),
        ("window", gates.window),
    ]
}
