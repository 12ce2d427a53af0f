//! Programs, run without a shell and with nothing inherited.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::reading;
use crate::host::{HostError, HostErrorKind, ToolOutput, Tools};

/// How much of each stream is kept.
const KEPT: u64 = 1024 * 1024;
/// How long the pipes may stay open after the program ended: what it started may hold them.
const DRAIN: Duration = Duration::from_secs(2);
/// How often its end is looked for.
const LOOK: Duration = Duration::from_millis(5);

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
        let out = child.stdout.take().map(collect);
        let err = child.stderr.take().map(collect);
        let status = wait(&mut child, limit).map_err(|error| HostError {
            effect: crate::host::Effect::Unknown,
            ..reading(attempted(), &error)
        })?;
        let drained = Instant::now() + DRAIN;
        let mut bytes = Vec::new();
        for stream in [out, err].into_iter().flatten() {
            let left = drained.saturating_duration_since(Instant::now());
            match stream.recv_timeout(if status.is_some() {
                left
            } else {
                Duration::ZERO
            }) {
                Ok(read) => bytes.extend(read),
                // Something that it started lives on and holds the pipe. The group exists as long
                // as that does, so its number cannot have passed to anybody else.
                Err(_) => end(group),
            }
        }
        match status {
            Some(status) => Ok(ToolOutput {
                exit_code: status.code(),
                text: String::from_utf8_lossy(&bytes).into_owned(),
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

/// Its exit status, or `None` when the limit has passed. Until then it is not reaped, so its number
/// cannot pass to another process.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() >= limit {
            return Ok(None);
        }
        // A child cannot be waited for with a limit, so it is looked at until then.
        std::thread::sleep(LOOK.min(limit));
    }
}

fn end(group: Option<Pid>) {
    if let Some(group) = group {
        // It may have ended meanwhile, which is as good.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Reads a stream to its end, so that the program never blocks, and keeps the first part.
fn collect(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        // An error ends the stream as its end does; what came before it still counts.
        let _ = stream.by_ref().take(KEPT).read_to_end(&mut kept);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
        // Nobody waits any more where the limit has passed.
        let _ = sender.send(kept);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Effect;

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
