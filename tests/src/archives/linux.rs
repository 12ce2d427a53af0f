//! The archives for Linux: everything as a tar.gz, the agent as a Debian package.

use std::path::Path;
use std::process::Command;

use super::tree::Tree;
use super::{Archives, Programs, VERSION, manual, run};
use crate::lab_error::{Attempting, LabError};

const STRIP: &str = "strip";

/// Controller, agent, examples, policies, documents.
pub(super) fn tar(
    top: &Path,
    programs: &Programs,
    archives: &Archives,
    (time, effort): (u64, &str),
) -> Result<(), LabError> {
    let tree = Tree::new(time)?;
    let root = archives.linux.trim_end_matches(".tar.gz");
    let at = |name: &str| format!("{root}/{name}");
    tree.program(STRIP, &programs.mailmend, &at("bin/mailmend"))?;
    tree.program(STRIP, &programs.agent, &at("bin/mailmend-agent"))?;
    for name in ["agent.toml", "guard.toml"] {
        let from = top.join("agent/install/linux").join(name);
        tree.copy(&from, &at(&format!("etc/mailmend/{name}")))?;
    }
    tree.text(&at("systemd/mailmend-agent.service"), unit(top, programs)?)?;
    for (from, ending) in [("policies/library", "toml"), ("docs", "md")] {
        let folder = top.join(from);
        let into = from.trim_end_matches("/library");
        for name in files(&folder, ending)? {
            tree.copy(&folder.join(&name), &at(&format!("{into}/{name}")))?;
        }
    }
    for name in ["README.md", "CHANGELOG.md", "LICENSE"] {
        tree.copy(&top.join(name), &at(name))?;
    }
    let share = at("share");
    manual::lay_out(&tree, &programs.mailmend, &share, manual::Pages::Plain)?;
    manual::lay_out(&tree, &programs.agent, &share, manual::Pages::Plain)?;
    let names = tree.finish()?;
    let plain = tree.path().join("plain.tar");
    run(Command::new("tar")
        .args([
            "--create",
            "--format=ustar",
            "--no-recursion",
            "--sort=none",
        ])
        .args(["--owner=0", "--group=0", "--numeric-owner"])
        .arg("--file")
        .arg(&plain)
        .arg("--directory")
        .arg(tree.path())
        .args(&names))?;
    let packed = run(Command::new("gzip")
        .args([effort, "--no-name", "--stdout"])
        .arg(&plain))?;
    let to = archives.folder.join(&archives.linux);
    std::fs::write(&to, packed.stdout).attempting(|| format!("write `{}`", to.display()))
}

/// The agent, as Debian has it.
pub(super) fn deb(
    top: &Path,
    programs: &Programs,
    archives: &Archives,
    (time, effort): (u64, &str),
) -> Result<(), LabError> {
    let tree = Tree::new(time)?;
    let about = "usr/share/doc/mailmend-agent";
    tree.program(STRIP, &programs.agent, "usr/bin/mailmend-agent")?;
    for name in ["agent.toml", "guard.toml"] {
        let from = top.join("agent/install/linux").join(name);
        tree.copy(&from, &format!("etc/mailmend/{name}"))?;
    }
    tree.copy(&top.join("LICENSE"), &format!("{about}/copyright"))?;
    tree.copy(&top.join("README.md"), &format!("{about}/README.md"))?;
    manual::lay_out(&tree, &programs.agent, "usr/share", manual::Pages::Gzip)?;
    tree.text(
        &format!("{about}/examples/mailmend-agent.service"),
        unit(top, programs)?,
    )?;
    let size: u64 = tree
        .finish()?
        .iter()
        .filter_map(|name| std::fs::metadata(tree.path().join(name)).ok())
        .map(|about| about.len())
        .sum();
    let from = top.join("agent/install/debian");
    let control = read(&from.join("control"))?
        .replace("@VERSION@", VERSION)
        .replace("@GLIBC@", &least_glibc(&programs.agent)?)
        .replace("@SIZE@", &(size / 1024).to_string());
    tree.text("DEBIAN/control", control)?;
    tree.copy(&from.join("conffiles"), "DEBIAN/conffiles")?;
    for name in ["postinst", "prerm", "postrm"] {
        tree.script(&format!("DEBIAN/{name}"), read(&from.join(name))?)?;
    }
    tree.finish()?;
    run(Command::new("dpkg-deb")
        .args([
            "--root-owner-group",
            "-Zxz",
            &format!("-z{}", &effort[1..]),
            "--build",
        ])
        .arg(tree.path())
        .arg(archives.folder.join(&archives.debian))
        .env("SOURCE_DATE_EPOCH", time.to_string()))?;
    Ok(())
}

/// The unit for the example, as the agent itself writes it: one text, in one place.
fn unit(top: &Path, programs: &Programs) -> Result<String, LabError> {
    // As the agent writes it, wherever this program was started.
    let folder = top
        .join("agent/install/linux")
        .canonicalize()
        .attempting(|| "find the examples".into())?;
    let (config, guard) = (folder.join("agent.toml"), folder.join("guard.toml"));
    let output = run(Command::new(&programs.agent)
        .args(["service", "install", "--dry-run", "--config"])
        .arg(&config)
        .arg("--guard")
        .arg(&guard)
        .env_clear())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let agent = programs
        .agent
        .canonicalize()
        .attempting(|| "find the agent".into())?;
    Ok(text
        .replace(&format!(" \"--guard\" \"{}\"", guard.display()), "")
        .replace(&guard.display().to_string(), "/etc/mailmend/guard.toml")
        .replace(&config.display().to_string(), "/etc/mailmend/agent.toml")
        .replace(&agent.display().to_string(), "/usr/bin/mailmend-agent"))
}

/// The oldest C library that has all that the program asks of it.
fn least_glibc(program: &Path) -> Result<String, LabError> {
    const MARK: &[u8] = b"GLIBC_2.";
    let bytes = std::fs::read(program).attempting(|| format!("read `{}`", program.display()))?;
    let minor = bytes
        .windows(MARK.len() + 2)
        .filter(|window| window.starts_with(MARK))
        .filter_map(|window| {
            let digits = &window[MARK.len()..];
            let length = digits
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            std::str::from_utf8(&digits[..length])
                .ok()?
                .parse::<u32>()
                .ok()
        })
        .max();
    minor
        .map(|minor| format!("2.{minor}"))
        .ok_or_else(|| LabError::Refused {
            attempted: "find out which C library the agent needs".into(),
            reason: "it names none".into(),
        })
}

/// The names of the files with that ending below a folder, `invalid` policies left out.
fn files(folder: &Path, ending: &str) -> Result<Vec<String>, LabError> {
    let attempted = || format!("read `{}`", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).attempting(attempted)? {
        let path = entry.attempting(attempted)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && name != "invalid" {
            let below = files(&path, ending)?;
            names.extend(below.into_iter().map(|below| format!("{name}/{below}")));
        } else if path.extension().is_some_and(|found| found == ending) {
            names.push(name);
        }
    }
    Ok(names)
}

fn read(file: &Path) -> Result<String, LabError> {
    std::fs::read_to_string(file).attempting(|| format!("read `{}`", file.display()))
}
