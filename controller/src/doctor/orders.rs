//! What people ordered: orders that no agent has answered, releases that are carried out.

use super::{Matter, Picture, RunId, ServerName, Uuid, run_name, short};
use crate::explain::Kind;

/// A person's order that its agent has not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOrder {
    /// Its id.
    pub id: Uuid,
    /// The agent that it goes to.
    pub agent: ServerName,
    /// The run that it is about.
    pub run: RunId,
    /// What it is: answer, release or settle.
    pub kind: String,
    /// Who ordered it.
    pub by: String,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
}

/// A release that an agent carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRelease {
    /// The order's id.
    pub order: Uuid,
    /// The agent.
    pub agent: ServerName,
    /// The run whose held mail is given back.
    pub run: RunId,
    /// When the agent took it, milliseconds since 1970 UTC.
    pub taken_ms: i64,
}

pub(super) fn matters(picture: &Picture) -> Vec<Matter> {
    let order = |order: &OpenOrder| {
        let agent = &order.agent;
        Matter {
            predicate: format!(
                "{agent} has answered the order of {} ({})",
                order.by, order.kind
            ),
            holder: format!("agent {agent}, which is told when it is connected"),
            release: format!(
                "start mailmend-agent on {agent}; mailmend run order {}",
                short(order.id)
            ),
            ..Matter::new(
                Kind::Order,
                format!("{} on {agent}", run_name(order.run)),
                order.at_ms,
            )
        }
    };
    let release = |release: &OpenRelease| {
        let agent = &release.agent;
        Matter {
            predicate: format!("held mail of {} is given back", run_name(release.run)),
            holder: format!("agent {agent}, which carries out the release"),
            release: format!(
                "it follows by itself; mailmend run order {}",
                short(release.order)
            ),
            ..Matter::new(
                Kind::Release,
                format!("{} on {agent}", run_name(release.run)),
                release.taken_ms,
            )
        }
    };
    let orders = picture.orders.iter().map(order);
    orders.chain(picture.releases.iter().map(release)).collect()
}
