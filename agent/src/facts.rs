//! What the agent finds out about its server, for selectors and for people.
//!
//! What the administrator states in `[facts]` of the configuration wins: some facts, the direction
//! of the Internet Mail Service among them, stand nowhere that is documented.

use mailmend_policy::condition::PathRoot;

use crate::host::{Facts, Host};

/// The service whose start event tells the build.
const IMS: &str = "MSExchangeIMC";
/// The event that a start writes.
const STARTED: u32 = 1000;
/// How far back the last start is looked for, in days: less far where the log does not reach so far back.
const BACK_DAYS: [i64; 5] = [400, 90, 30, 7, 1];
const DAY_MS: i64 = 24 * 3_600_000;

/// The facts now: found ones, and over them those that are stated.
#[must_use]
pub fn gather(host: &dyn Host, stated: &Facts) -> Facts {
    let mut facts = Facts::new();
    for (name, root) in [
        ("imcdata", PathRoot::Imcdata),
        ("mtadata", PathRoot::Mtadata),
        ("trackinglog", PathRoot::Trackinglog),
    ] {
        // A server without one of them is an ordinary server.
        if let Ok(folder) = host.root(root) {
            facts.insert(name.to_owned(), folder.display().to_string());
        }
    }
    if let Some(version) = version(host) {
        facts.insert("exchange.version".to_owned(), version);
    }
    if let Some(hostname) = hostname() {
        facts.insert("hostname".to_owned(), hostname);
    }
    facts.extend(stated.clone());
    facts
}

/// The name of the machine that the agent runs on.
fn hostname() -> Option<String> {
    #[cfg(not(windows))]
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    #[cfg(windows)]
    let name = std::env::var("COMPUTERNAME");
    name.ok().map(|name| name.trim().to_owned())
}

/// The build that the last start event of the Internet Mail Service names.
fn version(host: &dyn Host) -> Option<String> {
    let now = host.clock().wall_ms();
    let events = BACK_DAYS.into_iter().find_map(|days| {
        let since = now.saturating_sub(days * DAY_MS);
        host.events().read(IMS, since).ok()
    })?;
    let started = events.iter().rev().find(|event| event.id == STARTED)?;
    build_in(&started.description)
}

/// The first thing in a text that is shaped like a build of Exchange: `5.5.2653.13`, `4.0.994`.
fn build_in(text: &str) -> Option<String> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.')
        .map(|word| word.trim_matches('.'))
        .find(|word| {
            let parts: Vec<&str> = word.split('.').collect();
            (3..=4).contains(&parts.len())
                && matches!(parts[0], "4" | "5")
                && parts.iter().all(|part| !part.is_empty() && part.len() <= 5)
        })
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_found_where_a_text_has_one() {
        for (text, build) in [
            (
                "The service started. Build 5.5.2653.13.",
                Some("5.5.2653.13"),
            ),
            ("version 4.0.994 (SP3)", Some("4.0.994")),
            (
                "listening on 10.0.0.5, build 5.0.1460.8",
                Some("5.0.1460.8"),
            ),
            ("listening on 127.0.0.1:25", None),
            ("5.5", None),
            ("", None),
        ] {
            assert_eq!(build_in(text).as_deref(), build, "{text}");
        }
    }
}
