//! What became of every message that a server accepted, by all of its own records together (Q157684).
//!
//! Accepted is what the service took from the wire with a final 250 (SMTP log, tracking 1012), and what was
//! handed to it to send (tracking 7 to the connector, 1003, 1010). 4.0 writes no 1010 to 1018: there the SMTP
//! log alone tells that a message left, and 1004 or 9 that one came in.
//!
//! A message is called vanished only where everything that could show it otherwise was read and is whole:
//! no delivery, no report, no queue, no custody, no event that names it, no gap since it was accepted, and a
//! later delivery that proves that recording went on. Everything else is `cannot-tell`.

pub mod facts;
pub mod gather;
mod index;

use std::time::Duration;

use mailmend_proto::run::{Fate, ReconciledMessage};

use self::facts::{Facts, Hint, Place, PlaceKind, StoreFolder};
use self::index::{Indexed, Unit};
use super::event_log::time;
use super::{Direction, Sent, fold};
use crate::host::Clock;

/// Lines of evidence for one message; what comes after says nothing new.
const ENOUGH: usize = 12;

/// Which messages are asked for, in milliseconds of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Now, since 1970 UTC; after everything was read.
    pub now_ms: i64,
    /// Messages accepted longer ago are not looked at.
    pub over_ms: i64,
    /// How long a message may be under way, or its record, before it counts as missing.
    pub grace_ms: i64,
    /// How far the clocks of the records may be apart: stamps of the MTA can be an hour off (Q152886).
    pub apart_ms: i64,
}

/// Stamps of the MTA can be an hour off (Q152886).
pub const APART: Duration = Duration::from_secs(3600);

impl Window {
    /// Everything that was accepted since then, without any grace: for messages that were found missing.
    #[must_use]
    pub fn since(clock: &dyn Clock, since_ms: i64) -> Self {
        const DAY_MS: i64 = 86_400_000;
        let now_ms = clock.wall_ms();
        let apart = APART.div_f64(clock.pace()).as_millis();
        Self {
            now_ms,
            over_ms: now_ms
                .saturating_sub(since_ms)
                .max(0)
                .saturating_add(DAY_MS),
            grace_ms: 0,
            apart_ms: i64::try_from(apart).unwrap_or(i64::MAX),
        }
    }
}

/// What a reconciliation found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// How many were delivered.
    pub delivered: u64,
    /// The others, by when they were accepted; and those of the delivered that are in MTS-OUT still, which
    /// would be sent again.
    pub messages: Vec<ReconciledMessage>,
}

impl Found {
    /// How many of the listed have this fate.
    #[must_use]
    pub fn count(&self, fate: Fate) -> usize {
        self.messages.iter().filter(|one| one.fate == fate).count()
    }
}

/// What became of each message that was accepted within the window, and of each that is listed in MTS-OUT.
#[must_use]
pub fn reconcile(facts: &Facts, window: Window) -> Found {
    let indexed = Indexed::of(facts, window);
    let mut found = Found::default();
    for unit in indexed.units() {
        let judged = judge(facts, &indexed, &unit, window);
        let again = unit.listed_in_mts_out;
        if judged.fate == Fate::Delivered {
            found.delivered += 1;
            if !again {
                continue;
            }
        }
        found.messages.push(told(facts, &indexed, unit, judged));
    }
    found
        .messages
        .sort_by(|a, b| (a.accepted_ms, &a.mts_id).cmp(&(b.accepted_ms, &b.mts_id)));
    found
}

struct Judged {
    fate: Fate,
    evidence: Vec<String>,
}

fn because(fate: Fate, evidence: impl Into<String>) -> Judged {
    Judged {
        fate,
        evidence: vec![evidence.into()],
    }
}

