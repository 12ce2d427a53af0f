//! What the decision is made from. Pure data; the store keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use mailmend_policy::name::{PolicyName, ServerName, SiteName};
use mailmend_policy::plan::Plan;
use mailmend_policy::step::Action;
use mailmend_proto::run::RunId;
use uuid::Uuid;

use super::{Effect, Throttle};
use crate::rollout::{RolloutId, RunPhase};

/// How long an agent that is connected may say nothing before what it said last counts as old,
/// milliseconds: it tells of its looks every ten minutes at least.
const SAID_LATELY_MS: i64 = 15 * 60_000;

/// How a policy answers to its symptom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// It is looked for and listed.
    Observe,
    /// A rollout is proposed to a person.
    Propose,
    /// A rollout is started, within the throttles.
    Auto,
}

/// A text that names no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to bind a policy: observe, propose or auto")]
pub struct NotAnAnswer(pub String);

impl Answer {
    /// Its name for people and in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Propose => "propose",
            Self::Auto => "auto",
        }
    }
}

impl FromStr for Answer {
    type Err = NotAnAnswer;

    fn from_str(text: &str) -> Result<Self, NotAnAnswer> {
        [Self::Observe, Self::Propose, Self::Auto]
            .into_iter()
            .find(|answer| answer.name() == text)
            .ok_or_else(|| NotAnAnswer(text.to_owned()))
    }
}

/// A policy bound to its symptom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The policy.
    pub policy: PolicyName,
    /// The version that is looked for and rolled out.
    pub version: u32,
    /// On which servers; empty: all to which the policy applies.
    pub selector: String,
    /// As what.
    pub answer: Answer,
    /// How often it may act.
    pub throttle: Throttle,
    /// Since when, milliseconds since 1970 UTC. Runs that ended before count for nothing against it.
    pub bound_ms: i64,
    /// By whom.
    pub by: String,
}

/// How a symptom stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It is known not to stand.
    Absent,
    /// It stands.
    Stands,
    /// It cannot be told.
    CannotTell,
}

/// A text that names no standing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way for a symptom to stand")]
pub struct NotAStanding(pub String);

impl Standing {
    /// Its name in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Stands => "stands",
            Self::CannotTell => "cannot-tell",
        }
    }
}

impl FromStr for Standing {
    type Err = NotAStanding;

    fn from_str(text: &str) -> Result<Self, NotAStanding> {
        [Self::Absent, Self::Stands, Self::CannotTell]
            .into_iter()
            .find(|standing| standing.name() == text)
            .ok_or_else(|| NotAStanding(text.to_owned()))
    }
}

/// An agent's last word about one policy's symptom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The agent.
    pub agent: ServerName,
    /// The policy.
    pub policy: PolicyName,
    /// The version that was looked for.
    pub version: u32,
    /// How it stands.
    pub standing: Standing,
    /// Since when, by the agent's wall clock, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// When it was looked at last, by the agent's wall clock.
    pub looked_ms: i64,
    /// When this word came, by the controller's clock.
    pub heard_ms: i64,
    /// Facts with their places.
    pub evidence: Vec<String>,
}

impl Word {
    /// How long it is known to have stood so, milliseconds. Differences of one clock each: the agent's
    /// and the controller's may differ.
    #[must_use]
    pub fn age_ms(&self, connected: bool, now_ms: i64) -> i64 {
        let seen = self.looked_ms.saturating_sub(self.since_ms).max(0);
        let since = now_ms.saturating_sub(self.heard_ms);
        let since = if connected {
            since.clamp(0, SAID_LATELY_MS)
        } else {
            0
        };
        seen.saturating_add(since)
    }
}

/// In whose hand a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InHand {
    /// Who.
    pub by: String,
    /// Why, in that person's words.
    pub why: String,
    /// Since when, milliseconds since 1970 UTC.
    pub since_ms: i64,
}

/// A server of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its site.
    pub site: SiteName,
    /// Whether its agent is connected.
    pub connected: bool,
    /// In whose hand it is.
    pub in_hand: Option<InHand>,
    /// What its agent told last of its queues.
    pub queues: Vec<QueueWord>,
}

