//! The agent on Windows: built with Debian's own tools, run under Wine.
//!
//! Wine answers as Windows does for sockets, files, processes, services and the registry. Its event log is
//! always empty, and it knows neither junctions nor streams: `docs/windows.md` says what that leaves open.

mod agreement;
mod build;
mod packages;
mod scenarios;
mod suite;
mod wine;

use std::path::Path;

pub use self::build::{Built, build, build_agent_for_release, programs};
pub(crate) use self::packages::{WINE, WINESERVER};
pub use self::packages::{missing, ready};
pub use self::wine::Wine;

use crate::lab_error::{Attempting, LabError};

/// Why this cannot be done here; `None` where it can, if only after an installation.
#[must_use]
pub fn impossible() -> Option<String> {
    let missing = missing();
    if missing.is_empty() || packages::may_install() {
        return None;
    }
    let missing = missing.join(" ");
    Some(format!(
        "this account cannot install {missing}: `apt-get install {missing}` as root"
    ))
}

/// Builds the agent and its tests for Windows, and runs both under Wine. `say` tells how far it is.
///
/// # Errors
/// Where the tools are missing and cannot be installed, and where anything fails.
pub fn check(top: &Path, say: &dyn Fn(&str)) -> Result<(), LabError> {
    ready(say)?;
    say("building the agent for Windows");
    // Programs for Windows are told whole paths.
    let top = &std::path::absolute(top).attempting(|| format!("find `{}`", top.display()))?;
    let built = build(top)?;
    let scratch = tempfile::tempdir().attempting(|| "make a folder for Wine".to_owned())?;
    let wine = Wine::prepare(&built.folder, &scratch.path().join("wine"), say)?;
    wine.run(&built.agent, &["--version"])?;
    say("running the agent's tests under Wine");
    suite::run(&wine, &built)?;
    drop(wine);
    play(&built.folder, say)
}

/// Runs a site of Windows servers: Windows' own tools agree with the agents, every scenario is mended, and
/// killed agents leave nothing undone. `programs` is the folder with the programs for Windows. Prints what was
/// done.
///
/// # Errors
/// Where anything fails.
pub fn play(programs: &Path, say: &dyn Fn(&str)) -> Result<(), LabError> {
    for line in agreement::check(programs, say)? {
        println!("{line}");
    }
    let played = scenarios::play(programs, say)?;
    println!(
        "{} scenarios with Windows agents and a Windows IMS; {} runs in which {} agents were killed: nothing lost, \
         every duplicate named, every service up",
        played.scenarios, played.disturbed, played.killed
    );
    Ok(())
}
