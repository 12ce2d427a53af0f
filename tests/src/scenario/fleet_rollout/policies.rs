//! The policies of a fleet: published with one strategy, each for all sites of the versions that it is for.

use std::collections::BTreeSet;

use mailmend_policy::plan::VERSION_FACT;
use mailmend_policy::source::PolicySource;

use super::Play;
use super::course::Course;
use crate::lab_error::LabError;
use crate::scenario::operator::rows;
use crate::scenario::{Options, SCENARIOS, Scenario, play};
use crate::whole_file;

/// How the policies are rolled out.
const STRATEGY: &str = r#"
[strategy]
waves = ["1 site", "25%", "100%"]
soak = "1s"
gate = "health"
sites_at_once = 10
max_failed = 0
max_unavailable = { fleet = "50%" }
"#;

impl Play<'_> {
    /// Publishes every policy, and plans its course through all sites that it is for.
    pub(super) fn publish(&mut self) -> Result<(), LabError> {
        let versions = self.versions()?;
        for scenario in SCENARIOS {
            let own = Options {
                variant: None,
                ..self.whole.clone()
            };
            let room = (scenario.room)(&own);
            let text = play::played_policy(scenario, &*room, &own)? + STRATEGY;
            let file = self.stage.folder.join(format!("{}.toml", scenario.policy));
            whole_file::write(&file, text.as_bytes())?;
            self.stage.publish(&file)?;
            let selected = selected(scenario, text, &versions)?;
            match selected {
                Some(selector) => self.courses.push(Course::new(scenario.policy, selector)),
                None => {
                    let line = format!("{}: no site has such a version", scenario.policy);
                    self.stage.say(&line);
                }
            }
        }
        Ok(())
    }

    /// The versions of Exchange that the agents tell.
    fn versions(&mut self) -> Result<BTreeSet<String>, LabError> {
        let listed = self.stage.fleet()?.ask(&["agent", "list"])?;
        let fact = VERSION_FACT;
        let version = |agent: &serde_json::Value| agent["facts"][fact].as_str().map(str::to_owned);
        Ok(rows(&listed).iter().filter_map(version).collect())
    }
}

/// Selects the sites of all versions that a policy is for; none where there is no such version.
fn selected(
    scenario: &Scenario,
    text: String,
    versions: &BTreeSet<String>,
) -> Result<Option<String>, LabError> {
    let source = PolicySource::new(scenario.policy, text);
    let policy = mailmend_policy::parse::parse(&source).map_err(|faults| LabError::Malformed {
        what: format!("the policy `{}`", scenario.policy),
        reason: faults.to_string(),
    })?;
    let range = &policy.applies_to.versions;
    let fits = |version: &&String| version.parse().is_ok_and(|parsed| range.holds(parsed));
    let fitting: Vec<&str> = versions.iter().filter(fits).map(String::as_str).collect();
    let fact = VERSION_FACT;
    Ok((!fitting.is_empty()).then(|| format!("site,{fact} in ({})", fitting.join(","))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_goes_to_all_versions_that_it_is_for_and_nowhere_where_there_is_none() {
        let versions = ["4.0.993", "5.0.1458.49", "5.5.2653.13"];
        let versions: BTreeSet<String> = versions.iter().map(|one| (*one).to_owned()).collect();
        let select = |name: &str, versions: &BTreeSet<String>| {
            let scenario = Scenario::named(name).unwrap();
            let whole = Options::default();
            let room = (scenario.room)(&whole);
            let text = play::played_policy(scenario, &*room, &whole).unwrap() + STRATEGY;
            selected(scenario, text, versions).unwrap()
        };
        let all = select("corrupt-message", &versions).unwrap();
        assert!(all.ends_with("(4.0.993,5.0.1458.49,5.5.2653.13)"), "{all}");
        let one = select("silent-loss", &versions).unwrap();
        assert!(one.ends_with("(4.0.993)"), "{one}");
        let two = select("stuck-outbound", &versions).unwrap();
        assert!(two.ends_with("(5.0.1458.49,5.5.2653.13)"), "{two}");
        let only = BTreeSet::from(["5.0.1458.49".to_owned()]);
        assert_eq!(select("silent-loss", &only), None);
    }
}
