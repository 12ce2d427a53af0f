//! The shipped policies, as part of the program.

use crate::source::PolicySource;

/// The shipped policies: name and exact text, by name.
pub const SHIPPED: [(&str, &str); 5] = [
    (
        "corrupt-message",
        include_str!("../library/corrupt-message.toml"),
    ),
    (
        "sent-not-removed",
        include_str!("../library/sent-not-removed.toml"),
    ),
    ("silent-loss", include_str!("../library/silent-loss.toml")),
    (
        "stuck-message",
        include_str!("../library/stuck-message.toml"),
    ),
    (
        "stuck-outbound-routing",
        include_str!("../library/stuck-outbound-routing.toml"),
    ),
];

/// A shipped policy by its name.
#[must_use]
pub fn find(name: &str) -> Option<PolicySource> {
    let (name, text) = SHIPPED.iter().find(|(shipped, _)| *shipped == name)?;
    Some(source(name, text))
}

/// All shipped policies, by name.
pub fn all() -> impl Iterator<Item = PolicySource> {
    SHIPPED.iter().map(|(name, text)| source(name, text))
}

fn source(name: &str, text: &str) -> PolicySource {
    PolicySource::new(format!("{name}.toml"), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_policy_parses_without_fault_or_advice() {
        for source in all() {
            let checked = crate::parse::check(&source);
            assert!(
                checked.faults.is_empty(),
                "{}",
                checked.faults.render(100, false)
            );
            let policy = checked.policy.unwrap();
            assert_eq!(source.name(), format!("{}.toml", policy.name));
            assert!(!policy.source.deviations.is_empty(), "{}", policy.name);
        }
    }
}
