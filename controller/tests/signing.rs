//! The procedure of `docs/signing.md`, typed as it stands there, and what its commands refuse. No controller runs.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mailmend");

/// The first script of the page.
fn procedure() -> String {
    let page = include_str!("../../docs/signing.md");
    let (_, rest) = page.split_once("```sh\n").unwrap();
    let (script, _) = rest.split_once("```").unwrap();
    assert!(
        script.contains("mailmend trust verify"),
        "the script was not found"
    );
    script.to_owned()
}

fn typed(folder: &Path, script: &str) -> Output {
    let programs = Path::new(PROGRAM).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("MAILMEND_CONTROLLER", "https://127.0.0.1:1")
        .output()
        .unwrap()
}

/// Types something that must succeed; returns what was answered.
fn good(folder: &Path, script: &str) -> String {
    let output = typed(folder, script);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Types something that must fail; returns exit code and what was said.
fn bad(folder: &Path, script: &str) -> (i32, String) {
    let output = typed(folder, script);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), said)
}

#[test]
fn the_procedure_of_the_documentation_works_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let said = good(at, &procedure());
    let last: Vec<&str> = said.lines().rev().take(3).collect();
    assert!(last[0].starts_with("timestamp 1 until "), "{said}");
    assert!(last[1].starts_with("catalogue 1 until "), "{said}");
    assert!(last[2].starts_with("root 1 until "), "{said}");
    for entry in std::fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        if path.extension().is_some_and(|kind| kind == "secret") {
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }

    // Rotation: Ben goes and Dora comes; signed by too few, and then by enough.
    good(at, "mailmend trust key new dora.root.secret");
    let key = good(at, "mailmend trust key show dora.root.secret");
    let key = key.lines().next().unwrap().rsplit(' ').next().unwrap();
    good(
        at,
        &format!(
            "mailmend trust root --from root.1.toml --out root.2.toml --life 365d --remove ben --root-key dora={key}"
        ),
    );
    good(
        at,
        "mailmend trust sign root.2.toml --key anna.root.secret; mailmend trust sign root.2.toml --key ben.root.secret",
    );
    let (code, said) = bad(at, "mailmend trust verify --root root.1.toml root.2.toml");
    assert!(
        code == 1
            && said.contains("C176-trust-unverified")
            && said.contains("1 keys of the new root"),
        "{said}"
    );
    good(at, "mailmend trust sign root.2.toml --key dora.root.secret");
    let said = good(
        at,
        "mailmend trust verify --root root.1.toml root.2.toml catalogue.1.toml timestamp.1.toml",
    );
    assert!(said.starts_with("root 2 until "), "{said}");

    // A withdrawn policy, and a catalogue that nobody with its key signed.
    good(
        at,
        "mailmend trust catalogue --from catalogue.1.toml --out catalogue.2.toml --life 90d --withdraw stuck-outbound-routing@1 --shipped silent-loss",
    );
    let text = std::fs::read_to_string(at.join("catalogue.2.toml")).unwrap();
    assert!(
        text.contains("silent-loss") && !text.contains("stuck-outbound"),
        "{text}"
    );
    good(
        at,
        "mailmend trust sign catalogue.2.toml --key anna.root.secret",
    );
    good(
        at,
        "mailmend trust timestamp --from timestamp.1.toml --root root.2.toml --catalogue catalogue.2.toml --out timestamp.2.toml --life 7d",
    );
    good(
        at,
        "mailmend trust sign timestamp.2.toml --key machine.secret",
    );
    let (code, said) = bad(
        at,
        "mailmend trust verify --root root.2.toml catalogue.2.toml timestamp.2.toml",
    );
    assert!(code == 1 && said.contains("signed by 0 keys"), "{said}");
}

#[test]
fn what_would_be_lost_exposed_or_refused_later_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    good(at, &procedure());
    for (script, code, told) in [
        ("mailmend trust key new machine.secret", 2, "C175-trust-key"),
        (
            "mailmend trust catalogue --out catalogue.1.toml --life 90d",
            2,
            "C174-trust-file",
        ),
        (
            "chmod 644 machine.secret; mailmend trust sign root.1.toml --key machine.secret",
            2,
            "chmod 600",
        ),
        (
            "echo x > x.secret; chmod 600 x.secret; mailmend trust key show x.secret",
            2,
            "C175-trust-key",
        ),
        (
            "echo x = 1 > x.toml; mailmend trust sign x.toml --key anna.root.secret",
            2,
            "neither root, catalogue nor timestamp",
        ),
        (
            "echo name = 1 > p.toml; mailmend trust catalogue --out c.toml --life 1d p.toml",
            2,
            "C174-trust-file",
        ),
        (
            "mailmend trust timestamp --root root.1.toml --catalogue catalogue.1.toml --out t.toml --life 93d",
            2,
            "at most 92 days",
        ),
        (
            "mailmend trust root --from root.1.toml --out r.toml --life 1d --remove nobody",
            2,
            "no key `nobody`",
        ),
        (
            "mailmend trust root --from root.1.toml --out r.toml --life 1d --remove ben --remove cleo",
            2,
            "threshold",
        ),
        (
            "mailmend trust catalogue --from catalogue.1.toml --out c.toml --life 1d --withdraw nothing",
            2,
            "does not list",
        ),
        (
            "mailmend trust root --out r.toml --life 1d --root-key anna=xyz",
            2,
            "64 hexadecimal digits",
        ),
        ("mailmend trust publish root.1.toml", 6, "C02"),
    ] {
        let (found, said) = bad(at, script);
        assert!(
            found == code && said.contains(told),
            "{script}: {found}\n{said}"
        );
        good(at, "chmod 600 machine.secret");
    }
    // The same key signs once, however often it is asked.
    good(at, "mailmend trust sign root.1.toml --key anna.root.secret");
    let lines = std::fs::read_to_string(at.join("root.1.toml.sig")).unwrap();
    assert_eq!(lines.lines().count(), 2);
}