/// From what is surely known to what is surely not; the first that says something decides.
fn judge(facts: &Facts, indexed: &Indexed<'_>, unit: &Unit, window: Window) -> Judged {
    let sent = match unit.direction {
        Direction::Outbound => indexed.sent(unit),
        Direction::Inbound => indexed.handed_over(unit),
    };
    if let Sent::Delivered { evidence } = sent {
        return Judged {
            fate: Fate::Delivered,
            evidence,
        };
    }
    if let Some(report) = indexed.report(unit) {
        return because(Fate::Reported, report);
    }
    if unit.listed_in_mts_out {
        return because(Fate::Waiting, "it is in MTS-OUT");
    }
    if let Some(place) = indexed.place(unit, &[PlaceKind::Queue]) {
        return because(Fate::Waiting, place.what.clone());
    }
    // It waits for a person, not for the server: whoever reads the list must see it.
    if let Some(place) = indexed.place(unit, &[PlaceKind::Custody]) {
        return because(Fate::InCustody, place.what.clone());
    }
    let under_way = window.now_ms.saturating_sub(unit.at_ms);
    if under_way < window.grace_ms {
        let text = format!("accepted at {}, less than the grace ago", time(unit.at_ms));
        return because(Fate::Waiting, text);
    }
    match cannot_tell(facts, indexed, unit, window, sent) {
        Some(why) => because(Fate::CannotTell, why),
        None => {
            let nothing = format!(
                "neither delivery nor report is in {}, no queue and no custody holds it",
                facts.read
            );
            because(Fate::Vanished, nothing)
        }
    }
}

/// Why it means nothing that no record shows what became of a message; `None` where it means that it is lost.
fn cannot_tell(
    facts: &Facts,
    indexed: &Indexed<'_>,
    unit: &Unit,
    window: Window,
    sent: Sent,
) -> Option<String> {
    match sent {
        Sent::Begun { evidence } => return Some(evidence.join("; ")),
        Sent::CannotTell { why } => return Some(why),
        Sent::Delivered { .. } | Sent::NotSeen => {}
    }
    if let Some(damaged) = indexed.damaged_report() {
        return Some(damaged);
    }
    if let Some(named) = indexed.elsewhere(unit) {
        return Some(named);
    }
    if let Some(Hint { evidence, .. }) = indexed.hint(unit) {
        return Some(evidence.clone());
    }
    let from = unit.at_ms.saturating_sub(window.apart_ms);
    let gap = facts
        .gaps
        .iter()
        .find(|gap| gap.to_ms >= from && gap.direction.is_none_or(|way| way == unit.direction));
    if let Some(gap) = gap {
        return Some(gap.why.clone());
    }
    if let Some(why) = indexed.unlogged_transfer(unit, from) {
        return Some(why);
    }
    let (folder, name) = match unit.direction {
        Direction::Outbound => (&facts.mts_out, "MTS-OUT"),
        Direction::Inbound => (&facts.mts_in, "MTS-IN"),
    };
    // What was converted has left MTS-OUT; what came in is in MTS-IN last.
    let may_be_in_store = unit.direction == Direction::Inbound || !unit.converted;
    if may_be_in_store && let Some(why) = may_hold(folder, name) {
        return Some(why);
    }
    if !indexed.recording_went_on(unit) {
        return Some("no later delivery was recorded: recording may be off".to_owned());
    }
    None
}

fn may_hold(folder: &StoreFolder, name: &str) -> Option<String> {
    match folder {
        StoreFolder::Listed(_) | StoreFolder::Counted(0) => None,
        StoreFolder::Counted(count) => Some(format!(
            "{name} in the store holds {count} messages, which the agent cannot list"
        )),
        StoreFolder::Unknown(why) => Some(format!(
            "what {name} in the store holds is not known: {why}"
        )),
    }
}

