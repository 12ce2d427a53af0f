//! Steps in the schema: one alternative for each action, so that an editor completes its keys.

use serde_json::{Map, Value, json};

use crate::condition::Queue;
use crate::parse::actions::{COMMON, KINDS, Kind, THEN, UNDO};
use crate::parse::conditions;
use crate::units::write_duration;

use super::{described, line, named, object, prose, words};

pub(super) fn schema() -> Value {
    let alternatives: Vec<Value> = KINDS.iter().map(of).collect();
    let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    json!({
        "type": "object",
        "required": ["id", "on", "action"],
        // Stated here as well, so that an editor completes the action before any other key is known.
        "properties": { "action": { "enum": names } },
        "oneOf": alternatives,
    })
}

fn of(kind: &Kind) -> Value {
    let mut properties: Map<String, Value> = COMMON
        .iter()
        .map(|key| ((*key).to_owned(), common(key, kind)))
        .collect();
    for key in kind.keys() {
        properties.insert(key.to_owned(), own(key, kind.name));
    }
    let mut required = vec!["id", "on", "action"];
    required.extend(kind.needs);
    let mut schema = object(kind.about, &required, Value::Object(properties));
    schema["title"] = json!(kind.name);
    schema
}

/// A key that every step may have.
fn common(key: &str, kind: &Kind) -> Value {
    match key {
        "id" => named("kebab", "Unique in the policy."),
        "on" => named("kebab", "The role whose servers carry it out."),
        "action" => json!({ "const": kind.name, "description": kind.about }),
        "timeout" => {
            let mut schema = described(
                "duration",
                "The longest that the step may take, all attempts included.",
            );
            schema["default"] = json!(write_duration(kind.timeout));
            schema
        }
        "when" => super::conditions("All must hold, or the step is skipped."),
        "forbid" => json!({
            "type": "array",
            "minItems": 1,
            "items": { "$ref": "#/definitions/forbid" },
            "description": "None may hold when the step begins, or the run fails before anything is changed.",
        }),
        "point_of_no_return" => {
            json!({ "type": "boolean", "default": false, "description": "Once done, unwinding is no longer offered for it and what came before." })
        }
        _ => prose("Why the step is there, for the operator who reads the plan."),
    }
}

/// A key of one action.
fn own(key: &str, action: &str) -> Value {
    let count = |most: u64, about: &str| json!({ "type": "integer", "minimum": 1, "maximum": most, "description": about });
    let lines = |about: &str| json!({ "type": "array", "minItems": 1, "uniqueItems": true, "items": line("One line."), "description": about });
    match (key, action) {
        ("service", _) => named(
            "service",
            "The service's short name, such as `MSExchangeIMC`.",
        ),
        ("then", _) => words(
            &THEN,
            "Where it has not stopped when the timeout ends: kill ends the process of that service only.",
        ),
        ("observe", _) => described("duration", "How long it must stay up; at least 10s."),
        ("attempts", _) => count(
            5,
            "How often to try where it dies while watched; 1 unless told.",
        ),
        ("tool", _) => named("kebab", "A tool that the agent's guard file defines."),
        ("store", _) => named(
            "kebab",
            "A tool that the agent's guard file defines and that prints the MTS-IDs in MTS-OUT, one a line.",
        ),
        ("until", _) => super::conditions("All must hold before the timeout ends."),
        ("all", _) => super::conditions("All must hold."),
        ("poll", _) => described("duration", "The time between two looks; 5s unless told."),
        ("queue", _) => {
            let folders: Vec<&str> = Queue::ALL
                .iter()
                .filter(|(_, queue)| queue.folder().is_some())
                .map(|(name, _)| *name)
                .collect();
            json!({ "enum": folders, "description": "A queue that is a folder of files." })
        }
        ("undo", _) => words(
            &UNDO,
            "What unwinding does with what is held: keep it held, or replay it.",
        ),
        ("of", _) => named(
            "kebab",
            "The `queue.quarantine` step whose files these are.",
        ),
        ("first", _) => count(1_000_000, "At most so many, oldest first; all unless told."),
        ("except_named_since", _) => described(
            "duration",
            "Messages that events 4115, 4117 or 4182 of this period name stay held as poison.",
        ),
        ("max_restarts", _) => count(1000, "The most restarts that the search may take."),
        ("max_crashes", _) => count(1000, "The most crashes that the search may cause."),
        ("max_duplicates", _) => count(
            1_000_000,
            "The most messages that one crash may send twice.",
        ),
        ("max_bad", _) => count(
            100,
            "For how many messages that crash the service the other limits are declared.",
        ),
        ("in_flight", _) => count(
            1000,
            "The most messages that the service handles at one time, where its logs show which those were.",
        ),
        ("to", _) => {
            json!({ "type": "string", "pattern": "^[A-Za-z0-9_+=][A-Za-z0-9._+=-]*@[A-Za-z0-9_+=][A-Za-z0-9._+=-]*$", "description": "A recipient outside the organisation." })
        }
        ("with", _) => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[a-z][a-z0-9-]{0,62}$" },
            "additionalProperties": { "type": "string", "minLength": 1, "maxLength": 200 },
            "description": "Values of the flags that the guard file declares for the tool.",
        }),
        ("accept", "human.task") => lines("The answers that count as done, each one of `answers`."),
        ("accept", _) => lines("The verdicts that count as done."),
        ("ask", _) => {
            json!({ "type": "string", "minLength": 1, "maxLength": 4000, "description": "What to do, for the person." })
        }
        ("answers", _) => lines("The answers that may be given."),
        ("over", _) => described("duration", "How far back to look; 1m to 30d."),
        ("grace", _) => described(
            "duration",
            "How long a message may be under way before it counts as missing.",
        ),
        ("keep", _) => described(
            "duration",
            "How long a copy is kept after evidence of delivery; 1h to 90d.",
        ),
        // A test walks every key of every action.
        _ => Value::Bool(true),
    }
}

/// An entry of `forbid`: a condition with its reason.
pub(super) fn forbid() -> Value {
    let alternatives: Vec<Value> = conditions::KINDS
        .iter()
        .map(|kind| {
            let mut schema = super::condition::of(kind);
            schema["properties"]["why"] = prose("Why this forbids the step, for the operator.");
            if let Some(required) = schema["required"].as_array_mut() {
                required.push(json!("why"));
            }
            schema
        })
        .collect();
    json!({ "description": "A condition that forbids the step, with the reason.", "anyOf": alternatives })
}
