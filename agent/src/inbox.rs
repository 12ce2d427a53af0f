//! Admitting an assignment: one pure decision.
//!
//! The agent parses the exact policy text and plans it by itself, with the same code as the controller;
//! where its plan has another digest, nothing is done.

use std::path::PathBuf;

use mailmend_policy::digest::Digest;
use mailmend_policy::name::ServerName;
use mailmend_policy::parse::parse;
use mailmend_policy::plan::{Plan, PlanOf, plan_one};
use mailmend_policy::source::PolicySource;
use mailmend_policy::step::Action;
use mailmend_proto::convert::{digest_from_wire, run_from_wire, server_from_wire};
use mailmend_proto::fence::{self, Stale};
use mailmend_proto::run::{RunId, RunState};
use mailmend_proto::wire;

use crate::ablation::{Mechanism, off};
use crate::faults::known;
use crate::guard::{self, Guard};
use crate::host::Facts;
use crate::step::SUPPORTED;
use crate::trust::Permit;

/// An assignment or an order is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {why}")]
pub struct Refusal {
    /// A code of `docs/faults.md`.
    pub code: &'static str,
    /// Why, and what to do.
    pub why: String,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, why: impl Into<String>) -> Self {
        Self {
            code,
            why: why.into(),
        }
    }
}

impl From<guard::Refusal> for Refusal {
    fn from(refusal: guard::Refusal) -> Self {
        Self::new(
            refusal.code,
            format!("{}; {}", refusal.what, refusal.remedy),
        )
    }
}

/// An assignment, understood.
#[derive(Debug, Clone)]
pub struct Bound {
    /// The run.
    pub run: RunId,
    /// Its fence.
    pub fence: u64,
    /// The digest of the policy's exact text.
    pub policy: Digest,
    /// The plan that the agent made of it.
    pub plan: Plan,
    /// The plan's digest, equal to the assignment's.
    pub digest: Digest,
    /// What the assignment says of this server: labels over facts.
    pub labels: Facts,
}

/// What to do with an assignment.
#[derive(Debug, Clone)]
pub enum Decision {
    /// Take it on.
    Admit(Box<Bound>),
    /// It was taken on before; its fence may be higher than the one known.
    Already(RunId),
    /// It is not for this agent, not now, or not allowed.
    Refuse(Refusal),
}

/// The most runs that an agent has open at a time, each with a thread. A site has few policies, and one run each.
pub const MOST_OPEN: usize = 64;

/// The most servers of an assignment, and the most steps that a plan over all of them may come to: planning takes
/// time and memory with their product, before anything of it can be compared with a digest.
const MOST_SERVERS: usize = 1000;
const MOST_STEPS: usize = 50_000;

/// The most faults of planning that are told.
const MOST_FAULTS: usize = 5;

/// A fence that no controller has minted.
pub(crate) fn too_high(known_fence: u64, came: u64) -> Refusal {
    Refusal::new(
        const { known("A046-assignment-malformed") },
        format!(
            "fence {came} is further above {known_fence} than any controller mints: it would keep every later controller out"
        ),
    )
}

/// What the agent knows when an assignment comes.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Its name.
    pub me: &'a ServerName,
    /// The run's state, where the journal knows the run.
    pub state: Option<&'a RunState>,
    /// The highest fence that any run was ever given.
    pub highest_fence: u64,
    /// How many runs it has open, duties among them.
    pub open: usize,
    /// The guard.
    pub guard: &'a Guard,
    /// Whether a policy with exactly the assignment's text may be begun now.
    pub permit: &'a Result<Permit, Refusal>,
    /// Imcdata of this server, or why it is not known.
    pub imcdata: &'a Result<PathBuf, String>,
}

/// Decides what to do with an assignment.
#[must_use]
pub fn decide(assignment: &wire::Assignment, known_facts: Known<'_>) -> Decision {
    match judge(assignment, known_facts) {
        Ok(decision) => decision,
        Err(refusal) => Decision::Refuse(refusal),
    }
}

