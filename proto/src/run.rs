//! A run on one agent: its journal's events, and the state that they add up to.
//!
//! Agent and controller fold the same events with the same function, [`RunState::after`], so that
//! what the agent does after a crash and what the operator is shown cannot differ.

use std::collections::BTreeMap;
use std::fmt;

use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServiceName;
use uuid::Uuid;

/// A run: one plan being carried out; or a duty, which one agent began by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub Uuid);

/// A batch of files in custody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub Uuid);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One line of an agent's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Contiguous from 1 over the whole journal.
    pub seq: u64,
    /// The agent's wall clock, milliseconds since 1970 UTC; for people only.
    pub at_ms: i64,
    /// The run or duty it belongs to.
    pub run: RunId,
    /// What happened, or is about to.
    pub event: Event,
}

/// What a record says. Intentions are durable before their effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The run was taken on.
    Admitted {
        /// The fence of its assignment.
        fence: u64,
        /// The digest of its plan.
        plan: Digest,
        /// The digest of its policy's text.
        policy: Digest,
        /// The assignment as received, wire bytes.
        assignment: Vec<u8>,
    },
    /// The agent began something by itself.
    DutyBegan {
        /// What: `watchdog`.
        duty: String,
        /// The service it cares for.
        service: ServiceName,
        /// Why.
        why: String,
    },
    /// The watermark rose.
    Advanced {
        /// The fence it came with.
        fence: u64,
        /// Steps below this may run.
        through: u32,
    },
    /// The fence rose.
    Fenced {
        /// The new fence.
        fence: u64,
    },
    /// Unwinding was ordered, or goes further down.
    UnwindOrdered {
        /// The fence it came with.
        fence: u64,
        /// Done steps at or above this are undone.
        down_to: u32,
        /// Nothing further down will be asked: the agent closes when that is done.
        last: bool,
    },
    /// A step is about to act.
    StepIntended {
        /// Its index.
        step: u32,
        /// Counts from 1; rises only after `no-effect`.
        attempt: u32,
    },
    /// A step's `when` did not hold.
    StepSkipped {
        /// Its index.
        step: u32,
        /// Which condition.
        why: String,
    },
    /// A step ended.
    StepFinished {
        /// Its index.
        step: u32,
        /// The attempt that ended.
        attempt: u32,
        /// How.
        outcome: Outcome,
        /// One line for people.
        detail: String,
        /// Facts with their places.
        evidence: Vec<String>,
    },
    /// Service is about to be disturbed.
    SectionBegan {
        /// Its index.
        section: u32,
        /// The service whose start is the exit.
        service: ServiceName,
        /// Which start of the machine.
        boot: String,
        /// When, on the machine's monotonic clock.
        since_boot_ms: u64,
        /// How long service may be disturbed.
        budget_ms: u64,
    },
    /// Service is no longer disturbed, or a person was called.
    SectionEnded {
        /// Its index.
        section: u32,
        /// How.
        how: SectionEnd,
        /// One line for people.
        detail: String,
    },
    /// A done step is about to be undone.
    UndoIntended {
        /// Its index.
        step: u32,
    },
    /// An undo ended.
    UndoFinished {
        /// The step's index.
        step: u32,
        /// How.
        outcome: Outcome,
        /// One line for people.
        detail: String,
    },
    /// A service is about to change, or has changed.
    ServiceChanged {
        /// Which.
        service: ServiceName,
        /// How.
        change: ServiceChange,
        /// The process, 0 where there is none.
        pid: u32,
    },
    /// Files are about to be taken into custody.
    BatchIntended {
        /// The batch.
        batch: BatchId,
        /// The step that takes them; none in a duty.
        step: Option<u32>,
        /// The queue's name in policies.
        queue: String,
        /// The folder they are in.
        source: String,
        /// The folder they go to.
        held: String,
        /// How many.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The manifest of a batch, in pieces, in the same transaction as its intention.
    BatchEntries {
        /// The batch.
        batch: BatchId,
        /// The next entries, in order of index.
        entries: Vec<Entry>,
    },
    /// The files are in the held folder, durably.
    BatchHeld {
        /// The batch.
        batch: BatchId,
        /// What stayed in the queue, with the reason.
        left: Vec<Left>,
    },
    /// Held files are about to be given back.
    ReplayIntended {
        /// The batch.
        batch: BatchId,
        /// Counts from 1 in its batch.
        replay: u32,
        /// The step that asked; none where an undo or an operator did.
        step: Option<u32>,
        /// The folder they go to.
        target: String,
        /// Which entries, as inclusive ranges.
        entries: Vec<(u32, u32)>,
    },
    /// The files are in the queue again, durably; the service has not been started yet.
    ReplayPlaced {
        /// The batch.
        batch: BatchId,
        /// Which replay.
        replay: u32,
        /// Entries that took another name because theirs was taken.
        renamed: Vec<(u32, String)>,
        /// What stayed held, with the reason.
        left: Vec<Left>,
    },
    /// Entries reached a state by evidence or by a person's word.
    Settled {
        /// The batch.
        batch: BatchId,
        /// The entries.
        entries: Vec<Settlement>,
    },
    /// `queue.dat` was renamed.
    IndexSetAside {
        /// From.
        from: String,
        /// To.
        to: String,
    },
    /// A person must know.
    Alarm {
        /// A code of `docs/faults.md`.
        code: String,
        /// What, with values.
        text: String,
    },
    /// The agent's part of the run is over.
    Closed {
        /// How.
        how: Ended,
        /// One line for people.
        detail: String,
    },
}

