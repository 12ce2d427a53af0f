//! `docs/faults.md` is what the three catalogues say, every code is used, and no code is used that is in
//! no catalogue.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use mailmend_policy::fault::{FaultCode, Severity};
use mailmend_policy::lint::RULES;

const INTRO: &str = "# Faults

Every failure that a person is told about has a code. A code is stable over releases and is never given a second
meaning, so it can be searched for, alarmed on, and named in a report. The number says who speaks:

- `A…` the agent, `mailmend-agent`: refusals, alarms, what keeps it from starting;
- `C…` the controller and the command line, `mailmend`;
- `P…` and `L…` a policy file: the language, and the rules that a policy has to keep.

Programs write `error[CODE]: what was attempted, and why it failed` and then `help: what to do` to standard error.
Configuration, guard and policy files are shown with the place of each fault. How a program ends is told by its exit
code: `mailmend --help` and `mailmend-agent --help` list them.

This page is written from the code: `MAILMEND_BLESS=1 cargo test -p mailmend-lab --test it faults`.
";

/// Heading and the numbers that belong under it, by the first letter of the code.
const GROUPS: &[(&str, char, u16, u16)] = &[
    ("The agent: configuration and guard file", 'A', 0, 9),
    ("The agent: journal, data folder, enrolment", 'A', 10, 19),
    ("The agent: identity and connection", 'A', 20, 29),
    ("The agent: the guard refuses", 'A', 30, 39),
    ("The agent: an assignment or order is refused", 'A', 40, 49),
    ("The agent: steps, sections, services", 'A', 50, 79),
    ("The agent: custody of mail", 'A', 80, 129),
    ("The agent: as a service", 'A', 130, 139),
    ("The agent: fleet immunity", 'A', 140, 149),
    ("The agent: the audit trail", 'A', 150, 159),
    ("The agent: signed policies", 'A', 160, 999),
    ("The controller: start and trust", 'C', 0, 19),
    ("The command line", 'C', 20, 59),
    ("The controller: what agents send", 'C', 60, 79),
    ("The controller: policies and rollouts", 'C', 80, 99),
    (
        "The controller: the store, reactions and waves",
        'C',
        100,
        149,
    ),
    ("The controller: who may call", 'C', 150, 159),
    ("The audit trail", 'C', 160, 169),
    ("The controller: signed policies", 'C', 170, 199),
    ("The controller: the fleet", 'C', 200, 999),
    ("A policy file: the language", 'P', 0, 999),
    (
        "A policy file: dangerous shapes, which are refused",
        'L',
        0,
        199,
    ),
    (
        "A policy file: advice, with which a policy is accepted",
        'L',
        200,
        999,
    ),
];

/// Code, meaning, remedy.
type Entry = (&'static str, &'static str, &'static str);

fn of_policies() -> impl Iterator<Item = Entry> {
    FaultCode::ALL.iter().map(|code| {
        let rule = RULES.iter().find(|rule| rule.code == *code);
        let remedy = rule.map_or(
            "See the place that is shown: its hint says what is meant.",
            |rule| rule.reason,
        );
        (code.as_str(), code.meaning(), remedy)
    })
}

/// Every catalogue: the agent's, the controller's, the policies'.
fn catalogue() -> Vec<Entry> {
    let mut all = Vec::new();
    all.extend(mailmend_agent::faults::FAULTS.iter().copied());
    all.extend(mailmend::faults::FAULTS.iter().copied());
    all.extend(of_policies());
    all
}

fn number(code: &str) -> u16 {
    code[1..4].parse().unwrap()
}

/// A text as a cell of a table: a sentence, on one line.
fn cell(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().unwrap();
    let mut sentence: String = first.to_uppercase().chain(letters).collect();
    if !sentence.ends_with(['.', '?', '!']) {
        sentence.push('.');
    }
    sentence.replace('|', "\\|").replace('\n', " ")
}

fn page() -> String {
    let catalogue = catalogue();
    let mut page = INTRO.to_owned();
    for (heading, letter, from, to) in GROUPS {
        write!(
            page,
            "\n## {heading}\n\n| code | what it means | what to do |\n|-|-|-|\n"
        )
        .unwrap();
        for (code, meaning, remedy) in &catalogue {
            if code.starts_with(*letter) && (*from..=*to).contains(&number(code)) {
                writeln!(page, "| `{code}` | {} | {} |", cell(meaning), cell(remedy)).unwrap();
            }
        }
    }
    page
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The codes of a text, in its order: a letter, three digits, a hyphen, words.
fn codes(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    for at in 0..bytes.len().saturating_sub(5) {
        let begins = matches!(bytes[at], b'A' | b'C' | b'P' | b'L')
            && bytes[at + 1..at + 4].iter().all(u8::is_ascii_digit)
            && bytes[at + 4] == b'-'
            && bytes[at + 5].is_ascii_lowercase()
            && (at == 0 || !bytes[at - 1].is_ascii_alphanumeric());
        if begins {
            let length = bytes[at + 5..]
                .iter()
                .take_while(|&&byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
                })
                .count();
            found.push(text[at..at + 5 + length].trim_end_matches('-'));
        }
    }
    found
}

/// Every file with this ending below a folder.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path, ending));
        } else if path.extension().is_some_and(|found| found == ending) {
            all.push(path);
        }
    }
    all.sort();
    all
}

