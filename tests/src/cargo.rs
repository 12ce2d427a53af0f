//! Cargo, called from a program that cargo has started.

use std::path::Path;
use std::process::Command;

/// Variables that cargo sets for the package that it runs, by their beginning. Build scripts, ring's among
/// them, ask to run again when one of them changes: handed on, they would have half of the graph built
/// again.
const OF_THE_PACKAGE: [&str; 5] = [
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_CRATE_NAME",
    "CARGO_BIN_",
    "CARGO_PRIMARY_PACKAGE",
];

/// Cargo, as if it had been started by a person in that folder.
#[must_use]
pub fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let of_the_package = |name: &str| OF_THE_PACKAGE.iter().any(|one| name.starts_with(one));
        if name.to_str().is_some_and(of_the_package) {
            command.env_remove(name);
        }
    }
    command
}

/// Cargo, building `mailmend` and `mailmend-agent`: always so, that nothing is built twice.
#[must_use]
pub fn build_programs(folder: &Path) -> Command {
    let mut command = cargo(folder);
    command.args([
        "build",
        "-q",
        "-p",
        "mailmend",
        "-p",
        "mailmend-agent",
        "--bins",
    ]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_says_of_the_running_package_is_not_handed_on() {
        assert!(
            std::env::var_os("CARGO_MANIFEST_DIR").is_some(),
            "cargo runs this test"
        );
        let command = cargo(Path::new("."));
        let removed: Vec<_> = command
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .collect();
        assert!(
            removed.iter().any(|name| name == "CARGO_MANIFEST_DIR"),
            "{removed:?}"
        );
        assert!(
            removed.iter().any(|name| name == "CARGO_PKG_NAME"),
            "{removed:?}"
        );
        assert!(
            !removed.iter().any(|name| name == "CARGO_HOME"),
            "{removed:?}"
        );
    }
}
