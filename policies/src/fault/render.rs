//! Faults for people (a caret under each place) and for programs (JSON).

use std::sync::Arc;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report,
};
use serde_json::{Value, json};

use super::{Fault, Faults, Severity, hidden};

/// The longest line, in bytes, that is shown; of a fault in or beside a longer one only the place.
const LONGEST_LINE: usize = 1000;

impl Faults {
    /// Every fault with the line that it is in, a caret under the place and a hint, for a terminal
    /// of `width` columns. Escape sequences only with `colour`, whatever the environment says.
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
        let source = Arc::new(NamedSource::new(&self.file, harmless(&self.text)));
        let mut out = String::new();
        for (at, fault) in self.list.iter().enumerate() {
            if at > 0 {
                out.push('\n');
            }
            let severity = match fault.severity() {
                Severity::Error => miette::Severity::Error,
                Severity::Advice => miette::Severity::Advice,
            };
            let mut diagnostic = MietteDiagnostic::new(fault.message.clone())
                .with_code(fault.code.as_str())
                .with_severity(severity)
                .with_label(LabeledSpan::underline(self.shown(fault.span.clone())));
            if let Some(hint) = &fault.hint {
                diagnostic = diagnostic.with_help(hint.clone());
            }
            let report = if self.is_shown(fault) {
                Report::new(diagnostic).with_source_code(Arc::clone(&source))
            } else {
                diagnostic.labels = None;
                diagnostic.message = format!(
                    "{}:{}:{}: {}",
                    self.file, fault.line, fault.column, fault.message
                );
                Report::new(diagnostic)
            };
            // Writing to a string fails only where the source cannot be read back; the plain line
            // still tells everything.
            if handler.render_report(&mut out, report.as_ref()).is_err() {
                out.push_str(&fault.message);
                out.push('\n');
            }
        }
        out
    }

    /// Whether the lines around a fault are short enough to be shown.
    fn is_shown(&self, fault: &Fault) -> bool {
        let before = self.text[..fault.span.start].rsplit('\n').take(2);
        let after = self.text[fault.span.start..].split('\n').take(2);
        before.chain(after).all(|line| line.len() <= LONGEST_LINE)
    }

    /// The part of a span that a person should see: its first line, at least one character wide.
    fn shown(&self, span: std::ops::Range<usize>) -> std::ops::Range<usize> {
        let line = self.text[span.start..]
            .find('\n')
            .map_or(self.text.len(), |at| span.start + at);
        span.start..span.end.min(line).max(span.start)
    }

    /// An array of `{file, code, severity, line, column, length, message, hint}`; `hint` is null
    /// where there is none.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.list
            .iter()
            .map(|fault| {
                json!({
                    "file": self.file,
                    "code": fault.code,
                    "severity": fault.severity(),
                    "line": fault.line,
                    "column": fault.column,
                    "length": fault.length,
                    "message": fault.message,
                    "hint": fault.hint,
                })
            })
            .collect()
    }
}

/// The text with every hidden character replaced by visible ones of the same number of bytes, so that
/// places stay where they are and a terminal is never commanded by what it shows.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let bare_return = c == '\r' && rest.peek() != Some(&'\n');
        match c.len_utf8() {
            _ if !hidden(c) && !bare_return => shown.push(c),
            1 => shown.push('?'),
            2 => shown.push('\u{bf}'),
            3 => shown.push('\u{fffd}'),
            _ => shown.push_str("\u{fffd}?"),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_a_terminal_is_shown_as_something_else_of_the_same_length() {
        let text = "a\u{1b}[2J\u{9b}31m\u{202e}\u{e0041}\rb\r\n\tc\u{7}";
        let shown = harmless(text);
        assert_eq!(shown, "a?[2J\u{bf}31m\u{fffd}\u{fffd}??b\r\n\tc?");
        assert_eq!(shown.len(), text.len());
    }
}
