//! What was killed in a fleet, and what ended although nobody had killed it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::chaos::Victim;

/// Kills, by what was killed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Toll {
    controller: usize,
    agents: usize,
    mail_services: usize,
    /// What was to be killed was down already.
    already_down: usize,
    /// All rollouts had ended before.
    pub(super) too_late: usize,
    /// The sites, by index, at which an agent or a mail service was killed.
    sites: BTreeSet<usize>,
}

impl Toll {
    /// Notes that this was to be killed, and whether it was there to be.
    pub(super) fn note(&mut self, victim: Victim, killed: bool) {
        if !killed {
            self.already_down += 1;
            return;
        }
        match victim {
            Victim::Controller => self.controller += 1,
            Victim::Agent(server) => {
                self.agents += 1;
                self.sites.insert(server / 2);
            }
            Victim::Ims(server) => {
                self.mail_services += 1;
                self.sites.insert(server / 2);
            }
        }
    }

    /// Whether an agent or a mail service of a site was killed.
    pub(super) fn at(&self, site: usize) -> bool {
        self.sites.contains(&site)
    }

    /// How many processes were killed.
    pub(super) fn killed(&self) -> usize {
        self.controller + self.agents + self.mail_services
    }

    /// As the report tells it.
    pub(super) fn told(&self) -> Value {
        json!({
            "controller": self.controller,
            "agents": self.agents,
            "mail_services": self.mail_services,
            "already_down": self.already_down,
            "too_late": self.too_late,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_there_to_be_killed_counts_and_a_site_is_disturbed_by_its_own_processes_alone()
    {
        let mut toll = Toll::default();
        toll.note(Victim::Controller, true);
        toll.note(Victim::Agent(6), true);
        toll.note(Victim::Ims(15), true);
        toll.note(Victim::Ims(9), false);
        toll.too_late = 2;
        assert_eq!(toll.killed(), 3);
        assert_eq!(
            [3, 7, 4, 0].map(|site| toll.at(site)),
            [true, true, false, false]
        );
        let told = toll.told();
        assert_eq!(
            told,
            json!({"controller": 1, "agents": 1, "mail_services": 1, "already_down": 1, "too_late": 2})
        );
    }
}
