//! Which servers take which role, or why they cannot.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::{RoleName, ServerName, SiteName};
use crate::policy::Policy;
use crate::role::{Bind, Role};
use crate::section::outlines;
use crate::version::{Version, VersionRange};

use super::{Server, VERSION_FACT};

/// The servers of one plan.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) site: SiteName,
    pub(super) subject: Option<ServerName>,
    /// Sorted by name; never empty.
    pub(super) roles: BTreeMap<RoleName, Vec<ServerName>>,
}

/// Why a policy cannot be bound to servers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum PlanFault {
    /// No site has servers that the policy is about.
    #[error(
        "no server is selected: `{select}` (role `{role}`) matches none of {servers} servers; `mailmend agent list` shows labels and facts"
    )]
    NothingSelected {
        /// The role that decides.
        role: RoleName,
        /// Its selector.
        select: String,
        /// How many servers were looked at.
        servers: usize,
    },
    /// A server is given twice.
    #[error("the server `{server}` is listed twice; server names are unique in a fleet")]
    DuplicateServer {
        /// The server.
        server: ServerName,
    },
    /// A site has fewer servers for a role than it needs.
    #[error(
        "site `{site}` has {found} of {needed} servers for role `{role}` (`{select}`); label a server, or leave the site out"
    )]
    TooFew {
        /// The site.
        site: SiteName,
        /// The role.
        role: RoleName,
        /// Its selector.
        select: String,
        /// How many servers match.
        found: usize,
        /// How many are needed.
        needed: u32,
    },
    /// A site has several servers for a role that takes one.
    #[error("site `{site}` has several servers for role `{role}` (`{select}`), which takes one: {}; narrow the selector or the labels", list(.servers))]
    Several {
        /// The site.
        site: SiteName,
        /// The role.
        role: RoleName,
        /// Its selector.
        select: String,
        /// The servers, by name.
        servers: Vec<ServerName>,
    },
    /// A server would take two roles of one plan, one of which stops its services.
    #[error(
        "server `{server}` of site `{site}` would be `{one}` and `{other}` at once, and a step stops its services; select different servers"
    )]
    TwoRoles {
        /// The site.
        site: SiteName,
        /// The server.
        server: ServerName,
        /// A role.
        one: RoleName,
        /// The other role.
        other: RoleName,
    },
    /// A server's version is not known.
    #[error(
        "server `{server}` reports no `{VERSION_FACT}`, and the policy is for {range}; wait for its agent, or set the label"
    )]
    VersionUnknown {
        /// The server.
        server: ServerName,
        /// The versions of the policy.
        range: String,
    },
    /// A server's version is outside the range.
    #[error("server `{server}` has version `{version}`, and the policy is for {range}")]
    VersionOutside {
        /// The server.
        server: ServerName,
        /// What its agent reports.
        version: String,
        /// The versions of the policy.
        range: String,
    },
    /// An agent cannot carry out an action.
    #[error("the agent of `{server}` cannot carry out {}; update it", list(.actions))]
    Lacks {
        /// The server.
        server: ServerName,
        /// The actions.
        actions: Vec<String>,
    },
}

fn list<T: std::fmt::Display>(all: &[T]) -> String {
    let all: Vec<String> = all.iter().map(|one| format!("`{one}`")).collect();
    all.join(", ")
}

pub(super) fn bindings(
    policy: &Policy,
    servers: &[Server],
) -> Result<Vec<Binding>, Vec<PlanFault>> {
    let mut faults = BTreeSet::new();
    let mut sites: BTreeMap<&SiteName, BTreeMap<&ServerName, &Server>> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for server in servers {
        if !names.insert(&server.name) {
            faults.insert(PlanFault::DuplicateServer {
                server: server.name.clone(),
            });
        }
        sites
            .entry(&server.site)
            .or_default()
            .insert(&server.name, server);
    }
    let mut bindings = Vec::new();
    for (site, servers) in &sites {
        bind_site(policy, site, servers, &mut bindings, &mut faults);
    }
    if bindings.is_empty() && faults.is_empty() {
        let (role, select) = decisive(policy);
        faults.insert(PlanFault::NothingSelected {
            role,
            select,
            servers: servers.len(),
        });
    }
    if faults.is_empty() {
        Ok(bindings)
    } else {
        Err(faults.into_iter().collect())
    }
}

/// The role that decides whether a site is selected, with its selector, for people.
fn decisive(policy: &Policy) -> (RoleName, String) {
    let each = policy
        .roles
        .iter()
        .find(|(_, role)| role.bind == Bind::Each);
    let named = policy.roles.get_key_value(&policy.detect.on);
    each.or(named).map_or_else(
        || (policy.detect.on.clone(), String::new()),
        |(name, role)| (name.clone(), role.select.to_string()),
    )
}

