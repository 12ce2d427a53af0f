//! The document: a policy file as a table whose every key and value knows its place.
//!
//! (`#[serde(tag)]` loses places, so the spanned table itself is the mirror, and [`crate::parse`]
//! reads it key by key.) Limits come before the TOML parser, so that no file, however large or deep,
//! reaches anything recursive.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::fault::{FaultCode, Sink, hidden};

/// The most bytes that a policy file may have.
pub const MOST_BYTES: usize = 1 << 20;
/// The most levels of tables and arrays inside each other, dotted keys included.
pub const MOST_LEVELS: usize = 32;

/// A policy file that is TOML, or what could be recovered of it.
#[derive(Debug)]
pub struct PolicyDocument<'t> {
    pub(crate) root: DeTable<'t>,
    /// The spans of syntax faults; empty where the file is TOML.
    pub(crate) broken: Vec<Range<usize>>,
}

/// The text of a file, once it is small enough and UTF-8.
pub(crate) fn text<'t>(bytes: &'t [u8], sink: &Sink) -> Option<&'t str> {
    if bytes.len() > MOST_BYTES {
        sink.hinted(
            FaultCode::TooLarge,
            &(0..0),
            format!(
                "the file has {} bytes, at most {MOST_BYTES} (1 MiB) are allowed",
                bytes.len()
            ),
            "a policy is a page of text: is this the right file?",
        );
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let good = error.valid_up_to();
            let byte = bytes.get(good).copied().unwrap_or_default();
            sink.hinted(
                FaultCode::NotUtf8,
                &(good..good),
                format!("byte {good} is 0x{byte:02X}, which is not UTF-8"),
                "save the file as UTF-8 (a file saved as Unicode by Notepad is UTF-16)",
            );
            None
        }
    }
}

/// Reads a text as TOML; several syntax faults in one pass. `None` where nothing can be read.
pub(crate) fn read<'t>(text: &'t str, sink: &Sink) -> Option<PolicyDocument<'t>> {
    if let Some(at) = too_deep(text) {
        sink.hinted(
            FaultCode::TooDeep,
            &(at..at + 1),
            format!("tables and arrays are nested more than {MOST_LEVELS} levels deep here"),
            "no policy needs that: is a closing bracket missing?",
        );
        return None;
    }
    hidden_in_text(text, sink);
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut broken = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        let message = error.message().trim();
        if message.contains("duplicate key") {
            let key = text.get(span.clone()).unwrap_or_default().trim();
            let message = format!("the key `{}` is given a second time", key.escape_debug());
            sink.hinted(FaultCode::DuplicateKey, &span, message, "give it once");
        } else {
            sink.fault(
                FaultCode::Syntax,
                &span,
                format!("this is not TOML: {message}"),
            );
        }
        broken.push(span);
    }
    let root = root.into_inner();
    hidden_in_table(&root, text, sink);
    Some(PolicyDocument { root, broken })
}

/// The place where nesting passes the limit. A scan, not a parse: it knows strings, comments and
/// brackets, and its own memory is bounded by the limit.
fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    // How many dots the key at hand has, for the document and for each open bracket.
    let mut dots: Vec<usize> = vec![0];
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'#' => at = end_of_line(bytes, at),
            quote @ (b'"' | b'\'') => {
                at = end_of_string(bytes, at, quote);
                continue;
            }
            b'{' | b'[' => dots.push(0),
            b'}' | b']' if dots.len() > 1 => {
                dots.pop();
            }
            b'.' => {
                if let Some(last) = dots.last_mut() {
                    *last += 1;
                }
            }
            b',' | b'\n' => {
                if let Some(last) = dots.last_mut() {
                    *last = 0;
                }
            }
            _ => {}
        }
        if dots.len() - 1 + dots.iter().sum::<usize>() > MOST_LEVELS {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn end_of_line(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |found| at + found)
}