/// What a crate's source says outside tests and catalogue: each file's path and text.
fn source(of: &str) -> Vec<(PathBuf, String)> {
    let texts = files(&top().join(of).join("src"), "rs")
        .into_iter()
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()));
    let mut all: Vec<(PathBuf, String)> = texts.collect();
    let tests: Vec<PathBuf> = all
        .iter()
        .flat_map(|(path, text)| test_modules(path, text))
        .collect();
    all.retain(|(path, _)| {
        let test = tests
            .iter()
            .any(|module| path.starts_with(module) || *path == module.with_extension("rs"));
        let catalogue = path.ends_with("src/faults.rs") || path.ends_with("fault/code.rs");
        !test && !catalogue
    });
    for (_, text) in &mut all {
        // Unit tests in the file itself stand at its end.
        if let Some(end) = text.find("\n#[cfg(test)]\nmod tests {") {
            text.truncate(end);
        }
    }
    assert!(all.len() > 4, "the source of `{of}` was not found");
    all
}

/// The folders of the modules that a file declares for tests only.
fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let inside = match path.file_name().unwrap().to_str().unwrap() {
        "lib.rs" | "main.rs" => path.parent().unwrap().to_owned(),
        _ => path.with_extension(""),
    };
    text.split("#[cfg(test)]\n")
        .skip(1)
        .filter_map(|rest| {
            rest.lines()
                .next()?
                .rsplit_once("mod ")?
                .1
                .strip_suffix(';')
        })
        .map(|name| inside.join(name))
        .collect()
}

#[test]
fn the_page_of_faults_is_the_one_of_the_catalogues() {
    let path = top().join("docs/faults.md");
    let page = page();
    if std::env::var_os("MAILMEND_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let listed = |text: &str| -> BTreeSet<String> {
        text.lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(code, _)| code.to_owned())
            .collect()
    };
    let known: BTreeSet<String> = catalogue()
        .iter()
        .map(|(code, ..)| (*code).to_owned())
        .collect();
    let on_page = listed(&committed);
    let missing: Vec<_> = known.difference(&on_page).collect();
    let strange: Vec<_> = on_page.difference(&known).collect();
    assert!(
        committed == page,
        "docs/faults.md is not what the catalogues say (missing {missing:?}, unknown {strange:?}); \
         run this test once with MAILMEND_BLESS=1, and read the difference"
    );
    // A group that forgets a range of numbers would forget its codes on both sides.
    assert_eq!(on_page, known);
}

#[test]
fn a_code_is_given_once_over_all_crates_and_always_with_a_remedy() {
    let mut numbers = BTreeMap::new();
    for (code, meaning, remedy) in catalogue() {
        assert_eq!(codes(code), [code], "the shape of `{code}`");
        assert!(!meaning.is_empty() && !remedy.is_empty(), "{code}");
        if let Some(other) = numbers.insert(&code[..4], code) {
            panic!("`{code}` has the number of `{other}`");
        }
    }
    for code in FaultCode::ALL {
        let advice = code.severity() == Severity::Advice;
        assert_eq!(advice, code.as_str().starts_with("L2"), "{code}");
    }
}

#[test]
fn every_code_of_a_catalogue_is_used_and_every_used_code_is_in_a_catalogue() {
    let known: BTreeSet<&str> = catalogue().iter().map(|(code, ..)| *code).collect();
    let mut used = BTreeSet::new();
    let mut unknown = Vec::new();
    for part in ["agent", "controller", "policies", "proto"] {
        for (path, text) in source(part) {
            for code in codes(&text) {
                if !known.contains(code) {
                    unknown.push(format!("`{code}` in {}", path.display()));
                }
                used.insert(code.to_owned());
            }
        }
    }
    assert_eq!(
        unknown,
        Vec::<String>::new(),
        "codes that are in no catalogue"
    );
    // Policies name their codes by variant.
    let policies: String = source("policies")
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    let names: BTreeSet<&str> = policies
        .split(|letter: char| !letter.is_alphanumeric())
        .collect();
    for code in FaultCode::ALL {
        if names.contains(format!("{code:?}").as_str()) {
            used.insert(code.as_str().to_owned());
        }
    }
    let dead: Vec<_> = known.iter().filter(|&&code| !used.contains(code)).collect();
    assert!(
        dead.is_empty(),
        "{dead:?} stand in a catalogue and are told by nothing"
    );
}

#[test]
fn every_code_that_the_documents_name_is_in_a_catalogue() {
    let known: BTreeSet<&str> = catalogue().iter().map(|(code, ..)| *code).collect();
    let mut pages = files(&top().join("docs"), "md");
    pages.extend(["README.md", "CHANGELOG.md"].map(|name| top().join(name)));
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap_or_default();
        for code in codes(&text) {
            assert!(known.contains(code), "`{code}` in {}", page.display());
        }
    }
}
