//! Scenarios: what goes wrong, what mends it, and what came of it.

pub mod fleet;
mod ledger;
pub mod operator;
mod rollout;
pub mod site;
mod stage;
pub mod stuck_outbound;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock_factor::ClockFactor;

/// How a scenario is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Mail and kills follow from it.
    pub seed: u64,
    /// How many messages users send, over all sites.
    pub messages: usize,
    /// How many sites.
    pub sites: usize,
    /// Whether the world's folder is kept.
    pub keep: bool,
    /// How many processes are killed during the rollout.
    pub kills: usize,
    /// How much faster than life the clock runs.
    pub clock_factor: ClockFactor,
    /// Whether the mail that is stuck has been waiting since before the lab began; otherwise the lab waits
    /// until the symptom stands.
    pub waited_before: bool,
    /// How long the rollout, and then the mail, may take, together.
    pub patience: Duration,
    /// The policy's file; the shipped one of the scenario unless told.
    pub policy: Option<PathBuf>,
    /// Whether the operator's own live view of the rollout is shown on standard output.
    pub watch: bool,
}

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
}

impl Report {
    /// What stands against the outcome `mended`; nothing where it is good.
    #[must_use]
    pub fn against(&self) -> Vec<String> {
        let mut against = self.harm();
        if self.symptom_before == 0 {
            against.push("the symptom never stood".to_owned());
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
        match (against.is_empty(), self.held) {
            (true, 0) => "mended".to_owned(),
            (true, held) => format!("safe, {held} message(s) held for a person"),
            (false, _) => against.join("; "),
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
        if !self.service_running {
            harm.push("a mail service is down".to_owned());
        }
        let told =
            self.delivered_once + self.duplicated + self.lost + self.held + self.symptom_after;
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
                symptom_after: 1,
                delivered_once: 9,
                ..good()
            },
            Report {
                service_running: false,
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
            service_running, longest_outage_ms, seconds, outcome";
        let mut rest = text.as_str();
        for field in agreed.split(", ") {
            let key = format!("\"{field}\":");
            let at = rest
                .find(&key)
                .unwrap_or_else(|| panic!("{field} is not next in {text}"));
            rest = &rest[at + key.len()..];
        }
        assert_eq!(text.matches("\":").count(), 20);
    }
}
