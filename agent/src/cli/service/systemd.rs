//! The agent as a systemd unit.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use mailmend_agent::config::Config;
use mailmend_agent::guard::{Guard, GuardError};

use super::unit::{MARK, Unit};
use super::{Answer, Install, Named, Outcome, Run, command, what_stays};
use crate::cli::failure::Failure;
use crate::cli::table::{json, say};
use crate::cli::{Common, Output, run};

/// Where systemd tells that it runs this machine.
const BOOTED: &str = "/run/systemd/system";

/// The agent at work: the same as `run`, which tells systemd how it is where systemd asks for it.
pub(super) fn run(common: &Common, _run: &Run) -> Result<(), Failure> {
    run::run(common)
}

pub(super) fn install(common: &Common, config: &Config, what: &Install) -> Result<(), Failure> {
    let guard = if what.dry_run {
        // What is printed may be for another machine.
        let shown = config.guard.value.display().to_string();
        let text = std::fs::read_to_string(&config.guard.value).map_err(|why| {
            Failure::usage(format!(
                "A004-guard-unreadable: `{shown}` cannot be read: {why}"
            ))
        })?;
        Guard::parse(&shown, &text).map_err(GuardError::from)?
    } else {
        Guard::read(&config.guard.value)?
    };
    let command = command(common, config)?;
    let changes: Vec<PathBuf> = guard
        .roots()
        .iter()
        .cloned()
        .chain(guard.hold_folder().map(Path::to_path_buf))
        .collect();
    let written_from = [config.file.as_path(), config.guard.value.as_path()];
    let text = Unit {
        server: config.name.value.as_str(),
        command: &command,
        written_from,
        data: &config.data.value,
        changes: &changes,
        account: what.account.as_deref(),
    }
    .text()
    .map_err(|why| Failure::usage(why.to_string()))?;
    if what.dry_run {
        return match common.output {
            Output::Json => json(&serde_json::json!({ "file": file(&what.named), "unit": text })),
            Output::Table => say(text.trim_end()),
        };
    }
    let file = file(&what.named);
    let outcome = match present(&file)? {
        None => Outcome::Installed,
        Some(there) if there == text => Outcome::Unchanged,
        Some(_) => Outcome::Updated,
    };
    if outcome != Outcome::Unchanged {
        write(&file, &text).map_err(|why| denied(&file, "written", &why))?;
    }
    let mut notes = Vec::new();
    let unit = format!("{}.service", what.named.service);
    if runs_here(&what.named) {
        systemctl(&["daemon-reload"])?;
        systemctl(&["enable", "--quiet", &unit])?;
        if what.start {
            systemctl(&["start", &unit])?;
        } else {
            notes.push(format!("to start it now: systemctl start {unit}"));
        }
        if outcome == Outcome::Updated {
            notes.push(format!(
                "an agent that runs goes on as before until: systemctl restart {unit}"
            ));
        }
    } else {
        if what.start {
            return Err(manager(format!(
                "systemd does not run this machine: `{}` was written and not started",
                file.display()
            )));
        }
        notes.push(format!(
            "systemd does not run here; where it does: systemctl enable --now {unit}"
        ));
    }
    Answer {
        service: &what.named.service,
        outcome,
        entry: file.display().to_string(),
        started: what.start,
        notes,
    }
    .tell(common.output)
}

pub(super) fn uninstall(common: &Common, named: &Named) -> Result<(), Failure> {
    let file = file(named);
    let answer = |outcome, notes| Answer {
        service: &named.service,
        outcome,
        entry: file.display().to_string(),
        started: false,
        notes,
    };
    if present(&file)?.is_none() {
        return answer(Outcome::NotInstalled, what_stays(common)).tell(common.output);
    }
    let unit = format!("{}.service", named.service);
    if runs_here(named) {
        // It waits until the agent has brought mail service up and has ended.
        systemctl(&["disable", "--quiet", "--now", &unit])?;
    }
    std::fs::remove_file(&file).map_err(|why| denied(&file, "removed", &why))?;
    if runs_here(named) {
        systemctl(&["daemon-reload"])?;
    }
    answer(Outcome::Removed, what_stays(common)).tell(common.output)
}

fn file(named: &Named) -> PathBuf {
    named.units.join(format!("{}.service", named.service))
}

/// Whether systemd runs this machine and knows the units of that folder.
fn runs_here(named: &Named) -> bool {
    Path::new(BOOTED).is_dir()
        && ["/etc/systemd/system", "/run/systemd/system"]
            .iter()
            .any(|known| named.units == Path::new(known))
}

/// The unit that is there, which has to be ours.
fn present(file: &Path) -> Result<Option<String>, Failure> {
    match std::fs::read_to_string(file) {
        Ok(text) if text.starts_with(MARK) => Ok(Some(text)),
        Ok(_) => Err(Failure::failed(format!(
            "A130-service-foreign: `{}` was not written by `mailmend-agent service install`; move it away, or name another with `--service`",
            file.display()
        ))
        .with_exit(5)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(denied(file, "read", &error)),
    }
}

/// Written whole: systemd reads the old one or the new one.
fn write(file: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let mut new = tempfile::Builder::new()
        .prefix(".mailmend-")
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)?;
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(file).map_err(|error| error.error)?;
    Ok(())
}

fn denied(file: &Path, attempted: &str, why: &io::Error) -> Failure {
    if why.kind() == ErrorKind::PermissionDenied {
        return Failure::failed(format!(
            "A131-service-denied: `{}` could not be {attempted}: {why}; do it as root",
            file.display()
        ))
        .with_exit(5);
    }
    manager(format!(
        "`{}` could not be {attempted}: {why}",
        file.display()
    ))
}

fn manager(why: String) -> Failure {
    Failure::failed(format!("A132-service-manager: {why}"))
}

fn systemctl(arguments: &[&str]) -> Result<(), Failure> {
    let call = format!("systemctl {}", arguments.join(" "));
    let output = Command::new("systemctl")
        .args(arguments)
        .output()
        .map_err(|why| manager(format!("`{call}` could not be run: {why}")))?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(manager(format!("`{call}` failed: {}", told.trim())))
}
