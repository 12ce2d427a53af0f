//! Conditions: one inline table each, told apart by their first key.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use crate::condition::{
    Condition, EventMatch, FileTest, Queue, QueueTest, ServiceIs, Since, StepWas,
};
use crate::fault::FaultCode;
use crate::units;
use crate::version::VersionRange;

use super::context::{Context, Place};
use super::paths;
use super::reader::{Located, Reader};
use super::value::{list, number, table};
use super::words::{did_you_mean, listed};

/// The keys that tell conditions apart.
pub(crate) const KINDS: [&str; 12] = [
    "service", "queue", "file", "event", "disk", "version", "registry", "step", "fact", "all",
    "any", "not",
];

pub(crate) const SERVICE_IS: [(&str, ServiceIs); 2] = [
    ("running", ServiceIs::Running),
    ("stopped", ServiceIs::Stopped),
];
pub(crate) const STEP_WAS: [(&str, StepWas); 2] =
    [("done", StepWas::Done), ("skipped", StepWas::Skipped)];
pub(crate) const QUEUE_TESTS: [&str; 4] =
    ["oldest_over", "oldest_under", "count_over", "count_under"];
pub(crate) const FILE_TESTS: [&str; 7] = [
    "exists",
    "older_than_file",
    "newer_than_file",
    "older_than",
    "changed_since",
    "size_over",
    "contains",
];

const WEEK: Duration = Duration::from_secs(7 * 86_400);
const SECOND: Duration = Duration::from_secs(1);

/// A list of conditions that is there and not empty. `None` where any of them is faulty.
pub(crate) fn conditions(
    reader: &Reader<'_>,
    key: &'static str,
    place: Place,
    ctx: &Context<'_>,
) -> Option<Vec<Condition>> {
    all_of(list(reader.get(key)?, key, ctx.sink)?, key, place, ctx)
}

/// As [`conditions`], for a key that has to be there.
pub(crate) fn need_conditions(
    reader: &Reader<'_>,
    key: &'static str,
    place: Place,
    ctx: &Context<'_>,
) -> Option<Vec<Condition>> {
    let hint = format!("{key} = [{{ service = \"MSExchangeIMC\", is = \"running\" }}]");
    all_of(reader.need_list(key, &hint)?, key, place, ctx)
}

fn all_of(
    entries: &[Spanned<DeValue<'_>>],
    key: &str,
    place: Place,
    ctx: &Context<'_>,
) -> Option<Vec<Condition>> {
    let read: Vec<_> = entries
        .iter()
        .map(|entry| condition(entry, key, place, ctx))
        .collect();
    read.into_iter().collect()
}

/// One condition.
pub(crate) fn condition(
    value: &Spanned<DeValue<'_>>,
    key: &str,
    place: Place,
    ctx: &Context<'_>,
) -> Option<Condition> {
    let reader = table(value, key, "the condition", ctx.sink)?;
    let read = of_reader(&reader, place, ctx);
    if read.is_known {
        reader.finish(|_| None);
    }
    read.condition
}

/// What came of reading a condition's keys.
pub(crate) struct Read {
    pub(crate) condition: Option<Condition>,
    /// Whether its kind was known, so that its other keys can be judged.
    pub(crate) is_known: bool,
}

/// Reads a condition's keys from a table that may have others too (`why` beside a `forbid`).
pub(crate) fn of_reader(reader: &Reader<'_>, place: Place, ctx: &Context<'_>) -> Read {
    if !ctx.one_more_condition(&reader.span) {
        return Read {
            condition: None,
            is_known: false,
        };
    }
    let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| reader.has(kind)).collect();
    let [kind] = kinds.as_slice() else {
        if kinds.is_empty() {
            let given: Vec<&str> = reader.keys().map(|(key, _)| key).collect();
            let hint = given
                .iter()
                .find_map(|key| did_you_mean(key, KINDS.into_iter()))
                .unwrap_or_else(|| format!("a condition has one of {}", listed(&KINDS)));
            let message = "the condition says nothing that is known";
            ctx.sink
                .hinted(FaultCode::UnknownCondition, &reader.span, message, hint);
        } else {
            let message = format!("the condition speaks of {} at once", listed(&kinds));
            let hint = "write a condition for each, or `all = [..]` around them";
            ctx.sink
                .hinted(FaultCode::WrongKeys, &reader.span, message, hint);
        }
        return Read {
            condition: None,
            is_known: false,
        };
    };
    let condition = match *kind {
        "service" => service(reader),
        "queue" => queue(reader),
        "file" => file(reader, place, ctx),
        "event" => event(reader, ctx).map(Condition::Event),
        "disk" => disk(reader, ctx),
        "version" => reader
            .text("version")
            .and_then(|found| versions(&found, "version", ctx))
            .map(Condition::Version),
        "registry" => registry(reader),
        "step" => step(reader, place, ctx),
        "fact" => fact(reader, ctx),
        "all" => conditions(reader, "all", place, ctx).map(Condition::All),
        "any" => conditions(reader, "any", place, ctx).map(Condition::Any),
        _ => reader
            .get("not")
            .and_then(|value| condition(value, "not", place, ctx))
            .map(|inner| Condition::Not(Box::new(inner))),
    };
    Read {
        condition,
        is_known: true,
    }
}

