//! Scenarios: what goes wrong, what mends it, and what came of it.
//!
//! A [`Scenario`] is one article with its fault. How its site is stood up and broken, what a person
//! answers and how the truth is counted is its [`Room`]; [`play`] goes through all of them in
//! the same way.

mod account;
mod bad_mail;
pub mod corrupt_message;
pub mod fleet;
pub mod fleet_rollout;
mod ledger;
pub mod operator;
mod person;
pub mod play;
mod report;
mod rollout;
mod room;
pub mod sent_not_removed;
pub mod signing;
pub mod silent_loss;
pub mod site;
mod stage;
pub mod stuck_message;
pub mod stuck_outbound;
mod symptoms;

use std::path::PathBuf;
use std::time::Duration;

pub use play::{Outcome, run};
pub use report::Report;
pub use room::Room;

use crate::clock_factor::ClockFactor;
use crate::platform::Platform;

/// One article with its fault.
#[derive(Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// The article, such as `Q268494`.
    pub article: &'static str,
    /// What goes wrong, for people.
    pub about: &'static str,
    /// The shipped policy that mends it.
    pub policy: &'static str,
    /// What varies it; the first is played unless another is named.
    pub variants: &'static [&'static str],
    /// How many messages are bad unless told; where it is 0, `--bad` has no meaning.
    pub bad: usize,
    /// Its room.
    pub room: fn(&Options) -> Box<dyn Room>,
}

/// Every scenario, in the order of the articles in the documentation.
pub const SCENARIOS: &[&Scenario] = &[
    &stuck_outbound::SCENARIO,
    &stuck_message::SCENARIO,
    &corrupt_message::SCENARIO,
    &sent_not_removed::SCENARIO,
    &silent_loss::SCENARIO,
];

impl Scenario {
    /// The scenario of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|one| one.name == name).copied()
    }

    /// The variant that is played: the one that was asked for, or the first.
    ///
    /// # Errors
    /// Where the scenario has none of that name, with those it has.
    pub fn variant(&self, asked: Option<&str>) -> Result<&'static str, String> {
        let Some(asked) = asked else {
            return Ok(self.variants[0]);
        };
        let found = self.variants.iter().find(|one| **one == asked);
        found.copied().ok_or_else(|| {
            format!(
                "`{}` has no variant `{asked}`; it has {}",
                self.name,
                self.variants.join(", ")
            )
        })
    }
}

/// How a scenario is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Mail and kills follow from it.
    pub seed: u64,
    /// How many messages users send, over all sites.
    pub messages: usize,
    /// How many of them are bad; as the scenario has it unless told.
    pub bad: Option<usize>,
    /// What varies the scenario; its first variant unless told.
    pub variant: Option<String>,
    /// How many sites.
    pub sites: usize,
    /// Whether the world's folder is kept.
    pub keep: bool,
    /// How many processes are killed during the rollout.
    pub kills: usize,
    /// Whether only agents are killed.
    pub kills_agents_alone: bool,
    /// How much faster than life the clock runs.
    pub clock_factor: ClockFactor,
    /// Whether the mail that is stuck has been waiting since before the lab began; otherwise the lab waits
    /// until the symptom stands.
    pub waited_before: bool,
    /// How long the rollout, and then the mail, may take, together.
    pub patience: Duration,
    /// The policy's file; the shipped one of the scenario unless told.
    pub policy: Option<PathBuf>,
    /// What the servers and their agents run on.
    pub platform: Platform,
    /// Whether the operator's own live view of the rollout is shown on standard output.
    pub watch: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            messages: 120,
            bad: None,
            variant: None,
            sites: 1,
            keep: false,
            kills: 0,
            kills_agents_alone: false,
            clock_factor: ClockFactor(60),
            waited_before: false,
            patience: Duration::from_secs(240),
            policy: None,
            platform: Platform::Linux,
            watch: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_a_shipped_policy_a_variant_and_a_name_of_its_own() {
        let mut names = std::collections::BTreeSet::new();
        for scenario in SCENARIOS {
            assert!(
                names.insert(scenario.name),
                "{} stands twice",
                scenario.name
            );
            let shipped = mailmend_policy::library::SHIPPED;
            assert!(
                shipped.iter().any(|(name, _)| *name == scenario.policy),
                "{} is mended by no shipped policy",
                scenario.name
            );
            assert_eq!(scenario.variant(None), Ok(scenario.variants[0]));
            for variant in scenario.variants {
                assert_eq!(scenario.variant(Some(variant)), Ok(*variant));
            }
        }
    }

    #[test]
    fn an_unknown_variant_is_refused_with_those_there_are() {
        let refused = stuck_outbound::SCENARIO.variant(Some("x")).unwrap_err();
        for variant in stuck_outbound::SCENARIO.variants {
            assert!(refused.contains(variant), "{refused}");
        }
    }
}
