//! Listings: a table for people, JSON for programs, data on standard output.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::Output;
use super::failure::Failure;

/// Prints rows as a table with these headings, or as one JSON array.
pub(crate) fn print<T: Serialize>(
    output: Output,
    headings: &[&str],
    rows: &[T],
    cells: impl Fn(&T) -> Vec<String>,
) -> Result<(), Failure> {
    match output {
        Output::Json => json(rows),
        Output::Table => {
            let mut table = Table::new();
            table
                .load_preset(presets::NOTHING)
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_header(headings.iter().map(|heading| heading.to_uppercase()));
            for row in rows {
                table.add_row(cells(row).into_iter().map(|cell| printable(&cell)));
            }
            for line in table.lines() {
                say(line.trim_end())?;
            }
            Ok(())
        }
    }
}

/// Prints one value as JSON, indented for people too.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|why| Failure::failed(format!("could not write JSON: {why}")))?;
    say(&text)
}

/// Prints one line. A reader that went away (`| head`) ends the program quietly.
pub(crate) fn say(line: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Err(Failure::already_told().with_exit(0))
        }
        Err(error) => Err(Failure::failed(format!("could not print: {error}"))),
    }
}

/// Text from files and the network, without what a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_escape_sequence_reaches_the_terminal() {
        assert_eq!(
            printable("a\u{1b}[31mb\rc\u{9b}d"),
            "a\u{fffd}[31mb\u{fffd}c\u{fffd}d"
        );
    }
}
