//! Reads one table key by key, notes each fault, and refuses the keys that nobody asked for.

use std::cell::RefCell;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::fault::{FaultCode, Sink};
use crate::name::NameFault;
use crate::units;

use super::value::{list, name, number, prose, table, text, word, wrong_type};
use super::words::{did_you_mean, listed};

/// A place in the file, as byte offsets.
pub(crate) type Span = Range<usize>;

/// A value with its place.
#[derive(Debug, Clone)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// A table that is being read.
pub(crate) struct Reader<'a> {
    table: &'a DeTable<'a>,
    /// Where to point for what is missing.
    pub(crate) span: Span,
    /// What the table is, for people: `` `[limits]` ``, `` step `stop-ims` ``.
    pub(crate) what: String,
    asked: RefCell<Vec<&'static str>>,
    pub(crate) sink: &'a Sink,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        table: &'a DeTable<'a>,
        span: Span,
        what: impl Into<String>,
        sink: &'a Sink,
    ) -> Self {
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

    /// Whether a key is there; does not make it known.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The place of a key's value, or of the table where the key is not there.
    pub(crate) fn place(&self, key: &str) -> Span {
        self.table
            .get(key)
            .map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// The value of a key that the table's owner chose; does not make it known.
    pub(crate) fn entry(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    /// The keys with their places, in no particular order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&'a str, Span)> {
        let table = self.table;
        table.keys().map(|key| (key.get_ref().as_ref(), key.span()))
    }

    /// As [`Self::get`], and a fault where the key is not there.
    pub(crate) fn need(&self, key: &'static str, hint: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        let value = self.get(key);
        if value.is_none() {
            let message = format!("{} needs the key `{key}`", self.what);
            self.sink.hinted(
                FaultCode::MissingKey,
                &self.span,
                message,
                format!("add `{hint}`"),
            );
        }
        value
    }

    /// Ends the reading: every key that was not asked for is a fault. `elsewhere` may tell where a
    /// key belongs.
    pub(crate) fn finish(self, elsewhere: impl Fn(&str) -> Option<String>) {
        let asked = self.asked.borrow();
        for (key, span) in self.keys() {
            if asked.contains(&key) {
                continue;
            }
            let message = format!("{} has no key `{}`", self.what, key.escape_debug());
            let hint = did_you_mean(key, asked.iter().copied())
                .or_else(|| elsewhere(key))
                .unwrap_or_else(|| format!("it has {}", listed(&asked)));
            self.sink
                .hinted(FaultCode::UnknownKey, &span, message, hint);
        }
    }

    /// A text.
    pub(crate) fn text(&self, key: &'static str) -> Option<Located<&'a str>> {
        text(self.get(key)?, key, self.sink)
    }

    /// A text that has to be there.
    pub(crate) fn need_text(&self, key: &'static str, hint: &str) -> Option<Located<&'a str>> {
        text(self.need(key, hint)?, key, self.sink)
    }

    /// One line of 1 to `most` characters for people, that has to be there.
    pub(crate) fn need_line(&self, key: &'static str, most: usize, hint: &str) -> Option<String> {
        prose(&self.need_text(key, hint)?, key, most, false, self.sink)
    }

    /// A whole number within a range.
    pub(crate) fn number(&self, key: &'static str, least: u64, most: u64) -> Option<u64> {
        number(self.get(key)?, key, least, most, self.sink)
    }

    /// A whole number within a range, that has to be there.
    pub(crate) fn need_number(
        &self,
        key: &'static str,
        least: u64,
        most: u64,
        hint: &str,
    ) -> Option<u64> {
        number(self.need(key, hint)?, key, least, most, self.sink)
    }

    /// A whole number within a range of 32 bits.
    pub(crate) fn number32(&self, key: &'static str, least: u32, most: u32) -> Option<u32> {
        self.number(key, least.into(), most.into())
            .and_then(|n| u32::try_from(n).ok())
    }

    /// A duration within a range.
    pub(crate) fn duration(
        &self,
        key: &'static str,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let text = self.text(key)?;
        self.checked_duration(key, &text, least, most)
    }

    /// A duration within a range, that has to be there.
    pub(crate) fn need_duration(
        &self,
        key: &'static str,
        least: Duration,
        most: Duration,
        hint: &str,
    ) -> Option<Duration> {
        let text = self.need_text(key, hint)?;
        self.checked_duration(key, &text, least, most)
    }

    fn checked_duration(
        &self,
        key: &str,
        text: &Located<&str>,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let value = match units::duration(text.value) {
            Ok(value) => value,
            Err(fault) => {
                self.sink.hinted(
                    FaultCode::BadDuration,
                    &text.span,
                    format!("`{key}`: {fault}"),
                    "for one and a half hours write `90m`",
                );
                return None;
            }
        };
        if value < least || value > most {
            let (least, most) = (units::write_duration(least), units::write_duration(most));
            let message = format!("`{key}` is `{}`, it may be {least} to {most}", text.value);
            self.sink.fault(FaultCode::OutOfRange, &text.span, message);
            return None;
        }
        Some(value)
    }

    /// A size in bytes.
    pub(crate) fn size(&self, key: &'static str) -> Option<u64> {
        let text = self.text(key)?;
        units::size(text.value)
            .map_err(|fault| {
                let message = format!("`{key}`: {fault}");
                self.sink.fault(FaultCode::BadSize, &text.span, message);
            })
            .ok()
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        let found = value.get_ref().as_bool();
        if found.is_none() {
            wrong_type(key, "true or false", value, self.sink);
        }
        found
    }

    /// A name of some kind, that has to be there.
    pub(crate) fn need_name<T>(&self, key: &'static str, hint: &str) -> Option<Located<T>>
    where
        T: FromStr<Err = NameFault>,
    {
        name(&self.need_text(key, hint)?, key, self.sink)
    }

    /// A name of some kind.
    pub(crate) fn name<T: FromStr<Err = NameFault>>(
        &self,
        key: &'static str,
    ) -> Option<Located<T>> {
        name(&self.text(key)?, key, self.sink)
    }

    /// One of a few words, that has to be there.
    pub(crate) fn need_word<T: Copy>(
        &self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let hint = format!("{key} = \"{}\"", words.first().map_or("", |(word, _)| word));
        word(&self.need_text(key, &hint)?, key, words, self.sink)
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(
        &self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        word(&self.text(key)?, key, words, self.sink)
    }

    /// A table below a key.
    pub(crate) fn table(&self, key: &'static str) -> Option<Reader<'a>> {
        table(self.get(key)?, key, format!("`{key}`"), self.sink)
    }

    /// The entries of a list that is there and has at least one.
    pub(crate) fn list(&self, key: &'static str) -> Option<&'a [Spanned<DeValue<'a>>]> {
        list(self.get(key)?, key, self.sink)
    }

    /// The entries of a list that has to be there and to have at least one.
    pub(crate) fn need_list(
        &self,
        key: &'static str,
        hint: &str,
    ) -> Option<&'a [Spanned<DeValue<'a>>]> {
        list(self.need(key, hint)?, key, self.sink)
    }

    /// A list of different lines for people, that has to be there.
    pub(crate) fn need_lines(&self, key: &'static str, hint: &str) -> Option<Vec<Located<String>>> {
        let mut lines: Vec<Located<String>> = Vec::new();
        let mut whole = true;
        for entry in self.need_list(key, hint)? {
            let line = text(entry, key, self.sink)
                .and_then(|found| prose(&found, key, 200, false, self.sink));
            let Some(value) = line else {
                whole = false;
                continue;
            };
            if lines.iter().any(|line| line.value == value) {
                let message = format!("`{value}` is in `{key}` twice");
                self.sink
                    .fault(FaultCode::DuplicateEntry, &entry.span(), message);
                whole = false;
            }
            lines.push(Located {
                value,
                span: entry.span(),
            });
        }
        whole.then_some(lines)
    }
}
