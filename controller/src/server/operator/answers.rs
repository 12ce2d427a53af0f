//! From what is kept to what operators are told.

mod waves;

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::name::ServerName;
use mailmend_policy::plan::{Plan, PlannedStep};
use mailmend_policy::preview::{StepBound, bounds, describe, searched_queue, worst_case};
use mailmend_policy::step::Action;
use mailmend_proto::convert::{entry_to_wire, reconciled_to_wire};
use mailmend_proto::run::{BatchId, Custody, Event};
use mailmend_proto::wire;

use crate::explain::Waiting;
use crate::rollout::{Mark, Rollout, RolloutState, Run, RunPhase, Told};
use crate::store::{
    AgentRow, CustodyChange, CustodyRow, Duty, PolicyRow, ReconciledRow, RunRecord,
};

pub(super) use waves::{planned_strategy, planned_waves, recall};

pub(super) fn policy(row: PolicyRow) -> wire::PolicyRevision {
    wire::PolicyRevision {
        name: row.name.to_string(),
        version: row.version,
        digest: row.digest.as_bytes().to_vec(),
        title: row.title,
        article: row.article,
        published_ms: row.published_ms,
        text: row.text,
        recall: None,
    }
}

pub(super) fn agent(
    row: &AgentRow,
    connected: bool,
    last_seen_ms: i64,
    alarms: Vec<String>,
) -> wire::Agent {
    wire::Agent {
        name: row.name.to_string(),
        site: row.site.to_string(),
        labels: row.labels.clone().into_iter().collect(),
        facts: row.facts.clone().into_iter().collect(),
        actions: row.actions.iter().cloned().collect(),
        version: row.version.clone(),
        connected,
        last_seen_ms,
        certificate_until_ms: row.certificate_until_ms,
        head: row.head,
        acknowledged: row.acknowledged,
        alarms,
        in_hand: None,
        queues: Vec::new(),
    }
}

/// A plan, with what its steps take at most for the queues as they were told last.
pub(super) fn plan(
    plan: &Plan,
    unavailable: Vec<String>,
    queues: &BTreeMap<ServerName, Vec<wire::QueueDepth>>,
) -> wire::PlanView {
    let worst = worst_case(plan);
    let outage = worst.servers.values().max().copied().unwrap_or_default();
    wire::PlanView {
        site: plan.site.to_string(),
        subject: plan
            .subject
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        digest: plan.digest().as_bytes().to_vec(),
        steps: plan
            .steps
            .iter()
            .map(|one| step(plan, one, queues))
            .collect(),
        worst_outage_ms: millis(outage),
        worst_restarts: worst.restarts,
        unavailable,
    }
}

fn step(
    plan: &Plan,
    step: &PlannedStep,
    queues: &BTreeMap<ServerName, Vec<wire::QueueDepth>>,
) -> wire::StepView {
    let queue = searched_queue(plan, step);
    let waiting = queue.and_then(|queue| {
        let told = queues.get(&step.server)?;
        told.iter().find(|depth| depth.queue == queue.name())
    });
    let bounds = waiting.map_or_else(Vec::new, |waiting| bounds(&step.action, waiting.messages));
    wire::StepView {
        index: step.index,
        id: step.id.to_string(),
        server: step.server.to_string(),
        action: step.action.name().to_owned(),
        what: describe(step),
        timeout_ms: millis(step.timeout),
        section: step.section,
        bounds: bounds.into_iter().map(bound).collect(),
        queue: queue.map_or_else(String::new, |queue| queue.name().to_owned()),
        waiting: waiting.cloned(),
    }
}

