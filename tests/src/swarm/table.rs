//! What was measured, for people, and whether the goals were met.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Figures, Outcome, policy};

/// At most so many times the bare server's time to push a policy.
const PUSH: f64 = 1.5;
/// And to have all agents back after a restart.
const STORM: f64 = 2.0;
/// At least this share of them with a ticket.
const RESUMED: f64 = 0.95;
/// Memory of the controller for each idle agent, KiB.
const IDLE_KIB: f64 = 64.0;
/// Processor time of the controller for each step whose report is stored, µs.
const STEP_US: f64 = 64.0;
/// Memory of the controller for each agent that reads nothing, KiB: a third of what is pushed meanwhile, which is told in
/// four messages and then no more, only the newest.
const SLOW_KIB: f64 = 512.0;

/// A goal, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Goal {
    /// What is wanted.
    pub what: &'static str,
    /// The bound.
    pub bound: f64,
    /// What was measured.
    pub found: f64,
    /// Whether that is within the bound.
    pub met: bool,
}

impl Goal {
    fn most(what: &'static str, bound: f64, found: f64) -> Self {
        let met = found <= bound;
        Self {
            what,
            bound,
            found,
            met,
        }
    }

    fn least(what: &'static str, bound: f64, found: f64) -> Self {
        let met = found >= bound;
        Self {
            what,
            bound,
            found,
            met,
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            what,
            bound,
            found,
            met,
        } = self;
        write!(f, "{what:<46} {bound:>7.2} {found:>8.2}  ")?;
        if *met {
            return f.write_str("met");
        }
        write!(f, "missed by {:.2}", (found - bound).abs())
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and bytes of one machine"
)]
fn number(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

impl Outcome {
    /// The goals. Those that compare with the bare server are there only where it was measured.
    #[must_use]
    pub fn goals(&self) -> Vec<Goal> {
        let ours = &self.controller;
        let mut goals = Vec::new();
        if let Some(bare) = &self.bare {
            let push = ours.push.seconds / bare.push.seconds;
            goals.push(Goal::most(
                "push of a policy, times the bare server's",
                PUSH,
                push,
            ));
            let storm = ours.storm.seconds / bare.storm.seconds;
            goals.push(Goal::most(
                "reconnect storm, times the bare server's",
                STORM,
                storm,
            ));
        }
        let resumed = number(ours.resumed) / number(ours.resumed + ours.full).max(1.0);
        goals.push(Goal::least("share of sessions resumed", RESUMED, resumed));
        let idle = self.idle_kib(ours);
        goals.push(Goal::most("memory of an idle agent, KiB", IDLE_KIB, idle));
        goals.push(Goal::most(
            "processor time of a step, µs",
            STEP_US,
            step_us(ours),
        ));
        if self.slow > 0 {
            let slow = self.slow_kib(ours, ours.slow_bytes);
            goals.push(Goal::most(
                "memory of an agent that reads nothing, KiB",
                SLOW_KIB,
                slow,
            ));
        }
        let share = |found: usize, of: usize| number(found) / number(of).max(1.0);
        let stored = share(self.steps_stored, self.steps_due);
        goals.push(Goal::least("share of results stored", 1.0, stored));
        let succeeded = share(self.succeeded, self.runs);
        goals.push(Goal::least("share of runs that succeeded", 1.0, succeeded));
        goals
    }

    fn idle_kib(&self, figures: &Figures) -> f64 {
        let grown = figures.idle_bytes.saturating_sub(figures.empty_bytes);
        number(grown) / 1024.0 / number(self.agents)
    }

    fn slow_kib(&self, figures: &Figures, bytes: u64) -> f64 {
        let grown = bytes.saturating_sub(figures.slow_before_bytes);
        number(grown) / 1024.0 / number(self.slow).max(1.0)
    }

    /// A table of 80 columns.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = format!(
            "{} agents{:<34} {:>12} {:>12}\n",
            self.agents, "", "controller", "bare"
        );
        let bare = self.bare.as_ref();
        let mut row = |what: &str, unit: &str, of: &dyn Fn(&Figures) -> f64| {
            let other = bare.map_or_else(|| "-".to_owned(), |bare| format!("{:.2}", of(bare)));
            // Text can always be written into a string.
            let _ = writeln!(
                table,
                "{what:<38} {unit:<5} {:>9.2} {other:>12}",
                of(&self.controller)
            );
        };
        let all = number(self.agents);
        row("connect all, no ticket", "s", &|f| f.cold.seconds);
        row("  processor, an agent", "µs", &|f| f.cold.cpu * 1e6 / all);
        row("memory of an idle agent", "KiB", &|f| self.idle_kib(f));
        row("push 4 KiB to all, all answered", "s", &|f| f.push.seconds);
        row("  processor, an agent", "µs", &|f| f.push.cpu * 1e6 / all);
        row("assign the first wave", "s", &|f| f.assign.seconds);
        row("five steps of the first wave", "s", &|f| f.steps.seconds);
        row("  agents in it", "", &|f| number(f.first_wave));
        row("  processor, a step", "µs", &step_us);
        row("rollout over all, five steps each", "s", &|f| {
            f.rollout.seconds
        });
        row("  processor, a step", "µs", &|f| {
            f.rollout.cpu * 1e6 / (all * f64::from(policy::STEPS))
        });
        row("listening again after a kill", "s", &|f| f.restart_seconds);
        row("storm: all back", "s", &|f| f.storm.seconds);
        row("  processor, an agent", "µs", &|f| f.storm.cpu * 1e6 / all);
        row("  resumed", "%", &|f| {
            number(f.resumed) * 100.0 / number(f.resumed + f.full).max(1.0)
        });
        row("memory of an agent that reads nothing", "KiB", &|f| {
            self.slow_kib(f, f.slow_bytes)
        });
        row("  with a rollout over all beside it", "KiB", &|f| {
            self.slow_kib(f, f.slow_rollout_bytes)
        });
        row("memory at the end", "MiB", &|f| {
            number(f.end_bytes) / f64::from(1 << 20)
        });
        let _ = writeln!(table, "\n{:<46} {:>7} {:>8}", "goal", "bound", "found");
        for goal in self.goals() {
            let _ = writeln!(table, "{goal}");
        }
        table
    }
}

