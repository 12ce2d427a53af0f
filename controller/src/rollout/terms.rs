//! A strategy in words, as it is shown before a rollout is started and while it goes on.

use mailmend_policy::strategy::{Approve, Gate, Resolved, Share, Strategy};
use mailmend_policy::units::write_duration;

use super::tolerance;

/// One term of a strategy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// What it is about.
    pub name: &'static str,
    /// What it says.
    pub what: String,
}

/// A strategy in words, with its numbers for `runs` runs.
#[must_use]
pub fn terms(strategy: &Strategy, resolved: &Resolved, runs: usize) -> Vec<Term> {
    let one = resolved.waves.len() <= 1;
    let waves = if one {
        "one, of everything".to_owned()
    } else {
        let reaches: Vec<String> = resolved.waves.iter().map(ToString::to_string).collect();
        let all = reaches.last().cloned().unwrap_or_default();
        format!("{} of {all} sites by the end of each", reaches.join(", "))
    };
    let soak = match (strategy.soak.is_zero(), strategy.gate, one) {
        (true, _, _) => "none".to_owned(),
        (false, Gate::None, true) => "none: there is one wave and no gate".to_owned(),
        (false, Gate::None, false) => {
            format!(
                "{} after each wave but the last",
                write_duration(strategy.soak)
            )
        }
        (false, Gate::Health, _) => format!("{} after each wave", write_duration(strategy.soak)),
    };
    let gate = match strategy.gate {
        Gate::None => "none".to_owned(),
        Gate::Health => {
            "health after each wave: every agent of a mended site is connected, no alarm was \
                         raised since its run, and the symptom is known not to stand"
                .to_owned()
        }
    };
    let windows = if strategy.windows.is_empty() {
        "always".to_owned()
    } else {
        let windows: Vec<String> = strategy.windows.iter().map(ToString::to_string).collect();
        windows.join("; or ")
    };
    let approve = match strategy.approve {
        Approve::None => "not asked",
        Approve::BeforeFirst => "asked before the first wave",
        Approve::AfterFirst if one => "not asked: there is one wave",
        Approve::AfterFirst => "asked before the second wave",
        Approve::EachWave => "asked before each wave",
    };
    let unavailable = &strategy.max_unavailable;
    let fleet = resolved.max_unavailable_fleet;
    let term = |name, what| Term { name, what };
    vec![
        term("waves", waves),
        term("soak", soak),
        term("gate", gate),
        term("sites at once", strategy.sites_at_once.to_string()),
        term(
            "failures",
            format!(
                "halts as soon as failed > {}",
                tolerance(strategy.max_failed, resolved.max_failed, runs)
            ),
        ),
        term(
            "out of service",
            format!(
                "{}; {}",
                match unavailable.site {
                    Share::Percent(100) => "any number of a site".to_owned(),
                    Share::Count(count) => format!("unavailable + 1 <= {count} of a site"),
                    Share::Percent(part) =>
                        format!("unavailable + 1 <= {part}% of a site, rounded down"),
                },
                match unavailable.fleet {
                    Share::Percent(100) => "any number of the fleet".to_owned(),
                    Share::Count(count) => format!("unavailable + 1 <= {count} of the fleet"),
                    Share::Percent(part) =>
                        format!("unavailable + 1 <= {fleet} of the fleet ({part}%, rounded down)"),
                },
            ),
        ),
        term("service is disturbed", windows),
        term("a person", approve.to_owned()),
    ]
}
