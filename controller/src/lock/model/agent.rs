//! The agent's side: a journal, what follows from it, and what an order does to it.

use super::{Rules, Step, World, fence};

/// A record of an agent's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Record {
    Admitted { run: usize, fence: u64 },
    Advanced { run: usize },
    UnwindOrdered { run: usize },
    SectionBegan { run: usize },
    SectionEnded { run: usize },
    Closed { run: usize },
    ReleaseOrdered { order: usize },
    ReleaseClosed { order: usize },
    Fenced { fence: u64 },
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Agent {
    /// What it has written down, durably.
    pub(super) journal: Vec<Record>,
    /// Records before this one are forgotten: 0 as long as the journal is read at a restart.
    forgotten: usize,
    /// How much of the journal the controller has taken in.
    pub(super) taken_in: usize,
    /// The runs that it ever said it refused.
    pub(super) refused: [bool; 2],
    /// The releases that it ever said it has taken, and refused.
    pub(super) answered: [[bool; 2]; 2],
}

/// What records of a run add up to; the same fold for the agent and for what the controller was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Part {
    pub(super) begun: bool,
    pub(super) fence: u64,
    pub(super) advanced: bool,
    pub(super) unwinding: bool,
    /// Sections that began: one forward, one to take it back.
    pub(super) began: u8,
    pub(super) ended: u8,
    pub(super) closed: bool,
    /// The release that is being carried out.
    pub(super) releasing: Option<usize>,
    /// Releases that were taken.
    pub(super) released: [bool; 2],
    pub(super) release_began: bool,
}

impl Part {
    pub(super) fn of(records: &[Record], wanted: usize) -> Self {
        let mut part = Self::default();
        for record in records {
            match *record {
                Record::Admitted { run, fence } if run == wanted => {
                    part.begun = true;
                    part.fence = fence;
                }
                Record::Advanced { run } if run == wanted => part.advanced = true,
                Record::UnwindOrdered { run } if run == wanted => part.unwinding = true,
                Record::SectionBegan { run } if run == wanted => {
                    part.began += 1;
                    part.release_began = part.releasing.is_some();
                }
                Record::SectionEnded { run } if run == wanted => part.ended += 1,
                Record::Closed { run } if run == wanted => part.closed = true,
                Record::ReleaseOrdered { order } if wanted == 0 => {
                    part.releasing = Some(order);
                    part.released[order] = true;
                    part.release_began = false;
                }
                Record::ReleaseClosed { .. } if wanted == 0 => part.releasing = None,
                // Releases are of run 0, and so are their fences.
                Record::Fenced { fence } if wanted == 0 => part.fence = part.fence.max(fence),
                _ => {}
            }
        }
        part
    }

    pub(super) const fn in_section(&self) -> bool {
        self.began > self.ended
    }

    /// Whether its agent may disturb service for it now or later, without being told anything more.
    pub(super) const fn may_disturb(&self) -> bool {
        self.in_section()
            || self.releasing.is_some()
            || (self.begun && !self.closed && self.advanced)
    }
}

/// The highest fence of some records.
pub(super) fn highest(records: &[Record]) -> u64 {
    let fences = records.iter().map(|record| match *record {
        Record::Admitted { fence, .. } | Record::Fenced { fence } => fence,
        _ => 0,
    });
    fences.max().unwrap_or(0)
}

impl Agent {
    pub(super) fn that_closed(run: usize, fence: u64) -> Self {
        let journal = vec![
            Record::Admitted { run, fence },
            Record::Advanced { run },
            Record::SectionBegan { run },
            Record::SectionEnded { run },
            Record::Closed { run },
        ];
        Self {
            taken_in: journal.len(),
            journal,
            ..Self::default()
        }
    }

    /// What it decides by.
    pub(super) fn memory(&self) -> &[Record] {
        &self.journal[self.forgotten..]
    }

    /// What the controller knows of it.
    pub(super) fn told(&self, run: usize) -> Part {
        Part::of(&self.journal[..self.taken_in], run)
    }

    fn write(&mut self, record: Record) {
        self.journal.push(record);
    }

    fn get_assignment(&mut self, rules: Rules, run: usize, fence: u64, willing: bool) {
        let part = Part::of(self.memory(), run);
        if part.begun {
            return;
        }
        let newer = !rules.fences || fence::admit(highest(self.memory()), fence).is_ok();
        if newer && willing {
            self.write(Record::Admitted { run, fence });
        } else {
            self.refused[run] = true;
        }
    }

    /// The run's part where an order of it is to be obeyed.
    fn ordered(&self, rules: Rules, run: usize, fence: u64) -> Option<Part> {
        let part = Part::of(self.memory(), run);
        let current = !rules.fences || fence::obey(part.fence, fence).is_ok();
        (part.begun && !part.closed && current).then_some(part)
    }

