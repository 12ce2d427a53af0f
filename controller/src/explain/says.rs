//! What every explanation must hold, asserted wherever a simulation comes to a point where nothing follows.

use std::collections::BTreeMap;

use super::{Kind, Surroundings, Waiting, explain};
use crate::cli::releases::are_commands;
use crate::decide::Fleet;
use crate::react::InHand;
use crate::rollout::{Rollout, RunPhase};

/// The surroundings that belong to what a decision was made from.
fn around(rollout: &Rollout, fleet: &Fleet, now_ms: i64) -> Surroundings {
    let servers = rollout.runs.iter().flat_map(|run| run.parts.keys());
    let hand = |site: &mailmend_policy::name::SiteName| {
        let server = format!("{site}-A").parse().unwrap();
        let hand = InHand {
            by: "anna".into(),
            why: "new disk".into(),
            since_ms: 1,
        };
        (site.clone(), (server, hand))
    };
    Surroundings {
        locks: fleet
            .locks
            .iter()
            .map(|(site, run)| (site.clone(), (*run, Some(rollout.id))))
            .collect(),
        in_hand: fleet.in_hand.iter().map(hand).collect(),
        agents: servers
            .map(|name| (name.clone(), (fleet.connected.contains(name), 1)))
            .collect(),
        turned_ms: BTreeMap::new(),
        fleet: fleet.clone(),
        now_ms,
    }
}

/// Asserts that something is named for what does not go on: predicate, holder, since, expectation, command.
pub(crate) fn everything(rollout: &Rollout, fleet: &Fleet, now_ms: i64) -> Vec<Waiting> {
    let waiting = explain(rollout, &around(rollout, fleet, now_ms));
    if !rollout.state.is_final() {
        assert!(
            !waiting.is_empty(),
            "nothing follows and nothing is named: {rollout:#?}"
        );
    }
    for run in &rollout.runs {
        let named = waiting.iter().any(|one| one.run == Some(run.id));
        assert!(
            named || run.phase.is_final() || rollout.state.is_final(),
            "run {} at {} is {} and nothing is named",
            run.id,
            run.site,
            run.phase.name()
        );
        let over = run.phase == RunPhase::NeedsPerson
            && !rollout.state.is_final()
            && !waiting.iter().any(|one| {
                one.run == Some(run.id) && one.kind == Kind::Person && one.expected_ms.is_some()
            });
        assert!(!over, "a run needs a person and nobody is expected");
    }
    for one in &waiting {
        assert!(!one.predicate.is_empty(), "{one:?}");
        assert!(!one.holder.is_empty(), "{one:?}");
        are_commands(&one.release);
        match one.kind.patience() {
            super::expected::Patience::Open(_) => assert_eq!(one.expected_ms, None, "{one:?}"),
            _ if one.kind == Kind::Window => {}
            _ => assert!(one.expected_ms.is_some(), "{one:?}"),
        }
    }
    waiting
}
