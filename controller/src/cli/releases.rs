//! Every command that an explanation or the doctor names is one that the command line takes.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use clap::Parser as _;

use super::arguments::Cli;

/// The commands that a release text names: from `mailmend ` to the next `;`, `,`, `(` or the end.
fn commands(release: &str) -> Vec<String> {
    release
        .match_indices("mailmend ")
        .map(|(at, _)| {
            let rest = &release[at..];
            let end = rest.find([';', ',', '(']).unwrap_or(rest.len());
            rest[..end].trim().to_owned()
        })
        .collect()
}

/// A command with examples in the place of what the reader fills in; one for each `one|other`.
fn filled(command: &str) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = vec![Vec::new()];
    for word in command.split_whitespace() {
        let values: Vec<&str> = match word {
            "ID..." => vec!["8000000000ab/3"],
            word => word.split('|').collect(),
        };
        all = all
            .iter()
            .flat_map(|begun| {
                values.iter().map(|value| {
                    let mut longer = begun.clone();
                    longer.push((*value).to_owned());
                    longer
                })
            })
            .collect();
    }
    all
}

/// Asserts that a release text names at least one command, and that the command line takes each.
pub(crate) fn are_commands(release: &str) {
    // A simulation says the same thousands of times, and to make the parser is slow.
    static TAKEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let taken = || TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if taken().contains(release) {
        return;
    }
    let commands = commands(release);
    assert!(!commands.is_empty(), "no command in `{release}`");
    for command in commands {
        for words in filled(&command) {
            if let Err(why) = Cli::try_parse_from(&words) {
                panic!("`{command}` of `{release}` is no command: {why}");
            }
        }
    }
    taken().insert(release.to_owned());
}

#[test]
fn commands_are_cut_out_of_prose() {
    assert_eq!(
        commands(
            "start mailmend-agent on EXB1; mailmend agent show EXB1, or mailmend run answer x --answer a|b (yes)"
        ),
        [
            "mailmend agent show EXB1",
            "mailmend run answer x --answer a|b"
        ]
    );
    assert_eq!(filled("mailmend x a|b").len(), 2);
}

#[test]
#[should_panic(expected = "is no command")]
fn a_command_that_is_not_there_is_found() {
    are_commands("mailmend rollout undo 00000000");
}

#[test]
#[should_panic(expected = "no command in")]
fn a_release_without_a_command_is_found() {
    are_commands("nothing can be done");
}