fn bound(bound: StepBound) -> wire::Bound {
    wire::Bound {
        what: bound.what.to_owned(),
        at_most: bound.at_most,
        declared: bound.declared,
        how: bound.how,
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) const fn state(state: RolloutState) -> wire::RolloutState {
    match state {
        RolloutState::Running => wire::RolloutState::Running,
        RolloutState::Paused => wire::RolloutState::Paused,
        RolloutState::Aborting => wire::RolloutState::Aborting,
        RolloutState::Halted => wire::RolloutState::Halted,
        RolloutState::Succeeded => wire::RolloutState::Succeeded,
        RolloutState::Failed => wire::RolloutState::Failed,
        RolloutState::Aborted => wire::RolloutState::Aborted,
    }
}

const fn phase(phase: RunPhase) -> wire::RunPhase {
    match phase {
        RunPhase::Waiting => wire::RunPhase::Waiting,
        RunPhase::Assigned => wire::RunPhase::Assigned,
        RunPhase::Running => wire::RunPhase::Running,
        RunPhase::Unwinding => wire::RunPhase::Unwinding,
        RunPhase::Succeeded => wire::RunPhase::Succeeded,
        RunPhase::NotNeeded => wire::RunPhase::NotNeeded,
        RunPhase::Failed => wire::RunPhase::Failed,
        RunPhase::NeedsPerson => wire::RunPhase::NeedsPerson,
        RunPhase::Cancelled => wire::RunPhase::Cancelled,
    }
}

pub(super) fn rollout(rollout: &Rollout) -> wire::Rollout {
    wire::Rollout {
        id: rollout.id.to_string(),
        policy: rollout.policy.to_string(),
        version: rollout.version,
        selector: rollout.selector.clone(),
        state: state(rollout.state).into(),
        started_ms: rollout.started_ms,
        ended_ms: rollout.ended_ms.unwrap_or(0),
        runs: rollout.runs.iter().map(run).collect(),
        sites_at_once: rollout.strategy.sites_at_once,
        max_failed: rollout.max_failed(),
        why: rollout.why.clone(),
        by: rollout.by.clone(),
        strategy: waves::strategy(rollout),
        waves: waves::waves(rollout),
        wave: rollout.wave + 1,
        wave_ended_ms: rollout.wave_ended_ms.unwrap_or(0),
        generation: rollout.generation,
        inventory: 0,
        retry_of: rollout
            .retry_of
            .map(|id| id.to_string())
            .unwrap_or_default(),
    }
}

pub(super) fn run(run: &Run) -> wire::Run {
    let mut custody: BTreeMap<String, u64> = BTreeMap::new();
    for (state, count) in run.parts.values().flat_map(|part| &part.told.custody) {
        *custody.entry(state.clone()).or_insert(0) += count;
    }
    wire::Run {
        id: run.id.to_string(),
        site: run.site.to_string(),
        subject: run
            .subject
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        phase: phase(run.phase).into(),
        through: run.through(),
        steps: run.steps(),
        finished: run.finished(),
        current: current(run),
        why: run.why.clone(),
        started_ms: run.started_ms.unwrap_or(0),
        ended_ms: run.ended_ms.unwrap_or(0),
        custody,
    }
}

/// What happens now.
fn current(run: &Run) -> String {
    let now: Vec<String> = run
        .plan
        .steps
        .iter()
        .filter_map(|step| match run.mark(step)? {
            Mark::Intended if run.asks(step) => {
                Some(format!("{} on {} asks a person", step.id, step.server))
            }
            Mark::Intended => Some(format!("{} on {}", step.id, step.server)),
            Mark::Undoing => Some(format!("undoing {} on {}", step.id, step.server)),
            _ => None,
        })
        .collect();
    now.join(", ")
}

pub(super) fn restarts<'a>(told: impl Iterator<Item = &'a Told>) -> u32 {
    told.map(|told| told.restarts).sum()
}

/// A duty as a run.
pub(super) fn duty(id: String, duty: &Duty) -> wire::Run {
    wire::Run {
        id,
        site: duty.site.to_string(),
        subject: duty.agent.to_string(),
        phase: phase(duty.phase).into(),
        why: duty.why.clone(),
        started_ms: duty.started_ms,
        ended_ms: duty.ended_ms,
        custody: duty.told.custody.clone(),
        ..wire::Run::default()
    }
}

