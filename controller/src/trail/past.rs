//! A rollout as it stood once: what was frozen at its start, and what the trail says of it since.
//!
//! The store carries the same actions out in SQL; a test holds the two together.

use std::collections::{BTreeMap, BTreeSet};

use mailmend_policy::digest::Digest;
use mailmend_proto::wire::trail_item::What;

use super::item::decoded;
use crate::rollout::{Approval, Cause, Part, Refusal, Rollout, RolloutState, RunPhase, Unwinding};
use crate::store::TrailRow;

/// An entry of the trail that does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq} of the audit trail cannot be understood: {why}")]
pub struct Damaged {
    /// The entry.
    pub seq: u64,
    /// What is wrong with it.
    pub why: String,
}

/// A rollout after these entries about it, in order; none where its start is not among them. What its agents had told
/// by then is not in the trail: their parts have told nothing.
///
/// # Errors
/// Where an entry cannot be understood.
pub fn rollout(now: &Rollout, entries: &[TrailRow]) -> Result<Option<Rollout>, Damaged> {
    let mut past = as_frozen(now);
    let mut started = false;
    for row in entries {
        let damaged = |why: String| Damaged {
            seq: row.entry.seq,
            why,
        };
        for item in decoded(&row.entry.detail).map_err(damaged)? {
            started |= matches!(item, What::Started(_));
            apply(&mut past, row, item).map_err(damaged)?;
        }
    }
    Ok(started.then_some(past))
}

/// Notes that an agent did not take a run on, as the trail says it.
pub fn refused(past: &mut Rollout, run: mailmend_proto::run::RunId, row: &TrailRow) {
    let part = past.runs.iter_mut().find(|one| one.id == run);
    let part = part.and_then(|run| {
        let agent = row.entry.actor.parse().ok()?;
        run.parts.get_mut(&agent)
    });
    if let Some(part) = part
        && let Some((code, why)) = row.entry.why.split_once(": ")
    {
        part.refused = Some(Refusal {
            code: code.to_owned(),
            why: why.to_owned(),
        });
    }
}

fn as_frozen(now: &Rollout) -> Rollout {
    let mut past = now.clone();
    past.state = RolloutState::Running;
    past.ended_ms = None;
    past.accepted_failures = now.resolved.max_failed;
    past.wave = 0;
    past.wave_ended_ms = None;
    past.approvals = BTreeMap::new();
    past.accepted = BTreeSet::new();
    past.why = String::new();
    past.cause = Cause::None;
    past.revision = 0;
    for run in &mut past.runs {
        run.phase = RunPhase::Waiting;
        run.fence = None;
        run.why = String::new();
        run.since_ms = now.started_ms;
        run.started_ms = None;
        run.ended_ms = None;
        for part in run.parts.values_mut() {
            *part = Part::default();
        }
    }
    past
}

fn apply(past: &mut Rollout, row: &TrailRow, item: What) -> Result<(), String> {
    let at_ms = row.entry.at_ms;
    match item {
        What::Assigned(one) => {
            let run = run(past, &one.run)?;
            if run.phase == RunPhase::Waiting {
                run.phase = RunPhase::Assigned;
                run.fence = Some(one.fence);
                run.since_ms = at_ms;
                run.started_ms = Some(at_ms);
            }
        }
        What::Advanced(one) => {
            let part = part(past, &one.run, &one.agent)?;
            part.through = part.through.max(one.through);
        }
        What::Unwound(one) => {
            let part = part(past, &one.run, &one.agent)?;
            let before = part.unwind;
            part.unwind = Some(Unwinding {
                down_to: before.map_or(one.down_to, |was| was.down_to.min(one.down_to)),
                last: one.last || before.is_some_and(|was| was.last),
            });
        }
        What::Entered(one) => {
            let run = run(past, &one.run)?;
            run.phase = one.phase.parse().map_err(said)?;
            run.why = one.why;
            run.since_ms = at_ms;
            if run.phase.is_final() {
                run.ended_ms = Some(at_ms);
            }
        }
        What::Turned(one) => {
            past.state = one.state.parse().map_err(said)?;
            past.why = one.why;
            past.cause = one.cause.parse().map_err(said)?;
            past.revision += 1;
            if past.state.is_final() {
                past.ended_ms = Some(at_ms);
            }
            if one.accepted_failures > 0 {
                past.accepted_failures = one.accepted_failures;
            }
            past.accepted.extend(one.accepted_gate);
            if past.cause == Cause::Drift {
                let wave = past.wave;
                past.approvals.retain(|approved, _| *approved < wave);
            }
        }
        What::WaveEnded(one) => {
            if past.wave == one.wave && past.wave_ended_ms.is_none() {
                past.wave_ended_ms = Some(at_ms);
            }
        }
        What::WaveBegan(one) => {
            if past.wave < one.wave {
                past.wave = one.wave;
                past.wave_ended_ms = None;
            }
        }
        What::Approved(one) => {
            let digest = one.digest.try_into();
            let digest: [u8; 32] = digest.map_err(|_| "a digest has 32 bytes".to_owned())?;
            past.revision += 1;
            past.approvals.entry(one.wave).or_insert_with(|| Approval {
                digest: Digest::from_bytes(digest),
                generation: one.generation,
                by: row.entry.actor.clone(),
                at_ms,
                why: row.entry.why.clone(),
            });
        }
        What::Begun(_) | What::Started(_) | What::Ordered(_) | What::HeadSeen(_) => {}
    }
    Ok(())
}

fn said(why: impl ToString) -> String {
    why.to_string()
}

fn run<'a>(past: &'a mut Rollout, id: &str) -> Result<&'a mut crate::rollout::Run, String> {
    let found = past.runs.iter_mut().find(|run| run.id.to_string() == id);
    found.ok_or_else(|| format!("the rollout has no run {id}"))
}

fn part<'a>(past: &'a mut Rollout, id: &str, agent: &str) -> Result<&'a mut Part, String> {
    let parts = &mut run(past, id)?.parts;
    let found = parts.iter_mut().find(|(name, _)| name.as_str() == agent);
    let found = found.map(|(_, part)| part);
    found.ok_or_else(|| format!("run {id} has no part of {agent}"))
}
