//! What one agent of the swarm says: an agent without a machine, whose steps all succeed at once.
//!
//! It keeps the journal's tail that nobody has acknowledged and tells it again after each connect, in the order in which
//! the real agent tells it: a result is dropped only once the controller has it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mailmend_policy::digest::Digest;
use mailmend_policy::plan::Plan;
use mailmend_proto::convert::{digest_from_wire, record_to_wire, run_from_wire};
use mailmend_proto::run::{Ended, Event, Outcome, Record, RunId, RunState, SectionEnd};
use mailmend_proto::wire::{self, from_agent, to_agent};

use super::plans::Plans;

/// What an agent of the swarm can carry out.
pub const ACTIONS: [&str; 4] = ["check", "detect", "service.start", "service.stop"];

/// An agent.
pub struct Played {
    journal: String,
    head: u64,
    sent: u64,
    acknowledged: u64,
    /// Records after what was acknowledged, in order.
    tail: VecDeque<wire::Record>,
    runs: BTreeMap<RunId, Course>,
    /// The runs that it has closed: they may be told again, and are never begun again.
    closed: BTreeSet<RunId>,
    highest_fence: u64,
}

/// A run that it has taken on.
struct Course {
    plan: std::sync::Arc<Plan>,
    state: RunState,
}

/// What a message from the controller meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Records up to this number are stored.
    Acknowledged(u64),
    /// A run was assigned, for the first time.
    Assigned,
    /// A run may go further than before.
    Advanced,
    /// Something else.
    Other,
}

impl Default for Played {
    /// An agent with an empty journal.
    fn default() -> Self {
        Self {
            journal: uuid::Uuid::new_v4().to_string(),
            head: 0,
            sent: 0,
            acknowledged: 0,
            tail: VecDeque::new(),
            runs: BTreeMap::new(),
            closed: BTreeSet::new(),
            highest_fence: 0,
        }
    }
}

impl Played {
    /// Its first word on a stream.
    #[must_use]
    pub fn hello(&self) -> wire::Hello {
        wire::Hello {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            journal: self.journal.clone(),
            head: self.head,
            highest_fence: self.highest_fence,
            facts: facts(),
            actions: ACTIONS.iter().map(|&action| action.to_owned()).collect(),
            trust: None,
        }
    }

    /// The controller's first word: from here on what it has not is told again.
    ///
    /// # Errors
    /// Where it has more of the journal than there is, or less than it acknowledged before.
    pub fn welcome(&mut self, welcome: &wire::Welcome) -> Result<(), String> {
        if welcome.journal != self.journal {
            return Err(format!("it knows the journal {}", welcome.journal));
        }
        self.acknowledge(welcome.acknowledged)?;
        self.sent = self.acknowledged;
        Ok(())
    }

    fn acknowledge(&mut self, seq: u64) -> Result<(), String> {
        if seq > self.head || seq < self.acknowledged {
            return Err(format!(
                "it acknowledges record {seq}; there are {}, and {} were acknowledged",
                self.head, self.acknowledged
            ));
        }
        while self.tail.front().is_some_and(|record| record.seq <= seq) {
            self.tail.pop_front();
        }
        self.acknowledged = seq;
        Ok(())
    }

    /// How long its journal is.
    #[must_use]
    pub const fn head(&self) -> u64 {
        self.head
    }

