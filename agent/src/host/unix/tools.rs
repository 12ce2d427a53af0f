//! Programs, run without a shell and with nothing inherited.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::reading;
use crate::host::program::{self, Printed};
use crate::host::{HostError, HostErrorKind, ToolOutput, Tools};

#[derive(Debug)]
pub(super) struct Programs;

impl Tools for Programs {
    fn run(
        &self,
        program: &Path,
        arguments: &[String],
        limit: Duration,
    ) -> Result<ToolOutput, HostError> {
        let attempted = || format!("run `{}`", program.display());
        if !program.is_absolute() {
            return Err(HostError::unchanged(
                HostErrorKind::Malformed,
                attempted(),
                "the path of the program is not absolute",
            ));
        }
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| reading(attempted(), &error))?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let printed = Printed::by(&mut child);
        let status = program::wait(&mut child, limit).map_err(|error| HostError {
            effect: crate::host::Effect::Unknown,
            ..reading(attempted(), &error)
        })?;
        // Something that it started lives on and holds a pipe. The group exists as long as that does, so its
        // number cannot have passed to anybody else.
        let text = printed.text(status.is_some(), || end(group));
        match status {
            Some(status) => Ok(ToolOutput {
                exit_code: status.code(),
                text,
            }),
            None => {
                end(group);
                // Reaps it; it has been killed.
                let _ = child.wait();
                Err(HostError::unknown(
                    HostErrorKind::TimedOut,
                    attempted(),
                    format!("it did not end within {limit:?} and was ended"),
                ))
            }
        }
    }
}

fn end(group: Option<Pid>) {
    if let Some(group) = group {
        // It may have ended meanwhile, which is as good.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Effect;
    use crate::host::program::KEPT;
    use std::time::Instant;

    fn shell(script: &str, limit: Duration) -> Result<ToolOutput, HostError> {
        Programs.run(Path::new("/bin/sh"), &["-c".into(), script.into()], limit)
    }
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn output_and_exit_code_come_back_and_nothing_is_inherited() {
        let output = shell(
            "echo out; echo err >&2; cat; echo \"[$HOME]\"; exit 3",
            LONG,
        )
        .unwrap();
        assert_eq!(output.exit_code, Some(3));
        assert_eq!(output.text, "out\n[]\nerr\n");
    }

    #[test]
    fn a_flood_of_output_is_cut_and_does_not_block() {
        let output = shell("head -c 3000000 /dev/zero", LONG).unwrap();
        assert_eq!(output.exit_code, Some(0));
        assert_eq!(output.text.len() as u64, KEPT);
    }

    #[test]
    fn a_program_that_does_not_end_is_ended_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let began = Instant::now();
        let error = shell(&script, Duration::from_millis(500)).unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (HostErrorKind::TimedOut, Effect::Unknown)
        );
        assert!(began.elapsed() < Duration::from_secs(30));
        let pid = std::fs::read_to_string(&file).unwrap();
        // The grandchild is killed too; init may take a moment to reap it.
        let stat = format!("/proc/{}/stat", pid.trim());
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::fs::read_to_string(&stat).is_ok_and(|s| !s.contains(") Z")) {
            assert!(Instant::now() < deadline, "the grandchild lives on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_program_that_cannot_be_started_changed_nothing() {
        let missing = Programs
            .run(Path::new("/nowhere/tool"), &[], LONG)
            .unwrap_err();
        assert_eq!(
            (missing.kind, missing.effect),
            (HostErrorKind::NotFound, Effect::None)
        );
        let relative = Programs.run(Path::new("sh"), &[], LONG).unwrap_err();
        assert_eq!(relative.kind, HostErrorKind::Malformed);
    }
}
