//! Faults of a policy file: what is wrong, where, and what to do.

mod code;
mod render;

use std::ops::Range;

use serde::Serialize;

pub use code::FaultCode;

/// How grave a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy is accepted; somebody should look.
    Advice,
}

/// One fault of a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which fault; stable over releases.
    pub code: FaultCode,
    /// The place in the file, as byte offsets. Within the file, and on character boundaries.
    pub span: Range<usize>,
    /// The line of its beginning, from 1.
    pub line: usize,
    /// The column of its beginning, in characters from 1.
    pub column: usize,
    /// How many characters it covers, at least 1.
    pub length: usize,
    /// What is wrong, lower case, the value in backticks.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Fault {
    /// How grave it is: the code decides.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.code.severity()
    }
}

/// All faults of one file, by place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    file: String,
    text: String,
    list: Vec<Fault>,
}

impl Faults {
    /// The name of the file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The faults, by place.
    #[must_use]
    pub fn list(&self) -> &[Fault] {
        &self.list
    }

    /// Whether a fault among them refuses the policy.
    #[must_use]
    pub fn refuse(&self) -> bool {
        self.list
            .iter()
            .any(|fault| fault.severity() == Severity::Error)
    }

    /// Whether there is none, advice included.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, fault) in self.list.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            let Fault {
                code,
                line,
                column,
                message,
                ..
            } = fault;
            write!(f, "{}:{line}:{column}: {code}: {message}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// The most faults that one file is told; a file of noise has one for every byte.
const MOST_FAULTS: usize = 200;

/// The most faults that are kept to find the first [`MOST_FAULTS`] by place among them.
const MOST_KEPT: usize = 5000;

/// Collects faults while a file is read. Shared by all readers, so that one fault never hides
/// another.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    raw: std::cell::RefCell<Vec<Raw>>,
    /// Faults beyond [`MOST_KEPT`].
    dropped: std::cell::Cell<usize>,
}

#[derive(Debug, Clone)]
struct Raw {
    code: FaultCode,
    span: Range<usize>,
    message: String,
    hint: Option<String>,
}

impl Sink {
    /// Notes a fault.
    pub(crate) fn fault(&self, code: FaultCode, span: &Range<usize>, message: impl Into<String>) {
        self.push(code, span, &message.into(), None);
    }

    /// Notes a fault with a hint.
    pub(crate) fn hinted(
        &self,
        code: FaultCode,
        span: &Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(code, span, &message.into(), Some(&hint.into()));
    }

    fn push(&self, code: FaultCode, span: &Range<usize>, message: &str, hint: Option<&str>) {
        if self.raw.borrow().len() >= MOST_KEPT {
            self.dropped.set(self.dropped.get() + 1);
            return;
        }
        let (message, hint) = (visible(message), hint.map(visible));
        self.raw.borrow_mut().push(Raw {
            code,
            span: span.clone(),
            message,
            hint,
        });
    }

    /// How many faults have been noted so far.
    pub(crate) fn count(&self) -> usize {
        self.raw.borrow().len()
    }

    /// Drops, of the faults noted after the first `after`, those that `keep` refuses.
    pub(crate) fn retain_after(
        &self,
        after: usize,
        keep: impl Fn(FaultCode, &Range<usize>) -> bool,
    ) {
        let mut at = 0;
        self.raw.borrow_mut().retain(|raw| {
            at += 1;
            at <= after || keep(raw.code, &raw.span)
        });
    }

    /// The faults with their lines and columns, by place.
    pub(crate) fn finish(self, file: &str, text: &str) -> Faults {
        let dropped = self.dropped.get();
        let mut raw = self.raw.into_inner();
        raw.sort_by_key(|fault| (fault.span.start, fault.code));
        raw.dedup_by(|a, b| a.code == b.code && a.span == b.span && a.message == b.message);
        let all = raw.len() + dropped;
        if all > MOST_FAULTS {
            raw.truncate(MOST_FAULTS);
            let span = raw.last().map_or(0..0, |last| last.span.clone());
            raw.push(Raw {
                code: FaultCode::TooManyFaults,
                span,
                message: format!(
                    "{} more faults follow that are not listed",
                    all - MOST_FAULTS
                ),
                hint: Some("mend these first, then check again".to_owned()),
            });
        }
        let lines = Lines::of(text);
        let list = raw.into_iter().map(|raw| lines.place(text, raw)).collect();
        Faults {
            file: visible(file),
            text: text.to_owned(),
            list,
        }
    }
}

/// Whether a character changes what a reader sees without being seen: direction marks, zero-width
/// and filler characters, tags, variation selectors, controls other than line breaks and tabs.
pub(crate) const fn hidden(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// The longest message; a key may have a megabyte.
const MOST_CHARACTERS: usize = 1200;

/// A text, cut where it is endless, with every hidden character written as its escape: what a file says is repeated to a
/// terminal, and must not command it.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        if at == MOST_CHARACTERS {
            shown.push_str("..");
            break;
        }
        if hidden(c) || c == '\r' {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Where the lines of a text begin.
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub(crate) fn of(text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(
            std::iter::once(0)
                .chain(breaks.map(|(at, _)| at + 1))
                .collect(),
        )
    }

    /// The line of an offset, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.0.partition_point(|begin| *begin <= at)
    }

    fn place(&self, text: &str, raw: Raw) -> Fault {
        let start = text.floor_char_boundary(raw.span.start);
        let end = text.ceil_char_boundary(raw.span.end.max(start));
        let line = self.line(start);
        let begin = self.0[line - 1];
        // A byte-order mark at the very beginning takes no column.
        let column = text[begin..start]
            .trim_start_matches('\u{feff}')
            .chars()
            .count()
            + 1;
        let length = text[start..end]
            .lines()
            .next()
            .map_or(1, |first| first.chars().count().max(1));
        let Raw {
            code,
            message,
            hint,
            ..
        } = raw;
        Fault {
            code,
            span: start..end,
            line,
            column,
            length,
            message,
            hint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_and_stay_within_the_text() {
        let text = "a = 1\nä = \"é\"\n";
        let sink = Sink::default();
        let at = text.find('é').unwrap();
        sink.fault(FaultCode::WrongType, &(at..at + 2), "x");
        sink.fault(FaultCode::Syntax, &(9999..10_000), "beyond the end");
        sink.fault(FaultCode::Syntax, &(at + 1..at + 1), "inside a character");
        let faults = sink.finish("f", text);
        assert_eq!(
            (
                faults.list[0].line,
                faults.list[0].column,
                faults.list[0].length
            ),
            (2, 6, 1)
        );
        assert_eq!((faults.list[1].line, faults.list[1].column), (2, 6));
        assert_eq!(
            (faults.list[2].line, faults.list[2].span.clone()),
            (3, 16..16)
        );
    }

    #[test]
    fn a_file_of_noise_is_told_a_bounded_number_of_faults() {
        let sink = Sink::default();
        for at in 0..6000 {
            sink.fault(FaultCode::Syntax, &(at..at + 1), "noise");
        }
        let faults = sink.finish("f", &"x".repeat(6000));
        assert_eq!(faults.list.len(), MOST_FAULTS + 1);
        assert_eq!(faults.list[MOST_FAULTS].code, FaultCode::TooManyFaults);
        assert!(faults.list[MOST_FAULTS].message.starts_with("5800 more"));
    }
}
