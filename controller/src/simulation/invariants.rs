//! What must hold over the whole fleet after every event: the invariants of `SAFETY.md` that no server can be
//! held to by itself. Pure: what the controller decided and what the servers did are arguments.

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::name::{ServerName, SiteName};
use mailmend_proto::run::RunId;

use crate::decide::Action;
use crate::mail_flow::MailFlow;
use crate::rollout::{Books, Rollout, RunPhase};

/// A time in which a server's mail service is disturbed by a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// When it began, in the time of the simulation.
    pub from_ms: i64,
    /// When it ended; none: not yet.
    pub to_ms: Option<i64>,
}

impl Section {
    fn meets(self, other: Self) -> bool {
        let before = |a: Self, b: Self| a.to_ms.is_some_and(|end| end <= b.from_ms);
        !before(self, other) && !before(other, self)
    }
}

/// What each server of a site went through, by server.
pub type Sections = BTreeMap<ServerName, Vec<Section>>;

/// I4: a server's new section meets none of another server at its site, so that one of a role is disturbed at
/// a time and an address space keeps its other servers; and the fleet's cap holds while it began.
pub fn sections(
    sites: &BTreeMap<SiteName, Sections>,
    site: &SiteName,
    server: &ServerName,
    new: Section,
    most_sites: u32,
    found: &mut Vec<String>,
) {
    for (other, theirs) in sites.get(site).into_iter().flatten() {
        if other != server && theirs.iter().any(|one| one.meets(new)) {
            found.push(format!(
                "I4: `{server}` and `{other}` of site `{site}` are disturbed at the same time, from {} on",
                new.from_ms
            ));
        }
    }
    let at_work = sites.values().filter(|servers| {
        let mut all = servers.values().flatten();
        all.any(|one| one.from_ms <= new.from_ms && one.to_ms.is_none_or(|end| end > new.from_ms))
    });
    let at_work = at_work.count();
    if at_work > most_sites as usize {
        found.push(format!(
            "I4: {at_work} sites are disturbed at {}, {most_sites} may be",
            new.from_ms
        ));
    }
}

/// I4: of the servers that are configured as paths for an address space, not all are disturbed at once. One that is
/// the only path is; that was accepted when the rollout was planned.
pub fn paths(
    paths: &MailFlow,
    sites: &BTreeMap<SiteName, Sections>,
    server: &ServerName,
    new: Section,
    found: &mut Vec<String>,
) {
    let disturbed = |other: &ServerName| {
        let mut theirs = sites.values().filter_map(|servers| servers.get(other));
        theirs.any(|all| {
            all.iter().any(|one| {
                one.from_ms <= new.from_ms && one.to_ms.is_none_or(|end| end > new.from_ms)
            })
        })
    };
    for (route, servers) in paths.routes() {
        let mut others = servers.iter().filter(|other| *other != server);
        if servers.contains(server) && servers.len() > 1 && others.all(disturbed) {
            found.push(format!(
                "I4: `{server}` is disturbed at {} as the last of {} paths for {route}",
                new.from_ms,
                servers.len()
            ));
        }
    }
}

/// I4 and I5 in the books: one run at a site, with its lock; a run ends only when all of its agents have.
pub fn books(rollout: &Rollout, books: &Books, found: &mut Vec<String>) {
    let mut at_work: BTreeMap<&SiteName, RunId> = BTreeMap::new();
    for run in &rollout.runs {
        if run.phase.holds_site() {
            if let Some(other) = at_work.insert(&run.site, run.id) {
                found.push(format!(
                    "I4: runs {other} and {} are at site `{}`",
                    run.id, run.site
                ));
            }
            if books.held.get(&run.site).map(|held| held.run) != Some(run.id) {
                found.push(format!(
                    "I4: run {} is at site `{}` without its lock",
                    run.id, run.site
                ));
            }
        }
        let given = run.phase.is_final() && run.fence.is_some();
        if given
            && run.phase != RunPhase::Cancelled
            && !run.parts.values().all(crate::rollout::Part::is_over)
        {
            found.push(format!("I5: run {} ended before its agents", run.id));
        }
    }
    if at_work.len() > rollout.strategy.sites_at_once as usize {
        found.push(format!(
            "I4: {} sites are at work, {} may be",
            at_work.len(),
            rollout.strategy.sites_at_once
        ));
    }
    let fences: Vec<u64> = rollout.runs.iter().filter_map(|run| run.fence).collect();
    let distinct: BTreeSet<u64> = fences.iter().copied().collect();
    if distinct.len() != fences.len() || fences.iter().any(|fence| *fence > books.minted) {
        found.push(format!(
            "I6: a fence was minted twice, or never: {fences:?}, last {}",
            books.minted
        ));
    }
}

/// I5 and I6 in a decision: what no decision may ever ask for.
pub fn decision(rollout: &Rollout, actions: &[Action], found: &mut Vec<String>) {
    let run = |id: RunId| rollout.runs.iter().find(|run| run.id == id);
    for action in actions {
        match action {
            Action::Assign { run: id } => {
                if run(*id).is_none_or(|run| run.phase != RunPhase::Waiting) {
                    found.push(format!("I5: run {id} is assigned a second time"));
                }
            }
            Action::Advance {
                run: id,
                server,
                through,
            } => {
                let part = run(*id).and_then(|run| run.parts.get(server));
                if part.is_none_or(|part| part.through >= *through || part.unwind.is_some()) {
                    found.push(format!(
                        "I5: the watermark of `{server}` in run {id} does not rise to {through}"
                    ));
                }
            }
            Action::Unwind {
                run: id,
                server,
                order,
            } => {
                let before = run(*id)
                    .and_then(|run| run.parts.get(server))
                    .and_then(|part| part.unwind);
                if before.is_some_and(|before| {
                    order.down_to > before.down_to || (before.last && !order.last)
                }) {
                    found.push(format!(
                        "I5: the unwinding of `{server}` in run {id} rises to {order:?}"
                    ));
                }
            }
            Action::Enter { run: id, phase, .. } => {
                if run(*id).is_none_or(|run| run.phase.is_final()) {
                    found.push(format!(
                        "I5: run {id} leaves its end for `{}`",
                        phase.name()
                    ));
                }
            }
            Action::Turn { .. } | Action::EndWave { .. } | Action::BeginWave { .. } => {}
        }
    }
}

/// I6: an agent's journal, which survives it, reaches at least as far as what was stored of it.
pub fn hello(
    server: &ServerName,
    head: u64,
    stored: u64,
    fence: u64,
    highest: u64,
    found: &mut Vec<String>,
) {
    if head < stored {
        found.push(format!(
            "I1: the journal of `{server}` ends at {head}, and {stored} records of it were stored"
        ));
    }
    if fence < highest {
        found.push(format!(
            "I6: the fence of `{server}` fell from {highest} to {fence}"
        ));
    }
}

/// I13: everything was healed that long ago, and the rollout has not ended.
pub fn ends(ended: bool, healed_ms: Option<i64>, bound_ms: i64, found: &mut Vec<String>) {
    if let Some(since) = healed_ms.filter(|since| !ended && *since > bound_ms) {
        found.push(format!(
            "I13: everything was healed {} min ago, and the rollout has not ended",
            since / 60_000
        ));
    }
}
