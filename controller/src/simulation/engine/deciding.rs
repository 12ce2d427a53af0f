//! The controller at work: it decides, stores, tells, dies in between, and people come when it needs them.

use super::{Engine, Happens, SETTLE_MS, ms};
use crate::decide::Action;
use crate::rollout::{Cause, RolloutState, RunPhase, Wish};
use crate::simulation::controller::Controller;

impl Engine<'_> {
    pub(super) fn changed(&mut self) {
        self.decide_by(self.now_ms + SETTLE_MS);
    }

    pub(super) fn decide_by(&mut self, at_ms: i64) {
        if self.decide_ms.is_none_or(|due| at_ms < due) {
            self.decide_ms = Some(at_ms);
            self.decide += 1;
            let number = self.decide;
            self.at(at_ms, Happens::Decide { number });
        }
    }

    pub(super) fn dies_at(&mut self, here: u8) -> bool {
        let Some((_, for_ms)) = self.doomed.filter(|(place, _)| *place == here) else {
            return false;
        };
        self.doomed = None;
        self.note(|| format!("the controller dies at place {here}"));
        self.count("deaths of the controller");
        self.alive = false;
        self.controller.dies();
        for server in 0..self.lines.len() {
            let after = self.random.i64(1..5_000);
            self.break_off(server, after, after);
        }
        self.at(self.now_ms + for_ms, Happens::Lives);
        true
    }

    /// Decides until nothing follows.
    pub(super) fn settle(&mut self) {
        if !self.alive {
            return;
        }
        for _ in 0..Controller::rounds() {
            let clock_ms = self.now_ms + self.clock_ms;
            let decision = self.controller.decide(clock_ms);
            if decision.actions.is_empty() {
                if let Some(due) = decision.due_ms {
                    self.gates.window += u32::from(!self.setup.planned.strategy.windows.is_empty());
                    self.decide_by((due - self.clock_ms).max(self.now_ms + 1));
                }
                self.people();
                return;
            }
            if self.dies_at(1) {
                return;
            }
            for action in &decision.actions {
                self.note(|| format!("{action:?}"));
                self.turned(action);
            }
            let told = self.controller.carry_out(&decision, clock_ms);
            self.moved_ms = self.now_ms;
            let halted = self.controller.rollout.state == RolloutState::Halted;
            if halted && self.halted_with.is_none() {
                self.halted_with = Some(crate::decide::failed(&self.controller.rollout));
            }
            if self.dies_at(2) {
                return;
            }
            for server in told {
                let said = self.controller.tell(&server, false);
                self.say(said);
            }
        }
        self.found
            .push("I13: decisions do not come to rest".to_owned());
    }

    pub(super) fn turned(&mut self, action: &Action) {
        if let Action::Turn { state, cause, .. } = action {
            match (state, cause) {
                (RolloutState::Halted, Cause::Failures) => self.gates.max_failed += 1,
                (RolloutState::Paused, Cause::Gate) => self.gates.health_unknown += 1,
                (RolloutState::Halted | RolloutState::Failed, Cause::Gate) => {
                    self.gates.health_bad += 1;
                }
                _ => {}
            }
        }
    }

    /// Whether somebody has to come and look.
    pub(super) fn people(&mut self) {
        for (run, server, step) in self.controller.asks() {
            let at = self.now_ms + ms(self.setup.people.after);
            self.at(at, Happens::Answers { run, server, step });
        }
        let rollout = &self.controller.rollout;
        let stuck = matches!(rollout.state, RolloutState::Halted | RolloutState::Paused);
        let first = rollout.wave == 0 && !rollout.is_approved(0);
        let awaited = self.awaits_approval();
        let person = rollout
            .runs
            .iter()
            .any(|run| run.phase == RunPhase::NeedsPerson);
        let comes = (stuck && self.setup.people.resume)
            || first
            || awaited
            || (person && self.healed_ms.is_some());
        if comes && !self.looks {
            self.looks = true;
            let at = self.now_ms + ms(self.setup.people.after);
            self.at(at, Happens::Looks);
        }
    }

    /// Whether a wave has ended and a person has to approve the next one.
    pub(super) fn awaits_approval(&self) -> bool {
        let rollout = &self.controller.rollout;
        let next = rollout.wave + 1;
        next < rollout.waves().count()
            && rollout.wave_ended_ms.is_some()
            && !rollout.is_approved(next)
    }

    /// A person looks at the rollout: approves, resumes, and gives up what nobody can mend.
    pub(super) fn looks(&mut self) {
        self.looks = false;
        let rollout = &self.controller.rollout;
        let wave = rollout.wave;
        let (first, next) = (!rollout.is_approved(wave), !rollout.is_approved(wave + 1));
        let clock_ms = self.now_ms + self.clock_ms;
        if first {
            self.gates.approval += 1;
            self.note(|| format!("a person approves wave {}", wave + 1));
            self.controller.approve(wave, clock_ms);
        } else if next && rollout.wave_ended_ms.is_some() {
            self.gates.approval += 1;
            self.note(|| format!("a person approves wave {}", wave + 2));
            self.controller.approve(wave + 1, clock_ms);
        }
        let stuck = matches!(
            self.controller.rollout.state,
            RolloutState::Halted | RolloutState::Paused
        );
        let person = self
            .controller
            .rollout
            .runs
            .iter()
            .any(|run| run.phase == RunPhase::NeedsPerson);
        if stuck && self.setup.people.resume && self.controller.wish(Wish::Resume) {
            self.note(|| "a person resumes".to_owned());
        }
        let at_work = |phase| {
            matches!(
                phase,
                RunPhase::Assigned | RunPhase::Running | RunPhase::Unwinding
            )
        };
        let quiet = !self
            .controller
            .rollout
            .runs
            .iter()
            .any(|run| at_work(run.phase));
        // Whatever needs a person keeps its site until somebody aborts.
        if self.healed_ms.is_some() && person && quiet && self.controller.wish(Wish::Abort) {
            self.note(|| "a person aborts".to_owned());
        }
        self.moved_ms = self.now_ms;
        self.changed();
    }
}
