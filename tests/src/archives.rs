//! The archives of a release: for Linux a tar.gz and a Debian package, for Windows a zip, and their sums.
//!
//! They are packed by Debian's own tools, with one time for every file and names in order, so that the same
//! programs make the same archives, byte for byte.

mod check;
mod linux;
mod manual;
mod tree;
mod windows;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub use self::check::check;

use crate::lab_error::{Attempting, LabError};
use crate::{cargo, windows as toolchain};

/// What to make.
#[derive(Debug, Clone)]
pub struct Release {
    /// The workspace.
    pub top: PathBuf,
    /// Where the archives go.
    pub out: PathBuf,
    /// Whether the programs are built for use; else as tests build them, which is faster.
    pub optimised: bool,
}

/// The programs of a release.
#[derive(Debug, Clone)]
struct Programs {
    mailmend: PathBuf,
    agent: PathBuf,
    agent_for_windows: PathBuf,
}

/// What was made.
#[derive(Debug, Clone)]
pub struct Archives {
    /// Where they are.
    pub folder: PathBuf,
    /// `mailmend-VERSION-x86_64-linux.tar.gz`.
    pub linux: String,
    /// `mailmend-agent_VERSION_amd64.deb`.
    pub debian: String,
    /// `mailmend-agent-VERSION-x86_64-windows.zip`.
    pub windows: String,
    /// The time of every file in them, in seconds since 1970 UTC.
    time: u64,
}

/// The names of the sums, as `sha256sum --check` reads them.
pub const SUMS: &str = "SHA256SUMS";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Builds the programs and packs them.
///
/// # Errors
/// Where something does not build, or a tool that packs is missing.
pub fn make(release: &Release, say: &dyn Fn(&str)) -> Result<Archives, LabError> {
    toolchain::ready(say)?;
    say("building the programs");
    let programs = build(release)?;
    say("packing");
    pack(release, &programs, &release.out, time(&release.top))
}

fn build(release: &Release) -> Result<Programs, LabError> {
    let mut command = cargo::build_programs(&release.top);
    if release.optimised {
        command.arg("--release");
    }
    run(&mut command)?;
    let profile = if release.optimised {
        "release"
    } else {
        "debug"
    };
    let folder = release.top.join("target").join(profile);
    Ok(Programs {
        mailmend: folder.join("mailmend"),
        agent: folder.join("mailmend-agent"),
        agent_for_windows: if release.optimised {
            toolchain::build_agent_for_release(&release.top)?
        } else {
            toolchain::build(&release.top)?.agent
        },
    })
}

/// Packs programs that are built.
fn pack(
    release: &Release,
    programs: &Programs,
    out: &Path,
    time: u64,
) -> Result<Archives, LabError> {
    std::fs::create_dir_all(out).attempting(|| format!("make `{}`", out.display()))?;
    let out = out
        .canonicalize()
        .attempting(|| format!("find `{}`", out.display()))?;
    let archives = Archives {
        linux: format!("mailmend-{VERSION}-x86_64-linux.tar.gz"),
        debian: format!("mailmend-agent_{VERSION}_amd64.deb"),
        windows: format!("mailmend-agent-{VERSION}-x86_64-windows.zip"),
        folder: out,
        time,
    };
    // What only a check opens need not be small.
    let effort = if release.optimised { "-9" } else { "-1" };
    linux::tar(&release.top, programs, &archives, (time, effort))?;
    linux::deb(&release.top, programs, &archives, (time, effort))?;
    windows::zip(&release.top, programs, &archives, (time, effort))?;
    let mut sums = Command::new("sha256sum");
    sums.args([&archives.debian, &archives.linux, &archives.windows])
        .current_dir(&archives.folder);
    let sums = run(&mut sums)?.stdout;
    let file = archives.folder.join(SUMS);
    std::fs::write(&file, sums).attempting(|| format!("write `{}`", file.display()))?;
    Ok(archives)
}

/// The time of every file in the archives, in seconds since 1970 UTC: what the environment says, else that of
/// the last commit. A source package without git has one time for all that ever was.
fn time(top: &Path) -> u64 {
    let said = std::env::var("SOURCE_DATE_EPOCH").ok();
    let said = said.and_then(|text| text.parse().ok());
    said.or_else(|| {
        let mut git = Command::new("git");
        let output = run(git.args(["log", "-1", "--format=%ct"]).current_dir(top)).ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    })
    // A zip knows no time before 1980.
    .unwrap_or(315_532_800)
}

/// Runs a program to its end, quietly.
fn run(command: &mut Command) -> Result<Output, LabError> {
    let attempted = format!("run `{}`", command.get_program().display());
    let output = command.output().attempting(|| attempted.clone())?;
    if output.status.success() {
        return Ok(output);
    }
    Err(LabError::Refused {
        attempted,
        reason: format!(
            "it ended with {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    })
}
