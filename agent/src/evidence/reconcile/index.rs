//! The facts, indexed: a window may hold 100 000 messages, and so may the logs.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::records::Records;
use super::super::smtp_log::End;
use super::super::tracking_log::{
    DELIVERED, GATEWAY_IN, QUEUED_OUTBOUND, RECEIVED_INBOUND, Record, TRANSFERRED_INBOUND,
    TRANSFERRED_OUTBOUND,
};
use super::super::{Direction, MessageKey, Sent, fold};
use super::facts::{Facts, Hint, Place, PlaceKind, StoreFolder};
use super::{Window, agree};

/// The MTA has handed a message to a connector or another MTA.
const MTA_OUT: u32 = 7;
/// A gateway has taken a message to send.
const GATEWAY_OUT: u32 = 1003;
/// Its sender was told.
const REPORTS: [u32; 10] = [10, 33, 34, 1005, 1006, 1007, 1015, 1016, 1017, 1018];
/// It went another way, or an administrator removed it.
const ELSEWHERE: [u32; 7] = [28, 29, 43, 50, 51, 52, 1014];

/// A message that was accepted.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) direction: Direction,
    pub(super) mts_id: Option<String>,
    pub(super) message_id: Option<String>,
    pub(super) spool_name: Option<String>,
    pub(super) sender: String,
    pub(super) recipients: Vec<String>,
    pub(super) at_ms: i64,
    pub(super) evidence: Vec<String>,
    /// Whether it is known to have left MTS-OUT for the spool.
    pub(super) converted: bool,
    pub(super) listed_in_mts_out: bool,
}

pub(super) struct Indexed<'a> {
    facts: &'a Facts,
    window: Window,
    records: Records,
    /// Deliveries of inbound mail, by spool name, Message-ID and MTS-ID, all folded.
    delivered_in: HashMap<String, Vec<&'a Record>>,
    /// How many inbound messages came under one Message-ID without a spool name of their own.
    nameless: HashMap<String, usize>,
    /// How many messages have one Message-ID, by their MTS-IDs.
    namesakes: HashMap<String, usize>,
    reports: HashMap<String, &'a Record>,
    elsewhere: HashMap<String, &'a Record>,
    places: HashMap<String, Vec<&'a Place>>,
    /// Message-IDs that the SMTP log has as sent; whether it has one without.
    logged: HashSet<String>,
    logged_unnamed: bool,
    last_sent_ms: Option<i64>,
    last_delivered_in_ms: Option<i64>,
}

impl<'a> Indexed<'a> {
    pub(super) fn of(facts: &'a Facts, window: Window) -> Self {
        let since_ms = window
            .now_ms
            .saturating_sub(window.over_ms)
            .saturating_sub(window.apart_ms);
        let records = Records::of(
            since_ms,
            facts.tracking.clone(),
            facts.sent.clone(),
            facts.malformed.clone(),
        );
        let mut indexed = Self {
            facts,
            window,
            records,
            delivered_in: HashMap::new(),
            nameless: HashMap::new(),
            namesakes: HashMap::new(),
            reports: HashMap::new(),
            elsewhere: HashMap::new(),
            places: HashMap::new(),
            logged: HashSet::new(),
            logged_unnamed: false,
            last_sent_ms: facts.sent.iter().map(|one| one.at_ms).max(),
            last_delivered_in_ms: None,
        };
        indexed.index_tracking();
        for one in facts
            .sent
            .iter()
            .filter(|one| matches!(one.end, End::Accepted { .. }))
        {
            match &one.message_id {
                Some(id) => drop(indexed.logged.insert(fold(id))),
                None => indexed.logged_unnamed = true,
            }
        }
        for place in &facts.places {
            let names = [Some(place.spool_name.as_str()), place.mts_id.as_deref()];
            for name in names.into_iter().flatten() {
                indexed.places.entry(fold(name)).or_default().push(place);
            }
        }
        for one in facts.received.iter().filter(|one| one.spool_name.is_none()) {
            if let Some(id) = &one.message_id {
                *indexed.nameless.entry(fold(id)).or_default() += 1;
            }
        }
        indexed
    }