/// How a step or an undo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect, verified.
    Done,
    /// It failed, and it is known that nothing changed.
    NoEffect,
    /// It failed, and it is not known what changed.
    Unknown,
}

/// How a section ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionEnd {
    /// Its last step is done.
    Committed,
    /// The exit was taken: service was started.
    Exited,
    /// The exit failed: an alarm stands.
    HandedOver,
}

/// A change of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceChange {
    /// It is about to be asked to stop.
    StopIntended,
    /// It is stopped: state and process proven.
    Stopped,
    /// Its process is about to be ended.
    KillIntended,
    /// Its process was ended.
    Killed,
    /// It is about to be asked to start; what was placed may be read from here on.
    StartIntended,
    /// It was up for the whole window.
    Started,
    /// It was found dead though nobody stopped it.
    Died,
}

/// One message file in custody; its custody id is (batch, index).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From 0 in its batch.
    pub index: u32,
    /// Its file name when it was taken.
    pub name: String,
    /// Its identity on its volume.
    pub file_id: u64,
    /// Bytes.
    pub size: u64,
    /// Milliseconds since 1970 UTC.
    pub modified_ms: i64,
    /// The digest of its content.
    pub hash: Digest,
    /// Its MTS-ID; empty where the file shows none.
    pub mts_id: String,
    /// Its Message-ID; empty where the file shows none.
    pub message_id: String,
    /// Its state.
    pub custody: Custody,
}

/// The one state of a message file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Custody {
    /// In the server's queue.
    Live,
    /// In the held folder.
    Held,
    /// Given back, not yet proven delivered.
    Replaying,
    /// Delivered, by evidence.
    GoneWithEvidence,
    /// It crashes the service; held.
    Poison,
    /// It may have been sent; never replayed without evidence or a person's word.
    InDoubt,
}

impl Custody {
    /// All states with their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("live", Self::Live),
        ("held", Self::Held),
        ("replaying", Self::Replaying),
        ("gone-with-evidence", Self::GoneWithEvidence),
        ("poison", Self::Poison),
        ("in-doubt", Self::InDoubt),
    ];

    /// The name for people and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// An entry that did not move, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The entry.
    pub index: u32,
    /// Why it stayed.
    pub why: String,
}

/// An entry that reached a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The entry.
    pub index: u32,
    /// The state.
    pub custody: Custody,
    /// The evidence, with its place, or whose word it was.
    pub evidence: String,
}

