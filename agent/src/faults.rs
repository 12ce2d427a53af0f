//! The agent's catalogue of faults: code, what it means, what to do. `docs/faults.md` is written
//! from it. A code is never given another meaning.
//!
//! A001–A009 configuration and guard file, A010–A019 journal and data folder, A020–A029 identity
//! and connection, A030–A039 the guard refuses, A040–A049 an assignment or order is refused, A050–A079
//! steps, sections and services, A080–A099 custody.

/// Code, what it means, remedy; in order of the code.
pub const FAULTS: &[(&str, &str, &str)] = &[
    (
        "A001-config-faulty",
        "The agent's configuration has faults; each is told with its line and column.",
        "Mend what is told; `mailmend-agent config --config FILE` reads it again without starting anything.",
    ),
    (
        "A002-config-unreadable",
        "The agent's configuration file cannot be read.",
        "Name it with `--config FILE` or MAILMEND_AGENT_CONFIG, and make it readable for the agent's account.",
    ),
    (
        "A003-guard-faulty",
        "The guard file has faults; each is told with its line and column. Without a good guard file the agent does nothing.",
        "Mend what is told; `mailmend-agent guard check --config FILE` reads it again without starting anything.",
    ),
    (
        "A004-guard-unreadable",
        "The guard file cannot be read.",
        "Name it as `guard` in the configuration, and make it readable for the agent's account.",
    ),
    (
        "A005-guard-unsafe",
        "Somebody other than root or the agent's account could change the guard file.",
        "Give the file and its folder to root or the agent's account and `chmod go-w` both.",
    ),
    (
        "A030-guard-service",
        "A step wants to disturb a service that the guard file does not list.",
        "List the service in `services` of the guard file if this agent shall disturb it; otherwise the policy does not belong here.",
    ),
    (
        "A031-guard-path",
        "A step wants to change something outside the roots of the guard file.",
        "Add the folder to `roots` of the guard file if this agent shall change it; otherwise the policy does not belong here.",
    ),
    (
        "A032-guard-tool",
        "A step names a tool that the guard file does not define.",
        "Define it as `[tools.NAME]` in the guard file if this agent shall run it.",
    ),
    (
        "A033-guard-flag",
        "A step gives a tool a flag that the guard file does not declare, or a value that its pattern refuses.",
        "Change the policy, or declare the flag with a pattern that fits in the guard file.",
    ),
];

/// The code itself, proven at compile time to be in [`FAULTS`]:
/// `const { known("A030-guard-service") }`.
///
/// # Panics
/// Where the catalogue has no such code; in a `const` block that is a compile error.
#[must_use]
pub const fn known(code: &'static str) -> &'static str {
    let mut at = 0;
    while at < FAULTS.len() {
        if same(FAULTS[at].0.as_bytes(), code.as_bytes()) {
            return code;
        }
        at += 1;
    }
    panic!("the code is not in the catalogue of faults")
}

/// The remedy of a code; `None` where the catalogue has no such code.
#[must_use]
pub fn remedy(code: &str) -> Option<&'static str> {
    let entry = FAULTS.iter().find(|(known, ..)| *known == code)?;
    Some(entry.2)
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_unique_and_shaped_alike() {
        for pair in FAULTS.windows(2) {
            assert!(
                pair[0].0[..4] < pair[1].0[..4],
                "{} {}",
                pair[0].0,
                pair[1].0
            );
        }
        for (code, meaning, remedy) in FAULTS {
            let (number, text) = code.split_once('-').unwrap();
            assert!(
                number.starts_with('A') && number[1..].parse::<u16>().is_ok() && number.len() == 4
            );
            assert!(
                text.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            );
            assert!(meaning.ends_with('.') && remedy.ends_with('.'), "{code}");
        }
    }
}
