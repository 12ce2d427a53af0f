//! `cargo verify`: every check there is, in the order in which they are cheapest to fail.

mod stage;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Instant;

use stage::{Ended, Stage};

use crate::cargo;
use crate::lab_error::{Attempting, LabError};
use crate::scenario::SCENARIOS;
use crate::{power_cut, stop_signal, windows};

/// What to check.
#[derive(Debug, Clone)]
pub struct Verification {
    /// The workspace.
    pub top: PathBuf,
    /// How many runs the storm has.
    pub storm_runs: u32,
    /// The storm's first seed.
    pub seed: u64,
    /// Whether to go on after a stage has failed.
    pub keep_going: bool,
}

/// Programs that the checks need, each with the Debian package that has it and what needs it.
const PROGRAMS: [(&str, &str, &str); 7] = [
    (
        "cc",
        "gcc",
        "the bundled SQLite and the cryptography are compiled with it",
    ),
    (
        "git",
        "git",
        "the test of the top level asks it which files are tracked",
    ),
    (
        "faketime",
        "faketime",
        "the tests of bad input set the clock of single programs to 1980 with it",
    ),
    (
        "systemd-analyze",
        "systemd",
        "the agent's unit is checked with it",
    ),
    (
        "strace",
        "strace",
        "what the agent calls is compared with what its unit allows",
    ),
    ("zip", "zip", "the archive for Windows is packed with it"),
    (
        "unzip",
        "unzip",
        "the archive for Windows is opened with it",
    ),
];

/// Runs all stages and prints how each ended. Returns whether none failed.
///
/// # Errors
/// Where the folder for the stages' output cannot be made.
pub fn run(verification: &Verification) -> Result<bool, LabError> {
    let begun = Instant::now();
    let logs = verification.top.join("target/verify");
    std::fs::create_dir_all(&logs).attempting(|| format!("make `{}`", logs.display()))?;
    let mut left_out = install_what_is_missing();
    if !quiet("unshare", &["--mount", "true"]) {
        left_out.push(
            "this account may not mount: no disk was full in the tests of bad input; run as root"
                .to_owned(),
        );
    }
    let interrupted = stop_signal::install()?;
    let mut passed = 0;
    let mut failed: Vec<&str> = Vec::new();
    let mut stages = stages(verification, &mut left_out);
    for stage in &mut stages {
        if interrupted.load(Ordering::Relaxed) {
            left_out.push(format!("{}: interrupted", stage.name));
            continue;
        }
        if !failed.is_empty() && !verification.keep_going {
            left_out.push(format!(
                "{}: an earlier stage failed (--keep-going runs it)",
                stage.name
            ));
            continue;
        }
        match stage.run(&logs, &interrupted) {
            Ended::Passed => passed += 1,
            Ended::Failed => failed.push(stage.name),
        }
    }
    for what in &left_out {
        eprintln!("LEFT OUT  {what}");
    }
    for name in &failed {
        eprintln!("FAILED    {name}");
    }
    eprintln!("verified for {:.0} s", begun.elapsed().as_secs_f32());
    println!("{passed} passed, {} failed", failed.len());
    Ok(failed.is_empty())
}

