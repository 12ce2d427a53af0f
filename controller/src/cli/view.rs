//! What `-o json` prints: objects whose fields stay as they are over releases.
//!
//! Times are RFC 3339 UTC or null, durations milliseconds, digests hexadecimal, states kebab-case.

mod waves;

use std::collections::BTreeMap;

use mailmend_proto::wire;
use serde::Serialize;

use super::when::absolute;
pub(super) use waves::RecallView;
use waves::{TermView, WaveView};

/// `ROLLOUT_STATE_RUNNING` as `running`.
pub(super) fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix)
        .unwrap_or(name)
        .to_ascii_lowercase()
        .replace('_', "-")
}

pub(super) fn rollout_state(state: wire::RolloutState) -> String {
    word(state.as_str_name(), "ROLLOUT_STATE_")
}

pub(super) fn run_phase(phase: wire::RunPhase) -> String {
    word(phase.as_str_name(), "RUN_PHASE_")
}

pub(super) fn custody(custody: wire::Custody) -> String {
    word(custody.as_str_name(), "CUSTODY_")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[derive(Debug, Serialize)]
pub(super) struct PolicyView {
    pub(super) name: String,
    pub(super) version: u32,
    pub(super) digest: String,
    pub(super) title: String,
    pub(super) article: String,
    pub(super) published: Option<String>,
    pub(super) recalled: Option<RecallView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
}

impl From<&wire::PolicyRevision> for PolicyView {
    fn from(policy: &wire::PolicyRevision) -> Self {
        Self {
            name: policy.name.clone(),
            version: policy.version,
            digest: hex(&policy.digest),
            title: policy.title.clone(),
            article: policy.article.clone(),
            published: absolute(policy.published_ms),
            recalled: policy.recall.as_ref().map(RecallView::from),
            text: (!policy.text.is_empty())
                .then(|| String::from_utf8_lossy(&policy.text).into_owned()),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct AgentView {
    name: String,
    site: String,
    labels: BTreeMap<String, String>,
    facts: BTreeMap<String, String>,
    actions: Vec<String>,
    version: Option<String>,
    connected: bool,
    last_seen: Option<String>,
    certificate_until: Option<String>,
    journal_head: u64,
    journal_acknowledged: u64,
    in_hand: Option<InHandView>,
    queues: Vec<QueueView>,
    alarms: Vec<String>,
}

/// How deep a queue is, as its agent told last.
#[derive(Debug, Serialize)]
struct QueueView {
    queue: String,
    messages: u64,
    bytes: u64,
    oldest: Option<String>,
    counted: Option<String>,
}

impl From<&wire::QueueDepth> for QueueView {
    fn from(depth: &wire::QueueDepth) -> Self {
        Self {
            queue: depth.queue.clone(),
            messages: depth.messages,
            bytes: depth.bytes,
            oldest: absolute(depth.oldest_ms),
            counted: absolute(depth.at_ms),
        }
    }
}

#[derive(Debug, Serialize)]
struct InHandView {
    by: String,
    why: String,
    since: Option<String>,
}

impl From<&wire::Agent> for AgentView {
    fn from(agent: &wire::Agent) -> Self {
        Self {
            name: agent.name.clone(),
            site: agent.site.clone(),
            labels: agent.labels.clone(),
            facts: agent.facts.clone(),
            actions: agent.actions.clone(),
            version: some(&agent.version),
            connected: agent.connected,
            last_seen: absolute(agent.last_seen_ms),
            certificate_until: absolute(agent.certificate_until_ms),
            journal_head: agent.head,
            journal_acknowledged: agent.acknowledged,
            in_hand: agent.in_hand.as_ref().map(|hand| InHandView {
                by: hand.by.clone(),
                why: hand.why.clone(),
                since: absolute(hand.since_ms),
            }),
            queues: agent.queues.iter().map(QueueView::from).collect(),
            alarms: agent.alarms.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct PlanView {
    pub(super) digest: String,
    plans: Vec<SitePlanView>,
    halts_when: String,
    generation: i64,
    strategy: Vec<TermView>,
    waves: Vec<WaveView>,
    mail_flow: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SitePlanView {
    site: String,
    subject: Option<String>,
    digest: String,
    steps: Vec<StepView>,
    worst_outage_ms: u64,
    worst_restarts: u32,
    unavailable: Vec<String>,
}

#[derive(Debug, Serialize)]
struct StepView {
    index: u32,
    id: String,
    server: String,
    action: String,
    what: String,
    timeout_ms: u64,
    section: Option<u32>,
    /// The queue that the bounds depend on; null where they depend on none.
    queue: Option<String>,
    /// What waits in it; null where that was not told yet.
    waiting: Option<QueueView>,
    bounds: Vec<BoundView>,
}

#[derive(Debug, Serialize)]
struct BoundView {
    what: String,
    at_most: u64,
    declared: u64,
    how: String,
}

impl From<&wire::PlanRolloutResponse> for PlanView {
    fn from(answer: &wire::PlanRolloutResponse) -> Self {
        let plans = answer.plans.iter().map(|plan| SitePlanView {
            site: plan.site.clone(),
            subject: some(&plan.subject),
            digest: hex(&plan.digest),
            steps: plan.steps.iter().map(StepView::from).collect(),
            worst_outage_ms: plan.worst_outage_ms,
            worst_restarts: plan.worst_restarts,
            unavailable: plan.unavailable.clone(),
        });
        Self {
            digest: hex(&answer.digest),
            plans: plans.collect(),
            halts_when: answer.inequality.clone(),
            generation: answer.generation,
            strategy: answer.strategy.iter().map(TermView::from).collect(),
            waves: answer.waves.iter().map(WaveView::from).collect(),
            mail_flow: answer.mail_flow.clone(),
        }
    }
}

impl From<&wire::StepView> for StepView {
    fn from(step: &wire::StepView) -> Self {
        Self {
            index: step.index,
            id: step.id.clone(),
            server: step.server.clone(),
            action: step.action.clone(),
            what: step.what.clone(),
            timeout_ms: step.timeout_ms,
            section: step.section,
            queue: some(&step.queue),
            waiting: step.waiting.as_ref().map(QueueView::from),
            bounds: step
                .bounds
                .iter()
                .map(|bound| BoundView {
                    what: bound.what.clone(),
                    at_most: bound.at_most,
                    declared: bound.declared,
                    how: bound.how.clone(),
                })
                .collect(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct RolloutView {
    id: String,
    policy: String,
    version: u32,
    selector: String,
    state: String,
    started: Option<String>,
    ended: Option<String>,
    sites_at_once: u32,
    max_failed: u32,
    strategy: Vec<TermView>,
    waves: Vec<WaveView>,
    wave: u32,
    wave_ended: Option<String>,
    generation: i64,
    inventory: Option<i64>,
    retry_of: Option<String>,
    by: String,
    why: Option<String>,
    runs: Vec<RunView>,
}

impl From<&wire::Rollout> for RolloutView {
    fn from(rollout: &wire::Rollout) -> Self {
        Self {
            id: rollout.id.clone(),
            policy: rollout.policy.clone(),
            version: rollout.version,
            selector: rollout.selector.clone(),
            state: rollout_state(rollout.state()),
            started: absolute(rollout.started_ms),
            ended: absolute(rollout.ended_ms),
            sites_at_once: rollout.sites_at_once,
            max_failed: rollout.max_failed,
            strategy: rollout.strategy.iter().map(TermView::from).collect(),
            waves: rollout.waves.iter().map(WaveView::from).collect(),
            wave: rollout.wave,
            wave_ended: absolute(rollout.wave_ended_ms),
            generation: rollout.generation,
            inventory: Some(rollout.inventory).filter(|generation| *generation > 0),
            retry_of: some(&rollout.retry_of),
            by: rollout.by.clone(),
            why: some(&rollout.why),
            runs: rollout.runs.iter().map(RunView::from).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct RunView {
    id: String,
    site: String,
    subject: Option<String>,
    phase: String,
    through: u32,
    steps: u32,
    finished: u32,
    current: Option<String>,
    why: Option<String>,
    started: Option<String>,
    ended: Option<String>,
    custody: BTreeMap<String, u64>,
}

impl From<&wire::Run> for RunView {
    fn from(run: &wire::Run) -> Self {
        Self {
            id: run.id.clone(),
            site: run.site.clone(),
            subject: some(&run.subject),
            phase: run_phase(run.phase()),
            through: run.through,
            steps: run.steps,
            finished: run.finished,
            current: some(&run.current),
            why: some(&run.why),
            started: absolute(run.started_ms),
            ended: absolute(run.ended_ms),
            custody: run.custody.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct ExplanationView {
    rollout: String,
    state: String,
    waiting: Vec<WaitingView>,
}

#[derive(Debug, Serialize)]
struct WaitingView {
    run: Option<String>,
    site: Option<String>,
    predicate: String,
    holder: String,
    since: Option<String>,
    kind: String,
    expected: Option<String>,
    overdue: bool,
    release: Option<String>,
}

impl From<&wire::Explanation> for ExplanationView {
    fn from(explanation: &wire::Explanation) -> Self {
        let waiting = explanation.waiting.iter().map(|waiting| WaitingView {
            run: some(&waiting.run),
            site: some(&waiting.site),
            predicate: waiting.predicate.clone(),
            holder: waiting.holder.clone(),
            since: absolute(waiting.since_ms),
            kind: waiting.kind.clone(),
            expected: absolute(waiting.expected_ms),
            overdue: waiting.overdue,
            release: some(&waiting.release),
        });
        Self {
            rollout: explanation.rollout.clone(),
            state: rollout_state(explanation.state()),
            waiting: waiting.collect(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct RunDetailView {
    run: Option<RunView>,
    rollout: Option<String>,
    policy: String,
    version: u32,
    restarts: u32,
    alarms: Vec<String>,
    /// All searches of the run together; none where it has searched nothing.
    search: Option<SearchView>,
    steps: Vec<RunStepView>,
}

#[derive(Debug, Serialize)]
struct RunStepView {
    index: u32,
    id: String,
    server: String,
    action: String,
    state: String,
    detail: Option<String>,
    began: Option<String>,
    ended: Option<String>,
    evidence: Vec<String>,
    asks: Option<TaskView>,
    search: Option<SearchView>,
}

/// How a search for poison went so far.
#[derive(Debug, Serialize)]
struct SearchView {
    messages: u64,
    poison: u64,
    /// With nothing too, unless the service ran like that already.
    restarts: u32,
    /// At most, for what was found; none where the search stopped without a finding.
    restarts_bound: Option<u32>,
    /// What splitting by one bit a restart takes at least.
    restarts_information: u32,
    crashes: u32,
    may_be_sent_twice: u64,
}

#[derive(Debug, Serialize)]
struct TaskView {
    ask: String,
    answers: Vec<String>,
    accept: Vec<String>,
}

impl From<&wire::SearchView> for SearchView {
    fn from(search: &wire::SearchView) -> Self {
        Self {
            messages: search.messages,
            poison: search.poison,
            restarts: search.restarts,
            restarts_bound: (search.restarts_bound > 0).then_some(search.restarts_bound),
            restarts_information: search.restarts_information,
            crashes: search.crashes,
            may_be_sent_twice: search.may_be_sent_twice,
        }
    }
}

impl From<&wire::RunDetail> for RunDetailView {
    fn from(detail: &wire::RunDetail) -> Self {
        let steps = detail.steps.iter().map(|step| RunStepView {
            index: step.index,
            id: step.id.clone(),
            server: step.server.clone(),
            action: step.action.clone(),
            state: step.state.clone(),
            detail: some(&step.detail),
            began: absolute(step.began_ms),
            ended: absolute(step.ended_ms),
            evidence: step.evidence.clone(),
            asks: step.task.as_ref().map(|task| TaskView {
                ask: task.ask.clone(),
                answers: task.answers.clone(),
                accept: task.accept.clone(),
            }),
            search: step.search.as_ref().map(SearchView::from),
        });
        Self {
            run: detail.run.as_ref().map(RunView::from),
            rollout: some(&detail.rollout),
            policy: detail.policy.clone(),
            version: detail.version,
            restarts: detail.restarts,
            alarms: detail.alarms.clone(),
            search: super::run::searched_in_all(detail)
                .as_ref()
                .map(SearchView::from),
            steps: steps.collect(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct LedgerView {
    pub(super) counts: BTreeMap<String, u64>,
    pub(super) entries: Vec<EntryView>,
}

#[derive(Debug, Serialize)]
pub(super) struct EntryView {
    id: String,
    agent: String,
    run: String,
    queue: String,
    name: String,
    state: String,
    bytes: u64,
    hash: String,
    mts_id: Option<String>,
    message_id: Option<String>,
    evidence: Option<String>,
    changed: Option<String>,
    held: String,
    copied_from: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    history: Vec<ChangeView>,
}

#[derive(Debug, Serialize)]
struct ChangeView {
    state: String,
    at: Option<String>,
    evidence: Option<String>,
}

impl From<&wire::CustodyEntry> for EntryView {
    fn from(found: &wire::CustodyEntry) -> Self {
        let entry = found.entry.clone().unwrap_or_default();
        Self {
            id: found.id.clone(),
            agent: found.agent.clone(),
            run: found.run.clone(),
            queue: found.queue.clone(),
            state: custody(entry.custody()),
            name: entry.name,
            bytes: entry.size,
            hash: hex(&entry.hash),
            mts_id: some(&entry.mts_id),
            message_id: some(&entry.message_id),
            evidence: some(&found.evidence),
            changed: absolute(found.changed_ms),
            held: found.held.clone(),
            copied_from: some(&found.copied_from),
            history: found
                .history
                .iter()
                .map(|change| ChangeView {
                    state: custody(change.custody()),
                    at: absolute(change.at_ms),
                    evidence: some(&change.evidence),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_named_as_people_write_them() {
        assert_eq!(rollout_state(wire::RolloutState::Running), "running");
        assert_eq!(run_phase(wire::RunPhase::NeedsPerson), "needs-person");
        assert_eq!(
            custody(wire::Custody::GoneWithEvidence),
            "gone-with-evidence"
        );
    }

    #[test]
    fn an_absent_time_or_text_is_null() {
        let view = serde_json::to_value(RunView::from(&wire::Run::default())).unwrap();
        assert!(view["started"].is_null() && view["why"].is_null() && view["subject"].is_null());
        assert_eq!(view["phase"], "unspecified");
    }
}
