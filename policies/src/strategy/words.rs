//! A strategy in words, with its numbers: what a person reads before they approve.

use std::fmt;

use super::{Gate, Resolved, Share, Strategy, Targets, Window};
use crate::units::write_duration;

impl Strategy {
    /// What it comes to for these targets, one thing a line: waves, who is asked, what is between waves, how many
    /// sites at once, when it halts, what a server waits for, and when.
    #[must_use]
    pub fn lines(&self, targets: &Targets, resolved: &Resolved) -> Vec<String> {
        let mut lines = self.waves(targets, resolved);
        lines.push(format!(
            "at most {} mended at once",
            counted(self.sites_at_once, "site is", "sites are")
        ));
        lines.push(format!(
            "halts as soon as failed > {}{}",
            resolved.max_failed,
            part(self.max_failed, targets.runs, "run", "runs")
        ));
        lines.push(self.site_budget(targets, resolved));
        lines.push(format!(
            "a server waits while unavailable + 1 > {} in the fleet{}",
            resolved.max_unavailable_fleet,
            part(
                self.max_unavailable.fleet,
                targets.fleet,
                "server",
                "servers"
            )
        ));
        if self.windows.is_empty() {
            lines.push("service may be disturbed at any time".to_owned());
        }
        let windows = self.windows.iter();
        lines.extend(windows.map(|window| format!("service may be disturbed on {window}")));
        lines
    }

    fn waves(&self, targets: &Targets, resolved: &Resolved) -> Vec<String> {
        let (count, sites) = (resolved.waves.len(), targets.sites.len());
        let mut before = 0;
        let mut lines = Vec::new();
        for (at, reaches) in resolved.waves.iter().enumerate() {
            let new = if before == 0 {
                String::new()
            } else {
                format!(", {} of them new", reaches - before)
            };
            let asked = u32::try_from(at).is_ok_and(|at| self.approve.before(at));
            let asked = if asked {
                "; a person is asked before it"
            } else {
                ""
            };
            let sites = counted(u32::try_from(sites).unwrap_or(u32::MAX), "site", "sites");
            lines.push(format!(
                "wave {} of {count}: {reaches} of {sites}{new}{asked}",
                at + 1
            ));
            before = *reaches;
        }
        if count > 1 {
            let soak = if self.soak.is_zero() {
                "nothing is waited for".to_owned()
            } else {
                format!(
                    "its sites are only watched for {}",
                    write_duration(self.soak)
                )
            };
            let gate = match self.gate {
                Gate::None => "then the next begins",
                Gate::Health => {
                    "then every server of its sites must be connected, without an alarm since its run, and known to be \
                     without the symptom; what cannot be told pauses the rollout"
                }
            };
            lines.push(format!("after a wave: {soak}, {gate}"));
        }
        lines
    }

    fn site_budget(&self, targets: &Targets, resolved: &Resolved) -> String {
        let share = self.max_unavailable.site;
        let allowed = &resolved.max_unavailable_site;
        let least = allowed.iter().min_by_key(|(_, allowed)| **allowed);
        let most = allowed.values().max().copied().unwrap_or_default();
        match least {
            Some((site, least)) if *least < most => format!(
                "a server waits while unavailable + 1 > {least} to {most} at its site ({share} of its servers, rounded \
                 down: {least} at `{site}`)"
            ),
            _ => {
                // All sites allow the same; they need not have as many servers.
                let mut servers: Vec<u32> = targets.sites.values().copied().collect();
                servers.dedup();
                let why = match servers.as_slice() {
                    [servers] => part(share, *servers, "server", "servers"),
                    _ => match share {
                        Share::Count(_) => String::new(),
                        Share::Percent(_) => format!(" ({share} of its servers, rounded down)"),
                    },
                };
                format!("a server waits while unavailable + 1 > {most} at its site{why}")
            }
        }
    }
}

/// How a number came from a part, where it did.
fn part(share: Share, all: u32, one: &str, many: &str) -> String {
    match share {
        Share::Count(_) => String::new(),
        Share::Percent(_) => format!(" ({share} of {}, rounded down)", counted(all, one, many)),
    }
}

fn counted(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `sat, sun 22:00 to 04:00 of the next day, Europe/Oslo`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<&str> = self.days.iter().map(|day| day.name()).collect();
        let next = if self.to > self.from {
            ""
        } else {
            " of the next day"
        };
        let Self { from, to, zone, .. } = self;
        write!(f, "{} {from} to {to}{next}, {zone}", days.join(", "))
    }
}

#[cfg(test)]
mod tests;