fn told(facts: &Facts, indexed: &Indexed<'_>, unit: Unit, judged: Judged) -> ReconciledMessage {
    let Judged { fate, evidence } = judged;
    let copy = indexed.place(&unit, &[PlaceKind::Escrow, PlaceKind::Archive]);
    let mut lines = unit.evidence;
    lines.truncate(ENOUGH);
    if fate == Fate::Delivered {
        lines.push(
            "it is in MTS-OUT still: the next start of the service would send it again".into(),
        );
    }
    lines.extend(evidence.into_iter().take(ENOUGH));
    if let Some(Place {
        kind: PlaceKind::Archive,
        what,
        ..
    }) = copy
    {
        lines.push(what.clone());
    }
    debug_assert!(fate != Fate::Vanished || !facts.read.is_empty());
    let wanted = matches!(fate, Fate::Vanished | Fate::CannotTell);
    ReconciledMessage {
        mts_id: unit.mts_id.unwrap_or_default(),
        message_id: unit.message_id.unwrap_or_default(),
        fate,
        accepted_ms: unit.at_ms,
        recipients: unit.recipients,
        sender: unit.sender,
        evidence: lines,
        escrow: copy
            .filter(|_| wanted)
            .map(|place| place.path.display().to_string())
            .unwrap_or_default(),
        escrow_hash: None,
    }
}

/// A message that a reconciliation called vanished, and whose copy is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its MTS-ID, where that is known.
    pub mts_id: Option<String>,
    /// Its Message-ID, where that is known.
    pub message_id: Option<String>,
    /// The name of its spool file.
    pub spool_name: String,
    /// Which way it went.
    pub direction: Direction,
    /// When it was accepted, milliseconds since 1970 UTC.
    pub accepted_ms: i64,
}

/// What speaks for a message that was called vanished not to be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// It was delivered.
    Delivered(String),
    /// It may have been, its sender was told, or it is somewhere.
    Other(String),
}

impl Objection {
    /// In words.
    #[must_use]
    pub fn words(&self) -> &str {
        match self {
            Self::Delivered(why) | Self::Other(why) => why,
        }
    }
}

/// What speaks against giving each of these back, in their order. Silence does not, nor gaps that came since:
/// they were found missing while the records were whole. `kinds` are the places that count.
#[must_use]
pub fn objections(
    facts: &Facts,
    window: Window,
    missing: &[Missing],
    kinds: &[PlaceKind],
) -> Vec<Option<Objection>> {
    let indexed = Indexed::of(facts, window);
    missing
        .iter()
        .map(|one| objection(&indexed, &one.unit(), kinds))
        .collect()
}

fn objection(indexed: &Indexed<'_>, unit: &Unit, kinds: &[PlaceKind]) -> Option<Objection> {
    let sent = match unit.direction {
        Direction::Outbound => indexed.sent(unit),
        Direction::Inbound => indexed.handed_over(unit),
    };
    match sent {
        Sent::Delivered { evidence } => {
            let why = format!("it was delivered after all: {}", evidence.join("; "));
            return Some(Objection::Delivered(why));
        }
        Sent::Begun { evidence } => {
            let why = format!("it may have been sent: {}", evidence.join("; "));
            return Some(Objection::Other(why));
        }
        Sent::NotSeen | Sent::CannotTell { .. } => {}
    }
    let reported = indexed.report(unit);
    let told = reported.map(|report| format!("its sender was told of it: {report}"));
    told.or_else(|| indexed.place(unit, kinds).map(|place| place.what.clone()))
        .or_else(|| indexed.elsewhere(unit))
        .or_else(|| indexed.hint(unit).map(|hint| hint.evidence.clone()))
        .map(Objection::Other)
}

impl Missing {
    fn unit(&self) -> Unit {
        Unit {
            direction: self.direction,
            mts_id: self.mts_id.clone(),
            message_id: self.message_id.clone(),
            spool_name: Some(self.spool_name.clone()),
            sender: String::new(),
            recipients: Vec::new(),
            at_ms: self.accepted_ms,
            evidence: Vec::new(),
            converted: true,
            listed_in_mts_out: false,
        }
    }
}

/// Whether two Message-IDs may be the same message's: they are equal, or one is not known.
fn agree(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => fold(a) == fold(b),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
