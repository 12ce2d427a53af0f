//! A trail and an agent's journal against each other.

use super::journal::{Did, Effect};
use super::{Finding, Journal, Seen, Trail};

/// Everything in which a verified trail and a verified journal contradict each other, in the journal's order.
#[must_use]
pub fn compare(trail: &Trail, journal: &Journal) -> Vec<Finding> {
    let mut found = Vec::new();
    for (record, head) in &journal.witnessed {
        let by = format!("{} (record {record} of its journal)", journal.agent);
        found.extend(trail.witnessed(*head, &by).err());
    }
    let key = (journal.agent.clone(), journal.id.to_string());
    let seen = trail.seen.get(&key).map_or(&[][..], Vec::as_slice);
    found.extend(seen.iter().filter_map(|one| journal_was(journal, one)));
    let older = trail.older.get(&key).copied().unwrap_or(0);
    let effects = journal.effects.iter().filter(|one| one.seq > older);
    found.extend(effects.filter_map(|effect| {
        let allowed = allowed(trail, journal, effect);
        not_before(journal, effect, allowed, seen)
    }));
    found
}

/// Whether the journal is still what the controller had stored of it.
fn journal_was(journal: &Journal, (entry, record, hash): &Seen) -> Option<Finding> {
    let place = format!("record {record} of the journal of {}", journal.agent);
    let index = usize::try_from(record.checked_sub(1)?).unwrap_or(usize::MAX);
    match journal.hashes.get(index) {
        Some(is) if is.as_slice() == hash.as_slice() => None,
        Some(_) => Some(Finding::new(
            place,
            format!("entry {entry} of the trail saw another hash there"),
            "the journal was written anew from some record up to this one on, or put back from a backup and continued",
        )),
        None => Some(Finding::new(
            place,
            format!(
                "entry {entry} of the trail saw it, and the journal ends with record {}",
                journal.seq()
            ),
            "the end of the journal was cut off, or it was exported before, or put back from a backup",
        )),
    }
}

/// The entries that allow what an agent did.
fn allowed(trail: &Trail, journal: &Journal, effect: &Effect) -> Vec<u64> {
    let all = &trail.allowed;
    let key = (effect.run.clone(), journal.agent.clone());
    let assigned = || all.assigned.get(&key).into_iter().flatten();
    let advanced = || all.advanced.get(&key).into_iter().flatten();
    let unwound = || all.unwound.get(&key).into_iter().flatten();
    match effect.what {
        Did::Admitted(fence) => assigned()
            .filter(|one| one.1 == fence)
            .map(|one| one.0)
            .collect(),
        Did::Advanced(fence, through) => advanced()
            .filter(|one| one.1 == fence && one.2 >= through)
            .map(|one| one.0)
            .collect(),
        Did::Began(step) => advanced()
            .filter(|one| one.2 > step)
            .map(|one| one.0)
            .collect(),
        Did::Unwinds(fence, down_to) => unwound()
            .filter(|one| one.1 == fence && one.2 <= down_to)
            .map(|one| one.0)
            .collect(),
        Did::Undoes(step) => unwound()
            .filter(|one| one.2 <= step)
            .map(|one| one.0)
            .collect(),
        Did::Ordered(order) => {
            let ordered = all.ordered.get(&order.to_string());
            let for_it = ordered.filter(|one| one.1 == effect.run && one.2 == journal.agent);
            for_it.map(|one| one.0).into_iter().collect()
        }
    }
}

/// That none of `allowed` was written before the effect, as far as the trail can tell.
fn not_before(
    journal: &Journal,
    effect: &Effect,
    allowed: Vec<u64>,
    seen: &[Seen],
) -> Option<Finding> {
    let place = format!("record {} of the journal of {}", effect.seq, journal.agent);
    let did = match effect.what {
        Did::Admitted(fence) => format!("run {} was taken on with fence {fence}", effect.run),
        Did::Advanced(fence, through) => format!(
            "run {} went on below step {through} with fence {fence}",
            effect.run
        ),
        Did::Began(step) => format!("step {step} of run {} was begun", effect.run),
        Did::Unwinds(fence, down_to) => format!(
            "run {} was to be undone down to step {down_to} with fence {fence}",
            effect.run
        ),
        Did::Undoes(step) => format!("step {step} of run {} was undone", effect.run),
        Did::Ordered(order) => format!("order {order} was taken in run {}", effect.run),
    };
    let Some(first) = allowed.into_iter().min() else {
        return Some(Finding::new(
            place,
            format!("{did}, and no entry of the trail allows it"),
            "somebody else than this controller ordered it, or the trail was written anew",
        ));
    };
    // The controller had stored the record already when it wrote that it may be.
    let late = seen
        .iter()
        .find(|(entry, record, _)| *entry < first && *record >= effect.seq)?;
    Some(Finding::new(
        place,
        format!(
            "{did}, and entry {first} of the trail allows it, which is later than entry {} that saw the record",
            late.0
        ),
        "the authorisation was written after the fact",
    ))
}
