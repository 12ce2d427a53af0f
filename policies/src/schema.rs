//! The JSON Schema (draft 7) of a policy, from which an editor completes and checks one.
//!
//! It is built from the parser's own lists of actions, keys and words. It says what a file may look
//! like; what parts say of each other (ids, roles, sections) only [`crate::parse`] can say.

mod condition;
mod step;
mod strategy;

use serde_json::{Map, Value, json};

use crate::name::PolicyName;
use crate::parse::{MAX_FILES, MOST_STEPS, PARAGRAPH, SCHEMA};

/// The schema as JSON.
#[must_use]
pub fn schema() -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "mailmend policy",
        "description": "What to do about one problem of a mail server, on which servers, within which limits.",
        "type": "object",
        "additionalProperties": false,
        "required": ["schema", "name", "version", "title", "source", "applies_to", "roles", "limits", "detect", "step"],
        "properties": {
            "schema": { "const": SCHEMA, "description": "The version of the language." },
            "name": named("kebab", &format!("The policy's name: {}.", PolicyName::ALLOWED)),
            "version": { "type": "integer", "minimum": 1, "maximum": u32::MAX, "description": "From 1; a published version never changes." },
            "title": line("One line for people."),
            "source": source(),
            "applies_to": object(
                "Which servers the policy is for.",
                &["product", "versions"],
                json!({
                    "product": { "const": "exchange" },
                    "versions": { "type": "string", "pattern": VERSIONS, "description": "Comparisons that must all hold, such as `>=5.0, <5.6`.", "examples": [">=4.0, <5.6", ">=5.5, <5.6"] },
                }),
            ),
            "roles": roles(),
            "limits": object(
                "What a run may cost.",
                &["max_outage", "max_restarts"],
                json!({
                    "max_outage": described("duration", "The longest that a section may keep a service down before the agent starts it; 10s to 1d."),
                    "max_restarts": { "type": "integer", "minimum": 0, "maximum": 1000, "description": "The most service starts of one run." },
                    "max_files": { "type": "integer", "minimum": 1, "maximum": 10_000_000, "default": MAX_FILES, "description": "The most files that one quarantine may take." },
                }),
            ),
            "strategy": strategy::schema(),
            "detect": object(
                "The symptom.",
                &["on", "all"],
                json!({
                    "on": named("kebab", "The role whose agents judge it."),
                    "all": conditions("All must hold."),
                }),
            ),
            "step": {
                "type": "array",
                "minItems": 1,
                "maxItems": MOST_STEPS,
                "description": "The steps, in order.",
                "items": { "$ref": "#/definitions/step" },
            },
        },
        "definitions": definitions(),
    })
}

/// The schema as the file that is committed: indented, with a line break at its end.
///
/// # Panics
/// Never: the schema is plain data.
#[must_use]
pub fn text() -> String {
    let text = serde_json::to_string_pretty(&schema()).expect("a JSON value is plain data");
    text + "\n"
}

const VERSIONS: &str =
    r"^\s*(<=|>=|<|>|=)\s*\d+(\.\d+){0,3}\s*(,\s*(<=|>=|<|>|=)\s*\d+(\.\d+){0,3}\s*)*$";

fn definitions() -> Value {
    let mut all = Map::new();
    let mut define = |name: &str, value: Value| all.insert(name.to_owned(), value);
    define(
        "kebab",
        json!({ "type": "string", "pattern": "^[a-z][a-z0-9-]{0,62}$" }),
    );
    define(
        "service",
        json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$" }),
    );
    define(
        "duration",
        json!({ "type": "string", "pattern": "^(0|[1-9][0-9]*)(ms|s|m|h|d)$", "examples": ["90s", "15m", "2h"] }),
    );
    define(
        "size",
        json!({ "type": "string", "pattern": "^(0|[1-9][0-9]*)(B|KiB|MiB|GiB)$", "examples": ["10MiB"] }),
    );
    define("percentage", strategy::percentage());
    define("window", strategy::window());
    define("path", path(true));
    define("path-or-root", path(false));
    define("condition", condition::schema());
    define("step", step::schema());
    define("forbid", step::forbid());
    Value::Object(all)
}

fn path(below: bool) -> Value {
    let rest = if below { "/.+" } else { "(/.+)?" };
    json!({
        "type": "string",
        "pattern": format!(r"^\$\{{(imcdata|mtadata|trackinglog|exchsrvr)\}}{rest}$"),
        "maxLength": 260,
        "examples": ["${imcdata}/Log/Route.txt", "${mtadata}/GWART0.MTA"],
    })
}

fn source() -> Value {
    let deviation = object(
        "Where the policy does not do what the article says.",
        &["step", "why"],
        json!({
            "step": { "type": "string", "minLength": 1, "maxLength": 60, "description": "The article's step." },
            "why": prose("Why the policy does otherwise."),
        }),
    );
    object(
        "Where the policy comes from.",
        &["article"],
        json!({
            "article": { "type": "string", "pattern": "^Q[0-9]{5,6}$", "description": "The article's number, such as `Q268494`." },
            "deviations": { "type": "array", "minItems": 1, "items": deviation },
        }),
    )
}

fn roles() -> Value {
    let mut role = object(
        "Which servers play this part.",
        &["select", "bind"],
        json!({
            "select": { "type": "string", "pattern": r"\S", "description": "Labels and facts: `a=b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, with commas between.", "examples": ["ims.direction=outbound"] },
            "bind": { "enum": ["each", "one", "all"], "description": "each: one run for each such server, never two at once (at most one role). one: exactly one server. all: all of them in the same run." },
            "at_least": { "type": "integer", "minimum": 1, "maximum": 10_000, "default": 1, "description": "With `all`: the least number of servers." },
        }),
    );
    role["dependencies"] = json!({ "at_least": { "properties": { "bind": { "const": "all" } } } });
    json!({
        "type": "object",
        "description": "The parts that servers of a site play. Each is used by a step or by `detect`.",
        "minProperties": 1,
        "propertyNames": { "pattern": "^[a-z][a-z0-9-]{0,62}$" },
        "additionalProperties": role,
    })
}

/// A table with exactly these keys.
fn object(about: &str, required: &[&str], properties: Value) -> Value {
    let mut schema = json!({
        "type": "object",
        "description": about,
        "additionalProperties": false,
        "properties": properties,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// A definition with a description of its own. (Beside `$ref` draft 7 ignores everything.)
fn described(definition: &str, about: &str) -> Value {
    json!({ "allOf": [{ "$ref": format!("#/definitions/{definition}") }], "description": about })
}

fn named(kind: &str, about: &str) -> Value {
    described(kind, about)
}

fn line(about: &str) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 200, "description": about })
}

fn prose(about: &str) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": PARAGRAPH, "description": about })
}

fn conditions(about: &str) -> Value {
    json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/definitions/condition" }, "description": about })
}

/// The words of a list that the parser reads with.
fn words<T>(all: &[(&'static str, T)], about: &str) -> Value {
    let words: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
    json!({ "enum": words, "description": about })
}

#[cfg(test)]
mod tests;
