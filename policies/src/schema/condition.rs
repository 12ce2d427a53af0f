//! Conditions in the schema: one alternative for each, told apart by the key that has to be there.

use serde_json::{Value, json};

use crate::condition::Queue;
use crate::parse::conditions::{FILE_TESTS, KINDS, QUEUE_TESTS, SERVICE_IS, STEP_WAS};

use super::{conditions, described, line, named, object, words};

pub(super) fn schema() -> Value {
    let alternatives: Vec<Value> = KINDS.iter().map(|kind| of(kind)).collect();
    json!({ "description": "A statement about one server.", "anyOf": alternatives })
}

/// The alternative of one kind of condition.
pub(super) fn of(kind: &str) -> Value {
    match kind {
        "service" => object(
            "A service is in a state.",
            &["service", "is"],
            json!({
                "service": named("service", "The service's short name, such as `MSExchangeIMC`."),
                "is": words(&SERVICE_IS, "stopped: and its process is gone."),
            }),
        ),
        "queue" => queue(),
        "file" => file(),
        "event" => object(
            "An event stands in the event log.",
            &["event"],
            json!({ "event": event() }),
        ),
        "disk" => object(
            "Free space on the volume of a path.",
            &["disk", "free_over"],
            json!({
                "disk": described("path-or-root", "A path on the volume."),
                "free_over": described("size", "More than this."),
            }),
        ),
        "version" => object(
            "The Exchange version of the server.",
            &["version"],
            json!({ "version": { "type": "string", "pattern": super::VERSIONS } }),
        ),
        "registry" => object(
            "A registry value.",
            &["registry"],
            json!({ "registry": object(
                "A value below HKEY_LOCAL_MACHINE.",
                &["key", "value", "equals"],
                json!({
                    "key": { "type": "string", "minLength": 1, "maxLength": 255 },
                    "value": { "type": "string", "minLength": 1, "maxLength": 255, "description": "The name of the value." },
                    "equals": { "type": "string", "description": "A text; numbers in decimal." },
                }),
            ) }),
        ),
        "step" => {
            let mut schema = object(
                "How an earlier step of the same role ended, or what a person answered to it.",
                &["step"],
                json!({
                    "step": named("kebab", "The earlier step."),
                    "was": words(&STEP_WAS, "How it ended."),
                    "answered": line("The answer that a person gave to that `human.task`."),
                }),
            );
            schema["oneOf"] = exactly_one(&["was", "answered"]);
            schema
        }
        "fact" => object(
            "A fact that the agent reports.",
            &["fact", "equals"],
            json!({ "fact": line("Such as `ims.direction`."), "equals": { "type": "string" } }),
        ),
        "all" => object(
            "All of these hold.",
            &["all"],
            json!({ "all": conditions("All must hold.") }),
        ),
        "any" => object(
            "At least one holds.",
            &["any"],
            json!({ "any": conditions("At least one must hold.") }),
        ),
        _ => object(
            "This is known to be false.",
            &["not"],
            json!({ "not": { "$ref": "#/definitions/condition" } }),
        ),
    }
}

/// Exactly one of several keys.
fn exactly_one(keys: &[&str]) -> Value {
    keys.iter()
        .map(|key| json!({ "required": [key] }))
        .collect()
}

fn queue() -> Value {
    let count = |least: u64, about: &str| json!({ "type": "integer", "minimum": least, "maximum": 10_000_000, "description": about });
    let mut schema = object(
        "A measure of one of the four queues of the Internet Mail Service.",
        &["queue"],
        json!({
            "queue": words(&Queue::ALL, "By the names that its window shows."),
            "oldest_over": described("duration", "The oldest message has waited longer than this."),
            "oldest_under": described("duration", "The oldest message has waited for less than this, or there is none."),
            "count_over": count(0, "More messages than this."),
            "count_under": count(1, "Fewer messages than this."),
        }),
    );
    schema["oneOf"] = exactly_one(&QUEUE_TESTS);
    schema
}

fn file() -> Value {
    let mut schema = object(
        "A file's presence, age, size or text.",
        &["file"],
        json!({
            "file": described("path", "Where the file is."),
            "exists": { "type": "boolean", "description": "It is there, or is not." },
            "older_than_file": described("path", "It was modified before that file was; both must be there."),
            "newer_than_file": described("path", "It was modified after that file was; both must be there."),
            "older_than": described("duration", "It was modified longer ago than this."),
            "changed_since": { "const": "run-began", "description": "It was modified since the run began." },
            "size_over": described("size", "It has more bytes than this."),
            "contains": line("Its text contains this."),
        }),
    );
    schema["oneOf"] = exactly_one(&FILE_TESTS);
    schema
}

fn event() -> Value {
    let id = json!({ "type": "integer", "minimum": 1, "maximum": 0xffff });
    let mut schema = object(
        "Events to look for.",
        &["source", "since"],
        json!({
            "source": { "type": "string", "minLength": 1, "maxLength": 80, "description": "The event's source.", "examples": ["MSExchangeIMC", "MSExchangeSA"] },
            "id": id,
            "ids": { "type": "array", "minItems": 1, "uniqueItems": true, "items": id, "description": "Any of these." },
            "since": {
                "anyOf": [{ "enum": ["last-start", "run-began"] }, { "$ref": "#/definitions/duration" }],
                "description": "last-start: since the source's last start. run-began: since the run began. Or within a time.",
            },
            "at_least": { "type": "integer", "minimum": 1, "maximum": 100_000, "default": 1, "description": "At least so many." },
            "contains": line("A text that the description must contain."),
        }),
    );
    schema["oneOf"] = exactly_one(&["id", "ids"]);
    schema
}
