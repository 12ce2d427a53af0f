//! Label selectors, as in Kubernetes: `site=oslo,role in (a,b),!retired`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One requirement on a label or fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// `key=value` or `key in (a,b)`: the label is there with one of the values (never empty).
    In(String, Vec<String>),
    /// `key!=value` or `key notin (a,b)`: the label is absent or has none of the values.
    NotIn(String, Vec<String>),
    /// `key`: the label is there.
    Exists(String),
    /// `!key`: the label is absent.
    Missing(String),
}

/// Requirements that must all hold. Never empty: an empty selection once meant "everything".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selector(pub Vec<Requirement>);

impl Selector {
    /// Whether labels (facts included) satisfy every requirement.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.0.is_empty()
            && self.0.iter().all(|requirement| match requirement {
                Requirement::In(key, values) => {
                    labels.get(key).is_some_and(|value| values.contains(value))
                }
                Requirement::NotIn(key, values) => {
                    labels.get(key).is_none_or(|value| !values.contains(value))
                }
                Requirement::Exists(key) => labels.contains_key(key),
                Requirement::Missing(key) => !labels.contains_key(key),
            })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match requirement {
                Requirement::In(key, values) if values.len() == 1 => {
                    write!(f, "{key}={}", values[0])?;
                }
                Requirement::In(key, values) => write!(f, "{key} in ({})", values.join(","))?,
                Requirement::NotIn(key, values) if values.len() == 1 => {
                    write!(f, "{key}!={}", values[0])?;
                }
                Requirement::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(","))?,
                Requirement::Exists(key) => f.write_str(key)?,
                Requirement::Missing(key) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

/// Why a text is not a selector, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorFault {
    /// Nothing is required: that would select every server.
    #[error("the selector is empty: it would select every server")]
    Empty,
    /// A part that is no requirement.
    #[error("`{part}` is not a requirement: {expected}")]
    Part {
        /// The part of the text, trimmed.
        part: String,
        /// The byte offset of the part in the text.
        at: usize,
        /// What is wrong with it.
        expected: String,
    },
}

impl FromStr for Selector {
    type Err = SelectorFault;

    fn from_str(text: &str) -> Result<Self, SelectorFault> {
        if text.trim().is_empty() {
            return Err(SelectorFault::Empty);
        }
        parts(text)
            .map(|(at, part)| {
                requirement(part).map_err(|expected| SelectorFault::Part {
                    part: part.to_owned(),
                    at,
                    expected,
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// The text between the commas that stand outside parentheses, trimmed, with its byte offset.
fn parts(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut open = false;
    let mut begin = 0;
    let mut ends = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '(' => open = true,
            ')' => open = false,
            ',' if !open => {
                ends.push((begin, at));
                begin = at + 1;
            }
            _ => {}
        }
    }
    ends.push((begin, text.len()));
    ends.into_iter().map(move |(begin, end)| {
        let raw = &text[begin..end];
        (begin + (raw.len() - raw.trim_start().len()), raw.trim())
    })
}

fn requirement(part: &str) -> Result<Requirement, String> {
    if part.is_empty() {
        return Err(
            "write nothing between commas, or a requirement such as `key=value`".to_owned(),
        );
    }
    if let Some((left, list)) = part.split_once('(') {
        let list = list
            .strip_suffix(')')
            .ok_or("the `)` at its end is missing")?;
        let values = list
            .split(',')
            .map(|value| word(value.trim(), "value"))
            .collect::<Result<_, _>>()?;
        let (name, operator) = left
            .trim()
            .rsplit_once(char::is_whitespace)
            .ok_or("write `key in (a,b)`")?;
        let name = word(name.trim(), "key")?;
        return match operator {
            "in" => Ok(Requirement::In(name, values)),
            "notin" => Ok(Requirement::NotIn(name, values)),
            other => Err(format!("`{other}` should be `in` or `notin`")),
        };
    }
    if let Some((name, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(
            word(name.trim(), "key")?,
            vec![word(value.trim(), "value")?],
        ));
    }
    if let Some((name, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(
            word(name.trim(), "key")?,
            vec![word(value.trim(), "value")?],
        ));
    }
    match part.strip_prefix('!') {
        Some(name) => word(name.trim(), "key").map(Requirement::Missing),
        None => word(part, "key").map(Requirement::Exists),
    }
}

/// A key or value: ASCII letters, digits, `-`, `_`, `.` and `/`, beginning with a letter or digit.
fn word(text: &str, what: &str) -> Result<String, String> {
    let good = |(at, c): (usize, char)| {
        c.is_ascii_alphanumeric() || (at > 0 && matches!(c, '-' | '_' | '.' | '/'))
    };
    if text.is_empty() {
        return Err(format!("its {what} is missing"));
    }
    if text.len() > 253 {
        return Err(format!("its {what} has more than 253 characters"));
    }
    if !text.char_indices().all(good) {
        let shown = text.escape_debug();
        return Err(format!(
            "the {what} `{shown}` may have letters A-Z and a-z, digits, `-`, `_`, `.` and `/`, beginning with a letter or digit"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn every_form_is_read_and_selects_what_it_says() {
        let selector: Selector = "a=b, c!=d,role in (x, y),  t notin (u,v),there,!gone,e==f"
            .parse()
            .unwrap();
        assert_eq!(
            selector.to_string(),
            "a=b,c!=d,role in (x,y),t notin (u,v),there,!gone,e=f"
        );
        let good = [("a", "b"), ("role", "y"), ("there", ""), ("e", "f")];
        assert!(selector.selects(&labels(&good)));
        for spoil in [
            ("a", "x"),
            ("c", "d"),
            ("role", "z"),
            ("t", "u"),
            ("gone", "1"),
            ("e", "g"),
        ] {
            let mut spoilt = labels(&good);
            spoilt.insert(spoil.0.to_owned(), spoil.1.to_owned());
            assert!(!selector.selects(&spoilt), "{spoil:?}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused_with_its_place() {
        for empty in ["", "  ", "\t"] {
            assert_eq!(empty.parse::<Selector>(), Err(SelectorFault::Empty));
        }
        for (text, place) in [
            ("a=b,,c", 4),
            ("a=b,", 4),
            ("a=b, c in (d", 5),
            ("a in ()", 0),
            ("a near (b)", 0),
            ("=b", 0),
            ("a=", 0),
            ("a=b=c", 0),
            ("a b", 0),
            ("ims.direction=\u{043e}utbound", 0),
            ("*", 0),
        ] {
            match text.parse::<Selector>() {
                Err(SelectorFault::Part { at, .. }) => assert_eq!(at, place, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_reads_back_what_it_writes(text in "[a-c=!,() in]{0,24}") {
            if let Ok(selector) = text.parse::<Selector>() {
                prop_assert!(!selector.0.is_empty());
                prop_assert_eq!(selector.to_string().parse::<Selector>(), Ok(selector));
            }
        }
    }
}
