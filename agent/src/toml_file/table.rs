//! Reads one table key by key, notes each fault, and refuses the keys that nobody asked for.

use std::cell::RefCell;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Sink, Span};

/// The most bytes that such a file may have.
const MOST_BYTES: usize = 256 * 1024;
/// The deepest nesting of brackets; the reader of TOML recurses.
const MOST_DEPTH: usize = 64;

/// A value with its place.
#[derive(Debug, Clone)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// A table that is being read.
pub(crate) struct Table<'a> {
    table: &'a DeTable<'a>,
    pub(crate) span: Span,
    /// What it is, for people: `` `[limits]` ``.
    what: String,
    asked: RefCell<Vec<&'static str>>,
    pub(crate) sink: &'a Sink,
}

/// Reads the text of a file; what is not TOML is noted, and the rest is still there to be read.
pub(crate) fn parse<'t>(text: &'t str, sink: &Sink) -> Spanned<DeTable<'t>> {
    let depth = text.bytes().scan(0_usize, |depth, byte| {
        match byte {
            b'[' | b'{' => *depth += 1,
            b']' | b'}' => *depth = depth.saturating_sub(1),
            _ => {}
        }
        Some(*depth)
    });
    let too_long = text.len() > MOST_BYTES;
    if too_long || depth.max().unwrap_or(0) > MOST_DEPTH {
        let what = if too_long {
            format!(
                "the file has {} bytes, at most {MOST_BYTES} are read",
                text.len()
            )
        } else {
            format!("brackets are nested more than {MOST_DEPTH} deep")
        };
        sink.fault(&(0..0), what, "is this the right file?");
        return Spanned::new(0..0, DeTable::new());
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let message = error.message().replace('\n', ", ");
        sink.fault(&span, message, "this is not TOML: see https://toml.io");
    }
    table
}

impl<'a> Table<'a> {
    pub(crate) fn new(
        table: &'a Spanned<DeTable<'a>>,
        what: impl Into<String>,
        sink: &'a Sink,
    ) -> Self {
        Self::over(table.get_ref(), table.span(), what, sink)
    }

    fn over(table: &'a DeTable<'a>, span: Span, what: impl Into<String>, sink: &'a Sink) -> Self {
        Self {
            table,
            span,
            what: what.into(),
            asked: RefCell::default(),
            sink,
        }
    }

    /// The value of a key, which counts as known from now on.
    pub(crate) fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    /// Notes that a key has to be there.
    pub(crate) fn need(&self, key: &'static str, example: &str) {
        if !self.table.contains_key(key) {
            let message = format!("{} needs the key `{key}`", self.what);
            // A table's place is its header; the whole file's is its beginning.
            let place = self.span.start..self.span.start;
            self.sink.fault(&place, message, format!("add `{example}`"));
        }
    }

    /// Ends the reading: every key that nobody asked for is a fault.
    pub(crate) fn finish(self) {
        let asked = self.asked.borrow();
        for key in self.table.keys() {
            if !asked.contains(&key.get_ref().as_ref()) {
                let message = format!(
                    "{} has no key `{}`",
                    self.what,
                    key.get_ref().escape_debug()
                );
                let hint = format!("it has {}", listed(&asked));
                self.sink.fault(&key.span(), message, hint);
            }
        }
    }

