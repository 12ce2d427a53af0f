//! The report of a scenario, and what stands against it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What came of a scenario. Counts are messages, from the users' list, the peers' records and the disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The scenario.
    pub scenario: String,
    /// The policy that was to mend it.
    pub policy: String,
    /// The seed.
    pub seed: u64,
    /// How many sites.
    pub sites: usize,
    /// How many servers.
    pub servers: usize,
    /// How many messages users sent.
    pub submitted: usize,
    /// How many every recipient has, once.
    pub delivered_once: usize,
    /// How many some recipient has more than once.
    pub duplicated: usize,
    /// How many of those were named beforehand as possible duplicates.
    pub duplicates_named: usize,
    /// How many some recipient does not have, and that are nowhere.
    pub lost: usize,
    /// How many some recipient does not have, and that are on disk outside the queues.
    pub held: usize,
    /// How many were found to crash the service.
    pub poison: usize,
    /// How many the ledgers list as in doubt.
    pub in_doubt: usize,
    /// How many messages were stuck before: waiting too long, while nothing left their server.
    pub symptom_before: usize,
    /// How many messages still wait in the queues of the servers that were to be mended.
    pub symptom_after: usize,
    /// How often the mail services were started again, all servers together.
    pub restarts: usize,
    /// Whether the mail service of every server runs at the end.
    pub service_running: bool,
    /// The longest time that a server was without its mail service, in milliseconds of real time.
    pub longest_outage_ms: u64,
    /// How long it all took, in seconds of real time.
    pub seconds: f64,
    /// `mended`, safe with mail held for a person, or what stands against it.
    pub outcome: String,
    /// What varied the scenario.
    #[serde(default)]
    pub variant: String,
    /// How many messages were bad, by the truth.
    #[serde(default)]
    pub bad: usize,
    /// How many the server itself deleted without a word, by the truth, and of which no bytes are kept.
    #[serde(default, skip_serializing_if = "none")]
    pub vanished: usize,
    /// How many held messages neither a ledger nor a person's answer names.
    #[serde(default)]
    pub unaccounted: usize,
    /// What stands against the outcome by the measure of this scenario alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub against_scenario: Vec<String>,
    /// How the last rollout ended, in the controller's words.
    #[serde(default)]
    pub rollout: String,
    /// What the rollout's end must say; absent: the site is to be mended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_with: Option<String>,
    /// Whether the mail services can run at the end: poison in the store can make that impossible.
    #[serde(default = "yes")]
    pub service_can_run: bool,
    /// The most restarts that the search may take, by its own bound; absent: nothing was searched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts_bound: Option<u64>,
    /// What a search that learns one bit from each restart takes at least: ceil(log2 C(n, d)), with n the messages
    /// that were searched (both queues together) and d the bad ones found; of several runs the sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts_information: Option<u64>,
    /// How many restarts the search took; with nothing too, unless the service ran like that already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_restarts: Option<u64>,
    /// How often the mail services died by themselves, all servers together.
    #[serde(default)]
    pub crashes: usize,
    /// What only this scenario has.
    #[serde(flatten)]
    pub extras: BTreeMap<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn none(count: &usize) -> bool {
    *count == 0
}

const fn yes() -> bool {
    true
}

impl Report {
    /// What stands against the outcome `mended`; nothing where it is good.
    #[must_use]
    pub fn against(&self) -> Vec<String> {
        let mut against = self.harm();
        against.extend(self.against_scenario.iter().cloned());
        if self.symptom_before == 0 {
            against.push("the symptom never stood".to_owned());
        }
        if let Some(words) = &self.rests_with {
            if !self.rollout.contains(words.as_str()) {
                against.push(format!(
                    "the rollout was to end with `{words}`; it ended: {}",
                    self.rollout
                ));
            }
            return against;
        }
        if self.symptom_after > 0 {
            against.push(format!("{} message(s) are still stuck", self.symptom_after));
        }
        against
    }

    /// The outcome in words: `mended`, safe with mail held for a person, or what stands against it.
    #[must_use]
    pub fn told(&self) -> String {
        let against = self.against();
        if !against.is_empty() {
            return against.join("; ");
        }
        match (&self.rests_with, self.held) {
            (Some(_), held) => {
                let waiting = self.symptom_after;
                format!("at rest as it should be, {held} message(s) held and {waiting} waiting")
            }
            (None, 0) => "mended".to_owned(),
            (None, held) => format!("safe, {held} message(s) held for a person"),
        }
    }

