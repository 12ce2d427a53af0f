//! `mail.reconcile`: find out what became of every message that was accepted, and list what vanished.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mailmend_policy::name::ToolName;
use mailmend_proto::run::{Event, Fate, ReconciledMessage};

use super::tool_run::{printed, run};
use super::{StepEnd, StepResult, Work};
use crate::custody::survey::digest_of;
use crate::evidence::reconcile::gather::gather;
use crate::evidence::reconcile::{APART, Found, Window, reconcile};
use crate::evidence::spool_file;
use crate::host::Clock;

/// The most messages of one record.
const PIECE: usize = 500;
/// The most messages that are listed: beyond it a person has another problem than single messages.
const LISTED: usize = 20_000;

pub(super) fn apply(
    work: &Work<'_>,
    over: Duration,
    grace: Duration,
    store: Option<&ToolName>,
) -> StepResult {
    let mut evidence = Vec::new();
    let listed = match store {
        None => None,
        Some(tool) => match list(work, tool)? {
            Ok((ids, shown)) => {
                evidence.push(shown);
                Some(ids)
            }
            Err(end) => return Ok(end),
        },
    };
    let clock = work.host().clock();
    let mut window = Window {
        now_ms: clock.wall_ms(),
        over_ms: wall_ms(over, clock),
        grace_ms: wall_ms(grace, clock),
        apart_ms: wall_ms(APART, clock),
    };
    let facts = gather(work.host(), &work.station.journal, window, listed)?;
    window.now_ms = clock.wall_ms();
    let mut found = reconcile(&facts, window);
    for message in &mut found.messages {
        check_copy(work, message);
    }
    let own = crate::escrow::folders(&work.station.journal)?;
    for message in &mut found.messages {
        note_digest(work, &own, message);
    }
    let cut = found.messages.len().saturating_sub(LISTED);
    found.messages.truncate(LISTED);
    write_down(work, &found)?;
    let of = |fate| found.count(fate);
    let mut detail = format!(
        "{} messages were delivered, {} vanished, {} wait, {} were reported, of {} it cannot be told",
        found.delivered,
        of(Fate::Vanished),
        of(Fate::Waiting),
        of(Fate::Reported),
        of(Fate::CannotTell)
    );
    if of(Fate::InCustody) > 0 {
        detail.push_str(&format!(
            "; {} are in custody, as `mailmend ledger list` says",
            of(Fate::InCustody)
        ));
    }
    if of(Fate::Delivered) > 0 {
        detail.push_str(&format!(
            "; {} were sent and are in MTS-OUT still",
            of(Fate::Delivered)
        ));
    }
    if cut > 0 {
        detail.push_str(&format!("; {cut} more are not listed"));
    }
    evidence.push(format!("read: {}", facts.read));
    Ok(StepEnd::done(detail).with(evidence))
}

/// The MTS-IDs in MTS-OUT, as the tool prints them, one a line.
fn list(
    work: &Work<'_>,
    tool: &ToolName,
) -> Result<Result<(Vec<String>, String), StepEnd>, super::Trouble> {
    let output = match run(work, tool, &std::collections::BTreeMap::new()) {
        Err(refused) => return Ok(Err(refused)),
        // It only looks.
        Ok(Err(error)) => return Ok(Err(StepEnd::no_effect(format!("could not {error}")))),
        Ok(Ok(output)) => output,
    };
    let verdict = match work.station.guard.allows_tool(tool) {
        Err(refusal) => return Ok(Err(StepEnd::no_effect(refusal.to_string()))),
        Ok(tool) => tool
            .verdict(&output.text)
            .map(str::to_owned)
            .map_err(|why| why.to_string()),
    };
    if let Err(why) = verdict {
        return Ok(Err(StepEnd::no_effect(format!(
            "A063-tool-verdict: tool `{tool}`: {why}"
        ))
        .with([printed(tool, &output)])));
    }
    let ids: Vec<String> = output
        .text
        .lines()
        .map(str::trim)
        .filter(|line| line.to_ascii_lowercase().starts_with("c="))
        .map(str::to_owned)
        .collect();
    let shown = format!("tool `{tool}` lists {} messages in MTS-OUT", ids.len());
    Ok(Ok((ids, shown)))
}

/// A copy counts only where its own header does not say that it is another message's: names come again.
fn check_copy(work: &Work<'_>, message: &mut ReconciledMessage) {
    if message.escrow.is_empty() {
        return;
    }
    let read = work
        .host()
        .spool()
        .open(Path::new(&message.escrow))
        .ok()
        .and_then(|mut open| spool_file::read(&mut *open).ok());
    let differs = |own: &str, of_copy: Option<&String>| {
        of_copy.is_some_and(|other| !own.is_empty() && !crate::evidence::same_id(own, other))
    };
    let another = match &read {
        Some(header) => {
            differs(&message.mts_id, header.mts_id.as_ref())
                || differs(&message.message_id, header.message_id.as_ref())
        }
        None => true,
    };
    if another {
        message.escrow.clear();
    } else if let Some(header) = read {
        let known = |own: &mut String, found: Option<String>| {
            if own.is_empty() {
                own.clone_from(&found.unwrap_or_default());
            }
        };
        known(&mut message.message_id, header.message_id);
        known(&mut message.mts_id, header.mts_id);
        known(&mut message.sender, header.sender);
    }
}

/// What is given back later must be the copy that was found now. The service's own archive is not escrow.
fn note_digest(work: &Work<'_>, own: &[PathBuf], message: &mut ReconciledMessage) {
    let path = Path::new(&message.escrow);
    let ours = path
        .parent()
        .is_some_and(|folder| own.iter().any(|one| one == folder));
    if ours && let Ok((hash, ..)) = digest_of(work.host(), path) {
        message.escrow_hash = Some(hash);
    }
}

/// In pieces; the first begins anew, so that a step that a crash interrupted does not count twice.
fn write_down(work: &Work<'_>, found: &Found) -> Result<(), super::Trouble> {
    let mut pieces = found.messages.chunks(PIECE);
    let mut events = vec![Event::Reconciled {
        step: work.step.index,
        piece: 1,
        delivered: found.delivered,
        messages: pieces.next().unwrap_or_default().to_vec(),
    }];
    events.extend(
        (2..)
            .zip(pieces)
            .map(|(piece, messages)| Event::Reconciled {
                step: work.step.index,
                piece,
                delivered: 0,
                messages: messages.to_vec(),
            }),
    );
    for event in events {
        work.record(vec![event])?;
    }
    Ok(())
}

/// A duration of a policy on the wall clock.
fn wall_ms(period: Duration, clock: &dyn Clock) -> i64 {
    i64::try_from(period.div_f64(clock.pace()).as_millis()).unwrap_or(i64::MAX)
}
