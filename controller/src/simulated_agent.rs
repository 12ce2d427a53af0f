//! An agent without a machine: it keeps a journal and folds it as the real one does, and its steps end
//! as the test says. Shared by the tests of decisions and of the orchestrator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServerName;
use mailmend_policy::plan::{Plan, PlannedStep, Section};
use mailmend_policy::policy::Limits;
use mailmend_policy::step::{Action, IfStillRunning, QuarantineUndo};
use mailmend_policy::strategy::{Resolved, Strategy, Targets};
use mailmend_proto::run::{Ended, Event, Outcome, Record, RunId, RunState, SectionEnd, StepState};

use crate::decide::windows::longest_outage;
use crate::rollout::Unwinding;

/// How a step or its undo ends.
pub(crate) type Ends = Arc<dyn Fn(&ServerName, &PlannedStep, bool) -> Outcome + Send + Sync>;

pub(crate) struct SimulatedAgent {
    pub(crate) name: ServerName,
    pub(crate) journal: Vec<Record>,
    pub(crate) runs: BTreeMap<RunId, (Arc<Plan>, RunState)>,
    pub(crate) refuses: bool,
    ends: Ends,
}

impl SimulatedAgent {
    pub(crate) fn new(name: &str, ends: Ends) -> Self {
        Self {
            name: name.parse().unwrap(),
            journal: Vec::new(),
            runs: BTreeMap::new(),
            refuses: false,
            ends,
        }
    }

    pub(crate) fn highest_fence(&self) -> u64 {
        self.runs
            .values()
            .map(|(_, state)| state.fence)
            .max()
            .unwrap_or(0)
    }

    /// Answers whether the run was admitted.
    pub(crate) fn assign(&mut self, run: RunId, fence: u64, plan: &Arc<Plan>) -> bool {
        if self.runs.contains_key(&run) {
            return true;
        }
        if self.refuses {
            return false;
        }
        assert!(fence > self.highest_fence(), "a fence was minted twice");
        self.runs.insert(run, (plan.clone(), RunState::default()));
        let admitted = Event::Admitted {
            fence,
            plan: plan.digest(),
            policy: plan.policy_digest,
            assignment: Vec::new(),
        };
        self.write(run, admitted);
        true
    }

    pub(crate) fn advance(&mut self, run: RunId, fence: u64, through: u32) {
        let Some((_, state)) = self.runs.get(&run) else {
            return;
        };
        if state.closed.is_none() && state.down_to.is_none() && through > state.through {
            self.write(run, Event::Advanced { fence, through });
        }
    }

    pub(crate) fn unwind(&mut self, run: RunId, fence: u64, order: Unwinding) {
        let Some((_, state)) = self.runs.get(&run) else {
            return;
        };
        let lower = state.down_to.is_none_or(|now| order.down_to < now);
        let last = order.last && !state.unwind_last;
        if state.closed.is_none() && (lower || last) {
            let down_to = state
                .down_to
                .map_or(order.down_to, |now| now.min(order.down_to));
            let ordered = Event::UnwindOrdered {
                fence,
                down_to,
                last: order.last,
            };
            self.write(run, ordered);
        }
    }

    /// Goes on by one record in some run; answers which, or none where there is nothing to do.
    pub(crate) fn go_on(&mut self) -> Option<(RunId, Event)> {
        let (run, event) = self
            .runs
            .iter()
            .find_map(|(run, (plan, state))| Some((*run, self.next(plan, state)?)))?;
        self.write(run, event.clone());
        Some((run, event))
    }

    fn write(&mut self, run: RunId, event: Event) {
        let (_, state) = self.runs.get_mut(&run).unwrap();
        *state = std::mem::take(state).after(&event).unwrap();
        self.journal.push(Record {
            seq: self.journal.len() as u64 + 1,
            at_ms: 0,
            run,
            event,
        });
    }

