//! What is signed of policies: documents near their end, and agents that do not follow.

use super::{Matter, Picture, ServerName};
use crate::explain::Kind;

/// A signed document that is current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedSeen {
    /// root, catalogue or timestamp.
    pub kind: &'static str,
    /// Its version.
    pub version: u64,
    /// When its time is over, milliseconds since 1970 UTC.
    pub expires_ms: i64,
    /// How long before that it should be told, milliseconds.
    pub lead_ms: i64,
}

/// An agent that takes signed policies alone, and begins nothing new now or refused what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfollowed {
    /// The agent.
    pub agent: ServerName,
    /// Why, with its code.
    pub why: String,
    /// Since when, milliseconds since 1970 UTC.
    pub since_ms: i64,
}

pub(super) fn matters(picture: &Picture) -> Vec<Matter> {
    let mut matters: Vec<Matter> = picture
        .signed
        .iter()
        .filter_map(|one| ends(one, picture))
        .collect();
    matters.extend(picture.unfollowed.iter().map(unfollowed));
    matters
}

fn ends(one: &SignedSeen, picture: &Picture) -> Option<Matter> {
    let since_ms = one.expires_ms.saturating_sub(one.lead_ms);
    if picture.now_ms < since_ms {
        return None;
    }
    let SignedSeen { kind, version, .. } = one;
    let over = if picture.now_ms >= one.expires_ms {
        ", which has expired: nothing new is begun by agents that take signed policies alone"
    } else {
        ""
    };
    Some(Matter {
        predicate: format!("a newer {kind} than version {version} is signed"),
        holder: format!("whoever has the keys of the {kind}{over}"),
        expected_ms: Some(one.expires_ms.saturating_sub(one.lead_ms / 2)),
        release: "mailmend trust show; then sign a newer one, and mailmend trust publish FILE"
            .to_owned(),
        ..Matter::new(Kind::Signature, "signed policies".to_owned(), since_ms)
    })
}

fn unfollowed(one: &Unfollowed) -> Matter {
    Matter {
        predicate: format!("{} follows what is signed: {}", one.agent, one.why),
        holder: format!("agent {}, or who publishes", one.agent),
        release: "mailmend trust show".to_owned(),
        ..Matter::new(
            Kind::Unfollowed,
            format!("agent {}", one.agent),
            one.since_ms,
        )
    }
}