    fn index_tracking(&mut self) {
        let mut bearers: HashMap<String, BTreeSet<String>> = HashMap::new();
        for record in &self.facts.tracking {
            if let Some((id, _)) = &record.remote {
                bearers
                    .entry(fold(id))
                    .or_default()
                    .insert(fold(&record.mts_id));
            }
            let (id, name) = match &record.remote {
                Some((id, name)) => (Some(id.as_str()), Some(name.as_str())),
                None => (None, None),
            };
            let mts_id = Some(record.mts_id.as_str());
            if [TRANSFERRED_INBOUND, GATEWAY_IN, DELIVERED].contains(&record.event) {
                let keys = [id, name, mts_id, tail(&record.mts_id)];
                let keys: BTreeSet<String> = keys.into_iter().flatten().map(fold).collect();
                for key in keys {
                    self.delivered_in.entry(key).or_default().push(record);
                }
                self.last_delivered_in_ms = self.last_delivered_in_ms.max(Some(record.at_ms));
            }
            let about = (!record.about.is_empty()).then_some(record.about.as_str());
            let index = match record.event {
                event if REPORTS.contains(&event) => &mut self.reports,
                event if ELSEWHERE.contains(&event) => &mut self.elsewhere,
                _ => continue,
            };
            for key in [mts_id, about, id].into_iter().flatten() {
                index.entry(fold(key)).or_insert(record);
            }
        }
        self.namesakes = bearers
            .into_iter()
            .map(|(id, all)| (id, all.len()))
            .collect();
    }

    /// Every message of the window.
    pub(super) fn units(&self) -> Vec<Unit> {
        let mut units = self.outbound();
        units.extend(self.inbound());
        units
    }

    fn in_window(&self, at_ms: i64) -> bool {
        at_ms >= self.window.now_ms.saturating_sub(self.window.over_ms)
    }

    fn outbound(&self) -> Vec<Unit> {
        let mut order = Vec::new();
        let mut by_id: HashMap<String, Unit> = HashMap::new();
        for record in &self.facts.tracking {
            let converted = match record.event {
                QUEUED_OUTBOUND => true,
                // Other gateways write 1003 too; theirs name no spool file.
                GATEWAY_OUT if spool_name(record).is_some() => true,
                MTA_OUT if to_connector(record) => false,
                _ => continue,
            };
            let unit = by_id.entry(fold(&record.mts_id)).or_insert_with(|| {
                order.push(fold(&record.mts_id));
                blank(Direction::Outbound, record)
            });
            unit.at_ms = unit.at_ms.min(record.at_ms);
            unit.evidence.push(record.evidence());
            if converted && !unit.converted {
                unit.converted = true;
                unit.recipients.clone_from(&record.recipients);
                if let Some((id, name)) = &record.remote {
                    unit.message_id = known(id);
                    unit.spool_name = known(name);
                }
            }
        }
        let listed = match &self.facts.mts_out {
            StoreFolder::Listed(ids) => ids.as_slice(),
            _ => &[],
        };
        for id in listed {
            let unit = by_id.entry(fold(id)).or_insert_with(|| {
                order.push(fold(id));
                self.listed(id)
            });
            unit.listed_in_mts_out = true;
        }
        let mut units: Vec<Unit> = order
            .into_iter()
            .filter_map(|id| by_id.remove(&id))
            .collect();
        units.retain(|unit| unit.listed_in_mts_out || self.in_window(unit.at_ms));
        units
    }

    /// A message in MTS-OUT that the tracking log does not say was handed over.
    fn listed(&self, mts_id: &str) -> Unit {
        let own = self.records.tracked_under(mts_id);
        match own.first() {
            Some(record) => {
                let mut unit = blank(Direction::Outbound, record);
                if let Some((id, name)) = &record.remote {
                    unit.message_id = known(id);
                    unit.spool_name = known(name);
                }
                unit
            }
            None => Unit {
                direction: Direction::Outbound,
                mts_id: Some(mts_id.to_owned()),
                message_id: None,
                spool_name: None,
                sender: String::new(),
                recipients: Vec::new(),
                at_ms: self.window.now_ms,
                evidence: vec!["the tracking log does not say when it was handed over".to_owned()],
                converted: false,
                listed_in_mts_out: false,
            },
        }
    }

