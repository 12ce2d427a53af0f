//! What is wrong in a TOML file, and where.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report,
};
use serde_json::{Value, json};

/// A place in the file, as byte offsets.
pub(crate) type Span = Range<usize>;

/// The most faults that are told of one file.
const MOST: usize = 100;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TomlFault {
    /// The place, as byte offsets on character boundaries within the file.
    pub span: Range<usize>,
    /// The line of its beginning, from 1.
    pub line: usize,
    /// The column of its beginning, in characters from 1.
    pub column: usize,
    /// What is wrong, lower case, the value in backticks.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// All faults of one file, by place; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TomlFaults {
    /// The code that people look up in `docs/faults.md`.
    pub code: &'static str,
    /// The file, as people know it.
    pub file: String,
    /// The faults, by place.
    pub list: Vec<TomlFault>,
    text: String,
}

impl TomlFaults {
    /// Every fault with the line that it is in, a caret under the place and a hint, for a terminal
    /// of `width` columns. Escape sequences only with `colour`.
    #[must_use]
    pub fn render(&self, width: usize, colour: bool) -> String {
        let theme = if colour {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(width.max(20))
            .with_links(false)
            .with_context_lines(1);
        let source = Arc::new(NamedSource::new(&self.file, self.text.clone()));
        let mut out = String::new();
        for fault in &self.list {
            let first_line = self.text[fault.span.start..]
                .find('\n')
                .map_or(self.text.len(), |at| fault.span.start + at);
            let shown = fault.span.start..fault.span.end.min(first_line);
            let diagnostic = MietteDiagnostic::new(fault.message.clone())
                .with_code(self.code)
                .with_help(fault.hint.clone())
                .with_label(LabeledSpan::underline(shown));
            let report = Report::new(diagnostic).with_source_code(Arc::clone(&source));
            // Writing to a string fails only where the source cannot be read back; the plain line
            // still tells everything.
            if handler.render_report(&mut out, report.as_ref()).is_err() {
                out.push_str(&fault.message);
                out.push('\n');
            }
        }
        out
    }

    /// An array of `{file, code, line, column, message, hint}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.list
            .iter()
            .map(|fault| {
                json!({
                    "file": self.file,
                    "code": self.code,
                    "line": fault.line,
                    "column": fault.column,
                    "message": fault.message,
                    "hint": fault.hint,
                })
            })
            .collect()
    }
}

impl fmt::Display for TomlFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.list.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            let TomlFault {
                line,
                column,
                message,
                hint,
                ..
            } = fault;
            let Self { code, file, .. } = self;
            write!(f, "{code}: {file}:{line}:{column}: {message} ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for TomlFaults {}

/// Collects faults while a file is read, so that one never hides another.
#[derive(Debug, Default)]
pub(crate) struct Sink(RefCell<Vec<(Span, String, String)>>);

impl Sink {
    /// Notes a fault.
    pub(crate) fn fault(&self, span: &Span, message: impl Into<String>, hint: impl Into<String>) {
        self.0
            .borrow_mut()
            .push((span.clone(), message.into(), hint.into()));
    }

    /// The faults with their places; `None` where there is none.
    pub(crate) fn finish(self, code: &'static str, file: &str, text: &str) -> Option<TomlFaults> {
        let mut raw = self.0.into_inner();
        raw.sort_by_key(|(span, ..)| span.start);
        raw.dedup();
        let more = raw.len().saturating_sub(MOST);
        raw.truncate(MOST);
        if more > 0 {
            let span = raw.last().map_or(0..0, |(span, ..)| span.clone());
            let message = format!("{more} more faults follow that are not listed");
            raw.push((span, message, "mend these first, then check again".into()));
        }
        let list: Vec<TomlFault> = raw
            .into_iter()
            .map(|(span, message, hint)| placed(text, &span, message, hint))
            .collect();
        (!list.is_empty()).then(|| TomlFaults {
            code,
            file: file.to_owned(),
            list,
            text: text.to_owned(),
        })
    }
}

fn placed(text: &str, span: &Span, message: String, hint: String) -> TomlFault {
    let start = text.floor_char_boundary(span.start);
    let end = text.ceil_char_boundary(span.end.max(start));
    let before = &text[..start];
    let line_begins = before.rfind('\n').map_or(0, |at| at + 1);
    TomlFault {
        span: start..end,
        line: before.matches('\n').count() + 1,
        column: before[line_begins..].chars().count() + 1,
        message,
        hint,
    }
}
