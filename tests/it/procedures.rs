//! Each shipped policy has a page in `docs/procedures/` that tells of every step and every deviation, and
//! names tests that exist.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use mailmend_policy::policy::Policy;
use mailmend_policy::{library, parse};

const HEADING: &str = "## Deviations, as the policy states them";

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn policies() -> Vec<Policy> {
    let policy = |source| parse::check(&source).policy.unwrap();
    library::all().map(policy).collect()
}

fn page(policy: &Policy) -> (PathBuf, String) {
    let name = format!("docs/procedures/{}.md", policy.source.article);
    let path = top().join(name);
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|why| panic!("{} needs its page {}: {why}", policy.name, path.display()));
    (path, text)
}

/// What stands between backticks, outside of blocks of code.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.lines()
        .filter(|line| !line.starts_with("```"))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_step_of_a_shipped_policy_is_told_on_the_page_of_its_article() {
    for policy in policies() {
        let (path, text) = page(&policy);
        assert!(text.starts_with(&format!("# {}: ", policy.source.article)));
        let told = quoted(&text);
        for step in &policy.steps {
            let id = step.id.to_string();
            assert!(
                told.contains(id.as_str()),
                "{} tells nothing of `{id}`",
                path.display()
            );
        }
        assert!(
            told.contains("detect"),
            "{} tells nothing of `detect`",
            path.display()
        );
        let file = format!("policies/library/{}.toml", policy.name);
        assert!(
            told.contains(file.as_str()),
            "{} names no policy",
            path.display()
        );
    }
}

#[test]
fn every_deviation_of_a_shipped_policy_stands_on_the_page_of_its_article() {
    for policy in policies() {
        let (path, text) = page(&policy);
        let mut expected = format!(
            "{HEADING}\n\nWritten from the policy: `MAILMEND_BLESS=1 cargo test -p mailmend-lab --test it procedures`.\n\n\
             | article's step | why the policy does otherwise |\n|---|---|\n"
        );
        for deviation in &policy.source.deviations {
            let why = deviation.why.replace('|', "\\|");
            writeln!(expected, "| {} | {why} |", deviation.step).unwrap();
        }
        let own = text.find(HEADING).map_or(text.as_str(), |at| &text[..at]);
        if std::env::var_os("MAILMEND_BLESS").is_some() {
            fs::write(&path, format!("{}\n\n{expected}", own.trim_end())).unwrap();
        } else {
            assert!(
                text.ends_with(&expected),
                "{} does not tell the deviations of {}; run this test once with MAILMEND_BLESS=1, and read the \
                 difference",
                path.display(),
                policy.name
            );
        }
    }
}

#[test]
fn every_test_that_a_page_names_exists() {
    let mut names = BTreeSet::new();
    for folder in [
        "policies",
        "proto",
        "agent",
        "controller",
        "tests/src",
        "tests/it",
    ] {
        test_names(&top().join(folder), &mut names);
    }
    for policy in policies() {
        let (path, text) = page(&policy);
        let named = quoted(&text);
        // A test's name is a sentence: no other word on these pages has that many underscores.
        let tests = named.iter().filter(|word| word.matches('_').count() >= 4);
        let mut any = false;
        for test in tests {
            any = true;
            assert!(
                names.contains(*test),
                "{} names `{test}`, which is no test",
                path.display()
            );
        }
        assert!(any, "{} names no test", path.display());
    }
}

fn test_names(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            test_names(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let functions = text.lines().filter_map(|line| {
                let (name, _) = line.trim_start().strip_prefix("fn ")?.split_once('(')?;
                Some(name.to_owned())
            });
            names.extend(functions);
        }
    }
}