    /// The same order of things as in the agent's `runner/next.rs`.
    fn next(&self, plan: &Plan, state: &RunState) -> Option<Event> {
        if state.closed.is_some() || !state.begun {
            return None;
        }
        let own = || plan.steps.iter().filter(|step| step.server == self.name);
        let outcome = |step: u32| match state.steps.get(&step) {
            Some(StepState::Finished { outcome, .. }) => Some(*outcome),
            _ => None,
        };
        if let Some(acting) = state.acting() {
            let step = &plan.steps[acting as usize];
            let outcome = (self.ends)(&self.name, step, false);
            return Some(Event::StepFinished {
                step: acting,
                attempt: 1,
                outcome,
                detail: format!("{outcome:?}"),
                evidence: Vec::new(),
            });
        }
        if let Some(open) = &state.section {
            let section = &plan.sections[open.section as usize];
            let failed = (section.first..=section.last)
                .any(|step| matches!(outcome(step), Some(Outcome::NoEffect | Outcome::Unknown)));
            let next = (section.first..=section.last).find(|step| !state.steps.contains_key(step));
            let end = |how| {
                Some(Event::SectionEnded {
                    section: section.index,
                    how,
                    detail: "left".into(),
                })
            };
            return match next {
                _ if failed => end(SectionEnd::Exited),
                None => end(SectionEnd::Committed),
                Some(_) if state.down_to.is_some() => end(SectionEnd::Exited),
                Some(step) => Some(Event::StepIntended { step, attempt: 1 }),
            };
        }
        match state.down_to {
            Some(down_to) => self.back(plan, state, down_to),
            None => {
                let left = state
                    .ended_sections
                    .values()
                    .any(|how| *how != SectionEnd::Committed);
                let failed = own().any(|step| {
                    matches!(
                        outcome(step.index),
                        Some(Outcome::NoEffect | Outcome::Unknown)
                    )
                });
                if left || failed {
                    return None;
                }
                let Some(step) = own().find(|step| !state.steps.contains_key(&step.index)) else {
                    return (state.through as usize >= plan.steps.len()).then(|| Event::Closed {
                        how: Ended::Committed,
                        detail: String::new(),
                    });
                };
                if step.index >= state.through {
                    return None;
                }
                let section = step.section.map(|section| &plan.sections[section as usize]);
                match section {
                    Some(section) if section.first == step.index => {
                        assert!(
                            section.last < state.through,
                            "a section was released in part"
                        );
                        if state.section.is_none()
                            && !state.ended_sections.contains_key(&section.index)
                        {
                            return Some(Event::SectionBegan {
                                section: section.index,
                                service: section.service.clone(),
                                boot: "boot".into(),
                                since_boot_ms: 0,
                                budget_ms: 1,
                            });
                        }
                    }
                    _ => {}
                }
                Some(Event::StepIntended {
                    step: step.index,
                    attempt: 1,
                })
            }
        }
    }

    fn back(&self, plan: &Plan, state: &RunState, down_to: u32) -> Option<Event> {
        let own = || plan.steps.iter().filter(|step| step.server == self.name);
        let closed = |how| {
            Some(Event::Closed {
                how,
                detail: "as told".into(),
            })
        };
        let is =
            |step: &PlannedStep, wanted: StepState| state.steps.get(&step.index) == Some(&wanted);
        let finished = |outcome| StepState::Finished {
            attempt: 1,
            outcome,
        };
        if own().any(|step| is(step, finished(Outcome::Unknown))) {
            return closed(Ended::AtRest);
        }
        if let Some(step) = own().find(|step| is(step, StepState::Undoing)) {
            return Some(Event::UndoFinished {
                step: step.index,
                outcome: (self.ends)(&self.name, step, true),
                detail: "undone".into(),
            });
        }
        if own().any(|step| is(step, StepState::UndoFailed)) {
            return closed(Ended::AtRest);
        }
        let done = |step: &PlannedStep| is(step, finished(Outcome::Done));
        let floor = own()
            .filter(|step| step.point_of_no_return && done(step))
            .map(|step| step.index + 1)
            .max()
            .unwrap_or(0);
        let next = own()
            .rfind(|step| step.index >= down_to.max(floor) && done(step) && step.action.has_undo());
        match next {
            Some(step) => Some(Event::UndoIntended { step: step.index }),
            None if state.unwind_last || down_to == 0 => closed(Ended::Unwound),
            None => None,
        }
    }
}

