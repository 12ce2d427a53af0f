//! The controller's side: what it has stored, and what it stores next. Each step is one transaction.

use super::super::{Held, Purpose, Word, after, all_begun, is_over, take};
use super::{Rules, Step, World, id};

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Waiting,
    Assigned,
    Unwinding,
    Over,
}

/// A run, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Run {
    /// The agents that have a section in it, in their order.
    pub(super) agents: [bool; 2],
    pub(super) phase: Phase,
    /// 0: not given to anybody yet.
    pub(super) fence: u64,
    pub(super) aborting: bool,
    pub(super) refused: [bool; 2],
    /// What was ever told to each agent.
    pub(super) through: [bool; 2],
    pub(super) unwind: [bool; 2],
    pub(super) committed: bool,
    /// Whether a person may abort it, and whether agents may refuse it for reasons of their own.
    pub(super) abortable: bool,
    pub(super) refusable: bool,
}

/// A person's order to release what run 0 holds on agent 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Release {
    /// Whether a person may still order it.
    pub(super) wanted: bool,
    /// 0: not ordered yet.
    pub(super) fence: u64,
    pub(super) waiting: bool,
}

impl Default for Release {
    fn default() -> Self {
        Self {
            wanted: true,
            fence: 0,
            waiting: false,
        }
    }
}

impl Run {
    pub(super) const fn waiting(agents: [bool; 2]) -> Self {
        Self {
            agents,
            phase: Phase::Waiting,
            fence: 0,
            aborting: false,
            refused: [false; 2],
            through: [false; 2],
            unwind: [false; 2],
            committed: false,
            abortable: false,
            refusable: false,
        }
    }

    pub(super) const fn ended(fence: u64, agents: [bool; 2]) -> Self {
        Self {
            phase: Phase::Over,
            fence,
            through: agents,
            committed: true,
            ..Self::waiting(agents)
        }
    }

    fn members(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let agents = self.agents;
        (0..2).filter(move |agent| agents[*agent])
    }
}

impl World {
    /// Whether nothing more can come from an agent's part, as far as it was told.
    fn over(&self, run: usize, agent: usize) -> bool {
        let told = self.agents[agent].told(run);
        is_over(
            told.closed,
            false,
            self.runs[run].refused[agent],
            told.begun,
        )
    }

    /// Whether a run cannot reach its end any more.
    fn fails(&self, run: usize) -> bool {
        let stored = &self.runs[run];
        stored.aborting || stored.members().any(|agent| stored.refused[agent])
    }

    pub(super) fn controller_steps(&self, rules: Rules, steps: &mut Vec<Step>) {
        for (run, stored) in self.runs.iter().enumerate() {
            match stored.phase {
                // The runs are alike, so the one that is begun first is called 0.
                Phase::Waiting if run == 0 || self.runs[0].phase != Phase::Waiting => {
                    steps.push(Step::Assign(run));
                }
                Phase::Waiting => {}
                Phase::Assigned | Phase::Unwinding => self.moves(run, steps),
                Phase::Over => {}
            }
            if stored.abortable && !stored.aborting && stored.phase != Phase::Over {
                steps.push(Step::Abort(run));
            }
            for agent in stored.members() {
                if self.agents[agent].refused[run] && !stored.refused[agent] {
                    steps.push(Step::HearRefusal(run, agent));
                }
            }
        }
        for (agent, one) in self.agents.iter().enumerate() {
            if one.taken_in < one.journal.len() {
                steps.push(Step::TakeIn(agent));
            }
        }
        for (order, release) in self.releases.iter().enumerate() {
            if release.wanted {
                steps.push(Step::OrderRelease(order));
            }
            let [taken, refused] = self.agents[0].answered[order];
            if release.waiting && taken {
                steps.push(Step::HearAnswer(order, true));
            }
            if release.waiting && refused {
                steps.push(Step::HearAnswer(order, false));
            }
        }
        if !rules.no_lease && self.held.is_some() {
            steps.push(Step::Expire);
        }
    }

