//! The controller's metrics, in the text format of OpenMetrics, out of a [`Picture`].
//!
//! Labels are names of kinds, states and phases: sets that never grow with the fleet. Every series of a
//! label is there from the first scrape on, with 0, so that rules do not have to guess what absence means;
//! only `mailmend_waiting`, which has two labels, leaves out what is 0. `docs/observability.md` lists them
//! all; a test keeps both equal.

use std::collections::BTreeMap;
use std::fmt;

use mailmend_proto::run::Custody;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::doctor::{Matter, Picture, examine};
use crate::explain::Kind;
use crate::rollout::{RolloutState, RunPhase};

/// What a scrape is answered as.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A name out of a fixed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Name(&'static str);

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Waits {
    state: Name,
    kind: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPhase {
    phase: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfVersion {
    version: Name,
}

/// The states of custody that wait for somebody or for an end.
const CUSTODY: [Custody; 4] = [
    Custody::Held,
    Custody::Replaying,
    Custody::Poison,
    Custody::InDoubt,
];

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// All metrics as they are now.
///
/// # Panics
/// Never: text can always be written into memory.
#[must_use]
pub fn text(picture: &Picture) -> String {
    let matters = examine(picture);
    let mut registry = Registry::with_prefix("mailmend");
    waiting(&mut registry, &matters, picture.now_ms);
    fleet(&mut registry, picture, &matters);
    work(&mut registry, picture);
    store(&mut registry, picture);
    spans(&mut registry, picture);
    let mut text = String::new();
    encode(&mut text, &registry).expect("memory takes any text");
    text
}

fn waiting(registry: &mut Registry, matters: &[Matter], now_ms: i64) {
    let (counts, overdue, oldest) = (
        Family::<Waits, Gauge>::default(),
        Family::<OfKind, Gauge>::default(),
        Family::<OfKind, Gauge>::default(),
    );
    for kind in Kind::ALL {
        let kind = Name(kind.name());
        overdue.get_or_create(&OfKind { kind }).set(0);
        oldest.get_or_create(&OfKind { kind }).set(0);
    }
    for matter in matters {
        let kind = Name(matter.kind.name());
        let state = Name(matter.state.map_or("none", |state| state.name()));
        counts.get_or_create(&Waits { state, kind }).inc();
        if matter.is_overdue(now_ms) {
            overdue.get_or_create(&OfKind { kind }).inc();
        }
        if matter.since_ms > 0 {
            let age = now_ms.saturating_sub(matter.since_ms).max(0) / 1000;
            let known = oldest.get_or_create_owned(&OfKind { kind });
            known.set(known.get().max(age));
        }
    }
    registry.register(
        "waiting",
        "What waits, by kind and by the state of its rollout; state none: it is of no rollout",
        counts,
    );
    registry.register("overdue", "What should be over by now, by kind", overdue);
    registry.register_with_unit(
        "waiting_oldest",
        "How long the oldest of a kind has waited; 0: nothing waits",
        Unit::Seconds,
        oldest,
    );
}

fn fleet(registry: &mut Registry, picture: &Picture, matters: &[Matter]) {
    let gauge = |registry: &mut Registry, name: &str, help: &str, value: i64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    let connected = picture.agents.iter().filter(|agent| agent.connected);
    gauge(
        registry,
        "agents_known",
        "Agents that are enrolled",
        number(picture.agents.len()),
    );
    gauge(
        registry,
        "agents_connected",
        "Agents whose stream is open",
        number(connected.count()),
    );
    gauge(
        registry,
        "agents_unsigned",
        "Agents whose guard file takes unsigned policies",
        number(picture.unsigned),
    );
    let left = Family::<OfKind, Gauge>::default();
    for kind in mailmend_trust::Kind::ALL {
        let kind = kind.name();
        let signed = picture.signed.iter().find(|one| one.kind == kind);
        let left_ms = signed.map_or(0, |one| one.expires_ms.saturating_sub(picture.now_ms));
        left.get_or_create(&OfKind { kind: Name(kind) })
            .set(left_ms.max(0) / 1000);
    }
    registry.register_with_unit(
        "trust_left",
        "Until the signed root, catalogue or timestamp expires; 0: it has, or none was published",
        Unit::Seconds,
        left,
    );
    let alarms = matters.iter().filter(|matter| matter.kind == Kind::Alarm);
    gauge(
        registry,
        "alarms_standing",
        "Agents with an alarm that was heard within 7 days",
        number(alarms.count()),
    );
}

fn work(registry: &mut Registry, picture: &Picture) {
    let runs = Family::<OfPhase, Gauge>::default();
    for phase in RunPhase::ALL {
        let phase = Name(phase.name());
        runs.get_or_create(&OfPhase { phase }).set(0);
    }
    for (phase, count) in &picture.runs {
        let phase = Name(phase.name());
        runs.get_or_create(&OfPhase { phase }).set(signed(*count));
    }
    registry.register("runs", "Runs by phase, duties of agents included", runs);
    let rollouts = Family::<OfState, Gauge>::default();
    for state in RolloutState::ALL {
        let state = Name(state.name());
        rollouts.get_or_create(&OfState { state }).set(0);
    }
    for (state, count) in &picture.states {
        let state = Name(state.name());
        rollouts
            .get_or_create(&OfState { state })
            .set(signed(*count));
    }
    registry.register("rollouts", "Rollouts by state", rollouts);
    let mut custody: BTreeMap<&'static str, u64> =
        CUSTODY.iter().map(|state| (state.name(), 0)).collect();
    custody.insert("vanished", 0);
    for kept in &picture.kept {
        let name = kept.state.map_or("vanished", Custody::name);
        *custody.entry(name).or_insert(0) += kept.messages;
    }
    let messages = Family::<OfState, Gauge>::default();
    for (name, count) in custody {
        let state = Name(name);
        messages
            .get_or_create(&OfState { state })
            .set(signed(count));
    }
    registry.register(
        "custody_messages",
        "Messages in custody that wait for their end, by state; vanished: a copy is kept",
        messages,
    );
}

fn store(registry: &mut Registry, picture: &Picture) {
    let bytes = |registry: &mut Registry, name: &str, help: &str, value: u64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(signed(value));
        registry.register_with_unit(name, help, Unit::Bytes, gauge);
    };
    let health = &picture.store;
    bytes(
        registry,
        "store",
        "The controller's database with its write-ahead log",
        health.bytes,
    );
    if let Some(free) = health.free_bytes {
        bytes(
            registry,
            "store_disk_free",
            "What is free on the disk of the controller's database",
            free,
        );
    }
    let build = Family::<OfVersion, Gauge>::default();
    let version = Name(env!("CARGO_PKG_VERSION"));
    build.get_or_create(&OfVersion { version }).set(1);
    registry.register("build_info", "The controller's version; always 1", build);
}

fn spans(registry: &mut Registry, picture: &Picture) {
    for (name, help, value) in [
        (
            "spans_exported",
            "Spans that the collector took since the start",
            picture.spans.exported,
        ),
        (
            "spans_dropped",
            "Spans that were dropped since the start: the collector did not take them in time",
            picture.spans.dropped,
        ),
    ] {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    }
}

#[cfg(test)]
mod tests;
