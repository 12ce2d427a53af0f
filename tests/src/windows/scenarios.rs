//! The scenarios with Windows agents and a Windows IMS, against a controller on Linux.

use std::cell::Cell;
use std::path::Path;

use crate::clock_factor::ClockFactor;
use crate::lab_error::LabError;
use crate::platform::Platform;
use crate::platform::wine::Windows;
use crate::programs::Programs;
use crate::scenario::{self, Options, Outcome, SCENARIOS, Scenario, stuck_outbound};

/// How many messages users send in each.
const MESSAGES: usize = 12;
/// How many agents are killed, over all disturbed runs.
const AGENTS_KILLED: usize = 50;
/// How many kills each disturbed run has; some find the agent down still.
const KILLS: usize = 14;
/// More runs than that are not made: what misses so often is not disturbed.
const RUNS: u64 = 10;

/// What was played, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Played {
    /// How many scenarios, undisturbed.
    pub(super) scenarios: usize,
    /// How many runs in which agents were killed.
    pub(super) disturbed: usize,
    /// How many agents were killed in them.
    pub(super) killed: usize,
}

/// Plays every scenario once, and the main job with its agents killed at moments that follow from the seed,
/// until enough of them were.
///
/// # Errors
/// Where one of them ends otherwise than it should: mail is lost, a duplicate is not named, a service is down.
pub(super) fn play(folder: &Path, say: &dyn Fn(&str)) -> Result<Played, LabError> {
    let programs = Programs::locate()?;
    let platform = Platform::Wine(Windows::prepare(folder, say)?);
    let options = Options {
        messages: MESSAGES,
        clock_factor: ClockFactor(60),
        waited_before: true,
        platform,
        ..Options::default()
    };
    let mut played = Played::default();
    for scenario in SCENARIOS {
        let outcome = run(scenario, &options, &programs, say)?;
        good(scenario, &options, &outcome, outcome.report.against())?;
        played.scenarios += 1;
    }
    for seed in 1..=RUNS {
        if played.killed >= AGENTS_KILLED {
            break;
        }
        let killed = Cell::new(0);
        let counting = |line: &str| {
            if line.contains(": killed the agent of ") {
                killed.set(killed.get() + 1);
            }
            say(line);
        };
        let options = Options {
            seed,
            kills: KILLS,
            kills_agents_alone: true,
            ..options.clone()
        };
        let scenario = &stuck_outbound::SCENARIO;
        let outcome = run(scenario, &options, &programs, &counting)?;
        good(scenario, &options, &outcome, outcome.report.harm())?;
        played.disturbed += 1;
        played.killed += killed.get();
    }
    if played.killed >= AGENTS_KILLED {
        return Ok(played);
    }
    Err(LabError::Refused {
        attempted: format!("kill {AGENTS_KILLED} agents in {RUNS} runs"),
        reason: format!("only {} kills found one that ran", played.killed),
    })
}

fn run(
    scenario: &Scenario,
    options: &Options,
    programs: &Programs,
    say: &dyn Fn(&str),
) -> Result<Outcome, LabError> {
    say(&format!(
        "{} with Windows agents, {} kills, seed {}",
        scenario.name, options.kills, options.seed
    ));
    scenario::run(scenario, options, programs, say)
}

fn good(
    scenario: &Scenario,
    options: &Options,
    outcome: &Outcome,
    against: Vec<String>,
) -> Result<(), LabError> {
    if against.is_empty() {
        return Ok(());
    }
    Err(LabError::Refused {
        attempted: format!(
            "play `{}` with Windows agents, {} kills, seed {}",
            scenario.name, options.kills, options.seed
        ),
        reason: format!("{}; {}", against.join("; "), outcome.report.rollout),
    })
}