    /// How much of it the controller has stored.
    #[must_use]
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Whether the controller has stored all of its journal.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.acknowledged == self.head
    }

    /// Takes one message in; answers what it meant and what is to be said at once.
    ///
    /// # Errors
    /// Where the message makes no sense.
    pub fn take(
        &mut self,
        message: wire::ToAgent,
        plans: &Plans,
        now_ms: i64,
    ) -> Result<(Heard, Option<from_agent::Message>), String> {
        match message.message.ok_or("an empty message")? {
            to_agent::Message::Acknowledge(told) => {
                self.acknowledge(told.seq)?;
                Ok((Heard::Acknowledged(told.seq), None))
            }
            to_agent::Message::Assignment(assignment) => {
                let run = assignment.run.clone();
                let fresh = self.admit(&assignment, plans, now_ms)?;
                let answer = wire::AssignmentAnswer {
                    run,
                    admitted: true,
                    ..Default::default()
                };
                let heard = if fresh { Heard::Assigned } else { Heard::Other };
                Ok((heard, Some(from_agent::Message::Answer(answer))))
            }
            to_agent::Message::Advance(advance) => {
                let run = run_from_wire(&advance.run).map_err(|why| why.to_string())?;
                let lower = |course: &Course| advance.through > course.state.through;
                if !self.runs.get(&run).is_some_and(lower) {
                    return Ok((Heard::Other, None));
                }
                let (fence, through) = (advance.fence, advance.through);
                self.write(run, Event::Advanced { fence, through }, now_ms)?;
                Ok((Heard::Advanced, None))
            }
            to_agent::Message::Watches(watches) => {
                let some = !watches.watches.is_empty();
                let symptoms = watches.watches.into_iter().map(|watch| wire::Symptom {
                    policy: watch.policy,
                    version: watch.version,
                    digest: watch.digest,
                    state: wire::SymptomState::Absent.into(),
                    since_ms: now_ms,
                    evidence: vec!["the service MSExchangeIMC is running".to_owned()],
                    looked_ms: now_ms,
                });
                let symptoms = wire::Symptoms {
                    symptoms: symptoms.collect(),
                };
                let answer = some.then_some(from_agent::Message::Symptoms(symptoms));
                Ok((Heard::Other, answer))
            }
            to_agent::Message::Welcome(_) => Err("a second welcome".to_owned()),
            _ => Ok((Heard::Other, None)),
        }
    }

    /// Takes a run on; whether it was not taken on before.
    fn admit(
        &mut self,
        assignment: &wire::Assignment,
        plans: &Plans,
        now_ms: i64,
    ) -> Result<bool, String> {
        let run = run_from_wire(&assignment.run).map_err(|why| why.to_string())?;
        if self.runs.contains_key(&run) || self.closed.contains(&run) {
            return Ok(false);
        }
        let digest = digest_from_wire("plan_digest", &assignment.plan_digest)
            .map_err(|why| why.to_string())?;
        let plan = plans.of(assignment)?;
        let state = RunState::default();
        self.runs.insert(run, Course { plan, state });
        self.highest_fence = self.highest_fence.max(assignment.fence);
        let admitted = Event::Admitted {
            fence: assignment.fence,
            plan: digest,
            policy: Digest::of(&assignment.policy_text),
            assignment: prost::Message::encode_to_vec(assignment),
        };
        self.write(run, admitted, now_ms)?;
        Ok(true)
    }

    /// Carries the next released step out, with what comes before and after it; whether there was one.
    ///
    /// # Errors
    /// Where its own records contradict each other.
    pub fn step(&mut self, now_ms: i64) -> Result<bool, String> {
        let due = self.runs.iter().find_map(|(run, course)| {
            let step = u32::try_from(course.state.steps.len()).ok()?;
            let released = course.state.closed.is_none() && step < course.state.through;
            released.then(|| (*run, step, course.plan.clone()))
        });
        let Some((run, step, plan)) = due else {
            return Ok(false);
        };
        let planned = plan.steps.get(step as usize).ok_or("no such step")?;
        let section = planned
            .section
            .map(|section| &plan.sections[section as usize]);
        if let Some(section) = section.filter(|section| section.first == step) {
            let began = Event::SectionBegan {
                section: section.index,
                service: section.service.clone(),
                boot: "swarm".to_owned(),
                since_boot_ms: 1,
                budget_ms: u64::try_from(section.budget.as_millis()).unwrap_or(u64::MAX),
            };
            self.write(run, began, now_ms)?;
        }
        self.write(run, Event::StepIntended { step, attempt: 1 }, now_ms)?;
        let finished = Event::StepFinished {
            step,
            attempt: 1,
            outcome: Outcome::Done,
            detail: format!("`{}` took effect", planned.id),
            evidence: vec!["the service MSExchangeIMC is running".to_owned()],
        };
        self.write(run, finished, now_ms)?;
        if let Some(section) = section.filter(|section| section.last == step) {
            let ended = Event::SectionEnded {
                section: section.index,
                how: SectionEnd::Committed,
                detail: "service runs".to_owned(),
            };
            self.write(run, ended, now_ms)?;
        }
        if step as usize + 1 == plan.steps.len() {
            let closed = Event::Closed {
                how: Ended::Committed,
                detail: String::new(),
            };
            self.write(run, closed, now_ms)?;
            // What is over needs no plan any more.
            self.runs.remove(&run);
            self.closed.insert(run);
        }
        Ok(true)
    }

    fn write(&mut self, run: RunId, event: Event, now_ms: i64) -> Result<(), String> {
        let course = self.runs.get_mut(&run).ok_or("an unknown run")?;
        course.state = std::mem::take(&mut course.state)
            .after(&event)
            .map_err(|why| why.to_string())?;
        self.head += 1;
        let seq = self.head;
        let at_ms = now_ms;
        self.tail.push_back(record_to_wire(&Record {
            seq,
            at_ms,
            run,
            event,
        }));
        Ok(())
    }

    /// What is to be told of the journal; none where all was sent.
    pub fn report(&mut self) -> Option<wire::Report> {
        if self.sent == self.head {
            return None;
        }
        let sent = self.sent;
        let records = self.tail.iter().filter(|record| record.seq > sent);
        let report = wire::Report {
            records: records.cloned().collect(),
        };
        self.sent = self.head;
        Some(report)
    }
}

/// What an agent of the swarm tells of its server.
#[must_use]
pub fn facts() -> BTreeMap<String, String> {
    [
        ("ims.direction", "both"),
        ("exchange.version", "5.5.2653"),
        ("os", "windows"),
        ("ims.service", "MSExchangeIMC"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

#[cfg(test)]
mod tests;
