//! The packages of Debian that have what is needed, installed where that may be done.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::getuid;

use crate::lab_error::{Attempting, LabError};

/// The compiler that has the sources of its own standard library beside it.
pub(super) const RUSTC: &str = "/usr/bin/rustc";
/// Wine's loader, which its package puts beside its libraries and on nobody's path.
pub(crate) const WINE: &str = "/usr/lib/wine/wine64";
/// What keeps a Windows of Wine's together, from the same package.
pub(crate) const WINESERVER: &str = "/usr/lib/wine/wineserver64";
/// The C compiler for Windows.
pub(super) const CC: &str = "x86_64-w64-mingw32-gcc";

/// Packages, each with a file of it that is needed.
const PACKAGES: [(&str, &str); 4] = [
    ("rustc-web", RUSTC),
    (
        "rust-web-src",
        "/usr/lib/rustlib/src/rust/library/std/Cargo.toml",
    ),
    ("gcc-mingw-w64-x86-64", "/usr/bin/x86_64-w64-mingw32-gcc"),
    ("wine64", WINE),
];

/// The packages that are not there.
#[must_use]
pub fn missing() -> Vec<&'static str> {
    let absent = |file: &str| !Path::new(file).exists();
    let packages = PACKAGES.iter().filter(|(_, file)| absent(file));
    packages.map(|(package, _)| *package).collect()
}

/// Whether what is missing may be installed.
pub(super) fn may_install() -> bool {
    getuid().is_root() && Path::new("/usr/bin/apt-get").exists()
}

/// Installs what is missing.
///
/// # Errors
/// Where this account may not, or the packages cannot be had.
pub fn ready(say: &dyn Fn(&str)) -> Result<(), LabError> {
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    let attempted = format!("install {}", packages.join(" "));
    let refused = |reason: &str| {
        Err(LabError::Refused {
            attempted: attempted.clone(),
            reason: format!("{reason}; `apt-get install {}` as root", packages.join(" ")),
        })
    };
    if !getuid().is_root() {
        return refused("this account is not root");
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        return refused("this is no Debian");
    }
    say(&format!("installing {}", packages.join(" ")));
    // Old lists name versions that are gone; whether they could be renewed, the installation tells.
    let _ = apt(&["update"])?;
    let options = ["install", "-y", "--no-install-recommends"];
    if apt(&[&options[..], &packages].concat())? && missing().is_empty() {
        return Ok(());
    }
    refused("the packages could not be had")
}

fn apt(arguments: &[&str]) -> Result<bool, LabError> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .attempting(|| format!("run `apt-get {}`", arguments.join(" ")))?;
    Ok(status.success())
}
