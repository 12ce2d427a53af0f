use std::cell::RefCell;
use std::collections::HashMap;

use regex::Regex;
use serde_json::Value;

use super::*;
use crate::library;
use crate::parse::actions::{COMMON, KINDS};
use crate::parse::check;
use crate::source::PolicySource;

/// Whether a value satisfies a schema: the part of draft 7 that the schema uses, and a panic at any
/// other keyword, so that nothing is believed unchecked.
fn accepts(root: &Value, schema: &Value, value: &Value) -> bool {
    let Some(keywords) = schema.as_object() else {
        return schema == &Value::Bool(true);
    };
    let length = || value.as_str().map(|text| text.chars().count() as u64);
    let all = |list: &Value| -> Vec<bool> {
        list.as_array()
            .unwrap()
            .iter()
            .map(|one| accepts(root, one, value))
            .collect()
    };
    keywords
        .iter()
        .all(|(keyword, rule)| match keyword.as_str() {
            "$schema" | "title" | "description" | "examples" | "default" | "definitions" => true,
            "$ref" => accepts(
                root,
                root.pointer(rule.as_str().unwrap().trim_start_matches('#'))
                    .unwrap(),
                value,
            ),
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_u64() || value.is_i64(),
                "boolean" => value.is_boolean(),
                other => panic!("type {other}"),
            },
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "pattern" => value
                .as_str()
                .is_none_or(|text| matches(rule.as_str().unwrap(), text)),
            "minLength" => length().is_none_or(|length| length >= rule.as_u64().unwrap()),
            "maxLength" => length().is_none_or(|length| length <= rule.as_u64().unwrap()),
            "minimum" => value
                .as_i64()
                .is_none_or(|number| number >= rule.as_i64().unwrap()),
            "maximum" => value
                .as_i64()
                .is_none_or(|number| number <= rule.as_i64().unwrap()),
            "minItems" => value
                .as_array()
                .is_none_or(|list| list.len() as u64 >= rule.as_u64().unwrap()),
            "maxItems" => value
                .as_array()
                .is_none_or(|list| list.len() as u64 <= rule.as_u64().unwrap()),
            "uniqueItems" => value.as_array().is_none_or(|list| {
                list.iter()
                    .enumerate()
                    .all(|(at, one)| !list[..at].contains(one))
            }),
            "minProperties" => value
                .as_object()
                .is_none_or(|map| map.len() as u64 >= rule.as_u64().unwrap()),
            "required" => value.as_object().is_none_or(|map| {
                rule.as_array()
                    .unwrap()
                    .iter()
                    .all(|key| map.contains_key(key.as_str().unwrap()))
            }),
            "properties" => value.as_object().is_none_or(|map| {
                rule.as_object().unwrap().iter().all(|(key, schema)| {
                    map.get(key)
                        .is_none_or(|value| accepts(root, schema, value))
                })
            }),
            "additionalProperties" => value.as_object().is_none_or(|map| {
                let known = keywords.get("properties").and_then(Value::as_object);
                map.iter()
                    .filter(|(key, _)| known.is_none_or(|known| !known.contains_key(*key)))
                    .all(|(_, value)| accepts(root, rule, value))
            }),
            "propertyNames" => value.as_object().is_none_or(|map| {
                map.keys()
                    .all(|key| accepts(root, rule, &Value::from(key.as_str())))
            }),
            "dependencies" => value.as_object().is_none_or(|map| {
                rule.as_object()
                    .unwrap()
                    .iter()
                    .all(|(key, schema)| !map.contains_key(key) || accepts(root, schema, value))
            }),
            "items" => value
                .as_array()
                .is_none_or(|list| list.iter().all(|one| accepts(root, rule, one))),
            "allOf" => all(rule).into_iter().all(|yes| yes),
            "anyOf" => all(rule).into_iter().any(|yes| yes),
            "oneOf" => all(rule).into_iter().filter(|yes| *yes).count() == 1,
            other => panic!("the schema uses `{other}`, which this test does not check"),
        })
}

