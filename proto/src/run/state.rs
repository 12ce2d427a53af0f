//! The state of a run on one agent, and the one match that decides what is legal.

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServiceName;

use super::custody::{Batch, Custody, HeldFolder, Replay};
use super::event::{BatchId, Ended, Event, Outcome, SectionEnd, ServiceChange};
use super::reconciled::Reconciliation;
use super::search::{SearchStart, SearchState};
use uuid::Uuid;

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
    /// Folders that are held whole, or about to be, and whose files were not listed yet.
    pub folders: BTreeMap<BatchId, HeldFolder>,
    /// Starts of services that were intended.
    pub restarts: u32,
    /// The last change of each service.
    pub services: BTreeMap<ServiceName, ServiceChange>,
    /// How it ended.
    pub closed: Option<Ended>,
    /// What persons answered, by step.
    pub answers: BTreeMap<u32, Answer>,
    /// The release of held mail that is being carried out.
    pub release: Option<Release>,
    /// Every order of a person that was taken: the same one again changes nothing.
    pub orders: BTreeSet<Uuid>,
    /// Searches for poison, by step.
    pub searches: BTreeMap<u32, SearchState>,
    /// What was found of accepted messages, by step.
    pub reconciled: BTreeMap<u32, Reconciliation>,
    /// The escrows that were ordered, by step.
    pub escrows: BTreeMap<u32, Escrow>,
    /// Entries that are poison because of a fingerprint and of nothing else, or that are in doubt and lie in the held
    /// folder because of one; each with the fingerprint.
    pub immunized: BTreeMap<BatchId, BTreeMap<u32, Uuid>>,
}

/// What a person answered to a `human.task` step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// One of the step's answers.
    pub answer: String,
    /// Who.
    pub by: String,
    /// In the person's words; empty: nothing was added.
    pub note: String,
}

/// A release of held mail that a person ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The order.
    pub order: Uuid,
    /// Who.
    pub by: String,
    /// Only what is held in these batches; none: in every batch of the run.
    pub batches: Option<Vec<BatchId>>,
    /// What a recovery from escrow left out, with the reasons.
    pub left_out: Vec<String>,
    /// How its section ended; none: it has not begun, or is open.
    pub section: Option<SectionEnd>,
    /// What it gives back: batches and the numbers of their replays.
    pub replays: Vec<(BatchId, u32)>,
}

/// An escrow of the files of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escrow {
    /// The queue's name in policies.
    pub queue: String,
    /// The folder that is watched.
    pub folder: String,
    /// The folder with the second names.
    pub kept_in: String,
    /// How long a copy is kept after evidence of delivery, milliseconds.
    pub keep_ms: u64,
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

