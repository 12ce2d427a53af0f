//! Everything that waits for somebody, over the whole fleet, and what of it should be over by now.
//!
//! Pure: [`examine`] makes a list of [`Matter`]s out of a [`Picture`] that was read before. The doctor's
//! report and the metrics are made from the same list, so they never disagree.

mod agents;
mod orders;
mod signing;
mod stored;

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_proto::run::RunId;
use mailmend_telemetry::trace::Counts;
use uuid::Uuid;

use crate::explain::{Kind, Waiting};
use crate::react::{InHand, Proposal};
use crate::rollout::{RolloutId, RolloutState, RunPhase};

pub use agents::AgentSeen;
pub use orders::{OpenOrder, OpenRelease};
pub use signing::{SignedSeen, Unfollowed};
pub use stored::{Health, Kept, LEAST_FREE};

/// All that is looked at.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// Now, milliseconds since 1970 UTC.
    pub now_ms: i64,
    /// How long agents' certificates live, milliseconds.
    pub certificate_ms: i64,
    /// Every agent.
    pub agents: Vec<AgentSeen>,
    /// The servers that a person has in hand.
    pub in_hand: Vec<(ServerName, InHand)>,
    /// Orders of persons that no agent has answered.
    pub orders: Vec<OpenOrder>,
    /// Releases that agents carry out.
    pub releases: Vec<OpenRelease>,
    /// Proposals that nobody has decided on.
    pub proposals: Vec<Proposal>,
    /// The rollouts that have not ended, with what they wait for.
    pub rollouts: Vec<(RolloutId, RolloutState, Vec<Waiting>)>,
    /// Messages that wait for a person's word.
    pub kept: Vec<Kept>,
    /// What is signed of policies.
    pub signed: Vec<SignedSeen>,
    /// Agents that do not follow what is signed.
    pub unfollowed: Vec<Unfollowed>,
    /// How many agents take unsigned policies.
    pub unsigned: usize,
    /// The store.
    pub store: Health,
    /// How many runs there are in each phase, duties included.
    pub runs: Vec<(RunPhase, u64)>,
    /// How many rollouts there are in each state.
    pub states: Vec<(RolloutState, u64)>,
    /// What became of spans; zeros where none are told.
    pub spans: Counts,
}

/// How much a matter presses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Overdue, and mail, a site or the controller is in danger meanwhile.
    Grave,
    /// Overdue.
    Overdue,
    /// Worth knowing.
    Notice,
}

impl Severity {
    /// The name for people and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grave => "grave",
            Self::Overdue => "overdue",
            Self::Notice => "notice",
        }
    }
}

/// Something that waits for somebody, or that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matter {
    /// Of what kind it is.
    pub kind: Kind,
    /// The state of the rollout that it belongs to; none: it belongs to none.
    pub state: Option<RolloutState>,
    /// Where: a rollout and run, an agent, the controller.
    pub place: String,
    /// What must become true.
    pub predicate: String,
    /// Who or what holds it.
    pub holder: String,
    /// Since when, milliseconds since 1970 UTC; 0: not known.
    pub since_ms: i64,
    /// Until when it is expected to be over, milliseconds since 1970 UTC; none: nothing is expected.
    pub expected_ms: Option<i64>,
    /// The command that releases it, or what a person does.
    pub release: String,
}

impl Matter {
    fn new(kind: Kind, place: String, since_ms: i64) -> Self {
        Self {
            kind,
            state: None,
            place,
            predicate: String::new(),
            holder: String::new(),
            since_ms,
            expected_ms: kind.expected_ms(since_ms),
            release: String::new(),
        }
    }

    /// Whether it should be over by now.
    #[must_use]
    pub fn is_overdue(&self, now_ms: i64) -> bool {
        self.expected_ms
            .is_some_and(|expected_ms| expected_ms < now_ms)
    }

    /// How much it presses; none: it is as it should be.
    #[must_use]
    pub fn severity(&self, now_ms: i64) -> Option<Severity> {
        match (self.is_overdue(now_ms), self.kind) {
            (
                true,
                Kind::Disk
                | Kind::Person
                | Kind::Recall
                | Kind::Halted
                | Kind::Held
                | Kind::Release
                | Kind::Step
                | Kind::Unwinding
                | Kind::Certificate,
            ) => Some(Severity::Grave),
            (true, _) => Some(Severity::Overdue),
            (false, Kind::Version | Kind::Alarm | Kind::Recall) => Some(Severity::Notice),
            (false, _) => None,
        }
    }

    fn of(rollout: RolloutId, state: RolloutState, waiting: &Waiting) -> Self {
        let place = match (&waiting.run, &waiting.site) {
            (Some(run), Some(site)) => {
                format!("rollout {}, run {} at {site}", short(rollout), short(run))
            }
            _ => format!("rollout {}", short(rollout)),
        };
        Self {
            kind: waiting.kind,
            state: Some(state),
            place,
            predicate: waiting.predicate.clone(),
            holder: waiting.holder.clone(),
            since_ms: waiting.since_ms,
            expected_ms: waiting.expected_ms,
            release: waiting.release.clone(),
        }
    }
}

/// Enough of an id to name it in a command.
fn short(id: impl ToString) -> String {
    id.to_string().chars().take(8).collect()
}

/// A run of a release or an order, for people.
fn run_name(run: RunId) -> String {
    format!("run {}", short(run))
}

/// All that waits, and all that is worth knowing: what presses most first, then what is longest overdue.
#[must_use]
pub fn examine(picture: &Picture) -> Vec<Matter> {
    let mut matters = stored::disk(picture);
    matters.extend(agents::matters(picture));
    matters.extend(orders::matters(picture));
    matters.extend(stored::kept(picture));
    matters.extend(signing::matters(picture));
    matters.extend(picture.proposals.iter().map(proposal));
    for (rollout, state, waiting) in &picture.rollouts {
        let own = waiting.iter().filter(|waiting| !is_listed(waiting.kind));
        matters.extend(own.map(|waiting| Matter::of(*rollout, *state, waiting)));
    }
    matters.sort_by_key(|matter| {
        let pressing = matter.severity(picture.now_ms);
        (
            pressing.map_or((1, Severity::Notice), |severity| (0, severity)),
            matter.expected_ms.unwrap_or(i64::MAX),
            matter.since_ms,
            matter.place.clone(),
        )
    });
    matters
}

/// Whether things of a kind are listed of the whole fleet already, whether or not a rollout waits for them.
const fn is_listed(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::AgentAway
            | Kind::InHand
            | Kind::Held
            | Kind::InDoubt
            | Kind::Poison
            | Kind::Vanished
            | Kind::Release
    )
}

fn proposal(proposal: &Proposal) -> Matter {
    let id = short(proposal.id);
    Matter {
        predicate: format!(
            "the rollout of {} {} is started or refused",
            proposal.policy, proposal.version
        ),
        holder: "a person, who decides on it".to_owned(),
        release: format!("mailmend proposal start {id}, or mailmend proposal refuse {id}"),
        ..Matter::new(
            Kind::Proposal,
            format!("proposal {id} at {}", proposal.site),
            proposal.proposed_ms,
        )
    }
}

#[cfg(test)]
pub(crate) mod tests;