/// Whether a text matches a pattern; each pattern is compiled once.
fn matches(pattern: &str, text: &str) -> bool {
    thread_local! {
        static KNOWN: RefCell<HashMap<String, Regex>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        let compiled = known
            .entry(pattern.to_owned())
            .or_insert_with(|| Regex::new(pattern).unwrap());
        compiled.is_match(text)
    })
}

fn json_of(text: &str) -> Value {
    serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap()
}

fn shipped() -> impl Iterator<Item = (&'static str, Value)> {
    library::SHIPPED
        .iter()
        .map(|(name, text)| (*name, json_of(text)))
}

#[test]
fn the_committed_schema_is_the_one_of_this_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/policy.schema.json");
    if std::env::var_os("MAILMEND_BLESS").is_some() {
        std::fs::write(path, text()).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == text(),
        "run the tests once with MAILMEND_BLESS=1, and look at the difference"
    );
}

#[test]
fn the_schema_accepts_every_shipped_policy_and_each_names_it() {
    let schema = schema();
    for (name, policy) in shipped() {
        for step in policy["step"].as_array().unwrap() {
            assert!(
                accepts(&schema, &schema["definitions"]["step"], step),
                "{name}: {step:#}"
            );
        }
        assert!(accepts(&schema, &schema, &policy), "{name}");
        let text = library::find(name).unwrap();
        assert!(
            text.bytes()
                .starts_with(b"#:schema ../schema/policy.schema.json\n"),
            "{name}"
        );
    }
}

/// A TOML document from JSON.
fn toml_of(value: &Value) -> Vec<u8> {
    toml::to_string(value).unwrap().into_bytes()
}

#[test]
fn a_key_that_the_schema_needs_is_one_that_the_parser_needs_and_the_other_way_round() {
    let schema = schema();
    for (name, policy) in shipped() {
        for (at, step) in policy["step"].as_array().unwrap().iter().enumerate() {
            for key in step.as_object().unwrap().keys() {
                let mut without = policy.clone();
                without["step"][at].as_object_mut().unwrap().remove(key);
                let by_schema = accepts(&schema, &schema, &without);
                let checked = check(&PolicySource::new(name, toml_of(&without)));
                let missing = checked.faults.list().iter().any(|fault| {
                    fault.code == crate::fault::FaultCode::MissingKey
                        && fault.message.contains(&format!("`{key}`"))
                });
                assert_eq!(
                    by_schema, !missing,
                    "{name}: step {at} without {key}: {}",
                    checked.faults
                );
            }
        }
    }
}

#[test]
fn an_unknown_key_anywhere_is_refused_by_both() {
    let schema = schema();
    for (name, policy) in shipped() {
        let mut places = vec![String::new()];
        places.extend(["/source", "/applies_to", "/limits", "/detect"].map(str::to_owned));
        places
            .extend((0..policy["step"].as_array().unwrap().len()).map(|at| format!("/step/{at}")));
        for place in places {
            let mut with = policy.clone();
            with.pointer_mut(&place).unwrap()["shell"] = Value::from("del *.*");
            assert!(!accepts(&schema, &schema, &with), "{name}{place}");
            let checked = check(&PolicySource::new(name, toml_of(&with)));
            assert!(checked.policy.is_none(), "{name}{place}");
        }
    }
}

#[test]
fn every_key_of_every_action_has_a_schema_of_its_own() {
    let schema = schema();
    let alternatives = schema["definitions"]["step"]["oneOf"].as_array().unwrap();
    assert_eq!(alternatives.len(), KINDS.len());
    for (kind, alternative) in KINDS.iter().zip(alternatives) {
        let properties = alternative["properties"].as_object().unwrap();
        assert_eq!(
            properties.len(),
            COMMON.len() + kind.keys().count(),
            "{}",
            kind.name
        );
        for (key, schema) in properties {
            assert!(schema["description"].is_string(), "{}: {key}", kind.name);
        }
    }
}