/// A strategy in numbers, for a fleet that has no other servers than these plans.
pub(crate) fn resolved<'a>(
    strategy: &Strategy,
    plans: impl IntoIterator<Item = &'a Plan>,
) -> Resolved {
    let (mut sites, mut runs) = (BTreeMap::new(), 0);
    let mut outage = std::time::Duration::ZERO;
    for plan in plans {
        runs += 1;
        let servers: &mut BTreeSet<ServerName> = sites.entry(plan.site.clone()).or_default();
        servers.extend(plan.servers());
        outage = outage.max(longest_outage(plan).unwrap_or_default());
    }
    let count = |servers: usize| u32::try_from(servers).unwrap();
    let targets = Targets {
        runs,
        fleet: count(sites.values().map(BTreeSet::len).sum()),
        sites: sites
            .into_iter()
            .map(|(site, servers)| (site, count(servers.len())))
            .collect(),
        longest_outage: outage,
    };
    strategy.resolve(&targets).unwrap()
}

/// A plan from a few words: `A:detect B:check A:stop A:hold A:start! …`; `!` is the point of no return.
pub(crate) fn plan_of(site: &str, words: &str) -> Arc<Plan> {
    let mut steps = Vec::new();
    let mut sections: Vec<Section> = Vec::new();
    let mut open = false;
    for (index, word) in words.split_whitespace().enumerate() {
        let index = u32::try_from(index).unwrap();
        let (server, what) = word.split_once(':').unwrap();
        let server: ServerName = format!("{site}-{server}").parse().unwrap();
        let kind = what.trim_end_matches('!');
        let action = match kind {
            "detect" => Action::Detect { all: Vec::new() },
            "check" => Action::Check { all: Vec::new() },
            "stop" => Action::ServiceStop {
                service: "MSExchangeIMC".parse().unwrap(),
                then: IfStillRunning::Fail,
            },
            "hold" => Action::QueueQuarantine {
                queue: mailmend_policy::condition::Queue::OutboundAwaitingDelivery,
                undo: QuarantineUndo::Replay,
            },
            "start" => Action::ServiceStart {
                service: "MSExchangeIMC".parse().unwrap(),
                observe: std::time::Duration::from_secs(1),
                attempts: 1,
            },
            other => panic!("`{other}`"),
        };
        if kind == "stop" {
            open = true;
            sections.push(Section {
                index: u32::try_from(sections.len()).unwrap(),
                server: server.clone(),
                role: "mail".parse().unwrap(),
                first: index,
                last: index,
                service: "MSExchangeIMC".parse().unwrap(),
                inner: Vec::new(),
                budget: std::time::Duration::from_secs(60),
            });
        }
        let section = if open { sections.last_mut() } else { None };
        let section = section.map(|section| {
            section.last = index;
            section.index
        });
        open = open && kind != "start";
        steps.push(PlannedStep {
            index,
            id: format!("{kind}-{index}").parse().unwrap(),
            role: "mail".parse().unwrap(),
            server,
            action,
            timeout: std::time::Duration::from_secs(1),
            when: Vec::new(),
            forbid: Vec::new(),
            point_of_no_return: what.ends_with('!'),
            why: None,
            section,
        });
    }
    Arc::new(Plan {
        policy: "test".parse().unwrap(),
        policy_version: 1,
        policy_digest: Digest::of(b"test"),
        site: site.parse().unwrap(),
        subject: None,
        bindings: BTreeMap::new(),
        limits: Limits {
            max_outage: std::time::Duration::from_secs(60),
            max_restarts: 4,
            max_files: 10,
        },
        steps,
        sections,
    })
}