    /// What may never happen, whatever was killed.
    #[must_use]
    pub fn harm(&self) -> Vec<String> {
        let mut harm = Vec::new();
        if self.lost > 0 {
            harm.push(format!("{} message(s) were lost", self.lost));
        }
        let unnamed = self.duplicated.saturating_sub(self.duplicates_named);
        if unnamed > 0 {
            harm.push(format!("{unnamed} duplicate(s) were not named"));
        }
        if !self.service_running && self.service_can_run {
            harm.push("a mail service is down".to_owned());
        }
        if self.unaccounted > 0 {
            harm.push(format!(
                "{} held message(s) are named nowhere",
                self.unaccounted
            ));
        }
        let told = self.delivered_once
            + self.duplicated
            + self.lost
            + self.held
            + self.vanished
            + self.symptom_after;
        if told < self.submitted {
            harm.push(format!(
                "{} message(s) are not accounted for",
                self.submitted - told
            ));
        }
        harm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Report {
        Report {
            scenario: "stuck-outbound".to_owned(),
            policy: "stuck-outbound-routing".to_owned(),
            seed: 1,
            sites: 1,
            servers: 2,
            submitted: 10,
            delivered_once: 10,
            duplicated: 0,
            duplicates_named: 0,
            lost: 0,
            held: 0,
            poison: 0,
            in_doubt: 0,
            symptom_before: 7,
            symptom_after: 0,
            restarts: 3,
            service_running: true,
            longest_outage_ms: 300,
            seconds: 20.0,
            outcome: String::new(),
            variant: "stale".to_owned(),
            bad: 0,
            vanished: 0,
            unaccounted: 0,
            against_scenario: Vec::new(),
            rollout: String::new(),
            rests_with: None,
            service_can_run: true,
            restarts_bound: None,
            restarts_information: None,
            search_restarts: None,
            crashes: 0,
            extras: BTreeMap::new(),
        }
    }

    #[test]
    fn only_a_site_that_was_ill_and_is_well_counts_as_mended() {
        assert_eq!(good().against(), Vec::<String>::new());
        let ill = [
            Report {
                lost: 1,
                delivered_once: 9,
                ..good()
            },
            Report {
                duplicated: 1,
                delivered_once: 9,
                ..good()
            },
            Report {
                symptom_before: 0,
                ..good()
            },
            Report {
                against_scenario: vec!["one was called vanished that was delivered".to_owned()],
                ..good()
            },
            Report {
                symptom_after: 1,
                delivered_once: 9,
                ..good()
            },
            Report {
                service_running: false,
                ..good()
            },
            Report {
                held: 1,
                unaccounted: 1,
                delivered_once: 9,
                ..good()
            },
            Report {
                rests_with: Some("no table".to_owned()),
                rollout: "succeeded".to_owned(),
                ..good()
            },
            Report {
                delivered_once: 9,
                ..good()
            },
        ];
        for report in ill {
            assert_eq!(report.against().len(), 1, "{report:?}");
            assert_ne!(report.told(), "mended");
        }
        assert_eq!(good().told(), "mended");
        let held = Report {
            held: 1,
            delivered_once: 9,
            ..good()
        };
        assert_eq!(held.told(), "safe, 1 message(s) held for a person");
        let named = Report {
            duplicated: 1,
            duplicates_named: 1,
            delivered_once: 9,
            ..good()
        };
        assert_eq!(named.against(), Vec::<String>::new());
    }

    #[test]
    fn the_report_has_the_agreed_fields_in_the_agreed_order() {
        let text = serde_json::to_string(&good()).unwrap();
        let agreed = "scenario, policy, seed, sites, servers, submitted, delivered_once, duplicated, \
            duplicates_named, lost, held, poison, in_doubt, symptom_before, symptom_after, restarts, \
            service_running, longest_outage_ms, seconds, outcome, variant, bad, unaccounted, rollout, \
            service_can_run, crashes";
        let mut rest = text.as_str();
        for field in agreed.split(", ") {
            let key = format!("\"{field}\":");
            let at = rest
                .find(&key)
                .unwrap_or_else(|| panic!("{field} is not next in {text}"));
            rest = &rest[at + key.len()..];
        }
        assert_eq!(text.matches("\":").count(), 26);
        let read: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(read, good());
    }

    #[test]
    fn a_run_that_had_to_come_to_rest_is_judged_by_its_words() {
        let rested = Report {
            delivered_once: 3,
            symptom_after: 7,
            rests_with: Some("changed since".to_owned()),
            rollout: "failed: no file has changed since the run began".to_owned(),
            ..good()
        };
        assert_eq!(rested.against(), Vec::<String>::new());
        assert_ne!(rested.told(), "mended");
        let down = Report {
            service_running: false,
            ..rested.clone()
        };
        assert_eq!(down.against(), ["a mail service is down"]);
        let poisoned = Report {
            service_can_run: false,
            ..down
        };
        assert_eq!(poisoned.against(), Vec::<String>::new());
        let other = Report {
            rollout: "failed: something else".to_owned(),
            ..rested
        };
        assert_eq!(other.against().len(), 1);
    }
}
