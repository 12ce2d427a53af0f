//! From text to policy: every fault at once, each with its place.

pub(crate) mod actions;
pub(crate) mod conditions;
mod context;
mod header;
mod paths;
mod reader;
mod references;
mod roles;
mod steps;
pub(crate) mod strategy;
mod value;
mod words;

use std::collections::BTreeSet;

use toml::de::DeTable;

use crate::document;
use crate::fault::{FaultCode, Faults, Lines, Sink};
use crate::lint;
use crate::policy::Policy;
use crate::source::PolicySource;

use context::Context;
use reader::Reader;

pub use header::SCHEMA;
pub(crate) use header::{MAX_FILES, PARAGRAPH};
pub use steps::MOST_STEPS;
pub(crate) use steps::StepPlaces;
pub use strategy::overridden;

/// What a look at a policy file gives: the policy, where it is one, and all faults, advice included.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The policy; `None` where a fault refuses it.
    pub policy: Option<Policy>,
    /// The faults, by place; with a policy, advice only.
    pub faults: Faults,
}

/// Reads a policy.
///
/// # Errors
/// All faults of the file, advice included, where at least one refuses it.
pub fn parse(source: &PolicySource) -> Result<Policy, Faults> {
    let Checked { policy, faults } = check(source);
    policy.ok_or(faults)
}

/// Reads a policy and tells advice too.
#[must_use]
pub fn check(source: &PolicySource) -> Checked {
    let (policy, faults) = file(source.bytes(), source.name(), whole);
    Checked { policy, faults }
}

/// Reads a file of the language: its limits, its syntax, and with `whole` its meaning. The value where no
/// fault refuses it, and all faults.
fn file<T>(
    bytes: &[u8],
    name: &str,
    whole: impl FnOnce(&DeTable<'_>, &Sink) -> Option<T>,
) -> (Option<T>, Faults) {
    let sink = Sink::default();
    let Some(text) = document::text(bytes, &sink) else {
        // What is too large or no text is not shown; faults in its UTF-8 part keep their place.
        let shown = if bytes.len() > document::MOST_BYTES {
            String::new()
        } else {
            String::from_utf8_lossy(bytes).into_owned()
        };
        return (None, sink.finish(name, &shown));
    };
    let value = document::read(text, &sink).and_then(|document| {
        let before = sink.count();
        let value = whole(&document.root, &sink);
        if document.broken.is_empty() {
            return value;
        }
        // What could be read beside broken syntax is judged too, but only for faults that the
        // broken part cannot have caused.
        let lines = Lines::of(text);
        let broken: BTreeSet<usize> = document
            .broken
            .iter()
            .map(|span| lines.line(span.start))
            .collect();
        sink.retain_after(before, |code, span| {
            stands_alone(code) && !broken.contains(&lines.line(span.start))
        });
        None
    });
    let faults = sink.finish(name, text);
    (value.filter(|_| !faults.refuse()), faults)
}

/// Whether a fault can be told from its own place alone.
const fn stands_alone(code: FaultCode) -> bool {
    matches!(
        code,
        FaultCode::UnknownKey
            | FaultCode::UnknownValue
            | FaultCode::UnknownAction
            | FaultCode::OutOfRange
            | FaultCode::BadName
            | FaultCode::BadDuration
            | FaultCode::BadSize
            | FaultCode::BadSelector
            | FaultCode::EmptySelector
            | FaultCode::BadPath
            | FaultCode::BadVersions
            | FaultCode::UnknownSchema
            | FaultCode::BadAddress
            | FaultCode::BadShare
            | FaultCode::BadTime
            | FaultCode::UnknownZone
    )
}

fn whole(root: &DeTable<'_>, sink: &Sink) -> Option<Policy> {
    let ctx = Context::new(sink);
    let reader = Reader::new(root, 0..0, "the policy", sink);
    let header = header::header(&reader, &ctx);
    let roles = roles::roles(&reader, &ctx);
    let detect = header::detect(&reader, &ctx);
    let steps = steps::steps(&reader, &ctx);
    reader.finish(|_| None);
    let references = ctx.into_references();
    let fitting = references::check(&roles, detect.as_ref(), &steps, &references, sink);

    let detect_place = detect.as_ref().map_or(0..0, |detect| detect.span.clone());
    let detect = detect.and_then(|detect| detect.detect);
    let (steps, places): (Vec<_>, Vec<_>) = steps
        .into_iter()
        .map(|draft| (draft.step, draft.places))
        .unzip();
    let steps: Option<Vec<_>> = steps.into_iter().collect();
    if let Some(steps) = steps.as_ref().filter(|_| fitting) {
        // The rules look at the steps as a whole, so they wait until each could be read and found.
        let subject = lint::Subject {
            steps,
            places: &places,
            limits: header.limits,
            detect: detect.as_ref(),
            detect_place,
        };
        lint::judge(&subject, sink);
        if let Some(limits) = header.limits {
            strategy::fit(&header.strategy, limits.max_outage, steps, sink);
        }
    }
    Some(Policy {
        name: header.name?,
        version: header.version?,
        title: header.title?,
        source: header.source?,
        applies_to: header.applies_to?,
        roles: roles::finished(&roles),
        limits: header.limits?,
        detect: detect?,
        strategy: header.strategy.strategy?,
        steps: steps?,
    })
}
