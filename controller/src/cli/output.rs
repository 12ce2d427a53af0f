//! Answers on stdout: tables fitted to the terminal, or JSON.

use std::io::{self, IsTerminal as _, Write as _};
use std::str::FromStr;

use comfy_table::{
    Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Table, Width, presets,
};
use serde::Serialize;

use super::failure::Failure;
use crate::config::Settings;

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Table,
    Json,
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            _ => Err("there are `table` and `json`"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colour {
    Auto,
    Always,
    Never,
}

impl FromStr for Colour {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err("there are `auto`, `always` and `never`"),
        }
    }
}

/// What a word means for the eye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Plain,
    Good,
    Busy,
    Bad,
    Faint,
}

impl Mood {
    /// The mood of a state's name, of whatever kind of thing.
    pub(super) fn of(state: &str) -> Self {
        match state {
            "succeeded" | "done" | "connected" | "gone-with-evidence" | "not-needed" => Self::Good,
            "running" | "assigned" | "replaying" | "unwinding" | "aborting" | "held" => Self::Busy,
            "failed" | "needs-person" | "halted" | "unknown" | "undo-failed" | "poison"
            | "in-doubt" | "aborted" => Self::Bad,
            "paused" | "away" => Self::Bad,
            "waiting" | "skipped" | "cancelled" | "undone" | "no-effect" => Self::Faint,
            _ => Self::Plain,
        }
    }
}

/// Where and how answers are written.
#[derive(Debug, Clone)]
pub(super) struct Output {
    format: Format,
    colour: bool,
    errors_in_colour: bool,
    /// Columns; `None`: nobody looks, nothing is cut or wrapped.
    width: Option<u16>,
}

/// The narrowest that a table is fitted to; below it lines are left to the terminal.
const NARROWEST: u16 = 40;

impl Output {
    pub(super) fn of(settings: &Settings) -> Result<Self, Failure> {
        let colour: Colour = settings.parsed("color")?;
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        let wants = |terminal: bool| match colour {
            Colour::Auto => terminal && !dumb,
            Colour::Always => true,
            Colour::Never => false,
        };
        let columns = std::env::var("COLUMNS")
            .ok()
            .and_then(|columns| columns.parse().ok());
        Ok(Self {
            format: settings.parsed("output")?,
            colour: wants(io::stdout().is_terminal()),
            errors_in_colour: wants(io::stderr().is_terminal()),
            // comfy-table asks the terminal, where there is one.
            width: Table::new()
                .width()
                .or(columns)
                .map(|width: u16| width.max(NARROWEST)),
        })
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    pub(super) const fn paints(&self) -> bool {
        self.colour
    }

    pub(super) const fn paints_errors(&self) -> bool {
        self.errors_in_colour
    }

    /// Columns for text that is wrapped, 100 where nobody looks.
    pub(super) fn columns(&self) -> usize {
        usize::from(self.width.unwrap_or(100))
    }

    /// Whether a line of so many columns can be seen; where nobody looks, any can.
    pub(super) fn fits(&self, columns: usize) -> bool {
        self.width.is_none_or(|width| usize::from(width) >= columns)
    }

    /// Writes an answer: `value` as JSON, or what `human` makes.
    pub(super) fn answer<T: Serialize>(
        &self,
        value: &T,
        human: impl FnOnce(&Self) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(value),
            Format::Table => self.text(&human(self)),
        }
    }

    /// One JSON value, indented where a person looks.
    pub(super) fn json<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let text = if io::stdout().is_terminal() {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        let text = text.map_err(|why| Failure::new("C040-output", why.to_string()))?;
        self.text(&format!("{text}\n"))
    }

    /// Text for stdout, as it is.
    pub(super) fn text(&self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Bytes for stdout, as they are.
    #[expect(clippy::unused_self, reason = "whoever writes an answer has an output")]
    pub(super) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()?;
        Ok(())
    }

    /// A line for people on stderr: hints, what was done beside the answer.
    pub(super) fn note(&self, text: &str) {
        let mark = self.paint_for("note", Mood::Faint, self.errors_in_colour);
        anstream::eprintln!("{mark}: {}", clean(text));
    }

    /// A word in its colour.
    pub(super) fn paint(&self, text: &str, mood: Mood) -> String {
        self.paint_for(text, mood, self.colour)
    }

