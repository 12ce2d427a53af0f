//! Runs of `mailmend-lab run`, as a person or a program types them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use mailmend_lab::cargo;
use mailmend_lab::scenario::Report;

pub(crate) const LAB: &str = env!("CARGO_BIN_EXE_mailmend-lab");

/// The programs of the other crates, built: cargo builds only those of the crate under test.
pub(crate) fn programs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let status = cargo::build_programs(top).status().unwrap();
        assert!(status.success());
        Path::new(LAB).parent().unwrap().to_owned()
    })
}

/// `mailmend-lab run SCENARIO` with arguments.
pub(crate) fn lab(scenario: &str, arguments: &[&str]) -> Command {
    programs();
    let mut command = Command::new(LAB);
    command
        .args(["run", scenario])
        .args(arguments)
        .stdin(Stdio::null());
    command
}

/// The report in the last line of a run's output; what it told on the way is shown where a test fails.
pub(crate) fn report(output: &Output) -> Report {
    let told = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text
        .lines()
        .last()
        .unwrap_or_else(|| panic!("no report: {told}"));
    let report = serde_json::from_str(last).unwrap_or_else(|why| panic!("{why}: {last}\n{told}"));
    eprintln!("{told}");
    report
}

/// Plays a scenario with mail that has waited long, the clock 120 times faster than life unless told, and `more`
/// arguments, parted by blanks. Returns whether the lab calls it good, and the report.
pub(crate) fn play(scenario: &str, more: &str) -> (bool, Report) {
    let mut arguments = vec!["--json", "--waited-before"];
    arguments.extend(more.split_whitespace());
    if !more.contains("--clock-factor") {
        arguments.extend(["--clock-factor", "120"]);
    }
    let output = lab(scenario, &arguments).output().unwrap();
    (output.status.success(), report(&output))
}
