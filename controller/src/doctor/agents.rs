//! Agents: not connected, never heard, with alarms, certificates near their end, other versions.

use std::collections::BTreeMap;

use super::{Matter, Picture, ServerName, SiteName};
use crate::explain::Kind;

/// An alarm that was not heard again for so long is not told any more, milliseconds: nobody can say of an
/// alarm that it is over, so it is left to time.
pub(super) const ALARM_STANDS_MS: i64 = 7 * 86_400_000;

/// At most so many names are told in one line.
const NAMES: usize = 3;

/// What is known of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSeen {
    /// Its name.
    pub name: ServerName,
    /// Its site.
    pub site: SiteName,
    /// Whether it is connected.
    pub connected: bool,
    /// When it was enrolled, milliseconds since 1970 UTC.
    pub enrolled_ms: i64,
    /// When it was last heard; 0: never.
    pub heard_ms: i64,
    /// Its version; empty: never told.
    pub version: String,
    /// The end of its certificate; 0: none.
    pub certificate_until_ms: i64,
    /// The newest alarm with when it was heard last; none: none was raised.
    pub alarm: Option<(i64, String)>,
    /// When its queues were counted last, by its own clock; none: it told of none.
    pub counted_ms: Option<i64>,
}

pub(super) fn matters(picture: &Picture) -> Vec<Matter> {
    let mut matters = Vec::new();
    for agent in &picture.agents {
        matters.extend(absent(agent));
        matters.extend(certificate(agent, picture));
        matters.extend(alarm(agent, picture));
        matters.extend(telemetry(agent));
    }
    for (server, hand) in &picture.in_hand {
        matters.push(Matter {
            predicate: format!("{server} is given back"),
            holder: format!("{}: {}", hand.by, hand.why),
            release: format!("mailmend agent give-back {server}"),
            ..Matter::new(Kind::InHand, format!("agent {server}"), hand.since_ms)
        });
    }
    matters.extend(versions(picture));
    matters
}

fn place(agent: &AgentSeen) -> String {
    format!("agent {} at {}", agent.name, agent.site)
}

fn absent(agent: &AgentSeen) -> Option<Matter> {
    let name = &agent.name;
    if agent.connected {
        return None;
    }
    if agent.heard_ms == 0 {
        return Some(Matter {
            predicate: format!("agent {name} connects for the first time"),
            holder: format!("{name}, which was never heard"),
            release: format!("start mailmend-agent on {name}; mailmend agent show {name}"),
            ..Matter::new(Kind::NeverHeard, place(agent), agent.enrolled_ms)
        });
    }
    Some(Matter {
        predicate: format!("agent {name} is connected"),
        holder: format!("{name}: its machine, its network or its agent"),
        release: format!("start mailmend-agent on {name}; mailmend agent show {name}"),
        ..Matter::new(Kind::AgentAway, place(agent), agent.heard_ms)
    })
}

/// It is renewed at half its life; a quarter before its end something keeps it from that.
fn certificate(agent: &AgentSeen, picture: &Picture) -> Option<Matter> {
    let (name, until_ms) = (&agent.name, agent.certificate_until_ms);
    if until_ms == 0 {
        return None;
    }
    let life_ms = picture.certificate_ms;
    let since_ms = until_ms.saturating_sub(life_ms / 2);
    if picture.now_ms < since_ms {
        return None;
    }
    let (holder, release) = if until_ms <= picture.now_ms {
        (
            format!("{name}, whose certificate has ended"),
            format!(
                "mailmend agent token {name} --site {}; then on {name}: mailmend-agent enrol",
                agent.site
            ),
        )
    } else {
        (
            format!("{name}, which renews it when it is connected"),
            format!("start mailmend-agent on {name}; mailmend agent show {name}"),
        )
    };
    Some(Matter {
        predicate: format!("the certificate of {name} is renewed"),
        holder,
        expected_ms: Some(until_ms.saturating_sub(life_ms / 4)),
        release,
        ..Matter::new(Kind::Certificate, place(agent), since_ms)
    })
}

fn alarm(agent: &AgentSeen, picture: &Picture) -> Option<Matter> {
    let (heard_ms, text) = agent.alarm.as_ref()?;
    if heard_ms.saturating_add(ALARM_STANDS_MS) < picture.now_ms {
        return None;
    }
    Some(Matter {
        predicate: format!("somebody has looked at: {text}"),
        holder: "a person".to_owned(),
        release: format!("mailmend agent show {}", agent.name),
        ..Matter::new(Kind::Alarm, place(agent), *heard_ms)
    })
}

fn telemetry(agent: &AgentSeen) -> Option<Matter> {
    let counted_ms = agent.counted_ms.filter(|_| agent.connected)?;
    let name = &agent.name;
    Some(Matter {
        predicate: format!("{name} tells how deep its queues are"),
        holder: format!("agent {name}, connected"),
        release: format!(
            "see the log of mailmend-agent on {name}, and its clock; mailmend agent show {name}"
        ),
        ..Matter::new(Kind::Telemetry, place(agent), counted_ms)
    })
}

fn versions(picture: &Picture) -> Vec<Matter> {
    let ours = env!("CARGO_PKG_VERSION");
    let mut others: BTreeMap<&str, Vec<&ServerName>> = BTreeMap::new();
    for agent in &picture.agents {
        if !agent.version.is_empty() && agent.version != ours {
            others.entry(&agent.version).or_default().push(&agent.name);
        }
    }
    let line = |(version, names): (&str, Vec<&ServerName>)| {
        let first: Vec<&str> = names.iter().take(NAMES).map(|name| name.as_str()).collect();
        let more = match names.len().saturating_sub(NAMES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Matter {
            predicate: format!("agents run {ours}, as the controller does, not {version}"),
            holder: format!("{}{more}", first.join(", ")),
            release: "install the release there; mailmend agent list".to_owned(),
            ..Matter::new(Kind::Version, format!("{} agents", names.len()), 0)
        }
    };
    others.into_iter().map(line).collect()
}