fn judge(assignment: &wire::Assignment, facts: Known<'_>) -> Result<Decision, Refusal> {
    if let Some(state) = facts.state {
        let same = digest_from_wire("plan_digest", &assignment.plan_digest)
            .is_ok_and(|digest| state.plan == Some(digest));
        let run = run_from_wire(&assignment.run);
        return if let (true, Ok(run)) = (same, run) {
            Ok(Decision::Already(run))
        } else {
            Err(Refusal::new(
                const { known("A043-run-differs") },
                format!(
                    "run `{}` was taken on with another plan; start a new run",
                    assignment.run
                ),
            ))
        };
    }
    if let Err(Stale { came, known: seen }) = fence::admit(facts.highest_fence, assignment.fence)
        && !off(Mechanism::FenceOnAssignments)
    {
        return Err(Refusal::new(
            const { known("A042-fence-stale") },
            format!(
                "the assignment has fence {came}, and {seen} was seen already; the controller that sent it is not the current one"
            ),
        ));
    }
    if !fence::plausible(facts.highest_fence, assignment.fence) {
        return Err(too_high(facts.highest_fence, assignment.fence));
    }
    if facts.open >= MOST_OPEN {
        return Err(Refusal::new(
            const { known("A049-too-many-runs") },
            format!(
                "{} runs are open on this server, at most {MOST_OPEN} may be",
                facts.open
            ),
        ));
    }
    // Before the text is read at all: strangers have no say in what the parser sees.
    let permit = match facts.permit {
        _ if off(Mechanism::PolicySigned) => &Permit::Unasked,
        permit => permit.as_ref().map_err(Clone::clone)?,
    };
    let bound = bind(assignment, facts.me)?;
    permit.is_for(bound.plan.policy.as_str(), bound.plan.policy_version)?;
    let mut mine = bound
        .plan
        .steps
        .iter()
        .filter(|step| step.server == *facts.me)
        .peekable();
    if mine.peek().is_none() {
        return Err(Refusal::new(
            const { known("A045-nothing-to-do") },
            format!("the plan has no step for `{}`", facts.me),
        ));
    }
    for step in mine.filter(|_| !off(Mechanism::GuardAtAdmission)) {
        let asked = Asked {
            step: step.id.as_str(),
            action: &step.action,
        };
        allowed(asked, facts.guard, facts.imcdata)?;
    }
    Ok(Decision::Admit(Box::new(bound)))
}

/// Understands an assignment: parses the policy and plans it for the assignment's site.
///
/// # Errors
/// Where it makes no sense, the policy has faults, or the plan is not the controller's.
pub fn bind(assignment: &wire::Assignment, me: &ServerName) -> Result<Bound, Refusal> {
    let malformed = |why: String| Refusal::new(const { known("A046-assignment-malformed") }, why);
    let run = run_from_wire(&assignment.run).map_err(|why| malformed(why.to_string()))?;
    let expected = digest_from_wire("plan_digest", &assignment.plan_digest)
        .map_err(|why| malformed(why.to_string()))?;
    let servers = assignment
        .servers
        .iter()
        .map(|server| server_from_wire(server.clone()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|why| malformed(why.to_string()))?;
    let source = PolicySource::new(
        assignment.policy_name.clone(),
        assignment.policy_text.clone(),
    );
    let policy = parse(&source).map_err(|faults| {
        Refusal::new(
            const { known("A041-policy-faulty") },
            format!("this agent refuses the policy: {faults}"),
        )
    })?;
    if policy.name.as_str() != assignment.policy_name {
        return Err(malformed(format!(
            "the assignment names policy `{}`, its text is `{}`",
            assignment.policy_name.escape_debug(),
            policy.name
        )));
    }
    let most = policy.steps.len().saturating_mul(servers.len());
    if servers.len() > MOST_SERVERS || most > MOST_STEPS {
        return Err(malformed(format!(
            "{} servers and {} steps are more than an agent plans: at most {MOST_SERVERS} servers, and {MOST_STEPS} steps over all of them",
            servers.len(),
            policy.steps.len()
        )));
    }
    let of = PlanOf {
        site: &assignment.site,
        subject: &assignment.subject,
    };
    let found = plan_one(&policy, source.digest(), &servers, of).map_err(|faults| {
        let more = faults.len().saturating_sub(MOST_FAULTS);
        let mut told: Vec<String> = faults
            .iter()
            .take(MOST_FAULTS)
            .map(ToString::to_string)
            .collect();
        if more > 0 {
            told.push(format!("and {more} more"));
        }
        Refusal::new(
            const { known("A040-plan-differs") },
            format!("this agent cannot plan it: {}", told.join("; ")),
        )
    })?;
    let Some(plan) = found else {
        return Err(Refusal::new(
            const { known("A040-plan-differs") },
            format!(
                "the policy has no plan for site `{}` and subject `{}`",
                assignment.site.escape_debug(),
                assignment.subject.escape_debug()
            ),
        ));
    };
    let digest = plan.digest();
    if digest != expected && !off(Mechanism::PlanDigestCompared) {
        return Err(Refusal::new(
            const { known("A040-plan-differs") },
            format!(
                "this agent's plan is {}, the controller's {}: they are of different versions, or the assignment was changed; update the older one",
                digest.short(),
                expected.short()
            ),
        ));
    }
    let labels = servers
        .into_iter()
        .find(|server| server.name == *me)
        .map(|server| server.labels)
        .unwrap_or_default();
    Ok(Bound {
        run,
        fence: assignment.fence,
        policy: source.digest(),
        plan,
        digest,
        labels,
    })
}

/// What a step asks for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The step, for people.
    pub step: &'a str,
    /// What it would do.
    pub action: &'a Action,
}

