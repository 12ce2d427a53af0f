//! Manual pages and completions of shells, as a program tells them of itself, where Linux looks for them.

use std::path::Path;
use std::process::Command;

use super::run;
use super::tree::Tree;
use crate::lab_error::{Attempting, LabError};

/// How pages of the manual are laid down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// For whoever copies them somewhere.
    Plain,
    /// As Debian wants them.
    Gzip,
}

/// Where bash, zsh and fish look below `share`, with what stands around the program's name.
const COMPLETIONS: [(&str, &str, &str, &str); 3] = [
    ("bash", "bash-completion/completions", "", ""),
    ("zsh", "zsh/vendor-completions", "_", ""),
    ("fish", "fish/vendor_completions.d", "", ".fish"),
];

/// Lays what `program` tells of itself below `share`.
pub(super) fn lay_out(
    tree: &Tree,
    program: &Path,
    share: &str,
    how: Pages,
) -> Result<(), LabError> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    for (shell, folder, before, after) in COMPLETIONS {
        let script = run(asked(program).args(["completions", shell]))?.stdout;
        tree.text(&format!("{share}/{folder}/{before}{name}{after}"), script)?;
    }
    let pages = tempfile::tempdir().attempting(|| "make a folder for the manual".into())?;
    run(asked(program).args(["man", "--out"]).arg(pages.path()))?;
    let attempted = || "read the manual".to_owned();
    for entry in std::fs::read_dir(pages.path()).attempting(attempted)? {
        let page = entry.attempting(attempted)?.path();
        let section = page.extension().unwrap_or_default().to_string_lossy();
        let name = page.file_name().unwrap_or_default().to_string_lossy();
        let to = format!("{share}/man/man{section}/{name}");
        match how {
            Pages::Plain => tree.copy(&page, &to)?,
            Pages::Gzip => {
                let packed = run(Command::new("gzip")
                    .args(["-9", "--no-name", "--stdout"])
                    .arg(&page))?;
                tree.text(&format!("{to}.gz"), packed.stdout)?;
            }
        }
    }
    Ok(())
}

/// The program, without anything that this machine's environment would have it tell.
fn asked(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command
}