fn stages(verification: &Verification, left_out: &mut Vec<String>) -> Vec<Stage> {
    let top = &verification.top;
    let cargo = |name, minutes, arguments: &[&str]| {
        let mut command = cargo::cargo(top);
        command.args(arguments);
        Stage::new(name, minutes, command)
    };
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    let mechanisms = [
        "test",
        "--package",
        "mailmend-agent",
        "--features",
        "ablation",
        "--test",
        "ablation",
    ];
    let mut stages = vec![
        cargo("format", 5, &["fmt", "--all", "--check"]),
        cargo("clippy", 60, &clippy),
        // Before the programs are built: this leaves an agent in the target folder that refuses to run.
        cargo("mechanisms", 30, &mechanisms),
        Stage::new("build", 60, cargo::build_programs(top)),
    ];
    if quiet("cargo", &["nextest", "--version"]) {
        let tests = ["nextest", "run", "--workspace", "--no-fail-fast"];
        stages.push(cargo("tests", 60, &tests));
    } else {
        left_out.push(
            "cargo-nextest is not installed: the tests run under `cargo test` instead, without a limit \
             for each; `cargo install cargo-nextest --locked` brings it"
                .to_owned(),
        );
        let tests = [
            "test",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--no-fail-fast",
        ];
        stages.push(cargo("tests", 60, &tests));
    }
    stages.push(cargo("doc tests", 30, &["test", "--workspace", "--doc"]));
    let mut documentation = cargo::cargo(top);
    documentation
        .args(["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings");
    stages.push(Stage::new("documentation", 30, documentation));
    if quiet("cargo", &["deny", "--version"]) {
        let deny = ["deny", "--offline", "check", "bans", "licenses"];
        stages.push(cargo("dependencies", 10, &deny));
    } else {
        left_out.push(
            "cargo-deny is not installed: bans and licences are asserted by a test instead, \
             advisories are not looked up"
                .to_owned(),
        );
    }
    left_out.push("benchmarks: clippy compiles them, `cargo bench` runs them".to_owned());
    let program = std::env::current_exe().unwrap_or_else(|_| "mailmend-lab".into());
    let lab = |name, minutes, arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(top);
        Stage::new(name, minutes, command)
    };
    match power_cut::impossible() {
        None => stages.push(lab("power cuts", 10, &["power-cuts", "--cuts", "200"])),
        Some(why) => left_out.push(format!("power cuts on ext4: {why}")),
    }
    stages.push(lab("main job", 10, &["run", "stuck-outbound", "--json"]));
    let (runs, seed) = (
        verification.storm_runs.to_string(),
        verification.seed.to_string(),
    );
    stages.push(lab(
        "storm",
        60,
        &["storm", "--runs", &runs, "--seed", &seed],
    ));
    for scenario in &SCENARIOS[1..] {
        // Few: each variant has a test of its own; what is added here is kills.
        let storm = ["storm", "--scenario", scenario.name, "--seed", &seed];
        let size = ["--runs", "4", "--messages", "16"];
        stages.push(lab(scenario.name, 15, &[&storm[..], &size[..]].concat()));
    }
    let fleet = [
        "run", "fleet", "--sites", "20", "--faulty", "7", "--seed", &seed, "--json",
    ];
    stages.push(lab("fleet", 30, &fleet));
    // Minutes of building for Windows: after all that is cheaper.
    match windows::impossible() {
        None => {
            stages.push(lab("windows", 45, &["windows"]));
            let archives = ["archives", "--profile", "dev", "--check", "--out"];
            let to = ["target/verify/archives"];
            stages.push(lab("archives", 45, &[&archives[..], &to[..]].concat()));
        }
        Some(why) => left_out.push(format!(
            "the agent on Windows, under Wine, and the archives of a release: {why}"
        )),
    }
    stages
}

/// Whether a command succeeds; what it prints does not matter.
fn quiet(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Installs Debian's packages for missing programs where that may be done; returns what is left out.
fn install_what_is_missing() -> Vec<String> {
    let missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, ..)| !on_path(program))
        .collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    if rustix::process::getuid().is_root() && on_path("apt-get") {
        eprintln!("installing {}", packages.join(" "));
        let arguments = [
            &["install", "-y", "--no-install-recommends"],
            packages.as_slice(),
        ]
        .concat();
        let apt = || {
            Command::new("apt-get")
                .args(&arguments)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdin(std::process::Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        if apt() || (quiet("apt-get", &["update"]) && apt()) {
            return Vec::new();
        }
    }
    missing
        .iter()
        .map(|(program, package, why)| {
            format!("`{program}` is missing and could not be installed ({why}): apt-get install {package}")
        })
        .collect()
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}
