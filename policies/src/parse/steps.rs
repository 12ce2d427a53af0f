//! Steps: the keys that all have, then those of their action.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use crate::fault::FaultCode;
use crate::name::{RoleName, StepId};
use crate::step::{Action, Forbid, Step};

use super::actions::{self, Kind};
use super::conditions::{self, conditions};
use super::context::{Context, Place};
use super::header::PARAGRAPH;
use super::reader::{Located, Reader, Span};
use super::value::{list, prose, table};

/// The most steps of a policy.
pub const MOST_STEPS: usize = super::value::MOST_ENTRIES;

/// A step as far as it could be read.
pub(crate) struct StepDraft {
    pub(crate) id: Option<Located<StepId>>,
    pub(crate) on: Option<Located<RoleName>>,
    /// The action's name, where there is such an action.
    pub(crate) action: Option<&'static str>,
    pub(crate) step: Option<Step>,
    pub(crate) places: StepPlaces,
}

/// Where a step and its keys stand.
#[derive(Debug, Clone)]
pub(crate) struct StepPlaces {
    /// Its id, or its header where it has none.
    pub(crate) id: Span,
    values: BTreeMap<String, Span>,
}

impl StepPlaces {
    /// The place of a key's value; the id's place where the key is not there.
    pub(crate) fn of(&self, key: &str) -> Span {
        self.values.get(key).unwrap_or(&self.id).clone()
    }
}

pub(crate) fn steps(root: &Reader<'_>, ctx: &Context<'_>) -> Vec<StepDraft> {
    let Some(value) = root.need("step", "[[step]]") else {
        return Vec::new();
    };
    let Some(entries) = list(value, "step", ctx.sink) else {
        return Vec::new();
    };
    let read = |(at, entry)| {
        ctx.step.set(at);
        step(entry, ctx)
    };
    entries.iter().enumerate().filter_map(read).collect()
}

fn step(entry: &Spanned<DeValue<'_>>, ctx: &Context<'_>) -> Option<StepDraft> {
    let mut reader = table(entry, "step", "the step", ctx.sink)?;
    if let Some(id) = reader.entry("id").and_then(|id| id.get_ref().as_str()) {
        reader.what = format!(
            "step `{}`",
            id.chars().take(63).collect::<String>().escape_debug()
        );
    }
    let id: Option<Located<StepId>> = reader.need_name("id", "id = \"stop-ims\"");
    if let Some(id) = id
        .as_ref()
        .filter(|id| id.value.as_str() == crate::plan::DETECT)
    {
        let message =
            "the id `detect` is that of the look for the symptom, which comes first anyway";
        ctx.sink.hinted(
            FaultCode::DuplicateStep,
            &id.span,
            message,
            "give the step another id",
        );
    }
    let on: Option<Located<RoleName>> = reader.need_name("on", "on = \"outbound\"");
    let kind = reader
        .need_text("action", "action = \"service.stop\"")
        .and_then(|found| actions::find(&found, ctx));
    let values = reader
        .keys()
        .map(|(key, _)| (key.to_owned(), reader.place(key)))
        .collect();
    let places = StepPlaces {
        id: reader.place("id"),
        values,
    };
    let timeout = timeout(&reader, kind);
    let when = optional(&reader, "when", || {
        conditions(&reader, "when", Place::Step, ctx)
    });
    let forbid = optional(&reader, "forbid", || forbids(&reader, ctx));
    let no_return = reader.boolean("point_of_no_return");
    let no_return = if reader.has("point_of_no_return") {
        no_return
    } else {
        Some(false)
    };
    let why = reader
        .text("why")
        .map(|found| prose(&found, "why", PARAGRAPH, true, ctx.sink));
    let action = kind.and_then(|kind| actions::read(kind, &reader, ctx));
    if let Some(kind) = kind {
        // What an action could not read because of another fault is known all the same.
        for key in kind.keys() {
            let _known = reader.get(key);
        }
        if let Some(Action::ServiceStart { observe, .. }) = &action
            && timeout.is_some_and(|timeout| timeout < *observe)
        {
            let message =
                "the timeout is shorter than the observation, so the step could never be done";
            let hint = "give it the observation of each attempt and the time to start";
            ctx.sink
                .hinted(FaultCode::OutOfRange, &places.of("timeout"), message, hint);
        }
        reader.finish(actions::owner);
    }
    let step = (|| {
        Some(Step {
            id: id.clone()?.value,
            on: on.clone()?.value,
            action: action?,
            timeout: timeout?,
            when: when?,
            forbid: forbid?,
            point_of_no_return: no_return?,
            why: match why {
                Some(text) => Some(text?),
                None => None,
            },
        })
    })();
    Some(StepDraft {
        id,
        on,
        action: kind.map(|kind| kind.name),
        step,
        places,
    })
}

/// The time that a step may take, from 1 second to 7 days; its action's own unless told.
fn timeout(reader: &Reader<'_>, kind: Option<&Kind>) -> Option<Duration> {
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(7 * 86_400));
    let told = reader.duration("timeout", least, most);
    if reader.has("timeout") {
        told
    } else {
        kind.map(|kind| kind.timeout)
    }
}

fn optional<T>(
    reader: &Reader<'_>,
    key: &'static str,
    read: impl FnOnce() -> Option<Vec<T>>,
) -> Option<Vec<T>> {
    let there = reader.get(key).is_some();
    if there { read() } else { Some(Vec::new()) }
}

fn forbids(reader: &Reader<'_>, ctx: &Context<'_>) -> Option<Vec<Forbid>> {
    let read: Vec<Option<Forbid>> = reader
        .list("forbid")?
        .iter()
        .map(|entry| {
            let entry = table(entry, "forbid", "the entry of `forbid`", ctx.sink)?;
            let why = entry
                .need_text("why", "why = \"..\"")
                .and_then(|found| prose(&found, "why", PARAGRAPH, true, ctx.sink));
            let read = conditions::of_reader(&entry, Place::Step, ctx);
            if read.is_known {
                entry.finish(|_| None);
            }
            Some(Forbid {
                condition: read.condition?,
                why: why?,
            })
        })
        .collect();
    read.into_iter().collect()
}
