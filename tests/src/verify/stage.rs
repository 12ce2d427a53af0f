//! One stage of the verification: a program, what it printed, how long it took.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::awaited;

/// How many lines of a failed stage's output are shown; the rest is in its file.
const SHOWN: usize = 80;

/// A stage.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) name: &'static str,
    limit: Duration,
    command: Command,
}

/// How a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Passed,
    Failed,
}

impl Stage {
    /// A stage that runs a command, and has failed when that has not ended within `minutes`.
    pub(super) fn new(name: &'static str, minutes: u64, command: Command) -> Self {
        Self {
            name,
            limit: Duration::from_secs(minutes * 60),
            command,
        }
    }

    /// Runs it; what it prints goes to a file in `logs`.
    pub(super) fn run(&mut self, logs: &Path, interrupted: &AtomicBool) -> Ended {
        let begun = Instant::now();
        let log = logs.join(format!("{}.log", self.name.replace(' ', "-")));
        if std::io::stdout().is_terminal() {
            print!("…         {}\r", self.name);
            let _ = std::io::stdout().flush();
        }
        let (ended, why) = match self.run_into(&log, interrupted) {
            Ok(None) => (Ended::Passed, String::new()),
            Ok(Some(why)) => (Ended::Failed, why),
            Err(error) => (Ended::Failed, error.to_string()),
        };
        let seconds = begun.elapsed().as_secs_f32();
        match ended {
            Ended::Passed => println!("passed    {} ({seconds:.1} s)", self.name),
            Ended::Failed => {
                println!(
                    "FAILED    {} ({seconds:.1} s): {why}; all of it: {}",
                    self.name,
                    log.display()
                );
                let text = std::fs::read(&log).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let lines: Vec<&str> = text.lines().collect();
                for line in &lines[lines.len().saturating_sub(SHOWN)..] {
                    println!("    {line}");
                }
            }
        }
        ended
    }

    /// `None` where it succeeded, else why not.
    fn run_into(
        &mut self,
        log: &Path,
        interrupted: &AtomicBool,
    ) -> std::io::Result<Option<String>> {
        let output = File::create(log)?;
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // A group of its own, so that what the stage has started can be ended with it.
            .process_group(0)
            .spawn()?;
        let mut status = None;
        awaited::until(self.limit, || {
            status = child.try_wait().ok().flatten();
            status.is_some() || interrupted.load(Ordering::Relaxed)
        });
        let Some(status) = status else {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            child.wait()?;
            return Ok(Some(format!(
                "it did not end within {} s",
                self.limit.as_secs()
            )));
        };
        Ok((!status.success()).then(|| status.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Ended {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let mut stage = Stage {
            name: "a stage",
            limit,
            command,
        };
        stage.run(folder.path(), &AtomicBool::new(false))
    }

    #[test]
    fn a_stage_passes_only_when_its_program_succeeds_in_time() {
        let long = Duration::from_secs(60);
        assert_eq!(shell("exit 0", long), Ended::Passed);
        assert_eq!(shell("exit 3", long), Ended::Failed);
        assert_eq!(shell("kill -9 $$", long), Ended::Failed);
        let short = Duration::from_millis(50);
        assert_eq!(shell("sleep 100 & sleep 100", short), Ended::Failed);
    }
}