/// What an agent told last of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueWord {
    /// How many messages wait.
    pub messages: u64,
    /// Since when the oldest waits, by the agent's wall clock; 0: none does, or with messages: that
    /// cannot be told.
    pub oldest_ms: i64,
    /// When it was counted, by the agent's wall clock.
    pub at_ms: i64,
}

/// A plan as far as the decision needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Every server that it needs.
    pub servers: BTreeSet<ServerName>,
    /// Those that judge the symptom.
    pub looks: BTreeSet<ServerName>,
}

impl Shape {
    /// What the decision needs of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let detects = plan
            .steps
            .iter()
            .filter(|step| matches!(step.action, Action::Detect { .. }));
        Self {
            servers: plan.servers().into_iter().collect(),
            looks: detects.map(|step| step.server.clone()).collect(),
        }
    }
}

/// What is at work at a site, or about to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    /// The rollout; none: a duty, or one that has just been decided.
    pub rollout: Option<RolloutId>,
}

/// A run of a bound policy, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The run.
    pub run: RunId,
    /// Its rollout.
    pub rollout: RolloutId,
    /// The policy.
    pub policy: PolicyName,
    /// The site.
    pub site: SiteName,
    /// The servers whose symptom it was for.
    pub servers: BTreeSet<ServerName>,
    /// Whether a binding started it, without a person's word.
    pub by_itself: bool,
    /// When its rollout was started, milliseconds since 1970 UTC.
    pub began_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// Where it stands.
    pub phase: RunPhase,
    /// Messages that it took and of which evidence shows that they were delivered.
    pub delivered: u64,
    /// Messages that it took and that are still held.
    pub kept: u64,
    /// What came of it, where that is known.
    pub effect: Option<Effect>,
    /// By what that is known.
    pub effect_why: String,
}

/// What became of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// A person started it.
    Started,
    /// A person refused it.
    Refused,
    /// Its symptom went away, or its binding.
    Lapsed,
}

impl Decided {
    /// Its name for people and in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Refused => "refused",
            Self::Lapsed => "lapsed",
        }
    }
}

/// A proposed rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Its id.
    pub id: Uuid,
    /// The policy.
    pub policy: PolicyName,
    /// Its version.
    pub version: u32,
    /// The site.
    pub site: SiteName,
    /// Where the symptom stands.
    pub servers: BTreeSet<ServerName>,
    /// Why it was not started; empty: the policy is bound so.
    pub why: String,
    /// When, milliseconds since 1970 UTC.
    pub proposed_ms: i64,
    /// What became of it.
    pub decided: Option<Decided>,
    /// Who decided; empty: nobody.
    pub by: String,
    /// The rollout that was started.
    pub rollout: Option<RolloutId>,
}

/// All that the decision is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The bindings.
    pub bindings: BTreeMap<PolicyName, Binding>,
    /// The agents' last words, of bound policies and servers that their bindings select.
    pub words: BTreeMap<PolicyName, BTreeMap<ServerName, Arc<Word>>>,
    /// Runs of bound policies, in any order, at least those of the last day and the last ones of each
    /// server.
    pub history: Arc<Vec<Past>>,
    /// The fleet.
    pub fleet: BTreeMap<ServerName, Member>,
    /// The sites at which something is at work.
    pub busy: BTreeMap<SiteName, Busy>,
    /// The plans of a policy at a site, or why there are none; needed where its symptom stands.
    pub shapes: BTreeMap<(PolicyName, SiteName), Result<Vec<Shape>, String>>,
    /// Proposals that stand, or were refused while their symptom still stands.
    pub proposals: Vec<Proposal>,
}

impl Known {
    /// Takes in an agent's last word.
    pub fn tell(&mut self, word: Arc<Word>) {
        let of = self.words.entry(word.policy.clone()).or_default();
        of.insert(word.agent.clone(), word);
    }

    /// An agent's last word about a policy's symptom.
    #[must_use]
    pub fn word(&self, policy: &PolicyName, agent: &ServerName) -> Option<&Word> {
        self.words.get(policy)?.get(agent).map(Arc::as_ref)
    }
}
