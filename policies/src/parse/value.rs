//! One value at a time: its type, its range, its words.

use std::str::FromStr;

use toml::Spanned;
use toml::de::DeValue;

use crate::fault::{FaultCode, Sink};
use crate::name::NameFault;

use super::reader::{Located, Reader};
use super::words::{did_you_mean, listed};

const TEXT: &str = "a text in quotes";
const NUMBER: &str = "a whole number";
const LIST: &str = "a list in brackets";

/// The most entries of a list, the list of steps among them: what is judged against each other stays
/// few, whatever the file.
pub(crate) const MOST_ENTRIES: usize = 200;

pub(crate) fn text<'a>(
    value: &'a Spanned<DeValue<'a>>,
    key: &str,
    sink: &Sink,
) -> Option<Located<&'a str>> {
    let found = value.get_ref().as_str();
    if found.is_none() {
        wrong_type(key, TEXT, value, sink);
    }
    found.map(|text| Located {
        value: text,
        span: value.span(),
    })
}

/// A text for people: not empty, bounded, and on one line where `lines` is false.
pub(crate) fn prose(
    found: &Located<&str>,
    key: &str,
    most: usize,
    lines: bool,
    sink: &Sink,
) -> Option<String> {
    let text = found.value;
    let length = text.chars().count();
    let message = if text.trim().is_empty() {
        format!("`{key}` is empty")
    } else if length > most {
        format!("`{key}` has {length} characters, at most {most} are allowed")
    } else if !lines && text.contains(['\n', '\r']) {
        format!("`{key}` has a line break, it is one line")
    } else {
        return Some(text.to_owned());
    };
    sink.fault(FaultCode::BadText, &found.span, message);
    None
}

pub(crate) fn name<T: FromStr<Err = NameFault>>(
    text: &Located<&str>,
    key: &str,
    sink: &Sink,
) -> Option<Located<T>> {
    match text.value.parse() {
        Ok(value) => Some(Located {
            value,
            span: text.span.clone(),
        }),
        Err(fault) => {
            sink.fault(FaultCode::BadName, &text.span, format!("`{key}`: {fault}"));
            None
        }
    }
}

pub(crate) fn word<T: Copy>(
    text: &Located<&str>,
    key: &str,
    words: &[(&'static str, T)],
    sink: &Sink,
) -> Option<T> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
        return Some(*value);
    }
    let message = format!("`{key}` cannot be `{}`", text.value.escape_debug());
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let hint = did_you_mean(text.value, all.iter().copied())
        .unwrap_or_else(|| format!("it is one of {}", listed(&all)));
    sink.hinted(FaultCode::UnknownValue, &text.span, message, hint);
    None
}

pub(crate) fn table<'a>(
    value: &'a Spanned<DeValue<'a>>,
    key: &str,
    what: impl Into<String>,
    sink: &'a Sink,
) -> Option<Reader<'a>> {
    let Some(table) = value.get_ref().as_table() else {
        wrong_type(key, "a table", value, sink);
        return None;
    };
    Some(Reader::new(table, value.span(), what, sink))
}

pub(crate) fn list<'a>(
    value: &'a Spanned<DeValue<'a>>,
    key: &str,
    sink: &Sink,
) -> Option<&'a [Spanned<DeValue<'a>>]> {
    let Some(array) = value.get_ref().as_array() else {
        wrong_type(key, LIST, value, sink);
        return None;
    };
    if array.is_empty() {
        let message = format!("`{key}` is empty, it needs at least one entry");
        sink.fault(FaultCode::EmptyList, &value.span(), message);
        return None;
    }
    if let Some(beyond) = array.get(MOST_ENTRIES) {
        let message = format!(
            "`{key}` has {} entries, at most {MOST_ENTRIES} are allowed",
            array.len()
        );
        sink.hinted(
            FaultCode::TooMany,
            &beyond.span(),
            message,
            "split the policy into several",
        );
        return None;
    }
    Some(array)
}

pub(crate) fn number(
    value: &Spanned<DeValue<'_>>,
    key: &str,
    least: u64,
    most: u64,
    sink: &Sink,
) -> Option<u64> {
    let Some(integer) = value.get_ref().as_integer() else {
        wrong_type(key, NUMBER, value, sink);
        return None;
    };
    let number = u64::from_str_radix(integer.as_str(), integer.radix())
        .ok()
        .filter(|number| (least..=most).contains(number));
    if number.is_none() {
        let message = format!("`{key}` is {integer}, it may be {least} to {most}");
        sink.fault(FaultCode::OutOfRange, &value.span(), message);
    }
    number
}

pub(crate) fn wrong_type(key: &str, needed: &str, value: &Spanned<DeValue<'_>>, sink: &Sink) {
    let found = match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    let message = format!("`{key}` is {found}, it has to be {needed}");
    let hint = match value.get_ref() {
        DeValue::Integer(number) if needed == TEXT => {
            format!("put it in quotes; a duration or size has a unit too, such as `\"{number}s\"`")
        }
        DeValue::String(text) if needed == NUMBER && text.bytes().all(|b| b.is_ascii_digit()) => {
            format!("write {text} without quotes")
        }
        DeValue::Table(_) if needed == LIST => "put brackets around it: `[{ .. }]`".to_owned(),
        _ => format!("write {needed}"),
    };
    sink.hinted(FaultCode::WrongType, &value.span(), message, hint);
}