/// The offset after the string that begins at `at`; an unfinished one ends with its line.
fn end_of_string(bytes: &[u8], at: usize, quote: u8) -> usize {
    let triple = bytes[at..].starts_with(&[quote; 3]);
    let mut at = if triple { at + 3 } else { at + 1 };
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == b'"' => at += 2,
            b'\n' if !triple => return at,
            byte if byte == quote && !triple => return at + 1,
            byte if byte == quote && bytes[at..].starts_with(&[quote; 3]) => return at + 3,
            _ => at += 1,
        }
    }
    bytes.len()
}

const HIDDEN_HINT: &str =
    "remove it: what a person reads must be what the agents carry out (write such text in ASCII)";

/// Looks through the raw text, comments included. TOML itself refuses raw control characters.
fn hidden_in_text(text: &str, sink: &Sink) {
    for (at, c) in text.char_indices() {
        // One byte-order mark at the very beginning is how Windows editors mark UTF-8.
        if hidden(c) && !c.is_ascii_control() && !(at == 0 && c == '\u{feff}') {
            let message = format!("the character U+{:04X} is hidden here", u32::from(c));
            sink.hinted(
                FaultCode::HiddenCharacter,
                &(at..at + c.len_utf8()),
                message,
                HIDDEN_HINT,
            );
        }
    }
}

/// Looks through the decoded strings for what came in by an escape such as `\u202e`.
fn hidden_in_table(table: &DeTable<'_>, text: &str, sink: &Sink) {
    for (key, value) in table {
        hidden_in_string(key.get_ref(), &key.span(), text, sink);
        hidden_in_value(value, text, sink);
    }
}

fn hidden_in_value(value: &Spanned<DeValue<'_>>, text: &str, sink: &Sink) {
    match value.get_ref() {
        DeValue::String(string) => hidden_in_string(string, &value.span(), text, sink),
        DeValue::Array(array) => array
            .iter()
            .for_each(|entry| hidden_in_value(entry, text, sink)),
        DeValue::Table(table) => hidden_in_table(table, text, sink),
        _ => {}
    }
}

fn hidden_in_string(string: &str, span: &Range<usize>, text: &str, sink: &Sink) {
    let raw = text.get(span.clone()).unwrap_or_default();
    let escaped = |c: &char| hidden(*c) && !raw.contains(*c);
    if let Some(c) = string.chars().find(escaped) {
        let message = format!(
            "the character U+{:04X} is hidden in this text",
            u32::from(c)
        );
        sink.hinted(FaultCode::HiddenCharacter, span, message, HIDDEN_HINT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_counted_outside_strings_and_comments_only() {
        let deep = "[".repeat(MOST_LEVELS);
        assert_eq!(too_deep(&format!("a = {deep}")), None);
        assert_eq!(too_deep(&format!("a = {deep}[")), Some(4 + MOST_LEVELS));
        for quiet in [
            format!("a = \"{deep}[[\""),
            format!("a = '{deep}[['"),
            format!("a = \"\"\"\n{deep}[[\\\"\"\"\""),
            format!("a = '''\n{deep}['''"),
            format!("# {deep}[["),
            "a = [[1], [2]]\n".repeat(100),
        ] {
            assert_eq!(too_deep(&quiet), None, "{quiet}");
        }
        assert!(too_deep(&format!("a = \"unfinished\nb = {deep}[")).is_some());
        assert!(too_deep(&format!("a{} = 1", ".b".repeat(MOST_LEVELS + 1))).is_some());
        assert!(too_deep(&"{a.a.a.a=".repeat(10)).is_some());
    }

    #[test]
    fn a_byte_order_mark_is_taken_at_the_beginning_and_nowhere_else() {
        let sink = Sink::default();
        hidden_in_text("\u{feff}a = 1", &sink);
        assert_eq!(sink.count(), 0);
        hidden_in_text("a\u{feff} = 1", &sink);
        assert_eq!(sink.count(), 1);
    }
}
