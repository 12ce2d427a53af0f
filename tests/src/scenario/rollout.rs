//! A rollout as the lab goes along with it: users send, processes die and come back, until it ends.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::operator::rows;
use super::stage::Stage;
use crate::chaos::{Kill, Victim};
use crate::lab_error::LabError;
use crate::tether;

/// The time between two looks of the main loop.
const LOOK: Duration = Duration::from_millis(10);
/// The time between two writings of `lab.json`: the services' processes change without the lab.
const CHART: Duration = Duration::from_millis(500);
/// The exit code of a command that could not reach the controller.
const UNREACHABLE: i32 = 6;

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RolloutEnd {
    /// Its id.
    pub(super) id: String,
    /// Whether every run succeeded or was not needed.
    pub(super) good: bool,
    /// State, exit code and reasons, for people.
    pub(super) told: String,
    /// The ids of its runs.
    pub(super) runs: Vec<String>,
}

impl Stage<'_> {
    /// Publishes a policy file.
    pub(super) fn publish(&mut self, policy: &Path) -> Result<(), LabError> {
        let file = policy.display().to_string();
        let fleet = self.fleet()?;
        fleet.ask(&["policy", "publish", &file]).map(drop)
    }

    /// Rolls a published policy out to all sites and goes along until it ends. `meanwhile` is called at
    /// every look, with the rollout's id and the time since its start.
    pub(super) fn roll_out(
        &mut self,
        policy: &str,
        kills: Vec<Kill>,
        until: Instant,
        mut meanwhile: impl FnMut(&mut Self, &str, Duration) -> Result<(), LabError>,
    ) -> Result<RolloutEnd, LabError> {
        let operator = self.fleet()?.operator.clone();
        let started = self
            .fleet()?
            .ask(&["rollout", "start", policy, "-l", "site", "--yes"])?;
        let id = started["id"].as_str().ok_or_else(|| LabError::Malformed {
            what: "the answer of `mailmend rollout start`".to_owned(),
            reason: format!("it has no `id`: {started}"),
        })?;
        self.say(&format!("rollout {id} of {policy} has started"));
        let begun = Instant::now();
        let mut kills = kills.into_iter().peekable();
        let mut chart = begun;
        let mut watch = operator.watch(id, self.options.watch)?;
        let code = loop {
            self.check_interrupted()?;
            if Instant::now() > until {
                let explained = self.fleet()?.ask(&["rollout", "explain", id])?;
                return Ok(RolloutEnd {
                    id: id.to_owned(),
                    good: false,
                    told: format!("it did not end; it says {explained}"),
                    runs: Vec::new(),
                });
            }
            if kills
                .peek()
                .is_some_and(|kill| kill.after <= begun.elapsed())
                && let Some(kill) = kills.next()
            {
                self.kill(&kill)?;
            }
            if self.fleet()?.keep()? || Instant::now() >= chart {
                self.chart()?;
                chart = Instant::now() + CHART;
            }
            meanwhile(self, id, begun.elapsed())?;
            match watch.ended() {
                None => {}
                // The controller was away, or the watch itself was killed: look again.
                Some(Some(UNREACHABLE) | None) => watch = operator.watch(id, self.options.watch)?,
                Some(Some(code)) => break code,
            }
            std::thread::sleep(LOOK);
        };
        let shown = self.fleet()?.ask(&["rollout", "show", id])?;
        Ok(RolloutEnd {
            id: id.to_owned(),
            good: code == 0,
            told: told(&shown, code),
            runs: super::person::runs(&shown),
        })
    }

    /// Aborts a rollout that came to rest without having ended, as an operator would before trying again.
    /// Returns whether it has ended then.
    pub(super) fn abort(&mut self, id: &str, limit: Duration) -> Result<bool, LabError> {
        let operator = self.fleet()?.operator.clone();
        let over = |rollout: &Value| {
            let state = rollout["state"].as_str().unwrap_or_default();
            let needs_person = rows(&rollout["runs"])
                .iter()
                .any(|run| run["phase"] == "needs-person");
            ["succeeded", "failed", "aborted"].contains(&state) && !needs_person
        };
        if over(&self.fleet()?.ask(&["rollout", "show", id])?) {
            return Ok(true);
        }
        let why = "the lab tries again";
        self.fleet()?.ask(&["rollout", "abort", id, "--why", why])?;
        let begun = Instant::now();
        let mut watch = operator.watch(id, false)?;
        while watch.ended().is_none() {
            self.check_interrupted()?;
            // What was killed last may still have to come back.
            self.fleet()?.keep()?;
            if begun.elapsed() > limit {
                let explained = self.fleet()?.ask(&["rollout", "explain", id])?;
                self.say(&format!("the rollout does not end: {explained}"));
                break;
            }
            std::thread::sleep(LOOK);
        }
        Ok(over(&self.fleet()?.ask(&["rollout", "show", id])?))
    }

    /// Kills what is to be killed. Returns whether it was there to be.
    pub(super) fn kill(&mut self, kill: &Kill) -> Result<bool, LabError> {
        let (what, killed) = match kill.victim {
            Victim::Controller => {
                let controller = &mut self.fleet()?.controller;
                (
                    "the controller".to_owned(),
                    controller.kill(kill.back_after),
                )
            }
            Victim::Agent(index) => {
                let agent = &mut self.fleet()?.agents[index];
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
        let done = if killed { "killed" } else { "already down:" };
        let after = kill.after.as_secs_f32();
        self.say(&format!("{after:.1} s into the rollout: {done} {what}"));
        self.chart()?;
        Ok(killed)
    }
}

fn told(rollout: &Value, code: i32) -> String {
    let state = rollout["state"].as_str().unwrap_or("unknown");
    let mut told = format!("{state} (exit code {code})");
    for run in rows(&rollout["runs"]) {
        if let Some(why) = run["why"].as_str().filter(|why| !why.is_empty()) {
            let phase = run["phase"].as_str().unwrap_or("unknown");
            told.push_str(&format!("; {phase}: {why}"));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_of_failed_runs_are_told() {
        let rollout = serde_json::json!({
            "state": "failed",
            "runs": [{"phase": "failed", "why": "step `x` timed out"}, {"phase": "succeeded"}],
        });
        assert_eq!(
            told(&rollout, 4),
            "failed (exit code 4); failed: step `x` timed out"
        );
    }
}
