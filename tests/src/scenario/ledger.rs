//! What the ledgers say: only to compare with the truth what had been named.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fleet::Fleet;
use super::operator::rows;
use crate::lab_error::LabError;
use crate::load::Submission;
use crate::truth::Told;
use crate::world::Server;

/// Messages that the ledgers single out, by the name of their spool file.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The server of each.
    servers: BTreeMap<String, String>,
    pub(super) in_doubt: BTreeSet<String>,
    pub(super) poison: BTreeSet<String>,
    /// Held, or given back and not settled.
    pub(super) held: BTreeSet<String>,
    /// Told in an alarm as what may have been sent twice.
    pub(super) twice: BTreeSet<String>,
    /// Everything that agents told, beside all runs, of what the mail service itself sent again. It is named
    /// there by Message-ID or MTS-ID: the logs know no spool files.
    again: String,
}

/// The code of that alarm.
const AGAIN: &str = "A110-sent-again";

/// The ends of the codes of the alarms that name what may have been sent twice.
const TWICE: [&str; 2] = ["-sent-again", "-may-be-sent-twice"];

impl Ledger {
    /// Asks the controller for all that is in custody, and for what was told in these runs.
    pub(super) fn read(fleet: &mut Fleet, runs: &[String]) -> Result<Self, LabError> {
        let mut twice = BTreeSet::new();
        for run in runs {
            let shown = fleet.ask(&["run", "show", run])?;
            let alarms = rows(&shown["alarms"]).iter().filter_map(Value::as_str);
            twice.extend(alarms.flat_map(named_twice));
        }
        let mut again = String::new();
        let agents = fleet.ask(&["agent", "list"])?;
        for agent in rows(&agents["agents"]) {
            let name = agent["name"].as_str().unwrap_or_default();
            let shown = fleet.ask(&["agent", "show", name])?;
            let alarms = rows(&shown["alarms"]).iter().filter_map(Value::as_str);
            for alarm in alarms.filter(|alarm| alarm.starts_with(AGAIN)) {
                again.push_str(&alarm.to_lowercase());
                again.push('\n');
            }
        }
        let mut servers = BTreeMap::new();
        let mut names = |state: &str| -> Result<BTreeSet<String>, LabError> {
            let listed = fleet.ask(&["ledger", "list", "--state", state])?;
            let name = |entry: &Value| {
                let name = entry["name"].as_str()?.to_owned();
                let agent = entry["agent"].as_str().unwrap_or_default();
                servers.insert(name.clone(), agent.to_owned());
                Some(name)
            };
            Ok(rows(&listed["entries"]).iter().filter_map(name).collect())
        };
        let mut held = names("held")?;
        held.extend(names("replaying")?);
        let (in_doubt, poison) = (names("in-doubt")?, names("poison")?);
        Ok(Self {
            servers,
            in_doubt,
            poison,
            held,
            twice,
            again,
        })
    }

    /// What of it is of these servers, and what was told twice of these messages.
    pub(super) fn of(&self, servers: &[Server], told: &[Told]) -> Self {
        let is_there = |name: &&String| {
            let server = self.servers.get(*name);
            server.is_some_and(|server| servers.iter().any(|one| one.name == *server))
        };
        let there = |names: &BTreeSet<String>| names.iter().filter(is_there).cloned().collect();
        let sent = |name: &&String| {
            let is = |one: &Told| one.submission.spool_name.as_str() == name.as_str();
            told.iter().any(is)
        };
        Self {
            servers: self.servers.clone(),
            in_doubt: there(&self.in_doubt),
            poison: there(&self.poison),
            held: there(&self.held),
            twice: self.twice.iter().filter(sent).cloned().collect(),
            again: self.again.clone(),
        }
    }

    /// How many messages of each server are listed as in custody now or ever.
    pub(super) fn kept_of(fleet: &mut Fleet) -> Result<BTreeMap<String, usize>, LabError> {
        let listed = fleet.ask(&["ledger", "list"])?;
        let mut kept: BTreeMap<String, usize> = BTreeMap::new();
        for entry in rows(&listed["entries"]) {
            let agent = entry["agent"].as_str().unwrap_or_default();
            *kept.entry(agent.to_owned()).or_default() += 1;
        }
        Ok(kept)
    }

    /// Whether a message is named as one that may have been sent twice.
    pub(super) fn names(&self, message: &Submission) -> bool {
        let spool_name = message.spool_name.as_str();
        let again = |id: &str| {
            let id = id.trim_matches(['<', '>']).to_lowercase();
            !id.is_empty() && self.again.contains(&id)
        };
        self.in_doubt.contains(spool_name)
            || self.twice.contains(spool_name)
            || again(&message.message_id)
            || again(&message.mts_id)
    }

    /// Whether a message that its recipients do not have is named with a reason.
    pub(super) fn accounts_for(&self, spool_name: &str) -> bool {
        [&self.in_doubt, &self.poison, &self.held]
            .iter()
            .any(|names| names.contains(spool_name))
    }
}

/// The names between backticks in an alarm of what may have been sent twice.
fn named_twice(alarm: &str) -> Vec<String> {
    if !TWICE.iter().any(|code| alarm.contains(code)) {
        return Vec::new();
    }
    let quoted = alarm.split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_alarms_of_what_may_have_been_sent_twice_name_it() {
        let alarm = "A114-may-be-sent-twice: 2 messages were in flight: `AAAAAAA1`, `AAAAAAA2`";
        assert_eq!(named_twice(alarm), ["AAAAAAA1", "AAAAAAA2"]);
        assert!(named_twice("A084-held-mail-damaged: `AAAAAAA3`").is_empty());
    }
}
