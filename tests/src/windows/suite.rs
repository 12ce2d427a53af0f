//! The tests of the agent's library that need a Windows, under Wine.

use super::build::Built;
use super::wine::Wine;
use crate::lab_error::{Attempting, LabError};

/// What is run: the host's way to Windows, and what stands on real files and has to keep its promise there
/// as well. Folders that are held whole need an exchange of names, which Windows has not.
const WHAT: [&str; 11] = [
    "host::windows::",
    "host::machine_name::",
    "host::event_log::",
    "host::access_list::",
    "host::service_code::",
    "host::pace::",
    "host::new_files::",
    "identity::",
    "journal::tests::",
    "custody::tests::folders::",
    "evidence::bookmark::",
];

/// What is left to Linux, with the reason.
const LEFT_OUT: [(&str, &str); 4] = [
    (
        "killed_at_any_point",
        "thousands of lives: Wine takes minutes for them",
    ),
    (
        "twenty_thousand_files",
        "measures how the time grows, which is Wine's here",
    ),
    (
        "flips::",
        "thousands of journals: Wine takes minutes for them",
    ),
    (
        "reading_on_says",
        "hundreds of histories of logs: Wine takes minutes for them",
    ),
];

/// Runs them; what they print goes to where this program's output goes.
pub(super) fn run(wine: &Wine, built: &Built) -> Result<(), LabError> {
    let lab = wine.drive().join("lab");
    std::fs::create_dir_all(&lab).attempting(|| format!("make `{}`", lab.display()))?;
    // On a drive that every program of that Windows knows.
    let service = lab.join("small_service.exe");
    std::fs::copy(&built.small_service, &service)
        .attempting(|| format!("copy `{}`", built.small_service.display()))?;
    let mut command = wine.command(&built.tests);
    command.args(WHAT);
    for (what, why) in LEFT_OUT {
        eprintln!("LEFT OUT  {what} under Wine: {why}");
        command.args(["--skip", what]);
    }
    let status = command
        // Two at a time: some wait for seconds, and the manager of services answers one after another.
        .args(["--test-threads", "2"])
        .env("MAILMEND_SMALL_SERVICE", r"C:\lab\small_service.exe")
        // A folder on which Linux has mounted something is a reparse point to Wine.
        .env("MAILMEND_WINE_MOUNTED", r"Z:\proc")
        .status()
        .attempting(|| "run the tests under Wine".into())?;
    if status.success() {
        return Ok(());
    }
    Err(LabError::Refused {
        attempted: "run the tests under Wine".into(),
        reason: format!("they ended with {status}"),
    })
}