/// Whether this agent can and may carry out a step. Judged by the action alone, whatever a parser has made sure of.
///
/// # Errors
/// Where it cannot, or the guard file does not allow it.
pub fn allowed(
    asked: Asked<'_>,
    guard: &Guard,
    imcdata: &Result<PathBuf, String>,
) -> Result<(), Refusal> {
    let name = asked.action.name();
    if !SUPPORTED.contains(&name) {
        return Err(Refusal::new(
            const { known("A044-action-unsupported") },
            format!(
                "step `{}` needs `{name}`, which this agent cannot carry out; update the agent or choose another server",
                asked.step
            ),
        ));
    }
    match asked.action {
        Action::ServiceStop { service, .. }
        | Action::ServiceStart { service, .. }
        | Action::ServiceKill { service }
        | Action::QueueSearch { service, .. } => guard.allows_service(service)?,
        Action::RoutingRecalculate { tool, .. } => drop(guard.allows_tool(tool)?),
        Action::MailProbe { tool, to } => {
            let with = [("to".to_owned(), to.clone())].into();
            guard.allows_tool(tool)?.arguments_for(&with)?;
        }
        Action::ToolRun { tool, with, accept } => {
            let defined = guard.allows_tool(tool)?;
            defined.arguments_for(with)?;
            if let Some(unknown) = accept
                .iter()
                .find(|verdict| !defined.verdicts().contains_key(*verdict))
            {
                return Err(Refusal::new(
                    const { known("A032-guard-tool") },
                    format!(
                        "step `{}` accepts the verdict `{unknown}`, which the guard file does not define for `{tool}`",
                        asked.step
                    ),
                ));
            }
        }
        Action::QueueQuarantine { queue, .. } => {
            let imcdata = folder(asked, imcdata)?;
            let Some(folder) = queue.folder() else {
                return Err(Refusal::new(
                    const { known("A044-action-unsupported") },
                    format!(
                        "queue `{}` of step `{}` is no folder",
                        queue.name(),
                        asked.step
                    ),
                ));
            };
            guard.allows_path(&imcdata.join(folder))?;
            guard.allows_path(&held_root(guard, imcdata))?;
        }
        Action::MailReconcile {
            store: Some(tool), ..
        } => {
            guard.allows_tool(tool)?;
        }
        Action::MailEscrow { queue, .. } => {
            let imcdata = folder(asked, imcdata)?;
            let folder = queue.folder().unwrap_or_default();
            guard.allows_path(&imcdata.join(folder))?;
            guard.allows_path(&crate::escrow::kept_in(guard, imcdata, folder))?;
        }
        Action::QueueResetIndex {} => {
            guard.allows_path(&folder(asked, imcdata)?.join(INDEX))?;
        }
        // These only look, or move what an action above has taken. Named one by one: a new action is thought about here.
        Action::Detect { .. }
        | Action::QueueReplay { .. }
        | Action::QueueSettle { .. }
        | Action::WaitUntil { .. }
        | Action::Check { .. }
        | Action::HumanTask { .. }
        | Action::MailReconcile { store: None, .. } => {}
    }
    Ok(())
}

/// The index of the queues, in Imcdata.
pub(crate) const INDEX: &str = "queue.dat";

/// The folder that holds a folder for each batch: the guard's choice, else beside Imcdata.
#[must_use]
pub fn held_root(guard: &Guard, imcdata: &std::path::Path) -> PathBuf {
    match guard.hold_folder() {
        Some(folder) => folder.to_path_buf(),
        None => imcdata.with_file_name("mailmend-held"),
    }
}

fn folder<'a>(
    asked: Asked<'_>,
    imcdata: &'a Result<PathBuf, String>,
) -> Result<&'a PathBuf, Refusal> {
    imcdata.as_ref().map_err(|why| {
        Refusal::new(
            const { known("A048-no-imcdata") },
            format!("step `{}` needs Imcdata: {why}", asked.step),
        )
    })
}
