//! The archive for Windows: the agent, what installs it, and examples.

use std::path::Path;
use std::process::Command;

use super::tree::Tree;
use super::{Archives, Programs, run};
use crate::lab_error::{Attempting, LabError};

const STRIP: &str = "x86_64-w64-mingw32-strip";

pub(super) fn zip(
    top: &Path,
    programs: &Programs,
    archives: &Archives,
    (time, effort): (u64, &str),
) -> Result<(), LabError> {
    let tree = Tree::new(time)?;
    let root = archives.windows.trim_end_matches(".zip");
    let at = |name: &str| format!("{root}/{name}");
    tree.program(
        STRIP,
        &programs.agent_for_windows,
        &at("mailmend-agent.exe"),
    )?;
    let from = top.join("agent/install/windows");
    let texts = [
        "README.txt",
        "agent.toml",
        "guard.toml",
        "install.cmd",
        "uninstall.cmd",
    ];
    let texts = texts.map(|name| (from.join(name), name));
    for (file, name) in texts.iter().chain([&(top.join("LICENSE"), "LICENSE.txt")]) {
        let text =
            std::fs::read_to_string(file).attempting(|| format!("read `{}`", file.display()))?;
        // As the editors and the command interpreter of old Windows want them.
        tree.text(&at(name), text.replace('\n', "\r\n"))?;
    }
    let names = tree.finish()?;
    let to = archives.folder.join(&archives.windows);
    // It would add to one that is there.
    let _ = std::fs::remove_file(&to);
    run(Command::new("zip")
        .args(["-X", effort, "-q", "--no-dir-entries"])
        .arg(&to)
        .args(&names)
        .current_dir(tree.path())
        .env("TZ", "UTC"))?;
    Ok(())
}