    /// A text.
    pub(crate) fn text(&self, key: &'static str) -> Option<Located<&'a str>> {
        text(key, self.get(key)?, self.sink)
    }

    /// True or false.
    pub(crate) fn truth(&self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        let found = value.get_ref().as_bool();
        if found.is_none() {
            wrong_type(key, "true or false, without quotes", value, self.sink);
        }
        found
    }

    /// Something that is read from a text.
    pub(crate) fn parsed<T>(&self, key: &'static str, hint: &str) -> Option<Located<T>>
    where
        T: FromStr<Err: Display>,
    {
        parsed(key, &self.text(key)?, hint, self.sink)
    }

    /// An absolute path without `..`.
    pub(crate) fn path(&self, key: &'static str) -> Option<Located<PathBuf>> {
        absolute(key, &self.text(key)?, self.sink)
    }

    /// A whole number within a range.
    pub(crate) fn number(&self, key: &'static str, least: u64, most: u64) -> Option<Located<u64>> {
        let value = self.get(key)?;
        let Some(integer) = value.get_ref().as_integer() else {
            wrong_type(key, "a whole number", value, self.sink);
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| (least..=most).contains(number));
        let Some(number) = number else {
            let message = format!("`{key}` is {integer}");
            let hint = format!("it may be {least} to {most}");
            self.sink.fault(&value.span(), message, hint);
            return None;
        };
        Some(Located {
            value: number,
            span: value.span(),
        })
    }

    /// A number, with or without a fraction.
    pub(crate) fn real(&self, key: &'static str) -> Option<Located<f64>> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) => integer.as_str().parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            wrong_type(key, "a number", value, self.sink);
            return None;
        };
        Some(Located {
            value: number,
            span: value.span(),
        })
    }

    /// The texts of a list.
    pub(crate) fn texts(&self, key: &'static str) -> Option<Located<Vec<Located<&'a str>>>> {
        let value = self.get(key)?;
        let Some(array) = value.get_ref().as_array() else {
            wrong_type(key, "a list of texts in brackets", value, self.sink);
            return None;
        };
        let texts = array
            .iter()
            .filter_map(|entry| text(key, entry, self.sink))
            .collect();
        Some(Located {
            value: texts,
            span: value.span(),
        })
    }

    /// A table below a key.
    pub(crate) fn table(&self, key: &'static str) -> Option<Table<'a>> {
        let value = self.get(key)?;
        self.below(key, format!("`[{key}]`"), value)
    }

    /// The tables below this one, whose keys the administrator chose.
    pub(crate) fn named_tables(&self, prefix: &str) -> Vec<(Located<&'a str>, Table<'a>)> {
        let named = self.table.iter().filter_map(|(key, value)| {
            let name: &'a str = key.get_ref().as_ref();
            let below = self.below(name, format!("`[{prefix}.{name}]`"), value)?;
            let name = Located {
                value: name,
                span: key.span(),
            };
            Some((name, below))
        });
        named.collect()
    }

    /// The texts below this table, whose keys the administrator chose.
    pub(crate) fn named_texts(&self) -> Vec<(Located<&'a str>, Located<&'a str>)> {
        let named = self.table.iter().filter_map(|(key, value)| {
            let name: &'a str = key.get_ref().as_ref();
            let found = text(name, value, self.sink)?;
            let name = Located {
                value: name,
                span: key.span(),
            };
            Some((name, found))
        });
        named.collect()
    }

    fn below(&self, key: &str, what: String, value: &'a Spanned<DeValue<'a>>) -> Option<Table<'a>> {
        let Some(table) = value.get_ref().as_table() else {
            wrong_type(key, "a table", value, self.sink);
            return None;
        };
        Some(Table::over(table, value.span(), what, self.sink))
    }
}

fn text<'a>(key: &str, value: &'a Spanned<DeValue<'a>>, sink: &Sink) -> Option<Located<&'a str>> {
    let Some(found) = value.get_ref().as_str() else {
        wrong_type(key, "a text in quotes", value, sink);
        return None;
    };
    Some(Located {
        value: found,
        span: value.span(),
    })
}

/// Something that is read from a text.
pub(crate) fn parsed<T>(
    key: &str,
    text: &Located<&str>,
    hint: &str,
    sink: &Sink,
) -> Option<Located<T>>
where
    T: FromStr<Err: Display>,
{
    match text.value.parse() {
        Ok(value) => Some(Located {
            value,
            span: text.span.clone(),
        }),
        Err(why) => {
            sink.fault(&text.span, format!("`{key}`: {why}"), hint);
            None
        }
    }
}

/// An absolute path without `.` and `..`, so that it says by itself where it leads.
pub(crate) fn absolute(key: &str, text: &Located<&str>, sink: &Sink) -> Option<Located<PathBuf>> {
    let path = Path::new(text.value);
    let shown = text.value.escape_debug();
    let dotted = text
        .value
        .split(std::path::is_separator)
        .any(|part| matches!(part, "." | ".."));
    let (message, hint) = if !path.is_absolute() {
        (
            format!("`{key}` is `{shown}`, which is not an absolute path"),
            "write the whole path, from the root of the volume on",
        )
    } else if dotted {
        (
            format!("`{key}` is `{shown}`, which has `.` or `..` in it"),
            "write the path that it leads to",
        )
    } else if text.value.contains('\0') {
        (
            format!("`{key}` is `{shown}`, which no path can be"),
            "remove the character",
        )
    } else {
        return Some(Located {
            value: path.components().collect(),
            span: text.span.clone(),
        });
    };
    sink.fault(&text.span, message, hint);
    None
}

fn wrong_type(key: &str, needed: &str, value: &Spanned<DeValue<'_>>, sink: &Sink) {
    let found = match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    let message = format!("`{}` is {found}", key.escape_debug());
    sink.fault(&value.span(), message, format!("it has to be {needed}"));
}

/// `` `a`, `b` and `c` ``.
pub(crate) fn listed(words: &[&str]) -> String {
    match words {
        [] => "none".to_owned(),
        [only] => format!("`{only}`"),
        [most @ .., last] => format!("`{}` and `{last}`", most.join("`, `")),
    }
}
