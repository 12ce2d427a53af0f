//! The gate after a wave: what must be well before more is begun.

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::name::ServerName;

use crate::react::{Standing, Word};
use crate::rollout::{Rollout, RunPhase};

/// How a server is after its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// All that was asked is known to be well.
    Good,
    /// Something is known not to be well: what, with its evidence.
    Bad(String),
    /// Something cannot be told: what.
    CannotTell(String),
}

/// What is known of a server after its run.
#[derive(Debug, Clone, Default)]
pub struct Vitals<'a> {
    /// Whether its agent is connected.
    pub connected: bool,
    /// The newest alarm that was raised since its last run ended, as `code: text`.
    pub alarm: Option<&'a str>,
    /// Whether it is one that judges the policy's symptom.
    pub looks: bool,
    /// The version that was rolled out.
    pub version: u32,
    /// When it wrote down the last of its run, by its own clock, milliseconds since 1970 UTC.
    pub closed_ms: Option<i64>,
    /// Its last word about the policy's symptom.
    pub word: Option<&'a Word>,
}

/// How a server is. What is bad counts before what cannot be told.
#[must_use]
pub fn health(vitals: &Vitals<'_>) -> Health {
    if let Some(alarm) = vitals.alarm {
        return Health::Bad(format!("an alarm was raised since its run: {alarm}"));
    }
    let symptom = symptom(vitals);
    if let Some(Health::Bad(_)) = symptom {
        return symptom.unwrap_or(Health::Good);
    }
    if !vitals.connected {
        return Health::CannotTell("its agent is not connected".to_owned());
    }
    symptom.unwrap_or(Health::Good)
}

/// How the symptom stands; nothing where the server does not judge it.
fn symptom(vitals: &Vitals<'_>) -> Option<Health> {
    if !vitals.looks {
        return None;
    }
    // Both by the agent's own clock: what it saw before its run ended says nothing of what came of it.
    let looked = vitals
        .word
        .filter(|word| word.version == vitals.version)
        .filter(|word| {
            vitals
                .closed_ms
                .is_some_and(|closed| word.looked_ms > closed)
        });
    let Some(word) = looked else {
        let why = "it has not told of the symptom since its run".to_owned();
        return Some(Health::CannotTell(why));
    };
    let evidence = word.evidence.join("; ");
    Some(match word.standing {
        Standing::Absent => Health::Good,
        Standing::Stands => Health::Bad(format!("the symptom stands: {evidence}")),
        Standing::CannotTell => Health::CannotTell(format!(
            "whether the symptom stands cannot be told: {evidence}"
        )),
    })
}

/// How the gate stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// All are well.
    Good,
    /// These are not, and this is why.
    Bad(String),
    /// None is known to be bad, and of these it cannot be told.
    CannotTell(String),
}

/// More servers than this are not named, only counted.
const NAMED: usize = 3;

/// How the servers of all succeeded runs of the waves so far are.
#[must_use]
pub fn judge(rollout: &Rollout, health: &BTreeMap<ServerName, Health>) -> Judgement {
    let (mut bad, mut unknown) = (Vec::new(), Vec::new());
    for server in mended(rollout) {
        match health.get(server) {
            Some(Health::Good) => {}
            Some(Health::Bad(why)) => bad.push(format!("`{server}`: {why}")),
            Some(Health::CannotTell(why)) => unknown.push(format!("`{server}`: {why}")),
            None => unknown.push(format!("`{server}`: nothing is known of it")),
        }
    }
    match (bad.is_empty(), unknown.is_empty()) {
        (false, _) => Judgement::Bad(listed(&bad)),
        (true, false) => Judgement::CannotTell(listed(&unknown)),
        (true, true) => Judgement::Good,
    }
}

/// The servers of the succeeded runs of the waves so far.
#[must_use]
pub fn mended(rollout: &Rollout) -> BTreeSet<&ServerName> {
    let waves = rollout.waves();
    rollout
        .runs
        .iter()
        .filter(|run| run.phase == RunPhase::Succeeded && waves.of(&run.site) <= rollout.wave)
        .flat_map(|run| run.parts.keys())
        .collect()
}

fn listed(servers: &[String]) -> String {
    let named = servers[..servers.len().min(NAMED)].join("; ");
    match servers.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}

#[cfg(test)]
mod tests;
