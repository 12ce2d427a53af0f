//! A program that was run to its end, and what may be said of it.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use mailmend_lab::awaited;

/// How long a program that refuses may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// `None`: it had to be killed.
    code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs a program to its end.
pub(super) fn run(command: &mut Command) -> Ended {
    // Files, not pipes: a program that says a lot is not held up by nobody reading.
    let folder = tempfile::tempdir().unwrap();
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(File::create(&err).unwrap())
        .spawn()
        .unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let mut status = None;
    awaited::until(LIMIT, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let read = |path| String::from_utf8(std::fs::read(path).unwrap()).unwrap();
    Ended {
        code: status.and_then(|status| status.code()),
        stdout: read(&out),
        stderr: read(&err),
    }
}

impl Ended {
    /// It succeeded. Answers what it printed.
    #[track_caller]
    pub(super) fn succeeded(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:#?}");
        &self.stdout
    }

    /// It ended with this exit code and one message: this fault's code first, what happened, what
    /// to do. Answers the message.
    #[track_caller]
    pub(super) fn refused(&self, exit: i32, code: &str) -> &str {
        self.ended_in_peace(exit);
        assert!(self.stdout.is_empty(), "an answer: {}", self.stdout);
        let said = &self.stderr;
        let start = format!("error[{code}]: ");
        assert!(said.starts_with(&start), "not `{code}`: {said}");
        assert_eq!(said.matches("error[").count(), 1, "told once: {said}");
        let advises = said.contains("\nhelp: ") || said.contains("; `mailmend ");
        assert!(advises, "no advice: {said}");
        said
    }

    /// It ended with this exit code and showed this fault of a file at its place, with a hint.
    #[track_caller]
    pub(super) fn shown(&self, exit: i32, code: &str, place: &str) -> &str {
        self.ended_in_peace(exit);
        // `policy check` is asked for the faults: they are its answer.
        let said = if self.stdout.is_empty() {
            &self.stderr
        } else {
            assert!(self.stderr.is_empty(), "{}", self.stderr);
            &self.stdout
        };
        assert!(said.starts_with(code), "not `{code}`: {said}");
        assert!(
            said.contains(&format!("[{place}]")),
            "not at `{place}`: {said}"
        );
        said
    }

    #[track_caller]
    fn ended_in_peace(&self, exit: i32) {
        assert_eq!(self.code, Some(exit), "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        assert!(!self.stderr.contains('\u{1b}'), "{}", self.stderr);
    }
}
