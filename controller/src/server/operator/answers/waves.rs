//! Strategies and waves, as operators are told of them.

use std::collections::BTreeSet;

use mailmend_policy::plan::Plan;
use mailmend_proto::wire;

use crate::planning::Planned;
use crate::rollout::{Approval, Rollout, RunPhase, Term, Waves, terms};
use crate::store::Recall;

/// A rollout's strategy in words.
pub(in crate::server::operator) fn strategy(rollout: &Rollout) -> Vec<wire::Term> {
    let terms = terms(&rollout.strategy, &rollout.resolved, rollout.runs.len());
    terms.into_iter().map(term).collect()
}

/// A planned rollout's strategy in words.
pub(in crate::server::operator) fn planned_strategy(planned: &Planned) -> Vec<wire::Term> {
    let terms = terms(&planned.strategy, &planned.resolved, planned.plans.len());
    terms.into_iter().map(term).collect()
}

fn term(term: Term) -> wire::Term {
    wire::Term {
        name: term.name.to_owned(),
        what: term.what,
    }
}

/// A rollout's waves.
pub(in crate::server::operator) fn waves(rollout: &Rollout) -> Vec<wire::Wave> {
    let waves = rollout.waves();
    (0..waves.count())
        .map(|wave| {
            let own: Vec<_> = rollout
                .runs
                .iter()
                .filter(|run| waves.of(&run.site) == wave)
                .collect();
            let waiting = own.iter().filter(|run| run.phase == RunPhase::Waiting);
            wire::Wave {
                digest: rollout.wave_digest(wave).as_bytes().to_vec(),
                waiting: count(waiting.count()),
                asks: rollout.strategy.approve.before(wave),
                approval: rollout.approvals.get(&wave).map(approval),
                gate_accepted: rollout.accepted.contains(&wave),
                ..of(&waves, wave, own.iter().map(|run| run.plan.as_ref()))
            }
        })
        .collect()
}

/// The waves of what would be started.
pub(in crate::server::operator) fn planned_waves(planned: &Planned) -> Vec<wire::Wave> {
    let sites = planned.plans.iter().map(|plan| &plan.site);
    let waves = Waves::over(sites, &planned.resolved);
    (0..waves.count())
        .map(|wave| {
            let own: Vec<&Plan> = planned
                .plans
                .iter()
                .filter(|plan| waves.of(&plan.site) == wave)
                .collect();
            wire::Wave {
                digest: crate::planning::digest(own.iter().copied())
                    .as_bytes()
                    .to_vec(),
                waiting: count(own.len()),
                asks: planned.strategy.approve.before(wave),
                ..of(&waves, wave, own.iter().copied())
            }
        })
        .collect()
}

fn of<'a>(
    waves: &Waves<'_>,
    wave: u32,
    plans: impl Iterator<Item = &'a Plan> + Clone,
) -> wire::Wave {
    let servers: BTreeSet<_> = plans.clone().flat_map(Plan::servers).collect();
    wire::Wave {
        number: wave + 1,
        sites: waves.sites(wave).map(ToString::to_string).collect(),
        runs: count(plans.count()),
        servers: count(servers.len()),
        ..wire::Wave::default()
    }
}

fn approval(approval: &Approval) -> wire::Approval {
    wire::Approval {
        by: approval.by.clone(),
        at_ms: approval.at_ms,
        why: approval.why.clone(),
        digest: approval.digest.as_bytes().to_vec(),
        generation: approval.generation,
    }
}

/// A recall.
pub(in crate::server::operator) fn recall(recall: &Recall) -> wire::Recall {
    wire::Recall {
        article: recall.article.clone(),
        why: recall.why.clone(),
        by: recall.by.clone(),
        at_ms: recall.at_ms,
    }
}

fn count(things: usize) -> u32 {
    u32::try_from(things).unwrap_or(u32::MAX)
}
