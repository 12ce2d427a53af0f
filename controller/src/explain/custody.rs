//! Messages that a run keeps in custody after it has come to rest or ended, and what a person says of them.

use std::collections::BTreeMap;

use mailmend_proto::run::Custody;

use super::{Kind, Waiting, of, short};
use crate::rollout::{Rollout, Run};

/// Messages of a run by state, over all of its agents.
fn counts(run: &Run) -> BTreeMap<&str, u64> {
    let mut counts = BTreeMap::new();
    for (state, count) in run.parts.values().flat_map(|part| &part.told.custody) {
        *counts.entry(state.as_str()).or_insert(0) += count;
    }
    counts
}

/// What waits for a person's word.
pub(super) fn kept(rollout: &Rollout, run: &Run) -> Vec<Waiting> {
    let counts = counts(run);
    let count = |state: Custody| counts.get(state.name()).copied().unwrap_or(0);
    let id = short(run.id);
    let open = run
        .parts
        .values()
        .any(|part| part.told.begun && part.told.closed.is_none());
    // A run is released when its agents have closed it; an abort brings one at rest to that.
    let first = if open {
        format!("mailmend rollout abort {}, then ", short(rollout.id))
    } else {
        String::new()
    };
    let mut waiting = Vec::new();
    let releasing = run
        .parts
        .iter()
        .find_map(|(name, part)| Some((name, part.told.releasing.as_ref()?)));
    if let Some((agent, order)) = releasing {
        waiting.push(of(
            run,
            Kind::Release,
            "held mail is given back".to_owned(),
            format!("agent {agent}, which carries out the release"),
            format!("it follows by itself; mailmend run order {}", short(order)),
        ));
        return waiting;
    }
    let recoverable: u64 = run.parts.values().map(|part| part.told.recoverable).sum();
    if recoverable > 0 {
        waiting.push(of(
            run,
            Kind::Vanished,
            format!("{recoverable} messages that vanished are given back from their copies, or let go"),
            "a person, who knows whether they are still wanted".to_owned(),
            format!("{first}mailmend custody recover {id} --why ...; which: mailmend run reconciled {id}"),
        ));
    }
    let held = count(Custody::Held);
    if held > 0 {
        waiting.push(of(
            run,
            Kind::Held,
            format!("{held} held messages are given back or settled"),
            "a person, who knows whether they may be sent".to_owned(),
            format!(
                "{first}mailmend custody release {id} --why ...; one by one: mailmend run ledger {id} --state held"
            ),
        ));
    }
    let doubt = count(Custody::InDoubt);
    if doubt > 0 {
        waiting.push(of(
            run,
            Kind::InDoubt,
            format!("{doubt} messages in doubt are settled"),
            "a person, who asks the recipients or the next hop".to_owned(),
            format!(
                "mailmend run ledger {id} --state in-doubt; mailmend custody settle {id} ID... --as \
                 delivered|not-delivered --why ..."
            ),
        ));
    }
    let poison = count(Custody::Poison);
    if poison > 0 {
        waiting.push(of(
            run,
            Kind::Poison,
            format!("{poison} messages that crash the service are dealt with"),
            "a person, who has them sent again or lets them go".to_owned(),
            format!("mailmend custody settle {id} ID... --as delivered --why ...; their files stay until retention ends"),
        ));
    }
    waiting
}