fn service(reader: &Reader<'_>) -> Option<Condition> {
    let service = reader
        .name("service")
        .and_then(|found| super::words::spelled(found, reader.sink));
    let is = reader.need_word("is", &SERVICE_IS);
    Some(Condition::Service {
        service: service?,
        is: is?,
    })
}

/// The one of several keys that is given; a fault where there is none, or more than one.
fn one_of(reader: &Reader<'_>, kind: &str, keys: &'static [&'static str]) -> Option<&'static str> {
    let given: Vec<&'static str> = keys.iter().copied().filter(|key| reader.has(key)).collect();
    for key in &given {
        let _known = reader.get(key);
    }
    if let [only] = given.as_slice() {
        return Some(only);
    }
    // Where an unknown key stands beside it, a misspelt test is likelier than a missing one, and the
    // unknown key is told anyway.
    let message = match given.as_slice() {
        [] => format!("the condition does not say what must hold of the {kind}"),
        many => format!("the condition says {} at once", listed(many)),
    };
    let hint = format!("give exactly one of {}", listed(keys));
    reader
        .sink
        .hinted(FaultCode::WrongKeys, &reader.span, message, hint);
    for key in keys {
        let _known = reader.get(key);
    }
    None
}

fn queue(reader: &Reader<'_>) -> Option<Condition> {
    let queue = reader.word("queue", &Queue::ALL);
    let test = match one_of(reader, "queue", &QUEUE_TESTS)? {
        "oldest_over" => reader
            .duration("oldest_over", SECOND, WEEK)
            .map(QueueTest::OldestOver),
        "oldest_under" => reader
            .duration("oldest_under", SECOND, WEEK)
            .map(QueueTest::OldestUnder),
        "count_over" => reader
            .number("count_over", 0, 10_000_000)
            .map(QueueTest::CountOver),
        _ => reader
            .number("count_under", 1, 10_000_000)
            .map(QueueTest::CountUnder),
    };
    Some(Condition::Queue {
        queue: queue?,
        test: test?,
    })
}

fn file(reader: &Reader<'_>, place: Place, ctx: &Context<'_>) -> Option<Condition> {
    let a_path = |key| {
        reader
            .text(key)
            .and_then(|found| paths::path(&found, key, false, ctx.sink))
    };
    let file = a_path("file");
    let test = match one_of(reader, "file", &FILE_TESTS)? {
        "exists" => reader.boolean("exists").map(FileTest::Exists),
        "older_than_file" => a_path("older_than_file").map(FileTest::OlderThanFile),
        "newer_than_file" => a_path("newer_than_file").map(FileTest::NewerThanFile),
        "older_than" => reader
            .duration("older_than", SECOND, 52 * WEEK)
            .map(FileTest::OlderThan),
        "changed_since" => {
            if place == Place::Detect {
                let message = "`changed_since` speaks of a run where there is none yet";
                let hint = "for detection use `older_than`, `older_than_file` or `newer_than_file`";
                ctx.sink.hinted(
                    FaultCode::ConditionNotHere,
                    &reader.place("changed_since"),
                    message,
                    hint,
                );
            }
            reader
                .word("changed_since", &[("run-began", ())])
                .map(|()| FileTest::ChangedSinceRunBegan)
        }
        "size_over" => reader.size("size_over").map(FileTest::SizeOver),
        _ => reader
            .need_line("contains", 200, "")
            .map(FileTest::Contains),
    };
    Some(Condition::File {
        file: file?,
        test: test?,
    })
}

fn event(reader: &Reader<'_>, ctx: &Context<'_>) -> Option<EventMatch> {
    let event = reader.table("event")?;
    let source = event.need_line("source", 80, "source = \"MSExchangeIMC\"");
    let ids = match (event.has("id"), event.has("ids")) {
        (true, false) => event.number32("id", 1, 0xffff).map(|id| vec![id]),
        (false, true) => event
            .list("ids")
            .and_then(|entries| event_ids(entries, ctx)),
        (one, _) => {
            let (_, _) = (event.get("id"), event.get("ids"));
            let message = if one {
                "the event has both `id` and `ids`"
            } else {
                "the event has no `id`"
            };
            let hint = "give `id = 3038`, or `ids = [4116, 4117]` for any of several";
            ctx.sink
                .hinted(FaultCode::WrongKeys, &event.span, message, hint);
            None
        }
    };
    let since = event
        .need_text("since", "since = \"last-start\"")
        .and_then(|found| since(&found, ctx));
    let at_least = event.number32("at_least", 1, 100_000);
    let contains = event
        .has("contains")
        .then(|| event.need_line("contains", 200, ""));
    let read = (|| {
        Some(EventMatch {
            source: source?,
            ids: ids?,
            since: since?,
            at_least: if event.has("at_least") { at_least? } else { 1 },
            contains: match contains {
                Some(found) => Some(found?),
                None => None,
            },
        })
    })();
    event.finish(|_| None);
    read
}

fn event_ids(entries: &[Spanned<DeValue<'_>>], ctx: &Context<'_>) -> Option<Vec<u32>> {
    let mut ids = Vec::new();
    let mut whole = true;
    for entry in entries {
        let id = number(entry, "ids", 1, 0xffff, ctx.sink).and_then(|id| u32::try_from(id).ok());
        let Some(id) = id else {
            whole = false;
            continue;
        };
        if ids.contains(&id) {
            let message = format!("the event {id} is in `ids` twice");
            ctx.sink
                .fault(FaultCode::DuplicateEntry, &entry.span(), message);
            whole = false;
        }
        ids.push(id);
    }
    whole.then_some(ids)
}

fn since(found: &Located<&str>, ctx: &Context<'_>) -> Option<Since> {
    match found.value {
        "last-start" => return Some(Since::LastStart),
        "run-began" => return Some(Since::RunBegan),
        _ => {}
    }
    match units::duration(found.value) {
        Ok(within) if (SECOND..=WEEK).contains(&within) => Some(Since::Within(within)),
        Ok(_) => {
            let message = format!("`since` is `{}`, it may be 1s to 7d", found.value);
            ctx.sink.fault(FaultCode::OutOfRange, &found.span, message);
            None
        }
        Err(_) => {
            let message = format!("`since` cannot be `{}`", found.value.escape_debug());
            let hint = did_you_mean(found.value, ["last-start", "run-began"].into_iter())
                .unwrap_or_else(|| {
                    "it is `last-start`, `run-began` or a duration such as `15m`".to_owned()
                });
            ctx.sink
                .hinted(FaultCode::UnknownValue, &found.span, message, hint);
            None
        }
    }
}

fn disk(reader: &Reader<'_>, ctx: &Context<'_>) -> Option<Condition> {
    let path = reader
        .text("disk")
        .and_then(|found| paths::path(&found, "disk", true, ctx.sink));
    let free_over = match reader.need("free_over", "free_over = \"100MiB\"") {
        Some(_) => reader.size("free_over"),
        None => None,
    };
    Some(Condition::Disk {
        path: path?,
        free_over: free_over?,
    })
}

fn registry(reader: &Reader<'_>) -> Option<Condition> {
    let value = reader.table("registry")?;
    let key = value.need_line("key", 255, r"key = 'SYSTEM\CurrentControlSet\Services\..'");
    let name = value.need_line("value", 255, "value = \"RootDir\"");
    let equals = value
        .need_text("equals", "equals = \"1\"")
        .map(|found| found.value.to_owned());
    let read = (|| {
        Some(Condition::Registry {
            key: key?,
            value: name?,
            equals: equals?,
        })
    })();
    value.finish(|_| None);
    read
}

fn step(reader: &Reader<'_>, place: Place, ctx: &Context<'_>) -> Option<Condition> {
    let step = reader.name("step");
    let answered = reader.has("answered");
    let (was, answer) = if answered {
        if reader.has("was") {
            let message = "the condition has both `was` and `answered`";
            let hint = "give one of them: a step that was answered so was done";
            ctx.sink
                .hinted(FaultCode::WrongKeys, &reader.span, message, hint);
            let (_, _) = (reader.get("was"), reader.get("answered"));
            return None;
        }
        (
            None,
            reader.text("answered").and_then(|found| {
                let value = super::value::prose(&found, "answered", 200, false, ctx.sink)?;
                Some(Located {
                    value,
                    span: found.span.clone(),
                })
            }),
        )
    } else {
        (reader.need_word("was", &STEP_WAS), None)
    };
    if place == Place::Detect {
        let message = "a step is named where no step has been carried out yet";
        let hint = "detection looks at the server only; write the condition at a step";
        ctx.sink
            .hinted(FaultCode::ConditionNotHere, &reader.span, message, hint);
        return None;
    }
    let step = step?;
    if answered {
        let answer = answer?;
        ctx.asks_answer_of(&step, answer.clone());
        return Some(Condition::Answered {
            step: step.value,
            answer: answer.value,
        });
    }
    ctx.refers(&step);
    Some(Condition::Step {
        step: step.value,
        was: was?,
    })
}

fn fact(reader: &Reader<'_>, ctx: &Context<'_>) -> Option<Condition> {
    let fact = reader
        .text("fact")
        .and_then(|found| super::value::prose(&found, "fact", 200, false, ctx.sink));
    let equals = reader
        .need_text("equals", "equals = \"outbound\"")
        .map(|found| found.value.to_owned());
    Some(Condition::Fact {
        fact: fact?,
        equals: equals?,
    })
}

/// A range of versions that some version satisfies.
pub(crate) fn versions(
    found: &Located<&str>,
    key: &str,
    ctx: &Context<'_>,
) -> Option<VersionRange> {
    match found.value.parse() {
        Ok(range) => Some(range),
        Err(fault) => {
            let message = format!("`{key}`: {fault}");
            let hint = "write comparisons such as `>=5.0, <5.6`; for exactly one version `=5.5`";
            ctx.sink
                .hinted(FaultCode::BadVersions, &found.span, message, hint);
            None
        }
    }
}
