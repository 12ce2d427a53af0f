//! Telling a story with and without a mechanism, and the table of all of them in `docs/proofs.md`.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use mailmend_agent::ablation::{BUILT_IN, Mechanism, without};

/// Tells a story, which must not panic; then without the mechanism, where it must panic with `harm`.
pub(crate) fn proves(mechanism: Mechanism, harm: &str, story: impl Fn()) {
    story();
    let told = without(mechanism, || catch_unwind(AssertUnwindSafe(&story)));
    let Err(panic) = told else {
        panic!("without {mechanism:?} the story ends just as well")
    };
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("?");
    assert!(
        text.contains(harm),
        "without {mechanism:?} another harm is done: {text}"
    );
}

/// The files that have the tests.
const TESTS: [&str; 6] = [
    include_str!("custody.rs"),
    include_str!("immunity.rs"),
    include_str!("journal.rs"),
    include_str!("orders.rs"),
    include_str!("outage.rs"),
    include_str!("recovery.rs"),
];

/// The test of a mechanism, and the harm that it looks for: read from the text of the tests, so that the
/// table cannot name a test that is not there.
fn test_of(mechanism: Mechanism) -> (String, String) {
    let wanted = format!("Mechanism::{mechanism:?},");
    let mut found = Vec::new();
    for text in TESTS {
        let mut test = "";
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            if let Some(name) = line.strip_prefix("fn ") {
                test = name.split('(').next().unwrap_or_default();
            }
            let call: String = lines[at..lines.len().min(at + 4)].concat();
            if line.starts_with("proves(") && call.contains(&wanted) {
                let harm = call.split('"').nth(1).unwrap_or_default();
                assert!(lines[..at].iter().rev().any(|line| *line == "#[test]"));
                found.push((test.to_owned(), harm.to_owned()));
            }
        }
    }
    assert_eq!(found.len(), 1, "one test for {mechanism:?}: {found:?}");
    found.remove(0)
}

fn table() -> String {
    let mut table = String::from("| mechanism | switch | without it | test |\n|---|---|---|---|\n");
    for mechanism in Mechanism::ALL {
        let (test, harm) = test_of(*mechanism);
        let what = mechanism.what().trim();
        let _ = writeln!(
            table,
            "| {what} | `{mechanism:?}` | \u{201c}{harm}\u{201d} | `{test}` |"
        );
    }
    table
}

#[test]
fn every_mechanism_has_its_test_and_the_table_in_the_documentation_is_this_one() {
    const BEGIN: &str = "<!-- mechanisms: written by the tests -->\n";
    const END: &str = "<!-- end of mechanisms -->";
    assert!(Mechanism::ALL.len() >= 20);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/proofs.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    let table = table();
    if std::env::var_os("MAILMEND_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(
            written, table,
            "MAILMEND_BLESS=1 with the same command writes docs/proofs.md anew"
        );
    }
}

#[test]
fn a_program_that_has_the_switches_refuses_to_run() {
    const { assert!(BUILT_IN) };
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mailmend-agent"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("A008-not-a-release"), "{told}");
    assert!(output.stdout.is_empty());
}