    fn get_release(&mut self, rules: Rules, order: usize, fence: u64, willing: bool) {
        let part = Part::of(self.memory(), 0);
        if part.released[order] {
            self.answered[order][0] = true;
            return;
        }
        let newer = !rules.fences || fence::admit(highest(self.memory()), fence).is_ok();
        if newer && willing && part.closed && part.releasing.is_none() {
            self.write(Record::ReleaseOrdered { order });
            self.write(Record::Fenced { fence });
            self.answered[order][0] = true;
        } else {
            // A run that it does not know has no fence to raise.
            if part.begun && fence > part.fence {
                self.write(Record::Fenced { fence });
            }
            self.answered[order][1] = true;
        }
    }

    /// The next record of a run that needs nobody's word.
    fn next(&self, run: usize) -> Option<Record> {
        let part = Part::of(self.memory(), run);
        if let Some(order) = part.releasing {
            return Some(match (part.in_section(), part.release_began) {
                (true, _) => Record::SectionEnded { run },
                (false, false) => Record::SectionBegan { run },
                (false, true) => Record::ReleaseClosed { order },
            });
        }
        if !part.begun || part.closed {
            return None;
        }
        if part.in_section() {
            return Some(Record::SectionEnded { run });
        }
        match (part.unwinding, part.began) {
            (false, 0) if part.advanced => Some(Record::SectionBegan { run }),
            (true, 1) => Some(Record::SectionBegan { run }),
            (true, _) => Some(Record::Closed { run }),
            (false, _) => None,
        }
    }

    fn go_on(&mut self) {
        // It carries on what it can; two runs go on in any order, which the restart below and the orders
        // between their steps give.
        let next = (0..2).find_map(|run| self.next(run));
        if let Some(record) = next {
            self.write(record);
        }
    }

    fn restart(&mut self, rules: Rules) {
        for run in 0..2 {
            if Part::of(&self.journal, run).in_section() {
                self.write(Record::SectionEnded { run });
            }
        }
        if !rules.journal {
            self.forgotten = self.journal.len();
        }
    }
}

impl World {
    pub(super) fn agent_steps(&self, steps: &mut Vec<Step>) {
        for (agent, one) in self.agents.iter().enumerate() {
            for (run, given) in self.runs.iter().enumerate() {
                if !given.agents[agent] || given.fence == 0 {
                    continue;
                }
                let part = Part::of(one.memory(), run);
                if !part.begun {
                    steps.push(Step::GetAssignment(agent, run, true));
                    if given.refusable {
                        steps.push(Step::GetAssignment(agent, run, false));
                    }
                } else if !part.closed {
                    if given.through[agent] && !part.advanced {
                        steps.push(Step::GetAdvance(agent, run));
                    }
                    if given.committed {
                        steps.push(Step::GetCommit(agent, run));
                    }
                    if given.unwind[agent] && !part.unwinding {
                        steps.push(Step::GetUnwind(agent, run));
                    }
                }
            }
            if (0..2).any(|run| one.next(run).is_some()) {
                steps.push(Step::GoOn(agent));
            }
            steps.push(Step::Restart(agent));
        }
        for (order, release) in self.releases.iter().enumerate() {
            if release.fence > 0 {
                steps.push(Step::GetRelease(order, true));
                steps.push(Step::GetRelease(order, false));
            }
        }
    }

    pub(super) fn agent_after(&mut self, rules: Rules, step: Step) {
        match step {
            Step::GetAssignment(agent, run, willing) => {
                let fence = self.runs[run].fence;
                self.agents[agent].get_assignment(rules, run, fence, willing);
            }
            Step::GetAdvance(agent, run) => {
                let one = &mut self.agents[agent];
                let part = one.ordered(rules, run, self.runs[run].fence);
                if part.is_some_and(|part| !part.unwinding) {
                    one.write(Record::Advanced { run });
                }
            }
            Step::GetCommit(agent, run) => {
                let one = &mut self.agents[agent];
                let part = one.ordered(rules, run, self.runs[run].fence);
                if part.is_some_and(|part| !part.unwinding && part.ended == 1) {
                    one.write(Record::Closed { run });
                }
            }
            Step::GetUnwind(agent, run) => {
                let one = &mut self.agents[agent];
                if one.ordered(rules, run, self.runs[run].fence).is_some() {
                    one.write(Record::UnwindOrdered { run });
                }
            }
            Step::GetRelease(order, willing) => {
                let fence = self.releases[order].fence;
                self.agents[0].get_release(rules, order, fence, willing);
            }
            Step::GoOn(agent) => self.agents[agent].go_on(),
            Step::Restart(agent) => self.agents[agent].restart(rules),
            _ => {}
        }
    }
}
