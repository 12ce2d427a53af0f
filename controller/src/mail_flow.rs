//! The floor of mail flow: every address space keeps a live outbound path, over all rollouts together.
//!
//! Pure. What each server is a path for stands in its fact (or label) [`FACT`]; what may be disturbed follows
//! from who is connected and what all open runs do. A server that states nothing constrains nothing. Where
//! a server is the only path by configuration, no mending of it could keep a path: that is said, and refused
//! or accepted, when the rollout is planned (`last_path` of its strategy); here only a path that has another
//! beside it is kept.

mod space;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_policy::plan::{Plan, Server};
use mailmend_policy::units::write_duration;
use mailmend_proto::run::RunId;

use crate::decide::budgets::disturbed;
use crate::rollout::{Part, Run, RunPhase};

pub use space::{NotASpace, Reach, Space, spaces};

/// The fact that says for which address spaces a server is an outbound path: `SMTP:*;1`,
/// `SMTP:example.com;10;site`, with commas between; `none` for none.
pub const FACT: &str = "ims.address-spaces";

/// The fact that says which way mail goes through a server; one that is `inbound` is no path.
const DIRECTION: &str = "ims.direction";

/// An address space as those see it who share it: everybody, or the servers of one site.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The space, such as `SMTP:*`.
    pub space: String,
    /// The site that it is for; none: the organisation.
    pub site: Option<SiteName>,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.site {
            Some(site) => write!(f, "{} of site {site}", self.space),
            None => write!(f, "{} of the organisation", self.space),
        }
    }
}

/// Why a server is no live path now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Its agent is not connected.
    Away,
    /// A run was given to it that will disturb it.
    Reserved(RunId),
    /// A section was released to it that is not over.
    Disturbed(RunId),
    /// A run left its service down: a person has it.
    LeftDown(RunId),
    /// A run of a rollout that goes on failed on it.
    Failed(RunId),
}

impl Why {
    const fn run(&self) -> Option<RunId> {
        match self {
            Self::Away => None,
            Self::Reserved(run)
            | Self::Disturbed(run)
            | Self::LeftDown(run)
            | Self::Failed(run) => Some(*run),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |run: &RunId| run.to_string().chars().take(8).collect::<String>();
        match self {
            Self::Away => f.write_str("not connected"),
            Self::Reserved(run) => write!(f, "given to run {}", short(run)),
            Self::Disturbed(run) => write!(f, "disturbed by run {}", short(run)),
            Self::LeftDown(run) => write!(f, "left down by run {}", short(run)),
            Self::Failed(run) => write!(f, "run {} failed there", short(run)),
        }
    }
}

/// An address space that would lose its last live path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastPath {
    /// The space.
    pub route: Route,
    /// The server that is its last live path.
    pub server: ServerName,
    /// The other paths, and why none of them is live.
    pub others: Vec<(ServerName, Why)>,
}

/// Which server is a path for what, and which paths are not live.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailFlow {
    paths: BTreeMap<Route, BTreeSet<ServerName>>,
    down: BTreeMap<ServerName, Vec<Why>>,
}