    fn inbound(&self) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::new();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        let mut by_id: HashMap<String, Vec<usize>> = HashMap::new();
        for one in &self.facts.received {
            let at = units.len();
            if let Some(name) = &one.spool_name {
                by_name.entry(fold(name)).or_default().push(at);
            }
            if let Some(id) = &one.message_id {
                by_id.entry(fold(id)).or_default().push(at);
            }
            units.push(Unit {
                direction: Direction::Inbound,
                mts_id: None,
                message_id: one.message_id.clone(),
                spool_name: one.spool_name.clone(),
                sender: one.sender.clone(),
                recipients: one.recipients.clone(),
                at_ms: one.at_ms,
                evidence: vec![one.evidence()],
                converted: true,
                listed_in_mts_out: false,
            });
        }
        for record in self
            .facts
            .tracking
            .iter()
            .filter(|r| r.event == RECEIVED_INBOUND)
        {
            let (id, name) = match &record.remote {
                Some((id, name)) => (known(id), known(name)),
                None => (None, None),
            };
            let candidates = [
                name.as_deref().and_then(|name| by_name.get(&fold(name))),
                id.as_deref().and_then(|id| by_id.get(&fold(id))),
            ];
            let same = candidates
                .into_iter()
                .flatten()
                .flatten()
                .copied()
                .find(|&at| {
                    let unit = &units[at];
                    unit.mts_id.is_none()
                        && unit.at_ms.abs_diff(record.at_ms) <= self.window.apart_ms.unsigned_abs()
                        && agree(unit.message_id.as_deref(), id.as_deref())
                        && agree(unit.spool_name.as_deref(), name.as_deref())
                });
            let unit = match same {
                Some(at) => &mut units[at],
                None => {
                    units.push(blank(Direction::Inbound, record));
                    let at = units.len() - 1;
                    &mut units[at]
                }
            };
            unit.mts_id = Some(record.mts_id.clone());
            unit.spool_name = unit.spool_name.take().or(name);
            unit.message_id = unit.message_id.take().or(id);
            unit.evidence.push(record.evidence());
        }
        units.retain(|unit| self.in_window(unit.at_ms));
        units
    }

    /// What the records say of an outbound message.
    pub(super) fn sent(&self, unit: &Unit) -> Sent {
        let key = MessageKey {
            spool_name: unit.spool_name.clone().unwrap_or_default(),
            mts_id: unit.mts_id.clone(),
            message_id: unit.message_id.clone(),
            // Tracking names the sender by directory name; an envelope has an address.
            sender: None,
            recipients: addresses(&unit.recipients),
            written_ms: unit.at_ms.saturating_sub(self.window.apart_ms),
            direction: Direction::Outbound,
        };
        self.records.judge(&key, &self.namesakes)
    }

    /// What the records say of an inbound message.
    pub(super) fn handed_over(&self, unit: &Unit) -> Sent {
        let from = unit.at_ms.saturating_sub(self.window.apart_ms);
        let id = unit.message_id.as_deref();
        let name = unit.spool_name.as_deref();
        let found = |key: Option<&str>| -> Vec<&Record> {
            let found = key.and_then(|key| self.delivered_in.get(&fold(key)));
            let mut found = found.cloned().unwrap_or_default();
            found.retain(|record| record.at_ms >= from);
            found
        };
        let told = |records: &[&Record]| Sent::Delivered {
            evidence: records
                .iter()
                .take(3)
                .map(|record| record.evidence())
                .collect(),
        };
        let mut own = found(unit.mts_id.as_deref());
        if own.is_empty() {
            own = found(name);
            own.retain(|record| agree(id, record.remote.as_ref().map(|(id, _)| id.as_str())));
        }
        if !own.is_empty() {
            return told(&own);
        }
        if name.is_some() {
            return self.silence(unit);
        }
        // Nothing but the Message-ID, which the same message sent twice has twice.
        let Some(id) = id else {
            return Sent::CannotTell {
                why: "the SMTP log does not say which message it was: set SMTP protocol logging to its maximum".into(),
            };
        };
        let own = found(Some(id));
        let delivered: BTreeSet<String> = own.iter().map(|record| fold(&record.mts_id)).collect();
        let taken = self.nameless.get(&fold(id)).copied().unwrap_or(1);
        if delivered.len() >= taken {
            return told(&own);
        }
        if delivered.is_empty() {
            return self.silence(unit);
        }
        Sent::CannotTell {
            why: format!(
                "{taken} messages were taken under its Message-ID, {} delivered",
                delivered.len()
            ),
        }
    }

    fn silence(&self, unit: &Unit) -> Sent {
        let ids = [&unit.mts_id, &unit.message_id, &unit.spool_name];
        let damaged = self.facts.malformed.iter().find(|line| {
            line.is_unreadable() || ids.into_iter().flatten().any(|id| line.mentions(id))
        });
        match damaged {
            Some(line) => Sent::CannotTell {
                why: format!("{} makes no sense and may be about it", line.place()),
            },
            None => Sent::NotSeen,
        }
    }

    fn look<'r>(&self, index: &HashMap<String, &'r Record>, unit: &Unit) -> Option<&'r Record> {
        let ids = [&unit.mts_id, &unit.message_id];
        ids.into_iter()
            .flatten()
            .find_map(|id| index.get(&fold(id)).copied())
    }

    /// A line of the tracking log that makes no sense and may be the report on any message: it is a report's,
    /// or not even its event can be read.
    pub(super) fn damaged_report(&self) -> Option<String> {
        let may_be = |line: &&super::super::lines::Malformed| {
            let mut fields = line.text.split('\t').skip(1);
            fields.next().is_some_and(|event| {
                event
                    .trim()
                    .parse()
                    .map_or(true, |event| REPORTS.contains(&event))
            })
        };
        let line = self.facts.malformed.iter().find(may_be)?;
        Some(format!(
            "{} makes no sense and may be a report on it",
            line.place()
        ))
    }

    /// The report that its sender got.
    pub(super) fn report(&self, unit: &Unit) -> Option<String> {
        if let Some(record) = self.look(&self.reports, unit) {
            return Some(record.evidence());
        }
        let hint = self.hint(unit)?;
        hint.reported.then(|| hint.evidence.clone())
    }

    /// The record that it went another way.
    pub(super) fn elsewhere(&self, unit: &Unit) -> Option<String> {
        self.look(&self.elsewhere, unit).map(Record::evidence)
    }

    /// The event that names its spool file.
    pub(super) fn hint(&self, unit: &Unit) -> Option<&'a Hint> {
        let name = self.name_of(unit)?.to_ascii_uppercase();
        self.facts
            .hints
            .iter()
            .find(|hint| hint.text.contains(&name))
    }

    /// The file of a message, of one of these kinds.
    pub(super) fn place(&self, unit: &Unit, kinds: &[PlaceKind]) -> Option<&'a Place> {
        let names = [unit.mts_id.as_deref(), self.name_of(unit)];
        let mut found = names
            .into_iter()
            .flatten()
            .filter_map(|name| self.places.get(&fold(name)))
            .flatten()
            .copied()
            .filter(|place| agree(place.message_id.as_deref(), unit.message_id.as_deref()));
        found.find(|place| kinds.contains(&place.kind))
    }

    /// The name of its spool file, or the one that its MTS-ID ends with.
    fn name_of<'u>(&self, unit: &'u Unit) -> Option<&'u str> {
        let tail = || unit.mts_id.as_deref().and_then(tail);
        unit.spool_name.as_deref().or_else(tail)
    }

    /// A transfer of which the SMTP log has nothing: then its silence about others means nothing either.
    pub(super) fn unlogged_transfer(&self, unit: &Unit, from_ms: i64) -> Option<String> {
        if unit.direction == Direction::Inbound || self.logged_unnamed {
            return None;
        }
        let unlogged = self.facts.tracking.iter().find(|record| {
            record.event == TRANSFERRED_OUTBOUND
                && record.at_ms >= from_ms
                && record
                    .remote
                    .as_ref()
                    .is_some_and(|(id, _)| !self.logged.contains(&fold(id)))
        })?;
        Some(format!(
            "the SMTP log has nothing of a transfer that was tracked ({}), so it is not whole",
            unlogged.evidence()
        ))
    }

    /// Whether something delivered later was recorded.
    pub(super) fn recording_went_on(&self, unit: &Unit) -> bool {
        let last = match unit.direction {
            Direction::Outbound => self.last_sent_ms,
            Direction::Inbound => self.last_delivered_in_ms,
        };
        last.is_some_and(|last| last >= unit.at_ms)
    }
}

