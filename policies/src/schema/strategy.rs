//! The schema of `[strategy]`.

use serde_json::{Value, json};

use crate::parse::strategy::{ALWAYS, APPROVALS, GATES, LAST_PATHS};
use crate::strategy::{Day, MOST_COUNT, MOST_SITES_AT_ONCE, MOST_WAVES, MOST_WINDOWS};

use super::{described, object, words};

pub(super) fn schema() -> Value {
    let mut max_unavailable = object(
        "How many servers may be out of service at once: those that are mended, those whose run failed, and those that cannot be reached. A server waits while `unavailable + 1 > max_unavailable`.",
        &[],
        json!({
            "site": share(1, "100%", "Of one site; a percentage is of its servers, rounded down."),
            "fleet": share(1, "100%", "Of all servers that the controller knows; a percentage is rounded down."),
        }),
    );
    max_unavailable["minProperties"] = json!(1);
    object(
        "How a rollout goes through the sites, unless the rollout says otherwise.",
        &[],
        json!({
            "waves": {
                "type": "array",
                "minItems": 1,
                "maxItems": MOST_WAVES,
                "uniqueItems": true,
                "items": { "type": "string", "pattern": WAVE },
                "default": ["100%"],
                "examples": [["1 site", "10%", "50%", "100%"]],
                "description": "The sites that are begun by the end of each wave, of all sites of the rollout, waves before it included. Rising; a percentage is rounded up; the last is `100%`.",
            },
            "soak": described("duration", "How long after the last run of a wave its sites are only watched; 0s to 30d. 0s unless told."),
            "gate": words(&GATES, "What must be well before the next wave begins. health: on every server of a mended site the agent is connected, no alarm was raised since its run, and the symptom is known not to stand; what cannot be told pauses the rollout. none unless told."),
            "sites_at_once": { "type": "integer", "minimum": 1, "maximum": MOST_SITES_AT_ONCE, "default": 1, "description": "How many sites are mended at once." },
            "max_failed": share(0, 0, "The rollout halts as soon as `failed > max_failed` runs have failed. A percentage is of its runs, rounded down."),
            "max_unavailable": max_unavailable,
            "windows": {
                "description": "When service may be disturbed: within any of them. Always unless told.",
                "default": ALWAYS,
                "oneOf": [
                    { "const": ALWAYS },
                    { "type": "array", "minItems": 1, "maxItems": MOST_WINDOWS, "uniqueItems": true, "items": { "$ref": "#/definitions/window" } },
                ],
            },
            "last_path": words(&LAST_PATHS, "What is done where a server to be mended is the only outbound path of an address space by configuration. accept: the plan says so and mail waits, for max_outage at most; refuse: the rollout is refused. accept unless told."),
            "approve": words(&APPROVALS, "Before which waves a person is asked. none unless told."),
        }),
    )
}

const WAVE: &str = "^(1 site|([2-9]|[1-9][0-9]{1,4}|100000) sites|([1-9][0-9]?|100)%)$";

/// A part of all. Of a budget it is at least 1%.
pub(super) fn percentage() -> Value {
    json!({ "type": "string", "pattern": "^(0|[1-9][0-9]?|100)%$", "examples": ["5%", "10%"] })
}

fn share(least: u32, default: impl Into<Value>, about: &str) -> Value {
    let mut part = vec![json!({ "$ref": "#/definitions/percentage" })];
    if least > 0 {
        part.push(json!({ "pattern": "^[1-9]" }));
    }
    json!({
        "description": about,
        "default": default.into(),
        "oneOf": [
            { "type": "integer", "minimum": least, "maximum": MOST_COUNT },
            { "allOf": part },
        ],
    })
}

pub(super) fn window() -> Value {
    let days: Vec<&str> = Day::ALL.iter().map(|day| day.name()).collect();
    let time = |about: &str| json!({ "type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$", "examples": ["22:00"], "description": about });
    object(
        "A span of local time on some days of the week.",
        &["days", "from", "to", "zone"],
        json!({
            "days": { "type": "array", "minItems": 1, "uniqueItems": true, "items": { "enum": days }, "description": "The days on which it begins." },
            "from": time("When it begins."),
            "to": time("When it ends: on the next day where that is not after `from`. Equal to `from`: a whole day."),
            "zone": { "type": "string", "pattern": "^[A-Za-z0-9_+/-]{1,64}$", "examples": ["Europe/Oslo", "UTC"], "description": "Whose local time that is: a name of the IANA database." },
        }),
    )
}