    #[expect(clippy::unused_self, reason = "colour is a matter of the output")]
    fn paint_for(&self, text: &str, mood: Mood, colour: bool) -> String {
        let text = clean(text);
        let code = match mood {
            _ if !colour => return text,
            Mood::Plain => return text,
            Mood::Good => "32",
            Mood::Busy => "36",
            Mood::Bad => "1;31",
            Mood::Faint => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A table with a head, fitted to the terminal. `empty` is said where it has no rows.
    pub(super) fn table(&self, head: &[&str], rows: Vec<Vec<Shown>>, empty: &str) -> String {
        if rows.is_empty() {
            return format!("{empty}\n");
        }
        let mut table = self.blank();
        table.set_header(head.iter().map(|name| {
            let cell = Cell::new(name);
            if self.colour {
                cell.add_attribute(Attribute::Dim)
            } else {
                cell
            }
        }));
        if let Some(width) = self.width {
            let floors = floors(head, &rows, usize::from(width));
            table.set_constraints(floors.into_iter().map(|floor| {
                ColumnConstraint::LowerBoundary(Width::Fixed(
                    u16::try_from(floor).unwrap_or(u16::MAX),
                ))
            }));
        }
        for row in rows {
            table.add_row(row.into_iter().map(Shown::cell));
        }
        trimmed(&table)
    }

    /// Pairs of name and value, one a line.
    pub(super) fn pairs(&self, pairs: Vec<(&str, Shown)>) -> String {
        let mut table = self.blank();
        for (name, value) in pairs {
            let name = Cell::new(name);
            let name = if self.colour {
                name.add_attribute(Attribute::Dim)
            } else {
                name
            };
            table.add_row([name, value.cell()]);
        }
        trimmed(&table)
    }

    fn blank(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        match self.width {
            Some(width) => {
                table
                    .set_content_arrangement(ContentArrangement::Dynamic)
                    .set_width(width);
            }
            None => {
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        if self.colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table
    }

    #[cfg(test)]
    pub(super) const fn fixed(width: u16) -> Self {
        Self {
            format: Format::Table,
            colour: false,
            errors_in_colour: false,
            width: Some(width),
        }
    }
}

/// The least width of each column, padding included, so that names and ids are not broken: their
/// longest words, cut shorter and shorter where all of them do not fit.
fn floors(head: &[&str], rows: &[Vec<Shown>], width: usize) -> Vec<usize> {
    const PADDING: usize = 2;
    let longest = |text: &str| {
        text.split_whitespace()
            .map(|word| word.chars().count())
            .max()
    };
    let words: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            let longest_cell = cells
                .filter_map(|cell| longest(&cell.text))
                .max()
                .unwrap_or(1);
            longest_cell.max(longest(name).unwrap_or(1))
        })
        .collect();
    // The last column is the one with sentences: its words give way first.
    let (mut most, mut last) = (36, 24);
    loop {
        let cap = |at: usize| {
            if at + 1 == head.len() {
                last.min(most)
            } else {
                most
            }
        };
        let floors: Vec<usize> = words
            .iter()
            .enumerate()
            .map(|(at, word)| (*word).min(cap(at)) + PADDING)
            .collect();
        if most <= 4 || floors.iter().sum::<usize>() <= width {
            return floors;
        }
        if last > 12 { last -= 2 } else { most -= 2 }
    }
}

/// comfy-table pads both sides of a column and the end of each line.
fn trimmed(table: &Table) -> String {
    let lines = table.lines().map(|line| {
        let line = line.strip_prefix(' ').unwrap_or(&line);
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

/// A value in a table.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    text: String,
    mood: Mood,
}

impl Shown {
    /// A value that is painted after what it says.
    pub(super) fn state(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            mood: Mood::of(&text),
            text,
        }
    }

    /// A value that somebody should see first.
    pub(super) fn bad(value: impl ToString) -> Self {
        Self {
            text: value.to_string(),
            mood: Mood::Bad,
        }
    }

    fn cell(self) -> Cell {
        let text = if self.text.is_empty() {
            "-".to_owned()
        } else {
            clean(&self.text)
        };
        let cell = Cell::new(text);
        match self.mood {
            Mood::Plain => cell,
            Mood::Good => cell.fg(Color::Green),
            Mood::Busy => cell.fg(Color::Cyan),
            Mood::Bad => cell.fg(Color::Red).add_attribute(Attribute::Bold),
            Mood::Faint => cell.add_attribute(Attribute::Dim),
        }
    }
}

impl<T: ToString> From<T> for Shown {
    fn from(value: T) -> Self {
        Self {
            text: value.to_string(),
            mood: Mood::Plain,
        }
    }
}

/// Text from elsewhere without what could play with the terminal.
pub(super) fn clean(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => '\n',
        '\t' => ' ',
        c if c.is_control() || is_bidirectional(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

const fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_eighty_columns_and_loses_nothing() {
        let output = Output::fixed(80);
        let row = vec![
            "SRV-WITH-A-LONG-NAME".into(),
            Shown::state("running"),
            "one two three four five six seven eight nine ten eleven twelve thirteen".into(),
        ];
        let text = output.table(&["SERVER", "STATE", "WHAT"], vec![row], "nothing");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        for word in ["SRV-WITH-A-LONG-NAME", "running", "thirteen"] {
            assert!(text.contains(word), "{text}");
        }
        assert!(text.starts_with("SERVER"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(
            Output::fixed(80).table(&["A"], vec![], "no agents"),
            "no agents\n"
        );
    }

    #[test]
    fn nothing_is_wrapped_where_nobody_looks() {
        let output = Output {
            width: None,
            ..Output::fixed(80)
        };
        let text = output.pairs(vec![("what", "x".repeat(300).into())]);
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn what_agents_report_cannot_play_with_the_terminal() {
        let output = Output::fixed(80);
        let text = output.pairs(vec![("what", "\u{1b}]0;owned\u{7}\u{202e}x".into())]);
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
    }
}