fn step_us(figures: &Figures) -> f64 {
    let steps = number(figures.first_wave) * f64::from(policy::STEPS);
    figures.steps.cpu * 1e6 / steps.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::Cost;

    fn outcome() -> Outcome {
        let figures = |seconds: f64| Figures {
            push: Cost { seconds, cpu: 0.1 },
            storm: Cost { seconds, cpu: 0.1 },
            steps: Cost {
                seconds,
                cpu: 0.032,
            },
            first_wave: 100,
            resumed: 94,
            full: 6,
            idle_bytes: 65 << 20,
            empty_bytes: 1 << 20,
            ..Figures::default()
        };
        Outcome {
            agents: 1024,
            slow: 0,
            controller: figures(1.6),
            bare: Some(figures(1.0)),
            steps_stored: 10,
            steps_due: 10,
            succeeded: 1,
            runs: 2,
        }
    }

    #[test]
    fn each_goal_is_judged_by_its_own_bound() {
        let goals = outcome().goals();
        let met: Vec<bool> = goals.iter().map(|goal| goal.met).collect();
        // Push 1.6 of 1.5, storm 1.6 of 2, 94 % of 95 %, 64 KiB, 64 µs, all stored, half succeeded.
        assert_eq!(
            met,
            [false, true, false, true, true, true, false],
            "{goals:?}"
        );
        assert!(
            goals[0].to_string().ends_with("missed by 0.10"),
            "{}",
            goals[0]
        );
    }

    #[test]
    fn the_table_fits_a_terminal() {
        for line in outcome().table().lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
