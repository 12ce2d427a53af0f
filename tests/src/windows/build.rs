//! Building for Windows.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::packages::{CC, RUSTC};
use crate::cargo;
use crate::lab_error::{Attempting, LabError};

/// Windows 7 and Server 2008 R2, and every one since. Programs for the ordinary target need a library that
/// these have not, and that Debian's Wine has not.
const TARGET: &str = "x86_64-win7-windows-gnu";

/// What is optimised for the tests of this machine, which live thousands of lives of an agent. Those are left out
/// under Wine, and half of the time in which these are built goes into it.
const NOT_OPTIMISED: [&str; 7] = [
    "blake3",
    "mailmend-agent",
    "mailmend-policy",
    "mailmend-proto",
    "toml",
    "toml_parser",
    "winnow",
];

/// What was built.
#[derive(Debug)]
pub struct Built {
    /// The agent.
    pub agent: PathBuf,
    /// Where it is, with what a server of the lab is made of beside it.
    pub folder: PathBuf,
    /// The tests of the agent's library.
    pub tests: PathBuf,
    /// The service that they install.
    pub small_service: PathBuf,
}

/// Where all that is for Windows goes: a folder of its own, because its compiler is another one.
pub(super) fn folder(top: &Path) -> PathBuf {
    top.join("target/windows")
}

/// The folder with the programs for Windows, whether they are built or not.
#[must_use]
pub fn programs(top: &Path) -> PathBuf {
    folder(top).join(TARGET).join("debug")
}

/// Builds the agent and a server of the lab for Windows, with the tests of the agent's library and the
/// service that these need.
///
/// # Errors
/// Where it does not build.
pub fn build(top: &Path) -> Result<Built, LabError> {
    // With the example, what tests need is chosen here too: the second finds all built but the library for them.
    let arguments = [
        "build",
        "--package",
        "mailmend-agent",
        "--package",
        "mailmend-lab",
        "--bins",
        "--example",
        "small_service",
    ];
    run(&mut cargo_for_windows(top, &arguments))?;
    let library = [
        "test",
        "--no-run",
        "--package",
        "mailmend-agent",
        "--lib",
        "--message-format",
        "json-render-diagnostics",
    ];
    let tests = tests(&mut cargo_for_windows(top, &library))?;
    let folder = programs(top);
    Ok(Built {
        agent: folder.join("mailmend-agent.exe"),
        small_service: folder.join("examples/small_service.exe"),
        folder,
        tests,
    })
}

/// Builds the agent for Windows as it is released.
///
/// # Errors
/// Where it does not build.
pub fn build_agent_for_release(top: &Path) -> Result<PathBuf, LabError> {
    let arguments = [
        "build",
        "--release",
        "--package",
        "mailmend-agent",
        "--bins",
    ];
    run(&mut cargo_for_windows(top, &arguments))?;
    Ok(folder(top).join(TARGET).join("release/mailmend-agent.exe"))
}

/// The program that cargo says it has built: the name of one of tests has a number in it.
fn tests(cargo: &mut Command) -> Result<PathBuf, LabError> {
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .attempting(|| "run cargo for Windows".into())?;
    let said = String::from_utf8_lossy(&output.stdout);
    let program = said.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    match program {
        Some(program) if output.status.success() => Ok(program),
        _ => Err(LabError::Refused {
            attempted: "build the tests for Windows".into(),
            reason: format!("cargo ended with {}", output.status),
        }),
    }
}

fn run(command: &mut Command) -> Result<(), LabError> {
    let status = command
        .status()
        .attempting(|| "run cargo for Windows".into())?;
    if status.success() {
        return Ok(());
    }
    Err(LabError::Refused {
        attempted: "build for Windows".into(),
        reason: format!("cargo ended with {status}"),
    })
}

/// Cargo with Debian's compiler, which builds its standard library for Windows as well.
fn cargo_for_windows(top: &Path, arguments: &[&str]) -> Command {
    let mut command = cargo::cargo(top);
    command
        .args(arguments)
        .args([
            // The harness of tests as well, also where none is built: the standard library is another one with it,
            // and everything else would be built once for each.
            "-Zbuild-std=std,panic_unwind,test",
            // Not what reads a backtrace: the programs have no names in them that it could tell.
            "-Zbuild-std-features=panic-unwind",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(folder(top))
        // The compiler is a stable one; building its library is not stable yet.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", RUSTC)
        // A toolchain that rustup has chosen for us would be asked for the library's sources.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTFLAGS")
        // Nobody debugs these, and linking is half as long without.
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_INCREMENTAL", "0");
    for package in NOT_OPTIMISED {
        let setting = format!("profile.dev.package.{package}.opt-level=0");
        command.args(["--config", &setting]);
    }
    // Without these the C in some crates is compiled for this machine, and linking fails.
    let here = TARGET.replace('-', "_");
    for (variable, program) in [
        (format!("CC_{here}"), CC),
        (format!("CXX_{here}"), "x86_64-w64-mingw32-g++"),
        (format!("AR_{here}"), "x86_64-w64-mingw32-ar"),
        (format!("CARGO_TARGET_{}_LINKER", here.to_uppercase()), CC),
    ] {
        command.env(variable, program);
    }
    command
}