fn bind_site(
    policy: &Policy,
    site: &SiteName,
    servers: &BTreeMap<&ServerName, &Server>,
    bindings: &mut Vec<Binding>,
    faults: &mut BTreeSet<PlanFault>,
) {
    let matching = |role: &Role| -> Vec<ServerName> {
        let selected = servers
            .values()
            .filter(|server| role.select.selects(&server.labels));
        selected.map(|server| server.name.clone()).collect()
    };
    let matches: BTreeMap<&RoleName, Vec<ServerName>> = policy
        .roles
        .iter()
        .map(|(name, role)| (name, matching(role)))
        .collect();
    let each = policy
        .roles
        .iter()
        .find(|(_, role)| role.bind == Bind::Each)
        .map(|(name, _)| name);
    let selected = match each {
        Some(each) => !matches[each].is_empty(),
        None => matches.values().any(|servers| !servers.is_empty()),
    };
    if !selected {
        return;
    }
    let before = faults.len();
    let mut common = BTreeMap::new();
    for (name, role) in &policy.roles {
        let found = &matches[name];
        let needed = if let Bind::All { at_least } = role.bind {
            at_least
        } else {
            1
        };
        if (found.len() as u64) < u64::from(needed) {
            faults.insert(PlanFault::TooFew {
                site: site.clone(),
                role: name.clone(),
                select: role.select.to_string(),
                found: found.len(),
                needed,
            });
        } else if role.bind == Bind::One && found.len() > 1 {
            faults.insert(PlanFault::Several {
                site: site.clone(),
                role: name.clone(),
                select: role.select.to_string(),
                servers: found.clone(),
            });
        } else if role.bind != Bind::Each {
            common.insert(name.clone(), found.clone());
        }
    }
    for (role, names) in &matches {
        names
            .iter()
            .for_each(|name| fit(policy, role, servers[name], faults));
    }
    let subjects: Vec<Option<ServerName>> = match each {
        Some(each) => matches[each].iter().cloned().map(Some).collect(),
        None => vec![None],
    };
    for subject in subjects {
        let mut roles = common.clone();
        if let (Some(each), Some(subject)) = (each, &subject) {
            roles.insert(each.clone(), vec![subject.clone()]);
        }
        two_roles(policy, site, &roles, faults);
        if faults.len() == before {
            bindings.push(Binding {
                site: site.clone(),
                subject,
                roles,
            });
        }
    }
}

/// Whether a server can carry out what its role asks of it.
fn fit(policy: &Policy, role: &RoleName, server: &Server, faults: &mut BTreeSet<PlanFault>) {
    let range: &VersionRange = &policy.applies_to.versions;
    let name = || server.name.clone();
    match server.labels.get(VERSION_FACT) {
        None => {
            faults.insert(PlanFault::VersionUnknown {
                server: name(),
                range: range.to_string(),
            });
        }
        Some(text) => {
            // A text that is no version is outside every range.
            let holds = text
                .parse::<Version>()
                .is_ok_and(|version| range.holds(version));
            if !holds {
                let (version, range) = (text.clone(), range.to_string());
                faults.insert(PlanFault::VersionOutside {
                    server: name(),
                    version,
                    range,
                });
            }
        }
    }
    let asked = policy
        .steps
        .iter()
        .filter(|step| step.on == *role)
        .map(|step| step.action.name());
    let lacking: BTreeSet<&str> = asked
        .filter(|action| !server.actions.contains(*action))
        .collect();
    if !lacking.is_empty() {
        let actions = lacking.into_iter().map(str::to_owned).collect();
        faults.insert(PlanFault::Lacks {
            server: name(),
            actions,
        });
    }
}

/// One server may take two roles only where neither stops anything: a relay that is to keep the mail
/// going cannot be the server whose service is down.
fn two_roles(
    policy: &Policy,
    site: &SiteName,
    roles: &BTreeMap<RoleName, Vec<ServerName>>,
    faults: &mut BTreeSet<PlanFault>,
) {
    let (sections, _) = outlines(&policy.steps);
    let disturbs = |role: &RoleName| {
        sections
            .iter()
            .any(|section| policy.steps[section.first].on == *role)
    };
    for (one, servers) in roles {
        for (other, others) in roles.range(one.clone()..).skip(1) {
            if !disturbs(one) && !disturbs(other) {
                continue;
            }
            for server in servers.iter().filter(|server| others.contains(server)) {
                faults.insert(PlanFault::TwoRoles {
                    site: site.clone(),
                    server: server.clone(),
                    one: one.clone(),
                    other: other.clone(),
                });
            }
        }
    }
}