/// What a strategy is to both: the schema, and the parser.
fn both(strategy: &str) -> (bool, bool) {
    let schema = schema();
    let mut with = shipped()
        .find(|(name, _)| *name == "stuck-outbound-routing")
        .unwrap()
        .1;
    let toml: toml::Table = strategy.parse().unwrap();
    with["strategy"] = serde_json::to_value(toml).unwrap();
    let checked = check(&PolicySource::new("x", toml_of(&with)));
    (accepts(&schema, &schema, &with), checked.policy.is_some())
}

#[test]
fn the_schema_and_the_parser_accept_and_refuse_the_same_strategies() {
    let window = |key: &str, with: &str| {
        let unless = [
            ("days", "[\"sat\", \"sun\"]"),
            ("from", "\"22:00\""),
            ("to", "\"04:00\""),
            ("zone", "\"Europe/Oslo\""),
        ];
        let parts = unless.map(|(name, value)| {
            let value = if name == key { with } else { value };
            format!("{name} = {value}")
        });
        format!("{{ {} }}", parts.join(", "))
    };
    let one = |key: &str, with: &str| format!("windows = [{}]", window(key, with));
    let whole = window("", "");
    for good in [
        "".to_owned(),
        r#"waves = ["1 site", "12 sites", "100000 sites", "1%", "99%", "100%"]"#.to_owned(),
        "soak = \"30d\"\ngate = \"health\"\napprove = \"before-first\"".to_owned(),
        "sites_at_once = 1000\nmax_failed = \"0%\"".to_owned(),
        "max_failed = 100000\nmax_unavailable = { site = 1 }".to_owned(),
        "max_unavailable = { site = \"1%\", fleet = 100000 }".to_owned(),
        "windows = \"always\"".to_owned(),
        one("", ""),
        one("zone", "\"Etc/GMT+5\""),
        one("to", "\"22:00\""),
    ] {
        assert_eq!(both(&good), (true, true), "{good}");
    }
    for bad in [
        "waves = []".to_owned(),
        r#"waves = ["0%", "100%"]"#.to_owned(),
        r#"waves = ["1 sites", "100%"]"#.to_owned(),
        r#"waves = ["100001 sites", "100%"]"#.to_owned(),
        r#"waves = ["100%", "100%"]"#.to_owned(),
        r#"waves = [1, "100%"]"#.to_owned(),
        format!(
            "waves = [{}\"100%\"]",
            (2..22)
                .map(|count| format!("\"{count} sites\", "))
                .collect::<String>()
        ),
        "soak = \"10\"".to_owned(),
        "gate = \"good\"".to_owned(),
        "approve = \"always\"".to_owned(),
        "sites_at_once = 0".to_owned(),
        "sites_at_once = 1001".to_owned(),
        "max_failed = \"1\"".to_owned(),
        "max_failed = 100001".to_owned(),
        "max_failed = \"101%\"".to_owned(),
        "max_unavailable = {}".to_owned(),
        "max_unavailable = 1".to_owned(),
        "max_unavailable = { site = 0 }".to_owned(),
        "max_unavailable = { fleet = \"0%\" }".to_owned(),
        "max_unavailable = { server = 1 }".to_owned(),
        "windows = []".to_owned(),
        "windows = \"never\"".to_owned(),
        format!("windows = [{whole}, {whole}]"),
        format!("windows = [{}, day = 1 }}]", &whole[..whole.len() - 2]),
        one("days", "[]"),
        one("days", "[\"sat\", \"sat\"]"),
        one("days", "[\"saturday\"]"),
        one("from", "\"24:00\""),
        one("from", "\"9:00\""),
        one("zone", "\"America/New York\""),
        "wave = [\"100%\"]".to_owned(),
    ] {
        assert_eq!(both(&bad), (false, false), "{bad}");
    }
    // What only the parser can tell: numbers held against each other, and the names of zones.
    for bad in [
        r#"waves = ["50%", "10%", "100%"]"#.to_owned(),
        r#"waves = ["50%"]"#.to_owned(),
        "soak = \"31d\"".to_owned(),
        one("zone", "\"Europe/Olso\""),
        one("to", "\"22:05\""),
    ] {
        assert_eq!(both(&bad), (true, false), "{bad}");
    }
}