/// An event that is not legal in the state it met: a defect or a forged report, never to be folded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{event}` is not legal here: {why}")]
pub struct Illegal {
    /// The event's name.
    pub event: &'static str,
    /// Which rule it breaks.
    pub why: String,
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
        // It belongs to no run and changes none.
        if matches!(event, Event::TrailWitnessed { .. }) {
            return Ok(self);
        }
        match event {
            Event::Admitted { .. } | Event::DutyBegan { .. } if self.begun => {
                return illegal("the run has begun already".into());
            }
            Event::Admitted { .. } | Event::DutyBegan { .. } => {}
            _ if !self.begun => return illegal("the run has not begun".into()),
            Event::Alarm { .. }
            | Event::Settled { .. }
            | Event::SettleOrdered { .. }
            | Event::PoisonProven { .. }
            | Event::Fenced { .. } => {}
            Event::ReleaseOrdered { .. } | Event::RecoverOrdered { .. }
                if self.closed.is_none() =>
            {
                return illegal("the run is not closed".into());
            }
            Event::ReleaseOrdered { .. } | Event::RecoverOrdered { .. } => {}
            Event::Advanced { .. }
            | Event::UnwindOrdered { .. }
            | Event::StepIntended { .. }
            | Event::StepSkipped { .. }
            | Event::UndoIntended { .. }
                if self.release.is_some() =>
            {
                return illegal(
                    "held mail is being released: nothing else happens in the run".into(),
                );
            }
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
                if let Some(release) = &mut self.release {
                    release.section = Some(*how);
                }
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
            Event::FolderIntended {
                batch,
                step,
                queue,
                source,
                held,
                folder_id,
                unclean,
            } => {
                if self.batches.contains_key(batch) || self.folders.contains_key(batch) {
                    return illegal(format!("batch {batch} exists already"));
                }
                let folder = HeldFolder {
                    step: *step,
                    queue: queue.clone(),
                    source: source.clone(),
                    held: held.clone(),
                    folder_id: *folder_id,
                    unclean: *unclean,
                };
                self.folders.insert(*batch, folder);
            }
            Event::BatchIntended {
                batch,
                step,
                queue,
                source,
                held,
                files,
                copied_from,
                ..
            } => {
                if self.batches.contains_key(batch) {
                    return illegal(format!("batch {batch} exists already"));
                }
                if copied_from.is_some() {
                    // Only a person gives copies back, and the order says which.
                    match &mut self.release {
                        Some(Release {
                            batches: Some(batches),
                            section: None,
                            ..
                        }) => batches.push(*batch),
                        _ => return illegal("nobody ordered that copies become custody".into()),
                    }
                }
                let batch_state = Batch {
                    step: *step,
                    queue: queue.clone(),
                    source: source.clone(),
                    held: held.clone(),
                    copied_from: copied_from.clone(),
                    files: *files,
                    entries: Vec::new(),
                    taken: false,
                    replays: BTreeMap::new(),
                };
                self.folders.remove(batch);
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
                if let Some(release) = &mut self.release {
                    release.replays.push((*batch, *replay));
                }
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
                // Whatever settles it anew, it is a fingerprint no longer; in doubt it still lies there because of one.
                if let Some(marked) = self.immunized.get_mut(batch) {
                    for settlement in entries {
                        if settlement.custody != Custody::InDoubt {
                            marked.remove(&settlement.index);
                        }
                    }
                }
            }
            Event::PoisonProven { batch, entries } => {
                let state = self.batch(event, *batch)?;
                for proven in entries {
                    state.entry(event, proven.index)?;
                }
            }
            Event::Immunized { batch, entries } => {
                let state = self.batch(event, *batch)?;
                for (index, _) in entries {
                    let entry = state.entry(event, *index)?;
                    if !matches!(entry.custody, Custody::Poison | Custody::InDoubt) {
                        return illegal(format!(
                            "entry {index} is {}, neither poison nor in doubt",
                            entry.custody.name()
                        ));
                    }
                }
                let marked = self.immunized.entry(*batch).or_default();
                marked.extend(entries.iter().copied());
            }
            Event::IndexSetAside { .. } | Event::Alarm { .. } | Event::TrailWitnessed { .. } => {}
            Event::Closed { how, .. } => {
                if let Some(open) = &self.section {
                    return illegal(format!("section {} is open", open.section));
                }
                if let Some(step) = self.acting() {
                    return illegal(format!("step {step} has not ended"));
                }
                self.closed = Some(*how);
                self.release = None;
            }
            Event::Answered {
                order,
                step,
                answer,
                by,
                note,
            } => {
                if !matches!(self.steps.get(step), Some(StepState::Intended { .. })) {
                    return illegal(format!("step {step} does not wait for an answer"));
                }
                if self.answers.contains_key(step) || !self.orders.insert(*order) {
                    return illegal(format!("step {step} was answered already"));
                }
                let answer = Answer {
                    answer: answer.clone(),
                    by: by.clone(),
                    note: note.clone(),
                };
                self.answers.insert(*step, answer);
            }
            Event::ReleaseOrdered {
                order, by, batch, ..
            } => {
                if let Some(batch) = batch {
                    self.batch(event, *batch)?;
                }
                if !self.orders.insert(*order) {
                    return illegal(format!("order {order} was taken already"));
                }
                self.closed = None;
                self.release = Some(Release {
                    order: *order,
                    by: by.clone(),
                    batches: batch.map(|batch| vec![batch]),
                    left_out: Vec::new(),
                    section: None,
                    replays: Vec::new(),
                });
            }
            Event::RecoverOrdered {
                order, by, left, ..
            } => {
                if !self.orders.insert(*order) {
                    return illegal(format!("order {order} was taken already"));
                }
                self.closed = None;
                self.release = Some(Release {
                    order: *order,
                    by: by.clone(),
                    batches: Some(Vec::new()),
                    left_out: left.clone(),
                    section: None,
                    replays: Vec::new(),
                });
            }
            Event::SettleOrdered { order, .. } => {
                if !self.orders.insert(*order) {
                    return illegal(format!("order {order} was taken already"));
                }
            }
            Event::SearchBegan {
                step,
                batch,
                suspects,
            } => {
                self.batch(event, *batch)?;
                let search = self.searches.entry(*step).or_insert_with(|| SearchState {
                    batch: *batch,
                    suspects: Vec::new(),
                    starts: Vec::new(),
                });
                if search.batch != *batch || !search.starts.is_empty() {
                    return illegal(format!("the search of step {step} has begun already"));
                }
                for suspect in suspects {
                    let last = search.suspects.last();
                    if last.is_some_and(|last| last.index >= suspect.index) {
                        return illegal(format!("suspect {} is out of order", suspect.index));
                    }
                    search.suspects.push(*suspect);
                }
            }
            Event::SearchStarted {
                step,
                start,
                fed,
                may_send_twice,
                boot,
                since_boot_ms,
            } => {
                let Some(search) = self.searches.get_mut(step) else {
                    return illegal(format!("the search of step {step} has not begun"));
                };
                let open = search
                    .starts
                    .last()
                    .is_some_and(|last| last.observed.is_none());
                if open || *start as usize != search.starts.len() + 1 {
                    return illegal(format!("start {start} of step {step} is out of order"));
                }
                search.starts.push(SearchStart {
                    fed: fed.clone(),
                    may_send_twice: *may_send_twice,
                    observed: None,
                });
                // Service is disturbed anew by each start, and was up in between.
                if let Some(open) = &mut self.section {
                    open.boot.clone_from(boot);
                    open.since_boot_ms = *since_boot_ms;
                }
            }
            Event::SearchObserved {
                step,
                start,
                observation,
            } => {
                let search = self.searches.get_mut(step);
                let last = search.and_then(|search| {
                    let number = search.starts.len();
                    search.starts.last_mut().map(|last| (number, last))
                });
                match last {
                    Some((number, last))
                        if number == *start as usize && last.observed.is_none() =>
                    {
                        last.observed = Some(observation.clone());
                    }
                    _ => return illegal(format!("start {start} of step {step} does not run")),
                }
            }
            Event::Reconciled {
                step,
                piece,
                delivered,
                messages,
            } => {
                let found = self.reconciled.entry(*step).or_default();
                if *piece == 1 {
                    *found = Reconciliation::default();
                }
                if *piece != found.pieces + 1 {
                    return illegal(format!(
                        "piece {piece} of step {step}, expected {}",
                        found.pieces + 1
                    ));
                }
                found.pieces = *piece;
                found.delivered = found.delivered.saturating_add(*delivered);
                found.messages.extend_from_slice(messages);
            }
            Event::EscrowOrdered {
                step,
                queue,
                folder,
                kept_in,
                keep_ms,
            } => {
                let escrow = Escrow {
                    queue: queue.clone(),
                    folder: folder.clone(),
                    kept_in: kept_in.clone(),
                    keep_ms: *keep_ms,
                };
                self.escrows.insert(*step, escrow);
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