/// How an agent's part of a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every step is done or skipped, and the run is committed.
    Committed,
    /// The symptom does not stand; nothing was changed.
    NotNeeded,
    /// Every done step was undone as declared.
    Unwound,
    /// A person is needed.
    AtRest,
}

/// What a run's events add up to on one agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunState {
    /// The plan's digest; none for a duty.
    pub plan: Option<Digest>,
    /// Whether the first record has come.
    pub begun: bool,
    /// The highest fence.
    pub fence: u64,
    /// Steps below this may run.
    pub through: u32,
    /// Set once unwinding was ordered: done steps at or above this are undone.
    pub down_to: Option<u32>,
    /// Nothing below `down_to` will be asked any more.
    pub unwind_last: bool,
    /// The agent's steps that have begun.
    pub steps: BTreeMap<u32, StepState>,
    /// The section that is open.
    pub section: Option<OpenSection>,
    /// The sections that have ended, each in exactly one way.
    pub ended_sections: BTreeMap<u32, SectionEnd>,
    /// Files in custody.
    pub batches: BTreeMap<BatchId, Batch>,
    /// Starts of services that were intended.
    pub restarts: u32,
    /// The last change of each service.
    pub services: BTreeMap<ServiceName, ServiceChange>,
    /// How it ended.
    pub closed: Option<Ended>,
}

/// How far a step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// About to act, or acting, or interrupted.
    Intended {
        /// Which attempt.
        attempt: u32,
    },
    /// Ended.
    Finished {
        /// Which attempt.
        attempt: u32,
        /// How.
        outcome: Outcome,
    },
    /// Its `when` did not hold.
    Skipped,
    /// Being undone, or interrupted while being undone.
    Undoing,
    /// Undone as declared.
    Undone,
    /// Its undo failed; visible, at rest.
    UndoFailed,
}

/// A section that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSection {
    /// Its index.
    pub section: u32,
    /// The service whose start is the exit.
    pub service: ServiceName,
    /// Which start of the machine.
    pub boot: String,
    /// When it began, on the machine's monotonic clock.
    pub since_boot_ms: u64,
    /// How long service may be disturbed.
    pub budget_ms: u64,
}

/// A batch of files in custody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The step that took them; none in a duty.
    pub step: Option<u32>,
    /// The queue's name in policies.
    pub queue: String,
    /// The folder they came from.
    pub source: String,
    /// The folder they are held in.
    pub held: String,
    /// How many entries the manifest has when it is whole.
    pub files: u64,
    /// The entries, by index.
    pub entries: Vec<Entry>,
    /// Whether the move is finished, durably.
    pub taken: bool,
    /// Its replays, by number.
    pub replays: BTreeMap<u32, Replay>,
}

/// One giving back of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The step that asked.
    pub step: Option<u32>,
    /// The folder.
    pub target: String,
    /// Inclusive ranges of entries.
    pub entries: Vec<(u32, u32)>,
    /// Entries that took another name.
    pub renamed: BTreeMap<u32, String>,
    /// Whether they are in the queue, durably.
    pub placed: bool,
    /// Whether a start of a service was intended after the intention: it may have read them.
    pub start_followed: bool,
}

/// An event that is not legal in the state it met: a defect or a forged report, never to be folded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{event}` is not legal here: {why}")]
pub struct Illegal {
    /// The event's name.
    pub event: &'static str,
    /// Which rule it breaks.
    pub why: String,
}