impl MailFlow {
    /// What the servers state, all of them live. What makes no sense states nothing; [`Self::notes`] tells it.
    #[must_use]
    pub fn of<'a>(servers: impl IntoIterator<Item = &'a Server>) -> Self {
        let mut everywhere: BTreeMap<String, BTreeSet<ServerName>> = BTreeMap::new();
        let mut sites: BTreeMap<(String, SiteName), BTreeSet<ServerName>> = BTreeMap::new();
        for server in servers {
            for space in stated(server).unwrap_or_default() {
                let path = match space.reach {
                    Reach::Organisation => everywhere.entry(space.name).or_default(),
                    Reach::Site => sites.entry((space.name, server.site.clone())).or_default(),
                };
                path.insert(server.name.clone());
            }
        }
        let mut paths = BTreeMap::new();
        for ((space, site), mut servers) in sites {
            // Who sends from that site may use either.
            servers.extend(everywhere.get(&space).into_iter().flatten().cloned());
            let site = Some(site);
            paths.insert(Route { space, site }, servers);
        }
        for (space, servers) in everywhere {
            paths.insert(Route { space, site: None }, servers);
        }
        Self {
            paths,
            down: BTreeMap::new(),
        }
    }

    /// Which servers are paths for what, by configuration.
    pub fn routes(&self) -> impl Iterator<Item = (&Route, &BTreeSet<ServerName>)> {
        self.paths.iter()
    }

    /// With the servers that are paths and not connected.
    #[must_use]
    pub fn connected(mut self, connected: &BTreeSet<ServerName>) -> Self {
        let all: BTreeSet<ServerName> = self.paths.values().flatten().cloned().collect();
        for server in all.difference(connected) {
            self.is_down(server, Why::Away);
        }
        self
    }

    /// Whether no address space has more than one path: nothing is ever held back then.
    #[must_use]
    pub fn constrains_nothing(&self) -> bool {
        self.paths.values().all(|servers| servers.len() < 2)
    }

    /// With what a run of a rollout that goes on does to its servers.
    #[must_use]
    pub fn with_run(mut self, run: &Run) -> Self {
        for server in disturbed(&run.plan) {
            let Some(part) = run.parts.get(&server) else {
                continue;
            };
            let left_down = part.told.handed_over || part.told.open_section.is_some();
            let why = if run.phase.holds_site() {
                if part.told.handed_over {
                    Why::LeftDown(run.id)
                } else if in_section(run, &server, part)
                    || (run.phase == RunPhase::Unwinding
                        && part.unwind.is_some()
                        && !part.is_over())
                {
                    Why::Disturbed(run.id)
                } else if part.is_over() {
                    continue;
                } else {
                    Why::Reserved(run.id)
                }
            } else if left_down {
                Why::LeftDown(run.id)
            } else if run.phase == RunPhase::Failed && part.told.begun {
                Why::Failed(run.id)
            } else {
                continue;
            };
            self.is_down(&server, why);
        }
        self
    }

    /// With a run that is about to be given to its servers.
    pub fn reserve(&mut self, run: &Run) {
        for server in disturbed(&run.plan) {
            self.is_down(&server, Why::Reserved(run.id));
        }
    }

    /// With a server that is no live path.
    pub fn is_down(&mut self, server: &ServerName, why: Why) {
        self.down.entry(server.clone()).or_default().push(why);
    }

    /// The spaces that would lose their last live path were `run` given to its servers now. Its servers are
    /// disturbed one after the other, so each is looked at for itself.
    #[must_use]
    pub fn beginning(&self, run: &Run) -> Vec<LastPath> {
        disturbed(&run.plan)
            .iter()
            .flat_map(|server| self.lost(run.id, server, |_| true, |_| true))
            .collect()
    }

    /// The spaces that would lose their last live path were these steps of `run` released to `server` now. A server
    /// that is only reserved is up: of two runs that wait for each other's one goes on.
    #[must_use]
    pub fn releasing(&self, run: &Run, server: &ServerName, steps: Range<u32>) -> Vec<LastPath> {
        let mut sections = run.plan.sections.iter();
        if !sections.any(|section| steps.contains(&section.first)) {
            return Vec::new();
        }
        // Of a server whose agent is away nobody knows that its service is down, and the release would be
        // told when it comes back: it counts as the live path that it may be.
        let own = |why: &Why| !matches!(why, Why::Reserved(_) | Why::Away);
        self.lost(run.id, server, own, |why| !matches!(why, Why::Reserved(_)))
    }

    /// The spaces for which `server` is the last live path though others are configured. What `run` itself has
    /// of it does not count against it; `own` says which reasons make the server itself no live path, `counts`
    /// which do so for the others.
    fn lost(
        &self,
        run: RunId,
        server: &ServerName,
        own: impl Fn(&Why) -> bool,
        counts: impl Fn(&Why) -> bool,
    ) -> Vec<LastPath> {
        let reasons = |one: &ServerName| {
            let reasons = self.down.get(one).into_iter().flatten();
            reasons.filter(|why| why.run() != Some(run) || matches!(why, Why::LeftDown(_)))
        };
        let why_not = |one: &ServerName| reasons(one).find(|why| counts(why));
        if reasons(server).any(own) {
            // It is no live path, so nothing is lost; it may be the one to be mended.
            return Vec::new();
        }
        let mut last = Vec::new();
        for (route, servers) in &self.paths {
            if !servers.contains(server) || servers.len() == 1 {
                continue;
            }
            let others: Option<Vec<(ServerName, Why)>> = servers
                .iter()
                .filter(|one| *one != server)
                .map(|one| Some((one.clone(), why_not(one)?.clone())))
                .collect();
            if let Some(others) = others {
                last.push(LastPath {
                    route: route.clone(),
                    server: server.clone(),
                    others,
                });
            }
        }
        last
    }

    /// The spaces for which a server that `plan` disturbs is the only path by configuration.
    #[must_use]
    pub fn only_paths(&self, plan: &Plan) -> Vec<(Route, ServerName)> {
        let mut only = Vec::new();
        for server in disturbed(plan) {
            for (route, servers) in &self.paths {
                if servers.len() == 1 && servers.contains(&server) {
                    only.push((route.clone(), server.clone()));
                }
            }
        }
        only
    }

    /// What a person should know of address spaces before these plans are carried out, in sentences.
    #[must_use]
    pub fn notes(&self, plans: &[Plan], servers: &[Server]) -> Vec<String> {
        let mut notes = Vec::new();
        let mut mended = BTreeSet::new();
        for plan in plans {
            mended.extend(disturbed(plan));
            for (route, server) in self.only_paths(plan) {
                notes.push(format!(
                    "{server} is the only outbound path of {route}: its mail waits while the server is mended, {} at most each time",
                    write_duration(plan.limits.max_outage)
                ));
            }
        }
        let mut silent = Vec::new();
        for server in servers
            .iter()
            .filter(|server| mended.contains(&server.name))
        {
            match stated(server) {
                Err(fault) => notes.push(format!(
                    "what {} states as `{FACT}` holds nothing back: {fault}",
                    server.name
                )),
                Ok(_) if server.labels.contains_key(FACT) => {}
                Ok(_) => silent.push(server.name.as_str()),
            }
        }
        if let [first, others @ ..] = silent.as_slice() {
            let more = match others.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            notes.push(format!(
                "{first}{more} of {} servers to be mended state no address spaces (`{FACT}`): nothing is held back to keep theirs",
                mended.len()
            ));
        }
        notes
    }
}

fn stated(server: &Server) -> Result<Vec<Space>, NotASpace> {
    if server
        .labels
        .get(DIRECTION)
        .is_some_and(|way| way == "inbound")
    {
        return Ok(Vec::new());
    }
    server
        .labels
        .get(FACT)
        .map_or(Ok(Vec::new()), |text| spaces(text))
}

/// Whether a section was released to a server that is not known to be over.
fn in_section(run: &Run, server: &ServerName, part: &Part) -> bool {
    if part.told.open_section.is_some() {
        return true;
    }
    if part.told.left_section.is_some() || part.is_over() {
        return false;
    }
    run.plan.sections.iter().any(|section| {
        let steps = &run.plan.steps[section.first as usize..=section.last as usize];
        section.server == *server
            && part.through > section.first
            && !steps.iter().all(|step| run.is_finished(step))
    })
}

#[cfg(test)]
mod tests;
