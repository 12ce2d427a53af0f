//! The main job with real processes: a site is mended, whatever dies meanwhile; and the lab leaves nothing
//! behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mailmend_lab::awaited;
use mailmend_lab::tether;
use rustix::process::Signal;
use serde_json::Value;

use crate::lab_run::{LAB, lab, report};

const LIMIT: Duration = Duration::from_secs(120);
const SCENARIO: &str = "stuck-outbound";

#[test]
fn a_site_whose_mail_is_stuck_is_mended_and_every_message_delivered_once() {
    let output = lab(
        SCENARIO,
        &[
            "--json",
            "--waited-before",
            "--messages",
            "60",
            "--seed",
            "5",
        ],
    )
    .output()
    .unwrap();
    let report = report(&output);
    assert!(output.status.success(), "{report:?}");
    assert_eq!(report.submitted, 60);
    assert_eq!(report.delivered_once, 60, "{report:?}");
    assert!(report.symptom_before > 20, "{report:?}");
    assert_eq!(
        (report.symptom_after, report.held, report.in_doubt),
        (0, 0, 0),
        "{report:?}"
    );
    // Three sections of the policy: for the quarantine, for ten messages, for the rest.
    assert_eq!(report.restarts, 3, "{report:?}");
    assert_eq!(report.outcome, "mended");
}

#[test]
fn nothing_is_lost_or_doubled_in_silence_when_agent_controller_and_service_are_killed() {
    let arguments = [
        "--json",
        "--waited-before",
        "--messages",
        "40",
        "--seed",
        "7",
        "--kills",
        "6",
    ];
    let output = lab(SCENARIO, &arguments).output().unwrap();
    let report = report(&output);
    assert_eq!(report.harm(), Vec::<String>::new(), "{report:?}");
}

#[test]
fn a_rollout_that_mends_nothing_counts_as_a_failure_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    let shipped = mailmend_policy::library::SHIPPED;
    let (_, text) = shipped
        .iter()
        .find(|(name, _)| *name == "stuck-outbound-routing")
        .unwrap();
    // Mail that has waited for a quarter of an hour is no symptom to this policy.
    let patient = text.replacen("oldest_over = \"15m\"", "oldest_over = \"20h\"", 1);
    assert_ne!(*text, patient);
    std::fs::write(&policy, patient).unwrap();
    let arguments = ["--json", "--waited-before", "--messages", "20", "--policy"];
    let output = lab(SCENARIO, &arguments).arg(&policy).output().unwrap();
    let report = report(&output);
    assert!(!output.status.success());
    assert_eq!(report.harm(), Vec::<String>::new(), "{report:?}");
    assert!(report.symptom_after > 0, "{report:?}");
    assert_eq!((report.restarts, report.held), (0, 0), "{report:?}");
}

/// Every process that has the world's folder among its arguments.
fn processes_of(folder: &Path) -> BTreeSet<u32> {
    let folder = folder.to_str().unwrap();
    let entries = std::fs::read_dir("/proc").unwrap().map_while(Result::ok);
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(folder)
        })
        .collect()
}

/// Starts a run and waits until its world is charted and its agents are in it.
fn start(scratch: &Path) -> (Child, PathBuf) {
    let run = lab(SCENARIO, &["--messages", "20"])
        .env("TMPDIR", scratch)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut world = PathBuf::new();
    awaited::or_fail("the fleet", LIMIT, || {
        let entries = std::fs::read_dir(scratch).unwrap().map_while(Result::ok);
        entries.map(|entry| entry.path()).any(|folder| {
            let text = std::fs::read(folder.join("lab.json")).unwrap_or_default();
            let chart: Value = serde_json::from_slice(&text).unwrap_or_default();
            let processes = chart["processes"].as_array().cloned().unwrap_or_default();
            world = folder;
            processes
                .iter()
                .filter(|one| one["role"] == "agent")
                .count()
                == 2
        })
    })
    .unwrap();
    (run, world)
}

#[test]
fn an_interrupted_run_ends_every_process_and_removes_its_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let (mut run, world) = start(scratch.path());
    assert!(
        processes_of(&world).len() >= 9,
        "{:?}",
        processes_of(&world)
    );
    tether::signal(run.id(), Signal::INT);
    awaited::or_fail("the run's end", LIMIT, || run.try_wait().unwrap().is_some()).unwrap();
    assert!(!run.wait().unwrap().success());
    awaited::or_fail("the processes' end", LIMIT, || {
        processes_of(&world).is_empty()
    })
    .unwrap();
    assert!(!world.exists());
}

#[test]
fn a_run_that_is_killed_takes_every_process_with_it() {
    let scratch = tempfile::tempdir().unwrap();
    let (mut run, world) = start(scratch.path());
    run.kill().unwrap();
    run.wait().unwrap();
    awaited::or_fail("the processes' end", LIMIT, || {
        processes_of(&world).is_empty()
    })
    .unwrap();
}

#[test]
fn arguments_that_make_no_sense_are_refused_with_what_would() {
    for (arguments, said) in [
        (["run", "stuck-outbound", "--sites", "0"], "1 to 50"),
        (
            ["run", "stuck-outbound", "--messages", "many"],
            "not a whole number",
        ),
        (["run", "stuck-inbound", "--sites", "1"], "stuck-outbound"),
        (["run", "stuck-outbound", "--clock-factor", "0"], "1..=600"),
    ] {
        let output = Command::new(LAB).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(said), "{text}");
    }
}
