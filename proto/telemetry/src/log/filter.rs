//! Directives as `tracing` has them, with the place of one that makes no sense.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

/// The levels, the quietest first.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// How many letters a word may be away from a level to be taken for a misspelt one.
const NEAR: usize = 2;

/// A directive that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the directive `{directive}` at character {column} cannot be read: {why}; write LEVEL or TARGET=LEVEL, \
     several separated by commas, such as `info,mailmend_agent::session=debug`, with the levels off, error, \
     warn, info, debug and trace"
)]
pub struct FilterFault {
    /// The directive, as written.
    pub directive: String,
    /// Where it begins in the filter: its character, from 1.
    pub column: usize,
    /// What is wrong with it.
    pub why: String,
}

/// A filter from its text, or the first directive that makes no sense.
pub(super) fn parse(text: &str) -> Result<EnvFilter, FilterFault> {
    let mut column = 1;
    for directive in text.split(',') {
        let fault = |why: String| FilterFault {
            directive: directive.to_owned(),
            column: column + directive.chars().take_while(|c| c.is_whitespace()).count(),
            why,
        };
        let word = directive.trim();
        if word.is_empty() && !text.trim().is_empty() {
            return Err(fault("it is empty".to_owned()));
        }
        if let Some(level) = nearly_a_level(word) {
            return Err(fault(format!("did you mean `{level}`?")));
        }
        if !word.is_empty() {
            word.parse::<Directive>()
                .map_err(|why| fault(why.to_string()))?;
        }
        column += directive.chars().count() + 1;
    }
    let words: Vec<_> = text.split(',').map(str::trim).collect();
    EnvFilter::try_new(words.join(",")).map_err(|why| FilterFault {
        directive: text.to_owned(),
        column: 1,
        why: why.to_string(),
    })
}

/// The level that a directive or its end was probably meant to be.
fn nearly_a_level(directive: &str) -> Option<&'static str> {
    let word = directive.rsplit('=').next().unwrap_or(directive);
    let word = word.to_ascii_lowercase();
    // Numbers stand for levels too: 0 to 5.
    if LEVELS.contains(&word.as_str()) || word.len() < 3 {
        return None;
    }
    // What syslog calls it.
    if word == "warning" {
        return Some("warn");
    }
    let distance = |level: &str| strsim::osa_distance(&word, level);
    LEVELS
        .into_iter()
        .filter(|level| distance(level) <= NEAR.min(level.len() / 2))
        .min_by_key(|level| distance(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (String, usize, String) {
        let fault = parse(text).expect_err(text);
        (fault.directive, fault.column, fault.why)
    }

    #[test]
    fn what_tracing_knows_is_taken() {
        for text in [
            "info",
            "INFO",
            "3",
            "off",
            "",
            "warn,mailmend_agent::session=debug",
            "warn, h2=off",
            "mailmend[run{step=3}]=trace",
            "mailmend_agent",
            "tower",
            "hyper",
        ] {
            assert!(parse(text).is_ok(), "{text}: {:?}", parse(text));
        }
    }

    #[test]
    fn a_directive_that_makes_no_sense_is_told_with_its_place() {
        let (directive, column, _) = fault("info,mailmend=loud,h2=off");
        assert_eq!((directive.as_str(), column), ("mailmend=loud", 6));
        let (directive, column, why) = fault("info,,debug");
        assert_eq!((directive.as_str(), column), ("", 6));
        assert_eq!(why, "it is empty");
        // Characters are counted, not bytes.
        assert_eq!(fault("größe=info, mailmend=loud").1, 13);
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_target_that_logs_nothing() {
        for (text, column, level) in [
            ("inof", 1, "info"),
            ("warn,debg", 6, "debug"),
            ("mailmend=eror", 1, "error"),
            ("warning", 1, "warn"),
            ("tarce", 1, "trace"),
        ] {
            let found = fault(text);
            assert_eq!(
                (found.1, found.2),
                (column, format!("did you mean `{level}`?"))
            );
        }
    }
}
