//! From what is kept about symptoms to what operators are told.

use std::collections::BTreeMap;

use mailmend_policy::name::{PolicyName, ServerName};
use mailmend_proto::wire;

use crate::react::{
    Answer, Answers, Binding, Busy, BySite, InHand, Known, Past, Proposal, Standing, Wait,
};
use crate::store::SymptomRow;

const fn reaction(answer: Answer) -> wire::Reaction {
    match answer {
        Answer::Observe => wire::Reaction::Observe,
        Answer::Propose => wire::Reaction::Propose,
        Answer::Auto => wire::Reaction::Auto,
    }
}

pub(super) fn binding(binding: &Binding) -> wire::Binding {
    let throttle = &binding.throttle;
    let seconds = |ms: i64| u64::try_from(ms / 1000).unwrap_or(0);
    wire::Binding {
        policy: binding.policy.to_string(),
        version: binding.version,
        selector: binding.selector.clone(),
        reaction: reaction(binding.answer).into(),
        throttle: Some(wire::Throttle {
            per_server_per_day: throttle.per_server_per_day,
            per_site_per_day: throttle.per_site_per_day,
            per_fleet_per_day: throttle.per_fleet_per_day,
            at_once: throttle.at_once,
            stands_for_seconds: seconds(throttle.stands_for_ms),
            settle_seconds: seconds(throttle.settle_ms),
        }),
        bound_ms: binding.bound_ms,
    }
}

pub(super) fn proposal(proposal: &Proposal) -> wire::Proposal {
    wire::Proposal {
        id: proposal.id.to_string(),
        policy: proposal.policy.to_string(),
        version: proposal.version,
        selector: format!("site={}", proposal.site),
        servers: proposal.servers.iter().map(ToString::to_string).collect(),
        proposed_ms: proposal.proposed_ms,
        decided: proposal
            .decided
            .map(|decided| decided.name().to_owned())
            .unwrap_or_default(),
        by: proposal.by.clone(),
        rollout: proposal
            .rollout
            .map(|rollout| rollout.to_string())
            .unwrap_or_default(),
        why: proposal.why.clone(),
    }
}

pub(in crate::server::operator) fn hand(hand: &InHand) -> wire::InHand {
    wire::InHand {
        by: hand.by.clone(),
        why: hand.why.clone(),
        since_ms: hand.since_ms,
    }
}

/// What symptoms are shown with.
pub(super) struct Shown<'k> {
    known: &'k Known,
    answers: &'k Answers,
    by_site: BySite<'k>,
    /// The last run of each policy on each server.
    last: BTreeMap<(&'k PolicyName, &'k ServerName), &'k Past>,
}

impl<'k> Shown<'k> {
    pub(super) fn new(known: &'k Known, answers: &'k Answers) -> Self {
        let mut last: BTreeMap<_, &Past> = BTreeMap::new();
        for past in known.history.iter() {
            for server in &past.servers {
                let newest = last.entry((&past.policy, server)).or_insert(past);
                if newest.began_ms <= past.began_ms {
                    *newest = past;
                }
            }
        }
        Self {
            known,
            answers,
            by_site: BySite::of(known),
            last,
        }
    }
}

/// A symptom with what is done about it.
pub(super) fn symptom(row: SymptomRow, shown: &Shown<'_>, stale: bool) -> wire::SymptomView {
    let Shown { known, answers, .. } = shown;
    let word = row.word;
    let member = known.fleet.get(&word.agent);
    let last = shown.last.get(&(&word.policy, &word.agent)).copied();
    let key = (word.policy.clone(), word.agent.clone());
    let waits = match (known.bindings.get(&word.policy), answers.waits.get(&key)) {
        (None, _) => "the policy is not bound any more".to_owned(),
        // What is at work at the site is at work for it.
        (_, Some(Wait::Busy { busy, .. })) if last.is_some_and(|past| at_work(busy, past)) => {
            String::new()
        }
        (_, Some(wait)) => wait.to_string(),
        (_, None) => String::new(),
    };
    let site = member.map(|member| &member.site);
    let proposal = site
        .and_then(|site| shown.by_site.proposal(&word.policy, site))
        .filter(|proposal| proposal.decided.is_none());
    let state = match word.standing {
        Standing::Absent => wire::SymptomState::Absent,
        Standing::Stands => wire::SymptomState::Stands,
        Standing::CannotTell => wire::SymptomState::CannotTell,
    };
    wire::SymptomView {
        agent: word.agent.to_string(),
        site: site.map(ToString::to_string).unwrap_or_default(),
        symptom: Some(wire::Symptom {
            policy: word.policy.to_string(),
            version: word.version,
            digest: row.digest.as_bytes().to_vec(),
            state: state.into(),
            since_ms: word.since_ms,
            evidence: word.evidence.clone(),
            looked_ms: word.looked_ms,
        }),
        stale,
        reaction: known
            .bindings
            .get(&word.policy)
            .map_or(wire::Reaction::Unbound, |binding| reaction(binding.answer))
            .into(),
        waits,
        rollout: last
            .map(|past| past.rollout.to_string())
            .unwrap_or_default(),
        effect: last
            .and_then(|past| answers.effects.get(&past.run).cloned())
            .unwrap_or_default(),
        proposal: proposal
            .map(|proposal| proposal.id.to_string())
            .unwrap_or_default(),
    }
}

fn at_work(busy: &Busy, past: &Past) -> bool {
    busy.rollout == Some(past.rollout) && past.ended_ms.is_none()
}
