use std::time::Instant;

use super::*;
use crate::host::program::KEPT;

const LONG: Duration = Duration::from_secs(60);
const HERE: Programs = Programs {
    machine: Machine::Local,
};

fn shell(script: &str, limit: Duration) -> Result<ToolOutput, HostError> {
    let arguments = ["/d", "/c", script].map(String::from);
    HERE.run(Path::new(r"C:\windows\system32\cmd.exe"), &arguments, limit)
}

#[test]
fn output_and_exit_code_come_back_and_nothing_is_inherited() {
    let output = shell("echo out& echo [%MAILMEND_WINE_LINKED%]& exit 3", LONG).unwrap();
    assert_eq!(output.exit_code, Some(3));
    assert!(output.text.starts_with("out"), "{}", output.text);
    // An unset name is printed as it stands.
    assert!(
        output.text.contains("[%MAILMEND_WINE_LINKED%]"),
        "{}",
        output.text
    );
    assert!(output.text.len() < 1000 && KEPT > 1000);
}

#[test]
fn a_program_that_does_not_end_is_ended_with_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lives.txt");
    // What it starts goes on writing until it is ended.
    let script = format!(
        "start /b cmd /d /c for /l %i in (1,1,100000000) do @echo x> \"{}\"& pause",
        file.display()
    );
    let began = Instant::now();
    let error = shell(&script, Duration::from_secs(3)).unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (HostErrorKind::TimedOut, Effect::Unknown)
    );
    assert!(began.elapsed() < LONG);
    // Nobody holds the file any more, and nobody writes it again.
    let until = Instant::now() + LONG;
    while file.exists() && std::fs::remove_file(&file).is_err() {
        assert!(Instant::now() < until, "what it started lives on");
        std::thread::yield_now();
    }
    let quiet = Instant::now() + Duration::from_millis(300);
    while Instant::now() < quiet {
        assert!(!file.exists(), "what it started lives on");
        std::thread::yield_now();
    }
}

#[test]
fn a_program_that_cannot_be_started_changed_nothing_and_no_script_is_run() {
    let missing = HERE
        .run(Path::new(r"C:\nowhere\tool.exe"), &[], LONG)
        .unwrap_err();
    assert_eq!(
        (missing.kind, missing.effect),
        (HostErrorKind::NotFound, Effect::None)
    );
    for refused in [
        "cmd.exe",
        r"C:\tools\repair.cmd",
        r"C:\tools\repair.BAT",
        r"C:\tools\repair",
    ] {
        let error = HERE.run(Path::new(refused), &[], LONG).unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (HostErrorKind::Malformed, Effect::None)
        );
    }
}

#[test]
fn nothing_is_run_for_another_machine() {
    let there = Programs {
        machine: Machine::Remote("oslo-b".parse().unwrap()),
    };
    let error = there
        .run(Path::new(r"C:\windows\system32\cmd.exe"), &[], LONG)
        .unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (HostErrorKind::Denied, Effect::None)
    );
}