fn blank(direction: Direction, record: &Record) -> Unit {
    Unit {
        direction,
        mts_id: known(&record.mts_id),
        message_id: None,
        spool_name: None,
        sender: record.originator.clone(),
        recipients: record.recipients.clone(),
        at_ms: record.at_ms,
        evidence: Vec::new(),
        converted: false,
        listed_in_mts_out: false,
    }
}

fn known(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Recipients, where all are addresses of the Internet; other forms cannot be compared with an envelope.
fn addresses(recipients: &[String]) -> Option<Vec<String>> {
    let all = !recipients.is_empty() && recipients.iter().all(|one| one.contains('@'));
    all.then(|| recipients.to_vec())
}

fn spool_name(record: &Record) -> Option<&str> {
    let (_, name) = record.remote.as_ref()?;
    crate::condition::is_spool_name(name).then_some(name)
}

/// The last eight characters of an MTS-ID, where they are shaped as the name of a spool file.
fn tail(mts_id: &str) -> Option<&str> {
    let tail = mts_id.get(mts_id.len().checked_sub(8)?..)?;
    crate::condition::is_spool_name(tail).then_some(tail)
}

/// Whether the MTA handed it to the Internet Mail Service (Internet Mail Connector in 4.0).
fn to_connector(record: &Record) -> bool {
    let partner = record.partner.to_ascii_lowercase();
    partner.contains("internet mail") || partner.contains("msexchangeimc")
}