impl Event {
    /// The event's name, for messages.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Admitted { .. } => "admitted",
            Self::DutyBegan { .. } => "duty-began",
            Self::Advanced { .. } => "advanced",
            Self::Fenced { .. } => "fenced",
            Self::UnwindOrdered { .. } => "unwind-ordered",
            Self::StepIntended { .. } => "step-intended",
            Self::StepSkipped { .. } => "step-skipped",
            Self::StepFinished { .. } => "step-finished",
            Self::SectionBegan { .. } => "section-began",
            Self::SectionEnded { .. } => "section-ended",
            Self::UndoIntended { .. } => "undo-intended",
            Self::UndoFinished { .. } => "undo-finished",
            Self::ServiceChanged { .. } => "service-changed",
            Self::BatchIntended { .. } => "batch-intended",
            Self::BatchEntries { .. } => "batch-entries",
            Self::BatchHeld { .. } => "batch-held",
            Self::ReplayIntended { .. } => "replay-intended",
            Self::ReplayPlaced { .. } => "replay-placed",
            Self::Settled { .. } => "settled",
            Self::IndexSetAside { .. } => "index-set-aside",
            Self::Alarm { .. } => "alarm",
            Self::Closed { .. } => "closed",
        }
    }
}

impl RunState {
    /// The state of a run from all of its events.
    ///
    /// # Errors
    /// At the first event that is not legal.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Self, Illegal> {
        events.into_iter().try_fold(Self::default(), Self::after)
    }

    /// The state after one more event: the one place that decides what is legal.
    ///
    /// # Errors
    /// Where the event is not legal in this state; the state before is lost with it, so fold a clone
    /// where it is still needed.
    pub fn after(mut self, event: &Event) -> Result<Self, Illegal> {
        let illegal = |why: String| {
            Err(Illegal {
                event: event.name(),
                why,
            })
        };
        match event {
            Event::Admitted { .. } | Event::DutyBegan { .. } if self.begun => {
                return illegal("the run has begun already".into());
            }
            Event::Admitted { .. } | Event::DutyBegan { .. } => {}
            _ if !self.begun => return illegal("the run has not begun".into()),
            Event::Alarm { .. } | Event::Settled { .. } | Event::Fenced { .. } => {}
            _ if self.closed.is_some() => return illegal("the run is closed".into()),
            _ => {}
        }
        match event {
            Event::Admitted { fence, plan, .. } => {
                self.begun = true;
                self.fence = *fence;
                self.plan = Some(*plan);
            }
            Event::DutyBegan { .. } => self.begun = true,
            Event::Fenced { fence } => self.raise_fence(event, *fence)?,
            Event::Advanced { fence, through } => {
                self.raise_fence(event, *fence)?;
                if *through < self.through {
                    return illegal(format!(
                        "the watermark would fall from {} to {through}",
                        self.through
                    ));
                }
                if self.down_to.is_some() {
                    return illegal("the run is unwinding".into());
                }
                self.through = *through;
            }
            Event::UnwindOrdered {
                fence,
                down_to,
                last,
            } => {
                self.raise_fence(event, *fence)?;
                if self.down_to.is_some_and(|now| *down_to > now) {
                    return illegal(format!("unwinding would rise to {down_to}"));
                }
                self.down_to = Some(*down_to);
                self.unwind_last |= *last;
            }
            Event::StepIntended { step, attempt } => {
                if *step >= self.through {
                    return illegal(format!(
                        "step {step} is not released: the watermark is {}",
                        self.through
                    ));
                }
                if self.down_to.is_some() {
                    return illegal("the run is unwinding".into());
                }
                if let Some(other) = self.acting() {
                    return illegal(format!("step {other} has not ended"));
                }
                let expected = match self.steps.get(step) {
                    None => 1,
                    Some(StepState::Finished {
                        attempt,
                        outcome: Outcome::NoEffect,
                    }) => attempt + 1,
                    Some(state) => return illegal(format!("step {step} is {state:?}")),
                };
                if *attempt != expected {
                    return illegal(format!(
                        "attempt {attempt} of step {step}, expected {expected}"
                    ));
                }
                self.steps
                    .insert(*step, StepState::Intended { attempt: *attempt });
            }
            Event::StepSkipped { step, .. } => {
                if *step >= self.through || self.steps.contains_key(step) {
                    return illegal(format!("step {step} cannot be skipped now"));
                }
                self.steps.insert(*step, StepState::Skipped);
            }
            Event::StepFinished {
                step,
                attempt,
                outcome,
                ..
            } => {
                if self.steps.get(step) != Some(&StepState::Intended { attempt: *attempt }) {
                    return illegal(format!("attempt {attempt} of step {step} was not intended"));
                }
                let finished = StepState::Finished {
                    attempt: *attempt,
                    outcome: *outcome,
                };
                self.steps.insert(*step, finished);
            }
            Event::SectionBegan {
                section,
                service,
                boot,
                since_boot_ms,
                budget_ms,
            } => {
                if let Some(open) = &self.section {
                    return illegal(format!("section {} is open", open.section));
                }
                if self.ended_sections.contains_key(section) {
                    return illegal(format!("section {section} has ended"));
                }
                self.section = Some(OpenSection {
                    section: *section,
                    service: service.clone(),
                    boot: boot.clone(),
                    since_boot_ms: *since_boot_ms,
                    budget_ms: *budget_ms,
                });
            }
            Event::SectionEnded { section, how, .. } => {
                if self.section.as_ref().map(|open| open.section) != Some(*section) {
                    return illegal(format!("section {section} is not open"));
                }
                self.section = None;
                self.ended_sections.insert(*section, *how);
            }
            Event::UndoIntended { step } => {
                if self.down_to.is_none_or(|down_to| *step < down_to) {
                    return illegal(format!("undoing step {step} was not ordered"));
                }
                match self.steps.get(step) {
                    Some(
                        StepState::Finished {
                            outcome: Outcome::Done,
                            ..
                        }
                        | StepState::Undoing,
                    ) => {}
                    state => return illegal(format!("step {step} is {state:?}")),
                }
                self.steps.insert(*step, StepState::Undoing);
            }
            Event::UndoFinished { step, outcome, .. } => {
                if self.steps.get(step) != Some(&StepState::Undoing) {
                    return illegal(format!("undoing step {step} was not intended"));
                }
                let state = match outcome {
                    Outcome::Done => StepState::Undone,
                    Outcome::NoEffect | Outcome::Unknown => StepState::UndoFailed,
                };
                self.steps.insert(*step, state);
            }
            Event::ServiceChanged {
                service, change, ..
            } => {
                if *change == ServiceChange::StartIntended {
                    self.restarts += 1;
                    for replay in self
                        .batches
                        .values_mut()
                        .flat_map(|b| b.replays.values_mut())
                    {
                        replay.start_followed = true;
                    }
                }
                self.services.insert(service.clone(), *change);
            }
            Event::BatchIntended {
                batch,
                step,
                queue,
                source,
                held,
                files,
                ..
            } => {
                if self.batches.contains_key(batch) {
                    return illegal(format!("batch {batch} exists already"));
                }
                let batch_state = Batch {
                    step: *step,
                    queue: queue.clone(),
                    source: source.clone(),
                    held: held.clone(),
                    files: *files,
                    entries: Vec::new(),
                    taken: false,
                    replays: BTreeMap::new(),
                };
                self.batches.insert(*batch, batch_state);
            }
            Event::BatchEntries { batch, entries } => {
                let state = self.batch(event, *batch)?;
                if state.taken
                    || state.entries.len() + entries.len()
                        > usize::try_from(state.files).unwrap_or(usize::MAX)
                {
                    return illegal(format!("the manifest of batch {batch} is whole already"));
                }
                for entry in entries {
                    if entry.index as usize != state.entries.len() {
                        return illegal(format!(
                            "entry {} of batch {batch} is out of order",
                            entry.index
                        ));
                    }
                    state.entries.push(entry.clone());
                }
            }
            Event::BatchHeld { batch, left } => {
                let state = self.batch(event, *batch)?;
                if state.taken || state.entries.len() as u64 != state.files {
                    return illegal(format!(
                        "batch {batch} is held already, or its manifest is not whole"
                    ));
                }
                state.taken = true;
                for entry in &mut state.entries {
                    if entry.custody == Custody::Live {
                        entry.custody = Custody::Held;
                    }
                }
                for stayed in left {
                    state.entry(event, stayed.index)?.custody = Custody::Live;
                }
            }
            Event::ReplayIntended {
                batch,
                replay,
                step,
                target,
                entries,
            } => {
                let state = self.batch(event, *batch)?;
                if *replay as usize != state.replays.len() + 1 {
                    return illegal(format!("replay {replay} of batch {batch} is out of order"));
                }
                for index in entries.iter().flat_map(|&(first, last)| first..=last) {
                    let entry = state.entry(event, index)?;
                    if entry.custody != Custody::Held {
                        return illegal(format!(
                            "entry {index} is {}, not held",
                            entry.custody.name()
                        ));
                    }
                    entry.custody = Custody::Replaying;
                }
                let intended = Replay {
                    step: *step,
                    target: target.clone(),
                    entries: entries.clone(),
                    renamed: BTreeMap::new(),
                    placed: false,
                    start_followed: false,
                };
                state.replays.insert(*replay, intended);
            }
            Event::ReplayPlaced {
                batch,
                replay,
                renamed,
                left,
            } => {
                let state = self.batch(event, *batch)?;
                for stayed in left {
                    state.entry(event, stayed.index)?.custody = Custody::Held;
                }
                match state.replays.get_mut(replay) {
                    Some(intended) if !intended.placed => {
                        intended.placed = true;
                        intended.renamed = renamed.iter().cloned().collect();
                    }
                    _ => {
                        return illegal(format!(
                            "replay {replay} of batch {batch} was not intended"
                        ));
                    }
                }
            }
            Event::Settled { batch, entries } => {
                let state = self.batch(event, *batch)?;
                for settlement in entries {
                    let entry = state.entry(event, settlement.index)?;
                    if entry.custody == Custody::GoneWithEvidence
                        && settlement.custody != Custody::GoneWithEvidence
                    {
                        let why = format!("entry {} is gone with evidence", settlement.index);
                        return illegal(why);
                    }
                    entry.custody = settlement.custody;
                }
            }
            Event::IndexSetAside { .. } | Event::Alarm { .. } => {}
            Event::Closed { how, .. } => {
                if let Some(open) = &self.section {
                    return illegal(format!("section {} is open", open.section));
                }
                if let Some(step) = self.acting() {
                    return illegal(format!("step {step} has not ended"));
                }
                self.closed = Some(*how);
            }
        }
        Ok(self)
    }

    /// The step that acts, or was interrupted while acting.
    #[must_use]
    pub fn acting(&self) -> Option<u32> {
        self.steps
            .iter()
            .find(|(_, state)| matches!(state, StepState::Intended { .. }))
            .map(|(step, _)| *step)
    }

    /// Entries in custody by state, over all batches.
    #[must_use]
    pub fn custody_counts(&self) -> BTreeMap<Custody, u64> {
        let mut counts = BTreeMap::new();
        for entry in self.batches.values().flat_map(|batch| &batch.entries) {
            *counts.entry(entry.custody).or_insert(0) += 1;
        }
        counts
    }

    fn raise_fence(&mut self, event: &Event, fence: u64) -> Result<(), Illegal> {
        if fence < self.fence {
            let why = format!("fence {fence} is older than {}", self.fence);
            return Err(Illegal {
                event: event.name(),
                why,
            });
        }
        self.fence = fence;
        Ok(())
    }

    fn batch(&mut self, event: &Event, batch: BatchId) -> Result<&mut Batch, Illegal> {
        self.batches.get_mut(&batch).ok_or_else(|| Illegal {
            event: event.name(),
            why: format!("batch {batch} is unknown"),
        })
    }
}

impl Batch {
    fn entry(&mut self, event: &Event, index: u32) -> Result<&mut Entry, Illegal> {
        let count = self.entries.len();
        self.entries.get_mut(index as usize).ok_or_else(|| Illegal {
            event: event.name(),
            why: format!("entry {index} does not exist: the batch has {count}"),
        })
    }
}

#[cfg(test)]
mod tests;