    /// What follows for a run that was given to its agents, as `decide` has it.
    fn moves(&self, run: usize, steps: &mut Vec<Step>) {
        let stored = &self.runs[run];
        let told = |agent: usize| self.agents[agent].told(run);
        if stored.members().all(|agent| self.over(run, agent)) {
            steps.push(Step::Finish(run));
            return;
        }
        if stored.committed {
            return;
        }
        if stored.phase == Phase::Unwinding || self.fails(run) {
            // In reverse, one agent at a time.
            let next = stored.members().rev().find(|agent| !self.over(run, *agent));
            if let Some(agent) = next.filter(|agent| !stored.unwind[*agent]) {
                steps.push(Step::Unwind(run, agent));
            }
            return;
        }
        if !all_begun(stored.members().map(|agent| told(agent).begun)) {
            return;
        }
        match stored.members().find(|agent| told(*agent).ended == 0) {
            Some(agent) if !stored.through[agent] => steps.push(Step::Advance(run, agent)),
            Some(_) => {}
            None => steps.push(Step::Commit(run)),
        }
    }

    pub(super) fn after(&mut self, rules: Rules, step: Step) {
        match step {
            Step::Assign(run) => {
                if let Some(fence) = self.grant(rules, run, Purpose::Run) {
                    self.runs[run].fence = fence;
                    self.runs[run].phase = Phase::Assigned;
                }
            }
            Step::Advance(run, agent) => self.runs[run].through[agent] = true,
            Step::Commit(run) => self.runs[run].committed = true,
            Step::Unwind(run, agent) => {
                self.runs[run].phase = Phase::Unwinding;
                self.runs[run].unwind[agent] = true;
            }
            Step::Finish(run) => {
                self.runs[run].phase = Phase::Over;
                self.hear(rules, Word::Ended { run: id(run) });
            }
            Step::TakeIn(agent) => self.take_in(rules, agent),
            Step::HearRefusal(run, agent) => {
                // What it has journaled counts for more.
                if !self.agents[agent].told(run).begun {
                    self.runs[run].refused[agent] = true;
                }
            }
            Step::HearAnswer(order, taken) => {
                let release = &mut self.releases[order];
                release.waiting = false;
                let fence = release.fence;
                if !taken {
                    self.hear(rules, Word::Refused { run: id(0), fence });
                }
            }
            Step::Abort(run) => {
                let stored = &mut self.runs[run];
                stored.aborting = true;
                if stored.phase == Phase::Waiting {
                    stored.phase = Phase::Over;
                }
            }
            Step::OrderRelease(order) => self.order_release(rules, order),
            Step::Expire => self.held = None,
            _ => self.agent_after(rules, step),
        }
    }

    fn order_release(&mut self, rules: Rules, order: usize) {
        let told = self.agents[0].told(0);
        let waits = self.releases.iter().any(|release| release.waiting);
        if !told.closed || told.releasing.is_some() || waits {
            return;
        }
        if let Some(fence) = self.grant(rules, 0, Purpose::Release) {
            self.releases[order] = Release {
                wanted: false,
                fence,
                waiting: true,
            };
        }
    }

    fn take_in(&mut self, rules: Rules, agent: usize) {
        let before = self.agents[agent].taken_in;
        self.agents[agent].taken_in += 1;
        for run in 0..2 {
            let was = super::agent::Part::of(&self.agents[agent].journal[..before], run);
            let told = self.agents[agent].told(run);
            if told == was {
                continue;
            }
            if told.begun && !was.begun && self.runs[run].refused[agent] {
                // It took on what it had refused: it is closed again.
                self.runs[run].unwind[agent] = true;
            }
            if told.closed && told.releasing.is_none() {
                let word = Word::Closed {
                    run: id(run),
                    fence: told.fence,
                };
                self.hear(rules, word);
            }
        }
    }

    fn grant(&mut self, rules: Rules, run: usize, purpose: Purpose) -> Option<u64> {
        let mut before = self.held;
        if !rules.role_lock {
            before = before.filter(|held| held.run == id(run));
        }
        if !rules.one_release && purpose == Purpose::Release {
            before = before.map(|held| Held {
                release: None,
                ..held
            });
        }
        let granted = take(before, id(run), purpose, self.minted).ok()?;
        self.held = Some(granted.held);
        self.minted = granted.fence;
        Some(granted.fence)
    }

    fn hear(&mut self, rules: Rules, word: Word) {
        let Some(held) = self.held else {
            return;
        };
        let word = match word {
            // Whatever grant it was of: it is taken for the one that stands.
            Word::Closed { run, .. } | Word::Refused { run, .. } if !rules.own_token => {
                Word::Closed {
                    run,
                    fence: u64::MAX,
                }
            }
            word => word,
        };
        self.held = after(held, word);
    }
}