/// The steps of a run with what their agents told of each.
/// `poison` is what the run found to be that.
pub(super) fn steps(
    run: &Run,
    records: &[RunRecord],
    poison: &BTreeSet<(BatchId, u32)>,
) -> Vec<wire::RunStep> {
    let mut steps: BTreeMap<u32, wire::RunStep> = run
        .plan
        .steps
        .iter()
        .map(|step| {
            let state = run.mark(step).map_or("waiting", Mark::name);
            let told = wire::RunStep {
                index: step.index,
                id: step.id.to_string(),
                server: step.server.to_string(),
                action: step.action.name().to_owned(),
                state: state.to_owned(),
                task: task(run, step),
                ..wire::RunStep::default()
            };
            (step.index, told)
        })
        .collect();
    for (step, search) in super::searched::searches(&run.plan, records, poison) {
        if let Some(told) = steps.get_mut(&step) {
            told.search = Some(search);
        }
    }
    for RunRecord { record, .. } in records {
        let at_ms = record.at_ms;
        let index = match &record.event {
            Event::StepIntended { step, .. }
            | Event::StepSkipped { step, .. }
            | Event::StepFinished { step, .. }
            | Event::UndoIntended { step }
            | Event::UndoFinished { step, .. } => *step,
            _ => continue,
        };
        let Some(told) = steps.get_mut(&index) else {
            continue;
        };
        match &record.event {
            Event::StepIntended { attempt: 1, .. } => told.began_ms = at_ms,
            Event::StepSkipped { why, .. } => {
                told.detail.clone_from(why);
                told.ended_ms = at_ms;
            }
            Event::StepFinished {
                detail, evidence, ..
            } => {
                told.detail.clone_from(detail);
                told.evidence.clone_from(evidence);
                told.ended_ms = at_ms;
            }
            Event::UndoFinished { detail, .. } => {
                told.detail = format!("{}; undo: {detail}", told.detail);
                told.ended_ms = at_ms;
            }
            _ => {}
        }
    }
    steps.into_values().collect()
}

/// What a step asks of a person now.
fn task(run: &Run, step: &PlannedStep) -> Option<wire::Task> {
    match &step.action {
        Action::HumanTask {
            ask,
            answers,
            accept,
        } if run.asks(step) => Some(wire::Task {
            ask: ask.clone(),
            answers: answers.clone(),
            accept: accept.clone(),
        }),
        _ => None,
    }
}

pub(super) fn waiting(waiting: Waiting, now_ms: i64) -> wire::Waiting {
    wire::Waiting {
        kind: waiting.kind.name().to_owned(),
        expected_ms: waiting.expected_ms.unwrap_or(0),
        overdue: waiting.is_overdue(now_ms),
        run: waiting.run.map(|run| run.to_string()).unwrap_or_default(),
        site: waiting
            .site
            .map(|site| site.to_string())
            .unwrap_or_default(),
        predicate: waiting.predicate,
        holder: waiting.holder,
        since_ms: waiting.since_ms,
        release: waiting.release,
    }
}

/// One page of what a reconciliation found.
pub(super) fn reconciled(rows: Vec<ReconciledRow>, delivered: u64) -> wire::ReconciledPage {
    let taken_up = (0..)
        .zip(&rows)
        .filter_map(|(index, row)| {
            let (batch, entry, custody) = row.taken_up?;
            Some(wire::TakenUp {
                index,
                id: format!("{batch}/{entry}"),
                custody: state_of(custody).into(),
            })
        })
        .collect();
    wire::ReconciledPage {
        messages: rows
            .into_iter()
            .map(|row| reconciled_to_wire(row.message))
            .collect(),
        delivered,
        taken_up,
    }
}

const fn state_of(custody: Custody) -> wire::Custody {
    match custody {
        Custody::Live => wire::Custody::Live,
        Custody::Held => wire::Custody::Held,
        Custody::Replaying => wire::Custody::Replaying,
        Custody::GoneWithEvidence => wire::Custody::GoneWithEvidence,
        Custody::Poison => wire::Custody::Poison,
        Custody::InDoubt => wire::Custody::InDoubt,
    }
}

pub(super) fn custody(row: &CustodyRow, history: Vec<CustodyChange>) -> wire::CustodyEntry {
    wire::CustodyEntry {
        id: format!("{}/{}", row.batch, row.entry.index),
        agent: row.agent.to_string(),
        run: row.run.to_string(),
        queue: row.queue.clone(),
        entry: Some(entry_to_wire(&row.entry)),
        evidence: row.evidence.clone(),
        changed_ms: row.changed_ms,
        held: row.held.clone(),
        copied_from: row.copied_from.clone(),
        history: history
            .into_iter()
            .map(|change| wire::CustodyChange {
                custody: state_of(change.custody).into(),
                at_ms: change.at_ms,
                evidence: change.evidence,
            })
            .collect(),
    }
}
